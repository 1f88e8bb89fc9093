"""The package as a graph of its files: which imports which, imports inside functions included."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "modjax"


def module_of(path: Path, package: Path = PACKAGE) -> str:
    """The dotted name of a file."""
    return ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")


def imported_names(path: Path) -> list[str]:
    """Modules that a file imports, and ``module.name`` for each name that it takes from one."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def file_graph(package: Path = PACKAGE) -> dict[str, set[str]]:
    """For each module of the package, the modules of it that it imports; the root, which loads lazily, is left out."""
    files = {module_of(path, package): path for path in sorted(package.rglob("*.py"))}
    files.pop("modjax", None)
    return {name: {other for other in imported_names(path) if other in files} - {name} for name, path in files.items()}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another, directly or not: strongly connected components of two and more.

    References:
        Tarjan, "Depth-first search and linear graph algorithms", SIAM Journal on Computing 1, 1972.

    Example:
        >>> circles({"a": {"b"}, "b": {"c"}, "c": {"b"}})
        [['b', 'c']]
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            start = stack.index(name)
            component = stack[start:]
            del stack[start:]
            if len(component) > 1:
                components.append(sorted(component))

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return components
