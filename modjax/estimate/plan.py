"""Plan of a sweep before it runs: its trials, layout, programs, memory, bytes on the disk, and time."""

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import jax
import polars as pl

from modjax._util.threads import available_cores
from modjax.estimate.machines import known_machines, seconds_there
from modjax.estimate.probe import ProbedCosts, probe
from modjax.estimate.sizes import device_bytes, disk_bytes, host_bytes, matrix_units, weights_of
from modjax.extensions import Extension
from modjax.spec.context import make_contexts
from modjax.spec.epochs import EpochGuess, guess_epochs, with_pilot
from modjax.spec.expand import untrained_arms
from modjax.spec.plain import extended
from modjax.spec.setup import Setup, prepare
from modjax.spec.spec import SweepSpec
from modjax.sweep.writer import STACK_TRIALS
from modjax.training.batch_layout import BatchLayout, expected_use

# Seconds of the steps that no probe measures, on two cores of a server of 2024.
START_SECONDS = 4.0  # the interpreter, imports, reading the data
WORKER_SECONDS = 3.0  # a worker's imports
FIGURE_SECONDS = 6.0
TABLE_SECONDS, STACK_TABLE_SECONDS = 0.5, 0.1
GRAPH_EXPONENT = 1.5  # the time of a module search grows with this power of the units


class Plan(NamedTuple):
    """Plan of a sweep.

    Attributes:
        setup: Spec, data, and the table of trials.
        num_trained: Number of trials to train; the others are untrained networks.
        layout: Batch layout, as the run would choose it.
        slots: Number of trials that train at the same time.
        programs: Descriptions of the programs that are compiled.
        device_bytes: Memory of each device.
        host_bytes: Memory of this process and its workers.
        disk: Bytes on the disk, by their content.
        epochs: Assumed mean number of epochs of a trained trial.
        measured: Costs measured by the probe; None without a probe.
        stages: Seconds of each stage; empty without a probe. They add up, since on a CPU all stages share its cores.
        seconds: Least, typical and most seconds, for the range of epochs; None without a probe.
        elsewhere: Seconds on each machine that was benchmarked before, and the names of the files they come from.
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
    machines: str | os.PathLike | None = None,
    extensions: Iterable[Extension] | Extension = (),
) -> Plan:
    """Estimate what a sweep would take; only a temporary folder is written, and removed.

    Args:
        spec: A spec or the path of one.
        data_dir: Folder searched first for the dataset.
        slots: As for :func:`modjax.run_sweep`.
        is_probed: Whether to measure this machine: compile, train for some seconds, measure and cluster one stack of
            networks.
        like: Directory of an earlier sweep of the same dataset, whose mean epochs are assumed.
        extensions: As for :func:`modjax.run_sweep`.
        machines: Folder of the rows that ``modjax bench`` wrote on other machines, to estimate the time there too.

    Raises:
        ValueError: A spec for which :func:`modjax.run_sweep` would raise, or a ``like`` that is no such sweep.
    """
    if machines is not None and not Path(machines).is_dir():
        raise ValueError(f"machines must be a folder of rows that 'modjax bench' wrote; {machines} is none.")
    setup = prepare(extended(spec, extensions=extensions, data_dir=data_dir), data_dir)
    guess = guess_epochs(setup.spec, like)
    trained = setup.trials.filter(~pl.col("arm").is_in(untrained_arms(setup.spec)))
    # Layouts are not measured for a plan: a remembered one or the default is used.
    contexts = make_contexts(setup, {}, slots, trained, may_measure=False)
    parts = {name: setup.part(name) for name in contexts}
    # Measured is the population of most trials; the others are taken to cost as many times more as they have weights.
    main = max(parts, key=lambda name: parts[name].trials.height)
    context = contexts[main]
    layout, num_devices = context.layout, len(jax.local_devices()[: context.layout.num_devices])
    of_main = trained.filter(pl.col("trial_id").is_in(parts[main].trials["trial_id"].implode()))
    scale = sum(weights_of(part) * part.trials.height for part in parts.values())
    scale /= weights_of(parts[main]) * setup.trials.height
    measured = probe(context, of_main) if is_probed else None
    if measured is not None and like is None:
        guess = with_pilot(guess, measured.ended, measured.running, setup.spec)
    num_workers = available_cores()
    slots = layout.lanes * layout.num_threads * num_devices
    stages: dict[str, float] = {}
    seconds = None
    if measured is not None:
        measured = measured.scaled(scale, len(parts))
        low, stages, high = (stage_seconds(setup, trained, layout, slots, measured, epochs) for epochs in guess[:3])
        seconds = (sum(low.values()), sum(stages.values()), sum(high.values()))
    device = max(device_bytes(part, contexts[name].layout) for name, part in parts.items())
    disk = [disk_bytes(part, contexts[name].layout, num_devices, guess.typical) for name, part in parts.items()]
    is_cpu, peak = jax.default_backend() == "cpu", measured.peak_bytes if measured else 0
    return Plan(
        setup,
        trained.height,
        layout,
        slots,
        _programs(parts[main], layout, trained.height, len(parts)),
        device,
        host_bytes(device, is_cpu, num_workers if setup.spec.similarity.measures else 0, peak),
        {name: sum(sizes[name] for sizes in disk) for name in disk[0]},
        guess,
        measured,
        stages,
        seconds,
        _elsewhere(parts[main], trained.height, guess.typical, machines),
    )


def stage_seconds(
    setup: Setup, trained: pl.DataFrame, layout: BatchLayout, slots: int, measured: ProbedCosts, epochs: float
) -> dict[str, float]:
    """Return the wall seconds of each stage.

    Training: N trials of E epochs in S slots take N E trial-epochs, and E / 2 more per slot, since trials end one after
    the other; where trials share batches, lanes idle as :func:`expected_use` says instead. Module searches of C
    core-seconds take C / cores. On a CPU, where training keeps all cores busy, this is reduced by the searches of
    untrained networks, which come first and run while one core compiles the training program. On an accelerator,
    searches also run during all of the training.

    Args:
        setup: Spec, data and trials.
        trained: Trials to train.
        layout: Batch layout of the population.
        slots: Number of trials that train at the same time.
        measured: Costs measured by the probe.
        epochs: Mean number of epochs of a trained trial.
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


