"""How fast a sweep trains, and how long it will still take."""

import time
from collections import deque
from collections.abc import Callable, Sequence

WINDOW_SECONDS = 60.0
PRIOR_TRIALS = 4.0  # what is expected weighs as much as so many trials that have ended


class Pace:
    """Trial-epochs a second over the last minute, and the seconds until all trials are trained.

    Trials that end first are those that stop early, so what was expected before the run keeps some weight:
    E = (4 expected + sum of epochs of ended trials) / (4 + ended trials). Left are E epochs of each waiting trial and
    E less its age, but at least one, of each in training.

    Args:
        expected_epochs: Epochs a trial, as a plan has them.
        clock: Seconds.
    """

    def __init__(self, expected_epochs: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._expected, self._clock = expected_epochs, clock
        self._total, self._of_ended, self._num_ended = 0, 0, 0
        self._marks: deque[tuple[float, int]] = deque([(clock(), 0)])

    def add(self, epochs: int, ended: Sequence[int] = ()) -> None:
        """Trial-epochs just trained, and how many epochs each trial that ended now had."""
        if not epochs:
            return
        now = self._clock()
        if not self._total:  # the first round compiles
            self._marks = deque([(now, epochs)])
        self._total += epochs
        self._of_ended += sum(ended)
        self._num_ended += len(ended)
        self._marks.append((now, self._total))
        while len(self._marks) > 2 and now - self._marks[1][0] > WINDOW_SECONDS:
            self._marks.popleft()

    @property
    def epochs_per_second(self) -> float:
        """0 where unknown."""
        (since, before), (now, total) = self._marks[0], self._marks[-1]
        return (total - before) / (now - since) if now > since else 0.0

    def seconds_left(self, waiting: int, training: int) -> float:
        """-1 where unknown.

        Args:
            waiting: Trials whose training has not begun.
            training: Trials in training.
        """
        rate = self.epochs_per_second
        if not rate:
            return -1.0
        each = (PRIOR_TRIALS * self._expected + self._of_ended) / (PRIOR_TRIALS + self._num_ended)
        age = max(0, self._total - self._of_ended) / training if training else 0.0
        return (waiting * each + training * max(each - age, 1.0)) / rate
