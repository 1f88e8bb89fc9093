"""A folder that keeps a training run: finished trials in stacks, the others in the last two snapshots."""

import hashlib
import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np

from modjax.storage.checkpoints import load_tree, save_tree
from modjax.storage.files import locked, write_text
from modjax.training.config import TrainConfig
from modjax.training.events import FinishedTrial
from modjax.training.snapshot import Snapshot, SnapshotStore

SAVE_SECONDS = 60.0
ROW = ("trial", "history", "status", "best_epoch", "seconds")


class TrainingFolder:
    """Finished trials are saved as one stack whenever a snapshot is; both together are where a run goes on.

    Args:
        path: The folder; new, or of the same trials.
        identity: What the trials are; a folder of others is refused.
        seconds: Save so often.

    Raises:
        ValueError: The folder holds other trials.
        LockedError: Another process trains in it.
    """

    def __init__(self, path: Path, identity: str, seconds: float = SAVE_SECONDS) -> None:
        self._path, self._seconds = path, seconds
        self._identity = identity
        self._stack = ExitStack()
        self.snapshots = SnapshotStore(path / "training")
        self._fresh: list[FinishedTrial] = []
        self._saved = time.perf_counter()

    def __enter__(self) -> "TrainingFolder":
        self._path.mkdir(parents=True, exist_ok=True)
        self._stack.enter_context(locked(self._path / ".lock"))
        self._check(self._identity)
        return self

    def __exit__(self, *error: Any) -> None:
        self.snapshots.close()
        self._stack.close()

    def _check(self, identity: str) -> None:
        about = self._path / "population.json"
        if about.is_file():
            known = json.loads(about.read_text(encoding="utf-8"))["identity"]
            if known != identity:
                raise ValueError(
                    f"{self._path} holds a population with other hyperparameters, seeds, data or settings; "
                    "choose another folder."
                )
        else:
            write_text(about, json.dumps({"identity": identity}) + "\n")

    def _stacks(self) -> list[Path]:
        return sorted(self._path.glob("stack_*.json"))

    def finished(self, params: Any) -> list[FinishedTrial]:
        """The trials that finished in earlier runs.

        Args:
            params: Tree of shapes of one trial's weights.
        """
        found = []
        for about in self._stacks():
            rows = json.loads(about.read_text(encoding="utf-8"))
            shapes = _stacked(params, len(rows))
            stack = load_tree(about.with_suffix(""), {"best": shapes, "last": shapes})
            for place, row in enumerate(rows):
                best, last = jax.tree.map(lambda leaf, place=place: leaf[place], (stack["best"], stack["last"]))
                found.append(FinishedTrial(params=best, last=last, **row))
        return found

    def add(self, finished: list[FinishedTrial]) -> None:
        """Take trials that finished; they are saved with the next snapshot."""
        self._fresh += finished

    @property
    def is_due(self) -> bool:
        """Whether it is time to save."""
        return time.perf_counter() - self._saved >= self._seconds

    def save(self, snapshot: Snapshot | None) -> None:
        """Save the finished trials, then, in the background, those in training."""
        if self._fresh:
            fresh, self._fresh = self._fresh, []
            trees = [{"best": one.params, "last": one.last} for one in fresh]
            about = self._path / f"stack_{len(self._stacks()):05d}.json"
            save_tree(about.with_suffix(""), jax.tree.map(lambda *leaves: np.stack(leaves), *trees))
            rows = [{name: getattr(one, name) for name in ROW} for one in fresh]
            write_text(about, json.dumps(rows) + "\n")
        if snapshot is not None:
            names = {one.trial: str(one.trial) for one in snapshot.trials}
            self.snapshots.save(snapshot, names)
        self._saved = time.perf_counter()


def _stacked(tree: Any, num: int) -> Any:
    return jax.tree.map(lambda leaf: np.empty((num, *leaf.shape), leaf.dtype), tree)


def identity_of(hyperparams: Any, seeds: np.ndarray, examples: Any, config: TrainConfig) -> str:
    """A hash of everything that the trials' numbers depend on but the task's code."""
    digest = hashlib.sha256(repr(config.recipe()).encode() if isinstance(config.optimizer, str) else b"")
    fields = hyperparams if isinstance(hyperparams, dict) else hyperparams._asdict()
    for name, column in sorted(fields.items()):
        digest.update(name.encode() + np.ascontiguousarray(column).tobytes())
    for array in (seeds, *jax.tree.leaves(examples)):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
