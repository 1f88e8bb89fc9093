"""The page that compares two sweeps, in a real browser."""

import pytest

from tests.report.browsing import ODD, assert_selectors_work, caption, choose, go, odd_cases, overflow, settled
from tests.report.sweeps import write_sweep
from tests.seams import compare

COMPARED = [
    "overview",
    "claims",
    "performance",
    "modularity",
    "depth",
    "nulls",
    "alignment",
    "viewer",
    "curves",
    "differences",
    "trials",
    "specs",
]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    first = write_sweep(folder / "a", units=8)
    second = write_sweep(folder / "b", arms={"dropout": (0.0, 0.5, 0.6)}, layers=(0,), units=8, name="other")
    first.paths.report.write_text("", encoding="utf-8")
    return first, second, compare(first, second, folder / "compare.html")


def test_two_sweeps_are_compared(visit, two):
    first, _, path = two
    page = visit(path)
    assert page.evaluate("[...document.querySelectorAll('section')].map((one) => one.id)") == COMPARED
    for section in COMPARED:
        go(page, section)
    assert page.evaluate("[...document.querySelectorAll('.plot')].every((one) => one.data.length > 0)")
    assert page.evaluate("[...document.querySelectorAll('.plot')].every((one) => one.ariaLabel.length > 20)")
    assert "7 pairs of trials" in page.locator("#overview").inner_text()
    assert "Too few seeds to test: 3 seeds, 6 are needed." in page.locator("#overview .verdicts").first.inner_text()
    dashes = page.evaluate(
        "[...new Set(document.querySelector('#modularity .plot').data.map((one) => one.line?.dash))]"
    )
    assert {"solid", "dash"} <= set(dashes)
    rows = page.locator("#differences tbody tr")
    assert rows.count() == 3
    before = rows.first.inner_text()
    page.locator("#differences").get_by_label("Quantity", exact=True).select_option(label="test accuracy")
    assert rows.first.inner_text() != before
    page.evaluate("M.nameTrial(M.sweeps[0], M.sweeps[0].trials[0])")
    assert page.locator("#picked a").get_attribute("href") == f"a/report.html#trial={first.trials['trial_id'][0]}"
    assert "same" in page.locator("#specs").inner_text()
    assert overflow(page) == 0


OF_BOTH = [
    ("performance", "Horizontal axis", "dropout"),
    ("modularity", "Quantity", "z"),
    ("modularity", "Similarity", "0"),
    ("depth", "Quantity", "effective_modules"),
    ("depth", "Arm", "l2"),
    ("depth", "Strength", "1"),
    ("nulls", "Null", "untrained_z"),
    ("nulls", "Networks", "untrained"),
    ("nulls", "Similarity", "0"),
    ("alignment", "Score", "ami"),
    ("alignment", "Networks", "untrained"),
    ("alignment", "Networks", "arm dropout"),
    ("viewer", "Measure", "loss_hessian"),
    ("viewer", "Similarity", "0"),
    ("viewer", "Sort by modules of", "B"),
    ("viewer", "Sort by modules of", "joint"),
    ("viewer", "Sort by modules of", "unit"),
]


def test_every_selector_of_two_sweeps_changes_its_figure(visit, two):
    assert_selectors_work(visit(two[2]), OF_BOTH)


def test_a_pair_is_picked_by_its_address_its_row_or_one_of_the_two(visit, two):
    first, second, path = two
    setting = {"arm": "dropout", "seed": 1, "dropout": 0.5}
    a, b = (sweep.trials.filter(**setting)["trial_id"].item() for sweep in (first, second))
    page = visit(path, f"#b={b}")
    go(page, "viewer")
    settled(page, "viewer")
    assert a in caption(page, "viewer", 0)
    assert b in caption(page, "viewer", 1)
    assert "8 units" in caption(page, "viewer", 1)
    assert page.evaluate("document.querySelector('#viewer .plot').layout.shapes.length") > 0
    go(page, "curves")
    settled(page, "curves")
    assert "seed 1" in caption(page, "curves")
    other = first.trials.filter(arm="l2")["trial_id"][0]
    choose(page, "viewer", "Trial of A", other)
    assert other in caption(page, "viewer", 0)
    assert b in caption(page, "viewer", 1)  # l2 is in A alone
    choose(page, "viewer", "Sort by modules of", "A")
    assert "sorted by the modules of A" in caption(page, "viewer", 1)
    choose(page, "viewer", "Layer", "1")
    assert "No matrix of this layer" in caption(page, "viewer", 1)
    table = page.locator("#trials")
    table.get_by_label("Filter", exact=True).fill("dropout 0.5 seed 1")
    assert table.locator("tbody tr").count() == 2
    table.get_by_label("Sweep", exact=True).select_option("B")
    table.locator("tbody a").click()
    assert page.evaluate("location.hash") == f"#a={a}&b={b}"
    assert page.locator("#trials tr.picked").count() == 1


@pytest.mark.parametrize("case", odd_cases())
def test_odd_sweeps_are_compared_with_whole_ones(visit, two, tmp_path, case):
    odd = write_sweep(tmp_path / "odd", **ODD[case])
    page = visit(compare(odd, two[0], tmp_path / "compare.html"))
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    for section in COMPARED:
        go(page, section)
    text = page.locator("main").inner_text()
    assert "NaN" not in text
    assert "undefined" not in text
    assert "Infinity" not in text


def test_two_sweeps_on_a_phone(visit, two):
    page = visit(two[2], viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    for section in COMPARED:
        go(page, section)
        assert overflow(page) == 0, section
