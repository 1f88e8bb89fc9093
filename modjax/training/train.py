"""The trainer as a library: any task, any named hyperparameters, data of any shape."""

import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from modjax._util.signals import signals_wait
from modjax.builtins import HYPERPARAMETERS
from modjax.checks import check_batches, check_finite
from modjax.data.datasets import Dataset
from modjax.names import MAX_SEED, one_of
from modjax.training.batch_layout import choose_layout
from modjax.training.config import TrainConfig
from modjax.training.events import EpochReport, FinishedTrial, TrialCallback
from modjax.training.halving import Rungs, SuccessiveHalving
from modjax.training.hyperparameters import HyperparamValues
from modjax.training.identity import identity_of
from modjax.training.listeners import listening
from modjax.training.objective import Batch, Task
from modjax.training.optimizer import optimizer_hyperparams
from modjax.training.population import Collector, Population
from modjax.training.preflight import check_task
from modjax.training.programs import state_shapes
from modjax.training.resume import SAVE_SECONDS, TrainingFolder
from modjax.training.runner import PopulationRun
from modjax.types import Examples, Params, TrialValues


def train(
    task: Task,
    hyperparams: TrialValues,
    data: Dataset | Examples,
    config: TrainConfig | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_seconds: float = SAVE_SECONDS,
    callback: TrialCallback | None = None,
    stopping: SuccessiveHalving | None = None,
    params: Params | None = None,
    progress: bool = False,
    log_dir: str | os.PathLike | None = None,
) -> Population:
    """Train many networks at once, each with its own hyperparameters, seed, schedule and early stopping.

    Args:
        task: The task, as pure functions of one trial; ``modjax.classification(network)`` is the paper's.
        hyperparams: NamedTuple or dict of ``[trials]`` arrays (or scalars: the same in every trial), passed to the
            task's functions one trial at a time. A field ``seed`` (integers) gives each trial its seed, else all have
            seed 0: the same initial weights, split and batches, so that trials differ in their hyperparameters alone.
            ``learning_rate`` is 1e-3 where no field says otherwise.
        data: A :class:`modjax.Dataset` (its training half is used), or any tree of arrays with one leading axis of
            examples, a slice of which the task's functions get as ``batch``.
        config: Static settings; the paper's recipe by default.
        on_epoch: Function called on the host after every round (an epoch of some of the trials) with an
            :class:`EpochReport`.
        checkpoint: Folder to save to, in the background, and to go on from when the same call is made again, or one
            that adds trials at the end or raises ``max_epochs``. With it a first Ctrl-C stops at the end of the round,
            after a save; a second one stops at once.
        checkpoint_seconds: Number of seconds between saves.
        callback: Function ``callback(trial, row)``, called after every epoch of every trial with its row of the
            history. If it returns true, the trial ends (``done``). If it raises, that trial alone is ``failed``, with
            the ``reason``; the others finish, and a ``checkpoint`` tries it again.
        stopping: Successive halving, which stops all but the best trials early. At a rung a trial leaves its slot to
            the next one; which trials go on depends on their numbers alone, not on slots or on interruptions.
        params: Weights to start from, such as ``population.params``: with a leading trials axis, or without one the
            same for every trial. The task's ``init`` then only says which shapes they must have.
        progress: Whether to show a progress bar.
        log_dir: Folder for TensorBoard, with one run per trial (``pip install 'modjax[tensorboard]'``).

    Raises:
        ValueError: If hyperparameters have unequal lengths, are not finite or are unknown to the task, the data fill no
            batch, or the checkpoint folder holds other trials.

    Example:
        >>> import modjax as mj
        >>> digits = mj.load_dataset("digits")
        >>> task = mj.classification(mj.mlp(64, (8,), 10))
        >>> hyperparams = {"learning_rate": 1e-2, "dropout": [0.0, 0.5], "seed": [3, 3]}
        >>> population = mj.train(task, hyperparams, digits, mj.TrainConfig(max_epochs=2, batch_size=100))
        >>> population.history["val_loss"].shape, population.status.tolist()
        ((2, 2), ['done', 'done'])
    """
    config = config or TrainConfig()
    optional, names = (
        defaults_of(hyperparams),
        [*(hyperparams if isinstance(hyperparams, dict) else fields_of(hyperparams))],
    )
    hyperparams, num_trials = as_columns(hyperparams, task, config)
    seeds = check_seeds(hyperparams.get("seed", np.zeros(num_trials, np.int64)), num_trials)
    examples = as_examples(data, config)
    columns = check_task(task, config, hyperparams, examples, optional)
    if stopping is not None:
        one_of(stopping.metric, tuple(sorted(columns)), "metric of successive halving")
    initial = None if params is None else as_initial(params, task, config, hyperparams)
    layout = choose_layout(task, config, hyperparams, seeds, examples)
    about = {name: hyperparams[name] for name in names} | {"seed": seeds}
    given = (task, hyperparams, seeds, examples, config, layout)
    with listening(num_trials, about, progress, log_dir, on_epoch) as listen:
        if checkpoint is None:
            rungs = None if stopping is None else Rungs(stopping, config.max_epochs, range(num_trials))
            run = PopulationRun(*given, callback=callback, rungs=rungs, initial=initial)
            return collect(run, [], about, listen)
        identity = identity_of(hyperparams, seeds, examples, config, stopping, initial)
        with TrainingFolder(Path(checkpoint), identity, checkpoint_seconds) as folder:
            shapes = state_shapes(task, config.recipe(), hyperparams)
            earlier, left, resume = folder.earlier(shapes, num_trials, config.max_epochs)
            rungs = None
            if stopping is not None:
                histories = {finished.trial: finished.history for finished in earlier}
                # Names by index: those of trials that have finished are never asked for.
                rungs = Rungs(stopping, config.max_epochs, range(num_trials), histories)
            run = PopulationRun(*given, left, resume, callback, rungs, initial=initial, keeps_states=True)
            return collect(run, earlier, about, listen, folder)


