"""From the weights of one finished trial to rows of tables: matrices on the device, modules in worker processes."""

from typing import Any, NamedTuple

import jax
import numpy as np

from modjax.clustering.layer import LayerModules, SearchSettings
from modjax.clustering.null_models import NullSummary
from modjax.measures.normalize import adjacency
from modjax.measures.similarity import compute_similarity
from modjax.names import COMBINED_LAYER
from modjax.networks.base import Network
from modjax.spec.spec import SweepSpec
from modjax.types import Examples, Params

Matrices = dict[int, dict[str, np.ndarray]]


class Graph(NamedTuple):
    """What one adjacency of a layer was made from."""

    measure: str
    normalized: bool


def stack_matrices(network: Network, params: Params, examples: Examples, spec: SweepSpec) -> list[Matrices]:
    """The signed matrices of a stack of trials: ``{layer: {measure: [units units]}}`` for each; layer -1 is combined.

    Args:
        network: The architecture.
        params: With a leading trials axis.
        examples: To analyse.
        spec: What is asked for.
    """
    num_trials = jax.tree.leaves(params)[0].shape[0]
    matrices: list[Matrices] = [{} for _ in range(num_trials)]
    measures = tuple(sorted(spec.similarity.measures))
    if not measures:
        return matrices
    layouts = (False, True) if spec.similarity.combined else (False,)
    results = compute_similarity(network, params, examples.x, examples.y, measures, layouts)
    combined = results[1].items() if spec.similarity.combined else []
    of_layers = [(measure, layer, S) for measure, layers in results[0].items() for layer, S in enumerate(layers)]
    for measure, layer, S in [*of_layers, *((measure, COMBINED_LAYER, S) for measure, S in combined)]:  # noqa: N806
        for trial in range(num_trials):
            matrices[trial].setdefault(layer, {})[measure] = S[trial]
    return matrices


def graphs_of(measures: dict[str, np.ndarray]) -> tuple[list[Graph], np.ndarray]:
    """Every (measure, normalized) of a layer, sorted, and their adjacencies ``[graphs units units]`` in float64."""
    graphs = [Graph(measure, normalized) for measure in sorted(measures) for normalized in (False, True)]
    return graphs, np.stack([_adjacency_or_nan(measures[graph.measure], graph.normalized) for graph in graphs])


def _adjacency_or_nan(matrix: np.ndarray, normalized: bool) -> np.ndarray:
    """NaN throughout where the similarity overflowed: no unit of it is dead, and no module can be found."""
    if not np.all(np.isfinite(matrix)):
        return np.full(matrix.shape, np.nan)
    return adjacency(matrix.astype(np.float64), normalized)


def joint_groups(graphs: list[Graph]) -> list[list[int]]:
    """The places of the graphs that get joint modules: all raw ones, and all normalized ones."""
    return [[place for place, graph in enumerate(graphs) if graph.normalized == kind] for kind in (False, True)]


def search_settings(spec: SweepSpec) -> SearchSettings:
    """What the workers need to know of a spec."""
    modules: dict[str, Any] = spec.modules.model_dump()
    modules["restarts"] = modules["restarts"] or None
    return SearchSettings(**modules, permutations=spec.alignment.permutations)


def similarity_rows(trial_id: str, layer: int, measures: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Rows of the similarity table."""
    return [
        {
            "trial_id": trial_id,
            "layer": layer,
            "measure": measure,
            "num_units": len(matrix),
            "matrix": matrix.astype(np.float32).ravel(),  # as a list of floats it would take eight times the memory
        }
        for measure, matrix in sorted(measures.items())
    ]


def module_rows(trial_id: str, layer: int, graphs: list[Graph], found: LayerModules) -> list[dict[str, Any]]:
    """Rows of the modules table, but for what only the whole sweep can tell."""
    joint = {
        place: (joint, index)
        for joint, group in zip(found.joint, joint_groups(graphs), strict=True)
        for index, place in enumerate(group)
    }
    return [
        {
            "trial_id": trial_id,
            "layer": layer,
            **graph._asdict(),
            **one.partition._asdict(),
            "labels": one.partition.labels.tolist(),
            "participation": one.participation.tolist(),
            "within_module_z": one.within_module_z.tolist(),
            "certainty": None if one.certainty is None else one.certainty.tolist(),
            "joint_q": float(joint[place][0].q[joint[place][1]]),
            "joint_labels": joint[place][0].labels.tolist(),
            "profile_q": one.profile_q,
            "profile_num_modules": one.profile_num_modules,
            **_null_columns(one.null),
        }
        for place, (graph, one) in enumerate(zip(graphs, found.graphs, strict=True))
    ]


def alignment_rows(trial_id: str, layer: int, graphs: list[Graph], found: LayerModules) -> list[dict[str, Any]]:
    """Rows of the alignment table, but for what only the whole sweep can tell."""
    return [
        {
            "trial_id": trial_id,
            "layer": layer,
            "measure_a": graphs[pair.first].measure,
            "normalized_a": graphs[pair.first].normalized,
            "measure_b": graphs[pair.second].measure,
            "normalized_b": graphs[pair.second].normalized,
            **pair.scores,
            **_null_columns(pair.nulls["element_centric"]),
            **{f"{name}_{part}": getattr(pair.nulls[name], part) for name in ("mi", "ari", "rmi") for part in "zp"},
        }
        for pair in found.pairs
    ]


def _null_columns(null: NullSummary) -> dict[str, Any]:
    return {
        "null_kind": null.kind,
        "null_n": null.n,
        "null_mean": null.mean,
        "null_sd": null.sd,
        "z": null.z,
        "p": null.p,
        "effect": null.effect,
    }
