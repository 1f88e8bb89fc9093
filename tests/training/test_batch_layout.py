import json

import numpy as np
import pytest

import modjax as mj
from modjax.training import batch_layout as module
from modjax.training.batch_layout import BatchLayout, choose_layout, recall, remember
from modjax.training.programs import EpochProgram
from tests.seams import Batch

TASK = mj.classification(mj.mlp(6, (8,), 3))
EXAMPLES = Batch(np.zeros((200, 6), np.float32), np.zeros(200, np.int32))


def choose(memory, num_trials=40, num_seeds=2, **config):
    seeds = (np.arange(num_trials) % num_seeds).astype(np.uint32)
    hyperparams = {"learning_rate": np.full(num_trials, 1e-3, np.float32)}
    return choose_layout(TASK, mj.TrainConfig(batch_size=20, **config), hyperparams, seeds, EXAMPLES, memory)


@pytest.fixture(autouse=True)
def _one_core(monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 1)


@pytest.fixture
def memory(tmp_path):
    return tmp_path / "cache" / "layouts.json"


def test_slots_that_are_asked_for_are_fixed(memory):
    assert choose(memory, num_slots=3) == BatchLayout(3, False, 3, None, True)


def test_defaults_share_batches_where_that_pays(memory, monkeypatch):
    assert choose(memory) == BatchLayout(4, False, 4)  # over in a moment
    monkeypatch.setattr(module, "SHARING_SECONDS", 0.0)
    assert choose(memory) == BatchLayout(2, True, 40)
    assert choose(memory, num_seeds=40) == BatchLayout(4, False, 4)
    assert choose(memory, num_trials=2, num_seeds=1).lanes == 2
    assert not memory.exists()  # short: not worth measuring


def test_threads_take_a_share_each(memory, monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 4)
    monkeypatch.setattr(module, "SHARING_SECONDS", 0.0)
    assert choose(memory, num_slots=6) == BatchLayout(2, False, 2, None, True, 3)
    assert choose(memory, num_slots=7) == BatchLayout(7, False, 7, None, True, 1)
    assert choose(memory) == BatchLayout(2, True, 10, None, False, 4)
    assert choose(memory, num_trials=3, num_seeds=3) == BatchLayout(1, False, 1, None, False, 3)


def test_long_sweeps_are_measured_once_and_remembered(memory, monkeypatch):
    monkeypatch.setattr(module, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(module, "CANDIDATES", {"cpu": (2, 4)})
    chosen = choose(memory)
    ((key, rates),) = json.loads(memory.read_text()).items()
    assert {(lanes, paired) for lanes, paired, _ in rates} == {(2, False), (2, True), (4, False), (4, True)}
    assert all(rate > 0 for _, _, rate in rates)
    assert chosen.lanes in (2, 4)
    remember(memory, key, {EpochProgram(2, False): 1.0, EpochProgram(4, True): 9.0})
    monkeypatch.setattr(module._Probe, "measure", lambda *given: pytest.fail("measured again"))
    assert choose(memory) == BatchLayout(4, True, 40)
    # The same on fewer trials a seed than lanes: sharing would leave lanes empty.
    assert choose(memory, num_seeds=20) == BatchLayout(2, False, 2)


def test_a_little_slower_with_fewer_lanes_is_preferred(memory):
    rates = {
        EpochProgram(4, True): 9.6,
        EpochProgram(8, True): 10.0,
        EpochProgram(16, True): 10.05,
        EpochProgram(8, False): 5.0,
    }
    assert module._best(rates, per_seed=3000.0) == EpochProgram(4, True)


def test_lanes_that_early_stopping_would_leave_idle_count_less(memory):
    rates = {EpochProgram(2, True): 8.0, EpochProgram(8, True): 10.0, EpochProgram(4, False): 7.0}
    assert module._best(rates, per_seed=20.0) == EpochProgram(2, True)
    assert module._best(rates, per_seed=3000.0) == EpochProgram(8, True)
    assert module._best(rates, per_seed=1.0) == EpochProgram(4, False)


@pytest.mark.parametrize("content", ["not json", "[]", '{"key": 3}', '{"key": [["a", "b"]]}'])
def test_a_damaged_memory_is_as_none(tmp_path, content):
    path = tmp_path / "layouts.json"
    path.write_text(content)
    assert recall(path, "key") == {}
    remember(path, "other", {EpochProgram(8, True): 2.5})
    assert recall(path, "other") == {EpochProgram(8, True): 2.5}


def test_lanes_fit_the_memory_by_the_compiled_programs_account(memory, monkeypatch):
    asked = []
    real = module._Probe._program

    def program(self, variant):
        asked.append(variant)
        return real(self, variant)

    monkeypatch.setattr(module._Probe, "_program", program)
    monkeypatch.setattr(module, "available_bytes", lambda: 40_000)
    chosen = choose(memory, num_seeds=40)
    assert asked
    assert 1 <= chosen.lanes < 8


def test_diverged_trials_say_when():
    data = Batch(np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32), np.arange(200, dtype=np.int32) % 3)
    config = mj.TrainConfig(max_epochs=3, batch_size=20)
    population = mj.train(TASK, {"learning_rate": [1e-3, 1e30]}, data, config)
    assert population.status.tolist() == ["done", "diverged"]
    assert population.diverged_epoch.tolist() == [-1, population.epochs[1] - 1]
    assert np.isfinite(population.params["dense_0"]["kernel"]).all()
