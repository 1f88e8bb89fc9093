"""Setup of a run from a spec: data, trials, and checks that everything fits, before anything is written."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import polars as pl

from modjax._util.memory import physical_bytes
from modjax.catalog import BUILTIN
from modjax.checks import check_batches
from modjax.data.datasets import Dataset, load_dataset
from modjax.measures.compute import kernel_of
from modjax.measures.functions import check_kernel, is_function
from modjax.names import one_of
from modjax.spec.expand import expand
from modjax.spec.networks import NetworkSizes, build_network, network_sizes
from modjax.spec.parse import load_spec
from modjax.spec.populations import PopulationSpec, columns_of, populations_of, with_population
from modjax.spec.spec import SweepSpec
from modjax.spec.tasks import check_penalties, evaluated, make_task
from modjax.store.paths import BASE
from modjax.store.schemas import METRICS
from modjax.store.tables import BUILTIN_TABLES, Tables
from modjax.training.objective import Batch

COPIES_OF_WEIGHTS = 6  # weights, gradient, two moments of Adam, best weights, and the update in flight
FLOAT_BYTES = 4


class Setup(NamedTuple):
    """A spec with its data and trials.

    Attributes:
        spec: Spec of the sweep, whose catalog holds the records that it names.
        data: Dataset of the spec.
        data_checksum: Checksum of the dataset.
        trials: Trials table as planned.
        tables: What the tables of the sweep hold.
    """

    spec: SweepSpec
    data: Dataset
    data_checksum: str
    trials: pl.DataFrame
    tables: Tables = BUILTIN_TABLES

    @property
    def populations(self) -> dict[str, PopulationSpec]:
        """The populations of the trials, by name."""
        return populations_of(self.spec, self.trials)

    def part(self, name: str) -> "Setup":
        """Return the same with the settings and trials of one population."""
        trials = with_population(self.spec, self.trials).filter(population=name).drop("population")
        return self._replace(spec=self.populations[name].as_spec(self.spec), trials=trials)


def prepare(spec: SweepSpec | str | os.PathLike, data_dir: str | os.PathLike | None = None) -> Setup:
    """Load and check everything that a run needs.

    Raises:
        ValueError: If the spec or the data are wrong, a batch is larger than the training set, a trial occurs twice, or
            a network does not fit in memory.
    """
    spec = spec if isinstance(spec, SweepSpec) else load_spec(spec)
    is_named = spec.dataset in spec.catalog.datasets
    if not is_named:  # the sweep's own copy of the spec must find the file from anywhere
        spec = spec.model_copy(update={"dataset": os.path.abspath(spec.dataset)})
    # A first check with tiny examples, before data are loaded.
    if spec.network.kind in BUILTIN.networks:
        check_memory(spec, network_sizes(spec, (1,) if spec.network.kind == "mlp" else (1, 1), 1))
    data = load_dataset(spec.dataset, data_dir, spec.catalog.datasets)
    checksum = data.checksum()
    metrics = metrics_of(spec, data)
    trials = expand(spec, spec.dataset if spec.dataset in BUILTIN.datasets else checksum, metrics)
    layers = {}
    for population in populations_of(spec, trials).values():
        sizes = check_fit(population.as_spec(spec), data)
        layers[population.name] = tuple(layer.units for layer in sizes.layers)
    check_stopping(spec, metrics)
    tables = Tables(spec.catalog, columns_of(spec), metrics, spec.analysis.run, layers)
    return Setup(spec, data, checksum, trials, tables)


def metrics_of(spec: SweepSpec, data: Dataset) -> tuple[str, ...]:
    """Return what the task of a spec evaluates: ``loss``, then all else by name.

    Raises:
        ValueError: If the spec excludes trials by an accuracy that the task does not evaluate.
    """
    if spec.task in BUILTIN.tasks:
        return METRICS
    network = build_network(spec, data.x_train.shape[1:], data.num_outputs)
    more = {name: jnp.asarray(array[:1]) for name, array in data.more_test.items()}
    batch = Batch(jnp.asarray(data.x_test[:1]), jnp.asarray(data.y_test[:1]), more)
    sums = evaluated(spec, make_task(spec, network, ()), batch)
    metrics = ("loss", *sorted(sums - {"loss", "count"}))
    if spec.analysis.min_accuracy is not None and "accuracy" not in metrics:
        raise ValueError(
            f"analysis.min_accuracy needs an accuracy; task {spec.task!r} evaluates {', '.join(metrics)}. Leave it out."
        )
    return metrics


def check_stopping(spec: SweepSpec, metrics: tuple[str, ...]) -> None:
    """Raise ValueError unless the history will have the metric by which trials are stopped."""
    if spec.training.stopping is not None:
        known = ("train_loss", *(f"val_{metric}" for metric in metrics))
        one_of(spec.training.stopping.metric, known, "training.stopping.metric")


def check_fit(spec: SweepSpec, data: Dataset) -> NetworkSizes:
    """Return the network's sizes; raise unless it fits the examples and memory, and batches can be drawn."""
    training = spec.training
    try:
        check_batches(len(data.x_train), training.batch_size, training.validation_fraction, training.num_train)
    except ValueError as error:
        raise ValueError(f"training.{error}") from None
    sizes = network_sizes(spec, data.x_train.shape[1:], data.num_outputs)
    locations = [layer.locations for layer in sizes.layers]
    if spec.similarity.combined and len(set(locations)) > 1:
        raise ValueError(
            "similarity.combined pairs units place by place, so it needs layers with as many locations each; "
            f"those of this {spec.network.kind} have {locations}. Use combined = false."
        )
    check_memory(spec, sizes, len(data.x_train))
    check_measures(spec, data)
    check_penalties(spec, build_network(spec, data.x_train.shape[1:], data.num_outputs))
    return sizes


