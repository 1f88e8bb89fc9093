"""Successive halving: decisions against a literal version, training on the slots, interruptions, outside samplers."""

import itertools
import math

import jax
import numpy as np
import pytest

import modjax as mj
from modjax.training.halving import Rungs

HALVING = mj.SuccessiveHalving(factor=2, min_epochs=2)
TRIALS = 9
HYPERPARAMS = {
    "learning_rate": np.logspace(-4, -0.5, TRIALS),
    "dropout": np.tile([0.0, 0.2, 0.4], 3),
    "seed": np.repeat([0, 1, 2], 3),
}
CONFIG = mj.TrainConfig(max_epochs=9, batch_size=100, early_stopping=False, num_slots=4)


def literal(histories: dict[int, list[float]], ended: dict[int, int], halving, max_epochs: int) -> dict[int, int]:
    """Return the number of epochs of each trial: a loop over rungs, each of which waits for all its trials."""
    epochs = {trial: len(history) for trial, history in histories.items()}
    names = sorted(histories)
    for rung in halving.rungs(max_epochs):
        costs = {trial: min(histories[trial][: min(rung, ended.get(trial, rung))]) for trial in names}
        best = sorted(names, key=lambda trial: (costs[trial], trial))[: max(1, len(names) // halving.factor)]
        for trial in set(names) - set(best):
            epochs[trial] = min(rung, ended.get(trial, rung))
        names = sorted(best)
    return epochs


@pytest.mark.parametrize("seed", range(12))
def test_decisions_do_not_depend_on_the_order_of_reports(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_trials, max_epochs = int(rng.integers(1, 20)), 20
    halving = mj.SuccessiveHalving(factor=int(rng.integers(2, 4)), min_epochs=int(rng.integers(1, 4)))
    histories = {trial: rng.integers(0, 30, max_epochs).tolist() for trial in range(num_trials)}  # with ties
    ended = {trial: int(rng.integers(1, max_epochs)) for trial in range(num_trials) if rng.random() < 0.3}
    wanted = literal(histories, ended, halving, max_epochs)
    rungs = Rungs(halving, max_epochs, range(num_trials))
    epochs = dict.fromkeys(range(num_trials), 0)
    running, waiting = set(epochs), set()
    while running or waiting:
        for trial in sorted(waiting):
            goes_on = rungs.goes_on(trial, epochs[trial])
            if goes_on is not None:
                waiting.discard(trial)
                if goes_on:
                    running.add(trial)
        if not running:
            assert not waiting
            break
        trial = int(rng.choice(sorted(running)))
        epochs[trial] += 1
        rows = [{"val_loss": float(value)} for value in histories[trial][: epochs[trial]]]
        if epochs[trial] == ended.get(trial, max_epochs):
            rungs.report(trial, rows, is_over=True)
            running.discard(trial)
        elif epochs[trial] in rungs.epochs:
            rungs.report(trial, rows)
            running.discard(trial)
            waiting.add(trial)
    assert epochs == {trial: min(num, ended.get(trial, max_epochs)) for trial, num in wanted.items()}


def test_a_metric_that_is_maximized_and_one_that_is_not_finite() -> None:
    rungs = Rungs(mj.SuccessiveHalving("val_accuracy", 2, 1), 3, ["a", "b", "c", "d"])
    for trial, value in enumerate([0.5, 0.9, math.nan, 0.7]):
        rungs.report(trial, [{"val_accuracy": value}])
    assert [rungs.goes_on(trial, 1) for trial in range(4)] == [False, True, False, True]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"factor": 1}, "factor must be a whole number from 2 to"),
        ({"min_epochs": 0}, "min_epochs must be a whole number from 1 to"),
        ({"direction": "down"}, "direction"),
    ],
)
def test_wrong_settings(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mj.SuccessiveHalving(**values)


@pytest.fixture(scope="module")
def problem():
    digits = mj.load_dataset("digits")
    data = {"x": digits.x_train[:400], "y": digits.y_train[:400]}
    return mj.classification(mj.mlp(64, (8,), 10)), jax.tree.map(np.asarray, data)


def as_batch(task: mj.Task, data: dict) -> tuple:
    from modjax.training.objective import Batch

    return task, Batch(**data)


@pytest.fixture(scope="module")
def halved(problem) -> mj.Population:
    task, data = as_batch(*problem)
    return mj.train(task, HYPERPARAMS, data, CONFIG, stopping=HALVING)


def test_training_stops_what_a_literal_version_stops(problem, halved: mj.Population) -> None:
    task, data = as_batch(*problem)
    full = mj.train(task, HYPERPARAMS, data, CONFIG)
    histories = dict(enumerate(full.history["val_loss"].tolist()))
    wanted = literal(histories, {}, HALVING, CONFIG.max_epochs)
    assert halved.epochs.tolist() == [wanted[trial] for trial in range(TRIALS)]
    assert sorted(halved.epochs.tolist()) == [2] * 5 + [4] * 2 + [8] + [9]
    assert halved.status.tolist() == ["done" if num == 9 else "stopped" for num in halved.epochs]
    for trial, num in enumerate(halved.epochs):  # bit for bit what the whole run computed up to there
        np.testing.assert_array_equal(
            halved.history["val_loss"][trial, :num], full.history["val_loss"][trial, :num], strict=True
        )
    (best,) = np.flatnonzero(halved.status == "done")
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[best], b[best]), halved.params, full.params)


