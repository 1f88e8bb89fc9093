import bct
import numpy as np
import pytest

import modjax as mj
from tests.clustering.graphs import cliques, karate_club, planted, random_graph


def test_agreement_is_counted_pair_by_pair():
    partitions = [np.random.default_rng(seed).integers(0, 3, 12) for seed in range(7)]
    found = mj.agreement_matrix(partitions)
    for i in range(12):
        for j in range(12):
            together = sum(labels[i] == labels[j] for labels in partitions) / 7
            assert found[i, j] == pytest.approx(together if i != j else 0)


def test_consensus_of_agreement_is_bcts():
    """bctpy's tau for its own consensus; both find the planted modules from runs that mostly found them."""
    a, truth = planted(outside=0.2)
    runs = [mj.find_modules(a, restarts=1, seed=seed).labels for seed in range(9)]
    theirs = bct.consensus_und(mj.agreement_matrix(runs), 0.5, reps=5, seed=0)
    assert mj.alignment(np.asarray(theirs).astype(int), truth)["element_centric"] == 1
    assert mj.alignment(mj.consensus_modules(a, runs=9).partition.labels, truth)["element_centric"] == 1


def test_dead_units_agree_with_nobody():
    found = mj.agreement_matrix([[0, 0, -1, -1], [0, 1, -1, 1]])
    assert found[2].tolist() == [0, 0, 0, 0]
    assert found[0, 1] == 0.5
    assert found[1, 3] == 0.5


def test_clear_modules_are_certain():
    a, truth = planted(outside=0.1)
    found = mj.consensus_modules(a, runs=10)
    assert mj.alignment(found.partition.labels, truth)["element_centric"] == 1
    np.testing.assert_allclose(found.certainty, 1)
    assert found.q.shape == (10,)
    assert found.partition.q == pytest.approx(mj.modularity(a, truth))


def test_a_unit_between_two_modules_is_not():
    a = cliques(2, 6)
    a = np.pad(a, (0, 1))
    a[12, :6] = a[:6, 12] = a[12, 6:12] = a[6:12, 12] = 0.5
    found = mj.consensus_modules(a, runs=60)
    assert found.certainty.argmin() == 12
    assert found.certainty[12] < 0.9 < found.certainty[:12].min() + 0.1
    assert 0.2 < found.agreement[12, 0] < 0.8
    assert found.agreement[12, 0] + found.agreement[12, 6] == pytest.approx(1)


def test_random_graphs_are_uncertain_and_the_consensus_is_a_partition():
    a = random_graph(40, power=2)
    a[3] = a[:, 3] = 0
    found = mj.consensus_modules(a, runs=20)
    assert found.partition.labels[3] == -1
    assert np.isnan(found.certainty[3])
    assert np.nanmean(found.certainty) < 0.9
    assert (np.delete(found.partition.labels, 3) >= 0).all()
    again = mj.consensus_modules(a, runs=20)
    assert again.partition.labels.tolist() == found.partition.labels.tolist()


def test_all_dead():
    found = mj.consensus_modules(np.zeros((3, 3)), runs=2)
    assert found.partition.labels.tolist() == [-1] * 3
    assert np.isnan(found.certainty).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [({"runs": 0}, "runs must be"), ({"threshold": 1.0}, "threshold must be"), ({"method": "x"}, "Unknown method")],
    ids=["runs", "threshold", "method"],
)
def test_bad_input(options, told):
    with pytest.raises(ValueError, match=told):
        mj.consensus_modules(random_graph(), **options)


def test_nothing_to_agree_about():
    with pytest.raises(ValueError, match="got none"):
        mj.agreement_matrix([])
    with pytest.raises(ValueError, match=r"partitions\[1\] must have one label for each of the 2 units"):
        mj.agreement_matrix([[0, 1], [0, 1, 2]])


def test_roles_are_bcts():
    for a in (karate_club(), random_graph(20, power=3)):
        labels = mj.find_modules(a).labels
        np.testing.assert_allclose(
            mj.participation_coefficient(a, labels), bct.participation_coef(a, labels + 1), atol=1e-12
        )
        np.testing.assert_allclose(
            mj.within_module_zscore(a, labels), bct.module_degree_zscore(a, labels + 1), atol=1e-12
        )


def test_roles_of_dead_units_are_unknown():
    a = np.zeros((5, 5))
    a[:4, :4] = cliques(2, 2)
    labels = mj.find_modules(a).labels
    assert np.isnan(mj.participation_coefficient(a, labels)).tolist() == [False] * 4 + [True]
    assert np.nan_to_num(mj.within_module_zscore(a, labels), nan=9).tolist() == [0, 0, 0, 0, 9]
    with pytest.raises(ValueError, match="one label for each of the 5 units"):
        mj.participation_coefficient(a, [0])
