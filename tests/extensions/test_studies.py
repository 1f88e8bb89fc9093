"""Studies as extensions: their records take part in training, tables, commands, resuming and refusals."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import modjax as mj
from modjax.catalog import read_catalog
from modjax.engines.local import LocalEngine
from modjax.extensions import catalog_of
from modjax.report.write import write_report
from tests.seams import parse_spec, writer

HERE = Path(__file__).parent
STUDY, REGRESSION, GRAPHS = HERE / "study.py", HERE / "regression.py", HERE / "graphs.py"
CONTENT = {
    "name": "study",
    "dataset": "digits",
    "seeds": [0, 1],
    "network": {"kind": "gated", "width": 10},
    "training": {"max_epochs": 2, "batch_size": 100, "optimizer": "adamw"},
    "arms": [
        {"name": "lasso", "group_lasso": [0.0, 1e-2], "learning_rate": [1e-2]},
        {"name": "smooth", "label_smoothing": [0.1], "weight_decay": [0.1]},
        {"name": "sgd", "optimizer": ["sgd"], "momentum": [0.5], "learning_rate": [0.05]},
        {"name": "wide", "width": [6]},
        {"name": "untrained", "untrained": True},
    ],
    "similarity": {"measures": ["covariance", "second_moment"]},
    "analysis": {"run": ["largest"]},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study of gated networks, run once; tests read it and copy it."""
    out = tmp_path_factory.mktemp("study") / "out"
    return mj.run_sweep(CONTENT, out, slots=4, is_quiet=True, report=False, extensions=[STUDY])


@pytest.fixture(scope="module")
def waves(tmp_path_factory):
    """A regression with an nnx network, dataset, task, search, null and analysis of the sweep."""
    out = tmp_path_factory.mktemp("waves") / "out"
    spec = HERE / "regression.toml"
    return mj.run_sweep(spec, out, slots=4, is_quiet=True, report=False, extensions=[REGRESSION, GRAPHS])


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "modjax.cli", *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


def frames(out):
    return {
        path.name: pl.read_parquet(path) for path in sorted([*out.glob("*.parquet"), *out.glob("similarity/*.parquet")])
    }


def assert_same(first, second):
    a, b = frames(first), frames(second)
    assert a.keys() == b.keys()
    for name in a:
        seconds = [column for column in a[name].columns if "seconds" in column or "time" in column]
        assert a[name].drop(seconds).equals(b[name].drop(seconds), null_equal=True), name


def test_tables_hold_what_the_study_adds(study):
    trials = study.trials
    assert trials["status"].value_counts().sort("status").rows() == [("done", 10), ("untrained", 2)]
    by_arm = {arm: rows for (arm,), rows in trials.group_by("arm")}
    assert sorted(by_arm["lasso"]["group_lasso"].unique()) == [0.0, 1e-2]
    assert by_arm["sgd"]["weight_decay"].null_count() == 2  # nothing reads it there
    assert by_arm["lasso"]["momentum"].null_count() == 4
    assert by_arm["smooth"]["weight_decay"].unique().to_list() == [0.1]
    assert by_arm["wide"]["width"].unique().to_list() == [6]
    sizes = study.similarity.join(trials.select("trial_id", "width"), on="trial_id")
    assert (sizes["num_units"] == sizes["width"]).all()
    assert study.largest.height == 12 * 1 * 2
    largest = study.similarity.with_columns(
        expected=pl.col("matrix").list.eval(pl.element().abs().max()).list.first().cast(pl.Float64)
    ).join(study.largest, on=["trial_id", "layer", "measure"])
    np.testing.assert_allclose(largest["largest"], largest["expected"])


def test_a_penalty_of_a_study_acts(study):
    lasso = study.trials.filter(arm="lasso").group_by("group_lasso").agg(pl.col("l2_norm").mean()).sort("group_lasso")
    assert lasso["l2_norm"][1] < 0.95 * lasso["l2_norm"][0]


