"""Which trials of a part failed, and why: a file beside its tables."""

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
MAX_BYTES = 2**24  # of one part's reasons


def write_failures(folder: Path, reasons: dict[str, str]) -> None:
    """Write them into a part, if there are any."""
    if reasons:
        text = json.dumps(reasons, indent=1, sort_keys=True) + "\n"
        write_summed(folder / FILE, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_failures(folder: Path) -> dict[str, str]:
    """The failures of a part; none where there is no file, or none that can be read (then it tells of nothing)."""
    try:
        found = read_json(folder / FILE, "a list of failures", MAX_BYTES)
    except ValueError:
        return {}
    return {str(key): str(value)[:MAX_REASON] for key, value in found.items()} if isinstance(found, dict) else {}


def failed_in_part(paths: SweepPaths, index: int) -> dict[str, str]:
    """Trials of one stack that failed, while measured or while analysed."""
    return read_failures(paths.trained_part(index)) | read_failures(paths.analysed_part(index))


def failed_trials(paths: SweepPaths) -> dict[str, str]:
    """Trials in parts that failed, and that no later part made good."""
    failed: dict[str, str] = {}
    for index in paths.part_indices("trained"):
        for trial_id in read_ids(paths.stack_ids(index)):
            failed.pop(trial_id, None)
        failed |= failed_in_part(paths, index)
    return failed


def mark_failed(trials: pl.DataFrame, failed: dict[str, str]) -> pl.DataFrame:
    """Their rows, with status ``failed``, and left out of summaries."""
    is_failed = pl.col("trial_id").is_in(list(failed))
    return trials.with_columns(
        status=pl.when(is_failed).then(pl.lit(FAILED)).otherwise(pl.col("status")),
        excluded=pl.col("excluded") | is_failed,
    )
