"""The arms of a spec: grids of hyperparameters, traced and static, with one key for each that a catalog knows."""

from typing import Annotated, Any, ClassVar

from pydantic import Field, create_model, model_validator
from pydantic.fields import FieldInfo

from modjax.builtins import BASE_HYPERPARAMETERS
from modjax.catalog import BUILTIN, Catalog, settings_of
from modjax.records import HyperparameterInfo
from modjax.spec.sections import NetworkSpec, Section, TrainingSpec
from modjax.spec.values import Name, Seeds, choices, grid


class _NamedArm(Section):
    catalog: ClassVar[Catalog] = BUILTIN

    name: Name


# Hyperparameters of version 0.2 have a value in every arm; later ones are None where an arm does not name them.
_BASE: dict[str, Any] = {
    name: (grid(**info.bounds), (info.default,))
    for name, info in BUILTIN.hyperparameters.items()
    if name in BASE_HYPERPARAMETERS
}
_BaseGrid: Any = create_model("_BaseGrid", __base__=_NamedArm, **_BASE)


class ArmBase(_BaseGrid):
    """One of ``[[arms]]``: a grid of all combinations of its lists, or untrained networks."""

    name: Name
    seeds: Seeds | None = None
    untrained: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _untrained_has_no_grid(self) -> "ArmBase":
        traced = [name for name in self.named() if is_traced(self.catalog, name)]
        if self.untrained and traced:
            raise ValueError(f"an untrained arm takes no hyperparameters; remove {', '.join(traced)}")
        return self

    def grids(self) -> dict[str, tuple[Any, ...]]:
        """Return the values of every hyperparameter that the arm names, and of those of version 0.2."""
        names = [name for name in type(self).model_fields if name not in ("name", "seeds", "untrained")]
        return {name: values for name in names if (values := getattr(self, name)) is not None}

    def named(self) -> dict[str, tuple[Any, ...]]:
        """Return the values of every hyperparameter that the arm sets to other than its default."""
        fields = type(self).model_fields
        return {name: values for name, values in self.grids().items() if values != fields[name].default}


def is_traced(catalog: Catalog, name: str) -> bool:
    """Whether an arm's key is a value inside a compiled program; all others are settings that select one."""
    info = catalog.hyperparameters.get(name)
    return info is not None and info.kind == "traced"


def _values_of(info: HyperparameterInfo) -> Any:
    if info.kind == "traced":
        return grid(**info.bounds)
    field = TrainingSpec.model_fields.get(info.name)
    return choices(Any if field is None else _type_of(field))


def _type_of(field: FieldInfo) -> Any:
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def arm_model(catalog: Catalog, network_kind: str) -> Any:
    """Return the model of an arm: a key for each hyperparameter, and for each setting of the kind of network."""
    fields = {name: _values_of(info) for name, info in catalog.hyperparameters.items() if name not in _BASE}
    if network_kind in BUILTIN.networks:
        settings = {name: field for name, field in NetworkSpec.model_fields.items() if name != "kind"}
        fields |= {name: choices(_type_of(field)) for name, field in settings.items()}
    elif network_kind in catalog.networks:
        settings = settings_of(catalog.networks[network_kind])
        fields |= {name: choices(Any) for name in settings if name not in fields and name not in _BASE}
    optional: Any = {name: (kind | None, None) for name, kind in fields.items()}
    model = create_model("ArmSpec", __base__=ArmBase, **optional)
    model.catalog = catalog
    return model


ArmSpec: Any = arm_model(BUILTIN, "mlp")
