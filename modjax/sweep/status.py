"""How far a sweep is, seen from outside; reads only, so that it works while the sweep runs."""

import os
from contextlib import suppress

import polars as pl

from modjax.storage.results import open_sweep
from modjax.storage.tables import merge, read_table


def sweep_status(out: str | os.PathLike) -> pl.DataFrame:
    """Trials by arm and status, parts that are not merged yet included.

    Raises:
        ValueError: The directory is no sweep.
    """
    sweep = open_sweep(out)
    layout = sweep.layout
    parts = []
    for index in layout.part_indices("trained"):
        # A part can vanish between the listing and the reading, or be damaged: its trials are then not counted.
        with suppress(ValueError):
            parts.append(read_table(layout.trained_part(index) / "trials.parquet", "trials"))
    trials = merge("trials", [sweep.table("trials"), *parts])
    return (
        trials.group_by("arm", "status")
        .agg(trials=pl.len(), excluded=pl.col("excluded").sum(), mean_epochs=pl.col("epochs").mean())
        .sort("arm", "status")
    )
