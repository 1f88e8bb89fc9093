"""Analyses that join a sweep late: run for trials that were finished before, from saved weights and tables."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
import polars as pl

from modjax.analysis.extensions import AnalysedTrial, AnalysisContext, analysis_context, run_analysis
from modjax.clustering.partition import Partition
from modjax.integrity.damage import layers_of
from modjax.io.trees import load_tree
from modjax.records import AnalysisInfo
from modjax.spec.context import SweepContext
from modjax.spec.failures import reason_of
from modjax.spec.populations import with_population
from modjax.spec.setup import Setup
from modjax.spec.spec import SweepSpec
from modjax.store.paths import SweepPaths
from modjax.store.stacks import read_ids
from modjax.store.sweep import Sweep
from modjax.store.tables import write_table


def run_late(
    paths: SweepPaths,
    spec: SweepSpec,
    infos: Iterable[AnalysisInfo],
    finished: list[str],
    context_of: Callable[[str], AnalysisContext],
) -> None:
    """Add the rows of analyses for trials that were finished before the analyses were asked for.

    Args:
        paths: Paths of the sweep, whose tables are merged.
        spec: Spec of the sweep.
        infos: Analyses of trials.
        finished: Trials to analyse.
        context_of: Function that returns the context of a trial.

    Raises:
        RuntimeError: If an analysis raises.
    """
    tables, rows = paths.tables, {info.table: [] for info in infos}
    for trial in _trials(paths, spec, set(finished)) if rows else ():
        trial_id = trial.row["trial_id"]
        for info in infos:
            try:
                frame = run_analysis(tables, info, context_of(trial_id), trial, {"trial_id": trial_id})
            except Exception as error:  # of the user's own code
                raise RuntimeError(f"analysis {info.name!r} of trial {trial_id}: {reason_of(error)}") from error
            rows[info.table].append(frame)
    for name, frames in rows.items():
        path = paths.table(name)
        earlier = [tables.read(path, name)] if path.exists() else []
        write_table(path, tables.merge(name, [*earlier, *frames]))


def _trials(paths: SweepPaths, spec: SweepSpec, wanted: set[str]) -> Iterator[AnalysedTrial]:
    """Yield finished trials, stack by stack, the newest first: a trial that was trained again is in several."""
    rows = {row["trial_id"]: row for row in paths.tables.read(paths.table("trials"), "trials").iter_rows(named=True)}
    for index in reversed(paths.stack_indices()):
        chosen = [(row, name) for row, name in enumerate(read_ids(paths.stack_ids(index))) if name in wanted]
        if not chosen:
            continue
        weights = load_tree(paths.stack(index))
        is_chosen = pl.col("trial_id").is_in([name for _, name in chosen])
        files = [paths.similarity_file(layer) for layer in layers_of(paths, spec)]
        matrices = [paths.tables.scan(path, "similarity").where(is_chosen).read() for path in files if path.exists()]
        modules = paths.tables.scan(paths.table("modules"), "modules").where(is_chosen).read()
        for position, trial_id in chosen:
            params = jax.tree.map(lambda leaf, position=position: np.asarray(leaf)[position], weights)
            yield AnalysedTrial(
                rows[trial_id],
                params,
                {key: value for frame in matrices for key, value in _matrices(frame.filter(trial_id=trial_id))},
                dict(_partitions(modules.filter(trial_id=trial_id))),
            )
        wanted -= {name for _, name in chosen}


def _matrices(frame: pl.DataFrame) -> Iterator[tuple[tuple[int, str], np.ndarray]]:
    for row in frame.iter_rows(named=True):
        yield (row["layer"], row["measure"]), np.array(row["matrix"], np.float32).reshape(row["num_units"], -1)


def _partitions(frame: pl.DataFrame) -> Iterator[tuple[tuple[int, str, bool], Partition]]:
    for row in frame.iter_rows(named=True):
        values: dict[str, Any] = {name: row[name] for name in Partition._fields}
        values["labels"] = np.array(row["labels"], np.int32)
        yield (row["layer"], row["measure"], row["normalized"]), Partition(**values)


def run_of_sweep(paths: SweepPaths, infos: Iterable[AnalysisInfo], context: AnalysisContext) -> None:
    """Write the tables of analyses of the whole sweep, whose other tables are merged.

    Raises:
        RuntimeError: If an analysis raises.
    """
    for info in infos:
        try:
            frame = run_analysis(paths.tables, info, context, Sweep(paths.root), {})
        except Exception as error:  # of the user's own code
            raise RuntimeError(f"analysis {info.name!r}: {reason_of(error)}") from error
        write_table(paths.table(info.table), paths.tables.merge(info.table, [frame]))


def run_analyses(
    setup: Setup, paths: SweepPaths, contexts: dict[str, SweepContext], done: Iterable[str], finished: list[str]
) -> None:
    """Run the analyses that trials of earlier runs lack, and those of the whole sweep.

    Args:
        setup: Spec, data and trials.
        paths: Paths of the sweep, whose tables are merged.
        contexts: What the trials of each population share.
        done: Names of the analyses that earlier runs made.
        finished: Trials that earlier runs finished.

    Raises:
        RuntimeError: If an analysis raises.
    """
    infos = [paths.tables.catalog.analyses[name] for name in paths.tables.analyses]
    late = [info for info in infos if info.scope == "trial" and info.name not in done]
    if late and finished:
        names = with_population(setup.spec, setup.trials).select("trial_id", "population").rows()
        of_trial = {trial_id: analysis_context(contexts[name]) for trial_id, name in names}
        run_late(paths, setup.spec, late, finished, of_trial.__getitem__)
    of_sweep = [info for info in infos if info.scope == "sweep"]
    run_of_sweep(paths, of_sweep, analysis_context(next(iter(contexts.values()))))
