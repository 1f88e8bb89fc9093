"""How fast, how large and how exact similarity is: what ``modjax bench similarity`` prints, with the rows kept here.

    python benchmarks/bench_similarity.py [--full] [--passes 3] [--data-dir D]

Rows go to benchmarks/results/similarity_<machine>.jsonl, the figure to docs/figures/bench_similarity.png. About four
minutes on two cores, with --full much longer. What is measured: modjax/bench/similarity.py.
"""

import argparse
from pathlib import Path

from modjax.bench.similarity import run_benchmark

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all widths by all depths, every method")
    parser.add_argument("--passes", type=int, default=3, help="times that every case is timed")
    parser.add_argument("--data-dir", type=Path, help="folder that holds mnist/")
    given = parser.parse_args()
    rows_dir, figure = ROOT / "benchmarks" / "results", ROOT / "docs" / "figures" / "bench_similarity.png"
    grid = "full" if given.full else "default"
    report = run_benchmark(rows_dir, figure, grid, given.data_dir, given.passes)
    print(f"\n{report.table}\n")
    print("\n".join(str(path) for path in report.paths))


if __name__ == "__main__":
    main()
