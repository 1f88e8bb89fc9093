"""The writer of finished trials: saves weights in stacks, then measures and clusters them and commits parts.

A stack is committed twice, each time by renaming a whole folder: after training (weights, and rows of trials and
history) and after analysis (matrices, modules, alignment). So a killed process leaves whole parts or nothing.
"""

import time
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl

from modjax._util.memory import RELEASE_SECONDS, release_free_memory
from modjax.analysis.extensions import analysed_trial, analysis_context, run_trial_analyses
from modjax.analysis.modules import (
    Graph,
    Matrices,
    alignment_rows,
    graphs_of,
    joint_groups,
    module_rows,
    search_settings,
    similarity_rows,
    stack_matrices,
)
from modjax.clustering.layer import LayerModules, cluster_layer
from modjax.engines.base import Measurements, SearchExecutor
from modjax.integrity.damage import layers_of
from modjax.io.files import new_folder
from modjax.names import STOPPED
from modjax.spec.context import SweepContext, measurable, measure_trial
from modjax.spec.failures import Failures, hits_all_trials
from modjax.spec.populations import with_population
from modjax.spec.spec import SweepSpec
from modjax.store.failures import FAILED, failed_in_part, write_failures
from modjax.store.paths import SweepPaths
from modjax.store.stacks import load_stack, next_index, read_ids, save_stack
from modjax.store.tables import write_table
from modjax.sweep.timing import Stages
from modjax.training.events import FinishedTrial
from modjax.types import Params

STACK_TRIALS = 8  # largest number of finished trials in a stack
STACK_SECONDS = 30.0  # longest time before finished trials are saved: what a killed process can lose of them


class PendingStack(NamedTuple):
    """A stack whose module searches are under way.

    Attributes:
        number: Index of the stack.
        matrices: Similarity matrices by measure, for each job.
        jobs: Graphs of each job, by trial and layer.
        failed: Reasons of failed trials, by ``trial_id``.
        trial_ids: Trials of the stack.
        params: Their weights, with a leading trials axis.
    """

    number: int
    matrices: dict[tuple[str, int], dict[str, np.ndarray]]
    jobs: dict[tuple[str, int], list[Graph]]
    failed: dict[str, str]
    trial_ids: list[str]
    params: Params


