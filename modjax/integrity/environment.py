"""What a sweep's numbers depend on besides its spec: may this process go on with what another one began?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modjax.integrity.directory import FORK
from modjax.store.manifest import describe_machine

# polars and orbax carry numbers and make none.
NUMBERS_FROM = (
    "modjax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "igraph",
    "leidenalg",
    "numba",
    "scipy",
    "scikit-learn",
)


def differences(earlier: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between a manifest and this process, of all that may change the last bits of a number.

    Package versions, the kind of device, and on CPUs the number of threads: XLA splits sums by them. The precision is
    looked at with the spec; how many devices there are changes no trial.

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
    """Packages of which another process has other versions than this one, of all that numbers depend on.

    Example:
        >>> other_packages({"jax": "0.10.2", "scipy": "1.16.0"}, {"jax": "0.9.2", "scipy": "1.16.0"})
        ['jax 0.9.2, this process 0.10.2']
    """
    pairs = {name: (its.get(name, "unknown"), mine.get(name, "unknown")) for name in names}
    return [f"{name} {theirs}, this process {ours}" for name, (theirs, ours) in pairs.items() if theirs != ours]


def training_threads(manifest: dict[str, Any]) -> int | None:
    """CPU threads that a sweep's trials are trained with, in this process or in each worker of a cluster.

    None for a new sweep, and on accelerators, whose numbers do not depend on it.

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
    """Raise unless this process makes the same bits as the one that began the sweep.

    Raises:
        ValueError: It names what differs, and what to do.
    """
    found = differences(manifest, describe_machine()) if manifest else []
    if found:
        raise ValueError(
            f"{root} was made with other versions or another machine: {'; '.join(found)}. Its trials to come would not "
            f"have the bits that they would have had: go on as it was begun, {FORK}."
        )
