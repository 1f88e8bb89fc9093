"""Rows of the claims' tables: schema, adjustment within families, verdicts, numbers in words."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from modjax.clustering.null_comparison import adjusted_p
from modjax.report.multiplicity import FlipTest, equivalence_p, holm_p, step_down
from modjax.report.statistics import SeedSummary
from modjax.report.style import layer_title, measure_title

LEVEL = 0.05  # of the family-wise error, or of the false discovery rate
NOT_SHOWN, NOT_TESTED, NO_DIFFERENCE = "not shown", "not tested", "no difference"
CORRECTIONS = ("max_t", "benjamini_hochberg")
INTERVALS = ("t", "bootstrap")
IN_Q = ("q", "excess_q")  # scores that the margin of equivalence tests is in
SCORE_TITLES = {"q": "Q", "excess_q": "Excess Q"}


class Testing(NamedTuple):
    """How claims are tested.

    Attributes:
        correction: ``max_t`` (step-down, family-wise error; Holm where seeds are not paired) or ``benjamini_hochberg``
            (false discovery rate).
        interval: ``t`` or ``bootstrap``.
        margin: Largest difference in Q that counts as none in equivalence tests; None tests none.
        min_living: Share of units that must be alive, on average over seeds, in a setting that may be an arm's best.
    """

    correction: str = "max_t"
    interval: str = "t"
    margin: float | None = None
    min_living: float = 0.0


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
    "p_equivalence": pl.Float64,
    "p_combined": pl.Float64,
    "accuracy": pl.Float64,
    "living": pl.Float64,
    "verdict": pl.String,
    "sentence": pl.String,
}
FAMILY = ("claim", "quantity", "networks", "score")

Words = tuple[str, str]  # verdicts of an estimate above zero and below zero
Sentence = Callable[[dict[str, Any]], str]


def claim_row(
    summary: SeedSummary,
    words: Words,
    sentence: Sentence,
    is_estimate_only: bool = False,
    test: FlipTest | None = None,
    in_q: np.ndarray | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """Return a row without ``p_adjusted, verdict, sentence``, which :func:`claims_frame` fills in.

    Args:
        summary: Statistics over seeds.
        words: Verdicts of an estimate above and below zero.
        sentence: Function that describes the finished row in a sentence.
        is_estimate_only: Whether the estimate is not tested, so that p and verdict stay null.
        test: The test by sign flips, which the family's adjustment needs.
        in_q: One difference in Q per seed, where the row is about one, for the equivalence test.
        **columns: Values of the other columns.
    """
    numbers = summary._asdict() | ({"p": None} if is_estimate_only else {})
    more = {"_words": None if is_estimate_only else words, "_sentence": sentence, "_test": test, "_in_q": in_q}
    return {**columns, **numbers, **more}


def claims_frame(rows: list[dict[str, Any]], testing: Testing = Testing()) -> pl.DataFrame:  # noqa: B008 - immutable
    """Return a table of rows with their adjusted p, verdict and sentence.

    ``p_adjusted`` is adjusted over the rows with the same claim, quantity, networks and score, that is, over measures,
    scalings and layers. Where it is at most 0.05, the verdict is the word for the estimate's sign; else "no difference"
    where the equivalence test says so, or "not shown"; without a p, "not tested".
    """
    families: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault(tuple(row[key] for key in FAMILY), []).append(row)
    finished = []
    for family in families.values():
        adjusted = _adjusted(family, testing.correction)
        # Over a family, each claim of equivalence must hold: Holm, as for any tests of unknown dependence.
        equivalences = holm_p([_equivalence(row, testing.margin) for row in family])
        for row, p, equivalence in zip(family, adjusted, equivalences, strict=True):
            columns = {"p_adjusted": _or_none(p), "p_equivalence": _or_none(equivalence)}
            finished.append(_finish({**row, **columns, "_correction": testing.correction}, p))
    return pl.DataFrame(finished, schema=CLAIM_SCHEMA, orient="row")


def _or_none(p: float) -> float | None:
    return None if np.isnan(p) else float(p)


def _adjusted(family: list[dict[str, Any]], correction: str) -> np.ndarray:
    """Return the adjusted p of a family's rows; NaN for rows without a p."""
    p = np.array([np.nan if row["p"] is None else row["p"] for row in family])
    if correction == "benjamini_hochberg":
        return adjusted_p(p)
    tested = np.flatnonzero(~np.isnan(p))
    tests = [family[index]["_test"] for index in tested]
    if any(test is None for test in tests) or len({len(test.flipped) for test in tests}) > 1:
        return holm_p(p)  # seeds are not paired
    adjusted = np.full(len(p), np.nan)
    # A row's own p may be larger where it is no exact one.
    adjusted[tested] = np.maximum(step_down(tests), p[tested])
    return adjusted


def _equivalence(row: dict[str, Any], margin: float | None) -> float:
    """Return p of the equivalence test of a row that is about a difference in Q; NaN for others."""
    if margin is None or row["_in_q"] is None or row["score"] not in IN_Q:
        return np.nan
    p = equivalence_p(row["_in_q"], margin)
    return np.nan if p is None else p


def _finish(finished: dict[str, Any], q: float) -> dict[str, Any]:
    row = finished
    words = row["_words"]
    if words is None:
        finished["verdict"] = None
    elif np.isnan(q):
        finished["verdict"] = NOT_TESTED
    else:
        is_none = row["p_equivalence"] is not None and row["p_equivalence"] <= LEVEL
        unshown = NO_DIFFERENCE if is_none else NOT_SHOWN
        finished["verdict"] = words[row["estimate"] < 0] if q <= LEVEL else unshown
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
    """Return the adjusted p (q: of a false discovery rate) with the number of seeds; ``not tested`` without a p."""
    seeds = f"{row['num_seeds']} seed{'s' if row['num_seeds'] != 1 else ''}"
    if row["p_adjusted"] is None:
        return f"not tested: {seeds}"
    symbol = "q" if row["_correction"] == "benjamini_hochberg" else "adjusted p"
    return f"{symbol} = {row['p_adjusted']:.2g}, {seeds}"


def all_one_way(row: dict[str, Any]) -> int:
    """Return 1 if every seed is above zero, -1 if every seed is below, else 0."""
    if row["least"] is None:
        return 0
    return 1 if row["least"] > 0 else -1 if row["most"] < 0 else 0


def points_say(row: dict[str, Any], words: Words) -> str:
    """Describe the direction that untested points share, if any."""
    way = all_one_way(row)
    return "no common direction" if not way else f"{words[way < 0]} in every seed"
