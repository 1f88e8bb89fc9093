"""Successive halving against training in full: the 200 trials of halving.toml, both ways.

python experiments/halving.py [FOLDER]
"""

import sys
import tomllib
from pathlib import Path

import polars as pl

import modjax as mj

SPEC = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())


def trained(spec: dict, out: Path) -> pl.DataFrame:
    """Train a sweep; return its trials with the lowest validation loss of each."""
    sweep = mj.run_sweep(spec, out, report=False)
    lowest = sweep.history.group_by("trial_id").agg(lowest=pl.col("val_loss").min())
    return sweep.trials.join(lowest, on="trial_id").sort("lowest")


def main(folder: str = "runs/halving") -> None:
    """Print the epochs of both, and how the survivors of halving rank among all trials in full."""
    full_spec = SPEC | {"training": {key: value for key, value in SPEC["training"].items() if key != "stopping"}}
    halved, full = trained(SPEC, Path(folder) / "halved"), trained(full_spec, Path(folder) / "full")
    rank = {trial_id: place for place, trial_id in enumerate(full["trial_id"], 1)}
    ended = halved.filter(status="done")
    print(f"epochs: {halved['epochs'].sum():,} by halving, {full['epochs'].sum():,} in full")
    print(f"seconds of training: {halved['seconds'].sum():.0f} by halving, {full['seconds'].sum():.0f} in full")
    print(f"lowest validation loss: {ended['lowest'][0]:.4f} by halving, {full['lowest'][0]:.4f} in full")
    print(
        f"ranks in full of the {ended.height} that halving trained to the end:",
        sorted(rank[i] for i in ended["trial_id"]),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
