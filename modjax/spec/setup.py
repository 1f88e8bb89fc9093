"""Setup of a run from a spec: data, trials, and checks that everything fits, before anything is written."""

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from modjax._util.memory import physical_bytes
from modjax.checks import check_batches
from modjax.data.datasets import Dataset, load_dataset
from modjax.names import DATASETS
from modjax.networks.images import image_shape
from modjax.spec.expand import expand
from modjax.spec.parse import load_spec
from modjax.spec.spec import SweepSpec

COPIES_OF_WEIGHTS = 6  # weights, gradient, two moments of Adam, best weights, and the update in flight
FLOAT_BYTES = 4


class Setup(NamedTuple):
    """A spec with its data and trials.

    Attributes:
        spec: Spec of the sweep.
        data: Dataset of the spec.
        data_checksum: Checksum of the dataset.
        trials: Trials table as planned.
    """

    spec: SweepSpec
    data: Dataset
    data_checksum: str
    trials: pl.DataFrame


def prepare(spec: SweepSpec | str | os.PathLike, data_dir: str | os.PathLike | None = None) -> Setup:
    """Load and check everything that a run needs.

    Raises:
        ValueError: If the spec or the data are wrong, a batch is larger than the training set, a trial occurs twice, or
            the network does not fit in memory.
    """
    spec = spec if isinstance(spec, SweepSpec) else load_spec(spec)
    if spec.dataset not in DATASETS:  # the sweep's own copy of the spec must find the file from anywhere
        spec = spec.model_copy(update={"dataset": os.path.abspath(spec.dataset)})
    check_memory(spec, layer_sizes(spec, (1,)))  # a first check with tiny examples, before data are loaded
    data = load_dataset(spec.dataset, data_dir)
    check_fit(spec, data)
    checksum = data.checksum()
    return Setup(spec, data, checksum, expand(spec, spec.dataset if spec.dataset in DATASETS else checksum))


def check_fit(spec: SweepSpec, data: Dataset) -> None:
    """Raise unless batches and a validation set can be drawn, and the network fits the examples and memory."""
    try:
        check_batches(len(data.x_train), spec.training.batch_size, spec.training.validation_fraction)
    except ValueError as error:
        raise ValueError(f"training.{error}") from None
    layers = layer_sizes(spec, data.x_train.shape[1:])
    locations = [layer.locations for layer in layers]
    if spec.similarity.combined and len(set(locations)) > 1:
        raise ValueError(
            "similarity.combined pairs units place by place, so it needs layers with as many locations each; "
            f"those of this cnn have {locations}. Use combined = false."
        )
    check_memory(spec, layers, data.num_classes)


def check_layout(setup: Setup, manifest: dict[str, Any]) -> None:
    """Raise if the slots of a manifest's layout do not fit this machine."""
    if not manifest:
        return
    # The manifest may come from anywhere, so its numbers are checked before memory is allocated by them.
    population = manifest["layout"]["population"]
    layers = layer_sizes(setup.spec, setup.data.x_train.shape[1:])
    state = COPIES_OF_WEIGHTS * FLOAT_BYTES * num_weights(layers, setup.data.num_classes)
    slots = max(population["slots"], population["lanes"]) * population.get("num_threads", 1)
    if slots * state > physical_bytes():
        raise ValueError(f"the manifest's layout, {slots} slots, does not fit this machine; choose another directory.")


class LayerSize(NamedTuple):
    """Sizes of a hidden layer.

    Attributes:
        locations: Number of locations at which each unit is computed.
        units: Number of units.
        fan_in: Number of inputs of each unit.
    """

    locations: int
    units: int
    fan_in: int


def layer_sizes(spec: SweepSpec, example_shape: tuple[int, ...]) -> list[LayerSize]:
    """Return the hidden layers of a spec's network for examples of a shape, as built by :mod:`modjax.networks`."""
    layers = []
    if spec.network.kind == "mlp":
        inputs = math.prod(example_shape)
        for units in spec.network.widths:
            layers.append(LayerSize(1, units, inputs))
            inputs = units
        return layers
    height, width, channels = image_shape(example_shape)
    for units in spec.network.widths:
        height, width = -(-height // 2), -(-width // 2)  # strides of 2
        layers.append(LayerSize(height * width, units, 9 * channels))  # kernels of 3 x 3
        channels = units
    return layers


def num_weights(layers: list[LayerSize], num_classes: int) -> int:
    """Return the number of weights and biases of all hidden layers and the logits."""
    hidden = sum((layer.fan_in + 1) * layer.units for layer in layers)
    return hidden + (layers[-1].locations * layers[-1].units + 1) * num_classes


def check_memory(spec: SweepSpec, layers: list[LayerSize], num_classes: int = 1) -> None:
    """Raise if a single network of the spec, with one batch and its similarity, does not fit in memory."""
    values = COPIES_OF_WEIGHTS * num_weights(layers, num_classes)
    # A training step keeps the inputs of each layer (gathered per kernel), its activations, and their gradients.
    per_example = sum(layer.locations * (layer.units + layer.fan_in) for layer in layers)
    values += 2 * spec.training.batch_size * per_example
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
            f"network.widths: {list(spec.network.widths)} needs about {needed / 2**30:.3g} GiB a trial; "
            f"this machine has {available / 2**30:.3g} GiB. Use narrower layers."
        )


def output_paths(out: Path) -> list[str]:
    """Return the paths that a sweep writes, for display in a plan."""
    names = "spec.toml manifest.json trials.parquet history.parquet similarity/ modules.parquet alignment.parquet"
    return [str(out / name) for name in (*names.split(), "checkpoints/", "figures/")]
