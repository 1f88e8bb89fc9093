"""Types of values in a spec, with validators that explain in one sentence what is allowed."""

from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field

from modjax.names import MAX_COUNT, MAX_SEED, one_of

MAX_GRID = 100_000
MAX_BOUND = 1e300


def expand_grid(values: Any) -> Any:
    """Return a list as it is, and ``{linspace = [a, b, n]}`` or ``{logspace = [a, b, n]}`` as n rounded numbers."""
    if isinstance(values, list | tuple):
        # -0.0 and 0.0 are equal, so they must not make two trials.
        return [value + 0.0 if isinstance(value, float) else value for value in values]
    if not isinstance(values, dict):
        raise ValueError("must be a list, {linspace = [a, b, n]} or {logspace = [a, b, n]}")
    kind = next(iter(values), None)
    if len(values) != 1 or kind not in ("linspace", "logspace"):
        raise ValueError("must be a list, {linspace = [a, b, n]} or {logspace = [a, b, n]}")
    bounds = values[kind]
    is_triple = isinstance(bounds, list) and len(bounds) == 3 and all(type(bound) in (int, float) for bound in bounds)
    if not is_triple or type(bounds[2]) is not int or not 1 <= bounds[2] <= MAX_GRID:
        raise ValueError(f"{kind} must be [first, last, n] with numbers and a whole n from 1 to {MAX_GRID}")
    first, last, num = bounds
    limit = MAX_BOUND if kind == "linspace" else 300
    if not (abs(first) <= limit and abs(last) <= limit):
        raise ValueError(f"{kind} must have bounds within +-{limit:g}")
    points = np.linspace(first, last, num) if kind == "linspace" else np.logspace(first, last, num)
    # Twelve digits: 0.15, not 0.15000000000000002, so that a trial's identity does not depend on notation.
    return [float(f"{point:.12g}") + 0.0 for point in points]


def known(names: tuple[str, ...], what: str) -> AfterValidator:
    """Return a validator that accepts only the given names."""
    return AfterValidator(lambda name: one_of(name, names, what))


def distinct(values: tuple | None) -> tuple | None:
    """Return the values unchanged; raise ValueError if one occurs twice."""
    if values is not None and len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise ValueError(f"values must be distinct; {twice!r} is there twice")
    return values


def dataset_name(datasets: tuple[str, ...]) -> AfterValidator:
    """Return a validator that accepts the name of a dataset or the path of an .npz file."""

    def check(name: str) -> str:
        if name not in datasets and not name.endswith(".npz"):
            raise ValueError(f"Unknown dataset {name!r}. Available: {', '.join(datasets)}, or a path to an .npz file.")
        return name

    return AfterValidator(check)


def frozen(value: Any) -> Any:
    """Return a value with tuples in place of lists, at any depth."""
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value


def choices(item: Any) -> Any:
    """Return the annotated type of a list of distinct values of a type."""
    return Annotated[
        tuple[item, ...],
        BeforeValidator(_as_choices),
        Field(min_length=1, max_length=MAX_GRID),
        AfterValidator(distinct),
    ]


def _as_choices(values: Any) -> Any:
    if not isinstance(values, list | tuple):
        raise ValueError("must be a list of values")
    return frozen(values)


Name = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9_-]+$", max_length=100)]
Count = Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT)]
Share = Annotated[float, Field(strict=True, gt=0, lt=1)]
Seeds = Annotated[
    tuple[Annotated[int, Field(strict=True, ge=0, le=MAX_SEED)], ...], Field(min_length=1), AfterValidator(distinct)
]


def grid(**bounds: Any) -> Any:
    """Return the annotated type of a list of distinct numbers within bounds."""
    value = Annotated[float, Field(strict=True, allow_inf_nan=False, **bounds)]
    return Annotated[
        tuple[value, ...],
        BeforeValidator(expand_grid),
        Field(min_length=1, max_length=MAX_GRID),
        AfterValidator(distinct),
    ]
