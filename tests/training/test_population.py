import jax
import jax.numpy as jnp
import numpy as np
import pytest

import modjax as mj
from modjax.training import programs as population
from modjax.training.metrics import evaluate_means, weight_norms
from modjax.training.objective import objective
from modjax.training.optimizer import OPTIMIZER_FUNCTIONS
from modjax.training.trial import Clock, init_trial, named_key, split
from tests.seams import OPTIMIZERS, Batch

NUM_TRIALS = 5


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 6))
    y = np.arange(240) % 3
    x = (centres[y] + rng.normal(size=(240, 6))).astype(np.float32)
    return mj.Dataset("blobs", x[:180], y[:180].astype(np.int32), x[180:], y[180:].astype(np.int32), 3)


@pytest.fixture(scope="module")
def task():
    return mj.classification(mj.mlp(6, (8, 7), 3))


def hyperparams(num=NUM_TRIALS):
    spread = np.linspace(0, 1, num)
    return {
        "seed": np.arange(num) % 3,
        "learning_rate": 1e-2 * (1 + spread),
        "l1": 1e-4 * spread,
        "l2": 1e-4 * spread[::-1],
        "dropout": 0.6 * spread,
    }


CONFIG = mj.TrainConfig(max_epochs=12, batch_size=20, num_slots=NUM_TRIALS)


@pytest.fixture(scope="module")
def together(task, data):
    return mj.train(task, hyperparams(), data, CONFIG)


def select(population, index):
    return jax.tree.map(lambda leaf: leaf[index], population.params)


def assert_same_trial(one, index, other, other_index):
    assert one.epochs[index] == other.epochs[other_index]
    for name in one.history:
        np.testing.assert_array_equal(
            one.history[name][index, : one.epochs[index]], other.history[name][other_index, : one.epochs[index]]
        )
    jax.tree.map(np.testing.assert_array_equal, select(one, index), select(other, other_index))


def test_registry_holds_the_named_optimizers():
    assert tuple(OPTIMIZER_FUNCTIONS) == OPTIMIZERS


def test_it_learns(together):
    losses = together.history["val_loss"]
    best = np.nanmin(losses, axis=1)
    assert np.all(best < losses[:, 0])
    assert together.status.tolist() == ["done"] * NUM_TRIALS


@pytest.mark.parametrize("index", range(NUM_TRIALS))
def test_trial_in_a_population_equals_the_trial_alone(task, data, together, index):
    alone = jax.tree.map(lambda values: values[index : index + 1], hyperparams())
    single = mj.train(task, alone, data, mj.TrainConfig(max_epochs=12, batch_size=20, num_slots=1))
    # 12 epochs of 8 steps: within 1e-6 of the loss after 50 steps and more.
    epochs = min(single.epochs[0], together.epochs[index])
    np.testing.assert_allclose(
        single.history["val_loss"][0, :epochs], together.history["val_loss"][index, :epochs], rtol=0, atol=1e-6
    )


def test_order_and_neighbours_change_nothing(task, data, together):
    order = np.array([3, 0, 4, 2, 1])
    shuffled = mj.train(task, jax.tree.map(lambda values: values[order], hyperparams()), data, CONFIG)
    for place, index in enumerate(order):
        assert_same_trial(together, index, shuffled, place)


def test_refilled_slots_change_nothing(task, data):
    config = mj.TrainConfig(max_epochs=5, batch_size=20, num_slots=2)
    refilled = mj.train(task, hyperparams(), data, config)
    for pair in ([0, 1], [4, 2]):
        few = mj.train(task, jax.tree.map(lambda values, pair=pair: values[pair], hyperparams()), data, config)
        for place, index in enumerate(pair):
            assert_same_trial(refilled, index, few, place)


def test_diverging_neighbour_is_flagged_and_changes_nothing(task, data, together):
    wild = hyperparams()
    wild["learning_rate"] = wild["learning_rate"].copy()
    wild["learning_rate"][2] = 1e30
    result = mj.train(task, wild, data, CONFIG)
    assert result.status.tolist() == ["done", "done", "diverged", "done", "done"]
    assert result.epochs[2] == 1
    assert result.best_epoch[2] == -1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(select(result, 2)))
    for index in (0, 1, 3, 4):
        assert_same_trial(together, index, result, index)


def test_same_seed_same_init_and_split(task):
    one = init_trial(task, CONFIG, jnp.uint32(7), mj.Hyperparams(0.1, 0.0, 0.0, 0.5))
    two = init_trial(task, CONFIG, jnp.uint32(7), mj.Hyperparams(0.2, 1.0, 0.1, 0.0))
    jax.tree.map(np.testing.assert_array_equal, one.params, two.params)
    train, validation = split(CONFIG, jnp.uint32(7), 50)
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(50))
    assert validation.shape == (5,)
    assert not np.array_equal(train, split(CONFIG, jnp.uint32(8), 50)[0])


