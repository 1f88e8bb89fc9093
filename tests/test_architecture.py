"""The house rules, drawn from the code itself."""

import ast
import re
import subprocess
import sys
import tokenize

import pytest

from tests.code_graph import PACKAGE, circles, file_graph, imported_names
from tests.measure_code import NAMELESS, variables

FILES = sorted(PACKAGE.rglob("*.py"))
IDS = [str(path.relative_to(PACKAGE)) for path in FILES]

# From the ground up. A package may import those on lower levels, and itself, but none of its own level.
LEVELS = [
    {"records"},
    {"builtins"},
    {"names", "types"},
    {"checks", "io", "_util"},
    {"data"},
    {"networks", "clustering", "store"},
    {"training", "measures"},
    {"spec", "report"},
    {"analysis", "integrity"},
    {"engines"},
    {"sweep"},
    {"estimate", "export", "bench"},
    {"cli"},
]
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}
MAY_JIT = {"training/programs.py", "measures/compute.py", "bench/harness.py", "bench/naive.py", "bench/training.py"}
MAX_LINES = 300
# Words of our own: the field has others for all that they named.
BANNED = r"seats?|seated|seating|crews?|rooms?|fleets?|strangers?|hostile|bury|greetings?|Place"
GRAPH = file_graph()


def package_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def upward_imports(graph):
    """Imports of a package that is not on a lower level, as pairs of files."""
    return [
        (name, other)
        for name, others in graph.items()
        for other in sorted(others)
        if (own := name.split(".")[1]) != (its := other.split(".")[1]) and LEVEL_OF[its] >= LEVEL_OF[own]
    ]


def words_of(path):
    """The words of the names in a file; comments and strings are English, where any word may stand."""
    with path.open("rb") as file:
        names = [token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.NAME]
    return [word for name in names for word in (name, *name.split("_"))]


def test_imports_go_down_only():
    assert upward_imports(GRAPH) == []
    back = {**GRAPH, "modjax.store.paths": {*GRAPH["modjax.store.paths"], "modjax.sweep.pipeline"}}
    assert upward_imports(back) == [("modjax.store.paths", "modjax.sweep.pipeline")]


def test_no_file_imports_in_a_circle():
    assert circles(GRAPH) == []
    back = {**GRAPH, "modjax.training.programs": {*GRAPH["modjax.training.programs"], "modjax.training.runner"}}
    names = ("batch_layout", "programs", "runner", "selector", "shard")
    assert circles(back) == [[f"modjax.training.{name}" for name in names]]


def test_every_package_has_a_level():
    assert {package_of(path) for path in FILES} - {"__init__"} == set(LEVEL_OF)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_no_word_of_our_own(path):
    assert not [word for word in words_of(path) if re.fullmatch(BANNED, word)]


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_variables_say_what_they_hold(path):
    assert not set(variables(ast.parse(path.read_text(encoding="utf-8")))) & set(NAMELESS)


def test_one_class_name_one_class():
    names = [
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_the_trainer_knows_no_sweep():
    words = {path.name: words_of(path) for path in FILES if package_of(path) == "training"}
    assert [name for name, found in words.items() if "SweepSpec" in found or "SweepPaths" in found] == []
    imported = {other for name, others in GRAPH.items() if name.startswith("modjax.training.") for other in others}
    assert not [name for name in imported if name.startswith(("modjax.store.", "modjax.spec."))]


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_files_are_short_and_say_what_they_are(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_no_file_uses_pickle_eval_or_exec(path):
    modules = {name.split(".")[0] for name in imported_names(path)}
    forbidden = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    assert not modules & forbidden
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


@pytest.mark.parametrize("path", [p for p in FILES if package_of(p) == "clustering"], ids=lambda p: p.name)
def test_clustering_names_no_jax(path):
    modules = imported_names(path)
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