def test_a_measure_of_a_study_is_its_formula(study):
    row = study.trials.filter(arm="wide").row(0, named=True)
    network = catalog_of(STUDY).networks["gated"].build((8, 8), 10, width=6)
    digits = mj.load_dataset("digits")
    params = jax.tree.map(jnp.asarray, mj.load_params(study, row["trial_id"]))
    hidden = np.asarray(network.apply(params, jnp.asarray(digits.x_test / 255.0, jnp.float32)).hidden[0], float)
    matrix = study.similarity.filter(trial_id=row["trial_id"], measure="second_moment")["matrix"][0].to_numpy()
    np.testing.assert_allclose(matrix.reshape(6, 6), hidden.T @ hidden / len(hidden), rtol=1e-4, atol=1e-6)


READ = """
import sys
from modjax.cli import app
out = sys.argv[1]
for words in (["status", out], ["table", out, "largest"], ["claims", out], ["verify", out]):
    assert not app(args=words, standalone_mode=False), words
assert not [name for name in sys.modules if name.startswith("modjax_extension")]
"""


def test_commands_need_no_extension_to_read(study):
    words = [sys.executable, "-c", READ, str(study.paths.root)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.report
def test_pages_show_records_without_the_extension(study, tmp_path):
    out = shutil.copytree(study.paths.root, tmp_path / "out")
    write_report(mj.open_sweep(out))
    page = (out / "report.html").read_text()
    assert "second moment" in page
    assert "group lasso" in page
    assert mj.compare(mj.open_sweep(out), study, tmp_path / "compare.html").is_file()


def test_going_on_with_a_finished_study_does_nothing(study, tmp_path):
    out = shutil.copytree(study.paths.root, tmp_path / "out")
    before = (out / "manifest.json").stat().st_mtime_ns
    mj.run_sweep(CONTENT, out, is_quiet=True, report=False, extensions=[STUDY])
    assert (out / "manifest.json").stat().st_mtime_ns == before


def never(*given):
    raise AssertionError("nothing is trained or analysed again")


def test_another_source_is_refused_and_can_be_forked(study, tmp_path, capsys):
    changed = tmp_path / "study.py"
    changed.write_text(STUDY.read_text() + "\n# edited\n")
    with pytest.raises(ValueError, match=r"^study\.py has changed since .* --fork NEW_DIR\.$"):
        mj.run_sweep(CONTENT, study.paths.root, is_quiet=True, extensions=[changed])
    few = {**CONTENT, "arms": CONTENT["arms"][-1:]}
    given = {"report": False, "extensions": [changed]}
    fork = mj.run_sweep(few, study.paths.root, fork=tmp_path / "fork", **given)
    assert fork.trials["status"].to_list() == ["untrained"] * 2
    assert "study.py has changed since" in capsys.readouterr().err


def test_a_fork_of_a_changed_source_may_keep_the_weights(study, tmp_path, monkeypatch, capsys):
    changed = tmp_path / "study.py"
    text = STUDY.read_text().replace("float(abs(S).max())", "2.0 * float(abs(S).max())")
    changed.write_text(text.replace("return tuple(hidden.T @ hidden", "return tuple(3.0 * hidden.T @ hidden"))
    monkeypatch.setattr(LocalEngine, "train", never)
    given = {"report": False, "extensions": [changed]}
    fork = mj.run_sweep(CONTENT, study.paths.root, fork=tmp_path / "fork", keep_weights=True, **given)
    assert "12 of 12 trials copied" in capsys.readouterr().err
    assert fork.trials.equals(study.trials, null_equal=True)  # measured again: the same numbers, since the task is
    assert fork.history.equals(study.history)
    by_measure = study.largest.join(fork.largest, on=["trial_id", "layer", "measure"])
    factor = pl.when(pl.col("measure") == "second_moment").then(6.0).otherwise(2.0)
    np.testing.assert_allclose(*by_measure.select("largest_right", pl.col("largest") * factor), rtol=1e-6)
    assert mj.verify_sweep(tmp_path / "fork").is_whole


def test_keep_weights_goes_with_fork(tmp_path):
    with pytest.raises(ValueError, match=r"give it with fork \(--fork NEW_DIR\)\.$"):
        mj.run_sweep(CONTENT, tmp_path / "out", keep_weights=True, extensions=[STUDY])


def test_a_fork_that_keeps_weights_measures_them_with_the_changed_task(waves, tmp_path):
    changed = tmp_path / "regression.py"
    changed.write_text(REGRESSION.read_text().replace('"worst": jnp.max(error)', '"greatest": 2 * jnp.max(error)'))
    given = {"is_quiet": True, "report": False, "extensions": [changed, GRAPHS]}
    spec = HERE / "regression.toml"
    fork = mj.run_sweep(spec, waves.paths.root, fork=tmp_path / "fork", keep_weights=True, **given)
    assert "test_worst" not in fork.trials.columns
    np.testing.assert_allclose(fork.trials["test_greatest"], 2 * waves.trials["test_worst"], rtol=1e-6)
    assert fork.history["val_loss"].equals(waves.history["val_loss"])
    assert mj.verify_sweep(tmp_path / "fork").is_whole


def test_interrupted_and_resumed_gives_the_same_tables(study, tmp_path, monkeypatch):
    whole, calls = writer.StackWriter.advance, []

    def stop_at_the_fourth(self, *given, **named):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return whole(self, *given, **named)

    monkeypatch.setattr(writer.StackWriter, "advance", stop_at_the_fourth)
    for _ in range(3):  # once stopped, then to the end
        try:
            mj.run_sweep(CONTENT, tmp_path / "out", slots=4, is_quiet=True, report=False, extensions=[STUDY])
        except KeyboardInterrupt:
            continue
        break
    assert len(calls) > 4
    assert_same(study.paths.root, tmp_path / "out")


def test_an_analysis_that_joins_later_runs_alone(study, tmp_path, monkeypatch):
    few = {**CONTENT, "arms": CONTENT["arms"][-1:]}
    out = tmp_path / "out"
    mj.run_sweep({**few, "analysis": {}}, out, slots=4, is_quiet=True, report=False, extensions=[STUDY])
    assert not (out / "largest.parquet").exists()

    monkeypatch.setattr(writer.StackWriter, "analyse", never)
    sweep = mj.run_sweep(few, out, is_quiet=True, report=False, extensions=[STUDY])
    assert sweep.largest.equals(study.largest.join(sweep.trials, on="trial_id", how="semi"))
    assert sweep.largest.height == 2 * 2


def test_a_regression_has_no_accuracy_anywhere(waves):
    for frame in (waves.trials, waves.history):
        assert not [name for name in frame.columns if "accuracy" in name]
    assert {"test_loss", "test_worst"} <= set(waves.trials.columns)
    assert waves.trials["test_worst"].min() > waves.trials["test_loss"].min()
    assert waves.modules["null_kind"].unique().to_list() == ["noise"]
    assert waves.modules["num_modules"].max() <= 2
    best = waves.modules.group_by("measure").agg(pl.col("q").max()).sort("measure")
    assert waves.table("largest_q").equals(best)
    assert mj.verify_sweep(waves.paths.root).is_whole


@pytest.mark.workers
def test_searches_and_nulls_of_a_file_run_in_workers(waves, tmp_path):
    content = tomllib.loads((HERE / "regression.toml").read_text())
    given = {"slots": 4, "is_quiet": True, "report": False, "extensions": [REGRESSION, GRAPHS]}
    sweep = mj.run_sweep({**content, "seeds": [0], "arms": content["arms"][:1]}, tmp_path / "out", **given)
    assert sweep.modules.height == 2 * 4
    seen = [name for name in sweep.modules.columns if not name.startswith("untrained")]
    assert sweep.modules.select(seen).equals(waves.modules.join(sweep.trials, on="trial_id", how="semi").select(seen))


@pytest.mark.report
def test_a_regression_has_figures_and_a_page(waves, tmp_path):
    out = shutil.copytree(waves.paths.root, tmp_path / "out")
    done = command("report", out)
    assert done.returncode == 0, done.stderr


BAD_FILES = {
    "raises": ("1 / 0", r"raised while it was run: ZeroDivisionError"),
    "holds nothing": ("x = 1", "defines no record"),
    "two of one name": (
        "import modjax as mj\na = mj.DatasetInfo('d', abs)\nb = mj.DatasetInfo('d', max)",
        "two records of dataset 'd'",
    ),
    "a built-in's name": ("import modjax as mj\na = mj.DatasetInfo('mnist', abs)", "'mnist' is one of modjax's own"),
    "a table of modjax": (
        "import modjax as mj\na = mj.AnalysisInfo('a', 'modules', {}, {}, abs)",
        "cannot write a table of the name 'modules'",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_extension_is_one_line(case, tmp_path):
    source, message = BAD_FILES[case]
    path = tmp_path / "bad.py"
    path.write_text(source)
    with pytest.raises(ValueError, match=message) as error:
        catalog_of([path])
    assert "\n" not in str(error.value)


def no_mean(network, params, x, y):
    return tuple(hidden.T @ hidden for hidden in network.apply(params, x).hidden)


def not_symmetric(network, params, x, y):
    return tuple(hidden.T @ (hidden**2) / len(hidden) for hidden in network.apply(params, x).hidden)


BAD_RECORDS = {
    "a penalty of many values": (
        mj.PenaltyInfo("p", lambda network, params, h: [1.0, 2.0], (mj.HyperparameterInfo("p", 0.0),)),
        {"arms": [{"name": "a", "p": [1.0]}]},
        "penalty 'p' must return a scalar",
    ),
    "a measure of the wrong shape": (
        mj.MeasureInfo("m", "upstream", lambda network, params, x, y: (x,)),
        {"similarity": {"measures": ["m"]}},
        "measure 'm' must return one matrix per hidden layer",
    ),
    "a hyperparameter that nobody reads": (
        mj.HyperparameterInfo("h", 0.0),
        {"arms": [{"name": "a", "h": [1.0]}]},
        "arm 'a': h is read by none of optimizer adam, task classification",
    ),
    "an unknown analysis": (mj.HyperparameterInfo("h", 0.0), {"analysis": {"run": ["b"]}}, "Unknown analysis 'b'"),
}
PLAIN = {"name": "x", "dataset": "digits", "seeds": [0], "arms": [{"name": "a"}], "network": {"widths": [4]}}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_a_bad_record_is_refused_before_training(case, tmp_path):
    record, content, message = BAD_RECORDS[case]
    with pytest.raises(ValueError, match=message) as error:
        mj.run_sweep({**PLAIN, **content}, tmp_path / "out", extensions=[record])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kernel", [no_mean, not_symmetric], ids=lambda kernel: kernel.__name__)
def test_a_kernel_that_is_no_measure_is_refused(kernel):
    network = mj.mlp(4, (5,), 2)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    message = "batched=False" if kernel is no_mean else "must be symmetric"
    with pytest.raises(ValueError, match=message):
        mj.similarity(network, network.init(0), x, measures=[mj.MeasureInfo("m", "upstream", kernel)])
    if kernel is no_mean:  # given all examples at once, any function may be a measure
        info = mj.MeasureInfo("m", "upstream", kernel, batched=False)
        hidden = np.asarray(network.apply(network.init(0), x).hidden[0])
        S = mj.similarity(network, network.init(0), x, measures=[info])["m"][0]
        np.testing.assert_allclose(S, hidden.T @ hidden, rtol=1e-5, atol=1e-6)


def test_an_analysis_that_raises_fails_its_trial_alone(tmp_path):
    def odd(context, trial):
        return [{"other": 1.0}] if trial.row["seed"] == 1 else [{"value": 1.0}]

    info = mj.AnalysisInfo("odd", "odd", {"value": pl.Float64}, {}, odd)
    content = {**PLAIN, "seeds": [0, 1], "training": {"max_epochs": 1}, "analysis": {"run": ["odd"]}}
    sweep = mj.run_sweep(content, tmp_path / "out", is_quiet=True, report=False, extensions=[info])
    assert sweep.trials.sort("seed")["status"].to_list() == ["done", "failed"]
    assert "analysis 'odd' must return dicts with ['value']; got ['other']" in str(sweep.manifest["failed"])
    assert sweep.odd.height == 1


def difference_of_halves(network, params, x, y):
    """Signed matrices that are no Gram matrices."""
    layers = network.apply(params, x).hidden
    return [layer[::2].T @ layer[::2] - layer[1::2].T @ layer[1::2] for layer in layers]


@pytest.mark.parametrize("null", ["rotation", "hirschberger", "strength_rewiring", "weight_permutation"])
def test_a_measure_without_gram_matrices_has_no_null_that_needs_them(tmp_path, null):
    info = mj.MeasureInfo("signed", "upstream", difference_of_halves, gram=False, batched=False)
    content = {
        **PLAIN,
        "training": {"max_epochs": 1},
        "similarity": {"measures": ["covariance", "signed"]},
        "modules": {"nulls": 3, "null_kind": null},
    }
    modules = mj.run_sweep(content, tmp_path / "out", is_quiet=True, report=False, extensions=[info]).modules
    has_null = modules.with_columns(pl.col("null_q").is_not_null()).group_by("measure").agg(pl.col("null_q").unique())
    needs_gram = null in ("rotation", "hirschberger")
    assert dict(has_null.rows()) == {"covariance": [True], "signed": [not needs_gram]}
    for column in ("p", "excess_q", "null_kind"):
        assert modules.filter(measure="signed")[column].is_null().all() == needs_gram


def test_plain_values_are_identified_by_what_they_compute(tmp_path):
    digits = mj.load_dataset("digits")
    data = mj.Dataset("own", digits.x_train[:300], digits.y_train[:300], digits.x_test, digits.y_test, 10)
    content = {**PLAIN, "network": {}, "training": {"max_epochs": 1, "batch_size": 50}}
    network = mj.mlp(64, (5,), 10)
    given = {"dataset": data, "network": network, "task": mj.classification(network)}
    sweep = mj.run_sweep(content, tmp_path / "out", is_quiet=True, report=False, **given)
    assert sweep.trials["status"].to_list() == ["done"]
    assert sweep.similarity["num_units"].unique().to_list() == [5]
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    mj.run_sweep(content, tmp_path / "out", is_quiet=True, report=False, **given)
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before
    with pytest.raises(ValueError, match="holds another spec's sweep"):
        mj.run_sweep(content, tmp_path / "out", is_quiet=True, **{**given, "network": mj.mlp(64, (6,), 10)})


def test_static_settings_of_an_arm_are_those_of_a_section():
    """A trial is the same trial, whichever of the two says what it is."""
    from modjax.spec.expand import expand

    arm = parse_spec({**PLAIN, "arms": [{"name": "a", "batch_size": [50], "widths": [[8, 8]], "max_epochs": [3]}]})
    section = {"network": {"widths": [8, 8]}, "training": {"batch_size": 50, "max_epochs": 3}}
    assert expand(arm, "d")["trial_id"].to_list() == expand(parse_spec({**PLAIN, **section}), "d")["trial_id"].to_list()


def test_a_catalog_is_read_back_from_its_description():
    catalog = catalog_of([STUDY, REGRESSION, GRAPHS])
    described = catalog.describe()
    assert read_catalog(described).describe() == described
    with pytest.raises(ValueError, match="'gated' is an extension of this sweep: give its file with --extend"):
        read_catalog(described).networks["gated"].build((4,), 2)
