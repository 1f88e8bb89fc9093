"""Extensions: records that come with a call, from Python or from a file that the user names.

A file is run once per process, by its path; the modules that it imports from its own folder belong to its source. No
spec, data file or sweep directory names a file to run.
"""

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, cast

from modjax.catalog import BUILTIN, FUNCTIONS, KINDS, Catalog, Source
from modjax.records import Record, resolve

Extension = Record | str | Path


def catalog_of(extensions: Iterable[Extension] | Extension = ()) -> Catalog:
    """Return the catalog of modjax's records and those of extensions.

    Args:
        extensions: Records, and paths of Python files whose module-level records are used.

    Raises:
        ValueError: If a file cannot be run or holds no record, something is no record, or two have one name.
    """
    catalog = BUILTIN
    # A record is no iterable, and a path is one of characters.
    given: list[Any] = [extensions] if isinstance(extensions, (str, Path, *KINDS)) else [*cast(Any, extensions)]
    for extension in given:
        if isinstance(extension, str | Path):
            records, source = load_extension(Path(extension))
            try:
                catalog = catalog.extended(records, [source])
            except ValueError as error:
                raise ValueError(f"{extension}: {error}") from None
        else:
            catalog = catalog.extended([extension], [source] if (source := _source_of(extension)) else [])
    return catalog


def load_extension(path: Path) -> tuple[list[Record], Source]:
    """Run a file, once per process and content, and return its module-level records and its source.

    Raises:
        ValueError: If there is no such file, it raises, or it holds no record.
    """
    if not path.is_file() or path.suffix != ".py":
        raise ValueError(f"{path}: there is no such extension; expected a Python file that defines records.")
    module = _run(path.resolve())
    records: dict[int, Record] = {
        id(value): value for name, value in vars(module).items() if isinstance(value, tuple(KINDS))
    }
    if not records:
        names = ", ".join(sorted(record_type.__name__ for record_type in KINDS))
        raise ValueError(f"{path} defines no record; expected module-level values of {names}.")
    return list(records.values()), Source(path.name, module.__modjax_sha256__)


class Address(NamedTuple):
    """Where a worker process finds the function of a record: by file, never by pickle.

    Attributes:
        path: The extension file.
        kind: Name of the record's type.
        name: Name of the record.
        function: Field of the record that holds the function.
    """

    path: str
    kind: str
    name: str
    function: str

    def in_this_process(self) -> Any:
        """Run the file, once per process, and return the function."""
        records, _ = load_extension(Path(self.path))
        return next(
            resolve(getattr(record, self.function))
            for record in records
            if type(record).__name__ == self.kind and record.name == self.name
        )


def portable(record: Record, function: str) -> Any:
    """Return a record's function, or its address if an extension file defines it."""
    value: Any = getattr(record, function)
    module = sys.modules.get(getattr(value, "__module__", ""))
    if module is None or not hasattr(module, "__modjax_sha256__"):
        return value
    return Address(str(module.__file__), type(record).__name__, record.name, function)


def function_of(value: Any) -> Any:
    """Return the function of a reference or an address."""
    return value.in_this_process() if isinstance(value, Address) else resolve(value)


def _run(path: Path) -> ModuleType:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    # Named by content: an edited file is another module, and functions keep the module that they were defined in.
    name = f"modjax_extension_{path.stem}_{digest[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    sys.modules[name] = module
    try:
        with _importable(path.parent):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} raised while it was run: {type(error).__name__}: {reason}.") from error
    neighbours = {
        Path(file).resolve()
        for other in set(sys.modules) - before - {name}
        if (file := getattr(sys.modules[other], "__file__", None)) and path.parent in Path(file).resolve().parents
    }
    module.__modjax_sha256__ = _checksum(path, neighbours)  # pyright: ignore[reportAttributeAccessIssue]
    return module


def _checksum(path: Path, neighbours: Iterable[Path]) -> str:
    digest = hashlib.sha256(path.read_bytes())
    for neighbour in sorted(neighbours):
        digest.update(str(neighbour.relative_to(path.parent)).encode() + neighbour.read_bytes())
    return digest.hexdigest()


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a file import its neighbours."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _source_of(record: object) -> Source | None:
    """Return the source of a record's function, if it is one: that of its file, or in a notebook of its own text."""
    for name in FUNCTIONS:
        function: Any = getattr(record, name, None)
        function = inspect.unwrap(function) if callable(function) else None
        code = getattr(function, "__code__", None)
        if code is None:
            continue
        path = Path(code.co_filename)
        if path.is_file():
            return Source(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
        try:
            text = inspect.getsource(function).encode()
        except OSError:  # given on a command line: there is only its code
            text = code.co_code + repr(code.co_names).encode()
        return Source(function.__qualname__, hashlib.sha256(text).hexdigest())
    return None
