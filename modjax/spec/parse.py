"""Parsing of TOML specs, with one-line errors."""

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modjax.names import (
    DATASETS,
)
from modjax.spec.spec import (
    AlignmentSpec,
    ArmSpec,
    ModulesSpec,
    NetworkSpec,
    SimilaritySpec,
    SweepSpec,
    TrainingSpec,
    _Section,
)

MAX_SPEC_BYTES = 2**20
_SECTIONS: dict[str, type[_Section]] = {
    "network": NetworkSpec,
    "training": TrainingSpec,
    "arms": ArmSpec,
    "similarity": SimilaritySpec,
    "modules": ModulesSpec,
    "alignment": AlignmentSpec,
}


def load_spec(path: str | os.PathLike) -> SweepSpec:
    """Read a spec from a TOML file; a dataset path in it is relative to that file.

    Raises:
        ValueError: If the file is missing, not TOML, or has a key or value that is not allowed; the message is one
            line that names it.
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
    if isinstance(dataset, str) and dataset not in DATASETS and dataset.endswith(".npz"):
        content["dataset"] = os.path.abspath(path.parent / dataset)
    return parse_spec(content, str(path))


def parse_spec(content: dict[str, Any], source: str = "spec") -> SweepSpec:
    """Return a spec from plain values; errors fill one line that starts with ``source``.

    Raises:
        ValueError: If a key or value is not allowed.

    Example:
        >>> parse_spec({"name": "x", "dataset": "digits", "seeds": [0], "arms": [{"name": "a", "dropout": [1]}]})
        Traceback (most recent call last):
        ValueError: spec: arms[0].dropout[0]: Input should be less than 1; got 1.
    """
    try:
        return SweepSpec.model_validate(content)
    except ValidationError as error:
        # A list with a bad item also counts as too short; only the item is reported.
        errors = error.errors(include_url=False)
        problems = [_describe(problem) for problem in errors if problem["type"] != "too_short" or not problem["input"]]
        shown = problems[:5] + [f"and {len(problems) - 5} more"] * (len(problems) > 5)
        raise ValueError(f"{source}: {'; '.join(shown)}.") from None


def _describe(problem: Any) -> str:
    """Return one pydantic error as ``key: what is allowed; got what``."""
    # Names of validators and tuple types in the location mean nothing to the author of a spec.
    location = [
        part for part in problem["loc"] if not (isinstance(part, str) and part.startswith(("function-", "tuple[")))
    ]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".") or "spec"
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    if problem["type"] in ("model_type", "tuple_type"):
        message = "must be a table" if problem["type"] == "model_type" else "must be a list"
    if problem["type"] == "extra_forbidden":
        section = _SECTIONS.get(str(location[0])) if len(location) > 1 else SweepSpec
        allowed = f"; allowed: {', '.join(section.model_fields)}" if section else ""
        return f"{where}: unknown key{allowed}"
    if problem["type"] == "missing":
        return f"{where}: missing"
    if problem["type"] == "value_error" or isinstance(problem["input"], dict):
        return f"{where}: {message}"
    got = repr(problem["input"])
    return f"{where}: {message}; got {got if len(got) < 60 else got[:57] + '...'}"
