"""Smooth, deep, convolutional and skip-connected networks against literal loops over examples, on every path."""

import itertools
from functools import cache
from typing import NamedTuple

import jax
import numpy as np
import pytest

import modjax as mj
from modjax import MEASURES, Network, Output
from tests import reference
from tests.seams import ACTIVATION_FUNCTIONS, MEASURE_INFOS, has_closed_form
from tests.seams import plan as planning

IN, CLASSES, NUM_EXAMPLES = 6, 3, 4
IMAGE, CHANNELS, KERNEL_SIZE = (3, 2, 2), (3, 2), 2


class Case(NamedTuple):
    """A network of the package with parameters in float64, and the same as literal layers."""

    network: Network
    params: object
    layers: list

    @property
    def examples(self):
        rng = np.random.default_rng(1)
        return rng.normal(size=(NUM_EXAMPLES, self.network.in_features)), rng.integers(0, CLASSES, NUM_EXAMPLES)


def random_weights(shapes):
    rng = np.random.default_rng(0)
    return [(1.5 * rng.normal(size=shape) / np.sqrt(shape[0]), 0.3 * rng.normal(size=shape[1])) for shape in shapes]


def literal_layers(weights, activations, skips):
    hidden = zip(weights, activations, skips, strict=False)
    layers = [reference.Layer(W, b, len(b), activation, skip) for (W, b), activation, skip in hidden]
    return [*layers, reference.Layer(*weights[-1], CLASSES)]


def dense(widths, activation):
    weights = random_weights(list(itertools.pairwise((IN, *widths, CLASSES))))
    layers = literal_layers(weights, [activation] * len(widths), [None] * len(widths))
    return Case(mj.mlp(IN, widths, CLASSES, activation), mj.mlp_params(weights), layers)


def convolutions(activation, strides):
    network = mj.cnn(IMAGE, CHANNELS, CLASSES, activation, KERNEL_SIZE, strides)
    params = jax.tree.map(lambda leaf: 2 * np.asarray(leaf), jax.jit(network.init)(jax.random.key(1)))
    layers, shape = [], IMAGE
    for name in ("conv_0", "conv_1"):
        layer, shape = reference.conv_layer(params[name]["kernel"], params[name]["bias"], shape, strides, activation)
        layers.append(layer)
    return Case(
        network, params, [*layers, reference.Layer(params["dense"]["kernel"], params["dense"]["bias"], CLASSES)]
    )


def skipping(activations, skips, is_piecewise_linear=False):
    """Hidden layers as wide as the inputs; some add the values of an earlier place, counted from the inputs."""
    weights = random_weights([(IN, IN)] * len(skips) + [(IN, CLASSES)])

    def apply(params, x, perturb=None, dropout=None):
        places = [x]
        for index, (name, skip) in enumerate(zip(activations, skips, strict=True)):
            kernel, bias = params[index]
            values = ACTIVATION_FUNCTIONS[name](places[-1] @ kernel + bias[None])
            values = values if skip is None else values + places[skip]
            places.append(values if perturb is None else values + perturb[index])
        kernel, bias = params[-1]
        return Output(tuple(places[1:]), places[-1] @ kernel + bias[None])

    network = Network(lambda key: jax.tree.map(jax.numpy.asarray, weights), apply, IN, None, is_piecewise_linear)
    return Case(network, weights, literal_layers(weights, activations, skips))


CASES = {
    "gelu": lambda: dense((5, 4), "gelu"),
    "deep tanh": lambda: dense((5, 4, 6, 4), "tanh"),
    "deep relu": lambda: dense((7, 5, 4, 6), "relu"),
    "convolutions gelu": lambda: convolutions("gelu", 1),
    "convolutions relu strides": lambda: convolutions("relu", 2),
    "skip": lambda: skipping(("tanh", "gelu", "tanh"), (None, 1, 1)),
    "skip inputs": lambda: skipping(("gelu", "tanh"), (0, 1)),
    "skip relu": lambda: skipping(("relu", "relu"), (None, 1), is_piecewise_linear=True),
}
LAYOUTS = {"layers": False, "combined": True}


@cache
def build(name):
    with jax.enable_x64(True):
        case = CASES[name]()
        return case._replace(params=jax.tree.map(np.asarray, case.params))


@cache
def literal(name, combined, derivatives):
    case = build(name)
    return reference.similarity_of_layers(case.layers, *case.examples, combined, derivatives)


