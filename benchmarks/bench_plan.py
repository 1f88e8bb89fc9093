"""What ``modjax plan`` says a sweep takes, and what it then takes: run both, one after the other.

    python benchmarks/bench_plan.py [--data-dir D] experiments/quickstart.toml experiments/mnist_small.toml

Rows go to benchmarks/results/plan_<machine>.jsonl. Memory and bytes on the disk stand beside what the manifest and the
directory say. Run it on a machine that has nothing else to do.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import write_rows

import modjax as mj
from modjax.bench.harness import print_table

COLUMNS = ("spec", "planned_seconds", "seconds", "ratio", "planned_memory", "peak_memory_mb", "planned_disk", "disk_mb")


def plan_and_run(spec: Path, data_dir: Path | None) -> dict[str, Any]:
    """A row: the plan's figures and the run's."""
    modjax = [sys.executable, "-m", "modjax.cli"]
    data = [] if data_dir is None else ["--data-dir", str(data_dir)]
    load = os.getloadavg()[0]
    told = subprocess.run([*modjax, "plan", str(spec), *data], capture_output=True, text=True, check=True).stdout
    planned = float(find(r"of the (\d+) s:", told))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        started = time.perf_counter()
        subprocess.run([*modjax, "sweep", str(spec), "--out", str(out), *data], capture_output=True, check=True)
        taken = time.perf_counter() - started
        manifest = mj.open_sweep(out).manifest
        disk = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {
        "spec": spec.name,
        "planned_seconds": planned,
        "planned_range": find(r"about .* \((.*?)\), by a short run", told),
        "seconds": round(taken, 1),
        "ratio": round(planned / taken, 2),
        "planned_memory": find(r"memory: (.*)", told),
        "peak_memory_mb": manifest["peak_memory_mb"],
        "planned_disk": find(r"disk: (.*?) \(", told),
        "disk_mb": round(disk / 1e6, 1),
        "stages": manifest["seconds_by_stage"],
        "load_before": round(load, 1),
    }


def find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"the plan does not say {pattern!r}: {text}")
    return match[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", type=Path, nargs="+")
    parser.add_argument("--data-dir", type=Path, help="folder that holds the dataset")
    given = parser.parse_args()
    rows = [plan_and_run(spec, given.data_dir) for spec in given.specs]
    print_table(rows, COLUMNS)
    print(f"\nrows: {write_rows('plan', rows)}")


if __name__ == "__main__":
    main()
