"""Formulas for the bytes that a sweep takes on the device, in the host's memory and on the disk; nothing is run."""

import math

from modjax.spec.networks import NetworkSizes, network_sizes
from modjax.spec.setup import FLOAT_BYTES, Setup
from modjax.sweep.writer import STACK_TRIALS
from modjax.training.batch_layout import BatchLayout

# Measured on finished sweeps, as compressed in parquet files; right within a third.
MATRIX_SHARE = 0.85
GRAPH_BYTES, GRAPH_UNIT_BYTES = 100, 6
PAIR_BYTES, PAIR_NULL_BYTES = 85, 60
EPOCH_BYTES, TRIAL_BYTES = 12, 200
STACK_BYTES = 40_000  # of a stack's checkpoint, in addition to the weights
FIGURE_BYTES, FIGURE_TRIAL_BYTES = 4_800_000, 10_000  # PNG, SVG and CSV
PAGE_BYTES, PAGE_TRIAL_BYTES, PAGE_MOST = 5_400_000, 8_000, 14_400_000  # plotly, rows; the largest page
STATE_COPIES = 4  # weights, two moments of Adam, best weights
MAIN_BYTES = 1_400_000_000  # the interpreter with JAX, polars, igraph, compiled programs
WORKER_BYTES = 300_000_000


def disk_bytes(setup: Setup, layout: BatchLayout, num_devices: int, epochs: float) -> dict[str, int]:
    """Return the bytes on the disk by their content; those ``while training`` are removed at the end.

    Args:
        setup: Spec, data and trials of a population.
        layout: Batch layout, which gives the number of slots.
        num_devices: Number of devices, each with slots of its own.
        epochs: Mean number of epochs of a trained trial.
    """
    spec, num_trials = setup.spec, setup.trials.height
    units = matrix_units(setup)
    num_measures = len(spec.similarity.measures)
    num_graphs = 2 * num_measures
    pairs = num_trials * len(units) * num_graphs * (num_graphs + 1) // 2
    weights = FLOAT_BYTES * weights_of(setup)
    per_graph = GRAPH_BYTES * len(units) + GRAPH_UNIT_BYTES * (1 + bool(spec.modules.consensus)) * sum(units)
    slots = layout.slots * max(layout.num_threads, num_devices)
    sizes = {
        "similarity": MATRIX_SHARE * FLOAT_BYTES * num_trials * num_measures * sum(width**2 for width in units),
        "modules": num_trials * num_graphs * per_graph,
        "alignment": pairs * (PAIR_BYTES + PAIR_NULL_BYTES * bool(spec.alignment.permutations)),
        "trials and history": num_trials * (TRIAL_BYTES + EPOCH_BYTES * epochs),
        "checkpoints": num_trials * weights + math.ceil(num_trials / STACK_TRIALS) * STACK_BYTES,
        "figures": FIGURE_BYTES + FIGURE_TRIAL_BYTES * num_trials,
        "report": min(PAGE_MOST, PAGE_BYTES + num_trials * (PAGE_TRIAL_BYTES + page_matrix_bytes(units, num_measures))),
        "while training": 2 * STATE_COPIES * weights * min(slots, num_trials),
    }
    return {name: round(size) for name, size in sizes.items()}


def page_matrix_bytes(units: list[int], num_measures: int) -> float:
    """Return one trial's bytes in the report page: 1 per entry above the diagonal, 4 per unit, times 4/3 as base64."""
    return 4 / 3 * num_measures * sum(width * (width - 1) / 2 + FLOAT_BYTES * width for width in units)


def device_bytes(setup: Setup, layout: BatchLayout) -> int:
    """Return the memory of each device: examples, states of the trials in slots, and arrays of a training step."""
    data, spec = setup.data, setup.spec
    item = 1 if data.x_train.dtype.itemsize == 1 else FLOAT_BYTES
    examples = item * (data.x_train.size + data.x_test.size) + 4 * (len(data.y_train) + len(data.y_test))
    state = STATE_COPIES * FLOAT_BYTES * weights_of(setup)
    layers = sizes_of(setup).layers
    batch = spec.training.examples_per_step(len(data.x_train))
    inputs = FLOAT_BYTES * batch * data.in_features
    step = 2 * FLOAT_BYTES * batch * sum(layer.locations * (layer.units + layer.fan_in) for layer in layers[1:])
    # The first layer's inputs are the examples: they are counted below, once where all lanes share them.
    step += 2 * FLOAT_BYTES * batch * layers[0].locations * layers[0].units + 2 * state
    copies = inputs if layout.is_paired else inputs * layout.lanes
    return round(examples + layout.num_threads * ((layout.slots + 1) * state + layout.lanes * step + copies))


def host_bytes(device: int, is_cpu: bool, num_workers: int, measured: int = 0) -> int:
    """Return the memory of this process and its workers; a CPU's device memory is the host's.

    Args:
        device: Bytes on the device.
        is_cpu: Whether the device is the host's CPU.
        num_workers: Number of worker processes.
        measured: Peak bytes of the probe; 0 without one.
    """
    return max(MAIN_BYTES + (device if is_cpu else 0), measured) + num_workers * WORKER_BYTES


def matrix_units(setup: Setup) -> list[int]:
    """Return the number of units of every matrix of one measure of one trial."""
    units = [layer.units for layer in sizes_of(setup).layers]
    return [*units, sum(units)] if setup.spec.similarity.combined else units


def sizes_of(setup: Setup) -> NetworkSizes:
    """Return the sizes of a population's network."""
    return network_sizes(setup.spec, setup.data.x_train.shape[1:], setup.data.num_outputs)


def weights_of(setup: Setup) -> int:
    """Return the number of weights and biases of one network."""
    return sizes_of(setup).num_weights


def size_text(size: int | float) -> str:
    """Return a number of bytes as readable text.

    Example:
        >>> size_text(999), size_text(12_345_678), size_text(3.2e9)
        ('1 kB', '12 MB', '3.2 GB')
    """
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{math.ceil(size / 1e3)} kB"
