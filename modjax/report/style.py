"""Names, colours and markers shared by all figures: the Okabe-Ito palette, safe in print and for colour blindness."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import polars as pl

from modjax.builtins import WEIGHTS
from modjax.catalog import BUILTIN, Catalog
from modjax.names import MEASURES
from modjax.records import HyperparameterInfo, MeasureInfo
from modjax.store.schemas import hyperparameters_in

ARM_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
ARM_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
UNTRAINED_COLOUR = "#808080"
# Families share a hue and a line style: upstream blue and solid, downstream orange and dashed; markers are cycled.
FAMILY_COLOURS = {
    "upstream": ("#0072B2", "#56B4E9", "#7A5BA6"),
    "downstream": ("#D55E00", "#E69F00", "#B3446C"),
    "parameters": ("#009E73",),
}
FAMILY_LINES = {"upstream": "-", "downstream": "--", "parameters": ":"}
MEASURE_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MEASURE_DASHES = {"upstream": "solid", "downstream": "dash", "parameters": "dot"}
RC: dict[Any, Any] = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "svg.hashsalt": "modjax",
    "svg.fonttype": "none",
}


class Look(NamedTuple):
    """Colour, marker and line style of a measure."""

    colour: str
    marker: str
    line: str


_CATALOG: ContextVar[Catalog] = ContextVar("records of the sweeps that are drawn", default=BUILTIN)


@contextmanager
def records_of(*catalogs: Catalog) -> Iterator[None]:
    """Draw with the titles and families of some sweeps' own records; of two records of one name, the first counts."""
    known = BUILTIN
    for catalog in catalogs:
        known = known.extended([record for record in catalog.added if not known.knows(record)])
    token = _CATALOG.set(known)
    try:
        yield
    finally:
        _CATALOG.reset(token)


def hyperparameter_of(name: str) -> HyperparameterInfo:
    """Return the record of a hyperparameter; a minimal one if it is unknown."""
    return _CATALOG.get().hyperparameters.get(name) or HyperparameterInfo(name, None)


def info_of(measure: str) -> MeasureInfo:
    """Return the record of a measure; a minimal one, with its name alone, if the measure is unknown."""
    known = {**_CATALOG.get().measures, WEIGHTS.name: WEIGHTS}
    return known.get(measure) or MeasureInfo(measure, "parameters", "")


def family_of(measure: str) -> str:
    """Return the family of a measure: ``upstream``, ``downstream`` or ``parameters``."""
    return info_of(measure).family


def measure_title(measure: str) -> str:
    """Return the name of a measure for readers.

    Example:
        >>> measure_title("input_jacobian"), measure_title("covariance")
        ('input Jacobian', 'covariance')
    """
    return info_of(measure).label


def long_title(measure: str) -> str:
    """Return the name of a measure with its family on a second line."""
    return f"{measure_title(measure)}\n({family_of(measure)})"


def look_of_measure(measure: str) -> Look:
    """Return the look of a measure, by its index in its family (colour) and among all measures (marker).

    Example:
        >>> look_of_measure("output_jacobian")
        Look(colour='#D55E00', marker='^', line='--')
    """
    known = [*BUILTIN.measures.values(), WEIGHTS, *_CATALOG.get().measures.values()]
    known = list(dict.fromkeys(known))
    info = info_of(measure)
    # Unknown measures get the look after the last known one, and all of them the same.
    relatives = [record.name for record in known if record.family == info.family]
    number = relatives.index(measure) if measure in relatives else len(relatives)
    index = (
        [record.name for record in known].index(measure) if measure in {record.name for record in known} else len(known)
    )
    colours = FAMILY_COLOURS[info.family]
    return Look(
        colours[number % len(colours)], MEASURE_MARKERS[index % len(MEASURE_MARKERS)], FAMILY_LINES[info.family]
    )


def use_style() -> None:
    """Set matplotlib to draw without a display, in the style of all figures."""
    mpl.use("Agg", force=False)
    for name, value in RC.items():
        mpl.rcParams[name] = value


