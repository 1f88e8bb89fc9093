"""The networks of the paper's own method by closed forms and by autodiff, each by itself."""

import numpy as np
import pytest

import modjax as mj
from tests.measures.test_reference_networks import NETWORKS, THEIRS, load

LIMITS = {np.float32: 1e-5, np.float64: 1e-10}


def errors_of(stored, mnist_dir, path, combined, dtype):
    layers = [(stored[f"W{i}"].T.astype(dtype), stored[f"b{i}"].astype(dtype)) for i in (1, 2, 3)]
    mnist = mj.load_dataset("mnist", mnist_dir)
    x, y = mnist.x_test[:1000], mnist.y_test[:1000]
    S = mj.similarity(mj.mlp(784, (64, 64), 10), mj.mlp_params(layers), x, y, combined=combined, path=path)
    errors = {}
    for measure, theirs in THEIRS.items():
        for layer, matrix in enumerate([S[measure]] if combined else S[measure]):
            assert matrix.dtype == dtype
            place = "combined" if combined else f"layer{layer}"
            # Theirs is divided by the batch size (quirk Q1 of the reference).
            size = stored["hess_batch_size_combined" if combined else "hess_batch_size_layer"]
            expected = stored[f"sim_{theirs}_{place}"] * (int(size) if measure == "loss_hessian" else 1)
            errors[measure, place] = np.linalg.norm(np.abs(matrix) - expected) / np.linalg.norm(expected)
    return errors


@pytest.mark.parametrize("combined", [False, True], ids=["layers", "combined"])
@pytest.mark.parametrize("path", ["closed_form", "autodiff"])
@pytest.mark.parametrize("name", NETWORKS)
def test_float32(reference_dir, mnist_dir, name, path, combined):
    errors = errors_of(load(reference_dir, name), mnist_dir, path, combined, np.float32)
    assert max(errors.values()) < LIMITS[np.float32], errors


@pytest.mark.parametrize("combined", [False, True], ids=["layers", "combined"])
@pytest.mark.parametrize("path", ["closed_form", "autodiff"])
@pytest.mark.parametrize("name", NETWORKS)
def test_float64(x64, reference_dir, mnist_dir, name, path, combined):
    errors = errors_of(load(reference_dir, name), mnist_dir, path, combined, np.float64)
    assert max(errors.values()) < LIMITS[np.float64], errors
