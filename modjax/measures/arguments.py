"""Checks of what the public functions of similarity are given: measures, parameters, examples, streams."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from modjax.builtins import WEIGHTS
from modjax.checks import check_finite, check_labels
from modjax.measures.compute import kernel_of
from modjax.measures.functions import is_function
from modjax.measures.plan import layer_shapes, measure_infos, params_shapes
from modjax.networks.base import Network
from modjax.records import MeasureInfo
from modjax.types import Params


def as_population(network: Network, params: Params) -> tuple[Params, bool]:
    """Return the parameters with a leading trials axis, and whether they had one.

    Raises:
        ValueError: If they do not fit the network.
    """
    params = jax.tree.map(lambda leaf: leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf), params)
    is_population = _check_params(network, params)
    params = jax.tree.map(lambda leaf: leaf.astype(jax.dtypes.canonicalize_dtype(leaf.dtype)), params)
    return (params if is_population else jax.tree.map(lambda leaf: leaf[None], params)), is_population


def first_trial(population: Params) -> Params:
    """Return the shapes and dtypes of one trial's parameters."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), population)


def check_measures(measures: str | Sequence[str | MeasureInfo], combined: bool) -> tuple[MeasureInfo, ...]:
    """Return the records of measures, without duplicates; raise unless all are known."""
    infos = measure_infos((measures,) if isinstance(measures, str | MeasureInfo) else measures)
    if WEIGHTS in infos and not combined:
        raise ValueError("weights joins units of different layers: ask for it with combined=True.")
    for info in infos:
        if info.family == "parameters" and info != WEIGHTS:
            raise ValueError(f"{info.name}: only weights is a measure of parameters; use upstream or downstream.")
        if info != WEIGHTS and not is_function(info):
            kernel_of(info)
    return infos


def _check_params(network: Network, params: Params) -> bool:
    """Return whether params are a population; raise unless they fit the network."""
    expected = params_shapes(network)
    if jax.tree.structure(expected) != jax.tree.structure(params):
        raise ValueError(
            f"params do not fit the network: expected a tree {jax.tree.structure(expected)}; "
            f"got {jax.tree.structure(params)}."
        )
    pairs = list(zip(jax.tree.leaves(expected), jax.tree.leaves(params), strict=True))
    extra = {leaf.ndim - wanted.ndim for wanted, leaf in pairs}
    is_population = extra == {1}
    fits = all(leaf.shape[-wanted.ndim :] == wanted.shape for wanted, leaf in pairs if wanted.ndim)
    trials = {leaf.shape[0] for _, leaf in pairs} if is_population else {1}
    if extra not in ({0}, {1}) or not fits or len(trials) != 1 or 0 in trials:
        raise ValueError(
            f"params do not fit the network: expected shapes {[wanted.shape for wanted, _ in pairs]}, with or without "
            f"one leading trials axis on all; got {[leaf.shape for _, leaf in pairs]}."
        )
    for leaf in jax.tree.leaves(params):
        check_finite("params", leaf)
    return is_population


def check_examples(
    network: Network, population: Params, x: Any, y: Any, infos: tuple[MeasureInfo, ...]
) -> tuple[Any, Any]:
    """Return checked examples and labels: pixels stay uint8, all else gets the dtype of the parameters."""
    shape = np.shape(x)
    if len(shape) < 2 or shape[0] == 0:
        raise ValueError(f"x must be examples of shape [examples features...], at least one; got shape {shape}.")
    if network.in_features is not None and math.prod(shape[1:]) != network.in_features:
        raise ValueError(f"x must have {network.in_features} values per example; got {math.prod(shape[1:])}.")
    check_finite("x", x)
    if y is None:
        unlabelled = next((info.name for info in infos if info.needs_labels), None)
        if unlabelled is not None:
            raise ValueError(f"{unlabelled} needs labels: pass y, or leave {unlabelled} out of measures.")
    else:
        check_labels("y", y, shape[0], layer_shapes(network, shape[1:])[1])
        y = np.asarray(y, np.int32)
    x = x if hasattr(x, "dtype") else np.asarray(x)
    return (x if x.dtype == np.uint8 else x.astype(jax.tree.leaves(population)[0].dtype)), y


def check_stream(
    network: Network, population: Params, batches: Iterator[Any], y: Any, infos: tuple[MeasureInfo, ...]
) -> tuple[Iterator[tuple[Any, Any]], tuple[int, ...]]:
    """Return the batches, each checked as it comes, and the shape of an example, for which the first batch is read."""
    if y is not None:
        raise ValueError("an iterator gives batches (x, y): leave y out.")

    def checked() -> Iterator[tuple[Any, Any]]:
        expected: tuple[Any, ...] | None = None
        for batch in batches:
            if isinstance(batch, list) or (isinstance(batch, tuple) and len(batch) != 2):
                raise ValueError(f"batches must be x or (x, y); got a {type(batch).__name__} of {len(batch)}.")
            given_x, given_y = batch if isinstance(batch, tuple) else (batch, None)
            chunk = check_examples(network, population, given_x, given_y, infos)
            kind = (np.shape(given_x)[1:], given_y is not None)
            expected = expected or kind
            if kind != expected:
                kinds = [
                    f"examples of shape {list(shape)} {'with' if has else 'without'} labels"
                    for shape, has in (expected, kind)
                ]
                raise ValueError(f"all batches must be alike; the first had {kinds[0]}, a later one {kinds[1]}.")
            yield chunk

    chunks = checked()
    first = next(chunks, None)
    if first is None:
        raise ValueError("x must give at least one batch of examples; the iterator gave none.")
    return itertools.chain([first], chunks), first[0].shape[1:]
