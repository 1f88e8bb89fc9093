"""Use of a sweep's lanes, and the cost of scheduling trials on them."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from modjax.bench.harness import reset_peak, resident_bytes
from modjax.data.datasets import load_dataset
from modjax.data.sources import SOURCES, locate
from modjax.networks.mlp import mlp
from modjax.training.batch_layout import BatchLayout, choose_layout
from modjax.training.config import Hyperparams, TrainConfig
from modjax.training.objective import Batch, Task, classification
from modjax.training.runner import PopulationRun

STUB_TRIALS = (1_000, 10_000, 100_000, 1_000_000)


class Pixels(NamedTuple):
    """Training images as rows of pixels, their labels, and where they come from."""

    x: np.ndarray
    y: np.ndarray
    source: str


def load_pixels(data_dir: Path | None) -> Pixels:
    """Return MNIST's training images if they are on this machine, or random ones of their shape."""
    if all(locate("mnist", part, data_dir) for part in SOURCES["mnist"].files):
        data = load_dataset("mnist", data_dir)
        return Pixels(data.x_train.reshape(len(data.x_train), -1), data.y_train, "mnist")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60_000, 784), np.uint8)
    return Pixels(pixels, rng.integers(0, 10, 60_000).astype(np.int32), "random")


def paper_hyperparams(dropout: np.ndarray, learning_rate: float = 1e-3) -> Hyperparams:
    """Return the paper's learning rate and L2 penalty, with these dropout rates."""
    rate, l1, l2 = (np.full(len(dropout), value, np.float32) for value in (learning_rate, 0.0, 1e-5))
    return Hyperparams(rate, l1, l2, dropout.astype(np.float32))


def utilization_rows(pixels: Pixels) -> list[dict[str, Any]]:
    """Measure the share of lanes in use in 200-trial sweeps with early stopping, in the layout that modjax chooses.

    On digits, which takes less than a minute, and on 6,000 of MNIST's images, where trials share their batches.
    """
    digits = load_dataset("digits")
    small = Batch(jnp.asarray(digits.x_train), jnp.asarray(digits.y_train))
    large = Batch(jnp.asarray(pixels.x[:6000]), jnp.asarray(pixels.y[:6000]))
    seeds = np.repeat(np.arange(10), 20).astype(np.uint32)
    hyperparams = paper_hyperparams(np.tile(np.linspace(0, 0.7, 20), 10).astype(np.float32))
    rows = []
    for name, examples, inputs, batch in (("digits", small, 64, 50), ("6,000 of MNIST", large, 784, 200)):
        task, config = classification(mlp(inputs, (64, 64), 10)), TrainConfig(batch_size=batch)
        layout = choose_layout(task, config, hyperparams, seeds, examples)
        started = time.perf_counter()
        run = PopulationRun(task, hyperparams, seeds, examples, config, layout)
        trained, available = 0, 0  # trial-epochs
        for report in run.rounds():
            trained, available = trained + len(report.rows), available + report.num_lanes
        seconds = time.perf_counter() - started
        programs = ", ".join(f"{program.lanes}{' shared' if program.is_paired else ''}" for program in run.programs)
        rows.append(
            {
                "case": f"200 trials, {name}",
                "utilization": round(trained / available, 3),
                "trial_epochs": trained,
                "seconds": round(seconds, 1),
                "seconds_per_trial_epoch": seconds / trained,
                "programs": f"{programs} in {layout.num_threads} threads",
            }
        )
    return rows


def overhead_rows(num_slots: int, most: int) -> list[dict[str, Any]]:
    """Measure scheduling alone, with a task that computes nothing and one epoch per trial."""
    stub = Task(
        init=lambda key, h: {"w": jnp.zeros(1)},
        loss=lambda params, h, batch, key: jnp.sum(params["w"]) * 0.0,
        evaluate=lambda params, h, batch: {"loss": jnp.sum(batch["x"]) * 0.0, "count": 1.0},
    )
    config = TrainConfig(max_epochs=1, batch_size=1, validation_fraction=0.5)
    layout = BatchLayout(num_slots, False, num_slots, is_fixed=True)
    rows = []
    for num_trials in (count for count in STUB_TRIALS if count <= most):
        hyperparams = {"learning_rate": np.full(num_trials, 1e-3, np.float32)}
        seeds = np.zeros(num_trials, np.uint32)
        reset_peak()
        before = resident_bytes("VmRSS")
        rounds = PopulationRun(stub, hyperparams, seeds, {"x": jnp.zeros((4, 1))}, config, layout).rounds()
        next(rounds)  # compiles
        started = time.perf_counter()
        finished = sum(len(report.finished) for report in rounds)
        seconds = time.perf_counter() - started
        rows.append(
            {
                "case": f"scheduling, {num_trials} trials, {num_slots} slots",
                "microseconds_per_trial": round(seconds / finished * 1e6, 1),
                "bytes_per_trial": round((resident_bytes("VmHWM") - before) / num_trials),
            }
        )
    return rows
