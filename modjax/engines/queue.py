"""The queue of trials of a cluster: which worker holds which trial, what dead workers give back, what has finished."""

import heapq
from collections.abc import Iterable

from modjax.engines.snapshots import Saved

MAX_LOSSES = 10


class TrialQueue:
    """Hands trials (by index) to workers (by number) and counts each finished trial once.

    Args:
        trials: Trials in the order in which they are to be trained.
        saved: Snapshots from which trials that were in training resume.

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
        # Trials that have begun come first, so that their snapshots are needed as briefly as possible.
        self._waiting = [(trial not in saved, rank, trial) for trial, rank in self._rank.items()]
        heapq.heapify(self._waiting)
        self.saved = dict(saved)
        self._held: dict[int, dict[int, None]] = {}
        self._holder: dict[int, int] = {}
        self._unfinished = set(order)
        self._losses: dict[int, int] = {}

    @property
    def num_unfinished(self) -> int:
        """Number of trials that have not finished."""
        return len(self._unfinished)

    @property
    def num_waiting(self) -> int:
        """Number of unfinished trials that no worker holds."""
        return len(self._unfinished) - len(self._holder)

    def num_held(self, worker: int) -> int:
        """Number of trials that a worker holds."""
        return len(self._held.get(worker, ()))

    def take(self, worker: int, count: int) -> list[int]:
        """Hand at most ``count`` trials to a worker."""
        taken: list[int] = []
        while len(taken) < count and self._waiting:
            trial = heapq.heappop(self._waiting)[2]
            if trial in self._unfinished:  # a worker presumed dead may have finished it in the meantime
                taken.append(trial)
                self._holder[trial] = worker
                self._held.setdefault(worker, {})[trial] = None
        return taken

    def finish(self, trial: int) -> bool:
        """Count a finished trial, whichever worker trained it; return False if it was counted before."""
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
        """Take back and return a worker's trials; they resume from ``saved``, or from an earlier snapshot.

        Raises:
            RuntimeError: A trial was lost ``MAX_LOSSES`` times without any progress.
        """
        lost = list(self._held.pop(worker, ()))
        for trial in lost:
            del self._holder[trial]
            # Progress since the last loss clears the count: only a trial that never gets farther is given up.
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
