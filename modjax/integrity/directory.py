"""Checks before a run: is the directory free, the same sweep, or a sweep that this spec extends?"""

from pathlib import Path
from typing import Any

import polars as pl

from modjax.catalog import Source
from modjax.io.checksums import UNKNOWN, file_problem, write_summed
from modjax.io.untrusted import refuse_links
from modjax.names import STOPPED
from modjax.spec.expand import text_of
from modjax.spec.parse import load_spec
from modjax.spec.spec import SweepSpec
from modjax.store.exclusion import EARLIER_MIN_ACCURACY
from modjax.store.manifest import read_manifest, sweep_paths
from modjax.store.paths import SweepPaths
from modjax.store.tables import read_tables, write_table

FORK = "or begin a sweep of its own from what this one has that can be used again: --fork NEW_DIR"
WHOLE = ("done", "diverged", "untrained")  # trained as long as their settings say
FINISHED = (*WHOLE, STOPPED)
EARLIER_NULL = {"null_kind": "weight_permutation", "null_search": "method"}  # of version 0.2
# Keys whose default is not what version 0.2 did: a spec that omits them goes on as the directory's own.
INHERITED = {"analysis": ("min_accuracy",), "modules": tuple(EARLIER_NULL)}


def check_directory(
    paths: SweepPaths, spec: SweepSpec, planned: pl.DataFrame, data_checksum: str, dtype: str
) -> dict[str, Any]:
    """Return the manifest of an earlier run of this sweep, or an empty one; nothing is written.

    Raises:
        ValueError: If the path is not a directory, or holds something else or the sweep of another spec.
    """
    root = paths.root
    _check_path(root)
    names = sorted(path.name for path in root.iterdir() if not _is_leftover(path.name)) if root.exists() else []
    refuse_links(root)
    if not names:
        return {}
    if not paths.has_manifest:
        raise ValueError(
            f"{root} holds something else ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}); "
            "choose a new or empty directory."
        )
    manifest = read_manifest(paths.manifest)
    if not paths.spec.is_file() and not paths.table("trials").is_file():
        return manifest  # stopped before its first row was written
    # A damaged spec cannot be compared key by key, but its hash is in the manifest.
    if not _is_damaged(paths.spec, manifest):
        _check_same_sweep(root, spec_in(sweep_paths(root)), spec)
    elif manifest.get("spec_hash") != spec.spec_hash():
        raise ValueError(
            f"{root} has no spec.toml that is whole, and the spec given is not the one that its manifest names; "
            "restore it, give the spec as it was first, or choose another directory."
        )
    _check_sources(root, read_tables(manifest).catalog.sources, paths.tables.catalog.sources)
    if manifest["data"]["checksum"] != data_checksum:
        raise ValueError(f"{root} was made with other data of the name {spec.dataset!r}; choose another directory.")
    if manifest["precision"]["dtype"] != dtype:
        made = manifest["precision"]["dtype"]
        raise ValueError(f"{root} was made in {made}, this process computes in {dtype}; set JAX_ENABLE_X64 as it was.")
    earlier = _readable_trials(paths)
    if earlier is not None:
        _check_only_additions(root, earlier, planned)
        if spec.training.stopping is not None and planned.height > earlier.height:
            raise ValueError(
                f"{root} stopped trials by successive halving among {earlier.height}; {planned.height} would have been "
                f"compared otherwise. Choose another directory, {FORK}."
            )
    return manifest


def spec_in(paths: SweepPaths) -> SweepSpec:
    """Return the spec of a sweep's directory, read with the records that its manifest describes.

    Raises:
        ValueError: If it is missing or no spec.
    """
    spec = load_spec(paths.spec, paths.tables.catalog)
    # Every version writes out all keys that it knows: what is missing is as version 0.2 did it.
    if "analysis" not in spec.model_fields_set:
        spec = _with(spec, "analysis", min_accuracy=EARLIER_MIN_ACCURACY)
    if "null_search" not in spec.modules.model_fields_set:
        spec = _with(spec, "modules", **EARLIER_NULL)
    return spec


def _with(spec: SweepSpec, section: str, **values: Any) -> SweepSpec:
    """Return a spec with other values of a section."""
    return spec.model_copy(update={section: getattr(spec, section).model_copy(update=values)})


def with_settings_of(spec: SweepSpec, paths: SweepPaths) -> SweepSpec:
    """Return a spec that takes from the directory's own spec the keys that it does not name and 0.2 did not have."""
    try:
        manifest = read_manifest(paths.manifest)
    except (ValueError, OSError):  # no sweep yet, or refused later
        return spec
    if not _is_damaged(paths.spec, manifest):
        return _inheriting(spec, spec_in(paths))
    # What a damaged spec leaves out says nothing: its hash tells whether it was one of version 0.2.
    earlier = _inheriting(spec, _as_earlier(spec))
    return earlier if earlier.spec_hash() == manifest.get("spec_hash") else spec


