"""Train, measure, cluster, align: overlapped, each stage resumable by running the same command again.

Order of resuming, for every trial:
    1. finished in ``trials.parquet``: its rows are in the tables, nothing is done;
    2. in an analysed part: its rows wait to be merged into the tables;
    3. in a trained part: its weights are in a checkpoint, only similarity, modules and alignment are done (trials whose
       rows of those were lost, or whose analysis failed, are put into one again);
    4. in a snapshot of trials in training: it goes on from that epoch;
    5. else it is trained from scratch.
"""

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import polars as pl

from modjax.engines.base import Engine, EngineOptions
from modjax.engines.registry import check_options, open_engine
from modjax.integrity.directory import check_directory, write_plan
from modjax.integrity.environment import check_environment, training_threads
from modjax.integrity.fork import ForkSource, copy_reusable, keep_weights, open_source
from modjax.integrity.recovery import drop_stack, is_complete, kept_of, set_aside_damaged, trials_in_parts, whole_trials
from modjax.io.files import locked, remove_folder
from modjax.measures.plan import make_plan, params_shapes
from modjax.spec.context import SweepContext, TrainingJob, hyperparams_of, make_context
from modjax.spec.epochs import guess_epochs
from modjax.spec.expand import untrained_arms
from modjax.spec.setup import Setup, check_layout, prepare
from modjax.spec.spec import SweepSpec
from modjax.store.copies import check_target, copy_finished
from modjax.store.manifest import describe_machine, write_manifest
from modjax.store.paths import SweepPaths
from modjax.store.sweep import Sweep, open_sweep
from modjax.sweep.finalize import Drawing, complete, draw, draw_figures, drawing_of, merge_parts, redraw_damaged
from modjax.sweep.progress import SweepProgress
from modjax.sweep.timing import Stages, cost_of_run
from modjax.sweep.writer import StackWriter
from modjax.training.events import FinishedTrial
from modjax.training.programs import init_one

SNAPSHOT_SECONDS = 60.0  # trials in training are saved so often: what a killed process can lose of them


def run_sweep(
    spec: SweepSpec | str | os.PathLike,
    out: str | os.PathLike,
    engine: str = "local",
    slots: int | None = None,
    data_dir: str | os.PathLike | None = None,
    is_quiet: bool = False,
    address: str | None = None,
    workers: int | None = None,
    cores_per_worker: int | None = None,
    copy_to: str | None = None,
    fork: str | os.PathLike | None = None,
    report: bool = True,
) -> Sweep:
    """Run a sweep, or go on with one: train all trials, find their modules, write tables and figures.

    Works from a plain script without a ``__main__`` guard and from a notebook; ``KeyboardInterrupt`` while it trains on
    this machine is raised after a checkpoint at the end of the epoch, or at once if it comes twice.

    Args:
        spec: A spec or the path of one.
        out: Directory of the sweep; new, empty, or holding this spec's sweep (or one that this spec only adds to).
        engine: Where the work runs: ``local``, or ``ray`` for the nodes of a cluster (docs/scaling.md).
        slots: Trials that train side by side; None lets modjax choose. Kept with the sweep.
        data_dir: Folder looked in first for the dataset.
        is_quiet: No progress.
        address: Of a Ray cluster; None takes the one that Ray finds, or starts one on this machine.
        workers: At most so many of Ray's workers train.
        cores_per_worker: CPU cores of each of them; None gives a worker all cores of a node.
        copy_to: A URL that fsspec knows (``s3://...``, ``gs://...``, ``file://...``): finished files are copied there.
        fork: A directory for a sweep of its own, which begins with the trials of ``out`` (only read) that it can use
            again: :mod:`modjax.integrity.fork` says which. For other settings, versions, devices or threads.
        report: Whether to draw the figures and write ``report.html`` at the end. ``modjax report DIR``, or the same
            call with ``report=True``, makes them later.

    Returns:
        The finished sweep.

    Raises:
        ValueError: The spec, the data or the directory is wrong; nothing is written.
        LockedError: Another process works in the directory.
        RuntimeError: The run failed; what it saved is kept, and the same call goes on from there.
    """
    options = EngineOptions(engine, address, workers, cores_per_worker)
    check_options(options)
    if copy_to is not None:
        check_target(copy_to)
    if slots is not None and slots < 1:
        raise ValueError(f"slots must be a whole number, at least 1; got {slots}.")
    stages = Stages()
    with stages("setup"):
        setup = prepare(spec, data_dir)
    source = open_source(Path(out), Path(fork), setup, _dtype()) if fork is not None else None
    paths = SweepPaths(Path(out if fork is None else fork))
    _check(paths, setup, slots)
    paths.root.mkdir(parents=True, exist_ok=True)
    drawing = drawing_of(report)
    with locked(paths.lock):
        # Looked at again, now that nobody else can write here.
        manifest = _check(paths, setup, slots)
        is_done = is_complete(paths, manifest, setup.spec)
        if not is_done:
            check_environment(paths.root, manifest)
        engine = None if is_done else open_engine(options, training_threads(manifest))
        try:
            if engine is not None:
                _run(setup, paths, manifest, slots, stages, is_quiet, engine, source, drawing)
            if drawing is not None:
                redraw_damaged(paths, drawing, SweepProgress(0, is_quiet).say)
        except ValueError as error:  # the input was right, so this is a failure of the run
            raise RuntimeError(f"the sweep in {paths.root} failed: {error}") from error
        if copy_to is not None:
            copy_finished(paths, copy_to)
    return open_sweep(paths.root)


