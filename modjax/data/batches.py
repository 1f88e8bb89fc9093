"""Splits, epoch orders and minibatches, on the device."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt32

from modjax.types import Examples, PRNGKey

ROUNDS = 10
SORT_BELOW = 4096


def mix(words: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """Map 32-bit words by a bijection that looks random: MurmurHash3's finalizer (Appleby 2011, public domain)."""
    words = (words ^ (words >> 16)) * jnp.uint32(0x85EBCA6B)
    words = (words ^ (words >> 13)) * jnp.uint32(0xC2B2AE35)
    return words ^ (words >> 16)


def permutation(key: PRNGKey, num: int) -> Int[Array, " num"]:
    """Return a pseudo-random permutation of ``0..num-1``: JAX's if it is short, else one in O(num) without a sort.

    The long one is a generalized Feistel network on pairs (l, r) in Z_a x Z_b with a b >= num, whose rounds are
    l += F(r) mod a and r += F(l) mod b in turn, F a keyed mixer; values of num or more walk on along their cycle.
    ``jax.random.permutation`` sorts twice, which for MNIST takes a CPU about twenty times as long, for every trial and
    epoch. (Feistel networks on short ranges do not reach all permutations equally, so short ones are left to JAX.)

    Args:
        key: PRNG key, whose bits key the rounds.
        num: Length of the permutation, below 2^31.

    References:
        Black & Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002 (method 3, and cycle walking); Mitchell
        et al., "Bandwidth-optimal random shuffling for GPUs", ACM TOPC 2022.

    Example:
        >>> sorted(permutation(jax.random.key(0), 5).tolist())
        [0, 1, 2, 3, 4]
    """
    if num < SORT_BELOW:
        return jax.random.permutation(key, num).astype(jnp.int32)
    rows = math.isqrt(num - 1) + 1
    columns = -(-num // rows)
    keys = jax.random.bits(key, (ROUNDS,), jnp.uint32)
    a, b = jnp.uint32(rows), jnp.uint32(columns)

    def encrypt(values: Array) -> Array:
        left, right = values // b, values % b
        for turn in range(0, ROUNDS, 2):
            left = (left + mix(right + keys[turn]) % a) % a
            right = (right + mix((left + keys[turn + 1]) ^ jnp.uint32(0x9E3779B9)) % b) % b
        return left * b + right

    # a b may exceed num: encrypting until a value is below num walks its cycle, and stays a bijection.
    def walk(values: Array) -> Array:
        return jnp.where(values >= num, encrypt(values), values)

    first = encrypt(jnp.arange(num, dtype=jnp.uint32))
    return jax.lax.while_loop(lambda values: jnp.any(values >= num), walk, first).astype(jnp.int32)


def split_order(key: PRNGKey, num_examples: int) -> Int[Array, " examples"]:
    """Return a trial's permutation of the training examples, of which the last ones are its validation set."""
    return permutation(key, num_examples)


def epoch_batches(key: PRNGKey, train: Int[Array, " examples"], batch_size: int) -> Int[Array, "steps batch"]:
    """Return a fresh order of the training examples, cut into batches; an incomplete last batch is left out."""
    steps = train.shape[0] // batch_size
    return train[permutation(key, train.shape[0])[: steps * batch_size]].reshape(steps, batch_size)


def take(examples: Examples, indices: Int[Array, " batch"]) -> Examples:
    """Return the examples at ``indices``, which must be in range, from every array of the tree."""
    return jax.tree.map(lambda array: array.at[indices].get(mode="promise_in_bounds"), examples)
