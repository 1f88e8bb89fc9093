"""How fast and how good module searches are: what ``modjax bench modules`` prints, beside other packages' searches.

    python benchmarks/bench_clustering.py [--passes 3] [--widths 64 256 1024]

Beside modjax's own: networkx's Louvain and the literal Monte Carlo search of tests/reference.py. Rows go to
benchmarks/results/modules_<machine>.jsonl. One core, about ten minutes; 64 units alone take two.
"""

import argparse
import sys
from pathlib import Path

import networkx as nx
import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from modjax.bench.modules import WIDTHS, Other, run_benchmark  # noqa: E402
from modjax.clustering.monte_carlo import ENTROPY, MOVES  # noqa: E402
from modjax.clustering.spectral import spectral  # noqa: E402
from tests import reference  # noqa: E402


def louvain(adjacency: np.ndarray) -> np.ndarray:
    graph = nx.from_numpy_array(adjacency)
    labels = np.zeros(len(adjacency), int)
    for module, members in enumerate(nx.community.louvain_communities(graph, seed=0)):
        labels[list(members)] = module
    labels[~adjacency.any(1)] = -1
    return labels


def literal_monte_carlo(adjacency: np.ndarray) -> np.ndarray:
    labels = np.full(len(adjacency), -1)
    alive = np.flatnonzero(adjacency.any(1))
    living = np.ascontiguousarray(adjacency[np.ix_(alive, alive)])
    start = spectral(living, 1.0, None, 0)
    labels[alive] = reference.monte_carlo(living, start, MOVES, ENTROPY, np.random.default_rng(0))[0]
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=3, help="times that every case is timed")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="units")
    given = parser.parse_args()
    others = {"Louvain (networkx)": Other(louvain), "Monte Carlo, literal": Other(literal_monte_carlo, most_units=64)}
    report = run_benchmark(ROOT / "benchmarks" / "results", given.widths, given.passes, others=others)
    print(f"\n{report.table}\n\n{report.path}")


if __name__ == "__main__":
    main()
