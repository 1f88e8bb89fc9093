"""A small copy of a sweep's tables, from which every figure but those of single matrices can be drawn again.

    python experiments/keep_tables.py runs/mnist_base experiments/results/mnist_base

Matrices and checkpoints are left out, and of the modules table the columns that follow from matrices and labels
(participation, within_module_z): they are null here. It can be looked at, not gone on with: ``modjax verify`` says what
it lacks.
"""

import json
import sys
from pathlib import Path

import polars as pl

import modjax as mj
from modjax.io.checksums import adopt_sums

UNIT_COLUMNS = ("participation", "within_module_z")


def main(source: str, target: str) -> None:
    sweep, out = mj.open_sweep(source), Path(target)
    out.mkdir(parents=True, exist_ok=True)
    modules = sweep.modules.with_columns(
        pl.lit(None, dtype=sweep.modules.schema[name]).alias(name) for name in UNIT_COLUMNS
    )
    tables = {"trials": sweep.trials, "history": sweep.history, "modules": modules, "alignment": sweep.alignment}
    for name, frame in tables.items():
        frame.write_parquet(out / f"{name}.parquet", compression="zstd", compression_level=22)
    (out / "spec.toml").write_text(sweep.paths.spec.read_text())
    adopt_sums(out, [out / "spec.toml", *(out / f"{name}.parquet" for name in tables)])
    kept = {key: value for key, value in sweep.manifest.items() if key not in ("complete", "checksums")}
    (out / "manifest.json").write_text(json.dumps(kept, indent=2) + "\n")
    print(f"{sum(path.stat().st_size for path in out.iterdir()) / 1e6:.2f} MB in {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
