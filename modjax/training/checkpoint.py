"""Snapshots of trials in training, from which any number of devices can go on; orbax keeps the last two."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

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
    """The trials in training.

    Attributes:
        states: Tree of ``[trials ...]`` NumPy arrays: weights, optimizer, schedule, best weights.
        trials: What the host keeps of each trial. Random numbers follow from seed and epoch: no generator has a state.
    """

    states: Any
    trials: tuple[TrialSnapshot, ...]

    def each(self) -> Iterator[tuple[TrialSnapshot, Any]]:
        """Yield every trial with its state."""
        for row, kept in enumerate(self.trials):
            yield kept, jax.tree.map(lambda leaf, row=row: leaf[row], self.states)

    def split(self, num: int) -> tuple["Snapshot | None", "Snapshot | None"]:
        """Return the first ``num`` trials and the others; None where there are none."""
        first, others = (
            Snapshot(jax.tree.map(lambda leaf, part=part: leaf[part], self.states), self.trials[part])
            for part in (slice(None, num), slice(num, None))
        )
        return first if first.trials else None, others if others.trials else None

    @classmethod
    def of(cls, saved: Iterable[tuple[TrialSnapshot, Any]]) -> "Snapshot":
        """Return trials, of which there must be one, each given with its state."""
        kept, states = zip(*saved, strict=True)
        return cls(jax.tree.map(lambda *leaves: np.stack(leaves), *states), kept)

    @classmethod
    def join(cls, parts: Sequence["Snapshot"]) -> "Snapshot":
        """Return the trials of several snapshots as one."""
        states = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(part.states for part in parts))
        return cls(states, tuple(kept for part in parts for kept in part.trials))


class SnapshotStore:
    """The last two snapshots in a folder, written in the background.

    Args:
        folder: The folder; it is made when it is first written to.
        damaged: Folder to which snapshots that cannot be read are moved; None leaves them where they are.
    """

    def __init__(self, folder: Path, damaged: Path | None = None) -> None:
        self._folder, self._damaged = folder.resolve(), damaged
        self._manager: Any = None
        self._path = ExitStack()

    def _open(self) -> Any:
        """Return orbax's manager, made on first use: reading snapshots needs none."""
        import orbax.checkpoint as ocp

        if self._manager is None:
            options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=True)
            self._folder.mkdir(parents=True, exist_ok=True)
            self._path.enter_context(told_once())
            plain = self._path.enter_context(plain_path(self._folder))
            self._manager = ocp.CheckpointManager(plain, options=options)
        return self._manager

    def save(self, snapshot: Snapshot, names: Sequence[str] | Mapping[int, str]) -> None:
        """Save a snapshot in the background; ``names`` gives each trial's index a name that holds in any later run.

        A snapshot of no trials is left out: there is nothing to lose, and orbax cannot write empty arrays.

        Raises:
            OSError: If this snapshot, or the one before it, cannot be written.
        """
        import orbax.checkpoint as ocp

        if not snapshot.trials:
            return
        rows = [{**trial._asdict(), "trial": names[trial.trial]} for trial in snapshot.trials]
        leaves = _by_number(jax.tree.leaves(snapshot.states))
        about = {"trials": rows, "sha256": _digest(leaves if rows else {}, rows)}
        with self._raising_os_errors():
            manager = self._open()
            manager.wait_until_finished()  # orbax skips a snapshot while the one before is being written
            step = 1 + max(self.steps(), default=-1)
            states = ocp.args.StandardSave(leaves)
            manager.save(step, args=ocp.args.Composite(states=states, trials=ocp.args.JsonSave(about)))

    def steps(self) -> list[int]:
        """Return the numbers of the snapshots in the folder, oldest first."""
        return sorted(int(path.name) for path in self._folder.glob("*") if path.name.isdigit())

    def problem(self, step: int) -> str | None:
        """Return what is wrong with a snapshot, or None."""
        try:
            self._read(step)
        except Exception as error:  # orbax and tensorstore raise anything for a damaged file
            return _describe(error)
        return None

    def newest(self, template: PyTree, index_of: dict[str, int], say: Callable[[str], None]) -> Snapshot | None:
        """Return the newest snapshot that can be read, with those of its trials that ``index_of`` knows.

        Args:
            template: Tree of the shapes and dtypes of one trial's state.
            index_of: Index of every trial that is still to be trained, by name.
            say: Function called with a message if a snapshot cannot be read; the one before it is then tried.
        """
        for step in reversed(self.steps()):
            try:
                return self.read(step, template, index_of)
            except Exception as error:  # orbax and tensorstore raise anything for a damaged file
                path, message = self._folder / str(step), _describe(error)
                aside = f"moved to {set_aside(path, self._damaged)}; " if self._damaged is not None else ""
                say(f"{path} cannot be read ({message}): {aside}trying the one before")
        return None

    def trials(self) -> dict[str, tuple[int, int]]:
        """Return the newest step of every trial that a snapshot names, and its epochs there, numbers unchecked.

        A trial that only the older snapshot holds has finished since; whether it was saved is not known here.
        """
        newest: dict[str, tuple[int, int]] = {}
        for step in self.steps():
            try:
                newest |= {row["trial"]: (step, row["epochs"]) for row in self._about(step)["trials"]}
            except Exception:  # noqa: S112 (damaged: orbax raises anything, and the other snapshot may be intact)
                continue
        return newest

    def read(self, step: int, template: PyTree, index_of: dict[str, int]) -> Snapshot:
        """Return a snapshot, with those trials that ``index_of`` knows; raise anything if it is damaged."""
        return _as_snapshot(*self._read(step), template, index_of)

    def _about(self, step: int) -> dict[str, Any]:
        return read_json(self._folder / str(step) / "trials" / "metadata", "the list of a snapshot's trials")

    def _read(self, step: int) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
        """Return the leaves and the rows of a snapshot; raise if they are not what was saved."""
        folder, about = self._folder / str(step), self._about(step)
        has_trials = bool(about["trials"])  # orbax cannot read empty arrays back
        leaves = {name: np.asarray(leaf) for name, leaf in load_tree(folder / "states").items()} if has_trials else {}
        if "sha256" in about and about["sha256"] != _digest(leaves, about["trials"]):
            raise ValueError("its numbers are not what was written")
        return leaves, about["trials"]

    def wait(self) -> None:
        """Wait until everything is written."""
        if self._manager is not None:
            with self._raising_os_errors():
                self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait until everything is written, and release the folder."""
        if self._manager is not None:
            manager, self._manager = self._manager, None
            with self._path, self._raising_os_errors():
                manager.close()

    @contextmanager
    def _raising_os_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # orbax and tensorstore raise anything for a full disk
            raise as_os_error(self._folder, error) from error


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"


def _as_snapshot(
    leaves: dict[str, np.ndarray], rows: list[dict[str, Any]], template: PyTree, index_of: dict[str, int]
) -> Snapshot:
    if not rows:
        return Snapshot(None, ())
    shapes, structure = jax.tree.flatten(template)
    if [(len(rows), *shape.shape) for shape in shapes] != [leaves[name].shape for name in _by_number(shapes)]:
        raise ValueError("its arrays have other shapes than this spec's trials")
    kept = [position for position, row in enumerate(rows) if row["trial"] in index_of]
    states = [leaves[name][kept] for name in _by_number(shapes)]
    trials = tuple(TrialSnapshot(**{**rows[position], "trial": index_of[rows[position]["trial"]]}) for position in kept)
    return Snapshot(jax.tree.unflatten(structure, states), trials)


def _digest(leaves: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Return the SHA-256 of the numbers themselves, however they are stored."""
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode())
    for name, leaf in sorted(leaves.items()):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _by_number(leaves: list[Any]) -> dict[str, Any]:
    """Return leaves under names that do not depend on the tree they came from."""
    return {f"{index:04d}": leaf for index, leaf in enumerate(leaves)}
