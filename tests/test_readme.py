"""The Python examples of the README and the docs run as they stand, and their tables name every column."""

import re
import runpy
import subprocess
import sys

import polars as pl
import pytest

import modjax as mj
from tests.compiling import users_environment
from tests.conftest import ROOT
from tests.seams import SCHEMAS, catalog_of, load_spec

TABLES_PAGE = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(block, capsys, folder):
    script = folder / "example.py"
    script.write_text(block, encoding="utf-8")
    runpy.run_path(str(script))
    return capsys.readouterr().out


def test_there_is_an_example_for_each_kind_of_user():
    words = ("run_sweep", "from_linen", "cross_similarity", "modularity_null", "similarity", "mj.train")
    assert [next(word for word in words if word in block) for block in BLOCKS] == [
        "run_sweep",
        "similarity",
        "cross_similarity",
        "from_linen",
        "modularity_null",
        "mj.train",
    ]


@pytest.mark.parametrize("index", [1, 2, 3, 4, 5], ids=["similarity", "more similarity", "adapter", "modules", "train"])
def test_example_runs(index, capsys, tmp_path):
    assert run(BLOCKS[index], capsys, tmp_path).strip()


PAGES = sorted((ROOT / "docs").glob("*.md"))
EXAMPLES = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
    if not re.match(r"# \w+\.py\n", block)  # a part of a file, which tests/extensions/test_docs.py runs
]


@pytest.mark.parametrize("block", EXAMPLES)
def test_example_of_the_docs_runs(block, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(block, capsys, tmp_path).strip()


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_spec_of_the_docs_is_one(tmp_path):
    (tmp_path / "mine.toml").write_text(
        re.findall(r"```toml\n(.*?)```", (PAGES[0].parent / "launch-a-sweep.md").read_text(), re.DOTALL)[0]
    )
    assert mj.load_spec(tmp_path / "mine.toml").num_trials == 20


def effect_of_dropout(sweep):
    """Mean Q of the normalized input Jacobian of layer 0: at the highest dropout, over its value without dropout."""
    rows = sweep.modules.join(sweep.trials.filter(pl.col("arm") == "dropout"), on="trial_id")
    rows = rows.filter(pl.col("normalized") & (pl.col("layer") == 0) & (pl.col("measure") == "input_jacobian"))
    q = dict(rows.group_by("dropout").agg(pl.col("q").mean()).rows())
    return q[max(q)] / q[0.0]


def run_as_users_do(*arguments):
    """Python with these arguments, where the README says to start it: training for minutes is worth compiling well."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=users_environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_sweep_example_runs_and_shows_the_effect(tmp_path):
    script = tmp_path / "example.py"
    script.write_text(BLOCKS[0].replace('"runs/quickstart"', repr(str(tmp_path / "quickstart"))), encoding="utf-8")
    assert "input_jacobian" in run_as_users_do(script)
    sweep = mj.open_sweep(tmp_path / "quickstart")
    assert sweep.trials.height >= 40
    assert effect_of_dropout(sweep) >= 1.8


@pytest.mark.slow
def test_effect_of_dropout_on_mnist(mnist_dir, tmp_path):
    where = ("--out", tmp_path / "out", "--data-dir", mnist_dir)
    run_as_users_do("-m", "modjax.cli", "sweep", "experiments/mnist_small.toml", *where, "--no-report")
    sweep = mj.open_sweep(tmp_path / "out")
    assert effect_of_dropout(sweep) >= 2.5
    plain = sweep.trials.filter((pl.col("arm") == "dropout") & (pl.col("dropout") == 0))
    assert plain["test_accuracy"].mean() > 0.965


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.toml")), ids=lambda path: path.name)
def test_every_experiment_is_a_spec_with_a_header(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("Question:", "Command:", "Machine:", "Expect:"):
        assert any(word in line for line in header), f"{path.name} has no {word}"
    extension = re.search(r"--extend (\S+)", path.read_text())  # the file of records that a study needs
    files = [ROOT / extension.group(1)] if extension else []
    assert load_spec(path, catalog_of(files)).num_trials > 0
    assert path.name in (ROOT / "experiments" / "README.md").read_text()


def test_every_column_is_in_the_readme():
    text = README.replace("{train,val,test}_{loss,accuracy}", " ".join(SCHEMAS["trials"]))
    text = text.replace("`trial_id`", "trial_id")
    for name, schema in SCHEMAS.items():
        keys = {"measure_a", "normalized_a", "measure_b", "normalized_b"}
        missing = [column for column in schema if column not in keys and not re.search(rf"\b{column}\b", text)]
        assert not missing, (name, missing)
        assert not [column for column in schema if f"`{column}`" not in TABLES_PAGE]
