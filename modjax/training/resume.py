"""The folder of a training run: finished trials are kept in stacks, the others in the last two snapshots."""

import json
import time
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from modjax.io.checksums import sum_of, sum_of_json
from modjax.io.files import locked, set_aside, write_text
from modjax.io.trees import load_tree, save_tree
from modjax.io.untrusted import read_json
from modjax.training.checkpoint import Snapshot, SnapshotStore, TrialSnapshot
from modjax.training.events import FinishedTrial
from modjax.training.identity import Identity
from modjax.training.trial import TrialState
from modjax.types import Params

SAVE_SECONDS = 60.0
ROW = ("trial", "history", "status", "best_epoch", "seconds")  # fields of a finished trial beside its weights


class TrainingFolder:
    """A folder from which a run can go on: finished trials are saved as a stack whenever a snapshot is saved.

    Args:
        path: The folder, which is new or holds the same trials.
        identity: What the trials are; a folder of other trials is refused, unless this only adds to them.
        seconds: Number of seconds between saves.

    Raises:
        ValueError: If the folder holds other trials.
        LockedError: If another process trains in it.
    """

    def __init__(self, path: Path, identity: Identity, seconds: float = SAVE_SECONDS) -> None:
        self._path, self._seconds = path, seconds
        self._identity = identity
        self._stack = ExitStack()
        self.snapshots = SnapshotStore(path / "training")
        self._fresh: list[FinishedTrial] = []  # not saved yet
        self._saved = time.perf_counter()

    def __enter__(self) -> "TrainingFolder":
        self._path.mkdir(parents=True, exist_ok=True)
        self._stack.enter_context(locked(self._path / ".lock"))
        self._check()
        return self

    def __exit__(self, *error: Any) -> None:
        self.snapshots.close()
        self._stack.close()

    def _check(self) -> None:
        about = self._path / "population.json"
        if about.is_file():
            known = read_json(about, "a note of whose population a folder is")
            if not isinstance(known, dict) or not known.keys() & {"identity", "settings"}:
                raise ValueError(f"{about} does not say whose population it is; restore it, or choose another folder.")
            problem = self._identity.problem_with(known)
            if problem is not None:
                raise ValueError(
                    f"{self._path} holds another population ({problem}). Only trials and epochs can be added; choose "
                    "another folder."
                )
        write_text(about, json.dumps({"identity": self._identity.digest, **self._identity._asdict()}) + "\n")

    def _stacks(self) -> list[Path]:
        return sorted(self._path.glob("stack_*.json"))

    def finished(self, params: Params) -> list[FinishedTrial]:
        """Return the trials that finished in earlier runs; a damaged stack is set aside, with a warning.

        Args:
            params: Tree of the shapes of one trial's weights.
        """
        trials: list[FinishedTrial] = []
        for about in self._stacks():
            try:
                trials += _read_stack(about, params)
            except ValueError as error:
                for path in (about, about.with_suffix("")):
                    if path.exists():
                        set_aside(path, self._path / "damaged")
                message = (
                    f"{about.with_suffix('')} is damaged: moved to {self._path / 'damaged'}, its trials are trained"
                )
                warnings.warn(f"{message} again ({error})", stacklevel=3)
        return trials

    def add(self, finished: list[FinishedTrial]) -> None:
        """Add trials that have finished; they are saved with the next snapshot."""
        self._fresh += finished

    @property
    def is_due(self) -> bool:
        """Return whether it is time to save."""
        return time.perf_counter() - self._saved >= self._seconds

    def _save_ends(self, trials: list[FinishedTrial], about: Path) -> None:
        """Save the states of trials that ended with the last epoch, so that they can be trained for more."""
        if trials:
            stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(trial.state for trial in trials))
            folder = about.with_name(about.stem.replace("stack", "ends"))
            save_tree(folder, {f"{index:04d}": leaf for index, leaf in enumerate(jax.tree.leaves(stacked))})
            rows = [trial.trial for trial in trials]
            content = {"trials": rows, "sha256": sum_of_json([rows, sum_of(folder)])}
            write_text(folder.with_suffix(".json"), json.dumps(content) + "\n")

    def earlier(
        self, shapes: TrialState, num_trials: int, max_epochs: int
    ) -> tuple[list[FinishedTrial], np.ndarray, Snapshot | None]:
        """Return what earlier runs left: finished trials, indices of all others, and states to go on from.

        Trials that ended with the last epoch of a run of fewer epochs go on.

        Args:
            shapes: Tree of the shapes of one trial's state.
            num_trials: Number of trials.
            max_epochs: Largest number of epochs of a trial.
        """
        finished = {trial.trial: trial for trial in self.finished(shapes.params)}
        ends = self.ends(shapes)
        longer = [trial for trial in finished.values() if trial.trial in ends and len(trial.history) < max_epochs]
        for trial in longer:
            del finished[trial.trial]
        left = np.setdiff1d(np.arange(num_trials), [*finished])
        others = {str(trial): int(trial) for trial in left if trial not in {item.trial for item in longer}}
        resume = self.snapshots.newest(shapes, others, warnings.warn)
        if longer:
            kept = [TrialSnapshot(item.trial, len(item.history), item.seconds, item.history) for item in longer]
            states = jax.tree.map(lambda *leaves: np.stack(leaves), *(ends[item.trial] for item in longer))
            parts = [Snapshot(states, tuple(kept)), *([resume] if resume is not None and resume.trials else [])]
            resume = Snapshot.join(parts)
        return [*finished.values()], left, resume

    def ends(self, template: PyTree) -> dict[int, Any]:
        """Return the last states of trials that ended with the last epoch; damaged ones are left out.

        Args:
            template: Tree of the shapes of one trial's state.
        """
        states = {}
        for about in sorted(self._path.glob("ends_*.json")):
            with suppress(ValueError, OSError, KeyError):
                content = read_json(about, "a list of last states")
                rows, folder = content["trials"], about.with_suffix("")
                if content["sha256"] != sum_of_json([rows, sum_of(folder)]):
                    continue
                leaves = load_tree(folder)
                tree = jax.tree.unflatten(jax.tree.structure(template), [leaves[name] for name in sorted(leaves)])
                for index, trial in enumerate(rows):
                    states[trial] = jax.tree.map(lambda leaf, index=index: np.asarray(leaf)[index], tree)
        return states

    def save(self, snapshot: Snapshot | None) -> None:
        """Save the finished trials, then, in the background, those in training."""
        # In this order: if the process dies in between, a trial that has just finished is in both, never in neither.
        if self._fresh:
            fresh, self._fresh = self._fresh, []
            trees = [{"best": trial.params, "last": trial.last} for trial in fresh]
            last = max((int(path.stem.removeprefix("stack_")) for path in self._stacks()), default=-1)
            about = self._path / f"stack_{last + 1:05d}.json"
            save_tree(about.with_suffix(""), jax.tree.map(lambda *leaves: np.stack(leaves), *trees))
            # The list is written after the weights: a stack exists once its list does.
            rows = [{name: getattr(trial, name) for name in ROW} for trial in fresh]
            content = {"trials": rows, "sha256": sum_of_json([rows, sum_of(about.with_suffix(""))])}
            write_text(about, json.dumps(content) + "\n")
            self._save_ends([trial for trial in fresh if trial.state is not None], about)
        if snapshot is not None:
            names = {trial.trial: str(trial.trial) for trial in snapshot.trials}
            self.snapshots.save(snapshot, names)
        self._saved = time.perf_counter()


def _read_stack(about: Path, params: Params) -> list[FinishedTrial]:
    """Return the trials of one stack from its list, which was written last.

    Raises:
        ValueError: If it is not as it was written.
    """
    content = read_json(about, "a list of a stack's trials")
    if not isinstance(content, dict) or not isinstance(rows := content.get("trials"), list):
        raise ValueError("its list of trials is none")
    if content.get("sha256") != sum_of_json([rows, sum_of(about.with_suffix(""))]):
        raise ValueError("it is not as it was written")
    shapes = _stacked(params, len(rows))
    stack = load_tree(about.with_suffix(""), {"best": shapes, "last": shapes})
    weights = [jax.tree.map(lambda leaf, index=index: leaf[index], stack) for index in range(len(rows))]
    pairs = zip(weights, rows, strict=True)
    return [FinishedTrial(params=tree["best"], last=tree["last"], **row) for tree, row in pairs]


def _stacked(tree: PyTree, num: int) -> Any:
    return jax.tree.map(lambda leaf: np.empty((num, *leaf.shape), leaf.dtype), tree)
