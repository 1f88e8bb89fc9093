"""Writing of a sweep's report: the figures as files, and the page."""

from pathlib import Path

from modjax.io.checksums import with_own_sum
from modjax.io.files import write_text
from modjax.report.claims import claims
from modjax.report.differences import CLAIM_KEYS
from modjax.report.figures import draw_figures
from modjax.report.page import build_page
from modjax.report.shown import shown
from modjax.report.style import records_of
from modjax.store.sweep import Sweep

SHOWN = (*CLAIM_KEYS, "estimate", "low", "high", "p_adjusted", "verdict")


def write_report(sweep: Sweep) -> tuple[list[str], Path]:
    """Draw the figures and write ``report.html``, and return the figures' names and the page's path.

    Args:
        sweep: Sweep, finished or in progress.
    """
    return draw_figures(sweep), write_page(sweep)


def write_page(sweep: Sweep, out: Path | None = None) -> Path:
    """Write ``report.html`` with the verdicts of :func:`modjax.claims`, and return its path.

    The page shows the manifest and is written after it, so that the page's checksum is in the page itself.

    Args:
        sweep: Sweep, finished or in progress.
        out: Path of the page; None for ``report.html`` in the sweep's folder.
    """
    sweep = shown(sweep)
    target = sweep.paths.report if out is None else out
    results = claims(sweep)
    table = results.table.select(SHOWN) if results.table.height else None
    with records_of(sweep.paths.tables.catalog):
        page = build_page(sweep, results.sentences, table, target.parent)
    write_text(target, with_own_sum(page))
    return target
