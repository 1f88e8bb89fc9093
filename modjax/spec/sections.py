"""The sections of a spec, as frozen pydantic models; those that name records are made for a catalog."""

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

from modjax.catalog import BUILTIN, Catalog, settings_of
from modjax.checks import check_steps, check_validation, examples_per_step
from modjax.names import (
    ACTIVATIONS,
    ESTIMATORS,
    KEPT_WEIGHTS,
    MATMUL_PRECISIONS,
    MAX_COUNT,
    MEASURES,
    NETWORK_KINDS,
    NULL_KINDS,
    NULL_SEARCHES,
    NUM_PROBES,
    OPTIMIZERS,
    QUALITY_FUNCTIONS,
    SCHEDULES,
    SEARCH_METHODS,
    SPLITS,
)
from modjax.records import NetworkInfo
from modjax.spec.values import Count, Share, distinct, frozen, known
from modjax.training.halving import SuccessiveHalving

Resolution = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Setting = str | bool | int | float | tuple  # what a key of [network] may hold


class Section(BaseModel):
    """A table of a spec: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NetworkSpec(Section):
    """Section ``[network]``; ``widths`` are the units of each hidden layer, or the channels of each convolution."""

    kind: Annotated[str, known(NETWORK_KINDS, "network kind")] = "mlp"
    widths: Annotated[tuple[Count, ...], Field(min_length=1, max_length=100)] = (64, 64)
    activation: Annotated[str, known(ACTIVATIONS, "activation")] = "relu"

    def settings(self) -> dict[str, Any]:
        """Return the settings of the kind, as its ``build`` takes them."""
        return {name: value for name, value in self.model_dump().items() if name != "kind"}


class OpenNetworkSpec(Section):
    """Section ``[network]`` of a kind that an extension brings: its settings are those that its ``build`` takes."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str

    def settings(self) -> dict[str, Any]:
        """Return the settings of the kind, as its ``build`` takes them."""
        return dict(self.model_extra or {})


def open_network(info: NetworkInfo, content: Any) -> Any:
    """Return the section of an extension's network, with every default written out.

    Raises:
        ValueError: If a setting is unknown or missing.
    """
    if not isinstance(content, Mapping):
        return content
    given = {name: frozen(value) for name, value in content.items() if name != "kind"}
    defaults = settings_of(info)
    unknown = given.keys() - defaults.keys()
    if unknown:
        allowed = ", ".join(defaults) or "none"
        raise ValueError(f"{sorted(unknown)[0]}: unknown setting of network {info.name!r}; allowed: {allowed}")
    given = {name: frozen(value) for name, value in defaults.items()} | given
    missing = [name for name, value in given.items() if value is inspect.Parameter.empty]
    if missing:
        raise ValueError(f"{missing[0]}: missing, a setting of network {info.name!r} that has no default")
    return OpenNetworkSpec(kind=info.name, **given)


class HalvingSpec(Section):
    """Key ``stopping`` of ``[training]``: the settings of :class:`modjax.SuccessiveHalving`."""

    kind: Literal["halving"] = "halving"
    metric: Annotated[str, Field(strict=True)] = "val_loss"
    factor: Annotated[int, Field(strict=True, ge=2, le=MAX_COUNT)] = 3
    min_epochs: Count = 10
    direction: Literal["minimize", "maximize"] | None = None

    def halving(self) -> SuccessiveHalving:
        """Return the settings as the trainer takes them."""
        return SuccessiveHalving(**self.model_dump(exclude={"kind"}))


