"""What other processes see of a sweep: while it runs, after an interruption, at its end."""

import json
import os
import shutil
import time

import polars as pl
import pytest

import modjax as mj
from modjax import watch_sweep
from modjax.sweep.pace import Pace
from tests.seams import (
    Heartbeat,
    HeartbeatFile,
    SweepPaths,
    SweepProgress,
    heartbeat,
    is_locked,
    locked,
    read_heartbeat,
    read_manifest,
    status_text,
    write_manifest,
)


def test_a_sweep_is_seen_while_it_runs_and_after_it_was_interrupted(folder, write_spec, tiny_content, monkeypatch):
    seen = []
    whole = SweepProgress.stage
    monkeypatch.setattr(heartbeat, "WRITE_SECONDS", 0.0)

    def look(self, name):
        whole(self, name)
        seen.append((name, watch_sweep(folder / "out")))
        if name == "tables and figures":
            raise KeyboardInterrupt

    monkeypatch.setattr(SweepProgress, "stage", look)
    with pytest.raises(KeyboardInterrupt):
        mj.run_sweep(write_spec({**tiny_content, "seeds": [0]}), folder / "out", is_quiet=True)
    name, status = seen[0]
    assert name == status.heartbeat.stage == "finishing module searches"
    assert status.is_running
    assert not status.is_complete
    assert (status.heartbeat.done, status.heartbeat.trials, status.heartbeat.training) == (6, 6, 0)
    assert status.heartbeat.epochs == status.epochs or status.epochs < 12  # the last stack may not be there yet
    assert status.checkpoint_age < 600
    text = "\n".join(status_text(status))
    assert "running" in text
    assert "trial-epochs/s" in text
    after = mj.watch_sweep(folder / "out")
    assert not after.is_running
    assert "not running; run the same command again" in "\n".join(status_text(after))
    assert "last stage: tables and figures, told" in "\n".join(status_text(after))
    monkeypatch.undo()
    mj.run_sweep(folder / "spec.toml", folder / "out", is_quiet=True)
    assert not (folder / "out" / "progress.json").exists()


def test_status_of_a_finished_sweep(finished, tmp_path):
    status = mj.watch_sweep(finished.paths.root)
    assert status.is_complete
    assert not status.is_running
    assert status.heartbeat is None
    assert status.epochs == finished.history.height
    assert status.trials["trials"].sum() == finished.trials.height
    assert status_text(status)[0] == "complete, not running"


def test_the_age_of_a_checkpoint_is_that_of_the_newest_of_any_worker(finished, tmp_path):
    shutil.copytree(finished.paths.root, tmp_path / "out")
    paths = SweepPaths(tmp_path / "out")
    for path in paths.checkpoints.glob("stack_*.json"):
        os.utime(path, (0, time.time() - 500))
    for folder, age in (("7", 400), ("worker_0/3", 300), ("worker_12/4", 100), ("worker_12/4.tmp", 5)):
        (paths.training / folder).mkdir(parents=True)
        os.utime(paths.training / folder, (0, time.time() - age))
    assert watch_sweep(tmp_path / "out").checkpoint_age == pytest.approx(100, abs=30)


def test_a_failed_trial_is_listed(finished, tmp_path):
    shutil.copytree(finished.paths.root, tmp_path / "out")
    paths, victim = SweepPaths(tmp_path / "out"), finished.trials["trial_id"][0]
    write_manifest(paths, read_manifest(paths.manifest) | {"failed": {victim: "ValueError: no"}})
    status = watch_sweep(tmp_path / "out")
    assert f"failed: {victim} (ValueError: no)" in status_text(status)


def test_a_lock_is_seen_and_left(tmp_path):
    assert not is_locked(tmp_path / ".lock")
    with locked(tmp_path / ".lock"):
        assert is_locked(tmp_path / ".lock")
    assert not is_locked(tmp_path / ".lock")
    with locked(tmp_path / ".lock"):
        pass


def test_heartbeats_are_written_at_most_once_a_second(tmp_path):
    file = HeartbeatFile(tmp_path / "progress.json")
    for done in range(100):
        file.write(Heartbeat(done=done))
    assert read_heartbeat(tmp_path / "progress.json").done == 0
    file.write(Heartbeat(done=100, stage="last\nstage"), is_due=True)
    assert read_heartbeat(tmp_path / "progress.json")[:3] == ("last stage", 0, 100)
    HeartbeatFile(tmp_path / "gone" / "progress.json").write(Heartbeat())  # nowhere to write: nothing happens


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"stage": 1}', "[" * 100_000, "x" * 100_000])
def test_heartbeats_that_are_none(tmp_path, content):
    (tmp_path / "progress.json").write_text(content)
    assert read_heartbeat(tmp_path / "progress.json") is None


def test_heartbeats_with_odd_numbers(tmp_path):
    for number in ("NaN", "1e999", '"many"', "null", "[1]"):
        told = json.dumps(Heartbeat()._asdict()).replace('"seconds_left": -1.0', f'"seconds_left": {number}')
        (tmp_path / "progress.json").write_text(told)
        assert read_heartbeat(tmp_path / "progress.json") is None


def test_time_left_of_a_steady_sweep():
    """100 trials of 30 epochs, 10 at a time, 20 trial-epochs a second: 150 s in all."""
    now = 0.0
    pace = Pace(30.0, clock=lambda: now)
    assert pace.seconds_left(90, 10) == -1.0
    for tick in range(1, 200):
        now = tick * 0.5
        pace.add(10, [30] * 10 if tick % 30 == 0 else ())
        if tick in (2, 50, 150):
            ended = tick // 30 * 10
            left = pace.seconds_left(90 - ended, 10)
            assert left == pytest.approx(150 - now, abs=2)
            assert pace.epochs_per_second == pytest.approx(20)


def test_untrained_trials_do_not_shorten_the_time_left():
    pace = Pace(30.0)
    pace.add(0)
    assert pace.epochs_per_second == 0


def test_status_command_watches_until_the_end(finished, capsys):
    from modjax import cli

    with pytest.raises(SystemExit) as stop:
        cli.main(["status", str(finished.paths.root), "--watch", "1"])
    assert stop.value.code == 0
    assert "complete, not running" in capsys.readouterr().out
    assert isinstance(mj.watch_sweep(finished.paths.root).trials, pl.DataFrame)
