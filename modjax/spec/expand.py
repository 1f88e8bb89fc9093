"""Expansion of a spec into its trials table: one row per trial, identified by a hash of its settings."""

import hashlib
import itertools
import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from modjax.builtins import HYPERPARAMETERS
from modjax.records import HyperparameterInfo
from modjax.spec.spec import SweepSpec
from modjax.store.tables import TRIALS, empty

ID_LENGTH = 16


def expand(spec: SweepSpec, data_identity: str) -> pl.DataFrame:
    """Return all trials of a spec (arms x grids x seeds), sorted by ``trial_id``, with status ``pending``.

    Args:
        spec: Spec of the sweep.
        data_identity: Name of a built-in dataset, else the checksum of the data.

    Raises:
        ValueError: If the same trial occurs twice; the message names both arms.
    """
    shared = {
        "dataset": data_identity,
        "network": spec.network.model_dump(mode="json"),
        "training": spec.training.identity(),
    }
    rows: dict[str, dict[str, Any]] = {}
    for arm in spec.arms:
        grids = [getattr(arm, name) for name in HYPERPARAMETERS]
        for *values, seed in itertools.product(*grids, spec.arm_seeds(arm)):
            settings = dict(zip(HYPERPARAMETERS, values, strict=True)) | {"seed": seed}
            trial_id = identify(shared | hashed(settings) | {"untrained": arm.untrained})
            if trial_id in rows:
                description = ", ".join(f"{name} = {value:g}" for name, value in settings.items())
                raise ValueError(
                    f"the same trial twice ({description}): in arm {rows[trial_id]['arm']!r} and in arm {arm.name!r}; "
                    "remove it from one of them."
                )
            rows[trial_id] = {"trial_id": trial_id, "arm": arm.name, **settings, "status": "pending"}
    columns = {
        name: [row[name] for row in rows.values()] for name in ("trial_id", "arm", "seed", *HYPERPARAMETERS, "status")
    }
    frame = pl.DataFrame(columns, schema={name: TRIALS[name] for name in columns})
    return pl.concat([empty(TRIALS), frame], how="diagonal").with_columns(excluded=pl.lit(False)).sort("trial_id")


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
        if name not in infos or infos[name].is_always_hashed or value != infos[name].default
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
