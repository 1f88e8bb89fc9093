"""Extensions: records that come with a call, from Python or from a file that the user names.

A file is run once per process, by its path; the modules that it imports from its own folder belong to its source. No
spec, data file or sweep directory names a file to run.
"""

import ast
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
CHECKSUM = "__modjax_sha256__"  # the global of an extension's module that holds the checksum of its source
MAIN_MODULES = ("__main__", "__mp_main__")  # a worker's is another one


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
    return list(records.values()), Source(path.name, _source_checksum(module))


class Location(NamedTuple):
    """Where another process finds a value: by file or importable name, never by pickle.

    Attributes:
        module: Name of the module.
        path: Path of the extension file; None for a module that can be imported.
        sha256: Checksum of the module's source.
        attribute: Name of the value in the module.
    """

    module: str
    path: str | None
    sha256: str
    attribute: str

    def value(self) -> Any:
        """Run the file, once per process, or import the module, and return the value.

        Raises:
            OSError: If the file is not there, or the source is another one. This is no trial's fault, the run ends.
        """
        if self.path is not None and not Path(self.path).is_file():
            raise OSError(f"{self.path}: there is no such extension here; put it where all nodes have it.")
        module = importlib.import_module(self.module) if self.path is None else _run(Path(self.path))
        if _source_checksum(module) != self.sha256:
            raise OSError(f"{self.path or self.module} has changed since this run was started; restore it.")
        return getattr(module, self.attribute)


class Address(NamedTuple):
    """Where a worker process finds the function of a record.

    Attributes:
        location: Where the record is.
        function: Field of the record that holds the function.
    """

    location: Location
    function: str


def location_of(value: object) -> Location | None:
    """Return where a value is a global: in an extension file, or else in a module that can be imported; None: nowhere.

    Example:
        >>> location_of(KINDS).module, location_of(KINDS).attribute
        ('modjax.catalog', 'KINDS')
    """
    modules = [
        (name, module)
        for name, module in [*sys.modules.items()]
        if isinstance(module, ModuleType) and name not in MAIN_MODULES and vars(module).get("__file__")
    ]
    for name, module in sorted(modules, key=lambda item: CHECKSUM not in vars(item[1])):
        for attribute, held in [*vars(module).items()]:
            if held is value:
                path = str(module.__file__) if CHECKSUM in vars(module) else None
                return Location(name, path, _source_checksum(module), attribute)
    return None


def portable(record: Record, function: str) -> Any:
    """Return a record's function, or its address if an extension file defines the record."""
    location = location_of(record)
    return getattr(record, function) if location is None or location.path is None else Address(location, function)


def function_of(value: Any) -> Any:
    """Return the function of a reference or an address."""
    return resolve(getattr(value.location.value(), value.function) if isinstance(value, Address) else value)


def _source_checksum(module: ModuleType) -> str:
    if CHECKSUM in vars(module):
        return vars(module)[CHECKSUM]
    return hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()


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
    vars(module)[CHECKSUM] = _checksum(path)
    return module


def _checksum(path: Path) -> str:
    digest = hashlib.sha256(path.read_bytes())
    for neighbour in sorted(_neighbours(path, path.parent) - {path}):
        digest.update(str(neighbour.relative_to(path.parent)).encode() + neighbour.read_bytes())
    return digest.hexdigest()


def _neighbours(path: Path, folder: Path, known: frozenset[Path] = frozenset()) -> frozenset[Path]:
    """Return the files in a folder that a file imports, and those that they import, whoever imported them first."""
    known |= {path}
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        files = {Path(file).resolve() for name in names if (file := getattr(sys.modules.get(name), "__file__", None))}
        for file in sorted(files - known):
            if folder in file.parents and file.suffix == ".py":
                known |= _neighbours(file, folder, known)
    return known


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
