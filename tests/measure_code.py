"""Counts of the code, by which a redesign is measured: ``python tests/measure_code.py [PACKAGE]`` prints JSON.

Counted: lines of Python; comments per hundred lines of code; the share of annotated arguments that are ``Any``; files
in import circles (imports inside functions included); imports inside functions; the most first-party imports of one
file; class names that two classes have; names of variables that say nothing.
"""

import ast
import io
import json
import sys
import tokenize
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.code_graph import PACKAGE, circles, file_graph

NAMELESS = ("found", "told", "one")


def annotated_arguments(tree: ast.AST) -> list[ast.expr]:
    """The annotations of all arguments."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    arguments = [
        argument
        for function in functions
        for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    ]
    return [argument.annotation for argument in arguments if argument.annotation is not None]


def comment_lines(source: str) -> int:
    """Lines that hold a comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return len({token.start[0] for token in tokens if token.type == tokenize.COMMENT})


def code_lines(tree: ast.AST) -> int:
    """Lines on which a statement stands, docstrings left out."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        elif isinstance(node, ast.Expr):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def variables(tree: ast.AST) -> list[str]:
    """Names that are assigned to, and arguments."""
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return names + [node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)]


def measure(package: Path = PACKAGE) -> dict[str, object]:
    """All counts of a package."""
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
    trees = {path: ast.parse(source) for path, source in sources.items()}
    graph = file_graph(package)
    annotations = [annotation for tree in trees.values() for annotation in annotated_arguments(tree)]
    is_any = [isinstance(annotation, ast.Name) and annotation.id == "Any" for annotation in annotations]
    classes = Counter(
        node.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    inner = [
        node
        for tree in trees.values()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = Counter(name for tree in trees.values() for name in variables(tree))
    num_lines = sum(len(source.splitlines()) for source in sources.values())
    num_code = sum(code_lines(tree) for tree in trees.values())
    return {
        "files": len(sources),
        "lines": num_lines,
        "comments_per_100_lines_of_code": round(100 * sum(map(comment_lines, sources.values())) / num_code, 1),
        "percent_of_arguments_that_are_any": round(100 * sum(is_any) / len(is_any), 1),
        "files_in_circles": sum(map(len, circles(graph))),
        "imports_in_functions": len(inner),
        "most_first_party_imports_of_a_file": max(map(len, graph.values())),
        "class_names_of_two_classes": sorted(name for name, count in classes.items() if count > 1),
        "variables_that_say_nothing": {name: names[name] for name in NAMELESS},
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE), indent=1))
