"""Agreement by chance: scores of two partitions after the units of one are permuted at random."""

import numpy as np
from numpy.typing import ArrayLike

from modjax.clustering.alignment import DEAD_RULES, contingency, reduced_mutual_information
from modjax.clustering.compiled import compiled
from modjax.clustering.modularity import check_partition
from modjax.clustering.null_comparison import NullSummary, summarize_null
from modjax.clustering.partition import canonical
from modjax.names import one_of

LABEL_PERMUTATION = "label_permutation"
NULL_SCORES = ("element_centric", "mi", "ari", "rmi")


def alignment_null(
    labels_a: ArrayLike, labels_b: ArrayLike, permutations: int = 5000, dead: str = "dropped", seed: int = 0
) -> dict[str, NullSummary]:
    """Compare the agreement of two partitions with that of the same modules with their units permuted at random.

    Args:
        labels_a: ``[units]`` integers; negative for dead units.
        labels_b: As ``labels_a``.
        permutations: Number of permutations.
        dead: As in :func:`modjax.alignment`.
        seed: Random seed; the same seed gives the same permutations.

    Returns:
        For ``element_centric``, ``mi``, ``ari`` and ``rmi`` the mean, sd, z and p = (1 + k) / (1 + n), where k
        permutations have a score at least as high. Given the modules' sizes, ami rises and vi falls with mi: their p is
        that of mi.

    Raises:
        ValueError: Not two integer vectors of one length, an unknown ``dead``, or a negative number.

    Example:
        >>> labels = np.repeat([0, 1, 2], 5)
        >>> alignment_null(labels, labels, permutations=99)["element_centric"].p
        0.01
    """
    one_of(dead, DEAD_RULES, "dead")
    a = check_partition("labels_a", labels_a)
    b = check_partition("labels_b", labels_b, len(a))
    if permutations < 0:
        raise ValueError(f"permutations must be a whole number, at least 0; got {permutations}.")
    if dead == "pooled":
        a, b = np.maximum(a, -1) + 1, np.maximum(b, -1) + 1
    return LayerPermutations(len(a), permutations, seed).null(a, b)


class LayerPermutations:
    """Random orders of a layer's units, the same for all pairs of its partitions.

    Units that are dead in either partition of a pair are left out: the ranks of the others in an order are a uniform
    permutation of them.

    Args:
        num_units: Number of units of the layer.
        num_permutations: Number of orders to draw.
        seed: Random seed; the same seed gives the same orders.
    """

    def __init__(self, num_units: int, num_permutations: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 2])
        orders = np.tile(np.arange(num_units), (num_permutations, 1))
        self.orders = rng.permuted(orders, axis=1) if num_units else orders
        self._among: dict[bytes, np.ndarray] = {}

    def among(self, is_alive: np.ndarray) -> np.ndarray:
        """Return the orders of the living units alone, numbered among themselves: ``[permutations living]``."""
        key = is_alive.tobytes()
        if key not in self._among:
            rank = np.cumsum(is_alive) - 1
            # Every order has the same number of living units, so that the flat selection is a matrix again.
            kept = rank[self.orders[is_alive[self.orders]]]
            self._among[key] = kept.reshape(len(self.orders), -1)
        return self._among[key]

    def null(self, labels_a: np.ndarray, labels_b: np.ndarray) -> dict[str, NullSummary]:
        """Return the null comparison of each score of two partitions; units with negative labels are left out."""
        is_alive = (labels_a >= 0) & (labels_b >= 0)
        if not is_alive.any() or not len(self.orders):
            empty = summarize_null(LABEL_PERMUTATION, float("nan"), np.empty(0))
            return dict.fromkeys(NULL_SCORES, empty)
        a, b = (canonical(labels[is_alive]).astype(np.int64) for labels in (labels_a, labels_b))
        table = contingency(a, b)
        terms = _terms(table)  # tables of logarithms, so that the loop over permutations computes none
        identity = np.arange(len(a))[None]
        observed = _scores(table, table_sums(a, b, identity, *terms))
        drawn = _scores(table, table_sums(a, b, self.among(is_alive), *terms))
        return {name: summarize_null(LABEL_PERMUTATION, float(observed[name][0]), drawn[name]) for name in NULL_SCORES}


def _terms(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ``1 / max(a_r, b_s)``, and ``x ln x`` and ``ln x!`` for every count x that a cell can hold."""
    from scipy.special import gammaln, xlogy

    a, b = table.sum(1), table.sum(0)
    counts = np.arange(min(a.max(), b.max()) + 1)
    return 1 / np.maximum(a[:, None], b), xlogy(counts, counts), gammaln(counts + 1)


def _scores(table: np.ndarray, sums: np.ndarray) -> dict[str, np.ndarray]:
    """Turn :func:`table_sums` into scores; ``table`` gives the modules' sizes, which permutations do not change."""
    from scipy.special import xlogy

    a, b, n = table.sum(1), table.sum(0), table.sum()
    pairs_a, pairs_b, pairs = (np.sum(x * (x - 1)) / 2 for x in (a, b, n))
    expected = pairs_a * pairs_b / pairs if pairs else 0.0
    most = (pairs_a + pairs_b) / 2 - expected
    same = (sums[:, 1] - n) / 2
    weighted, _, information, factorials = sums.T
    mutual = information - xlogy(a, a).sum() - xlogy(b, b).sum() + xlogy(n, n)
    return {
        "element_centric": weighted / n,
        "mi": mutual / (n * np.log(2)),
        "ari": (same - expected) / most if most else np.ones(len(sums)),
        "rmi": reduced_from_factorials(table, factorials),
    }


def reduced_from_factorials(table: np.ndarray, factorials: np.ndarray) -> np.ndarray:
    """Return the reduced mutual information from ``sum_rs ln n_rs!`` and the sizes of the modules."""
    from scipy.special import gammaln

    # Only this sum depends on the cells: everything else is that of the table at hand.
    own = gammaln(table + 1).sum()
    return reduced_mutual_information(table) + (factorials - own) / (table.sum() * np.log(2))


@compiled
def table_sums(a, b, orders, weights, x_log_x, log_factorials):
    """Return sums over the cells of the contingency table of ``a`` and ``b[order]``: ``[orders 4]``.

    The four sums are of ``n^2 weight``, ``n^2``, ``n ln n`` and ``ln n!``.
    """
    num_rows, num_columns = weights.shape
    table = np.zeros((num_rows, num_columns), np.int64)
    sums = np.zeros((len(orders), 4))
    for number in range(len(orders)):
        table[:] = 0
        for i in range(len(a)):
            table[a[i], b[orders[number, i]]] += 1
        for r in range(num_rows):
            for s in range(num_columns):
                count = table[r, s]
                sums[number, 0] += count * count * weights[r, s]
                sums[number, 1] += count * count
                sums[number, 2] += x_log_x[count]
                sums[number, 3] += log_factorials[count]
    return sums
