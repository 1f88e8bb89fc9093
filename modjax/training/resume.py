"""The folder of a training run: finished trials are kept in stacks, the others in the last two snapshots."""

import json
import time
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
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

    def finished(self, params: Params) -> dict[int, tuple[FinishedTrial, Path]]:
        """Return the trials that finished in earlier runs, each with the list of the newest stack that holds it.

        A damaged stack is set aside, with a warning.

        Args:
            params: Tree of the shapes of one trial's weights.
        """
        trials: dict[int, tuple[FinishedTrial, Path]] = {}
        for about in self._stacks():
            try:
                trials |= {trial.trial: (trial, about) for trial in _read_stack(about, params)}
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

    def earlier(
        self, shapes: TrialState, num_trials: int, max_epochs: int
    ) -> tuple[list[FinishedTrial], np.ndarray, Snapshot | None]:
        """Return what earlier runs left: finished trials, indices of all others, and states to go on from.

        Trials that ended with the last epoch of a run of fewer epochs go on: from a snapshot of a longer run that was
        interrupted, else from their last state, else (if that is damaged) from the start.

        Args:
            shapes: Tree of the shapes of one trial's state.
            num_trials: Number of trials.
            max_epochs: Largest number of epochs of a trial.
        """
        finished, states = {}, {}
        ends: dict[Path, Mapping[int, Any] | None] = {}
        for trial, (item, stack) in self.finished(shapes.params).items():
            is_short = len(item.history) < max_epochs
            if is_short and stack not in ends:
                ends[stack] = self._ends(stack, shapes)
            known = ends[stack] if is_short else {}
            if known is not None and trial in known:
                kept = TrialSnapshot(trial, len(item.history), item.seconds, item.history)
                states[trial] = (kept, known[trial])
            elif known is not None:
                finished[trial] = item
        left = np.setdiff1d(np.arange(num_trials), [*finished])
        newest = self.snapshots.newest(shapes, {str(trial): int(trial) for trial in left}, warnings.warn)
        for kept, state in newest.each() if newest is not None else ():
            if kept.trial not in states or states[kept.trial][0].epochs < kept.epochs:
                states[kept.trial] = (kept, state)
        return [*finished.values()], left, Snapshot.of(states.values()) if states else None

    def _ends(self, stack: Path, template: PyTree) -> Mapping[int, Any] | None:
        """Return the last states of a stack's trials that ended with the last epoch; None if they are damaged.

        Args:
            stack: Path of the stack's list.
            template: Tree of the shapes of one trial's state.
        """
        about = _ends_of(stack)
        if not about.exists():
            return {}
        try:
            content = read_json(about, "a list of last states")
            rows, folder = content["trials"], about.with_suffix("")
            if content["sha256"] != sum_of_json([rows, sum_of(folder)]):
                raise ValueError("they are not as they were written")
            leaves = load_tree(folder)
            tree = jax.tree.unflatten(jax.tree.structure(template), [leaves[name] for name in sorted(leaves)])
        except (ValueError, OSError, KeyError, TypeError) as error:
            message = f"{about.with_suffix('')}, last states of trials, is damaged: they are trained again from the"
            warnings.warn(f"{message} start ({error})", stacklevel=4)
            return None
        states = [jax.tree.map(lambda leaf, index=index: np.asarray(leaf)[index], tree) for index in range(len(rows))]
        return dict(zip(rows, states, strict=True))

    def _save_stack(self, trials: list[FinishedTrial]) -> None:
        """Save finished trials; of those that ended with the last epoch the state too, to train them for more."""
        last = max((int(path.stem.removeprefix("stack_")) for path in self._stacks()), default=-1)
        about = self._path / f"stack_{last + 1:05d}.json"
        folder = about.with_suffix("")
        save_tree(folder, _stack([{"best": trial.params, "last": trial.last} for trial in trials]))
        ends, cut_short = _ends_of(about), [trial for trial in trials if trial.state is not None]
        ends.unlink(missing_ok=True)  # of a run that died here
        if cut_short:
            leaves = jax.tree.leaves(_stack([trial.state for trial in cut_short]))
            save_tree(ends.with_suffix(""), {f"{index:04d}": leaf for index, leaf in enumerate(leaves)})
            _write_list(ends, [trial.trial for trial in cut_short])
        # The list is written last: a stack exists once its list does.
        _write_list(about, [{name: getattr(trial, name) for name in ROW} for trial in trials])

    def save(self, snapshot: Snapshot | None) -> None:
        """Save the finished trials, then, in the background, those in training."""
        # In this order: if the process dies in between, a trial that has just finished is in both, never in neither.
        if self._fresh:
            self._save_stack(self._fresh)
            self._fresh = []
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


def _ends_of(stack: Path) -> Path:
    """Return the path of the list of last states that belongs to a stack's list."""
    return stack.with_name(stack.name.replace("stack", "ends"))


def _write_list(path: Path, rows: list[Any]) -> None:
    """Write the list of a folder's trials, with the checksum of both."""
    write_text(path, json.dumps({"trials": rows, "sha256": sum_of_json([rows, sum_of(path.with_suffix(""))])}) + "\n")


def _stack(trees: list[PyTree]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _stacked(tree: PyTree, num: int) -> Any:
    return jax.tree.map(lambda leaf: np.empty((num, *leaf.shape), leaf.dtype), tree)
