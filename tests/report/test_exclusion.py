"""What is said where trials are excluded: the sweep's own rule, loudly where it is most of an arm."""

import polars as pl
import pytest
import tomli_w
from typer.testing import CliRunner

import modjax as mj
from modjax.cli import app
from modjax.report.figures import modularity_points
from modjax.report.reproduction import reproduction_text
from modjax.report.summary import summary_table
from modjax.report.write import write_report
from modjax.store.exclusion import exclusion_rule, exclusion_warnings, num_excluded
from tests.report.browsing import go
from tests.report.sweeps import write_sweep

CASES = {
    "nothing": (pl.lit(False), 0.9, []),
    "half of an arm": (pl.col("dropout") == 0.5, 0.9, []),
    "an arm": (
        pl.col("arm") == "l2",
        0.95,
        ["2 of 2 trained trials of arm 'l2' are excluded (test accuracy below 0.95): no mean or claim uses them."],
    ),
    "all": (
        pl.col("status") == "done",
        0.99,
        [
            "All 6 trained trials are excluded (test accuracy below 0.99): "
            "means and claims are without trained networks."
        ],
    ),
}


def made(root, is_excluded, least):
    def change(name, frame):
        return frame.with_columns(excluded=is_excluded) if name == "trials" else frame

    sweep = write_sweep(root, change=change)
    section = {} if least is None else {"min_accuracy": least}
    sweep.paths.spec.write_text(tomli_w.dumps({"name": "made", "analysis": {**section, "run": []}}))
    return mj.open_sweep(root)


@pytest.mark.parametrize("case", CASES)
def test_more_than_half_of_an_arm_is_said_loudly_and_the_same_everywhere(case, tmp_path):
    is_excluded, least, warnings = CASES[case]
    sweep = made(tmp_path / "out", is_excluded, least)
    assert exclusion_warnings(sweep) == warnings
    done = CliRunner().invoke(app, ["status", str(sweep.paths.root)])
    assert [line for line in done.output.splitlines() if line.startswith("WARNING")] == [
        f"WARNING: {warning}" for warning in warnings
    ]
    out = num_excluded(sweep.trials)
    notes = [note for note in mj.claims(sweep).notes if "left out" in note]
    assert len(notes) == bool(out)
    assert all(f"{out} of 6" in note and f"(excluded: test accuracy below {least:g})" in note for note in notes)
    kept = sweep.trials.filter(~pl.col("excluded"))["trial_id"]
    assert set(modularity_points(sweep, normalized=True)["trial_id"]) == set(kept)
    assert summary_table(sweep)["trials"].sum() == len(kept)


@pytest.mark.report
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case == "an arm" else pytest.mark.slow) for case in CASES]
)
def test_report_has_figures_and_a_banner(case, tmp_path, visit):
    is_excluded, least, warnings = CASES[case]
    sweep = made(tmp_path / "out", is_excluded, least)
    _, path = write_report(sweep)
    page = visit(path)
    banner = page.locator("#overview [role=alert]")
    assert banner.count() == bool(warnings)
    if warnings:
        assert banner.inner_text() == warnings[0]
        assert banner.is_visible()
    text = page.locator("#overview").inner_text()
    assert (f"Excluded: trained, test accuracy below {least:g};" in text) == bool(num_excluded(sweep.trials))
    for section in ("performance", "modularity", "alignment", "trials"):
        go(page, section)


def test_without_a_rule_texts_say_that_nothing_is_excluded(tmp_path):
    sweep = made(tmp_path / "out", pl.lit(False), None)
    assert exclusion_rule(sweep) is None
    assert "0 excluded (none: the spec sets no analysis.min_accuracy)." in reproduction_text(sweep)


@pytest.mark.parametrize("text", ["", "[analysis", "analysis = 1", '[analysis]\nmin_accuracy = "x"'])
def test_a_spec_of_any_content_is_survived(text, tmp_path):
    sweep = made(tmp_path / "out", pl.lit(False), None)
    sweep.paths.spec.write_text(text)
    assert exclusion_rule(sweep) in (None, "test accuracy below 0.8")
