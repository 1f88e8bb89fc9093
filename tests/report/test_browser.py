"""The report page in a real browser, opened from the disk as a reader opens it."""

import pytest

from tests.report.browsing import ODD, assert_selectors_work, caption, choose, go, odd_cases, overflow, plots, settled
from tests.report.sweeps import write_large, write_sweep
from tests.seams import build_page

SECTIONS = [
    "overview",
    "performance",
    "modularity",
    "depth",
    "nulls",
    "alignment",
    "viewer",
    "curves",
    "trials",
    "provenance",
]
WITH_FIGURES = ("performance", "modularity", "depth", "nulls", "alignment", "viewer", "curves")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    arms = {"dropout": (0.0, 0.3, 0.6), "l2": (1e-4, 1e-3, 1e-2)}
    return write_sweep(tmp_path_factory.mktemp("browser") / "out", arms=arms, seeds=(0, 1, 2), layers=(-1, 0, 1))


@pytest.fixture(scope="module")
def report(sweep):
    sweep.paths.report.write_text(build_page(sweep, ["Dropout does it."]), encoding="utf-8")
    return sweep.paths.report


def test_every_section_has_its_figure(visit, report):
    page = visit(report)
    assert page.evaluate("[...document.querySelectorAll('section')].map((one) => one.id)") == SECTIONS
    assert "Dropout does it." in page.locator("#overview").inner_text()
    for section in SECTIONS:
        go(page, section)
    for section in WITH_FIGURES:
        drawn = plots(page, section, "(one.data ?? []).length")
        assert drawn, section
        assert min(drawn) > 0, section
        assert all(len(label) > 20 for label in plots(page, section, "one.ariaLabel"))
    assert page.locator(".modebar-btn[data-title*='Share']").count() == 0
    assert overflow(page) == 0
    assert 'name = "made"' in page.locator("#spec").inner_text()


SELECTORS = [
    ("performance", "Horizontal axis", "dropout"),
    ("modularity", "Quantity", "effective_modules"),
    ("modularity", "Similarity", "0"),
    ("modularity", "Layer", "1"),
    ("modularity", "Layer", "-1"),
    ("modularity", "Horizontal axis", "test_accuracy"),
    ("depth", "Arm", "1"),
    ("depth", "Quantity", "z"),
    ("nulls", "Null", "untrained_z"),
    ("alignment", "Score", "ami"),
    ("alignment", "Score", "transfer_normalized"),
    ("alignment", "Layer", "1"),
    ("alignment", "Trained networks of arm", "0"),
    ("viewer", "Measure", "2"),
    ("viewer", "Layer", "1"),
    ("viewer", "Similarity", "0"),
    ("viewer", "Sort by modules of", "3,1"),
    ("viewer", "Sort by modules of", "joint"),
    ("viewer", "Sort by modules of", "unit"),
]


def test_every_selector_changes_its_figure(visit, report):
    assert_selectors_work(visit(report), SELECTORS)


def test_the_matrix_has_the_q_of_the_table(visit, report, sweep):
    """The browser unpacks the matrix, sorts it, and finds the Q of these labels as NumPy does."""
    import numpy as np

    import modjax as mj

    row = sweep.modules.filter(layer=1, measure="input_jacobian", normalized=False).row(4, named=True)
    stored = sweep.similarity.filter(trial_id=row["trial_id"], layer=1, measure="input_jacobian")["matrix"][0]
    S = stored.to_numpy().reshape(16, 16).astype(float)
    page = visit(report, f"#trial={row['trial_id']}")
    settled(page, "viewer")
    for label, value in (("Layer", 1), ("Measure", 1), ("Similarity", 0)):
        choose(page, "viewer", label, value)
    found = page.evaluate("Number(document.querySelector('#viewer .plot').dataset.q)")
    assert found == pytest.approx(mj.modularity(mj.adjacency(S), np.array(row["labels"])), abs=2e-3)
    shown = np.array(page.evaluate("document.querySelector('#viewer .plot').data[0].z"))
    labels = np.array(row["labels"])
    order = np.lexsort((np.arange(16), np.where(labels < 0, np.inf, labels)))
    np.testing.assert_allclose(shown, mj.adjacency(S)[np.ix_(order, order)], atol=np.abs(S).max() / 255)
    assert f"{row['num_modules']} modules" in caption(page, "viewer")
    hover = page.evaluate("document.querySelector('#viewer .plot').data[0].text[0][0]")
    assert "certainty 0." in hover
    assert page.evaluate("document.querySelector('#viewer .plot').layout.shapes.length") == row["num_modules"]


