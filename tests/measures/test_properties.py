"""What every measure must keep, whatever the weights and the examples; programs are compiled for a few fixed shapes."""

import itertools
import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modjax as mj
from modjax import MEASURES
from tests import reference
from tests.seams import plan as planning

IN, WIDTHS, CLASSES, NUM_EXAMPLES = 5, (4, 3), 3, 40
NETWORKS = {
    "relu": mj.mlp(IN, WIDTHS, CLASSES, "relu"),
    "gelu": mj.mlp(IN, WIDTHS, CLASSES, "gelu"),
    "cnn": mj.cnn((3, 2, 1), WIDTHS, CLASSES, "relu", 2, 1),
}
CASES = [("relu", "auto"), ("relu", "autodiff"), ("gelu", "auto"), ("gelu", "autodiff"), ("cnn", "auto")]
CHAINS = [case for case in CASES if case[0] != "cnn"]
each_case = pytest.mark.parametrize(("name", "path"), CASES)
some = settings(max_examples=15, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**32 - 1)
factors = st.floats(0.25, 4)


def draw(name, seed, has_bias=True):
    """Weights, as a list of ``[kernel, bias]``, and examples."""
    rng = np.random.default_rng(seed)
    if name == "cnn":
        shapes = [(2, 2, 1, 4), (2, 2, 4, 3), (18, CLASSES)]
    else:
        shapes = list(itertools.pairwise((IN, *WIDTHS, CLASSES)))
    layers = [
        [rng.normal(size=shape) / np.sqrt(math.prod(shape[:-1])), has_bias * rng.normal(size=shape[-1])]
        for shape in shapes
    ]
    num_inputs = NETWORKS[name].in_features
    return layers, (rng.normal(size=(NUM_EXAMPLES, num_inputs)), rng.integers(0, CLASSES, NUM_EXAMPLES))


def measured(name, path, layers, examples, **options):
    """All four measures in float64."""
    names = ("conv_0", "conv_1", "dense") if name == "cnn" else ("dense_0", "dense_1", "dense_2")
    params = {key: {"kernel": kernel, "bias": bias} for key, (kernel, bias) in zip(names, layers, strict=True)}
    with jax.enable_x64(True):
        return mj.similarity(NETWORKS[name], params, *examples, path=path, **options)


def assert_close(found, expected, rtol=1e-10):
    assert np.linalg.norm(found - expected) <= rtol * np.linalg.norm(expected) + 1e-14


def assert_same(found, expected):
    jax.tree.map(assert_close, found, expected)


@each_case
@pytest.mark.parametrize("combined", [False, True], ids=["layers", "combined"])
@given(seed=seeds)
@some
def test_symmetric_and_positive_semi_definite(name, path, combined, seed):
    S = measured(name, path, *draw(name, seed), combined=combined)
    for measure in MEASURES:
        for matrix in [S[measure]] if combined else S[measure]:
            assert matrix.dtype == np.float64
            assert np.array_equal(matrix, matrix.T)
            if measure != "loss_hessian" or NETWORKS[name].is_piecewise_linear:
                values = np.linalg.eigvalsh(matrix)
                assert values[0] >= -1e-12 * max(values[-1], 1e-3)


@pytest.mark.parametrize(
    ("name", "path", "limits"),
    [
        ("relu", "auto", {"MAX_EXAMPLES": 7}),
        ("relu", "auto", {"MAX_EXAMPLES": 32, "MAX_BLOCK": 16}),
        ("relu", "autodiff", {"memory": 2**14}),
        ("gelu", "autodiff", {"MAX_EXAMPLES": 1}),
        ("cnn", "auto", {"MAX_EXAMPLES": 13}),
    ],
    ids=str,
)
@given(seed=seeds)
@some
def test_split_into_batches_in_any_way(name, path, limits, seed):
    layers, examples = draw(name, seed)
    whole = measured(name, path, layers, examples)
    options = {"memory": limits["memory"]} if "memory" in limits else {}
    with pytest.MonkeyPatch.context() as patch:
        for limit in set(limits) - {"memory"}:
            patch.setattr(planning, limit, limits[limit])
        shapes = jax.eval_shape(NETWORKS[name].init, jax.random.key(0))
        plan = planning.make_plan(
            NETWORKS[name], shapes, examples[0].shape[1:], MEASURES, False, NUM_EXAMPLES, path, **options
        )
        assert plan.num_examples < NUM_EXAMPLES or plan.setting.block < NUM_EXAMPLES
        assert_same(measured(name, path, layers, examples, **options), whole)