def collect(
    run: PopulationRun,
    earlier: list[FinishedTrial],
    hyperparams: Mapping[str, np.ndarray],
    listen: Callable[[EpochReport], None],
    folder: TrainingFolder | None = None,
) -> Population:
    """Train to the end; save to the folder, if there is one, when that is due and before a signal stops the run."""
    collected = Collector(hyperparams)
    for finished in earlier:
        collected.add(finished)
    with signals_wait() if folder is not None else nullcontext(lambda: False) as is_asked_to_stop:
        for report in run.rounds():
            for message in report.messages:
                warnings.warn(message, stacklevel=3)
            for finished in report.finished:
                collected.add(finished)
            is_stopping = is_asked_to_stop()
            if folder is not None:
                # Failed trials are not saved, so that the next call tries them again.
                folder.add([finished for finished in report.finished if finished.status != "failed"])
                if is_stopping or folder.is_due:
                    folder.save(run.snapshot())
            listen(report)
            if is_stopping:
                break  # the signal takes effect at the end of the block
        else:
            if folder is not None:
                folder.save(None)
    return collected.population()


def as_examples(data: Dataset | Examples, config: TrainConfig) -> Examples:
    """Return the examples to train on, on the device; raise unless they suffice for a batch and validation."""
    examples = data
    if isinstance(data, Dataset):
        examples = {"x": data.x_train, "y": data.y_train, "more": dict(data.more_train)}
    check_examples(examples, config)
    examples = jax.tree.map(jnp.asarray, examples)
    return Batch(**examples) if isinstance(data, Dataset) else examples