class TrainingSpec(Section):
    """Section ``[training]``."""

    optimizer: Annotated[str, known(OPTIMIZERS, "optimizer")] = "adam"
    max_epochs: Count = 500
    batch_size: Count | Literal["all"] = 200
    steps_per_epoch: Count = 1
    validation_fraction: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.1
    early_stopping: Annotated[bool, Field(strict=True)] = True
    early_stopping_patience: Count = 6
    schedule: Annotated[str, known(SCHEDULES, "schedule")] = "plateau"
    plateau_patience: Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)] = 3
    plateau_factor: Share = 0.25
    warmup_fraction: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.1
    end_factor: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.0
    keep: Annotated[str, known(KEPT_WEIGHTS, "weights to keep")] = "best"
    momentum: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 0.01
    matmul_precision: Annotated[str, known(MATMUL_PRECISIONS, "matmul_precision")] = "float32"
    num_train: Count | None = None
    stopping: HalvingSpec | None = None

    @model_validator(mode="after")
    def _validation_is_there_if_needed(self) -> "TrainingSpec":
        check_validation(self.validation_fraction, self.schedule, self.keep, self.early_stopping)
        check_steps(self.steps_per_epoch, self.batch_size)
        return self

    @model_validator(mode="after")
    def _a_rung_comes_before_the_end(self) -> "TrainingSpec":
        if self.stopping is not None and self.stopping.min_epochs >= self.max_epochs:
            raise ValueError(
                f"stopping.min_epochs must be less than max_epochs; got {self.stopping.min_epochs} and "
                f"{self.max_epochs}"
            )
        return self

    def examples_per_step(self, num_examples: int) -> int:
        """Return the number of examples of a training step, of so many examples in all."""
        return examples_per_step(num_examples, self.batch_size, self.validation_fraction, self.num_train)

    def identity(self) -> dict[str, Any]:
        """Return the settings that a trial's results depend on.

        Settings that are not used are left out, as are later settings with the value that matches earlier versions.
        """
        content = self.model_dump(mode="json")
        unread = {"momentum": self.optimizer != "sgd", "weight_decay": self.optimizer != "adamw"}
        unread["matmul_precision"] = self.matmul_precision == "float32"
        unread |= {"early_stopping": self.early_stopping, "early_stopping_patience": not self.early_stopping}
        is_plateau = self.schedule == "plateau"
        unread |= {"schedule": is_plateau, "plateau_patience": not is_plateau, "plateau_factor": not is_plateau}
        unread["keep"] = self.keep == "best"
        unread |= {key: content[key] == value for key, value in LATER_KEYS.get("training", {}).items()}
        unread["warmup_fraction"] |= self.schedule != "warmup_cosine"
        unread["end_factor"] |= self.schedule not in ("cosine", "warmup_cosine")
        unread["stopping"] = True  # it says how long a trial trains, not what its numbers are
        return {key: value for key, value in content.items() if not unread.get(key, False)}


class SimilaritySpec(Section):
    """Section ``[similarity]``."""

    measures: Annotated[tuple[Annotated[str, known(MEASURES, "measure")], ...], AfterValidator(distinct)] = MEASURES
    split: Annotated[str, known(SPLITS, "split")] = "test"
    combined: Annotated[bool, Field(strict=True)] = False
    estimator: Annotated[str, known(ESTIMATORS, "estimator")] = "exact"
    num_probes: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None

    catalog: ClassVar[Catalog] = BUILTIN

    @model_validator(mode="before")
    @classmethod
    def _probes_have_a_number(cls, content: Any) -> Any:
        # Written out, so that the default and the same number by name are one spec.
        if isinstance(content, Mapping) and content.get("estimator") == "probes":
            return {"num_probes": NUM_PROBES, **content}
        return content

    @model_validator(mode="after")
    def _measures_have_estimates(self) -> "SimilaritySpec":
        if self.estimator == "exact" and self.num_probes is not None:
            raise ValueError("num_probes needs estimator = 'probes': exact measures have no probes")
        if self.estimator == "probes":
            unknown = [name for name in self.measures if self.catalog.measures[name].probes is None]
            if unknown:
                raise ValueError(
                    f"measure {unknown[0]!r} has no estimate by probes: leave it out, or use estimator = 'exact'"
                )
        return self