def _inheriting(spec: SweepSpec, other: SweepSpec) -> SweepSpec:
    """Return a spec with another one's values of the keys in ``INHERITED`` that it does not name."""
    for section, names in INHERITED.items():
        named, there = getattr(spec, section).model_fields_set, getattr(other, section)
        spec = _with(spec, section, **{name: getattr(there, name) for name in names if name not in named})
    return spec


def _as_earlier(spec: SweepSpec) -> SweepSpec:
    """Return a spec that does what version 0.2 did in place of the keys in ``INHERITED``."""
    return _with(_with(spec, "analysis", min_accuracy=EARLIER_MIN_ACCURACY), "modules", **EARLIER_NULL)


def changed_sources(before: tuple[Source, ...], now: tuple[Source, ...]) -> list[str]:
    """Return the names of the extensions that are there in both, and are not the same."""
    names = {source.name for source in now}
    return [source.name for source in before if source.name in names and source not in now]


def _check_sources(root: Path, before: tuple[Source, ...], now: tuple[Source, ...]) -> None:
    """Raise if a sweep was begun with other extensions, or other versions of them."""
    changed = changed_sources(before, now)
    if changed:
        raise ValueError(
            f"{changed[0]} has changed since the sweep in {root} was begun; restore it, choose another directory, "
            f"{FORK}."
        )
    missing = [source.name for source in before if source not in now]
    if missing:
        raise ValueError(f"{root} was begun with the extension {missing[0]}; give it with --extend.")


def _is_damaged(path: Path, manifest: dict[str, Any]) -> bool:
    """Return whether a sweep's spec is missing or altered."""
    why = file_problem(path, [manifest["checksums"][path.name]] if path.name in manifest.get("checksums", {}) else [])
    # Sweeps that were begun before checksums were kept have none to compare with.
    return why is not None and (why != UNKNOWN or manifest.get("sums", False))


def _is_leftover(name: str) -> bool:
    """Return whether a name is that of the lock or of a temporary file of a killed process."""
    return name == ".lock" or (name.startswith(".") and name.endswith(".tmp"))


def _check_path(root: Path) -> None:
    wanted = "expected a directory that is new, empty, or this spec's sweep"
    for path in (root, *root.parents):
        if path.is_symlink() and not path.exists():
            raise ValueError(f"{path} is a link to nothing; {wanted}.")
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file; {wanted}.")


def _readable_trials(paths: SweepPaths) -> pl.DataFrame | None:
    """Return the trials table, or None if it is missing or cannot be read."""
    try:
        return paths.tables.read(paths.table("trials"), "trials")
    except ValueError:
        return None


def _check_same_sweep(root: Path, earlier: SweepSpec, spec: SweepSpec) -> None:
    before, now = earlier.shared_settings(), spec.shared_settings()
    changed = [f"{key} was {before[key]!r}, is {now[key]!r}" for key in before if before[key] != now[key]]
    if changed:
        raise ValueError(
            f"{root} holds another spec's sweep: {'; '.join(changed)}. Only seeds and arms can be added; "
            f"choose another directory, {FORK}."
        )


def _check_only_additions(root: Path, earlier: pl.DataFrame, planned: pl.DataFrame) -> None:
    dropped = earlier.join(planned, on="trial_id", how="anti")
    if dropped.height:
        row = dropped.row(0, named=True)
        named = [name for name in (*planned.columns[3 : planned.columns.index("status")], "seed") if name in row]
        settings = ", ".join(f"{name} = {text_of(row[name])}" for name in named if row[name] is not None)
        raise ValueError(
            f"{root} holds another spec's sweep: {dropped.height} of its trials are not in this spec, such as "
            f"one of arm {row['arm']!r} with {settings}. A spec can only add trials; choose another directory, {FORK}."
        )


def write_plan(paths: SweepPaths, spec: SweepSpec, planned: pl.DataFrame, finished: list[str]) -> pl.DataFrame:
    """Write the spec and the trials table; finished rows keep their results, all others are pending."""
    earlier = _readable_trials(paths)
    if earlier is not None:
        planned = merge_results(paths, planned, earlier.filter(pl.col("trial_id").is_in(finished)))
    write_summed(paths.spec, lambda temporary: temporary.write_text(spec.to_toml(), encoding="utf-8"))
    write_table(paths.table("trials"), planned)
    return planned


def merge_results(paths: SweepPaths, planned: pl.DataFrame, finished: pl.DataFrame) -> pl.DataFrame:
    """Return the planned rows with the results of finished trials; arms are named as planned."""
    results = finished.join(planned.select("trial_id", "arm"), on="trial_id", suffix="_planned", validate="1:1")
    results = results.with_columns(arm=pl.col("arm_planned")).select(planned.columns)
    return paths.tables.merge("trials", [planned, results])
