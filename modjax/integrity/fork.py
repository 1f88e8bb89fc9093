"""Forks: a new sweep that starts with copies of another sweep's weights and rows; the other one is only read.

Finished trials are copied if the new spec has them too (same data, network, training, hyperparameters and seed): their
weights, and their rows of trials and history. Their rows of similarity, modules and alignment are copied if those three
sections of the spec are the same; otherwise they are computed again from the weights. All other trials are trained.
Copied rows keep their bits, so a fork may mix rows from two versions or devices; ``forked_from`` in its manifest
describes the source. Slots and batch layout are chosen again.

With ``keep_weights``, only weights and history are copied, also where the source of an extension has changed: trials
are measured again, and every analysis is repeated.

Copies become parts of the new sweep, as if they had just been trained there. If the process is killed, the same command
copies the rest; with ``--out NEW_DIR`` instead of ``--fork``, the rest is trained.

:func:`keep_own_weights` does the same within one sweep whose modules, alignment or matrices were lost, or whose module
search failed: the sweep restarts from its own weights.
"""

from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl

from modjax.integrity.damage import find_damage, layers_of
from modjax.integrity.directory import FINISHED, WHOLE, changed_sources, spec_in
from modjax.integrity.fork_rows import as_in, as_planned, as_trained, with_excluded
from modjax.integrity.recovery import Say, rows_are_all_there, trials_in_parts
from modjax.io.files import new_folder
from modjax.io.trees import load_tree
from modjax.io.untrusted import refuse_links
from modjax.spec.context import SweepContext, measure_trial
from modjax.spec.populations import with_population
from modjax.spec.setup import Setup
from modjax.spec.spec import SweepSpec
from modjax.store.manifest import read_manifest, sweep_paths
from modjax.store.paths import SweepPaths
from modjax.store.stacks import next_index, read_ids, save_stack
from modjax.store.tables import write_table
from modjax.types import Params

FORKED = ("trials", "history", "similarity", "modules", "alignment")


class ForkSource(NamedTuple):
    """The sweep that a fork copies from.

    Attributes:
        paths: Paths of the sweep.
        spec: Spec of the sweep.
        manifest: Manifest of the sweep.
        is_weights_only: Whether only weights and history are copied, whatever has changed.
    """

    paths: SweepPaths
    spec: SweepSpec
    manifest: dict[str, Any]
    is_weights_only: bool = False

    def about(self) -> dict[str, Any]:
        """Return the entry of the new manifest that describes where copied rows come from."""
        kept = {name: self.manifest.get(name) for name in ("spec_hash", "python", "packages", "device", "threads")}
        return {"forked_from": {"directory": str(self.paths.root.resolve()), **kept}}


def open_source(out: Path, fork: Path, setup: Setup, dtype: str, is_weights_only: bool = False) -> ForkSource:
    """Return the sweep in ``out`` as the source of a fork.

    Raises:
        ValueError: If it is not a sweep, its data or precision differ, or the new directory lies inside it.
    """
    paths = sweep_paths(out)
    refuse_links(out)
    if not paths.has_manifest or not paths.spec.is_file():
        raise ValueError(
            f"{out} is not a sweep that could be forked: expected one in --out, and --fork a new directory."
        )
    if out.resolve() == fork.resolve() or out.resolve() in fork.resolve().parents:
        raise ValueError(f"--fork must be a directory of its own; {fork} is, or lies in, {out}.")
    source = ForkSource(paths, spec_in(paths), read_manifest(paths.manifest), is_weights_only)
    made, data = source.manifest["precision"]["dtype"], source.manifest["data"]["checksum"]
    if made != dtype or data != setup.data_checksum:
        reason = f"{made} instead of {dtype}" if made != dtype else f"other data than {setup.spec.dataset!r} now holds"
        raise ValueError(f"{out} was made with {reason}: nothing of it can be used again; begin a new sweep.")
    return source


