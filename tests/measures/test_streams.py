"""Examples as they come: batches of any sizes, a class at a time, some of the locations."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import modjax as mj
from modjax import MEASURES
from tests.seams import plan as planning

IN, WIDTHS, CLASSES, NUM_EXAMPLES = 5, (4, 3), 3, 48
SIZES = (5, 1, 17, 3, 11, 11)  # 48 in all
GRAMS = ("input_jacobian", "output_jacobian", "loss_hessian")
PATHS = ("auto", "autodiff")


@pytest.fixture(autouse=True)
def _small_batches(x64, monkeypatch):
    """Batches of one size, however many examples there are: one program for all tests."""
    monkeypatch.setattr(planning, "MAX_EXAMPLES", 16)


@pytest.fixture
def network():
    return mj.mlp(IN, WIDTHS, CLASSES)


@pytest.fixture
def params(network):
    return jax.tree.map(lambda leaf: 2 * leaf, network.init(0))


@pytest.fixture
def examples():
    rng = np.random.default_rng(1)
    return rng.normal(size=(NUM_EXAMPLES, IN)), rng.integers(0, CLASSES, NUM_EXAMPLES)


def batches(*arrays, sizes=SIZES):
    """Batches of odd sizes: tuples of the arrays' rows, or rows alone of one array."""
    edges = np.cumsum([0, *sizes])
    for start, stop in itertools.pairwise(edges.tolist()):
        rows = tuple(array[start:stop] for array in arrays)
        yield rows if len(rows) > 1 else rows[0]


def assert_close(found, expected, rtol=1e-10):
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected) <= rtol * np.linalg.norm(expected) + 1e-14


def assert_same(found, expected, rtol=1e-10):
    jax.tree.map(lambda a, b: assert_close(a, b, rtol), found, expected)


@pytest.mark.parametrize("path", PATHS)
def test_an_iterator_is_the_whole_array(network, params, examples, path, monkeypatch):
    """In batches of 2000, which an iterator does not fill, and in one of 48."""
    monkeypatch.setattr(planning, "MAX_EXAMPLES", 2000)
    whole = mj.similarity(network, params, *examples, path=path)
    assert_same(mj.similarity(network, params, batches(*examples), path=path), whole)


@pytest.mark.parametrize("path", PATHS)
def test_an_iterator_is_the_whole_array_bit_for_bit_where_the_program_is_the_same(network, params, examples, path):
    shapes = planning.params_shapes(network)
    plans = [planning.make_plan(network, shapes, (IN,), MEASURES, False, num, path) for num in (NUM_EXAMPLES, None)]
    assert plans[0] == plans[1]
    x, y = examples
    whole = mj.similarity(network, params, x, y, path=path)
    for stream in (batches(x, y), batches(jnp.asarray(x), jnp.asarray(y)), iter([(x, y)])):
        streamed = mj.similarity(network, params, stream, path=path)
        jax.tree.map(np.testing.assert_array_equal, streamed, whole)


def test_batches_without_labels(network, params, examples):
    x, _ = examples
    measures = ("covariance", "input_jacobian", "output_jacobian")
    whole = mj.similarity(network, params, x, measures=measures)
    assert_same(mj.similarity(network, params, batches(x), measures=measures), whole)
    pairs = ((one, None) for one in batches(x))
    assert_same(mj.similarity(network, params, pairs, measures=measures), whole)


def test_population_over_a_stream(network, params, examples):
    population = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf, -leaf]), params)
    found = mj.similarity(network, population, batches(*examples))
    for trial, alone in enumerate([params, *(jax.tree.map(lambda leaf, c=c: c * leaf, params) for c in (2, -1))]):
        single = mj.similarity(network, alone, batches(*examples))
        jax.tree.map(lambda a, b, trial=trial: np.testing.assert_array_equal(a[trial], b), found, single)


def test_pixels_in_a_stream(network, params, examples):
    pixels = np.random.default_rng(0).integers(0, 256, (NUM_EXAMPLES, IN), dtype=np.uint8)
    whole = mj.similarity(network, params, pixels / 255, examples[1])
    assert_same(mj.similarity(network, params, batches(pixels, examples[1])), whole)


def test_pixels_and_floats_in_one_stream_are_the_same_examples(network, params, examples):
    """Pixels are scaled before they meet floats in one portion of examples."""
    pixels = np.random.default_rng(0).integers(0, 256, (NUM_EXAMPLES, IN), dtype=np.uint8)
    whole = mj.similarity(network, params, pixels / 255, examples[1])
    mixed = (
        (some if index % 2 else some / 255, labels) for index, (some, labels) in enumerate(batches(pixels, examples[1]))
    )
    assert_same(mj.similarity(network, params, mixed), whole)


def test_an_iterator_is_passed_over_once(network, params, examples):
    taken = []

    def watched():
        for batch in batches(*examples):
            taken.append(len(batch[0]))
            yield batch

    mj.similarity(network, jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), params), watched(), memory=1)
    assert tuple(taken) == SIZES


def with_third(change):
    """A stream whose third batch is another one."""

    def make(x, y):
        for index, (some_x, some_y) in enumerate(batches(x, y)):
            yield change(some_x, some_y) if index == 2 else (some_x, some_y)

    return make


