import json

import numpy as np
import pytest

from modjax import cli
from modjax.bench import scheduling, training
from modjax.training.programs import EpochProgram
from tests.bench.test_similarity_bench import _keep_signal_handlers as _keep_signal_handlers


def test_command_prints_tables_and_writes_rows(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", "training", "--tiny", "--passes", "1", "--out", str(tmp_path)])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    (path,) = tmp_path.glob("training_*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    speed = [row for row in rows if "seconds_per_trial_epoch" in row]
    assert [row["layout"] for row in speed] == ["shared batches", "slots"]
    assert min(row["times_ours"] for row in speed) == 1
    assert all(row["seconds_per_trial_epoch"] > 0 and row["matmul_share"] > 0 for row in speed)
    (scheduling,) = (row for row in rows if "microseconds_per_trial" in row)
    assert scheduling["case"] == "scheduling, 1000 trials, 256 slots"
    assert all(row["case"] in printed and row["data"] in ("mnist", "random") for row in rows)


def test_a_case_counts_the_trial_epochs_and_the_flops_of_the_examples_it_trains_on():
    pixels = scheduling.Pixels(np.zeros((1000, 784), np.uint8), np.zeros(1000, np.int32), "zeros")
    case = training.modjax_case("three", EpochProgram(3, False), pixels, 600, num_threads=2)
    assert case.amount == pytest.approx(2 * 3 * 600 / training.NUM_TRAIN)
    assert case.flops == pytest.approx(2 * 3 * 600 * (4 * 784 * 64 + 6 * 64 * 64 + 6 * 64 * 10))


def test_bad_arguments_are_one_line(tmp_path):
    with pytest.raises(ValueError, match="passes must be at least 1; got 0"):
        training.run_benchmark(tmp_path, "tiny", None, 0)
    with pytest.raises(ValueError, match="grid"):
        training.run_benchmark(tmp_path, "huge")
