"""Units of one network against those of another."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import modjax as mj
from modjax import MEASURES
from tests import reference


@pytest.fixture
def examples():
    rng = np.random.default_rng(1)
    return rng.normal(size=(11, 4)), rng.integers(0, 3, 11)


def chain(sizes, seed):
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=(a, b)), 0.3 * rng.normal(size=b)) for a, b in itertools.pairwise(sizes)]


A, B = (4, 5, 3, 3), (4, 6, 4, 3)


def literal(a, b, x, activation):
    """Over the units of all hidden layers, from each example's own Jacobians."""
    h = np.stack([np.concatenate(reference.forward(a, one, activation=activation)[0]) for one in x])
    g = np.stack([np.concatenate(reference.forward(b, one, activation=activation)[0]) for one in x])
    inputs, outputs, hessians = 0, 0, 0
    for one in x:
        (in_a, out_a), (in_b, out_b) = (reference.example_jacobians(net, one, activation) for net in (a, b))
        logits = sum(reference.forward(net, one, activation=activation)[1] for net in (a, b)) / 2
        p = np.exp(logits) / np.exp(logits).sum()
        inputs = inputs + in_a @ in_b.T
        outputs = outputs + out_a.T @ out_b
        hessians = hessians + out_a.T @ (np.diag(p) - np.outer(p, p)) @ out_b
    covariance = (h - h.mean(0)).T @ (g - g.mean(0))
    found = {
        "covariance": covariance,
        "input_jacobian": inputs,
        "output_jacobian": outputs,
        "loss_hessian": hessians,
    }
    return {name: total / len(x) for name, total in found.items()}


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_equals_the_literal_one(x64, examples, activation):
    a, b = chain(A, 0), chain(B, 1)
    networks = mj.mlp(4, A[1:-1], 3, activation), mj.mlp(4, B[1:-1], 3, activation)
    given = (networks[0], mj.mlp_params(a), networks[1], mj.mlp_params(b), *examples)
    together = mj.cross_similarity(*given, combined=True)
    apart = mj.cross_similarity(*given)
    expected = literal(a, b, examples[0], activation)
    for measure in MEASURES:
        np.testing.assert_allclose(together[measure], expected[measure], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(apart[measure][0], expected[measure][:5, :6], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(apart[measure][1], expected[measure][5:, 6:], rtol=1e-9, atol=1e-12)


def test_against_itself_is_its_own_similarity_and_permuted_seeds_match(x64, examples):
    network, layers = mj.mlp(4, (5, 3), 3), chain(A, 0)
    params = mj.mlp_params(layers)
    own = mj.similarity(network, params, *examples)
    order = np.array([3, 1, 4, 0, 2])
    permuted = [(layers[0][0][:, order], layers[0][1][order]), (layers[1][0][order], layers[1][1]), layers[2]]
    cross = mj.cross_similarity(network, params, network, mj.mlp_params(permuted), *examples)
    for measure in MEASURES:
        np.testing.assert_allclose(cross[measure][0], own[measure][0][:, order], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(cross[measure][1], own[measure][1], rtol=1e-9, atol=1e-12)


def test_populations_are_paired_and_a_single_network_is_repeated(examples):
    network = mj.mlp(4, (5, 3), 3)
    several = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(network.init(seed) for seed in range(3)))
    S = mj.cross_similarity(network, several, network, network.init(7), examples[0])
    assert S["covariance"][0].shape == (3, 5, 5)
    for trial in range(3):
        alone = mj.cross_similarity(network, network.init(trial), network, network.init(7), examples[0])
        jax.tree.map(lambda a, b, trial=trial: np.testing.assert_array_equal(a[trial], b), S, alone)


def test_other_architectures_and_channels(x64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 4, 4))
    a, b = mj.cnn((4, 4), (2, 3), 3), mj.cnn((4, 4), (3, 2), 3, "tanh")
    S = mj.cross_similarity(a, a.init(0), b, b.init(1), x)
    assert [matrix.shape for matrix in S["input_jacobian"]] == [(2, 3), (3, 2)]
    h, g = (np.asarray(net.apply(net.init(seed), x).hidden[0]) for seed, net in enumerate((a, b)))
    h, g = ((one - one.mean(0)).reshape(6, 4, -1) for one in (h, g))
    np.testing.assert_allclose(S["covariance"][0], np.einsum("bli,blj->ij", h, g) / 24, rtol=1e-9)


NETWORK = mj.mlp(4, (5, 3), 3)
BAD = {
    "other number of logits": (lambda p, x: (NETWORK, p, mj.mlp(4, (5,), 2), mj.mlp(4, (5,), 2).init(0), x), "logits"),
    "other depth": (lambda p, x: (NETWORK, p, mj.mlp(4, (5,), 3), mj.mlp(4, (5,), 3).init(0), x), "combined=True"),
    "other inputs": (lambda p, x: (NETWORK, p, mj.mlp(9, (5, 3), 3), mj.mlp(9, (5, 3), 3).init(0), x), "9 values"),
    "other trials": (
        lambda p, x: (NETWORK, stacked(p, 2), NETWORK, stacked(p, 3), x),
        "2 and 3 trials",
    ),
    "parameters of another network": (lambda p, x: (NETWORK, p, NETWORK, {"dense_0": p["dense_0"]}, x), "do not fit"),
}


def stacked(params, count):
    return jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], count, 0), params)


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(examples, case):
    make, told = BAD[case]
    with pytest.raises(ValueError, match=told) as error:
        mj.cross_similarity(*make(NETWORK.init(0), examples[0]))
    assert "\n" not in str(error.value)


def test_weights_have_none(examples):
    params = NETWORK.init(0)
    with pytest.raises(ValueError, match="no cross similarity"):
        mj.cross_similarity(NETWORK, params, NETWORK, params, examples[0], measures="weights", combined=True)


def test_smooth_networks_are_not_taken_for_piecewise_linear(x64, examples):
    """Own blocks of the pair are Gauss-Newton's; similarity itself stays the Hessian."""
    network = mj.mlp(4, (5, 3), 3, "tanh")
    params = network.init(0)
    whole = mj.similarity(network, params, *examples, measures="loss_hessian")["loss_hessian"]
    gauss_newton = mj.similarity(
        replace(network, is_piecewise_linear=True, chain=None), params, *examples, measures="loss_hessian"
    )["loss_hessian"]
    assert np.linalg.norm(whole[0] - gauss_newton[0]) > 1e-3 * np.linalg.norm(whole[0])
