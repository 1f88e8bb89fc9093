"""Everything needed to go on with trials in training, on any number of devices; kept by orbax, the last two."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from modjax.io.files import as_os_error, set_aside
from modjax.io.trees import load_tree, plain_path, told_once
from modjax.io.untrusted import read_json
from modjax.types import Row


class TrialSnapshot(NamedTuple):
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
    trials: tuple[TrialSnapshot, ...]


class SnapshotStore:
    """The last two snapshots in a folder, written in the background.

    Args:
        folder: Where; made when it is first written to.
        damaged: Folder that a snapshot which cannot be used is moved to; None leaves it where it is.
    """

    def __init__(self, folder: Path, damaged: Path | None = None) -> None:
        self._folder, self._damaged = folder.resolve(), damaged
        self._manager: Any = None
        self._path = ExitStack()

    def _open(self) -> Any:
        import orbax.checkpoint as ocp

        if self._manager is None:
            options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=True)
            self._folder.mkdir(parents=True, exist_ok=True)
            self._path.enter_context(told_once())
            plain = self._path.enter_context(plain_path(self._folder))
            self._manager = ocp.CheckpointManager(plain, options=options)
        return self._manager

    def save(self, snapshot: Snapshot, names: Sequence[str] | Mapping[int, str]) -> None:
        """Save in the background; ``names`` says which trial each index is, in any later run.

        A snapshot of no trials is left out: there is nothing to lose, and orbax cannot write arrays of nothing.

        Raises:
            OSError: This snapshot, or the one before it, cannot be written.
        """
        import orbax.checkpoint as ocp

        if not snapshot.trials:
            return
        rows = [{**one._asdict(), "trial": names[one.trial]} for one in snapshot.trials]
        leaves = _by_number(jax.tree.leaves(snapshot.states))
        about = {"trials": rows, "sha256": _digest(leaves if rows else {}, rows)}
        with self._told_as_os_error():
            manager = self._open()
            manager.wait_until_finished()  # orbax would leave this snapshot out while the one before is being written
            step = 1 + max(self.steps(), default=-1)
            states = ocp.args.StandardSave(leaves)
            manager.save(step, args=ocp.args.Composite(states=states, trials=ocp.args.JsonSave(about)))

    def steps(self) -> list[int]:
        """Numbers of the snapshots that are there."""
        return sorted(int(path.name) for path in self._folder.glob("*") if path.name.isdigit())

    def problem(self, step: int) -> str | None:
        """What is wrong with a snapshot, or None."""
        try:
            self._read(step)
        except Exception as error:  # orbax and tensorstore raise what they like for a damaged file
            return _told(error)
        return None

    def newest(self, template: Any, index_of: dict[str, int], say: Callable[[str], None]) -> Snapshot | None:
        """The newest snapshot that can be read, with those trials that ``index_of`` knows.

        Args:
            template: Tree of one trial's state, shapes and dtypes.
            index_of: Index of every trial that is still to be trained, by name.
            say: Told of a snapshot that cannot be read; the one before it is taken.
        """
        for step in reversed(self.steps()):
            try:
                return self.read(step, template, index_of)
            except Exception as error:  # orbax and tensorstore raise what they like for a damaged file
                path, told = self._folder / str(step), _told(error)
                aside = f"moved to {set_aside(path, self._damaged)}; " if self._damaged is not None else ""
                say(f"{path} cannot be read ({told}): {aside}trying the one before")
        return None

    def trials(self) -> dict[str, tuple[int, int]]:
        """The newest step of every trial that a snapshot names, and its epochs there; ``read`` checks the numbers.

        A trial that only the older snapshot holds has finished since; whether it was kept, others know.
        """
        found: dict[str, tuple[int, int]] = {}
        for step in self.steps():
            try:
                found |= {row["trial"]: (step, row["epochs"]) for row in self._about(step)["trials"]}
            except Exception:  # noqa: S112 (damaged: orbax raises what it likes, and the other snapshot may do)
                continue
        return found

    def read(self, step: int, template: Any, index_of: dict[str, int]) -> Snapshot:
        """One snapshot, with those trials that ``index_of`` knows; raises whatever orbax does where it is damaged."""
        return _as_snapshot(*self._read(step), template, index_of)

    def _about(self, step: int) -> dict[str, Any]:
        return read_json(self._folder / str(step) / "trials" / "metadata", "the list of a snapshot's trials")

    def _read(self, step: int) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
        """The leaves and the rows of a snapshot; raises if they are not what was saved."""
        folder, about = self._folder / str(step), self._about(step)
        has_trials = bool(about["trials"])  # arrays of no trials cannot be read back
        leaves = {name: np.asarray(leaf) for name, leaf in load_tree(folder / "states").items()} if has_trials else {}
        if "sha256" in about and about["sha256"] != _digest(leaves, about["trials"]):
            raise ValueError("its numbers are not what was written")
        return leaves, about["trials"]

    def wait(self) -> None:
        """Until everything is written."""
        if self._manager is not None:
            with self._told_as_os_error():
                self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, and let go of the folder."""
        if self._manager is not None:
            manager, self._manager = self._manager, None
            with self._path, self._told_as_os_error():
                manager.close()

    @contextmanager
    def _told_as_os_error(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # orbax and tensorstore raise what they like for a full disk
            raise as_os_error(self._folder, error) from error


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"


def _as_snapshot(
    leaves: dict[str, np.ndarray], rows: list[dict[str, Any]], template: Any, index_of: dict[str, int]
) -> Snapshot:
    if not rows:
        return Snapshot(None, ())
    shapes, structure = jax.tree.flatten(template)
    if [(len(rows), *shape.shape) for shape in shapes] != [leaves[name].shape for name in _by_number(shapes)]:
        raise ValueError("its arrays have other shapes than this spec's trials")
    kept = [place for place, row in enumerate(rows) if row["trial"] in index_of]
    states = [leaves[name][kept] for name in _by_number(shapes)]
    trials = tuple(TrialSnapshot(**{**rows[place], "trial": index_of[rows[place]["trial"]]}) for place in kept)
    return Snapshot(jax.tree.unflatten(structure, states), trials)


def _digest(leaves: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """SHA-256 of the numbers themselves, however they are stored."""
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode())
    for name, leaf in sorted(leaves.items()):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _by_number(leaves: list[Any]) -> dict[str, Any]:
    """Leaves under names that do not depend on the tree they came from."""
    return {f"{index:04d}": leaf for index, leaf in enumerate(leaves)}
