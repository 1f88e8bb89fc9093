"""What a sweep has found so far: rows of parts that its last end has not merged into the tables yet.

Only trials whose row in ``trials.parquet`` is pending are looked up: a complete sweep is read from its tables alone.
Columns that need the whole sweep (``untrained_*``, ``p_adjusted``) are null in these rows. A part can vanish between
the listing and the reading, since the sweep has merged it, or be damaged: its rows are then not there. So parts are
read before the tables that they go into.
"""

from collections.abc import Iterator
from contextlib import suppress

import polars as pl

from modjax.store.failures import failed_trials, mark_failed
from modjax.store.paths import KIND_OF_PART, SweepPaths
from modjax.store.stacks import read_ids
from modjax.store.tables import Scan, merge, read_table, scan_table

PENDING = "pending"


def pending_trials(trials: pl.DataFrame) -> frozenset[str]:
    """Ids of the trials that have no results."""
    return frozenset(trials.filter(pl.col("status") == PENDING)["trial_id"])


def trials_so_far(paths: SweepPaths, merged: pl.DataFrame) -> pl.DataFrame:
    """The table of trials with the results that parts hold, those that failed marked; arms are named as planned."""
    pending = pending_trials(merged)
    parts = rows_of_parts(paths, "trials", pending)
    if not parts:
        return merged
    found = merge("trials", [merged, *parts])
    arms = found.select("trial_id").join(merged.select("trial_id", "arm"), on="trial_id", maintain_order="left")
    found = found.with_columns(arms["arm"])
    with suppress(ValueError, OSError):
        failed = {trial_id: why for trial_id, why in failed_trials(paths).items() if trial_id in pending}
        return mark_failed(found, failed)
    return found


def rows_of_parts(paths: SweepPaths, name: str, wanted: frozenset[str]) -> list[pl.DataFrame]:
    """A table's rows in the whole parts that hold some of the wanted trials; a later part's come later."""
    parts = []
    for index, trial_ids in parts_with(paths, KIND_OF_PART[name], wanted):
        with suppress(ValueError):
            rows = read_table(paths.part_table(name, index), name)
            parts.append(rows.filter(pl.col("trial_id").is_in(trial_ids)))
    return parts


def scan_matrices(paths: SweepPaths, in_parts: frozenset[str], pending: frozenset[str]) -> list[Scan]:
    """The files with a sweep's matrices; each trial's of the parts, if one has them, else of what was merged.

    Args:
        paths: Paths of the sweep.
        in_parts: Trials to look for in parts.
        pending: Trials to leave out.

    Raises:
        ValueError: A file that was merged is damaged.
    """
    scans, found = [], set(pending)
    for index, trial_ids in parts_with(paths, "analysed", in_parts):
        for path in sorted((paths.analysed_part(index) / "similarity").glob("*.parquet")):
            with suppress(ValueError):
                scans.append(scan_table(path, "similarity").where(pl.col("trial_id").is_in(trial_ids)))
                found |= trial_ids
    is_elsewhere = pl.col("trial_id").is_in(sorted(found))
    merged = [scan_table(path, "similarity") for path in sorted(paths.similarity.glob("*.parquet"))]
    return [*(scan.where(~is_elsewhere) if found else scan for scan in merged), *scans]


def parts_with(paths: SweepPaths, kind: str, wanted: frozenset[str]) -> Iterator[tuple[int, frozenset[str]]]:
    """Indices of the whole parts of a kind that hold wanted trials, and these trials."""
    for index in paths.part_indices(kind) if wanted else ():
        with suppress(ValueError):
            if held := wanted.intersection(read_ids(paths.stack_ids(index))):
                yield index, held
