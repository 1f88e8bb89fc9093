"""Train, measure, cluster, align: overlapped, each stage resumable by running the same command again.

Order of resuming, for every trial:
    1. finished in ``trials.parquet``: its rows are in the tables, nothing is done;
    2. in an analysed part: its rows wait to be merged into the tables;
    3. in a trained part: its weights are in a checkpoint, only similarity, modules and alignment are done;
    4. else it is trained from scratch.
"""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from modjax.clustering.pool import WorkerPool
from modjax.names import one_of
from modjax.networks.cnn import cnn
from modjax.networks.mlp import mlp
from modjax.report.figures import draw_figures
from modjax.storage.files import locked
from modjax.storage.layout import SweepLayout
from modjax.storage.manifest import describe_machine, write_manifest
from modjax.storage.results import Sweep, open_sweep
from modjax.sweep.directory import check_directory, write_plan
from modjax.sweep.expand import untrained_arms
from modjax.sweep.finish import complete, merge_parts
from modjax.sweep.progress import SweepProgress
from modjax.sweep.recovery import drop_stack, is_complete, set_aside_damaged, trials_in_parts, whole_trials
from modjax.sweep.setup import Setup, image_shape, prepare
from modjax.sweep.spec import SweepSpec
from modjax.sweep.stacks import Engine, StackWriter, hyperparams_of, put_on_device
from modjax.training.config import TrainConfig
from modjax.training.objective import classification
from modjax.training.population import FinishedTrial, choose_slots, init_one, train_slots

ENGINES = ("local",)


def run_sweep(
    spec: SweepSpec | str | os.PathLike,
    out: str | os.PathLike,
    engine: str = "local",
    slots: int | None = None,
    data_dir: str | os.PathLike | None = None,
    is_quiet: bool = False,
) -> Sweep:
    """Run a sweep, or go on with one: train all trials, find their modules, write tables and figures.

    Works from a plain script without a ``__main__`` guard and from a notebook.

    Args:
        spec: A spec or the path of one.
        out: Directory of the sweep; new, empty, or holding this spec's sweep (or one that this spec only adds to).
        engine: Where the work runs: ``local``.
        slots: Trials that train side by side; None lets modjax choose. Kept with the sweep.
        data_dir: Folder looked in first for the dataset.
        is_quiet: No progress.

    Returns:
        The finished sweep.

    Raises:
        ValueError: The spec, the data or the directory is wrong; nothing is written.
        LockedError: Another process works in the directory.
        RuntimeError: The run failed; what it saved is kept, and the same call goes on from there.
    """
    one_of(engine, ENGINES, "engine")
    if slots is not None and slots < 1:
        raise ValueError(f"slots must be a whole number, at least 1; got {slots}.")
    setup = prepare(spec, data_dir)
    layout = SweepLayout(Path(out))
    _check(layout, setup, slots)
    layout.root.mkdir(parents=True, exist_ok=True)
    with locked(layout.lock):
        # Looked at again, now that nobody else can write here.
        manifest = _check(layout, setup, slots)
        try:
            if not is_complete(layout, manifest, setup.spec):
                _run(setup, layout, manifest, slots, is_quiet)
            if not list(layout.figures.glob("*.png")):
                draw_figures(open_sweep(layout.root))
        except ValueError as error:  # the input was right, so this is a failure of the run
            raise RuntimeError(f"the sweep in {layout.root} failed: {error}") from error
    return open_sweep(out)


def _check(layout: SweepLayout, setup: Setup, slots: int | None) -> dict[str, Any]:
    manifest = check_directory(layout, setup.spec, setup.trials, setup.data_checksum, _dtype())
    kept = manifest.get("slots", slots)
    if slots is not None and slots != kept:
        raise ValueError(f"{layout.root} was begun with {kept} slots, which its numbers depend on; leave --slots out.")
    return manifest


def _dtype() -> str:
    return str(jax.dtypes.canonicalize_dtype(float))


