"""The catalog: every record that a sweep may name, those of modjax and those of its extensions.

A catalog travels with the call; nothing is registered globally. What a reader needs of a sweep's extensions (names,
titles, bounds, columns, not functions) is described in its manifest, from which a catalog can be read back.
"""

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, NoReturn

import polars as pl

from modjax import builtins
from modjax.records import (
    AnalysisInfo,
    DatasetInfo,
    HyperparameterInfo,
    MeasureInfo,
    NetworkInfo,
    NullInfo,
    PenaltyInfo,
    Record,
    SearchInfo,
    TaskInfo,
    resolve,
)

# Each kind of record: the catalog's field that holds it, and its name in messages.
KINDS: dict[type, tuple[str, str]] = {
    HyperparameterInfo: ("hyperparameters", "hyperparameter"),
    PenaltyInfo: ("penalties", "penalty"),
    TaskInfo: ("tasks", "task"),
    MeasureInfo: ("measures", "measure"),
    NetworkInfo: ("networks", "network kind"),
    DatasetInfo: ("datasets", "dataset"),
    SearchInfo: ("searches", "search"),
    NullInfo: ("nulls", "null"),
    AnalysisInfo: ("analyses", "analysis"),
}
FUNCTIONS = ("function", "kernel", "build", "load", "search", "draw", "run", "closed_form")
BUILD_ARGUMENTS = ("in_shape", "num_outputs")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
TABLES = ("trials", "history", "similarity", "modules", "alignment", "lesions", "spec", "manifest")
_PLAIN: tuple[Any, ...] = (
    *(pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64),
    *(pl.Float32, pl.Float64, pl.String, pl.Boolean),
)
DTYPES: dict[str, Any] = {str(dtype()): dtype() for dtype in _PLAIN}
DTYPES |= {str(pl.List(dtype)): pl.List(dtype) for dtype in _PLAIN}


@dataclass(frozen=True)
class Source:
    """A file of extensions.

    Attributes:
        name: Name of the file.
        sha256: Checksum of the file and of the modules that it imports from its folder.
    """

    name: str
    sha256: str


@dataclass(frozen=True, eq=False)
class Catalog:
    """Records by kind and name.

    Attributes:
        hyperparameters: Traced and static ones, those of penalties, tasks and networks among them.
        penalties: Terms that may be added to the loss.
        tasks: Learning problems.
        measures: Similarities between units.
        networks: Kinds of networks.
        datasets: Datasets by name.
        searches: Methods that find modules.
        nulls: Distributions of graphs under no structure.
        analyses: Computations on finished trials.
        added: The records that are not modjax's own.
        sources: Files that the added records come from.
    """

    hyperparameters: Mapping[str, HyperparameterInfo]
    penalties: Mapping[str, PenaltyInfo]
    tasks: Mapping[str, TaskInfo]
    measures: Mapping[str, MeasureInfo]
    networks: Mapping[str, NetworkInfo]
    datasets: Mapping[str, DatasetInfo]
    searches: Mapping[str, SearchInfo]
    nulls: Mapping[str, NullInfo]
    analyses: Mapping[str, AnalysisInfo]
    added: tuple[Record, ...] = ()
    sources: tuple[Source, ...] = field(default=())

    def extended(self, records: Iterable[Record], sources: Iterable[Source] = ()) -> "Catalog":
        """Return a catalog with more records.

        Raises:
            ValueError: Something that is no record, a bad name, or two records of one kind and name.

        Example:
            >>> from modjax.records import HyperparameterInfo
            >>> BUILTIN.extended([HyperparameterInfo("dropout", 0.5)])
            Traceback (most recent call last):
            ValueError: hyperparameter 'dropout' is one of modjax's own; give yours another name.
        """
        tables = {kind: dict(getattr(self, kind)) for kind, _ in KINDS.values()}
        added = list(self.added)
        for record in _with_inner(records):
            if type(record) not in KINDS:
                raise ValueError(f"extensions must be records such as modjax.MeasureInfo; got {type(record).__name__}.")
            kind, word = KINDS[type(record)]
            table = tables[kind]
            if table.get(record.name) is record or (record.name in table and table[record.name] == record):
                continue  # reached twice, by a penalty and by its own name
            _check(record, word)
            if record.name in getattr(BUILTIN, kind):
                raise ValueError(f"{word} {record.name!r} is one of modjax's own; give yours another name.")
            if record.name in table:
                raise ValueError(f"two records of {word} {record.name!r}; give one of them another name.")
            table[record.name] = record
            added.append(record)
        of_table: dict[str, str] = {}
        for info in tables["analyses"].values():
            if of_table.setdefault(info.table, info.name) != info.name:
                raise ValueError(
                    f"analyses {of_table[info.table]!r} and {info.name!r} write one table, {info.table!r}."
                )
        return Catalog(
            **{kind: MappingProxyType(table) for kind, table in tables.items()},
            added=tuple(added),
            sources=(*self.sources, *(source for source in sources if source not in self.sources)),
        )

    def knows(self, record: Record) -> bool:
        """Whether there is a record of the kind and name of one."""
        return record.name in getattr(self, KINDS[type(record)][0])

    def describe(self) -> dict[str, Any]:
        """Return what a reader needs of the added records, as JSON values; the same, read back, makes a catalog."""
        described: dict[str, Any] = {"sources": [vars(source) for source in self.sources]} if self.sources else {}
        for record in self.added:
            described.setdefault(KINDS[type(record)][0], []).append(_described(record))
        return described


