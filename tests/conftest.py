"""Shared fixtures; every test runs with implicit rank promotion forbidden."""

import os
from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT.parent / "shared" / "reference"
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def _no_data_dir_of_the_caller(monkeypatch, tmp_path_factory):
    """Tests look for data in no folder of the user's; those that need MNIST name it."""
    monkeypatch.delenv("MODJAX_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def mnist_dir():
    for folder in (os.environ.get("MODJAX_TEST_DATA_DIR"), SHARED_DATA):
        if folder and (Path(folder) / "mnist").is_dir():
            return Path(folder)
    pytest.skip("no MNIST here: set MODJAX_TEST_DATA_DIR to a folder that holds mnist/")


@pytest.fixture
def reference_dir():
    if not REFERENCE.is_dir():
        pytest.skip("the reference networks are not on this machine")
    return REFERENCE