def as_initial(params: Params, task: Task, config: TrainConfig, hyperparams: HyperparamValues) -> Params:
    """Return weights to start from as ``[trials ...]`` arrays on the host.

    Raises:
        ValueError: If they have other shapes than those of the task's init, or the task projects onto a set around its
            own initial weights.
    """
    if task.project is not None:
        raise ValueError("the task projects with its own initial weights; params cannot be given too.")
    shapes = state_shapes(task, config.recipe(), hyperparams).params
    num_trials = len(next(iter(hyperparams.values())))
    if jax.tree.structure(params) != jax.tree.structure(shapes):
        raise ValueError(
            f"params must be a tree like the weights of the task's init, {jax.tree.structure(shapes)}; got "
            f"{jax.tree.structure(params)}."
        )

    def check(path: Any, leaf: Any, shape: Any) -> np.ndarray:
        array = np.asarray(leaf)
        if array.shape not in (shape.shape, (num_trials, *shape.shape)):
            raise ValueError(
                f"params{jax.tree_util.keystr(path)} must have shape {list(shape.shape)}, or {num_trials} times that; "
                f"got {list(array.shape)}."
            )
        check_finite(f"params{jax.tree_util.keystr(path)}", array)
        return np.broadcast_to(array.astype(shape.dtype), (num_trials, *shape.shape))

    return jax.tree_util.tree_map_with_path(check, params, shapes)


def check_examples(examples: Examples, config: TrainConfig) -> int:
    """Return the number of examples; raise unless all arrays have it and it suffices for a batch and validation."""
    lengths = {int(np.shape(leaf)[0]) if np.ndim(leaf) else 0 for leaf in jax.tree.leaves(examples)}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"data must be arrays with one leading axis of examples, at least one; got {sorted(lengths)}.")
    (num_examples,) = lengths
    check_batches(num_examples, config.batch_size, config.validation_fraction)
    return num_examples


def as_columns(hyperparams: TrialValues, task: Task, config: TrainConfig) -> tuple[HyperparamValues, int]:
    """Return the hyperparameters as arrays ``[trials]``, floats in the default precision, and the number of trials.

    A scalar stands for the same value in every trial; hyperparameters of modjax that are not given have their defaults.

    Raises:
        ValueError: If there are no fields, the task lacks a name, lengths are unequal, or values are not finite.
    """
    fields = fields_of(hyperparams)
    if not fields:
        raise ValueError("hyperparams must be a NamedTuple or a dict of arrays with a leading trials axis; got none.")
    if task.hyperparams is not None:
        for name in fields:
            known = (*task.hyperparams, *optimizer_hyperparams(config), "learning_rate", "seed")
            one_of(name, known, "hyperparameter")
    arrays = {name: np.asarray(values) for name, values in fields.items()}
    lengths = {name: len(array) for name, array in arrays.items() if array.ndim}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        counts = ", ".join(f"{name}: {length}" for name, length in lengths.items()) or "scalars alone"
        raise ValueError(f"hyperparams must have one value a trial in every field, at least one trial; got {counts}.")
    num_trials = next(iter(lengths.values()))
    dtype = jax.dtypes.canonicalize_dtype(float)
    for name, array in arrays.items():
        check_finite(f"hyperparams {name!r}", array)
        column = array.astype(dtype) if np.issubdtype(array.dtype, np.floating) else array
        arrays[name] = column if array.ndim else np.broadcast_to(column, num_trials)
    constants = {name: info.default for name, info in HYPERPARAMETERS.items() if info.kind == "traced"}
    return HyperparamValues(arrays, constants), num_trials


def fields_of(hyperparams: Any) -> dict[str, Any]:
    """Return hyperparameters by name: those of a dict in alphabetical order, in which programs take them."""
    if isinstance(hyperparams, dict):
        return dict(sorted(hyperparams.items()))
    return getattr(hyperparams, "_asdict", dict)()


def defaults_of(hyperparams: TrialValues) -> set[str]:
    """Return the fields of a NamedTuple that have their default: nobody needs to have asked for them."""
    defaults = getattr(hyperparams, "_field_defaults", {})
    return {name for name, default in defaults.items() if np.all(getattr(hyperparams, name) == default)}


def check_seeds(seeds: ArrayLike, num_trials: int) -> np.ndarray:
    """Return the seeds as uint32; raise unless they are integers in range, one per trial."""
    array = np.asarray(seeds)
    if array.shape != (num_trials,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"seeds must be {num_trials} integers; got {array.dtype} of shape {array.shape}.")
    if array.min() < 0 or array.max() > MAX_SEED:
        raise ValueError(f"seeds must lie in 0..{MAX_SEED}; got {array.min()}..{array.max()}.")
    return array.astype(np.uint32)
