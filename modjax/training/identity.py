"""What a training run's numbers depend on, as its folder remembers it; what may be added, and what differs."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from modjax.training.config import TrainConfig
from modjax.training.halving import SuccessiveHalving
from modjax.types import Examples, Params

# Settings of version 0.2, whose folders hold one hash of all that their numbers depend on.
FIELDS_OF_0_2 = (
    *("optimizer", "optimizer_hyperparams", "momentum", "weight_decay", "max_epochs", "batch_size"),
    *("validation_fraction", "early_stopping", "early_stopping_patience", "schedule", "plateau_patience"),
    *("plateau_factor", "keep", "matmul_precision", "num_slots", "num_devices"),
)


class Identity(NamedTuple):
    """What the numbers of a training run depend on, except the task's code.

    Attributes:
        settings: Settings by name, as text.
        hyperparams: Hyperparameters and seeds by name, one number per trial.
        initial: SHA-256 of the weights that each trial was given to start from; empty where there are none.
        data: SHA-256 of the examples.
        of_0_2: The hash that version 0.2 would have written; None where it could not train this.
    """

    settings: dict[str, str]
    hyperparams: dict[str, list[float]]
    initial: list[str]
    data: str
    of_0_2: str | None = None

    @property
    def digest(self) -> str:
        """One hash of everything: that of version 0.2 where it could have trained this."""
        return self.of_0_2 or hashlib.sha256(json.dumps(self).encode()).hexdigest()

    @property
    def num_trials(self) -> int:
        """Number of trials."""
        return len(next(iter(self.hyperparams.values())))

    def problem_with(self, known: Mapping[str, Any]) -> str | None:
        """Return why a folder cannot go on as this run, in words, or None.

        Trials may be added, and epochs where the schedule does not depend on their number; nothing else may differ.

        Args:
            known: What the folder holds.
        """
        if "settings" not in known:
            is_same = self.of_0_2 is not None and known.get("identity") == self.of_0_2
            return None if is_same else "other hyperparameters, seeds, data or settings, of version 0.2"
        earlier = Identity(known["settings"], known["hyperparams"], known["initial"], known["data"])
        if earlier.data != self.data:
            return "other data"
        return self._other_setting(earlier) or self._other_trial(earlier)

    def _other_setting(self, earlier: "Identity") -> str | None:
        for name in {**earlier.settings, **self.settings}:
            there, here = earlier.settings.get(name), self.settings.get(name)
            is_longer = name == "max_epochs" and int(here or 0) > int(there or 0) and self._may_be_longer
            if there != here and not is_longer:
                return f"{name}: {there} there, {here} here"
        is_longer = earlier.settings["max_epochs"] != self.settings["max_epochs"]
        if self.settings["stopping"] != "None" and (is_longer or earlier.num_trials != self.num_trials):
            return "successive halving, which would have decided otherwise with more trials or epochs"
        return None

    @property
    def _may_be_longer(self) -> bool:
        return "cosine" not in self.settings["schedule"]

    def _other_trial(self, earlier: "Identity") -> str | None:
        if earlier.hyperparams.keys() != self.hyperparams.keys():
            return f"hyperparameters {', '.join(earlier.hyperparams)}, not {', '.join(self.hyperparams)}"
        if earlier.num_trials > self.num_trials:
            return f"{earlier.num_trials} trials, not {self.num_trials}"
        for trial in range(earlier.num_trials):
            for name, values in self.hyperparams.items():
                there, here = earlier.hyperparams[name][trial], values[trial]
                if there != here:
                    return f"{name} of trial {trial}: {there:g} there, {here:g} here"
        same = self.initial[: len(earlier.initial)] == earlier.initial and bool(self.initial) == bool(earlier.initial)
        return None if same else "other weights to start from"


def identity_of(
    hyperparams: Mapping[str, np.ndarray],
    seeds: np.ndarray,
    examples: Examples,
    config: TrainConfig,
    stopping: SuccessiveHalving | None = None,
    initial: Params = None,
) -> Identity:
    """Return what the numbers of a run depend on.

    Args:
        hyperparams: Hyperparameters ``[trials]``.
        seeds: Seeds ``[trials]``.
        examples: Tree of arrays.
        config: Static settings.
        stopping: Successive halving, if any.
        initial: Weights to start from ``[trials ...]``, if any.
    """
    recipe = config.recipe()
    # The repr of a function holds an address, which no later run has.
    settings = {
        name: "a function" if callable(value) else repr(value)
        for name, value in vars(recipe).items()
        if name not in ("num_slots", "num_devices")
    } | {"stopping": repr(stopping)}
    columns = {name: np.asarray(column).tolist() for name, column in hyperparams.items()}
    columns |= {"seed": seeds.tolist()}
    data = hashlib.sha256()
    for array in jax.tree.leaves(examples):
        data.update(f"{np.shape(array)} {array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
    starts = []
    for trial in range(len(seeds)) if initial is not None else ():
        leaves = [np.ascontiguousarray(np.asarray(leaf)[trial]) for leaf in jax.tree.leaves(initial)]
        starts.append(hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest())
    of_0_2 = None if stopping is not None or initial is not None else _of_0_2(hyperparams, seeds, examples, recipe)
    return Identity(settings, columns, starts, data.hexdigest(), of_0_2)


def _of_0_2(
    hyperparams: Mapping[str, np.ndarray], seeds: np.ndarray, examples: Examples, recipe: TrainConfig
) -> str | None:
    """Return the hash of version 0.2, or None where a later setting is not at its default."""
    later = [name for name in vars(recipe) if name not in FIELDS_OF_0_2]
    if callable(recipe.schedule) or any(getattr(recipe, name) != getattr(TrainConfig(), name) for name in later):
        return None
    optimizer = {"optimizer": "a function"} if callable(recipe.optimizer) else {}
    values = {name: getattr(recipe, name) for name in FIELDS_OF_0_2} | optimizer
    text = ", ".join(f"{name}={value!r}" for name, value in values.items())
    digest = hashlib.sha256(f"TrainConfig({text})".encode())
    for name, column in sorted(hyperparams.items()):
        digest.update(name.encode() + np.ascontiguousarray(column).tobytes())
    for array in (seeds, *jax.tree.leaves(examples)):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
