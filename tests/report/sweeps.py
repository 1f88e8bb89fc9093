"""Sweeps that were never run: tables of the right schemas with numbers from a generator."""

import json

import numpy as np
import polars as pl
import tomli_w

import modjax as mj
from modjax import MEASURES
from tests.seams import SCHEMA_VERSION, from_rows, write_table

ARMS = {"dropout": np.linspace(0.05, 0.7, 14), "l1": np.logspace(-5, -2, 7), "l2": np.logspace(-5, -1, 9)}
SCORES = [
    "element_centric",
    "ami",
    "ari",
    "mi",
    "rmi",
    "rmi_normalized",
    "vi",
    "vi_normalized",
    "overlap_greedy",
    "overlap_optimal",
    "spearman",
    "transfer_ab",
    "transfer_ba",
    "transfer_normalized_ab",
    "transfer_normalized_ba",
]


def trial_rows(arms, seeds, untrained_seeds, statuses):
    rows = []
    for arm, values in arms.items():
        for value in values:
            for seed in seeds:
                settings = {"l1": 0.0, "l2": 0.0, "dropout": 0.0, "learning_rate": 1e-3, arm: float(value)}
                rows.append({"arm": arm, "seed": seed, "status": "done", **settings})
    rows += [
        {"arm": "untrained", "seed": seed, "status": "untrained", "learning_rate": 1e-3, "l1": 0.0, "l2": 0.0}
        | {"dropout": 0.0}
        for seed in untrained_seeds
    ]
    for index, row in enumerate(rows):
        row["trial_id"] = f"{index * 2654435761 % 2**32:08x}{index:08x}"
        row["status"] = statuses.get(index, row["status"])
        row["excluded"] = False
    return rows


def add_results(row, rng, epochs):
    for split in ("train", "val", "test"):
        row[f"{split}_loss"], row[f"{split}_accuracy"] = rng.uniform(0.1, 0.3), rng.uniform(0.9, 1.0)
    row |= {name: rng.uniform(10, 100) for name in ("l1_norm", "l2_norm", "nuclear_norm")}
    row |= {"sparsity": rng.uniform(), "seconds": 1.0, "epochs": epochs, "best_epoch": epochs - 6}


def planted(rng, units, num_modules, num_examples=400):
    """A covariance with modules, one dead unit, and the modules."""
    labels = rng.integers(num_modules, size=units)
    h = rng.normal(size=(num_examples, units)) + 0.7 * rng.normal(size=(num_examples, num_modules))[:, labels]
    h[:, -1] = 0
    labels[-1] = -1
    return (h.T @ h / num_examples).astype(np.float32), labels


def module_row(rng, labels, certain):
    sizes = np.bincount(labels[labels >= 0])
    values = rng.normal(size=8)
    return {
        "q": 0.2 + 0.05 * values[0],
        "num_modules": int((sizes > 0).sum()),
        "effective_modules": 3.5 + 0.2 * values[1],
        "num_dead": int((labels < 0).sum()),
        "labels": labels.tolist(),
        "participation": rng.random(len(labels)).tolist(),
        "within_module_z": rng.normal(size=len(labels)).tolist(),
        "certainty": rng.random(len(labels)).tolist() if certain else None,
        "joint_q": 0.15 + 0.05 * values[2],
        "joint_labels": rng.permutation(labels).tolist(),
        "profile_q": [],
        "profile_num_modules": [],
        "null_kind": "weight_permutation",
        "null_n": 99,
        "null_q": 0.2 + 0.05 * values[0],
        "null_mean": 0.12 + 0.01 * values[3],
        "excess_q": 0.08 + 0.05 * values[0] - 0.01 * values[3],
        "null_sd": 0.01,
        "z": 5 + values[4],
        "p": 0.01,
        "untrained_z": values[5],
    }


