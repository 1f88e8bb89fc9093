"""Export of a sweep's trials to an optional experiment tracker, as runs: hyperparameters, history and final numbers.

A trial is exported once it is whole: trained, and with all the module rows that the spec asks for. Its numbers do not
change after that, so exporting again, also while a sweep runs, adds only the trials that have become whole since. Runs
that an interrupted export left half done are removed and exported again.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

import polars as pl

from modjax.export.records import trial_records
from modjax.names import one_of
from modjax.records import resolve
from modjax.spec.expand import ID_LENGTH
from modjax.spec.parse import load_spec
from modjax.store.sweep import Sweep, open_sweep

TRACKERS = {name: f"modjax.export.{name}:add_runs" for name in ("tensorboard", "wandb", "mlflow")}
TRIAL_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")


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
    add_runs = resolve(TRACKERS[one_of(to, tuple(TRACKERS), "tracker")])
    sweep = open_sweep(sweep.paths.root if isinstance(sweep, Sweep) else sweep)  # again, since it may have progressed
    folder = export_folder(sweep.paths.root, to, dest)
    spec, trials = load_spec(sweep.paths.spec), sweep.trials
    _check_ids(sweep.paths.table("trials"), trials)
    records = list(trial_records(sweep, spec, trials))
    return Export(add_runs(spec.name, records, folder), trials.height - len(records), folder)


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


def _check_ids(path: Path, trials: pl.DataFrame) -> None:
    """Raise unless all ids are hexadecimal: trackers use them as names of folders."""
    odd = [trial_id for trial_id in trials["trial_id"] if not TRIAL_ID.fullmatch(trial_id)]
    if odd:
        raise ValueError(
            f"{path}: trial_id {odd[0][:60]!r} is none of modjax, which are {ID_LENGTH} hexadecimal digits; "
            "nothing was exported."
        )
