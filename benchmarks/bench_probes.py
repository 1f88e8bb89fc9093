"""Similarity by probes against the exact one: what ``modjax bench probes`` prints, with the rows kept here.

    python benchmarks/bench_probes.py [--passes 3] [--data-dir D]

Rows go to benchmarks/results/probes_<machine>.jsonl, the figure to docs/figures/bench_probes.png. What is measured:
modjax/bench/probes.py.
"""

import argparse
from pathlib import Path

from modjax.bench.probes import run_benchmark

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=3, help="times that each way is timed")
    parser.add_argument("--data-dir", type=Path, help="folder that holds mnist/")
    given = parser.parse_args()
    rows_dir, figure = ROOT / "benchmarks" / "results", ROOT / "docs" / "figures" / "bench_probes.png"
    report = run_benchmark(rows_dir, figure, "default", given.data_dir, given.passes)
    print(f"\n{report.table}\n")
    print("\n".join(str(path) for path in report.paths))


if __name__ == "__main__":
    main()