def alignment_rows(rng, graphs):
    values = rng.random((len(graphs) * (len(graphs) + 1) // 2, len(SCORES)))
    pairs = ((a, b) for place, a in enumerate(graphs) for b in graphs[place:])
    for (a, b), scores in zip(pairs, values, strict=True):
        yield {"measure_a": a[0], "normalized_a": a[1], "measure_b": b[0], "normalized_b": b[1]} | dict(
            zip(SCORES, scores.tolist(), strict=True)
        )


def write_sweep(
    root,
    *,
    arms=None,
    seeds=(0, 1),
    untrained_seeds=(0, 1, 2),
    layers=(0, 1),
    units=16,
    measures=MEASURES,
    statuses=None,
    epochs=12,
    name="made",
    question="What for?",
    certain=True,
    change=lambda name, frame: frame,
):
    """Write a sweep's tables and return it opened; ``change`` may alter each table before it is written."""
    rng = np.random.default_rng(0)
    trials = trial_rows(arms or {"dropout": (0.0, 0.5), "l2": (1e-3,)}, seeds, untrained_seeds, statuses or {})
    tables = {"history": [], "modules": [], "alignment": []}
    matrices = {layer: [] for layer in layers}
    for row in trials:
        if row["status"] == "pending":
            continue
        add_results(row, rng, epochs)
        key = {"trial_id": row["trial_id"]}
        if row["status"] != "untrained":
            names = ("train_loss", "val_loss", "val_accuracy", "learning_rate")
            values = rng.random((epochs, 4)).tolist()
            tables["history"] += [
                {**key, "epoch": epoch, **dict(zip(names, one, strict=True))} for epoch, one in enumerate(values)
            ]
        for layer in layers if measures else ():
            for measure in measures:
                matrix, labels = planted(rng, units, 4)
                graph = {**key, "layer": layer, "measure": measure}
                matrices[layer].append({**graph, "num_units": units, "matrix": matrix.ravel()})
                tables["modules"] += [
                    {**graph, "normalized": normalized, **module_row(rng, labels, certain)}
                    for normalized in (False, True)
                ]
            graphs = [(measure, normalized) for measure in measures for normalized in (False, True)]
            shared = {**key, "layer": layer, "num_units": units - 1, "num_dead": 1, "null_n": 0}
            tables["alignment"] += [{**shared, **row} for row in alignment_rows(rng, graphs)]
    root.mkdir(parents=True)
    for table, rows in {"trials": trials, **tables}.items():
        write_table(root / f"{table}.parquet", change(table, from_rows(table, rows)).sort(pl.first()))
    for layer, rows in matrices.items():
        path = root / "similarity" / ("combined.parquet" if layer < 0 else f"layer_{layer}.parquet")
        write_table(path, change("similarity", from_rows("similarity", rows)))
    (root / "spec.toml").write_text(tomli_w.dumps({"name": name, "question": question}), encoding="utf-8")
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "slots": 8,
        "data": {"name": "made", "checksum": "0"},
        "precision": {"dtype": "float32", "matmul": "float32"},
        "layout": {"population": {"lanes": 1, "is_paired": False, "slots": 1}},
        "complete": not any(row["status"] == "pending" for row in trials),
    }
    (root / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return mj.open_sweep(root)


def write_large(root):
    """As large as the paper's first experiment: 370 networks, 2 layers of 64 units, 4 measures."""
    return write_sweep(root, arms=ARMS, seeds=range(9), untrained_seeds=range(100), units=64, epochs=60)


def spoiled(name, frame):
    """The odd numbers that a sweep can hold: NaN losses, NaN and null Q, an infinite z, a matrix that is not finite."""
    first = pl.int_range(pl.len()) == 0
    if name == "trials":
        nan = [pl.when(first).then(float("nan")).otherwise(c).alias(c) for c in ("test_loss", "val_loss", "l1_norm")]
        excluded = pl.int_range(pl.len()) == 1
        return frame.with_columns(
            *nan, excluded=excluded, status=pl.when(first).then(pl.lit("diverged")).otherwise("status")
        )
    if name == "modules":
        nan = pl.when(pl.int_range(pl.len()) < 3).then(float("nan")).otherwise("q").alias("q")
        z = pl.when(first).then(float("inf")).when(pl.int_range(pl.len()) == 1).then(None).otherwise("z").alias("z")
        return frame.with_columns(nan, z)
    if name == "similarity":
        nan = pl.lit([float("nan")], pl.List(pl.Float32)).list.gather([0]).list.concat(pl.col("matrix").list.slice(1))
        return frame.with_columns(matrix=pl.when(first).then(nan).otherwise("matrix"))
    return frame
