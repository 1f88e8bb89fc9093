"""Everything needed to go on with trials in training, on any number of devices; kept by orbax, the last two."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from modjax.types import Row


class SeatedTrial(NamedTuple):
    """What the host keeps of a trial in training."""

    trial: int
    epochs: int
    seconds: float
    history: list[Row]


class Snapshot(NamedTuple):
    """Trials in training.

    Attributes:
        states: Tree of ``[trials ...]`` NumPy arrays: weights, optimizer, schedule, best weights.
        trials: A row each. A trial's random numbers follow from its seed and epoch, so no generator has a state.
    """

    states: Any
    trials: tuple[SeatedTrial, ...]


class SnapshotStore:
    """The last two snapshots in a folder, written in the background.

    Args:
        folder: Where; made when it is first written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._manager: Any = None

    def _open(self) -> Any:
        import orbax.checkpoint as ocp

        if self._manager is None:
            options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=True)
            self._manager = ocp.CheckpointManager(self._folder, options=options)
        return self._manager

    def save(self, snapshot: Snapshot, names: Sequence[str] | Mapping[int, str]) -> None:
        """Save in the background; ``names`` says which trial each index is, in any later run."""
        import orbax.checkpoint as ocp

        manager = self._open()
        manager.wait_until_finished()  # orbax would leave this snapshot out while the one before is being written
        step = 1 + (manager.latest_step() if manager.latest_step() is not None else -1)
        rows = [{**one._asdict(), "trial": names[one.trial]} for one in snapshot.trials]
        states = ocp.args.StandardSave(_by_number(jax.tree.leaves(snapshot.states)))
        manager.save(step, args=ocp.args.Composite(states=states, trials=ocp.args.JsonSave({"trials": rows})))

    def newest(self, template: Any, index_of: dict[str, int], say: Callable[[str], None]) -> Snapshot | None:
        """The newest snapshot that can be read, with those trials that ``index_of`` knows.

        Args:
            template: Tree of one trial's state, shapes and dtypes.
            index_of: Index of every trial that is still to be trained, by name.
            say: Told of a snapshot that cannot be read; the one before it is taken.
        """
        if not self._folder.is_dir():
            return None
        for step in sorted(self._open().all_steps(), reverse=True):
            try:
                return self.read(step, template, index_of)
            except Exception as error:  # orbax and tensorstore raise what they like for a damaged file
                told = " ".join(str(error).split())[:100]
                say(
                    f"{self._folder / str(step)} cannot be read ({type(error).__name__}: {told}); trying the one before"
                )
        return None

    def trials(self) -> dict[str, tuple[int, int]]:
        """The newest step of every trial that a readable snapshot holds, and its epochs there, by name.

        A trial that only the older snapshot holds has finished since; whether it was kept, others know.
        """
        found: dict[str, tuple[int, int]] = {}
        if not self._folder.is_dir():
            return found
        for step in sorted(self._open().all_steps()):
            try:
                found |= {row["trial"]: (step, row["epochs"]) for row in self._rows(step)}
            except Exception:  # noqa: S112 (damaged: orbax raises what it likes, and the other snapshot may do)
                continue
        return found

    def _rows(self, step: int) -> list[dict[str, Any]]:
        import orbax.checkpoint as ocp

        return self._open().restore(step, args=ocp.args.Composite(trials=ocp.args.JsonRestore()))["trials"]["trials"]

    def read(self, step: int, template: Any, index_of: dict[str, int]) -> Snapshot:
        """One snapshot, with those trials that ``index_of`` knows; raises whatever orbax does where it is damaged."""
        import orbax.checkpoint as ocp

        rows = self._rows(step)
        shapes, structure = jax.tree.flatten(template)
        targets = [np.empty((len(rows), *shape.shape), shape.dtype) for shape in shapes]
        args = ocp.args.Composite(states=ocp.args.StandardRestore(_by_number(targets)))
        found = self._open().restore(step, args=args)["states"] if rows else _by_number(targets)
        kept = [place for place, row in enumerate(rows) if row["trial"] in index_of]
        leaves = [np.asarray(found[name])[kept] for name in _by_number(targets)]
        trials = tuple(SeatedTrial(**{**rows[place], "trial": index_of[rows[place]["trial"]]}) for place in kept)
        return Snapshot(jax.tree.unflatten(structure, leaves), trials)

    def wait(self) -> None:
        """Until everything is written."""
        if self._manager is not None:
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, and let go of the folder."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None


def _by_number(leaves: list[Any]) -> dict[str, Any]:
    """Leaves under names that do not depend on the tree they came from."""
    return {f"{index:04d}": leaf for index, leaf in enumerate(leaves)}
