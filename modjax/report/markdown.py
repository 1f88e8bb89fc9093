"""Pieces of a Markdown document: tables, and cells that summarize numbers over seeds."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from modjax.report.statistics import LEAST_SEEDS, summarize_seeds

NOTHING = "-"


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; pipes inside cells are escaped.

    Example:
        >>> print(markdown_table(["a", "b"], [["1", "2"]]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    lines = [header, *rows]
    table_lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([table_lines[0], "|" + "---|" * len(header), *table_lines[1:]])


def seeds_cell(values: ArrayLike, digits: int = 3) -> str:
    """Return the mean and 95 % t interval over seeds; below five seeds, the points themselves.

    Example:
        >>> seeds_cell([1.0, 2.0], 1), seeds_cell([1.0] * 5, 1), seeds_cell([])
        ('1.0, 2.0', '1.0 [1.0, 1.0]', '-')
    """
    array = np.asarray(values, np.float64)
    array = array[~np.isnan(array)]
    if not len(array):
        return NOTHING
    if len(array) < LEAST_SEEDS:
        return ", ".join(f"{value:.{digits}f}" for value in array)
    summary = summarize_seeds(array)
    return f"{summary.estimate:.{digits}f} [{summary.low:.{digits}f}, {summary.high:.{digits}f}]"


def estimate_cell(row: dict[str, Any] | None, has_p: bool = True) -> str:
    """Return a claim's estimate with its interval (or the range of the points) and the adjusted p.

    Example:
        >>> row = {"estimate": 0.5, "low": None, "high": None, "least": 0.4, "most": 0.6, "p_adjusted": None}
        >>> estimate_cell(row), estimate_cell(row | {"low": 0.45, "high": 0.55, "p_adjusted": 0.01})
        ('+0.500 (0.400 to 0.600)', '+0.500 [0.450, 0.550], p 0.01')
    """
    if row is None or row["estimate"] is None:
        return NOTHING
    span = f"({row['least']:.3f} to {row['most']:.3f})"
    if row["low"] is not None:
        span = f"[{row['low']:.3f}, {row['high']:.3f}]"
    p = f", p {row['p_adjusted']:.2g}" if has_p and row["p_adjusted"] is not None else ""
    return f"{row['estimate']:+.3f} {span}{p}"
