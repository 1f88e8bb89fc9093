"""The network of a spec, and its sizes, which are known before anything is computed."""

import math
from dataclasses import replace
from typing import NamedTuple

import jax

from modjax.catalog import BUILTIN
from modjax.measures.plan import layer_shapes, params_shapes
from modjax.networks.base import Network
from modjax.records import resolve
from modjax.spec.spec import SweepSpec


class LayerSize(NamedTuple):
    """Sizes of a hidden layer.

    Attributes:
        locations: Number of locations at which each unit is computed.
        units: Number of units.
        fan_in: Number of inputs of each unit.
    """

    locations: int
    units: int
    fan_in: int


class NetworkSizes(NamedTuple):
    """Sizes of a network: its hidden layers, and the number of all its weights and biases."""

    layers: tuple[LayerSize, ...]
    num_weights: int


def build_network(spec: SweepSpec, in_shape: tuple[int, ...], num_outputs: int) -> Network:
    """Build the network of a spec for examples of a shape.

    Raises:
        ValueError: If an extension's ``build`` raises or returns no network.
    """
    kind = spec.network.kind
    info = spec.catalog.networks[kind]
    build = resolve(info.build)
    if kind in BUILTIN.networks:
        return build(in_shape, num_outputs, **spec.network.settings())
    try:
        network = build(in_shape, num_outputs, **spec.network.settings())
        if isinstance(network, Network):
            read = tuple(item.name for item in info.hyperparameters if item.kind == "traced")
            network = replace(network, hyperparams=read) if read else network
            layer_shapes(network, in_shape)
    except Exception as error:  # of the user's own code
        reason = " ".join(str(error).split())
        raise ValueError(f"network {kind!r} cannot be built: {type(error).__name__}: {reason}") from error
    if not isinstance(network, Network):
        raise ValueError(f"network {kind!r}: build must return a modjax.Network; got {type(network).__name__}.")
    return network


def network_sizes(spec: SweepSpec, in_shape: tuple[int, ...], num_outputs: int) -> NetworkSizes:
    """Return the sizes of a spec's network for examples of a shape; nothing is computed."""
    network = build_network(spec, in_shape, num_outputs)
    weights = jax.tree.leaves(params_shapes(network))
    kernels = [leaf for leaf in weights if leaf.ndim >= 2]
    hidden = layer_shapes(network, in_shape)[0]
    units = [shape[-1] for shape in hidden]
    # In a chain each layer has one kernel; elsewhere a layer is taken to read all units of the one below.
    fan_in = [math.prod(kernel.shape[:-1]) for kernel in kernels]
    if len(kernels) != len(hidden) + 1:
        fan_in = [math.prod(in_shape), *units]
    layers = (
        LayerSize(math.prod(shape[:-1]), shape[-1], inputs)
        for shape, inputs in zip(hidden, fan_in[: len(hidden)], strict=True)
    )
    return NetworkSizes(tuple(layers), sum(math.prod(leaf.shape) for leaf in weights))
