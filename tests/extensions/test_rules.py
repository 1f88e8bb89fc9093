"""Rules of extensions that need no training: precedence, identity, trust, and what is refused before anything runs.

What needs a sweep is in test_studies.py (tables, resuming, sources, analyses), test_portable.py and
tests/ray/test_cluster.py (engines), test_docs.py (a file of searches that imports without JAX).
"""

import json
import shutil

import jax
import polars as pl
import pytest
from typer.testing import CliRunner

import modjax as mj
from modjax.cli import app, main
from modjax.extensions import catalog_of
from modjax.io.untrusted import read_json
from modjax.spec.expand import expand
from modjax.spec.parse import parse_spec
from modjax.spec.plain import extended
from modjax.spec.setup import check_fit, prepare
from modjax.spec.tasks import make_task
from modjax.training.hyperparameters import HyperparamValues
from tests.extensions.test_studies import CONTENT, GRAPHS, HERE, PLAIN, REGRESSION, STUDY

EXTENDED = catalog_of(STUDY)


def trials_of(content, catalog=EXTENDED):
    return expand(parse_spec(content, catalog=catalog), "data")


def arms(**settings):
    return {**PLAIN, "arms": [{"name": "a", **settings}]}


# Hyperparams


def test_hyperparameters_are_read_only_and_static_ones_are_plain_values():
    values = HyperparamValues({"l1": 0.5}, {"width": 24})
    assert (values["l1"], values.l1, values.width) == (0.5, 0.5, 24)
    assert type(values.width) is int
    with pytest.raises(AttributeError, match="read-only"):
        values.l1 = 1.0
    with pytest.raises(TypeError):
        values["l1"] = 1.0


# Precedence


def test_an_arm_counts_before_a_section_and_a_section_before_a_record():
    content = {**PLAIN, "network": {"kind": "gated"}, "arms": [{"name": "a"}]}
    varied = {"name": "b", "width": [6]}

    def widths(network):
        return trials_of({**content, "network": network, "arms": [{"name": "a"}, varied]})["width"].sort().to_list()

    assert widths({"kind": "gated"}) == [6, 16]  # that of build
    assert widths({"kind": "gated", "width": 24}) == [6, 24]


def test_what_nothing_in_an_arm_reads_is_refused_by_name():
    with pytest.raises(ValueError, match="learning_rte"):
        parse_spec(arms(learning_rte=[0.1]))
    with pytest.raises(ValueError, match="arm 'a': momentum is read by none of optimizer adam"):
        parse_spec(arms(momentum=[0.5]))
    with pytest.raises(ValueError, match="widths"):
        parse_spec({**PLAIN, "network": {"kind": "gated", "widths": [4]}}, catalog=EXTENDED)


def test_what_some_populations_do_not_read_is_null_there_and_no_part_of_their_identity():
    both = trials_of(arms(optimizer=["sgd", "adam"], momentum=[0.5]))
    by_optimizer = {row["optimizer"]: row for row in both.iter_rows(named=True)}
    assert (by_optimizer["sgd"]["momentum"], by_optimizer["adam"]["momentum"]) == (0.5, None)
    assert by_optimizer["adam"]["trial_id"] == trials_of(PLAIN)["trial_id"][0]


# Identity


def test_a_later_hyperparameter_counts_only_where_it_differs_from_its_default():
    lasso = {**CONTENT, "arms": [{"name": "a", "group_lasso": [0.0, 1e-3]}]}
    without = {**CONTENT, "arms": [{"name": "a"}]}
    ids = dict(trials_of(lasso).filter(seed=0).select("group_lasso", "trial_id").iter_rows())
    assert ids[0.0] == trials_of(without).filter(seed=0)["trial_id"][0]
    assert ids[1e-3] != ids[0.0]


def test_untrained_arms_may_name_static_settings():
    trials = trials_of({**CONTENT, "arms": [{"name": "u", "untrained": True, "width": [4, 8]}]})
    assert sorted(set(trials["width"])) == [4, 8]


# Penalties


def test_penalties_are_added_to_any_task_that_a_call_brings():
    network = mj.mlp(64, (4,), 10)
    spec = extended(arms(group_lasso=[0.1]) | {"network": {}}, network, mj.classification(network), None, STUDY)
    params = network.init(0)
    values = HyperparamValues({"group_lasso": 0.1}, {"l1": 0.0, "l2": 0.0})
    info = EXTENDED.penalties["group_lasso"]
    given = make_task(spec, network, ("group_lasso",)).penalty(params, values)
    assert float(given) == pytest.approx(float(info.function(network, params, values)))
    assert float(make_task(spec, network, ()).penalty(params, values)) == 0.0  # all at the default


# Measures


def test_a_plain_kernel_has_no_combined_matrix():
    spec = parse_spec({**CONTENT, "similarity": {"measures": ["second_moment"], "combined": True}}, catalog=EXTENDED)
    with pytest.raises(ValueError, match="measure 'second_moment' is a plain function; it needs a Similarity"):
        check_fit(spec, mj.load_dataset("digits"))


