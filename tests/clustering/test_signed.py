"""Signed modularity, against its definition and bctpy."""

import warnings

import bct
import numpy as np
import pytest

import modjax as mj
from tests.clustering.graphs import planted, random_graph


def signed_graph(seed: int = 0, units: int = 30) -> np.ndarray:
    """Correlations of units in two groups that respond oppositely."""
    rng = np.random.default_rng(seed)
    side = np.where(np.arange(units) % 2, 1.0, -1.0)
    return np.corrcoef(rng.standard_normal((units, 60)) + 0.7 * side[:, None] * rng.standard_normal(60))


def literal(weights: np.ndarray, labels: np.ndarray, resolution: float = 1.0) -> float:
    """Rubinov & Sporns 2011, equation 6, by loops."""
    total = {1: 0.0, -1: 0.0}
    n = len(weights)
    parts = {sign: np.maximum(sign * weights, 0) * (1 - np.eye(n)) for sign in total}
    volumes = {sign: part.sum() for sign, part in parts.items()}
    for sign, part in parts.items():
        for i in range(n):
            for j in range(n):
                if labels[i] == labels[j] and volumes[sign] > 0:
                    total[sign] += part[i, j] - resolution * part[i].sum() * part[j].sum() / volumes[sign]
    first = total[1] / volumes[1] if volumes[1] else 0.0
    return first - (total[-1] / (volumes[1] + volumes[-1]) if volumes[-1] else 0.0)


@pytest.mark.parametrize("resolution", [1.0, 1.7])
def test_q_is_its_definition(resolution) -> None:
    weights = signed_graph(units=12)
    labels = np.random.default_rng(0).integers(0, 3, 12)
    ours = mj.modularity(weights, labels, resolution, signed=True)
    assert ours == pytest.approx(literal(weights, labels, resolution), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_q_is_that_of_bctpy_and_the_search_is_no_worse(seed) -> None:
    rng = np.random.default_rng(seed)
    weights = np.triu(rng.standard_normal((24, 24)), 1)
    weights = weights + weights.T
    best = -1.0
    for start in range(5):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            labels, q = bct.community_louvain(weights.copy(), B="negative_asym", seed=start)
        assert mj.modularity(weights, labels.astype(int), signed=True) == pytest.approx(q, abs=1e-9)
        best = max(best, q)
    assert mj.find_modules(weights, signed=True).q >= best - 1e-9


def test_without_negative_weights_it_is_q() -> None:
    graph = random_graph(30, power=3)
    labels = np.random.default_rng(0).integers(0, 4, 30)
    assert mj.modularity(graph, labels, signed=True) == pytest.approx(mj.modularity(graph, labels), abs=1e-12)
    graph, truth = planted(outside=0.2)
    partition = mj.find_modules(graph, signed=True)
    assert partition.labels.tolist() == mj.find_modules(graph).labels.tolist()
    assert mj.alignment(partition.labels, truth)["ami"] == pytest.approx(1)


def test_opposite_units_are_held_apart_and_alignment_sees_it() -> None:
    weights = signed_graph()
    sides = np.arange(30) % 2
    partition = mj.find_modules(mj.adjacency(weights, signed=True), signed=True)
    assert mj.alignment(partition.labels, sides)["ami"] == pytest.approx(1)
    unsigned = mj.find_modules(mj.adjacency(weights))
    assert mj.alignment(unsigned.labels, sides)["ami"] < 0.2  # by |S| all units are alike


def test_a_signed_adjacency_has_the_sizes_of_the_unsigned() -> None:
    S = np.cov(np.random.default_rng(0).standard_normal((8, 20)))
    S[3] = S[:, 3] = 0
    for normalized in (False, True):
        signed = mj.adjacency(S, normalized, signed=True)
        np.testing.assert_array_equal(np.abs(signed), mj.adjacency(S, normalized))
        np.testing.assert_array_equal(np.sign(signed), np.sign(S) * (1 - np.eye(8)))


def test_dead_units_and_too_little() -> None:
    weights = signed_graph(units=10) * (1 - np.eye(10))
    weights[4] = weights[:, 4] = 0
    partition = mj.find_modules(weights, signed=True)
    assert partition.labels[4] == -1
    assert partition.num_dead == 1
    nothing = mj.find_modules(np.zeros((3, 3)), signed=True)
    assert nothing.num_modules == 0
    assert np.isnan(nothing.q)
    negative = -np.ones((4, 4))
    assert mj.find_modules(negative, signed=True).num_modules == 4
    first, again = (mj.find_modules(signed_graph(3), signed=True, seed=5).labels.tolist() for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        (
            np.eye(3),
            {"method": "spectral"},
            "search of its own; leave method out; got 'spectral'",
        ),
        (np.arange(9.0).reshape(3, 3), {}, "must be symmetric"),
        (np.full((3, 3), np.inf), {}, "not finite"),
        (np.ones(3), {}, "square matrix"),
    ],
)
def test_bad_input(weights, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        mj.find_modules(weights, signed=True, **options)