# The point of a trial that stands farthest from all others of the first panel: its trial and where it is.
LONELY = """() => {
  const plot = document.querySelector("#modularity .plot"), box = plot.getBoundingClientRect();
  const { xaxis, yaxis } = plot._fullLayout;
  const points = plot.data.flatMap((trace) => trace.x.map((x, i) => ({
    trial: trace.mode === "markers" ? trace.customdata[i] : null,
    x: box.left + xaxis._offset + xaxis.d2p(x), y: box.top + yaxis._offset + yaxis.d2p(trace.y[i]),
  })));
  const room = (a) => Math.min(...points.filter((b) => b !== a).map((b) => Math.hypot(a.x - b.x, a.y - b.y)));
  const best = points.filter((one) => one.trial !== null).sort((a, b) => room(b) - room(a))[0];
  return { id: M.sweep.trials[best.trial].id, x: best.x, y: best.y };
}"""


def test_clicking_a_point_opens_its_trial(visit, report):
    page = visit(report)
    go(page, "modularity")
    settled(page, "modularity")
    place = page.evaluate(LONELY)
    page.mouse.move(place["x"], place["y"])
    page.wait_for_selector(".hoverlayer .hovertext")
    page.mouse.click(place["x"], place["y"])
    page.wait_for_function("location.hash.startsWith('#trial=')")
    assert page.evaluate("location.hash") == f"#trial={place['id']}"
    go(page, "viewer")
    settled(page, "viewer")
    assert place["id"] in caption(page, "viewer")
    assert page.locator("#viewer").get_by_label("Trial", exact=True).input_value() == place["id"]
    assert page.locator("#trials tr.picked a").inner_text() == place["id"]


def test_address_opens_a_trial_and_a_foreign_one_does_not_hurt(visit, report, sweep):
    trial_id = sweep.trials.filter(arm="l2")["trial_id"][2]
    page = visit(report, f"#trial={trial_id}")
    settled(page, "viewer")
    assert trial_id in caption(page, "viewer")
    other = sweep.trials.filter(arm="l2")["trial_id"][4]
    page.evaluate("id => { location.hash = `#trial=${id}`; }", other)
    page.wait_for_function("id => document.querySelector('#viewer figcaption').textContent.includes(id)", arg=other)
    page = visit(report, "#trial=unknown")
    assert page.evaluate("M.state.trial !== null")


def column(page, index):
    return page.evaluate(
        "i => [...document.querySelectorAll('#trials tbody tr')].map((row) => row.cells[i].textContent)", index
    )


def test_table_sorts_filters_and_turns_pages(visit, tmp_path):
    sweep = write_sweep(tmp_path / "out", untrained_seeds=range(30), units=4)
    sweep.paths.report.write_text(build_page(sweep), encoding="utf-8")
    page = visit(sweep.paths.report)
    go(page, "trials")
    titles = page.evaluate("[...document.querySelectorAll('#trials th')].map((one) => one.textContent)")
    accuracy = titles.index("test accuracy")
    table = page.locator("#trials")
    table.get_by_role("button", name="test accuracy").click()
    values = list(map(float, column(page, accuracy)))
    assert len(values) == 25
    assert values == sorted(values)
    assert values[0] == pytest.approx(sweep.trials["test_accuracy"].min(), rel=1e-3)
    table.get_by_role("button", name="test accuracy").click()
    values = list(map(float, column(page, accuracy)))
    assert values == sorted(values, reverse=True)
    assert page.locator("#trials th[aria-sort=descending]").inner_text().startswith("test accuracy")
    table.get_by_role("button", name="Next").click()
    assert "Rows 26 to 36 of 36" in table.inner_text()
    table.get_by_label("Arm", exact=True).select_option(label="l2")
    assert set(column(page, titles.index("arm"))) == {"l2"}
    table.get_by_label("Arm", exact=True).select_option("all")
    table.get_by_label("Filter", exact=True).fill("untrained seed 7")
    assert column(page, titles.index("seed")) == ["7"]
    table.get_by_label("Filter", exact=True).fill("nothing like it")
    assert "No rows." in table.inner_text()


