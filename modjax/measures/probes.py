"""Random estimates of measures: unbiased, at a cost that does not grow with inputs times units, for any network.

With K probes per example, each example's contribution to S is the mean over its probes of ``sym(a b^T)``, whose
expectation is that of the exact measure (Hutchinson 1990). v and u are vectors of independent random signs:

    input Jacobian:   a = b = t = (dh/dx) v                              E[t t^T] = (dh/dx)(dh/dx)^T
    output Jacobian:  a = b = g = (dy/dh)^T u                            E[g g^T] = (dy/dh)^T (dy/dh)
    loss Hessian:     a = b = g = d(-log p_c)/dh, c drawn from p = softmax(y)
                                                                         E[g g^T] = (dy/dh)^T (diag p - p p^T) (dy/dh)
                      where the logits are piecewise linear in h; elsewhere a = H v, b = v: E[(H v) v^T] = H

Probes depend on the seed, the example's number and the probe alone, so that batches, threads and neighbouring trials do
not change them. All trials of a population share them.

References:
    Hutchinson, "A stochastic estimator of the trace of the influence matrix", Comm. Stat. Simul. Comput. 19, 1990.
    Martens, "New insights and perspectives on the natural gradient method", JMLR 21, 2020 (section 9: the Fisher).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree, UInt32

from modjax._util.noise import threefry_words
from modjax.measures.base import (
    MeasureBatch,
    Setting,
    Similarity,
    Sums,
    add_sums,
    by_location,
    gram,
    means_of,
    sum_over,
    sums_of,
    units_of,
    zero_perturb,
)
from modjax.measures.covariance import covariance
from modjax.measures.hessian import total_cross_entropy
from modjax.networks.base import Network
from modjax.types import Params

INPUT, OUTPUT, HESSIAN = range(3)  # streams of random words of one example
WORD = 32

Factors = list[tuple[Float[Array, "probes batch locations units"], Float[Array, "probes batch locations units"]]]


class Probes(NamedTuple):
    """How a measure is estimated; a measure's record names it.

    Attributes:
        kernel: The estimator, which reads ``setting.num_probes`` and the keys of a batch's examples.
        exact_passes: ``exact_passes(network, num_outputs)``, the number of passes through the network that the exact
            measure takes. Where that is no more than the number of probes, the exact measure is computed.
    """

    kernel: Similarity
    exact_passes: Callable[[Network, int], float]


def from_factors(factors: Callable[[Setting, Params, MeasureBatch], Factors]) -> Similarity:
    """Return the estimator ``S = E[mean over probes and locations of sym(a b^T)]``.

    With ``setting.with_errors`` its matrices are followed by as many of standard errors.

    Args:
        factors: ``factors(setting, params, batch)``, which returns a and b for each group, 0 for padding; a and b may
            be one array.
    """

    def init(setting: Setting, dtype: DTypeLike) -> Sums:
        widths = [setting.width(group) for group in range(len(setting.groups))] * (2 if setting.with_errors else 1)
        return sums_of([jax.ShapeDtypeStruct((width, width), dtype) for width in widths], dtype)

    def update(setting: Setting, params: Params, prepared: PyTree, state: Sums, batch: MeasureBatch) -> Sums:
        del prepared
        pairs = factors(setting, params, batch)
        terms = [_products(a, b) / setting.num_probes for a, b in pairs]
        if setting.with_errors:
            terms += [_variances(a, b) for a, b in pairs]
        return add_sums(state, batch, terms)

    def finalize(setting: Setting, params: Params, state: Sums) -> tuple[Array, ...]:
        del params
        means, num_groups = means_of(state), len(setting.groups)
        # A sum of variances over n examples is n times their mean; the variance of S is that over n^2.
        errors = [jnp.sqrt(jnp.maximum(mean, 0) / state.num_examples) for mean in means[num_groups:]]
        return (*means[:num_groups], *errors)

    return Similarity(init, update, finalize)


def _products(a: Array, b: Array) -> Float[Array, "units units"]:
    """Return the sum over probes and examples, and the mean over locations, of ``sym(a b^T)``."""
    if a is b:
        return gram(a)
    product = a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1]) / a.shape[-2]
    return (product + product.T) / 2


def _variances(a: Array, b: Array) -> Float[Array, "units units"]:
    """Return the sum over examples of the estimated variance of each example's mean over its K probes.

    With s_k an example's estimate by probe k, that variance is ``sum_k (s_k - s_{k+1})^2 / (2 K^2)``, where the last
    probe is followed by the first: half the mean squared difference of independent estimates, divided by K.
    """
    num_probes, _, num_locations, _ = a.shape
    next_a, next_b = jnp.roll(a, -1, 0), jnp.roll(b, -1, 0)
    if num_locations == 1:  # sum_k (s_k - s_{k+1})^2 / 2 = sum_k s_k^2 - s_k s_{k+1}, which are products of matrices
        return (_squares(a, b, a, b) - _squares(a, b, next_a, next_b)) / num_probes**2

    def of_example(example: tuple[Array, Array]) -> Array:
        outer = jnp.einsum("kli,klj->kij", *example) / num_locations
        estimates = (outer + outer.swapaxes(1, 2)) / 2
        return jnp.sum((estimates - jnp.roll(estimates, -1, 0)) ** 2, 0) / 2

    # In sequence: only one example's estimates exist at a time.
    return sum_over(of_example, (a.swapaxes(0, 1), b.swapaxes(0, 1))) / num_probes**2


def _squares(a: Array, b: Array, c: Array, d: Array) -> Float[Array, "units units"]:
    """Return the sum over rows of ``sym(a b^T)_ij sym(c d^T)_ij``, for one location."""
    a, b, c, d = (factor.reshape(-1, factor.shape[-1]) for factor in (a, b, c, d))
    half = (a * c).T @ (b * d) + (a * d).T @ (b * c)
    return (half + half.T) / 4


def example_words(batch: MeasureBatch, stream: int, num_words: int) -> UInt32[Array, "batch words"]:
    """Return random words of each example; of one example they do not depend on the batch that it is in."""
    num_blocks = -(-num_words // 2)
    assert batch.keys is not None

    def of_example(key: Array) -> UInt32[Array, " words"]:
        return threefry_words(jax.random.fold_in(key, stream), num_blocks).reshape(-1)[:num_words]

    return jax.vmap(of_example)(batch.keys)


def random_signs(
    batch: MeasureBatch, stream: int, num_probes: int, shape: tuple[int, ...], dtype: DTypeLike
) -> Float[Array, "probes batch *shape"]:
    """Return a vector of random signs for each probe and example; probe k is the same whatever their number is."""
    size = math.prod(shape)
    words_per_probe = -(-size // WORD)
    words = example_words(batch, stream, num_probes * words_per_probe)
    words = words.reshape(-1, num_probes, words_per_probe).swapaxes(0, 1)
    bits = (words[..., None] >> jnp.arange(WORD, dtype=jnp.uint32)[None, None, None]) & 1
    bits = bits.reshape(*words.shape[:2], -1)[..., :size]
    return (2 * bits.astype(dtype) - 1).reshape(*words.shape[:2], *shape)


def input_factors(setting: Setting, params: Params, batch: MeasureBatch) -> Factors:
    """Return ``t = (dh/dx) v``: one forward-mode product per probe serves all layers.

    FLOPs per example: K forward passes, and 2 K L U^2 for the Gram of U units at L locations.
    """
    x = batch.x
    is_valid = batch.is_valid.reshape(1, -1, *(1,) * (x.ndim - 1))
    signs = random_signs(batch, INPUT, setting.num_probes, x.shape[1:], x.dtype) * is_valid
    _, push = jax.linearize(lambda x: setting.network.apply(params, x).hidden, x)
    tangents = jax.vmap(push)(signs)
    units = [units_of(setting, tangents, group, axes_before=2) for group in range(len(setting.groups))]
    return [(t, t) for t in units]


def output_factors(setting: Setting, params: Params, batch: MeasureBatch) -> Factors:
    """Return ``g = (dy/dh)^T u``: one reverse-mode product per probe serves all layers."""
    logits, pull_back = _logits(setting, params, batch)
    signs = random_signs(batch, OUTPUT, setting.num_probes, logits.shape[1:], logits.dtype)
    return _pulled_back(setting, pull_back, signs * batch.is_valid[None, :, None])


def hessian_factors(setting: Setting, params: Params, batch: MeasureBatch) -> Factors:
    """Return gradients of the loss of drawn labels where the logits are piecewise linear, else ``(H v, v)``."""
    if not setting.network.is_piecewise_linear:
        return _hessian_products(setting, params, batch)
    logits, pull_back = _logits(setting, params, batch)
    p = jax.nn.softmax(logits)
    # 24 bits are exact in float32; the middle of each step keeps the draw inside (0, 1).
    uniform = (example_words(batch, HESSIAN, setting.num_probes) >> 8).astype(p.dtype).T
    uniform = (uniform + 0.5) / 2**24
    below = jnp.cumsum(p, -1)[None, :, :-1] < uniform[:, :, None]
    drawn = jax.nn.one_hot(jnp.sum(below, -1), p.shape[-1], dtype=p.dtype)
    return _pulled_back(setting, pull_back, (p[None] - drawn) * batch.is_valid[None, :, None])


def _logits(setting: Setting, params: Params, batch: MeasureBatch) -> tuple[Array, Callable[..., tuple]]:
    """Return the logits of a batch and the function that pulls cotangents back to every hidden layer."""
    perturb = zero_perturb(setting.network, params, batch.x)
    return jax.vjp(lambda perturb: setting.network.apply(params, batch.x, perturb).logits, perturb)


def _pulled_back(
    setting: Setting, pull_back: Callable[..., tuple], cotangents: Float[Array, "probes batch outputs"]
) -> Factors:
    """Return the derivatives in the units of each group."""
    (gradients,) = jax.vmap(pull_back)(cotangents)
    units = [units_of(setting, gradients, group, axes_before=2) for group in range(len(setting.groups))]
    return [(g, g) for g in units]


def _hessian_products(setting: Setting, params: Params, batch: MeasureBatch) -> Factors:
    """Return ``(H v, v)`` of each group, with signs in its own units alone: one product per probe and group.

    Signs in the units of other groups, or at locations that are not used, would only add noise.
    """
    zeros = zero_perturb(setting.network, params, batch.x)
    shapes = [layer.shape[1:] for layer in zeros]
    sizes = [math.prod(shape) for shape in shapes]
    flat = random_signs(batch, HESSIAN, setting.num_probes, (sum(sizes),), zeros[0].dtype)
    pieces = jnp.split(flat, [sum(sizes[: layer + 1]) for layer in range(len(sizes) - 1)], -1)
    signs = [piece.reshape(*piece.shape[:2], *shape) for piece, shape in zip(pieces, shapes, strict=True)]

    def of_group(group: int) -> tuple[Array, Array]:
        layers = setting.groups[group]

        own = tuple(zeros[layer] for layer in layers)  # no derivative passes through what lies below
        tangents = tuple(_at_locations(setting, group, signs[layer]) for layer in layers)
        _, push = jax.linearize(jax.grad(total_cross_entropy(setting, params, batch, zeros, layers)), own)
        products = jax.vmap(push)(tangents)
        both = []
        for values in (products, tangents):
            whole = list(signs)
            for layer, part in zip(layers, values, strict=True):
                whole[layer] = part
            both.append(units_of(setting, tuple(whole), group, axes_before=2))
        return both[0], both[1]

    return [of_group(group) for group in range(len(setting.groups))]


def _at_locations(setting: Setting, group: int, signs: Array) -> Array:
    """Return the signs of a layer, 0 at the locations that are not used."""
    by_place = by_location(signs, axes_before=2)
    if len(setting.locations[group]) == by_place.shape[2]:
        return signs
    is_used = jnp.zeros(by_place.shape[2], signs.dtype).at[jnp.asarray(setting.locations[group])].set(1)
    return (by_place * is_used[None, None, :, None]).reshape(signs.shape)


COVARIANCE = Probes(covariance, lambda network, num_outputs: 0)  # always exact: it needs no derivative
INPUT_JACOBIAN = Probes(from_factors(input_factors), lambda network, num_outputs: math.inf)
OUTPUT_JACOBIAN = Probes(from_factors(output_factors), lambda network, num_outputs: num_outputs)
LOSS_HESSIAN = Probes(
    from_factors(hessian_factors),
    # Elsewhere the exact Hessian takes a pass per unit, not per output.
    lambda network, num_outputs: num_outputs if network.is_piecewise_linear else math.inf,
)
