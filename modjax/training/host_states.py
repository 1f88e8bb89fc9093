"""Trials in training whose state is on the host: those that go on once they have a slot, and those at a rung."""

from collections.abc import Callable, Iterable
from typing import Any

from jaxtyping import PyTree

from modjax.names import STOPPED
from modjax.training.checkpoint import Snapshot, TrialSnapshot
from modjax.training.events import FinishedTrial
from modjax.training.halving import Rungs

Saved = tuple[TrialSnapshot, Any]


class HostStates:
    """States of trials without a slot.

    Args:
        rungs: Decisions of successive halving; None if no trial waits for one.
        start: Function that returns a trial's state before its first epoch; None leaves that to the device.
    """

    def __init__(self, rungs: Rungs | None, start: Callable[[int], Any] | None = None) -> None:
        self._rungs, self._start = rungs, start
        self._ready: dict[int, Saved] = {}
        self._waiting: dict[int, Saved] = {}

    def __len__(self) -> int:
        return len(self._ready) + len(self._waiting)

    def snapshot(self) -> Snapshot:
        """Return all trials, of which there must be one."""
        return Snapshot.of([*self._ready.values(), *self._waiting.values()])

    def add(self, snapshot: Snapshot | None) -> None:
        """Add the trials of a snapshot."""
        for kept, state in snapshot.each() if snapshot is not None else ():
            if self._rungs is not None:
                self._rungs.report(kept.trial, kept.history)
            (self._waiting if self.is_at_rung(kept.epochs) else self._ready)[kept.trial] = (kept, state)

    def is_at_rung(self, epochs: int) -> bool:
        """Return whether trials of so many epochs wait for a decision."""
        return self._rungs is not None and epochs in self._rungs.epochs

    def order(self, queue: Iterable[int]) -> list[int]:
        """Return a queue with the trials that go on first, and without those that wait."""
        return [*self._ready, *(trial for trial in queue if trial not in {*self._ready, *self._waiting})]

    def wait(self, kept: TrialSnapshot, state: PyTree) -> None:
        """Add a trial that has reached a rung."""
        self._waiting[kept.trial] = (kept, state)
        if self._rungs is not None:
            self._rungs.report(kept.trial, kept.history)

    def end(self, finished: FinishedTrial) -> None:
        """Take note of a trial that ended by itself."""
        if self._rungs is not None:
            self._rungs.report(finished.trial, finished.history, True, is_failed=finished.status == "failed")

    def take(self, trial: int) -> Saved | tuple[None, None]:
        """Return a trial that has a slot now, and forget it; nothing if the device is to start it."""
        if trial in self._ready or self._start is None:
            return self._ready.pop(trial, (None, None))
        return TrialSnapshot(trial, 0, 0.0, []), self._start(trial)

    def decide(self) -> tuple[list[int], list[FinishedTrial]]:
        """Return the waiting trials that go on, and those that stop, where either is certain."""
        going, stopped = [], []
        for trial, (kept, state) in list(self._waiting.items()):
            goes_on = self._rungs is None or self._rungs.goes_on(trial, kept.epochs)
            if goes_on is None:
                continue
            del self._waiting[trial]
            if goes_on:
                self._ready[trial] = (kept, state)
                going.append(trial)
            else:
                best_epoch = int(state.stopping.best_epoch)
                outcome = (list(kept.history), STOPPED, best_epoch, kept.seconds)
                stopped.append(FinishedTrial(trial, state.best_params, state.params, *outcome))
        return going, stopped
