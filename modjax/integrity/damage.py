"""Damage to the files of a sweep, as reported by ``modjax verify`` and repaired by a resumed run."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from modjax.io.checksums import (
    ALTERED,
    MISSING,
    SUMS,
    UNKNOWN,
    file_problem,
    folder_problem,
    own_sum_problem,
    read_sums,
    sum_of,
)
from modjax.names import COMBINED_LAYER
from modjax.spec.spec import SweepSpec
from modjax.store.manifest import manifest_problem
from modjax.store.paths import SweepPaths
from modjax.store.stacks import stack_problem


class Damage(NamedTuple):
    """A file or folder that is not as it was written.

    Attributes:
        path: Path of the file or folder.
        why: Description that completes a sentence about the path, such as ``is missing``.
        kind: ``manifest``, ``spec``, ``table``, ``stack``, ``trained part``, ``analysed part`` or ``figure``.
        number: Index of the stack or part, else -1.
    """

    path: Path
    why: str
    kind: str
    number: int = -1


def layers_of(paths: SweepPaths, spec: SweepSpec) -> list[int]:
    """Return the layers in a sweep's tables; -1 is the combined one."""
    # Manifests of version 0.2 do not name the layers: there, all networks have those of the spec.
    of_populations = paths.tables.layers.values() or [spec.network.widths]
    return [*range(max(map(len, of_populations))), *([COMBINED_LAYER] if spec.similarity.combined else [])]


def table_paths(paths: SweepPaths, spec: SweepSpec) -> dict[Path, str]:
    """Return the paths of the final tables, each with the name of its schema."""
    return {paths.table(name): name for name in paths.tables.schemas if name != "similarity"} | {
        paths.similarity_file(layer): "similarity" for layer in layers_of(paths, spec)
    }


def find_damage(paths: SweepPaths, spec: SweepSpec, manifest: dict[str, Any]) -> Iterator[Damage]:
    """Yield everything in a sweep's directory that is not as it was written, except snapshots and figures.

    Args:
        paths: Paths of the sweep.
        spec: Spec of the sweep.
        manifest: Manifest as read, possibly from its copy.
    """
    why = manifest_problem(paths.manifest)
    if why:
        yield Damage(paths.manifest, why, "manifest")
    yield from _damaged_tables(paths, spec, manifest)
    yield from _damaged_stacks(paths, manifest)
    # A trained part without its weights is of no use: analysis starts from the stack.
    for index in paths.part_indices("trained"):
        why = folder_problem(paths.trained_part(index)) or stack_problem(paths, index)
        if why:
            yield Damage(paths.trained_part(index), f"cannot be used: {why}", "trained part", index)
    for index in paths.part_indices("analysed"):
        why = analysed_problem(paths, index, spec)
        if why:
            yield Damage(paths.analysed_part(index), f"cannot be used: {why}", "analysed part", index)


def _damaged_tables(paths: SweepPaths, spec: SweepSpec, manifest: dict[str, Any]) -> Iterator[Damage]:
    sums, is_complete = manifest.get("checksums", {}), manifest.get("complete", False)
    for path, name in {paths.spec: "spec", **table_paths(paths, spec)}.items():
        key = str(path.relative_to(paths.root))
        also = [sums[key]] if key in sums else []
        why = file_problem(path, also)
        # The sum beside a file may be that of a later, interrupted run; for a complete sweep the manifest decides.
        if is_complete and why is None and also and sum_of(path) != sums[key]:
            why = ALTERED
        # A spec must exist as soon as there is a trials table; other files may not be written yet.
        if why == MISSING and not also and (name != "spec" or not paths.table("trials").is_file()):
            why = None
        if why is None and path.is_file() and name != "spec":
            why = table_problem(paths, path, name)
        if why:
            yield Damage(path, why, "spec" if name == "spec" else "table")


def _damaged_stacks(paths: SweepPaths, manifest: dict[str, Any]) -> Iterator[Damage]:
    sums = manifest.get("checksums", {})
    matches = (re.fullmatch(r"checkpoints/stack_([0-9]{5,12})", name) for name in sums)
    listed = {int(match[1]) for match in matches if match}
    # The manifest names stacks that may be gone, the folder has stacks that no manifest names yet.
    for index in sorted(listed | set(paths.stack_indices())):
        why = stack_problem(paths, index)
        for path in (paths.stack_ids(index), paths.stack(index)):
            key = str(path.relative_to(paths.root))
            if why is None and key in sums and sum_of(path) != sums[key]:
                why = ALTERED
        if why:
            yield Damage(paths.stack(index), why, "stack", index)


def table_problem(paths: SweepPaths, path: Path, name: str) -> str | None:
    """Return the problem if a table cannot be read or breaks its schema, else None."""
    try:
        paths.tables.read(path, name)
    except ValueError as error:
        return str(error).removeprefix(f"{path}: ").rstrip(".")
    return None


def analysed_problem(paths: SweepPaths, index: int, spec: SweepSpec) -> str | None:
    """Return what is wrong with an analysed part, or None."""
    folder = paths.analysed_part(index)
    if not spec.similarity.measures:
        return folder_problem(folder)
    matrices = folder / "similarity"
    listed = {paths.similarity_file(layer).name for layer in layers_of(paths, spec)}
    if listed - read_sums(matrices).keys():
        return f"similarity/{SUMS} {ALTERED}" if (matrices / SUMS).is_file() else f"similarity {UNKNOWN}"
    return folder_problem(folder) or folder_problem(matrices)


def figure_damage(paths: SweepPaths) -> list[Damage]:
    """Return the damaged figures and the report page, if damaged; a missing page is no damage."""
    why = own_sum_problem(paths.report) if paths.report.exists() else None
    page = [Damage(paths.report, why, "figure")] if why else []
    sums = read_sums(paths.figures)
    if not sums and any(paths.figures.glob("*.png")):
        return [Damage(paths.figures / SUMS, MISSING, "figure"), *page]
    figure_problems = ((paths.figures / name, file_problem(paths.figures / name)) for name in sorted(sums))
    return [*(Damage(path, why, "figure") for path, why in figure_problems if why), *page]
