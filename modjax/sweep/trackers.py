"""A sweep's trials as runs of an experiment tracker: hyperparameters, history, final numbers; nothing needs one.

A trial that a tracker already has is left alone, so that exporting again, while a sweep runs, adds what is new.
"""

import os
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from modjax.names import HYPERPARAMETERS, one_of
from modjax.storage.files import new_folder
from modjax.storage.results import Sweep, open_sweep
from modjax.sweep.status import table_so_far

TRACKERS = ("tensorboard", "wandb", "mlflow")
SETTINGS = ("arm", "seed", *HYPERPARAMETERS)
NO_METRICS = ("trial_id", "status", "excluded", *SETTINGS)


class TrialRecord(NamedTuple):
    """One trial, for a tracker.

    Attributes:
        trial_id: As in the table of trials.
        status: As there.
        settings: Arm, seed and hyperparameters.
        history: A row an epoch: ``epoch`` and numbers.
        metrics: Final numbers: those of the table of trials, and Q of the normalized matrices by layer and measure.
    """

    trial_id: str
    status: str
    settings: dict[str, Any]
    history: list[dict[str, Any]]
    metrics: dict[str, float]


def export_sweep(sweep: Sweep | str | os.PathLike, to: str, dest: str | os.PathLike | None = None) -> int:
    """Give every trial that has ended to a tracker, one run each.

    Args:
        sweep: A sweep or its directory, finished or running.
        to: ``tensorboard``, ``wandb`` (offline, unless ``WANDB_MODE`` says otherwise) or ``mlflow`` (a folder, unless
            ``MLFLOW_TRACKING_URI`` names a server). Each needs its package: ``pip install modjax[tensorboard]``.
        dest: Folder to write to; in the sweep's directory, named after the tracker, where None.

    Returns:
        How many runs were added.

    Raises:
        ValueError: An unknown tracker, one whose package is not there, or a directory that is no sweep.
    """
    one_of(to, TRACKERS, "tracker")
    add = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}[to]
    sweep = sweep if isinstance(sweep, Sweep) else open_sweep(sweep)
    name = str(sweep.manifest.get("name", "sweep"))
    folder = Path(dest) if dest is not None else sweep.layout.root / to
    return add(name, list(trial_records(sweep)), folder)


def trial_records(sweep: Sweep) -> Iterator[TrialRecord]:
    """The trials that have ended so far, sorted by ``trial_id``."""
    trials = table_so_far(sweep, "trials").filter(pl.col("status") != "pending")
    histories = table_so_far(sweep, "history").partition_by("trial_id", as_dict=True)
    modules = table_so_far(sweep, "modules").filter(pl.col("normalized"))
    q = modules.select("trial_id", "layer", "measure", "q").partition_by("trial_id", as_dict=True)
    for row in trials.iter_rows(named=True):
        key = (row["trial_id"],)
        history = histories[key].drop("trial_id").to_dicts() if key in histories else []
        metrics = {name: value for name, value in row.items() if name not in NO_METRICS and value is not None}
        for one in q[key].iter_rows(named=True) if key in q else ():
            metrics[f"q/layer_{one['layer']}/{one['measure']}"] = one["q"]
        settings = {name: row[name] for name in SETTINGS}
        yield TrialRecord(row["trial_id"], row["status"], settings, history, metrics)


def _package(tracker: str, module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ValueError(
            f"--to {tracker} needs the package {tracker} ({' '.join(str(error).split())}); "
            f"install it: pip install 'modjax[{tracker}]'."
        ) from error


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if name != "epoch" and value is not None}


def _tensorboard(name: str, records: list[TrialRecord], folder: Path) -> int:
    """``folder/trial_id/events...``; hyperparameters for the HPARAMS tab."""
    del name
    writer_of = _package("tensorboard", "tensorboard.summary.writer.event_file_writer").EventFileWriter
    Event = _package("tensorboard", "tensorboard.compat.proto.event_pb2").Event  # noqa: N806
    Summary = _package("tensorboard", "tensorboard.compat.proto.summary_pb2").Summary  # noqa: N806
    hparams_of: Callable = _package("tensorboard", "tensorboard.plugins.hparams.summary_v2").hparams_pb
    fresh = [record for record in records if not (folder / record.trial_id).exists()]
    for record in fresh:
        with new_folder(folder / record.trial_id) as temporary:
            writer = writer_of(str(temporary))
            writer.add_event(Event(summary=hparams_of(record.settings, trial_id=record.trial_id)))
            final = {f"final/{key}": value for key, value in record.metrics.items()}
            for step, numbers in [*((row["epoch"], row) for row in record.history), (len(record.history), final)]:
                values = [Summary.Value(tag=key, simple_value=value) for key, value in _numbers(numbers).items()]
                writer.add_event(Event(step=step, summary=Summary(value=values)))
            writer.close()
    return len(fresh)


def _wandb(name: str, records: list[TrialRecord], folder: Path) -> int:
    wandb = _package("wandb", "wandb")
    mode = os.environ.get("WANDB_MODE", "offline")
    fresh = [record for record in records if not list((folder / "wandb").glob(f"*run-*-{record.trial_id}"))]
    if fresh:
        folder.mkdir(parents=True, exist_ok=True)
    for record in fresh:
        run = wandb.init(
            project=name,
            id=record.trial_id,
            name=record.trial_id,
            group=record.settings["arm"],
            tags=[record.status],
            config=record.settings,
            mode=mode,
            dir=str(folder),
            reinit="finish_previous",
            settings=wandb.Settings(silent=True),
        )
        for row in record.history:
            run.log(_numbers(row), step=row["epoch"])
        run.summary.update(record.metrics)
        run.finish()
    return len(fresh)


def _mlflow(name: str, records: list[TrialRecord], folder: Path) -> int:
    mlflow = _package("mlflow", "mlflow")
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else recent ones refuse a plain folder
    uri = os.environ.get("MLFLOW_TRACKING_URI") or folder.resolve().as_uri()
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(name)
    number = experiment.experiment_id if experiment else client.create_experiment(name)
    fresh = [
        record
        for record in records
        if not client.search_runs([number], f"tags.trial_id = '{record.trial_id}'", max_results=1)
    ]
    for record in fresh:
        tags = {"trial_id": record.trial_id, "trial_status": record.status}
        run = client.create_run(number, run_name=record.trial_id, tags=tags).info.run_id
        for key, value in record.settings.items():
            client.log_param(run, key, value)
        for row in record.history:
            for key, value in _numbers(row).items():
                client.log_metric(run, key, value, step=row["epoch"])
        for key, value in record.metrics.items():
            client.log_metric(run, f"final/{key}", float(value), step=len(record.history))
        client.set_terminated(run, "FAILED" if record.status == "failed" else "FINISHED")
    return len(fresh)
