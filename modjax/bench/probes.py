"""Estimates by probes against exact similarity: error, change of modularity and time, by number of probes and width.

Networks are trained for a few epochs on MNIST with dropout, so that they have modules; both ways are timed in turn.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from modjax.bench.harness import Report, table_text, write_rows
from modjax.bench.similarity import NUM_OUTPUTS, load_examples
from modjax.clustering.adjacency import adjacency
from modjax.clustering.search import find_modules
from modjax.data.datasets import load_dataset
from modjax.measures.similarity import similarity
from modjax.names import MEASURES, one_of
from modjax.networks.mlp import mlp
from modjax.report.style import ARM_COLOURS, ARM_MARKERS, use_style
from modjax.training.config import TrainConfig
from modjax.training.objective import classification
from modjax.training.train import train
from modjax.types import Params

DROPOUT, EPOCHS = 0.5, 3
ESTIMATED = MEASURES[1:]
COLUMNS = (
    "network",
    "examples",
    "probes",
    "seconds",
    "seconds_exact",
    *(f"error_{name}" for name in ESTIMATED),
    "q_change_mean",
    "q_change_max",
)


class ProbeCase(NamedTuple):
    """One network and the numbers of probes to try.

    Attributes:
        widths: Number of units of each hidden layer.
        examples: Number of examples that both ways get.
        probes: Numbers of probes.
    """

    widths: tuple[int, ...]
    examples: int
    probes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)


GRIDS = {
    # Exact similarity of 1,024 units takes minutes for 10,000 examples; errors fall as 1 / sqrt(examples).
    "default": (ProbeCase((64, 64), 10_000), ProbeCase((256, 256), 10_000), ProbeCase((1024, 1024), 1000, (4, 16))),
    "tiny": (ProbeCase((8, 8), 50, (1, 4)), ProbeCase((12, 12), 50, (1, 4))),
}


def run_benchmark(
    rows_dir: Path,
    figure: Path,
    grid: str = "default",
    data_dir: Path | None = None,
    passes: int = 3,
    say: Callable[[str], None] = print,
) -> Report:
    """Compare a grid of cases; write the rows and the figure.

    Args:
        rows_dir: Folder for ``probes_<machine>.jsonl``.
        figure: Path of the PNG.
        grid: ``default`` or ``tiny``.
        data_dir: Folder that holds ``mnist/``; random pixels and untrained networks are used where MNIST is not
            available.
        passes: Number of times that each way is timed; the median counts.
        say: Function called with messages about the progress.

    Raises:
        ValueError: Unknown grid, or no passes.
    """
    works = GRIDS[one_of(grid, tuple(GRIDS), "grid")]
    if passes < 1:
        raise ValueError(f"passes must be at least 1; got {passes}.")
    rows = [row for work in works for row in _measure(work, grid == "tiny", data_dir, passes, say)]
    path = write_rows(rows_dir, "probes", rows)
    draw_figure(rows, figure)
    return Report(rows, table_text(rows, COLUMNS), (path, figure))


def _measure(
    work: ProbeCase, is_tiny: bool, data_dir: Path | None, passes: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    examples = load_examples(data_dir)
    x, y = examples.x[: work.examples], examples.y[: work.examples]
    network = mlp(int(np.prod(x.shape[1:])), work.widths, NUM_OUTPUTS)
    is_trained = examples.source == "mnist" and not is_tiny
    params = _trained(work.widths, data_dir) if is_trained else network.init(0)
    name = "-".join(str(size) for size in (network.in_features, *work.widths, NUM_OUTPUTS))
    exact, seconds_exact = _timed(lambda: similarity(network, params, x, y), 1 if max(work.widths) > 512 else passes)
    q_exact = _modularities(exact)
    rows = []
    for number in work.probes:
        estimate, seconds = _timed(
            lambda number=number: similarity(network, params, x, y, estimator="probes", num_probes=number), passes
        )
        changes = np.abs(_modularities(estimate) - q_exact)
        errors = {f"error_{measure}": _error(estimate[measure], exact[measure]) for measure in ESTIMATED}
        rows.append(
            {
                "case": f"{name}, {number} probes",
                "network": name,
                "width": work.widths[0],
                "examples": len(x),
                "probes": number,
                "seconds": seconds,
                "seconds_exact": seconds_exact,
                **errors,
                "q_change_mean": float(changes.mean()),
                "q_change_max": float(changes.max()),
                "data": examples.source,
                "is_trained": is_trained,
            }
        )
        say(f"{name}, {number} probes: {seconds:.2f} s, exact {seconds_exact:.2f} s")
    return rows


def _trained(widths: tuple[int, ...], data_dir: Path | None) -> Params:
    task = classification(mlp(28 * 28, widths, NUM_OUTPUTS))
    hyperparams = {"seed": np.array([0]), "dropout": np.array([DROPOUT], np.float32)}
    config = TrainConfig(max_epochs=EPOCHS)
    population = train(task, hyperparams, load_dataset("mnist", data_dir), config)
    return {name: {key: leaf[0] for key, leaf in layer.items()} for name, layer in population.params.items()}


def _timed(call: Callable[[], Any], passes: int) -> tuple[Any, float]:
    """Return a result and the median time of some calls, after one that compiles."""
    result, times = call(), []
    for _ in range(passes):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return result, statistics.median(times)


def _modularities(results: dict[str, Any]) -> np.ndarray:
    """Return Q of every graph that is estimated, raw and normalized."""
    graphs = [adjacency(S, normalized) for m in ESTIMATED for S in results[m] for normalized in (False, True)]
    return np.array([find_modules(graph).q for graph in graphs])


def _error(estimate: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> float:
    """Return the mean absolute error of an entry of the normalized graph."""
    gaps = [np.abs(adjacency(a, True) - adjacency(b, True)).mean() for a, b in zip(estimate, exact, strict=True)]
    return float(np.mean(gaps))


def draw_figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw errors, the change of Q, and time against the number of probes, one line per width."""
    use_style()
    figure = Figure(figsize=(9.4, 3.2), layout="constrained")
    axes = figure.subplots(1, 3)
    widths = sorted({row["width"] for row in rows})
    for index, width in enumerate(widths):
        of_width = [row for row in rows if row["width"] == width]
        probes = [row["probes"] for row in of_width]
        errors = [np.mean([row[f"error_{name}"] for name in ESTIMATED]) for row in of_width]
        colour, marker = ARM_COLOURS[index % len(ARM_COLOURS)], ARM_MARKERS[index % len(ARM_MARKERS)]
        values = (errors, [row["q_change_mean"] for row in of_width], [row["seconds"] for row in of_width])
        label = f"{width} units, {of_width[0]['examples']:,} examples"
        for axis, points in zip(axes, values, strict=True):
            axis.plot(probes, points, color=colour, marker=marker, markersize=4, label=label)
        axes[2].axhline(of_width[0]["seconds_exact"], color=colour, linestyle="--", linewidth=1)
    numbers = sorted({row["probes"] for row in rows})
    titles = ("mean error of a normalized entry", "mean change of Q", "seconds (dashed: exact)")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks(numbers, [str(number) for number in numbers])
        axis.set(xlabel="probes per example", title=title)
    axes[0].legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", metadata={"Software": None})
