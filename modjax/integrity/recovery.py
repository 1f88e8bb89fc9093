"""Recovery of what an earlier run left: intact files are kept, damaged ones set aside and made again."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import polars as pl

from modjax.integrity.damage import find_damage, layers_of, table_paths
from modjax.integrity.directory import FINISHED
from modjax.io.checksums import adopt_sums, sum_of
from modjax.io.files import remove_folder, set_aside
from modjax.names import STOPPED
from modjax.spec.populations import with_population
from modjax.spec.spec import SweepSpec
from modjax.store.failures import failed_in_part, read_failures
from modjax.store.manifest import manifest_problem
from modjax.store.paths import SweepPaths
from modjax.store.stacks import adopt_stack, read_ids

Say = Callable[[str], None]
ROW_COUNTED = ("history", "modules", "alignment", "similarity")
REMEDIES = {
    "manifest": "its copy is used",
    "spec": "written again from the spec given",
    "table": "made again, from saved weights if only analysis is lost",
    "analysed part": "its trials are analysed again",
}


def is_complete(paths: SweepPaths, manifest: dict[str, Any], spec: SweepSpec) -> bool:
    """Return whether this very spec ran to its end without failed trials, and all its files are intact."""
    if not manifest.get("complete", False) or manifest.get("failed") or manifest.get("spec_hash") != spec.spec_hash():
        return False
    sums = manifest.get("checksums", {})
    return not manifest_problem(paths.manifest) and all(sum_of(paths.root / name) == sums[name] for name in sums)


def set_aside_damaged(paths: SweepPaths, spec: SweepSpec, manifest: dict[str, Any], say: Say) -> None:
    """Move damaged files into ``damaged/``; what they held is then missing, and therefore made again."""
    if not manifest:
        return
    if manifest.get("complete", False):
        remove_folder(paths.parts)  # left by a process that was killed while it removed them
    # Without this, everything in an old sweep would count as damaged for lack of a checksum.
    if not manifest.get("sums", False):
        _adopt(paths, spec)
    # A list, because setting files aside while the generator runs would change what it reports.
    for damage in list(find_damage(paths, spec, manifest)):
        if damage.kind in ("stack", "trained part"):
            # Neither is of use without the other.
            drop_stack(paths, damage.number, say, damage.why)
        elif damage.path.exists():
            aside = set_aside(damage.path, paths.damaged)
            say(f"{damage.path} is damaged: moved to {aside}, {REMEDIES[damage.kind]} (it {damage.why})")
        elif damage.kind in ("manifest", "spec", "table"):
            say(f"{damage.path} {damage.why}: {REMEDIES[damage.kind]}")
    _remove_leftovers(paths)
    _forget_failed_analysis(paths)


def _forget_failed_analysis(paths: SweepPaths) -> None:
    """Remove analysed parts in which trained trials failed, so that their stacks are analysed again."""
    for index in paths.part_indices("analysed"):
        # Trials that failed in training are left to be trained again; here only analysis is at fault.
        if read_failures(paths.analysed_part(index)).keys() - read_failures(paths.trained_part(index)).keys():
            remove_folder(paths.analysed_part(index))


def kept_of(paths: SweepPaths, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return what stays of an earlier manifest: the source of copied rows, and checksums of files that still exist.

    Files are compared with these checksums until the sweep completes again.
    """
    sums = {name: checksum for name, checksum in manifest.get("checksums", {}).items() if (paths.root / name).exists()}
    return {name: manifest[name] for name in ("forked_from", "analysed") if name in manifest} | {"checksums": sums}


def _adopt(paths: SweepPaths, spec: SweepSpec) -> None:
    """Record the current checksums of a sweep that was begun before checksums were kept."""
    adopt_sums(paths.root, [paths.spec, *(paths.table(name) for name in paths.tables.schemas)])
    parts = [paths.trained_part(index) for index in paths.part_indices("trained")]
    parts += [paths.analysed_part(index) for index in paths.part_indices("analysed")]
    for folder in (*parts, *(part / "similarity" for part in parts), paths.similarity):
        adopt_sums(folder, sorted(folder.glob("*.parquet")))
    for index in paths.stack_indices():
        with suppress(ValueError, AttributeError):  # damaged: reported by find_damage
            adopt_stack(paths, index)


def _remove_leftovers(paths: SweepPaths) -> None:
    """Remove what a killed process left unfinished: temporary files, and weights without their list of ids."""
    for folder in (paths.root, paths.similarity, paths.figures, paths.parts, paths.checkpoints):
        leftovers = [*folder.glob(".*.tmp"), *folder.glob("stack_*.orbax-checkpoint-tmp*")]
        for path in leftovers:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    # The list of ids is written last, so a folder without one is an unfinished stack.
    for path in paths.checkpoints.glob("stack_[0-9]*[0-9]"):
        if path.is_dir() and not path.with_suffix(".json").exists():
            shutil.rmtree(path)


