import numpy as np
import pytest
from scipy.stats import binomtest, kstest, ortho_group

import modjax as mj
from modjax.clustering.adjacency import as_similarity
from modjax.clustering.alignment_null import NULL_SCORES, LayerPermutations
from modjax.clustering.layer import SearchSettings, SignedGraph
from modjax.clustering.module_significance import compare_modules, modules_of
from modjax.clustering.null_comparison import NO_NULL, score_null, summarize_null
from modjax.clustering.null_models import NULL_GRAPHS, match_covariance, permute_weights, rewire_strengths, rotate
from modjax.clustering.partition import effective_number
from modjax.clustering.quick import quick_labels
from modjax.clustering.search import search_living, search_of
from tests.clustering.graphs import planted, random_graph
from tests.seams import NULL_KINDS, cluster_layer

FROM_ADJACENCY = ("weight_permutation", "strength_rewiring")


def gram(seed: int = 0, units: int = 24, rank: int = 40, spectrum: float = 1.0) -> np.ndarray:
    """A Gram matrix O diag(l) O^T in a random basis; eigenvalues fall with this power of their number."""
    rng = np.random.default_rng([seed, units])
    values = np.zeros(units)
    values[: min(rank, units)] = np.arange(1, min(rank, units) + 1) ** -spectrum
    basis = ortho_group.rvs(units, random_state=rng)
    return (basis * values) @ basis.T


def blocks(seed: int = 0, units: int = 24, modules: int = 3, shared: float = 1.0) -> np.ndarray:
    """Covariance of units that share a signal with their module, in a basis of units that is special."""
    rng = np.random.default_rng(seed)
    signals = rng.standard_normal((modules, 400))
    own = rng.standard_normal((units, 400))
    return np.cov(own + shared * signals[np.arange(units) % modules])


def test_registry_holds_the_named_kinds():
    assert tuple(NULL_GRAPHS) == NULL_KINDS


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("kind", NULL_GRAPHS)
def test_null_graphs_are_graphs(kind, normalized):
    null = NULL_GRAPHS[kind](gram(), normalized, np.random.default_rng(0))
    assert np.array_equal(null, null.T)
    assert null.min() >= 0
    assert not np.diagonal(null).any()
    assert null.any(1).all()
    assert not np.allclose(null, mj.adjacency(gram(), normalized))
    assert np.array_equal(null, NULL_GRAPHS[kind](gram(), normalized, np.random.default_rng(0)))


@pytest.mark.parametrize("kind", NULL_GRAPHS)
def test_the_dead_stay_out(kind):
    """A summary of a graph with dead units is that of the living ones alone."""
    living = blocks()
    whole = np.zeros((30, 30))
    alive = np.setdiff1d(np.arange(30), [0, 5, 6, 17, 28, 29])
    whole[np.ix_(alive, alive)] = living
    for normalized in (False, True):
        options = {"kind": kind, "n": 9, "normalized": normalized}
        assert mj.modularity_null(whole, **options) == mj.modularity_null(living, **options)


def test_rotation_keeps_the_spectrum(monkeypatch):
    monkeypatch.setattr("modjax.clustering.null_models.adjacency", lambda S, normalized: S)
    S, rng = gram(), np.random.default_rng(0)
    drawn = np.stack([rotate(S, False, rng) for _ in range(400)])
    np.testing.assert_allclose(np.linalg.eigvalsh(drawn[0]), np.linalg.eigvalsh(S), atol=1e-12)
    # Of a uniform basis, E[S'] is the mean eigenvalue times the identity.
    mean = drawn.mean(0)
    error = drawn.std(0).max() / np.sqrt(400)
    np.testing.assert_allclose(mean, np.eye(24) * np.trace(S) / 24, atol=5 * error)


def test_rotation_draws_every_basis_alike(monkeypatch):
    """The first column of O, squared and summed over two of four units, is uniform on [0, 1]."""
    monkeypatch.setattr("modjax.clustering.null_models.adjacency", lambda S, normalized: S)
    S, rng = np.diag([1.0, 0.0, 0.0, 0.0]), np.random.default_rng(0)
    shares = [np.trace(rotate(S, False, rng)[:2, :2]) for _ in range(1000)]
    assert kstest(shares, "uniform").pvalue > 1e-3
    off = np.array([rotate(S, False, rng)[0, 1] for _ in range(1000)])
    assert abs(off.mean()) < 4 * off.std() / np.sqrt(1000)


