import numpy as np
import pytest
from scipy.stats import binomtest, kstest

import modjax as mj
from modjax.clustering.alignment_null import NULL_SCORES, LayerPermutations
from modjax.clustering.layer import SearchSettings
from modjax.clustering.null_models import NULL_GRAPHS, permute_weights, rewire_strengths, score_null, summarize_null
from modjax.clustering.search import search_living, search_of
from tests.clustering.graphs import planted, random_graph
from tests.seams import NULL_KINDS, cluster_layer


def test_registry_holds_the_named_kinds():
    assert tuple(NULL_GRAPHS) == NULL_KINDS


@pytest.mark.parametrize("kind", NULL_GRAPHS)
def test_null_graphs_are_graphs_and_keep_the_dead(kind):
    a = random_graph(20, power=3)
    a[5] = a[:, 5] = 0
    null = NULL_GRAPHS[kind](a, np.random.default_rng(0))
    assert np.array_equal(null, null.T)
    assert null.min() >= 0
    assert not null[5].any()
    assert not np.diagonal(null).any()
    assert null.sum() == pytest.approx(a.sum())
    assert not np.allclose(null, a)
    assert np.array_equal(null, NULL_GRAPHS[kind](a, np.random.default_rng(0)))


def test_weight_permutation_keeps_the_weights():
    a = random_graph(20, power=3)
    null = permute_weights(a, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(null.ravel()), np.sort(a.ravel()))


@pytest.mark.parametrize("scale", [1.0, 1e-30])
def test_rewiring_keeps_the_strengths(scale):
    a = random_graph(20, power=3) * scale
    null = rewire_strengths(a, np.random.default_rng(0))
    np.testing.assert_allclose(null.sum(1), a.sum(1), rtol=1e-12)


def test_rewiring_forgets_the_modules():
    a, truth = planted(outside=0.05)
    null = rewire_strengths(a, np.random.default_rng(0))
    assert abs(mj.modularity(null, truth)) < 0.03 < 0.5 < mj.modularity(a, truth)


def test_rewiring_draws_every_graph_alike():
    """Four units with strengths 1: weights (x, y, z) with x + y + z = 1, uniform, so each has P(x > t) = (1 - t)^2."""
    a = (np.ones((4, 4)) - np.eye(4)) / 3
    rng = np.random.default_rng(0)
    drawn = np.array([rewire_strengths(a, rng)[0, 1:] for _ in range(1500)])
    np.testing.assert_allclose(drawn.sum(1), 1, rtol=1e-12)
    for weight in drawn.T:
        assert kstest(weight, lambda t: 1 - (1 - t) ** 2).pvalue > 1e-3


def test_too_few_units_to_rewire():
    a = random_graph(3)
    assert np.array_equal(rewire_strengths(a, np.random.default_rng(0)), a)


@pytest.mark.parametrize("kind", NULL_GRAPHS)
def test_null_tells_structure_from_none(kind):
    structured, _ = planted(outside=0.1)
    found = mj.modularity_null(structured, n=19, kind=kind, restarts=3)
    assert found.kind == kind
    assert found.p == pytest.approx(0.05)
    assert found.z > 10
    assert found.effect == pytest.approx(mj.find_modules(structured).q - found.mean)
    assert abs(mj.modularity_null(random_graph(48), n=9, kind="weight_permutation", restarts=3).z) < 4


@pytest.mark.parametrize("restarts", [1, None])
def test_p_values_are_uniform_where_there_is_no_structure(restarts):
    """Weights drawn alike for all pairs: any order of them is as likely, so p is uniform on 1/20, 2/20, ... 1."""
    search = search_of("leiden")

    def find(graph, seed):
        return search_living(search, graph, 1.0, restarts, seed).q

    p = []
    for trial in range(200 if restarts else 100):
        a = random_graph(12, trial, power=2)
        p.append(score_null(a, find(a, trial), find, 19, trial).p)
    p = np.array(p)
    # Uniform on a grid: less half a step and a random part of one, it is uniform on [0, 1].
    smooth = p - np.random.default_rng(0).random(len(p)) / 20
    assert kstest(smooth, "uniform").pvalue > 1e-3
    assert binomtest(int(np.sum(p <= 0.1)), len(p), 0.1).pvalue > 1e-3


def test_untold_where_nothing_can_be_told():
    assert summarize_null("x", 1.0, np.empty(0)).p is None
    assert summarize_null("x", float("nan"), np.ones(3)).n == 0
    same = summarize_null("x", 1.0, np.ones(3))
    assert (same.p, same.z, same.effect) == (1.0, None, 0.0)
    assert mj.modularity_null(np.zeros((4, 4)), n=5).n == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [({"kind": "coin"}, "Available: weight_permutation, strength_rewiring"), ({"n": -1}, "at least 0; got -1")],
    ids=["kind", "n"],
)
def test_bad_input(options, told):
    with pytest.raises(ValueError, match=told):
        mj.modularity_null(random_graph(), **options)
    with pytest.raises(ValueError, match="between 0 and 1"):
        mj.adjusted_p([0.5, 1.5])


