"""Rows of the claims' tables: schema, Benjamini-Hochberg adjustment within families, verdicts, numbers in words."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from modjax.clustering.null_test import adjusted_p
from modjax.report.statistics import SeedSummary
from modjax.report.style import layer_title, measure_title

LEVEL = 0.05  # level of the false discovery rate
NOT_SHOWN, NOT_TESTED = "not shown", "not tested"

CLAIM_SCHEMA: dict[str, Any] = {
    "claim": pl.String,
    "quantity": pl.String,
    "networks": pl.String,
    "score": pl.String,
    "measure": pl.String,
    "normalized": pl.Boolean,
    "layer": pl.Int32,
    "setting": pl.String,
    "estimate": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "least": pl.Float64,
    "most": pl.Float64,
    "p": pl.Float64,
    "p_adjusted": pl.Float64,
    "effect_size": pl.Float64,
    "num_seeds": pl.Int32,
    "num_left_out": pl.Int32,
    "verdict": pl.String,
    "sentence": pl.String,
}
FAMILY = ("claim", "quantity", "networks", "score")

Words = tuple[str, str]  # verdicts of an estimate above zero and below zero
Sentence = Callable[[dict[str, Any]], str]


def claim_row(
    summary: SeedSummary, words: Words, sentence: Sentence, is_estimate_only: bool = False, **columns: Any
) -> dict[str, Any]:
    """Return a row without ``p_adjusted, verdict, sentence``, which :func:`claims_frame` fills in.

    Args:
        summary: Statistics over seeds.
        words: Verdicts of an estimate above and below zero.
        sentence: Function that describes the finished row in a sentence.
        is_estimate_only: Whether the estimate is not tested, so that p and verdict stay null.
        **columns: Values of the other columns.
    """
    numbers = summary._asdict() | ({"p": None} if is_estimate_only else {})
    return {**columns, **numbers, "_words": None if is_estimate_only else words, "_sentence": sentence}


def claims_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Return a table of rows with their adjusted p, verdict and sentence.

    ``p_adjusted`` is Benjamini-Hochberg over the rows with the same claim, quantity, networks and score, that is, over
    measures, scalings and layers. Where it is at most 0.05, the verdict is the word for the estimate's sign, else "not
    shown"; without a p, "not tested".
    """
    families: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault(tuple(row[key] for key in FAMILY), []).append(row)
    finished = []
    for family in families.values():
        adjusted = adjusted_p([np.nan if row["p"] is None else row["p"] for row in family])
        finished += [_finish(row, float(q)) for row, q in zip(family, adjusted, strict=True)]
    return pl.DataFrame(finished, schema=CLAIM_SCHEMA, orient="row")


def _finish(row: dict[str, Any], q: float) -> dict[str, Any]:
    finished = {**row, "p_adjusted": None if np.isnan(q) else q}
    words = row["_words"]
    if words is None:
        finished["verdict"] = None
    elif np.isnan(q):
        finished["verdict"] = NOT_TESTED
    else:
        finished["verdict"] = words[row["estimate"] < 0] if q <= LEVEL else NOT_SHOWN
    # The sentence comes last, because it quotes the verdict.
    finished["sentence"] = row["_sentence"](finished)
    return {name: finished.get(name) for name in CLAIM_SCHEMA}


def graph_name(measure: str, normalized: bool, layer: int) -> str:
    """Return the name of a graph in words.

    Example:
        >>> graph_name("input_jacobian", True, 0)
        'the normalized input Jacobian, layer 0'
    """
    scaling = "normalized" if normalized else "raw"
    return f"the {scaling} {measure_title(measure)}, {layer_title(layer)}"


def numbers_of(row: dict[str, Any], unit: str = "") -> str:
    """Return the estimate with its interval, or with the range of the points if there are too few seeds.

    Example:
        >>> row = {"estimate": 0.52, "low": 0.49, "high": 0.55, "least": 0.4, "most": 0.6, "num_seeds": 9}
        >>> numbers_of(row), numbers_of({**row, "low": None, "num_seeds": 3})
        ('+0.52 [0.49, 0.55]', '+0.52 (points 0.4 to 0.6)')
    """
    if row["estimate"] is None:
        return "no seed has it"
    value = f"{row['estimate']:+.3g}{unit}"
    if row["low"] is None:
        return f"{value} (points {row['least']:.3g} to {row['most']:.3g})"
    return f"{value} [{row['low']:.3g}, {row['high']:.3g}]"


def certainty_of(row: dict[str, Any]) -> str:
    """Return the adjusted p with the number of seeds; ``not tested`` without a p."""
    seeds = f"{row['num_seeds']} seed{'s' if row['num_seeds'] != 1 else ''}"
    if row["p_adjusted"] is None:
        return f"not tested: {seeds}"
    return f"q = {row['p_adjusted']:.2g}, {seeds}"


def all_one_way(row: dict[str, Any]) -> int:
    """Return 1 if every seed is above zero, -1 if every seed is below, else 0."""
    if row["least"] is None:
        return 0
    return 1 if row["least"] > 0 else -1 if row["most"] < 0 else 0


def points_say(row: dict[str, Any], words: Words) -> str:
    """Describe the direction that untested points share, if any."""
    way = all_one_way(row)
    return "no common direction" if not way else f"{words[way < 0]} in every seed"
