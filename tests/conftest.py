"""Shared fixtures; every test runs with implicit rank promotion forbidden.

Each sweep makes programs of its own. They are compiled once per run of the tests, in whichever process comes first, and
read from a folder by all others, also by those that tests start.
"""

import fcntl
import gc
import os
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tomli_w
from beartype import BeartypeConf
from beartype.claw import beartype_package

# Before the first import of modjax. The packages left out are those whose shapes jaxtyping checks (pyproject.toml).
SHAPED = ("modjax.networks", "modjax.measures", "modjax.training", "modjax.data", "modjax._util")
beartype_package(
    "modjax", conf=BeartypeConf(claw_is_pep526=False, claw_skip_package_names=SHAPED, is_pep484_tower=True)
)

import modjax as mj
from tests.compiling import compile_quickly
from tests.seams import draw_few_figures, leave_reports_out, search_in_process

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT.parent / "shared" / "reference"
SHARED_DATA = ROOT.parent / "shared" / "data"
MANY_MAPS = 20_000


def pytest_addoption(parser):
    parser.addoption(
        "--compiler",
        choices=("quick", "users"),
        default="quick",
        help="quick: few optimizations, since most programs of tests run once; users: all that users get",
    )


def pytest_configure(config):
    """One folder of compiled programs for all processes of this run, and for the next run on this machine."""
    if config.getoption("compiler") == "quick" and jax.__version_info__ < (0, 11):
        compile_quickly()
        jax.config.update("jax_disable_most_optimizations", True)
    # Else each of the processes that tests start would compile every file of the package anew.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(config.cache.mkdir("compiled"))
    options = {
        "jax_compilation_cache_dir": folder,
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in options.items():
        jax.config.update(name, value)  # this process has read its environment already
        os.environ[name.upper()] = str(value)


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def _no_data_dir_of_the_caller(_only_what_a_test_looks_at, monkeypatch, tmp_path_factory):
    """Tests look for data in no folder of the user's; those that need MNIST name it.

    What a test patches is undone before what is patched for all tests: hence the first argument.
    """
    monkeypatch.delenv("MODJAX_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _only_what_a_test_looks_at(request):
    """Figures and worker processes take longer than a tiny sweep.

    Tests with the mark ``report`` draw some figures and the page, all others none; tests with the mark ``workers``
    search modules in worker processes, all others in their own. The sweep that is made once for all tests has both.
    """
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("report") is None:
            leave_reports_out(patch)
        else:
            draw_few_figures(patch)
        if request.node.get_closest_marker("workers") is None:
            search_in_process(patch)
        yield


@pytest.fixture(autouse=True, scope="module")
def _few_compiled_programs():
    """Compiled programs are let go between files, before they are too many.

    Each takes mappings of memory, of which Linux grants a process 65,530: LLVM crashes for lack of one.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_text().splitlines()) > MANY_MAPS:
        jax.clear_caches()
        gc.collect()


def folder_with(dataset):
    for folder in (os.environ.get("MODJAX_TEST_DATA_DIR"), SHARED_DATA):
        if folder and (Path(folder) / dataset).is_dir():
            return Path(folder)
    pytest.skip(f"no {dataset} here: set MODJAX_TEST_DATA_DIR to a folder that holds {dataset}/")


@pytest.fixture
def mnist_dir():
    return folder_with("mnist")


@pytest.fixture
def fashion_dir():
    return folder_with("fashion_mnist")


@pytest.fixture
def reference_dir():
    if not REFERENCE.is_dir():
        pytest.skip("the reference networks are not on this machine")
    return REFERENCE


def write_npz(path, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, 10))
    y = np.arange(220) % 3
    x = (2 * centres[y] + rng.normal(size=(220, 10))).astype(np.float32)
    np.savez(path, x_train=x[:160], y_train=y[:160], x_test=x[160:], y_test=y[160:])


@pytest.fixture(scope="session")
def tiny_content():
    return {
        "name": "tiny",
        "dataset": "tiny.npz",
        "seeds": [0, 1],
        "network": {"widths": [8, 6]},
        "training": {"max_epochs": 4, "batch_size": 16},
        "similarity": {"combined": True},
        "modules": {"restarts": 2, "nulls": 2},
        "alignment": {"permutations": 20},
        "arms": [
            {"name": "dropout", "dropout": [0.0, 0.5], "learning_rate": [1e-2]},
            {"name": "l2", "l2": [1e-3], "learning_rate": [1e-2]},
            {"name": "untrained", "untrained": True, "seeds": [0, 1, 2]},
        ],
    }


@pytest.fixture
def folder(tmp_path):
    write_npz(tmp_path / "tiny.npz")
    return tmp_path


@pytest.fixture
def write_spec(folder):
    def write(content, name="spec.toml"):
        path = folder / name
        path.write_text(tomli_w.dumps(content))
        return path

    return write


def made_once(tmp_path_factory, name, make):
    """A folder that ``make`` fills once for all processes of this run; returns this process's own copy of it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"shared_{name}"
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second waits until the folder is whole
        if not shared.with_suffix(".whole").exists():
            shutil.rmtree(shared, ignore_errors=True)
            shared.mkdir()
            make(shared)
            shared.with_suffix(".whole").touch()
    own = tmp_path_factory.mktemp(name)
    shutil.copytree(shared, own, dirs_exist_ok=True)
    return own


def run_tiny(root, content):
    """The sweep of a spec on the tiny data."""
    write_npz(root / "tiny.npz")
    (root / "spec.toml").write_text(tomli_w.dumps(content))
    return mj.run_sweep(root / "spec.toml", root / "out", is_quiet=True)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_content):
    """The tiny sweep, run once without disturbance; tests read it and copy it, and change nothing."""
    root = made_once(tmp_path_factory, "finished", lambda folder: run_tiny(folder, tiny_content))
    return mj.open_sweep(root / "out")
