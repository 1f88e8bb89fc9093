import polars as pl
import pytest

from tests.report.tables import module_rows, paper_trials, write_sweep
from tests.report.test_claims import rising_q
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


@pytest.fixture
def rows_of(capsys, tmp_path):
    """The rows that the command writes; networks of the strongest L2 have lost most of their units."""
    trials = paper_trials()
    rows = module_rows(trials, rising_q)
    strong = {trial["trial_id"] for trial in trials if trial["l2"] == 1e-2}
    for row in rows:
        row["labels"], row["num_dead"] = [0] * 10, 8 if row["trial_id"] in strong else 0
    sweep = write_sweep(tmp_path / "out", trials, rows)

    def write(*options):
        status, out, err = run(capsys, "claims", sweep.paths.root, "--out", tmp_path / "claims.csv", *options)
        assert (status, err) == (0, "")
        return pl.read_csv(tmp_path / "claims.csv"), out

    return write


def test_a_margin_finds_what_does_not_differ(rows_of):
    assert rows_of()[0]["p_equivalence"].null_count() == rows_of()[0].height
    rows, _ = rows_of("--margin", "0.05")
    none = rows.filter(verdict="no difference")
    assert none.height
    assert none["p_equivalence"].max() <= 0.05


def test_an_interval_of_bootstrap_is_another(rows_of):
    by_t, by_bootstrap = (rows_of(*options)[0].filter(quantity="gain") for options in ((), ("--interval", "bootstrap")))
    width = [(rows["high"] - rows["low"]).to_numpy() for rows in (by_t, by_bootstrap)]
    assert (width[1] < width[0]).all()
    assert by_t["estimate"].to_list() == by_bootstrap["estimate"].to_list()


def test_a_correction_is_named_and_used(rows_of):
    by_max_t, line = rows_of()
    by_benjamini_hochberg, other_line = rows_of("--correction", "benjamini_hochberg")
    assert "family-wise error 0.05" in line
    assert "false discovery rate 0.05" in other_line
    assert by_max_t["p_adjusted"].to_list() != by_benjamini_hochberg["p_adjusted"].to_list()
    assert by_max_t["p"].to_list() == by_benjamini_hochberg["p"].to_list()


def test_least_living_units_leave_out_settings(rows_of):
    where = {"quantity": "gain", "networks": "l2", "measure": "input_jacobian", "normalized": True, "layer": 0}
    for options, strength in (((), "0.01"), (("--min-living", "0.5"), "0.0001")):
        (setting,) = rows_of(*options)[0].filter(**where)["setting"]
        assert setting == f"l2 {strength} in 9 of 9 seeds"


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