def _check(paths: SweepPaths, setup: Setup, slots: int | None) -> dict[str, Any]:
    manifest = check_directory(paths, setup.spec, setup.trials, setup.data_checksum, _dtype())
    check_layout(setup, manifest)
    kept = manifest.get("slots", slots)
    if slots is not None and slots != kept:
        raise ValueError(f"{paths.root} was begun with {kept} slots, which its numbers depend on; leave --slots out.")
    return manifest


def _dtype() -> str:
    return str(jax.dtypes.canonicalize_dtype(float))


def _run(
    setup: Setup,
    paths: SweepPaths,
    earlier: dict[str, Any],
    slots: int | None,
    stages: Stages,
    is_quiet: bool,
    engine: Engine,
    source: ForkSource | None,
    drawing: Drawing | None,
) -> None:
    """All stages of all trials that are not finished."""
    progress = SweepProgress(setup.trials.height, is_quiet, paths.progress, guess_epochs(setup.spec).typical)
    is_untrained = pl.col("arm").is_in(untrained_arms(setup.spec))
    is_whole = False
    try:
        with stages("setup"):
            set_aside_damaged(paths, setup.spec, earlier, progress.say)
            context = make_context(setup, earlier, slots, setup.trials.filter(~is_untrained), engine.cores)
            manifest = {**_describe(setup, context), **engine.describe(), **kept_of(paths, earlier)}
            manifest |= source.about() if source else {}
            # The manifest comes first: it is what makes the directory a sweep.
            write_manifest(paths, {**manifest, "complete": False})
            finished = whole_trials(paths, setup.spec)
            keep_weights(paths, setup.spec, setup.trials, finished, progress.say)
            planned = write_plan(paths, setup.spec, setup.trials, finished)
            if source is not None:
                copy_reusable(source, paths, setup.spec, planned, finished, progress.say)
        with progress:
            writer = StackWriter(context, paths, planned, engine.searches, stages)
            in_parts = _recover_parts(paths, writer, progress)
            waiting = planned.filter(~pl.col("trial_id").is_in([*finished, *in_parts]))
            progress.begin(planned.height - waiting.height)
            told = "sharing batches" if context.population.is_paired else "in slots"
            progress.say(f"{planned.height} trials, {waiting.height} to do, {manifest['slots']} at a time {told}")
            _init_untrained(context, waiting.filter(is_untrained), writer, progress)
            job = TrainingJob(setup, context, paths, waiting.filter(~is_untrained), slots, SNAPSHOT_SECONDS)
            with stages("training"):
                _train(engine, job, writer, progress)
            progress.stage("finishing module searches")
            writer.advance(is_last=True)
            engine.close()  # an ended worker's cost is known
            progress.stage("tables and figures")
            with stages("tables"):
                merge_parts(paths, setup.spec, planned, finished)
            with stages("figures"):
                problem = draw_figures(paths, drawing)  # raised when the sweep is whole
            cost = cost_of_run(stages, engine.searches.peak_bytes)
            paths.report.unlink(missing_ok=True)  # the page of fewer trials: if this process ends here, it is missed
            complete(paths, {**manifest, **engine.describe(), "programs": engine.programs, **cost})
            is_whole = True
            if problem is not None:
                raise problem
            if drawing is not None:
                draw(drawing.page, paths)  # after the manifest, which it shows
    finally:
        engine.close(wait=is_whole)


