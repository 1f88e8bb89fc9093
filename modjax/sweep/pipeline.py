"""Train, measure, cluster, align: overlapped, each stage resumable by running the same command again.

Order of resuming, for every trial:
    1. finished in ``trials.parquet``: its rows are in the tables, nothing is done;
    2. in an analysed part: its rows wait to be merged into the tables;
    3. in a trained part: its weights are in a checkpoint, only similarity, modules and alignment are done;
    4. in a snapshot of trials in training: it goes on from that epoch;
    5. else it is trained from scratch.
"""

import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import polars as pl

from modjax.clustering.pool import WorkerPool
from modjax.measures.plan import make_plan, params_shapes
from modjax.names import one_of
from modjax.networks.base import Network
from modjax.networks.cnn import cnn
from modjax.networks.mlp import mlp
from modjax.report.figures import draw_figures
from modjax.stopping import signals_wait
from modjax.storage.files import locked, remove_folder
from modjax.storage.layout import SweepLayout
from modjax.storage.manifest import describe_machine, write_manifest
from modjax.storage.results import Sweep, open_sweep
from modjax.sweep.directory import check_directory, write_plan
from modjax.sweep.environment import check_environment
from modjax.sweep.expand import untrained_arms
from modjax.sweep.finish import complete, merge_parts, redraw_damaged
from modjax.sweep.fork import Source, copy_reusable, open_source
from modjax.sweep.progress import SweepProgress
from modjax.sweep.recovery import drop_stack, is_complete, kept_of, set_aside_damaged, trials_in_parts, whole_trials
from modjax.sweep.setup import Setup, image_shape, prepare
from modjax.sweep.spec import SweepSpec
from modjax.sweep.stacks import Engine, StackWriter, hyperparams_of, put_on_device, seeds_of
from modjax.sweep.stages import Stages, cost_of_run
from modjax.training.config import TrainConfig
from modjax.training.events import FinishedTrial
from modjax.training.layout import Layout, choose_layout
from modjax.training.objective import classification
from modjax.training.population import init_one, state_shapes
from modjax.training.run import PopulationRun
from modjax.training.snapshot import SnapshotStore

ENGINES = ("local",)
SNAPSHOT_SECONDS = 60.0  # trials in training are saved so often: what a killed process can lose of them


