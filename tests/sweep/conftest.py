"""A sweep so small that it runs in seconds, and its parts."""

import numpy as np
import pytest
import tomli_w

import modjax as mj


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


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_content):
    """The tiny sweep, run once without disturbance; tests read it and copy it, and change nothing."""
    root = tmp_path_factory.mktemp("finished")
    write_npz(root / "tiny.npz")
    (root / "spec.toml").write_text(tomli_w.dumps(tiny_content))
    return mj.run_sweep(root / "spec.toml", root / "out", is_quiet=True)
