"""Going on from what there is: given weights, more trials, more epochs; and what looks on."""

import json

import jax
import numpy as np
import pytest

import modjax as mj

RATES = [1e-2, 3e-3, 3e-2, 1e-3]


@pytest.fixture(scope="module")
def task() -> mj.Task:
    return mj.classification(mj.mlp(64, (6,), 10))


@pytest.fixture(scope="module")
def digits() -> mj.Dataset:
    return mj.load_dataset("digits")


def config(**settings) -> mj.TrainConfig:
    return mj.TrainConfig(**{"max_epochs": 3, "batch_size": 200, "num_slots": 4, **settings})


def hyperparams(num: int = 3, **changes) -> dict:
    return {"learning_rate": np.array(RATES[:num]), "seed": np.arange(num), **changes}


def assert_same(one: mj.Population, other: mj.Population) -> None:
    assert one.status.tolist() == other.status.tolist()
    for name in other.history:
        np.testing.assert_array_equal(one.history[name], other.history[name])
    jax.tree.map(np.testing.assert_array_equal, (one.params, one.last), (other.params, other.last))


class TestGivenWeights:
    def test_training_goes_on_from_them(self, task, digits) -> None:
        first = mj.train(task, hyperparams(), digits, config(optimizer="sgd"))
        second = mj.train(task, hyperparams(), digits, config(optimizer="sgd"), params=first.last)
        assert (second.history["train_loss"][:, 0] < first.history["train_loss"][:, 0]).all()
        still = mj.train(task, hyperparams(learning_rate=1e-30), digits, config(), params=first.last)
        jax.tree.map(np.testing.assert_array_equal, still.last, first.last)

    def test_one_tree_for_all_trials(self, task, digits) -> None:
        first = mj.train(task, hyperparams(), digits, config())
        one = jax.tree.map(lambda leaf: leaf[1], first.params)
        alone = mj.train(task, hyperparams(), digits, config(), params=one)
        stacked = jax.tree.map(lambda leaf: np.stack([leaf] * 3), one)
        assert_same(mj.train(task, hyperparams(), digits, config(), params=stacked), alone)

    def test_initial_weights_give_the_numbers_of_no_weights(self, task, digits) -> None:
        usual = mj.train(task, hyperparams(), digits, config())
        start = mj.train(task, hyperparams(learning_rate=1e-30), digits, config(max_epochs=1)).last
        assert_same(mj.train(task, hyperparams(), digits, config(), params=start), usual)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda tree: tree["dense_0"], "params must be a tree like the weights of the task's init"),
            (lambda tree: jax.tree.map(lambda leaf: leaf[:2], tree), "must have shape .*, or 3 times that; got"),
            (lambda tree: jax.tree.map(lambda leaf: leaf * np.nan, tree), "params.* has .* not finite"),
        ],
    )
    def test_wrong_weights(self, task, digits, change, message: str) -> None:
        start = mj.train(task, hyperparams(), digits, config(max_epochs=1)).last
        with pytest.raises(ValueError, match=message):
            mj.train(task, hyperparams(), digits, config(), params=change(start))

    def test_not_with_a_projection(self, task, digits) -> None:
        projected = task._replace(project=lambda params, hyperparams, initial: params)
        start = mj.train(task, hyperparams(), digits, config(max_epochs=1)).last
        with pytest.raises(ValueError, match="the task projects with its own initial weights"):
            mj.train(projected, hyperparams(), digits, config(), params=start)