def _with_inner(records: Iterable[Record]) -> Iterable[Record]:
    """Yield records, each after the hyperparameters that it holds."""
    for record in records:
        for info in getattr(record, "hyperparameters", ()):
            # A record may name one of modjax's own hyperparameters as one that it reads.
            if BUILTIN.hyperparameters.get(info.name) != info:
                yield info
        yield record


def _check(record: Record, word: str) -> None:
    if not isinstance(record.name, str) or not NAME.fullmatch(record.name):
        raise ValueError(f"a {word} must have a name of letters, digits and _; got {record.name!r}.")
    if isinstance(record, AnalysisInfo):
        if record.table in TABLES or not NAME.fullmatch(record.table):
            raise ValueError(f"analysis {record.name!r} cannot write a table of the name {record.table!r}.")
        if record.keys.keys() & record.columns.keys() or "trial_id" in {*record.keys, *record.columns}:
            raise ValueError(f"analysis {record.name!r}: keys and columns must be distinct, and none is trial_id.")
        for name, dtype in {**record.keys, **record.columns}.items():
            if not NAME.fullmatch(name) or _dtype_name(dtype) is None:
                raise ValueError(
                    f"analysis {record.name!r}: column {name!r} must be of {', '.join(DTYPES)}; got {dtype!r}."
                )


def _dtype_name(dtype: Any) -> str | None:
    name = str(dtype() if isinstance(dtype, type) else dtype)
    return name if name in DTYPES else None


def _described(record: Record) -> dict[str, Any]:
    """Return the values of a record that are no functions."""
    values = {item.name: getattr(record, item.name) for item in fields(record) if item.name not in FUNCTIONS}
    if "hyperparameters" in values:
        values["hyperparameters"] = [info.name for info in values["hyperparameters"]]
    if isinstance(record, NetworkInfo):
        values["settings"] = [*settings_of(record)]
    for name in {"columns", "keys"} & values.keys():
        values[name] = {column: _dtype_name(dtype) for column, dtype in values[name].items()}
    return values


def read_catalog(described: Mapping[str, Any]) -> Catalog:
    """Return the catalog that a manifest describes; its functions raise when they are called.

    Raises:
        ValueError: If it is no description of a catalog.
    """
    try:
        hyperparameters = {
            values["name"]: HyperparameterInfo(**values) for values in described.get("hyperparameters", ())
        }
        known = {**builtins.HYPERPARAMETERS, **hyperparameters}
        records: list[Record] = list(hyperparameters.values())
        for record_type, (kind, _) in KINDS.items():
            if record_type is HyperparameterInfo:
                continue
            for values in described.get(kind, ()):
                records.append(_read(record_type, dict(values), known))
        sources = [Source(str(values["name"]), str(values["sha256"])) for values in described.get("sources", ())]
        return BUILTIN.extended(records, sources)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no description of extensions ({' '.join(str(error).split())[:100]})") from error


def _read(record_type: type, values: dict[str, Any], known: Mapping[str, HyperparameterInfo]) -> Record:
    if "hyperparameters" in values:
        values["hyperparameters"] = tuple(known[name] for name in values["hyperparameters"])
    for name in {"columns", "keys"} & values.keys():
        values[name] = {column: DTYPES[dtype] for column, dtype in values[name].items()}
    functions = {item.name for item in fields(record_type)} & set(FUNCTIONS) - {"closed_form"}
    missing = NotLoaded(str(values["name"]), tuple(map(str, values.pop("settings", ()))))
    return record_type(**values, **dict.fromkeys(functions, missing))


def settings_of(info: NetworkInfo) -> dict[str, Any]:
    """Return the settings that a kind of network takes, with their defaults; ``inspect.Parameter.empty`` is none."""
    if isinstance(info.build, NotLoaded):  # a sweep's own spec has every setting written out
        return dict.fromkeys(info.build.settings)
    parameters = inspect.signature(resolve(info.build)).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and parameter.name not in BUILD_ARGUMENTS
    }


class NotLoaded:
    """Stands for the functions of a record that was read from a manifest.

    Args:
        name: Name of the record.
        settings: Names of the settings of a kind of network.
    """

    def __init__(self, name: str, settings: tuple[str, ...] = ()) -> None:
        self.name, self.settings = name, settings

    def __call__(self, *arguments: Any, **named: Any) -> NoReturn:
        """Raise a ValueError that says what is missing."""
        raise ValueError(f"{self.name!r} is an extension of this sweep: give its file with --extend.")


def _builtin() -> Catalog:
    tables: dict[str, Any] = {
        kind: MappingProxyType(dict(getattr(builtins, kind.upper(), {}))) for kind, _ in KINDS.values()
    }
    return Catalog(**tables)


BUILTIN = _builtin()