def drop_stack(paths: SweepPaths, index: int, say: Say, why: str = "cannot be read") -> None:
    """Set aside an unusable stack with the parts made from it; its trials are then trained again."""
    files = (paths.trained_part(index), paths.analysed_part(index), paths.stack(index), paths.stack_ids(index))
    existing = [path for path in files if path.exists()]
    with suppress(ValueError):  # the list of ids may be what is damaged
        trial_ids = read_ids(paths.stack_ids(index))
        say(f"{paths.stack(index)} ({why}): its {len(trial_ids)} trials are trained again: {', '.join(trial_ids)}")
    for path in existing:
        say(f"{path} is damaged or goes with what is: moved to {set_aside(path, paths.damaged)}")


def whole_trials(paths: SweepPaths, spec: SweepSpec) -> list[str]:
    """Return the finished trials whose rows are all in the tables and whose weights are in a stack."""
    path = paths.table("trials")
    trials = paths.tables.read(path, "trials") if path.is_file() else paths.tables.empty("trials")
    tables: dict[str, list[pl.DataFrame]] = {}
    for path, name in table_paths(paths, spec).items():
        if name in ROW_COUNTED:
            frame = paths.tables.read(path, name) if path.is_file() else paths.tables.empty(name)
            tables.setdefault(name, []).append(frame)
    with_weights = {trial_id for index in paths.stack_indices() for trial_id in read_ids(paths.stack_ids(index))}
    with_rows = rows_are_all_there(paths, trials.filter(pl.col("status").is_in(FINISHED)), tables, spec)
    return [trial_id for trial_id in with_rows if trial_id in with_weights]


def rows_are_all_there(
    paths: SweepPaths, trials: pl.DataFrame, tables: dict[str, list[pl.DataFrame]], spec: SweepSpec
) -> list[str]:
    """Return the trials that have as many rows in every table as the spec asks for.

    Args:
        paths: Paths of the sweep.
        trials: Rows of the trials table.
        tables: Frames by table name; for ``similarity`` one frame per layer, in the order of the layers.
        spec: Spec of the sweep.
    """
    # Every measure gives two graphs (raw and normalized); alignment compares all pairs, each graph with itself too.
    # Trials that were stopped early are not analysed.
    num_measures, layers = len(spec.similarity.measures), layers_of(paths, spec)
    num_graphs = 2 * num_measures
    trials = with_num_layers(paths, spec, trials)
    expected = {
        "history": pl.col("epochs").cast(pl.UInt32),
        "modules": pl.col("num_layers") * num_graphs,
        "alignment": pl.col("num_layers") * (num_graphs * (num_graphs + 1) // 2),
        "similarity": pl.lit(num_measures),
    }
    for name, frames in tables.items():
        rows = expected[name] if name == "history" else pl.when(status=STOPPED).then(0).otherwise(expected[name])
        for position, frame in enumerate(frames):
            counts = frame.group_by("trial_id").agg(num_rows=pl.len())
            trials = trials.join(counts, on="trial_id", how="left")
            is_whole = pl.col("num_rows").fill_null(0) == rows
            if name == "similarity":
                layer = frame["layer"][0] if frame.height else layers[min(position, len(layers) - 1)]
                # Trials of fewer layers have no matrix of it.
                is_whole |= (pl.lit(layer) >= pl.col("num_hidden")) & pl.col("num_rows").is_null()
            trials = trials.filter(is_whole).drop("num_rows")
    return trials["trial_id"].to_list()


def with_num_layers(paths: SweepPaths, spec: SweepSpec, trials: pl.DataFrame) -> pl.DataFrame:
    """Return the trials with ``num_hidden``, their hidden layers, and ``num_layers``, the combined one included."""
    hidden = {name: len(units) for name, units in paths.tables.layers.items()}
    fallback = len(spec.network.widths) if not hidden else max(hidden.values())
    names = with_population(spec, trials)["population"].to_list()
    num_hidden = pl.Series("num_hidden", [hidden.get(name, fallback) for name in names], dtype=pl.Int64)
    return trials.with_columns(num_hidden).with_columns(num_layers=pl.col("num_hidden") + int(spec.similarity.combined))


def trials_in_parts(paths: SweepPaths) -> dict[int, list[str]]:
    """Return the trials of each trained part that did not fail, by the index of the part."""
    ids_by_part = {index: read_ids(paths.stack_ids(index)) for index in paths.part_indices("trained")}
    return {
        index: [trial_id for trial_id in trial_ids if trial_id not in failed_in_part(paths, index)]
        for index, trial_ids in ids_by_part.items()
    }


def analyse_trained(paths: SweepPaths, analyse: Callable[[int], None], say: Say) -> list[str]:
    """Analyse trained parts that are not analysed yet, and set damaged stacks aside; returns the trials of parts."""
    kept = []
    analysed = paths.part_indices("analysed")
    for index, trial_ids in trials_in_parts(paths).items():
        if index not in analysed:
            try:
                analyse(index)
            except (ValueError, OSError):
                drop_stack(paths, index, say)
                continue
        kept += trial_ids
    return kept
