"""Keeps a group of workers busy from one queue, and the queue consistent when workers die."""

import time
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, Protocol, runtime_checkable

from modjax.engines.base import TrainedTrial, TrainingUpdate
from modjax.engines.queue import TrialQueue
from modjax.engines.snapshots import Saved

ORDERS_AHEAD = 2  # the second waits at the worker while the first is carried out, so no worker waits for the driver
WAIT_SECONDS = 1.0
SAVE_SECONDS = 6.0  # time for all workers to save their trials before the process stops


class Order(NamedTuple):
    """An order to a worker: train these trials too, resuming those in ``saved`` from their snapshots.

    The last order is to save all trials in training and to train no more.
    """

    trials: list[int]
    saved: dict[int, Saved]
    is_last: bool = False


class Done(NamedTuple):
    """A worker's reply to an order, after about a second of training.

    Attributes:
        finished: Trials that finished, with their measurements.
        num_training: Number of trials in the worker's slots.
        num_epochs: Number of epochs that ended.
        messages: Messages for the user.
        programs: Training programs used so far.
    """

    finished: list[TrainedTrial]
    num_training: int
    num_epochs: int
    messages: tuple[str, ...]
    programs: list[dict[str, Any]]


@runtime_checkable
class WorkerGroup(Protocol):
    """The running workers, by number; no number is used twice."""

    def grow(self) -> None:
        """Start workers wherever there is room."""
        ...

    def workers(self) -> list[int]:
        """Return the workers that are alive and can be given orders."""
        ...

    def num_orders(self, worker: int) -> int:
        """Number of orders that a worker has not carried out yet."""
        ...

    def send(self, worker: int, order: Order) -> None:
        """Give an order to a worker."""
        ...

    def wait(self, seconds: float) -> list[tuple[int, Done | None]]:
        """Return the workers' replies, each worker's in the order of its orders; None if the worker died."""
        ...


def dispatch(
    group: WorkerGroup,
    queue: TrialQueue,
    capacity: int,
    saved_by: Callable[[int], dict[int, Saved]],
    is_asked_to_stop: Callable[[], bool] = lambda: False,
    num_starting: Callable[[], int] = lambda: 0,
) -> Generator[TrainingUpdate]:
    """Train all trials of the queue; once asked to stop, let all workers save what they train.

    Args:
        group: Running workers.
        queue: Trials to train.
        capacity: Number of slots per worker.
        saved_by: Function that returns where a dead worker last saved its trials.
        is_asked_to_stop: Function called about once a second; True ends the training.
        num_starting: Function that returns the number of workers about to start, for which some trials are kept back.

    Yields:
        Progress since the previous update; each trial is reported once.
    """
    training: dict[int, int] = {}
    group.grow()
    give_orders(group, queue, capacity, num_starting())
    while queue.num_unfinished:
        report = _collect(group, queue, training, saved_by)
        if is_asked_to_stop():
            yield report._replace(is_stopping=True)
            yield from _save_all(group, queue, training, saved_by)
            return
        # Orders go out before the report, so that no worker waits while the caller writes. All replies make one report,
        # so that the caller writes together what arrived in the meantime: the busier it is, the larger its stacks.
        group.grow()
        give_orders(group, queue, capacity, num_starting())
        yield report


def _collect(
    group: WorkerGroup, queue: TrialQueue, training: dict[int, int], saved_by: Callable[[int], dict[int, Saved]]
) -> TrainingUpdate:
    """Wait for replies, update ``training`` and ``queue``, and return the progress as one update."""
    fresh: list[TrainedTrial] = []
    messages: list[str] = []
    num_epochs = 0
    for worker, done in group.wait(WAIT_SECONDS):
        if done is None:
            training.pop(worker, None)
            lost = queue.lose(worker, saved_by(worker))
            resumed = sum(trial in queue.saved for trial in lost)
            messages.append(
                f"worker {worker} is gone: {len(lost)} trials go to others, {resumed} of them from a snapshot"
            )
            continue
        training[worker] = done.num_training
        # A worker presumed dead may report a trial that another one has finished since: it counts once.
        fresh += [trained for trained in done.finished if queue.finish(trained.trial.trial)]
        messages += done.messages
        num_epochs += done.num_epochs
    return TrainingUpdate(fresh, sum(training.values()), num_epochs, tuple(messages))


def _save_all(
    group: WorkerGroup, queue: TrialQueue, training: dict[int, int], saved_by: Callable[[int], dict[int, Saved]]
) -> Generator[TrainingUpdate]:
    """Give every worker its last order and wait at most ``SAVE_SECONDS`` for all of them to save."""
    for worker in group.workers():
        group.send(worker, Order([], {}, is_last=True))
    ends = time.perf_counter() + SAVE_SECONDS
    while any(group.num_orders(worker) for worker in group.workers()) and time.perf_counter() < ends:
        yield _collect(group, queue, training, saved_by)._replace(is_stopping=True)
    late = [worker for worker in group.workers() if group.num_orders(worker)]
    num_saved = sum(count for worker, count in training.items() if worker not in late)
    message = f"checkpoint saved: {num_saved} trials in training, and all that had finished"
    if late:
        message += (
            f"; {len(late)} of {len(group.workers())} workers had no time to save: theirs go on from the one before"
        )
    yield TrainingUpdate([], sum(training.values()), 0, (message,), is_stopping=True)


def give_orders(group: WorkerGroup, queue: TrialQueue, capacity: int, num_starting: int = 0) -> None:
    """Fill every worker's slots and, while there are many trials, a small queue of its own.

    No worker gets more than a fair share of the remaining trials, so that a few trials are spread over all workers,
    including those that are starting. At most half of a fair share of the trials that have to wait is sent ahead of
    free slots, so that the last trials are handed out one by one.
    """
    workers = group.workers()
    num_workers = len(workers) + num_starting
    free = sum(max(0, capacity - queue.num_held(worker)) for worker in workers) + capacity * num_starting
    ahead = min(capacity, max(0, queue.num_waiting - free) // (2 * max(1, num_workers)))
    for worker in sorted(workers, key=queue.num_held):
        share = -(-queue.num_unfinished // num_workers)  # rounded up
        if group.num_orders(worker) >= ORDERS_AHEAD:
            continue
        trials = queue.take(worker, min(capacity + ahead, share) - queue.num_held(worker))
        if trials or (queue.num_held(worker) and not group.num_orders(worker)):
            group.send(worker, Order(trials, {trial: queue.saved[trial] for trial in trials if trial in queue.saved}))
        # An order without new trials keeps the worker training those that it already holds.
        if queue.num_held(worker) and group.num_orders(worker) < ORDERS_AHEAD:
            group.send(worker, Order([], {}))
