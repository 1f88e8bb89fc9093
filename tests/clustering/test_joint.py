import itertools

import numpy as np
import pytest

import modjax as mj
from tests import reference
from tests.clustering.graphs import cliques, planted, random_graph


def test_one_graph_has_the_joint_modules_it_has_alone():
    a, _ = planted()
    alone, joint = mj.find_modules(a), mj.joint_modules([a])
    assert joint.labels.tolist() == alone.labels.tolist()
    assert joint.q[0] == pytest.approx(alone.q)
    assert joint.own_q[0] == pytest.approx(alone.q)


@pytest.mark.parametrize("weights", [None, [1.0, 3.0]])
def test_joint_modules_are_the_best_of_all_partitions(weights):
    graphs = [random_graph(8, seed, power=3) for seed in (0, 1)]
    w = np.ones(2) if weights is None else np.array(weights)
    best = max(
        sum(weight * reference.modularity(graph, labels) for weight, graph in zip(w, graphs, strict=True))
        for labels in reference.set_partitions(8)
    )
    joint = mj.joint_modules(graphs, weights)
    assert w @ joint.q == pytest.approx(best, abs=1e-9)
    assert np.all(joint.q <= joint.own_q + 1e-12)


def test_more_runs_are_never_worse():
    graphs = [random_graph(40, seed, power=2) for seed in range(3)]
    found = [mj.joint_modules(graphs, restarts=restarts).q.sum() for restarts in (1, 5)]
    assert found[0] <= found[1]
    assert mj.joint_modules(graphs).q.sum() >= found[1] - 0.003


def test_the_heavier_graph_wins():
    pairs, halves = cliques(6, 2), np.kron(cliques(2, 1) * 0 + np.eye(2), np.ones((6, 6)) - np.eye(6))
    mixed = np.random.default_rng(0).permutation(12)
    halves = halves[np.ix_(mixed, mixed)]
    for weights, graph in (([1.0, 0.0], pairs), ([0.0, 1.0], halves)):
        joint = mj.joint_modules([pairs, halves], weights)
        assert mj.modularity(graph, joint.labels) == pytest.approx(mj.find_modules(graph).q)


def test_units_dead_in_one_graph_and_in_all():
    a, b = cliques(2, 4), cliques(2, 4)
    a[0] = a[:, 0] = 0
    for graph in (a, b):
        graph[7] = graph[:, 7] = 0
    joint = mj.joint_modules([a, b])
    assert joint.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, -1]
    assert joint.num_dead == 1
    empty = mj.joint_modules([np.zeros((3, 3))] * 2)
    assert (empty.labels.tolist(), empty.num_modules) == ([-1] * 3, 0)
    assert np.isnan(empty.q).all()


def test_resolution_reaches_every_graph():
    ring = [planted(seed=seed)[0] for seed in range(2)]
    counts = [mj.joint_modules(ring, resolution=g).num_modules for g in (0.1, 1.0, 5.0)]
    assert counts == sorted(counts)
    assert counts[0] == 1 < counts[2]


BAD = {
    "none": ([], {}, "one or more graphs"),
    "sizes": ([random_graph(3), random_graph(4)], {}, r"got graphs of \[3, 4\] units"),
    "weights": ([random_graph(3)], {"weights": [-1.0]}, "weights must be 1 numbers"),
    "no weight": ([random_graph(3)], {"weights": [0.0]}, "not all zero"),
    "resolution": ([random_graph(3)], {"resolution": -1.0}, "resolution"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    graphs, options, told = BAD[case]
    with pytest.raises(ValueError, match=told):
        mj.joint_modules(graphs, **options)


def test_profile_counts_modules_over_resolutions():
    a, _ = planted()
    profile = mj.resolution_profile(a)
    assert len(profile.resolutions) == len(profile.q) == len(profile.labels) == 13
    assert profile.num_modules[0] <= 4 <= profile.num_modules[-1]
    for g, q, standard, labels in zip(*profile[:3], profile.labels, strict=True):
        assert q == pytest.approx(mj.modularity(a, labels, g))
        assert standard == pytest.approx(mj.modularity(a, labels))
    at_one = profile.resolutions.tolist().index(1.0)
    assert profile.q[at_one] == mj.find_modules(a).q


def test_the_recommended_resolution_is_that_of_the_planted_modules():
    a, truth = planted(outside=0.2)
    profile = mj.resolution_profile(a)
    at = profile.resolutions.tolist().index(profile.recommended)
    assert mj.alignment(profile.labels[at], truth)["ami"] > 0.95
    assert profile.stability[at] == profile.stability.max()
    near = [mj.alignment(profile.labels[at], profile.labels[at + step])["ami"] for step in (-1, 1)]
    assert profile.stability[at] == pytest.approx(np.mean(near))
    backwards = mj.resolution_profile(a, profile.resolutions[::-1].tolist())
    np.testing.assert_allclose(backwards.stability[::-1], profile.stability)
    # One module, or a module for each unit, is stable for no good reason.
    assert np.isnan(mj.resolution_profile(a, [0.01, 0.02]).recommended)
    assert np.isnan(mj.resolution_profile(a, [1.0]).recommended)
    assert np.isnan(mj.resolution_profile(np.zeros((3, 3))).recommended)


def test_profile_of_a_dead_graph_and_bad_input():
    dead = mj.resolution_profile(np.zeros((3, 3)), [1.0, 2.0])
    assert np.isnan(dead.q).all()
    assert (dead.labels == -1).all()
    for bad, told in (([], "got none"), ([0.0], "positive"), ([np.nan], "positive")):
        with pytest.raises(ValueError, match=told):
            mj.resolution_profile(random_graph(), bad)


def test_methods_agree_about_the_profile():
    a, _ = planted()
    counts = [
        mj.resolution_profile(a, [0.5, 1.0], method=method).num_modules.tolist() for method in ("leiden", "leidenalg")
    ]
    assert all(one == two for one, two in itertools.pairwise(counts))
