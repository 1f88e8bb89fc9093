"""Single precision over many examples, near-constant and dead units, and double precision on request."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import modjax as mj
from modjax import MEASURES
from tests import reference
from tests.seams import plan as planning

PATHS = ("auto", "autodiff")
NETWORK = mj.mlp(3, (4, 3), 3)


def tiny_chain(dtype=np.float64):
    rng = np.random.default_rng(0)
    return [(rng.normal(size=shape).astype(dtype), (0.3 * rng.normal(size=shape[1])).astype(dtype)) for shape in SHAPES]


SHAPES = ((3, 4), (4, 3), (3, 3))


def in_float64(layers, x):
    """The measures of both hidden layers of ReLU units, an array axis an example: for a million of them."""
    (W0, b0), (W1, b1), (W2, b2) = ([np.asarray(part, np.float64) for part in layer] for layer in layers)
    x = x.astype(np.float64)
    a0 = x @ W0 + b0
    a1 = np.maximum(a0, 0) @ W1 + b1
    hidden = np.maximum(a0, 0), np.maximum(a1, 0)
    logits = hidden[1] @ W2 + b2
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    m0, m1 = (a0 > 0).astype(np.float64), (a1 > 0).astype(np.float64)
    num = len(x)
    of_layer_1 = np.einsum("nh,hu,nu,dh->ndu", m0, W1, m1, W0, optimize=True).reshape(-1, 3)
    of_layer_0 = (W0.T @ W0) * (m0.T @ m0) / num
    to_outputs = np.einsum("hu,nu,uo->noh", W1, m1, W2, optimize=True)
    products = p.T @ p * (1 - np.eye(3))
    fisher = np.diag(products.sum(1)) - products  # diag p - p p^T, without a difference of large numbers
    gauss_newton = to_outputs - np.einsum("no,noh->nh", p, to_outputs)[:, None]
    gauss_newton = (np.sqrt(p)[:, :, None] * gauss_newton).reshape(-1, 4)
    flat = to_outputs.reshape(-1, 4)
    return {
        "covariance": [np.cov(layer.T, bias=True) for layer in hidden],
        "input_jacobian": [of_layer_0, of_layer_1.T @ of_layer_1 / num],
        "output_jacobian": [flat.T @ flat / num, W2 @ W2.T],
        "loss_hessian": [gauss_newton.T @ gauss_newton / num, W2 @ fisher @ W2.T / num],
    }


def relative(found, expected):
    return np.linalg.norm(np.asarray(found, np.float64) - expected) / np.linalg.norm(expected)


def test_the_formulas_for_many_examples_are_the_literal_ones():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 3)), rng.integers(0, 3, 30)
    expected = reference.similarity(tiny_chain(), x, y)
    for measure, (first, second) in in_float64(tiny_chain(), x).items():
        np.testing.assert_allclose(first, expected[measure][:4, :4], rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(second, expected[measure][4:, 4:], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("path", PATHS)
def test_a_million_examples_in_single_precision(path):
    """A sum in float32 that lost a little in each of 500 batches would be off by more than 1e-5."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(1_000_000, 3)).astype(np.float32) + 1, rng.integers(0, 3, 1_000_000)
    layers = tiny_chain(np.float32)
    S = mj.similarity(NETWORK, mj.mlp_params(layers), x, y, path=path)
    expected = in_float64(layers, x)
    for measure in MEASURES:
        for layer in range(2):
            assert S[measure][layer].dtype == np.float32
            assert relative(S[measure][layer], expected[measure][layer]) < 1e-5, (measure, layer)


@pytest.mark.parametrize("path", PATHS)
def test_near_constant_units_over_many_batches(path, monkeypatch):
    """Mean 1000, standard deviation 0.01, in 100 batches."""
    monkeypatch.setattr(planning, "MAX_EXAMPLES", 256)
    rng = np.random.default_rng(0)
    x = (1000 + 0.01 * rng.normal(size=(25_600, 4))).astype(np.float32)
    params = mj.mlp_params([(np.eye(4, dtype=np.float32), np.zeros(4, np.float32)), (np.ones((4, 2)), np.zeros(2))])
    S = mj.similarity(mj.mlp(4, (4,), 2), params, x, measures=["covariance"], path=path)["covariance"][0]
    expected = np.cov(x.astype(np.float64).T, bias=True)
    assert np.all(np.diagonal(S) >= 0)
    np.testing.assert_allclose(np.diagonal(S), np.diagonal(expected), rtol=1e-2)
    off = ~np.eye(4, dtype=bool)
    assert np.abs(S[off] - expected[off]).max() < 1e-2 * np.diagonal(expected).max()


