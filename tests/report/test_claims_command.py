import polars as pl
import pytest

from tests.report.tables import module_rows, paper_trials, write_sweep
from tests.seams import CLAIM_SCHEMA
from tests.test_cli import _keep_signal_handlers, run

__all__ = ["_keep_signal_handlers"]


@pytest.fixture
def sweep(tmp_path):
    trials = paper_trials(untrained=0)
    return write_sweep(tmp_path / "out", trials, module_rows(trials, lambda one, *_: 0.1 + 0.5 * one["dropout"]))


def test_prints_verdicts_and_writes_nothing_unasked(capsys, sweep):
    before = sorted(sweep.paths.root.iterdir())
    status, out, err = run(capsys, "claims", sweep.paths.root)
    assert (status, err) == (0, "")
    assert "Does Q rise with dropout? Yes, in all 16 graphs (16 tests together, family-wise error 0.05)." in out
    assert "effect_size" in out
    assert sum("Cannot be tested" in line for line in out.splitlines()) == 3
    assert sorted(sweep.paths.root.iterdir()) == before


def test_writes_the_files_asked_for(capsys, sweep, tmp_path):
    status, _, _ = run(
        capsys, "claims", sweep.paths.root, "--out", tmp_path / "claims.csv", "--markdown", tmp_path / "new" / "r.md"
    )
    assert status == 0
    rows = pl.read_csv(tmp_path / "claims.csv")
    assert rows.columns == list(CLAIM_SCHEMA)
    assert "rises with dropout: +0.5 per unit [0.5, 0.5], rho 1.00" in rows["sentence"][0]
    assert (tmp_path / "new" / "r.md").read_text().startswith("# The numbers of made")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ((), "Does Q rise with dropout? Yes, in all 16 graphs (16 tests together, family-wise error 0.05)."),
        (
            ("--correction", "benjamini_hochberg"),
            "Yes, in all 16 graphs (16 tests together, false discovery rate 0.05).",
        ),
        (("--margin", "0.05"), "Yes, in all 16 graphs"),
        (("--interval", "bootstrap"), "Yes, in all 16 graphs"),
        (("--min-living", "0.5"), "Yes, in all 16 graphs"),
    ],
)
def test_options_of_the_tests(capsys, sweep, options, line):
    status, out, err = run(capsys, "claims", sweep.paths.root, *options)
    assert (status, err) == (0, "")
    assert line in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--correction", "none"), "correction"),
        (("--interval", "normal"), "interval"),
        (("--margin", "-0.1"), "margin"),
        (("--margin", "nan"), "margin"),
        (("--min-living", "2"), "min_living"),
    ],
)
def test_bad_options_exit_2_with_one_line(capsys, sweep, options, message):
    status, out, err = run(capsys, "claims", sweep.paths.root, *options)
    assert (status, out) == (2, "")
    assert message in err.replace("-", "_")
    assert len(err.strip().splitlines()) == 1


def test_a_directory_that_is_no_sweep_exits_2(capsys, tmp_path):
    status, _, err = run(capsys, "claims", tmp_path)
    assert status == 2
    assert err.count("\n") == 1
    assert "is not a sweep" in err


def test_a_real_sweep(capsys, finished, tmp_path):
    status, out, _ = run(capsys, "claims", finished.paths.root, "--markdown", tmp_path / "r.md")
    assert status == 0
    assert "Too few seeds to test: 3 seeds, 6 are needed." in out
    assert "## Q, normalized, all layers" in (tmp_path / "r.md").read_text()
