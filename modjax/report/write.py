"""Writes a sweep's report: the figures as files, and the page."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from modjax.report.figures import draw_figures
from modjax.report.page import build_page
from modjax.storage.files import write_text
from modjax.storage.results import Sweep


def write_report(
    sweep: Sweep, verdicts: Sequence[str] = (), verdict_table: pl.DataFrame | None = None
) -> tuple[list[str], Path]:
    """Draw the figures and write ``report.html``, from the tables alone.

    Args:
        sweep: A sweep, in progress or done.
        verdicts: What the sweep says about the claims it was run for, a sentence each.
        verdict_table: The numbers behind them.

    Returns:
        The figures' names and the page's path.
    """
    names = draw_figures(sweep)
    path = sweep.layout.report
    write_text(path, build_page(sweep, verdicts, verdict_table))
    return names, path
