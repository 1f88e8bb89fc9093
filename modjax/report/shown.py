"""Sweeps as figures and pages read them: with the columns of accuracies, null where a task evaluates none."""

from functools import cached_property

import polars as pl

from modjax.store.schemas import HISTORY, TRIALS
from modjax.store.sweep import Sweep


class ShownSweep(Sweep):
    """A sweep whose trials and history have every column of version 0.2."""

    @cached_property
    def trials(self) -> pl.DataFrame:
        """One row per trial."""
        return _with_columns(self.table("trials"), TRIALS)

    @cached_property
    def history(self) -> pl.DataFrame:
        """One row per trial and epoch."""
        return _with_columns(self.table("history"), HISTORY)


def shown(sweep: Sweep) -> Sweep:
    """Return a sweep for figures and pages; one that has all columns is returned as it is."""
    return sweep if "test_accuracy" in sweep.paths.tables.schemas["trials"] else ShownSweep(sweep.paths.root)


def _with_columns(frame: pl.DataFrame, schema: dict) -> pl.DataFrame:
    absent = {name: pl.lit(None, dtype) for name, dtype in schema.items() if name not in frame.columns}
    return frame.with_columns(**absent)
