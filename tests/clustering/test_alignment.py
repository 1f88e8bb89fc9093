import itertools

import bct
import clusim.sim
import numpy as np
import pytest
from clusim.clustering import Clustering
from scipy.stats import spearmanr

import modjax as mj
from modjax.clustering.alignment import SCORES, contingency, element_centric, element_centric_units
from modjax.clustering.overlap import greedy_overlap, optimal_overlap
from modjax.clustering.transfer import normalized_transfer
from tests import reference
from tests.clustering.graphs import random_graph


def random_labels(seed, num=30, modules=4):
    return np.random.default_rng(seed).integers(0, modules, num)


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_the_literal_ones(seed):
    a, b = random_labels(seed), random_labels(seed + 100, modules=3)
    scores = mj.alignment(a, b)
    assert scores["element_centric"] == pytest.approx(reference.element_centric(a, b), abs=1e-12)
    assert scores["vi"] == pytest.approx(reference.variation_of_information(a, b), abs=1e-12)


def test_identical_partitions_and_relabelling():
    a = random_labels(0)
    scores = mj.alignment(a, (a + 1) % 4)
    assert scores["element_centric"] == pytest.approx(1)
    assert scores["ami"] == pytest.approx(1)
    for name in ("ari", "rmi_normalized", "vi_normalized", "overlap_greedy", "overlap_optimal"):
        assert scores[name] == pytest.approx(1)
    assert scores["vi"] == pytest.approx(0, abs=1e-12)


def as_clusim(labels):
    return Clustering().from_membership_list(labels.tolist())


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_the_oracles(seed):
    a, b = random_labels(seed), random_labels(seed + 50, modules=3)
    scores = mj.alignment(a, b)
    one, two = as_clusim(a), as_clusim(b)
    assert scores["element_centric"] == pytest.approx(clusim.sim.element_sim(one, two, alpha=0.9), abs=1e-12)
    assert scores["vi"] == pytest.approx(clusim.sim.vi(one, two), abs=1e-12)
    assert scores["vi_normalized"] == pytest.approx(clusim.sim.vi(one, two, norm_type="entropy"), abs=1e-12)
    assert scores["rmi"] == pytest.approx(clusim.sim.rmi(one, two), abs=1e-12)
    assert scores["rmi_normalized"] == pytest.approx(clusim.sim.rmi(one, two, norm_type="normalized"), abs=1e-12)
    assert scores["ari"] == pytest.approx(clusim.sim.adjrand_index(one, two), abs=1e-12)
    assert scores["mi"] == pytest.approx(clusim.sim.mi(one, two), abs=1e-12)
    assert scores["ami"] == pytest.approx(clusim.sim.adj_mi(one, two, norm_type="sum"), abs=1e-9)
    distance, mutual = bct.partition_distance(a + 1, b + 1)
    assert scores["vi"] / np.log2(30) == pytest.approx(distance, abs=1e-12)
    entropies = scores["vi"] + 2 * scores["mi"]
    assert 2 * scores["mi"] / entropies == pytest.approx(mutual, abs=1e-12)


def test_optimal_matching_is_the_best_of_all():
    for seed in range(5):
        table = contingency(random_labels(seed), random_labels(seed + 9))
        best = max(table[np.arange(4), order].sum() for order in itertools.permutations(range(4)))
        assert optimal_overlap(table) == pytest.approx(best / 30)
        assert greedy_overlap(table) <= optimal_overlap(table)
    assert greedy_overlap(np.array([[5.0, 4.0], [4.0, 0.0]])) == pytest.approx(5 / 13)


def test_element_centric_is_the_mean_over_units():
    a, b = random_labels(0), random_labels(1)
    units = element_centric_units(a, b)
    assert units.mean() == pytest.approx(element_centric(contingency(a, b)))
    shared = [np.sum((a == a[i]) & (b == b[i])) / max(np.sum(a == a[i]), np.sum(b == b[i])) for i in range(30)]
    np.testing.assert_allclose(units, shared)


def test_one_module_against_many():
    scores = mj.alignment(np.zeros(6, int), np.arange(6))
    assert scores["element_centric"] == pytest.approx(1 / 6)
    assert scores["vi"] == pytest.approx(np.log2(6))
    assert np.isnan(scores["vi_normalized"])
    assert np.isnan(mj.alignment([0, 0], [0, 0])["vi_normalized"])


def test_scores_are_symmetric():
    a, b = random_labels(0), random_labels(1)
    one, two = mj.alignment(a, b), mj.alignment(b, a)
    for name, value in one.items():
        assert value == pytest.approx(two[name], abs=1e-12), name


