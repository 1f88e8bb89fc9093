"""A folder that keeps a training run: finished trials in stacks, the others in the last two snapshots."""

import hashlib
import json
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np

from modjax.io.checksums import sum_of, sum_of_json
from modjax.io.files import locked, set_aside, write_text
from modjax.io.trees import load_tree, save_tree
from modjax.io.untrusted import read_json
from modjax.training.checkpoint import Snapshot, SnapshotStore
from modjax.training.config import TrainConfig
from modjax.training.events import FinishedTrial

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
            known = read_json(about, "a note of whose population a folder is")
            if not isinstance(known, dict) or "identity" not in known:
                raise ValueError(f"{about} does not say whose population it is; restore it, or choose another folder.")
            if known["identity"] != identity:
                raise ValueError(
                    f"{self._path} holds a population with other hyperparameters, seeds, data or settings; "
                    "choose another folder."
                )
        else:
            write_text(about, json.dumps({"identity": identity}) + "\n")

    def _stacks(self) -> list[Path]:
        return sorted(self._path.glob("stack_*.json"))

    def finished(self, params: Any) -> list[FinishedTrial]:
        """The trials that finished in earlier runs; a stack that is damaged is set aside, with a warning.

        Args:
            params: Tree of shapes of one trial's weights.
        """
        found: list[FinishedTrial] = []
        for about in self._stacks():
            try:
                found += _read_stack(about, params)
            except ValueError as error:
                for path in (about, about.with_suffix("")):
                    if path.exists():
                        set_aside(path, self._path / "damaged")
                told = f"{about.with_suffix('')} is damaged: moved to {self._path / 'damaged'}, its trials are trained"
                warnings.warn(f"{told} again ({error})", stacklevel=3)
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
            last = max((int(path.stem.removeprefix("stack_")) for path in self._stacks()), default=-1)
            about = self._path / f"stack_{last + 1:05d}.json"
            save_tree(about.with_suffix(""), jax.tree.map(lambda *leaves: np.stack(leaves), *trees))
            rows = [{name: getattr(one, name) for name in ROW} for one in fresh]
            content = {"trials": rows, "sha256": sum_of_json([rows, sum_of(about.with_suffix(""))])}
            write_text(about, json.dumps(content) + "\n")
        if snapshot is not None:
            names = {one.trial: str(one.trial) for one in snapshot.trials}
            self.snapshots.save(snapshot, names)
        self._saved = time.perf_counter()


def _read_stack(about: Path, params: Any) -> list[FinishedTrial]:
    """The trials of one stack, by the list that was written last.

    Raises:
        ValueError: It is not as it was written.
    """
    content = read_json(about, "a list of a stack's trials")
    if not isinstance(content, dict) or not isinstance(rows := content.get("trials"), list):
        raise ValueError("its list of trials is none")
    if content.get("sha256") != sum_of_json([rows, sum_of(about.with_suffix(""))]):
        raise ValueError("it is not as it was written")
    shapes = _stacked(params, len(rows))
    stack = load_tree(about.with_suffix(""), {"best": shapes, "last": shapes})
    weights = [jax.tree.map(lambda leaf, place=place: leaf[place], stack) for place in range(len(rows))]
    return [FinishedTrial(params=one["best"], last=one["last"], **row) for one, row in zip(weights, rows, strict=True)]


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
