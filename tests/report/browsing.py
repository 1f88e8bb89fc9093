"""How a test walks through a page in the browser: the fixture ``visit`` opens it."""

import shutil

import pytest

from tests.report.sweeps import spoiled

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ODD = {
    "nothing finished": {"statuses": dict.fromkeys(range(9), "pending")},
    "in progress": {"statuses": dict.fromkeys(range(3), "pending")},
    "no measures": {"measures": ()},
    "one layer, one seed": {"layers": (0,), "seeds": (0,), "untrained_seeds": ()},
    "combined only": {"layers": (-1,)},
    "diverged, excluded, not a number": {"change": spoiled},
    "hostile": {"name": "</script><img src=x onerror=alert(1)>", "question": "<b onclick='alert(1)'>?</b>"},
}


SOME_ODD = ("in progress", "hostile")  # the others are in the slow part


def odd_cases():
    """The odd sweeps as parameters of a test."""
    return [pytest.param(case, marks=() if case in SOME_ODD else pytest.mark.slow) for case in ODD]


def go(page, section):
    page.evaluate("id => document.getElementById(id).scrollIntoView()", section)
    page.wait_for_selector(f"#{section}[data-drawn]", timeout=30_000)


def settled(page, section):
    """All sections' drawing is done: the promise of each draw has been awaited."""
    page.wait_for_timeout(20)
    page.wait_for_selector(f"#{section}[data-drawn]", timeout=30_000)


def choose(page, section, label, value):
    page.locator(f"#{section}").get_by_label(label, exact=True).select_option(str(value))
    settled(page, section)


def plots(page, section, read):
    """``read`` of each plot (``one``) of a section."""
    return page.evaluate(f"id => [...document.querySelectorAll(`#${{id}} .plot`)].map((one) => {read})", section)


def data_of(page, section):
    return plots(page, section, "JSON.stringify((one.data ?? []).map((t) => [t.x, t.y, t.z]))")[0]


def assert_selectors_work(page, selectors):
    """Each of (section, label, value) changes its section's first figure, and choosing what was there undoes it."""
    for section, label, value in selectors:
        go(page, section)
        settled(page, section)
        before = data_of(page, section)
        first = page.locator(f"#{section}").get_by_label(label, exact=True).input_value()
        choose(page, section, label, value)
        assert data_of(page, section) != before, (section, label, value)
        choose(page, section, label, first)
        assert data_of(page, section) == before, (section, label, "and back")


def caption(page, section, index=0):
    return page.locator(f"#{section} figcaption").nth(index).inner_text()


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
