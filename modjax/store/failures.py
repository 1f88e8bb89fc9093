"""Trials of a part that failed, with the reasons, in a file beside the part's tables."""

import json
from pathlib import Path

import polars as pl

from modjax.io.checksums import write_summed
from modjax.io.untrusted import read_json
from modjax.store.paths import SweepPaths
from modjax.store.stacks import read_ids

FAILED = "failed"
FILE = "failed.json"
MAX_REASON = 300
MAX_BYTES = 2**24  # largest file of reasons that is read


def write_failures(folder: Path, reasons: dict[str, str]) -> None:
    """Write the reasons of failed trials into a part's folder, if there are any."""
    if reasons:
        text = json.dumps(reasons, indent=1, sort_keys=True) + "\n"
        write_summed(folder / FILE, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_failures(folder: Path) -> dict[str, str]:
    """Return the failures of a part by ``trial_id``; empty if the file is missing or cannot be read."""
    try:
        reasons = read_json(folder / FILE, "a list of failures", MAX_BYTES)
    except ValueError:
        return {}
    return {str(key): str(value)[:MAX_REASON] for key, value in reasons.items()} if isinstance(reasons, dict) else {}


def failed_in_part(paths: SweepPaths, index: int) -> dict[str, str]:
    """Return the trials of one stack that failed during measurement or analysis, with the reasons."""
    return read_failures(paths.trained_part(index)) | read_failures(paths.analysed_part(index))


def failed_trials(paths: SweepPaths) -> dict[str, str]:
    """Return the failed trials of all parts, without those that succeeded in a later part."""
    failed: dict[str, str] = {}
    # Indices ascend with time: a trial that was repeated counts as its newest stack says.
    for index in paths.part_indices("trained"):
        for trial_id in read_ids(paths.stack_ids(index)):
            failed.pop(trial_id, None)
        failed |= failed_in_part(paths, index)
    return failed


def mark_failed(trials: pl.DataFrame, failed: dict[str, str]) -> pl.DataFrame:
    """Return the trials table with failed trials marked as ``failed`` and excluded from summaries."""
    is_failed = pl.col("trial_id").is_in(list(failed))
    return trials.with_columns(
        status=pl.when(is_failed).then(pl.lit(FAILED)).otherwise(pl.col("status")),
        excluded=pl.col("excluded") | is_failed,
    )
