"""The harness of :mod:`modjax.bench.harness`, with the folder that the rows of these scripts go to."""

from pathlib import Path
from typing import Any

from modjax.bench import harness
from modjax.bench.harness import Case as Case
from modjax.bench.harness import print_table as print_table
from modjax.bench.harness import reset_peak as reset_peak
from modjax.bench.harness import resident_bytes as resident_bytes
from modjax.bench.harness import run_cases as run_cases

RESULTS = Path(__file__).parent / "results"


def write_rows(name: str, rows: list[dict[str, Any]]) -> Path:
    """Write rows, one JSON object a line, with the machine and the date, to ``results/``."""
    return harness.write_rows(RESULTS, name, rows)