def _programs(setup: Setup, layout: BatchLayout, num_trained: int, num_populations: int) -> tuple[str, ...]:
    programs = []
    if num_populations > 1:
        programs.append(f"{num_populations} populations, each with programs of its own")
    if num_trained:
        kind = "sharing batches" if layout.is_paired else "in slots"
        programs.append(f"an epoch of {layout.lanes} trials {kind}")
        if not layout.is_fixed and layout.lanes > 1:
            programs.append("perhaps others with fewer lanes, once training has taken much longer than compiling")
        programs.append("evaluation")
    if setup.spec.similarity.measures:
        programs.append(f"similarity of {len(matrix_units(setup))} matrices a measure")
    return ("initial weights", *programs)


def _elsewhere(
    setup: Setup, num_trained: int, epochs: float, machines: str | os.PathLike | None
) -> dict[str, tuple[float, tuple[str, ...]]]:
    """Estimate the seconds on other machines, from their rates and the FLOP of the sweep.

    Training needs 6 FLOP per weight, example and epoch; similarity 2 units^2 per matrix and analysed example, and
    inputs units^2 / 4 for the first layer.
    """
    spec, data = setup.spec, setup.data
    train = 6.0 * weights_of(setup) * len(data.x_train) * epochs * num_trained
    examples = len(data.x_test if spec.similarity.split == "test" else data.x_train)
    units = matrix_units(setup)
    num_measures = len(spec.similarity.measures)
    per_example = sum(2 * num_measures * width**2 for width in units) + 2 * units[0] ** 2 * data.in_features / 8
    similarity = per_example * examples * setup.trials.height if num_measures else 0.0
    searches = 2 * num_measures * (1 + spec.modules.nulls) * setup.trials.height
    graphs = sum(searches * (width / 64) ** GRAPH_EXPONENT for width in units)
    estimates = {}
    for machine in known_machines(Path(machines)) if machines is not None else []:
        seconds = seconds_there(machine, train, similarity, graphs)
        if seconds is not None:
            estimates[f"{machine.name} ({machine.about}, {machine.threads} threads)"] = (seconds, machine.files)
    return estimates
