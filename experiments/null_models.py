"""The four nulls on the networks of mnist_base that were not trained: what do they say where there is nothing to find?

    python experiments/null_models.py --out runs/null_models [--data-dir D] [--nulls 99]

Two CPU cores, about 15 minutes. It measures the 100 untrained networks, compares each of their 16 graphs with each
null, prints the median z and the share of p at its floor, and writes the table into docs/modules.md.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl

import modjax as mj

ROOT = Path(__file__).parent.parent
KINDS = ("rotation", "hirschberger", "strength_rewiring", "weight_permutation")
TITLES = {"covariance": "covariance", "input_jacobian": "input Jacobian", "output_jacobian": "output Jacobian"}
TITLES["loss_hessian"] = "loss Hessian"
BEGIN, END = "<!-- null models: begin -->\n", "<!-- null models: end -->\n"


def untrained_networks(out: Path, data_dir: str | None) -> mj.Sweep:
    """The untrained arm of mnist_base, measured and not searched twice."""
    spec = mj.load_spec(ROOT / "experiments" / "mnist_base.toml")
    content = spec.model_dump(mode="json", exclude_none=True)
    content |= {"name": "untrained", "modules": {}, "alignment": {}}
    content["arms"] = [arm for arm in content["arms"] if arm["untrained"]]
    return mj.run_sweep(content, out, data_dir=data_dir, report=False)


def compare(matrix: np.ndarray, num_nulls: int) -> list[dict]:
    """Rows of one similarity: each null, raw and normalized."""
    return [
        {"kind": kind, "normalized": normalized, "z": null.z, "p": null.p, "excess_q": null.effect}
        for kind in KINDS
        for normalized in (False, True)
        for null in [mj.modularity_null(matrix, kind, num_nulls, normalized)]
    ]


def rows_of(sweep: mj.Sweep, num_nulls: int) -> pl.DataFrame:
    """Every untrained network, layer, measure, scaling and null."""
    names = sweep.similarity.select("trial_id", "layer", "measure").rows(named=True)
    units = sweep.similarity["num_units"]
    matrices = [
        np.array(matrix).reshape(num, num) for matrix, num in zip(sweep.similarity["matrix"], units, strict=True)
    ]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as workers:
        results = workers.map(partial(compare, num_nulls=num_nulls), matrices, chunksize=4)
        return pl.DataFrame([{**name, **row} for name, rows in zip(names, results, strict=True) for row in rows])


def table_of(rows: pl.DataFrame, num_nulls: int) -> str:
    """Median z of every graph and null, and for how many networks p is at its floor."""
    floor = 1 / (1 + num_nulls) + 1e-9
    cells = rows.group_by("normalized", "layer", "measure", "kind").agg(
        z=pl.col("z").median(), at_floor=(pl.col("p") <= floor).mean()
    )
    lines = [f"| graph | {' | '.join(KINDS)} |", f"|---|{'---|' * len(KINDS)}"]
    for normalized in (True, False):
        for layer in (0, 1):
            for measure in mj.MEASURES:
                here = cells.filter(normalized=normalized, layer=layer, measure=measure)
                of = {row["kind"]: row for row in here.rows(named=True)}
                numbers = [f"{of[kind]['z']:+.1f} ({of[kind]['at_floor']:.0%})" for kind in KINDS]
                name = f"{'normalized' if normalized else 'raw'} {TITLES[measure]}, layer {layer}"
                lines.append(f"| {name} | {' | '.join(numbers)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, compare, and write the table."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of the workers, which start with the pool
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/null_models"))
    parser.add_argument("--data-dir")
    parser.add_argument("--nulls", type=int, default=99)
    given = parser.parse_args()
    rows = rows_of(untrained_networks(given.out, given.data_dir), given.nulls)
    table = table_of(rows, given.nulls)
    page = ROOT / "docs" / "modules.md"
    before, rest = page.read_text().split(BEGIN)
    page.write_text(before + BEGIN + table + END + rest.split(END)[1])
    print(table)


if __name__ == "__main__":
    main()
