import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import modjax as mj
from modjax import MEASURES, Network, Output
from modjax.builtins import MEASURES as MEASURE_INFOS
from modjax.measures import compute
from modjax.measures import plan as planning
from modjax.measures.base import MeasureBatch
from tests import reference
from tests.seams import ACTIVATIONS

SIZES = (7, 6, 5, 4, 3)
BATCH_LEAVES = (((784,), jnp.float32), ((), jnp.int32), ((), jnp.float32))


def random_chain(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=shape), 0.3 * rng.normal(size=shape[1])) for shape in itertools.pairwise(sizes)]


@pytest.fixture
def examples():
    rng = np.random.default_rng(1)
    return rng.normal(size=(23, 7)), rng.integers(0, 3, 23)


@pytest.fixture
def chain():
    return mj.mlp(7, SIZES[1:-1], 3), random_chain(SIZES)


def relative(a, b):
    return np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b)


def test_registry_holds_the_named_measures():
    assert tuple(MEASURE_INFOS) == MEASURES


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("measure", MEASURES)
def test_combined_equals_the_literal_one(x64, examples, measure, activation):
    network, layers = mj.mlp(7, SIZES[1:-1], 3, activation), random_chain(SIZES)
    S = mj.similarity(network, mj.mlp_params(layers), *examples, measures=[measure], combined=True)[measure]
    assert relative(S, reference.similarity(layers, *examples, activation)[measure]) < 1e-10


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("measure", MEASURES)
def test_float32_is_close_to_the_literal_one(examples, measure, activation):
    network, layers = mj.mlp(7, SIZES[1:-1], 3, activation), random_chain(SIZES)
    S = mj.similarity(network, mj.mlp_params(layers), *examples, measures=[measure], combined=True)[measure]
    assert S.dtype == jnp.float32
    assert relative(S, reference.similarity(layers, *examples, activation)[measure]) < 1e-4


@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_the_hessian_of_a_smooth_network_is_more_than_its_piecewise_linear_form(x64, examples, activation):
    """What the literal Hessian adds to J^T (diag p - p p^T) J is no rounding error: a closed form would be caught."""
    layers = random_chain(SIZES)
    hessian, gauss_newton = 0, 0
    for x, y in zip(*examples, strict=True):
        logits = reference.forward(layers, x, activation=activation)[1]
        p = np.exp(logits) / np.exp(logits).sum()
        _, J = reference.example_jacobians(layers, x, activation)
        hessian = hessian + reference.example_hessian(layers, x, y, activation)
        gauss_newton = gauss_newton + J.T @ (np.diag(p) - np.outer(p, p)) @ J
    assert relative(hessian, gauss_newton) > 0.01


@pytest.mark.parametrize("measure", MEASURES)
def test_layers_are_blocks_of_the_combined_matrix(x64, chain, examples, measure):
    network, layers = chain
    params = mj.mlp_params(layers)
    apart = mj.similarity(network, params, *examples, measures=[measure])[measure]
    together = mj.similarity(network, params, *examples, measures=[measure], combined=True)[measure]
    start = 0
    for S in apart:
        np.testing.assert_allclose(S, together[start : start + len(S), start : start + len(S)], rtol=1e-9, atol=1e-12)
        start += len(S)
    assert start == len(together)


def tanh_with_skip():
    """A network with a skip connection and a smooth activation, for which Gauss-Newton is not the Hessian."""

    def init(key):
        keys = jax.random.split(key, 3)
        shapes = [(7, 6), (6, 6), (6, 3)]
        dtype = jax.dtypes.canonicalize_dtype(float)
        return [jax.random.normal(k, shape, dtype) / 2 for k, shape in zip(keys, shapes, strict=True)]

    def apply(params, x, perturb=None, dropout=None):
        first = jnp.tanh(x @ params[0])
        first = first if perturb is None else first + perturb[0]
        second = nn.gelu(first @ params[1]) + first
        second = second if perturb is None else second + perturb[1]
        return Output((first, second), second @ params[2])

    return Network(init, apply, 7)


