"""What the host hears of trials in training."""

from collections.abc import Callable
from typing import NamedTuple

from modjax.types import Params, Row

TrialCallback = Callable[[int, Row], bool | None]


class FinishedTrial(NamedTuple):
    """One trial as it leaves its slot, on the host.

    Attributes:
        trial: Its index.
        params: Weights of its best epoch (the initial ones, if no epoch had a finite validation loss).
        last: Weights after its last epoch.
        history: A row an epoch.
        status: ``done``, ``diverged`` (in its last epoch) or ``failed`` (its callback raised).
        best_epoch: Counted from 0; -1 if there is none.
        seconds: Its share of the time of its rounds.
        reason: Why it failed.
    """

    trial: int
    params: Params
    last: Params
    history: list[Row]
    status: str
    best_epoch: int
    seconds: float
    reason: str = ""


class Verdict(NamedTuple):
    """What becomes of a trial: its status from now on (empty: it goes on), and why it failed."""

    status: str
    reason: str = ""


def ask(callback: TrialCallback | None, trial: int, row: Row) -> Verdict:
    """Call a trial's callback with its newest row: true ends the trial as done, an exception as failed."""
    if callback is None:
        return Verdict("")
    try:
        is_over = callback(trial, dict(row))
    except Exception as error:
        return Verdict("failed", f"{type(error).__name__}: {' '.join(str(error).split())}")
    return Verdict("done" if is_over else "")


class EpochReport(NamedTuple):
    """What the host hears after a round: one epoch of some of the trials that have a slot.

    Attributes:
        rows: History row of every trial that trained, by trial.
        finished: Trials that left their slots.
        num_waiting: Trials without a slot so far.
        messages: What the user should know, such as that memory ran out and fewer trials train side by side.
        num_lanes: Places for a trial in the program that ran; ``len(rows)`` of them were used.
        num_training: Trials that have a slot, those that finished now not counted.
    """

    rows: dict[int, Row]
    finished: list[FinishedTrial]
    num_waiting: int
    messages: tuple[str, ...] = ()
    num_lanes: int = 0
    num_training: int = 0
