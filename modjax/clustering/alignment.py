"""Agreement between two partitions of the same units."""

import numpy as np
from numpy.typing import ArrayLike

from modjax.clustering.modularity import check_partition
from modjax.clustering.overlap import greedy_overlap, optimal_overlap
from modjax.names import one_of

DEAD_RULES = ("dropped", "pooled")
SCORES = (
    "element_centric",
    "ami",
    "ari",
    "mi",
    "rmi",
    "rmi_normalized",
    "vi",
    "vi_normalized",
    "overlap_greedy",
    "overlap_optimal",
)


def alignment(labels_a: ArrayLike, labels_b: ArrayLike, dead: str = "dropped") -> dict[str, float]:
    """Return scores of the agreement between two partitions, all symmetric in them.

    With n_rs the number of units in module r of one and s of the other, a_r and b_s the modules' sizes, n the number of
    all units, H entropies in bits:

    element_centric: element-centric similarity, 1/n sum_rs n_rs^2 / max(a_r, b_s) for partitions (it does not depend on
        alpha); 1 = identical.
    ami, ari: adjusted mutual information (over the mean entropy), adjusted Rand index; 1 = identical, 0 by chance.
    mi: mutual information, bits. rmi: reduced mutual information, bits per unit; rmi_normalized: over the mean of the
        partitions' rmi with themselves.
    vi: variation of information H(a|b) + H(b|a), bits; 0 = identical. vi_normalized: 1 - [H(a|b)/H(a) + H(b|a)/H(b)]/2.
    overlap_greedy, overlap_optimal: share of units in matched modules, each module matched at most once; the largest
        n_rs first (the paper's), or so that the share is largest.

    Args:
        labels_a: ``[units]`` integers; negative for dead units.
        labels_b: As ``labels_a``.
        dead: ``dropped`` leaves out the units that are dead in either partition; ``pooled`` makes the dead units of
            each partition a further module, as the paper does.

    Returns:
        The scores, the number ``num_units`` of units compared and ``num_dead`` of units left out or pooled. A score is
        NaN where it is undefined: no unit to compare, or an entropy of zero to divide by.

    Raises:
        ValueError: Not two integer vectors of one length, or an unknown ``dead``.

    Example:
        >>> scores = alignment([0, 0, 1, 1], [0, 0, 0, 1])
        >>> round(scores["element_centric"], 4), round(scores["vi"], 4)
        (0.5417, 1.1887)

    References:
        Gates et al., "Element-centric clustering comparison", 2019; Newman, Cantwell & Young, "Improved mutual
        information measure", 2020; Meila 2007; Vinh, Epps & Bailey 2010.
    """
    one_of(dead, DEAD_RULES, "dead")
    a = check_partition("labels_a", labels_a)
    b = check_partition("labels_b", labels_b, len(a))
    is_dead = (a < 0) | (b < 0)
    # All negative labels become -1, so that pooled dead units are one module.
    a, b = np.maximum(a, -1), np.maximum(b, -1)
    if dead == "dropped":
        a, b = a[~is_dead], b[~is_dead]
    counts = {"num_units": len(a), "num_dead": int(is_dead.sum())}
    if not len(a):
        return dict.fromkeys(SCORES, float("nan")) | counts
    table = contingency(a, b)
    return {
        "element_centric": element_centric(table),
        **_adjusted_scores(a, b),
        **_information(table),
        "overlap_greedy": greedy_overlap(table),
        "overlap_optimal": optimal_overlap(table),
        **counts,
    }


