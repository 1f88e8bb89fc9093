"""What the host hears of trials in training."""

from typing import NamedTuple

from modjax.types import Params, Row


class FinishedTrial(NamedTuple):
    """One trial as it leaves its seat, on the host.

    Attributes:
        trial: Its index.
        params: Weights of its best epoch (the initial ones, if no epoch had a finite validation loss).
        last: Weights after its last epoch.
        history: A row an epoch.
        status: ``done`` or ``diverged`` (in its last epoch).
        best_epoch: Counted from 0; -1 if there is none.
        seconds: Its share of the time of its rounds.
    """

    trial: int
    params: Params
    last: Params
    history: list[Row]
    status: str
    best_epoch: int
    seconds: float


class EpochReport(NamedTuple):
    """What the host hears after a round: one epoch of some of the trials that have a seat.

    Attributes:
        rows: History row of every trial that trained, by trial.
        finished: Trials that left their seats.
        num_waiting: Trials without a seat so far.
        messages: What the user should know, such as that memory ran out and fewer trials train side by side.
        num_lanes: Places for a trial in the program that ran; ``len(rows)`` of them were used.
        num_seated: Trials that have a seat, those that finished now not counted.
    """

    rows: dict[int, Row]
    finished: list[FinishedTrial]
    num_waiting: int
    messages: tuple[str, ...] = ()
    num_lanes: int = 0
    num_seated: int = 0
