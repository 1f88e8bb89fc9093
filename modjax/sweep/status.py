"""How far a sweep is, seen from outside; reads only, so that it works while the sweep runs."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import polars as pl

from modjax.store.failures import failed_trials
from modjax.store.paths import SweepPaths
from modjax.store.sweep import open_sweep
from modjax.sweep.heartbeat import Heartbeat, is_locked, read_heartbeat
from modjax.sweep.progress import time_text


class Status(NamedTuple):
    """A sweep, seen from outside.

    Attributes:
        trials: ``arm, status, trials, excluded, mean_epochs``, parts that are not merged yet included.
        is_running: Whether a process works in the directory now.
        is_complete: Whether it came to its end.
        epochs: Trial-epochs of the trials that ended.
        checkpoint_age: Seconds since trained weights, or trials in training, were last saved; -1: never.
        heartbeat: What the running process, or one that was interrupted, last told.
        failed: Why trials failed, by ``trial_id``.
    """

    trials: pl.DataFrame
    is_running: bool
    is_complete: bool
    epochs: int
    checkpoint_age: float
    heartbeat: Heartbeat | None
    failed: dict[str, str]


def sweep_status(out: str | os.PathLike) -> pl.DataFrame:
    """Trials by arm and status, parts that are not merged yet included.

    Raises:
        ValueError: The directory is no sweep.
    """
    return watch_sweep(out).trials


def watch_sweep(out: str | os.PathLike) -> Status:
    """How far a sweep is, whether it runs, was interrupted, or is complete.

    Raises:
        ValueError: The directory is no sweep.
    """
    sweep = open_sweep(out)
    paths, manifest = sweep.paths, sweep.manifest
    failed = dict(manifest.get("failed") or {})
    with suppress(ValueError, OSError):
        failed |= failed_trials(paths)
    trials = sweep.trials
    by_arm = (
        trials.group_by("arm", "status")
        .agg(trials=pl.len(), excluded=pl.col("excluded").sum(), mean_epochs=pl.col("epochs").mean())
        .sort("arm", "status")
    )
    age, epochs = _checkpoint_age(paths), int(trials["epochs"].sum() or 0)
    is_complete = bool(manifest.get("complete", False))
    heartbeat = read_heartbeat(paths.progress)
    return Status(by_arm, is_locked(paths.lock), is_complete, epochs, age, heartbeat, failed)


def _checkpoint_age(paths: SweepPaths) -> float:
    folders = [paths.training, *paths.training.glob("worker_*")]  # this machine's, and those of a cluster's workers
    steps = [path for folder in folders for path in folder.glob("*") if path.name.isdigit()]
    saved = [_changed(path) for path in [*steps, *paths.checkpoints.glob("stack_*.json")]]
    return max(0.0, time.time() - max(saved)) if saved else -1.0


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # gone since it was listed
        return 0.0


def status_text(status: Status) -> list[str]:
    """Lines for people."""
    state = "running" if status.is_running else "complete, not running" if status.is_complete else "not running"
    if not status.is_running and not status.is_complete:
        state += "; run the same command again to go on"
    counts = {
        row["status"]: row["trials"] for row in status.trials.group_by("status").agg(pl.col("trials").sum()).to_dicts()
    }
    lines = [state, ", ".join(f"{counts[name]} {name}" for name in sorted(counts))]
    lines[-1] += f"; {status.epochs} trial-epochs of ended trials"
    told = status.heartbeat
    if told is not None and (status.is_running or not status.is_complete):
        trained = int(status.trials.filter(pl.col("mean_epochs") > 0)["trials"].sum())
        lines += _heartbeat_lines(told, status.is_running, status.epochs / trained if trained else 0.0)
    if status.checkpoint_age >= 0:
        lines.append(f"last checkpoint {status.checkpoint_age:.0f} s ago")
    return [*lines, *(f"failed: {trial_id} ({reason})" for trial_id, reason in sorted(status.failed.items()))]


def _heartbeat_lines(told: Heartbeat, is_running: bool, epochs_per_trial: float) -> list[str]:
    when = f"stage: {told.stage}" if is_running else f"last stage: {told.stage}, told {_ago(told.updated)}"
    rate = f"{told.epochs_per_second:.1f} trial-epochs/s"
    since = max(told.updated - told.started, 1e-9)
    if epochs_per_trial:
        rate += f", {3600 * told.epochs_per_second / epochs_per_trial:.0f} trials/h"
    line = f"this run: {told.done}/{told.trials} trials done, {told.training} training, {told.failed} failed, "
    line += f"{told.epochs} trial-epochs in {since:.0f} s, {rate}, {told.searches} searches"
    return [when, line, *([time_text(told.seconds_left)] if is_running else [])]


def _ago(moment: float) -> str:
    return f"{max(0.0, time.time() - moment):.0f} s ago"
