"""Sweeps with known answers, written as tables and opened as any other."""

import itertools
import json

import polars as pl

import modjax as mj
from modjax import DOWNSTREAM, MEASURES, UPSTREAM
from tests.seams import KEYS, SCHEMA_VERSION, from_rows, write_table

MANIFEST = {
    "schema_version": SCHEMA_VERSION,
    "name": "made",
    "spec_hash": "0123",
    "device": {"kind": "cpu"},
    "packages": {"modjax": "0", "jax": "0"},
    "precision": {"dtype": "float32"},
    "slots": 1,
    "layout": {"population": {"lanes": 1, "is_paired": False, "slots": 1}},
    "data": {"name": "digits", "checksum": "0"},
}
DROPOUTS, L2S, L1S = (0.2, 0.4, 0.6), (1e-4, 1e-2), (1e-5, 1e-3)
SEEDS = tuple(range(9))


def paper_trials(seeds=SEEDS, untrained=20, arms=("dropout", "l2", "l1")):
    """The paper's arms in small: the baseline sits in the L2 arm."""
    grid = [("l2", {"l2": 1e-5})]
    grid += [("dropout", {"dropout": rate, "l2": 1e-5}) for rate in DROPOUTS if "dropout" in arms]
    grid += [("l2", {"l2": l2}) for l2 in L2S if "l2" in arms]
    grid += [("l1", {"l1": l1, "l2": 1e-5}) for l1 in L1S if "l1" in arms]
    rows = [trial(arm, seed, **settings) for (arm, settings), seed in itertools.product(grid, seeds)]
    return rows + [trial("untrained", seed, status="untrained") for seed in range(untrained)]


def trial(arm, seed, learning_rate=1e-3, l1=0.0, l2=0.0, dropout=0.0, status="done", excluded=False):
    settings = {"learning_rate": learning_rate, "l1": l1, "l2": l2, "dropout": dropout}
    name = "-".join([arm, status, str(seed), *map(str, settings.values())])
    common = {"trial_id": name, "arm": arm, "seed": seed, "status": status, "excluded": excluded}
    return {**common, **settings, "test_accuracy": 0.5 if excluded else 0.95}


def module_rows(trials, q, measures=MEASURES, layers=(0, 1), scalings=(False, True)):
    """``q(trial, measure, normalized, layer)`` for every graph."""
    rows = []
    for one, layer, measure, normalized in itertools.product(trials, layers, measures, scalings):
        row = {"trial_id": one["trial_id"], "layer": layer, "measure": measure, "normalized": normalized}
        row |= {"q": q(one, measure, normalized, layer), "num_modules": 3, "effective_modules": 2.5, "num_dead": 1}
        rows.append(row | {"labels": [0]})
    return rows


def alignment_rows(trials, score, measures=MEASURES, layers=(0,)):
    """``score(trial, kind)`` for pairs of different measures, kind upstream, downstream or across; 1 for the others."""
    rows = []
    graphs = sorted((measure, normalized) for measure in measures for normalized in (False, True))
    for one, layer in itertools.product(trials, layers):
        for a, b in itertools.combinations_with_replacement(graphs, 2):
            value = score(one, kind_of(a[0], b[0])) if a[0] != b[0] and a[1] == b[1] else 1.0
            row = {"trial_id": one["trial_id"], "layer": layer, "measure_a": a[0], "normalized_a": a[1]}
            row |= {"measure_b": b[0], "normalized_b": b[1], "element_centric": value, "ami": value}
            rows.append(row)
    return rows


def kind_of(a, b):
    families = [name for name, family in (("upstream", UPSTREAM), ("downstream", DOWNSTREAM)) if {a, b} <= set(family)]
    return families[0] if families else "across"


def write_sweep(folder, trials, modules=(), alignment=(), shuffle=False, **manifest):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(MANIFEST | manifest))
    for name, rows in (("trials", trials), ("modules", modules), ("alignment", alignment)):
        frame = from_rows(name, list(rows))
        frame = frame.sample(fraction=1.0, shuffle=True, seed=1) if shuffle else frame.sort(KEYS[name])
        write_table(folder / f"{name}.parquet", frame)
    return mj.open_sweep(folder)


def only(frame, **where):
    """The one row of a frame that has these values."""
    found = frame.filter(*(pl.col(key) == value for key, value in where.items()))
    assert found.height == 1, found
    return found.row(0, named=True)
