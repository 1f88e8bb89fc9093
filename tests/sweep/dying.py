"""A job that kills its worker: a module of its own, so that workers that import it need not import JAX."""

import os
import signal
from pathlib import Path

from modjax.clustering.layer import cluster_layer


def cluster_or_die(folder, *job):
    """The third and the sixth job to start take their worker with them."""
    number = len(list(Path(folder).iterdir()))
    (Path(folder) / f"{number}_{os.getpid()}").touch()
    if number in (2, 5):
        os.kill(os.getpid(), signal.SIGKILL)
    return cluster_layer(*job)


def die(*job):
    """Take the worker with it."""
    os.kill(os.getpid(), signal.SIGKILL)


def explode(*job):
    """Raise, in two lines."""
    raise ZeroDivisionError("a bad\nmember")
