"""Speed and quality of module searches, and the cost of nulls and alignment, compared on one core.

Graphs: all measures, raw and normalized, of the first hidden layer of two networks on scikit-learn's digits, one
untrained and one trained with dropout, which gives near-random graphs and clearly modular ones.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from modjax.bench.harness import Report, table_text, write_rows
from modjax.clustering.adjacency import adjacency
from modjax.clustering.alignment_null import LayerPermutations
from modjax.clustering.layer import SearchSettings, SignedGraph, cluster_layer
from modjax.clustering.modularity import modularity_of
from modjax.clustering.null_comparison import modularity_null, score_null
from modjax.clustering.search import METHODS, search_living
from modjax.data.datasets import load_dataset
from modjax.measures.similarity import similarity
from modjax.names import MEASURES
from modjax.networks.mlp import mlp
from modjax.training.config import Hyperparams, TrainConfig
from modjax.training.objective import Batch, classification
from modjax.training.train import train

WIDTHS = (64, 256, 1024)
DROPOUT, EPOCHS = 0.5, 30
MOST_SECONDS = 20.0  # a method that takes longer for the first graph is not tried on the others of that width
PERMUTATIONS, NULLS, MOST_NULLS = 5000, 19, 99
NULLS_0_2 = 10  # as many as sweeps had with version 0.2
COLUMNS = ("units", "method", "ms_per_graph", "graphs", "q_mean", "q_below_best", "q_most_below_best")
COST_COLUMNS = ("units", "what", "ms", "amount")

Find = Callable[[np.ndarray], np.ndarray]


class Other(NamedTuple):
    """A search of another package, from an adjacency to labels, and the largest number of units it is tried on."""

    find: Find
    most_units: int = max(WIDTHS)


def graphs_of_width(width: int) -> list[SignedGraph]:
    """Return the graphs of both networks: 4 measures x raw, normalized x untrained, trained."""
    data = load_dataset("digits")
    network = mlp(data.in_features, (width, width), data.num_outputs)
    hyperparams = Hyperparams(*(np.full(1, value, np.float32) for value in (1e-3, 0.0, 1e-5, DROPOUT)))
    config = TrainConfig(batch_size=50, max_epochs=EPOCHS)
    examples = Batch(jnp.asarray(data.x_train), jnp.asarray(data.y_train))
    trained = train(classification(network), hyperparams, examples, config)
    params = (network.init(0), jax.tree.map(lambda leaf: leaf[0], trained.params))
    return [
        SignedGraph(np.asarray(layers[0], np.float64), normalized)
        for network_params in params
        for layers in similarity(network, network_params, data.x_test, data.y_test, MEASURES).values()
        for normalized in (False, True)
    ]


def searches() -> dict[str, Find]:
    """Return every search of modjax, and plain restarts of Leiden, by name."""

    def find(method: str, restarts: int | None, matrix: np.ndarray) -> np.ndarray:
        return search_living(METHODS[method], matrix, 1.0, restarts, 0).labels

    methods: dict[str, Find] = {"leiden (default)": partial(find, "leiden", None)}
    methods |= {f"leiden, best of {runs}": partial(find, "leiden", runs) for runs in (1, 10, 40)}
    methods |= {f"leidenalg, best of {runs}": partial(find, "leidenalg", runs) for runs in (1, 10)}
    return methods | {method: partial(find, method, None) for method in ("spectral", "monte_carlo", "monte_carlo_svd")}


def time_searches(
    graphs: np.ndarray, methods: dict[str, Find], passes: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return one row per method: the least CPU time of each graph, averaged, and Q relative to the best method's.

    Methods take turns on each graph, so that all of them meet the machine in the same state.
    """
    for find in methods.values():
        find(graphs[0][:8, :8])  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    q: dict[str, list[float]] = {name: [] for name in methods}
    for number, graph in enumerate(graphs):
        for name, find in methods.items():
            if seconds[name] and seconds[name][0] > MOST_SECONDS:
                continue
            taken, labels = _time(partial(find, graph), passes)
            seconds[name].append(taken)
            q[name].append(modularity_of(graph, labels))
        say(f"{len(graph)} units: graph {number + 1} of {len(graphs)}")
    # A method that was stopped after some graphs is no candidate for the best of the others.
    best = np.max([values + [-np.inf] * (len(graphs) - len(values)) for values in q.values()], 0)
    return [
        {
            "units": len(graphs[0]),
            "method": name,
            "ms_per_graph": 1e3 * float(np.mean(seconds[name])),
            "graphs": len(seconds[name]),
            "q_mean": float(np.mean(q[name])),
            "q_below_best": float(np.mean(best[: len(q[name])] - q[name])),
            "q_most_below_best": float(np.max(best[: len(q[name])] - q[name])),
        }
        for name in methods
    ]


