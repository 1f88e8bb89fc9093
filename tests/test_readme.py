"""The README's Python examples run as they stand, and its tables name every column."""

import re

import pytest

from modjax.storage.tables import SCHEMAS
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(block, capsys):
    exec(compile(block, "README.md", "exec"), {})
    return capsys.readouterr().out


def test_there_is_an_example_for_each_kind_of_user():
    assert [next(word for word in ("run_sweep", "similarity", "mj.train") if word in block) for block in BLOCKS] == [
        "run_sweep",
        "similarity",
        "mj.train",
    ]


@pytest.mark.parametrize("index", [1, 2], ids=["similarity", "train"])
def test_example_runs(index, capsys):
    assert run(BLOCKS[index], capsys).strip()


@pytest.mark.slow
def test_sweep_example_runs(capsys, tmp_path, monkeypatch):
    """The quickstart itself, and the effect that the issue asks it to show."""
    monkeypatch.chdir(ROOT)
    block = BLOCKS[0].replace('"runs/quickstart"', repr(str(tmp_path / "quickstart")))
    assert "input_jacobian" in run(block, capsys)

    import polars as pl

    import modjax as mj

    sweep = mj.open_sweep(tmp_path / "quickstart")
    assert sweep.trials.height >= 40
    rows = sweep.modules.join(sweep.trials.filter(pl.col("arm") == "dropout"), on="trial_id")
    rows = rows.filter(pl.col("normalized") & (pl.col("layer") == 0) & (pl.col("measure") == "input_jacobian"))
    q = dict(rows.group_by("dropout").agg(pl.col("q").mean()).rows())
    assert q[max(q)] >= 1.8 * q[0.0]


def test_every_column_is_in_the_readme():
    text = README.replace("{train,val,test}_{loss,accuracy}", " ".join(SCHEMAS["trials"]))
    text = text.replace("`trial_id`", "trial_id")
    for name, schema in SCHEMAS.items():
        keys = {"measure_a", "normalized_a", "measure_b", "normalized_b"}
        missing = [column for column in schema if column not in keys and not re.search(rf"\b{column}\b", text)]
        assert not missing, (name, missing)