class TestMore:
    def test_more_trials_and_epochs_give_what_one_call_gives(self, task, digits, tmp_path) -> None:
        short = mj.train(task, hyperparams(2), digits, config(max_epochs=2), checkpoint=tmp_path)
        assert short.epochs.tolist() == [2, 2]
        rounds = []
        longer = mj.train(task, hyperparams(4), digits, config(max_epochs=5), rounds.append, tmp_path)
        assert_same(longer, mj.train(task, hyperparams(4), digits, config(max_epochs=5)))
        assert sum(len(report.rows) for report in rounds) == 2 * 3 + 2 * 5  # nothing was trained twice
        assert_same(mj.train(task, hyperparams(4), digits, config(max_epochs=5), checkpoint=tmp_path), longer)

    def test_a_trial_that_stopped_early_is_left_alone(self, task, digits, tmp_path) -> None:
        early = {"early_stopping_patience": 1, "optimizer": "sgd"}
        values = hyperparams(learning_rate=[3.0, 1e-3, 1e-30])  # the last never improves after its first epoch
        mj.train(task, values, digits, config(max_epochs=3, **early), checkpoint=tmp_path)
        again = mj.train(task, values, digits, config(max_epochs=6, **early), checkpoint=tmp_path)
        assert_same(again, mj.train(task, values, digits, config(max_epochs=6, **early)))

    def test_a_trial_that_its_callback_ended_is_left_alone(self, task, digits, tmp_path) -> None:
        def ends(trial: int, row: dict) -> bool:
            return trial == 1 and row["epoch"] == 1

        mj.train(task, hyperparams(), digits, config(max_epochs=2), checkpoint=tmp_path, callback=ends)
        again = mj.train(task, hyperparams(), digits, config(max_epochs=4), checkpoint=tmp_path, callback=ends)
        assert again.epochs.tolist() == [4, 2, 4]

    def test_a_trial_that_ends_early_in_the_longer_run_is_over(self, task, digits, tmp_path) -> None:
        """Its last state of the shorter run must not be used again."""
        early = {"early_stopping_patience": 2, "optimizer": "sgd"}
        values = hyperparams(learning_rate=[1e-2, 1e-3, 1e-30])  # the last ends by itself after three epochs
        longer = {"max_epochs": 6, **early}

        def ends(trial: int, row: dict) -> bool:
            return trial == 0 and row["epoch"] == 3

        mj.train(task, values, digits, config(max_epochs=2, **early), checkpoint=tmp_path, callback=ends)
        first = mj.train(task, values, digits, config(**longer), checkpoint=tmp_path, callback=ends)
        assert first.epochs.tolist() == [4, 6, 3]
        rounds = []
        again = mj.train(task, values, digits, config(**longer), rounds.append, tmp_path, callback=ends)
        assert not rounds
        assert_same(again, first)
        further = mj.train(task, values, digits, config(**{**longer, "max_epochs": 7}), checkpoint=tmp_path)
        assert further.epochs.tolist() == [4, 7, 3]

    @pytest.mark.parametrize("slots", [4, 1])
    def test_a_longer_run_that_was_interrupted_goes_on_where_it_was(self, task, digits, tmp_path, slots) -> None:
        longer = config(max_epochs=6, num_slots=slots)

        def interrupted(report: mj.EpochReport) -> None:
            rounds.append(report)
            if len(rounds) == 3:
                raise KeyboardInterrupt

        mj.train(task, hyperparams(), digits, config(max_epochs=2, num_slots=slots), checkpoint=tmp_path)
        rounds: list[mj.EpochReport] = []
        with pytest.raises(KeyboardInterrupt):
            mj.train(task, hyperparams(), digits, longer, interrupted, tmp_path, checkpoint_seconds=0.0)
        rows = sum(len(report.rows) for report in rounds)
        rounds = []
        again = mj.train(task, hyperparams(), digits, longer, rounds.append, tmp_path)
        assert rows + sum(len(report.rows) for report in rounds) == 3 * 4  # nothing was trained twice
        assert_same(again, mj.train(task, hyperparams(), digits, longer))

    @pytest.mark.parametrize("name", ["ends_00000.json", "ends_00000/manifest.ocdbt"])
    def test_damaged_last_states_cost_training_and_nothing_else(self, task, digits, tmp_path, name) -> None:
        mj.train(task, hyperparams(), digits, config(max_epochs=2), checkpoint=tmp_path)
        (tmp_path / name).write_text("{}")
        with pytest.warns(UserWarning, match="ends_00000, last states of trials, is damaged: they are trained again"):
            longer = mj.train(task, hyperparams(), digits, config(max_epochs=4), checkpoint=tmp_path)
        assert_same(longer, mj.train(task, hyperparams(), digits, config(max_epochs=4)))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"values": hyperparams(2)}, "3 trials, not 2"),
            (
                {"values": hyperparams(learning_rate=[1e-2, 3e-3, 0.5])},
                "of trial 2: 0.03 there, 0.5 here",
            ),
            ({"values": hyperparams(seed=[0, 1, 9])}, "seed of trial 2: 2 there, 9 here"),
            ({"values": hyperparams(l2=1e-4)}, "hyperparameters learning_rate, seed, not l2, learning_rate, seed"),
            ({"config": config(batch_size=100)}, "batch_size: 200 there, 100 here"),
            ({"config": config(max_epochs=2)}, "max_epochs: 3 there, 2 here"),
            ({"stopping": mj.SuccessiveHalving(min_epochs=1)}, "stopping: None there, SuccessiveHalving"),
            ({"flip": True}, "other data"),
        ],
    )
    def test_what_differs_is_named(self, task, digits, tmp_path, change: dict, message: str) -> None:
        mj.train(task, hyperparams(), digits, config(), checkpoint=tmp_path)
        data = digits._replace(y_train=digits.y_train[::-1]) if change.get("flip") else digits
        given = (change.get("values", hyperparams()), data, change.get("config", config()))
        with pytest.raises(ValueError, match=message):
            mj.train(task, *given, checkpoint=tmp_path, stopping=change.get("stopping"))

    def test_a_cosine_schedule_cannot_get_more_epochs(self, task, digits, tmp_path) -> None:
        mj.train(task, hyperparams(), digits, config(schedule="cosine"), checkpoint=tmp_path)
        with pytest.raises(ValueError, match="max_epochs: 3 there, 6 here"):
            mj.train(task, hyperparams(), digits, config(schedule="cosine", max_epochs=6), checkpoint=tmp_path)

    def test_a_folder_of_version_0_2_is_known(self, task, digits, tmp_path) -> None:
        population = mj.train(task, hyperparams(), digits, config(), checkpoint=tmp_path)
        about = tmp_path / "population.json"
        about.write_text(json.dumps({"identity": json.loads(about.read_text())["identity"]}))
        assert_same(mj.train(task, hyperparams(), digits, config(), checkpoint=tmp_path), population)
        about.write_text(json.dumps({"identity": json.loads(about.read_text())["identity"]}))
        with pytest.raises(ValueError, match=r"of version 0\.2"):
            mj.train(task, hyperparams(), digits, config(max_epochs=9), checkpoint=tmp_path)


class TestLookingOn:
    def test_a_progress_bar(self, task, digits, capsys) -> None:
        mj.train(task, hyperparams(), digits, config(), progress=True)
        shown = capsys.readouterr().out
        assert "3/3" in shown
        assert "9 epochs" in shown

    def test_event_files(self, task, digits, tmp_path) -> None:
        reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        population = mj.train(task, hyperparams(), digits, config(), log_dir=tmp_path)
        for trial in range(3):
            events = reader.EventAccumulator(str(tmp_path / f"trial_{trial}"))
            events.Reload()
            values = [event.value for event in events.Scalars("val_loss")]
            np.testing.assert_allclose(values, population.history["val_loss"][trial], rtol=1e-6)

    def test_without_tensorboard(self, task, digits, tmp_path, monkeypatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "tensorboard.summary.writer.event_file_writer", None)
        with pytest.raises(ValueError, match=r"log_dir needs .* pip install 'modjax\[tensorboard\]'"):
            mj.train(task, hyperparams(), digits, config(), log_dir=tmp_path)
