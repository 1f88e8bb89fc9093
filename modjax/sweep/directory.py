"""A sweep's directory before anything runs: is it free, or the same sweep, or one that this spec extends?"""

from pathlib import Path
from typing import Any

import polars as pl

from modjax.storage.files import write_text
from modjax.storage.layout import SweepLayout
from modjax.storage.manifest import read_manifest
from modjax.storage.tables import TRIALS, merge, read_table, write_table
from modjax.sweep.spec import SweepSpec, load_spec

FINISHED = ("done", "diverged", "untrained")


def check_directory(layout: SweepLayout, spec: SweepSpec, planned: pl.DataFrame, data_checksum: str) -> dict[str, Any]:
    """Return the manifest of an earlier run of this sweep, or an empty one; nothing is written.

    Raises:
        ValueError: The path is no directory, holds something else, or holds another spec's sweep.
    """
    root = layout.root
    if root.exists() and not root.is_dir():
        raise ValueError(f"{root} is a file; expected a directory that is new, empty, or this spec's sweep.")
    found = sorted(path.name for path in root.iterdir() if path.name != layout.lock.name) if root.exists() else []
    if not found:
        return {}
    if not layout.manifest.is_file():
        raise ValueError(
            f"{root} holds something else ({', '.join(found[:3])}{', ...' if len(found) > 3 else ''}); "
            "choose a new or empty directory."
        )
    manifest = read_manifest(layout.manifest)
    if not layout.spec.is_file():
        if not layout.table("trials").is_file():
            return manifest  # stopped before its first row was written
        raise ValueError(f"{root} has no spec.toml; restore it, or choose another directory.")
    _check_same_sweep(root, load_spec(layout.spec), spec)
    if manifest["data"]["checksum"] != data_checksum:
        raise ValueError(f"{root} was made with other data of the name {spec.dataset!r}; choose another directory.")
    if layout.table("trials").is_file():
        _check_only_additions(root, read_table(layout.table("trials"), "trials"), planned)
    return manifest


def _check_same_sweep(root: Path, earlier: SweepSpec, spec: SweepSpec) -> None:
    before, now = earlier.shared_settings(), spec.shared_settings()
    changed = [f"{key} was {before[key]!r}, is {now[key]!r}" for key in before if before[key] != now[key]]
    if changed:
        raise ValueError(
            f"{root} holds another spec's sweep: {'; '.join(changed)}. Only seeds and arms can be added; "
            "choose another directory."
        )


def _check_only_additions(root: Path, earlier: pl.DataFrame, planned: pl.DataFrame) -> None:
    dropped = earlier.join(planned, on="trial_id", how="anti")
    if dropped.height:
        row = dropped.row(0, named=True)
        told = ", ".join(f"{name} = {row[name]:g}" for name in ("learning_rate", "l1", "l2", "dropout", "seed"))
        raise ValueError(
            f"{root} holds another spec's sweep: {dropped.height} of its trials are not in this spec, such as "
            f"one of arm {row['arm']!r} with {told}. A spec can only add trials; choose another directory."
        )


def write_plan(layout: SweepLayout, spec: SweepSpec, planned: pl.DataFrame) -> pl.DataFrame:
    """Write the spec and the trials table: finished rows as they were, all others pending."""
    path = layout.table("trials")
    if path.is_file():
        finished = read_table(path, "trials").filter(pl.col("status").is_in(FINISHED))
        planned = merge_results(planned, finished)
    write_text(layout.spec, spec.to_toml())
    write_table(path, planned)
    return planned


def merge_results(planned: pl.DataFrame, finished: pl.DataFrame) -> pl.DataFrame:
    """The planned rows, with the results of those that finished; arms are called what the plan calls them."""
    results = finished.join(planned.select("trial_id", "arm"), on="trial_id", suffix="_planned", validate="1:1")
    results = results.with_columns(arm=pl.col("arm_planned")).select(list(TRIALS))
    return merge("trials", [planned, results])
