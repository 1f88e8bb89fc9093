"""Checks whether a sweep may be continued here: what its results depend on besides the spec."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modjax.integrity.directory import FORK
from modjax.store.manifest import PACKAGES, describe_machine

# Packages that compute results; polars and orbax only store them.
NUMBERS_FROM = tuple(name for name in PACKAGES if name not in ("polars", "orbax-checkpoint"))


def differences(earlier: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the differences between a manifest and this process that may change the last bits of results.

    These are package versions, the kind of device, and on CPUs the number of threads, by which XLA splits sums. The
    precision is checked with the spec; the number of devices changes no trial.

    Example:
        >>> made = {"packages": {"jax": "0.9.2"}, "device": {"platform": "cpu", "kind": "cpu"}, "threads": 2}
        >>> differences(made, made | {"packages": {"jax": "0.10.2"}, "threads": 8})
        ['jax was 0.9.2, is 0.10.2', 'threads was 2, is 8']
    """
    pairs = {name: (earlier.get("packages", {}).get(name), now["packages"].get(name)) for name in NUMBERS_FROM}
    for name in ("platform", "kind"):
        pairs[f"device {name}"] = (earlier.get("device", {}).get(name), now["device"].get(name))
    if now["device"]["platform"] == "cpu":
        pairs["threads"] = (earlier.get("threads"), now.get("threads"))
    return [f"{name} was {was}, is {this}" for name, (was, this) in pairs.items() if was is not None and was != this]


def other_packages(mine: dict[str, str], its: dict[str, str], names: Sequence[str] = NUMBERS_FROM) -> list[str]:
    """Return the packages whose versions differ between another process and this one.

    Example:
        >>> other_packages({"jax": "0.10.2", "scipy": "1.16.0"}, {"jax": "0.9.2", "scipy": "1.16.0"})
        ['jax 0.9.2, this process 0.10.2']
    """
    pairs = {name: (its.get(name, "unknown"), mine.get(name, "unknown")) for name in names}
    return [f"{name} {theirs}, this process {ours}" for name, (theirs, ours) in pairs.items() if theirs != ours]


def training_threads(manifest: dict[str, Any]) -> int | None:
    """Return the number of CPU threads that trials are trained with, in this process or in each worker.

    It is None for a new sweep, and on accelerators, where results do not depend on it.

    Example:
        >>> made = {"device": {"platform": "cpu"}, "threads": 8, "engine": {"name": "ray", "threads": 2}}
        >>> training_threads(made), training_threads({**made, "engine": None}), training_threads({})
        (2, 8, None)
    """
    if manifest.get("device", {}).get("platform") != "cpu":
        return None
    engine = manifest.get("engine")
    threads = engine.get("threads") if isinstance(engine, dict) else None
    return threads if type(threads) is int and threads > 0 else manifest.get("threads")


def check_environment(root: Path, manifest: dict[str, Any]) -> None:
    """Raise unless this process computes the same bits as the one that began the sweep.

    Raises:
        ValueError: If anything differs; the message says what, and what to do.
    """
    changed = differences(manifest, describe_machine()) if manifest else []
    if changed:
        raise ValueError(
            f"{root} was made with other versions or another machine: {'; '.join(changed)}. Its trials to come would "
            f"not have the bits that they would have had: go on as it was begun, {FORK}."
        )