def time_costs(graphs: Sequence[SignedGraph], passes: int) -> list[dict[str, Any]]:
    """Time nulls per graph, the alignment null per pair, and everything about a layer, with and without nulls."""
    layer, units = graphs[: 2 * len(MEASURES)], len(graphs[0].matrix)
    adjacencies = [adjacency(graph.matrix, graph.normalized) for graph in layer]
    labels = [search_living(METHODS["leiden"], graph, 1.0, 1, 0).labels for graph in adjacencies]
    pairs = [(a, b) for a in range(len(layer)) for b in range(a, len(layer))]
    # Raw and normalized graphs alternate; each kind gets joint modules, as in a sweep.
    groups = [list(range(kind, len(layer), 2)) for kind in (0, 1)]

    def all_pairs() -> None:
        permutations = LayerPermutations(units, PERMUTATIONS, 0)
        for a, b in pairs:
            permutations.null(labels[a], labels[b])

    def whole(settings: SearchSettings) -> None:
        cluster_layer(layer, settings, 0, groups)

    def rotations(num: int) -> None:
        for graph in layer:
            modularity_null(graph.matrix, "rotation", num, graph.normalized)

    def permuted_weights() -> None:
        """The nulls of version 0.2, which the method's own search was run on."""
        for graph in layer:
            score_null(graph.matrix, graph.normalized, whole_search, NULLS_0_2, 0, "weight_permutation")

    with_nulls = SearchSettings(nulls=NULLS, permutations=PERMUTATIONS)
    what = {
        f"null a graph: {NULLS} rotations by the quick search": (partial(rotations, NULLS), len(layer)),
        f"null a graph: {MOST_NULLS} rotations by the quick search": (partial(rotations, MOST_NULLS), len(layer)),
        f"null a graph: {NULLS_0_2} permuted weights by the default search": (permuted_weights, len(layer)),
        f"alignment null a pair, {PERMUTATIONS} permutations": (all_pairs, len(pairs)),
        f"a layer: {len(layer)} searches, joint modules, {len(pairs)} alignments": (
            partial(whole, SearchSettings()),
            1,
        ),
        f"the same with {NULLS} nulls a graph and {PERMUTATIONS} permutations a pair": (partial(whole, with_nulls), 1),
    }
    return [
        {"units": units, "what": name, "ms": 1e3 * _time(call, passes)[0] / amount, "amount": amount}
        for name, (call, amount) in what.items()
    ]


def whole_search(graph: np.ndarray, number: int) -> float:
    """Return Q by the default search."""
    return search_living(METHODS["leiden"], graph, 1.0, None, number).q


def _time(call: Callable[[], Any], passes: int) -> tuple[float, Any]:
    """Return the least CPU seconds over passes, and the result; a call that takes seconds is timed once."""
    least, result = float("inf"), None
    for _ in range(passes):
        started = time.process_time()  # CPU time, which other processes on the machine hardly affect
        result = call()
        taken = time.process_time() - started
        least = min(least, taken)
        if taken > MOST_SECONDS / 10:
            break
    return least, result


def run_benchmark(
    out: Path,
    widths: Sequence[int] = WIDTHS,
    passes: int = 3,
    say: Callable[[str], None] = print,
    others: Mapping[str, Other] = MappingProxyType({}),
) -> Report:
    """Time all searches at each width, and the costs of a layer at the first; write the rows to ``out``.

    Args:
        out: Folder of the rows.
        widths: Numbers of units, at least 8.
        passes: Number of times that each search is timed; the least time counts.
        say: Function called with messages about the progress.
        others: Searches of other packages to compare with, by name.

    Returns:
        The rows, their Markdown tables, and their file.

    Raises:
        ValueError: No passes, or a width below 8.
    """
    if passes < 1 or not widths or min(widths) < 8:
        raise ValueError(f"passes must be at least 1 and widths at least 8; got {passes} and {list(widths)}.")
    timed, costs = [], []
    for width in widths:
        signed = graphs_of_width(width)
        graphs = np.stack([adjacency(graph.matrix, graph.normalized) for graph in signed])
        if not costs:
            costs = time_costs(signed, passes)
        methods = searches() | {name: other.find for name, other in others.items() if width <= other.most_units}
        # Searches of the largest graphs take seconds each: every fourth graph must do.
        timed += time_searches(graphs if width < max(WIDTHS) else graphs[::4], methods, passes, say)
    path = write_rows(out, "modules", [*timed, *costs])
    return Report([*timed, *costs], f"{table_text(timed, COLUMNS)}\n\n{table_text(costs, COST_COLUMNS)}", (path,))
