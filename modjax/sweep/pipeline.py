"""The pipeline of a sweep: train, measure, cluster and align, overlapped and resumable by the same command.

When a sweep is resumed, each trial continues from the first of these that applies:
    1. It is finished in ``trials.parquet``: its rows are in the tables, and nothing is done.
    2. It is in an analysed part: its rows are merged into the tables.
    3. It is in a trained part: its weights are in a stack, and only similarity, modules and alignment are computed.
       Trials whose analysis failed or whose analysis rows were lost are put into such a part again.
    4. It is in a snapshot of trials in training: training continues from that epoch.
    5. Otherwise it is trained from scratch.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import polars as pl

from modjax.engines.base import Engine, EngineOptions
from modjax.engines.registry import as_options, check_options, check_spec, open_engine
from modjax.extensions import Extension
from modjax.integrity.directory import check_directory, with_settings_of, write_plan
from modjax.integrity.environment import check_environment, training_threads
from modjax.integrity.fork import ForkSource, copy_reusable, keep_own_weights, open_source
from modjax.integrity.recovery import analyse_trained, is_complete, kept_of, set_aside_damaged, whole_trials
from modjax.io.files import locked, remove_folder
from modjax.spec.context import SweepContext, TrainingJob, make_contexts
from modjax.spec.epochs import guess_epochs
from modjax.spec.expand import untrained_arms
from modjax.spec.plain import extended
from modjax.spec.populations import with_population
from modjax.spec.setup import Setup, check_layout, prepare
from modjax.spec.spec import SweepSpec
from modjax.store.copies import check_target, copy_finished
from modjax.store.exclusion import exclusion_warnings
from modjax.store.manifest import sweep_paths, write_manifest
from modjax.store.paths import SweepPaths
from modjax.store.sweep import Sweep, open_sweep
from modjax.store.unfinished import earlier_histories
from modjax.sweep.describe import describe_run, dtype_name
from modjax.sweep.finalize import Completion, complete, completion_of, draw, draw_figures, merge_parts, redraw_damaged
from modjax.sweep.late import run_analyses
from modjax.sweep.progress import SweepProgress
from modjax.sweep.timing import Stages, cost_of_run
from modjax.sweep.writer import StackWriter
from modjax.training.events import FinishedTrial
from modjax.training.programs import init_one

SNAPSHOT_SECONDS = 60.0  # between snapshots of trials in training: what a killed process can lose


def run_sweep(
    spec: SweepSpec | Mapping[str, Any] | str | os.PathLike,
    out: str | os.PathLike,
    engine: str | EngineOptions = "local",
    slots: int | None = None,
    data_dir: str | os.PathLike | None = None,
    fork: str | os.PathLike | None = None,
    keep_weights: bool = False,
    copy_to: str | None = None,
    report: bool = True,
    is_quiet: bool = False,
    network: Any = None,
    task: Any = None,
    dataset: Any = None,
    extensions: Iterable[Extension] | Extension = (),
) -> Sweep:
    """Run or continue a sweep: train all trials, find their modules, write tables and figures.

    Works from a plain script without a ``__main__`` guard and from a notebook. While it trains on this machine, a
    ``KeyboardInterrupt`` is raised after a checkpoint at the end of the epoch, or at once if it comes twice.

    Args:
        spec: Spec of the sweep, the path of one, or the values of one.
        out: Directory of the sweep: new, empty, or with this spec's sweep (or one that this spec only adds to).
        engine: Engine that runs the work: ``"local"``, ``"ray"`` (nodes of a cluster, see docs/scaling.md), or
            :class:`modjax.EngineOptions` with the engine's own options.
        slots: Number of trials that train side by side; None lets modjax choose. Kept with the sweep.
        data_dir: Folder that is searched first for the dataset.
        fork: New directory for a sweep that reuses trials of ``out``, which is only read, under other settings,
            versions, devices or threads; :mod:`modjax.integrity.fork` describes which trials.
        keep_weights: Whether ``fork`` copies weights and history alone, also those of an extension whose source has
            changed, and everything else is computed again.
        copy_to: URL of a target for finished files, of a kind that fsspec supports (``s3://...``, ``gs://...``,
            ``file://...``).
        report: Whether to draw the figures and write ``report.html`` at the end. ``modjax report DIR``, or the same
            call with ``report=True``, makes them later.
        is_quiet: Whether to print no progress.
        network: Network of all trials in place of ``[network]``: a record, a :class:`modjax.Network` or a flax module.
        task: Task of all trials: a record or a :class:`modjax.Task`.
        dataset: Dataset in place of the spec's: a record or a :class:`modjax.Dataset`.
        extensions: Records that the spec may name, and paths of Python files that define some (docs/extend.md).

    Returns:
        The finished sweep.

    Raises:
        ValueError: If the spec, the data or the directory is wrong; nothing is written.
        LockedError: If another process works in the directory.
        RuntimeError: If the run failed; what it saved is kept, and the same call continues from there.
    """
    # 1. Check everything that can be checked before anything is written.
    options = as_options(engine)
    check_options(options)
    if copy_to is not None:
        check_target(copy_to)
    if slots is not None and slots < 1:
        raise ValueError(f"slots must be a whole number, at least 1; got {slots}.")
    if keep_weights and fork is None:
        raise ValueError("keep_weights says what a fork copies; give it with fork (--fork NEW_DIR).")
    stages = Stages()
    with stages("setup"):
        setup = prepare(extended(spec, network, task, dataset, extensions, data_dir), data_dir)
        setup = setup._replace(spec=with_settings_of(setup.spec, sweep_paths(Path(out))))
        check_spec(options, setup.spec)
    source = None if fork is None else open_source(Path(out), Path(fork), setup, dtype_name(), keep_weights)
    paths = SweepPaths(Path(out if fork is None else fork), setup.tables)
    _check(paths, setup, slots)
    paths.root.mkdir(parents=True, exist_ok=True)
    completion = completion_of(report)
    with locked(paths.lock):
        # 2. Check again, now that no other process can write here.
        earlier = _check(paths, setup, slots)
        is_done = is_complete(paths, earlier, setup.spec)
        if not is_done:
            check_environment(paths.root, earlier)
        running_engine = None if is_done else open_engine(options, training_threads(earlier))
        try:
            # 3. Do what is left; the engine is closed in any case.
            if running_engine is not None:
                run = _Run(setup, paths, earlier, slots, stages, is_quiet, running_engine, source, completion)
                _run_to_the_end(run)
            # 4. Draw damaged or missing figures and the page of a finished sweep again.
            if completion is not None:
                redraw_damaged(paths, completion, SweepProgress(0, is_quiet).say)
        except ValueError as error:  # the input was checked, so this is a failure of the run
            raise RuntimeError(f"the sweep in {paths.root} failed: {error}") from error
        # 5. Copy the finished files.
        if copy_to is not None:
            copy_finished(paths, copy_to)
    return open_sweep(paths.root)


def _check(paths: SweepPaths, setup: Setup, slots: int | None) -> dict[str, Any]:
    manifest = check_directory(paths, setup.spec, setup.trials, setup.data_checksum, dtype_name())
    check_layout(setup, manifest)
    kept = manifest.get("slots", slots)
    if slots is not None and slots != kept:
        raise ValueError(f"{paths.root} was begun with {kept} slots, which its numbers depend on; leave --slots out.")
    return manifest


class _Run(NamedTuple):
    """One call of :func:`run_sweep` that has work to do.

    Attributes:
        setup: Spec, data and trials.
        paths: Paths of the sweep.
        earlier: Manifest of the last run, or an empty one.
        slots: Number of slots that the user asked for.
        stages: Clock of the stages.
        is_quiet: Whether to print no progress.
        engine: Engine that runs the work.
        source: Sweep to fork from, if any.
        completion: Functions that draw the sweep, or None.
    """

    setup: Setup
    paths: SweepPaths
    earlier: dict[str, Any]
    slots: int | None
    stages: Stages
    is_quiet: bool
    engine: Engine
    source: ForkSource | None
    completion: Completion | None


class _Begun(NamedTuple):
    """A directory ready for a run: contexts, manifest so far, planned trials, and ids of trials with rows in tables."""

    contexts: dict[str, SweepContext]
    manifest: dict[str, Any]
    planned: pl.DataFrame
    finished: list[str]


def _run_to_the_end(run: _Run) -> None:
    """Run all stages of all trials that are not finished."""
    setup, paths, engine, stages = run.setup, run.paths, run.engine, run.stages
    progress = SweepProgress(setup.trials.height, run.is_quiet, paths.progress, guess_epochs(setup.spec).typical)
    is_untrained = pl.col("arm").is_in(untrained_arms(setup.spec))
    is_whole = False
    try:
        with stages("setup"):
            begun = _begin(run, is_untrained, progress)
        contexts, planned = begun.contexts, begun.planned
        with progress:
            # 1. Recover the parts of earlier runs; all other trials wait.
            writer = StackWriter(setup.spec, contexts, paths, planned, engine.searches, stages)
            in_parts = analyse_trained(paths, writer.analyse, progress.say)
            waiting = planned.filter(~pl.col("trial_id").is_in([*begun.finished, *in_parts]))
            progress.begin(planned.height - waiting.height)
            how = "sharing batches" if next(iter(contexts.values())).layout.is_paired else "in slots"
            if len(contexts) > 1:
                how += f", in {len(contexts)} populations one after another"
            progress.say(f"{planned.height} trials, {waiting.height} to do, {begun.manifest['slots']} at a time {how}")
            # 2. Initialize untrained networks, then train the others, population by population; searches run meanwhile.
            waiting = with_population(setup.spec, waiting)
            for name, context in contexts.items():
                own = waiting.filter(population=name)
                _init_untrained(context, own.filter(is_untrained), writer, progress)
                others = with_population(setup.spec, planned.filter(~is_untrained)).filter(population=name)
                earlier = earlier_histories(paths, others, own) if context.spec.training.stopping else {}
                job = TrainingJob(
                    setup, context, paths, own.filter(~is_untrained), run.slots, SNAPSHOT_SECONDS, earlier
                )
                with stages("training"):
                    _train(engine, job, writer, progress)
            # 3. Wait for the last module searches.
            progress.stage("finishing module searches")
            writer.advance(is_last=True)
            engine.close()  # the cost of a worker is known only once it has ended
            # 4. Merge the parts into tables, draw the figures, then mark the sweep as complete in the manifest.
            progress.stage("tables and figures")
            with stages("tables"):
                merge_parts(paths, setup.spec, planned, begun.finished)
                run_analyses(setup, paths, contexts, run.earlier.get("analysed", ()), begun.finished)
            with stages("figures"):
                problem = draw_figures(paths, run.completion)  # raised once the sweep is complete
            cost = cost_of_run(stages, engine.searches.peak_bytes)
            # An old page shows fewer trials; if the process dies here, the next run draws the missing page.
            paths.report.unlink(missing_ok=True)
            manifest = {**begun.manifest, **engine.describe(), **cost, "programs": engine.programs}
            complete(paths, {**manifest, "analysed": [*paths.tables.analyses]})
            is_whole = True
            for warning in exclusion_warnings(open_sweep(paths.root)):
                progress.warn(warning)
            if problem is not None:
                raise problem
            # 5. The page comes last, since it shows the manifest.
            if run.completion is not None:
                draw(run.completion.page, paths)
    finally:
        engine.close(wait=is_whole)


def _begin(run: _Run, is_untrained: pl.Expr, progress: SweepProgress) -> _Begun:
    """Set aside damaged files, then write the manifest, the spec and the trials table."""
    setup, paths, earlier = run.setup, run.paths, run.earlier
    set_aside_damaged(paths, setup.spec, earlier, progress.say)
    contexts = make_contexts(setup, earlier, run.slots, setup.trials.filter(~is_untrained), run.engine.cores)
    manifest = {**describe_run(setup, contexts), **run.engine.describe(), **kept_of(paths, earlier)}
    manifest |= run.source.about() if run.source else {}
    # The manifest comes first: it is what makes the directory a sweep.
    write_manifest(paths, {**manifest, "complete": False})
    finished = whole_trials(paths, setup.spec)
    # Before the plan is written, since it drops the results of trials that are not finished.
    keep_own_weights(paths, setup.spec, setup.trials, finished, progress.say)
    planned = write_plan(paths, setup.spec, setup.trials, finished)
    if run.source is not None:
        copy_reusable(run.source, paths, contexts, setup.spec, planned, finished, progress.say)
    return _Begun(contexts, manifest, planned, finished)


def _init_untrained(context: SweepContext, trials: pl.DataFrame, writer: StackWriter, progress: SweepProgress) -> None:
    """Add untrained networks, with the same weights that a trained trial of that seed starts from."""
    hyperparams = context.values_of(trials)
    for index, row in enumerate(trials.iter_rows(named=True)):
        values = jax.tree.map(lambda column, index=index: jnp.asarray(column[index]), hyperparams)
        params = jax.device_get(init_one(context.task, context.config.recipe(), jnp.uint32(row["seed"]), values).params)
        writer.add(row["trial_id"], FinishedTrial(index, params, params, [], "untrained", -1, 0.0))
        writer.advance()
        progress.update(1, 0, 0, 0)


def _train(engine: Engine, job: TrainingJob, writer: StackWriter, progress: SweepProgress) -> None:
    """Train trials with the engine; those that finish are committed, and their modules are searched."""
    if not job.trials.height:
        return
    trial_ids = job.trials["trial_id"].to_list()
    with closing(engine.train(job)) as reports:
        for report in reports:
            for message in report.messages:
                progress.say(message)
            for trained in report.finished:
                writer.add(trial_ids[trained.trial.trial], trained.trial, trained.measured)
            if report.is_stopping:  # little time is left: save the weights, leave analysis to the next run
                writer.save()
                continue
            writer.advance(is_due=report.is_saving)
            ended = [len(trained.trial.history) for trained in report.finished]
            counts = (len(ended), report.num_training, report.num_epochs, engine.searches.num_unfinished)
            progress.update(*counts, ended, len(writer.failures.reasons))
    remove_folder(job.snapshots)