def test_keys_are_folded_by_name():
    keys = {
        name: jax.random.key_data(named_key(jnp.uint32(1), name)).tolist()
        for name in ("init", "split", "order", "noise")
    }
    assert len({tuple(value) for value in keys.values()}) == 4


def test_new_hyperparameters_and_trials_do_not_retrace(task, data):
    config = mj.TrainConfig(max_epochs=2, batch_size=20, num_slots=3)
    mj.train(task, hyperparams(3), data, config)
    before = population.train_epoch._cache_size()
    changed = jax.tree.map(lambda values: values * 2, hyperparams(7))
    changed["dropout"] = changed["dropout"] / 3
    mj.train(task, changed, data, config)
    assert population.train_epoch._cache_size() == before


def test_epoch_moves_nothing_between_host_and_device(task, data):
    examples = jax.tree.map(jnp.asarray, Batch(data.x_train, data.y_train))
    seeds = jnp.arange(2, dtype=jnp.uint32)
    values = jax.tree.map(lambda column: jnp.asarray(column[:2], jnp.float32), hyperparams())
    clocks = Clock(seeds, jnp.zeros(2, jnp.int32))
    slots = jnp.arange(2, dtype=jnp.int32)
    pool = population.init_pool(None, population.state_shapes(task, CONFIG, values), 2)
    pool = population.init_slots(task, CONFIG, None, pool, slots, seeds, values)
    population.train_epoch(task, CONFIG, False, None, clocks, pool, slots, values, examples)
    with jax.transfer_guard("disallow"):
        _, table = population.train_epoch(task, CONFIG, False, None, clocks, pool, slots, values, examples)
    assert len(table.lists()["val_loss"]) == 2


def test_best_weights_are_those_of_the_best_epoch(task, data, together):
    examples = jax.tree.map(jnp.asarray, Batch(data.x_train, data.y_train))
    _, validation = split(CONFIG, jnp.uint32(1), 180)
    means = evaluate_means(task, select(together, 1), None, examples, validation)
    assert together.best_epoch[1] == np.nanargmin(together.history["val_loss"][1])
    np.testing.assert_allclose(means["loss"], np.nanmin(together.history["val_loss"][1]), rtol=1e-5)


def test_objective_is_the_papers(task, key):
    network = mj.mlp(6, (8, 7), 3)
    params = network.init(3)
    batch = Batch(np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32), np.array([0, 1, 2, 0]))
    total, loss = objective(task, params, mj.Hyperparams(0.0, 0.3, 0.2, 0.0), jax.tree.map(jnp.asarray, batch), key)
    logits = np.asarray(network.apply(params, batch.x).logits, np.float64)
    literal = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(4), batch.y])
    kernels = [np.asarray(layer["kernel"], np.float64) for layer in params.values()]
    penalty = 0.3 * sum(np.abs(k).sum() for k in kernels) + 0.2 * sum((k**2).sum() for k in kernels)
    np.testing.assert_allclose(loss, literal, rtol=1e-5)
    np.testing.assert_allclose(total, literal + penalty, rtol=1e-5)


def test_weight_norms_are_the_authors():
    params = mj.mlp(6, (8, 7), 3).init(3)
    kernels = [np.asarray(layer["kernel"], np.float64) for layer in params.values()]
    norms = weight_norms(params)
    flat = np.concatenate([k.ravel() for k in kernels])
    np.testing.assert_allclose(norms["l1_norm"], np.abs(flat).sum(), rtol=1e-5)
    np.testing.assert_allclose(norms["l2_norm"], (flat**2).sum(), rtol=1e-5)
    np.testing.assert_allclose(norms["nuclear_norm"], sum(np.linalg.norm(k, "nuc") for k in kernels), rtol=1e-5)
    np.testing.assert_allclose(norms["sparsity"], np.mean(np.abs(flat) < 1e-3))


@pytest.mark.parametrize("num", [1, 999, 1000, 1001, 2500])
def test_evaluation_counts_every_example_once(num):
    task = mj.Task(
        None, None, lambda params, hyperparams, batch: {"count": batch.size + 0.0, "loss": batch.sum() + 0.0}
    )
    mean = evaluate_means(task, {}, None, jnp.arange(3000.0), jnp.arange(num))["loss"]
    np.testing.assert_allclose(mean, (num - 1) / 2, rtol=1e-6)