def _recover_parts(paths: SweepPaths, writer: StackWriter, progress: SweepProgress) -> list[str]:
    """Analyse the trained parts that were not, set damaged stacks aside; returns the trials of all parts."""
    kept = []
    analysed = paths.part_indices("analysed")
    for index, trial_ids in trials_in_parts(paths).items():
        if index not in analysed:
            try:
                writer.analyse(index)
            except (ValueError, OSError):
                drop_stack(paths, index, progress.say)
                continue
        kept += trial_ids
    return kept


def _describe(setup: Setup, context: SweepContext) -> dict[str, Any]:
    population, similarity = context.population, setup.spec.similarity
    in_shape, num_examples = context.analysed_examples.x.shape[1:], len(context.analysed_examples.x)
    shapes = params_shapes(context.network)
    plan = make_plan(context.network, shapes, in_shape, similarity.measures, similarity.combined, num_examples)
    return {
        "name": setup.spec.name,
        "spec_hash": setup.spec.spec_hash(),
        **describe_machine(),
        "precision": {"dtype": _dtype(), "matmul": setup.spec.training.matmul_precision},
        "slots": population.lanes * population.num_threads * len(jax.local_devices()[: population.num_devices]),
        "layout": {"population": population._asdict(), "trials_per_similarity_call": plan.num_trials},
        "data": {"name": setup.spec.dataset, "checksum": setup.data_checksum},
    }


def _init_untrained(context: SweepContext, trials: pl.DataFrame, writer: StackWriter, progress: SweepProgress) -> None:
    """Networks as they are before training; the same weights that a trained trial of that seed starts from."""
    hyperparams = hyperparams_of(trials)
    for index, row in enumerate(trials.iter_rows(named=True)):
        values = jax.tree.map(lambda column, index=index: jnp.asarray(column[index]), hyperparams)
        params = jax.device_get(init_one(context.task, context.config.recipe(), jnp.uint32(row["seed"]), values).params)
        writer.add(row["trial_id"], FinishedTrial(index, params, params, [], "untrained", -1, 0.0))
        writer.advance()
        progress.update(1, 0, 0, 0)


def _train(engine: Engine, job: TrainingJob, writer: StackWriter, progress: SweepProgress) -> None:
    """Train the population wherever the engine does; what finishes is committed, and its modules are searched."""
    if not job.trials.height:
        return
    trial_ids = job.trials["trial_id"].to_list()
    with closing(engine.train(job)) as reports:
        for report in reports:
            for message in report.messages:
                progress.say(message)
            for one in report.finished:
                writer.add(trial_ids[one.trial.trial], one.trial, one.measured)
            if report.is_stopping:
                writer.save()
                continue
            writer.advance(is_due=report.is_saving)
            ended = [len(one.trial.history) for one in report.finished]
            counts = (len(ended), report.num_training, report.num_epochs, engine.searches.num_unfinished)
            progress.update(*counts, ended, len(writer.failures.reasons))
    remove_folder(job.paths.training)