def test_the_loss_hessian_needs_class_labels(tmp_path):
    spec = extended(HERE / "regression.toml", extensions=[REGRESSION, GRAPHS])
    similarity = spec.similarity.model_copy(update={"measures": ("loss_hessian",)})
    with pytest.raises(ValueError, match="loss_hessian needs class labels, which 'waves' does not have"):
        prepare(spec.model_copy(update={"similarity": similarity}))


def test_min_accuracy_needs_a_task_that_evaluates_an_accuracy():
    spec = extended(HERE / "regression.toml", extensions=[REGRESSION, GRAPHS])
    analysis = spec.analysis.model_copy(update={"min_accuracy": 0.5})
    with pytest.raises(ValueError, match=r"needs an accuracy; task 'squares' evaluates loss, worst\. Leave it out"):
        prepare(spec.model_copy(update={"analysis": analysis}))


# From Python


@pytest.mark.parametrize("name", ["network", "task", "dataset"])
def test_a_value_of_another_type_is_one_line(name):
    with pytest.raises(ValueError, match=rf"^{name} must be a \w+Info.* got int\.$"):
        extended(PLAIN, **{name: 1})


def test_plain_networks_of_other_functions_have_other_names():
    names = {
        extended({**PLAIN, "network": {}}, network).network.kind
        for network in (mj.mlp(64, (5,), 10), mj.mlp(64, (5,), 10), mj.mlp(64, (5,), 10, activation="tanh"))
    }
    assert len(names) == 2


def test_a_constant_in_a_plain_network_is_a_part_of_its_identity():
    base = mj.mlp(64, (5,), 10)

    def scaled(factor):
        factor = jax.numpy.full(5, factor)

        def apply(params, x, perturb=None, dropout=None):
            output = base.apply(params, x, perturb, dropout)
            return output._replace(logits=output.logits * factor.sum())

        return mj.Network(base.init, apply)

    assert len({extended({**PLAIN, "network": {}}, scaled(f)).network.kind for f in (1.0, 1.0, 2.0)}) == 2


# Trust


@pytest.fixture
def marker(tmp_path):
    """A file that would leave a trace if it was run."""
    (tmp_path / "study.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    return tmp_path / "ran"


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "study.py"},
        {"task": "study.py"},
        {"network": {"kind": "study.py"}},
        {"network": {"kind": "study:build"}},
        {"similarity": {"measures": ["study.py"]}},
        {"modules": {"method": "study:search"}},
        {"analysis": {"run": ["study:run"]}},
        {"extensions": ["study.py"]},
    ],
    ids=str,
)
def test_a_spec_runs_no_file(change, marker, monkeypatch):
    monkeypatch.chdir(marker.parent)
    with pytest.raises(ValueError, match=r"^spec: .*") as error:
        parse_spec({**PLAIN, **change})
    assert "\n" not in str(error.value)
    assert not marker.exists()


def test_the_command_line_says_in_one_line_what_is_wrong_and_exits_with_2(tmp_path, capsys):
    missing = tmp_path / "none.py"
    with pytest.raises(SystemExit) as exit_status:
        main(["sweep", str(HERE / "study.toml"), "--out", str(tmp_path / "out"), "--extend", str(missing)])
    assert exit_status.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"modjax: running the extension {missing}",
        f"modjax: {missing}: there is no such extension; expected a Python file that defines records.",
    ]


def test_plan_takes_extensions_and_says_how_many_populations_there_are():
    done = CliRunner().invoke(app, ["plan", str(HERE / "study.toml"), "--extend", str(STUDY)])
    assert done.exit_code == 0, done.output
    assert "populations" in done.output


# Sources and reading


def test_the_manifest_names_sources_and_describes_records(tmp_path):
    described = EXTENDED.describe()
    assert described["sources"] == [{"name": "study.py", "sha256": EXTENDED.sources[0].sha256}]
    assert described["measures"][0]["title"] == "second moment"
    assert described["hyperparameters"][0]["label"] == "group lasso"
    assert described["analyses"][0]["columns"] == {"largest": str(pl.Float64())}
    (tmp_path / "described.json").write_text(json.dumps(described))
    assert read_json(tmp_path / "described.json", "description") == described


def test_two_files_with_one_name_of_a_record_are_refused(tmp_path):
    shutil.copy(STUDY, tmp_path / "copy.py")
    with pytest.raises(
        ValueError, match=r"copy\.py: two records of \w+( \w+)? '\w+'; give one of them another name\.$"
    ):
        catalog_of([STUDY, tmp_path / "copy.py"])


def test_two_analyses_of_one_table_are_refused():
    infos = [mj.AnalysisInfo(name, "same", {"x": pl.Float64}, {}, abs) for name in ("first", "second")]
    with pytest.raises(ValueError, match="analyses 'first' and 'second' write one table, 'same'"):
        catalog_of(infos)
