"""The one queue of trials of a cluster: who has which, what comes back from the dead, what counts."""

import heapq
from collections.abc import Iterable

from modjax.engines.snapshots import Saved

MAX_LOSSES = 10


class TrialQueue:
    """Trials by index, handed out to workers by number, counted once.

    Args:
        trials: In the order in which they are to be trained.
        saved: Where those that were in training go on.

    Example:
        >>> queue = TrialQueue([0, 1, 2], {})
        >>> queue.take(7, 2), queue.take(8, 2), queue.finish(1), queue.lose(7, {}), queue.take(8, 2)
        ([0, 1], [2], True, [0], [0])
        >>> queue.finish(0), queue.finish(0), queue.num_unfinished
        (True, False, 1)
    """

    def __init__(self, trials: Iterable[int], saved: dict[int, Saved]) -> None:
        order = list(trials)
        self._rank = {trial: rank for rank, trial in enumerate(order)}
        # Those that have begun come first, so that what was saved of them is needed no longer than it must.
        self._waiting = [(trial not in saved, rank, trial) for trial, rank in self._rank.items()]
        heapq.heapify(self._waiting)
        self.saved = dict(saved)
        self._held: dict[int, dict[int, None]] = {}
        self._holder: dict[int, int] = {}
        self._unfinished = set(order)
        self._losses: dict[int, int] = {}

    @property
    def num_unfinished(self) -> int:
        """Trials that have not finished."""
        return len(self._unfinished)

    @property
    def num_waiting(self) -> int:
        """Trials that no worker has."""
        return len(self._unfinished) - len(self._holder)

    def num_held(self, worker: int) -> int:
        """Trials that a worker has."""
        return len(self._held.get(worker, ()))

    def take(self, worker: int, count: int) -> list[int]:
        """Hand at most ``count`` trials to a worker."""
        taken: list[int] = []
        while len(taken) < count and self._waiting:
            trial = heapq.heappop(self._waiting)[2]
            if trial in self._unfinished:  # a worker given up for dead may have finished it meanwhile
                taken.append(trial)
                self._holder[trial] = worker
                self._held.setdefault(worker, {})[trial] = None
        return taken

    def finish(self, trial: int) -> bool:
        """Count a trial, whoever trained it; False where it was counted before."""
        if trial not in self._unfinished:
            return False
        self._unfinished.remove(trial)
        self._losses.pop(trial, None)
        self.saved.pop(trial, None)
        holder = self._holder.pop(trial, None)
        if holder is not None:
            del self._held[holder][trial]
        return True

    def lose(self, worker: int, saved: dict[int, Saved]) -> list[int]:
        """Take back all that a worker had; they go on from where they were ``saved``, or from where they did before.

        Raises:
            RuntimeError: A trial was lost over and over without getting any farther.
        """
        lost = list(self._held.pop(worker, ()))
        for trial in lost:
            del self._holder[trial]
            if trial in saved and saved[trial].epochs > (self.saved[trial].epochs if trial in self.saved else -1):
                self.saved[trial] = saved[trial]
                self._losses.pop(trial, None)
            self._losses[trial] = self._losses.get(trial, 0) + 1
            if self._losses[trial] >= MAX_LOSSES:
                raise RuntimeError(
                    f"{MAX_LOSSES} workers died one after the other with the same trial, perhaps for lack of memory; "
                    "nothing finished is lost: run the same command again."
                )
            heapq.heappush(self._waiting, (trial not in self.saved, self._rank[trial], trial))
        return lost