def test_adjusted_p_is_the_definition():
    p = np.random.default_rng(0).random(20) ** 3
    order = np.sort(p)
    literal = [min(order[j] * 20 / (j + 1) for j in range(20) if order[j] >= value) for value in p]
    np.testing.assert_allclose(mj.adjusted_p(p), literal)
    assert np.isnan(mj.adjusted_p([np.nan])).all()
    assert mj.adjusted_p([]).shape == (0,)


# Alignment.


def random_labels(seed, num=30, modules=4):
    return np.random.default_rng(seed).integers(0, modules, num)


def test_null_scores_are_those_of_permuted_labels():
    a, b = random_labels(0), random_labels(1, modules=6)
    a[3] = b[7] = -1
    permutations = LayerPermutations(30, 50, seed=4)
    alive = (a >= 0) & (b >= 0)
    found = permutations.null(a, b)
    drawn = []
    for order in permutations.orders:
        kept = [unit for unit in order if alive[unit]]
        drawn.append(mj.alignment(a[alive], b[kept]))
    for name in NULL_SCORES:
        scores = np.array([one[name] for one in drawn])
        observed = mj.alignment(a, b)[name]
        assert found[name].mean == pytest.approx(scores.mean(), abs=1e-12)
        assert found[name].sd == pytest.approx(scores.std(ddof=1), abs=1e-12)
        assert found[name].p == (1 + np.sum(scores >= observed - 1e-12)) / 51
        assert found[name].effect == pytest.approx(observed - scores.mean(), abs=1e-12)


def test_adjusted_scores_are_zero_by_chance():
    found = mj.alignment_null(random_labels(0), random_labels(1), permutations=4000)
    assert found["ari"].mean == pytest.approx(0, abs=4 * found["ari"].sd / np.sqrt(4000))


def test_equal_partitions_are_significant_and_random_ones_are_not():
    a = random_labels(0)
    equal = mj.alignment_null(a, a, permutations=199)
    assert {name: null.p for name, null in equal.items()} == dict.fromkeys(NULL_SCORES, 1 / 200)
    p = [mj.alignment_null(a, random_labels(seed), permutations=99, seed=seed)["mi"].p for seed in range(1, 101)]
    assert kstest(np.array(p) - np.random.default_rng(0).random(100) / 100, "uniform").pvalue > 1e-3


def test_dead_units_are_left_out_or_pooled():
    a, b = random_labels(0), random_labels(0)
    a[:10] = b[:10] = -1
    dropped = mj.alignment_null(a, b, permutations=99)["element_centric"]
    kept = mj.alignment_null(a[10:], b[10:], permutations=99)["element_centric"]
    assert dropped.mean == pytest.approx(kept.mean, abs=0.02)
    pooled = mj.alignment_null(a, b, permutations=99, dead="pooled")["element_centric"]
    assert pooled.mean == pytest.approx(mj.alignment_null(a + 1, b + 1, permutations=99)["element_centric"].mean)
    assert mj.alignment_null(np.full(4, -1), np.arange(4), permutations=9)["mi"].p is None


def test_bad_alignment_input():
    with pytest.raises(ValueError, match="permutations must be"):
        mj.alignment_null([0], [0], permutations=-1)
    with pytest.raises(ValueError, match="dropped, pooled"):
        mj.alignment_null([0], [0], dead="gone")


def test_a_layer_is_what_its_parts_are():
    graphs = np.stack([planted(outside=0.1)[0], random_graph(48)])
    settings = SearchSettings(nulls=9, restarts=3, permutations=99, consensus=5, resolutions=(0.5, 2.0))
    layer = cluster_layer(graphs, settings, 0, [[0, 1]])
    for graph, matrix in zip(layer.graphs, graphs, strict=True):
        alone = mj.find_modules(matrix, restarts=3)
        assert graph.partition.labels.tolist() == alone.labels.tolist()
        null = mj.modularity_null(matrix, n=9, restarts=3)
        assert graph.null == null
        np.testing.assert_array_equal(graph.participation, mj.participation_coefficient(matrix, alone.labels))
        np.testing.assert_array_equal(graph.within_module_z, mj.within_module_zscore(matrix, alone.labels))
        profile = mj.resolution_profile(matrix, (0.5, 2.0), restarts=3)
        assert graph.profile_num_modules == profile.num_modules.tolist()
        assert graph.certainty.shape == (48,)
    joint = mj.joint_modules(graphs, restarts=3)
    assert layer.joint[0].labels.tolist() == joint.labels.tolist()
    np.testing.assert_array_equal(layer.joint[0].own_q, joint.own_q)
    a, b = (graph.partition.labels for graph in layer.graphs)
    pair = next(pair for pair in layer.pairs if (pair.first, pair.second) == (0, 1))
    scores = mj.alignment(a, b)
    assert {name: pair.scores[name] for name in scores} == pytest.approx(scores, nan_ok=True)
    assert pair.scores["spearman"] == mj.adjacency_spearman(*graphs)
    assert pair.scores["transfer_ab"] == mj.transfer_modularity(graphs[0], b)
    assert pair.nulls == mj.alignment_null(a, b, permutations=99)
