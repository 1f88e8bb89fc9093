"""The house rules, drawn from the code itself."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "modjax"
FILES = sorted(PACKAGE.rglob("*.py"))
IDS = [str(path.relative_to(PACKAGE)) for path in FILES]

# A package may import those on lower levels, and itself; packages of one level never import each other.
LEVELS = [
    {"names", "types"},
    {"checks", "hostile", "pixels", "noise", "threads", "memory", "stopping"},
    {"data", "networks", "storage"},
    {"training", "measures", "clustering"},
    {"report"},
    {"sweep", "bench"},
    {"cli_results"},
    {"cli"},
]
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}
MAY_JIT = {"training/population.py", "measures/compute.py", "bench/harness.py", "bench/naive.py", "bench/training.py"}
MAX_LINES = 300


def room(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports(path, top_level_only=False):
    """Modules imported by a file; imports that only the type checker sees do not count."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    if path == PACKAGE / "__init__.py":
        nodes = [node for node in tree.body if not isinstance(node, ast.If)]
    found = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.append(node.module)
    return found


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_imports_go_down_only(path):
    own = room(path)
    if own == "__init__":
        return
    for module in imports(path):
        parts = module.split(".")
        if parts[0] != "modjax" or len(parts) == 1:
            continue
        assert parts[1] == own or LEVEL_OF[parts[1]] < LEVEL_OF[own], f"{own} imports {module}"


def test_every_room_has_a_level():
    assert {room(path) for path in FILES} - {"__init__"} == set(LEVEL_OF)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_files_are_short_and_say_what_they_are(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_no_file_uses_pickle_eval_or_exec(path):
    forbidden = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    assert not {module.split(".")[0] for module in imports(path)} & forbidden
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            assert name not in {"eval", "exec", "compile", "__import__"} or isinstance(node.func, ast.Attribute)
            if name == "load":
                options = {keyword.arg: keyword.value for keyword in node.keywords}
                assert "allow_pickle" in options, f"numpy.load without allow_pickle in {path}"
                assert ast.literal_eval(options["allow_pickle"]) is False


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_jit_stands_in_the_files_that_may(path):
    source = path.read_text()
    if str(path.relative_to(PACKAGE)) not in MAY_JIT:
        assert not re.search(r"\bjax\.(jit|pmap)\b", source)


@pytest.mark.parametrize("path", [p for p in FILES if room(p) == "clustering"], ids=lambda p: p.name)
def test_clustering_names_no_jax(path):
    modules = imports(path)
    assert not [m for m in modules if m.split(".")[0] in ("jax", "flax", "optax", "jaxtyping")]
    assert "modjax.types" not in modules


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout


def test_importing_modjax_imports_no_jax_and_nothing_slow():
    slow = ["jax", "jaxlib", "flax", "optax", "numpy", "polars", "igraph", "matplotlib", "pydantic", "sklearn"]
    code = f"import sys, modjax; dir(modjax); print([name for name in {slow!r} if name in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_importing_clustering_imports_no_jax():
    code = (
        "import sys, modjax; modjax.find_modules, modjax.alignment, modjax.modularity; import modjax.clustering.pool;"
        "print([name for name in ('jax', 'jaxlib', 'flax') if name in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


def test_every_public_name_is_there():
    import modjax

    for name in modjax.__all__:
        assert getattr(modjax, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = modjax.nothing
    contract = (
        "load_dataset mlp mlp_params similarity adjacency find_modules modularity alignment train run_sweep open_sweep"
    )
    assert set(contract.split()) <= set(modjax.__all__)
    assert callable(modjax.similarity)


def test_public_functions_are_still_functions_after_everything_is_imported():
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in FILES]
    code = (
        "import importlib\n"
        f"for name in {[n.removesuffix('.__init__') for n in names]!r}: importlib.import_module(name)\n"
        "import modjax\n"
        "print([n for n in modjax.__all__ if not callable(getattr(modjax, n)) and n.islower()])"
    )
    assert run_python(code).strip() == "[]"
