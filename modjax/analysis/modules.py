"""Matrices, graphs and table rows of finished trials; modules themselves are searched in worker processes."""

from typing import Any, NamedTuple

import jax
import numpy as np

from modjax.catalog import BUILTIN
from modjax.clustering.layer import LayerModules, SearchSettings, SignedGraph
from modjax.clustering.null_comparison import NullSummary
from modjax.extensions import portable
from modjax.measures.similarity import compute_similarity
from modjax.names import COMBINED_LAYER
from modjax.networks.base import Network
from modjax.spec.spec import SweepSpec
from modjax.types import Examples, Params

Matrices = dict[int, dict[str, np.ndarray]]


class Graph(NamedTuple):
    """Identity of a graph within a layer.

    Attributes:
        measure: Name of the similarity measure.
        normalized: Whether the similarity is normalized.
    """

    measure: str
    normalized: bool


def stack_matrices(network: Network, params: Params, examples: Examples, spec: SweepSpec) -> list[Matrices]:
    """Return the signed matrices of each trial of a stack, as ``{layer: {measure: [units units]}}``.

    Layer -1 is the combined one.

    Args:
        network: Architecture of the trials.
        params: Parameters with a leading trials axis.
        examples: Examples to analyse.
        spec: Spec of the sweep.
    """
    num_trials = jax.tree.leaves(params)[0].shape[0]
    matrices: list[Matrices] = [{} for _ in range(num_trials)]
    measures = tuple(spec.catalog.measures[name] for name in sorted(spec.similarity.measures))
    if not measures:
        return matrices
    layouts = (False, True) if spec.similarity.combined else (False,)
    settings = {"estimator": spec.similarity.estimator, "num_probes": spec.similarity.num_probes}
    results = compute_similarity(network, params, examples.x, examples.y, measures, layouts, **settings)
    combined = results[1].items() if spec.similarity.combined else []
    of_layers = [(measure, layer, S) for measure, layers in results[0].items() for layer, S in enumerate(layers)]
    for measure, layer, S in [*of_layers, *((measure, COMBINED_LAYER, S) for measure, S in combined)]:  # noqa: N806
        for trial in range(num_trials):
            matrices[trial].setdefault(layer, {})[measure] = S[trial]
    return matrices


def graphs_of(measures: dict[str, np.ndarray], spec: SweepSpec) -> tuple[list[Graph], list[SignedGraph]]:
    """Return every (measure, normalized) of a layer, sorted, and what workers need to search its modules."""
    needs_gram = spec.catalog.nulls[spec.modules.null_kind].needs_gram
    graphs, jobs = [], []
    for measure in sorted(measures):
        matrix = measures[measure].astype(np.float64)
        info = spec.catalog.measures.get(measure)
        has_null = not needs_gram or (info is not None and info.gram)
        for normalized in (False, True):
            graphs.append(Graph(measure, normalized))
            jobs.append(SignedGraph(matrix, normalized, has_null))
    return graphs, jobs


def joint_groups(graphs: list[Graph]) -> list[list[int]]:
    """Return the positions of the graphs with joint modules: all raw ones, and all normalized ones."""
    return [[position for position, graph in enumerate(graphs) if graph.normalized == kind] for kind in (False, True)]


def search_settings(spec: SweepSpec) -> SearchSettings:
    """Return the settings of a spec that workers need to search modules."""
    modules: dict[str, Any] = spec.modules.model_dump()
    modules["restarts"] = modules["restarts"] or None
    search, null = spec.catalog.searches[spec.modules.method], spec.catalog.nulls[spec.modules.null_kind]
    return SearchSettings(
        **modules,
        permutations=spec.alignment.permutations,
        search=None if search.name in BUILTIN.searches else portable(search, "search"),
        draw=None if null.name in BUILTIN.nulls else portable(null, "draw"),
    )


def similarity_rows(trial_id: str, layer: int, measures: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return the rows of the similarity table for one layer of a trial."""
    return [
        {
            "trial_id": trial_id,
            "layer": layer,
            "measure": measure,
            "num_units": len(matrix),
            "matrix": matrix.astype(np.float32).ravel(),  # a list of floats would take eight times the memory
        }
        for measure, matrix in sorted(measures.items())
    ]


def module_rows(trial_id: str, layer: int, graphs: list[Graph], layer_modules: LayerModules) -> list[dict[str, Any]]:
    """Return the rows of the modules table for one layer, without columns that need the whole sweep."""
    # Joint modules are searched per group of graphs; map each graph to its group and its index there.
    joint = {
        position: (joint, index)
        for joint, group in zip(layer_modules.joint, joint_groups(graphs), strict=True)
        for index, position in enumerate(group)
    }
    return [
        {
            "trial_id": trial_id,
            "layer": layer,
            **graph._asdict(),
            **modules.partition._asdict(),
            "effective_modules_strength": modules.effective_modules_strength,
            "labels": modules.partition.labels.tolist(),
            "participation": modules.participation.tolist(),
            "within_module_z": modules.within_module_z.tolist(),
            "certainty": None if modules.certainty is None else modules.certainty.tolist(),
            "joint_q": float(joint[position][0].q[joint[position][1]]),
            "joint_labels": joint[position][0].labels.tolist(),
            "profile_q": modules.profile_q,
            "profile_num_modules": modules.profile_num_modules,
            "profile_stability": modules.profile_stability,
            "recommended_resolution": modules.recommended_resolution if modules.profile_q else None,
            **_null_columns(modules.null),
            "null_q": modules.null.observed,
            "excess_q": modules.null.effect,
            "module_z": None if modules.module_test is None else modules.module_test.z.tolist(),
            "module_p": None if modules.module_test is None else modules.module_test.p.tolist(),
        }
        for position, (graph, modules) in enumerate(zip(graphs, layer_modules.graphs, strict=True))
    ]


def alignment_rows(trial_id: str, layer: int, graphs: list[Graph], layer_modules: LayerModules) -> list[dict[str, Any]]:
    """Return the rows of the alignment table for one layer, without columns that need the whole sweep."""
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
            "effect": pair.nulls["element_centric"].effect,
            **{f"{name}_{part}": getattr(pair.nulls[name], part) for name in ("mi", "ari", "rmi") for part in "zp"},
        }
        for pair in layer_modules.pairs
    ]


def _null_columns(null: NullSummary) -> dict[str, Any]:
    return {
        "null_kind": null.kind,
        "null_n": null.n,
        "null_mean": null.mean,
        "null_sd": null.sd,
        "z": null.z,
        "p": null.p,
    }
