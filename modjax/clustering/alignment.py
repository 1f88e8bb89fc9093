"""Agreement between two partitions of the same units."""

from typing import Any

import numpy as np

from modjax.checks import check_adjacency
from modjax.clustering.modularity import check_partition, check_resolution, membership
from modjax.clustering.null_models import NullSummary, summarize_null

DEAD_RULES = ("dropped", "pooled")
LABEL_PERMUTATION = "label_permutation"


def alignment(labels_a: Any, labels_b: Any, dead: str = "dropped") -> dict[str, float]:
    """Scores of agreement between two partitions, all symmetric in them.

    element_centric: mean over units of 1 - 1/2 sum_j |1[j in A_i]/|A_i| - 1[j in B_i]/|B_i||, the element-centric
        similarity of partitions (for them it does not depend on alpha); 1 = identical.
    ami: adjusted mutual information. ari: adjusted Rand index. Both 1 if identical, 0 by chance.
    rmi: reduced mutual information, bits per element. vi: variation of information, bits; 0 = identical.

    Args:
        labels_a: ``[units]`` integers; negative for dead units.
        labels_b: As ``labels_a``.
        dead: ``dropped`` leaves out the units that are dead in either partition; ``pooled`` makes the dead units of
            each partition one module more, as the paper does.

    Returns:
        The scores, ``num_units`` compared and ``num_dead`` left out or pooled. Without any unit to compare, the scores
        are NaN.

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
    if dead not in DEAD_RULES:
        raise ValueError(f"dead must be one of {', '.join(DEAD_RULES)}; got {dead!r}.")
    a = check_partition("labels_a", labels_a)
    b = check_partition("labels_b", labels_b, len(a))
    is_dead = (a < 0) | (b < 0)
    a, b = np.maximum(a, -1), np.maximum(b, -1)
    if dead == "dropped":
        a, b = a[~is_dead], b[~is_dead]
    counts = {"num_units": len(a), "num_dead": int(is_dead.sum())}
    if not len(a):
        return {name: float("nan") for name in ("element_centric", "ami", "ari", "rmi", "vi")} | counts
    table = contingency(a, b)
    return {
        "element_centric": float(element_centric(table)),
        **_adjusted_scores(a, b),
        "rmi": reduced_mutual_information(table),
        "vi": variation_of_information(table),
        **counts,
    }


def _adjusted_scores(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

    return {"ami": float(adjusted_mutual_info_score(a, b)), "ari": float(adjusted_rand_score(a, b))}


def contingency(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``n_rs``: units in module r of one partition and s of the other; no empty row or column."""
    _, rows = np.unique(a, return_inverse=True)
    _, columns = np.unique(b, return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    return table


def element_centric(tables: np.ndarray) -> np.ndarray | np.float64:
    """Element-centric similarity from contingency tables ``[... r s]`` without empty rows or columns.

    A unit in cell (r, s) with sizes a_r, b_s has
    sum_j |...| = n_rs |1/a_r - 1/b_s| + (a_r - n_rs)/a_r + (b_s - n_rs)/b_s.
    """
    a = tables.sum(-1, keepdims=True)
    b = tables.sum(-2, keepdims=True)
    distance = tables * np.abs(1 / a - 1 / b) + (a - tables) / a + (b - tables) / b
    return np.sum(tables * (1 - distance / 2), axis=(-2, -1)) / tables.sum((-2, -1))


def variation_of_information(table: np.ndarray) -> float:
    """``H(a|b) + H(b|a)`` in bits."""
    shares = table / table.sum()
    rows, columns = shares.sum(1, keepdims=True), shares.sum(0, keepdims=True)
    cells = shares > 0
    inverse = shares**2 / (rows * columns)
    return float(max(0.0, -np.sum(shares[cells] * np.log2(inverse[cells]))))


def reduced_mutual_information(table: np.ndarray) -> float:
    """``[log2 (n! prod n_rs! / (prod a_r! prod b_s!)) - log2 Omega(a, b)] / n``, bits per element.

    Omega, the number of contingency tables with these margins, by the estimate of Diaconis and Efron.

    References:
        Newman, Cantwell & Young, Physical Review E 101, 042304 (2020), equations 19 to 22 and 26.
    """
    from scipy.special import gammaln

    a, b, n = table.sum(1), table.sum(0), table.sum()
    log_information = gammaln(n + 1) + gammaln(table + 1).sum() - gammaln(a + 1).sum() - gammaln(b + 1).sum()
    return float((log_information - _log_num_tables(a, b)) / (n * np.log(2)))


def _log_num_tables(a: np.ndarray, b: np.ndarray) -> float:
    """Natural log of the Diaconis-Efron estimate."""
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


def transfer_modularity(adjacency: Any, labels: Any, resolution: float = 1.0) -> float:
    """``Q(A_a, P_b)``: how modular one measure's graph is under another measure's modules.

    Q = sum_r [e_rr - g (sum_s e_rs)^2],  e_rs = sum_{i in r, j in s} A_ij / sum A, modules r, s alone: the authors'
    definition. It is :func:`modjax.modularity` unless a unit that is dead in the partition has edges in the graph:
    those edges count in ``sum A`` but not in the strengths of the modules.

    Args:
        adjacency: ``[units units]`` of one measure.
        labels: ``[units]`` found for another; negative ones are in no module.
        resolution: g of :func:`modjax.modularity`.

    Raises:
        ValueError: Not an adjacency, labels of the wrong length, or a resolution that is not positive.

    Example:
        >>> two_cliques = np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3))
        >>> round(transfer_modularity(two_cliques, [0, 1, 0, 1, 0, 1]), 4)
        -0.1667

    References:
        Lange, Rolnick & Kording, TMLR 2022, section 2.4.
    """
    matrix = check_adjacency(adjacency)
    array = check_partition("labels", labels, len(matrix))
    return transfer_modularity_of(matrix, array, check_resolution(resolution))


def transfer_modularity_of(adjacency: np.ndarray, labels: np.ndarray, resolution: float = 1.0) -> float:
    """:func:`transfer_modularity` of checked arguments."""
    total = adjacency.sum()
    if total == 0:
        return float("nan")
    members = membership(labels)
    edges = members.T @ adjacency @ members / total
    return float(np.trace(edges) - resolution * np.sum(edges.sum(1) ** 2))


def draw_permutations(num_units: int, num_permutations: int, seed: int) -> np.ndarray:
    """Random orders of the units, ``[permutations units]``; the same for all pairs of one layer."""
    rng = np.random.default_rng([seed, 2])
    return rng.permuted(np.tile(np.arange(num_units), (num_permutations, 1)), axis=1)


def alignment_null(labels_a: np.ndarray, labels_b: np.ndarray, permutations: np.ndarray) -> NullSummary:
    """Element-centric similarity against the same with the units of one partition exchanged at random.

    Args:
        labels_a: ``[units]``; units dead in either partition are left out.
        labels_b: ``[units]``.
        permutations: ``[permutations units]`` orders of all units; those left out are skipped in each.
    """
    is_alive = (labels_a >= 0) & (labels_b >= 0)
    num_alive = int(is_alive.sum())
    if not num_alive or not len(permutations):
        return summarize_null(LABEL_PERMUTATION, float("nan"), np.empty(0))
    a, b = labels_a[is_alive], labels_b[is_alive]
    # The rank of each living unit among the living ones of an order is a uniform permutation of them.
    orders = permutations[is_alive[permutations]].reshape(len(permutations), num_alive)
    place = np.cumsum(is_alive) - 1
    one_hot_a = (a[:, None] == np.unique(a)).astype(np.float64)
    one_hot_b = (b[:, None] == np.unique(b)).astype(np.float64)
    tables = np.einsum("ur,pus->prs", one_hot_a, one_hot_b[place[orders]], optimize=True)
    observed = float(element_centric(contingency(a, b)))
    return summarize_null(LABEL_PERMUTATION, observed, np.asarray(element_centric(tables)))
