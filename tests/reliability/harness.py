"""Sweeps in processes of their own, to be killed; what the tests found goes to a file that the docs are made from."""

import json
import os
import platform
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl

# Checkpoints so often that every way of going on is taken, not once in a minute; no number depends on it.
RUN = """
import sys
from modjax import cli
from modjax.sweep import pipeline, writer
pipeline.SNAPSHOT_SECONDS = writer.STACK_SECONDS = 0.3
writer.STACK_TRIALS = 3
cli.main(sys.argv[1:])
"""
TABLES = ("trials", "history", "modules", "alignment")
ROWS = "MODJAX_RELIABILITY_ROWS"
LIMIT_SECONDS = 600


def content(tiny_content):
    """Nine trials, six of them trained for thirty epochs: seconds of training, and every later stage."""
    training = {"max_epochs": 30, "batch_size": 16, "early_stopping_patience": 30}
    similarity = {"measures": ["covariance", "loss_hessian"], "combined": True}
    return tiny_content | {"training": training, "similarity": similarity, "modules": {"nulls": 2}}


class Sweeps:
    """Starts the sweep of one spec again and again.

    Args:
        spec: Path of the spec.
        folder: For logs, and for what a user's cache would hold.
        report: Whether they draw figures and a page, which takes longer than all else.
    """

    def __init__(self, spec: Path, folder: Path, report: bool = False) -> None:
        self.spec, self.folder, self.num_started, self.report = spec, folder, 0, report
        self.seconds = 0.0  # of a run that nothing happens to, programs compiled
        self.env = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}

    def start(self, out: Path, code: str = RUN) -> subprocess.Popen:
        self.num_started += 1
        with self.log().open("w") as log:
            command = [sys.executable, "-c", code, "sweep", str(self.spec), "--out", str(out)]
            command += [] if self.report else ["--no-report"]
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=self.env)

    def log(self) -> Path:
        return self.folder / f"run_{self.num_started:03d}.log"

    def said(self) -> str:
        return self.log().read_text()

    def finish(self, out: Path) -> float:
        """Run to the end, from where it is; returns the seconds it took."""
        started = time.perf_counter()
        status = self.start(out).wait(LIMIT_SECONDS)
        assert status == 0, self.said()[-3000:]
        return time.perf_counter() - started

    def wait_for(self, process: subprocess.Popen, is_there) -> bool:
        """Until something is there; False if the process ended before."""
        started = time.perf_counter()
        while process.poll() is None:
            if is_there():
                return True
            assert time.perf_counter() - started < LIMIT_SECONDS
            time.sleep(0.002)
        return False


def kill(process: subprocess.Popen) -> bool:
    """SIGKILL; returns whether there was anything left to kill."""
    is_alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return is_alive


def assert_same_bits(one: Path, other: Path) -> None:
    """All tables of two sweeps, columns of times aside."""
    names = [f"{name}.parquet" for name in TABLES] + [str(p.relative_to(one)) for p in one.glob("similarity/*.parquet")]
    assert len(names) >= 6  # four tables, and matrices of two layers or more
    for name in names:
        a, b = (_without_times(pl.read_parquet(root / name)) for root in (one, other))
        assert a.serialize() == b.serialize(), name


def _without_times(frame: pl.DataFrame) -> pl.DataFrame:
    frame = frame.drop([name for name in frame.columns if "seconds" in name or "time" in name])
    return frame.rechunk()


def files_of(out: Path) -> list[Path]:
    """Every file of a sweep but its lock and what was set aside."""
    return sorted(p for p in out.rglob("*") if p.is_file() and p.name != ".lock" and out / "damaged" not in p.parents)


def kind_of(path: Path, out: Path) -> str:
    """What a file is, for the report."""
    name = path.relative_to(out).as_posix()
    starts = {"checkpoints/training": "snapshot", "checkpoints": "stack of weights", "parts": "part"}
    starts |= {"similarity": "table", "figures": "figure"}
    for start, kind in starts.items():
        if name.startswith(start):
            return kind
    return "table" if name.endswith(".parquet") else name


def do_damage(path: Path, rng: random.Random) -> str:
    """Truncate, flip a bit, or remove; returns which."""
    size = path.stat().st_size
    how = rng.choice(["truncated", "flipped", "missing"]) if size else "missing"
    if how == "missing":
        path.unlink()
        return how
    found = bytearray(path.read_bytes())
    if how == "truncated":
        found = found[: rng.randrange(size)]
    else:
        found[rng.randrange(size)] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(found))
    return how


def record(name: str, **row) -> None:
    """Append what a test found to the file that the environment names."""
    if ROWS in os.environ:
        import jax

        about = {
            "test": name,
            **row,
            "cores": len(os.sched_getaffinity(0)),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "jax": jax.__version__,
            "when": time.strftime("%Y-%m-%d"),
        }
        with open(os.environ[ROWS], "a") as file:
            file.write(json.dumps(about) + "\n")