def test_a_task_that_is_no_classification(data):
    """Least squares by a single weight vector; one hyperparameter of its own."""
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    examples = {"x": x, "target": x @ np.array([1.0, -2.0, 0.5], np.float32)}
    task = mj.Task(
        init=lambda key, hyperparams: {"w": jnp.full(3, hyperparams["start"])},
        loss=lambda params, hyperparams, batch, key: jnp.mean((batch["x"] @ params["w"] - batch["target"]) ** 2),
        evaluate=lambda params, hyperparams, batch: {
            "count": jnp.float32(len(batch["target"])),
            "loss": jnp.sum((batch["x"] @ params["w"] - batch["target"]) ** 2),
        },
    )
    seen = []
    result = mj.train(
        task,
        {"start": np.array([0.0, 3.0]), "learning_rate": np.array([0.1, 0.1])},
        examples,
        mj.TrainConfig(max_epochs=60, batch_size=30),
        on_epoch=lambda report: seen.append(len(report.rows)),
    )
    np.testing.assert_allclose(result.params["w"], [[1, -2, 0.5]] * 2, atol=1e-2)
    assert len(seen) == result.epochs.max()


BAD_CALLS = {
    "unequal lengths": ({"learning_rate": np.ones(2), "l1": np.ones(3)}, {}, "l1: 3"),
    "not finite": ({"learning_rate": np.array([np.nan])}, {}, "'learning_rate' has 1 value that is not finite"),
    "no trials": ({"learning_rate": np.ones(0)}, {}, "at least one trial"),
    "no hyperparameters": ({}, {}, "got none"),
    "scalars alone": ({"learning_rate": 1.0}, {}, "scalars alone"),
    "typo": ({"dropuot": np.ones(1)}, {}, "Unknown hyperparameter 'dropuot'. Available: l1, l2, dropout"),
    "negative seed": ({"seed": np.array([-1])}, {}, "seeds must lie in"),
    "seed that is no integer": ({"seed": np.array([0.5])}, {}, "integers"),
    "batch too large": ({"learning_rate": np.ones(1)}, {"batch_size": 170}, "batch_size 170 is larger"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_input_is_refused_before_anything_compiles(task, data, case):
    values, config, told = BAD_CALLS[case]
    with pytest.raises(ValueError, match=told) as error:
        mj.train(task, values, data, mj.TrainConfig(**config))
    assert "\n" not in str(error.value)


def test_labels_out_of_range_and_wrong_shapes_are_refused(task, data):
    x, y = data.x_train, data.y_train
    with pytest.raises(ValueError, match="below 3; got 5"):
        mj.train(task, hyperparams(), Batch(x, np.where(y == 2, 5, y)), CONFIG)
    with pytest.raises(ValueError, match="from 0; got -1"):
        mj.train(task, hyperparams(), Batch(x, y - 1), CONFIG)
    with pytest.raises(ValueError, match="not finite"):
        mj.train(task, hyperparams(), Batch(np.where(x > 2, np.nan, x), y), CONFIG)
    with pytest.raises(ValueError, match="loss cannot be computed for a batch") as error:
        mj.train(task, hyperparams(), Batch(x[:, :5], y), CONFIG)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="must be a scalar"):
        mj.train(task._replace(loss=lambda params, h, batch, key: batch.x[:, 0]), hyperparams(), Batch(x, y), CONFIG)
    with pytest.raises(ValueError, match="'count' and 'loss'"):
        mj.train(task._replace(evaluate=lambda params, h, batch: {"loss": 0.0}), hyperparams(), Batch(x, y), CONFIG)


def test_data_of_unequal_length_or_none_are_refused(task):
    with pytest.raises(ValueError, match="leading axis"):
        mj.train(task, hyperparams(), Batch(np.zeros((5, 6)), np.zeros(4, int)))
    with pytest.raises(ValueError, match="at least one"):
        mj.train(task, hyperparams(), Batch(np.zeros((0, 6)), np.zeros(0, int)))


@pytest.mark.parametrize(
    "field", [{"num_slots": 0}, {"max_epochs": 0}, {"validation_fraction": 1.0}, {"optimizer": "sgdd"}], ids=str
)
def test_bad_config_is_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        mj.TrainConfig(**field)


def test_scalars_and_lists_are_columns(task, data):
    config = mj.TrainConfig(max_epochs=2, batch_size=20)
    a = mj.train(task, {"learning_rate": 1e-2, "dropout": [0.0, 0.5]}, data, config)
    b = mj.train(task, mj.Hyperparams(learning_rate=1e-2, dropout=np.array([0.0, 0.5])), data, config)
    # Not bit for bit: a penalty that is absent and one that is 0 are two programs.
    np.testing.assert_allclose(a.history["val_loss"], b.history["val_loss"], rtol=0, atol=1e-6)
