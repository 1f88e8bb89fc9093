import shutil
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from modjax import cli
from tests.seams import locked

SPEC = """
name = "x"
dataset = "digits"
seeds = [0]
[[arms]]
name = "a"
dropout = [0.0]
"""


@pytest.fixture(autouse=True)
def _keep_signal_handlers():
    import signal

    before = {number: signal.getsignal(number) for number in cli.INTERRUPTED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


def write(path, text):
    path.write_text(text)
    return path


BAD_SPECS = {
    "wrong key": SPEC.replace("dropout", "droput"),
    "wrong type": SPEC.replace("[0.0]", '["half"]'),
    "negative penalty": SPEC.replace("dropout = [0.0]", "l2 = [-1.0]"),
    "dropout of 1": SPEC.replace("[0.0]", "[1.0]"),
    "empty arm": SPEC.replace("[0.0]", "[]"),
    "unknown dataset": SPEC.replace("digits", "imagenet"),
    "unknown network": SPEC + '[network]\nkind = "rnn"\n',
    "unknown activation": SPEC + '[network]\nactivation = "step"\n',
    "unknown measure": SPEC + '[similarity]\nmeasures = ["kernel"]\n',
    "not TOML": "name = = 3",
    "same trial twice": SPEC + '[[arms]]\nname = "b"\ndropout = [0.0]\n',
    "missing npz": SPEC.replace("digits", "none.npz"),
    "batch too large": SPEC + "[training]\nbatch_size = 100000\n",
    "network too large": SPEC + "[network]\nwidths = [1000000000]\n",
}


@pytest.mark.parametrize("command", ["plan", "sweep"])
@pytest.mark.parametrize("case", BAD_SPECS)
def test_bad_spec_exits_2_with_one_line_and_writes_nothing(tmp_path, capsys, case, command):
    spec = write(tmp_path / "spec.toml", BAD_SPECS[case])
    options = ["--out", tmp_path / "out"] if command == "sweep" else []
    status, out, err = run(capsys, command, spec, *options)
    assert status == 2
    assert err.count("\n") == 1
    assert err.startswith("modjax: ")
    assert "Traceback" not in err + out
    assert not (tmp_path / "out").exists()


def bad_npz(**changes):
    arrays = {
        "x_train": np.zeros((30, 5), np.float32),
        "y_train": np.arange(30) % 3,
        "x_test": np.zeros((9, 5), np.float32),
        "y_test": np.arange(9) % 3,
    }
    return {**arrays, **changes}


@pytest.mark.parametrize(
    "arrays",
    [
        bad_npz(x_train=np.zeros((30, 4))),
        bad_npz(x_test=np.full((9, 5), np.nan, np.float32)),
        bad_npz(y_train=np.arange(30) - 5.5),
    ],
    ids=["shapes", "NaN", "labels"],
)
def test_bad_npz_exits_2(tmp_path, capsys, arrays):
    np.savez(tmp_path / "data.npz", **arrays)
    spec = write(tmp_path / "spec.toml", SPEC.replace("digits", "data.npz"))
    status, _, err = run(capsys, "sweep", spec, "--out", tmp_path / "out")
    assert status == 2
    assert err.count("\n") == 1
    assert "data.npz" in err


ARGUMENTS = {
    "unknown command": ["train"],
    "missing option": ["sweep", "spec.toml"],
    "unknown option": ["plan", "spec.toml", "--fast"],
    "number that is text": ["sweep", "spec.toml", "--out", "out", "--slots", "many"],
    "no spec": ["plan", "none.toml"],
    "no sweep": ["status", "."],
    "no such directory": ["table", "none"],
    "report of no sweep": ["report", "."],
    "comparison with no sweep": ["compare", ".", "."],
    "unknown dataset": ["data", "fetch", "imagenet"],
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_bad_arguments_exit_2_with_one_line(tmp_path, capsys, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, *ARGUMENTS[case])
    assert status == 2
    assert err.count("\n") == 1


def test_plan_prints_trials_counts_and_files(capsys, tmp_path):
    status, out, _ = run(capsys, "plan", write(tmp_path / "spec.toml", SPEC), "--no-probe")
    assert status == 0
    assert "1 trials, 8 similarity matrices, 1442 training and 355 test examples of digits" in out
    assert "modules.parquet" in out


def test_sweep_status_and_table(capsys, folder, write_spec, tiny_content):
    spec = write_spec({**tiny_content, "seeds": [0]})
    status, out, err = run(capsys, "sweep", spec, "--out", folder / "out", "--no-report")
    assert status == 0, err
    assert "input_jacobian" in out
    assert "tables and figures" in err
    assert "Report:" not in out
    assert not (folder / "out" / "report.html").exists()
    status, out, _ = run(capsys, "status", folder / "out")
    assert status == 0
    assert "untrained" in out
    status, out, _ = run(capsys, "table", folder / "out", "modules", "--csv")
    assert status == 0
    rows = pl.read_csv(out.encode())
    assert rows.height == 6 * 3 * 8
    assert rows["labels"][0].startswith("[")
    status, out, _ = run(capsys, "table", folder / "out", "--rows", 2)
    assert "... 4 more rows" in out
    status, _, err = run(capsys, "table", folder / "out", "nothing")
    assert status == 2
    assert "Available: trials" in err


@pytest.mark.report
def test_report_and_compare(capsys, finished, folder, write_spec, tiny_content):
    shutil.copytree(finished.paths.root, folder / "out")
    status, out, err = run(capsys, "sweep", write_spec(tiny_content), "--out", folder / "out")  # there is nothing to do
    assert status == 0, err
    assert "accuracy.png" in out
    assert str(folder / "out" / "report.html") in out
    (folder / "out" / "figures" / "accuracy.png").unlink()
    with locked(folder / "out" / ".lock"):  # a sweep at work there will draw the figures itself
        status, _, err = run(capsys, "report", folder / "out")
    assert status == 1
    assert "in use by another modjax process" in err
    assert not (folder / "out" / "figures" / "accuracy.png").exists()
    status, out, _ = run(capsys, "report", folder / "out")
    assert status == 0
    assert (folder / "out" / "figures" / "accuracy.png").exists()
    assert str(folder / "out" / "report.html") in out
    status, out, _ = run(capsys, "compare", folder / "out", folder / "out", "--out", folder / "both.html")
    assert status == 0
    assert (folder / "both.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_locked_directory_exits_1(capsys, folder, write_spec, tiny_content):
    (folder / "out").mkdir()
    with locked(folder / "out" / ".lock"):
        status, _, err = run(capsys, "sweep", write_spec(tiny_content), "--out", folder / "out")
    assert status == 1
    assert "in use by another modjax process" in err


def test_data_list_says_where(capsys, tmp_path):
    status, out, _ = run(capsys, "data", "list", "--data-dir", tmp_path)
    assert status == 0
    assert "not here; run 'modjax data fetch mnist'" in out


@pytest.mark.slow
def test_sigterm_exits_143_and_says_how_to_resume(folder, write_spec, tiny_content):
    import signal
    import time

    endless = {"max_epochs": 10**6, "batch_size": 16, "early_stopping_patience": 10**6}
    spec = write_spec({**tiny_content, "training": endless})
    command = [sys.executable, "-m", "modjax.cli", "sweep", str(spec), "--out", str(folder / "out")]
    # While it starts, while XLA compiles in a thread of its own, and while it trains.
    moments = [(signal.SIGINT, 130, 0.5), (signal.SIGTERM, 143, 3), (signal.SIGINT, 130, 5), (signal.SIGTERM, 143, 8)]
    for number, status, seconds in moments:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        while not (folder / "out" / "trials.parquet").exists():
            time.sleep(0.1)
        time.sleep(seconds)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == status
        assert "run the same command again" in err
        assert "Traceback" not in err
