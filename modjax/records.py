"""Records: hyperparameters, measures, penalties and the like are frozen values of these types.

A record names its functions as ``"module:name"``, resolved on first use, or holds them: the command line, tables and
reports know every record without importing JAX. Equal records are equal static arguments of a compiled program.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

Reference = str | Callable[..., Any] | tuple[Callable[..., Any], ...]  # a tuple: the functions of a kernel


def resolve(reference: Reference | tuple[Any, ...]) -> Any:
    """A function as it is, or what ``"module:name"`` names, imported now.

    Example:
        >>> resolve("math:sqrt")(9.0), resolve(abs)(-1)
        (3.0, 1)
    """
    if not isinstance(reference, str):
        return reference
    module, name = reference.split(":")
    return getattr(import_module(module), name)


@dataclass(frozen=True)
class HyperparameterInfo:
    """What an arm of a spec may vary.

    Attributes:
        name: Its name in specs, tables and messages.
        default: Its value where a spec does not name it.
        low: Lower bound, or None.
        high: Upper bound, or None.
        low_open: Whether ``low`` itself is excluded.
        high_open: Whether ``high`` itself is excluded.
        scale: Axis of figures: ``linear`` or ``log``.
        label: Title of that axis; the name, where None.
        kind: ``traced``: a value inside a compiled program; ``static``: it selects the program, and with it the
            population.
        is_always_hashed: Whether every ``trial_id`` depends on it: so it was for all that version 0.2 had. What joined
            later enters an identity only where it differs from ``default``, which therefore never changes.
    """

    name: str
    default: Any
    low: float | int | None = None
    high: float | int | None = None
    low_open: bool = False
    high_open: bool = False
    scale: Literal["linear", "log"] = "linear"
    label: str | None = None
    kind: Literal["traced", "static"] = "traced"
    is_always_hashed: bool = False

    @property
    def title(self) -> str:
        """Its name for readers."""
        return self.label or self.name.replace("_", " ")

    @property
    def bounds(self) -> dict[str, float | int]:
        """Its bounds by pydantic's names.

        Example:
            >>> HyperparameterInfo("dropout", 0.0, low=0, high=1, high_open=True).bounds
            {'ge': 0, 'lt': 1}
        """
        sides = {"gt" if self.low_open else "ge": self.low, "lt" if self.high_open else "le": self.high}
        return {side: bound for side, bound in sides.items() if bound is not None}

    @property
    def allowed(self) -> str:
        """Its values, in words.

        Example:
            >>> HyperparameterInfo("l2", 0.0, low=0).allowed
            'at least 0'
            >>> HyperparameterInfo("rate", 1.0, low=0, low_open=True, high=9).allowed
            'above 0 and at most 9'
        """
        words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
        return " and ".join(f"{words[side]} {bound:g}" for side, bound in self.bounds.items()) or "any number"


@dataclass(frozen=True)
class PenaltyInfo:
    """A term added to the loss.

    Attributes:
        name: Its name.
        function: ``function(network, params, hyperparams) -> scalar``.
        hyperparameters: Those that it reads.
    """

    name: str
    function: Reference
    hyperparameters: tuple[HyperparameterInfo, ...]


@dataclass(frozen=True)
class MeasureInfo:
    """A similarity between units.

    Attributes:
        name: Its name in specs and tables.
        family: ``upstream``, ``downstream`` or ``parameters``.
        kernel: A function ``(network, params, x, y) -> tuple of [units units]``, one matrix per hidden layer, the mean
            over the examples it is given; or a :class:`modjax.measures.base.Similarity`, which ``combined`` needs.
        title: Its name for readers; the name, where None.
        needs_labels: Whether it reads the examples' labels.
        gram: Whether its matrices are Gram matrices, which nulls that rotate the units rely on.
        batched: Whether a kernel function is a mean over examples, so that batches may be weighted by their sizes;
            otherwise it is given all examples at once.
        short: Its name in a few letters, for crowded axes.
        closed_form: A :class:`modjax.measures.chain.ClosedForm` for dense networks, or None.
        logit_factors: Number of derivatives of the logits in each product of its formula; None where it has no such
            form, so that it has no cross similarity of two networks.
        probes: A :class:`modjax.measures.probes.Probes`, its unbiased random estimate, or None.
    """

    name: str
    family: Literal["upstream", "downstream", "parameters"]
    kernel: Reference
    title: str | None = None
    needs_labels: bool = False
    gram: bool = True
    batched: bool = True
    short: str | None = None
    closed_form: Reference | None = None
    logit_factors: int | None = None
    probes: str | tuple[Any, ...] | None = None

    @property
    def label(self) -> str:
        """Its name for readers."""
        return self.title or self.name.replace("_", " ")


@dataclass(frozen=True)
class NetworkInfo:
    """A kind of network.

    Attributes:
        name: The ``kind`` of ``[network]`` in a spec.
        build: ``build(in_shape, num_outputs, **settings) -> Network``; settings are the other keys of ``[network]``.
        hyperparameters: Traced ones that its ``apply`` reads, as the argument ``hyperparams``.
    """

    name: str
    build: Reference
    hyperparameters: tuple[HyperparameterInfo, ...] = ()


@dataclass(frozen=True)
class TaskInfo:
    """A learning problem.

    Attributes:
        name: Its name.
        build: ``build(network) -> Task``.
        hyperparameters: Those that it reads, beside the learning rate and those of penalties.
    """

    name: str
    build: Reference
    hyperparameters: tuple[HyperparameterInfo, ...] = ()


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset by name.

    Attributes:
        name: Its name in specs.
        load: ``load(data_dir) -> Dataset``.
        num_classes: Number of classes of a classification dataset, which its labels alone may not show.
    """

    name: str
    load: Reference
    num_classes: int | None = None


