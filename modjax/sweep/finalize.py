"""The end of a sweep: merges parts into final tables, draws figures, completes the manifest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from modjax.analysis.significance import with_sweep_columns
from modjax.integrity.damage import figure_damage, layers_of
from modjax.integrity.directory import merge_results
from modjax.io.files import remove_folder, set_aside
from modjax.spec.failures import reason_of
from modjax.spec.spec import SweepSpec
from modjax.store.failures import failed_trials, mark_failed
from modjax.store.manifest import checksums, write_manifest
from modjax.store.parts import part_rows
from modjax.store.paths import SweepPaths
from modjax.store.sweep import Sweep, open_sweep
from modjax.store.tables import write_table


class Completion(NamedTuple):
    """Functions that draw a sweep once its tables are complete.

    Attributes:
        figures: Function that writes the figures, before the manifest.
        page: Function that writes the report page, after the manifest, which it shows.
    """

    figures: Callable[[Sweep], Any]
    page: Callable[[Sweep], Any]

    def all(self, sweep: Sweep) -> None:
        """Write the figures, then the page."""
        self.figures(sweep)
        self.page(sweep)


def completion_of(report: bool) -> Completion | None:
    """Return the functions of :mod:`modjax.report`, or None if no report is asked for."""
    if not report:
        return None
    # Imported here because matplotlib is slow to import and a sweep without a report does not need it.
    from modjax.report.figures import draw_figures
    from modjax.report.write import write_page

    return Completion(draw_figures, write_page)


def merge_parts(paths: SweepPaths, spec: SweepSpec, planned: pl.DataFrame, finished: list[str]) -> None:
    """Write the final tables from their earlier rows and the parts.

    Args:
        paths: Paths of the sweep.
        spec: Spec of the sweep.
        planned: Trials table as planned; finished rows have their results.
        finished: Trials whose rows are in the tables already; no other rows are taken from there.
    """
    tables = paths.tables
    for layer in layers_of(paths, spec):
        target = paths.similarity_file(layer)
        parts = (
            paths.similarity_file(layer, paths.analysed_part(index) / "similarity")
            for index in paths.part_indices("analysed")
        )
        # A part that was copied by a fork has no file for a layer without rows.
        new = [tables.read(path, "similarity") for path in parts if path.exists()]
        write_table(target, tables.merge("similarity", [*_earlier(paths, target, "similarity", finished), *new]))
    # The status of every trial is needed first: comparisons with untrained networks depend on it.
    trials = merge_results(paths, planned, tables.merge("trials", part_rows(paths, "trials")))
    trials = mark_failed(trials, failed_trials(paths))
    for name in ("modules", "alignment", "history", *tables.of_analyses("trial")):
        target = paths.table(name)
        rows = tables.merge(name, [*_earlier(paths, target, name, finished), *part_rows(paths, name)])
        write_table(target, with_sweep_columns(name, rows, trials))
    # Last, since it marks trials as finished: a process killed before this merges the same parts again.
    write_table(paths.table("trials"), trials)


def _earlier(paths: SweepPaths, path: Path, name: str, finished: list[str]) -> list[pl.DataFrame]:
    return [paths.tables.read(path, name).filter(pl.col("trial_id").is_in(finished))] if path.exists() else []


def complete(paths: SweepPaths, manifest: dict[str, Any]) -> None:
    """Write the manifest with all checksums and the reasons of failed trials, then remove the parts."""
    about = {"complete": True, "failed": failed_trials(paths), "checksums": checksums(paths)}
    # Parts are removed only once the manifest vouches for the tables that they were merged into.
    write_manifest(paths, {**manifest, **about})
    remove_folder(paths.parts)


def draw(what: Callable[[Sweep], Any], paths: SweepPaths) -> None:
    """Draw the figures or the page of a sweep with complete tables.

    Raises:
        OSError: If a file cannot be written.
        RuntimeError: If drawing raised anything else.
    """
    try:
        what(open_sweep(paths.root))
    except OSError:
        raise
    except Exception as error:
        raise RuntimeError(
            f"all tables of {paths.root} are whole, but not all figures could be drawn: {reason_of(error)}"
        ) from error


def draw_figures(paths: SweepPaths, completion: Completion | None) -> RuntimeError | None:
    """Draw the figures, or remove outdated ones if no report is asked for; returns the error of a figure."""
    if completion is None:
        remove_folder(paths.figures)
        return None
    try:
        draw(completion.figures, paths)
    except RuntimeError as error:
        return error
    return None


def redraw_damaged(paths: SweepPaths, completion: Completion, say: Callable[[str], None]) -> None:
    """Write the figures and page of a finished sweep again if one is damaged or missing."""
    damaged = figure_damage(paths)
    for damage in damaged:
        aside = f", moved to {set_aside(damage.path, paths.damaged)}" if damage.path.exists() else ""
        say(f"{damage.path} {damage.why}{aside}: drawn again")
    if damaged or not paths.report.is_file() or not any(paths.figures.glob("*.png")):
        draw(completion.all, paths)
