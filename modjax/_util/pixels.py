"""Conversion of uint8 pixels to floats."""

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num, UInt8


def to_unit_range(
    x: UInt8[Array, "*shape"] | Num[Array, "*shape"], dtype: DTypeLike = jnp.float32
) -> Float[Array, "*shape"]:
    """Scale pixels (uint8) to [0, 1]; other arrays only change their dtype.

    Example:
        >>> to_unit_range(jnp.array([0, 51, 255], jnp.uint8)).tolist()
        [0.0, 0.20000001788139343, 1.0]
    """
    if x.dtype == jnp.uint8:
        return x.astype(dtype) / 255
    return x.astype(dtype)
