"""Runs of MLflow, in a folder unless MLFLOW_TRACKING_URI names a server."""

import os
from pathlib import Path
from typing import Any

from modjax.export.records import TrialRecord, numbers_of, tracker_package

MLFLOW_MARK = "modjax_exported"


def add_runs(name: str, records: list[TrialRecord], folder: Path) -> int:
    """Write one run per trial, tagged ``trial_id``; the tag ``modjax_exported`` comes last and marks it as whole."""
    mlflow = tracker_package("mlflow", "mlflow")
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
            for key, value in numbers_of(row).items():
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
