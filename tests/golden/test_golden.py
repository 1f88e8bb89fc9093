"""What must not move: trial ids, the tables of small sweeps of every feature, and sweeps as version 0.2 wrote them."""

import json
import shutil
import subprocess
import sys

import polars as pl
import pytest

import modjax as mj
from tests.compiling import users_environment
from tests.conftest import made_once
from tests.golden.comparing import Q_TOLERANCE, assert_same_points, assert_same_tables, differences, made_on
from tests.golden.making import (
    GOLDEN,
    INTERRUPTED,
    MNIST_BASE,
    ROOT,
    SLOTS,
    SPECS,
    ids_of,
    named_specs,
    run,
    search_rows,
    specs_in,
)
from tests.seams import describe_machine, draw_few_figures, with_settings_of
from tests.test_cli import run as run_command

# The interrupted sweeps end with the tables of the long one, in the quick part too.
QUICK_SPECS = tuple(name for name in SPECS if name != "long")
SOME_SPECS = [*QUICK_SPECS, pytest.param("long", marks=pytest.mark.slow)]
ALL_FIGURES = tuple(sorted(path.stem for path in (GOLDEN / "points").glob("*.csv")))  # that version 0.2 had
SOME_FIGURES = ("accuracy", "q_raw", "alignment")
TRIAL_IDS = json.loads((GOLDEN / "trial_ids.json").read_text())


def bytes_of(folder):
    """Every file that tells of the sweep: a lock does not, and figures are drawn where there are none."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def golden(tmp_path):
    """A golden sweep by name, copied with its spec and data."""

    def copy(name, spec):
        shutil.copytree(GOLDEN / name, tmp_path / "out")
        return specs_in(tmp_path) / f"{spec}.toml", tmp_path / "out"

    return copy


RECORDED = [spec for spec in named_specs() if spec.stem in TRIAL_IDS]


@pytest.mark.parametrize("spec", RECORDED, ids=lambda path: path.stem)
def test_trial_ids_and_hashes_of_the_experiments(spec):
    assert ids_of(spec) == TRIAL_IDS[spec.stem]


def test_every_recorded_experiment_is_there():
    assert {spec.stem for spec in RECORDED} == TRIAL_IDS.keys()


def test_every_trial_of_the_kept_results_is_in_its_spec():
    kept = pl.read_parquet(MNIST_BASE / "trials.parquet")["trial_id"].to_list()
    assert kept == TRIAL_IDS["mnist_base"]["trial_ids"]


def may_go_on():
    """Whether this version goes on with sweeps of the golden ones; on another CPU too, with other last bits."""
    others = differences(describe_machine(), with_cpu=False)
    return made_on()["packages"]["modjax"] == mj.__version__ and not others


def run_as_users_do(names, folder):
    """Sweeps by name, in one process that compiles as users' processes do."""
    specs_in(folder / "specs")
    command = [sys.executable, "-m", "tests.golden.making", str(folder), *names]
    subprocess.run(command, check=True, cwd=ROOT, env=users_environment(), timeout=600)


@pytest.fixture(scope="module")
def current(tmp_path_factory):
    """The quick golden sweeps made anew, and the interrupted ones finished if this version may."""
    names = [*QUICK_SPECS, *(INTERRUPTED if may_go_on() else ())]
    return made_once(tmp_path_factory, "golden", lambda folder: run_as_users_do(names, folder))


@pytest.mark.parametrize("name", SOME_SPECS)
def test_tables_of_a_sweep(current, tmp_path, name):
    if name not in QUICK_SPECS:
        run_as_users_do([name], tmp_path)
    sweep = mj.open_sweep((current if name in QUICK_SPECS else tmp_path) / name)
    assert_same_tables(sweep, name, is_exact=not differences(sweep.manifest))
    assert sweep.manifest["slots"] == SLOTS


def test_a_finished_sweep_of_version_0_2_is_whole_and_has_nothing_to_do(golden):
    spec, out = golden("finished/features", "features")
    before = bytes_of(out)
    assert mj.verify_sweep(out).is_whole
    assert_same_tables(mj.open_sweep(out), "features", is_exact=True)
    assert_same_tables(run(spec, out), "features", is_exact=True)
    assert bytes_of(out) == before
    trial_id = mj.open_sweep(out).trials["trial_id"][0]
    assert {name: set(layer) for name, layer in mj.load_params(out, trial_id).items()}["dense_0"] == {"kernel", "bias"}


