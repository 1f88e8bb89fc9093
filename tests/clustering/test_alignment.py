import numpy as np
import pytest

import modjax as mj
from modjax.clustering.alignment import alignment_null, contingency, draw_permutations, element_centric
from tests import reference


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
    assert scores["ari"] == pytest.approx(1)
    assert scores["vi"] == pytest.approx(0, abs=1e-12)


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
    assert np.isnan(scores["element_centric"])
    assert scores["num_units"] == 0


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


def test_null_equals_scores_of_permuted_labels():
    a, b = random_labels(0), random_labels(1)
    a[3] = -1
    orders = draw_permutations(30, 50, seed=4)
    alive = np.flatnonzero(a >= 0)
    literal = []
    for order in orders:
        kept = [unit for unit in order if unit in set(alive.tolist())]
        literal.append(reference.element_centric(a[alive], b[kept]))
    null = alignment_null(a, b, orders)
    assert null.mean == pytest.approx(np.mean(literal), abs=1e-12)
    assert null.sd == pytest.approx(np.std(literal, ddof=1), abs=1e-12)
    assert null.n == 50


def test_null_of_equal_partitions_is_significant():
    a = random_labels(0)
    null = alignment_null(a, a, draw_permutations(30, 199, seed=0))
    assert null.p == pytest.approx(1 / 200)
    assert null.z > 5


def test_batched_tables_equal_single_ones():
    tables = np.stack([contingency(random_labels(s), random_labels(s + 9)) for s in range(4)])
    np.testing.assert_allclose(element_centric(tables), [element_centric(table) for table in tables])


def test_stored_numbers_follow_from_stored_partitions(reference_dir):
    for path in sorted(reference_dir.glob("*.npz")):
        stored = np.load(path, allow_pickle=False)
        methods = stored["methods"]
        for layer in (0, 1):
            partitions = [stored[f"spec_ids_{method}_layer{layer}"] for method in methods]
            graphs = []
            for method in methods:
                graph = np.array(stored[f"sim_{method}_layer{layer}"])
                np.fill_diagonal(graph, 0)
                graphs.append(graph)
            for i, a in enumerate(partitions):
                assert mj.modularity(graphs[i], a) == pytest.approx(
                    float(stored[f"spec_Q_{methods[i]}_layer{layer}"]), abs=1e-9
                )
                for j, b in enumerate(partitions):
                    scores = mj.alignment(a, b, dead="pooled")
                    assert scores["vi"] == pytest.approx(stored[f"align_vi_layer{layer}"][i, j], abs=1e-9)
                    assert scores["rmi"] == pytest.approx(stored[f"align_rmi_layer{layer}"][i, j], abs=1e-9)
                    expected = stored[f"align_element_sim_layer{layer}"][i, j]
                    assert scores["element_centric"] == pytest.approx(expected, abs=1e-9)
                    transfer = mj.transfer_modularity(graphs[i], b)
                    assert transfer == pytest.approx(stored[f"align_transfer_layer{layer}"][i, j], abs=1e-9)