def ordered_measures(column: pl.Series) -> list[str]:
    """Return the measures in a column, upstream first."""
    present = set(column.to_list())
    return [*(name for name in MEASURES if name in present), *sorted(present - {*MEASURES, WEIGHTS.name})]


def setting_text(value: float | int | str | None) -> str:
    """Return a hyperparameter as text; null where nothing in a trial reads it.

    Example:
        >>> setting_text(0.05), setting_text("[64, 64]"), setting_text(None)
        ('0.05', '[64, 64]', '-')
    """
    return f"{value:.3g}" if isinstance(value, int | float) else "-" if value is None else value


def layer_title(layer: int) -> str:
    """Return the name of a layer in figures."""
    return "all layers" if layer < 0 else f"layer {layer}"


def natural_key(value: float | str | None) -> tuple:
    """Return a key by which cells are sorted as readers expect: nothing, numbers, lists of numbers, text.

    Example:
        >>> sorted(["[16]", "all", "[4, 2]", "100", None], key=natural_key)
        [None, '100', '[4, 2]', '[16]', 'all']
    """
    if value is None:
        return (0,)
    if not isinstance(value, str):
        return 1, value
    try:
        content = json.loads(value)
    except ValueError:
        return 3, value
    return (
        (2, content) if isinstance(content, list) else (1, content) if isinstance(content, int | float) else (3, value)
    )


def in_natural_order(settings: pl.DataFrame) -> pl.DataFrame:
    """Return rows sorted by all their columns, each in natural order."""
    rows = sorted(settings.iter_rows(), key=lambda row: tuple(natural_key(value) for value in row))
    return pl.DataFrame(rows, schema=settings.schema, orient="row")


def strengths(trials: pl.DataFrame) -> pl.DataFrame:
    """Return how strong the regularization of each trained trial is within its arm, one row per trial.

    The hyperparameters that vary within an arm define its settings. Sorted settings are spread evenly from 0 (weakest)
    to 1 (strongest), so that arms on different scales share one axis.

    Returns:
        ``trial_id, arm, setting`` (a label such as ``dropout 0.5``) and ``strength``.
    """
    frames = []
    for arm in trials["arm"].unique(maintain_order=True).sort():
        rows = trials.filter(pl.col("arm") == arm)
        varying = [name for name in hyperparameters_in(trials) if rows[name].n_unique() > 1] or ["dropout"]
        settings = in_natural_order(rows.select(varying).unique())
        labels = [
            ", ".join(f"{name} {setting_text(value)}" for name, value in row.items())
            for row in settings.iter_rows(named=True)
        ]
        # The only setting of an arm is neither its weakest nor its strongest: it sits in the middle.
        positions = np.linspace(0, 1, len(labels)) if len(labels) > 1 else np.array([0.5])
        settings = settings.with_columns(setting=pl.Series(labels), strength=pl.Series(positions))
        frames.append(rows.join(settings, on=varying, validate="m:1").select("trial_id", "arm", "setting", "strength"))
    schema = {"trial_id": pl.String, "arm": pl.String, "setting": pl.String, "strength": pl.Float64}
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)


def varied_by_arm(trials: pl.DataFrame) -> dict[str, str]:
    """Return the hyperparameter that each arm of trained trials varies, without arms that vary none or several."""
    trained = trials.filter(pl.col("status") != "untrained")
    varied = {}
    for arm in trained["arm"].unique().sort().to_list():
        rows = trained.filter(pl.col("arm") == arm)
        varying = [name for name in hyperparameters_in(trials) if rows[name].n_unique() > 1]
        if len(varying) == 1 and trials[varying[0]].dtype.is_numeric():
            varied[arm] = varying[0]
    return varied


def graph_title(measure: str, normalized: bool) -> str:
    """Return the short name of a measure, with ``n`` if it is normalized."""
    return f"{info_of(measure).short or measure}{' n' if normalized else ''}"


def arm_looks(arms: list[str]) -> dict[str, tuple[str, str]]:
    """Return the colour and marker of each arm."""
    return {
        arm: (ARM_COLOURS[index % len(ARM_COLOURS)], ARM_MARKERS[index % len(ARM_MARKERS)])
        for index, arm in enumerate(arms)
    }
