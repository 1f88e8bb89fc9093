"""Parsing of TOML specs, with one-line errors."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modjax.catalog import BUILTIN, Catalog
from modjax.spec.spec import SweepSpec, spec_model

MAX_SPEC_BYTES = 2**20


def load_spec(path: str | os.PathLike, catalog: Catalog = BUILTIN) -> SweepSpec:
    """Read a spec from a TOML file; a dataset path in it is relative to that file.

    Args:
        path: The file.
        catalog: Records that the spec may name (:func:`modjax.extensions.catalog_of`).

    Raises:
        ValueError: If the file is missing, not TOML, or has a key or value that is not allowed; the message is one
            line that names it.
    """
    return parse_spec(read_toml(path, catalog), str(path), catalog)


def read_toml(path: str | os.PathLike, catalog: Catalog = BUILTIN) -> dict[str, Any]:
    """Return the values of a TOML file, a dataset path in it made absolute.

    Raises:
        ValueError: If the file is missing, too large or not TOML.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: there is no such spec; expected a TOML file (examples are in experiments/).")
    if path.stat().st_size > MAX_SPEC_BYTES:
        raise ValueError(f"{path}: a spec has at most {MAX_SPEC_BYTES:,} bytes; this file has {path.stat().st_size:,}.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError also for integers of thousands of digits
        raise ValueError(f"{path}: not a TOML file ({' '.join(str(error).split())}).") from error
    dataset = content.get("dataset")
    if isinstance(dataset, str) and dataset not in catalog.datasets and dataset.endswith(".npz"):
        content["dataset"] = os.path.abspath(path.parent / dataset)
    return content


def parse_spec(content: Mapping[str, Any], source: str = "spec", catalog: Catalog = BUILTIN) -> SweepSpec:
    """Return a spec from plain values; errors fill one line that starts with ``source``.

    Raises:
        ValueError: If a key or value is not allowed.

    Example:
        >>> parse_spec({"name": "x", "dataset": "digits", "seeds": [0], "arms": [{"name": "a", "dropout": [1]}]})
        Traceback (most recent call last):
        ValueError: spec: arms[0].dropout[0]: Input should be less than 1; got 1.
    """
    network = content.get("network") if isinstance(content, Mapping) else None
    kind = network.get("kind", "mlp") if isinstance(network, Mapping) else "mlp"
    model = spec_model(catalog, kind if isinstance(kind, str) else "mlp")
    if not isinstance(content, Mapping):
        raise ValueError(f"{source}: must be a table; got {type(content).__name__}.")
    try:
        return model(**content)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
