import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import modjax as mj
from tests import reference
from tests.seams import ACTIVATION_FUNCTIONS, ACTIVATIONS, KEEP_LEVELS, dropout_mask


def random_layers(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=shape), rng.normal(size=shape[1])) for shape in itertools.pairwise(sizes)]


def test_registry_holds_the_named_activations():
    assert tuple(ACTIVATION_FUNCTIONS) == ACTIVATIONS


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_equals_the_literal_one(x64, activation):
    layers = random_layers((5, 4, 3, 2))
    network = mj.mlp(5, (4, 3), 2, activation)
    x = np.random.default_rng(1).normal(size=(7, 5))
    output = network.apply(mj.mlp_params(layers), x)
    for index in range(7):
        hidden, logits = reference.forward(layers, x[index], activation=activation)
        np.testing.assert_allclose(output.logits[index], logits, rtol=1e-12)
        for layer in range(2):
            np.testing.assert_allclose(output.hidden[layer][index], hidden[layer], rtol=1e-12)


def test_perturb_is_added_after_the_activation(x64):
    layers = random_layers((5, 4, 3, 2))
    perturb = (np.linspace(-1, 1, 4), np.linspace(2, 3, 3))
    x = np.random.default_rng(1).normal(size=5)
    output = mj.mlp(5, (4, 3), 2).apply(
        mj.mlp_params(layers), x[None], perturb=tuple(jnp.asarray(p)[None] for p in perturb)
    )
    hidden, logits = reference.forward(layers, x, perturb)
    np.testing.assert_allclose(output.logits[0], logits, rtol=1e-12)
    np.testing.assert_allclose(output.hidden[0][0], hidden[0], rtol=1e-12)


def test_init_is_uniform_within_the_fan_in_bound():
    params = mj.mlp(400, (300,), 10).init(0)
    for name, fan_in in (("dense_0", 400), ("dense_1", 300)):
        for leaf in params[name].values():
            assert jnp.abs(leaf).max() <= 1 / np.sqrt(fan_in)
    kernel = params["dense_0"]["kernel"]
    np.testing.assert_allclose(kernel.std(), 1 / np.sqrt(3 * 400), rtol=0.02)
    assert jnp.std(params["dense_0"]["bias"]) > 0


def test_same_arguments_give_the_same_object():
    assert mj.mlp(4, [3, 3], 2) is mj.mlp(4, (3, 3), 2)


def test_dtype_follows_the_params(x64):
    network = mj.mlp(4, (3,), 2)
    assert network.init(0)["dense_0"]["kernel"].dtype == jnp.float64
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), network.init(0))
    assert network.apply(single, np.zeros((1, 4))).logits.dtype == jnp.float32


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.5, 0.7])
def test_dropout_keeps_the_stated_share_and_the_mean(key, rate):
    mask = dropout_mask(key, rate, (1000, 501), jnp.float32)
    kept = float(jnp.mean(mask > 0))
    keep = round((1 - rate) * KEEP_LEVELS) / KEEP_LEVELS
    assert abs(keep - (1 - rate)) <= 2**-16
    assert abs(kept - keep) <= 5 * np.sqrt(keep * (1 - keep) / mask.size) + 1e-9
    np.testing.assert_allclose(mask.max(), 1 / keep, rtol=1e-6)


def test_dropout_rate_may_be_traced(key):
    network = mj.mlp(4, (8,), 2)
    params = network.init(0)
    x = jnp.ones((3, 4))
    logits = jax.jit(lambda rate: network.apply(params, x, dropout=(rate, key)).logits)
    np.testing.assert_allclose(logits(0.0), network.apply(params, x).logits, rtol=1e-6)
    assert not np.allclose(logits(0.5), logits(0.0))


def test_images_are_flattened():
    network = mj.mlp(6, (3,), 2)
    params = network.init(0)
    x = jnp.arange(12.0).reshape(2, 2, 3)
    np.testing.assert_array_equal(network.apply(params, x).logits, network.apply(params, x.reshape(2, 6)).logits)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((0, (3,), 2), "in_features"),
        ((4, (), 2), "widths"),
        ((4, (3, 0), 2), "widths"),
        ((4, (3,), -1), "num_classes"),
        ((4, (3,), 2, "swish"), "relu"),
    ],
    ids=str,
)
def test_bad_sizes_are_refused(arguments, told):
    with pytest.raises(ValueError, match=told):
        mj.mlp(*arguments)


def test_weights_that_do_not_chain_are_refused():
    with pytest.raises(ValueError, match=r"layer 1 must be W of shape \(3, outputs\).*transposed"):
        mj.mlp_params([(np.ones((4, 3)), np.zeros(3)), (np.ones((2, 3)), np.zeros(3))])
    with pytest.raises(ValueError, match="not finite"):
        mj.mlp_params([(np.full((4, 3), np.nan), np.zeros(3))])
