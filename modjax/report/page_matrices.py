"""Similarity matrices as bytes for the report page: one byte per entry, as many trials as a budget allows.

For a matrix S with diagonal d, the page stores |S_ij| / sqrt(d_i d_j), i < j, as round(255 sqrt(value / scale)), and
d as float32; scale is 1, or the largest value if that is above 1 (matrices that are not positive semidefinite). The
raw weights are value * sqrt(d_i d_j). Both are off by at most scale / 255 of their scale.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from modjax.clustering.adjacency import adjacency
from modjax.report.page_columns import from_base64, to_base64
from modjax.store.sweep import Sweep
from modjax.store.tables import Scan

LEVELS = 255
READ_BYTES = 256_000_000  # size of the float32 entries read from the tables at a time
RECORD = np.dtype([("layer", "<i4"), ("measure", "<i4"), ("num_units", "<i4"), ("scale", "<f4")])


class Packed(NamedTuple):
    """Encoded matrices of some trials, and the number of trials that have matrices."""

    trials: dict[str, str]
    num_with_matrices: int
    num_bytes: int


class Weights(NamedTuple):
    """Weights of one matrix as the page decodes them."""

    normalized: np.ndarray
    raw: np.ndarray


def pack_matrix(matrix: np.ndarray, layer: int, measure: int) -> bytes:
    """Encode a signed matrix ``[units units]``: record, diagonal, strict upper triangle, padded to 4 bytes."""
    units = len(matrix)
    normalized = adjacency(np.asarray(matrix, np.float64), normalized=True)
    upper = normalized[np.triu_indices(units, 1)]
    # Rounding alone can lift a value just above 1; that is no reason to rescale the others.
    scale = np.float32(max(1.0, upper.max(initial=0.0) if upper.max(initial=0.0) > 1 + 1e-5 else 1.0))
    # Square roots give small similarities finer steps than large ones.
    steps = np.round(LEVELS * np.sqrt((upper / scale).clip(0, 1))).astype(np.uint8).tobytes()
    record = np.array([(layer, measure, units, scale)], RECORD).tobytes()
    diagonal = np.abs(np.diagonal(matrix)).astype("<f4").tobytes()
    return record + diagonal + steps + bytes(-len(steps) % 4)


def unpack_matrices(text: str) -> dict[tuple[int, int], Weights]:
    """Decode the matrices of one trial by (layer, measure), in the way that the browser does."""
    data = from_base64(text)
    matrices: dict[tuple[int, int], Weights] = {}
    offset = 0
    while offset < len(data):
        layer, measure, units, scale = np.frombuffer(data, RECORD, 1, offset)[0].tolist()
        offset += RECORD.itemsize
        diagonal = np.frombuffer(data, "<f4", units, offset).astype(np.float64)
        offset += 4 * units
        num_pairs = units * (units - 1) // 2
        steps = np.frombuffer(data, np.uint8, num_pairs, offset).astype(np.float64)
        offset += num_pairs + -num_pairs % 4
        normalized = np.zeros((units, units))
        normalized[np.triu_indices(units, 1)] = scale * (steps / LEVELS) ** 2
        normalized += normalized.T
        matrices[layer, measure] = Weights(normalized, normalized * np.sqrt(np.outer(diagonal, diagonal)))
    return matrices


def pack_sweep(sweep: Sweep, order: list[str], measures: list[str], budget: int) -> Packed:
    """Encode the matrices of trials in ``order``, up to ``budget`` characters.

    Args:
        sweep: A sweep.
        order: Trial ids in order of priority.
        measures: Names of the measures, which the records refer to by index.
        budget: Maximum number of base64 characters.

    Returns:
        One text per trial, up to the first trial that does not fit.
    """
    return sweep.read_matrices(lambda scans: _pack(scans, order, measures, budget))


def _pack(scans: list[Scan], order: list[str], measures: list[str], budget: int) -> Packed:
    bytes_of = _bytes_of_trials(scans)
    wanted = [trial_id for trial_id in order if trial_id in bytes_of]
    total = len(bytes_of)
    packed: dict[str, str] = {}
    used = 0
    for batch in _batches(wanted, bytes_of):
        for trial_id, text in _pack_batch(scans, batch, measures):
            if used + len(text) > budget:
                return Packed(packed, total, used)
            packed[trial_id] = text
            used += len(text)
    return Packed(packed, total, used)


def _bytes_of_trials(scans: list[Scan]) -> dict[str, int]:
    """Return the float32 bytes of each trial's matrices, without reading the matrices."""
    sizes: dict[str, int] = {}
    for scan in scans:
        for trial_id, units in scan.read("trial_id", "num_units").iter_rows():
            sizes[trial_id] = sizes.get(trial_id, 0) + 4 * units * units
    return sizes


def _batches(trial_ids: list[str], bytes_of: dict[str, int]) -> Iterator[list[str]]:
    # A trial above the limit still forms a batch, of its own.
    batch: list[str] = []
    size = 0
    for trial_id in trial_ids:
        if batch and size + bytes_of[trial_id] > READ_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(trial_id)
        size += bytes_of[trial_id]
    if batch:
        yield batch


def _pack_batch(scans: list[Scan], batch: list[str], measures: list[str]) -> Iterator[tuple[str, str]]:
    chosen = pl.col("trial_id").is_in(batch) & pl.col("measure").is_in(measures)
    frames = [scan.where(chosen).read() for scan in scans]
    records: dict[str, list[tuple[int, int, bytes]]] = {}
    for frame in frames:
        matrices = frame["matrix"]
        for index, (trial_id, layer, measure, units) in enumerate(
            frame.select("trial_id", "layer", "measure", "num_units").iter_rows()
        ):
            matrix = matrices[index].to_numpy().reshape(units, units)
            if np.isfinite(matrix).all():
                measure_index = measures.index(measure)
                records.setdefault(trial_id, []).append(
                    (layer, measure_index, pack_matrix(matrix, layer, measure_index))
                )
    for trial_id in batch:
        if trial_id in records:
            yield trial_id, to_base64(b"".join(record for _, _, record in sorted(records[trial_id])))
