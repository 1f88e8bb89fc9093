"""Estimates by random probes: unbiased, with honest standard errors, whatever the network and the batches."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import modjax as mj
from modjax import MEASURES
from modjax.measures.probes import Probes, from_factors, input_factors
from modjax.names import DOWNSTREAM

NUM_SEEDS = 40
IN, OUT = 12, 5


class Residual(nn.Module):
    """Two hidden layers, the second of which adds the first."""

    @nn.compact
    def __call__(self, x):
        h = self.perturb("first", nn.tanh(nn.Dense(6)(x)))
        h = self.perturb("second", h + nn.relu(nn.Dense(6)(h)))
        return nn.Dense(OUT)(h)


class Transformer(nn.Module):
    """One block over four tokens; its hidden units are those of the feed-forward layer, at each token."""

    @nn.compact
    def __call__(self, x):
        tokens = nn.Dense(8)(x.reshape(len(x), 4, -1))
        tokens = tokens + nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(tokens))
        hidden = self.perturb("feed_forward", nn.gelu(nn.Dense(6)(nn.LayerNorm()(tokens))))
        return nn.Dense(OUT)((tokens + nn.Dense(8)(hidden)).mean(1))


NETWORKS = {
    "relu": lambda: mj.mlp(IN, (6, 6), OUT),
    "tanh": lambda: mj.mlp(IN, (6, 6), OUT, "tanh"),
    "convolutional": lambda: mj.cnn((6, 6, 1), (4, 3), OUT),
    "residual": lambda: mj.from_linen(Residual(), IN),
    "transformer": lambda: mj.from_linen(Transformer(), IN),
}


def examples_of(name, num_examples=150):
    rng = np.random.default_rng(3)
    shape = (6, 6, 1) if name == "convolutional" else (IN,)
    return rng.normal(size=(num_examples, *shape)), rng.integers(0, OUT, num_examples)


def estimate(network, params, x, y=None, **options):
    options = {"estimator": "probes", "num_probes": 2, "return_error": True} | options
    return mj.similarity(network, params, x, y, **options)


def matrices_of(results, combined):
    return {measure: [whole] if combined else list(whole) for measure, whole in results.items()}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("combined", [False, True])
def test_estimates_are_unbiased_and_their_standard_errors_honest(x64, name, combined):
    if combined and name == "convolutional":
        pytest.skip("its layers have different locations")
    network, (x, y) = NETWORKS[name](), examples_of(name)
    params = network.init(0)
    exact = matrices_of(mj.similarity(network, params, x, y, combined=combined), combined)
    runs = [estimate(network, params, x, y, combined=combined, seed=seed) for seed in range(NUM_SEEDS)]
    means = [matrices_of(means, combined) for means, _ in runs]
    errors = [matrices_of(errors, combined) for _, errors in runs]
    for measure in MEASURES:
        for layer, S in enumerate(exact[measure]):
            upper = np.triu_indices(len(S))
            gap = np.stack([run[measure][layer] - S for run in means])[:, upper[0], upper[1]]
            error = np.stack([run[measure][layer] for run in errors])[:, upper[0], upper[1]]
            if measure == "covariance":
                np.testing.assert_allclose(gap, 0, atol=1e-12)
                assert not error.any()
                continue
            # The mean over seeds of each entry, in its own standard errors, is a standard normal draw.
            typical = np.sqrt((error**2).mean(0))
            alive = typical > 1e-9 * np.abs(S).max()
            z = (gap.mean(0) / typical * math.sqrt(NUM_SEEDS))[alive]
            assert np.sqrt((z**2).mean()) < 1.6, (measure, layer)
            # The spread over seeds is what the standard error says.
            ratio = np.sqrt((gap**2).mean(0))[alive] / typical[alive]
            assert 0.85 < np.sqrt((ratio**2).mean()) < 1.15, (measure, layer)
            assert ratio.min() > 0.6, (measure, layer)
            assert ratio.max() < 1.6, (measure, layer)


def test_errors_fall_with_the_square_root_of_the_number_of_probes(x64):
    network, (x, y) = NETWORKS["tanh"](), examples_of("tanh")
    params = network.init(0)
    few, many = (estimate(network, params, x, y, num_probes=number)[1] for number in (2, 32))
    for measure in ("input_jacobian", "loss_hessian"):
        ratio = few[measure][1] / many[measure][1]
        np.testing.assert_allclose(np.median(ratio), 4, rtol=0.15)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_downstream_measures_are_exact_where_that_takes_no_more_passes_than_probes(x64, activation):
    network, (x, y) = mj.mlp(IN, (6, 6), OUT, activation), examples_of(activation)
    params = network.init(0)
    exact = mj.similarity(network, params, x, y)
    few, errors_of_few = estimate(network, params, x, y, num_probes=OUT - 1)
    enough, errors = estimate(network, params, x, y, num_probes=OUT)
    for measure in DOWNSTREAM:
        assert np.abs(few[measure][0] - exact[measure][0]).max() > 1e-6
        assert errors_of_few[measure][0].all()
        # The Hessian of a tanh network takes a pass for each unit.
        is_exact = measure == "output_jacobian" or activation == "relu"
        assert (np.abs(enough[measure][0] - exact[measure][0]).max() < 1e-12) == is_exact
        assert errors[measure][0].any() != is_exact
    assert errors["input_jacobian"][0].all()


def test_the_same_seed_gives_the_same_numbers_whatever_the_batches_and_neighbours(x64):
    network, (x, y) = NETWORKS["tanh"](), examples_of("tanh")
    several = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(network.init(seed) for seed in range(3)))
    whole = estimate(network, several, x, y, seed=5)
    small = estimate(network, several, x, y, seed=5, memory=40_000)
    rows = np.array_split(np.arange(len(x)), 7)
    streamed = estimate(network, several, ((x[some], y[some]) for some in rows), seed=5)
    alone = estimate(network, jax.tree.map(lambda leaf: leaf[1], several), x, y, seed=5)
    other = estimate(network, several, x, y, seed=6)
    for part in range(2):
        for measure in ("input_jacobian", "output_jacobian", "loss_hessian"):
            for layer in range(2):
                expected = whole[part][measure][layer]
                np.testing.assert_allclose(small[part][measure][layer], expected, rtol=1e-9, atol=1e-12)
                np.testing.assert_allclose(streamed[part][measure][layer], expected, rtol=1e-9, atol=1e-12)
                np.testing.assert_allclose(alone[part][measure][layer], expected[1], rtol=1e-9, atol=1e-12)
                assert np.abs(other[part][measure][layer] - expected).max() > 1e-6 * np.abs(expected).max()
                np.testing.assert_array_equal(expected, np.swapaxes(expected, -1, -2))


def test_float32_agrees_with_float64():
    network, (x, y) = NETWORKS["tanh"](), examples_of("tanh")
    params = network.init(0)
    single = estimate(network, params, x, y)
    with jax.enable_x64(True):
        double = estimate(network, jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params), x, y)
    for measure in MEASURES:
        for part, tolerance in ((0, 1e-5), (1, 1e-3)):
            for layer in range(2):
                expected = double[part][measure][layer]
                np.testing.assert_allclose(
                    single[part][measure][layer], expected, atol=tolerance * np.abs(expected).max(initial=1e-6)
                )


def test_some_locations_of_a_convolution_are_estimated_without_bias(x64):
    network, (x, y) = NETWORKS["convolutional"](), examples_of("convolutional")
    params, options = network.init(0), {"max_locations": 5, "seed": 0}
    exact = mj.similarity(network, params, x, y, **options)
    means, errors = estimate(network, params, x, y, num_probes=4, **options)
    for measure in ("input_jacobian", "output_jacobian"):
        z = (means[measure][0] - exact[measure][0]) / errors[measure][0]
        assert np.sqrt((z**2).mean()) < 2


def test_cross_similarities_are_estimated_without_bias(x64):
    a, b, (x, y) = mj.mlp(IN, (6, 6), OUT), mj.mlp(IN, (5, 4), OUT, "tanh"), examples_of("relu")
    pair = (a, a.init(0), b, b.init(1), x, y)
    exact = mj.cross_similarity(*pair)
    runs = [
        mj.cross_similarity(*pair, estimator="probes", num_probes=2, return_error=True, seed=seed)
        for seed in range(NUM_SEEDS)
    ]
    for measure in MEASURES:
        for layer, S in enumerate(exact[measure]):
            gap = np.stack([means[measure][layer] for means, _ in runs]) - S
            error = np.stack([errors[measure][layer] for _, errors in runs])
            if measure == "covariance":
                np.testing.assert_allclose(gap, 0, atol=1e-12)
                continue
            typical = np.sqrt((error**2).mean(0))
            assert 0.8 < np.sqrt(((gap / typical) ** 2).mean()) < 1.2, measure
            assert np.sqrt(((gap.mean(0) / typical) ** 2).mean() * NUM_SEEDS) < 1.6, measure


def test_each_class_has_its_own_estimates(x64):
    network, (x, y) = NETWORKS["relu"](), examples_of("relu")
    params, options = network.init(0), {"estimator": "probes", "num_probes": 2, "return_error": True}
    of_class = mj.similarity_by_class(network, params, x, y, **options)
    means, errors = of_class[2]
    expected, expected_errors = mj.similarity(network, params, x[y == 2], y[y == 2], **options)
    np.testing.assert_allclose(means["input_jacobian"][1], expected["input_jacobian"][1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(errors["loss_hessian"][1], expected_errors["loss_hessian"][1], rtol=1e-9, atol=1e-12)


def test_bad_input_is_refused_in_one_line():
    network, (x, y) = NETWORKS["relu"](), examples_of("relu", 6)
    given = (network, network.init(0), x, y)
    for number in (0, -1, True):
        with pytest.raises(ValueError, match=rf"num_probes must be a whole number, at least 1; got {number}"):
            mj.similarity(*given, estimator="probes", num_probes=number)
    with pytest.raises(ValueError, match="num_probes needs estimator='probes'"):
        mj.similarity(*given, num_probes=4)
    with pytest.raises(ValueError, match="return_error needs estimator='probes'"):
        mj.similarity(*given, return_error=True)
    with pytest.raises(ValueError, match="num_probes must be at least 2; got 1"):
        mj.similarity(*given, estimator="probes", num_probes=1, return_error=True)
    with pytest.raises(ValueError, match="Unknown estimator 'probe'"):
        mj.similarity(*given, estimator="probe")
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match=f"seed must be a whole number from 0 to 4294967295; got {seed}"):
            mj.similarity(*given, estimator="probes", seed=seed)
    own = mj.MeasureInfo("own", "upstream", lambda network, params, x, y: ())
    with pytest.raises(ValueError, match="measure 'own' has no estimate by probes"):
        mj.similarity(*given, measures=[own], estimator="probes")
    with pytest.raises(ValueError, match="num_probes needs estimator='probes'"):
        mj.cross_similarity(network, given[1], network, given[1], x, num_probes=4)
    with pytest.raises(ValueError, match="num_probes needs estimator='probes'"):
        mj.similarity_by_class(*given, num_probes=4)


def test_a_measure_of_ones_own_may_bring_its_estimate(x64):
    info = dataclasses.replace(
        mj.MeasureInfo("own", "upstream", "modjax.measures.jacobian:input_jacobian"),
        probes=Probes(from_factors(input_factors), lambda network, num_outputs: math.inf),
    )
    network, (x, y) = NETWORKS["relu"](), examples_of("relu")
    params = network.init(0)
    options = {"estimator": "probes", "num_probes": 2}
    own = mj.similarity(network, params, x, y, measures=[info], **options)
    built_in = mj.similarity(network, params, x, y, measures="input_jacobian", **options)
    np.testing.assert_array_equal(own["own"][1], built_in["input_jacobian"][1])
