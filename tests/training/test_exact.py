"""Bit for bit: whatever the order, neighbours, slot, round, program or interruption."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import modjax as mj
from modjax.training import selector as variants
from modjax.training.batch_layout import BatchLayout
from modjax.training.programs import EpochProgram
from modjax.training.runner import PopulationRun
from modjax.training.selector import ProgramSelector
from modjax.training.shard import LaneResults, same_bits
from tests.seams import Batch

CONFIG = mj.TrainConfig(max_epochs=9, batch_size=20, early_stopping_patience=2)
NUM_TRIALS = 22


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 6))
    y = np.arange(180) % 3
    examples = Batch(
        jnp.asarray((centres[y] + 2 * rng.normal(size=(180, 6))).astype(np.float32)), jnp.asarray(y.astype(np.int32))
    )
    spread = np.linspace(0, 1, NUM_TRIALS, dtype=np.float32)
    hyperparams = {"learning_rate": 3e-2 * (1 + spread), "dropout": 0.6 * spread[::-1]}
    seeds = (np.arange(NUM_TRIALS) % 2).astype(np.uint32)
    return mj.classification(mj.mlp(6, (8, 7), 3)), hyperparams, seeds, examples


def run(problem, layout, order=None, hyperparams=None, **more):
    task, given, seeds, examples = problem
    training = PopulationRun(task, hyperparams or given, seeds, examples, CONFIG, layout, order, **more)
    reports = list(training.rounds())
    return {one.trial: one for report in reports for one in report.finished}, reports, training


def assert_same(one, other, trials=None):
    for trial in trials or one:
        assert one[trial].status == other[trial].status
        np.testing.assert_equal(one[trial].history, other[trial].history)
        jax.tree.map(np.testing.assert_array_equal, one[trial].params, other[trial].params)
        jax.tree.map(np.testing.assert_array_equal, one[trial].last, other[trial].last)


LAYOUTS = {
    "slots": BatchLayout(4, False, 4, is_fixed=True),
    "paired": BatchLayout(4, True, 12, is_fixed=True),
    "paired, few slots": BatchLayout(4, True, 5, is_fixed=True),
    "paired, two threads": BatchLayout(4, True, 8, is_fixed=True, num_threads=2),
}


SOME_LAYOUTS = ("slots", "paired, two threads")  # the others are in the slow part
PARAMS = [
    pytest.param(name, id=name.replace(", ", "-"), marks=() if name in SOME_LAYOUTS else pytest.mark.slow)
    for name in LAYOUTS
]


@pytest.fixture(scope="module", params=PARAMS)
def layout(request):
    return LAYOUTS[request.param]


@pytest.fixture(scope="module")
def undisturbed(problem, layout):
    return run(problem, layout)


def test_every_trial_finishes_once_and_no_seat_is_left(undisturbed):
    finished, reports, training = undisturbed
    assert sorted(finished) == list(range(NUM_TRIALS))
    assert sum(len(report.finished) for report in reports) == NUM_TRIALS
    assert sum(len(report.rows) for report in reports) == sum(len(one.history) for one in finished.values())
    assert len({len(one.history) for one in finished.values()}) > 1  # else nothing was refilled out of step
    assert training.snapshot().trials == ()


def test_shuffled_order(problem, layout, undisturbed):
    order = np.random.default_rng(1).permutation(NUM_TRIALS)
    assert_same(undisturbed[0], run(problem, layout, order)[0])


def test_other_neighbours(problem, layout, undisturbed):
    few, _, _ = run(problem, layout, [3, 8, 9, 20, 21])
    assert_same(few, undisturbed[0])


def test_neighbours_that_turn_nan(problem, layout, undisturbed):
    wild = {name: values.copy() for name, values in problem[1].items()}
    wild["learning_rate"][::3] = 1e30
    finished, _, _ = run(problem, layout, hyperparams=wild)
    assert {finished[trial].status for trial in range(0, NUM_TRIALS, 3)} == {"diverged"}
    assert_same(undisturbed[0], finished, [trial for trial in range(NUM_TRIALS) if trial % 3])


@pytest.mark.parametrize("stop_after", [1, 4, 9])
def test_stop_and_resume(problem, layout, undisturbed, stop_after):
    task, hyperparams, seeds, examples = problem
    training = PopulationRun(task, hyperparams, seeds, examples, CONFIG, layout)
    rounds = training.rounds()
    finished = {one.trial: one for _ in range(stop_after) for one in next(rounds).finished}
    snapshot = training.snapshot()
    assert snapshot.trials
    left = [trial for trial in range(NUM_TRIALS) if trial not in finished]
    rest, _, _ = run(problem, layout, left, resume=snapshot)
    assert sorted(rest) == left
    assert_same(undisturbed[0], finished | rest)


def test_paired_trials_share_rounds(problem):
    _, reports, _ = run(problem, LAYOUTS["paired"])
    assert max(len(report.rows) for report in reports) == 4
    for report in reports:
        assert len({(problem[2][trial], row["epoch"]) for trial, row in report.rows.items()}) == 1


def test_slots_never_idle_while_trials_wait(problem):
    _, reports, _ = run(problem, LAYOUTS["slots"])
    assert all(len(report.rows) == 4 for report in reports if report.num_waiting)


def test_a_program_with_the_same_bits_is_used_and_changes_nothing(problem, undisturbed, layout, monkeypatch):
    """Packing: programs are tried at once instead of after minutes, and taken in where the bits agree."""
    monkeypatch.setattr(variants, "COMPILE_SHARE", -1.0)
    monkeypatch.setattr(variants, "LEAST_GAIN", 0.0)
    finished, reports, training = run(problem, layout._replace(is_fixed=False))
    assert_same(undisturbed[0], finished)
    tried = {*training._selector.used, *training._selector._refused}
    assert len(tried) > 1
    assert sorted(trial for report in reports for trial in (one.trial for one in report.finished)) == list(
        range(NUM_TRIALS)
    )


def test_a_program_with_other_bits_is_refused():
    x = np.array([[1.0, 2.0], [3.0, np.nan]])
    one = [LaneResults([7, 9], np.arange(2), {"x": x}, {"n": [1, 2]})]
    swapped = LaneResults([9, 7, -1], np.arange(3), {"x": np.vstack([x[::-1], x[:1]])}, {"n": [2, 1, 1]})
    apart = [
        LaneResults([trial], np.arange(1), {"x": x[[lane]]}, {"n": [lane + 1]}) for lane, trial in enumerate((7, 9))
    ]
    assert same_bits(one, [swapped])
    assert same_bits(one, apart)
    assert not same_bits(one, apart[:1])
    assert not same_bits(one, [swapped._replace(columns={"n": [2, 2, 1]})])
    swapped.states["x"][0, 0] = np.nextafter(3.0, 4.0)
    assert not same_bits(one, [swapped])
    programs = ProgramSelector(EpochProgram(8, True), is_fixed=False)
    programs.judge(EpochProgram(8, False), False, 1.0)
    assert programs.used == [EpochProgram(8, True)]


def test_out_of_memory_halves_and_goes_on(problem, monkeypatch, layout, undisturbed):
    from modjax.training import shard as module

    whole = module.train_epoch

    def scarce(task, config, is_paired, mesh, clocks, pool, slots, *rest):
        if len(slots) > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
        return whole(task, config, is_paired, mesh, clocks, pool, slots, *rest)

    monkeypatch.setattr(module, "train_epoch", scarce)
    finished, reports, _ = run(problem, layout)
    told = [message for report in reports for message in report.messages]
    assert told == ["out of memory: going on with 2 trials side by side instead of 4"]
    assert sorted(finished) == list(range(NUM_TRIALS))
    for trial, one in undisturbed[0].items():
        shared = min(len(one.history), len(finished[trial].history))
        for row, other in list(zip(one.history, finished[trial].history, strict=False))[:shared]:
            assert row["val_loss"] == pytest.approx(other["val_loss"], abs=1e-5)


def test_other_failures_are_not_swallowed(problem, monkeypatch):
    from modjax.training import shard as module

    def broken(*args):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(module, "train_epoch", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        run(problem, LAYOUTS["slots"])


DEVICES_SCRIPT = """
import json, sys
import jax, numpy as np
import modjax as mj
assert jax.local_device_count() == 4
rng = np.random.default_rng(0)
y = np.arange(180) % 3
x = (rng.normal(size=(3, 6))[y] + 2 * rng.normal(size=(180, 6))).astype(np.float32)
data = mj.Dataset("blobs", x, y.astype(np.int32), x[:9], y[:9].astype(np.int32), 3)
task = mj.classification(mj.mlp(6, (8, 7), 3))
h = {"learning_rate": np.linspace(0.03, 0.06, 22), "dropout": np.linspace(0.6, 0, 22), "seed": np.arange(22) % 2}
found = []
for devices, slots in ((1, 4), (2, 8), (4, 16), (2, None), (4, 4)):
    where = {"num_slots": slots, "num_devices": devices}
    config = mj.TrainConfig(max_epochs=9, batch_size=20, early_stopping_patience=2, **where)
    p = mj.train(task, h, data, config)
    found.append({"epochs": p.epochs.tolist(), "val": np.nan_to_num(p.history["val_loss"], nan=-1).tolist()})
