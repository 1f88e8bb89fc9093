"""Worker processes that die in the middle of a sweep lose nothing."""

from functools import partial

import pytest

import modjax as mj
from tests.seams import search_modules_by
from tests.sweep.dying import cluster_or_die
from tests.sweep.test_pipeline import assert_same_tables


@pytest.mark.workers
@pytest.mark.filterwarnings("ignore::UserWarning")  # loky warns of the killed workers, which are what is tested
def test_killed_workers_lose_nothing(finished, folder, write_spec, tiny_content, monkeypatch):
    (folder / "jobs").mkdir()
    search_modules_by(monkeypatch, partial(cluster_or_die, str(folder / "jobs")))
    sweep = mj.run_sweep(write_spec(tiny_content), folder / "out", is_quiet=True)
    assert_same_tables(sweep, finished)
    assert len(list((folder / "jobs").iterdir())) > finished.trials.height * 3  # some were done again
