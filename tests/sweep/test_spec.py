import copy

import pytest

from modjax import SweepSpec, load_spec
from tests.seams import expand, parse_spec

GOOD = {"name": "x", "dataset": "digits", "seeds": [0, 1], "arms": [{"name": "a", "dropout": [0.0, 0.5]}]}


def changed(**changes):
    return {**copy.deepcopy(GOOD), **changes}


def arm(**keys):
    return changed(arms=[{"name": "a", **keys}])


BAD = {
    "unknown top key": (changed(sedes=[1]), "sedes: unknown key; allowed: name, question, dataset, seeds"),
    "unknown arm key": (
        arm(droput=[0.1]),
        r"arms\[0\]\.droput: unknown key; allowed: name, learning_rate, l1, l2, dropout",
    ),
    "unknown training key": (changed(training={"epochs": 3}), r"training\.epochs: unknown key; allowed: optimizer"),
    "name missing": ({key: value for key, value in GOOD.items() if key != "name"}, "name: missing"),
    "name with a slash": (changed(name="../x"), "name: "),
    "name that is a number": (changed(name=3), "name: .*got 3"),
    "no arms": (changed(arms=[]), "arms: "),
    "empty arm": (arm(dropout=[]), r"arms\[0\]\.dropout: .*at least 1"),
    "arm without a name": (changed(arms=[{"l2": [0.1]}]), r"arms\[0\]\.name: missing"),
    "two arms of one name": (
        changed(arms=[{"name": "a", "l2": [0.1]}, {"name": "a", "l1": [0.1]}]),
        "'a' is there twice",
    ),
    "negative l1": (arm(l1=[-0.1]), r"arms\[0\]\.l1\[0\]: .*greater than or equal to 0; got -0.1"),
    "negative l2": (arm(l2=[0.1, -1]), r"arms\[0\]\.l2\[1\]: .*got -1"),
    "dropout of 1": (arm(dropout=[1.0]), r"dropout\[0\]: .*less than 1; got 1.0"),
    "learning rate 0": (arm(learning_rate=[0.0]), r"learning_rate\[0\]: .*greater than 0"),
    "penalty that is text": (arm(l2=["0.1"]), r"l2\[0\]: .*valid number; got '0.1'"),
    "penalty that is no list": (arm(l2=0.1), r"arms\[0\]\.l2: "),
    "infinite penalty": (arm(l2=[float("inf")]), r"l2\[0\]: .*finite"),
    "NaN dropout": (arm(dropout=[float("nan")]), r"dropout\[0\]: "),
    "value twice": (arm(l2=[0.1, 0.1]), r"l2: values must be distinct; 0\.1 is there twice"),
    "linspace of two": (arm(l2={"linspace": [0, 1]}), r"linspace must be \[first, last, n\]"),
    "linspace of none": (arm(l2={"linspace": [0, 1, 0]}), "whole n from 1"),
    "linspace too long": (arm(l2={"linspace": [0, 1, 10**9]}), "whole n from 1 to 100000"),
    "unknown grid": (arm(l2={"geomspace": [0, 1, 3]}), "linspace"),
    "logspace overflow": (arm(l2={"logspace": [0, 999, 3]}), "300"),
    "untrained with a grid": (arm(untrained=True, l2=[0.1]), "takes no hyperparameters; remove l2"),
    "untrained that is text": (arm(untrained="yes"), r"untrained: .*got 'yes'"),
    "negative seed": (changed(seeds=[-1]), r"seeds\[0\]: "),
    "seed that is a float": (changed(seeds=[0.5]), r"seeds\[0\]: "),
    "seed too large": (changed(seeds=[2**32]), r"seeds\[0\]: "),
    "no seeds": (changed(seeds=[]), "seeds: "),
    "seed twice": (changed(seeds=[3, 3]), "3 is there twice"),
    "unknown dataset": (changed(dataset="cifar"), "dataset: Unknown dataset 'cifar'. Available: digits"),
    "unknown network": (
        changed(network={"kind": "transformer"}),
        r"network\.kind: Unknown network kind .*Available: mlp, cnn",
    ),
    "unknown activation": (changed(network={"activation": "swish"}), "Unknown activation 'swish'. Available: relu"),
    "no layers": (changed(network={"widths": []}), r"network\.widths: "),
    "width 0": (changed(network={"widths": [64, 0]}), r"network\.widths\[1\]: .*got 0"),
    "unknown measure": (
        changed(similarity={"measures": ["jacobain"]}),
        r"similarity\.measures\[0\]: Unknown measure 'jacobain'. Available: covariance",
    ),
    "unknown split": (changed(similarity={"split": "validation"}), "Available: train, test"),
    "unknown optimizer": (changed(training={"optimizer": "lion"}), "Available: adam"),
    "no epochs": (changed(training={"max_epochs": 0}), r"max_epochs: .*got 0"),
    "validation of everything": (changed(training={"validation_fraction": 1.0}), "less than 1"),
    "unknown method": (changed(modules={"method": "louvain"}), "Unknown method 'louvain'. Available: leiden"),
    "resolution 0": (changed(modules={"resolution": 0.0}), r"modules\.resolution"),
    "negative nulls": (changed(modules={"nulls": -1}), r"modules\.nulls"),
    "section that is no table": (changed(network=3), "network: "),
    "too many trials": (
        arm(l1={"linspace": [0, 1, 9999]}, l2={"linspace": [0, 1, 9999]}),
        "at most 10,000,000 trials a sweep; these arms make 199,960,002",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_spec_is_one_line_that_names_the_key(case):
    content, told = BAD[case]
    with pytest.raises(ValueError, match=told) as error:
        parse_spec(content)
    assert "\n" not in str(error.value)


def test_defaults_are_the_papers():
    spec = parse_spec(GOOD)
    assert spec.network.widths == (64, 64)
    assert spec.training.identity() == {
        "optimizer": "adam",
        "max_epochs": 500,
        "batch_size": 200,
        "validation_fraction": 0.1,
        "early_stopping_patience": 6,
        "plateau_patience": 3,
        "plateau_factor": 0.25,
    }


def test_written_spec_reads_back_equal(tmp_path):
    spec = parse_spec(
        changed(arms=[{"name": "a", "l2": {"logspace": [-5, -1, 9]}}, {"name": "u", "untrained": True, "seeds": [4]}])
    )
    (tmp_path / "spec.toml").write_text(spec.to_toml())
    again = load_spec(tmp_path / "spec.toml")
    assert again == spec
    assert again.spec_hash() == spec.spec_hash()
    for section in SweepSpec.model_fields:
        assert section in spec.to_toml()


def test_grids_are_rounded_to_twelve_digits():
    spec = parse_spec(arm(dropout={"linspace": [0.05, 0.7, 14]}))
    assert spec.arms[0].dropout == tuple(round(0.05 * n, 2) for n in range(1, 15))


def test_the_papers_first_experiment_has_270_trials():
    spec = parse_spec(
        changed(
            seeds=list(range(9)),
            arms=[
                {"name": "l2", "l2": {"logspace": [-5, -1, 9]}},
                {"name": "l1", "l1": {"logspace": [-5, -2, 7]}, "l2": [1e-5]},
                {"name": "dropout", "dropout": {"linspace": [0.05, 0.7, 14]}, "l2": [1e-5]},
            ],
        )
    )
    assert spec.num_trials == 270
    assert expand(spec, "digits").height == 270


def test_trial_ids_are_stable_when_a_spec_grows():
    small = expand(parse_spec(GOOD), "digits")
    large = expand(parse_spec(changed(seeds=[0, 1, 2], arms=[*GOOD["arms"], {"name": "b", "l2": [0.1]}])), "digits")
    assert set(small["trial_id"]) < set(large["trial_id"])
    assert large["trial_id"].is_sorted()
    assert large["trial_id"].n_unique() == large.height == 9


def test_trial_ids_depend_on_every_setting():
    base = expand(parse_spec(GOOD), "digits")["trial_id"].to_list()
    for other in (
        changed(network={"widths": [64]}),
        changed(training={"batch_size": 100}),
        arm(dropout=[0.1, 0.6]),
        changed(seeds=[8, 9]),
    ):
        assert not set(base) & set(expand(parse_spec(other), "digits")["trial_id"])
    assert not set(base) & set(expand(parse_spec(GOOD), "mnist")["trial_id"])


def test_same_trial_twice_names_both_arms():
    spec = parse_spec(changed(arms=[{"name": "a", "l2": [0.1, 0.2]}, {"name": "b", "l2": [0.2, 0.3]}]))
    with pytest.raises(ValueError, match=r"same trial twice .*l2 = 0\.2.* in arm 'a' and in arm 'b'"):
        expand(spec, "digits")


def test_untrained_and_trained_of_one_seed_differ():
    spec = parse_spec(changed(arms=[{"name": "a", "l2": [0.0]}, {"name": "u", "untrained": True}]))
    assert expand(spec, "digits").height == 4


def test_files_that_are_no_spec(tmp_path):
    with pytest.raises(ValueError, match="no such spec"):
        load_spec(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = [")
    with pytest.raises(ValueError, match="not a TOML file") as error:
        load_spec(tmp_path / "bad.toml")
    assert "\n" not in str(error.value)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a TOML file"):
        load_spec(tmp_path / "bytes.toml")


def test_npz_is_relative_to_the_spec(tmp_path):
    (tmp_path / "spec.toml").write_text(parse_spec(changed(dataset="mine.npz")).to_toml())
    assert load_spec(tmp_path / "spec.toml").dataset == str(tmp_path / "mine.npz")
