"""Results of unfinished sweeps: rows of parts that are not merged into the tables yet.

Only trials that are pending in ``trials.parquet`` are looked up, so a complete sweep is read from its tables alone.
Columns that need the whole sweep (``untrained_*``, ``p_adjusted``) are null in these rows. A part may be damaged, or
vanish between listing and reading because the sweep has merged it; its rows are then missing. Therefore parts are read
before the tables that they are merged into.
"""

from collections.abc import Iterator
from contextlib import suppress

import polars as pl

from modjax.store.failures import failed_trials, mark_failed
from modjax.store.paths import SweepPaths, kind_of_part
from modjax.store.stacks import read_ids
from modjax.store.tables import Scan
from modjax.types import Row

PENDING = "pending"


def pending_trials(trials: pl.DataFrame) -> frozenset[str]:
    """Return the ids of trials without results."""
    return frozenset(trials.filter(pl.col("status") == PENDING)["trial_id"])


def trials_so_far(paths: SweepPaths, merged: pl.DataFrame) -> pl.DataFrame:
    """Return the trials table including results from parts, with failed trials marked and arms named as planned."""
    pending = pending_trials(merged)
    parts = rows_of_parts(paths, "trials", pending)
    if not parts:
        return merged
    trials = paths.tables.merge("trials", [merged, *parts])
    # A part keeps the arm's name from when it was trained; the plan may have renamed the arm since.
    arms = trials.select("trial_id").join(merged.select("trial_id", "arm"), on="trial_id", maintain_order="left")
    trials = trials.with_columns(arms["arm"])
    with suppress(ValueError, OSError):
        failed = {trial_id: why for trial_id, why in failed_trials(paths).items() if trial_id in pending}
        return mark_failed(trials, failed)
    return trials


def rows_of_parts(paths: SweepPaths, name: str, wanted: frozenset[str]) -> list[pl.DataFrame]:
    """Return the rows of wanted trials from complete parts, one frame per part, oldest part first."""
    parts = []
    for index, trial_ids in parts_with(paths, kind_of_part(name), wanted):
        with suppress(ValueError):
            rows = paths.tables.read(paths.part_table(name, index), name)
            parts.append(rows.filter(pl.col("trial_id").is_in(trial_ids)))
    return parts


def earlier_histories(paths: SweepPaths, trials: pl.DataFrame, waiting: pl.DataFrame) -> dict[str, list[Row]]:
    """Return the rows of the history of each trial that does not wait for training, by ``trial_id``.

    Args:
        paths: Paths of the sweep.
        trials: Rows of the trials table.
        waiting: Those that are still to be trained.
    """
    wanted = frozenset(trials["trial_id"]) - frozenset(waiting["trial_id"])
    merged = paths.table("history")
    frames = [paths.tables.read(merged, "history")] if merged.is_file() else []
    history = paths.tables.merge("history", [*frames, *rows_of_parts(paths, "history", wanted)])
    groups = history.filter(pl.col("trial_id").is_in(sorted(wanted))).partition_by("trial_id", as_dict=True)
    return {key[0]: frame.sort("epoch").drop("trial_id").to_dicts() for key, frame in groups.items()}


def scan_matrices(paths: SweepPaths, in_parts: frozenset[str], pending: frozenset[str]) -> list[Scan]:
    """Return scans of all similarity files; a trial is taken from a part if one has it, else from a merged file.

    Args:
        paths: Paths of the sweep.
        in_parts: Trials to look for in parts.
        pending: Trials to leave out.

    Raises:
        ValueError: If a merged file is damaged.
    """
    scans, left_out = [], set(pending)
    for index, trial_ids in parts_with(paths, "analysed", in_parts):
        for path in sorted((paths.analysed_part(index) / "similarity").glob("*.parquet")):
            with suppress(ValueError):
                scans.append(paths.tables.scan(path, "similarity").where(pl.col("trial_id").is_in(trial_ids)))
                left_out |= trial_ids
    # Merged files may hold older rows of the same trials, so these are left out there.
    is_elsewhere = pl.col("trial_id").is_in(sorted(left_out))
    merged = [paths.tables.scan(path, "similarity") for path in sorted(paths.similarity.glob("*.parquet"))]
    return [*(scan.where(~is_elsewhere) if left_out else scan for scan in merged), *scans]


def parts_with(paths: SweepPaths, kind: str, wanted: frozenset[str]) -> Iterator[tuple[int, frozenset[str]]]:
    """Yield the index of each complete part that holds wanted trials, and these trials."""
    for index in paths.part_indices(kind) if wanted else ():
        with suppress(ValueError):
            if held := wanted.intersection(read_ids(paths.stack_ids(index))):
                yield index, held
