"""Units of a convolution are channels: every measure by literal loops over examples, locations and pairs."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import modjax as mj
from modjax import MEASURES
from tests import reference
from tests.seams import ACTIVATIONS
from tests.seams import plan as planning

SHAPE, WIDTHS, CLASSES, SIZE, STRIDE = (4, 3, 1), (3, 2), 3, 2, 2
LOCATIONS = ((2, 2), (1, 1))


def network_and_examples(activation="relu", shape=SHAPE, widths=WIDTHS, num_examples=5, size=SIZE, strides=STRIDE):
    network = mj.cnn(shape, widths, CLASSES, activation, size, strides)
    params = jax.tree.map(lambda leaf: 3 * leaf, jax.jit(network.init)(jax.random.key(0)))
    rng = np.random.default_rng(1)
    return network, params, rng.normal(size=(num_examples, *shape)), rng.integers(0, CLASSES, num_examples)


def mean_gram(jacobians):
    return np.mean([J.T @ J for J in jacobians], 0)


def literal_at(run, x, y, layer, place):
    """Every measure of one layer at one location, by finite differences; ``run(one, perturb)`` is the network."""
    shapes = [hidden.shape for hidden in run(x[0])[0]]
    zero = np.zeros(shapes[layer][-1])

    def logits(here, one):
        perturb = [np.zeros(shape) for shape in shapes]
        perturb[layer][place] = here
        return run(one, perturb)[1]

    def gradient(here, one, label):
        def loss(h):
            return np.array([reference.cross_entropy(logits(h, one), label)])

        return reference.numeric_jacobian(loss, here, 1e-4)[0]

    def hidden(flat):
        return run(flat.reshape(SHAPE))[0][layer][place]

    hessians = [
        reference.numeric_jacobian(partial(gradient, one=one, label=label), zero, 1e-4)
        for one, label in zip(x, y, strict=True)
    ]
    return {
        "covariance": np.cov(np.stack([hidden(one) for one in x]).T, bias=True),
        "input_jacobian": mean_gram([reference.numeric_jacobian(hidden, one.ravel()).T for one in x]),
        "output_jacobian": mean_gram([reference.numeric_jacobian(partial(logits, one=one), zero) for one in x]),
        "loss_hessian": np.mean(hessians, 0),
    }


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_layers_equal_the_literal_ones(x64, activation):
    network, params, x, y = network_and_examples(activation)
    S = mj.similarity(network, params, x, y)
    params = jax.tree.map(np.asarray, params)

    def run(one, perturb=None):
        return reference.forward_cnn(params, one, SIZE, STRIDE, activation, perturb)

    for layer, (rows, columns) in enumerate(LOCATIONS):
        places = [literal_at(run, x, y, layer, place) for place in np.ndindex(rows, columns)]
        for measure in MEASURES:
            expected = np.mean([found[measure] for found in places], 0)
            assert np.linalg.norm(S[measure][layer] - expected) < 1e-5 * np.linalg.norm(expected), measure
            assert np.array_equal(S[measure][layer], S[measure][layer].T)


def test_covariance_is_exact(x64):
    network, params, x, _ = network_and_examples(num_examples=50)
    S = mj.similarity(network, params, x, measures=["covariance"])["covariance"]
    for layer, hidden in enumerate(network.apply(params, x).hidden):
        places = np.asarray(hidden).reshape(50, -1, WIDTHS[layer]).transpose(1, 2, 0)
        np.testing.assert_allclose(S[layer], np.mean([np.cov(h, bias=True) for h in places], 0), rtol=1e-10)


def test_hessian_from_first_derivatives_is_the_hessian_of_a_relu_network(x64):
    network, params, x, y = network_and_examples(shape=(6, 6, 2), widths=(4, 3), num_examples=9)
    assert network.is_piecewise_linear
    assert not mj.cnn(activation="gelu").is_piecewise_linear
    closed = mj.similarity(network, params, x, y, measures="loss_hessian")["loss_hessian"]
    generic = replace(network, is_piecewise_linear=False)
    second = mj.similarity(generic, params, x, y, measures="loss_hessian")["loss_hessian"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-13), closed, second)


def test_one_location_is_a_dense_layer(x64):
    """A kernel as large as the image, one step: an MLP of the same weights, hidden layer by hidden layer."""
    network, params, x, y = network_and_examples(shape=(3, 3, 1), widths=(4, 3), size=3, strides=3)
    layers = [
        (params["conv_0"]["kernel"].reshape(9, 4), params["conv_0"]["bias"]),
        (params["conv_1"]["kernel"][1, 1], params["conv_1"]["bias"]),
        (params["dense"]["kernel"], params["dense"]["bias"]),
    ]
    dense = mj.similarity(mj.mlp(9, (4, 3), CLASSES), mj.mlp_params(layers), x, y, combined=True)
    conv = mj.similarity(network, params, x, y, combined=True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), conv, dense)


def test_layers_of_the_same_locations_are_blocks_of_a_combined_matrix(x64):
    network, params, x, y = network_and_examples("gelu", widths=(3, 2), strides=1)
    together = mj.similarity(network, params, x, y, combined=True)
    apart = mj.similarity(network, params, x, y)
    for measure in MEASURES:
        S = together[measure]
        assert np.array_equal(S, S.T)
        np.testing.assert_allclose(S[:3, :3], apart[measure][0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(S[3:, 3:], apart[measure][1], rtol=1e-9, atol=1e-12)
    first, second = (np.asarray(h).reshape(5, 12, -1) for h in network.apply(params, x).hidden)
    cross = np.mean([np.cov(first[:, k].T, second[:, k].T, bias=True)[:3, 3:] for k in range(12)], 0)
    np.testing.assert_allclose(together["covariance"][:3, 3:], cross, rtol=1e-9)


def test_batches_population_and_precision(monkeypatch):
    network, params, x, y = network_and_examples(shape=(5, 5, 1), widths=(4, 3), num_examples=11)
    whole = mj.similarity(network, params, x, y)
    population = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
    pair = mj.similarity(network, population, x, y)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b), pair, whole)
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        exact = mj.similarity(network, double, x, y)
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(exact), strict=True):
            assert np.linalg.norm(np.asarray(a, np.float64) - b) < 1e-4 * np.linalg.norm(b)
        monkeypatch.setattr(planning, "MAX_EXAMPLES", 3)
        split = mj.similarity(network, double, x, y)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), split, exact)


def test_layers_of_different_locations_have_no_combined_matrix():
    network, params, x, y = network_and_examples()
    with pytest.raises(ValueError, match=r"same locations.*\[\[2, 2\], \[1, 1\]\].*a matrix a layer") as error:
        mj.similarity(network, params, x, y, combined=True)
    assert "\n" not in str(error.value)
