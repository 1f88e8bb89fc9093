"""Status of a sweep, seen from another process; only reads, so it also works while the sweep runs."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import polars as pl

from modjax.store.exclusion import exclusion_warnings
from modjax.store.failures import failed_trials
from modjax.store.paths import SweepPaths
from modjax.store.sweep import open_sweep
from modjax.sweep.heartbeat import Heartbeat, is_locked, read_heartbeat
from modjax.sweep.progress import time_text


class Status(NamedTuple):
    """Status of a sweep.

    Attributes:
        trials: Table of ``arm, status, trials, excluded, mean_epochs``, including parts that are not merged yet.
        is_running: Whether a process is working in the directory.
        is_complete: Whether the sweep ran to its end.
        epochs: Number of trial-epochs of the trials that ended.
        checkpoint_age: Seconds since weights or snapshots were last saved; -1 if never.
        heartbeat: Last heartbeat of the running or interrupted process, or None.
        failed: Reasons of failed trials, by ``trial_id``.
        warnings: Sentences about arms of which most trials are excluded.
    """

    trials: pl.DataFrame
    is_running: bool
    is_complete: bool
    epochs: int
    checkpoint_age: float
    heartbeat: Heartbeat | None
    failed: dict[str, str]
    warnings: list[str]


def sweep_status(out: str | os.PathLike) -> pl.DataFrame:
    """Return the number of trials by arm and status, including parts that are not merged yet.

    Raises:
        ValueError: If the directory is not a sweep.
    """
    return watch_sweep(out).trials


def watch_sweep(out: str | os.PathLike) -> Status:
    """Return the status of a sweep that is running, interrupted or complete.

    Raises:
        ValueError: If the directory is not a sweep.
    """
    sweep = open_sweep(out)
    paths, manifest = sweep.paths, sweep.manifest
    failed = dict(manifest.get("failed") or {})
    # A running sweep may merge and remove its parts at any moment.
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
    return Status(by_arm, is_locked(paths.lock), is_complete, epochs, age, heartbeat, failed, exclusion_warnings(sweep))


def _checkpoint_age(paths: SweepPaths) -> float:
    folders = [paths.training, *paths.training.glob("worker_*")]  # of this machine, and of the workers of a cluster
    steps = [path for folder in folders for path in folder.glob("*") if path.name.isdigit()]
    saved = [_changed(path) for path in [*steps, *paths.checkpoints.glob("stack_*.json")]]
    return max(0.0, time.time() - max(saved)) if saved else -1.0


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed since it was listed
        return 0.0


def status_text(status: Status) -> list[str]:
    """Return the status as readable lines."""
    state = "running" if status.is_running else "complete, not running" if status.is_complete else "not running"
    if not status.is_running and not status.is_complete:
        state += "; run the same command again to go on"
    counts = {
        row["status"]: row["trials"] for row in status.trials.group_by("status").agg(pl.col("trials").sum()).to_dicts()
    }
    lines = [state, ", ".join(f"{counts[name]} {name}" for name in sorted(counts))]
    lines[-1] += f"; {status.epochs} trial-epochs of ended trials"
    heartbeat = status.heartbeat
    if heartbeat is not None and (status.is_running or not status.is_complete):
        trained = int(status.trials.filter(pl.col("mean_epochs") > 0)["trials"].sum())
        lines += _heartbeat_lines(heartbeat, status.is_running, status.epochs / trained if trained else 0.0)
    if status.checkpoint_age >= 0:
        lines.append(f"last checkpoint {status.checkpoint_age:.0f} s ago")
    lines += [f"failed: {trial_id} ({reason})" for trial_id, reason in sorted(status.failed.items())]
    return [*lines, *(f"WARNING: {warning}" for warning in status.warnings)]


def _heartbeat_lines(heartbeat: Heartbeat, is_running: bool, epochs_per_trial: float) -> list[str]:
    when = (
        f"stage: {heartbeat.stage}" if is_running else f"last stage: {heartbeat.stage}, told {_ago(heartbeat.updated)}"
    )
    rate = f"{heartbeat.epochs_per_second:.1f} trial-epochs/s"
    since = max(heartbeat.updated - heartbeat.started, 1e-9)
    if epochs_per_trial:
        rate += f", {3600 * heartbeat.epochs_per_second / epochs_per_trial:.0f} trials/h"
    line = f"this run: {heartbeat.done}/{heartbeat.trials} trials done, {heartbeat.training} training, "
    line += f"{heartbeat.failed} failed, "
    line += f"{heartbeat.epochs} trial-epochs in {since:.0f} s, {rate}, {heartbeat.searches} searches"
    return [when, line, *([time_text(heartbeat.seconds_left)] if is_running else [])]


def _ago(moment: float) -> str:
    return f"{max(0.0, time.time() - moment):.0f} s ago"
