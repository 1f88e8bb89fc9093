"""Speed, memory and accuracy of similarity: closed forms, autodiff, the naive way, PyTorch.

Networks of 784 inputs and 10 outputs with random weights. "GFLOP needed" is what the closed forms need
(:mod:`modjax.bench.flops`), whatever the method; the share is of the speed of a float32 2000 x 2000 product at
precision highest, measured right before each case.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from modjax.bench.flops import example_flops
from modjax.bench.harness import Case, Report, run_cases, table_text, write_rows
from modjax.bench.naive import naive_similarity
from modjax.bench.similarity_figure import draw_figure
from modjax.bench.torch_similarity import device_peak_bytes, has_torch, is_on_gpu, torch_similarity
from modjax.data.datasets import load_dataset
from modjax.data.sources import SOURCES, locate
from modjax.measures.similarity import similarity
from modjax.names import MEASURES, one_of
from modjax.networks.base import Network
from modjax.networks.mlp import mlp
from modjax.types import Params

IN_SHAPE, NUM_INPUTS, NUM_OUTPUTS = (28, 28), 784, 10
NUM_EXAMPLES = 10_000
ALL = "all"
PATHS = {"closed form": "closed_form", "autodiff": "autodiff", "auto": "auto"}
METHODS = (*PATHS, "naive", "torch")
# Limit of the examples of a case on a CPU: GFLOP needed per call. The naive methods compute many times as much.
CALL_GFLOP = {"closed form": 220.0, "auto": 26.0, "autodiff": 26.0, "naive": 2.0, "torch": 1.0}
MIN_EXAMPLES, ERROR_EXAMPLES, WIDE_ERROR_EXAMPLES = 64, 64, 8
WIDE = 512
ACCELERATOR_FACTOR = 50.0  # about how many times faster an accelerator is than two cores
FULL_FACTOR = 8.0
MOST_SECONDS = 8.0  # a case timed for longer is not timed again; in the full grid, FULL_FACTOR times as long
MATMUL_REPEATS = 3
WIDTHS = (16, 64, 256, 1024)
COLUMNS = (
    "network",
    "activation",
    "trials",
    "examples",
    "measures",
    "method",
    "ms_per_network",
    "ms_per_10000",
    "gflop_needed",
    "matmul_share",
    "peak_mb",
    "compile_seconds",
    "relative_error",
    "data",
)


class Work(NamedTuple):
    """What one case measures.

    Attributes:
        widths: Number of units of each hidden layer.
        trials: Number of networks in one call.
        measures: Names of the measures; each gives one matrix per layer.
        method: One of ``METHODS``; ``auto`` is a closed form where there is one.
        activation: Activation of the hidden layers.
        examples: Maximum number of examples.
    """

    widths: tuple[int, ...] = (64, 64)
    trials: int = 8
    measures: tuple[str, ...] = MEASURES
    method: str = "closed form"
    activation: str = "relu"
    examples: int = NUM_EXAMPLES

    @property
    def network_name(self) -> str:
        """All sizes, from inputs to outputs."""
        return "-".join(str(size) for size in (NUM_INPUTS, *self.widths, NUM_OUTPUTS))

    @property
    def measures_name(self) -> str:
        """Names of the measures, or ``all``."""
        return ALL if self.measures == MEASURES else ", ".join(self.measures)

    @property
    def flops(self) -> int:
        """FLOP that one example of one network needs."""
        return example_flops(NUM_INPUTS, self.widths, NUM_OUTPUTS, self.measures, self.activation)


class BenchmarkExamples(NamedTuple):
    """Pixels, labels, and their source: ``mnist`` or ``random``."""

    x: np.ndarray
    y: np.ndarray
    source: str


def default_grid() -> list[Work]:
    """Return cases that take a few minutes on two cores."""
    works = [Work(), *(Work(measures=(name,)) for name in MEASURES)]
    works += [Work(trials=1), Work(trials=64)]
    works += [Work((16, 16)), Work((256, 256), trials=2), Work((1024, 1024), trials=2)]
    works += [Work((64,) * 3), Work((64,) * 5)]
    works += [Work(trials=2, activation="tanh", method="auto")]
    works += [Work(trials=2, method="autodiff"), Work(trials=1, method="naive"), Work(trials=1, method="torch")]
    return works


def full_grid() -> list[Work]:
    """Return cases of widths 16 to 1024 by depths 2 to 5, 1 to 270 trials, and each measure by each method."""
    works = [Work((width,) * depth, trials=8 if width < 256 else 2) for depth in (2, 3, 4, 5) for width in WIDTHS]
    works += [Work(trials=trials) for trials in (1, 64, 270)]
    works += [Work(measures=(name,)) for name in MEASURES]
    works += [Work(trials=2, activation=name, method="auto") for name in ("tanh", "gelu")]
    for method in ("autodiff", "naive", "torch"):
        trials = 2 if method == "autodiff" else 1
        works += [Work((width, width), trials, method=method) for width in WIDTHS]
        works += [Work(trials=trials, measures=(name,), method=method) for name in MEASURES]
    return works


def tiny_grid() -> list[Work]:
    """Return cases that take seconds, for a quick check that everything works."""
    works = [Work((4, 4), 2, method=method, examples=8) for method in METHODS]
    return [*works, Work((4, 4), 2, ("input_jacobian",), examples=8), Work((4, 4), 2, MEASURES, "auto", "tanh", 8)]


GRIDS: dict[str, Callable[[], list[Work]]] = {"default": default_grid, "full": full_grid, "tiny": tiny_grid}


def run_benchmark(
    rows_dir: Path,
    figure: Path,
    grid: str = "default",
    data_dir: Path | None = None,
    passes: int = 3,
    say: Callable[[str], None] = print,
) -> Report:
    """Time a grid of cases; write the rows and the figure.

    Args:
        rows_dir: Folder for ``similarity_<machine>.jsonl``.
        figure: Path of the PNG.
        grid: ``default``, ``full`` or ``tiny``.
        data_dir: Folder that holds ``mnist/``; random pixels are used where MNIST is not available.
        passes: Number of times that every case is timed.
        say: Function called with messages about the progress.

    Raises:
        ValueError: Unknown grid, or no passes.
    """
    works = GRIDS[one_of(grid, tuple(GRIDS), "grid")]()
    if passes < 1:
        raise ValueError(f"passes must be at least 1; got {passes}.")
    if not has_torch():
        say("PyTorch is not installed: its cases are left out (pip install 'modjax[torch]')")
        works = [work for work in works if work.method != "torch"]
    rows = measure_works(works, load_examples(data_dir), passes, FULL_FACTOR if grid == "full" else 1.0, say)
    path = write_rows(rows_dir, "similarity", rows)
    draw_figure(rows, figure)
    return Report(rows, table_text(rows, COLUMNS), (path, figure))


def load_examples(data_dir: Path | None) -> BenchmarkExamples:
    """Return MNIST's test images if they are on this machine, or random ones of their shape."""
    if all(locate("mnist", part, data_dir) for part in SOURCES["mnist"].files):
        data = load_dataset("mnist", data_dir)
        return BenchmarkExamples(data.x_test, data.y_test, "mnist")
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (NUM_EXAMPLES, *IN_SHAPE), np.uint8)
    return BenchmarkExamples(x, rng.integers(0, NUM_OUTPUTS, NUM_EXAMPLES).astype(np.int32), "random")


