"""Before a sweep is paid for: its trials, layout, programs, memory, bytes on the disk, and time."""

import math
import os
from typing import NamedTuple

import jax
import polars as pl

from modjax._util.threads import available_cores
from modjax.estimate.machines import known_machines, seconds_there
from modjax.estimate.probe import ProbedCosts, probe
from modjax.estimate.sizes import device_bytes, disk_bytes, host_bytes, matrix_units, weights_of
from modjax.spec.context import SweepContext, hyperparams_of, make_network, put_on_device, seeds_of
from modjax.spec.epochs import EpochGuess, guess_epochs, with_pilot
from modjax.spec.expand import untrained_arms
from modjax.spec.setup import Setup, prepare
from modjax.spec.spec import SweepSpec
from modjax.sweep.writer import STACK_TRIALS
from modjax.training.batch_layout import BatchLayout, choose_layout, expected_use
from modjax.training.config import TrainConfig
from modjax.training.objective import classification

# Seconds of what no probe measures, on two cores of a server of 2024.
START_SECONDS = 4.0  # the interpreter, imports, reading the data
WORKER_SECONDS = 3.0  # a worker's imports
FIGURE_SECONDS = 6.0
TABLE_SECONDS, STACK_TABLE_SECONDS = 0.5, 0.1
GRAPH_EXPONENT = 1.5  # a module search takes so much longer with more units


class Plan(NamedTuple):
    """What a sweep would be.

    Attributes:
        setup: Spec, data, and the table of trials.
        num_trained: Trials to train; the others are untrained networks.
        layout: Seats and the training program, as the run would choose them.
        slots: Trials in lanes at once.
        programs: What is compiled.
        device_bytes: Memory of each device.
        host_bytes: Memory of this process and its workers.
        disk: Bytes on the disk, by what they hold.
        epochs: Mean epochs of a trained trial: the assumption.
        measured: What the probe found; None without one.
        stages: Seconds of each stage; empty without a probe. They are added up: on a CPU all stages share its cores.
        seconds: Least, typical, most, for the range of epochs; None without a probe.
        elsewhere: Seconds by machine that was benchmarked before, and the files that say so.
    """

    setup: Setup
    num_trained: int
    layout: BatchLayout
    slots: int
    programs: tuple[str, ...]
    device_bytes: int
    host_bytes: int
    disk: dict[str, int]
    epochs: EpochGuess
    measured: ProbedCosts | None
    stages: dict[str, float]
    seconds: tuple[float, float, float] | None
    elsewhere: dict[str, tuple[float, tuple[str, ...]]]


def plan_sweep(
    spec: SweepSpec | str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    slots: int | None = None,
    is_probed: bool = True,
    like: str | os.PathLike | None = None,
) -> Plan:
    """What a sweep would take; nothing is written but a temporary folder, which is removed.

    Args:
        spec: A spec or the path of one.
        data_dir: Folder looked in first for the dataset.
        slots: As for :func:`modjax.run_sweep`.
        is_probed: Measure this machine: compile, train for some seconds, measure and cluster one stack of networks.
        like: Directory of an earlier sweep of the same dataset, whose mean epochs are taken.

    Raises:
        ValueError: What :func:`modjax.run_sweep` would raise for such a spec, or a ``like`` that is no such sweep.
    """
    setup = prepare(spec, data_dir)
    guess = guess_epochs(setup.spec, like)
    trained = setup.trials.filter(~pl.col("arm").is_in(untrained_arms(setup.spec)))
    context = _context(setup, trained, slots)
    layout, num_devices = context.population, len(jax.local_devices()[: context.population.num_devices])
    measured = probe(context, trained) if is_probed else None
    if measured is not None and like is None:
        guess = with_pilot(guess, measured.ended, measured.running, setup.spec)
    num_workers = available_cores()
    slots = layout.lanes * layout.num_threads * num_devices
    stages: dict[str, float] = {}
    seconds = None
    if measured is not None:
        low, stages, high = (stage_seconds(setup, trained, layout, slots, measured, epochs) for epochs in guess[:3])
        seconds = (sum(low.values()), sum(stages.values()), sum(high.values()))
    device = device_bytes(setup, layout)
    is_cpu, peak = jax.default_backend() == "cpu", measured.peak_bytes if measured else 0
    return Plan(
        setup,
        trained.height,
        layout,
        slots,
        _programs(setup, layout, trained.height),
        device,
        host_bytes(device, is_cpu, num_workers if setup.spec.similarity.measures else 0, peak),
        disk_bytes(setup, layout, num_devices, guess.typical),
        guess,
        measured,
        stages,
        seconds,
        _elsewhere(setup, trained.height, guess.typical),
    )


