"""Populations: trials that share their static settings, and with them their programs, train together."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from modjax.builtins import BASE_HYPERPARAMETERS, OPTIMIZER_HYPERPARAMETERS
from modjax.spec.arms import is_traced
from modjax.spec.sections import NetworkSpec, OpenNetworkSpec, TrainingSpec
from modjax.spec.spec import SweepSpec
from modjax.spec.values import frozen
from modjax.store.paths import BASE
from modjax.store.schemas import Column

NAME_LENGTH = 8


class PopulationSpec(NamedTuple):
    """Static settings of a population: the spec's sections, with what an arm's static keys change.

    Attributes:
        name: ``base`` for the spec's own settings, else a hash of what differs from them.
        network: Section ``[network]``.
        training: Section ``[training]``.
    """

    name: str
    network: NetworkSpec | OpenNetworkSpec
    training: TrainingSpec

    def as_spec(self, spec: SweepSpec) -> SweepSpec:
        """Return the spec with the population's sections."""
        return spec.model_copy(update={"network": self.network, "training": self.training})


def population_of(spec: SweepSpec, row: Mapping[str, Any]) -> PopulationSpec:
    """Return the population of a trial.

    Args:
        spec: Spec of the sweep.
        row: Row of the trials table, or the trial's settings.
    """
    network: dict[str, Any] = {}
    training: dict[str, Any] = {}
    for name in static_names(spec):
        section, changes = (spec.training, training) if name in TrainingSpec.model_fields else (spec.network, network)
        value = value_of(spec, name, row[name])
        if value is not None and value != getattr(section, name):
            changes[name] = value
    if not network and not training:
        return PopulationSpec(BASE, spec.network, spec.training)
    text = json.dumps({"network": network, "training": training}, sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:NAME_LENGTH]
    return PopulationSpec(name, spec.network.model_copy(update=network), spec.training.model_copy(update=training))


def populations_of(spec: SweepSpec, trials: pl.DataFrame) -> dict[str, PopulationSpec]:
    """Return the populations of some trials by name, the base first, the others in the order of their settings."""
    static = static_names(spec)
    if not static:
        return {BASE: PopulationSpec(BASE, spec.network, spec.training)}
    rows = trials.select(static).unique().sort(static).iter_rows(named=True)
    populations = {population.name: population for population in (population_of(spec, row) for row in rows)}
    return dict(sorted(populations.items(), key=lambda item: item[0] != BASE))


def with_population(spec: SweepSpec, trials: pl.DataFrame) -> pl.DataFrame:
    """Return the trials with the name of each one's population in the column ``population``."""
    static = static_names(spec)
    if not static:
        return trials.with_columns(population=pl.lit(BASE))
    names = [population_of(spec, row).name for row in trials.select(static).iter_rows(named=True)]
    return trials.with_columns(population=pl.Series(names, dtype=pl.String))


def static_names(spec: SweepSpec) -> list[str]:
    """Return the names of the static settings that the arms of a spec vary."""
    return [name for name in spec.hyperparameters if not is_traced(spec.catalog, name)]


def traced_names(spec: SweepSpec) -> list[str]:
    """Return the names of the traced hyperparameters that have a column."""
    return [name for name in spec.hyperparameters if is_traced(spec.catalog, name)]


def traced_value(spec: SweepSpec, population: PopulationSpec, arm: Mapping[str, Any], name: str) -> float | None:
    """Return a trial's value of a traced hyperparameter: its arm's, else the section's, else the record's default.

    None where nothing in the population reads it.
    """
    is_of_optimizer = any(name in names for names in OPTIMIZER_HYPERPARAMETERS.values())
    if is_of_optimizer and name not in OPTIMIZER_HYPERPARAMETERS[population.training.optimizer]:
        return None
    if name in arm:
        return arm[name]
    return getattr(population.training, name, spec.catalog.hyperparameters[name].default)


def to_cell(value: Any) -> Any:
    """Return a static setting as a cell of a table: lists as JSON text.

    Example:
        >>> to_cell((64, 64)), to_cell("relu"), from_cell("[64, 64]"), from_cell("relu")
        ('[64, 64]', 'relu', (64, 64), 'relu')
    """
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value)


def from_cell(cell: Any) -> Any:
    """Return a static setting from its cell."""
    return frozen(json.loads(cell)) if isinstance(cell, str) and cell.startswith("[") else cell


def value_of(spec: SweepSpec, name: str, cell: Any) -> Any:
    """Return a static setting from its cell in a sweep's table, where a column of text may hold numbers too."""
    if isinstance(cell, str) and _kinds_of(spec, name) & {int, float}:
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    return from_cell(cell)


def cell_of(spec: SweepSpec, name: str, value: Any) -> Any:
    """Return a static setting as its cell in a sweep's table: as text, where others of the column are text.

    Example: ``batch_size = [100, "all"]`` makes a column of ``"100"`` and ``"all"``.
    """
    cell = to_cell(value)
    return json.dumps(cell) if isinstance(cell, int | float) and str in _kinds_of(spec, name) else cell


def _kinds_of(spec: SweepSpec, name: str) -> set[type]:
    """Return the types of the values of a static setting in the section and in all arms."""
    values = [_section_value(spec, name), *(value for arm in spec.arms for value in arm.grids().get(name, ()))]
    return {type(value) for value in map(to_cell, values) if value is not None}


def _section_value(spec: SweepSpec, name: str) -> Any:
    return getattr(spec.training if name in TrainingSpec.model_fields else spec.network, name)


def section_cell(spec: SweepSpec, name: str) -> Any:
    """Return the cell of a static setting that an arm does not name: that of the spec's section."""
    value = _section_value(spec, name)
    return None if value is None else cell_of(spec, name, value)


def columns_of(spec: SweepSpec) -> tuple[Column, ...]:
    """Return the columns of the hyperparameters that version 0.2 did not have."""
    base = PopulationSpec(BASE, spec.network, spec.training)
    later = [name for name in spec.hyperparameters if name not in BASE_HYPERPARAMETERS]
    return tuple(
        Column(
            name,
            str(_dtype_of(spec, name)()),
            traced_value(spec, base, {}, name) if is_traced(spec.catalog, name) else section_cell(spec, name),
        )
        for name in later
    )


def _dtype_of(spec: SweepSpec, name: str) -> Any:
    """Return the polars type of a hyperparameter's column."""
    if is_traced(spec.catalog, name):
        return pl.Float64
    kinds = _kinds_of(spec, name) or {int}  # a count that is not set
    if kinds <= {bool}:
        return pl.Boolean
    return pl.Int64 if kinds <= {int} else pl.Float64 if kinds <= {int, float} else pl.String
