"""The page that compares two sweeps: everything that a report shows, for both."""

import html
from pathlib import Path
from typing import Any

from modjax.io.files import write_text
from modjax.report.claims import Claims, claims
from modjax.report.differences import claims_side_by_side, differences, paired_trials
from modjax.report.page import (
    SECTIONS,
    as_json,
    asset,
    characters_for_matrices,
    fill,
    json_block,
    link_to,
    matrices_block,
    shared,
)
from modjax.report.page_data import known_measures, look_of, page_columns, page_facts, plain_table
from modjax.report.page_matrices import Packed, pack_sweep
from modjax.report.shown import shown
from modjax.report.style import arm_looks, records_of
from modjax.store.exclusion import spec_text
from modjax.store.sweep import Sweep

SCRIPTS = (*SECTIONS, "compare.js", "compare_modules.js", "compare_trials.js", "compare_main.js")
MAX_DIFFERENCES = 20_000  # rows of settings and quantities that the page holds: 3 MB


def build_comparison(first: Sweep, second: Sweep, beside: Path) -> str:
    """Build the page that compares two sweeps.

    Args:
        first: Sweep A.
        second: Sweep B.
        beside: Folder of the page, used to link to the sweeps' own reports.

    Returns:
        HTML, below 15 MB for sweeps of up to about a thousand trials each; if necessary, the matrices of some trials
        are left out, and the page says so.
    """
    sweeps = (first, second)
    both_claims = [claims(sweep) for sweep in sweeps]
    sides = [_side(*of, side, beside) for of, side in zip(zip(sweeps, both_claims, strict=True), "AB", strict=True)]
    _share_looks([facts for facts, _, _ in sides])
    pairs, differing = paired_trials(first, second), differences(first, second)
    facts = {
        "sides": [facts for facts, _, _ in sides],
        "claims": plain_table(claims_side_by_side(*both_claims)),
        "differences": plain_table(differing.head(MAX_DIFFERENCES)),
        "num_differences": differing.height,
        "pairs": plain_table(pairs),
    }
    names = " and ".join(facts["name"] or "sweep" for facts, _, _ in sides)
    data = [json_block("facts", as_json(facts))]
    data += [f'<script type="text/plain" id="tables{i}">{blob}</script>' for i, (_, blob, _) in enumerate(sides)]
    parts = {"title": html.escape(f"{names} compared"), **shared(SCRIPTS)}
    # The page without matrices shows how much room the two sweeps share for them.
    page = fill(asset("page.html"), {**parts, "data": "\n".join(data)})
    limit = characters_for_matrices(page, first.trials.height + second.trials.height)
    wanted = _paired_first([order for _, _, order in sides], list(pairs.iter_rows()))
    data += [matrices_block(f"matrices{i}", packed) for i, packed in enumerate(_pack_both(sweeps, wanted, limit))]
    return fill(asset("page.html"), {**parts, "data": "\n".join(data)})


def _pack_both(sweeps: tuple[Sweep, Sweep], orders: list[list[str]], limit: int) -> list[Packed]:
    """Pack the first sweep's matrices into half the space, and the second's into what remains."""
    packed: list[Packed] = []
    for sweep, order, share in zip(sweeps, orders, (limit // 2, limit), strict=True):
        packed.append(
            pack_sweep(sweep, order, known_measures(sweep), share - sum(matrices.num_bytes for matrices in packed))
        )
    return packed


def _paired_first(orders: list[list[str]], pairs: list[tuple[str, str]]) -> list[list[str]]:
    """Order the trials of each sweep with pairs first, in A's order, so that the page holds both of a pair."""
    rank_in_first, in_second = {trial_id: index for index, trial_id in enumerate(orders[0])}, set(orders[1])
    pairs = sorted(
        (pair for pair in pairs if pair[0] in rank_in_first and pair[1] in in_second),
        key=lambda pair: rank_in_first[pair[0]],
    )
    firsts = [[a for a, _ in pairs], [b for _, b in pairs]]
    return [list(dict.fromkeys([*first, *order])) for first, order in zip(firsts, orders, strict=True)]


def _share_looks(sides: list[dict[str, Any]]) -> None:
    """Give arms with the same name the same look in both sweeps."""
    # Looks go by rank among the arms, so both sweeps' arms must be ranked together.
    names = {facts["arms"][index]["name"] for facts in sides for index in facts["trained_arms"]}
    looks = arm_looks(sorted(names))
    for facts in sides:
        facts["arms"] = [{"name": arm["name"], **look_of(looks.get(arm["name"]))} for arm in facts["arms"]]


def _side(sweep: Sweep, results: Claims, side: str, beside: Path) -> tuple[dict[str, Any], str, list[str]]:
    """Return the facts of a sweep, its packed tables, and its trials with labels in order of priority."""
    measures = known_measures(sweep)
    columns, left_out = page_columns(sweep, measures, share=0.5)
    labelled = left_out.pop("labelled")
    facts = {
        **page_facts(sweep, measures),
        "side": side,
        "left_out": left_out,
        "verdicts": results.sentences,
        "columns": columns.header,
        "manifest": sweep.manifest,
        "spec": spec_text(sweep),
        "report": f"{link_to(sweep.paths.root, beside)}report.html" if sweep.paths.report.is_file() else "",
    }
    return facts, columns.blob, labelled


def compare(first: Sweep, second: Sweep, out: Path) -> Path:
    """Write the page that compares two sweeps.

    Args:
        first: Sweep A.
        second: Sweep B.
        out: Path of the page.

    Returns:
        The path of the page.
    """
    first, second = shown(first), shown(second)
    with records_of(first.paths.tables.catalog, second.paths.tables.catalog):
        page = build_comparison(first, second, out.parent)
    write_text(out, page)
    return out
