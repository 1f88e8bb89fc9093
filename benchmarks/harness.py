"""The folder that the rows of these scripts go to."""

from pathlib import Path
from typing import Any

from modjax.bench import harness

RESULTS = Path(__file__).parent / "results"


def write_rows(name: str, rows: list[dict[str, Any]]) -> Path:
    """Write rows, one JSON object a line, with the machine and the date, to ``results/``."""
    return harness.write_rows(RESULTS, name, rows)
