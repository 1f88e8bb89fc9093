"""When are two tables the same? Bit for bit where the golden ones were made, within stated tolerances elsewhere."""

import json
from functools import cache

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

import modjax as mj
from tests.golden.making import GOLDEN, cpu_of_this_machine

LOSS_TOLERANCE = 1e-5
Q_TOLERANCE = 1e-4
DEAD, NEARLY_DEAD = 1e-12, 1e-5  # shares of the largest |S_ii|
# Columns that have another name since the golden tables were made: {table: {name then: name now}}.
RENAMED: dict[str, dict[str, str]] = {}
# What says which trial, graph or epoch a row is about, and what was asked for: the same everywhere.
EXACT = {
    "trials": ["trial_id", "arm", "seed", "learning_rate", "l1", "l2", "dropout", "status"],
    "history": ["trial_id", "epoch"],
    "similarity": ["trial_id", "layer", "measure", "num_units"],
    "modules": ["trial_id", "layer", "measure", "normalized", "null_kind", "null_n"],
    "alignment": ["trial_id", "layer", "measure_a", "normalized_a", "measure_b", "normalized_b", "null_kind", "null_n"],
}
TOLERANCES = {
    "trials": {f"{split}_loss": LOSS_TOLERANCE for split in ("train", "val", "test")},
    "history": {"train_loss": LOSS_TOLERANCE, "val_loss": LOSS_TOLERANCE},
    "modules": {"q": Q_TOLERANCE, "joint_q": Q_TOLERANCE},
}


@cache
def made_on():
    """Versions and machine that the golden tables were made with."""
    return json.loads((GOLDEN / "made_on.json").read_text())


def differences(manifest, with_cpu=True):
    """What differs between the golden tables' environment and that of a sweep, of all that last bits depend on."""
    then, now = made_on(), {**manifest, "cpu": cpu_of_this_machine()}
    packages = {name: now["packages"].get(name) for name in then["packages"] if name != "modjax"}
    was = {name: version for name, version in then["packages"].items() if name != "modjax"}
    names = ("cpu", "threads") if with_cpu else ("threads",)
    current = [f"{name} {now[name]}, not {then[name]}" for name in names if now[name] != then[name]]
    return current + [f"{name} {packages[name]}, not {was[name]}" for name in was if packages[name] != was[name]]


def ill_conditioned(similarity):
    """``trial_id, layer, measure`` of matrices with a living unit of |S_ii| below 1e-5 max_k |S_kk|.

    Penalties leave units whose weights are the rounding errors of their last updates. They change no raw Q, but where
    the matrix is normalized such a unit counts as much as any other.
    """
    rows = []
    for row in similarity.iter_rows(named=True):
        strengths = np.abs(np.array(row["matrix"], np.float64)[:: row["num_units"] + 1])
        shares = strengths / max(strengths.max(), 1e-300)
        if shares[shares > DEAD].min(initial=1.0) < NEARLY_DEAD:
            rows.append({name: row[name] for name in ("trial_id", "layer", "measure")})
    return pl.DataFrame(rows, schema={"trial_id": pl.String, "layer": pl.Int32, "measure": pl.String})


def well_conditioned(name, frame, similarity):
    """The rows whose numbers do not hang on rounding; joint modules are of all measures of a layer together."""
    bad = ill_conditioned(similarity)
    if name != "modules" or not bad.height:
        return dict.fromkeys(TOLERANCES.get(name, {}), frame)
    good = [frame.filter(~pl.col("normalized"))]
    normalized = frame.filter(pl.col("normalized"))
    kept = {"q": ["trial_id", "layer", "measure"], "joint_q": ["trial_id", "layer"]}
    return {
        column: pl.concat([*good, normalized.join(bad, on=keys, how="anti", maintain_order="left")])
        for column, keys in kept.items()
    }


def without_times(frame):
    return frame.drop([name for name in frame.columns if "seconds" in name or "time" in name])


def assert_same(name, current, golden, is_exact, similarity):
    """A table of a sweep against the golden one; columns that joined later are left out, none may be missing."""
    golden = without_times(golden).rename(RENAMED.get(name, {}))
    assert not set(golden.columns) - set(current.columns)
    current = current.select(golden.columns)
    assert current.schema == golden.schema
    if is_exact:
        assert current.rechunk().serialize() == golden.rechunk().serialize(), where(current, golden)
        return
    exact = [RENAMED.get(name, {}).get(column, column) for column in EXACT[name]]
    assert current.select(exact).equals(golden.select(exact)), where(current.select(exact), golden.select(exact))
    ours, theirs = (well_conditioned(name, frame, similarity) for frame in (current, golden))
    for column, tolerance in TOLERANCES.get(name, {}).items():
        values = (side[column][column].to_numpy() for side in (ours, theirs))
        np.testing.assert_allclose(*values, rtol=tolerance, atol=tolerance, err_msg=column)


def assert_same_points(current, golden):
    """What follows from tables by arithmetic alone: the same everywhere but for how a machine adds."""
    golden = golden.rename(RENAMED.get("points", {}), strict=False)
    assert not set(golden.columns) - set(current.columns)
    assert_frame_equal(current.select(golden.columns), golden, rel_tol=1e-9, abs_tol=1e-12)


def where(current, golden):
    """The columns that differ, for the message."""
    if current.height != golden.height:
        return f"{current.height} rows, not {golden.height}"
    return [name for name in golden.columns if not current[name].equals(golden[name], null_equal=True)]


def assert_same_tables(sweep: mj.Sweep, name: str, is_exact: bool) -> None:
    """All tables of a sweep against the golden sweep of that name."""
    golden = mj.open_sweep(GOLDEN / "finished" / name)
    for table in EXACT:
        assert_same(table, sweep.table(table), golden.table(table), is_exact, golden.similarity)