class StackWriter:
    """Writer that takes finished trials, commits stacks, and submits their graphs to the worker pool.

    Args:
        spec: Spec of the sweep.
        contexts: What the trials of each population share.
        paths: Paths of the sweep.
        planned: Trials table; rows are looked up by ``trial_id``.
        pool: Executor of module searches.
        stages: Clock of the stages.
    """

    def __init__(
        self,
        spec: SweepSpec,
        contexts: dict[str, SweepContext],
        paths: SweepPaths,
        planned: pl.DataFrame,
        pool: SearchExecutor,
        stages: Stages,
    ) -> None:
        self._contexts, self._paths, self._pool, self._stages = contexts, paths, pool, stages
        self._spec = spec
        self._rows = {row["trial_id"]: row for row in planned.iter_rows(named=True)}
        populations = with_population(self._spec, planned)["population"]
        self._population = dict(zip(planned["trial_id"], populations, strict=True))
        self._buffer: list[tuple[str, FinishedTrial]] = []
        self._oldest = 0.0
        self._measured: dict[str, Measurements] = {}
        self._pending: list[PendingStack] = []
        self._next_index = next_index(paths)
        self.failures = Failures()

    def add(self, trial_id: str, finished: FinishedTrial, measured: Measurements | None = None) -> None:
        """Add one trial, measured already or not, to the buffer that :meth:`advance` commits."""
        if measured is not None:
            self._measured[trial_id] = measured
        if not self._buffer:
            self._oldest = time.perf_counter()
        self._buffer.append((trial_id, finished))

    def save(self) -> None:
        """Commit the buffer as a stack without analysis, when the process is about to stop."""
        if self._buffer:
            self._commit_trained()

    def advance(self, is_last: bool = False, is_due: bool = False) -> None:
        """Commit the buffer if it is due, and stacks whose module searches ended (or all stacks, if ``is_last``)."""
        is_old = self._buffer and (is_due or time.perf_counter() - self._oldest >= STACK_SECONDS)
        if len(self._buffer) >= STACK_TRIALS or is_old or (is_last and self._buffer):
            with self._stages("evaluating and saving"):
                indices = self._commit_trained()
            for index in indices:
                self.analyse(index)
        # Searches run in worker processes meanwhile, so only stacks whose searches have ended are collected.
        still = []
        for stack in self._pending:
            if is_last or all(self._pool.is_done(job) for job in stack.jobs):
                with self._stages("waiting for modules"):
                    results = self._collect(stack)
                with self._stages("tables"):
                    self._commit_analysed(stack, results)
            else:
                still.append(stack)
        if len(still) < len(self._pending):
            release_free_memory(every=RELEASE_SECONDS)
        self._pending = still

    def _context(self, trial_id: str) -> SweepContext:
        return self._contexts[self._population[trial_id]]

    def _commit_trained(self) -> list[int]:
        """Commit the buffer; a stack holds trials of one population, whose weights have the same shapes."""
        buffer, self._buffer = self._buffer, []
        groups: dict[tuple[str, bool], list[tuple[str, FinishedTrial]]] = {}
        for trial_id, trial in buffer:  # trials that were stopped early are not analysed: stacks of their own
            groups.setdefault((self._population[trial_id], trial.status == STOPPED), []).append((trial_id, trial))
        return [self._commit_stack(trials) for trials in groups.values()]

    def _commit_stack(self, buffer: list[tuple[str, FinishedTrial]]) -> int:
        # Weights before rows: the trained part, renamed into place last, is what marks the stack as trained.
        index = self._next_index
        self._next_index += 1
        tables = self._paths.tables
        trial_ids = [trial_id for trial_id, _ in buffer]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(trial.params for _, trial in buffer))
        save_stack(self._paths, index, trial_ids, stacked)
        history = [{"trial_id": trial_id, **row} for trial_id, trial in buffer for row in trial.history]
        rows = [
            self.failures.attempt(trial_id, self._trial_row, trial_id, trial) or self._failed_row(trial_id, trial)
            for trial_id, trial in buffer
        ]
        with new_folder(self._paths.trained_part(index)) as folder:
            write_table(folder / "trials.parquet", tables.from_rows("trials", rows))
            write_table(folder / "history.parquet", tables.from_rows("history", history))
            write_failures(folder, self.failures.among(trial_ids))
        return index

    def _failed_row(self, trial_id: str, finished: FinishedTrial) -> dict[str, Any]:
        """Return the row of a trial that could not be measured."""
        known = {"epochs": len(finished.history), "best_epoch": finished.best_epoch, "seconds": finished.seconds}
        return {**self._rows[trial_id], **known, "status": FAILED, "excluded": True}

    def _trial_row(self, trial_id: str, finished: FinishedTrial) -> dict[str, Any]:
        context, row = self._context(trial_id), self._rows[trial_id]
        known = self._measured.get(trial_id)
        numbers = measure_trial(context, row, finished.params) if known is None else known.numbers
        least = context.spec.analysis.min_accuracy
        # ``not >=`` rather than ``<``, so that a NaN accuracy is excluded too.
        is_low = least is not None and not numbers["test_accuracy"] >= least
        is_excluded = finished.status == STOPPED or (finished.status != "untrained" and is_low)
        return {
            **row,
            **numbers,
            "status": finished.status,
            "excluded": is_excluded,
            "epochs": len(finished.history),
            "best_epoch": finished.best_epoch,
            "seconds": finished.seconds,
        }

    def analyse(self, index: int) -> None:
        """Compute the matrices of a committed stack from its saved weights, and submit its module searches."""
        context = self._context(read_ids(self._paths.stack_ids(index))[0])
        one_trial = jax.eval_shape(context.network.init, jax.random.key(0))
        trial_ids, stacked = load_stack(self._paths, index, one_trial)
        stack = PendingStack(index, {}, {}, failed_in_part(self._paths, index), trial_ids, stacked)
        if self._is_stopped(index):
            self._commit_analysed(stack._replace(trial_ids=[]), {})
            return
        with self._stages("similarity"):
            matrices = self._matrices(context, trial_ids, stacked)
        for trial_id, layers in zip(trial_ids, matrices, strict=True):
            if trial_id not in stack.failed:
                self.failures.attempt(trial_id, self._submit, stack, trial_id, layers)
        stack.failed.update(self.failures.among(trial_ids))
        self._pending.append(stack)

    def _is_stopped(self, index: int) -> bool:
        path = self._paths.part_table("trials", index)
        return self._paths.tables.read(path, "trials")["status"].eq(STOPPED).all()

    def _matrices(self, context: SweepContext, trial_ids: list[str], stacked: Params) -> list[Matrices]:
        """Return the matrices of each trial; if the stack as a whole raises, each trial is measured alone."""
        known = [self._measured.pop(trial_id, None) for trial_id in trial_ids]
        if all(measured is not None for measured in known):
            return [measured.matrices for measured in known if measured is not None]

        network, measured = measurable(context, stacked, [self._rows[trial_id] for trial_id in trial_ids])

        def measure(params: Params) -> list[Matrices]:
            return stack_matrices(network, params, context.analysed_examples, context.spec)

        try:
            return measure(measured)
        except Exception as error:
            if hits_all_trials(error):
                raise
        # One bad trial must not take the others of its stack with it; trials that raise get no matrices.
        alone = []
        for index, trial_id in enumerate(trial_ids):
            trial_params = jax.tree.map(lambda leaf, index=index: leaf[index : index + 1], measured)
            alone += self.failures.attempt(trial_id, measure, trial_params) or [{}]
        return alone

    def _submit(self, stack: PendingStack, trial_id: str, layers: Matrices) -> None:
        graphs = {layer: graphs_of(measures, self._spec) for layer, measures in layers.items()}
        settings, seed = search_settings(self._spec), self._rows[trial_id]["seed"]
        for layer, (named, signed) in graphs.items():
            job = (trial_id, layer)
            stack.jobs[job], stack.matrices[job] = named, layers[layer]
            self._pool.submit(job, cluster_layer, signed, settings, seed, joint_groups(named))

    def _collect(self, stack: PendingStack) -> dict[tuple[str, int], LayerModules]:
        """Return the results of a stack's jobs; a trial with a failed layer is left out with all its layers."""
        results = {job: self.failures.attempt(job[0], self._pool.result, job) for job in stack.jobs}
        stack.failed.update(self.failures.among(trial_id for trial_id, _ in stack.jobs))
        return {job: value for job, value in results.items() if job[0] not in stack.failed}

    def _commit_analysed(self, stack: PendingStack, results: dict[tuple[str, int], LayerModules]) -> None:
        modules, alignment = [], []
        similarity: dict[int, list[dict[str, Any]]] = {}
        for (trial_id, layer), result in results.items():
            graphs = stack.jobs[trial_id, layer]
            modules += module_rows(trial_id, layer, graphs, result)
            alignment += alignment_rows(trial_id, layer, graphs, result)
            similarity.setdefault(layer, []).extend(similarity_rows(trial_id, layer, stack.matrices[trial_id, layer]))
        analyses = self._analyses(stack, results)
        # An analysis that raised fails its trial, with all its rows.
        modules, alignment = (
            [row for row in rows if row["trial_id"] not in stack.failed] for rows in (modules, alignment)
        )
        tables = self._paths.tables
        with new_folder(self._paths.analysed_part(stack.number)) as folder:
            write_failures(folder, stack.failed)
            for layer in layers_of(self._paths, self._spec):  # also without rows, if all trials of the stack failed
                path = self._paths.similarity_file(layer, folder / "similarity")
                rows = [row for row in similarity.get(layer, []) if row["trial_id"] not in stack.failed]
                write_table(path, tables.from_rows("similarity", rows))
            write_table(folder / "modules.parquet", tables.from_rows("modules", modules))
            write_table(folder / "alignment.parquet", tables.from_rows("alignment", alignment))
            # Also without rows: the part says which trials were covered.
            for name, frames in analyses.items():
                write_table(folder / f"{name}.parquet", pl.concat([tables.empty(name), *frames]))

    def _analyses(
        self, stack: PendingStack, results: dict[tuple[str, int], LayerModules]
    ) -> dict[str, list[pl.DataFrame]]:
        """Return the rows of the analyses of extensions, by table; a trial for which one raises is failed."""
        tables = self._paths.tables
        frames: dict[str, list[pl.DataFrame]] = {name: [] for name in tables.of_analyses("trial")}
        for position, trial_id in enumerate(stack.trial_ids if frames else ()):
            if trial_id in stack.failed:
                continue
            jobs = [job for job in results if job[0] == trial_id]
            layers = {job[1]: (stack.jobs[job], stack.matrices[job], results[job]) for job in jobs}
            subject = analysed_trial(self._rows[trial_id], stack.params, position, layers)
            context = analysis_context(self._context(trial_id))
            own = self.failures.attempt(trial_id, run_trial_analyses, tables, context, subject)
            for name, frame in (own or {}).items():
                frames[name].append(frame)
        stack.failed.update(self.failures.among(stack.trial_ids))
        return frames
