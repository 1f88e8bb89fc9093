"""The graph of weights, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import modjax as mj
from modjax import Network, Output

ONLY = {"measures": ["weights"], "combined": True}


@pytest.fixture
def layers():
    """Three hidden layers, of two, two and one unit."""
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=(4, 2)), np.ones(2)),
        (np.array([[1.0, -2.0], [0.0, 3.0]]), np.ones(2)),
        (np.array([[-5.0], [0.5]]), np.ones(1)),
        (rng.normal(size=(1, 3)), np.ones(3)),
    ]


def edges_and_strengths(S):
    return np.where(np.eye(len(S)), 0, S), np.diagonal(S)


def test_weights_of_three_hidden_layers(layers):
    S = mj.similarity(mj.mlp(4, (2, 2, 1), 3), mj.mlp_params(layers), np.eye(4), **ONLY)["weights"]
    expected = [
        [3.0, 0.0, 1.0, 2.0, 0.0],
        [0.0, 3.0, 0.0, 3.0, 0.0],
        [1.0, 0.0, 6.0, 0.0, 5.0],
        [2.0, 3.0, 0.0, 5.5, 0.5],
        [0.0, 0.0, 5.0, 0.5, 5.5],
    ]
    np.testing.assert_array_equal(S, expected)
    edges, strengths = edges_and_strengths(S)
    np.testing.assert_array_equal(strengths, edges.sum(1))
    np.testing.assert_array_equal(mj.adjacency(S), edges)
    normalized = mj.adjacency(S, normalized=True)
    np.testing.assert_allclose(normalized, edges / np.sqrt(np.outer(strengths, strengths)), rtol=1e-6)
    assert np.array_equal(normalized, normalized.T)


def test_weights_of_channels_are_sums_over_the_places_of_a_kernel(x64):
    network = mj.cnn((4, 4, 1), (3, 2, 2), 3, "relu", 2, 1)
    params = jax.jit(network.init)(jax.random.key(0))
    S = mj.similarity(network, params, np.ones((1, 16)), **ONLY)["weights"]
    expected = np.zeros((7, 7))
    for name, below, above in (("conv_1", 0, 3), ("conv_2", 3, 5)):
        kernel = np.asarray(params[name]["kernel"])
        for i, j, a, b in np.ndindex(kernel.shape):
            expected[below + a, above + b] += abs(kernel[i, j, a, b])
            expected[above + b, below + a] += abs(kernel[i, j, a, b])
    np.testing.assert_allclose(S, expected + np.diag(expected.sum(0)), rtol=1e-12)
    normalized = mj.adjacency(S, normalized=True)
    strengths = expected.sum(0)
    np.testing.assert_allclose(normalized, expected / np.sqrt(np.outer(strengths, strengths)), rtol=1e-12)


def test_weights_of_a_population_beside_another_measure(layers):
    network, params = mj.mlp(4, (2, 2, 1), 3), mj.mlp_params(layers)
    population = jax.tree.map(lambda leaf: jnp.stack([leaf, -2 * leaf]), params)
    x = np.random.default_rng(0).normal(size=(6, 4))
    found = mj.similarity(network, population, x, measures=["covariance", "weights"], combined=True)
    alone = mj.similarity(network, params, x, measures=["covariance", "weights"], combined=True)
    assert found["weights"].shape == found["covariance"].shape == (2, 5, 5)
    np.testing.assert_array_equal(found["weights"], np.stack([alone["weights"], 2 * alone["weights"]]))
    np.testing.assert_array_equal(found["covariance"][0], alone["covariance"])


@pytest.mark.parametrize("unit", [0, 3, 4])
def test_a_unit_without_weights_has_no_edges(layers, unit):
    kernels = [kernel.copy() for kernel, _ in layers]
    layer, place = ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0))[unit]
    kernels[layer][:, place], kernels[layer + 1][place] = 0, 0
    dead = mj.mlp_params([(kernel, bias) for kernel, (_, bias) in zip(kernels, layers, strict=True)])
    S = mj.similarity(mj.mlp(4, (2, 2, 1), 3), dead, np.eye(4), **ONLY)["weights"]
    assert not S[unit].any()
    for is_normalized in (False, True):
        A = mj.adjacency(S, is_normalized)
        assert np.all(np.isfinite(A))
        assert not A[unit].any()
        assert A.any()


def own_network():
    def apply(params, x, perturb=None, dropout=None):
        h = x @ params if perturb is None else x @ params + perturb[0]
        return Output((h,), h)

    return Network(lambda key: jax.random.normal(key, (4, 3)), apply, 4)


BAD = {
    "one hidden layer": (lambda: mj.mlp(4, (3,), 2), True, "two hidden layers or more"),
    "one convolution": (lambda: mj.cnn((2, 2, 1), (3,), 2, kernel_size=1), True, "two hidden layers or more"),
    "a network of one's own": (own_network, True, "says what its weights join: mj.mlp or mj.cnn"),
    "a matrix a layer": (lambda: mj.mlp(4, (3, 2), 2), False, "ask for it with combined=True"),
}


@pytest.mark.parametrize("case", BAD)
def test_weights_that_cannot_be_had_are_refused_in_one_line(case):
    make, combined, told = BAD[case]
    network = make()
    params = network.init(jax.random.key(0))
    with pytest.raises(ValueError, match=told) as error:
        mj.similarity(network, params, np.ones((2, 4)), measures=["weights"], combined=combined)
    assert "\n" not in str(error.value)
