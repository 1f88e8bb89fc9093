"""Keep the workers of a group busy from one queue, and the queue right when some of them die."""

import time
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, Protocol, runtime_checkable

from modjax.engines.base import TrainedTrial, TrainingUpdate
from modjax.engines.queue import TrialQueue
from modjax.engines.snapshots import Saved

ORDERS_AHEAD = 2  # the second waits at the worker while the first is carried out: no worker waits for the driver
WAIT_SECONDS = 1.0
SAVE_SECONDS = 6.0  # for all workers to save what they train, before the process stops


class Order(NamedTuple):
    """What a worker is told: train these trials too, and go on with those that were saved from there.

    The last order is to save all trials in training, and to train no more.
    """

    trials: list[int]
    saved: dict[int, Saved]
    is_last: bool = False


class Done(NamedTuple):
    """What a worker says after about a second of training.

    Attributes:
        finished: Trials that finished, measured.
        num_training: Trials in its slots.
        num_epochs: Epochs that ended.
        messages: What the user should know.
        programs: That trained so far.
    """

    finished: list[TrainedTrial]
    num_training: int
    num_epochs: int
    messages: tuple[str, ...]
    programs: list[dict[str, Any]]


@runtime_checkable
class WorkerGroup(Protocol):
    """Workers, by number; a number is used once."""

    def grow(self) -> None:
        """Start workers where there is room."""
        ...

    def workers(self) -> list[int]:
        """Those that live and can be given orders."""
        ...

    def num_orders(self, worker: int) -> int:
        """Orders that a worker has not carried out."""
        ...

    def send(self, worker: int, order: Order) -> None:
        """Give an order."""
        ...

    def wait(self, seconds: float) -> list[tuple[int, Done | None]]:
        """What workers did, in the order of their orders; None: the worker died."""
        ...


def dispatch(
    group: WorkerGroup,
    queue: TrialQueue,
    capacity: int,
    saved_by: Callable[[int], dict[int, Saved]],
    is_asked_to_stop: Callable[[], bool] = lambda: False,
    num_starting: Callable[[], int] = lambda: 0,
) -> Generator[TrainingUpdate]:
    """Train all trials of the queue; or, once asked to stop, let all workers save what they train.

    Args:
        group: Workers.
        queue: Trials.
        capacity: Slots of each worker.
        saved_by: Where the trials of a worker that died were last saved.
        is_asked_to_stop: Asked about once a second.
        num_starting: Workers that will soon be up, for whom some trials are left.

    Yields:
        What happened since; each trial is told once.
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
        # First the orders, so that nobody waits while the caller writes; all reports in one, so that it writes at once
        # what has come while it wrote: the busier it is, the larger its stacks.
        group.grow()
        give_orders(group, queue, capacity, num_starting())
        yield report


def _collect(
    group: WorkerGroup, queue: TrialQueue, training: dict[int, int], saved_by: Callable[[int], dict[int, Saved]]
) -> TrainingUpdate:
    """What workers did since; ``training`` and ``queue`` follow."""
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
        fresh += [one for one in done.finished if queue.finish(one.trial.trial)]
        messages += done.messages
        num_epochs += done.num_epochs
    return TrainingUpdate(fresh, sum(training.values()), num_epochs, tuple(messages))


def _save_all(
    group: WorkerGroup, queue: TrialQueue, training: dict[int, int], saved_by: Callable[[int], dict[int, Saved]]
) -> Generator[TrainingUpdate]:
    """Give every worker its last order, and wait for them, but not for long."""
    for worker in group.workers():
        group.send(worker, Order([], {}, is_last=True))
    ends = time.perf_counter() + SAVE_SECONDS
    while any(group.num_orders(worker) for worker in group.workers()) and time.perf_counter() < ends:
        yield _collect(group, queue, training, saved_by)._replace(is_stopping=True)
    late = [worker for worker in group.workers() if group.num_orders(worker)]
    num_saved = sum(count for worker, count in training.items() if worker not in late)
    told = f"checkpoint saved: {num_saved} trials in training, and all that had finished"
    if late:
        told += f"; {len(late)} of {len(group.workers())} workers had no time to save: theirs go on from the one before"
    yield TrainingUpdate([], sum(training.values()), 0, (told,), is_stopping=True)


def give_orders(group: WorkerGroup, queue: TrialQueue, capacity: int, num_starting: int = 0) -> None:
    """Fill every worker's slots and, while there are many trials, its own small queue before them.

    Nobody gets more than a fair share of what is left, so that few trials are spread over all workers, also those that
    are being started; and at most half of a fair share of those that will have to wait goes ahead of free slots: the
    last ones are handed out one by one.
    """
    workers = group.workers()
    num_workers = len(workers) + num_starting
    free = sum(max(0, capacity - queue.num_held(worker)) for worker in workers) + capacity * num_starting
    ahead = min(capacity, max(0, queue.num_waiting - free) // (2 * max(1, num_workers)))
    for worker in sorted(workers, key=queue.num_held):
        share = -(-queue.num_unfinished // num_workers)
        if group.num_orders(worker) >= ORDERS_AHEAD:
            continue
        trials = queue.take(worker, min(capacity + ahead, share) - queue.num_held(worker))
        if trials or (queue.num_held(worker) and not group.num_orders(worker)):
            group.send(worker, Order(trials, {one: queue.saved[one] for one in trials if one in queue.saved}))
        if queue.num_held(worker) and group.num_orders(worker) < ORDERS_AHEAD:
            group.send(worker, Order([], {}))
