"""The interface of every network: ``Network(init, apply) -> Output(hidden, logits)``."""

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from modjax._util.noise import threefry_words
from modjax.types import Params, PRNGKey, TrialValues

KEEP_LEVELS = 2**16


class Output(NamedTuple):
    """Output of a network for a batch.

    Attributes:
        hidden: Activations after each hidden nonlinearity (and after ``perturb``), ``[batch units]`` each, or
            ``[batch locations... units]`` where a layer computes its units at many locations (as convolutions do).
        logits: ``[batch outputs]``.
    """

    hidden: tuple[Array, ...]
    logits: Array


@dataclass(frozen=True)
class Network:
    """A network as a pair of pure functions; hashable, so that it can be a static argument of ``jit``.

    Attributes:
        init: ``init(key) -> params``; ``key`` is a PRNG key or an integer seed.
        apply: ``apply(params, x, perturb=None, dropout=None) -> Output``. ``perturb`` is a tuple of arrays added to the
            activations of each hidden layer; every downstream derivative is a derivative with respect to it.
            ``dropout`` is None (off) or ``(rate, key)``, where the rate may be traced.
        in_features: Number of values per example.
        chain: Static description of a dense chain, for closed forms; None for any other architecture.
        is_piecewise_linear: Whether the logits are a piecewise linear function of every hidden activation, so that the
            loss Hessian needs only first derivatives.
        weight_graph: ``weight_graph(params) -> tuple`` of ``[units units_above]``, the sums of |W| that join each
            hidden layer to the next; None if the network does not provide it.
        hyperparams: Names of the traced hyperparameters that ``apply`` reads by its argument ``hyperparams``, a mapping
            of one trial's values; without any, ``apply`` needs no such argument.
    """

    init: Callable[..., Any]
    apply: Callable[..., Output]
    in_features: int | None = None
    chain: "DenseChain | None" = None
    is_piecewise_linear: bool = False
    weight_graph: Callable[..., Any] | None = None
    hyperparams: tuple[str, ...] = ()

    def outputs(self, params: Params, x: ArrayLike, hyperparams: TrialValues, **options: Any) -> Output:
        """Return ``apply(params, x, **options)``, with the hyperparameters if the network reads any."""
        return self.apply(params, x, **options, **({"hyperparams": hyperparams} if self.hyperparams else {}))


@lru_cache(maxsize=256)
def bound(network: Network) -> Network:
    """Return a network that reads no hyperparameters: they are part of its parameters, ``(params, {name: value})``.

    So kernels, which know of networks and parameters alone, measure each trial at its own values. A network that reads
    none is returned as it is; the same network gives the same object.
    """
    if not network.hyperparams:
        return network

    def init(key: Any) -> tuple[Any, dict[str, Array]]:
        params = network.init(key)
        return params, {name: jnp.zeros((), jax.tree.leaves(params)[0].dtype) for name in network.hyperparams}

    def apply(pair: tuple[Any, Any], x: ArrayLike, perturb: Any = None, dropout: Any = None) -> Output:
        return network.apply(pair[0], x, perturb, dropout, pair[1])

    return replace(network, init=init, apply=apply, chain=None, weight_graph=None, hyperparams=())


class DenseChain(NamedTuple):
    """A chain of dense layers with the same activation between them.

    Attributes:
        widths: Number of units of each hidden layer.
        activation: A name of ``modjax.names.ACTIVATIONS``.
        layers: ``layers(params) -> [(W, b), ...]`` from the first layer to the logits, W ``[inputs outputs]``.
    """

    widths: tuple[int, ...]
    activation: str
    layers: Callable[..., Any]


def as_key(key: PRNGKey | int) -> PRNGKey:
    """Return a PRNG key, made from an integer seed if it is one."""
    return jax.random.key(int(key)) if isinstance(key, int | numbers.Integral) else key


def dropout_mask(
    key: PRNGKey, rate: Float[Array, ""] | float, shape: tuple[int, ...], dtype: DTypeLike
) -> Float[Array, "*shape"]:
    """Return a mask that keeps a value with probability 1 - rate and scales kept values by the inverse.

    The probability is rounded to a multiple of 2^-16, since two values share one 32-bit random word.

    Args:
        key: PRNG key.
        rate: Probability of dropping a value, in [0, 1); may be traced.
        shape: Shape of the mask.
        dtype: Data type of the mask.
    """
    size = math.prod(shape)
    words = threefry_words(key, (size + 3) // 4)
    levels = jnp.concatenate([words & 0xFFFF, words >> 16]).reshape(-1)[:size].reshape(shape)
    # The barrier keeps XLA from drawing them again in the backward pass, and for each trial that shares the key.
    levels = jax.lax.optimization_barrier(levels)
    keep = jnp.clip(jnp.rint((1 - jnp.asarray(rate, dtype)) * KEEP_LEVELS), 1, KEEP_LEVELS)
    return jnp.where(levels < keep.astype(jnp.uint32), KEEP_LEVELS / keep, 0).astype(dtype)
