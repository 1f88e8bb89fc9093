"""The spec of a sweep as a frozen pydantic model."""

import hashlib
import json
from typing import Annotated, Any

import numpy as np
import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model, model_validator

from modjax.builtins import HYPERPARAMETERS
from modjax.names import (
    ACTIVATIONS,
    DATASETS,
    KEPT_WEIGHTS,
    MATMUL_PRECISIONS,
    MAX_COUNT,
    MEASURES,
    NETWORK_KINDS,
    NULL_KINDS,
    OPTIMIZERS,
    QUALITY_FUNCTIONS,
    SCHEDULES,
    SEARCH_METHODS,
    SPLITS,
)
from modjax.spec.values import Count, Name, Seeds, Share, check_dataset, distinct, grid, known

LEAST_ACCURACY = 0.8  # trials with lower test accuracy are excluded
MAX_TRIALS = 10_000_000


Resolution = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


# Keys added after version 0.2, as {section: {key: value equivalent to version 0.2}}. Hashes leave out keys with that
# value, so that sweeps of version 0.2 keep their identity. Top-level keys are in section "".
LATER_KEYS: dict[str, dict[str, Any]] = {}


def without_later(content: dict[str, Any]) -> dict[str, Any]:
    """Return a spec's values without later keys that are set to the earlier behaviour."""
    kept = {}
    for section, values in content.items():
        later = LATER_KEYS.get(section, {})
        if section in LATER_KEYS.get("", {}) and values == LATER_KEYS[""][section]:
            continue
        if later and isinstance(values, dict):
            values = {key: value for key, value in values.items() if key not in later or value != later[key]}
        kept[section] = values
    arms = [{key: value for key, value in arm.items() if not _is_later(key, value)} for arm in content.get("arms", ())]
    return kept | {"arms": arms}


def _is_later(name: str, values: Any) -> bool:
    """Return whether an arm's key is a later hyperparameter with only its default value."""
    info = HYPERPARAMETERS.get(name)
    return info is not None and not info.is_always_hashed and list(values) == [info.default]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NetworkSpec(_Section):
    """Section ``[network]``; ``widths`` are the units of each hidden layer, or the channels of each convolution."""

    kind: Annotated[str, known(NETWORK_KINDS, "network kind")] = "mlp"
    widths: Annotated[tuple[Count, ...], Field(min_length=1, max_length=100)] = (64, 64)
    activation: Annotated[str, known(ACTIVATIONS, "activation")] = "relu"


class TrainingSpec(_Section):
    """Section ``[training]``."""

    optimizer: Annotated[str, known(OPTIMIZERS, "optimizer")] = "adam"
    max_epochs: Count = 500
    batch_size: Count = 200
    validation_fraction: Share = 0.1
    early_stopping: Annotated[bool, Field(strict=True)] = True
    early_stopping_patience: Count = 6
    schedule: Annotated[str, known(SCHEDULES, "schedule")] = "plateau"
    plateau_patience: Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)] = 3
    plateau_factor: Share = 0.25
    keep: Annotated[str, known(KEPT_WEIGHTS, "weights to keep")] = "best"
    momentum: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 0.01
    matmul_precision: Annotated[str, known(MATMUL_PRECISIONS, "matmul_precision")] = "float32"

    def identity(self) -> dict[str, Any]:
        """Return the settings that a trial's results depend on.

        Settings that are not used are left out, as are later settings with the value that matches earlier versions.
        """
        content = self.model_dump(mode="json")
        unread = {"momentum": self.optimizer != "sgd", "weight_decay": self.optimizer != "adamw"}
        unread["matmul_precision"] = self.matmul_precision == "float32"
        unread |= {"early_stopping": self.early_stopping, "early_stopping_patience": not self.early_stopping}
        is_constant = self.schedule == "constant"
        unread |= {"schedule": not is_constant, "plateau_patience": is_constant, "plateau_factor": is_constant}
        unread["keep"] = self.keep == "best"
        unread |= {key: content[key] == value for key, value in LATER_KEYS.get("training", {}).items()}
        return {key: value for key, value in content.items() if not unread.get(key, False)}


class _NamedArm(_Section):
    name: Name


# One key per hyperparameter, with a list or range of values.
_GRIDS: dict[str, Any] = {info.name: (grid(**info.bounds), (info.default,)) for info in HYPERPARAMETERS.values()}
_Grid: Any = create_model("_Grid", __base__=_NamedArm, **_GRIDS)