@dataclass(frozen=True)
class SearchInfo:
    """A method that finds modules; it runs in worker processes, without JAX.

    Attributes:
        name: The ``method`` of ``[modules]`` in a spec.
        search: ``search(adjacency, resolution, restarts, seed) -> labels`` of the living units' float64 adjacency;
            ``restarts`` is None where the spec leaves it to the method.
    """

    name: str
    search: Reference


@dataclass(frozen=True)
class NullInfo:
    """A distribution of graphs under no structure; it runs in worker processes, without JAX.

    Attributes:
        name: The ``null_kind`` of ``[modules]`` in a spec.
        draw: ``draw(S, normalized, rng) -> adjacency``, of the signed similarity of the living units.
        needs_gram: Whether it draws from Gram matrices alone; for measures that have none its columns are null.
    """

    name: str
    draw: Reference
    needs_gram: bool = False


@dataclass(frozen=True, eq=False)
class AnalysisInfo:
    """A computation on finished trials that writes rows of a table.

    Attributes:
        name: Its name in ``[analysis] run`` of a spec.
        table: Name of the table, the file ``<table>.parquet`` of a sweep's directory.
        columns: Columns, ``{name: polars dtype}``.
        keys: Columns that identify a row, beside the trial.
        run: ``run(context, trial) -> list of dicts``, by column; for the scope ``sweep``, ``run(context, sweep)``.
        scope: ``trial``: once per trial, with ``trial_id`` in front of the rows; ``sweep``: once, at the end.
    """

    name: str
    table: str
    columns: Mapping[str, Any]
    keys: Mapping[str, Any]
    run: Reference
    scope: Literal["trial", "sweep"] = "trial"


Record = (
    HyperparameterInfo
    | PenaltyInfo
    | MeasureInfo
    | NetworkInfo
    | TaskInfo
    | DatasetInfo
    | SearchInfo
    | NullInfo
    | AnalysisInfo
)


def by_name(*records: Any) -> dict[str, Any]:
    """A table of records.

    Raises:
        ValueError: Two have one name.
    """
    table = {record.name: record for record in records}
    if len(table) < len(records):
        names = [record.name for record in records]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"records must have distinct names; {twice!r} is there twice.")
    return table