def test_arms_can_be_hidden_everywhere(visit, report):
    page = visit(report)
    go(page, "modularity")
    settled(page, "modularity")
    button = page.locator("#modularity .legend button").first
    before = page.evaluate("document.querySelector('#modularity .js-plotly-plot').data.length")
    button.focus()
    page.keyboard.press("Space")
    settled(page, "modularity")
    assert page.evaluate("document.querySelector('#modularity .js-plotly-plot').data.length") < before
    pressed = page.evaluate(
        "[...document.querySelectorAll('.legend button:first-child')].map((one) => one.ariaPressed)"
    )
    assert set(pressed) == {"false"}
    assert page.evaluate("document.activeElement.closest('#modularity') !== null")


def test_light_and_dark(visit, report):
    page = visit(report, color_scheme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    go(page, "modularity")
    settled(page, "modularity")
    ink = "document.querySelector('#modularity .js-plotly-plot').layout.font.color"
    on_dark = page.evaluate(ink)
    page.get_by_role("button", name="Switch to light colours").click()
    settled(page, "modularity")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    assert page.evaluate(ink) != on_dark
    assert visit(report).evaluate("document.documentElement.dataset.theme") == "light"


def test_phone(visit, report):
    page = visit(report, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    for section in SECTIONS:
        go(page, section)
        assert overflow(page) == 0, section
    wide = page.evaluate(
        "[...document.querySelectorAll('main *')].filter((one) => !one.closest('.scroll, pre, svg, .js-plotly-plot') "
        "&& one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 80))"
    )
    assert wide == []


def test_every_control_is_labelled_and_reached_by_keyboard(visit, report):
    page = visit(report)
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, select, input, a')].filter((one) => !one.closest('.js-plotly-plot') "
        "&& !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).map((one) => one.outerHTML.slice(0, 80))"
    )
    assert unnamed == []
    wanted = page.evaluate(
        "[...document.querySelectorAll('main button, main select, main input')].filter((one) => !one.disabled && "
        "one.checkVisibility() && !one.closest('#trials tbody')).length"
    )
    reached = set()
    outlines = set()
    page.evaluate("document.activeElement.blur()")
    for _ in range(wanted + 150):
        page.keyboard.press("Tab")
        index, outline = page.evaluate(
            "[[...document.querySelectorAll('main button, main select, main input')].indexOf(document.activeElement), "
            "getComputedStyle(document.activeElement).outlineStyle]"
        )
        if index >= 0:
            reached.add(index)
            outlines.add(outline)
    assert len(reached) >= wanted
    assert "none" not in outlines


@pytest.mark.parametrize("case", odd_cases())
def test_odd_sweeps_have_pages_that_work(visit, tmp_path, case):
    sweep = write_sweep(tmp_path / "out", **ODD[case])
    sweep.paths.report.write_text(build_page(sweep), encoding="utf-8")
    page = visit(sweep.paths.report)
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    for section in SECTIONS:
        go(page, section)
    text = page.locator("main").inner_text()
    assert "NaN" not in text
    assert "undefined" not in text
    assert "Infinity" not in text
    if case == "hostile":
        assert page.evaluate("document.querySelectorAll('main img, main b').length") == 0
        assert ODD[case]["question"] in text


@pytest.mark.slow
def test_370_networks_are_drawn_without_a_long_freeze(visit, tmp_path):
    sweep = write_large(tmp_path / "out")
    sweep.paths.report.write_text(build_page(sweep), encoding="utf-8")
    page = visit(sweep.paths.report)
    assert page.evaluate("performance.now()") < 30_000
    page.evaluate(
        "() => { window.longest = 0; new PerformanceObserver((list) => { for (const one of list.getEntries()) "
        "longest = Math.max(longest, one.duration); }).observe({ type: 'longtask' }); }"
    )
    for section in SECTIONS:
        go(page, section)
    page.wait_for_timeout(500)
    assert page.evaluate("longest") < 10_000
