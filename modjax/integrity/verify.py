"""Verification of a sweep: everything that can be checked without computing results again."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl

from modjax.integrity.damage import Damage, figure_damage, find_damage, table_paths
from modjax.integrity.directory import FINISHED, spec_in
from modjax.integrity.recovery import ROW_COUNTED, rows_are_all_there
from modjax.io.checksums import UNKNOWN, file_problem, sum_of
from modjax.io.files import locked
from modjax.io.trees import load_tree
from modjax.io.untrusted import refuse_links
from modjax.spec.populations import population_of
from modjax.spec.sections import NetworkSpec, OpenNetworkSpec
from modjax.spec.spec import SweepSpec
from modjax.store.manifest import read_manifest, sweep_paths
from modjax.store.paths import SweepPaths, worker_folders
from modjax.store.stacks import read_ids
from modjax.training.checkpoint import SnapshotStore

LAYER_NAMES = {"mlp": "dense_{}", "cnn": "conv_{}"}


class Verification(NamedTuple):
    """Result of :func:`verify_sweep`.

    Attributes:
        problems: Problems, one line each.
        checked: Number of items of each kind that were checked.
        is_finished: Whether the manifest says that the sweep ran to its end.
    """

    problems: tuple[str, ...]
    checked: dict[str, int]
    is_finished: bool

    @property
    def is_whole(self) -> bool:
        """Whether no problem was found."""
        return not self.problems


def verify_sweep(out: str | os.PathLike) -> Verification:
    """Check all files of a sweep against checksums and schemas, rows against trials, and weights against the spec.

    Nothing is written. Parts and snapshots of an unfinished sweep are checked as well.

    Raises:
        ValueError: If the directory is not a sweep, or something in it leads out of it.
        LockedError: If a process is working in it.
    """
    paths = sweep_paths(Path(out))
    if not paths.has_manifest:
        raise ValueError(f"{out} is not a sweep: expected a directory that 'modjax sweep SPEC --out DIR' has made.")
    refuse_links(paths.root)
    with ExitStack() as stack:
        with suppress(OSError):  # a directory that nobody can write to cannot change either
            stack.enter_context(locked(paths.lock))
        return _verify(paths)


def _verify(paths: SweepPaths) -> Verification:
    manifest = read_manifest(paths.manifest)
    is_finished = manifest.get("complete", False)
    try:
        spec = spec_in(paths)
    except ValueError:
        # Without a spec it is unknown which tables and shapes to expect; checksums can still be compared.
        sums = manifest.get("checksums", {})
        changed = [paths.root / name for name in sums if sum_of(paths.root / name) != sums[name]]
        altered = [f"{path} is missing or altered" for path in changed if path != paths.spec]
        why = file_problem(paths.spec) or "is not a spec of this version"
        return Verification((*altered, f"{paths.spec} {why}: nothing could be held against it"), {}, is_finished)
    damaged = [*find_damage(paths, spec, manifest), *figure_damage(paths)]
    # Sweeps begun before checksums were kept lack them by design, which is no damage.
    if not manifest.get("sums", False):
        damaged = [damage for damage in damaged if UNKNOWN not in damage.why and damage.kind != "figure"]
    problems = [f"{damage.path} {damage.why}" for damage in damaged]
    folders = [paths.training, *worker_folders(paths.training).values()]
    snapshots = [(SnapshotStore(folder), folder, step) for folder in folders for step in SnapshotStore(folder).steps()]
    snapshot_problems = ((folder / str(step), store.problem(step)) for store, folder, step in snapshots)
    problems += [f"{path} cannot be read: {why}" for path, why in snapshot_problems if why]
    # Damaged files are reported once, so the checks of their content skip them.
    problems += _row_problems(paths, spec, damaged, is_finished)
    problems += _weight_problems(paths, spec, damaged)
    checked = {
        "files": len(manifest.get("checksums", {})),
        "stacks of weights": len(paths.stack_indices()),
        "parts": len(paths.part_indices("trained")) + len(paths.part_indices("analysed")),
        "snapshots": len(snapshots),
    }
    return Verification(tuple(problems), checked, is_finished)


def _row_problems(paths: SweepPaths, spec: SweepSpec, damaged: list[Damage], is_finished: bool) -> Iterator[str]:
    """Yield tables that are not sorted by their keys, and finished trials without their rows."""
    bad = {damage.path for damage in damaged}
    tables = {path: name for path, name in table_paths(paths, spec).items() if path.is_file() and path not in bad}
    frames = {path: paths.tables.read(path, name) for path, name in tables.items()}
    for path, frame in frames.items():
        keys = frame.select(paths.tables.keys[tables[path]])
        if not keys.equals(keys.sort(keys.columns)):
            yield f"{path} has rows that are not sorted by {', '.join(keys.columns)}"
    if paths.table("trials") not in frames:
        return
    trials = frames.pop(paths.table("trials"))
    done = trials.filter(pl.col("status").is_in(FINISHED))
    if is_finished and "pending" in trials["status"]:
        yield f"{paths.table('trials')} has pending trials, though the sweep was run to its end"
    for path, frame in frames.items():
        if "trial_id" not in frame.columns:
            continue
        unknown = set(frame["trial_id"]) - set(trials["trial_id"])
        if unknown:
            yield f"{path} has rows of {len(unknown)} trials that are in no trials table, such as {min(unknown)}"
        if tables[path] not in ROW_COUNTED:  # an analysis may have no row of a trial
            continue
        whole = set(rows_are_all_there(paths, done, {tables[path]: [frame]}, spec))
        short = [trial_id for trial_id in done["trial_id"].to_list() if trial_id not in whole]
        if short:
            yield f"{path} has too few or too many rows of {len(short)} finished trials, such as {short[0]}"


def _weight_problems(paths: SweepPaths, spec: SweepSpec, damaged: list[Damage]) -> Iterator[str]:
    """Yield stacks that cannot be loaded or have unexpected shapes, and finished trials without weights."""
    bad = {damage.path for damage in damaged}
    with_weights: set[str] = set()
    path = paths.table("trials")
    is_readable = path.is_file() and path not in bad
    trials = paths.tables.read(path, "trials") if is_readable else paths.tables.empty("trials")
    for index in paths.stack_indices():
        if paths.stack(index) not in bad:
            trial_ids = read_ids(paths.stack_ids(index))
            network = _network_of(spec, trials, trial_ids[0])
            why = _shape_problem(paths.stack(index), len(trial_ids), network)
            if why:
                yield f"{paths.stack(index)} {why}"
            with_weights |= set(trial_ids)
    done = trials.filter(pl.col("status").is_in(FINISHED))["trial_id"].to_list()
    without = [trial_id for trial_id in done if trial_id not in with_weights]
    if without:
        yield f"{paths.checkpoints} has no weights of {len(without)} finished trials, such as {without[0]}"


def _shape_problem(path: Path, num_trials: int, network: NetworkSpec | OpenNetworkSpec) -> str | None:
    try:
        tree: dict[str, Any] = load_tree(path)
        if isinstance(network, OpenNetworkSpec):  # its shapes are known to its extension alone
            shapes = [np.shape(leaf) for leaf in jax.tree.leaves(tree)]
            wanted = [(num_trials,)] * len(shapes)
        else:
            layers = [tree[LAYER_NAMES[network.kind].format(layer)] for layer in range(len(network.widths))]
            shapes = [leaf.shape for layer in layers for leaf in (layer["kernel"], layer["bias"])]
            # First axis: trials; last axis: units of the layer, for kernels and biases alike.
            wanted = [(num_trials, width) for width in network.widths for _ in ("kernel", "bias")]
    except Exception as error:  # orbax and tensorstore have no fixed type of error for damage
        return f"cannot be loaded ({type(error).__name__}: {' '.join(str(error).split())[:100]})"
    if any((*shape[:1], *shape[-1:])[: len(ends)] != ends for shape, ends in zip(shapes, wanted, strict=True)):
        expected = "" if isinstance(network, OpenNetworkSpec) else f" with layers of {list(network.widths)} units"
        return f"has shapes {shapes}; expected {num_trials} trials{expected}"
    return None


def _network_of(spec: SweepSpec, trials: pl.DataFrame, trial_id: str) -> Any:
    """Return the section [network] of a trial's population."""
    row = trials.filter(trial_id=trial_id)
    return population_of(spec, row.row(0, named=True)).network if row.height else spec.network
