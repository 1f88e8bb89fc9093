"""Training with hyperparameters that come from outside, one trial at a time: the slots ask, and are told."""

from collections.abc import Callable, Mapping

import jax
import numpy as np

from modjax.data.datasets import Dataset
from modjax.training.batch_layout import choose_layout
from modjax.training.config import TrainConfig
from modjax.training.events import EpochReport, FinishedTrial, TrialCallback
from modjax.training.objective import Task
from modjax.training.preflight import check_task
from modjax.training.runner import PopulationRun
from modjax.training.train import Population, as_columns, as_examples, check_seeds, collect
from modjax.types import Examples

Values = Mapping[str, float]


def ask_tell(
    task: Task,
    ask: Callable[[int], Values],
    tell: Callable[[FinishedTrial], None],
    data: Dataset | Examples,
    num_trials: int,
    config: TrainConfig | None = None,
    seed: int = 0,
    on_epoch: Callable[[EpochReport], None] | None = None,
    callback: TrialCallback | None = None,
) -> Population:
    """Train trials whose hyperparameters a sampler proposes, when a slot becomes free, from those that have finished.

    ``config.num_slots`` trials are asked for before the first one is told, and then one for each that finishes. With
    adaptive samplers fewer slots learn more from each trial, more slots train faster. Which trial finishes first can
    depend on measured speeds, so that two runs may ask in different orders.

    Args:
        task: The task, as pure functions of one trial.
        ask: ``ask(trial) -> {name: value}``: the hyperparameters of the trial of an index, the same names every time.
        tell: ``tell(finished)``, called once for each :class:`FinishedTrial`: ``finished.trial`` is its index,
            ``finished.history`` its rows, ``finished.status`` its status.
        data: A dataset, or a tree of arrays, as :func:`modjax.train` takes it.
        num_trials: Number of trials.
        config: Static settings; the paper's recipe by default.
        seed: Seed of all trials: they start from the same weights and see the same batches.
        on_epoch: Function called on the host after every round, as in :func:`modjax.train`.
        callback: Function called after every epoch of every trial, as in :func:`modjax.train`.

    Raises:
        ValueError: If a proposal has other names than the first one, or values that are not finite numbers.

    Example:
        >>> import modjax as mj
        >>> digits, losses = mj.load_dataset("digits"), []
        >>> population = mj.ask_tell(
        ...     mj.classification(mj.mlp(64, (8,), 10)),
        ...     ask=lambda trial: {"learning_rate": min([1e-2, *losses])},
        ...     tell=lambda finished: losses.append(finished.history[-1]["val_loss"] * 1e-2),
        ...     data=digits,
        ...     num_trials=3,
        ...     config=mj.TrainConfig(max_epochs=1, num_slots=1),
        ... )
        >>> population.status.tolist(), len(losses)
        (['done', 'done', 'done'], 3)
    """
    config = config or TrainConfig()
    first = dict(ask(0))
    hyperparams, _ = as_columns({name: np.full(num_trials, value) for name, value in first.items()}, task, config)
    hyperparams = jax.tree.map(np.array, hyperparams)  # written to when a trial gets its slot
    seeds = check_seeds(np.full(num_trials, seed), num_trials)
    examples = as_examples(data, config)
    check_task(task, config, hyperparams, examples)

    def fill(trial: int) -> None:
        proposal = first if trial == 0 else dict(ask(trial))
        if proposal.keys() != hyperparams.keys():
            raise ValueError(
                f"ask must return {', '.join(hyperparams)} for every trial; trial {trial} has {', '.join(proposal)}."
            )
        values, _ = as_columns({name: [value] for name, value in proposal.items()}, task, config)
        for name, value in values.items():
            hyperparams[name][trial] = value[0]

    layout = choose_layout(task, config, hyperparams, seeds, examples)
    run = PopulationRun(task, hyperparams, seeds, examples, config, layout, callback=callback, on_slot=fill)

    def report(round_report: EpochReport) -> None:
        for finished in round_report.finished:
            tell(finished)
        if on_epoch is not None:
            on_epoch(round_report)

    return collect(run, [], {**hyperparams, "seed": seeds}, report)
