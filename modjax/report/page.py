"""The page ``report.html``: one file that needs no network, drawn by the browser from the tables inside it."""

import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from modjax.report.page_data import (
    known_measures,
    page_columns,
    page_facts,
    plain_table,
)
from modjax.report.page_matrices import Packed, pack_sweep
from modjax.store.exclusion import spec_text
from modjax.store.sweep import Sweep

PAGE_BYTES = 14_900_000  # a page stays below 15 MB: what the tables leave of this is for the matrices
MATRIX_BYTES = 9_400_000  # and never more than this: 7 MB before base64
SECTIONS = (
    "core.js",
    "controls.js",
    "plots.js",
    "table.js",
    "overview.js",
    "curves.js",
    "modularity.js",
    "nulls.js",
    "alignment.js",
    "viewer.js",
    "trials.js",
)
SCRIPTS = (*SECTIONS, "main.js")


def build_page(
    sweep: Sweep, verdicts: Sequence[str] = (), verdict_table: pl.DataFrame | None = None, beside: Path | None = None
) -> str:
    """Build the report page of a sweep.

    Args:
        sweep: Sweep, finished or in progress; its tables may be empty.
        verdicts: Sentences that say what the sweep shows about the claims.
        verdict_table: Table of the numbers behind the verdicts.
        beside: Folder of the page, used to link to the sweep's files; None for the sweep's own folder.

    Returns:
        HTML below 15 MB; if necessary, the matrices of some trials are left out, and the page says so.
    """
    measures = known_measures(sweep)
    columns, left_out = page_columns(sweep, measures)
    labelled = left_out.pop("labelled")
    facts = {
        **page_facts(sweep, measures),
        "left_out": left_out,
        "verdicts": list(verdicts),
        "verdict_table": None if verdict_table is None else plain_table(verdict_table),
        "columns": columns.header,
        "manifest": sweep.manifest,
        "spec": spec_text(sweep),
        "folder": "" if beside is None else link_to(sweep.paths.root, beside),
        "files": sorted(path.name for path in sweep.paths.figures.glob("*.*")),
    }
    title = html.escape(facts["name"] or "sweep")
    parts = {"title": title, **shared(SCRIPTS)}
    data = [
        json_block("facts", as_json(facts)),
        f'<script type="text/plain" id="tables">{columns.blob}</script>',
    ]
    # Filled twice: the page without matrices shows how much room they have.
    page = fill(asset("page.html"), {**parts, "data": "".join(data)})
    matrices = pack_sweep(sweep, labelled, measures, characters_for_matrices(page, sweep.trials.height))
    data.append(matrices_block("matrices", matrices))
    return fill(asset("page.html"), {**parts, "data": "\n".join(data)})


def link_to(path: Path, beside: Path) -> str:
    """Return the relative address of a folder from a page's folder, with a final slash; empty if they are the same.

    Example:
        >>> link_to(Path("/runs/a b"), Path("/pages")), link_to(Path("/runs"), Path("/runs"))
        ('../runs/a%20b/', '')
    """
    target = Path(os.path.relpath(path.resolve(), beside.resolve()))
    return "" if target == Path() else f"{quote(target.as_posix())}/"


def characters_for_matrices(page: str, num_trials: int) -> int:
    """Return how many characters of base64 remain for matrices on a page that has none yet."""
    beside = 25 * num_trials + 200  # a trial's text stands in quotation marks beside its id
    return min(MATRIX_BYTES, PAGE_BYTES - len(page.encode()) - beside)


def matrices_block(name: str, matrices: Packed) -> str:
    """Return the matrices of a sweep in the form that the viewer reads."""
    return json_block(name, as_json({"total": matrices.num_with_matrices, "trials": matrices.trials}))


def shared(scripts: Sequence[str]) -> dict[str, str]:
    """Return the parts of every page: the style, plotly.js and our scripts."""
    ours = "\n".join(f"<script>\n{asset(name)}</script>" for name in scripts)
    return {"style": asset("page.css"), "plotly": f"<script>{plotly_js()}</script>", "scripts": ours}


def plotly_js() -> str:
    """Return the source of plotly.js, from the plotly package."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def asset(name: str) -> str:
    """Return the text of a file in ``assets/``."""
    return files("modjax.report").joinpath("assets", name).read_text(encoding="utf-8")


def as_json(content: Any) -> str:
    """Return JSON without NaN that cannot end the script element that contains it."""
    text = json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def json_block(name: str, text: str) -> str:
    """Return a script element that holds data for the page's scripts and is never executed."""
    return f'<script type="application/json" id="{name}">{text}</script>'


def fill(template: str, parts: Mapping[str, str]) -> str:
    """Replace all ``{{name}}`` in one pass, so that text inserted for one name is not searched for others."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match.group(1)], template)