def num_examples(work: Work, factor: float = 1.0) -> int:
    """Return the number of examples, in hundreds, with which a call needs at most its GFLOP; at least a few."""
    factor *= 1.0 if jax.default_backend() == "cpu" else ACCELERATOR_FACTOR
    most = CALL_GFLOP[work.method] * factor * 1e9 / (work.flops * work.trials)
    return min(work.examples, max(MIN_EXAMPLES, int(most) // 100 * 100))


def measure_works(
    works: Sequence[Work], examples: BenchmarkExamples, passes: int, factor: float, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return one row per case; errors are computed last, so that they compile nothing for the timed calls."""
    cases = [_case(work, examples, num_examples(work, factor)) for work in works]
    timed = run_cases(cases, passes, say, "network", MOST_SECONDS * factor, MATMUL_REPEATS)
    # The number of trials and the choice of measures do not change the error of a measure.
    errors: dict[tuple, dict[str, float]] = {}
    rows = []
    for work, row in zip(works, timed, strict=True):
        key = (work.widths, work.activation, work.method)
        if key not in errors:
            errors[key] = relative_errors(work, examples)
            say(f"relative errors of {work.network_name}, {work.activation}, {work.method}")
        rows.append(_row(work, row, max(errors[key][name] for name in work.measures)))
    return rows


def _case(work: Work, examples: BenchmarkExamples, count: int) -> Case:
    network = mlp(NUM_INPUTS, work.widths, NUM_OUTPUTS, work.activation)
    x, y = examples.x[:count], examples.y[:count]
    name = f"{work.network_name} {work.activation}, {work.trials} trials, {work.measures_name}, {work.method}"
    notes = {"examples": count, "data": examples.source}
    call = partial(compute, work.method, network, init_population(network, work.trials), x, y, work.measures)
    on_gpu = work.method == "torch" and is_on_gpu()
    flops = float(work.flops * count * work.trials)
    return Case(name, lambda: call, work.trials, flops, notes=notes, peak_bytes=device_peak_bytes if on_gpu else None)


def init_population(network: Network, num_trials: int) -> Params:
    """Return networks of seeds 0, 1, ..., with a leading trials axis."""
    return jax.vmap(network.init)(jax.vmap(jax.random.key)(jnp.arange(num_trials)))


def compute(
    method: str, network: Network, population: Params, x: np.ndarray, y: np.ndarray, measures: tuple[str, ...]
) -> list[dict[str, tuple[np.ndarray, ...]]] | dict[str, Any]:
    """Compute the similarity of a population; methods for a single network are called once per network."""
    if method in PATHS:
        return similarity(network, population, x, y, measures, path=PATHS[method])
    num_trials = jax.tree.leaves(population)[0].shape[0]
    trials = [jax.tree.map(lambda leaf, trial=trial: leaf[trial], population) for trial in range(num_trials)]
    if method == "naive":
        return [naive_similarity(network, params, x, y, measures) for params in trials]
    chain = network.chain
    assert chain is not None
    return [torch_similarity(chain.layers(params), chain.activation, x, y, measures) for params in trials]


def relative_errors(work: Work, examples: BenchmarkExamples) -> dict[str, float]:
    """Return ``|S - S'| / |S'|`` (Frobenius) of each measure's worst layer: float32 against the same in float64."""
    network = mlp(NUM_INPUTS, work.widths, NUM_OUTPUTS, work.activation)
    count = min(work.examples, WIDE_ERROR_EXAMPLES if max(work.widths) > WIDE else ERROR_EXAMPLES)
    population = jax.tree.map(np.asarray, init_population(network, 1))
    given = (examples.x[:count], examples.y[:count], MEASURES)
    single = compute(work.method, network, population, *given)
    with jax.enable_x64(True):
        double = compute(work.method, network, jax.tree.map(np.float64, population), *given)
    # Some methods return a list with one dict per network.
    single, double = (result if isinstance(result, dict) else result[0] for result in (single, double))
    return {name: max(map(_distance, single[name], double[name])) for name in MEASURES}


def _distance(computed: np.ndarray, exact: np.ndarray) -> float:
    """Return the relative distance in Frobenius norm; the absolute one for a layer of dead units."""
    return float(np.linalg.norm(computed - exact) / (np.linalg.norm(exact) or 1.0))


def _row(work: Work, timed: dict[str, Any], error: float) -> dict[str, Any]:
    seconds = timed["seconds_per_network"]
    return {
        "case": timed["case"],
        "network": work.network_name,
        "width": work.widths[0],
        "depth": len(work.widths),
        "activation": work.activation,
        "trials": work.trials,
        "examples": timed["examples"],
        "measures": work.measures_name,
        "method": work.method,
        "ms_per_network": seconds * 1e3,
        "ms_per_10000": seconds * 1e3 * NUM_EXAMPLES / timed["examples"],
        "gflop_needed": work.flops * timed["examples"] / 1e9,
        "gflops": timed["gflops"],
        "matmul_gflops": timed["matmul_gflops"],
        "matmul_share": timed["paired_share"],
        "peak_mb": timed["call_mb"],
        # The first call both compiled and computed.
        "compile_seconds": round(max(0.0, timed["compile_seconds"] - seconds * work.trials), 2),
        "relative_error": float(f"{error:.2g}"),
        "data": timed["data"],
    }
