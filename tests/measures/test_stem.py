"""The linear first step of a network: where there is one, and that it changes no number."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import modjax as mj
from modjax.measures import chain_terms, jacobian
from modjax.measures.stem import split_stem, stem_factor
from tests import reference

IN, WIDTHS, CLASSES = 6, (5, 4), 3


class Marked(nn.Module):
    @nn.compact
    def __call__(self, x):
        for layer, width in enumerate(WIDTHS):
            x = self.perturb(f"h{layer}", nn.tanh(nn.Dense(width, param_dtype=x.dtype)(x)))
        return nn.Dense(CLASSES, param_dtype=x.dtype)(x)


def last_hidden(network):
    params = jax.jit(network.init)(jax.random.key(0))
    return lambda x: network.apply(params, x).hidden[-1]


def matrix(outputs=5, inputs=IN, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(inputs, outputs)))


WITH_STEM = {
    "mlp": (lambda: last_hidden(mj.mlp(IN, WIDTHS, CLASSES)), 5),
    "mlp gelu": (lambda: last_hidden(mj.mlp(IN, WIDTHS, CLASSES, "gelu")), 5),
    "linen module": (lambda: last_hidden(mj.from_linen(Marked(), IN)), 5),
    "product alone": (lambda: lambda x: x @ matrix(), 5),
    "product of a weight that is computed": (lambda: lambda x: jnp.sin(x @ jnp.tanh(matrix())), 5),
    "two products": (lambda: lambda x: jnp.tanh(x @ matrix(2)) + (x @ matrix(1, seed=1)), 3),
    "flattened": (lambda: lambda x: jnp.sin(x.reshape(x.shape[0], 2, 3).reshape(x.shape[0], -1) @ matrix()), 5),
    "product at three places": (lambda: lambda x: jnp.sin(x.reshape(x.shape[0], 3, 2) @ matrix(4, 2)), 12),
}
WITHOUT_STEM = {
    "skip from the inputs": lambda: lambda x: jnp.tanh(x @ matrix(IN)) + x,
    "product and the inputs themselves": lambda: lambda x: (x @ matrix()).sum(-1, keepdims=True) * x,
    "product with itself": lambda: lambda x: x @ x.T @ matrix(inputs=3),
    "inputs bent first": lambda: lambda x: jnp.tanh(x) @ matrix(),
    "inputs shifted first": lambda: lambda x: (x + 1.0) @ matrix(),
    "over examples": lambda: lambda x: matrix(3, 3) @ x,
    "inputs themselves": lambda: lambda x: x,
    "convolutions": lambda: last_hidden(mj.cnn((3, 2, 1), (4, 3), CLASSES, kernel_size=2, strides=1)),
}


@pytest.mark.parametrize("case", WITH_STEM)
def test_first_then_rest_is_the_function(x64, case):
    make, width = WITH_STEM[case]
    function = make()
    example, x = np.random.default_rng(1).normal(size=(2, 3, IN))
    stem = split_stem(function, jnp.asarray(example))
    assert stem is not None
    s = stem.first(jnp.asarray(x))
    assert s.shape[0] == 3
    assert s[0].size == width
    np.testing.assert_allclose(stem.rest(s), function(jnp.asarray(x)), rtol=1e-12, atol=1e-14)
    # Linear, and each example by itself.
    np.testing.assert_allclose(
        stem.first(jnp.asarray(2 * x - example)), 2 * s - stem.first(jnp.asarray(example)), rtol=1e-10
    )
    np.testing.assert_array_equal(stem.first(jnp.zeros((3, IN))), 0)
    changed = jnp.asarray(x).at[0].set(7.0)
    np.testing.assert_array_equal(stem.first(changed)[1:], s[1:])


@pytest.mark.parametrize("case", WITHOUT_STEM)
def test_no_stem_is_found_where_there_is_none(x64, case):
    assert split_stem(WITHOUT_STEM[case](), jnp.ones((3, IN))) is None


def kernels():
    whole = np.random.default_rng(0).normal(size=(8, 5))
    doubled, zero = whole.copy(), whole.copy()
    doubled[:, 3], zero[:, 2] = doubled[:, 0], 0
    return {"full rank": whole, "duplicated": doubled, "zero column": zero, "all zero": 0 * whole, "square": whole[:5]}


@pytest.mark.parametrize("case", kernels())
def test_factor_of_the_stem(x64, case):
    kernel = kernels()[case]
    factor = stem_factor(lambda x: jnp.tanh(x @ kernel), jnp.ones((2, len(kernel))))
    assert factor.shape == (5, 5)
    np.testing.assert_allclose(factor @ factor.T, kernel.T @ kernel, rtol=1e-12, atol=1e-13)
    of_chain = chain_terms.first_factor(jnp.asarray(kernel))
    np.testing.assert_allclose(of_chain @ of_chain.T, kernel.T @ kernel, rtol=1e-12, atol=1e-13)


def test_fewer_inputs_than_units(x64):
    """Nothing is gained by a stem; the closed form takes the weights themselves."""
    kernel = np.random.default_rng(0).normal(size=(3, 5))
    assert stem_factor(lambda x: jnp.tanh(x @ kernel), jnp.ones((2, 3))) is None
    of_chain = chain_terms.first_factor(jnp.asarray(kernel))
    assert of_chain.shape == (5, 3)
    np.testing.assert_allclose(of_chain @ of_chain.T, kernel.T @ kernel, rtol=1e-12)


def test_factor_of_two_products_is_of_both_side_by_side(x64):
    kernel = np.random.default_rng(0).normal(size=(8, 5))
    factor = stem_factor(lambda x: jnp.tanh(x @ kernel[:, :3]) * (x @ kernel[:, 3:]).sum(), jnp.ones((2, 8)))
    assert factor.shape == (5, 5)
    np.testing.assert_allclose(factor @ factor.T, kernel.T @ kernel, rtol=1e-12, atol=1e-13)


def test_no_stem_has_no_factor(x64):
    assert stem_factor(lambda x: jnp.tanh(x @ matrix(IN)) + x, jnp.ones((2, IN))) is None


CHAINS = {"narrow": (8, (5, 4)), "wide above": (8, (5, 9)), "as wide as inputs": (5, (5, 4)), "few inputs": (3, (5, 4))}


@pytest.mark.parametrize("is_duplicated", [False, True], ids=["as drawn", "duplicated and dead"])
@pytest.mark.parametrize("case", CHAINS)
def test_input_jacobian_with_and_without_the_stem(x64, monkeypatch, case, is_duplicated):
    num_inputs, widths = CHAINS[case]
    rng = np.random.default_rng(0)
    shapes = [(num_inputs, widths[0]), widths, (widths[1], CLASSES)]
    layers = [(rng.normal(size=shape), rng.normal(size=shape[1])) for shape in shapes]
    if is_duplicated:
        layers[0][0][:, 1], layers[0][0][:, 2] = layers[0][0][:, 0], 0
    x = rng.normal(size=(7, num_inputs))
    factors = []

    def measured(factor_of):
        def kept(*args):
            factors.append(factor_of(*args))
            return factors[-1]

        monkeypatch.setattr(jacobian, "stem_factor", kept)
        network = mj.mlp(num_inputs, widths, CLASSES, "tanh")
        # A network of its own, so that its programs are compiled anew.
        fresh = replace(network, apply=lambda *args: network.apply(*args))
        options = {"measures": ["input_jacobian"], "combined": True, "path": "autodiff"}
        return mj.similarity(fresh, mj.mlp_params(layers), x, **options)["input_jacobian"]

    found, plain = measured(stem_factor), measured(lambda *args: None)
    assert (factors[0] is None) == (num_inputs < widths[0])
    assert factors[1] is None
    assert np.linalg.norm(found - plain) < 1e-10 * np.linalg.norm(plain)
    expected = reference.similarity(layers, x, np.zeros(7, int), "tanh")["input_jacobian"]
    assert np.linalg.norm(found - expected) < 1e-10 * np.linalg.norm(expected)