def _context(setup: Setup, trained: pl.DataFrame, slots: int | None) -> SweepContext:
    """As the run makes it, but that no layouts are measured: those remembered count, else the default."""
    network = make_network(setup)
    task, config = classification(network), TrainConfig(**setup.spec.training.model_dump(), num_slots=slots)
    train_examples, test_examples = put_on_device(setup.data)
    values = (hyperparams_of(trained), seeds_of(trained))
    layout = choose_layout(task, config, *values, train_examples, may_measure=False)
    return SweepContext(setup.spec, network, task, config, layout, train_examples, test_examples)


def stage_seconds(
    setup: Setup, trained: pl.DataFrame, layout: BatchLayout, slots: int, measured: ProbedCosts, epochs: float
) -> dict[str, float]:
    """Wall seconds of each stage.

    Training: N trials of E epochs in S slots take N E trial-epochs, and half of E more of each slot, since trials end
    one after the other; where trials share batches, lanes idle as :func:`expected_use` says instead. Module searches
    of C core-seconds take C / cores; on a CPU, where training keeps all cores busy, less what untrained networks, which
    come first, get done while the training program is compiled by one core. On an accelerator all that training takes
    longer is theirs.

    Args:
        setup: Spec, data, trials.
        trained: Trials to train.
        layout: Of the population.
        slots: Trials in lanes at once.
        measured: By the probe.
        epochs: Mean epochs of a trained trial.
    """
    num_trials, cores = setup.trials.height, available_cores()
    num_stacks = math.ceil(num_trials / STACK_TRIALS)
    work = trained.height * epochs
    if layout.is_paired:
        per_seed = trained.height / max(1, trained["seed"].n_unique())
        work /= expected_use(layout.lanes, per_seed)
    elif trained.height:
        work += min(slots, trained.height) * epochs / 2
    compiling = measured.compile_train + measured.compile_evaluate + measured.compile_similarity
    saving = measured.save_first + num_stacks * measured.save
    clustering = num_trials * measured.cluster
    if clustering:
        clustering += cores * (WORKER_SECONDS + measured.cluster_first)
    training = work * measured.trial_epoch
    untrained = 1 - trained.height / num_trials
    hidden = min(untrained * clustering, (cores - 1) * measured.compile_train)
    if jax.default_backend() != "cpu":
        hidden = max(hidden, (cores - 1) * training)
    return {
        "starting": START_SECONDS,
        "compiling": compiling,
        "training": training,
        "evaluating and saving": num_trials * measured.evaluate + saving,
        "similarity": num_stacks * measured.similarity,
        "module searches": max(0.0, clustering - hidden) / cores,
        "tables": TABLE_SECONDS + num_stacks * STACK_TABLE_SECONDS,
        "figures": FIGURE_SECONDS,
    }


def _programs(setup: Setup, layout: BatchLayout, num_trained: int) -> tuple[str, ...]:
    found = []
    if num_trained:
        kind = "sharing batches" if layout.is_paired else "in slots"
        found.append(f"an epoch of {layout.lanes} trials {kind}")
        if not layout.is_fixed and layout.lanes > 1:
            found.append("perhaps others with fewer lanes, once training has taken much longer than compiling")
        found.append("evaluation")
    if setup.spec.similarity.measures:
        found.append(f"similarity of {len(matrix_units(setup))} matrices a measure")
    return ("initial weights", *found)


def _elsewhere(setup: Setup, num_trained: int, epochs: float) -> dict[str, tuple[float, tuple[str, ...]]]:
    """By rates of other machines: 6 FLOP a weight, example and epoch; 8 units^2 inputs of each analysed example."""
    spec, data = setup.spec, setup.data
    train = 6.0 * weights_of(setup) * len(data.x_train) * epochs * num_trained
    examples = len(data.x_test if spec.similarity.split == "test" else data.x_train)
    units = matrix_units(setup)
    num_measures = len(spec.similarity.measures)
    per_example = sum(2 * num_measures * width**2 for width in units) + 2 * units[0] ** 2 * data.in_features / 8
    similarity = per_example * examples * setup.trials.height if num_measures else 0.0
    searches = 2 * num_measures * (1 + spec.modules.nulls) * setup.trials.height
    graphs = sum(searches * (width / 64) ** GRAPH_EXPONENT for width in units)
    found = {}
    for machine in known_machines():
        seconds = seconds_there(machine, train, similarity, graphs)
        if seconds is not None:
            found[f"{machine.name} ({machine.about}, {machine.threads} threads)"] = (seconds, machine.files)
    return found
