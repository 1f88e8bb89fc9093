"""A browser, and pages opened in it that may not complain."""

import shutil

import pytest

from tests.report.browsing import ARGUMENTS, CHROMIUM


@pytest.fixture(scope="module")
def browser():
    if not shutil.which(CHROMIUM):
        pytest.skip("no Chromium here: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """Opens a file; at the end nothing may have been said on the console, thrown, or asked from a network."""
    wrong = []
    contexts = []

    def opened(path, fragment="", **options):
        options = {
            "viewport": {"width": 1280, "height": 900},
            "color_scheme": "light",
            "reduced_motion": "reduce",
        } | options
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
        page.goto(path.as_uri() + fragment)
        page.wait_for_selector("html[data-ready]", timeout=60_000)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong
