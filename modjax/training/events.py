"""What is reported to the host about trials in training."""

from collections.abc import Callable
from typing import Any, NamedTuple

from modjax.types import Params, Row

TrialCallback = Callable[[int, Row], bool | None]


class FinishedTrial(NamedTuple):
    """A trial that has left its slot, on the host.

    Attributes:
        trial: Index of the trial.
        params: Weights of the best epoch (the initial ones, if no epoch had a finite validation loss).
        last: Weights after the last epoch.
        history: Rows of the history, one per epoch.
        status: ``done``, ``diverged`` (in its last epoch) or ``failed`` (its callback raised).
        best_epoch: Best epoch, counted from 0; -1 if there is none.
        seconds: The trial's share of the time of its rounds.
        reason: Reason of a failure.
        state: State after the last epoch, of a trial that ended because it was the last one; None if nobody asked.
    """

    trial: int
    params: Params
    last: Params
    history: list[Row]
    status: str
    best_epoch: int
    seconds: float
    reason: str = ""
    state: Any = None


class Verdict(NamedTuple):
    """A trial's status from now on (empty: it goes on), the reason of a failure, and whether its callback ended it."""

    status: str
    reason: str = ""
    is_by_callback: bool = False


def ask(callback: TrialCallback | None, trial: int, row: Row) -> Verdict:
    """Call a trial's callback with its newest row: true ends the trial as done, an exception as failed."""
    if callback is None:
        return Verdict("")
    try:
        is_over = callback(trial, dict(row))
    except Exception as error:  # of the user's own code: it must not take the other trials down
        return Verdict("failed", f"{type(error).__name__}: {' '.join(str(error).split())}")
    return Verdict("done" if is_over else "", is_by_callback=bool(is_over))


class EpochReport(NamedTuple):
    """Report on a round: one epoch of some of the trials that have a slot.

    Attributes:
        rows: Row of the history of every trial that trained, by trial.
        finished: Trials that left their slots.
        num_waiting: Number of trials without a slot so far.
        messages: Messages to the user, such as that memory ran out and fewer trials train side by side.
        num_lanes: Number of lanes of the program that ran; ``len(rows)`` of them were used.
        num_training: Number of trials that have a slot, without those that have just finished.
    """

    rows: dict[int, Row]
    finished: list[FinishedTrial]
    num_waiting: int
    messages: tuple[str, ...] = ()
    num_lanes: int = 0
    num_training: int = 0
