"""What a plan says, held against what a sweep then is."""

import json
import os

import pytest

from modjax import plan_sweep
from modjax.estimate import plan as plans
from modjax.estimate.machines import known_machines, seconds_there
from modjax.estimate.plan import stage_seconds
from modjax.estimate.plan_text import plan_text
from modjax.estimate.probe import ProbedCosts
from modjax.spec.epochs import TYPICAL_SHARE, guess_epochs, with_pilot
from tests.conftest import ROOT
from tests.seams import parse_spec

MEASURED = ProbedCosts(4.0, 0.01, (30, 40, 50), (20,), 1.0, 0.02, 1.0, 0.2, 1.0, 0.1, 0.5, 0.3)


@pytest.fixture
def tiny(write_spec, tiny_content):
    return write_spec(tiny_content)


def test_without_a_probe_sizes_are_those_of_the_sweep(tiny, finished):
    plan = plan_sweep(tiny, is_probed=False)
    assert plan.setup.trials["trial_id"].to_list() == finished.trials["trial_id"].to_list()
    assert (plan.num_trained, plan.slots) == (6, 6)
    assert plan.layout._asdict() == finished.manifest["layout"]["population"]
    assert plan.seconds is None
    root = finished.paths.root
    matrices = sum(path.stat().st_size for path in finished.paths.similarity.glob("*.parquet"))
    assert plan.disk["modules"] == pytest.approx((root / "modules.parquet").stat().st_size, rel=0.7)
    files = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert sum(size for name, size in plan.disk.items() if name != "while training") == pytest.approx(files, rel=0.3)
    assert matrices < 9 * 4 * (64 + 36 + 196) * 4 + 3 * 5000
    assert any("not probed" in line for line in plan_text(plan))
    assert sorted(os.listdir(tiny.parent)) == ["spec.toml", "tiny.npz"]


def test_a_probe_runs_every_step(tiny):
    plan = plan_sweep(tiny, slots=2)
    measured = plan.measured
    assert min(measured.trial_epoch, measured.evaluate, measured.save, measured.similarity, measured.cluster) > 0
    assert measured.ended == (4,) * 6  # the longest that this recipe lets them
    assert plan.epochs.typical == 4
    assert plan.seconds[0] <= plan.seconds[1] <= plan.seconds[2]
    assert sum(plan.stages.values()) == plan.seconds[1]
    assert any("time on this machine: about" in line for line in plan_text(plan))
    assert sorted(os.listdir(tiny.parent)) == ["spec.toml", "tiny.npz"]


def test_epochs_are_assumed_measured_or_known(tiny, finished, tiny_content):
    spec = parse_spec({**tiny_content, "training": {"max_epochs": 500, "batch_size": 16}})
    guess = guess_epochs(spec)
    assert guess.typical == TYPICAL_SHARE * 500
    assert guess.low < guess.typical < guess.high
    assert guess_epochs(spec, like=finished.paths.root).typical == 4
    assert with_pilot(guess, [30, 50], [], spec).typical == 40
    assert with_pilot(guess, [30], [38, 10], spec) == guess  # too few have come to their end
    assert with_pilot(guess, [30, 30], [38], spec).typical == pytest.approx((30 + 30 + 44) / 3)
    fixed = parse_spec({**tiny_content, "training": {"max_epochs": 7, "batch_size": 16, "early_stopping": False}})
    assert guess_epochs(fixed)[:3] == (7, 7, 7)
    with pytest.raises(ValueError, match="leave --like out"):
        guess_epochs(parse_spec({**tiny_content, "dataset": "digits"}), like=finished.paths.root)
    with pytest.raises(ValueError, match="is not a sweep"):
        guess_epochs(spec, like=tiny.parent)


def test_training_time_is_trial_epochs_times_seconds(tiny, monkeypatch):
    plan = plan_sweep(tiny, slots=2, is_probed=False)
    trained = plan.setup.trials.filter(plan.setup.trials["arm"] != "untrained")
    monkeypatch.setattr(plans, "available_cores", lambda: 1)
    stages = stage_seconds(plan.setup, trained, plan.layout, 2, MEASURED, 40.0)
    assert stages["training"] == pytest.approx((6 * 40 + 2 * 40 / 2) * 0.01)
    assert stages["compiling"] == 6.0
    assert stages["module searches"] == pytest.approx(9 * 0.3 + plans.WORKER_SECONDS + 0.5)
    more = stage_seconds(plan.setup, trained, plan.layout, 2, MEASURED, 80.0)
    assert more["training"] == pytest.approx(2 * stages["training"])


def test_machines_are_read_from_rows_of_benchmarks(tmp_path):
    rows = {
        "training": [
            {"case": "modjax, 2 trials (default)", "gflops": 100.0, "threads": 4, "cpu": "Fast", "device": "cpu"}
        ],
        "similarity": [{"method": "closed form", "measures": "all", "gflops": 50.0, "threads": 4}],
        "modules": [{"method": "leiden (default)", "units": 64, "ms_per_graph": 10.0, "threads": 4}],
    }
    for kind, found in rows.items():
        (tmp_path / f"{kind}_big4.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    (tmp_path / "training_broken.jsonl").write_text("{")
    (machine,) = known_machines(tmp_path)
    assert (machine.name, machine.about, machine.threads) == ("big4", "Fast, cpu", 4)
    assert seconds_there(machine, 1e12, 5e11, 400.0) == pytest.approx(10 + 10 + 1)
    assert known_machines(tmp_path / "none") == []
    assert {machine.name for machine in known_machines(ROOT / "benchmarks" / "results")} >= {"cpu2", "nvidia-h200"}


def test_machines_that_are_nowhere_are_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match="machines must be a folder of rows"):
        plan_sweep(tiny, machines=tmp_path / "none")


def test_plan_command(tiny, capsys):
    from modjax import cli

    with pytest.raises(SystemExit) as stop:
        cli.main(["plan", str(tiny), "--no-probe", "--machines", str(ROOT / "benchmarks" / "results")])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for word in ("layout:", "programs:", "memory:", "disk:", "epochs a trained trial:", "elsewhere:"):
        assert word in out
