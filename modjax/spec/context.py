"""The sweep context, shared by all trials of a run, and the training job for an engine."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from modjax.builtins import NETWORKS, TASKS
from modjax.data.datasets import Dataset
from modjax.networks.base import Network
from modjax.records import resolve
from modjax.spec.setup import Setup
from modjax.spec.spec import SweepSpec
from modjax.store.paths import SweepPaths
from modjax.training.batch_layout import BatchLayout, choose_layout
from modjax.training.config import Hyperparams, TrainConfig
from modjax.training.objective import Batch, Task
from modjax.training.programs import measure_trials
from modjax.types import Params


class SweepContext(NamedTuple):
    """What all trials of a run share; arrays are on the device.

    Attributes:
        spec: Spec of the sweep.
        network: Architecture of every trial.
        task: Objective that trials are trained on.
        config: Settings of training.
        population: Batch layout of the population.
        train_examples: Training examples.
        test_examples: Test examples.
    """

    spec: SweepSpec
    network: Network
    task: Task
    config: TrainConfig
    population: BatchLayout
    train_examples: Batch
    test_examples: Batch

    @property
    def analysed_examples(self) -> Batch:
        """The examples of the split that the spec analyses."""
        return self.train_examples if self.spec.similarity.split == "train" else self.test_examples


def put_on_device(data: Dataset) -> tuple[Batch, Batch]:
    """Return training and test examples on the device; pixels stay uint8."""
    dtype = jax.dtypes.canonicalize_dtype(float)

    def put(x: np.ndarray, y: np.ndarray) -> Batch:
        return Batch(jnp.asarray(x if x.dtype == np.uint8 else x.astype(dtype)), jnp.asarray(y))

    return put(data.x_train, data.y_train), put(data.x_test, data.y_test)


def hyperparams_of(trials: pl.DataFrame) -> Hyperparams:
    """Return the hyperparameters of rows of the trials table, ``[trials]`` each."""
    dtype = jax.dtypes.canonicalize_dtype(float)
    return Hyperparams(**{name: trials[name].to_numpy().astype(dtype) for name in Hyperparams._fields})


def measure_trial(context: SweepContext, row: dict[str, Any], params: Params) -> dict[str, float]:
    """Return losses, accuracies and weight norms of one finished trial, by column of the trials table."""
    measured = measure_trials(
        context.task,
        context.config.recipe(),
        jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], params),
        hyperparams_of(pl.DataFrame([row])),
        jnp.asarray([row["seed"]], jnp.uint32),
        context.train_examples,
        context.test_examples,
    )
    return {name: float(value[0]) for name, value in jax.device_get(measured).items()}


def seeds_of(trials: pl.DataFrame) -> np.ndarray:
    """Return the seeds of rows of the trials table, ``[trials]`` in uint32."""
    return trials["seed"].to_numpy().astype(np.uint32)


class TrainingJob(NamedTuple):
    """Trials for an engine to train.

    Attributes:
        setup: Spec, data and trials of the sweep.
        context: What all trials of the run share.
        paths: Paths of the sweep.
        trials: Rows of the trials table to train.
        slots: Number of slots that the user asked for; None lets modjax choose.
        snapshot_seconds: Seconds between snapshots of trials in training.
    """

    setup: Setup
    context: SweepContext
    paths: SweepPaths
    trials: pl.DataFrame
    slots: int | None
    snapshot_seconds: float


def make_context(
    setup: Setup,
    earlier: dict[str, Any],
    slots: int | None,
    trials: pl.DataFrame,
    cores: int | None = None,
    may_measure: bool = True,
) -> SweepContext:
    """Return what all trials share; the layout of an earlier run is kept, since results may depend on it."""
    trials = trials if trials.height else setup.trials  # none to train so far: arms may be added
    spec, data = setup.spec, setup.data
    network = make_network(setup)
    task = resolve(TASKS["classification"].build)(network)
    config = TrainConfig(**spec.training.model_dump(), num_slots=slots)
    train_examples, test_examples = put_on_device(data)
    if "layout" in earlier:
        population = BatchLayout(**earlier["layout"]["population"])
    else:
        values = hyperparams_of(trials), seeds_of(trials), train_examples
        population = choose_layout(task, config, *values, cores=cores, may_measure=may_measure)
    return SweepContext(spec, network, task, config, population, train_examples, test_examples)


def make_network(setup: Setup) -> Network:
    """Build the spec's network for its data."""
    data, settings = setup.data, setup.spec.network.model_dump()
    build = resolve(NETWORKS[settings.pop("kind")].build)
    return build(data.x_train.shape[1:], data.num_classes, **settings)
