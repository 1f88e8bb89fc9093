"""Training speed of a sweep and the time that is left."""

import time
from collections import deque
from collections.abc import Callable, Sequence

WINDOW_SECONDS = 60.0
PRIOR_TRIALS = 4.0  # weight of the expected epochs, in ended trials


class Pace:
    """Estimator of trial-epochs per second over the last minute, and of the seconds until all trials are trained.

    Trials that end first are those that stop early, so the estimate from before the run keeps some weight:
    E = (4 expected + sum of epochs of ended trials) / (4 + ended trials). E epochs are left for each waiting trial;
    for each trial in training E minus its age, but at least one.

    Args:
        expected_epochs: Expected epochs per trial, as in a plan.
        clock: Function that returns the time in seconds.
    """

    def __init__(self, expected_epochs: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._expected, self._clock = expected_epochs, clock
        self._total, self._of_ended, self._num_ended = 0, 0, 0
        self._marks: deque[tuple[float, int]] = deque([(clock(), 0)])

    def add(self, epochs: int, ended: Sequence[int] = ()) -> None:
        """Add the number of trial-epochs just trained, and the total epochs of each trial that ended."""
        if not epochs:
            return
        now = self._clock()
        if not self._total:  # the first round includes compilation, so the clock starts after it
            self._marks = deque([(now, epochs)])
        self._total += epochs
        self._of_ended += sum(ended)
        self._num_ended += len(ended)
        self._marks.append((now, self._total))
        while len(self._marks) > 2 and now - self._marks[1][0] > WINDOW_SECONDS:
            self._marks.popleft()

    @property
    def epochs_per_second(self) -> float:
        """Trial-epochs per second; 0 if unknown."""
        (since, before), (now, total) = self._marks[0], self._marks[-1]
        return (total - before) / (now - since) if now > since else 0.0

    def seconds_left(self, waiting: int, training: int) -> float:
        """Return the seconds until all trials are trained; -1 if unknown.

        Args:
            waiting: Number of trials whose training has not begun.
            training: Number of trials in training.
        """
        rate = self.epochs_per_second
        if not rate:
            return -1.0
        each = (PRIOR_TRIALS * self._expected + self._of_ended) / (PRIOR_TRIALS + self._num_ended)
        age = max(0, self._total - self._of_ended) / training if training else 0.0
        return (waiting * each + training * max(each - age, 1.0)) / rate
