"""What the manifest says of a run before it begins: spec, machine, precision, layouts, data and tables."""

from typing import Any

import jax

from modjax.measures.plan import make_plan, params_shapes
from modjax.networks.base import bound
from modjax.spec.context import SweepContext
from modjax.spec.setup import Setup
from modjax.store.manifest import describe_machine
from modjax.store.paths import BASE


def dtype_name() -> str:
    """Return the name of the floating point type that this process computes in."""
    return str(jax.dtypes.canonicalize_dtype(float))


def describe_run(setup: Setup, contexts: dict[str, SweepContext]) -> dict[str, Any]:
    """Return the entries of the manifest that do not depend on the engine."""
    context = next(iter(contexts.values()))
    population, similarity = context.layout, setup.spec.similarity
    layouts = {"population": population._asdict()}
    if [*contexts] != [BASE]:
        layouts["populations"] = {name: other.layout._asdict() for name, other in contexts.items()}
    in_shape, num_examples = context.analysed_examples.x.shape[1:], len(context.analysed_examples.x)
    shapes, measures = (
        params_shapes(bound(context.network)),
        [setup.spec.catalog.measures[name] for name in similarity.measures],
    )
    plan = make_plan(
        bound(context.network),
        shapes,
        in_shape,
        measures,
        similarity.combined,
        num_examples,
        estimator=similarity.estimator,
        num_probes=similarity.num_probes,
    )
    return {
        "name": setup.spec.name,
        "spec_hash": setup.spec.spec_hash(),
        **describe_machine(),
        "precision": {"dtype": dtype_name(), "matmul": setup.spec.training.matmul_precision},
        "slots": population.lanes * population.num_threads * len(jax.local_devices()[: population.num_devices]),
        "layout": {**layouts, "trials_per_similarity_call": plan.num_trials},
        "data": {"name": setup.spec.dataset, "checksum": setup.data_checksum},
        **setup.tables.describe(),
    }
