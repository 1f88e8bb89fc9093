"""Progress of a running sweep: a bar in a terminal, plain lines elsewhere, and a file for other processes."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from modjax.sweep.heartbeat import Heartbeat, HeartbeatFile
from modjax.sweep.pace import Pace

LINE_EVERY_SECONDS = 10.0
EXPECTED_EPOCHS = 40.0  # default if there is no better estimate


class SweepProgress:
    """Display of trials done and in training, epochs, and time left.

    Args:
        num_trials: Number of trials of the sweep.
        is_quiet: Whether to print nothing but warnings.
        path: Path of the file for other processes; None writes none.
        expected_epochs: Expected epochs per trial, for the time left.
    """

    def __init__(
        self,
        num_trials: int,
        is_quiet: bool = False,
        path: Path | None = None,
        expected_epochs: float = EXPECTED_EPOCHS,
    ) -> None:
        self._console = Console(stderr=True, quiet=is_quiet)
        self._num_trials = num_trials
        self._pace, self._file = Pace(expected_epochs), HeartbeatFile(path)
        self._heartbeat = Heartbeat(trials=num_trials)
        self._last_line = time.perf_counter()
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
        """Begin training; trials finished before this run count as done, but not for the time left."""
        self._heartbeat = self._heartbeat._replace(done=num_finished, stage="training")
        self._file.write(self._heartbeat, is_due=True)
        self._bar.update(self._task, completed=num_finished)

    def __enter__(self) -> "SweepProgress":
        self._bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.stop()
        if error and error[0] is None:
            self._file.remove()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def warn(self, line: str) -> None:
        """Print a warning that stays, also where progress is not to be shown."""
        Console(stderr=True).print(f"WARNING: {line}", highlight=False, markup=False, soft_wrap=True)

    def stage(self, name: str) -> None:
        """Show the name of the current stage."""
        self._heartbeat = self._heartbeat._replace(stage=name)
        self._file.write(self._heartbeat, is_due=True)
        self._bar.update(self._task, description=name)
        if not self._console.is_terminal:
            self.say(name)

    def update(
        self, num_new: int, training: int, epochs: int, waiting: int, ended: Sequence[int] = (), failed: int = 0
    ) -> None:
        """Update the display after a round of training.

        Args:
            num_new: Number of trials that finished in the round.
            training: Number of trials in training.
            epochs: Number of trial-epochs trained in the round.
            waiting: Number of module searches that wait or run.
            ended: Numbers of epochs of the trained trials that finished.
            failed: Number of trials that failed in this run.
        """
        self._pace.add(epochs, ended)
        last = self._heartbeat
        done = last.done + num_new
        self._heartbeat = last._replace(
            done=done,
            training=training,
            failed=failed,
            epochs=last.epochs + epochs,
            searches=waiting,
            epochs_per_second=round(self._pace.epochs_per_second, 3),
            seconds_left=round(self._pace.seconds_left(max(0, self._num_trials - done - training), training), 1),
        )
        self._file.write(self._heartbeat)
        note = f"{time_text(self._heartbeat.seconds_left)}, {training} training, {self._heartbeat.epochs} epochs"
        note += f", {waiting} searches"
        self._bar.update(self._task, completed=done, description=note)
        now = time.perf_counter()
        if not self._console.is_terminal and now - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = now
            self.say(f"{done}/{self._num_trials} trials done, {note}")


def duration_text(seconds: float) -> str:
    """Return a duration as readable text.

    Example:
        >>> duration_text(42.0), duration_text(600.0), duration_text(20_000.0)
        ('42 s', '10 min', '5.6 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def time_text(seconds: float) -> str:
    """Return the time left as readable text; negative seconds mean unknown.

    Example:
        >>> time_text(-1.0), time_text(600.0)
        ('time left unknown', '~10 min left')
    """
    return "time left unknown" if seconds < 0 else f"~{duration_text(seconds)} left"