@pytest.mark.parametrize("measure", MEASURES)
def test_any_network_against_finite_differences(x64, examples, measure):
    network = tanh_with_skip()
    params = network.init(jax.random.key(0))
    x, y = examples[0][:5], examples[1][:5]
    S = mj.similarity(network, params, x, y, measures=[measure], combined=True)[measure]

    def hidden(one):
        return np.concatenate([np.asarray(layer[0]) for layer in network.apply(params, one[None]).hidden])

    def logits(perturb, one):
        split = (jnp.asarray(perturb[:6])[None], jnp.asarray(perturb[6:])[None])
        return np.asarray(network.apply(params, one[None], perturb=split).logits[0])

    zero = np.zeros(12)
    if measure == "covariance":
        units = np.stack([hidden(one) for one in x])
        expected = np.cov(units.T, bias=True)
    elif measure == "input_jacobian":
        jacobians = [reference.numeric_jacobian(hidden, one) for one in x]
        expected = np.mean([J @ J.T for J in jacobians], 0)
    elif measure == "output_jacobian":
        jacobians = [reference.numeric_jacobian(lambda p, one=one: logits(p, one), zero) for one in x]
        expected = np.mean([J.T @ J for J in jacobians], 0)
    else:

        def gradient(perturb, one, label):
            def loss(p):
                return np.array([reference.cross_entropy(logits(p, one), label)])

            return reference.numeric_jacobian(loss, perturb, 1e-4)[0]

        hessians = [
            reference.numeric_jacobian(lambda p, one=one, label=label: gradient(p, one, label), zero, 1e-4)
            for one, label in zip(x, y, strict=True)
        ]
        expected = np.mean(hessians, 0)
    assert relative(S, expected) < 1e-5


def test_one_linear_layer_has_closed_forms(x64):
    """All units active: W1^T W1, W2 W2^T, and W2 (diag p - p p^T) W2^T."""
    rng = np.random.default_rng(0)
    layers = [(rng.random((4, 5)), rng.random(5)), (rng.normal(size=(5, 3)), rng.normal(size=3))]
    x, y = rng.random((1, 4)), np.array([2])
    S = mj.similarity(mj.mlp(4, (5,), 3), mj.mlp_params(layers), x, y)
    W1, W2 = layers[0][0], layers[1][0]
    p = jax.nn.softmax(np.maximum(x @ W1 + layers[0][1], 0) @ W2 + layers[1][1])[0]
    np.testing.assert_allclose(S["input_jacobian"][0], W1.T @ W1, rtol=1e-12)
    np.testing.assert_allclose(S["output_jacobian"][0], W2 @ W2.T, rtol=1e-12)
    np.testing.assert_allclose(S["loss_hessian"][0], W2 @ (np.diag(p) - np.outer(p, p)) @ W2.T, rtol=1e-10)
    np.testing.assert_allclose(S["covariance"][0], 0, atol=1e-15)


@pytest.mark.parametrize("measure", MEASURES)
def test_shared_table_symmetric_permuted_split_dead(x64, chain, examples, measure, monkeypatch):
    network, layers = chain
    x, y = examples
    S = mj.similarity(network, mj.mlp_params(layers), x, y, measures=[measure])[measure]
    assert all(np.array_equal(matrix, matrix.T) for matrix in S)

    permutation = np.random.default_rng(2).permutation(6)
    permuted = [(layers[0][0][:, permutation], layers[0][1][permutation]), (layers[1][0][permutation], layers[1][1])]
    P = mj.similarity(network, mj.mlp_params(permuted + layers[2:]), x, y, measures=[measure])[measure]
    np.testing.assert_allclose(P[0], np.asarray(S[0])[np.ix_(permutation, permutation)], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(P[1], S[1], rtol=1e-9, atol=1e-12)

    for size in (1, 7, 23):
        monkeypatch.setattr(planning, "MAX_EXAMPLES", size)
        B = mj.similarity(network, mj.mlp_params(layers), x, y, measures=[measure])[measure]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), B, S)
    monkeypatch.undo()

    kernel, bias = layers[0]
    dead = [(kernel * (np.arange(6) != 2), np.where(np.arange(6) == 2, -1.0, bias))]
    cut = [(layers[1][0] * (np.arange(6) != 2)[:, None], layers[1][1])]
    D = mj.similarity(network, mj.mlp_params(dead + cut + layers[2:]), x, y, measures=[measure])[measure][0]
    assert np.all(np.isfinite(D))
    assert not np.any(D[2])
    assert not np.any(D[:, 2])


@pytest.mark.parametrize("measure", MEASURES)
def test_population_equals_its_networks_one_by_one(chain, examples, measure):
    network, _ = chain
    singles = [mj.mlp_params(random_chain(SIZES, seed)) for seed in range(3)]
    population = jax.tree.map(lambda *leaves: jnp.stack(leaves), *singles)
    S = mj.similarity(network, population, *examples, measures=[measure])[measure]
    for index, single in enumerate(singles):
        alone = mj.similarity(network, single, *examples, measures=[measure])[measure]
        jax.tree.map(lambda a, b, index=index: np.testing.assert_array_equal(a[index], b), S, alone)


