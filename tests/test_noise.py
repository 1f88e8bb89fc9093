import jax
import jax.extend.random
import jax.numpy as jnp
import numpy as np
import pytest

from modjax._util.noise import threefry_words
from tests.seams import dropout_mask


@pytest.mark.parametrize("num_blocks", [1, 2, 7, 6400])
def test_words_are_jaxs_own(key, num_blocks):
    counters = jnp.arange(2 * num_blocks, dtype=jnp.uint32)
    expected = jax.extend.random.threefry_2x32(jax.random.key_data(key), counters)
    np.testing.assert_array_equal(threefry_words(key, num_blocks).ravel(), expected)


def test_masks_keep_their_share_and_differ_by_key(key):
    mask = dropout_mask(key, 0.3, (500, 401), jnp.float32)
    assert set(np.unique(mask).tolist()) == {0.0, np.unique(mask)[-1]}
    np.testing.assert_allclose((mask > 0).mean(), 0.7, atol=5 * np.sqrt(0.21 / mask.size))
    np.testing.assert_allclose(np.asarray(mask, np.float64).max(), 2**16 / round(0.7 * 2**16), rtol=1e-6)
    assert not np.array_equal(mask, dropout_mask(jax.random.fold_in(key, 1), 0.3, (500, 401), jnp.float32))
