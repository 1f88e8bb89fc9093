"""What a running sweep tells other processes: ``progress.json``, a few numbers written about once a second."""

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
    """A running sweep, as it last told.

    Attributes:
        stage: What is going on.
        trials: Of the sweep.
        done: Trained, or not to be trained; those of earlier runs too.
        training: In training now.
        failed: Raised in this run.
        epochs: Trial-epochs trained in this run.
        epochs_per_second: Trial-epochs a second over the last minute; 0 where unknown.
        seconds_left: Until all are trained; -1 where unknown.
        searches: Module searches that wait or run.
        started: When this run began, in seconds since 1970.
        updated: When this was told.
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
    """Writes heartbeats, at most one a second; a disk that is full does not stop the sweep.

    Args:
        path: The file; None writes nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._written, self._started = path, -math.inf, time.time()

    def write(self, heartbeat: Heartbeat, is_due: bool = False) -> None:
        """Write it if the last one is old enough, or if it is due anyway."""
        now = time.perf_counter()
        if self._path is None or not (is_due or now - self._written >= WRITE_SECONDS):
            return
        self._written = now
        told = heartbeat._replace(started=round(self._started, 3), updated=round(time.time(), 3))
        temporary = self._path.with_name(f".{self._path.name}.tmp")
        with suppress(OSError):  # not flushed: it is worth nothing after a power cut
            temporary.write_text(json.dumps(told._asdict()) + "\n", encoding="utf-8")
            temporary.replace(self._path)

    def remove(self) -> None:
        """The sweep is complete: its tables say everything."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def read_heartbeat(path: Path) -> Heartbeat | None:
    """The last heartbeat; None where there is none, or none that can be read."""
    try:
        return _checked(read_json(path, "a heartbeat", MAX_BYTES))
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def _checked(found: Any) -> Heartbeat:
    kinds = {name: type(value) for name, value in Heartbeat()._asdict().items()}
    values = {name: kind(found[name]) for name, kind in kinds.items()}
    values["stage"] = " ".join(values["stage"].split())[:100]
    if not all(math.isfinite(value) for value in values.values() if not isinstance(value, str)):
        raise ValueError("not finite")
    return Heartbeat(**values)


def is_locked(lock: Path) -> bool:
    """Whether a process works in the directory of this lock; the lock is asked, and left as it was."""
    try:
        descriptor = open_regular(lock)
    except (OSError, ValueError):  # not there, or no lock of ours
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