@pytest.mark.parametrize("constant", [0.1, 1 / 3, 12345.678])
@pytest.mark.parametrize("path", PATHS)
def test_constant_units_have_no_variance_at_all(path, constant, monkeypatch):
    """Constant because no weight leads there, and constant because its input is."""
    monkeypatch.setattr(planning, "MAX_EXAMPLES", 32)
    (W0, b0), *others = tiny_chain(np.float32)
    W0[:, 1], b0[1] = 0, constant
    W0[:, 2], b0[2] = (0, 0, 1), 0
    x = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    x[:, 2] = constant
    S = mj.similarity(NETWORK, mj.mlp_params([(W0, b0), *others]), x, measures=["covariance"], path=path)
    for unit in (1, 2):
        assert not S["covariance"][0][unit].any()
    assert S["covariance"][0][0, 0] + S["covariance"][0][3, 3] > 0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_have_the_precision_of_the_parameters(x64, path, dtype):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 3)), rng.integers(0, 3, 30)
    layers = tiny_chain(dtype)
    S = mj.similarity(NETWORK, mj.mlp_params(layers), x, y, path=path)
    expected = in_float64(layers, x)
    errors = [relative(S[measure][layer], expected[measure][layer]) for measure in MEASURES for layer in range(2)]
    assert all(matrix.dtype == dtype for matrices in S.values() for matrix in matrices)
    assert max(errors) < {np.float32: 1e-5, np.float64: 1e-12}[dtype]
    # The last layer's output Jacobian is exact in either.
    assert max(errors) > {np.float32: 1e-9, np.float64: 0}[dtype]


DEAD = {
    "one unit": lambda W, b: (W * (np.arange(4) != 1), np.where(np.arange(4) == 1, -1, b)),
    "all units": lambda W, b: (0 * W, -1 + 0 * b),
    "no weights at all": lambda W, b: (0 * W, 0 * b),
}


@pytest.mark.parametrize(
    ("network", "path", "combined"),
    [("relu", "auto", False), ("relu", "autodiff", True), ("gelu", "auto", True), ("gelu", "autodiff", False)],
)
def test_dead_units_are_no_nan_in_any_measure(network, path, combined):
    (W0, b0), *others = tiny_chain(np.float32)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)).astype(np.float32), rng.integers(0, 3, 20)
    for name, kill in DEAD.items():
        chain = [kill(W0, b0), *others]
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), mj.mlp_params(chain))
        S = mj.similarity(mj.mlp(3, (4, 3), 3, network), params, x, y, combined=combined, path=path)
        for measure in MEASURES:
            first = S[measure] if combined else S[measure][0]
            assert np.all(np.isfinite(first)), (name, measure)
            if measure in mj.UPSTREAM:
                dead = [1] if name == "one unit" else range(4)
                assert not first[dead].any(), (name, measure)
            for is_normalized in (False, True):
                A = mj.adjacency(first, is_normalized)
                assert np.all(np.isfinite(A)), (name, measure)
                if measure in mj.UPSTREAM:
                    assert not A[dead].any(), (name, measure)


@pytest.mark.parametrize("margin", [0, 5, 10, 15, 20])
@pytest.mark.parametrize("path", PATHS)
def test_the_hessian_of_confident_predictions(path, margin):
    """diag p - p p^T as a difference of sums would lose all digits: 1 - p is 2e-4 at a margin of 10, 1e-8 at 20."""
    (W0, b0), (W1, b1), (W2, b2) = tiny_chain(np.float32)
    layers = [(W0, b0), (W1, b1), (W2, b2 + margin * np.eye(3, dtype=np.float32)[0])]
    x = 0.1 * np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32) + 1
    S = mj.similarity(NETWORK, mj.mlp_params(layers), x, np.zeros(2000, int), ["loss_hessian"], path=path)
    for found, expected in zip(S["loss_hessian"], in_float64(layers, x)["loss_hessian"], strict=True):
        assert relative(found, expected) < 1e-4
        values = np.linalg.eigvalsh(found.astype(np.float64))
        assert values[0] >= -1e-5 * values[-1]


@pytest.mark.parametrize("path", PATHS)
def test_certain_predictions_are_no_nan(path):
    """Logits of 1e6: every probability is 0 or 1, and the Hessian of the loss is 0."""
    layers = tiny_chain(np.float32)
    layers[-1] = (1e6 * layers[-1][0], layers[-1][1])
    x = 1 + np.random.default_rng(0).random((20, 3)).astype(np.float32)
    S = mj.similarity(NETWORK, mj.mlp_params(layers), x, np.arange(20) % 3, path=path)
    for matrix in jax.tree.leaves(S):
        assert np.all(np.isfinite(matrix))
        assert np.all(np.isfinite(mj.adjacency(matrix, normalized=True)))