class ArmSpec(_Grid):
    """One of ``[[arms]]``: a grid of all combinations of its lists, or untrained networks."""

    name: Name
    seeds: Seeds | None = None
    untrained: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _untrained_has_no_grid(self) -> "ArmSpec":
        named = [name for name in HYPERPARAMETERS if getattr(self, name) != type(self).model_fields[name].default]
        if self.untrained and named:
            raise ValueError(f"an untrained arm takes no hyperparameters; remove {', '.join(named)}")
        return self


class SimilaritySpec(_Section):
    """Section ``[similarity]``."""

    measures: Annotated[tuple[Annotated[str, known(MEASURES, "measure")], ...], AfterValidator(distinct)] = MEASURES
    split: Annotated[str, known(SPLITS, "split")] = "test"
    combined: Annotated[bool, Field(strict=True)] = False


class ModulesSpec(_Section):
    """Section ``[modules]``; ``restarts = 0`` uses the method's own recipe, ``consensus`` is a number of runs."""

    method: Annotated[str, known(SEARCH_METHODS, "method")] = "leiden"
    resolution: Resolution = 1.0
    restarts: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 0
    quality: Annotated[str, known(QUALITY_FUNCTIONS, "quality")] = "modularity"
    nulls: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 0
    null_kind: Annotated[str, known(NULL_KINDS, "null_kind")] = "weight_permutation"
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


class AlignmentSpec(_Section):
    """Section ``[alignment]``."""

    permutations: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 0


class SweepSpec(_Section):
    """Spec of a sweep: what is trained, measured and compared. Frozen; unknown keys are refused."""

    name: Name
    question: Annotated[str, Field(strict=True)] = ""
    dataset: Annotated[str, Field(strict=True, max_length=1000), AfterValidator(check_dataset)]
    seeds: Seeds
    network: NetworkSpec = NetworkSpec()
    training: TrainingSpec = TrainingSpec()
    arms: Annotated[tuple[ArmSpec, ...], Field(min_length=1)]
    similarity: SimilaritySpec = SimilaritySpec()
    modules: ModulesSpec = ModulesSpec()
    alignment: AlignmentSpec = AlignmentSpec()

    @model_validator(mode="after")
    def _check_arms(self) -> "SweepSpec":
        names = [arm.name for arm in self.arms]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"arms must have distinct names; {twice[0]!r} is there twice")
        if self.num_trials > MAX_TRIALS:
            raise ValueError(f"at most {MAX_TRIALS:,} trials a sweep; these arms make {self.num_trials:,}")
        return self

    def arm_seeds(self, arm: ArmSpec) -> tuple[int, ...]:
        """Return the arm's own seeds, or those of the spec if it has none."""
        return self.seeds if arm.seeds is None else arm.seeds

    @property
    def num_trials(self) -> int:
        """Number of trials of all arms, counted without creating them."""
        # Python integers (dtype=object) do not overflow, so absurd grids are refused rather than miscounted.
        grids = ([len(getattr(arm, name)) for name in HYPERPARAMETERS] for arm in self.arms)
        return sum(
            int(np.prod(grid, dtype=object)) * len(self.arm_seeds(arm))
            for grid, arm in zip(grids, self.arms, strict=True)
        )

    def to_toml(self) -> str:
        """Return the spec as TOML with every default written out; parsing it gives an equal spec."""
        content = self.model_dump(mode="json")
        for arm in content["arms"]:
            if arm["seeds"] is None:
                del arm["seeds"]
        return tomli_w.dumps(content)

    def spec_hash(self) -> str:
        """Return the SHA-256 of the spec's values, independent of formatting and of where a data file lies."""
        content = without_later(self.model_dump(mode="json") | {"dataset": self._dataset_name()})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _dataset_name(self) -> str:
        """Return the dataset's name without a path: data files may move and are compared by checksum."""
        return self.dataset if self.dataset in DATASETS else "a file of one's own"

    def shared_settings(self) -> dict[str, Any]:
        """Return all settings that must not change when a sweep is extended: all but name, question, seeds, arms."""
        content = self.model_dump(mode="json", exclude={"name", "question", "seeds", "arms"})
        content["dataset"] = self._dataset_name()
        return {
            f"{section}.{key}" if isinstance(value, dict) else section: inner
            for section, value in content.items()
            for key, inner in (value.items() if isinstance(value, dict) else [("", value)])
        }
