import json

import numpy as np
import pytest

import modjax as mj
from modjax import cli
from modjax.bench import modules
from tests.bench.test_similarity_bench import _keep_signal_handlers as _keep_signal_handlers
from tests.seams import SEARCH_METHODS


def test_command_prints_tables_and_writes_rows(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(modules, "EPOCHS", 2)
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", "modules", "--width", "8", "--passes", "1", "--out", str(tmp_path)])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    (path,) = tmp_path.glob("modules_*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    searches = [row for row in rows if "method" in row]
    assert all(any(name in row["method"] for row in searches) for name in SEARCH_METHODS)
    assert min(row["q_below_best"] for row in searches) == pytest.approx(0, abs=1e-12)
    assert all(row["q_most_below_best"] >= row["q_below_best"] >= 0 for row in searches)
    assert all(row["graphs"] == 16 for row in searches)
    assert len(rows) - len(searches) == 6
    assert all(row["method"] in printed for row in searches)


def test_graphs_are_adjacencies_of_two_different_networks(monkeypatch):
    monkeypatch.setattr(modules, "EPOCHS", 2)
    graphs = np.stack([mj.adjacency(graph.matrix, graph.normalized) for graph in modules.graphs_of_width(8)])
    assert graphs.shape == (16, 8, 8)
    assert not np.allclose(graphs[:8], graphs[8:])
    assert [mj.find_modules(graph).num_dead < 8 for graph in graphs] == [True] * 16


def test_a_search_that_takes_too_long_sits_out(monkeypatch):
    monkeypatch.setattr(modules, "MOST_SECONDS", -1.0)
    graphs = np.stack([np.ones((8, 8)) - np.eye(8)] * 3)
    (row,) = modules.time_searches(graphs, {"one": lambda graph: np.zeros(len(graph), int)}, 1, lambda text: None)
    assert (row["graphs"], row["q_mean"]) == (1, pytest.approx(0))


def test_bad_arguments_are_one_line(tmp_path):
    with pytest.raises(ValueError, match="widths at least 8; got 1 and "):
        modules.run_benchmark(tmp_path, (4,), 1)
