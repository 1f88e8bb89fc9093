"""What a trial minimizes: the task's mean loss plus penalties, with one function per term."""

import operator
import zlib
from collections.abc import Callable
from functools import lru_cache, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from modjax._util.pixels import to_unit_range
from modjax.builtins import PENALTIES, TASKS
from modjax.checks import check_finite, check_labels
from modjax.networks.base import Network, bound
from modjax.records import PenaltyInfo, resolve
from modjax.training.config import hyperparam
from modjax.types import Examples, Params, PRNGKey, TrialValues

NOISE_KEY = zlib.crc32(b"input_noise")


class Batch(NamedTuple):
    """Examples of a classification task.

    Attributes:
        x: Inputs ``[batch ...]``, uint8 pixels or floats.
        y: Integer labels ``[batch]``.
        more: Further arrays of the dataset, by name.
    """

    x: Array
    y: Array
    more: dict[str, Array] = {}  # noqa: RUF012 (a field of a named tuple)


def no_penalty(params: Params, hyperparams: TrialValues) -> Float[Array, ""] | float:
    """Return 0: the penalty of a task that has none."""
    del params, hyperparams
    return 0.0


def no_check(examples: Examples) -> None:
    """Accept any data: the check of a task that has none."""
    del examples


class Task(NamedTuple):
    """A problem for :func:`modjax.train`, as pure functions of ONE trial.

    Attributes:
        init: ``init(key, hyperparams) -> params``, any tree of arrays.
        loss: ``loss(params, hyperparams, batch, key) -> scalar``, the mean over a batch.
        evaluate: ``evaluate(params, hyperparams, batch) -> dict of sums over the batch``. It must hold ``count`` and
            ``loss``; every other entry is divided by ``count`` and reported too.
        penalty: ``penalty(params, hyperparams) -> scalar``, added to the loss for the gradient, left out of histories.
        hyperparams: Names of the hyperparameters it takes, beside ``learning_rate`` and ``seed``; None takes any.
        check: ``check(examples)``, which raises a ValueError if data are wrong; called once, on the host.
        mask: ``mask(params, hyperparams) -> tree of 0 and 1`` like the weights: where it is 0, weights start at 0 and
            stay there. It may depend on the shapes of ``params`` and on hyperparameters, not on their values.
        project: ``project(params, hyperparams, initial) -> params``, applied after each update, with the weights that
            the trial started from; to keep weights in a set, as in projected gradient descent.
    """

    init: Callable[..., Any]
    loss: Callable[..., Any]
    evaluate: Callable[..., Any]
    penalty: Callable[..., Any] = no_penalty
    hyperparams: tuple[str, ...] | None = None
    check: Callable[[Any], None] = no_check
    mask: Callable[..., Any] | None = None
    project: Callable[..., Any] | None = None


def objective(
    task: Task, params: Params, hyperparams: TrialValues, batch: Examples, key: PRNGKey
) -> tuple[Array, Array]:
    """Return ``loss + penalty``, which is minimized, and the loss alone, which is reported."""
    loss = task.loss(params, hyperparams, batch, key)
    return loss + task.penalty(params, hyperparams), loss


def weights(params: Params) -> list[Array]:
    """Return the leaves that are weights, not biases: those with at least two axes."""
    return [leaf for leaf in jax.tree.leaves(params) if leaf.ndim >= 2]


def l1_norm(params: Params) -> Float[Array, ""]:
    """Return ``sum |W|`` over all weights."""
    return jnp.sum(jnp.stack([jnp.sum(jnp.abs(weight)) for weight in weights(params)]))


def l2_norm(params: Params) -> Float[Array, ""]:
    """Return ``sum W^2`` over all weights (no root, as the paper's authors define it)."""
    return jnp.sum(jnp.stack([jnp.sum(weight**2) for weight in weights(params)]))


def l1_penalty(network: Network, params: Params, hyperparams: TrialValues) -> Float[Array, ""]:
    """Return ``l1 * sum |W|``."""
    del network
    return hyperparam(hyperparams, "l1", 0.0) * l1_norm(params)


def l2_penalty(network: Network, params: Params, hyperparams: TrialValues) -> Float[Array, ""]:
    """Return ``l2 * sum W^2``."""
    del network
    return hyperparam(hyperparams, "l2", 0.0) * l2_norm(params)


