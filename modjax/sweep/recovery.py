"""What an earlier run left: what is whole is kept, what is damaged is set aside (never deleted) and made again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from modjax.names import COMBINED_LAYER
from modjax.storage.checkpoints import read_ids
from modjax.storage.files import remove_folder, set_aside, sha256_of
from modjax.storage.layout import SweepLayout
from modjax.storage.tables import TRIALS, empty, read_table
from modjax.sweep.directory import FINISHED
from modjax.sweep.failures import failed_in_part
from modjax.sweep.spec import SweepSpec

Say = Callable[[str], None]


def layers_of(spec: SweepSpec) -> list[int]:
    """The layers that a sweep's tables hold; -1 is the combined one."""
    return [*range(len(spec.network.widths)), *([COMBINED_LAYER] if spec.similarity.combined else [])]


def is_complete(layout: SweepLayout, manifest: dict[str, Any], spec: SweepSpec) -> bool:
    """Whether this very spec was run to its end, no trial failed, and every file of it is as it was written."""
    if not manifest.get("complete", False) or manifest.get("failed") or manifest.get("spec_hash") != spec.spec_hash():
        return False
    sums = manifest.get("checksums", {})
    return all((layout.root / name).is_file() and sha256_of(layout.root / name) == sums[name] for name in sums)


def set_aside_damaged(layout: SweepLayout, spec: SweepSpec, manifest: dict[str, Any], say: Say) -> None:
    """Rename every table that is not what was written, and every part that cannot be read."""
    if manifest.get("complete", False):
        remove_folder(layout.parts)  # what a process killed while tidying up has left
    sums = manifest.get("checksums", {})
    tables = {layout.table(name): name for name in ("trials", "history", "modules", "alignment")}
    tables |= {layout.similarity_file(layer): "similarity" for layer in layers_of(spec)}
    for path, name in tables.items():
        written = sums.get(str(path.relative_to(layout.root)))
        if path.is_file() and (_is_unreadable(path, name) or (written and sha256_of(path) != written)):
            say(f"{path} is damaged: moved to {set_aside(path, layout.damaged)}, its trials are done again")
    for index in layout.part_indices("trained"):
        folder = layout.trained_part(index)
        files = {folder / "trials.parquet": "trials", folder / "history.parquet": "history"}
        if any(_is_unreadable(path, name) for path, name in files.items()) or not layout.stack_ids(index).is_file():
            drop_stack(layout, index, say)
    for index in layout.part_indices("analysed"):
        folder = layout.analysed_part(index)
        files = {folder / "modules.parquet": "modules", folder / "alignment.parquet": "alignment"}
        files |= dict.fromkeys((folder / "similarity").glob("*.parquet"), "similarity")
        if any(_is_unreadable(path, name) for path, name in files.items()):
            say(f"{folder} is damaged: moved to {set_aside(folder, layout.damaged)}, its trials are analysed again")


def drop_stack(layout: SweepLayout, index: int, say: Say) -> None:
    """Set aside a stack that cannot be used, with the parts that came from it."""
    for path in (layout.trained_part(index), layout.analysed_part(index), layout.stack(index), layout.stack_ids(index)):
        if path.exists():
            say(f"{path} is damaged or goes with what is: moved to {set_aside(path, layout.damaged)}")


def _is_unreadable(path: Path, name: str) -> bool:
    try:
        read_table(path, name)
    except ValueError:
        return True
    return False


def whole_trials(layout: SweepLayout, spec: SweepSpec) -> list[str]:
    """Finished trials whose rows are all in the tables."""
    path = layout.table("trials")
    trials = read_table(path, "trials") if path.is_file() else empty(TRIALS)
    trials = trials.filter(pl.col("status").is_in(FINISHED)).with_columns(pl.col("epochs").cast(pl.UInt32))
    num_measures, num_layers = len(spec.similarity.measures), len(layers_of(spec))
    num_graphs = 2 * num_measures
    expected: dict[Path, tuple[str, pl.Expr]] = {
        layout.table("history"): ("history", pl.col("epochs")),
        layout.table("modules"): ("modules", pl.lit(num_layers * num_graphs)),
        layout.table("alignment"): ("alignment", pl.lit(num_layers * num_graphs * (num_graphs + 1) // 2)),
        **{layout.similarity_file(layer): ("similarity", pl.lit(num_measures)) for layer in layers_of(spec)},
    }
    for path, (name, rows) in expected.items():
        ids = read_table(path, name) if path.is_file() else pl.DataFrame({"trial_id": []}, {"trial_id": pl.String})
        counts = ids.group_by("trial_id").agg(found=pl.len())
        trials = (
            trials.join(counts, on="trial_id", how="left").filter(pl.col("found").fill_null(0) == rows).drop("found")
        )
    return trials["trial_id"].to_list()


def trials_in_parts(layout: SweepLayout) -> dict[int, list[str]]:
    """The trials of each trained part that did not fail, by its index."""
    found = {index: read_ids(layout.stack_ids(index)) for index in layout.part_indices("trained")}
    return {
        index: [trial_id for trial_id in trial_ids if trial_id not in failed_in_part(layout, index)]
        for index, trial_ids in found.items()
    }