def test_covariance_matched_matrices_have_the_moments(monkeypatch):
    monkeypatch.setattr("modjax.clustering.null_models.adjacency", lambda S, normalized: S)
    S, rng = np.abs(blocks(units=30)), np.random.default_rng(0)
    drawn = np.stack([match_covariance(S, False, rng) for _ in range(300)])
    pairs = np.triu_indices(30, k=1)
    entries = drawn[:, *pairs]
    assert entries.mean() == pytest.approx(S[pairs].mean(), rel=0.05)
    assert entries.var(1).mean() == pytest.approx(S[pairs].var(), rel=0.15)
    # The number of columns is whole: the diagonal is matched as far as that allows.
    assert np.diagonal(drawn, axis1=1, axis2=2).mean() == pytest.approx(np.diagonal(S).mean(), rel=0.1)
    assert np.linalg.eigvalsh(drawn[0]).min() > -1e-12


def test_weight_permutation_keeps_the_weights():
    a = random_graph(20, power=3)
    null = permute_weights(as_similarity(a), False, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(null.ravel()), np.sort(a.ravel()))


@pytest.mark.parametrize("scale", [1.0, 1e-30])
def test_rewiring_keeps_the_strengths(scale):
    a = random_graph(20, power=3) * scale
    null = rewire_strengths(as_similarity(a), False, np.random.default_rng(0))
    np.testing.assert_allclose(null.sum(1), a.sum(1), rtol=1e-12)


def test_rewiring_forgets_the_modules():
    a, truth = planted(outside=0.05)
    null = rewire_strengths(as_similarity(a), False, np.random.default_rng(0))
    assert abs(mj.modularity(null, truth)) < 0.03 < 0.5 < mj.modularity(a, truth)


def test_rewiring_draws_every_graph_alike():
    """Four units with strengths 1: weights (x, y, z) with x + y + z = 1, uniform, so each has P(x > t) = (1 - t)^2."""
    a = as_similarity((np.ones((4, 4)) - np.eye(4)) / 3)
    rng = np.random.default_rng(0)
    drawn = np.array([rewire_strengths(a, False, rng)[0, 1:] for _ in range(1500)])
    np.testing.assert_allclose(drawn.sum(1), 1, rtol=1e-12)
    for weight in drawn.T:
        assert kstest(weight, lambda t: 1 - (1 - t) ** 2).pvalue > 1e-3


def test_too_few_units_to_rewire():
    a = random_graph(3)
    assert np.array_equal(rewire_strengths(as_similarity(a), False, np.random.default_rng(0)), a)


@pytest.mark.parametrize("kind", FROM_ADJACENCY)
def test_nulls_of_an_adjacency(kind):
    structured, _ = planted(outside=0.1)
    summary = mj.modularity_null(structured, kind, n=19)
    assert summary.kind == kind
    assert summary.p == pytest.approx(0.05)
    assert summary.z > 10
    assert summary.effect == pytest.approx(summary.observed - summary.mean)
    assert summary.observed == pytest.approx(mj.find_modules(structured).q, abs=1e-6)
    assert abs(mj.modularity_null(random_graph(48), "weight_permutation", n=9).z) < 4


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("kind", NULL_GRAPHS)
def test_blocks_are_detected(kind, normalized):
    """Power above 0.9 at p <= 0.05 where units share a signal half as strong as their own noise."""
    p = [mj.modularity_null(blocks(seed, shared=0.7), kind, 19, normalized, seed).p for seed in range(30)]
    assert np.mean(np.array(p) <= 0.05) > 0.9


