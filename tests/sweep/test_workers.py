"""Worker processes that die in the middle of a sweep lose nothing."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest

import modjax as mj
from modjax.sweep import stacks
from tests.seams import cluster_layer
from tests.sweep.test_pipeline import assert_same_tables


def cluster_or_die(folder, *job):
    """The third and the sixth job to start take their worker with them."""
    number = len(list(Path(folder).iterdir()))
    (Path(folder) / f"{number}_{os.getpid()}").touch()
    if number in (2, 5):
        os.kill(os.getpid(), signal.SIGKILL)
    return cluster_layer(*job)


@pytest.mark.filterwarnings("ignore::UserWarning")  # loky warns of the killed workers, which are what is tested
def test_killed_workers_lose_nothing(finished, folder, write_spec, tiny_content, monkeypatch):
    (folder / "jobs").mkdir()
    monkeypatch.setattr(stacks, "cluster_layer", partial(cluster_or_die, str(folder / "jobs")))
    sweep = mj.run_sweep(write_spec(tiny_content), folder / "out", is_quiet=True)
    assert_same_tables(sweep, finished)
    assert len(list((folder / "jobs").iterdir())) > finished.trials.height * 3  # some were done again
