"""Trials that raised: marked ``failed`` with the reason, tried again by the next run; their neighbours go on.

What hits every trial alike (memory that ran out, a program that does not compile, a full disk) is no trial's failure
and stops the sweep.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl

from modjax.hostile import read_json
from modjax.storage.checkpoints import read_ids
from modjax.storage.layout import SweepLayout
from modjax.storage.sums import write_summed

FAILED = "failed"
FILE = "failed.json"
MANY_FAILURES = 8  # so many without one success: it is not the trials
MAX_REASON = 300
MAX_BYTES = 2**24  # of one part's reasons


class Failures:
    """Why each trial of a run failed, and which steps have succeeded for any."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self._failed: Counter[str] = Counter()
        self._succeeded: set[str] = set()

    def attempt(self, trial_id: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(*arguments)``; None, and the trial is marked, where it raised.

        Raises:
            RuntimeError: So many trials failed, and none succeeded, that something else is wrong.
        """
        try:
            value = function(*arguments)
        except Exception as error:
            if hits_all_trials(error):
                raise
            self.reasons[trial_id] = reason_of(error)
            self._failed[function.__name__] += 1
            if self._failed[function.__name__] >= MANY_FAILURES and function.__name__ not in self._succeeded:
                raise RuntimeError(f"no trial could be finished; trial {trial_id}: {reason_of(error)}") from error
            return None
        self._succeeded.add(function.__name__)
        return value

    def among(self, trial_ids: Iterable[str]) -> dict[str, str]:
        """Those of some trials."""
        return {trial_id: self.reasons[trial_id] for trial_id in trial_ids if trial_id in self.reasons}


def hits_all_trials(error: Exception) -> bool:
    """Whether an error is of the machine (device, memory, disk), and not of one trial."""
    import jax

    return isinstance(error, jax.errors.JaxRuntimeError | MemoryError | OSError)


def reason_of(error: BaseException) -> str:
    """One line: the kind of error and what it says.

    Example:
        >>> reason_of(KeyError("x"))
        "KeyError: 'x'"
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:MAX_REASON]


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


def failed_in_part(layout: SweepLayout, index: int) -> dict[str, str]:
    """Trials of one stack that failed, while measured or while analysed."""
    return read_failures(layout.trained_part(index)) | read_failures(layout.analysed_part(index))


def failed_trials(layout: SweepLayout) -> dict[str, str]:
    """Trials in parts that failed, and that no later part made good."""
    failed: dict[str, str] = {}
    for index in layout.part_indices("trained"):
        for trial_id in read_ids(layout.stack_ids(index)):
            failed.pop(trial_id, None)
        failed |= failed_in_part(layout, index)
    return failed


def mark_failed(trials: pl.DataFrame, failed: dict[str, str]) -> pl.DataFrame:
    """Their rows, with status ``failed``, and left out of summaries."""
    is_failed = pl.col("trial_id").is_in(list(failed))
    return trials.with_columns(
        status=pl.when(is_failed).then(pl.lit(FAILED)).otherwise(pl.col("status")),
        excluded=pl.col("excluded") | is_failed,
    )
