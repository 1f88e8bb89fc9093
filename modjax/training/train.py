"""The trainer as a library: any task, any named hyperparameters, data of any shape."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from modjax.checks import check_finite
from modjax.data.datasets import Dataset
from modjax.names import MAX_SEED, one_of
from modjax.training.config import TrainConfig
from modjax.training.objective import Batch, Task
from modjax.training.population import EpochReport, FinishedTrial, check_examples, train_slots
from modjax.types import Examples


class Population(NamedTuple):
    """Trained trials, each field with a leading trials axis, on the host.

    Attributes:
        params: Weights of each trial's best validation epoch.
        last: Weights after each trial's last epoch.
        history: ``{name: [trials epochs]}``, NaN after a trial's last epoch.
        status: ``[trials]``: ``done`` or ``diverged``.
        epochs: ``[trials]``: epochs trained.
        best_epoch: ``[trials]``: counted from 0; -1 where no epoch had a finite validation loss.
    """

    params: Any
    last: Any
    history: dict[str, np.ndarray]
    status: np.ndarray
    epochs: np.ndarray
    best_epoch: np.ndarray


def train(
    task: Task,
    hyperparams: Any,
    data: Dataset | Examples,
    config: TrainConfig | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Population:
    """Train many networks at once, each with its own hyperparameters, seed, schedule and early stopping.

    Args:
        task: Pure functions of one trial; ``modjax.classification(network)`` is the paper's.
        hyperparams: NamedTuple or dict of ``[trials]`` arrays (or scalars: the same in every trial), handed to the
            task's functions one trial at a time. A field ``seed`` (integers) gives each trial its seed, else all have
            seed 0: the same initial weights, split and batches, so that trials differ in their hyperparameters alone.
            ``learning_rate`` is 1e-3 where no field says otherwise.
        data: A :class:`modjax.Dataset` (its training half is used), or any tree of arrays with one leading axis of
            examples, a slice of which the task's functions get as ``batch``.
        config: Static settings; the paper's recipe by default.
        on_epoch: Called on the host after every epoch with an :class:`EpochReport`.

    Raises:
        ValueError: Hyperparameters of unequal length, not finite or unknown to the task, or data that fill no batch.

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
    hyperparams, num_trials = as_columns(hyperparams, task)
    fields = hyperparams if isinstance(hyperparams, dict) else hyperparams._asdict()
    seeds = check_seeds(fields.get("seed", np.zeros(num_trials, np.int64)), num_trials)
    examples = Batch(jnp.asarray(data.x_train), jnp.asarray(data.y_train)) if isinstance(data, Dataset) else data
    check_examples(examples, config)
    examples = jax.tree.map(jnp.asarray, examples)
    finished: dict[int, FinishedTrial] = {}
    for report in train_slots(task, hyperparams, seeds, examples, config):
        finished.update(
            {one.trial: one._replace(params=_host(one.params), last=_host(one.last)) for one in report.finished}
        )
        if on_epoch is not None:
            on_epoch(report)
    return _collect([finished[trial] for trial in range(num_trials)])


def _host(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)


def _collect(trials: list[FinishedTrial]) -> Population:
    epochs = np.array([len(one.history) for one in trials])
    names = [name for name in trials[0].history[0] if name != "epoch"]
    history = {name: np.full((len(trials), epochs.max()), np.nan) for name in names}
    for index, one in enumerate(trials):
        for name in names:
            history[name][index, : epochs[index]] = [row[name] for row in one.history]
    return Population(
        params=jax.tree.map(lambda *leaves: np.stack(leaves), *(one.params for one in trials)),
        last=jax.tree.map(lambda *leaves: np.stack(leaves), *(one.last for one in trials)),
        history=history,
        status=np.array([one.status for one in trials]),
        epochs=epochs,
        best_epoch=np.array([one.best_epoch for one in trials]),
    )


def as_columns(hyperparams: Any, task: Task) -> tuple[Any, int]:
    """The hyperparameters with an array ``[trials]`` in every field, floats in the default precision; and their number.

    A scalar stands for the same value in every trial.

    Raises:
        ValueError: No fields, a name that the task does not take, unequal lengths, or values that are not finite.
    """
    fields = hyperparams if isinstance(hyperparams, dict) else getattr(hyperparams, "_asdict", dict)()
    if not fields:
        raise ValueError("hyperparams must be a NamedTuple or a dict of arrays with a leading trials axis; got none.")
    if task.hyperparams is not None:
        for name in fields:
            one_of(name, (*task.hyperparams, "learning_rate", "seed"), "hyperparameter")
    arrays = {name: np.asarray(values) for name, values in fields.items()}
    lengths = {name: len(array) for name, array in arrays.items() if array.ndim}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        told = ", ".join(f"{name}: {length}" for name, length in lengths.items()) or "scalars alone"
        raise ValueError(f"hyperparams must have one value a trial in every field, at least one trial; got {told}.")
    num_trials = next(iter(lengths.values()))
    dtype = jax.dtypes.canonicalize_dtype(float)
    for name, array in arrays.items():
        check_finite(f"hyperparams {name!r}", array)
        column = array.astype(dtype) if np.issubdtype(array.dtype, np.floating) else array
        arrays[name] = column if array.ndim else np.broadcast_to(column, num_trials)
    return (arrays if isinstance(hyperparams, dict) else hyperparams._replace(**arrays)), num_trials


def check_seeds(seeds: Any, num_trials: int) -> np.ndarray:
    """Return the seeds as uint32; raise unless they are integers in range, one a trial."""
    array = np.asarray(seeds)
    if array.shape != (num_trials,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"seeds must be {num_trials} integers; got {array.dtype} of shape {array.shape}.")
    if array.min() < 0 or array.max() > MAX_SEED:
        raise ValueError(f"seeds must lie in 0..{MAX_SEED}; got {array.min()}..{array.max()}.")
    return array.astype(np.uint32)
