"""Reads the IDX format of MNIST: magic (two zeros, type, number of axes), big-endian axis lengths, then the bytes."""

import gzip
import zlib
from pathlib import Path

import numpy as np

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """Read a plain or gzipped file, whatever its name says; never more than ``max_bytes`` once unpacked.

    Raises:
        ValueError: The gzip stream is damaged, or the content is longer than ``max_bytes``.
    """
    with path.open("rb") as file:
        is_gzipped = file.read(2) == GZIP_MAGIC
    try:
        with gzip.open(path, "rb") if is_gzipped else path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"its gzip stream is damaged or cut short ({error})") from error
    if len(content) > max_bytes:
        raise ValueError(f"it holds more than the {max_bytes:,} bytes expected")
    return content


def parse_idx(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Return the uint8 array of an IDX file that must have the given shape.

    Raises:
        ValueError: Not an IDX file of bytes, another shape, or truncated.

    Example:
        >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), (2,)).tolist()
        [7, 9]
    """
    header = 4 + 4 * len(shape)
    if len(content) < header or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTE or content[3] != len(shape):
        raise ValueError(f"it is not an IDX file of bytes with {len(shape)} axes")
    header_shape = tuple(np.frombuffer(content, ">u4", count=len(shape), offset=4).tolist())
    if header_shape != shape:
        raise ValueError(f"its header says shape {header_shape}, expected {shape}")
    if len(content) != header + int(np.prod(shape)):
        raise ValueError(f"it has {len(content):,} bytes, expected {header + int(np.prod(shape)):,}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
