"""Analyses of extensions: rows that a study computes from each finished trial, or from the whole sweep."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl

from modjax.analysis.modules import Graph
from modjax.clustering.layer import LayerModules
from modjax.clustering.partition import Partition
from modjax.networks.base import Network
from modjax.records import AnalysisInfo, resolve
from modjax.spec.context import SweepContext
from modjax.spec.spec import SweepSpec
from modjax.store.tables import Tables
from modjax.training.objective import Batch, Task
from modjax.types import Params


class AnalysisContext(NamedTuple):
    """What an analysis may read of a sweep.

    Attributes:
        spec: Spec of the sweep, with the static settings of the trial's population.
        network: Architecture of the trial.
        task: What the trial was trained on.
        x: Analysed examples.
        y: Their targets.
        train: Training examples.
        test: Test examples.
    """

    spec: SweepSpec
    network: Network
    task: Task
    x: Any
    y: Any
    train: Batch
    test: Batch


class AnalysedTrial(NamedTuple):
    """A finished trial.

    Attributes:
        row: Row of the trials table.
        params: Best weights.
        matrices: Signed similarity matrices, ``{(layer, measure): [units units]}``; layer -1 is the combined one.
        partitions: Modules, ``{(layer, measure, normalized): Partition}``.
    """

    row: Mapping[str, Any]
    params: Params
    matrices: Mapping[tuple[int, str], np.ndarray]
    partitions: Mapping[tuple[int, str, bool], Partition]


def analysis_context(context: SweepContext) -> AnalysisContext:
    """Return what an analysis may read of a trial's population."""
    examples = context.analysed_examples
    return AnalysisContext(
        context.spec,
        context.network,
        context.task,
        examples.x,
        examples.y,
        context.train_examples,
        context.test_examples,
    )


def analysed_trial(
    row: Mapping[str, Any],
    stacked: Params,
    position: int,
    layers: Mapping[int, tuple[list[Graph], dict[str, np.ndarray], LayerModules]],
) -> AnalysedTrial:
    """Return a trial from its stack's weights and the results of its layers."""
    matrices = {
        (layer, measure): matrix for layer, (_, measures, _) in layers.items() for measure, matrix in measures.items()
    }
    partitions = {
        (layer, graph.measure, graph.normalized): modules.partition
        for layer, (graphs, _, results) in layers.items()
        for graph, modules in zip(graphs, results.graphs, strict=True)
    }
    return AnalysedTrial(row, jax.tree.map(lambda leaf: np.asarray(leaf[position]), stacked), matrices, partitions)


def run_trial_analyses(tables: Tables, context: AnalysisContext, trial: AnalysedTrial) -> dict[str, pl.DataFrame]:
    """Return the rows of every analysis of trials, by table."""
    infos = [tables.catalog.analyses[name] for name in tables.analyses]
    own = {"trial_id": trial.row["trial_id"]}
    return {info.table: run_analysis(tables, info, context, trial, own) for info in infos if info.scope == "trial"}


def run_analysis(tables: Tables, info: AnalysisInfo, context: Any, subject: Any, own: dict[str, Any]) -> pl.DataFrame:
    """Return the rows of an analysis.

    Args:
        tables: What the tables of the sweep hold.
        info: The analysis.
        context: What it may read of the sweep.
        subject: The trial, or the sweep.
        own: Columns that are added to each row.

    Raises:
        ValueError: If the rows are not those that the record describes.
    """
    rows = resolve(info.run)(context, subject)
    wanted = {*info.keys, *info.columns}
    for row in rows:
        if not isinstance(row, Mapping) or row.keys() != wanted:
            came = sorted(row) if isinstance(row, Mapping) else type(row).__name__
            raise ValueError(f"analysis {info.name!r} must return dicts with {sorted(wanted)}; got {came}")
    try:
        frame = tables.from_rows(info.table, [{**own, **row} for row in rows])
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"analysis {info.name!r} returned values of other types: {error}") from error
    keys = frame.select(tables.keys[info.table])
    if frame.height and (sum(keys.null_count().row(0)) or keys.is_duplicated().any()):
        raise ValueError(f"analysis {info.name!r} returned two rows of one key, or a row without its key")
    return frame
