"""The examples of docs/extend.md run as they stand: one of each record, in two files and a spec."""

import re
import subprocess
import sys

import polars as pl
import pytest

import modjax as mj
from modjax.catalog import KINDS
from modjax.extensions import catalog_of
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
FILES = ("example.py", "graphs.py")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The folder with the files of the page."""
    root = tmp_path_factory.mktemp("docs")
    for name in FILES:
        blocks = re.findall(rf"```python\n# {name}\n(.*?)```", PAGE, re.DOTALL)
        (root / name).write_text("\n\n".join(blocks), encoding="utf-8")
    (root / "example.toml").write_text(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[0], encoding="utf-8")
    return root


def test_there_is_an_example_of_each_record(files):
    added = catalog_of([files / name for name in FILES]).added
    assert {type(record) for record in added} == set(KINDS)


def test_the_examples_make_a_sweep_in_which_every_record_takes_part(files):
    sweep = mj.run_sweep(
        files / "example.toml",
        files / "out",
        slots=3,
        is_quiet=True,
        report=False,
        extensions=[files / name for name in FILES],
    )
    assert sweep.trials["status"].to_list() == ["done"] * 6
    assert sweep.trials["temperature"].unique().sort().to_list() == [0.5, 1.0]
    assert sweep.similarity["measure"].unique().sort().to_list() == ["coactivity", "covariance"]
    assert sweep.modules["null_kind"].unique().to_list() == ["shuffled"]
    assert sweep.modules["num_modules"].max() <= 2
    assert sweep.rank.height == 6 * 2
    assert sweep.gap.height == 1
    by_arm = sweep.trials.filter(pl.col("temperature") == 1.0).group_by("arm").agg(pl.col("test_loss").mean())
    assert by_arm["test_loss"].n_unique() == 2  # the penalty acts


def test_the_file_of_searches_imports_without_jax(files):
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); assert 'jax' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code, str(files / "graphs.py")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
