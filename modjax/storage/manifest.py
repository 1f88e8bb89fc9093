"""What a sweep ran on and with: versions, device, slots, data, checksums of its files."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from modjax.hostile import read_json
from modjax.storage.files import sha256_of, write_text
from modjax.storage.layout import SweepLayout
from modjax.storage.manifest_model import manifest_problem

SCHEMA_VERSION = 3
PACKAGES = (
    "modjax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "polars",
    "orbax-checkpoint",
    "igraph",
    "leidenalg",
    "numba",
    "scipy",
    "scikit-learn",
)


def package_versions() -> dict[str, str]:
    """Versions of the packages that numbers depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def describe_machine() -> dict[str, Any]:
    """Python, packages, device and threads of this process."""
    import jax

    from modjax.threads import available_cores

    devices = jax.devices()
    return {
        "python": platform.python_version(),
        "packages": package_versions(),
        "device": {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)},
        "threads": available_cores(),
    }


def checksums(layout: SweepLayout) -> dict[str, str]:
    """SHA-256 of the spec, the tables and the similarity files."""
    paths = [layout.spec, *sorted(layout.root.glob("*.parquet")), *sorted(layout.similarity.glob("*.parquet"))]
    return {str(path.relative_to(layout.root)): sha256_of(path) for path in paths}


def write_manifest(layout: SweepLayout, manifest: dict[str, Any]) -> None:
    """Write ``manifest.json`` atomically."""
    write_text(layout.manifest, json.dumps({"schema_version": SCHEMA_VERSION, **manifest}, indent=2) + "\n")


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        ValueError: Not a manifest of this version.
    """
    manifest = read_json(path, "a sweep's manifest")
    found = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if found is None:
        raise ValueError(f"{path}: not a sweep's manifest (it has no schema_version).")
    if found != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: written by another version of modjax (schema {str(found)[:20]}; this one reads {SCHEMA_VERSION})."
        )
    problem = manifest_problem(manifest)
    if problem is not None:
        raise ValueError(f"{path}: not a sweep's manifest ({problem}).")
    return manifest