def test_slots_do_not_change_decisions(problem, halved: mj.Population) -> None:
    task, data = as_batch(*problem)
    config = mj.TrainConfig(max_epochs=9, batch_size=100, early_stopping=False, num_slots=9)
    again = mj.train(task, HYPERPARAMS, data, config, stopping=HALVING)
    assert again.epochs.tolist() == halved.epochs.tolist()


class Interrupted(Exception):
    """Raised by a test in the middle of training."""


@pytest.mark.parametrize("round_number", [3, 7, 12])
def test_interrupted_and_resumed_decides_the_same(problem, halved: mj.Population, tmp_path, round_number: int) -> None:
    task, data = as_batch(*problem)
    rounds = itertools.count(1)

    def interrupt(_: mj.EpochReport) -> None:
        if next(rounds) == round_number:
            raise Interrupted

    def train(**options) -> mj.Population:
        folder = {"checkpoint": tmp_path, "checkpoint_seconds": 0.0}
        return mj.train(task, HYPERPARAMS, data, CONFIG, stopping=HALVING, **folder, **options)

    with pytest.raises(Interrupted):
        train(on_epoch=interrupt)
    again = train()
    assert again.status.tolist() == halved.status.tolist()
    np.testing.assert_array_equal(again.history["val_loss"], halved.history["val_loss"], strict=True)
    jax.tree.map(np.testing.assert_array_equal, again.params, halved.params)


def test_a_metric_that_the_history_lacks(problem) -> None:
    task, data = as_batch(*problem)
    with pytest.raises(ValueError, match="Unknown metric of successive halving 'val_f1'"):
        mj.train(task, HYPERPARAMS, data, CONFIG, stopping=mj.SuccessiveHalving("val_f1", 2, 1))


def test_trials_that_are_asked_for_equal_those_that_are_given(problem) -> None:
    task, data = as_batch(*problem)
    rates = [1e-3, 1e-2, 3e-2, 1e-1, 3e-3]
    config = mj.TrainConfig(max_epochs=3, batch_size=100, num_slots=2)
    finished = []
    asked = mj.ask_tell(
        task, lambda trial: {"learning_rate": rates[trial]}, finished.append, data, len(rates), config, seed=4
    )
    given = mj.train(task, {"learning_rate": rates, "seed": [4] * len(rates)}, data, config)
    np.testing.assert_array_equal(asked.history["val_loss"], given.history["val_loss"], strict=True)
    assert sorted(trial.trial for trial in finished) == [*range(len(rates))]


def test_a_proposal_with_other_names(problem) -> None:
    task, data = as_batch(*problem)
    with pytest.raises(ValueError, match="ask must return learning_rate for every trial; trial 1 has l2"):
        mj.ask_tell(task, lambda trial: {"l2" if trial else "learning_rate": 0.1}, print, data, 3, CONFIG)
