"""Records: a new one takes part in everything, and none changes in silence what was there before."""

import subprocess
import sys

import jax
import numpy as np
import polars as pl
import pytest

import modjax as mj
from modjax import builtins
from modjax.catalog import BUILTIN
from modjax.data import datasets
from modjax.measures.base import from_group_terms
from modjax.records import HyperparameterInfo, MeasureInfo, by_name
from modjax.report.settings import panel_of
from modjax.spec.expand import expand, hashed, identify
from modjax.spec.parse import parse_spec
from modjax.spec.sections import LATER_KEYS
from modjax.spec.spec import without_later
from modjax.store import row_rules, tables
from modjax.store.schemas import SCHEMAS, Column
from tests.conftest import ROOT
from tests.seams import from_rows, parts_of, planned_trials, read_table


def mean_product(setting, params, prepared, batch):
    """E[h_i h_j], not centred: a measure that modjax does not have."""
    hidden = setting.network.apply(params, batch.x).hidden
    return [(layer * batch.is_valid[:, None]).T @ layer for layer in hidden]


PRODUCT = MeasureInfo("mean_product", "upstream", from_group_terms(mean_product), logit_factors=None)


def test_a_new_measure_of_a_dense_network_is_computed_and_not_taken_for_a_closed_form():
    network = mj.mlp(4, (5, 3), 2)
    params, x = network.init(0), np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    S = mj.similarity(network, params, x, measures=[PRODUCT, "covariance"])
    for layer, hidden in enumerate(network.apply(params, x).hidden):
        h = np.asarray(hidden, np.float64)
        np.testing.assert_allclose(S["mean_product"][layer], h.T @ h / len(h), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(S["covariance"][layer], np.cov(h.T, bias=True), rtol=1e-4, atol=1e-6)


def test_a_new_measure_has_no_cross_similarity_unless_it_says_how_it_depends_on_logits():
    network = mj.mlp(4, (5, 3), 2)
    x = np.ones((3, 4), np.float32)
    with pytest.raises(ValueError, match=r"^mean_product has no cross similarity: .*logit_factors.*$"):
        mj.cross_similarity(network, network.init(0), network, network.init(1), x, measures=[PRODUCT])


BAD = {
    "a function where there is one matrix": (MeasureInfo("m", "upstream", abs), "'m' is a plain function; a combined"),
    "no function for a kernel": (
        MeasureInfo("m", "upstream", (abs,)),
        "kernel of measure 'm' must be a function or a Sim",
    ),
    "another measure of parameters": (MeasureInfo("m", "parameters", PRODUCT.kernel), "only weights is a measure"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_record_that_cannot_be_measured_is_one_line(case):
    info, message = BAD[case]
    network = mj.mlp(4, (5,), 2)
    with pytest.raises(ValueError, match=message) as error:
        mj.similarity(network, network.init(0), np.ones((3, 4), np.float32), measures=[info], combined=True)
    assert "\n" not in str(error.value)


def test_two_measures_of_one_name_are_refused():
    network = mj.mlp(4, (5,), 2)
    other = MeasureInfo("covariance", "upstream", PRODUCT.kernel)
    with pytest.raises(ValueError, match="'covariance' is there twice"):
        mj.similarity(network, network.init(0), np.ones((3, 4), np.float32), measures=["covariance", other])


def test_a_new_hyperparameter_changes_no_identity():
    noise = HyperparameterInfo("label_noise", 0.0, low=0, high=1)
    infos = {**builtins.HYPERPARAMETERS, **by_name(noise)}
    settings = {"learning_rate": 1e-3, "l1": 0.0, "l2": 1e-5, "dropout": 0.1, "seed": 3}
    assert identify(hashed(settings | {"label_noise": 0.0}, infos)) == identify(settings)
    assert identify(hashed(settings | {"label_noise": 0.5}, infos)) != identify(settings)


def test_a_key_that_joins_the_spec_changes_no_hash_where_it_says_what_was_done_before(monkeypatch):
    spec = mj.load_spec("experiments/quickstart.toml")
    content = spec.model_dump(mode="json")
    monkeypatch.setitem(LATER_KEYS, "modules", {"new": "as before"})
    monkeypatch.setitem(LATER_KEYS, "", {"section": {"a": 1}})
    grown = content | {"modules": content["modules"] | {"new": "as before"}, "section": {"a": 1}}
    assert without_later(grown) == without_later(content)
    assert without_later(grown | {"section": {"a": 2}}) != without_later(content)
    changed = content | {"modules": content["modules"] | {"new": "otherwise"}}
    assert without_later(changed) != without_later(content)


# Columns more than version 0.2 had.
GROWN = tables.Tables(columns=(Column("label_noise", "Float64", 0.0), Column("note", "String", None)))


def test_tables_of_version_0_2_are_read_where_columns_have_joined(tmp_path):
    old = planned_trials("experiments/quickstart.toml")
    assert old.columns == list(SCHEMAS["trials"])
    tables.write_table(tmp_path / "trials.parquet", old)
    read = GROWN.read(tmp_path / "trials.parquet", "trials")
    assert read["label_noise"].to_list() == [0.0] * old.height
    assert read["note"].null_count() == old.height
    assert GROWN.scan(tmp_path / "trials.parquet", "trials").read("note").height == old.height


def test_an_unknown_column_is_refused_where_others_have_joined(tmp_path):
    old = planned_trials("experiments/quickstart.toml").with_columns(nobody=pl.lit(1))
    tables.write_table(tmp_path / "trials.parquet", old)
    with pytest.raises(ValueError, match="not a trials table of this version"):
        GROWN.read(tmp_path / "trials.parquet", "trials")


def test_a_table_without_a_column_that_it_always_had_is_refused(tmp_path):
    old = planned_trials("experiments/quickstart.toml").drop("l2")
    tables.write_table(tmp_path / "trials.parquet", old)
    with pytest.raises(ValueError, match="not a trials table of this version"):
        read_table(tmp_path / "trials.parquet", "trials")


def trial(trial_id, seed, **values):
    row = {"trial_id": trial_id, "arm": "x", "seed": seed, "learning_rate": 1e-3, "l1": 0.0, "l2": 1e-5}
    return row | {"dropout": 0.0, "status": "done", "excluded": False, "epochs": 3} | values


def test_trials_that_vary_something_unknown_are_no_baseline():
    rows = [trial("a", 0), trial("b", 1), trial("c", 0), trial("d", 1), trial("e", 0, dropout=0.5)]
    trials = from_rows("trials", rows).with_columns(label_noise=pl.Series([0.0, 0.0, 0.4, 0.0, 0.0]))
    assert parts_of(trials.drop("label_noise"))["part"].to_list() == ["baseline"] * 4 + ["dropout"]
    assert parts_of(trials)["part"].to_list() == ["baseline", "baseline", "other", "baseline", "dropout"]


def test_two_trials_of_one_setting_and_seed_are_refused():
    parts = parts_of(from_rows("trials", [trial("a", 0), trial("b", 0), trial("c", 1)]))
    values = pl.DataFrame({"trial_id": ["a", "b", "c"], "value": [0.1, 0.2, 0.3]})
    with pytest.raises(ValueError, match=r"two trials of one setting and seed \(baseline, seed 0\): a, b"):
        panel_of(parts, values)


def test_an_idx_dataset_has_as_many_classes_as_its_record_or_its_labels_say(monkeypatch):
    images, labels = np.zeros((6, 2, 2), np.uint8), np.arange(6, dtype=np.uint8) % 3
    parts = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    source = datasets.SOURCES["mnist"]
    monkeypatch.setitem(datasets.SOURCES, "three", source)
    monkeypatch.setattr(datasets, "find_or_fetch", lambda name, part, data_dir: parts[part])
    assert datasets._idx_dataset("three", None).num_classes == 3
    assert datasets._idx_dataset("mnist", None).num_classes == 10


def test_bounds_of_a_record_are_those_of_specs_and_of_rows():
    rules = row_rules.rules_of(BUILTIN, ())["trials"]
    for info in (builtins.HYPERPARAMETERS[name] for name in builtins.BASE_HYPERPARAMETERS):
        assert f"a {info.name} that is not {info.allowed}" in rules
    frame = pl.DataFrame({"dropout": [0.0, 0.5, 1.0, -0.1, float("nan")]})
    is_allowed = frame.select(rules["a dropout that is not at least 0 and below 1"])["dropout"]
    assert is_allowed.to_list() == [True, True, False, False, False]


def test_records_are_static_arguments():
    same = MeasureInfo("m", "upstream", "modjax.measures.covariance:covariance")
    assert hash(same) == hash(MeasureInfo("m", "upstream", "modjax.measures.covariance:covariance"))
    assert jax.jit(lambda x, info: x, static_argnames="info")(1, info=same) == 1


STUDY = """
import sys
import jax.numpy as jnp
import modjax as mj
from modjax.measures.base import from_group_terms

def cubes(network, params, hyperparams):
    return hyperparams.l3 * sum(jnp.sum(jnp.abs(layer["kernel"]) ** 3) for layer in params.values())

def products(setting, params, prepared, batch):
    hidden = setting.network.apply(params, batch.x).hidden
    return [(layer * batch.is_valid[:, None]).T @ layer for layer in hidden]

L3 = mj.HyperparameterInfo("l3", 0.0, low=0, scale="log", label="L3 penalty")
CUBES = mj.PenaltyInfo("l3", cubes, (L3,))
PRODUCTS = mj.MeasureInfo("products", "upstream", from_group_terms(products), title="mean product")
sweep = mj.run_sweep(sys.argv[1], sys.argv[2], slots=4, is_quiet=True, extensions=[CUBES, PRODUCTS])
assert not mj.claims(sweep).table.filter(networks="l2").height  # L3 is nothing that the claims know
"""


@pytest.mark.slow
def test_a_penalty_and_a_measure_are_their_functions_and_a_line_each(folder, write_spec, tiny_content):
    """Spec, tables, training, kernels, searches, figures and page take them in; no trial of before becomes another."""
    arms = [{"name": "l3", "l3": [0.0, 3e-2], "learning_rate": [1e-2]}]
    content = tiny_content | {"arms": arms, "similarity": {"measures": ["covariance", "products"]}}
    study = [sys.executable, "-c", STUDY, str(write_spec(content)), str(folder / "out")]
    done = subprocess.run(study, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    trials = pl.read_parquet(folder / "out" / "trials.parquet")
    norms = trials.group_by("l3").agg(pl.col("l2_norm").mean()).sort("l3")["l2_norm"]
    assert norms[1] < 0.9 * norms[0]
    modules = pl.read_parquet(folder / "out" / "modules.parquet")
    assert set(modules["measure"]) == {"covariance", "products"}
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "mean product" in page
    assert "L3 penalty" in page
    plain = parse_spec(content | {"arms": [{"name": "l3", "learning_rate": [1e-2]}], "similarity": {}})
    before = expand(plain, mj.load_dataset(str(folder / "tiny.npz")).checksum())
    assert set(before["trial_id"]) == set(trials.filter(pl.col("l3") == 0)["trial_id"])
