import jax
import jax.numpy as jnp
import numpy as np
import pytest

import modjax as mj
from modjax.training.schedule import (
    RUNNING,
    STATUS_NAMES,
    init_plateau,
    init_stopping,
    update_plateau,
    update_stopping,
)
from tests import reference

CURVES = {
    "falling": np.exp(-np.linspace(0, 3, 40)),
    "flat": np.ones(60),
    "slower than the threshold": 1 - 5e-5 * np.arange(60),
    "noisy": 1 / (1 + np.arange(80)) + 0.05 * np.random.default_rng(0).normal(size=80),
    "rising": np.linspace(1, 2, 30),
    "overfitting": np.concatenate([np.linspace(1, 0.1, 20), np.linspace(0.1, 0.5, 30)]),
    "diverging": np.array([1.0, 0.5, np.nan, 0.4]),
    "infinite": np.array([1.0, np.inf, 0.5]),
    "NaN at once": np.array([np.nan, 0.4]),
}


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES.keys())
@pytest.mark.parametrize("patience", [0, 3])
def test_plateau_is_pytorchs(curve, patience):
    config = mj.TrainConfig(plateau_patience=patience)
    step = jax.jit(lambda state, loss: update_plateau(config, state, loss))
    state, literal = init_plateau(jnp.float32(1e-3)), reference.Plateau(1e-3, config.plateau_factor, patience)
    for loss in curve:
        state = step(state, jnp.float32(loss))
        literal.step(loss)
        assert float(state.learning_rate) == literal.rate
        assert int(state.num_bad_epochs) == literal.num_bad_epochs


def test_fourth_bad_epoch_in_a_row_cuts_the_rate():
    config = mj.TrainConfig()
    state = init_plateau(jnp.float32(1.0))
    rates = []
    for loss in [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]:
        state = update_plateau(config, state, jnp.float32(loss))
        rates.append(float(state.learning_rate))
    assert rates == [1.0, 1.0, 1.0, 1.0, 0.25, 0.25]


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES.keys())
def test_early_stopping_is_the_literal_one(curve):
    config = mj.TrainConfig()
    state, literal = init_stopping(jnp.float32), reference.EarlyStopping(config.early_stopping_patience)
    for epoch, loss in enumerate(curve):
        state, is_best = update_stopping(config, state, jnp.float32(loss), jnp.int32(epoch))
        literal.step(loss, epoch)
        assert STATUS_NAMES[int(state.status)] == literal.status
        assert int(state.best_epoch) == literal.best_epoch
        assert bool(is_best) == (literal.best_epoch == epoch)
        if int(state.status) != RUNNING:
            break


def test_last_epoch_ends_a_trial():
    config = mj.TrainConfig(max_epochs=2)
    state, _ = update_stopping(config, init_stopping(jnp.float32), jnp.float32(1.0), jnp.int32(0))
    assert STATUS_NAMES[int(state.status)] == "running"
    state, _ = update_stopping(config, state, jnp.float32(0.5), jnp.int32(1))
    assert STATUS_NAMES[int(state.status)] == "done"


@pytest.mark.slow
@pytest.mark.parametrize("curve", [CURVES["noisy"], CURVES["flat"]], ids=["noisy", "flat"])
def test_plateau_against_pytorch_itself(curve):
    torch = pytest.importorskip("torch")
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([parameter], lr=1e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.25, patience=3)
    state = init_plateau(jnp.float32(1e-3))
    for loss in curve:
        scheduler.step(float(np.float32(loss)))
        state = update_plateau(mj.TrainConfig(), state, jnp.float32(loss))
        np.testing.assert_allclose(float(state.learning_rate), optimizer.param_groups[0]["lr"], rtol=1e-6)


def test_constant_schedule_never_cuts_and_stopping_can_be_off():
    config = mj.TrainConfig(schedule="constant", early_stopping=False, max_epochs=30)
    rate, state = init_plateau(jnp.float32(1e-3)), init_stopping(jnp.float32)
    for epoch in range(29):
        rate = update_plateau(config, rate, jnp.float32(1.0))
        state, _ = update_stopping(config, state, jnp.float32(1.0), jnp.int32(epoch))
        assert STATUS_NAMES[int(state.status)] == "running"
    assert float(rate.learning_rate) == np.float32(1e-3)
    state, _ = update_stopping(config, state, jnp.float32(np.nan), jnp.int32(29))
    assert STATUS_NAMES[int(state.status)] == "diverged"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"schedule": "exponential"}, "Available: plateau, constant"),
        ({"keep": "mean"}, "Available: best, last"),
    ],
    ids=["schedule", "keep"],
)
def test_unknown_names_are_one_line(options, told):
    with pytest.raises(ValueError, match=told):
        mj.TrainConfig(**options)