def test_a_spec_without_the_keys_of_nulls_goes_on_as_version_0_2_did():
    """The default null is another one now; the directory's own spec has no key for its search."""
    spec, paths = (
        mj.load_spec(GOLDEN / "specs" / "features.toml"),
        mj.open_sweep(GOLDEN / "finished" / "features").paths,
    )
    assert (spec.modules.null_kind, spec.modules.null_search) == ("rotation", "quick")
    inherited = with_settings_of(spec, paths)
    assert (inherited.modules.null_kind, inherited.modules.null_search) == ("weight_permutation", "method")
    assert inherited.spec_hash() == mj.open_sweep(GOLDEN / "finished" / "features").manifest["spec_hash"]
    modules = mj.open_sweep(GOLDEN / "finished" / "features").modules
    has_null = modules["null_kind"].is_not_null()
    assert modules.filter(has_null)["null_q"].equals(modules.filter(has_null)["q"])
    assert modules["effective_modules_strength"].null_count() == modules.height


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_so_it_does_where_the_directorys_spec_is_damaged(golden, damage):
    """The hash in the manifest tells that the spec was one of version 0.2; another spec takes nothing from it."""
    spec, out = golden("finished/features", "features")
    whole, values, paths = (out / "spec.toml").read_bytes(), mj.load_spec(spec), mj.open_sweep(out).paths
    (out / "spec.toml").unlink()
    if damage == "cut":
        (out / "spec.toml").write_bytes(whole[: len(whole) // 2])
    modules = with_settings_of(values, paths).modules
    assert (modules.null_kind, modules.null_search) == ("weight_permutation", "method")
    other = values.model_copy(update={"dataset": "digits"})
    assert with_settings_of(other, paths) == other


@pytest.mark.parametrize("stage", INTERRUPTED)
def test_an_interrupted_sweep_of_version_0_2_is_read_and_finished_or_refused(golden, current, stage):
    """Finished by the versions that began it, on their CPU bit for bit; by others refused in one line, and kept."""
    spec, out = golden(f"interrupted/{stage}", "long")
    seen = mj.open_sweep(out).trials["status"]
    assert (seen == "pending").sum() == {"in_training": 4, "in_analysis": 0}[stage]
    assert (seen == "untrained").sum() == 8
    if may_go_on():
        assert_same_tables(mj.open_sweep(current / stage), "long", is_exact=not differences(describe_machine()))
    else:
        before = bytes_of(out)
        with pytest.raises(ValueError, match=r"made with other versions or another machine: .*--fork NEW_DIR") as error:
            run(spec, out)
        assert "\n" not in str(error.value)
        assert bytes_of(out) == before


def test_searches_of_hard_graphs():
    """Every method's own recipe, labels and Q; the quick sweeps' graphs are too small to need all of it."""
    current, golden = search_rows(), pl.read_parquet(GOLDEN / "searches.parquet")
    if not differences(describe_machine()):
        assert current.equals(golden)
    else:
        assert current["q"].to_numpy() == pytest.approx(golden["q"].to_numpy(), abs=Q_TOLERANCE)


def test_claims_about_the_kept_results():
    """By the statistics of version 0.2; quantities and the wording of sentences that joined later are left out."""
    kept = mj.claims(mj.open_sweep(MNIST_BASE), correction="benjamini_hochberg", interval="bootstrap").table
    golden = pl.read_parquet(GOLDEN / "claims.parquet").drop("sentence")
    current = kept.filter(pl.col("quantity").is_in(golden["quantity"].unique().to_list()))
    assert_same_points(current, golden)


@pytest.mark.report
@pytest.mark.parametrize(
    "names", [SOME_FIGURES, pytest.param(ALL_FIGURES, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_points_of_the_figures(golden, capsys, monkeypatch, names):
    """``modjax report`` of a finished sweep: the numbers beside the figures are those that version 0.2 drew."""
    _, out = golden("finished/features", "features")
    draw_few_figures(monkeypatch, names)
    status, _, err = run_command(capsys, "report", out)
    assert status == 0, err
    for name in names:
        current, expected = (pl.read_csv(folder / f"{name}.csv") for folder in (out / "figures", GOLDEN / "points"))
        assert_same_points(current, expected)