def errors_of(name, combined, path, dtype, derivatives=reference.layer_derivatives):
    """Relative Frobenius errors of every matrix of the measures that a path has."""
    case = build(name)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), case.params)
    measures = [one for one in MEASURES if path != "closed_form" or has_closed_form(case.network, MEASURE_INFOS[one])]
    S = mj.similarity(case.network, params, *case.examples, measures, combined, path=path)
    errors = {}
    for measure in measures:
        expected = literal(name, combined, derivatives)[measure]
        matrices = [S[measure]] if combined else S[measure]
        for place, (found, matrix) in enumerate(zip(matrices, expected, strict=True)):
            assert found.dtype == dtype
            assert np.array_equal(found, found.T)
            errors[measure, place] = np.linalg.norm(found.astype(np.float64) - matrix) / np.linalg.norm(matrix)
    return errors


def runs():
    for name in CASES:
        has_chain = not name.startswith(("convolutions", "skip"))
        for layout in LAYOUTS:
            if (name, layout) == ("convolutions relu strides", "combined"):
                continue  # its layers have different locations
            for path in ("auto", "closed_form", "autodiff") if has_chain else ("auto",):
                if (name, path) != ("deep tanh", "closed_form"):  # a program that gelu has too
                    yield name, layout, path


RUNS = list(runs())
# In single precision in one layout, and once where "auto" is one of the others: programs take time to compile.
FEW = [
    (name, layout, path)
    for name, layout, path in RUNS
    if path != "closed_form"
    and name != "skip inputs"
    and (layout == "combined" or (name, "combined", path) not in RUNS)
]


@pytest.mark.parametrize(("name", "layout", "path"), RUNS)
def test_float64_equals_the_literal_one(x64, name, layout, path):
    combined = LAYOUTS[layout]
    errors = errors_of(name, combined, path, np.float64)
    assert max(errors.values()) < 1e-8, errors
    errors = errors_of(name, combined, path, np.float64, reference.numeric_derivatives)
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.parametrize(("name", "layout", "path"), FEW)
def test_float32_is_close_to_the_literal_one(name, layout, path):
    errors = errors_of(name, LAYOUTS[layout], path, np.float32)
    assert max(errors.values()) < 1e-4, errors


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("convolutions", "skip"))])
def test_without_a_chain_there_is_no_closed_form_and_autodiff_is_what_auto_takes(x64, name):
    case = build(name)
    with pytest.raises(ValueError, match="has no closed form; use path='auto'"):
        mj.similarity(case.network, case.params, *case.examples, path="closed_form")
    shapes = planning.params_shapes(case.network)
    plans = [
        planning.make_plan(case.network, shapes, (case.network.in_features,), MEASURES, False, path=path)
        for path in ("auto", "autodiff")
    ]
    assert plans[0] == plans[1]


@pytest.mark.parametrize("name", ["deep relu", "deep tanh", "gelu"])
def test_both_literal_versions_of_a_dense_chain_agree(name):
    case = build(name)
    x, y = case.examples
    chain = [(layer.kernel, layer.bias) for layer in case.layers]
    older = reference.similarity(chain, x, y, case.layers[0].activation)
    for measure, (expected,) in literal(name, True, reference.layer_derivatives).items():
        np.testing.assert_allclose(older[measure], expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("name", "strides"), [("convolutions gelu", 1), ("convolutions relu strides", 2)])
def test_the_matrix_of_a_convolution_is_the_loop_over_its_locations(name, strides):
    case = build(name)
    activation = case.layers[0].activation
    for one in case.examples[0]:
        hidden, logits = reference.forward_cnn(case.params, one.reshape(IMAGE), KERNEL_SIZE, strides, activation)
        found, found_logits = reference.run_layers(case.layers, one)
        np.testing.assert_allclose(found, np.concatenate([layer.ravel() for layer in hidden]), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(found_logits, logits, rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in CASES if "relu" not in name])
def test_a_smooth_hessian_is_more_than_its_piecewise_linear_form(name):
    """In the lowest layer: what f'' adds is no rounding error, so that a wrong closed form would be caught."""
    case = build(name)
    hessian, gauss_newton = 0, 0
    for x, y in zip(*case.examples, strict=True):
        _, _, J, whole = reference.layer_derivatives(case.layers, x, y)
        logits = reference.run_layers(case.layers, x)[1]
        p = np.exp(logits) / np.exp(logits).sum()
        hessian = hessian + whole
        gauss_newton = gauss_newton + J.T @ (np.diag(p) - np.outer(p, p)) @ J
    assert np.linalg.norm(hessian - gauss_newton) > 0.01 * np.linalg.norm(hessian)
