"""Estimates of how many epochs a trial will take before early stopping, with a range and a reason."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from modjax.names import DATASETS
from modjax.spec.spec import SweepSpec
from modjax.store.sweep import open_sweep
from modjax.training.halving import SuccessiveHalving

TYPICAL_SHARE = 0.09  # of max_epochs: with 500, the paper's recipe took 33 to 37 on MNIST, 58 to 64 on digits
SPREAD = 2.0  # factor by which that may be off, either way
LIKE_SPREAD, PILOT_SPREAD = 1.25, 1.4


class EpochGuess(NamedTuple):
    """Estimated mean number of epochs of a trained trial.

    Attributes:
        low: Lower end of the range.
        typical: Expected number of epochs.
        high: Upper end of the range.
        why: What the estimate is based on.
    """

    low: float
    typical: float
    high: float
    why: str


def guess_epochs(spec: SweepSpec, like: str | os.PathLike | None = None) -> EpochGuess:
    """Estimate epochs from an earlier sweep of the same dataset, else as a typical share of ``max_epochs``.

    Args:
        spec: Spec of the sweep.
        like: Directory of the earlier sweep.

    Raises:
        ValueError: If ``like`` is not a sweep, uses other data, or has no trained trials.
    """
    most = spec.training.max_epochs
    if spec.training.stopping is not None:
        return _of_halving(spec.training.stopping.halving(), spec)
    if not spec.training.early_stopping:
        return EpochGuess(float(most), float(most), float(most), f"no early stopping: all {most}")
    if like is not None:
        mean = _mean_epochs(spec, like)
        return _guess(mean, LIKE_SPREAD, most, f"mean of the sweep in {like}")
    why = f"assumed: {TYPICAL_SHARE:.0%} of max_epochs = {most}, as early stopping left of the paper's recipe before"
    least = float(min(most, spec.training.early_stopping_patience + 1))
    return _guess(max(TYPICAL_SHARE * most, least), SPREAD, most, why)


def _of_halving(halving: SuccessiveHalving, spec: SweepSpec) -> EpochGuess:
    """Return the mean number of epochs if no trial ends before a rung stops it."""
    most = spec.training.max_epochs
    rungs, sizes = halving.rungs(most), halving.sizes(spec.num_trials, most)
    trained = [size * (after - before) for size, before, after in zip(sizes, (0, *rungs), (*rungs, most), strict=True)]
    mean = sum(trained) / spec.num_trials
    return EpochGuess(min(mean, float(rungs[0])), mean, mean, f"successive halving at {', '.join(map(str, rungs))}")


def with_pilot(guess: EpochGuess, ended: Sequence[int], running: Sequence[int], spec: SweepSpec) -> EpochGuess:
    """Return an estimate from pilot trials if at least half of them ended, else the guess without them.

    A trial that has not ended counts as its epochs so far plus the patience of early stopping, or as the mean of those
    that ended, if that is more.

    Args:
        guess: Estimate without pilot trials.
        ended: Numbers of epochs of trials that ended.
        running: Numbers of epochs so far of trials that did not end.
        spec: Spec of the sweep.
    """
    if not spec.training.early_stopping or spec.training.stopping is not None or not ended or len(ended) < len(running):
        return guess
    patience = spec.training.early_stopping_patience
    mean = sum(ended) / len(ended)
    left = [max(age + patience, mean) for age in running]
    typical = (sum(ended) + sum(left)) / (len(ended) + len(left))
    why = f"measured: {len(ended)} trials of this spec trained to their end"
    return _guess(typical, PILOT_SPREAD, spec.training.max_epochs, why)


def _guess(typical: float, spread: float, most: int, why: str) -> EpochGuess:
    low, middle, high = (min(float(most), value) for value in (typical / spread, typical, typical * spread))
    return EpochGuess(low, middle, high, why)


def _mean_epochs(spec: SweepSpec, like: str | os.PathLike) -> float:
    from modjax.spec.parse import load_spec

    sweep = open_sweep(like)
    earlier = load_spec(sweep.paths.spec)
    is_own = earlier.dataset not in DATASETS and spec.dataset not in DATASETS
    if earlier.dataset != spec.dataset and not is_own:
        raise ValueError(
            f"{like} is a sweep of {earlier.dataset}, the spec's dataset is {spec.dataset}; leave --like out."
        )
    pending = sweep.trials.filter(status="pending").height
    if pending:
        raise ValueError(
            f"{like} is not finished: {pending} of its {sweep.trials.height} trials are pending, and those that ended "
            "first are the short ones; leave --like out."
        )
    trained = sweep.trials.filter(pl.col("status").is_in(["done", "diverged"]))
    if not trained.height:
        raise ValueError(f"{like} has no trained trials yet; leave --like out.")
    arms = trained.filter(pl.col("arm").is_in([arm.name for arm in spec.arms]))
    return float((arms if arms.height else trained)["epochs"].to_numpy().mean())
