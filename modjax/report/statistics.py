"""Statistics over seeds: t and bootstrap intervals, sign-flip and Welch tests, slopes and rank correlations.

Seeds are the unit of replication: trials of one seed share initial weights, split and batch order, so each seed gives
one number (a slope, a gain, a difference), and statistics are computed over those numbers. Below ``LEAST_SEEDS`` seeds,
nothing is tested and no interval is given: the points are reported instead. Sign-flip tests need ``LEAST_FLIPPED``
seeds: with fewer, the two-sided p cannot be 0.05 or less, whatever the numbers are.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

LEAST_SEEDS = 5
LEAST_FLIPPED = 6  # 2/2^5 = 0.06 is above the level, 2/2^6 = 0.03 below
RESAMPLES = 10_000
CONFIDENCE = 0.95
ROUNDING = 1e-12
EXACT_SEEDS = 14  # up to this number, all 2^n sign flips are used; beyond, RESAMPLES of them are drawn


class SeedSummary(NamedTuple):
    """Statistics of one number over seeds; None where there are too few seeds.

    Attributes:
        estimate: Mean over seeds (for two groups: difference of their means).
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
        least: Smallest number of a seed.
        most: Largest number of a seed.
        p: Two-sided p-value.
        effect_size: Estimate in standard deviations.
        num_seeds: Number of seeds that have a number (for two groups: of the smaller one).
    """

    estimate: float | None
    low: float | None
    high: float | None
    least: float | None
    most: float | None
    p: float | None
    effect_size: float | None
    num_seeds: int


def bootstrap(rows: Any, statistic: Callable[[np.ndarray], np.ndarray], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a statistic of seeds.

    n rows (seeds) are drawn with replacement ``RESAMPLES`` times; the interval goes from the 2.5th to the 97.5th
    percentile of the statistic of the draws. Rows are drawn whole, so numbers that are paired in a seed stay paired.
    The order of rows does not matter.

    Args:
        rows: Numbers ``[seeds columns]``.
        statistic: Function ``[resamples seeds columns] -> [resamples]``.
        seed: Seed of the draws.

    Example:
        >>> bootstrap([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]], lambda rows: (rows[..., 1] / rows[..., 0]).mean(-1))
        (2.0, 2.0)

    References:
        Efron & Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.
    """
    table = np.asarray(rows, np.float64)
    # Sorted, so that the interval does not depend on the order in which seeds are given.
    table = table[np.lexsort(table.T[::-1])]
    draws = np.random.default_rng(seed).integers(len(table), size=(RESAMPLES, len(table)))
    return _middle(statistic(table[draws]))


def bootstrap_mean(values: Any, seed: int = 0) -> tuple[float, float]:
    """Return the :func:`bootstrap` interval of the mean of one number per seed."""
    return bootstrap(np.asarray(values, np.float64)[:, None], lambda rows: rows[..., 0].mean(-1), seed)


