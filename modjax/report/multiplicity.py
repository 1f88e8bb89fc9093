"""Tests of several hypotheses at once, of equivalence, and of p-values together."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from modjax.report.statistics import EXACT_SEEDS, LEAST_FLIPPED, ROUNDING, sign_flips

COMBINATIONS = ("stouffer", "fisher")


class FlipTest(NamedTuple):
    """A statistic, and its values under sign flips of seeds; in units of its standard deviation under them.

    Attributes:
        observed: The statistic of the data.
        flipped: ``[flips]`` its value for each row of :func:`modjax.report.statistics.sign_flips` of the seeds.
        is_exact: Whether the flips are all there are, the unflipped data among them.
    """

    observed: float
    flipped: np.ndarray
    is_exact: bool


def flip_test(values: Any) -> FlipTest | None:
    """Return the mean over seeds, over its standard deviation under sign flips; None below six seeds.

    For tests of the same seeds that orders as Student's t does: mean / sqrt(sum d^2) rises with t.

    Args:
        values: One number per seed; NaN where a seed has none. Tests of a family have the same seeds in the same order.
    """
    d = np.asarray(values, np.float64)
    is_there = ~np.isnan(d)
    if is_there.sum() < LEAST_FLIPPED:
        return None
    d = np.where(is_there & (np.abs(d) > ROUNDING), d, 0.0)
    scale = float(np.sqrt(d @ d)) or 1.0
    return FlipTest(float(d.sum()) / scale, sign_flips(len(d)) @ d / scale, len(d) <= EXACT_SEEDS)


def step_down(tests: Sequence[FlipTest]) -> np.ndarray:
    """Return adjusted p of a family: of step-down max-T with the sign flips shared by its tests.

    With |T_(1)| >= |T_(2)| >= ... the tests in order, p_(i) = share of flips in which the largest |T*_(j)| of j >= i is
    at least |T_(i)|, made non-decreasing in i. It controls the family-wise error, and since whole seeds are flipped, it
    makes use of how the tests depend on each other: m tests that say the same cost as much as one.

    Args:
        tests: Tests of the same seeds, with the same flips.

    References:
        Westfall & Young, "Resampling-Based Multiple Testing" (1993), algorithm 4.1.
    """
    if not tests:
        return np.empty(0)
    observed = np.abs([test.observed for test in tests])
    order = np.argsort(-observed, kind="stable")
    flipped = np.abs(np.stack([tests[index].flipped for index in order]))
    # The largest of this test and all weaker ones, flip by flip.
    maxima = np.maximum.accumulate(flipped[::-1], axis=0)[::-1]
    num_as_far = np.sum(maxima >= observed[order, None] - ROUNDING, axis=1)
    is_exact = all(test.is_exact for test in tests)
    p = num_as_far / flipped.shape[1] if is_exact else (1 + num_as_far) / (1 + flipped.shape[1])
    adjusted = np.empty(len(tests))
    adjusted[order] = np.maximum.accumulate(p)
    return adjusted


def max_t_p(differences: Any) -> np.ndarray:
    """Return p-values of paired differences, adjusted for testing several at once (step-down max-T).

    Signs of whole seeds are flipped, the same in all tests: all 2^n flips up to n = 14 seeds, else 10,000 random ones.
    The family-wise error, the chance of any false rejection, is at most the level, however the tests depend on each
    other. The least p is 2 / 2^n.

    Args:
        differences: ``[tests seeds]``, one row per test; NaN where a seed has no number.

    Returns:
        ``[tests]`` adjusted p; NaN for tests of fewer than six seeds, which do not count.

    Example:
        >>> max_t_p([[1.0, 2.0, 1.5, 2.5, 1.0, 2.0], [1.0, -1.0, 0.5, -0.5, 0.2, -0.1]]).tolist()
        [0.03125, 1.0]

    References:
        Westfall & Young, "Resampling-Based Multiple Testing" (1993).
    """
    table = np.atleast_2d(np.asarray(differences, np.float64))
    tests = [flip_test(row) for row in table]
    result = np.full(len(table), np.nan)
    tested = [index for index, test in enumerate(tests) if test is not None]
    result[tested] = step_down([test for test in tests if test is not None])
    return result


def holm_p(p: Any) -> np.ndarray:
    """Return p-values adjusted by Holm's step-down Bonferroni: family-wise error, whatever their dependence.

    p_(i) = max over j <= i of min(1, (m - j + 1) p_(j)), p sorted, m of them; NaN stays NaN and does not count.

    Example:
        >>> holm_p([0.01, 0.04, float("nan"), 0.03]).round(6).tolist()
        [0.03, 0.06, nan, 0.06]

    References:
        Holm, Scandinavian Journal of Statistics 6, 65 (1979).
    """
    values = np.asarray(p, np.float64)
    result = np.full(values.shape, np.nan)
    there = np.flatnonzero(~np.isnan(values))
    order = there[np.argsort(values[there], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    result[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return result


def equivalence_p(values: Any, margin: float) -> float | None:
    """Return p of two one-sided t tests of whether a mean lies within ``-margin`` to ``margin``.

    p = max(P(T >= (mean + margin) / se), P(T >= (margin - mean) / se)), T of n - 1 degrees of freedom, se = sd/sqrt(n).
    A small p says that there is no difference of the size of the margin or more, which a large p of a test of
    difference never says. None below two seeds, or where they do not vary.

    Args:
        values: One number per seed; NaN where a seed has none.
        margin: Largest mean that counts as no difference.

    Raises:
        ValueError: A margin that is not positive.

    Example:
        >>> bool(equivalence_p([0.01, -0.02, 0.0, 0.01, -0.01, 0.0], margin=0.05) < 0.001)
        True

    References:
        Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 657 (1987).
    """
    from scipy.special import stdtr

    check_margin(margin)
    d = np.asarray(values, np.float64)
    d = d[~np.isnan(d)]
    error = float(d.std(ddof=1)) / np.sqrt(len(d)) if len(d) > 1 else 0.0
    if error <= ROUNDING:
        return None
    mean = float(d.mean())
    return float(max(stdtr(len(d) - 1, -(side + margin) / error) for side in (mean, -mean)))


def check_margin(margin: float) -> None:
    """Raise ValueError unless a margin is a positive number."""
    if not (np.isfinite(margin) and margin > 0):
        raise ValueError(f"the margin of an equivalence test must be a positive number; got {margin}.")


def combined_p(p: Any, method: str = "stouffer") -> float | None:
    """Return one p for several independent tests of the same question, such as the null of each seed's network.

    stouffer: sum of normal quantiles over sqrt(n). fisher: -2 sum ln p, a chi-square of 2n degrees of freedom; it
    reacts to single small p-values, Stouffer to what many share. Of p-values on a grid, as permutation tests have, both
    are conservative.

    Args:
        p: p-values above 0; NaN where there is none.
        method: ``stouffer`` or ``fisher``.

    Raises:
        ValueError: A p outside (0, 1], or an unknown method.

    Example:
        >>> round(combined_p([0.1, 0.1, 0.1, 0.1]), 4)
        0.0052
    """
    from scipy.stats import combine_pvalues

    from modjax.names import one_of

    one_of(method, COMBINATIONS, "method")
    values = np.asarray(p, np.float64)
    values = values[~np.isnan(values)]
    if np.any((values <= 0) | (values > 1)):
        raise ValueError("p-values to combine must be above 0 and at most 1.")
    if not len(values):
        return None
    # A p of 1 has an infinite quantile: it counts as the largest that is below 1.
    combined: Any = combine_pvalues(np.minimum(values, 1 - 1e-12), method)
    return float(combined.pvalue)
