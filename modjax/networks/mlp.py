"""Multilayer perceptrons (MLPs)."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from modjax._util.pixels import to_unit_range
from modjax.checks import check_finite
from modjax.names import ACTIVATIONS, PIECEWISE_LINEAR, one_of
from modjax.networks.base import DenseChain, Network, Output, as_key, dropout_mask
from modjax.types import Params, PRNGKey

ACTIVATION_FUNCTIONS: dict[str, Callable] = {
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,  # slope 0.01 below 0, as in PyTorch
    "linear": lambda x: x,
    "tanh": nn.tanh,
    "gelu": partial(nn.gelu, approximate=False),  # PyTorch's default; flax's own default approximates it by a tanh
}


def symmetric_uniform(bound: float) -> Callable:
    """Return an initializer that draws from U(-bound, bound)."""

    def init(key: PRNGKey, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class MLP(nn.Module):
    """Dense layers with one activation; weights and biases from U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""

    widths: tuple[int, ...]
    num_classes: int
    activation: str

    @nn.compact
    def __call__(self, x: Array, perturb: tuple | None = None, dropout: tuple | None = None) -> Output:  # noqa: D102
        hidden = []
        for layer, width in enumerate(self.widths):
            x = ACTIVATION_FUNCTIONS[self.activation](_dense(layer, width, x))
            if perturb is not None:
                x = x + perturb[layer]
            hidden.append(x)
            if dropout is not None:
                rate, key = dropout
                x = x * dropout_mask(jax.random.fold_in(key, layer), rate, x.shape, x.dtype)
        return Output(tuple(hidden), _dense(len(self.widths), self.num_classes, x))


def _dense(index: int, width: int, x: Array) -> Array:
    init = symmetric_uniform(1 / np.sqrt(x.shape[-1]))
    dtype = jax.dtypes.canonicalize_dtype(float)  # float64 under jax.enable_x64
    return nn.Dense(width, kernel_init=init, bias_init=init, param_dtype=dtype, name=f"dense_{index}")(x)


@lru_cache(maxsize=256)
def _mlp(in_features: int, widths: tuple[int, ...], num_classes: int, activation: str) -> Network:
    module = MLP(widths, num_classes, activation)

    def init(key: PRNGKey | int) -> Params:
        return module.init(as_key(key), jnp.zeros((1, in_features)))["params"]

    def apply(params: Params, x: ArrayLike, perturb: tuple | None = None, dropout: tuple | None = None) -> Output:
        x = jnp.asarray(x)
        dtype = jax.tree.leaves(params)[0].dtype
        flat = to_unit_range(x.reshape(x.shape[0], -1), dtype)
        output = module.apply({"params": params}, flat, perturb, dropout)
        assert isinstance(output, Output)
        return output

    chain = DenseChain(widths, activation, dense_layers)
    is_piecewise_linear = activation in PIECEWISE_LINEAR
    return Network(init, apply, in_features, chain, is_piecewise_linear, _weight_graph)


def dense_layers(params: Params) -> list[tuple[Any, Any]]:
    """Return ``[(W, b), ...]`` from the first layer to the logits, as :func:`mlp_params` takes them."""
    layers = (params[f"dense_{index}"] for index in range(len(params)))
    return [(layer["kernel"], layer["bias"]) for layer in layers]


def _weight_graph(params: Params) -> tuple[Array, ...]:
    # Neither the inputs nor the logits are hidden layers.
    return tuple(jnp.abs(kernel) for kernel, _ in dense_layers(params)[1:-1])


def mlp(in_features: int, widths: Sequence[int], num_classes: int, activation: str = "relu") -> Network:
    """Make a multilayer perceptron: h_0 = f(x W_0 + b_0), h_k = f(h_{k-1} W_k + b_k), logits without activation.

    Dropout, when it is on, follows each hidden activation. Pixels (uint8) are divided by 255. The same arguments return
    the same object, so that programs compiled for it are used again.

    Args:
        in_features: Number of values per example; ``x`` may have any shape with as many values after its batch axis.
        widths: Number of units of each hidden layer; at least one layer.
        num_classes: Number of logits.
        activation: ``relu``, ``leaky_relu`` (slope 0.01 below 0), ``linear``, ``tanh``, or ``gelu``, exactly
            x (1 + erf(x / sqrt(2))) / 2, not its tanh approximation.

    Raises:
        ValueError: A size below 1 or an unknown activation.

    Example:
        >>> network = mlp(784, (64, 64), 10)
        >>> [hidden.shape for hidden in network.apply(network.init(0), jnp.zeros((5, 28, 28))).hidden]
        [(5, 64), (5, 64)]
    """
    one_of(activation, ACTIVATIONS, "activation")
    sizes = {"in_features": (in_features,), "widths": tuple(widths), "num_classes": (num_classes,)}
    for name, values in sizes.items():
        if not values or any(int(value) != value or value < 1 for value in values):
            raise ValueError(f"{name} must be whole numbers, at least 1 each; got {list(values)}.")
    return _mlp(int(in_features), tuple(int(width) for width in widths), int(num_classes), activation)


def build_mlp(in_shape: tuple[int, ...], num_outputs: int, widths: Sequence[int], activation: str = "relu") -> Network:
    """Make the ``mlp`` of a spec: :func:`mlp` for examples of a given shape."""
    return mlp(math.prod(in_shape), widths, num_outputs, activation)


def mlp_params(layers: Sequence[tuple[Any, Any]]) -> dict[str, dict[str, Float[Array, "..."]]]:
    """Make parameters of :func:`mlp` from given weights.

    Args:
        layers: ``[(W, b), ...]`` from the first layer to the logits; ``W`` is ``(inputs, outputs)`` as in flax (the
            transpose of PyTorch's), ``b`` is ``(outputs,)``.

    Raises:
        ValueError: Shapes that do not chain, or values that are not finite.

    Example:
        >>> params = mlp_params([(np.ones((4, 3)), np.zeros(3)), (np.ones((3, 2)), np.zeros(2))])
        >>> sorted(params)
        ['dense_0', 'dense_1']
    """
    params = {}
    inputs = None
    for index, (kernel, bias) in enumerate(layers):
        kernel, bias = jnp.asarray(kernel), jnp.asarray(bias)
        if kernel.ndim != 2 or bias.shape != kernel.shape[1:] or inputs not in (None, kernel.shape[0]):
            raise ValueError(
                f"layer {index} must be W of shape ({inputs or 'inputs'}, outputs) and b of shape (outputs,); "
                f"got {kernel.shape} and {bias.shape}. PyTorch weights must be transposed."
            )
        check_finite(f"W of layer {index}", kernel)
        check_finite(f"b of layer {index}", bias)
        params[f"dense_{index}"] = {"kernel": kernel, "bias": bias}
        inputs = kernel.shape[1]
    return params
