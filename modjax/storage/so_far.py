"""What a sweep has found so far: rows of parts that its last end has not merged into the tables yet.

Only trials whose row in ``trials.parquet`` is pending are looked up: a complete sweep is read from its tables alone.
Columns that need the whole sweep (``untrained_*``, ``p_adjusted``) are null in these rows. A part can vanish between
the listing and the reading, or be damaged: its rows are then not there.
"""

from collections.abc import Iterator
from contextlib import suppress

import polars as pl

from modjax.storage.checkpoints import read_ids
from modjax.storage.failures import failed_trials, mark_failed
from modjax.storage.layout import SweepLayout
from modjax.storage.tables import Scan, merge, read_table, scan_table

PENDING = "pending"
OF_TRAINING = ("trials", "history")


def pending_trials(trials: pl.DataFrame) -> frozenset[str]:
    """Ids of the trials that ``trials.parquet`` has no results of."""
    return frozenset(trials.filter(pl.col("status") == PENDING)["trial_id"])


def with_parts(layout: SweepLayout, name: str, table: pl.DataFrame, pending: frozenset[str]) -> pl.DataFrame:
    """A table and the rows of parts of pending trials; of ``trials``, those that failed are marked.

    Args:
        layout: Of the sweep.
        name: trials, history, modules or alignment.
        table: As it was last merged.
        pending: Trials to look for.
    """
    parts = []
    for index in parts_with(layout, "trained" if name in OF_TRAINING else "analysed", pending):
        folder = layout.trained_part(index) if name in OF_TRAINING else layout.analysed_part(index)
        with suppress(ValueError):
            parts.append(read_table(folder / f"{name}.parquet", name).filter(pl.col("trial_id").is_in(pending)))
    if not parts:
        return table
    table = merge(name, [table, *parts])
    if name == "trials":
        with suppress(ValueError, OSError):
            failed = {trial_id: why for trial_id, why in failed_trials(layout).items() if trial_id in pending}
            return mark_failed(table, failed)
    return table


def scan_matrices(layout: SweepLayout, pending: frozenset[str]) -> list[Scan]:
    """The files with a sweep's matrices, those of parts of pending trials among them.

    Raises:
        ValueError: A file that was merged is damaged.
    """
    is_pending = pl.col("trial_id").is_in(pending)
    scans = [scan_table(path, "similarity").where(~is_pending) for path in sorted(layout.similarity.glob("*.parquet"))]
    for index in parts_with(layout, "analysed", pending):
        for path in sorted((layout.analysed_part(index) / "similarity").glob("*.parquet")):
            with suppress(ValueError):
                scans.append(scan_table(path, "similarity").where(is_pending))
    return scans


def parts_with(layout: SweepLayout, kind: str, pending: frozenset[str]) -> Iterator[int]:
    """Indices of the whole parts of a kind that hold a pending trial."""
    for index in layout.part_indices(kind) if pending else ():
        with suppress(ValueError):
            if not pending.isdisjoint(read_ids(layout.stack_ids(index))):
                yield index
