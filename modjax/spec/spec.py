"""The spec of a sweep as a frozen pydantic model."""

import hashlib
import json
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import numpy as np
import tomli_w
from pydantic import Field, ValidationError, create_model, model_validator

from modjax.builtins import OPTIMIZER_HYPERPARAMETERS
from modjax.catalog import BUILTIN, Catalog
from modjax.spec.arms import ArmBase, ArmSpec, arm_model, is_traced
from modjax.spec.problems import problems_in
from modjax.spec.sections import (
    LATER_KEYS,
    AlignmentSpec,
    AnalysisSpec,
    ModulesSpec,
    NetworkSpec,
    Section,
    SimilaritySpec,
    TrainingSpec,
    section_models,
)
from modjax.spec.values import Name, Seeds, dataset_name, known

MAX_TRIALS = 10_000_000
# Without null graphs their kind is no part of a spec's identity; version 0.2 hashed its default.
NO_NULLS = {"null_kind": "weight_permutation", "null_search": "method"}


def without_later(content: dict[str, Any], catalog: Catalog = BUILTIN) -> dict[str, Any]:
    """Return a spec's values without later keys that are set to the earlier behaviour."""
    kept = {}
    for section, values in content.items():
        later = LATER_KEYS.get(section, {})
        if section in LATER_KEYS.get("", {}) and values == LATER_KEYS[""][section]:
            continue
        if section == "modules" and not values["nulls"]:
            values = {**values, **NO_NULLS}
        if later and isinstance(values, dict):
            values = {key: value for key, value in values.items() if key not in later or value != later[key]}
            if not values:  # the whole section is later
                continue
        kept[section] = values
    arms = [
        {key: value for key, value in arm.items() if not _is_later(key, value, catalog)}
        for arm in content.get("arms", ())
    ]
    return kept | {"arms": arms}


def _is_later(name: str, values: Any, catalog: Catalog) -> bool:
    """Return whether an arm's key is a later hyperparameter that is not named, or has only its default value."""
    info = catalog.hyperparameters.get(name)
    if values is None:
        return name != "seeds"
    return info is not None and not info.is_always_hashed and list(values) == [info.default]


