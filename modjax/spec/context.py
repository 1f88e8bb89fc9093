"""What the trials of a population share in a run, and the training job for an engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from modjax.data.datasets import Dataset
from modjax.networks.base import Network, bound
from modjax.spec.networks import build_network
from modjax.spec.populations import (
    PopulationSpec,
    static_names,
    traced_names,
    value_of,
    with_population,
)
from modjax.spec.setup import Setup, layout_of
from modjax.spec.spec import SweepSpec
from modjax.spec.tasks import constants_of, make_task
from modjax.store.paths import SweepPaths
from modjax.training.batch_layout import BatchLayout, choose_layout
from modjax.training.config import TrainConfig
from modjax.training.hyperparameters import HyperparamValues
from modjax.training.objective import Batch, Task
from modjax.training.programs import measure_trials
from modjax.types import Params, Row


class SweepContext(NamedTuple):
    """What all trials of a population share in a run; arrays are on the device.

    Attributes:
        name: Name of the population.
        spec: Spec of the sweep, with the static settings of the population.
        network: Architecture of every trial.
        task: Objective that trials are trained on, with the penalties of the spec.
        config: Settings of training.
        layout: Batch layout of the population.
        hyperparams: Names of the traced hyperparameters that programs take; all others have their defaults.
        constants: Defaults, and static settings as plain values.
        train_examples: Training examples.
        test_examples: Test examples.
    """

    name: str
    spec: SweepSpec
    network: Network
    task: Task
    config: TrainConfig
    layout: BatchLayout
    hyperparams: tuple[str, ...]
    constants: tuple[tuple[str, Any], ...]
    train_examples: Batch
    test_examples: Batch

    @property
    def analysed_examples(self) -> Batch:
        """The examples of the split that the spec analyses."""
        return self.train_examples if self.spec.similarity.split == "train" else self.test_examples

    def values_of(self, trials: pl.DataFrame) -> HyperparamValues:
        """Return the hyperparameters of rows of the trials table, ``[trials]`` each."""
        return _values(trials, self.hyperparams, self.constants)


def measurable(context: SweepContext, params: Params, rows: list[dict[str, Any]]) -> tuple[Network, Params]:
    """Return the network and the stacked parameters of some trials as kernels take them.

    Args:
        context: What the trials share.
        params: Parameters with a leading trials axis.
        rows: Their rows of the trials table, or their hyperparameters.
    """
    names = context.network.hyperparams
    if not names:
        return context.network, params
    dtype, constants = jax.tree.leaves(params)[0].dtype, dict(context.constants)
    values = {
        name: np.array([row[name] if name in context.hyperparams else constants[name] for row in rows], dtype)
        for name in names
    }
    return bound(context.network), (params, values)


def _values(trials: pl.DataFrame, names: tuple[str, ...], constants: tuple[tuple[str, Any], ...]) -> HyperparamValues:
    dtype = jax.dtypes.canonicalize_dtype(float)
    return HyperparamValues({name: trials[name].to_numpy().astype(dtype) for name in names}, dict(constants))


def put_on_device(data: Dataset) -> tuple[Batch, Batch]:
    """Return training and test examples on the device; pixels stay uint8."""
    dtype = jax.dtypes.canonicalize_dtype(float)

    def put(x: np.ndarray, y: np.ndarray, more: Mapping[str, np.ndarray]) -> Batch:
        named = {name: jnp.asarray(array) for name, array in more.items()}
        return Batch(jnp.asarray(x if x.dtype == np.uint8 else x.astype(dtype)), jnp.asarray(y), named)

    return put(data.x_train, data.y_train, data.more_train), put(data.x_test, data.y_test, data.more_test)


def measure_trial(context: SweepContext, row: dict[str, Any], params: Params) -> dict[str, float]:
    """Return losses, accuracies and weight norms of one finished trial, by column of the trials table."""
    measured = measure_trials(
        context.task,
        context.config.recipe(),
        jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], params),
        context.values_of(pl.DataFrame([{name: row[name] for name in context.hyperparams}])),
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
        context: What the trials share.
        paths: Paths of the sweep.
        trials: Rows of the trials table to train, all of one population.
        slots: Number of slots that the user asked for; None lets modjax choose.
        snapshot_seconds: Seconds between snapshots of trials in training.
        earlier: Histories of the population's trials that have finished already, by ``trial_id``; those that successive
            halving compares the others with.
    """

    setup: Setup
    context: SweepContext
    paths: SweepPaths
    trials: pl.DataFrame
    slots: int | None
    snapshot_seconds: float
    earlier: Mapping[str, list[Row]] = {}

    @property
    def snapshots(self) -> Path:
        """Folder of the snapshots of the population's trials in training."""
        return self.paths.training_of(self.context.name)


def make_contexts(
    setup: Setup,
    earlier: dict[str, Any],
    slots: int | None,
    trials: pl.DataFrame,
    cores: int | None = None,
    may_measure: bool = True,
    only: str | None = None,
) -> dict[str, SweepContext]:
    """Return what the trials of each population share; layouts of an earlier run are kept, as results depend on them.

    Args:
        setup: Spec, data and trials.
        earlier: Manifest of an earlier run, or an empty one.
        slots: Number of slots that the user asked for.
        trials: Trials to train, by which layouts are chosen.
        cores: Number of CPU threads per worker; None for those of this process.
        may_measure: Whether layouts may be measured.
        only: Name of the one population to return; None returns all.
    """
    examples = put_on_device(setup.data)
    planned, chosen = with_population(setup.spec, setup.trials), with_population(setup.spec, trials)
    contexts = {}
    for name, population in setup.populations.items():
        if only not in (None, name):
            continue
        own = planned.filter(population=name)
        to_train = chosen.filter(population=name)
        to_train = to_train if to_train.height else own  # none to train so far: arms may be added
        contexts[name] = _make_context(
            setup, population, layout_of(earlier, name), slots, own, to_train, examples, cores, may_measure
        )
    return contexts


def _make_context(
    setup: Setup,
    population: PopulationSpec,
    layout: dict[str, Any] | None,
    slots: int | None,
    own: pl.DataFrame,
    to_train: pl.DataFrame,
    examples: tuple[Batch, Batch],
    cores: int | None,
    may_measure: bool,
) -> SweepContext:
    spec = population.as_spec(setup.spec)
    network = build_network(spec, setup.data.x_train.shape[1:], setup.data.num_outputs)
    given = hyperparams_given(setup.spec, own)
    task = make_task(spec, network, given)
    config = TrainConfig(**spec.training.model_dump(exclude={"stopping"}), num_slots=slots)
    static = {name: value_of(setup.spec, name, own[name][0]) for name in static_names(setup.spec)}
    constants = tuple({**constants_of(spec), **static}.items())
    if layout is not None:
        batch_layout = BatchLayout(**layout)
    else:
        values = _values(to_train, given, constants), seeds_of(to_train), examples[0]
        batch_layout = choose_layout(task, config, *values, cores=cores, may_measure=may_measure)
    return SweepContext(population.name, spec, network, task, config, batch_layout, given, constants, *examples)


def hyperparams_given(spec: SweepSpec, trials: pl.DataFrame) -> tuple[str, ...]:
    """Return the hyperparameters that programs take: those of version 0.2, and those that are not all at default.

    A program does not depend on hyperparameters that a spec never varies, so that numbers do not either.
    """
    infos = spec.catalog.hyperparameters
    return tuple(
        name
        for name in traced_names(spec)
        if infos[name].is_always_hashed
        or (not trials[name].is_null().any() and (trials[name] != infos[name].default).any())
    )
