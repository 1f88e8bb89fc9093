"""Heartbeats of a running sweep for other processes: ``progress.json``, written about once a second."""

import fcntl
import json
import math
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from modjax.io.untrusted import open_regular, read_json

WRITE_SECONDS = 1.0
MAX_BYTES = 2**16


class Heartbeat(NamedTuple):
    """Last reported state of a running sweep.

    Attributes:
        stage: Name of the current stage.
        trials: Number of trials of the sweep.
        done: Number of trials that are trained or need no training, including those of earlier runs.
        training: Number of trials in training.
        failed: Number of trials that failed in this run.
        epochs: Number of trial-epochs trained in this run.
        epochs_per_second: Trial-epochs per second over the last minute; 0 if unknown.
        seconds_left: Seconds until all trials are trained; -1 if unknown.
        searches: Number of module searches that wait or run.
        started: Time when this run began, in seconds since 1970.
        updated: Time of this report, in seconds since 1970.
    """

    stage: str = "starting"
    trials: int = 0
    done: int = 0
    training: int = 0
    failed: int = 0
    epochs: int = 0
    epochs_per_second: float = 0.0
    seconds_left: float = -1.0
    searches: int = 0
    started: float = 0.0
    updated: float = 0.0


class HeartbeatFile:
    """Writer of heartbeats, at most one per second; a full disk does not stop the sweep.

    Args:
        path: Path of the file; None writes nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._written, self._started = path, -math.inf, time.time()

    def write(self, heartbeat: Heartbeat, is_due: bool = False) -> None:
        """Write a heartbeat if the last one is old enough, or if ``is_due``."""
        now = time.perf_counter()
        if self._path is None or not (is_due or now - self._written >= WRITE_SECONDS):
            return
        self._written = now
        stamped = heartbeat._replace(started=round(self._started, 3), updated=round(time.time(), 3))
        temporary = self._path.with_name(f".{self._path.name}.tmp")
        with suppress(OSError):  # not flushed: a heartbeat is worthless after a power cut
            temporary.write_text(json.dumps(stamped._asdict()) + "\n", encoding="utf-8")
            temporary.replace(self._path)

    def remove(self) -> None:
        """Remove the file, since the tables of a complete sweep say everything."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def read_heartbeat(path: Path) -> Heartbeat | None:
    """Return the last heartbeat, or None if it is missing or cannot be read."""
    try:
        return _checked(read_json(path, "a heartbeat", MAX_BYTES))
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def _checked(content: Any) -> Heartbeat:
    kinds = {name: type(value) for name, value in Heartbeat()._asdict().items()}
    values = {name: kind(content[name]) for name, kind in kinds.items()}
    values["stage"] = " ".join(values["stage"].split())[:100]
    if not all(math.isfinite(value) for value in values.values() if not isinstance(value, str)):
        raise ValueError("not finite")
    return Heartbeat(**values)


def is_locked(lock: Path) -> bool:
    """Return whether a process works in the directory of a lock; the lock is left as it was."""
    try:
        descriptor = open_regular(lock)
    except (OSError, ValueError):  # missing, or not a lock of modjax
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
