"""The benchmark of probes: rows, table and figure of tiny networks."""

import json

import numpy as np
import pytest

from modjax.bench.probes import COLUMNS, run_benchmark


def test_a_tiny_grid_writes_rows_and_a_figure(tmp_path) -> None:
    said: list[str] = []
    report = run_benchmark(tmp_path, tmp_path / "probes.png", "tiny", tmp_path / "no_data", 1, said.append)
    rows = [json.loads(line) for line in report.paths[0].read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(said) == 4
    assert report.paths[1].stat().st_size > 10_000
    assert all(name in report.table for name in COLUMNS)
    for few, many in zip(rows[::2], rows[1::2], strict=True):
        assert (few["probes"], many["probes"]) == (1, 4)
        assert np.isfinite([few["seconds"], few["q_change_mean"], few["q_change_max"]]).all()
        assert many["error_input_jacobian"] < few["error_input_jacobian"]


def test_bad_options_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="Unknown grid"):
        run_benchmark(tmp_path, tmp_path / "probes.png", "small")
    with pytest.raises(ValueError, match="passes must be at least 1; got 0"):
        run_benchmark(tmp_path, tmp_path / "probes.png", "tiny", passes=0)
