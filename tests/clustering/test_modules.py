import networkx as nx
import numpy as np
import pytest

import modjax as mj
from modjax.clustering.graph import weighted_graph
from modjax.clustering.partition import canonical, effective_number, make_partition
from modjax.clustering.search import METHODS
from tests import reference
from tests.clustering.graphs import cliques, random_graph
from tests.seams import SEARCH_METHODS


def test_registry_holds_the_named_methods():
    assert tuple(METHODS) == SEARCH_METHODS


@pytest.mark.parametrize("resolution", [0.5, 1.0, 2.0])
def test_q_is_the_double_sum(resolution):
    a = random_graph()
    for seed in range(5):
        labels = np.random.default_rng(seed).integers(-1, 4, 12)
        assert mj.modularity(a, labels, resolution) == pytest.approx(
            reference.modularity(a, labels, resolution), abs=1e-12
        )


def test_q_is_networkxs():
    a, labels = random_graph(), np.arange(12) % 3
    communities = [set(np.flatnonzero(labels == module).tolist()) for module in range(3)]
    assert mj.modularity(a, labels) == pytest.approx(nx.community.modularity(nx.from_numpy_array(a), communities))


def test_q_survives_a_single_module_and_relabelling():
    a = random_graph()
    assert mj.modularity(a, np.zeros(12, int)) == pytest.approx(0, abs=1e-12)
    labels = np.arange(12) % 3
    assert mj.modularity(a, labels) == pytest.approx(mj.modularity(a, 7 - labels))


def test_dead_units_are_counted_and_in_no_module():
    a = np.zeros((8, 8))
    a[1:7, 1:7] = cliques(2, 3)
    found = mj.find_modules(a)
    assert found.labels.tolist() == [-1, 0, 0, 0, 1, 1, 1, -1]
    assert found.num_dead == 2
    assert found.effective_modules == pytest.approx(2)
    assert found.q == pytest.approx(mj.find_modules(cliques(2, 3)).q)


def test_no_living_unit_and_one():
    dead = mj.find_modules(np.zeros((3, 3)))
    assert np.isnan(dead.q)
    assert (dead.labels.tolist(), dead.num_modules, dead.effective_modules) == ([-1, -1, -1], 0, 0)
    one = mj.find_modules(np.diag([0.0, 2.0, 0.0]))
    assert (one.labels.tolist(), one.q, one.num_modules) == ([-1, 0, -1], 0, 1)


def test_self_loops_are_part_of_q():
    a = random_graph() + np.diag(np.arange(12.0))
    graph, weights = weighted_graph(a)
    labels = np.arange(12) % 3
    assert graph.modularity(labels.tolist(), weights=weights) == pytest.approx(mj.modularity(a, labels))


def test_weights_stand_at_igraphs_edges():
    a = random_graph(9)
    graph, weights = weighted_graph(a)
    scale = a.sum() / (9 * 8)
    for edge, weight in zip(graph.get_edgelist(), weights, strict=True):
        assert weight == pytest.approx(a[edge] / scale)


def test_canonical_and_effective():
    assert canonical(np.array([9, 4, -3, 9, 0])).tolist() == [0, 1, -1, 0, 2]
    assert effective_number(np.array([0, 0, 0, 1])) == pytest.approx(np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))


BAD = {
    "not square": (np.zeros((3, 4)), {}, "square"),
    "asymmetric": (np.triu(np.ones((3, 3)), 1), {}, "symmetric"),
    "negative": (-random_graph(), {}, "negative"),
    "NaN": (np.full((3, 3), np.nan), {}, "not finite"),
    "unknown method": (random_graph(), {"method": "louvain"}, "Available: leiden"),
    "resolution": (random_graph(), {"resolution": 0.0}, "resolution must be"),
    "restarts": (random_graph(), {"restarts": 0}, "restarts must be"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case):
    a, options, told = BAD[case]
    with pytest.raises(ValueError, match=told) as error:
        mj.find_modules(a, **options)
    assert "\n" not in str(error.value)


def test_labels_of_the_wrong_length():
    with pytest.raises(ValueError, match="one label for each of the 12 units; got 3"):
        mj.modularity(random_graph(), [0, 1, 2])


def test_rounding_asymmetry_is_forgiven():
    a = random_graph()
    a[0, 1] *= 1 + 1e-15
    assert mj.find_modules(a).num_modules >= 1


def test_q_is_that_of_the_canonical_labels_to_the_last_bit():
    rng = np.random.default_rng(0)
    for _ in range(50):
        noise = rng.random((40, 40))
        graph = mj.adjacency(noise + noise.T)
        partition = make_partition(graph, rng.permutation(9)[rng.integers(0, 9, 40)], 1.0)
        assert partition.q == mj.modularity(graph, partition.labels)
