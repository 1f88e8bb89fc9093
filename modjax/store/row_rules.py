"""Rules for the values of table rows, beyond the schema, that every reader relies on."""

from collections.abc import Iterable

import polars as pl

from modjax.builtins import BASE_HYPERPARAMETERS
from modjax.catalog import Catalog
from modjax.names import COMBINED_LAYER, MAX_SEED, WEIGHTS
from modjax.records import HyperparameterInfo
from modjax.store.schemas import Column

STATUSES = ("pending", "done", "diverged", "stopped", "untrained", "failed")
MAX_LAYERS = 100
MAX_SCORE = 1e100  # its square is still finite
SCORES = ("element_centric", "ami", "ari", "mi", "rmi", "vi", "overlap_greedy", "overlap_optimal", "spearman")
GRAPHS_OF_LAYER = ["trial_id", "layer"]

Rules = dict[str, pl.Expr]


def _is_allowed(info: HyperparameterInfo) -> pl.Expr:
    """Return an expression: finite and within the bounds of a hyperparameter."""
    value = pl.col(info.name)
    compare = {"ge": value.__ge__, "gt": value.__gt__, "le": value.__le__, "lt": value.__lt__}
    return pl.all_horizontal(value.is_finite(), *(compare[side](bound) for side, bound in info.bounds.items()))


def _is_within_reason(column: str) -> pl.Expr:
    """Return an expression: NaN (no score), or small enough that statistics of it stay finite."""
    return pl.col(column).is_nan() | (pl.col(column).abs() <= MAX_SCORE)


def _is_label_list(column: str) -> pl.Expr:
    """Return an expression: the module of every unit, -1 for none; the whole list may be null."""
    labels = pl.col(column)
    is_within = (labels.list.min() >= -1) & (labels.list.max() < labels.list.len())
    return labels.is_null() | ((labels.list.drop_nulls().list.len() == labels.list.len()) & is_within.fill_null(True))


_LAYER = pl.col("layer").is_between(COMBINED_LAYER, MAX_LAYERS - 1)
_UNITS = pl.col("num_units").is_between(1, 2**20)


def rules_of(catalog: Catalog, columns: Iterable[Column]) -> dict[str, Rules]:
    """Return the rules of each table, for the records and later hyperparameters of a sweep."""
    known = [*catalog.measures, WEIGHTS]
    infos = catalog.hyperparameters
    later = [infos[column.name] for column in columns if column.name in infos and column.dtype != "String"]
    return {
        "trials": {
            "an arm that is not letters, digits, - and _": pl.col("arm").str.contains(r"^[A-Za-z0-9_-]{1,100}$"),
            f"a status that is none of {', '.join(STATUSES)}": pl.col("status").is_in(STATUSES),
            f"a seed that is not from 0 to {MAX_SEED}": pl.col("seed").is_between(0, MAX_SEED),
            **{
                f"a {name} that is not {infos[name].allowed}": _is_allowed(infos[name]) for name in BASE_HYPERPARAMETERS
            },
            # Null where nothing in a trial's population reads it.
            **{
                f"a {info.name} that is not {info.allowed}": pl.col(info.name).is_null() | _is_allowed(info)
                for info in later
            },
            "a row that is neither excluded nor not": pl.col("excluded").is_not_null(),
            "a negative number of epochs": pl.col("epochs").fill_null(0) >= 0,
        },
        "history": {"a negative epoch": pl.col("epoch") >= 0},
        "similarity": {
            "an unknown measure": pl.col("measure").is_in(known),
            f"a layer that is not from {COMBINED_LAYER} to {MAX_LAYERS - 1}": _LAYER,
            "a matrix that is not num_units x num_units": _UNITS
            & (pl.col("num_units").cast(pl.Int64).pow(2) == pl.col("matrix").list.len()),
        },
        "modules": {
            "an unknown measure": pl.col("measure").is_in(known),
            f"a layer that is not from {COMBINED_LAYER} to {MAX_LAYERS - 1}": _LAYER,
            "a q that is missing, infinite or beyond all reason": _is_within_reason("q"),
            "labels that are no modules of their units": pl.col("labels").is_not_null() & _is_label_list("labels"),
            "joint_labels that are no modules of their units": _is_label_list("joint_labels"),
            "labels of more units than others of their layer": pl.col("labels").list.len()
            == pl.col("labels").list.len().first().over(GRAPHS_OF_LAYER),
        },
        "alignment": {
            "an unknown measure": pl.col("measure_a").is_in(known) & pl.col("measure_b").is_in(known),
            f"a layer that is not from {COMBINED_LAYER} to {MAX_LAYERS - 1}": _LAYER,
            "a score that is infinite or beyond all reason": pl.all_horizontal(
                _is_within_reason(name).fill_null(True) for name in SCORES
            ),
        },
    }


def key_problem(frame: pl.DataFrame, keys: list[str]) -> str | None:
    """Return the problem if a key is missing or duplicated, else None."""
    key_columns = frame.select(keys)
    if sum(key_columns.null_count().row(0)):
        return "a row without its key"
    return "two rows of one key" if key_columns.is_duplicated().any() else None


def rule_problem(frame: pl.LazyFrame, rules: Rules) -> str | None:
    """Return the first rule that a row breaks, or None; null breaks every rule that does not allow it."""
    if not rules:
        return None
    kept = frame.select(rule.fill_null(False).all().alias(problem) for problem, rule in rules.items()).collect()
    return next((problem for problem, is_kept in kept.row(0, named=True).items() if not is_kept), None)


def foreign_problem(frame: pl.DataFrame, trials: pl.DataFrame) -> str | None:
    """Return the problem if a table has rows of trials that the trials table lacks, else None."""
    foreign = frame.filter(~pl.col("trial_id").is_in(trials["trial_id"].implode()))["trial_id"]
    return f"{foreign.n_unique()} trials that trials.parquet lacks" if foreign.len() else None


def matrix_problem(similarity: pl.DataFrame, modules: pl.DataFrame) -> str | None:
    """Return the problem if module rows have no matrix, or one of another size than their labels, else None."""
    # Only layers of trials with at least one matrix are compared.
    graph = [*GRAPHS_OF_LAYER, "measure"]
    with_matrices = modules.select(*graph, num_labels=pl.col("labels").list.len()).join(
        similarity.select(GRAPHS_OF_LAYER).unique(), on=GRAPHS_OF_LAYER, how="semi"
    )
    held = with_matrices.join(similarity.select(*graph, "num_units"), on=graph, how="left")
    wrong = held.filter(pl.col("num_units").is_null() | (pl.col("num_units") != pl.col("num_labels")))
    return f"no matrices of the units that {wrong.height} rows of modules.parquet tell of" if wrong.height else None
