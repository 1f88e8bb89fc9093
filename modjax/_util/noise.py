"""Random words for dropout: JAX's own generator (Threefry-2x32), written so that a CPU runs it as one loop.

``jax.random.bits`` compiles it for CPUs as a loop over rounds with arrays between them, and draws half of each block,
which took a tenth of the training time for the dropout of a small network.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt32

from modjax.types import PRNGKey

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry_words(key: PRNGKey, num_blocks: int) -> UInt32[Array, "2 blocks"]:
    """Return both words of every block of Threefry-2x32 with 20 rounds on the counters ``(i, num_blocks + i)``.

    They are the same words as those of ``jax.extend.random.threefry_2x32(key_data, arange(2 * num_blocks))``.

    Args:
        key: Key of JAX's default generator, or raw key data of two words.
        num_blocks: Number of blocks of two words.

    References:
        Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    keys = (data[0], data[1], data[0] ^ data[1] ^ jnp.uint32(0x1BD11BDA))
    counters = jnp.arange(num_blocks, dtype=jnp.uint32)
    first, second = counters + keys[0], counters + jnp.uint32(num_blocks) + keys[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            first = first + second
            second = first ^ ((second << rotation) | (second >> (32 - rotation)))
        first = first + keys[(group + 1) % 3]
        second = second + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return jnp.stack([first, second])
