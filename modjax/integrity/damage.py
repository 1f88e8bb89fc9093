"""What is wrong with the files of a sweep: the one list that both ``modjax verify`` and a resumed run go by."""

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
from modjax.store.paths import SweepLayout
from modjax.store.stacks import stack_problem
from modjax.store.tables import read_table

TABLES = ("trials", "history", "modules", "alignment")


class Damage(NamedTuple):
    """Something that is not as it was written.

    Attributes:
        path: The file or folder.
        why: The rest of the sentence: ``is missing``.
        kind: ``manifest``, ``spec``, ``table``, ``stack``, ``trained part``, ``analysed part`` or ``figure``.
        number: Of a stack or part.
    """

    path: Path
    why: str
    kind: str
    number: int = -1


def layers_of(spec: SweepSpec) -> list[int]:
    """The layers that a sweep's tables hold; -1 is the combined one."""
    return [*range(len(spec.network.widths)), *([COMBINED_LAYER] if spec.similarity.combined else [])]


def table_paths(layout: SweepLayout, spec: SweepSpec) -> dict[Path, str]:
    """The final tables, each with the name of its schema."""
    return {layout.table(name): name for name in TABLES} | {
        layout.similarity_file(layer): "similarity" for layer in layers_of(spec)
    }


def find_damage(layout: SweepLayout, spec: SweepSpec, manifest: dict[str, Any]) -> Iterator[Damage]:
    """Everything in a sweep's directory that is not as it was written; snapshots and figures look at themselves.

    Args:
        layout: Of the sweep.
        spec: Its spec.
        manifest: As read; from its copy, if need be.
    """
    why = manifest_problem(layout.manifest)
    if why:
        yield Damage(layout.manifest, why, "manifest")
    yield from _damaged_tables(layout, spec, manifest)
    yield from _damaged_stacks(layout, manifest)
    for index in layout.part_indices("trained"):
        why = folder_problem(layout.trained_part(index)) or stack_problem(layout, index)
        if why:
            yield Damage(layout.trained_part(index), f"cannot be used: {why}", "trained part", index)
    for index in layout.part_indices("analysed"):
        why = analysed_problem(layout, index, spec)
        if why:
            yield Damage(layout.analysed_part(index), f"cannot be used: {why}", "analysed part", index)


def _damaged_tables(layout: SweepLayout, spec: SweepSpec, manifest: dict[str, Any]) -> Iterator[Damage]:
    sums, is_complete = manifest.get("checksums", {}), manifest.get("complete", False)
    for path, name in {layout.spec: "spec", **table_paths(layout, spec)}.items():
        key = str(path.relative_to(layout.root))
        also = [sums[key]] if key in sums else []
        why = file_problem(path, also)
        if is_complete and why is None and also and sum_of(path) != sums[key]:
            why = ALTERED
        if why == MISSING and not also and (name != "spec" or not layout.table("trials").is_file()):
            why = None  # not written yet
        if why is None and path.is_file() and name != "spec":
            why = table_problem(path, name)
        if why:
            yield Damage(path, why, "spec" if name == "spec" else "table")


def _damaged_stacks(layout: SweepLayout, manifest: dict[str, Any]) -> Iterator[Damage]:
    sums = manifest.get("checksums", {})
    stacks = (re.fullmatch(r"checkpoints/stack_([0-9]{5,12})", name) for name in sums)
    listed = {int(found[1]) for found in stacks if found}
    for index in sorted(listed | set(layout.stack_indices())):
        why = stack_problem(layout, index)
        for path in (layout.stack_ids(index), layout.stack(index)):
            key = str(path.relative_to(layout.root))
            if why is None and key in sums and sum_of(path) != sums[key]:
                why = ALTERED
        if why:
            yield Damage(layout.stack(index), why, "stack", index)


def table_problem(path: Path, name: str) -> str | None:
    """Whether a table can be read and has its schema."""
    try:
        read_table(path, name)
    except ValueError as error:
        return str(error).removeprefix(f"{path}: ").rstrip(".")
    return None


def analysed_problem(layout: SweepLayout, index: int, spec: SweepSpec) -> str | None:
    """What is wrong with an analysed part, or None."""
    folder = layout.analysed_part(index)
    if not spec.similarity.measures:
        return folder_problem(folder)
    matrices = folder / "similarity"
    listed = {layout.similarity_file(layer).name for layer in layers_of(spec)}
    if listed - read_sums(matrices).keys():
        return f"similarity/{SUMS} {ALTERED}" if (matrices / SUMS).is_file() else f"similarity {UNKNOWN}"
    return folder_problem(folder) or folder_problem(matrices)


def figure_damage(layout: SweepLayout) -> list[Damage]:
    """Figures and a page that are not as they were written; a page that is not there yet is no damage."""
    why = own_sum_problem(layout.report) if layout.report.exists() else None
    page = [Damage(layout.report, why, "figure")] if why else []
    sums = read_sums(layout.figures)
    if not sums and any(layout.figures.glob("*.png")):
        return [Damage(layout.figures / SUMS, MISSING, "figure"), *page]
    found = ((layout.figures / name, file_problem(layout.figures / name)) for name in sorted(sums))
    return [*(Damage(path, why, "figure") for path, why in found if why), *page]
