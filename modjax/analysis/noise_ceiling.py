"""How well a network's modules agree with themselves: found by another search, and from other examples."""

from typing import Any

import jax
import numpy as np

from modjax.analysis.extensions import AnalysedTrial, AnalysisContext
from modjax.analysis.modules import stack_matrices
from modjax.builtins import SEARCHES
from modjax.clustering.adjacency import adjacency_or_nan
from modjax.clustering.alignment import alignment
from modjax.clustering.search import search_living, search_of
from modjax.extensions import function_of
from modjax.training.objective import Batch

SCORES = ("element_centric", "ami")
OTHER_SEED = 1_000_003  # added to a trial's seed: no sweep has so many seeds that another trial has the sum


def noise_ceiling(context: AnalysisContext, trial: AnalysedTrial) -> list[dict[str, Any]]:
    """Return the agreement of each graph's modules with themselves, the most that any two measures can be asked for.

    ``search_*``: the modules of the tables against those that the same search finds from another seed: below 1 where
    several partitions are equally good. ``halves_*``: modules of the similarity over every other example against those
    over the rest, each with half of the examples that the tables have.

    Args:
        context: What the sweep has.
        trial: A finished trial.
    """
    params = jax.tree.map(lambda leaf: leaf[None], trial.params)
    halves = [
        stack_matrices(context.network, params, Batch(context.x[part::2], context.y[part::2]), context.spec)[0]
        for part in (0, 1)
    ]
    modules, seed = context.spec.modules, int(trial.row["seed"])
    is_own = modules.method not in SEARCHES
    record = context.spec.catalog.searches[modules.method]
    search = function_of(record.search) if is_own else search_of(modules.method, modules.quality)

    def labels(matrix: np.ndarray, normalized: bool, start: int) -> np.ndarray:
        graph = adjacency_or_nan(matrix.astype(np.float64), normalized)
        return search_living(search, graph, modules.resolution, modules.restarts or None, start).labels

    rows = []
    for (layer, measure, normalized), partition in trial.partitions.items():
        again = labels(trial.matrices[layer, measure], normalized, seed + OTHER_SEED)
        own, other = (labels(half[layer][measure], normalized, seed) for half in halves)
        pairs = {"search": alignment(partition.labels, again), "halves": alignment(own, other)}
        scores = {f"{name}_{score}": pair[score] for name, pair in pairs.items() for score in SCORES}
        rows.append({"layer": layer, "measure": measure, "normalized": normalized, **scores})
    return rows
