"""Keep the workers of a fleet busy from one queue, and the queue right when some of them die."""

from collections.abc import Callable, Generator
from typing import Any, NamedTuple, Protocol, runtime_checkable

from modjax.sweep.engines import Finished, Progressed
from modjax.sweep.engines.queue import TrialQueue
from modjax.sweep.engines.saved import Saved

ORDERS_AHEAD = 2  # the second waits at the worker while the first is carried out: no worker waits for the driver
WAIT_SECONDS = 1.0


class Order(NamedTuple):
    """What a worker is told: train these trials too, and go on with those that were saved from there."""

    trials: list[int]
    saved: dict[int, Saved]


class Done(NamedTuple):
    """What a worker says after about a second of training.

    Attributes:
        finished: Trials that finished, measured.
        num_training: Trials in its seats.
        num_epochs: Epochs that ended.
        messages: What the user should know.
        programs: That trained so far.
    """

    finished: list[Finished]
    num_training: int
    num_epochs: int
    messages: tuple[str, ...]
    programs: list[dict[str, Any]]


@runtime_checkable
class Fleet(Protocol):
    """Workers, by number; a number is used once."""

    def grow(self) -> None:
        """Start workers where there is room."""
        ...

    def workers(self) -> list[int]:
        """Those that live."""
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
    fleet: Fleet, queue: TrialQueue, capacity: int, saved_by: Callable[[int], dict[int, Saved]]
) -> Generator[Progressed]:
    """Train all trials of the queue.

    Args:
        fleet: Workers.
        queue: Trials.
        capacity: Seats of each worker.
        saved_by: Where the trials of a worker that died were last saved.

    Yields:
        What happened since; each trial is told once.
    """
    training: dict[int, int] = {}
    fleet.grow()
    give_orders(fleet, queue, capacity)
    while queue.num_unfinished:
        fresh: list[Finished] = []
        messages: list[str] = []
        num_epochs = 0
        for worker, done in fleet.wait(WAIT_SECONDS):
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
        # First the orders, so that nobody waits while the caller writes; all reports in one, so that it writes at once
        # what has come while it wrote: the busier it is, the larger its stacks.
        fleet.grow()
        give_orders(fleet, queue, capacity)
        yield Progressed(fresh, sum(training.values()), num_epochs, tuple(messages))


def give_orders(fleet: Fleet, queue: TrialQueue, capacity: int) -> None:
    """Fill every worker's seats and, while there are many trials, its own small queue before them.

    Nobody gets more than a fair share of what is left, so that few trials are spread over all workers; and at most half
    of a fair share of those that will have to wait goes ahead of free seats: the last ones are handed out one by one.
    """
    workers = fleet.workers()
    free = sum(max(0, capacity - queue.num_held(worker)) for worker in workers)
    ahead = min(capacity, max(0, queue.num_waiting - free) // (2 * max(1, len(workers))))
    for worker in sorted(workers, key=queue.num_held):
        share = -(-queue.num_unfinished // len(workers))
        if fleet.num_orders(worker) >= ORDERS_AHEAD:
            continue
        trials = queue.take(worker, min(capacity + ahead, share) - queue.num_held(worker))
        if trials or (queue.num_held(worker) and not fleet.num_orders(worker)):
            fleet.send(worker, Order(trials, {one: queue.saved[one] for one in trials if one in queue.saved}))
        if queue.num_held(worker) and fleet.num_orders(worker) < ORDERS_AHEAD:
            fleet.send(worker, Order([], {}))