class ModulesSpec(Section):
    """Section ``[modules]``; ``restarts = 0`` uses the method's own recipe, ``consensus`` is a number of runs."""

    method: Annotated[str, known(SEARCH_METHODS, "method")] = "leiden"
    resolution: Resolution = 1.0
    restarts: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 0
    quality: Annotated[str, known(QUALITY_FUNCTIONS, "quality")] = "modularity"
    nulls: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 0
    null_kind: Annotated[str, known(NULL_KINDS, "null_kind")] = "rotation"
    null_search: Annotated[str, known(NULL_SEARCHES, "null_search")] = "quick"
    consensus: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 0
    resolutions: Annotated[tuple[Resolution, ...], Field(max_length=1000), AfterValidator(distinct)] = ()

    @model_validator(mode="after")
    def _quality_has_its_method(self) -> "ModulesSpec":
        if self.quality != "modularity" and self.method != "leidenalg":
            raise ValueError(
                f"method {self.method!r} maximizes modularity alone; for quality {self.quality!r} use "
                "method 'leidenalg'"
            )
        return self


class AlignmentSpec(Section):
    """Section ``[alignment]``."""

    permutations: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 0


class AnalysisSpec(Section):
    """Section ``[analysis]``: trained trials below ``min_accuracy`` are excluded; ``run`` names analyses.

    ``margin`` is the largest difference in Q that claims count as none, for tests of equivalence.
    """

    min_accuracy: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    margin: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    run: Annotated[
        tuple[Annotated[str, known(tuple(BUILTIN.analyses), "analysis")], ...], AfterValidator(distinct)
    ] = ()


# Keys added after version 0.2, as {section: {key: value equivalent to version 0.2}}. Hashes leave out keys with that
# value, so that sweeps of version 0.2 keep their identity. Top-level keys are in section "".
LATER_KEYS: dict[str, dict[str, Any]] = {
    "": {"task": "classification"},
    "training": {"num_train": None, "stopping": None, "steps_per_epoch": 1, "warmup_fraction": 0.1, "end_factor": 0.0},
    "similarity": {"estimator": "exact", "num_probes": None},
    "modules": {"null_search": "method"},
    "analysis": {"min_accuracy": 0.8, "margin": None, "run": []},
}


def _distinct(item: Any, default: tuple[str, ...]) -> Any:
    """Return the definition of a field that is a list of distinct names."""
    return Annotated[tuple[item, ...], AfterValidator(distinct)], default


def section_models(catalog: Catalog, network_kind: str) -> dict[str, Any]:
    """Return the fields of a spec that depend on a catalog and the kind of network, as ``{name: (type, default)}``."""
    names = {kind: tuple(getattr(catalog, kind)) for kind in ("measures", "searches", "nulls", "analyses", "networks")}
    measure: Any = Annotated[str, known(names["measures"], "measure")]
    similarity = create_model(
        "SimilaritySpec",
        __base__=SimilaritySpec,
        measures=_distinct(measure, MEASURES),
    )
    similarity.catalog = catalog
    modules = create_model(
        "ModulesSpec",
        __base__=ModulesSpec,
        method=(Annotated[str, known(names["searches"], "method")], "leiden"),
        null_kind=(Annotated[str, known(names["nulls"], "null_kind")], "rotation"),
    )
    analysis_name: Any = Annotated[str, known(names["analyses"], "analysis")]
    analysis = create_model(
        "AnalysisSpec",
        __base__=AnalysisSpec,
        run=_distinct(analysis_name, ()),
    )
    kind_is_known: Any = Annotated[str, known(names["networks"], "network kind")]
    network = create_model("NetworkSpec", __base__=NetworkSpec, kind=(kind_is_known, "mlp"))
    if network_kind in catalog.networks and network_kind not in BUILTIN.networks:
        info = catalog.networks[network_kind]
        network = Annotated[OpenNetworkSpec, BeforeValidator(lambda content: open_network(info, content))]
    return {
        "network": (network, NetworkSpec()),
        "task": (Annotated[str, known(tuple(catalog.tasks), "task")], "classification"),
        "similarity": (similarity, similarity()),
        "modules": (modules, modules()),
        "analysis": (analysis, analysis()),
    }
