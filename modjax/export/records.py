"""What every tracker gets: one record per trial; and what all of them need."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

import polars as pl

from modjax.integrity.damage import layers_of
from modjax.integrity.directory import FINISHED
from modjax.integrity.recovery import rows_are_all_there
from modjax.spec.spec import SweepSpec
from modjax.store.schemas import hyperparameters_in
from modjax.store.sweep import Sweep

NO_METRICS = ("trial_id", "status", "excluded")


class TrialRecord(NamedTuple):
    """One trial, as a tracker gets it.

    Attributes:
        trial_id: As in the table of trials.
        status: As in the table of trials.
        settings: Arm, seed and hyperparameters.
        history: One row per epoch: ``epoch`` and numbers.
        metrics: Final numbers: those of the table of trials, and Q of the normalized matrices by layer and measure.
    """

    trial_id: str
    status: str
    settings: dict[str, Any]
    history: list[dict[str, Any]]
    metrics: dict[str, float]


def trial_records(sweep: Sweep, spec: SweepSpec, trials: pl.DataFrame) -> Iterator[TrialRecord]:
    """Yield the trials that are whole so far, sorted by ``trial_id``."""
    history, modules = sweep.history, sweep.modules
    asked_for = pl.col("measure").is_in(spec.similarity.measures) & pl.col("layer").is_in(layers_of(sweep.paths, spec))
    modules = modules.filter(asked_for)
    finished = trials.filter(pl.col("status").is_in(FINISHED))
    whole = rows_are_all_there(sweep.paths, finished, {"history": [history], "modules": [modules]}, spec)
    histories = history.partition_by("trial_id", as_dict=True)
    modules = modules.filter(pl.col("normalized")).drop_nulls("q")
    q = modules.select("trial_id", "layer", "measure", "q").partition_by("trial_id", as_dict=True)
    names = ("arm", "seed", *hyperparameters_in(trials))
    for row in trials.filter(pl.col("trial_id").is_in(whole)).iter_rows(named=True):
        key = (row["trial_id"],)
        epochs = histories[key].drop("trial_id").to_dicts() if key in histories else []
        metrics = {
            name: value for name, value in row.items() if name not in (*NO_METRICS, *names) and value is not None
        }
        for module_row in q[key].iter_rows(named=True) if key in q else ():
            metrics[f"q/layer_{module_row['layer']}/{module_row['measure']}"] = module_row["q"]
        settings = {name: row[name] for name in names}
        yield TrialRecord(row["trial_id"], row["status"], settings, epochs, metrics)


def tracker_package(tracker: str, module: str) -> Any:
    """Import a module of a tracker's package.

    Raises:
        ValueError: The package is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ValueError(
            f"--to {tracker} needs the package {tracker} ({' '.join(str(error).split())}); "
            f"install it: pip install 'modjax[{tracker}]'."
        ) from error


def numbers_of(row: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a row of the history, as floats by name."""
    return {name: float(value) for name, value in row.items() if name != "epoch" and value is not None}
