"""What looks on while trials train: the user's function, a progress bar, event files of TensorBoard."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from modjax.training.events import EpochReport

Listener = Callable[[EpochReport], None]


@contextmanager
def listening(
    num_trials: int,
    hyperparams: Mapping[str, np.ndarray],
    progress: bool,
    log_dir: str | os.PathLike | None,
    on_epoch: Listener | None,
) -> Iterator[Listener]:
    """Yield one function to call with every report.

    Args:
        num_trials: Number of trials.
        hyperparams: Their hyperparameters, ``[trials]`` each.
        progress: Whether to show a progress bar.
        log_dir: Folder for TensorBoard; None writes nothing.
        on_epoch: Function of the user.

    Raises:
        ValueError: If ``log_dir`` is given and TensorBoard is not installed.
    """
    with ExitStack() as stack:
        listeners = [on_epoch] if on_epoch is not None else []
        if progress:
            listeners.append(stack.enter_context(_bar(num_trials)))
        if log_dir is not None:
            listeners.append(stack.enter_context(_event_files(Path(log_dir), hyperparams)))

        def listen(report: EpochReport) -> None:
            for listener in listeners:
                listener(report)

        yield listen


@contextmanager
def _bar(num_trials: int) -> Iterator[Listener]:
    """Yield a listener that shows the trials that have finished, epochs, and the lowest validation loss."""
    columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("trials, {task.description}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as bar:
        task, epochs, lowest = bar.add_task("starting", total=num_trials), 0, float("inf")

        def listen(report: EpochReport) -> None:
            nonlocal epochs, lowest
            epochs += len(report.rows)
            losses = [row.get("val_loss", row["train_loss"]) for row in report.rows.values()]
            lowest = min([lowest, *(loss for loss in losses if np.isfinite(loss))])
            description = f"{report.num_training} in training, {epochs} epochs, lowest loss {lowest:.4g}"
            bar.update(task, advance=len(report.finished), description=description)

        yield listen


@contextmanager
def _event_files(folder: Path, hyperparams: Mapping[str, np.ndarray]) -> Iterator[Listener]:
    """Yield a listener that writes ``folder/trial_<index>/events...``, with hyperparameters for the HPARAMS tab."""
    try:
        writer_of = import_module("tensorboard.summary.writer.event_file_writer").EventFileWriter
        Event = import_module("tensorboard.compat.proto.event_pb2").Event  # noqa: N806
        Summary = import_module("tensorboard.compat.proto.summary_pb2").Summary  # noqa: N806
        hparams_of = import_module("tensorboard.plugins.hparams.summary_v2").hparams_pb
    except ImportError as error:
        raise ValueError(
            f"log_dir needs the package tensorboard ({error}); install it: pip install 'modjax[tensorboard]'."
        ) from error
    writers: dict[int, Any] = {}

    def write(trial: int, row: Mapping[str, Any]) -> None:
        if trial not in writers:
            writers[trial] = writer_of(str(folder / f"trial_{trial}"))
            settings = {name: column[trial].item() for name, column in hyperparams.items()}
            writers[trial].add_event(Event(summary=hparams_of(settings, trial_id=str(trial))))
        values = [Summary.Value(tag=name, simple_value=value) for name, value in row.items() if name != "epoch"]
        writers[trial].add_event(Event(step=row["epoch"], summary=Summary(value=values)))

    def listen(report: EpochReport) -> None:
        for trial, row in report.rows.items():
            write(trial, row)
        for finished in report.finished:  # open files, and threads, only for trials in training
            if finished.trial in writers:
                writers.pop(finished.trial).close()

    try:
        yield listen
    finally:
        for writer in writers.values():
            writer.close()
