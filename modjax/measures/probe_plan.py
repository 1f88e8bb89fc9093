"""Which measures are estimated by probes, and how many examples at a time."""

import math
import numbers
from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from modjax.names import ESTIMATORS, MAX_SEED, NUM_PROBES, one_of
from modjax.networks.base import Network
from modjax.records import MeasureInfo, resolve

PROBE_MEMORY = {"cpu": 2**26}  # bytes of tangents at a time; on an accelerator all that may be used


def check_probes(
    estimator: str, num_probes: int | None, return_error: bool, infos: Sequence[MeasureInfo], seed: int = 0
) -> int:
    """Return the number of probes per example, 0 where measures are exact.

    Raises:
        ValueError: If the estimator is unknown, the number is not positive or given with exact measures, errors are
            asked for of exact measures or of a single probe, the seed is out of range, or a measure has no estimate.
    """
    one_of(estimator, ESTIMATORS, "estimator")
    if estimator == "exact":
        if num_probes is not None or return_error:
            what = "return_error" if num_probes is None else "num_probes"
            raise ValueError(f"{what} needs estimator='probes': exact measures have no probes.")
        return 0
    num_probes = NUM_PROBES if num_probes is None else num_probes
    if not isinstance(num_probes, numbers.Integral) or isinstance(num_probes, bool) or num_probes < 1:
        raise ValueError(f"num_probes must be a whole number, at least 1; got {num_probes}.")
    if return_error and num_probes < 2:
        raise ValueError("return_error compares the probes of each example: num_probes must be at least 2; got 1.")
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be a whole number from 0 to {MAX_SEED}; got {seed}.")
    for info in infos:
        if info.family != "parameters" and info.probes is None:
            raise ValueError(
                f"measure {info.name!r} has no estimate by probes: leave it out, or use estimator='exact'."
            )
    return int(num_probes)


def estimated(
    network: Network, infos: Sequence[MeasureInfo], num_probes: int, num_outputs: int
) -> tuple[MeasureInfo, ...]:
    """Return the measures to be estimated, as records whose kernel is the estimator.

    The others take no more passes exactly than there are probes.
    """
    probed = []
    for info in infos if num_probes else ():
        assert info.probes is not None, "checked by check_probes"
        estimate = resolve(info.probes)
        if estimate.exact_passes(network, num_outputs) > num_probes:
            probed.append(replace(info, kernel=estimate.kernel))
    return tuple(probed)


def probe_examples(
    shapes: Sequence[tuple[int, ...]], in_shape: tuple[int, ...], dtype: DTypeLike, memory: int, num_probes: int
) -> int:
    """Return how many examples probes take at a time so that their tangents fit the memory.

    With D inputs and A activations in all, K probes of B examples take about ``3 K B (D + A) * itemsize`` bytes. On a
    CPU they get more than autodiff does: a step must be long, for adding its products to the sums ``[units units]`` to
    be little work.
    """
    values = math.prod(in_shape) + sum(math.prod(shape) for shape in shapes)
    budget = min(memory, PROBE_MEMORY.get(jax.default_backend(), memory))
    return max(1, budget // (3 * num_probes * values * jnp.dtype(dtype).itemsize))