def check_measures(spec: SweepSpec, data: Dataset) -> None:
    """Raise unless the measures of extensions can be computed for the network; nothing is computed.

    Raises:
        ValueError: If one cannot; the message names it.
    """
    in_shape = data.x_train.shape[1:]
    for name in spec.similarity.measures:
        info = spec.catalog.measures[name]
        if name in BUILTIN.measures:
            if info.needs_labels and data.num_classes is None:
                raise ValueError(
                    f"similarity.measures: {name} needs class labels, which {spec.dataset!r} does not have."
                )
        elif is_function(info):
            if spec.similarity.combined:
                raise ValueError(f"similarity.combined: measure {name!r} is a plain function; it needs a Similarity.")
            network = build_network(spec, in_shape, data.num_outputs)
            check_kernel(network, info, in_shape, data.num_classes is not None)
        else:
            kernel_of(info)


def check_layout(setup: Setup, manifest: dict[str, Any]) -> None:
    """Raise if the slots of a manifest's layouts do not fit this machine."""
    # The manifest may come from anywhere, so its numbers are checked before memory is allocated by them.
    for name, population in setup.populations.items():
        layout = layout_of(manifest, name)
        if layout is None:
            continue
        sizes = network_sizes(population.as_spec(setup.spec), setup.data.x_train.shape[1:], setup.data.num_outputs)
        state = COPIES_OF_WEIGHTS * FLOAT_BYTES * sizes.num_weights
        slots = max(layout["slots"], layout["lanes"]) * layout.get("num_threads", 1)
        if slots * state > physical_bytes():
            raise ValueError(
                f"the manifest's layout, {slots} slots, does not fit this machine; choose another directory."
            )


def layout_of(manifest: Mapping[str, Any], population: str) -> dict[str, Any] | None:
    """Return the batch layout of a population in a manifest, or None if it has none yet."""
    layout = manifest.get("layout", {})
    of_base = layout.get("population") if population == BASE else None
    return layout.get("populations", {}).get(population, of_base)


def check_memory(spec: SweepSpec, sizes: NetworkSizes, num_examples: int = 1) -> None:
    """Raise if a single network of the spec, with one batch and its similarity, does not fit in memory."""
    layers = sizes.layers
    values = COPIES_OF_WEIGHTS * sizes.num_weights
    # A training step keeps the inputs of each layer (gathered per kernel), its activations, and their gradients.
    per_example = sum(layer.locations * (layer.units + layer.fan_in) for layer in layers)
    values += 2 * spec.training.examples_per_step(num_examples) * per_example
    if spec.similarity.measures:
        units = sum(layer.units for layer in layers)
        per_matrix = units if spec.similarity.combined else max(layer.units for layer in layers)
        values += 4 * len(spec.similarity.measures) * per_matrix**2
        # Derivatives of one example with respect to all activations, for all units at once.
        values += 3 * units * sum(layer.locations * layer.units for layer in layers)
    needed = FLOAT_BYTES * values
    available = physical_bytes()
    if needed > available:
        raise ValueError(
            f"network.widths: {[layer.units for layer in layers]} needs about {needed / 2**30:.3g} GiB a trial; "
            f"this machine has {available / 2**30:.3g} GiB. Use narrower layers."
        )


def output_paths(out: Path) -> list[str]:
    """Return the paths that a sweep writes, for display in a plan."""
    names = "spec.toml manifest.json trials.parquet history.parquet similarity/ modules.parquet alignment.parquet"
    return [str(out / name) for name in (*names.split(), "checkpoints/", "figures/")]
