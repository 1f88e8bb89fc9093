"""Successive halving: at a few epochs, the rungs, only the best share of the trials goes on. On the host, without JAX.

Rungs are synchronous, that is, a trial is judged against all trials of its rung. A decision is made as soon as it is
certain, whatever the trials that are still to come will do. It is therefore a function of the trials' own numbers:
neither slots nor the order of training nor an interruption changes it.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modjax.names import MAX_COUNT, one_of

Row = Mapping[str, float | int]  # of a history
DIRECTIONS = ("minimize", "maximize")


@dataclass(frozen=True)
class SuccessiveHalving:
    """Successive halving: after ``min_epochs * factor**k`` epochs (k = 0, 1, ...) the best 1 / ``factor`` go on.

    Of n trials at a rung, floor(n / factor), at least one, go on. A trial counts with the best value of its metric so
    far; one that ended by itself keeps its best value at all later rungs, and one that diverged counts as the worst.

    Attributes:
        metric: Column of the history by which trials are compared.
        factor: Reduction factor, at least 2.
        min_epochs: Number of epochs of the first rung.
        direction: ``minimize`` or ``maximize``; None maximizes metrics that end in ``accuracy``, and minimizes others.

    References:
        Jamieson & Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", AISTATS 2016.
    """

    metric: str = "val_loss"
    factor: int = 3
    min_epochs: int = 10
    direction: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("factor", 2), ("min_epochs", 1)):
            value = getattr(self, name)
            if int(value) != value or not least <= value <= MAX_COUNT:
                raise ValueError(f"{name} must be a whole number from {least} to {MAX_COUNT}; got {value}.")
        if self.direction is not None:
            one_of(self.direction, DIRECTIONS, "direction")

    @property
    def is_maximized(self) -> bool:
        """Whether larger values of the metric are better."""
        return self.metric.endswith("accuracy") if self.direction is None else self.direction == "maximize"

    def rungs(self, max_epochs: int) -> tuple[int, ...]:
        """Return the epochs after which trials are compared.

        Example:
            >>> SuccessiveHalving(factor=3, min_epochs=10).rungs(300)
            (10, 30, 90, 270)
        """
        rungs, epochs = [], self.min_epochs
        while epochs < max_epochs:
            rungs.append(epochs)
            epochs *= self.factor
        return tuple(rungs)

    def sizes(self, num_trials: int, max_epochs: int) -> tuple[int, ...]:
        """Return the number of trials at each rung, and of those that go on from the last one.

        Example:
            >>> SuccessiveHalving(factor=3, min_epochs=10).sizes(200, max_epochs=100)
            (200, 66, 22, 7)
        """
        sizes = [num_trials]
        for _ in self.rungs(max_epochs):
            sizes.append(max(1, sizes[-1] // self.factor))
        return tuple(sizes)


class Rungs:
    """The decisions of successive halving over some trials.

    Args:
        halving: The settings.
        max_epochs: Largest number of epochs of a trial.
        names: Name of each trial, by its index; of two equal values that of the lesser name is better.
        earlier: Histories of trials that finished in earlier runs, by name.

    Example:
        >>> rungs = Rungs(SuccessiveHalving(factor=2, min_epochs=1), max_epochs=8, names=["a", "b"])
        >>> rungs.report(0, [{"val_loss": 1.0}])
        >>> rungs.goes_on(0, 1)  # not certain yet: b may be better
        >>> rungs.report(1, [{"val_loss": 2.0}])
        >>> rungs.goes_on(0, 1), rungs.goes_on(1, 1)
        (True, False)
    """

    def __init__(
        self,
        halving: SuccessiveHalving,
        max_epochs: int,
        names: Sequence[Hashable],
        earlier: Mapping[Any, Sequence[Row]] | None = None,
    ) -> None:
        self._halving, self._names = halving, list(names)
        self.epochs = halving.rungs(max_epochs)
        self._sizes = halving.sizes(len({*names, *(earlier or {})}), max_epochs)
        # By rung: each trial's cost, which is to be small, and whether it goes on, once that is certain.
        self._costs: list[dict[Any, float]] = [{} for _ in self.epochs]
        self._decided: list[dict[Any, bool]] = [{} for _ in self.epochs]
        self._ended: dict[Any, Sequence[Row]] = {}
        for name, history in (earlier or {}).items():
            self._enter(name, history, is_over=True)
        self._decide()

    def report(self, trial: int, history: Sequence[Row], is_over: bool = False, is_failed: bool = False) -> None:
        """Take in the history of a trial that has reached a rung, or that is over.

        Raises:
            ValueError: If the history lacks the metric.
        """
        self._enter(self._names[trial], history, is_over, is_failed)
        self._decide()

    def goes_on(self, trial: int, epochs: int) -> bool | None:
        """Return whether a trial goes on after so many epochs; None where that depends on trials still to come."""
        return self._decided[self.epochs.index(epochs)].get(self._names[trial]) if epochs in self.epochs else True

    def _enter(self, name: Any, history: Sequence[Row], is_over: bool, is_failed: bool = False) -> None:
        history = [] if is_failed else history
        if is_over:
            self._ended[name] = history
        for rung, epochs in enumerate(self.epochs):
            if len(history) > epochs:  # it went on, so that was certain, also if others are not known again yet
                self._decided[rung][name] = True
            is_reached = len(history) >= epochs or is_over
            if not is_reached or (rung > 0 and not self._decided[rung - 1].get(name, False)):
                return
            self._costs[rung].setdefault(name, self._cost(history[:epochs]))

    def _cost(self, history: Sequence[Row]) -> float:
        """Return the best value so far, negated where it is maximized; infinite if a value was not finite."""
        metric = self._halving.metric
        if history and metric not in history[0]:
            known = ", ".join(name for name in history[0] if name != "epoch")
            raise ValueError(f"successive halving compares trials by {metric!r}, which the history lacks: {known}.")
        values = [-row[metric] if self._halving.is_maximized else row[metric] for row in history]
        return min(values) if values and all(map(math.isfinite, values)) else math.inf

    def _decide(self) -> None:
        """Make every decision that is certain; trials that are over go on to later rungs at once."""
        for rung, costs in enumerate(self._costs):
            num_kept, num_unknown = self._sizes[rung + 1], self._sizes[rung] - len(costs)
            ranked = sorted(costs, key=lambda name: (costs[name], name))
            for rank, name in enumerate(ranked):
                if name in self._decided[rung] or num_kept - num_unknown <= rank < num_kept:
                    continue
                self._decided[rung][name] = rank < num_kept
                if rank < num_kept and name in self._ended and rung + 1 < len(self.epochs):
                    history = self._ended[name][: self.epochs[rung + 1]]
                    self._costs[rung + 1].setdefault(name, self._cost(history))
