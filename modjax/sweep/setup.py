"""Everything a run needs, made from a spec before anything is written: data, network, trials, sizes that fit."""

import itertools
import os
from pathlib import Path
from typing import NamedTuple

import polars as pl

from modjax.checks import check_batches
from modjax.data.datasets import Dataset, load_dataset
from modjax.names import DATASETS
from modjax.sweep.expand import expand
from modjax.sweep.spec import SweepSpec, load_spec

COPIES_OF_WEIGHTS = 6  # weights, gradient, two moments of Adam, best weights, and the update in flight
FLOAT_BYTES = 4


class Setup(NamedTuple):
    """A spec with its data and its trials."""

    spec: SweepSpec
    data: Dataset
    data_checksum: str
    trials: pl.DataFrame


def prepare(spec: SweepSpec | str | os.PathLike, data_dir: str | os.PathLike | None = None) -> Setup:
    """Load and check all that a run needs.

    Raises:
        ValueError: A spec or data that are wrong, a batch larger than the training set, the same trial twice, or a
            network too large for memory.
    """
    spec = spec if isinstance(spec, SweepSpec) else load_spec(spec)
    if spec.dataset not in DATASETS:  # the sweep's own copy of the spec must find the file from anywhere
        spec = spec.model_copy(update={"dataset": os.path.abspath(spec.dataset)})
    check_memory(spec)
    data = load_dataset(spec.dataset, data_dir)
    check_fit(spec, data)
    checksum = data.checksum()
    return Setup(spec, data, checksum, expand(spec, spec.dataset if spec.dataset in DATASETS else checksum))


def check_fit(spec: SweepSpec, data: Dataset) -> None:
    """Raise unless a batch and a validation set can be drawn, and a network fits memory."""
    try:
        check_batches(len(data.x_train), spec.training.batch_size, spec.training.validation_fraction)
    except ValueError as error:
        raise ValueError(f"training.{error}") from None
    check_memory(spec, data.in_features, data.num_classes)


def num_weights(widths: tuple[int, ...], in_features: int, num_classes: int) -> int:
    """Weights and biases of a dense chain."""
    sizes = (in_features, *widths, num_classes)
    return sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(sizes))


def check_memory(spec: SweepSpec, in_features: int = 1, num_classes: int = 1) -> None:
    """Raise if even one network of the spec, or one of its similarity matrices, does not fit this machine."""
    widths = spec.network.widths
    needed = COPIES_OF_WEIGHTS * FLOAT_BYTES * num_weights(widths, in_features, num_classes)
    units = sum(widths) if spec.similarity.combined else max(widths)
    needed += 4 * len(spec.similarity.measures) * FLOAT_BYTES * units**2
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > available:
        raise ValueError(
            f"network.widths: {list(widths)} needs about {needed / 2**30:.3g} GiB a trial; "
            f"this machine has {available / 2**30:.3g} GiB. Use narrower layers."
        )


def output_paths(out: Path) -> list[str]:
    """What a sweep writes, for a plan."""
    names = "spec.toml manifest.json trials.parquet history.parquet similarity/ modules.parquet alignment.parquet"
    return [str(out / name) for name in (*names.split(), "checkpoints/", "figures/")]