def run_sweep(
    spec: SweepSpec | str | os.PathLike,
    out: str | os.PathLike,
    engine: str = "local",
    slots: int | None = None,
    data_dir: str | os.PathLike | None = None,
    is_quiet: bool = False,
    fork: str | os.PathLike | None = None,
) -> Sweep:
    """Run a sweep, or go on with one: train all trials, find their modules, write tables and figures.

    Works from a plain script without a ``__main__`` guard and from a notebook; ``KeyboardInterrupt`` while it trains is
    raised after a checkpoint at the end of the epoch, or at once if it comes twice.

    Args:
        spec: A spec or the path of one.
        out: Directory of the sweep; new, empty, or holding this spec's sweep (or one that this spec only adds to).
        engine: Where the work runs: ``local``.
        slots: Trials that train side by side; None lets modjax choose. Kept with the sweep.
        data_dir: Folder looked in first for the dataset.
        is_quiet: No progress.
        fork: A directory for a sweep of its own, which begins with the trials of ``out`` (only read) that it can use
            again: :mod:`modjax.sweep.fork` says which. For other settings, versions, devices or threads.

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
    stages = Stages()
    with stages("setup"):
        setup = prepare(spec, data_dir)
    source = open_source(Path(out), Path(fork), setup, _dtype()) if fork is not None else None
    layout = SweepLayout(Path(out if fork is None else fork))
    _check(layout, setup, slots)
    layout.root.mkdir(parents=True, exist_ok=True)
    with locked(layout.lock):
        # Looked at again, now that nobody else can write here.
        manifest = _check(layout, setup, slots)
        is_done = is_complete(layout, manifest, setup.spec)
        if not is_done:
            check_environment(layout.root, manifest)
        try:
            if not is_done:
                _run(setup, layout, manifest, slots, stages, is_quiet, source)
            redraw_damaged(layout, SweepProgress(0, is_quiet).say)
        except ValueError as error:  # the input was right, so this is a failure of the run
            raise RuntimeError(f"the sweep in {layout.root} failed: {error}") from error
    return open_sweep(layout.root)


def _check(layout: SweepLayout, setup: Setup, slots: int | None) -> dict[str, Any]:
    manifest = check_directory(layout, setup.spec, setup.trials, setup.data_checksum, _dtype())
    kept = manifest.get("slots", slots)
    if slots is not None and slots != kept:
        raise ValueError(f"{layout.root} was begun with {kept} slots, which its numbers depend on; leave --slots out.")
    return manifest


def _dtype() -> str:
    return str(jax.dtypes.canonicalize_dtype(float))


def _run(
    setup: Setup,
    layout: SweepLayout,
    earlier: dict[str, Any],
    slots: int | None,
    stages: Stages,
    is_quiet: bool,
    source: Source | None,
) -> None:
    """All stages of all trials that are not finished."""
    progress = SweepProgress(setup.trials.height, is_quiet)
    is_untrained = pl.col("arm").is_in(untrained_arms(setup.spec))
    with stages("setup"):
        set_aside_damaged(layout, setup.spec, earlier, progress.say)
        engine = _make_engine(setup, earlier, slots, setup.trials.filter(~is_untrained))
        manifest = _describe(setup, engine) | kept_of(layout, earlier) | (source.about() if source else {})
        # The manifest comes first: it is what makes the directory a sweep.
        write_manifest(layout, {**manifest, "complete": False})
        finished = whole_trials(layout, setup.spec)
        planned = write_plan(layout, setup.spec, setup.trials, finished)
        if source is not None:
            copy_reusable(source, layout, setup.spec, planned, finished, progress.say)

    pool = WorkerPool()
    is_whole = False
    try:
        with progress:
            writer = StackWriter(engine, layout, planned, pool, stages)
            in_parts = _recover_parts(layout, writer, progress)
            waiting = planned.filter(~pl.col("trial_id").is_in([*finished, *in_parts]))
            progress.begin(planned.height - waiting.height)
            told = "sharing batches" if engine.population.is_paired else "in slots"
            progress.say(f"{planned.height} trials, {waiting.height} to do, {manifest['slots']} at a time {told}")
            _init_untrained(engine, waiting.filter(is_untrained), writer, progress)
            with stages("training"):
                programs = _train(engine, layout, waiting.filter(~is_untrained), writer, pool, progress)
            progress.stage("finishing module searches")
            writer.advance(is_last=True)
            pool.close()  # an ended worker's cost is known
            progress.stage("tables and figures")
            with stages("tables"):
                merge_parts(layout, setup.spec, planned, finished)
            with stages("figures"):
                draw_figures(open_sweep(layout.root))
            complete(layout, {**manifest, "programs": programs, **cost_of_run(stages, pool.num_workers)})
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


def _make_engine(setup: Setup, earlier: dict[str, Any], slots: int | None, trials: pl.DataFrame) -> Engine:
    """What all trials share; the layout of an earlier run is kept, since numbers may depend on it."""
    spec, data = setup.spec, setup.data
    network = _make_network(setup)
    task, config = classification(network), TrainConfig(**spec.training.model_dump(), num_slots=slots)
    train_examples, test_examples = put_on_device(data)
    if "layout" in earlier:
        population = Layout(**earlier["layout"]["population"])
    else:
        population = choose_layout(task, config, hyperparams_of(trials), seeds_of(trials), train_examples)
    return Engine(spec, network, task, config, population, train_examples, test_examples)


def _make_network(setup: Setup) -> Network:
    data, settings = setup.data, setup.spec.network
    if settings.kind == "cnn":
        return cnn(image_shape(data.x_train.shape[1:]), settings.widths, data.num_classes, settings.activation)
    return mlp(data.in_features, settings.widths, data.num_classes, settings.activation)


def _describe(setup: Setup, engine: Engine) -> dict[str, Any]:
    population, similarity = engine.population, setup.spec.similarity
    in_shape, num_examples = engine.analysed_examples.x.shape[1:], len(engine.analysed_examples.x)
    shapes = params_shapes(engine.network)
    plan = make_plan(engine.network, shapes, in_shape, similarity.measures, similarity.combined, num_examples)
    return {
        "name": setup.spec.name,
        "spec_hash": setup.spec.spec_hash(),
        **describe_machine(),
        "precision": {"dtype": _dtype(), "matmul": setup.spec.training.matmul_precision},
        "slots": population.lanes * population.num_threads * len(jax.local_devices()[: population.num_devices]),
        "layout": {"population": population._asdict(), "trials_per_similarity_call": plan.num_trials},
        "data": {"name": setup.spec.dataset, "checksum": setup.data_checksum},
    }


def _init_untrained(engine: Engine, trials: pl.DataFrame, writer: StackWriter, progress: SweepProgress) -> None:
    """Networks as they are before training; the same weights that a trained trial of that seed starts from."""
    hyperparams = hyperparams_of(trials)
    for index, row in enumerate(trials.iter_rows(named=True)):
        values = jax.tree.map(lambda column, index=index: jnp.asarray(column[index]), hyperparams)
        params = jax.device_get(init_one(engine.task, engine.config.recipe(), jnp.uint32(row["seed"]), values).params)
        writer.add(row["trial_id"], FinishedTrial(index, params, params, [], "untrained", -1, 0.0))
        writer.advance()
        progress.update(1, 0, 0, 0)


def _train(
    engine: Engine,
    layout: SweepLayout,
    trials: pl.DataFrame,
    writer: StackWriter,
    pool: WorkerPool,
    progress: SweepProgress,
) -> list[dict[str, Any]]:
    """Train the population; while the next epoch's numbers are made, workers search the modules of what finished.

    Returns the programs that ran: the layout's (with fewer lanes, if memory ran out), and those with the same bits.
    """
    if not trials.height:
        return []
    trial_ids = trials["trial_id"].to_list()
    hyperparams = hyperparams_of(trials)
    shapes = state_shapes(engine.task, engine.config.recipe(), hyperparams)
    store = SnapshotStore(layout.training, layout.damaged)
    with closing(store), signals_wait() as is_asked_to_stop:
        run = PopulationRun(
            engine.task,
            hyperparams,
            seeds_of(trials),
            engine.train_examples,
            engine.config,
            engine.population,
            resume=store.newest(shapes, {name: index for index, name in enumerate(trial_ids)}, progress.say),
        )
        saved = time.perf_counter()
        for report in run.rounds():
            for message in report.messages:
                progress.say(message)
            for one in report.finished:
                writer.add(trial_ids[one.trial], one)
            if is_asked_to_stop():
                writer.save()
                if report.num_seated:
                    store.save(run.snapshot(), trial_ids)
                    store.wait()
                progress.say(f"checkpoint saved: {report.num_seated} trials in training, and all that had finished")
                break
            is_due = time.perf_counter() - saved >= SNAPSHOT_SECONDS
            writer.advance(is_due=is_due)
            if is_due:
                store.save(run.snapshot(), trial_ids)
                saved = time.perf_counter()
            progress.update(len(report.finished), report.num_seated, len(report.rows), pool.num_unfinished)
    remove_folder(layout.training)
    return [one._asdict() for one in run.programs]
