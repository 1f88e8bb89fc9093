import json

import jax
import numpy as np
import pytest

import modjax as mj
from modjax import MEASURES, cli
from modjax.bench import flops, harness, similarity
from modjax.bench.naive import naive_similarity
from modjax.bench.torch_similarity import torch_similarity

# PyTorch warns of its own code as it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def _keep_signal_handlers():
    import signal

    before = {number: signal.getsignal(number) for number in cli.INTERRUPTED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def examples():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (9, 6), np.uint8), rng.integers(0, 3, 9).astype(np.int32)


def assert_close(found, wanted):
    assert tuple(found) == tuple(wanted)
    for name in wanted:
        for a, b in zip(found[name], wanted[name], strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(b).max() + 1e-9)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_naive_equals_the_closed_forms(examples, activation, monkeypatch):
    monkeypatch.setattr("modjax.bench.naive.MEMORY", 4 * 4 * 7 * 6)  # a few examples at a time
    network = mj.mlp(6, (5, 1, 4), 3, activation)
    params = network.init(0)
    wanted = mj.similarity(network, params, *examples)
    assert_close(naive_similarity(network, params, *examples), {name: wanted[name] for name in MEASURES})


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "gelu"])
def test_torch_equals_the_closed_forms(examples, activation):
    pytest.importorskip("torch")
    network = mj.mlp(6, (5, 4), 3, activation)
    params = network.init(0)
    wanted = mj.similarity(network, params, *examples)
    found = torch_similarity(network.chain.layers(params), activation, *examples)
    assert_close(found, {name: wanted[name] for name in MEASURES})


def test_flops_of_a_small_chain_by_hand():
    # 5 inputs, layers of 4 and 3, 2 outputs: rank 4.
    count = {name: flops.example_flops(5, (4, 3), 2, (name,)) for name in MEASURES}
    forward = 2 * 5 * 4 + 2 * 4 * 3
    assert count["covariance"] == forward + 2 * 4 * 4 + 2 * 3 * 3
    assert count["input_jacobian"] == forward + 2 * 4 * 4 + (2 * 4 * 4 * 3 + 2 * 4 * 3 * 3)
    assert count["output_jacobian"] == forward + 2 * 3 * 3
    assert count["loss_hessian"] == forward + 2 * 3 * 2 + 2 * 2 * 2 + 2 * 2 * 3 * 3
    together = sum(count.values()) - 3 * forward
    assert flops.example_flops(5, (4, 3), 2, MEASURES) == together


def test_flops_of_a_deeper_chain_count_what_two_measures_share_once():
    # Layers of 4, 3 and 2, 2 outputs: Z of the middle layer.
    forward, z = 2 * (5 * 4 + 4 * 3 + 3 * 2), 2 * 2 * 3 * 2
    output = 2 * 2 * 2 + 2 * 2 * 3 * 3
    loss = 2 * 2 * 2 + 2 * 2 * 2 + 2 * 2 * (3 * 3 + 2 * 2)
    both = flops.example_flops(5, (4, 3, 2), 2, ("output_jacobian", "loss_hessian"))
    assert both == forward + z + output + loss


def test_flops_of_one_layer_and_of_curved_activations():
    assert flops.example_flops(5, (4,), 2, ("output_jacobian",)) == 2 * 5 * 4
    relu = flops.example_flops(5, (4, 3), 2, ("loss_hessian",))
    assert flops.example_flops(5, (4, 3), 2, ("loss_hessian",), "tanh") == relu + 2 * 2 * 3
    relu = flops.example_flops(5, (4, 3, 2), 2, ("loss_hessian",))
    curved = 2 * 2 * 2 + 2 * 3 * 2 + (2 * 4 * 3 * 2 + 2 * 4 * 4 * 2)
    assert flops.example_flops(5, (4, 3, 2), 2, ("loss_hessian",), "tanh") == relu + curved


def test_flops_of_the_paper_s_network():
    gflop = flops.example_flops(784, (64, 64), 10, MEASURES) * 10_000 / 1e9
    assert 12.6 < gflop < 13.6


@pytest.mark.parametrize("grid", ["default", "full"])
def test_grids_hold_cases_of_known_methods_each_once(grid):
    works = similarity.GRIDS[grid]()
    assert len(set(works)) == len(works)
    assert {work.method for work in works} <= set(similarity.METHODS)
    assert all(similarity.MIN_EXAMPLES <= similarity.num_examples(work) <= similarity.NUM_EXAMPLES for work in works)


def test_command_prints_a_table_and_writes_rows_and_a_figure(capsys, tmp_path):
    pytest.importorskip("torch")
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", "similarity", "--tiny", "--passes", "1", "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert stop.value.code == 0
    (path,) = (tmp_path / "out").glob("similarity_*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["method"] for row in rows} == set(similarity.METHODS)
    for row in rows:
        assert set(similarity.COLUMNS) <= set(row)
        assert row["relative_error"] < 1e-4
        assert row["ms_per_network"] > 0
        assert row["data"] == "random"
        assert row["jax"] == jax.__version__
    assert (tmp_path / "out" / "bench_similarity.png").stat().st_size > 0
    assert printed.count("784-4-4-10") >= len(rows)


def test_command_says_in_one_line_what_is_wrong(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", "similarity", "--tiny", "--passes", "0", "--out", str(tmp_path)])
    assert stop.value.code == cli.WRONG_INPUT
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_memory_of_a_call_is_seen():
    with harness.PeakMemory() as memory:
        np.ones(2**23).sum()  # 64 MiB
    assert memory.bytes == 0 or memory.bytes > 2**25
