"""Writes a sweep's report: the figures as files, and the page."""

from pathlib import Path

from modjax.io.checksums import with_own_sum
from modjax.io.files import write_text
from modjax.report.claims import claims
from modjax.report.differences import CLAIM_KEYS
from modjax.report.figures import draw_figures
from modjax.report.page import build_page
from modjax.store.sweep import Sweep

SHOWN = (*CLAIM_KEYS, "estimate", "low", "high", "p_adjusted", "verdict")


def write_report(sweep: Sweep) -> tuple[list[str], Path]:
    """Draw the figures and write ``report.html``; returns the figures' names and the page's path.

    Args:
        sweep: A sweep, in progress or done.
    """
    return draw_figures(sweep), write_page(sweep)


def write_page(sweep: Sweep, out: Path | None = None) -> Path:
    """Write ``report.html`` with the verdicts of :func:`modjax.claims`; returns its path.

    The page is written after the manifest, which it shows, so that its sum is in the page itself.

    Args:
        sweep: A sweep, in progress or done.
        out: Another file to write it to.
    """
    target = sweep.paths.report if out is None else out
    found = claims(sweep)
    table = found.table.select(SHOWN) if found.table.height else None
    write_text(target, with_own_sum(build_page(sweep, found.sentences, table, target.parent)))
    return target
