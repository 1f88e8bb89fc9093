"""The house rules, drawn from the code itself."""

import ast
import io
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
    {"catalog"},
    {"names", "types", "extensions"},
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
    {"__main__"},
]
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}
MAY_JIT = {
    *("training/programs.py", "measures/compute.py", "measures/functions.py"),
    *("bench/harness.py", "bench/naive.py", "bench/training.py"),
}
MAX_LINES = 300
# Words of our own: the field has others for all that they named.
BANNED = {
    *("seat", "seats", "seated", "seating", "crew", "crews", "room", "rooms", "fleet", "fleets"),
    *("stranger", "strangers", "hostile", "bury", "greeting", "greetings"),
}
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


def names_in(source):
    """All names of a source; comments and strings are English, where any word may stand."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}


def banned_names(source):
    """Names with a banned word in them, in snake or camel case; and classes called a place."""
    words = {name: re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name) for name in names_in(source)}
    return sorted(
        name for name, parts in words.items() if {part.lower() for part in parts} & BANNED or "Place" in parts
    )


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
    assert banned_names(path.read_text(encoding="utf-8")) == []


def test_a_word_of_our_own_is_seen_when_it_is_put_back():
    source = "class RayFleet: ...\nclass Crew: ...\nnum_seats = 3\nclass LocalPlace: ...\nPlacement = place = 1  # room"
    assert banned_names(source) == ["Crew", "LocalPlace", "RayFleet", "num_seats"]


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
    names = set().union(*(names_in(path.read_text()) for path in FILES if package_of(path) == "training"))
    assert not [name for name in names if "sweep" in name.lower()]
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
    if str(path.relative_to(PACKAGE)) not in MAY_JIT:
        assert not names_in(path.read_text()) & {"jit", "pmap"}


def test_a_jit_is_seen_however_it_is_written():
    for source in ("f = jax.jit(g)", "from jax import jit", "@partial(jax.pmap, axis_name='a')\ndef f(): ..."):
        assert names_in(source) & {"jit", "pmap"}


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
