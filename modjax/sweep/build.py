"""What all trials of a run share, made from its setup: network, task, examples on the device, layout."""

from typing import Any, NamedTuple

import polars as pl

from modjax.networks.base import Network
from modjax.networks.cnn import cnn
from modjax.networks.mlp import mlp
from modjax.storage.layout import SweepLayout
from modjax.sweep.setup import Setup, image_shape
from modjax.sweep.stacks import Engine, hyperparams_of, put_on_device, seeds_of
from modjax.training.config import TrainConfig
from modjax.training.layout import Layout, choose_layout
from modjax.training.objective import classification


class Job(NamedTuple):
    """What is to be trained.

    Attributes:
        setup: Spec and data.
        engine: What all trials share.
        layout: Of the sweep.
        trials: Rows of the trials table.
        slots: Asked for.
        snapshot_seconds: Trials in training are saved so often.
    """

    setup: Setup
    engine: Engine
    layout: SweepLayout
    trials: pl.DataFrame
    slots: int | None
    snapshot_seconds: float


def make_engine(
    setup: Setup, earlier: dict[str, Any], slots: int | None, trials: pl.DataFrame, cores: int | None = None
) -> Engine:
    """What all trials share; the layout of an earlier run is kept, since numbers may depend on it."""
    trials = trials if trials.height else setup.trials  # none to train so far: arms may be added
    spec, data = setup.spec, setup.data
    network = make_network(setup)
    task, config = classification(network), TrainConfig(**spec.training.model_dump(), num_slots=slots)
    train_examples, test_examples = put_on_device(data)
    if "layout" in earlier:
        population = Layout(**earlier["layout"]["population"])
    else:
        population = choose_layout(task, config, hyperparams_of(trials), seeds_of(trials), train_examples, cores=cores)
    return Engine(spec, network, task, config, population, train_examples, test_examples)


def make_network(setup: Setup) -> Network:
    """The spec's architecture for its data."""
    data, settings = setup.data, setup.spec.network
    if settings.kind == "cnn":
        return cnn(image_shape(data.x_train.shape[1:]), settings.widths, data.num_classes, settings.activation)
    return mlp(data.in_features, settings.widths, data.num_classes, settings.activation)
