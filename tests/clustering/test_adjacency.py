import jax
import jax.numpy as jnp
import numpy as np
import pytest

import modjax as mj
from modjax.clustering.adjacency import adjacency_or_nan, as_similarity
from modjax.clustering.layer import SearchSettings, SignedGraph
from tests.seams import cluster_layer


def signed(num=9, seed=0):
    a = np.random.default_rng(seed).normal(size=(num, num))
    return a + a.T


@pytest.mark.parametrize("normalized", [False, True])
def test_adjacency_is_what_it_says(normalized):
    S = signed()
    A = mj.adjacency(S, normalized)
    for i in range(9):
        for j in range(9):
            scale = np.sqrt(abs(S[i, i]) * abs(S[j, j])) if normalized else 1
            assert A[i, j] == pytest.approx(0 if i == j else abs(S[i, j]) / scale, rel=1e-12)
    assert np.array_equal(A, A.T)


@pytest.mark.parametrize("normalized", [False, True])
def test_dead_units_are_zero_rows(normalized):
    S = signed()
    S[4] *= 1e-15
    S[:, 4] *= 1e-15
    A = mj.adjacency(S, normalized)
    assert not A[4].any()
    assert not A[:, 4].any()
    assert np.all(np.delete(np.delete(A, 4, 0), 4, 1).sum(0) > 0)


def test_just_above_the_threshold_is_alive():
    S = np.diag([1.0, 1.1e-12, 0.9e-12]) + 1e-13 * (1 - np.eye(3))
    assert mj.adjacency(S).any(1).tolist() == [True, True, False]


def test_without_a_diagonal_all_units_are_dead():
    """Also where a measure of one's own leaves it out: negative entries are no weights."""
    S = signed()
    np.fill_diagonal(S, 0)
    assert not adjacency_or_nan(S, normalized=False).any()
    assert np.all(cluster_layer([SignedGraph(S)], SearchSettings(), 0).graphs[0].partition.labels < 0)


@pytest.mark.parametrize("normalized", [False, True])
def test_an_adjacency_as_a_similarity_is_itself(normalized):
    S = signed()
    S[4] = S[:, 4] = 0
    A = mj.adjacency(S, normalized)
    assert np.array_equal(mj.adjacency(as_similarity(A)), A)


def test_jax_arrays_stay_on_the_device_and_agree():
    S = signed().astype(np.float32)
    A = jax.jit(lambda S: mj.adjacency(S, normalized=True))(jnp.asarray(S))
    assert isinstance(A, jax.Array)
    np.testing.assert_allclose(A, mj.adjacency(S, normalized=True), rtol=1e-6)


def test_leading_axes_are_kept():
    S = np.stack([signed(seed=seed) for seed in range(3)])
    np.testing.assert_array_equal(mj.adjacency(S, True)[1], mj.adjacency(S[1], True))


def test_all_dead_and_scale():
    assert not mj.adjacency(np.zeros((3, 3)), normalized=True).any()
    np.testing.assert_allclose(mj.adjacency(1e-30 * signed(), True), mj.adjacency(signed(), True), rtol=1e-12)


def test_not_square_is_refused():
    with pytest.raises(ValueError, match="square"):
        mj.adjacency(np.zeros((3, 4)))