def copy_reusable(
    source: ForkSource,
    paths: SweepPaths,
    contexts: Mapping[str, SweepContext],
    spec: SweepSpec,
    planned: pl.DataFrame,
    finished: list[str],
    say: Say,
) -> None:
    """Copy finished trials with the same settings, and their analysis if the new spec asks for the same.

    Args:
        source: Sweep to copy from.
        paths: Paths of the new sweep.
        contexts: What the trials of each population of the new sweep share.
        spec: Spec of the new sweep.
        planned: Trials table of the new sweep.
        finished: Trials whose rows are in the new sweep's tables already.
        say: Function that reports how much was copied and what is damaged.
    """
    changed = changed_sources(source.paths.tables.catalog.sources, paths.tables.catalog.sources)
    if changed and not source.is_weights_only:
        say(
            f"{', '.join(changed)} has changed since {source.paths.root} was begun: nothing is copied "
            "(--keep-weights copies the weights)"
        )
        return
    # Damage in the source is reported and left out, never repaired: the source is only read.
    bad = {damage.path: damage.why for damage in find_damage(source.paths, source.spec, source.manifest)}
    for path, why in bad.items():
        say(f"{path} {why}: left out")
    frames = {name: _rows(source.paths, name, set(bad)) for name in FORKED}
    # What an interrupted fork has copied already, as table rows or as parts, is not copied twice.
    have = {*finished, *(trial_id for part in trials_in_parts(paths).values() for trial_id in part)}
    wanted = set(planned["trial_id"]) - have
    frames["trials"] = as_planned(as_trained(frames["trials"], frames["history"], source.spec), planned, spec)
    done = frames["trials"].filter(pl.col("status").is_in(WHOLE))
    # Only trials with all their rows are reused; those with a part of them are trained again.
    trained = wanted & set(rows_are_all_there(source.paths, done, {"history": [frames["history"]]}, source.spec))
    sections = ("similarity", "modules", "alignment")
    # Rows of analysis are tied to the settings of all three sections, so one difference drops them all.
    # By value: specs that were read with other catalogs are of other classes.
    is_same = all(getattr(source.spec, name).model_dump() == getattr(spec, name).model_dump() for name in sections)
    is_same &= source.paths.tables.catalog.sources == paths.tables.catalog.sources and not source.is_weights_only
    analysis = {name: [frames[name]] for name in ("modules", "alignment")}
    analysis["similarity"] = frames["similarity"].partition_by("layer")
    # A missing file of matrices means that no trial is complete.
    is_same &= len(analysis["similarity"]) >= len(layers_of(source.paths, source.spec)) * bool(spec.similarity.measures)
    analysed = trained & set(rows_are_all_there(source.paths, done, analysis, source.spec)) if is_same else set()
    frames["history"] = as_in(paths.tables.schemas["history"], frames["history"])
    population = dict(with_population(spec, planned).select("trial_id", "population").iter_rows())

    def measured(rows: pl.DataFrame, weights: Params) -> pl.DataFrame:
        numbers = [
            {
                **row,
                **measure_trial(contexts[population[row["trial_id"]]], row, jax.tree.map(itemgetter(index), weights)),
            }
            for index, row in enumerate(rows.iter_rows(named=True))
        ]
        return with_excluded(paths.tables.from_rows("trials", numbers), spec)

    measure = measured if source.is_weights_only else None
    copied = _copy_weights(source.paths, paths, trained, analysed, frames, set(bad), measure)
    note = "with their modules" if is_same else "their modules are searched anew"
    say(f"{copied} of {planned.height} trials copied from {source.paths.root}, {note}")


