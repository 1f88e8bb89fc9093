"""When are two tables the same? Bit for bit where the golden ones were made, within stated tolerances elsewhere."""

import json
from functools import cache

import numpy as np
from polars.testing import assert_frame_equal

import modjax as mj
from tests.golden.making import GOLDEN, cpu_of_this_machine

LOSS_TOLERANCE = 1e-5
Q_TOLERANCE = 1e-4
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


def differences(manifest):
    """What differs between the golden tables' environment and that of a sweep, of all that last bits depend on."""
    then, now = made_on(), {**manifest, "cpu": cpu_of_this_machine()}
    packages = {name: now["packages"].get(name) for name in then["packages"] if name != "modjax"}
    was = {name: version for name, version in then["packages"].items() if name != "modjax"}
    found = [f"{name} {now[name]}, not {then[name]}" for name in ("cpu", "threads") if now[name] != then[name]]
    return found + [f"{name} {packages[name]}, not {was[name]}" for name in was if packages[name] != was[name]]


def without_times(frame):
    return frame.drop([name for name in frame.columns if "seconds" in name or "time" in name])


def assert_same(name, found, golden, is_exact):
    """A table of a sweep against the golden one; columns that joined later are left out, none may be missing."""
    golden = without_times(golden).rename(RENAMED.get(name, {}))
    assert not set(golden.columns) - set(found.columns)
    found = found.select(golden.columns)
    assert found.schema == golden.schema
    if is_exact:
        assert found.rechunk().serialize() == golden.rechunk().serialize(), where(found, golden)
        return
    exact = [RENAMED.get(name, {}).get(column, column) for column in EXACT[name]]
    assert found.select(exact).equals(golden.select(exact)), where(found.select(exact), golden.select(exact))
    for column, tolerance in TOLERANCES.get(name, {}).items():
        np.testing.assert_allclose(
            found[column].to_numpy(), golden[column].to_numpy(), rtol=tolerance, atol=tolerance, err_msg=column
        )


def assert_same_points(found, golden):
    """What follows from tables by arithmetic alone: the same everywhere but for how a machine adds."""
    golden = golden.rename(RENAMED.get("points", {}), strict=False)
    assert not set(golden.columns) - set(found.columns)
    assert_frame_equal(found.select(golden.columns), golden, rel_tol=1e-9, abs_tol=1e-12)


def where(found, golden):
    """The columns that differ, for the message."""
    if found.height != golden.height:
        return f"{found.height} rows, not {golden.height}"
    return [name for name in golden.columns if not found[name].equals(golden[name], null_equal=True)]


def assert_same_tables(sweep: mj.Sweep, name: str, is_exact: bool) -> None:
    """All tables of a sweep against the golden sweep of that name."""
    golden = mj.open_sweep(GOLDEN / "finished" / name)
    for table in EXACT:
        assert_same(table, sweep.table(table), golden.table(table), is_exact)