def test_dead_units_dropped_or_pooled():
    a = np.array([0, 0, 1, 1, -1, -1])
    b = np.array([0, 0, 1, -1, -1, 1])
    dropped, pooled = mj.alignment(a, b), mj.alignment(a, b, dead="pooled")
    assert (dropped["num_units"], dropped["num_dead"]) == (3, 3)
    assert (pooled["num_units"], pooled["num_dead"]) == (6, 3)
    assert dropped["element_centric"] == pytest.approx(1)
    assert pooled["element_centric"] < 1


def test_nothing_to_compare_is_nan():
    scores = mj.alignment([-1, -1], [0, 1])
    assert all(np.isnan(scores[name]) for name in SCORES)
    assert scores["num_units"] == 0


def test_units_of_two_networks_are_matched():
    rng = np.random.default_rng(0)
    order = rng.permutation(10)
    cross = rng.normal(size=(10, 10)) * 0.01
    cross[np.arange(10), order] = rng.choice([-1, 1], 10)
    assert mj.match_units(cross).tolist() == order.tolist()
    labels = random_labels(0, 10)
    moved = np.empty(10, int)
    moved[order] = labels
    assert mj.alignment(labels, moved[mj.match_units(cross)])["element_centric"] == 1
    assert len(set(mj.match_units(cross[:4]).tolist())) == 4


@pytest.mark.parametrize("bad", [np.zeros((3, 2)), np.zeros(3), np.full((2, 2), np.nan)], ids=["tall", "flat", "NaN"])
def test_units_that_cannot_be_matched(bad):
    with pytest.raises(ValueError, match="cross"):
        mj.match_units(bad)


def test_spearman_is_scipys():
    a, b = random_graph(10, 0), random_graph(10, 1)
    a[2] = a[:, 2] = 0
    above = np.triu_indices(10, 1)
    assert mj.adjacency_spearman(a, b, dead="pooled") == pytest.approx(spearmanr(a[above], b[above])[0], abs=1e-12)
    kept = np.ix_(np.arange(10) != 2, np.arange(10) != 2)
    above = np.triu_indices(9, 1)
    expected = spearmanr(a[kept][above], b[kept][above])[0]
    assert mj.adjacency_spearman(a, b) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(mj.adjacency_spearman(a, np.ones((10, 10)) - np.eye(10)))
    with pytest.raises(ValueError, match="same units; got 10 and 9"):
        mj.adjacency_spearman(a, a[kept])
    with pytest.raises(ValueError, match="dropped, pooled"):
        mj.adjacency_spearman(a, a, dead="kept")


STORED = {"rmi": "rmi", "rmi_normalized": "rmi_norm", "vi": "vi", "vi_normalized": "vi_norm"}


def test_numbers_of_the_authors_follow_from_their_partitions(reference_dir):
    for path in sorted(reference_dir.glob("*.npz")):
        stored = np.load(path, allow_pickle=False)
        methods = stored["methods"]
        for layer in (0, 1):
            partitions = [stored[f"spec_ids_{method}_layer{layer}"] for method in methods]
            graphs = [np.array(stored[f"sim_{method}_layer{layer}"]) for method in methods]
            for graph in graphs:
                np.fill_diagonal(graph, 0)
            for i, j in itertools.product(range(len(methods)), repeat=2):
                a, b = partitions[i], partitions[j]

                def expected(name, i=i, j=j, layer=layer, stored=stored):
                    return stored[f"align_{name}_layer{layer}"][i, j]

                scores = mj.alignment(a, b, dead="pooled")
                assert scores["element_centric"] == pytest.approx(expected("element_sim"), abs=1e-9)
                for ours, theirs in STORED.items():
                    assert scores[ours] == pytest.approx(expected(theirs), abs=1e-9, nan_ok=True), ours
                transfer = mj.transfer_modularity(graphs[i], b)
                assert transfer == pytest.approx(expected("transfer"), abs=1e-9)
                q = float(stored[f"spec_Q_{methods[i]}_layer{layer}"])
                assert mj.modularity(graphs[i], a) == pytest.approx(q, abs=1e-9)
                assert normalized_transfer(transfer, q) == pytest.approx(expected("transfer_norm"), abs=1e-9)
                spearman = mj.adjacency_spearman(graphs[i], graphs[j], dead="pooled")
                assert spearman == pytest.approx(expected("adj_spearman_r"), abs=1e-9)
                # Their overlap leaves dead units out of the modules, and counts the smaller number of living ones.
                alive = np.sum((a >= 0) & (b >= 0))
                share = mj.alignment(a, b)["overlap_greedy"] * alive / min(np.sum(a >= 0), np.sum(b >= 0))
                assert share == pytest.approx(expected("alignment_score"), abs=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "dead", "told"),
    [
        ([0, 1], [0], "dropped", "2 units; got 1"),
        ([0.5], [0], "dropped", "integers"),
        ([0], [0], "kept", "dropped, pooled"),
    ],
    ids=["length", "floats", "dead"],
)
def test_bad_input(a, b, dead, told):
    with pytest.raises(ValueError, match=told):
        mj.alignment(a, b, dead)