def _run(setup: Setup, layout: SweepLayout, earlier: dict[str, Any], slots: int | None, is_quiet: bool) -> None:
    """All stages of all trials that are not finished."""
    started = time.perf_counter()
    progress = SweepProgress(setup.trials.height, is_quiet)
    set_aside_damaged(layout, setup.spec, earlier, progress.say)
    is_untrained = pl.col("arm").is_in(untrained_arms(setup.spec))
    config = TrainConfig(**setup.spec.training.model_dump(), num_slots=slots or earlier.get("slots"))
    config = replace(config, num_slots=choose_slots(config, setup.trials.filter(~is_untrained).height))
    manifest = _describe(setup, config)
    # The manifest comes first: it is what makes the directory a sweep.
    write_manifest(layout, {**manifest, "complete": False})
    finished = whole_trials(layout, setup.spec)
    planned = write_plan(layout, setup.spec, setup.trials, finished)

    pool = WorkerPool()
    is_whole = False
    try:
        with progress:
            engine = _make_engine(setup, config)
            writer = StackWriter(engine, layout, planned, pool)
            in_parts = _recover_parts(layout, writer, progress)
            waiting = planned.filter(~pl.col("trial_id").is_in([*finished, *in_parts]))
            progress.begin(planned.height - waiting.height)
            progress.say(f"{planned.height} trials, {waiting.height} to do, {config.num_slots} slots")
            _init_untrained(engine, waiting.filter(is_untrained), writer, progress)
            _train(engine, waiting.filter(~is_untrained), writer, pool, progress)
            progress.stage("finishing module searches")
            writer.advance(is_last=True)
            progress.stage("tables and figures")
            merge_parts(layout, setup.spec, planned, finished)
            complete(layout, {**manifest, "seconds": round(time.perf_counter() - started, 3)})
            draw_figures(open_sweep(layout.root))
            is_whole = True
    finally:
        pool.close(wait=is_whole)


def _recover_parts(layout: SweepLayout, writer: StackWriter, progress: SweepProgress) -> list[str]:
    """Analyse the trained parts that were not, set damaged stacks aside; returns the trials of all parts."""
    kept = []
    analysed = layout.part_indices("analysed")
    for index, trial_ids in trials_in_parts(layout).items():
        if index not in analysed:
            try:
                writer.analyse(index)
            except (ValueError, OSError):
                drop_stack(layout, index, progress.say)
                continue
        kept += trial_ids
    return kept


def _make_engine(setup: Setup, config: TrainConfig) -> Engine:
    spec, data = setup.spec, setup.data
    widths, activation = spec.network.widths, spec.network.activation
    if spec.network.kind == "cnn":
        network = cnn(image_shape(data.x_train.shape[1:]), widths, data.num_classes, activation)
    else:
        network = mlp(data.in_features, widths, data.num_classes, activation)
    return Engine(spec, network, classification(network), config, *put_on_device(data))


def _describe(setup: Setup, config: TrainConfig) -> dict[str, Any]:
    return {
        "name": setup.spec.name,
        "spec_hash": setup.spec.spec_hash(),
        **describe_machine(),
        "precision": {"dtype": _dtype(), "matmul": "highest"},
        "slots": config.num_slots,
        "layout": {"population": "slots", "trials_per_similarity_call": 1},
        "data": {"name": setup.spec.dataset, "checksum": setup.data_checksum},
    }


def _init_untrained(engine: Engine, trials: pl.DataFrame, writer: StackWriter, progress: SweepProgress) -> None:
    """Networks as they are before training; the same weights that a trained trial of that seed starts from."""
    num_examples = len(engine.train_examples.y)
    hyperparams = hyperparams_of(trials)
    for index, row in enumerate(trials.iter_rows(named=True)):
        values = jax.tree.map(lambda column, index=index: jnp.asarray(column[index]), hyperparams)
        state = init_one(engine.task, engine.config, jnp.uint32(row["seed"]), values, num_examples)
        writer.add(row["trial_id"], FinishedTrial(index, state.params, state.params, [], "untrained", -1, 0.0))
        writer.advance()
        progress.update(1, 0, 0, 0)


def _train(
    engine: Engine, trials: pl.DataFrame, writer: StackWriter, pool: WorkerPool, progress: SweepProgress
) -> None:
    """Train the population; while the next epoch's numbers are made, workers search the modules of what finished."""
    if not trials.height:
        return
    seeds = trials["seed"].to_numpy().astype(np.uint32)
    trial_ids = trials["trial_id"].to_list()
    for report in train_slots(engine.task, hyperparams_of(trials), seeds, engine.train_examples, engine.config):
        for one in report.finished:
            writer.add(trial_ids[one.trial], one)
        writer.advance()
        progress.update(
            len(report.finished), len(report.rows) - len(report.finished), len(report.rows), pool.num_unfinished
        )