@pytest.mark.parametrize("num", [100, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize(("rank", "spectrum"), [(40, 0.0), (40, 1.0), (10, 0.5)])
def test_p_is_uniform_where_the_basis_is_not_special(rank, spectrum, normalized, num):
    """Gram matrices O diag(l) O^T of three spectra, raw and normalized."""
    rng = np.random.default_rng(5)
    p = []
    for seed in range(num):
        # A flat spectrum is the identity in every basis: its eigenvalues are drawn too.
        S = gram(seed, 16, rank, spectrum) if spectrum else np.cov(rng.standard_normal((16, 60)))
        p.append(mj.modularity_null(S, n=19, normalized=normalized, seed=seed).p)
    smooth = np.array(p) - np.random.default_rng(0).random(len(p)) / 20
    assert kstest(smooth, "uniform").pvalue > 1e-3
    assert binomtest(int(np.sum(np.array(p) <= 0.05)), len(p), 0.05).pvalue > 1e-3


@pytest.mark.parametrize("restarts", [1, None])
def test_p_values_of_permuted_weights_are_uniform_where_weights_are_exchangeable(restarts):
    """Weights drawn alike for all pairs: any order of them is as likely, by the quick search or by another one."""
    search = search_of("leiden")

    def find(graph, number):
        return search_living(search, graph, 1.0, restarts, number).q

    p = []
    for trial in range(200 if restarts else 100):
        a = random_graph(12, trial, power=2)
        p.append(score_null(as_similarity(a), False, find, 19, trial, "weight_permutation").p)
        p.append(mj.modularity_null(a, "weight_permutation", n=19, seed=trial).p)
    p = np.array(p)
    # Uniform on a grid: less half a step and a random part of one, it is uniform on [0, 1].
    for values in (p[::2], p[1::2]):
        smooth = values - np.random.default_rng(0).random(len(values)) / 20
        assert kstest(smooth, "uniform").pvalue > 1e-3
        assert binomtest(int(np.sum(values <= 0.1)), len(values), 0.1).pvalue > 1e-3


@pytest.mark.parametrize("resolution", [0.5, 1.0, 2.0])
def test_the_quick_search_reports_q_and_misses_little(resolution):
    for seed in range(5):
        graph = random_graph(40, seed, power=3)
        labels, q = quick_labels(graph, resolution, np.random.default_rng(seed))
        assert q == pytest.approx(mj.modularity(graph, labels, resolution), abs=1e-12)
        best = mj.find_modules(graph, resolution=resolution).q
        assert best - 0.02 < q <= best + 1e-9
    loops = random_graph(20) + np.diag(np.arange(20.0))
    labels, q = quick_labels(loops, resolution, np.random.default_rng(0))
    assert q == pytest.approx(mj.modularity(loops, labels, resolution), abs=1e-12)


def test_unknown_where_nothing_can_be_said():
    assert summarize_null("x", 1.0, np.empty(0)).p is None
    assert summarize_null("x", float("nan"), np.ones(3)).n == 0
    same = summarize_null("x", 1.0, np.ones(3))
    assert (same.p, same.z, same.effect) == (1.0, None, 0.0)
    assert score_null(np.eye(3), False, lambda graph, number: 0.0, 5, 0, "rotation") == NO_NULL


@pytest.mark.parametrize(
    "S", [np.zeros((4, 4)), np.diag([1.0, 0.0, 0.0]), np.eye(3), np.zeros((0, 0)), np.ones((1, 1))], ids=len
)
def test_fewer_than_two_living_units_are_refused(S):
    with pytest.raises(ValueError, match=r"two living units at least, with a weight between them; got 0\."):
        mj.modularity_null(S, n=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "coin"}, "Available: rotation, weight_permutation, strength_rewiring, hirschberger"),
        ({"n": -1}, "at least 0; got -1"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"resolution": 0.0}, "resolution must be a positive number"),
        ({"S": random_graph()}, "rotation null needs the signed similarity S with its diagonal; got an adjacency"),
        ({"S": random_graph(), "kind": "hirschberger"}, "hirschberger null needs the signed similarity"),
        ({"S": random_graph(), "kind": "weight_permutation", "normalized": True}, "cannot be normalized"),
        ({"S": np.arange(9.0).reshape(3, 3)}, "must be symmetric"),
        ({"S": np.full((2, 2), np.nan)}, "not finite"),
        ({"S": np.ones(3)}, "square matrix"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        mj.modularity_null(**{"S": gram(), **options})
    with pytest.raises(ValueError, match="between 0 and 1"):
        mj.adjusted_p([0.5, 1.5])


def test_adjusted_p_is_the_definition():
    p = np.random.default_rng(0).random(20) ** 3
    order = np.sort(p)
    literal = [min(order[j] * 20 / (j + 1) for j in range(20) if order[j] >= value) for value in p]
    np.testing.assert_allclose(mj.adjusted_p(p), literal)
    assert np.isnan(mj.adjusted_p([np.nan])).all()
    assert mj.adjusted_p([]).shape == (0,)


# Single modules.


def test_density_is_the_definition():
    a, truth = planted(outside=0.3)
    a[3] = a[:, 3] = 0
    truth[3] = -1
    modules = modules_of(a, truth)
    alive = np.flatnonzero(truth >= 0)
    pairs = np.mean([a[i, j] for i in alive for j in alive if i != j])
    for module in range(truth.max() + 1):
        inside = np.flatnonzero(truth == module)
        mean = np.mean([a[i, j] for i in inside for j in inside if i != j])
        assert modules.density[module] == pytest.approx(mean / pairs)
        assert modules.sizes[module] == len(inside)
    assert modules_of(a, np.arange(len(a))).density.max() == 0  # modules of one unit


def test_a_module_is_compared_with_null_modules_of_its_size():
    observed = modules_of(planted(outside=0.3)[0], planted(outside=0.3)[1])
    size, density = int(observed.sizes[0]), float(observed.density[0])
    # Of each null graph the module of that size counts, or the stronger of those that are as near.
    nulls = [
        observed._replace(sizes=np.array([size, 1]), density=np.array([density + 1, 9.0])),
        observed._replace(sizes=np.array([size - 1, size + 1]), density=np.array([density - 1, density - 0.5])),
    ]
    one = compare_modules(observed._replace(sizes=observed.sizes[:1], density=observed.density[:1]), nulls)
    assert one.p.tolist() == [2 / 3]
    assert one.z[0] == pytest.approx((0 - 0.25) / np.std([1, -0.5], ddof=1))
    assert np.isnan(compare_modules(observed, []).p).all()


def test_a_planted_module_stands_out_and_the_rest_does_not():
    """One module of signal among units of noise: its p is small, those of the other modules are not."""
    rng = np.random.default_rng(0)
    responses = rng.standard_normal((40, 500))
    responses[:10] += rng.standard_normal(500)
    settings = SearchSettings(nulls=99)
    graph = cluster_layer([SignedGraph(np.cov(responses), True)], settings, 0).graphs[0]
    planted_label = np.bincount(graph.partition.labels[:10]).argmax()
    assert graph.module_test.p[planted_label] == pytest.approx(0.01)
    assert np.delete(graph.module_test.p, planted_label).min() > 0.1
    assert graph.module_test.z[planted_label] > 4


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
    matrices = [blocks(units=48), gram(units=48)]
    settings = SearchSettings(nulls=9, restarts=3, permutations=99, consensus=5, resolutions=(0.5, 2.0))
    graphs = np.stack([mj.adjacency(S, True) for S in matrices])
    layer = cluster_layer([SignedGraph(S, True) for S in matrices], settings, 0, [[0, 1]])
    for graph, matrix in zip(layer.graphs, graphs, strict=True):
        alone = mj.find_modules(matrix, restarts=3)
        assert graph.partition.labels.tolist() == alone.labels.tolist()
        assert graph.null.kind == "rotation"
        assert graph.null.n == 9
        assert graph.effective_modules_strength <= graph.partition.num_modules + 1e-9
        np.testing.assert_array_equal(graph.participation, mj.participation_coefficient(matrix, alone.labels))
        np.testing.assert_array_equal(graph.within_module_z, mj.within_module_zscore(matrix, alone.labels))
        profile = mj.resolution_profile(matrix, (0.5, 2.0), restarts=3)
        assert graph.profile_num_modules == profile.num_modules.tolist()
        assert graph.certainty.shape == (48,)
    assert layer.graphs[0].null.p == pytest.approx(0.1)
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


@pytest.mark.parametrize("method", ["leiden", "spectral"])
def test_nulls_by_the_search_of_the_modules(method):
    """As version 0.2 did it: then null_q is q."""
    settings = SearchSettings(method, nulls=3, null_kind="weight_permutation", null_search="method")
    graph = cluster_layer([SignedGraph(blocks())], settings, 0).graphs[0]
    assert graph.null.observed == graph.partition.q
    rng = np.random.default_rng([0, 1])
    drawn = [mj.find_modules(permute_weights(blocks(), False, rng), method, seed=number).q for number in range(3)]
    assert graph.null.mean == pytest.approx(np.mean(drawn))


def test_a_graph_without_a_null():
    graph = cluster_layer([SignedGraph(blocks(), has_null=False)], SearchSettings(nulls=9), 0).graphs[0]
    assert graph.null.kind is None
    assert graph.module_test is None


def test_units_of_no_strength_count_for_nothing():
    """Effective modules weighted by strength do not depend on where units of next to no strength sit."""
    a = planted(outside=0.05)[0]
    a[40:], a[:, 40:] = 1e-9 * a[40:], 1e-9 * a[:, 40:]
    a = np.minimum(a, a.T)
    graph = cluster_layer([SignedGraph(as_similarity(a))], SearchSettings(), 0).graphs[0]
    elsewhere = np.where(np.arange(len(a)) < 40, graph.partition.labels, 9)
    assert mj.modularity(a, elsewhere) == pytest.approx(graph.partition.q, abs=1e-6)
    assert effective_number(elsewhere, a.sum(1)) == pytest.approx(graph.effective_modules_strength, abs=1e-6)
    assert effective_number(elsewhere) != pytest.approx(graph.partition.effective_modules, abs=0.1)