class SweepSpec(Section):
    """Spec of a sweep: what is trained, measured and compared. Frozen; unknown keys are refused.

    ``catalog`` holds the records that the spec may name; :func:`spec_model` makes a spec for another catalog.
    """

    catalog: ClassVar[Catalog] = BUILTIN

    name: Name
    question: Annotated[str, Field(strict=True)] = ""
    dataset: Annotated[str, Field(strict=True, max_length=1000), dataset_name(tuple(BUILTIN.datasets))]
    seeds: Seeds
    network: NetworkSpec = NetworkSpec()
    task: Annotated[str, known(tuple(BUILTIN.tasks), "task")] = "classification"
    training: TrainingSpec = TrainingSpec()
    arms: Annotated[tuple[ArmSpec, ...], Field(min_length=1)]  # pyright: ignore[reportInvalidTypeForm]
    similarity: SimilaritySpec = SimilaritySpec()
    modules: ModulesSpec = ModulesSpec()
    alignment: AlignmentSpec = AlignmentSpec()
    analysis: AnalysisSpec = AnalysisSpec()

    def __init__(self, **content: Any) -> None:
        try:
            super().__init__(**content)
        except ValidationError as error:
            raise ValueError(f"{problems_in(error, type(self))}.") from None

    @model_validator(mode="after")
    def _check_arms(self) -> "SweepSpec":
        names = [arm.name for arm in self.arms]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"arms must have distinct names; {twice[0]!r} is there twice")
        if self.num_trials > MAX_TRIALS:
            raise ValueError(f"at most {MAX_TRIALS:,} trials a sweep; these arms make {self.num_trials:,}")
        for arm in self.arms:
            self._check_read(arm)
        return self

    def _check_read(self, arm: ArmBase) -> None:
        """Raise if an arm names a hyperparameter that no part of its trials reads."""
        optimizers = arm.grids().get("optimizer", (self.training.optimizer,))
        read = set().union(*(self.read_by(optimizer) for optimizer in optimizers))
        unread = [name for name in arm.named() if is_traced(self.catalog, name) and name not in read]
        if unread:
            raise ValueError(
                f"arm {arm.name!r}: {unread[0]} is read by none of optimizer {' or '.join(optimizers)}, task "
                f"{self.task}, network {self.network.kind} and the penalties; they read {', '.join(sorted(read))}"
            )

    def read_by(self, optimizer: str) -> set[str]:
        """Return the names of the traced hyperparameters that trials with an optimizer read."""
        records = (
            self.catalog.tasks[self.task],
            *self.catalog.penalties.values(),
            *([self.catalog.networks[self.network.kind]] if self.network.kind in self.catalog.networks else []),
        )
        names = {info.name for record in records for info in record.hyperparameters}
        return {"learning_rate", *names, *OPTIMIZER_HYPERPARAMETERS[optimizer]}

    def arm_seeds(self, arm: ArmBase) -> tuple[int, ...]:
        """Return the arm's own seeds, or those of the spec if it has none."""
        return self.seeds if arm.seeds is None else arm.seeds

    @property
    def hyperparameters(self) -> tuple[str, ...]:
        """Names of the hyperparameters that have a column: those of version 0.2, and all that an arm names."""
        named = {name for arm in self.arms for name in arm.grids()}
        return tuple(name for name in type(self.arms[0]).model_fields if name in named)

    @property
    def num_trials(self) -> int:
        """Number of trials of all arms, counted without creating them."""
        # Python integers (dtype=object) do not overflow, so absurd grids are refused rather than miscounted.
        return sum(
            int(np.prod([len(values) for values in arm.grids().values()], dtype=object)) * len(self.arm_seeds(arm))
            for arm in self.arms
        )

    def to_toml(self) -> str:
        """Return the spec as TOML with every default written out; parsing it gives an equal spec."""
        content = {name: _without_none(value) for name, value in self.model_dump(mode="json").items()}
        return tomli_w.dumps(content)

    def spec_hash(self) -> str:
        """Return the SHA-256 of the spec's values, independent of formatting and of where a data file lies."""
        content = without_later(self.model_dump(mode="json") | {"dataset": self._dataset_name()}, self.catalog)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _dataset_name(self) -> str:
        """Return the dataset's name without a path: data files may move and are compared by checksum."""
        return self.dataset if self.dataset in self.catalog.datasets else "a file of one's own"

    def shared_settings(self) -> dict[str, Any]:
        """Return all settings that must not change when a sweep is extended.

        That is all but name, question, seeds, arms, the analyses to run, which may be added, and what only readers use.
        """
        content = self.model_dump(mode="json", exclude={"name": True, "question": True, "seeds": True, "arms": True})
        content["dataset"] = self._dataset_name()
        del content["analysis"]["run"], content["analysis"]["margin"]
        return {
            f"{section}.{key}" if isinstance(value, dict) else section: inner
            for section, value in content.items()
            for key, inner in (value.items() if isinstance(value, dict) else [("", value)])
        }


def _without_none(value: Any) -> Any:
    """Return TOML values without those that are not set, which TOML cannot say."""
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    return [_without_none(inner) for inner in value] if isinstance(value, list) else value


@lru_cache(maxsize=64)
def spec_model(catalog: Catalog, network_kind: str = "mlp") -> type[SweepSpec]:
    """Return the model of specs that may name the records of a catalog, for networks of a kind."""
    if not catalog.added:
        return SweepSpec
    arm = arm_model(catalog, network_kind)
    fields: Any = section_models(catalog, network_kind) | {
        "dataset": (Annotated[str, Field(strict=True, max_length=1000), dataset_name(tuple(catalog.datasets))], ...),
        "arms": (Annotated[tuple[arm, ...], Field(min_length=1)], ...),
    }
    model = create_model("SweepSpec", __base__=SweepSpec, **fields)
    model.catalog = catalog
    return model
