"""Expansion of a spec into its trials table: one row per trial, identified by a hash of its settings."""

import hashlib
import itertools
import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from modjax.builtins import HYPERPARAMETERS
from modjax.records import HyperparameterInfo
from modjax.spec.populations import (
    cell_of,
    columns_of,
    population_of,
    section_cell,
    static_names,
    traced_names,
    traced_value,
)
from modjax.spec.sections import TrainingSpec
from modjax.spec.spec import SweepSpec
from modjax.store.schemas import METRICS, schemas_of

ID_LENGTH = 16


def expand(spec: SweepSpec, data_identity: str, metrics: tuple[str, ...] = METRICS) -> pl.DataFrame:
    """Return all trials of a spec (arms x grids x seeds), sorted by ``trial_id``, with status ``pending``.

    Static settings that an arm varies enter a trial's identity where the spec's sections would have had them.

    Args:
        spec: Spec of the sweep.
        data_identity: Name of a built-in dataset, else the checksum of the data.
        metrics: What the task evaluates.

    Raises:
        ValueError: If the same trial occurs twice; the message names both arms.
    """
    rows: dict[str, dict[str, Any]] = {}
    for arm in spec.arms:
        grids = arm.grids()
        own: set[str] = set()  # combinations that differ only in what nothing reads are one trial
        for *values, seed in itertools.product(*grids.values(), spec.arm_seeds(arm)):
            settings, identity = _trial(spec, dict(zip(grids, values, strict=True)))
            identity |= {"dataset": data_identity, "seed": seed, "untrained": arm.untrained}
            trial_id = identify(identity)
            if trial_id in own:
                continue
            own.add(trial_id)
            if trial_id in rows:
                named = {name: value for name, value in settings.items() if value is not None} | {"seed": seed}
                description = ", ".join(f"{name} = {text_of(value)}" for name, value in named.items())
                raise ValueError(
                    f"the same trial twice ({description}): in arm {rows[trial_id]['arm']!r} and in arm {arm.name!r}; "
                    "remove it from one of them."
                )
            rows[trial_id] = {"trial_id": trial_id, "arm": arm.name, "seed": seed, **settings, "status": "pending"}
    schema = schemas_of(columns_of(spec), metrics, ())[0]["trials"]
    frame = pl.DataFrame(list(rows.values()), schema=schema, orient="row")
    return frame.with_columns(excluded=pl.lit(False)).sort("trial_id")


def _trial(spec: SweepSpec, arm: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns of a combination of an arm's values, and the settings that its identity depends on."""
    static = {
        name: cell_of(spec, name, arm[name]) if name in arm else section_cell(spec, name) for name in static_names(spec)
    }
    population = population_of(spec, static)
    traced = {name: traced_value(spec, population, arm, name) for name in traced_names(spec)}
    # What 0.2 had in [training] stays there, also where an arm says it.
    in_training = {name: traced[name] for name in traced.keys() & TrainingSpec.model_fields.keys() if name in arm}
    training = population.training.model_copy(
        update={name: value for name, value in in_training.items() if value is not None}
    )
    others = {name: value for name, value in traced.items() if name not in TrainingSpec.model_fields}
    identity = {
        **hashed(others, spec.catalog.hyperparameters),
        "network": population.network.model_dump(mode="json"),
        "training": training.identity(),
    }
    if spec.task != "classification":
        identity["task"] = spec.task
    return {name: (traced | static)[name] for name in spec.hyperparameters}, identity


def text_of(value: Any) -> str:
    """Return a setting as text: numbers in their shortest form."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def hashed(settings: dict[str, Any], infos: Mapping[str, HyperparameterInfo] = HYPERPARAMETERS) -> dict[str, Any]:
    """Return the settings that a ``trial_id`` depends on, so that new hyperparameters leave earlier ids unchanged.

    Example:
        >>> infos = {"l1": HYPERPARAMETERS["l1"], "noise": HyperparameterInfo("noise", 0.0)}
        >>> hashed({"l1": 0.0, "noise": 0.0, "seed": 3}, infos)
        {'l1': 0.0, 'seed': 3}
    """
    return {
        name: value
        for name, value in settings.items()
        if name not in infos or infos[name].is_always_hashed or value not in (None, infos[name].default)
    }


def identify(settings: dict[str, Any]) -> str:
    """Return sixteen hexadecimal digits of the SHA-256 of a trial's settings.

    Example:
        >>> identify({"l2": 0.0, "seed": 1}) == identify({"seed": 1, "l2": 0.0})
        True
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:ID_LENGTH]


def untrained_arms(spec: SweepSpec) -> list[str]:
    """Return the names of the arms whose networks are not trained."""
    return [arm.name for arm in spec.arms if arm.untrained]