def t_interval(values: Any, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return Student's interval of a mean: mean +- t(n - 1) sd / sqrt(n), sd divided by n - 1.

    It covers the mean of normal numbers as often as it says; with six seeds a percentile bootstrap of 95 % covers 87 %.

    Args:
        values: One number per seed, two at least.
        confidence: Share of samples whose interval covers the mean.

    Raises:
        ValueError: Fewer than two numbers.

    Example:
        >>> low, high = t_interval([1.0, 2.0, 3.0])
        >>> round(low, 3), round(high, 3)
        (-0.484, 4.484)
    """
    from scipy.special import stdtrit

    d = np.asarray(values, np.float64)
    if len(d) < 2:
        raise ValueError(f"an interval needs two numbers at least; got {len(d)}.")
    half = float(stdtrit(len(d) - 1, (1 + confidence) / 2) * d.std(ddof=1) / np.sqrt(len(d)))
    return float(d.mean()) - half, float(d.mean()) + half


def sign_flip_p(differences: Any, seed: int = 0) -> float:
    """Return the two-sided p of paired differences whose signs are exchangeable under the null.

    p = share of sign vectors s in {-1, 1}^n with |sum_i s_i d_i| >= |sum_i d_i|. All 2^n are used up to n = 14, so that
    p is exact and at least 2/2^n; beyond, RESAMPLES random ones.

    Args:
        differences: One difference per seed.
        seed: Seed of the random signs.

    Example:
        >>> sign_flip_p([1.0, 2.0, 3.0, 4.0, 5.0]) == 2 / 32
        True

    References:
        Fisher, "The Design of Experiments" (1935), section 21.
    """
    d = np.asarray(differences, np.float64)
    return tails_p(sign_flips(len(d), seed) @ d / len(d), float(d.mean()), is_exact=len(d) <= EXACT_SEEDS)


def sign_flips(num: int, seed: int = 0) -> np.ndarray:
    """Return signs ``[flips num]``: all 2^num up to 14 seeds, else random ones."""
    if num <= EXACT_SEEDS:
        # The bits of 0 ... 2^num - 1 enumerate all sign vectors, beginning with the unflipped one.
        return 1.0 - 2.0 * (np.arange(2**num)[:, None] >> np.arange(num) & 1)
    return np.random.default_rng(seed).choice([-1.0, 1.0], size=(RESAMPLES, num))


def tails_p(flipped: np.ndarray, observed: float, is_exact: bool) -> float:
    """Return the two-sided p: twice the share of flipped statistics at least as extreme as the observed one, at most 1.

    Extreme means on the observed statistic's side; differences within rounding count as ties.

    Args:
        flipped: Statistic for each row of :func:`sign_flips`.
        observed: Statistic of the unflipped data.
        is_exact: Whether ``flipped`` includes the observed statistic; if not, it is counted as one more.
    """
    num_as_far = min(int(np.sum(flipped >= observed - ROUNDING)), int(np.sum(flipped <= observed + ROUNDING)))
    share = num_as_far / len(flipped) if is_exact else (1 + num_as_far) / (1 + len(flipped))
    return min(1.0, 2 * share)


def summarize_seeds(values: Any, interval: str = "t") -> SeedSummary:
    """Return the mean over seeds, its interval, sign-flip p against zero, and mean / standard deviation.

    Numbers within 1e-12 of zero are rounding errors and count as zero: all quantities summarized here are of order one.

    Args:
        values: One number per seed; NaN where a seed has none.
        interval: ``t`` (:func:`t_interval`) or ``bootstrap`` (:func:`bootstrap_mean`).

    Example:
        >>> few = summarize_seeds([0.1, 0.2, float("nan"), 0.3])
        >>> few.num_seeds, few.least, few.most, few.low, few.p
        (3, 0.1, 0.3, None, None)
    """
    d = np.asarray(values, np.float64)
    d = d[~np.isnan(d)]
    d = np.where(np.abs(d) <= ROUNDING, 0.0, d)
    if not len(d):
        return SeedSummary(None, None, None, None, None, None, None, 0)
    limits = t_interval if interval == "t" else bootstrap_mean
    low, high = limits(d) if len(d) >= LEAST_SEEDS else (None, None)
    p = sign_flip_p(d) if len(d) >= LEAST_FLIPPED else None
    mean = float(d.mean())
    return SeedSummary(mean, low, high, float(d.min()), float(d.max()), p, _over_spread(mean, d), len(d))


def compare_groups(values: Any, reference: Any, interval: str = "t") -> SeedSummary:
    """Compare the seeds of one group with the mean of another: unpaired, with possibly different spreads.

    estimate = mean(values) - mean(reference), interval and p by Welch's t (permuting labels would give too small a p
    where the small group has the larger spread), effect_size = estimate / sd(reference). least and most are of values -
    mean(reference).

    Args:
        values: One number per seed; NaN where a seed has none.
        reference: Numbers of the other group, such as untrained networks, one per seed.
        interval: ``t`` (Welch's), or ``bootstrap`` of the seeds of both groups.

    References:
        Welch, Biometrika 34, 28 (1947). Glass, Educational Researcher 5, 3 (1976), for the effect size.
    """
    a, b = (np.asarray(group, np.float64) for group in (values, reference))
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    num_seeds = min(len(a), len(b))
    if not num_seeds:
        return SeedSummary(None, None, None, None, None, None, None, 0)
    shift, low, high, p = float(a.mean() - b.mean()), None, None, None
    if num_seeds >= LEAST_SEEDS:
        low, high = _welch_interval(a, b) if interval == "t" else _resampled_interval(a, b)
        p = welch_p(a, b)
    ends = float(a.min() - b.mean()), float(a.max() - b.mean())
    return SeedSummary(shift, low, high, *ends, p, _over_spread(shift, b), num_seeds)


def welch_p(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return the two-sided p of Welch's t; None where neither group varies.

    t = (mean a - mean b) / sqrt(u + v), u = var(a)/n_a, v = var(b)/n_b, against Student's t with
    (u + v)^2 / (u^2/(n_a - 1) + v^2/(n_b - 1)) degrees of freedom; variances divide by n - 1.
    """
    from scipy.special import stdtr

    if not _varies(a) and not _varies(b):
        return None
    error, freedom = _welch(a, b)
    return float(2 * stdtr(freedom, -abs(float(a.mean() - b.mean())) / error))


def _welch(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Return the standard error of a difference of means, and Welch's degrees of freedom."""
    u, v = (float(group.var(ddof=1)) / len(group) for group in (a, b))
    return float(np.sqrt(u + v)), (u + v) ** 2 / (u**2 / (len(a) - 1) + v**2 / (len(b) - 1))


def _welch_interval(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    from scipy.special import stdtrit

    shift = float(a.mean() - b.mean())
    if not _varies(a) and not _varies(b):
        return shift, shift
    error, freedom = _welch(a, b)
    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    return shift - half, shift + half


def _resampled_interval(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    # Different seeds, so that the draws of the two groups are independent.
    means = [_resampled_means(group, seed) for seed, group in enumerate((a, b))]
    return _middle(means[0] - means[1])


def slope(x: Any, y: Any) -> float:
    """Return the least-squares slope, sum (x - mean x)(y - mean y) / sum (x - mean x)^2; NaN below two values of x.

    Example:
        >>> round(slope([0.0, 0.5, 1.0], [1.0, 1.25, 1.5]), 12)
        0.5
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(np.unique(x)) < 2:
        return np.nan
    centred = x - x.mean()
    return float(centred @ (y - y.mean()) / (centred @ centred))


def spearman(x: Any, y: Any) -> float:
    """Return Pearson's correlation of the ranks, averaged over ties; 0 where y does not vary, NaN where x does not.

    Example:
        >>> round(spearman([0.0, 0.1, 0.2], [1.0, 10.0, 100.0]), 12)
        1.0
    """
    from scipy.stats import rankdata

    if len(np.unique(x)) < 2:
        return np.nan
    a, b = (rankdata(values) - (len(values) + 1) / 2 for values in (x, y))
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b / spread) if spread else 0.0


def _middle(draws: np.ndarray) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def _resampled_means(values: np.ndarray, seed: int) -> np.ndarray:
    draws = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    return np.sort(values)[draws].mean(1)


def _varies(values: np.ndarray) -> bool:
    """Return whether values differ by more than rounding."""
    return len(values) > 1 and bool(np.ptp(values) > 1e-12 * max(1e-12, float(np.abs(values).max())))


def _over_spread(mean: float, values: np.ndarray) -> float | None:
    return mean / float(values.std(ddof=1)) if _varies(values) else None
