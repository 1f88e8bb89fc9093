"""What a running sweep says: a live bar in a terminal, plain lines elsewhere."""

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

LINE_EVERY_SECONDS = 10.0


class SweepProgress:
    """Trials done and training, epochs, time left.

    Args:
        num_trials: Trials of the sweep.
        is_quiet: Say nothing.
    """

    def __init__(self, num_trials: int, is_quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=is_quiet)
        self._num_trials, self._done, self._at_start = num_trials, 0, 0
        self._epochs = 0
        self._started = self._last_line = time.perf_counter()
        self._bar = Progress(
            BarColumn(20),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("trials"),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            expand=True,
        )
        self._task = self._bar.add_task("starting", total=num_trials)

    def begin(self, num_finished: int) -> None:
        """Trials that were finished before this run count as done, but not for the time left."""
        self._done = self._at_start = num_finished
        self._bar.update(self._task, completed=num_finished)

    def __enter__(self) -> "SweepProgress":
        self._bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def stage(self, name: str) -> None:
        """Name what is going on."""
        self._bar.update(self._task, description=name)
        if not self._console.is_terminal:
            self.say(name)

    def update(self, num_new: int, training: int, epochs: int, waiting: int) -> None:
        """After an epoch: trials that finished, trials training now, epochs trained, jobs waiting for workers."""
        self._done += num_new
        self._epochs += epochs
        note = f"{self._time_left()}, {training} training, {self._epochs} epochs, {waiting} searches"
        self._bar.update(self._task, completed=self._done, description=note)
        now = time.perf_counter()
        if not self._console.is_terminal and now - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = now
            self.say(f"{self._done}/{self._num_trials} trials done, {note}")

    def _time_left(self) -> str:
        fresh = self._done - self._at_start
        if fresh < 1:
            return "time left unknown"
        left = (time.perf_counter() - self._started) / fresh * (self._num_trials - self._done)
        return f"~{left:.0f} s left" if left < 120 else f"~{left / 60:.0f} min left"