@each_case
@given(seed=seeds, order=st.permutations(range(WIDTHS[0])))
@some
def test_permuting_units_permutes_rows_and_columns(name, path, seed, order):
    layers, examples = draw(name, seed)
    S = measured(name, path, layers, examples)
    (first, bias), (second, *rest) = layers[:2]
    permuted = [[first[..., order], bias[order]], [second[..., order, :], *rest], layers[2]]
    P = measured(name, path, permuted, examples)
    for measure in MEASURES:
        assert_close(P[measure][0], S[measure][0][np.ix_(order, order)])
        assert_close(P[measure][1], S[measure][1])


@each_case
@given(seed=seeds, pair=st.permutations(range(WIDTHS[0])))
@some
def test_duplicated_units_have_the_same_rows(name, path, seed, pair):
    layers, examples = draw(name, seed)
    a, b = pair[:2]
    (first, bias), (second, _) = layers[:2]
    first[..., b], bias[b], second[..., b, :] = first[..., a], bias[a], second[..., a, :]
    for matrices in measured(name, path, layers, examples).values():
        assert_close(matrices[0][a], matrices[0][b])


@each_case
@given(seed=seeds, unit=st.integers(0, WIDTHS[0] - 1))
@some
def test_dead_units_are_rows_of_zeros(name, path, seed, unit):
    """No weights in, so that its value is constant, and none out."""
    layers, examples = draw(name, seed)
    (first, _), (second, _) = layers[:2]
    first[..., unit], second[..., unit, :] = 0, 0
    for matrices in measured(name, path, layers, examples).values():
        assert not matrices[0][unit].any()
        assert not matrices[0][:, unit].any()
        assert np.all(np.isfinite(matrices[0]))
        for is_normalized in (False, True):
            assert not mj.adjacency(matrices[0], is_normalized)[unit].any()


@pytest.mark.parametrize(("name", "path"), [case for case in CASES if case[0] != "gelu"])
@given(seed=seeds, c=factors)
@some
def test_scaling_inputs_and_kernels_of_a_piecewise_linear_network_without_biases(name, path, seed, c):
    layers, (x, y) = draw(name, seed, has_bias=False)
    S = measured(name, path, layers, (x, y))
    scaled = measured(name, path, layers, (c * x, y))
    wider = measured(name, path, [[c * layers[0][0], layers[0][1]], *layers[1:]], (x, y))
    for layer in range(2):
        assert_close(scaled["covariance"][layer], c**2 * S["covariance"][layer])
        assert_close(scaled["input_jacobian"][layer], S["input_jacobian"][layer])
        assert_close(scaled["output_jacobian"][layer], S["output_jacobian"][layer])
        assert_close(wider["covariance"][layer], c**2 * S["covariance"][layer])
        assert_close(wider["input_jacobian"][layer], c**2 * S["input_jacobian"][layer])
        assert_close(wider["output_jacobian"][layer], S["output_jacobian"][layer])


@each_case
@given(seed=seeds, c=factors)
@some
def test_scaling_the_last_weights_scales_what_is_downstream(name, path, seed, c):
    layers, examples = draw(name, seed)
    S = measured(name, path, layers, examples)
    scaled = measured(name, path, [*layers[:-1], [c * layers[-1][0], layers[-1][1]]], examples)
    for layer in range(2):
        assert_close(scaled["output_jacobian"][layer], c**2 * S["output_jacobian"][layer])
        for measure in mj.UPSTREAM:
            assert_close(scaled[measure][layer], S[measure][layer])


@pytest.mark.parametrize(("name", "path"), CHAINS)
@given(seed=seeds)
@some
def test_random_chains_equal_the_literal_ones(name, path, seed):
    layers, (x, y) = draw(name, seed)
    S = measured(name, path, layers, (x, y), combined=True)
    for measure, expected in reference.similarity(layers, x, y, name).items():
        assert_close(S[measure], expected, 1e-9)
