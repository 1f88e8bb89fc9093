"""What a sweep would take on machines that were benchmarked before: rows under ``benchmarks/results`` of a checkout."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import modjax

MAX_BYTES = 2**24
WIDTH = 64  # units that the rows about module searches are read for


class Elsewhere(NamedTuple):
    """A machine's rates, and where they come from.

    Attributes:
        name: Of the machine: the end of its files' names.
        about: Processor or device, threads.
        train_gflops: While training, by modjax.
        similarity_gflops: While measuring.
        graph_seconds: Processor seconds of one module search of 64 units.
        threads: Cores.
        files: What was read.
    """

    name: str
    about: str
    train_gflops: float | None
    similarity_gflops: float | None
    graph_seconds: float | None
    threads: int
    files: tuple[str, ...]


def results_folder() -> Path:
    """Where a checkout keeps its benchmarks; an installed package has none."""
    return Path(modjax.__file__).parent.parent / "benchmarks" / "results"


def known_machines(folder: Path | None = None) -> list[Elsewhere]:
    """All machines with rows; none where there is no folder."""
    folder = folder or results_folder()
    names = {path.stem.split("_", 1)[1] for path in folder.glob("*_*.jsonl")} if folder.is_dir() else set()
    return [machine for name in sorted(names) if (machine := _machine(folder, name)) is not None]


def _machine(folder: Path, name: str) -> Elsewhere | None:
    kinds = {kind: _rows(folder / f"{kind}_{name}.jsonl") for kind in ("training", "similarity", "modules")}
    rows = [row for found in kinds.values() for row in found]
    if not rows:
        return None
    ours = [row for row in kinds["training"] if "default" in str(row.get("case"))] or [
        row for row in kinds["training"] if str(row.get("case", "")).startswith("modjax")
    ]
    closed = [row for row in kinds["similarity"] if row.get("method") == "closed form" and row.get("measures") == "all"]
    graphs = [row for row in kinds["modules"] if row.get("method") == "leiden (default)" and row.get("units") == WIDTH]
    about = f"{rows[0].get('cpu', 'unknown processor')}, {rows[0].get('device', 'cpu')}"
    milliseconds = _number(graphs, "ms_per_graph")
    return Elsewhere(
        name,
        about,
        _number(ours, "gflops"),
        _number(closed, "gflops"),
        None if milliseconds is None else milliseconds / 1e3,
        int(_number(rows, "threads") or 1),
        tuple(f"{kind}_{name}.jsonl" for kind, found in kinds.items() if found),
    )


def _number(rows: list[dict[str, Any]], key: str) -> float | None:
    """The first row's positive number of a name."""
    found = [float(row[key]) for row in rows if type(row.get(key)) in (int, float)]
    return next((value for value in found if math.isfinite(value) and value > 0), None)


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            return []
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError):
        return []
    return [row for row in rows if isinstance(row, dict)]


def seconds_there(machine: Elsewhere, train_flops: float, similarity_flops: float, num_graphs: float) -> float | None:
    """Training, similarity and module searches by a machine's rates; compiling, tables and figures not counted.

    None where its training was not measured.

    Args:
        machine: The machine.
        train_flops: Of the whole sweep.
        similarity_flops: Of the whole sweep.
        num_graphs: Module searches of 64 units, as many as take as long as all of the sweep's.
    """
    if machine.train_gflops is None:
        return None
    seconds = train_flops / (1e9 * machine.train_gflops)
    if machine.similarity_gflops is not None:
        seconds += similarity_flops / (1e9 * machine.similarity_gflops)
    if machine.graph_seconds is not None:
        seconds += num_graphs * machine.graph_seconds / machine.threads
    return seconds