def _adjusted_scores(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

    return {"ami": float(adjusted_mutual_info_score(a, b)), "ari": float(adjusted_rand_score(a, b))}


def contingency(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``n_rs``, the number of units in module r of one partition and s of the other, without zero rows."""
    _, rows = np.unique(a, return_inverse=True)
    _, columns = np.unique(b, return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    return table


def element_centric(table: np.ndarray) -> float:
    """Return the element-centric similarity from a contingency table.

    A unit in cell (r, s) has 1/2 sum_j |[j in r]/a_r - [j in s]/b_s| = 1 - n_rs / max(a_r, b_s).
    """
    return float(np.sum(table**2 / np.maximum(table.sum(1, keepdims=True), table.sum(0))) / table.sum())


def element_centric_units(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return each unit's part in :func:`element_centric`, ``n_rs / max(a_r, b_s)`` of its own modules: ``[units]``."""
    _, rows = np.unique(a, return_inverse=True)
    _, columns = np.unique(b, return_inverse=True)
    table = contingency(a, b)
    largest = np.maximum(table.sum(1)[rows], table.sum(0)[columns])
    return table[rows, columns] / largest


def _information(table: np.ndarray) -> dict[str, float]:
    """Return mutual information, its reduced form and variation of information; the last two also normalized."""
    a, b = table.sum(1), table.sum(0)
    of_a, of_b, of_both = (_entropy(counts) for counts in (a, b, table.ravel()))
    reduced = reduced_mutual_information(table)
    # The table of a partition with itself is the diagonal of its modules' sizes.
    with_themselves = (reduced_mutual_information(np.diag(a)) + reduced_mutual_information(np.diag(b))) / 2
    has_entropies = of_a > 0 and of_b > 0
    return {
        # Rounding may make these slightly negative.
        "mi": max(0.0, of_a + of_b - of_both),
        "rmi": reduced,
        "rmi_normalized": reduced / with_themselves if with_themselves else float("nan"),
        "vi": max(0.0, 2 * of_both - of_a - of_b),
        "vi_normalized": 1 - ((of_both - of_a) / of_b + (of_both - of_b) / of_a) / 2 if has_entropies else float("nan"),
    }


def _entropy(counts: np.ndarray) -> float:
    """Return the entropy in bits of a distribution given by counts."""
    shares = counts[counts > 0] / counts.sum()
    return float(-np.sum(shares * np.log2(shares)))


def reduced_mutual_information(table: np.ndarray) -> float:
    """Return ``[log2 (n! prod n_rs! / (prod a_r! prod b_s!)) - log2 Omega(a, b)] / n``, in bits per element.

    Omega is the number of contingency tables with these margins, by the estimate of Diaconis and Efron.

    References:
        Newman, Cantwell & Young, Physical Review E 101, 042304 (2020), equations 19 to 22 and 26.
    """
    from scipy.special import gammaln

    a, b, n = table.sum(1), table.sum(0), table.sum()
    log_information = gammaln(n + 1) + gammaln(table + 1).sum() - gammaln(a + 1).sum() - gammaln(b + 1).sum()
    return float((log_information - _log_num_tables(a, b)) / (n * np.log(2)))


def _log_num_tables(a: np.ndarray, b: np.ndarray) -> float:
    """Return the natural log of the Diaconis-Efron estimate of the number of tables with these margins."""
    from scipy.special import gammaln

    n, num_rows, num_columns = a.sum(), len(a), len(b)
    w = n / (n + num_rows * num_columns / 2)
    x = (1 - w) / num_rows + w * a / n
    y = (1 - w) / num_columns + w * b / n
    mu = (num_rows + 1) / (num_rows * np.sum(y**2)) - 1 / num_rows
    nu = (num_columns + 1) / (num_columns * np.sum(x**2)) - 1 / num_columns
    return (
        (num_rows - 1) * (num_columns - 1) * np.log(n + num_rows * num_columns / 2)
        + (num_rows + nu - 2) / 2 * np.log(y).sum()
        + (num_columns + mu - 2) / 2 * np.log(x).sum()
        + (gammaln(mu * num_rows) + gammaln(nu * num_columns)) / 2
        - (num_columns * (gammaln(nu) + gammaln(num_rows)) + num_rows * (gammaln(mu) + gammaln(num_columns))) / 2
    )
