"""Where trials in training were last saved: by this machine, or by a worker of a cluster, alive or not."""

from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from modjax.store.paths import worker_folders
from modjax.training.checkpoint import Snapshot, SnapshotStore


class Saved(NamedTuple):
    """A place where a trial was saved.

    Attributes:
        folder: Of snapshots.
        step: Number of the snapshot.
        epochs: That the trial had behind it.
    """

    folder: str
    step: int
    epochs: int


def saved_in(folder: Path) -> dict[str, Saved]:
    """The trials of one folder, by name."""
    with closing(SnapshotStore(folder)) as store:
        return {name: Saved(str(folder), *found) for name, found in store.trials().items()}


def find_saved(root: Path) -> dict[str, Saved]:
    """Where every trial got farthest, by name."""
    found: dict[str, Saved] = {}
    for folder in (root, *worker_folders(root).values()):
        for name, saved in saved_in(folder).items():
            if name not in found or saved.epochs > found[name].epochs:
                found[name] = saved
    return found


def load_saved(saved: dict[int, Saved], names: list[str], template: Any, say: Callable[[str], None]) -> list[Snapshot]:
    """The states of some trials; those of a damaged snapshot are left out, and said so.

    Args:
        saved: By the trial's index.
        names: Of all trials, by index.
        template: Tree of one trial's state, shapes and dtypes.
        say: Told of what cannot be read.
    """
    groups: defaultdict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    for trial, one in saved.items():
        groups[one.folder, one.step][names[trial]] = trial
    loaded = []
    for (folder, step), index_of in groups.items():
        with closing(SnapshotStore(Path(folder))) as store:
            try:
                loaded.append(store.read(step, template, index_of))
            except Exception as error:  # orbax and tensorstore raise what they like for a damaged file
                told = " ".join(str(error).split())[:100]
                say(
                    f"{Path(folder) / str(step)} cannot be read ({type(error).__name__}: {told}); "
                    f"{len(index_of)} trials begin again"
                )
    return loaded
