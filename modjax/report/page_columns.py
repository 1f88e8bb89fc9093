"""Tables as typed columns in one compressed blob, which a browser reads without parsing text."""

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from modjax.records import HyperparameterInfo
from modjax.report.style import natural_key

ALIGNED_TO = 8
MANTISSA_BITS = 12  # of large tables: values are within 2^-13 of themselves, about 1 part in 8,000
SHARE_STEPS = 100
NO_SHARE = 255


class Columns(NamedTuple):
    """Columns stored end to end: a header with the offset of each, and the compressed bytes in base64."""

    header: list[dict[str, Any]]
    blob: str


def to_base64(data: bytes) -> str:
    """Compress with zlib (the browser's ``deflate``) and encode as base64; deterministic."""
    return base64.b64encode(zlib.compress(data, 9)).decode("ascii")


def from_base64(text: str) -> bytes:
    """Invert ``to_base64``."""
    return zlib.decompress(base64.b64decode(text))


def as_single(values: np.ndarray) -> np.ndarray:
    """Convert to float32; values beyond its range become infinite."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)


def rounded(values: np.ndarray, bits: int = MANTISSA_BITS) -> np.ndarray:
    """Round to float32 with only the first mantissa bits, which halves the compressed size. NaN stays NaN.

    Example:
        >>> rounded(np.array([1.0, 1 / 3, np.nan])).tolist()
        [1.0, 0.33331298828125, nan]
    """
    # Adding half of the last kept bit before masking rounds to nearest, carries into the exponent included.
    single = as_single(values)
    raw = single.view(np.uint32)
    half, mask = np.uint32(1 << (22 - bits)), np.uint32((0xFFFFFFFF << (23 - bits)) & 0xFFFFFFFF)
    return np.where(np.isfinite(single), ((raw + half) & mask).view(np.float32), single).astype(np.float32)


def shares(values: np.ndarray) -> np.ndarray:
    """Encode values in [0, 1] as bytes, in hundredths; 255 is NaN."""
    known = np.isfinite(values)
    steps = np.round(np.where(known, values, 0.0).clip(0, 1) * SHARE_STEPS)
    return np.where(known, steps, NO_SHARE).astype(np.uint8)


def codes(values: Sequence[str], levels: Sequence[str]) -> np.ndarray:
    """Return the index of each value in ``levels``."""
    index_of = {level: index for index, level in enumerate(levels)}
    return np.array([index_of[value] for value in values], np.uint16 if len(levels) < 2**16 else np.uint32)


def floats(column: pl.Series) -> np.ndarray:
    """Convert a column to float64; null becomes NaN (typed arrays have no null)."""
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy()


def pack(tables: Mapping[str, Mapping[str, np.ndarray]]) -> Columns:
    """Pack all columns of all tables into one blob; booleans become bytes.

    Each column stores the first bytes of all values, then the second bytes, and so on: similar bytes next to each other
    compress better.
    """
    header: list[dict[str, Any]] = []
    parts: list[bytes] = []
    offset = 0
    for table, columns in tables.items():
        for name, values in columns.items():
            plain = np.ascontiguousarray(values.astype(np.uint8) if values.dtype == bool else values)
            little = plain.astype(plain.dtype.newbyteorder("<"))
            data = little.view(np.uint8).reshape(len(plain), plain.dtype.itemsize).T.tobytes()
            kind = plain.dtype.kind + str(plain.dtype.itemsize)
            header.append({"table": table, "name": name, "kind": kind, "offset": offset, "length": len(plain)})
            parts.append(data + bytes(-len(data) % ALIGNED_TO))
            offset += len(parts[-1])
    return Columns(header, to_base64(b"".join(parts)))


def unpack(columns: Columns) -> dict[str, dict[str, np.ndarray]]:
    """Invert ``pack``, in the way that the browser does."""
    data = from_base64(columns.blob)
    tables: dict[str, dict[str, np.ndarray]] = {}
    # A header entry's offset counts bytes of the uncompressed blob, in which each column is a matrix of byte planes.
    for column in columns.header:
        kind = np.dtype("<" + column["kind"])
        planes = np.frombuffer(data, np.uint8, kind.itemsize * column["length"], column["offset"])
        values = np.ascontiguousarray(planes.reshape(kind.itemsize, -1).T).view(kind).ravel()
        tables.setdefault(column["table"], {})[column["name"]] = values
    return tables


def texts_of(column: pl.Series) -> list[str]:
    """Return the distinct values of a column of texts, in natural order."""
    return sorted(column.drop_nulls().unique().to_list(), key=natural_key)


def codes_of(column: pl.Series) -> pl.Series:
    """Return numbers as they are, and texts as their positions among the column's distinct values."""
    if column.dtype != pl.String:
        return column
    values = {value: position for position, value in enumerate(texts_of(column))}
    return pl.Series([values.get(value) for value in column], dtype=pl.Float64)


def hyperparameter_facts(column: pl.Series, info: HyperparameterInfo) -> dict[str, Any]:
    """Return what the page says of a hyperparameter; ``values`` are those of a column of texts."""
    values = {"values": texts_of(column)} if column.dtype == pl.String else {}
    return {"name": info.name, "title": info.title, "scale": info.scale, **values}


def thinned(history: pl.DataFrame, most: int) -> tuple[pl.DataFrame, int]:
    """Keep every k-th epoch and the last of each trial if the table is long; also return k."""
    step = math.ceil(history.height / most) if history.height else 1
    is_last = pl.col("epoch") == pl.col("epoch").max().over("trial_id")
    return history.filter((pl.col("epoch") % step == 0) | is_last), step


def first_trials(sizes: dict[str, int], order: list[str], limit: int) -> list[str]:
    """Return as many trials as fit into ``limit``, in order of priority."""
    wanted = [trial_id for trial_id in order if trial_id in sizes]
    used = np.cumsum([sizes[trial_id] for trial_id in wanted])
    return wanted[: int(np.searchsorted(used, limit, side="right"))]