class Stop(Exception):
    pass
def stop(report):
    if any(row["epoch"] == 3 for row in report.rows.values()):
        raise Stop
settings = {"max_epochs": 9, "batch_size": 20, "early_stopping_patience": 2}
try:
    mj.train(task, h, data, mj.TrainConfig(**settings, num_slots=16, num_devices=4), stop, sys.argv[1], 0.0)
except Stop:
    pass
p = mj.train(task, h, data, mj.TrainConfig(**settings, num_slots=8, num_devices=2), checkpoint=sys.argv[1])
found.append({"epochs": p.epochs.tolist(), "val": np.nan_to_num(p.history["val_loss"], nan=-1).tolist()})
print(json.dumps(found))
"""


@pytest.mark.slow
def test_two_and_four_devices_give_the_result_of_one_also_when_resumed_on_fewer(tmp_path):
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    script = [sys.executable, "-c", DEVICES_SCRIPT, str(tmp_path)]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    one, *others = json.loads(done.stdout)
    assert len(others) == 5
    for other in others:
        assert other["epochs"] == one["epochs"]
        np.testing.assert_allclose(one["val"], other["val"], atol=1e-5)


def test_threads_change_no_bit(problem):
    one, _, _ = run(problem, LAYOUTS["paired"])
    two, reports, _ = run(problem, LAYOUTS["paired, two threads"])
    assert_same(one, two)
    assert max(len(report.rows) for report in reports) == 8
    assert {report.num_lanes for report in reports} == {8}


def test_a_snapshot_does_not_change_while_training_goes_on(problem):
    """It is written in the background: rows of later epochs must not get into it."""
    task, hyperparams, seeds, examples = problem
    training = PopulationRun(task, hyperparams, seeds, examples, CONFIG, LAYOUTS["slots"])
    rounds = training.rounds()
    next(rounds)
    snapshot = training.snapshot()
    next(rounds)
    assert [(len(one.history), one.epochs) for one in snapshot.trials] == [(1, 1)] * 4
