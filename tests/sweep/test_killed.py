"""A sweep killed by SIGKILL at three random moments of its training, resumed: the tables of the undisturbed one."""

import random
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

import modjax as mj
from tests.seams import SweepPaths

RUN = """
import sys
from modjax.sweep import pipeline, writer
pipeline.SNAPSHOT_SECONDS = writer.STACK_SECONDS = 0.3
pipeline.run_sweep(sys.argv[1], sys.argv[2], is_quiet=True)
"""


def long_content(tiny_content):
    """Training of many epochs, and nothing else."""
    arms = [{"name": "dropout", "dropout": [0.0, 0.2, 0.4, 0.5, 0.6, 0.7], "learning_rate": [1e-3]}]
    training = {"max_epochs": 400, "batch_size": 8, "early_stopping_patience": 400}
    return tiny_content | {"arms": arms, "training": training, "seeds": [0, 1, 2], "similarity": {"measures": []}}


def rows(root, name):
    table = pl.read_parquet(root / f"{name}.parquet")
    return table.drop([column for column in table.columns if "seconds" in column or "time" in column])


def is_in_training(root):
    return any(path.name.isdigit() for path in SweepPaths(root).training.glob("*"))


@pytest.mark.slow
def test_killed_three_times_and_resumed(folder, write_spec, tiny_content):
    spec = write_spec(long_content(tiny_content))
    mj.run_sweep(spec, folder / "whole", is_quiet=True)
    out, rng = folder / "killed", random.Random(0)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", RUN, str(spec), str(out)])
        started = time.perf_counter()
        while not is_in_training(out) and process.poll() is None and time.perf_counter() - started < 120:
            time.sleep(0.05)
        time.sleep(rng.uniform(0.5, 3.0))
        assert process.poll() is None, "it ended before it was killed: train longer"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert is_in_training(out)
    done = subprocess.run([sys.executable, "-c", RUN, str(spec), str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("trials", "history"):
        one, other = rows(folder / "whole", name), rows(out, name)
        one.write_parquet(folder / "one.parquet")
        other.write_parquet(folder / "other.parquet")
        assert (folder / "one.parquet").read_bytes() == (folder / "other.parquet").read_bytes()
    assert not is_in_training(out)
    trial_id = rows(out, "trials")["trial_id"][0]
    assert {name: set(layer) for name, layer in mj.load_params(out, trial_id).items()}["dense_0"] == {"kernel", "bias"}
    with pytest.raises(ValueError, match="no trial"):
        mj.load_params(out, "nothing")
