"""A sweep's time on machines that were benchmarked before: rows under ``benchmarks/results`` of a checkout."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

MAX_BYTES = 2**24
WIDTH = 64  # units of the graphs whose search times are read


class Elsewhere(NamedTuple):
    """Rates of a benchmarked machine, and where they come from.

    Attributes:
        name: Name of the machine, with which its files' names end.
        about: Processor and device.
        train_gflops: GFLOP per second while modjax trains.
        similarity_gflops: GFLOP per second while modjax computes similarity.
        graph_seconds: CPU seconds of one module search of 64 units.
        threads: Number of cores.
        files: Names of the files that were read.
    """

    name: str
    about: str
    train_gflops: float | None
    similarity_gflops: float | None
    graph_seconds: float | None
    threads: int
    files: tuple[str, ...]


def known_machines(folder: Path) -> list[Elsewhere]:
    """Return all machines with rows in a folder; none where there is no such folder."""
    names = {path.stem.split("_", 1)[1] for path in folder.glob("*_*.jsonl")} if folder.is_dir() else set()
    return [machine for name in sorted(names) if (machine := _machine(folder, name)) is not None]


def _machine(folder: Path, name: str) -> Elsewhere | None:
    benchmarks = {kind: _rows(folder / f"{kind}_{name}.jsonl") for kind in ("training", "similarity", "modules")}
    rows = [row for kind_rows in benchmarks.values() for row in kind_rows]
    if not rows:
        return None
    # The default layout where it was timed, else whatever of modjax's own cases comes first.
    ours = [row for row in benchmarks["training"] if "default" in str(row.get("case"))] or [
        row for row in benchmarks["training"] if str(row.get("case", "")).startswith("modjax")
    ]
    closed = [
        row for row in benchmarks["similarity"] if row.get("method") == "closed form" and row.get("measures") == "all"
    ]
    graphs = [
        row for row in benchmarks["modules"] if row.get("method") == "leiden (default)" and row.get("units") == WIDTH
    ]
    about = f"{rows[0].get('cpu', 'unknown processor')}, {rows[0].get('device', 'cpu')}"
    milliseconds = _number(graphs, "ms_per_graph")
    return Elsewhere(
        name,
        about,
        _number(ours, "gflops"),
        _number(closed, "gflops"),
        None if milliseconds is None else milliseconds / 1e3,
        int(_number(rows, "threads") or 1),
        tuple(f"{kind}_{name}.jsonl" for kind, kind_rows in benchmarks.items() if kind_rows),
    )


def _number(rows: list[dict[str, Any]], key: str) -> float | None:
    """Return the first positive number under a key; None if no row has one."""
    values = [float(row[key]) for row in rows if type(row.get(key)) in (int, float)]
    return next((value for value in values if math.isfinite(value) and value > 0), None)


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            return []
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError):
        return []
    return [row for row in rows if isinstance(row, dict)]


def seconds_there(machine: Elsewhere, train_flops: float, similarity_flops: float, num_graphs: float) -> float | None:
    """Return the seconds that training, similarity and module searches take by a machine's rates.

    Compiling, tables and figures are not counted. None where the machine's training was not measured.

    Args:
        machine: Rates of the machine.
        train_flops: FLOP of the whole sweep's training.
        similarity_flops: FLOP of the whole sweep's similarity.
        num_graphs: Number of module searches of 64 units that take as long as all of the sweep's.
    """
    if machine.train_gflops is None:
        return None
    seconds = train_flops / (1e9 * machine.train_gflops)
    if machine.similarity_gflops is not None:
        seconds += similarity_flops / (1e9 * machine.similarity_gflops)
    if machine.graph_seconds is not None:
        seconds += num_graphs * machine.graph_seconds / machine.threads
    return seconds