def keep_own_weights(paths: SweepPaths, spec: SweepSpec, planned: pl.DataFrame, finished: list[str], say: Say) -> None:
    """Turn trained trials that lack analysis rows into trained parts, so that only their analysis is repeated.

    Their weights are copied into new stacks. Call this before the trials table is written again, since that drops their
    results.

    Args:
        paths: Paths of the sweep, after damaged files were set aside.
        spec: Spec of the sweep.
        planned: Trials table as planned.
        finished: Trials that lack nothing.
        say: Function that reports how many trials there are.
    """
    if not paths.table("trials").is_file():
        return
    frames = {name: _rows(paths, name, set()) for name in ("trials", "history")}
    frames["trials"] = as_trained(frames["trials"], frames["history"], spec)
    have = {*finished, *(trial_id for part in trials_in_parts(paths).values() for trial_id in part)}
    lacking = pl.col("trial_id").is_in(sorted(set(planned["trial_id"]) - have)) & pl.col("status").is_in(FINISHED)
    trained = set(rows_are_all_there(paths, frames["trials"].filter(lacking), {"history": [frames["history"]]}, spec))
    copied = _copy_weights(paths, paths, trained, set(), frames, set())
    if copied:
        say(f"{copied} trials have their weights and lack modules: analysed again, not trained again")


def _copy_weights(
    source: SweepPaths,
    target: SweepPaths,
    trained: set[str],
    analysed: set[str],
    frames: dict[str, pl.DataFrame],
    bad: set[Path],
    measure: Callable[[pl.DataFrame, Any], pl.DataFrame] | None = None,
) -> int:
    """Copy trials from the source's newest stacks to new stacks and parts of the target; returns how many."""
    copied, left = 0, set(trained)
    for index in reversed(source.stack_indices()):
        if source.stack(index) in bad:
            continue
        ids = read_ids(source.stack_ids(index))
        # Analysed trials get a stack of their own: an analysed part covers all trials of its stack.
        for group in (left & analysed, left - analysed):
            chosen = [position for position, trial_id in enumerate(ids) if trial_id in group]
            if chosen:
                weights = jax.tree.map(
                    lambda leaf, chosen=chosen: np.asarray(leaf)[chosen], load_tree(source.stack(index))
                )
                names, copies = [ids[position] for position in chosen], frames
                if measure is not None:
                    order = pl.DataFrame({"trial_id": names})
                    rows = order.join(frames["trials"], on="trial_id", maintain_order="left")
                    copies = {**frames, "trials": measure(rows, weights)}
                _commit(target, names, weights, copies, bool(group & analysed))
                copied += len(chosen)
        left -= set(ids)  # older stacks may hold earlier weights of the same trials
    return copied


def _rows(paths: SweepPaths, name: str, bad: set[Path]) -> pl.DataFrame:
    """Return the rows of a table from final files and parts, leaving out damaged ones."""
    kind, part = ("trained", paths.trained_part) if name in ("trials", "history") else ("analysed", paths.analysed_part)
    folders = [part(index) for index in paths.part_indices(kind)]
    if name == "similarity":
        final, inner = sorted(paths.similarity.glob("*.parquet")), "similarity/*.parquet"
    else:
        final, inner = [paths.table(name)], f"{name}.parquet"
    files = [*final, *(path for folder in folders if folder not in bad for path in sorted(folder.glob(inner)))]
    # Parts come after final files, so that merging keeps their newer rows.
    frames = [paths.tables.read(path, name) for path in files if path.is_file() and path not in bad]
    return paths.tables.merge(name, frames)


def _commit(
    paths: SweepPaths, trial_ids: list[str], weights: Params, frames: dict[str, pl.DataFrame], is_analysed: bool
) -> None:
    """Write a stack and its parts in the order of a run, so that a killed process leaves nothing half-written."""
    rows = {name: frame.filter(pl.col("trial_id").is_in(trial_ids)) for name, frame in frames.items()}
    index = next_index(paths)
    # Weights, then the trained part, then the analysed part: each later one is of use only with the earlier ones.
    save_stack(paths, index, trial_ids, weights)
    with new_folder(paths.trained_part(index)) as folder:
        for name in ("trials", "history"):
            write_table(folder / f"{name}.parquet", rows[name])
    if not is_analysed:
        return
    with new_folder(paths.analysed_part(index)) as folder:
        for matrices in rows["similarity"].partition_by("layer"):
            write_table(paths.similarity_file(matrices["layer"][0], folder / "similarity"), matrices)
        for name in ("modules", "alignment"):
            write_table(folder / f"{name}.parquet", rows[name])
