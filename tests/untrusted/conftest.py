"""Time limits, a look for files outside, and rows for docs/reliability.md."""

import json
import os
import shutil
import signal
import time
from contextlib import contextmanager

import pytest

from modjax import cli
from tests.seams import SweepPaths

CASE_SECONDS = 120  # a hang; a case that turns out to be harmless trains and compiles, on a busy machine too


class TookTooLong(BaseException):
    """Nothing that reads files may swallow this."""


@contextmanager
def time_limit(seconds=CASE_SECONDS):
    def stop(number, frame):
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def files_of(root, leave_out=None):
    """Every name below a folder with its size and time, links not followed."""
    found = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if os.path.join(folder, name) != str(leave_out)]
        for name in (*folders, *files):
            about = os.lstat(os.path.join(folder, name))
            found[os.path.join(folder, name)] = (about.st_mode, about.st_size if name in files else 0)
    return found


def run_cli(capsys, *arguments):
    """Exit status, and what was told on standard error."""
    before = {number: signal.getsignal(number) for number in cli.INTERRUPTED}
    try:
        with pytest.raises(SystemExit) as stop, time_limit():
            cli.main([str(argument) for argument in arguments])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return stop.value.code, capsys.readouterr().err


def record(kind, number, started, outcome):
    """A row for docs/reliability.md, where the environment names a file."""
    path = os.environ.get("MODJAX_RELIABILITY_ROWS")
    if path:
        row = {"kind": kind, "number": number, "seconds": round(time.perf_counter() - started, 3), "outcome": outcome}
        with open(path, "a") as file:
            file.write(json.dumps(row) + "\n")


@pytest.fixture
def sweep_copy(finished, tmp_path):
    """A finished sweep to spoil, in a folder of its own, beside a file that nobody may touch."""
    shutil.copytree(finished.paths.root, tmp_path / "here" / "out")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("precious")
    return SweepPaths(tmp_path / "here" / "out")
