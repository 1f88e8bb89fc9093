"""Runs of Weights & Biases, offline unless WANDB_MODE says otherwise."""

import os
import shutil
from pathlib import Path

from modjax.export.records import TrialRecord, numbers_of, tracker_package
from modjax.io.files import write_text

WANDB_MARKS = "exported"  # not in the folders of its runs: `wandb sync --clean` removes those


def add_runs(name: str, records: list[TrialRecord], folder: Path) -> int:
    """Write ``folder/wandb/offline-run-.../``; ``folder/exported/trial_id`` comes last and marks the run as whole."""
    wandb = tracker_package("wandb", "wandb")
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
            run.log(numbers_of(row), step=row["epoch"])
        run.summary.update(record.metrics)
        run.finish()
        if mode != "disabled":  # in that mode nothing was kept
            write_text(marks / record.trial_id, f"{mode}\n")
    return len(fresh)
