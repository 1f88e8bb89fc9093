"""The manifest of a sweep: versions, device, slots, data and checksums of its files."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from modjax.io.checksums import ALTERED, MISSING, sum_of, sum_of_json
from modjax.io.files import write_text
from modjax.io.untrusted import read_json
from modjax.store.manifest_model import content_problem
from modjax.store.paths import SweepPaths
from modjax.store.tables import read_tables

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
    """Return the versions of the packages that results depend on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return versions


def describe_machine() -> dict[str, Any]:
    """Return Python version, package versions, device and number of threads of this process."""
    import jax

    from modjax._util.threads import available_cores

    devices = jax.devices()
    return {
        "python": platform.python_version(),
        "packages": package_versions(),
        "device": {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)},
        "threads": available_cores(),
    }


def checksums(paths: SweepPaths) -> dict[str, str]:
    """Return SHA-256 sums, by relative path, of the spec, all tables, and the ids and folder of each stack."""
    tables = [paths.table(name) for name in sorted(paths.tables.schemas) if name != "similarity"]
    files = [paths.spec, *tables, *sorted(paths.similarity.glob("*.parquet"))]
    for index in paths.stack_indices():
        files += [paths.stack_ids(index), paths.stack(index)]
    return {str(path.relative_to(paths.root)): sum_of(path) for path in files if path.exists()}


def write_manifest(paths: SweepPaths, manifest: dict[str, Any]) -> None:
    """Write ``manifest.json`` and a copy of it, each atomically and with its own checksum inside."""
    # The round trip through JSON makes the sum that of the values which a reader will parse.
    content = json.loads(json.dumps({"schema_version": SCHEMA_VERSION, **manifest, "sums": True}))
    text = json.dumps({**content, "sha256": sum_of_json(content)}, indent=2) + "\n"
    for path in (paths.manifest_copy, paths.manifest):
        write_text(path, text)


def manifest_problem(path: Path) -> str | None:
    """Return what is wrong with a manifest file, or None."""
    if not path.is_file():
        return MISSING
    try:
        _read(path)
    except ValueError:
        return ALTERED
    return None


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest, or its copy if it is missing or damaged.

    Raises:
        ValueError: If neither is a manifest of this version.
    """
    try:
        return _read(path)
    except ValueError:
        try:
            return _read(path.with_name(f".{path.name}"))
        except ValueError:
            pass
        raise  # the problem of the manifest itself, not that of its copy


def sweep_paths(root: Path) -> SweepPaths:
    """Return the paths of a sweep's directory, with what its manifest says of the tables, if it can be read."""
    paths = SweepPaths(root)
    try:
        return SweepPaths(root, read_tables(read_manifest(paths.manifest)))
    except (ValueError, OSError):
        return paths


def _with_current_names(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest with ``slots`` in its batch layout, which version 0.2 called ``seats``."""
    layout = manifest.get("layout")
    population = layout.get("population") if isinstance(layout, dict) else None
    if layout is None or not isinstance(population, dict) or "seats" not in population or "slots" in population:
        return manifest
    renamed = {"slots" if name == "seats" else name: value for name, value in population.items()}
    return manifest | {"layout": layout | {"population": renamed}}


def tables_problem(manifest: dict[str, Any]) -> str | None:
    """Return what is wrong with the part of a manifest that says what tables hold, or None."""
    try:
        read_tables(manifest)
    except ValueError as error:
        return str(error)
    return None


def _read(path: Path) -> dict[str, Any]:
    manifest = read_json(path, "a sweep's manifest")
    schema = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if schema is None:
        raise ValueError(f"{path}: not a sweep's manifest (it has no schema_version).")
    if schema != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: written by another version of modjax (schema {str(schema)[:20]}; "
            f"this one reads {SCHEMA_VERSION})."
        )
    # The sum is checked before old names are translated: it covers the content as it was written.
    written = manifest.pop("sha256", None)
    if written is not None and written != sum_of_json(manifest):
        raise ValueError(f"{path}: not a sweep's manifest as it was written (its sum is another).")
    manifest = _with_current_names(manifest)
    problem = content_problem(manifest) or tables_problem(manifest)
    if problem is not None:
        raise ValueError(f"{path}: not a sweep's manifest ({problem}).")
    return manifest