BAD = {
    "nothing": (lambda x, y: iter(()), "at least one batch"),
    "NaN": (with_third(lambda x, y: (np.where(np.arange(IN) == 1, np.nan, x), y)), "not finite"),
    "wrong width": (with_third(lambda x, y: (x[:, :4], y)), "5 values per example; got 4"),
    "one axis": (with_third(lambda x, y: (x[:, 0], y)), r"\[examples features...\]"),
    "no examples": (with_third(lambda x, y: (x[:0], y[:0])), "at least one"),
    "labels too large": (with_third(lambda x, y: (x, y + 2)), "below 3; got 4"),
    "labels negative": (with_third(lambda x, y: (x, y - 2)), "from 0; got -2"),
    "labels too few": (with_third(lambda x, y: (x, y[:-1])), "16 labels for 17"),
    "labels floats": (with_third(lambda x, y: (x, y / 1)), "integer class labels"),
    "labels missing": (with_third(lambda x, y: (x, None)), "needs labels"),
    "no labels at all": (lambda x, y: batches(x), "needs labels"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_stream_is_refused_in_one_line(network, params, examples, case):
    make, told = BAD[case]
    with pytest.raises(ValueError, match=told) as error:
        mj.similarity(network, params, make(*examples))
    assert "\n" not in str(error.value)


def test_labels_beside_a_stream_are_refused(network, params, examples):
    with pytest.raises(ValueError, match="leave y out"):
        mj.similarity(network, params, batches(*examples), examples[1])


@pytest.mark.parametrize("combined", [False, True], ids=["layers", "combined"])
def test_by_class_is_each_class_alone_and_makes_up_the_whole(network, params, examples, combined):
    x, y = examples
    y = np.where(y == 1, 2, y)  # no example of class 1
    found = mj.similarity_by_class(network, params, x, y, combined=combined)
    assert list(found) == [0, 2]
    for label, matrices in found.items():
        if not combined:
            assert_same(matrices, mj.similarity(network, params, x[y == label], y[y == label]))
    whole = mj.similarity(network, params, x, y, combined=combined)
    shares = {label: np.mean(y == label) for label in found}
    for measure in GRAMS:
        parts = [jax.tree.map(lambda S, c=shares[label]: c * S, found[label][measure]) for label in found]
        assert_same(jax.tree.map(lambda *matrices: sum(matrices), *parts), whole[measure])


def test_by_class_of_a_population_and_without_labels(network, params, examples):
    x, y = examples
    population = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf]), params)
    pair = mj.similarity_by_class(network, population, x, y, ["output_jacobian"])
    alone = mj.similarity_by_class(network, params, x, y, ["output_jacobian"])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b), pair, alone)
    with pytest.raises(ValueError, match="needs labels"):
        mj.similarity_by_class(network, params, x, None)


def small_cnn():
    """One convolution with two locations."""
    network = mj.cnn((4, 2, 1), (3,), CLASSES, "relu", 2, 2)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: 3 * leaf, jax.jit(network.init)(jax.random.key(0)))
    return network, params, rng.normal(size=(12, 4, 2, 1)), rng.integers(0, CLASSES, 12)


def test_some_locations_are_an_unbiased_estimate():
    network, params, x, y = small_cnn()
    full = mj.similarity(network, params, x, y)
    of_seeds = [mj.similarity(network, params, x, y, max_locations=1, seed=seed) for seed in range(120)]
    for measure in MEASURES:
        drawn = np.stack([found[measure][0] for found in of_seeds])
        places = np.unique(drawn, axis=0)
        assert len(places) == 2  # every location is drawn, and gives a matrix of its own
        assert_close(places.mean(0), full[measure][0])
        counts = [int(np.sum(np.all(drawn == place, (1, 2)))) for place in places]
        assert sum(counts) == 120
        assert min(counts) > 40  # 60 expected, standard deviation 5.5
        error = np.linalg.norm(drawn.mean(0) - full[measure][0])
        spread = np.sqrt(np.sum((places - full[measure][0]) ** 2) / 2)
        assert error < 4 * spread / np.sqrt(120)


@pytest.mark.parametrize("most", [2, 1000])
def test_all_locations_asked_for_are_all_there_are(most):
    network, params, x, y = small_cnn()
    full = mj.similarity(network, params, x, y)
    jax.tree.map(np.testing.assert_array_equal, mj.similarity(network, params, x, y, max_locations=most), full)


@pytest.mark.parametrize("most", [0, -1])
def test_no_locations_are_refused(most):
    with pytest.raises(ValueError, match="max_locations must be a whole number"):
        mj.similarity(*small_cnn(), max_locations=most)


def test_a_dense_layer_has_one_location_whatever_is_asked(network, params, examples):
    full = mj.similarity(network, params, *examples)
    jax.tree.map(np.testing.assert_array_equal, mj.similarity(network, params, *examples, max_locations=1), full)


@pytest.mark.parametrize("most", [None, 2])
@pytest.mark.parametrize("max_examples", [2000, 9])
def test_means_of_locations_do_not_leak_into_the_covariance(monkeypatch, max_examples, most):
    """Locations whose means lie 1000 apart, and noise of size 1: what is between the means is no covariance."""
    monkeypatch.setattr(planning, "MAX_EXAMPLES", max_examples)
    network = mj.cnn((2, 2, 1), (3,), 2, "linear", 1, 1)
    params = jax.jit(network.init)(jax.random.key(0))
    rng = np.random.default_rng(0)
    x = 1000 * np.arange(4).reshape(1, 2, 2, 1) + rng.normal(size=(50, 2, 2, 1))
    S = mj.similarity(network, params, x, measures=["covariance"], max_locations=most)["covariance"][0]
    kernel = np.asarray(params["conv_0"]["kernel"]).reshape(1, 3)
    variances = x.reshape(50, 4).var(0)
    candidates = (
        [variances.mean()] if most is None else [np.mean(pair) for pair in itertools.combinations(variances, 2)]
    )
    errors = [np.linalg.norm(S - one * kernel.T @ kernel) / np.linalg.norm(S) for one in candidates]
    assert min(errors) < 1e-8
