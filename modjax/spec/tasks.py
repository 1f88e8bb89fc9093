"""The task of a spec: what its trials minimize, with the penalties that the spec's hyperparameters ask for."""

from typing import Any

import jax

from modjax.catalog import BUILTIN
from modjax.networks.base import Network
from modjax.records import resolve
from modjax.spec.spec import SweepSpec
from modjax.training.hyperparameters import HyperparamValues
from modjax.training.objective import Batch, Task, with_penalties


def make_task(spec: SweepSpec, network: Network, given: tuple[str, ...]) -> Task:
    """Return the task of a spec, whose loss has every penalty that it does not add itself and that is not all 0.

    Raises:
        ValueError: If an extension's ``build`` raises or returns no task.
    """
    try:
        task = resolve(spec.catalog.tasks[spec.task].build)(network)
    except Exception as error:  # of the user's own code
        reason = " ".join(str(error).split())
        raise ValueError(f"task {spec.task!r} cannot be built: {type(error).__name__}: {reason}") from error
    if not isinstance(task, Task):
        raise ValueError(f"task {spec.task!r}: build must return a modjax.Task; got {type(task).__name__}.")
    own = set(task.hyperparams or ())
    active = [
        info
        for info in spec.catalog.penalties.values()
        if not own & {inner.name for inner in info.hyperparameters}
        and any(inner.name in given for inner in info.hyperparameters)
    ]
    return with_penalties(task, network, tuple(active))


def check_penalties(spec: SweepSpec, network: Network) -> None:
    """Raise unless every penalty of an extension returns a scalar; nothing is computed.

    Raises:
        ValueError: If one does not; the message names it.
    """
    params, values = jax.eval_shape(network.init, jax.random.key(0)), HyperparamValues({}, constants_of(spec))
    for name, info in spec.catalog.penalties.items():
        if name in BUILTIN.penalties:
            continue
        function = resolve(info.function)
        try:
            result = jax.eval_shape(lambda params, function=function: function(network, params, values), params)
        except Exception as error:  # of the user's own code
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"penalty {name!r} cannot be computed: {type(error).__name__}: {reason}") from error
        if getattr(result, "shape", None) != ():
            raise ValueError(f"penalty {name!r} must return a scalar; got {getattr(result, 'shape', result)}.")


def constants_of(spec: SweepSpec | type[SweepSpec]) -> dict[str, Any]:
    """Return the default of every traced hyperparameter that a spec may name."""
    return {name: info.default for name, info in spec.catalog.hyperparameters.items() if info.kind == "traced"}


def evaluated(spec: SweepSpec, task: Task, batch: Batch) -> set[str]:
    """Return the names of the sums that a task evaluates.

    Raises:
        ValueError: If its functions raise, or the sums lack ``loss`` or ``count``.
    """
    values = HyperparamValues({}, constants_of(spec))
    try:
        params = jax.eval_shape(lambda key: task.init(key, values), jax.random.key(0))
        sums = jax.eval_shape(lambda params, batch: task.evaluate(params, values, batch), params, batch)
    except Exception as error:  # of the user's own code
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"task {spec.task!r} cannot be evaluated: {type(error).__name__}: {reason}") from error
    if not isinstance(sums, dict) or not {"count", "loss"} <= sums.keys():
        came = sorted(sums) if isinstance(sums, dict) else type(sums).__name__
        raise ValueError(
            f"task {spec.task!r}: evaluate must return a dict of sums with 'count' and 'loss'; got {came}."
        )
    return set(sums)
