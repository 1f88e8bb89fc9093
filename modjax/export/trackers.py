"""Export of a sweep's trials to an optional experiment tracker, as runs: hyperparameters, history and final numbers.

A trial is exported once it is whole: trained, and with all the module rows that the spec asks for. Its numbers do not
change after that, so exporting again, also while a sweep runs, adds only the trials that have become whole since. Runs
that an interrupted export left half done are removed and exported again.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from modjax.integrity.damage import layers_of
from modjax.integrity.directory import FINISHED
from modjax.integrity.recovery import rows_are_all_there
from modjax.io.files import new_folder, write_text
from modjax.names import HYPERPARAMETERS, one_of
from modjax.spec.expand import ID_LENGTH
from modjax.spec.parse import load_spec
from modjax.spec.spec import SweepSpec
from modjax.store.sweep import Sweep, open_sweep

TRACKERS = ("tensorboard", "wandb", "mlflow")
SETTINGS = ("arm", "seed", *HYPERPARAMETERS)
NO_METRICS = ("trial_id", "status", "excluded", *SETTINGS)
TRIAL_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")
WANDB_MARKS = "exported"  # not in the folders of its runs: `wandb sync --clean` removes those
MLFLOW_MARK = "modjax_exported"


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


class Export(NamedTuple):
    """Result of :func:`export_sweep`.

    Attributes:
        added: Number of runs that were added.
        left: Number of trials that are not whole yet, or failed: a later export adds them.
        folder: Folder that was written to.
    """

    added: int
    left: int
    folder: Path


def export_sweep(sweep: Sweep | str | os.PathLike, to: str, dest: str | os.PathLike | None = None) -> Export:
    """Export every trial that is whole to a tracker, one run each.

    Args:
        sweep: A sweep or its directory, finished or running.
        to: ``tensorboard``, ``wandb`` (offline, unless ``WANDB_MODE`` says otherwise) or ``mlflow`` (a folder, unless
            ``MLFLOW_TRACKING_URI`` names a server). Each needs its package: ``pip install modjax[tensorboard]``.
        dest: Folder to write to, outside the sweep's directory; None is ``DIR_<tracker>`` beside it.

    Returns:
        The number of runs added, the number of trials left for later, and the folder.

    Raises:
        ValueError: An unknown tracker, one whose package is not installed, a directory that is no sweep, a trial_id
            that is not one of modjax's, or a folder inside the sweep's directory.
    """
    one_of(to, TRACKERS, "tracker")
    add = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}[to]
    sweep = open_sweep(sweep.paths.root if isinstance(sweep, Sweep) else sweep)  # again, since it may have progressed
    folder = export_folder(sweep.paths.root, to, dest)
    spec, trials = load_spec(sweep.paths.spec), sweep.trials
    _check_ids(sweep.paths.table("trials"), trials)
    records = list(trial_records(sweep, spec, trials))
    return Export(add(spec.name, records, folder), trials.height - len(records), folder)


def export_folder(root: Path, to: str, dest: str | os.PathLike | None = None) -> Path:
    """Return the folder of an export: never inside a sweep, since trackers leave links that lead out of their folders.

    Raises:
        ValueError: ``dest`` is the sweep's directory, or lies in it.

    Example:
        >>> str(export_folder(Path("/runs/mine"), "wandb"))
        '/runs/mine_wandb'
    """
    if dest is None:
        own = Path(os.path.abspath(root))
        return own.with_name(f"{own.name}_{to}")
    if Path(dest).resolve().is_relative_to(root.resolve()):
        raise ValueError(f"--dest must be a folder outside the sweep's directory; {dest} is, or lies in, {root}.")
    return Path(dest)


def trial_records(sweep: Sweep, spec: SweepSpec, trials: pl.DataFrame) -> Iterator[TrialRecord]:
    """Yield the trials that are whole so far, sorted by ``trial_id``."""
    history, modules = sweep.history, sweep.modules
    asked_for = pl.col("measure").is_in(spec.similarity.measures) & pl.col("layer").is_in(layers_of(spec))
    modules = modules.filter(asked_for)
    finished = trials.filter(pl.col("status").is_in(FINISHED))
    whole = rows_are_all_there(finished, {"history": [history], "modules": [modules]}, spec)
    histories = history.partition_by("trial_id", as_dict=True)
    modules = modules.filter(pl.col("normalized")).drop_nulls("q")
    q = modules.select("trial_id", "layer", "measure", "q").partition_by("trial_id", as_dict=True)
    for row in trials.filter(pl.col("trial_id").is_in(whole)).iter_rows(named=True):
        key = (row["trial_id"],)
        epochs = histories[key].drop("trial_id").to_dicts() if key in histories else []
        metrics = {name: value for name, value in row.items() if name not in NO_METRICS and value is not None}
        for module_row in q[key].iter_rows(named=True) if key in q else ():
            metrics[f"q/layer_{module_row['layer']}/{module_row['measure']}"] = module_row["q"]
        settings = {name: row[name] for name in SETTINGS}
        yield TrialRecord(row["trial_id"], row["status"], settings, epochs, metrics)


def _check_ids(path: Path, trials: pl.DataFrame) -> None:
    """Raise unless all ids are hexadecimal: trackers use them as names of folders."""
    odd = [trial_id for trial_id in trials["trial_id"] if not TRIAL_ID.fullmatch(trial_id)]
    if odd:
        raise ValueError(
            f"{path}: trial_id {odd[0][:60]!r} is none of modjax, which are {ID_LENGTH} hexadecimal digits; "
            "nothing was exported."
        )


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
    """Write ``folder/trial_id/events...``, with hyperparameters for the HPARAMS tab; return the number of new runs."""
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
    """Write ``folder/wandb/offline-run-.../``; ``folder/exported/trial_id`` comes last and marks the run as whole."""
    wandb = _package("wandb", "wandb")
    mode = os.environ.get("WANDB_MODE", "offline")
    marks = folder / WANDB_MARKS
    fresh = [record for record in records if not (marks / record.trial_id).exists()]
    if fresh:
        folder.mkdir(parents=True, exist_ok=True)
    for record in fresh:
        # There is no mark, so that any run of this trial is one that an interrupted export left.
        for half_done in (folder / "wandb").glob(f"*run-*-{record.trial_id}"):
            shutil.rmtree(half_done)
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
        if mode != "disabled":  # in that mode nothing was kept
            write_text(marks / record.trial_id, f"{mode}\n")
    return len(fresh)


def _mlflow(name: str, records: list[TrialRecord], folder: Path) -> int:
    """Write one run per trial, tagged ``trial_id``; the tag ``modjax_exported`` comes last and marks it as whole."""
    mlflow = _package("mlflow", "mlflow")
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # recent versions refuse a plain folder without it
    uri = os.environ.get("MLFLOW_TRACKING_URI") or folder.resolve().as_uri()
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(name)
    number = experiment.experiment_id if experiment else client.create_experiment(name)
    known = _mlflow_runs(client, number)
    whole = {run.data.tags["trial_id"] for run in known if MLFLOW_MARK in run.data.tags}
    fresh = [record for record in records if record.trial_id not in whole]
    for record in fresh:
        for half_done in (run for run in known if run.data.tags["trial_id"] == record.trial_id):
            client.delete_run(half_done.info.run_id)
        tags = {"trial_id": record.trial_id, "trial_status": record.status}
        run = client.create_run(number, run_name=record.trial_id, tags=tags).info.run_id
        for key, value in record.settings.items():
            client.log_param(run, key, value)
        for row in record.history:
            for key, value in _numbers(row).items():
                client.log_metric(run, key, value, step=row["epoch"])
        for key, value in record.metrics.items():
            client.log_metric(run, f"final/{key}", float(value), step=len(record.history))
        client.set_terminated(run, "FINISHED")
        client.set_tag(run, MLFLOW_MARK, "true")
    return len(fresh)


def _mlflow_runs(client: Any, experiment: str) -> list[Any]:
    """Return the runs that exports have made, whole or half done, without the user's own runs."""
    runs, token = [], None
    while True:
        page = client.search_runs([experiment], page_token=token)
        runs += [run for run in page if {"trial_id", "trial_status"} <= run.data.tags.keys()]
        token = page.token
        if not token:
            return runs
