import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from modjax._util.pixels import to_unit_range
from modjax.checks import check_batches, num_validation
from modjax.data import batches
from modjax.data.batches import epoch_batches, permutation, split_order, take


def test_split_is_a_permutation(key):
    assert sorted(split_order(key, 50).tolist()) == list(range(50))


@pytest.mark.parametrize("num", [1, 2, 4095, 4096, 4097, 54000, 65536, 65537])
def test_permutation_holds_every_number_once(key, num):
    np.testing.assert_array_equal(np.sort(permutation(key, num)), np.arange(num))


def test_long_permutations_are_uniform(monkeypatch):
    """Where a value lands, and where two neighbours and two far apart land, over many keys: chi-square."""
    num, draws = 61, 40_000
    monkeypatch.setattr(batches, "SORT_BELOW", 0)
    keys = jax.random.split(jax.random.key(7), draws)
    found = np.asarray(jax.jit(jax.vmap(lambda key: permutation(key, num)))(keys))
    places = np.stack([np.bincount(found[:, place], minlength=num) for place in range(num)])
    off_diagonal = ~np.eye(num, dtype=bool)
    cases = {"place": (places.ravel(), (num - 1) ** 2)}
    for name, other in {"neighbours": 1, "far apart": num // 2}.items():
        pairs = np.zeros((num, num))
        np.add.at(pairs, (found[:, 0], found[:, other]), 1)
        cases[name] = (pairs[off_diagonal], num * (num - 1) - 1)
    for name, (counts, freedom) in cases.items():
        expected = counts.mean()
        assert 1e-3 < chi2.sf(((counts - expected) ** 2 / expected).sum(), freedom) < 1 - 1e-3, name


@pytest.mark.parametrize(("num", "batch", "steps"), [(10, 5, 2), (11, 5, 2), (14, 5, 2)])
def test_epoch_covers_distinct_examples_and_leaves_the_rest(key, num, batch, steps):
    batches = epoch_batches(key, jnp.arange(100, 100 + num), batch)
    assert batches.shape == (steps, batch)
    assert len(set(batches.ravel().tolist())) == steps * batch
    assert int(batches.min()) >= 100


def test_epochs_differ_and_repeat_by_key(key):
    train = jnp.arange(40)
    one = epoch_batches(key, train, 10)
    np.testing.assert_array_equal(one, epoch_batches(key, train, 10))
    assert not np.array_equal(one, epoch_batches(jax.random.fold_in(key, 1), train, 10))


def test_validation_of_mnist():
    assert num_validation(60000, 0.1) == 6000


def test_pixels_are_scaled_and_floats_are_not():
    assert to_unit_range(jnp.array([255], jnp.uint8)).tolist() == [1.0]
    assert to_unit_range(jnp.array([255.0])).tolist() == [255.0]


def test_take_slices_every_array():
    tree = {"x": jnp.arange(6).reshape(3, 2), "y": jnp.arange(3)}
    taken = take(tree, jnp.array([2, 0]))
    assert taken["x"].tolist() == [[4, 5], [0, 1]]
    assert taken["y"].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("fraction", "batch", "told"),
    [
        (1e-300, 5, "validation_fraction 1e-300 holds out 0"),
        (0.99, 5, "validation_fraction"),
        (0.1, 95, "batch_size 95 is larger"),
    ],
)
def test_examples_that_fill_no_batch_are_refused(fraction, batch, told):
    with pytest.raises(ValueError, match=told):
        check_batches(100 if fraction != 0.99 else 20, batch, fraction)
