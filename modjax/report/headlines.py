"""Claims as questions with answers: one line per family of tests."""

from collections.abc import Callable
from typing import Any, NamedTuple

from modjax.report.families import COMPARISONS, HIGHER, KINDS, SCORE_NAMES
from modjax.report.matched import MATCHED
from modjax.report.modular import GROUPS
from modjax.report.regularization import ALONG, ARM_NAMES, MORE, RAISED, RISES
from modjax.report.settings import ARMS
from modjax.report.style import measure_title
from modjax.report.verdicts import NOT_TESTED, Words

Rows = list[dict[str, Any]]
HEADLINE_SCORE = "ami"
MOST_NAMED = 6  # graphs of one verdict that a line names; of more it gives the number, and the table names them
TITLES = {
    "modular": "Are there modules?",
    "dropout": "Does Q rise with dropout?",
    "arms": "Does dropout raise Q more than L2 and L1 penalties do at their best?",
    "families": "Do modules agree more within a family of measures than across families?",
    "training": "What does training change?",
}


class Family(NamedTuple):
    """Rows that are tested together, as a question.

    Attributes:
        question: The question.
        rows: Rows of one claim, quantity, networks and score.
        words: Verdicts of rows that answer it with yes, and with the contrary.
    """

    question: str
    rows: Rows
    words: Words


def _of(rows: Rows, **values: Any) -> Rows:
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def _scores(rows: Rows) -> list[tuple[str, str]]:
    """Return the scores in Q that rows have, with their names in a question."""
    return [(score, name) for score, name in (("q", "Q"), ("excess_q", "excess Q")) if _of(rows, score=score)]


def _modular_families(rows: Rows) -> list[Family]:
    groups = dict.fromkeys(row["networks"] for row in rows)
    return [
        Family(f"Is Q of {GROUPS.get(group, f'the {group} arm')} higher than of rotated units?", here, HIGHER)
        for group in groups
        if (here := _of(rows, networks=group))
    ]


def _dropout_families(rows: Rows) -> list[Family]:
    return [
        Family(f"Does {name} rise with dropout?", _of(rows, quantity="slope", score=score), RISES)
        for score, name in _scores(rows)
    ]


def _arms_families(rows: Rows) -> list[Family]:
    """Dropout against L2 and L1; "raises Q more" also requires that dropout's own gain is above zero."""
    families = []
    for score, name in _scores(rows):
        for suffix in ("", MATCHED):
            own = _of(rows, quantity=f"gain{suffix}", networks="dropout", score=score)
            gains = {_key(row): row for row in own}
            for arm in ("l2", "l1"):
                quantity = f"difference of gains{suffix}"
                differences = _of(rows, quantity=quantity, networks=f"dropout - {arm}", score=score)
                both = [_both(row, gains[_key(row)]) for row in differences if _key(row) in gains]
                question = f"Does dropout raise {name} more than {ARM_NAMES[arm]} at its best{suffix}?"
                families += [Family(question, both, MORE)] if both else []
        for arm in ("l2", "l1"):
            along = _of(rows, quantity=ALONG, networks=f"dropout - {arm}", score=score)
            question = f"Is {name} higher with dropout than with {ARM_NAMES[arm]} along the curve of equal accuracy?"
            families += [Family(question, along, MORE)] if along else []
    return families


def _key(row: dict[str, Any]) -> tuple:
    return row["measure"], row["normalized"], row["layer"]


def _both(difference: dict[str, Any], gain: dict[str, Any]) -> dict[str, Any]:
    """Return the row of the difference, with a verdict that says so where dropout's own gain does not hold."""
    if difference["verdict"] == MORE[0] and gain["verdict"] != RAISED[0]:
        return {**difference, "verdict": f"more, but dropout's own gain {gain['verdict']}"}
    return difference


def _families_families(rows: Rows) -> list[Family]:
    """Headlines tell adjusted mutual information alone: the other score's level by chance depends on modules' sizes."""
    return [
        Family(f"Do modules of {networks} networks agree more {side} than across families?", here, HIGHER)
        for networks in ("trained", "untrained")
        for quantity, side in COMPARISONS.items()
        if (here := _of(rows, networks=networks, quantity=quantity, score=HEADLINE_SCORE))
    ]


def _training_families(rows: Rows) -> list[Family]:
    families = []
    for part in ("baseline", *ARMS):
        group = "the baseline" if part == "baseline" else f"the {part} arm"
        here = _of(rows, networks=part)
        for score, name in _scores(here):
            question = f"Is {name} in {group} higher than in untrained networks?"
            families.append(Family(question, _of(here, score=score), HIGHER))
        for kind in KINDS:
            agreement = _of(here, quantity=kind, score=HEADLINE_SCORE)
            question = f"Do modules in {group} agree more ({kind} families) than in untrained networks?"
            families += [Family(question.replace("across families", "across"), agreement, HIGHER)] if agreement else []
    return families


def headline(family: Family, correction: str) -> list[str]:
    """Return a question with its answer and the family it was tested in; nothing where no row could be tested."""
    rows, words = family.rows, family.words
    verdicts = [row["verdict"] for row in rows]
    if set(verdicts) <= {NOT_TESTED}:
        return []
    num_holding, num = verdicts.count(words[0]), len(rows)
    tests = f"{num} test{'s' if num > 1 else ''} together"
    error = "false discovery rate" if correction == "benjamini_hochberg" else "family-wise error"
    every = "the one graph" if num == 1 else f"all {num} graphs"
    if num_holding == num:
        answer = f"Yes, in {every}"
    elif set(verdicts) == {words[1]}:
        answer = f"No, the contrary: {words[1]} in {every}"
    else:
        share = f"{num_holding} of {num}" if num_holding else f"none of {num}"
        answer = f"In {share} graphs; {_others(rows, verdicts, words[0])}"
    return [f"{family.question} {answer} ({tests}, {error} 0.05)."]


def _others(rows: Rows, verdicts: list[str], holds: str) -> str:
    """Return ``not shown: ...; falls: ...``: the rows that do not hold, by name if they are few."""
    clauses = []
    for verdict in dict.fromkeys(verdicts):
        here = [row for row, its in zip(rows, verdicts, strict=True) if its == verdict]
        if verdict != holds:
            clauses.append(f"{verdict}: {_names(here)}" if len(here) <= MOST_NAMED else f"{verdict} in {len(here)}")
    return "; ".join(clauses)


def _names(rows: Rows) -> str:
    """Names of the rows' graphs, with the layers of a measure and scaling listed together."""
    layers: dict[str, list[str]] = {}
    for row in rows:
        # Rows about agreement compare measures with each other and so have none: their score names them.
        if row["measure"] is None:
            kind = "" if row["quantity"] in COMPARISONS else f" {row['quantity']}"
            what = f"{SCORE_NAMES[row['score']]}{kind}"
        else:
            what = measure_title(row["measure"])
        name = f"{'normalized' if row['normalized'] else 'raw'} {what}"
        layers.setdefault(name, []).append("combined" if row["layer"] < 0 else str(row["layer"]))
    return ", ".join(f"{name} (layer{'s' * (len(which) > 1)} {', '.join(which)})" for name, which in layers.items())


# The families that each claim's headlines are about.
FAMILIES: dict[str, Callable[[Rows], list[Family]]] = {
    "modular": _modular_families,
    "dropout": _dropout_families,
    "arms": _arms_families,
    "families": _families_families,
    "training": _training_families,
}
