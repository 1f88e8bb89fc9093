"""Parts: rows of trials that finished before the whole sweep did."""

import polars as pl

from modjax.store.paths import SweepPaths, kind_of_part


def part_rows(paths: SweepPaths, name: str) -> list[pl.DataFrame]:
    """Return the rows of a table from all complete parts, one frame per part."""
    indices = paths.part_indices(kind_of_part(name))
    return [paths.tables.read(paths.part_table(name, index), name) for index in indices]
