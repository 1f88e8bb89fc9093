"""The networks of a spec: their sizes are known before they are made, and a cnn goes through a whole sweep."""

import jax
import numpy as np
import polars as pl
import pytest

import modjax as mj
from modjax.networks.images import image_shape
from modjax.spec import setup
from modjax.spec.networks import build_network, network_sizes
from modjax.spec.setup import check_fit
from tests.seams import parse_spec

SPEC = {
    "name": "images",
    "dataset": "digits",
    "seeds": [0],
    "network": {"kind": "cnn", "widths": [3, 5], "activation": "tanh"},
    "training": {"max_epochs": 1, "batch_size": 100},
    "arms": [{"name": "a", "learning_rate": [1e-2]}, {"name": "untrained", "untrained": True}],
}


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize("shape", [(7, 9, 2), (5, 5), (16,)], ids=str)
def test_sizes_are_those_of_the_network(kind, shape):
    spec = parse_spec({**SPEC, "network": {"kind": kind, "widths": [3, 4, 2]}})
    sizes = network_sizes(spec, shape, 6)
    params = build_network(spec, shape, 6).init(0)
    assert sizes.num_weights == sum(leaf.size for leaf in jax.tree.leaves(params))
    hidden = build_network(spec, shape, 6).apply(params, np.zeros((1, *shape), np.float32)).hidden
    assert [(layer.locations, layer.units) for layer in sizes.layers] == [
        (layer.size // layer.shape[-1], layer.shape[-1]) for layer in hidden
    ]
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    assert [layer.fan_in for layer in sizes.layers] == [kernel[..., 0].size for kernel in kernels[:-1]]


@pytest.mark.parametrize("shape", [(10,), (2, 3, 4, 5)], ids=str)
def test_a_cnn_needs_images(shape):
    with pytest.raises(ValueError, match=r"network\.kind 'cnn' needs images: .*mlp") as error:
        image_shape(shape)
    assert "\n" not in str(error.value)
    assert str(list(shape)) in str(error.value)


def test_a_cnn_of_a_dataset_without_images_is_refused(folder, write_spec, tiny_content):
    spec = write_spec({**tiny_content, "network": {"kind": "cnn", "widths": [4]}})
    with pytest.raises(ValueError, match="needs images"):
        mj.run_sweep(spec, folder / "out")
    assert not (folder / "out").exists()


def test_combined_needs_layers_of_the_same_locations():
    digits = mj.load_dataset("digits")
    with pytest.raises(ValueError, match=r"similarity\.combined .* \[16, 4\]\. Use combined = false"):
        check_fit(parse_spec({**SPEC, "similarity": {"combined": True}}), digits)
    one_layer = {**SPEC, "network": {"kind": "cnn", "widths": [4]}, "similarity": {"combined": True}}
    check_fit(parse_spec(one_layer), digits)


def test_a_cnn_too_large_for_memory_only_on_its_images(monkeypatch):
    """The weights are few: it is the locations that fill the memory."""
    monkeypatch.setattr(setup.os, "sysconf", lambda name: 2**14)  # 256 MiB
    digits = mj.load_dataset("digits")
    spec = parse_spec({**SPEC, "network": {"kind": "cnn", "widths": [64]}})
    check_fit(spec, digits)
    x = np.zeros((200, 512, 512), np.uint8)
    large = mj.Dataset("large", x, np.zeros(200, np.int32), x, np.zeros(200, np.int32), 10)
    with pytest.raises(ValueError, match=r"network\.widths: \[64\] needs about .* GiB a trial"):
        check_fit(spec, large)


def test_a_sweep_of_cnns(tmp_path):
    sweep = mj.run_sweep(parse_spec(SPEC), tmp_path / "out", is_quiet=True)
    assert sweep.trials["status"].sort().to_list() == ["done", "untrained"]
    sizes = sweep.similarity.group_by("layer").agg(pl.col("num_units").unique()).sort("layer")
    assert sizes.rows() == [(0, [3]), (1, [5])]
    assert sweep.modules.height == 2 * 2 * 8
    assert sweep.trials.filter(pl.col("status") == "done")["test_accuracy"][0] > 0.15


def test_untrained_networks_alone_are_a_sweep_and_arms_can_be_added(folder, write_spec, tiny_content):
    alone = tiny_content | {"arms": [tiny_content["arms"][-1]], "similarity": {"measures": ["covariance"]}}
    sweep = mj.run_sweep(write_spec(alone), folder / "out", is_quiet=True)
    assert set(sweep.trials["status"]) == {"untrained"}
    assert sweep.modules.height == 3 * 2 * 2
    more = alone | {"arms": tiny_content["arms"][1:]}
    assert mj.run_sweep(write_spec(more), folder / "out", is_quiet=True).trials["status"].to_list().count("done") == 2
