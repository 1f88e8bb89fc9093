"""The networks of the paper's own method: their matrices must come out, theirs in float64."""

import numpy as np
import pytest

import modjax as mj

THEIRS = {
    "covariance": "forward_cov",
    "input_jacobian": "forward_jac",
    "output_jacobian": "backward_jac",
    "loss_hessian": "backward_hess",
}
NETWORKS = ("net_l2-1e-5_drop0.0_seed0", "net_untrained_seed2")


def load(reference_dir, name):
    return np.load(reference_dir / f"{name}.npz", allow_pickle=False)


def compare(stored, mnist_dir, combined, dtype):
    layers = [(stored[f"W{i}"].T.astype(dtype), stored[f"b{i}"].astype(dtype)) for i in (1, 2, 3)]
    mnist = mj.load_dataset("mnist", mnist_dir)
    assert mnist.y_test[:1000].tolist() == stored["test_labels"].tolist()
    found = mj.similarity(
        mj.mlp(784, (64, 64), 10), mj.mlp_params(layers), mnist.x_test[:1000], mnist.y_test[:1000], combined=combined
    )
    errors = {}
    for measure, theirs in THEIRS.items():
        matrices = [found[measure]] if combined else found[measure]
        for layer, S in enumerate(matrices):
            assert S.dtype == dtype
            place = "combined" if combined else f"layer{layer}"
            # Theirs is divided by the batch size (quirk Q1 of the reference).
            size = stored["hess_batch_size_combined" if combined else "hess_batch_size_layer"]
            expected = stored[f"sim_{theirs}_{place}"] * (int(size) if measure == "loss_hessian" else 1)
            errors[measure, place] = np.linalg.norm(np.abs(S) - expected) / np.linalg.norm(expected)
    return errors


@pytest.mark.parametrize("combined", [False, True], ids=["layers", "combined"])
@pytest.mark.parametrize("name", NETWORKS)
def test_float32_matrices(reference_dir, mnist_dir, name, combined):
    errors = compare(load(reference_dir, name), mnist_dir, combined, np.float32)
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.parametrize("combined", [False, True], ids=["layers", "combined"])
@pytest.mark.parametrize("name", NETWORKS)
def test_float64_matrices(x64, reference_dir, mnist_dir, name, combined):
    errors = compare(load(reference_dir, name), mnist_dir, combined, np.float64)
    assert max(errors.values()) < 1e-10, errors
