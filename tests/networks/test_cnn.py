import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import modjax as mj
from tests import reference
from tests.seams import ACTIVATIONS

SHAPES = {"even": ((6, 4, 2), 3, 2), "odd": ((5, 7, 1), 3, 2), "stride 1": ((4, 3, 1), 2, 1), "wide": ((3, 3, 2), 5, 3)}


@pytest.mark.parametrize(
    ("case", "activation"), [(case, "relu") for case in SHAPES] + [("odd", name) for name in ACTIVATIONS[1:]]
)
def test_forward_equals_the_literal_one(x64, case, activation):
    shape, kernel_size, strides = SHAPES[case]
    network = mj.cnn(shape, (3, 2), 4, activation, kernel_size, strides)
    params = jax.jit(network.init)(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(3, *shape))
    output = jax.jit(network.apply)(params, x)
    for index in range(3):
        hidden, logits = reference.forward_cnn(params, x[index], kernel_size, strides, activation)
        for layer in range(2):
            np.testing.assert_allclose(output.hidden[layer][index], hidden[layer], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(output.logits[index], logits, rtol=1e-12)


@pytest.mark.parametrize("case", SHAPES)
def test_the_convolution_is_that_of_flax(x64, case):
    shape, kernel_size, strides = SHAPES[case]
    network = mj.cnn(shape, (3,), 4, "tanh", kernel_size, strides)
    params = jax.jit(network.init)(jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(3, *shape))
    flax_conv = nn.Conv(3, (kernel_size, kernel_size), strides, padding="SAME")
    expected = np.tanh(flax_conv.apply({"params": params["conv_0"]}, jnp.asarray(x)))
    np.testing.assert_allclose(network.apply(params, x).hidden[0], expected, rtol=1e-12)


def test_perturb_is_added_after_the_activation(x64):
    network = mj.cnn((6, 6), (2, 3), 4)
    params = network.init(0)
    x = np.random.default_rng(0).normal(size=(2, 6, 6))
    plain = network.apply(params, x)
    rng = np.random.default_rng(1)
    perturb = tuple(jnp.asarray(rng.normal(size=layer.shape)) for layer in plain.hidden)
    output = network.apply(params, x, perturb=perturb)
    np.testing.assert_allclose(output.hidden[0], plain.hidden[0] + perturb[0], rtol=1e-12)
    for index in range(2):
        own = [np.asarray(layer[index]) for layer in perturb]
        hidden, logits = reference.forward_cnn(params, x[index, ..., None], 3, 2, "relu", own)
        np.testing.assert_allclose(output.hidden[1][index], hidden[1], rtol=1e-12)
        np.testing.assert_allclose(output.logits[index], logits, rtol=1e-12)


def test_init_is_uniform_within_the_fan_in_bound():
    params = jax.jit(mj.cnn((8, 8, 3), (40, 50), 10).init)(jax.random.key(0))
    for name, fan_in in (("conv_0", 27), ("conv_1", 360), ("dense", 200)):
        assert params[name]["kernel"][..., 0].size == fan_in
        for leaf in params[name].values():
            assert 0.9 / np.sqrt(fan_in) < jnp.abs(leaf).max() <= 1 / np.sqrt(fan_in) or leaf.size < 50
    np.testing.assert_allclose(params["conv_1"]["kernel"].std(), 1 / np.sqrt(3 * 360), rtol=0.02)


def test_flat_pixels_are_images():
    network = mj.cnn((8, 8), (3,), 10)
    params = network.init(0)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    expected = network.apply(params, pixels.astype(np.float32)[..., None] / 255).logits
    np.testing.assert_allclose(network.apply(params, pixels.reshape(5, 64)).logits, expected, rtol=1e-5, atol=1e-6)


def test_same_arguments_give_the_same_object():
    assert mj.cnn([28, 28], [4]) is mj.cnn((28, 28, 1), (4,))


def test_dropout_follows_each_hidden_activation_and_its_rate_may_be_traced(key):
    network = mj.cnn((8, 8), (8, 8), 3)
    params = network.init(0)
    x = jnp.ones((3, 8, 8))
    output = jax.jit(lambda rate: network.apply(params, x, dropout=(rate, key)))
    np.testing.assert_allclose(output(0.0).logits, network.apply(params, x).logits, rtol=1e-6)
    dropped = output(0.5)
    assert not np.allclose(dropped.logits, output(0.0).logits)
    np.testing.assert_array_equal(dropped.hidden[0], output(0.0).hidden[0])
    assert not np.allclose(dropped.hidden[1], output(0.0).hidden[1])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (((28,),), r"image_shape must be \(height, width\) or"),
        (((28, 0),), "image_shape must be whole numbers"),
        (((28, 28), ()), "widths"),
        (((28, 28), (4, 0)), "widths"),
        (((28, 28), (4,), 0), "num_classes"),
        (((28, 28), (4,), 10, "swish"), "Available: relu, leaky_relu, linear, tanh, gelu"),
        (((28, 28), (4,), 10, "relu", 0), "kernel_size"),
        (((28, 28), (4,), 10, "relu", 3, 0), "strides"),
    ],
    ids=str,
)
def test_bad_sizes_are_refused(arguments, told):
    with pytest.raises(ValueError, match=told):
        mj.cnn(*arguments)


def test_a_trial_in_a_population_equals_the_trial_alone():
    digits = mj.load_dataset("digits")
    task = mj.classification(mj.cnn((8, 8), (4, 6), 10))
    config = mj.TrainConfig(max_epochs=3, batch_size=100, num_slots=2)
    h = {"learning_rate": [1e-2, 2e-2], "l2": [0.0, 1e-4], "dropout": [0.1, 0.0], "seed": [0, 1]}
    together = mj.train(task, h, digits, config)
    assert np.all(together.history["val_accuracy"][:, -1] > 0.4)
    for index in range(2):
        alone = mj.train(task, {name: values[index : index + 1] for name, values in h.items()}, digits, config)
        jax.tree.map(lambda a, b, index=index: np.testing.assert_array_equal(a[index], b[0]), together.last, alone.last)
