import shutil

import modjax as mj
from tests.report.sweeps import write_sweep as made_sweep
from tests.report.tables import module_rows, trial, write_sweep
from tests.seams import build_page, pack_sweep, reproduction_text


def lines_of(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


def test_strengths_that_are_equal_to_three_digits_are_two_settings(tmp_path):
    rates = (0.1001, 0.1002, 0.25, 0.1 + 0.2)
    trials = [trial("dropout", seed, dropout=rate) for rate in (0.0, *rates) for seed in (0, 1)]
    trials += [trial("both", 0, dropout=0.5, l1=l1) for l1 in (1.0001e-3, 1.0002e-3)]
    sweep = write_sweep(tmp_path / "out", trials, module_rows(trials, lambda one, *_: one["dropout"]))
    text = reproduction_text(sweep)
    for name in ("dropout 0.1001", "dropout 0.1002", "dropout 0.25", "dropout 0.3", "baseline"):
        rows = lines_of(text, f"| {name} |")
        assert len(rows) > 1, name
        assert "2 of 2" in rows[0]
    assert len(lines_of(text, "| learning_rate 0.001, l1 0.0010001, dropout 0.5 |")) > 1
    assert len(lines_of(text, "| learning_rate 0.001, l1 0.0010002, dropout 0.5 |")) > 1
    assert "| dropout 0.1 |" not in text


def test_a_folder_whose_name_is_a_pattern(tmp_path):
    whole = made_sweep(tmp_path / "plain", units=4, epochs=2)
    (tmp_path / "a1").mkdir()
    shutil.copytree(whole.paths.root, tmp_path / "a[1]*" / "out")
    odd = mj.open_sweep(tmp_path / "a[1]*" / "out")
    order = whole.trials["trial_id"].to_list()
    assert pack_sweep(odd, order, ["covariance"], 10**6) == pack_sweep(whole, order, ["covariance"], 10**6)
    assert build_page(odd) == build_page(whole)
