"""Finds where trials in training were last saved, by this machine or by a worker of a cluster, alive or not."""

from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from jaxtyping import PyTree

from modjax.store.paths import worker_folders
from modjax.training.checkpoint import Snapshot, SnapshotStore


class Saved(NamedTuple):
    """A snapshot that holds a trial.

    Attributes:
        folder: Folder of snapshots.
        step: Number of the snapshot.
        epochs: Number of epochs the trial had completed.
    """

    folder: str
    step: int
    epochs: int


def saved_in(folder: Path) -> dict[str, Saved]:
    """Return the trials saved in one folder, by name."""
    with closing(SnapshotStore(folder)) as store:
        return {name: Saved(str(folder), *step_and_epochs) for name, step_and_epochs in store.trials().items()}


def find_saved(root: Path) -> dict[str, Saved]:
    """Return every trial's snapshot with the most epochs, by name."""
    farthest: dict[str, Saved] = {}
    for folder in (root, *worker_folders(root).values()):
        for name, saved in saved_in(folder).items():
            if name not in farthest or saved.epochs > farthest[name].epochs:
                farthest[name] = saved
    return farthest


def load_saved(
    saved: dict[int, Saved], names: list[str], template: PyTree, say: Callable[[str], None]
) -> list[Snapshot]:
    """Load the states of some trials; those in a damaged snapshot are left out and reported.

    Args:
        saved: Snapshot of each trial, by the trial's index.
        names: Names of all trials, by index.
        template: Tree of one trial's state, with shapes and dtypes.
        say: Function called with a message about each snapshot that cannot be read.
    """
    # Several trials share a snapshot: each snapshot is read once.
    groups: defaultdict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    for trial, position in saved.items():
        groups[position.folder, position.step][names[trial]] = trial
    loaded = []
    for (folder, step), index_of in groups.items():
        with closing(SnapshotStore(Path(folder))) as store:
            try:
                loaded.append(store.read(step, template, index_of))
            except Exception as error:  # orbax and tensorstore raise all kinds of errors for a damaged file
                reason = " ".join(str(error).split())[:100]
                say(
                    f"{Path(folder) / str(step)} cannot be read ({type(error).__name__}: {reason}); "
                    f"{len(index_of)} trials begin again"
                )
    return loaded
