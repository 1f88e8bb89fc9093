"""A sweep's setup as it travels to another process: plain values, arrays, and the locations of what records compute."""

from dataclasses import replace
from typing import Any, NamedTuple

import polars as pl

from modjax.catalog import BUILTIN, KINDS, Catalog, read_catalog
from modjax.data.datasets import Dataset
from modjax.extensions import Location, location_of
from modjax.records import MeasureInfo, NetworkInfo, PenaltyInfo, Record, TaskInfo
from modjax.spec.parse import parse_spec
from modjax.spec.plain import Built, Constant
from modjax.spec.setup import Setup
from modjax.spec.spec import SweepSpec

# Kinds of records whose functions workers call, with the function that a plain value stands for; all other kinds are
# described only.
CALLED: dict[type, tuple[str, type] | None] = {
    NetworkInfo: ("build", Built),
    TaskInfo: ("build", Constant),
    PenaltyInfo: None,
    MeasureInfo: None,
}


class Shipped(NamedTuple):
    """A setup without functions.

    Attributes:
        content: Values of the spec.
        described: Description of the records that are not modjax's own.
        locations: Where the records are whose functions workers call, or the plain values in place of their functions.
        data: Dataset of the spec.
        data_checksum: Checksum of the dataset.
        trials: Trials table as planned.
    """

    content: dict[str, Any]
    described: dict[str, Any]
    locations: tuple[tuple[str, str, Location], ...]
    data: Dataset
    data_checksum: str
    trials: pl.DataFrame

    def setup(self) -> Setup:
        """Return the setup, with functions of this process.

        Raises:
            OSError: If the source of a record is not here, or is another one.
        """
        described = read_catalog(self.described)
        given = [_at(location, getattr(described, kind)[name]) for kind, name, location in self.locations]
        catalog = BUILTIN.extended(given)
        catalog = catalog.extended([record for record in described.added if not catalog.knows(record)])
        spec = parse_spec(self.content, catalog=catalog)
        return Setup(spec, self.data, self.data_checksum, self.trials)


def shipped(setup: Setup) -> Shipped:
    """Return a setup as it travels."""
    spec = setup.spec
    locations = tuple((KINDS[type(record)][0], record.name, location) for record, location in _locations(spec.catalog))
    content = spec.model_dump(mode="json", exclude_none=True)
    return Shipped(content, spec.catalog.describe(), locations, setup.data, setup.data_checksum, setup.trials)


def check_portable(spec: SweepSpec) -> None:
    """Raise unless another process can find all that workers call.

    Raises:
        ValueError: If it cannot; the message names the record.
    """
    for _ in _locations(spec.catalog):
        pass


def _locations(catalog: Catalog) -> list[tuple[Record, Location]]:
    located = []
    for record in catalog.added:
        if type(record) not in CALLED:
            continue
        value = _plain_value(record)
        location = location_of(record if value is None else value)
        if location is None:
            word = KINDS[type(record)][1]
            raise ValueError(
                f"{word} {record.name!r} is no module-level value of an extension file or of a module that can be "
                "imported, so that workers of engine 'ray' cannot find it; define it in a file and give that as an "
                "extension, or use engine 'local'."
            )
        located.append((record, location))
    return located


def _plain_value(record: Record) -> Any:
    """Return the plain value that a record was made from, or None."""
    plain = CALLED[type(record)]
    function: Any = getattr(record, plain[0]) if plain else None
    return function.value if isinstance(function, Built | Constant) else None


def _at(location: Location, described: Record) -> Record:
    value, plain = location.value(), CALLED[type(described)]
    return (
        value
        if isinstance(value, type(described)) or plain is None
        else replace(described, **{plain[0]: plain[1](value)})
    )
