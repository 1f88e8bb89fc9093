"""Trained trials on the host: :class:`Population`, and what collects them one by one."""

import html
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl

from modjax.names import one_of
from modjax.training.events import FinishedTrial

TABLES = ("trials", "history")
SHOWN = 10  # rows of a notebook's table


class Population(NamedTuple):
    """Trained trials, each field with a leading trials axis, on the host.

    Attributes:
        params: Weights of each trial's best validation epoch.
        last: Weights after each trial's last epoch.
        history: Columns ``{name: [trials epochs]}``, NaN after a trial's last epoch.
        status: Status ``[trials]``: ``done``, ``diverged``, ``stopped`` (by successive halving), or ``failed`` (its
            callback raised).
        epochs: Numbers of epochs trained ``[trials]``.
        best_epoch: Best epochs ``[trials]``, counted from 0; -1 where no epoch had a finite validation loss.
        seconds: Each trial's share ``[trials]`` of the time of the epochs that it trained in.
        reason: Reasons of failures ``[trials]``; empty where a trial did not fail.
        hyperparams: Hyperparameters and seeds ``{name: [trials]}``, as they were given.
    """

    params: Any
    last: Any
    history: dict[str, np.ndarray]
    status: np.ndarray
    epochs: np.ndarray
    best_epoch: np.ndarray
    seconds: np.ndarray
    reason: np.ndarray
    hyperparams: Mapping[str, np.ndarray] = {}

    @property
    def diverged_epoch(self) -> np.ndarray:
        """Epochs ``[trials]`` whose validation loss was not finite; -1 where there is none."""
        return np.where(self.status == "diverged", self.epochs - 1, -1)

    def to_polars(self, table: str = "trials") -> pl.DataFrame:
        """Return a table: one row per trial, or with ``"history"`` one per trial and epoch.

        ``trials`` has the hyperparameters, ``status``, ``epochs``, ``best_epoch``, the history's values at the best
        epoch (null where there is none), ``seconds`` and ``reason``; ``history`` has ``trial``, ``epoch`` and the
        history's columns.

        Raises:
            ValueError: If there is no such table.
        """
        trial = np.arange(len(self.status))
        if one_of(table, TABLES, "table") == "history":
            lengths = self.epochs.astype(int)
            epoch = np.concatenate([np.arange(length) for length in lengths]) if len(lengths) else np.zeros(0, int)
            rows = np.repeat(trial, lengths)
            columns = {name: values[rows, epoch] for name, values in self.history.items()}
            return pl.DataFrame({"trial": rows, "epoch": epoch, **columns})
        best = np.maximum(self.best_epoch, 0)
        at_best = {
            name: pl.Series(values[trial, best]).set(pl.Series(self.best_epoch < 0), None)
            for name, values in self.history.items()
            if name != "learning_rate"  # of which the hyperparameter is the first
        }
        return pl.DataFrame(
            {
                "trial": trial,
                **self.hyperparams,
                "status": self.status,
                "epochs": self.epochs,
                "best_epoch": self.best_epoch,
                **at_best,
                "seconds": self.seconds,
                "reason": self.reason.astype(str),
            }
        )

    def __repr__(self) -> str:
        return f"Population({self._summary()})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: a summary, and the first trials."""
        rows = self.to_polars().drop("seconds", "reason")
        with pl.Config(tbl_rows=SHOWN, tbl_hide_column_data_types=True, tbl_hide_dataframe_shape=True):
            return f"<p><b>Population</b>: {html.escape(self._summary())}</p>{rows._repr_html_()}"

    def _summary(self) -> str:
        """Return in a line how many trials there are, how they ended, and which is the best."""
        statuses, counts = np.unique(self.status, return_counts=True)
        kinds = ", ".join(f"{count} {status}" for status, count in zip(statuses, counts, strict=True))
        spans = sorted({int(self.epochs.min()), int(self.epochs.max())})
        text = f"{len(self.status)} trials: {kinds}; {' to '.join(map(str, spans))} epochs"
        metric = next((name for name in ("val_loss", "train_loss") if name in self.history), None)
        lowest = self.to_polars()[metric].fill_nan(None) if metric else pl.Series([None])
        if lowest.null_count() < len(lowest):
            text += f"; lowest {metric} {lowest.min():.4g} (trial {lowest.arg_min()})"
        return text


class Collector:
    """Collects finished trials into one :class:`Population`, in arrays that are allocated once.

    Args:
        hyperparams: Hyperparameters and seeds of all trials, ``[trials]`` each.
    """

    def __init__(self, hyperparams: Mapping[str, np.ndarray]) -> None:
        num_trials = len(next(iter(hyperparams.values())))
        self._num_trials, self._hyperparams = num_trials, hyperparams
        self._weights: Any = None
        self._history: dict[str, np.ndarray] = {}
        self._status = np.full(num_trials, "", "<U8")  # "diverged" is the longest
        self._epochs, self._best_epoch = np.zeros(num_trials, np.int64), np.full(num_trials, -1)
        self._seconds = np.zeros(num_trials)
        self._reason = np.full(num_trials, "", object)

    def add(self, finished: FinishedTrial) -> None:
        """Add a finished trial."""
        index = finished.trial
        if self._weights is None:
            self._weights = jax.tree.map(
                lambda leaf: np.empty((self._num_trials, *leaf.shape), leaf.dtype), (finished.params, finished.last)
            )
            names = [name for name in finished.history[0] if name != "epoch"]
            self._history = {name: np.full((self._num_trials, 1), np.nan) for name in names}
        weights = jax.tree.leaves((finished.params, finished.last))
        for stored, leaf in zip(jax.tree.leaves(self._weights), weights, strict=True):
            stored[index] = leaf
        epochs = len(finished.history)
        for name, values in self._history.items():
            if epochs > values.shape[1]:  # at least doubled, so that columns are copied few times
                more = max(epochs, 2 * values.shape[1]) - values.shape[1]
                values = np.pad(values, ((0, 0), (0, more)), constant_values=np.nan)
                self._history[name] = values
            values[index, :epochs] = [row[name] for row in finished.history]
        self._status[index], self._epochs[index] = finished.status, epochs
        self._best_epoch[index], self._seconds[index] = finished.best_epoch, finished.seconds
        self._reason[index] = finished.reason

    def population(self) -> Population:
        """Return all trials as a population."""
        most = int(self._epochs.max())
        best, last = self._weights
        history = {name: values[:, :most] for name, values in self._history.items()}
        numbers = (self._status, self._epochs, self._best_epoch, self._seconds, self._reason)
        return Population(best, last, history, *numbers, dict(self._hyperparams))