def test_near_constant_units_keep_a_variance_that_is_right():
    """Mean 1000, standard deviation 0.01: E[h^2] - E[h]^2 in float32 would be noise of either sign."""
    rng = np.random.default_rng(0)
    x = (1000 + 0.01 * rng.normal(size=(5000, 4))).astype(np.float32)
    params = mj.mlp_params([(np.eye(4, dtype=np.float32), np.zeros(4, np.float32)), (np.ones((4, 2)), np.zeros(2))])
    S = mj.similarity(mj.mlp(4, (4,), 2), params, x, measures=["covariance"])["covariance"][0]
    expected = np.cov(x.astype(np.float64).T, bias=True)
    assert np.all(np.diagonal(S) >= 0)
    np.testing.assert_allclose(np.diagonal(S), np.diagonal(expected), rtol=1e-2)


def test_pixels_are_scaled_as_in_training(chain):
    network, layers = chain
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7), dtype=np.uint8)
    params = mj.mlp_params(layers)
    a = mj.similarity(network, params, pixels, measures=["covariance"])
    b = mj.similarity(network, params, pixels.astype(np.float32) / 255, measures=["covariance"])
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7), a, b)


BAD_CALLS = {
    "unknown measure": (lambda p, x, y: (p, x, y, ["jacobain"]), "Available: covariance, input_jacobian"),
    "missing layer": (lambda p, x, y: ({k: p[k] for k in list(p)[:-1]}, x, y, MEASURES), "do not fit the network"),
    "other width": (lambda p, x, y: (mj.mlp_params(random_chain((7, 6, 5, 9, 3))), x, y, MEASURES), "do not fit"),
    "x too narrow": (lambda p, x, y: (p, x[:, :5], y, MEASURES), "7 values per example; got 5"),
    "x with NaN": (lambda p, x, y: (p, np.where(x > 2, np.nan, x), y, MEASURES), "not finite"),
    "no examples": (lambda p, x, y: (p, x[:0], y[:0], MEASURES), "at least one"),
    "labels missing": (lambda p, x, y: (p, x, None, MEASURES), "needs labels"),
    "labels too large": (lambda p, x, y: (p, x, y + 5, MEASURES), "below 3"),
    "labels negative": (lambda p, x, y: (p, x, y - 9, MEASURES), "from 0"),
    "labels too few": (lambda p, x, y: (p, x, y[:4], MEASURES), "4 labels for 23"),
    "labels floats": (lambda p, x, y: (p, x, y * 1.0, MEASURES), "integer class labels"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_input_is_one_line(chain, examples, case):
    network, layers = chain
    make, told = BAD_CALLS[case]
    params, x, y, measures = make(mj.mlp_params(layers), *examples)
    with pytest.raises(ValueError, match=told) as error:
        mj.similarity(network, params, x, y, measures=measures)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["closed_form", "autodiff"])
@pytest.mark.parametrize("combined", [False, True])
def test_memory_bounds_what_is_made_at_a_time(path, combined):
    """By the compiled program's own account, beside parameters, examples, states and results."""
    network = mj.mlp(784, (256, 256), 10)
    shapes = planning.params_shapes(network)
    for memory in (2**26, 2**28):
        plan = planning.make_plan(network, shapes, (784,), MEASURES, combined, 10_000, path, memory=memory)
        assert plan.num_examples * 784 * 4 * plan.num_threads <= memory
        one = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape), leaf.dtype), shapes)
        program = (plan.setting, plan.closed, plan.general)
        prepared, states = compute._start(*program, one)
        batch = MeasureBatch(*(jnp.zeros((plan.num_examples, *rest), dtype) for rest, dtype in BATCH_LEAVES))
        needs = compute._add.lower(*program, one, prepared, states, batch).compile().memory_analysis()
        assert needs.temp_size_in_bytes * plan.num_threads < memory


def test_plans_do_not_depend_on_the_number_of_trials_and_waste_little():
    network = mj.mlp(784, (64, 64), 10)
    plan = planning.make_plan(network, planning.params_shapes(network), (784,), MEASURES, False, 10_000)
    assert tuple(info.name for info in plan.closed) == MEASURES
    assert plan.num_examples % plan.setting.block == 0
    assert -(-10_000 // plan.num_examples) * plan.num_examples < 1.02 * 10_000
    tanh = planning.make_plan(
        mj.mlp(784, (64, 64), 10, "tanh"), planning.params_shapes(network), (784,), MEASURES, False
    )
    assert [info.name for info in tanh.general] == ["loss_hessian"]
    with pytest.raises(ValueError, match=r"loss_hessian.*no closed form.*path='auto'"):
        planning.make_plan(
            mj.mlp(5, (4,), 2, "tanh"), planning.params_shapes(network), (5,), MEASURES, False, path="closed_form"
        )
