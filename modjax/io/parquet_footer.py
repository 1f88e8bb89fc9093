"""Estimates the memory that a parquet file will take from its footer, before the table is read.

A few bytes can encode gigabytes (runs of equal values), so the numbers of values are added up first. The footer uses
Thrift's compact protocol; only numbers of rows and values are read.

References:
    https://parquet.apache.org/docs/file-format/metadata/
"""

from pathlib import Path
from typing import Any

MAGIC = b"PAR1"
MAX_FOOTER = 2**26
MAX_DEPTH = 16
NUM_ROWS, ROW_GROUPS, COLUMNS, META_DATA, TYPE, NUM_VALUES, UNCOMPRESSED = 3, 4, 1, 3, 1, 5, 6
VALUE_BYTES = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8, 6: 16, 7: 16}  # in memory, by physical type
STRING = 6
ROW_BYTES = 8


def table_bytes(path: Path) -> int:
    """Return a lower estimate of the bytes of memory that the table takes.

    Raises:
        ValueError: If the file is not a parquet file.
    """
    if not path.is_file():  # opening a pipe would block
        raise ValueError("there is no such file")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(max(0, size - 8))
        tail = file.read(8)
        length = int.from_bytes(tail[:4], "little")
        if size < 12 or head != MAGIC or tail[4:] != MAGIC or length > min(size - 12, MAX_FOOTER):
            raise ValueError("no parquet file")
        file.seek(size - 8 - length)
        footer = _Reader(file.read(length)).struct(0)
    num_rows = _whole(footer.get(NUM_ROWS))
    chunks = [
        chunk[META_DATA]
        for group in _structs(footer.get(ROW_GROUPS))
        for chunk in _structs(group.get(COLUMNS))
        if isinstance(chunk.get(META_DATA), dict)
    ]
    return sum(map(_chunk_bytes, chunks)) + ROW_BYTES * num_rows


def _chunk_bytes(chunk: dict[int, Any]) -> int:
    kind = _whole(chunk.get(TYPE, 0))
    text = _whole(chunk.get(UNCOMPRESSED)) if kind >= STRING else 0
    return VALUE_BYTES.get(kind, 16) * _whole(chunk.get(NUM_VALUES)) + text


def _structs(value: Any) -> list[dict[int, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a footer without sizes")
    return value


class _Reader:
    """Reader of Thrift's compact protocol; structs become dicts by field number."""

    def __init__(self, content: bytes) -> None:
        self._content, self._position = content, 0

    def _take(self, num: int) -> bytes:
        if num < 0 or self._position + num > len(self._content):
            raise ValueError("a footer that ends too early")
        taken = self._content[self._position : self._position + num]
        self._position += num
        return taken

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number that is too long")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def struct(self, depth: int) -> dict[int, Any]:
        """Return the fields up to the stop byte."""
        if depth > MAX_DEPTH:
            raise ValueError("a footer that is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._take(1)[0]:
            # The high half is the step to the next field number; 0 means that the number itself follows.
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            fields[number] = self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int, is_item: bool = False) -> Any:
        # Booleans are stored in the field header itself, except as items of a list.
        if kind in (1, 2):
            return bool(self._take(1)[0]) if is_item else kind == 1
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind in (3, 7):
            return self._take(1 if kind == 3 else 8)
        if kind == 8:
            return self._take(self._varint())
        if kind in (9, 10):
            return self._list(depth)
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError("a kind of field that footers do not have")

    def _list(self, depth: int) -> list[Any]:
        # The high half is the length; 15 means that the length follows.
        head = self._take(1)[0]
        num = self._varint() if head >> 4 == 15 else head >> 4
        if num > len(self._content) or depth > MAX_DEPTH:
            raise ValueError("a list that is longer than its footer")
        return [self._value(head & 15, depth + 1, is_item=True) for _ in range(num)]
