"""Small convolutional networks (CNNs) for images."""

import math
from collections.abc import Sequence
from functools import lru_cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from modjax._util.pixels import to_unit_range
from modjax.names import ACTIVATIONS, PIECEWISE_LINEAR, one_of
from modjax.networks.base import Network, Output, as_key, dropout_mask
from modjax.networks.images import image_shape
from modjax.networks.mlp import ACTIVATION_FUNCTIONS, symmetric_uniform
from modjax.types import Params, PRNGKey


class CNN(nn.Module):
    """Convolutions with one activation, then a dense layer; all from U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""

    widths: tuple[int, ...]
    num_classes: int
    activation: str
    kernel_size: int
    strides: int

    @nn.compact
    def __call__(self, x: Array, perturb: tuple | None = None, dropout: tuple | None = None) -> Output:  # noqa: D102
        hidden = []
        for layer, width in enumerate(self.widths):
            x = Convolution(width, self.kernel_size, self.strides, name=f"conv_{layer}")(x)
            x = ACTIVATION_FUNCTIONS[self.activation](x)
            if perturb is not None:
                x = x + perturb[layer]
            hidden.append(x)
            if dropout is not None:
                rate, key = dropout
                x = x * dropout_mask(jax.random.fold_in(key, layer), rate, x.shape, x.dtype)
        x = x.reshape(x.shape[0], -1)
        init = symmetric_uniform(1 / np.sqrt(x.shape[-1]))
        dtype = jax.dtypes.canonicalize_dtype(float)
        dense = nn.Dense(self.num_classes, kernel_init=init, bias_init=init, param_dtype=dtype, name="dense")
        return Output(tuple(hidden), dense(x))


class Convolution(nn.Module):
    """A convolution with zero padding, as ``flax.linen.Conv`` with ``padding="SAME"``.

    It is computed by slices and a matrix product, because a population's convolutions (``vmap`` over the kernels)
    become grouped ones, which took three times as long on a CPU.
    """

    width: int
    kernel_size: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch rows columns units"]:  # noqa: D102
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.width)
        fan_in = math.prod(shape[:-1])
        init = symmetric_uniform(1 / np.sqrt(fan_in))
        dtype = jax.dtypes.canonicalize_dtype(float)
        kernel = self.param("kernel", init, shape, dtype).reshape(fan_in, self.width)
        bias = self.param("bias", init, (self.width,), dtype)
        return _windows(x, self.kernel_size, self.stride) @ kernel + bias[None, None, None]


def _windows(
    x: Float[Array, "batch height width channels"], size: int, stride: int
) -> Float[Array, "batch rows columns values"]:
    """Return the values under the kernel at each location, in the order kernel rows, kernel columns, channels."""
    height, width = x.shape[1:3]
    rows, columns = conv_shape((height, width), stride)
    # All padding of an axis; half of it, rounded down, goes before the image, as "SAME" has it.
    above, left = (max((n - 1) * stride + size - full, 0) for n, full in ((rows, height), (columns, width)))
    x = jnp.pad(x, ((0, 0), (above // 2, above - above // 2), (left // 2, left - left // 2), (0, 0)))
    # One strided slice of the image per position in the kernel.
    slices = [
        x[:, i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(slices, -1)


def conv_shape(shape: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return the rows and columns of a padded convolution's output: those of the input over the stride, rounded up."""
    return -(-shape[0] // stride), -(-shape[1] // stride)


@lru_cache(maxsize=256)
def _cnn(
    image_shape: tuple[int, int, int],
    widths: tuple[int, ...],
    num_classes: int,
    activation: str,
    kernel_size: int,
    strides: int,
) -> Network:
    module = CNN(widths, num_classes, activation, kernel_size, strides)

    def init(key: PRNGKey | int) -> Params:
        return module.init(as_key(key), jnp.zeros((1, *image_shape)))["params"]

    def apply(params: Params, x: ArrayLike, perturb: tuple | None = None, dropout: tuple | None = None) -> Output:
        x = jnp.asarray(x)
        dtype = jax.tree.leaves(params)[0].dtype
        images = to_unit_range(x.reshape(x.shape[0], *image_shape), dtype)
        output = module.apply({"params": params}, images, perturb, dropout)
        assert isinstance(output, Output)
        return output

    def weight_graph(params: Params) -> tuple[Array, ...]:
        kernels = [params[f"conv_{layer}"]["kernel"] for layer in range(1, len(widths))]
        return tuple(jnp.sum(jnp.abs(kernel), (-4, -3)) for kernel in kernels)

    return Network(
        init,
        apply,
        math.prod(image_shape),
        is_piecewise_linear=activation in PIECEWISE_LINEAR,
        weight_graph=weight_graph,
    )


def cnn(
    image_shape: Sequence[int] = (28, 28),
    widths: Sequence[int] = (16, 32),
    num_classes: int = 10,
    activation: str = "relu",
    kernel_size: int = 3,
    strides: int = 2,
) -> Network:
    """Make a convolutional network: h_0 = f(conv_0(x)), h_k = f(conv_k(h_{k-1})), logits a dense layer of the last h.

    Units are channels: hidden activations are ``[batch height width channels]``. A layer of stride s has a height of
    ceil(height / s) and a width of ceil(width / s); for this the image is padded with zeros as evenly as possible, the
    odd one below and to the right (``padding="SAME"`` of flax). Kernels are ``(kernel_size^2 inputs, channels)``, with
    the inputs in the order rows, columns, channels. Dropout, when it is on, follows each hidden activation, value by
    value. Pixels (uint8) are divided by 255. The same arguments return the same object.

    Args:
        image_shape: ``(height, width)`` or ``(height, width, channels)`` of an image; ``x`` may also be flat.
        widths: Number of channels of each convolution; at least one convolution.
        num_classes: Number of logits.
        activation: One of ``modjax.names.ACTIVATIONS``, as in :func:`modjax.mlp`.
        kernel_size: Height and width of each kernel.
        strides: Stride of each convolution, in both directions.

    Raises:
        ValueError: A size below 1, an image with another number of axes, or an unknown activation.

    Example:
        >>> network = cnn((28, 28), (16, 32), 10)
        >>> [hidden.shape for hidden in network.apply(network.init(0), jnp.zeros((5, 784))).hidden]
        [(5, 14, 14, 16), (5, 7, 7, 32)]
    """
    one_of(activation, ACTIVATIONS, "activation")
    sizes = {
        "image_shape": tuple(image_shape),
        "widths": tuple(widths),
        "num_classes": (num_classes,),
        "kernel_size": (kernel_size,),
        "strides": (strides,),
    }
    for name, values in sizes.items():
        if not values or any(int(value) != value or value < 1 for value in values):
            raise ValueError(f"{name} must be whole numbers, at least 1 each; got {list(values)}.")
    if len(sizes["image_shape"]) not in (2, 3):
        raise ValueError(f"image_shape must be (height, width) or (height, width, channels); got {list(image_shape)}.")
    height, width, channels = (int(size) for size in (*image_shape, 1)[:3])
    channels_of_layers = tuple(int(width) for width in widths)
    shape = (height, width, channels)
    return _cnn(shape, channels_of_layers, int(num_classes), activation, int(kernel_size), int(strides))


def build_cnn(in_shape: tuple[int, ...], num_outputs: int, widths: Sequence[int], activation: str = "relu") -> Network:
    """Make the ``cnn`` of a spec: :func:`cnn` for images of a given shape; flat pixels are taken as a square image."""
    return cnn(image_shape(in_shape), widths, num_outputs, activation)