@lru_cache(maxsize=256)
def with_penalties(task: Task, network: Network, penalties: tuple[PenaltyInfo, ...]) -> Task:
    """Return a task whose loss has further penalties; the same arguments give the same object."""
    if not penalties:
        return task

    def penalty(params: Params, hyperparams: TrialValues) -> Array:
        terms = [resolve(info.function)(network, params, hyperparams) for info in penalties]
        return reduce(operator.add, terms, task.penalty(params, hyperparams))

    names = [info.name for penalty_info in penalties for info in penalty_info.hyperparameters]
    read = None if task.hyperparams is None else tuple(dict.fromkeys((*task.hyperparams, *names)))
    return task._replace(penalty=penalty, hyperparams=read)


def cross_entropy_sum(logits: Float[Array, "batch outputs"], labels: Array) -> Float[Array, ""]:
    """Return ``sum_b -log softmax(y_b)[label_b]``, in nats."""
    return jnp.sum(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


@lru_cache(maxsize=256)
def classification(network: Network) -> Task:
    """Return the paper's task: cross-entropy, dropout after each hidden activation, L1 and L2 penalties in the loss.

    loss = mean CE + l1 * sum |W| + l2 * sum W^2; hyperparameters ``l1``, ``l2`` and ``dropout`` by name from a
    :class:`modjax.Hyperparams` or a dict, 0 where there is none. Where they are given, ``input_noise`` adds Gaussian
    noise of that standard deviation to the inputs, and with ``label_smoothing`` a the loss is that of the labels
    (1 - a) onehot + a / classes; both in training alone. The same network gives the same task object.

    Args:
        network: The architecture.

    References:
        Lange, Rolnick & Kording, TMLR 2022, section 3.1.
    """

    def init(key: PRNGKey, hyperparams: TrialValues) -> Params:
        del hyperparams
        return network.init(key)

    def loss(params: Params, hyperparams: TrialValues, batch: Batch, key: PRNGKey) -> Array:
        # The barrier has it computed once for the forward and the backward product and all trials of the batch.
        x = jax.lax.optimization_barrier(to_unit_range(batch.x, jax.tree.leaves(params)[0].dtype))
        noise, smoothing = (hyperparam(hyperparams, name, None) for name in ("input_noise", "label_smoothing"))
        if noise is not None:
            x = x + noise * jax.random.normal(jax.random.fold_in(key, NOISE_KEY), x.shape, x.dtype)
        rate = hyperparam(hyperparams, "dropout", 0.0)
        logits = network.outputs(params, x, hyperparams, dropout=(rate, key)).logits
        total = cross_entropy_sum(logits, batch.y)
        if smoothing is not None:
            uniform = -jnp.sum(jnp.mean(jax.nn.log_softmax(logits), -1))
            total = (1 - smoothing) * total + smoothing * uniform
        return total / batch.y.shape[0]

    def evaluate(params: Params, hyperparams: TrialValues, batch: Batch) -> dict[str, Array]:
        logits = network.outputs(params, to_unit_range(batch.x, jax.tree.leaves(params)[0].dtype), hyperparams).logits
        return {
            "count": jnp.asarray(batch.y.shape[0], logits.dtype),
            "loss": cross_entropy_sum(logits, batch.y),
            "accuracy": jnp.sum(jnp.argmax(logits, -1) == batch.y).astype(logits.dtype),
        }

    def penalty(params: Params, hyperparams: TrialValues) -> Array:
        terms = [resolve(info.function)(network, params, hyperparams) for info in PENALTIES.values()]
        return reduce(operator.add, terms)

    def check(examples: Batch) -> None:
        example = jax.ShapeDtypeStruct((1, *examples.x.shape[1:]), examples.x.dtype)
        logits = jax.eval_shape(lambda x: bound(network).apply(bound(network).init(0), x).logits, example)
        check_labels("data.y", examples.y, len(examples.x), logits.shape[-1])
        check_finite("data.x", examples.x)

    infos = [info for penalty_info in PENALTIES.values() for info in penalty_info.hyperparameters]
    names = [info.name for info in (*infos, *TASKS["classification"].hyperparameters)]
    return Task(init, loss, evaluate, penalty, (*names, *network.hyperparams), check)
