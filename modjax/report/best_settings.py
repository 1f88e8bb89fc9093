"""Gain of an arm at its best setting, chosen so that the choice inflates neither the gain nor its p-value."""

import numpy as np

from modjax.report.multiplicity import FlipTest
from modjax.report.statistics import sign_flips, tails_p


def best_gains(gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each seed's gain at the setting that the other seeds choose, and that setting (-1 for none).

    best_s = G[g(s), s], where g(s) maximizes the mean of G[g, t] over the other seeds t != s, among the settings at
    which seed s has a gain. The maximum over settings of a seed's own gain would be biased upwards, the more so the
    more settings an arm has.

    Args:
        gains: Gains ``[... settings seeds]``, NaN where there is none.

    Returns:
        Gains and indices of settings, both ``[... seeds]``.

    Example:
        >>> best, chosen = best_gains(np.array([[1.0, 1.0, 9.0], [2.0, 2.0, 2.0]]))
        >>> best.tolist(), chosen.tolist()
        ([1.0, 1.0, 2.0], [0, 0, 1])
    """
    is_there = ~np.isnan(gains)
    known = np.where(is_there, gains, 0.0)
    # Means that leave one seed out, all at once: the sum over seeds minus the seed's own gain.
    num_others = is_there.sum(-1, keepdims=True) - is_there
    means = (known.sum(-1, keepdims=True) - known) / np.maximum(num_others, 1)
    # A setting at which the seed itself, or every other seed, has no gain cannot be chosen.
    means = np.where(is_there & (num_others > 0), means, -np.inf)
    if not gains.shape[-2]:
        shape = gains.shape[:-2] + gains.shape[-1:]
        return np.full(shape, np.nan), np.full(shape, -1)
    chosen = means.argmax(-2)
    best = np.take_along_axis(gains, chosen[..., None, :], -2)[..., 0, :]
    has_any = np.isfinite(means.max(-2))
    return np.where(has_any, best, np.nan), np.where(has_any, chosen, -1)


def best_gains_test(gains: np.ndarray, rival: np.ndarray | None = None) -> FlipTest:
    """Return the mean best gain and its values under sign flips, over their standard deviation (see below)."""
    # One sign per seed, shared by all settings and both arms: what is paired within a seed stays paired.
    signs = sign_flips(gains.shape[-1])[:, None, :]
    flipped = _mean_best(signs * _residuals(gains), None if rival is None else signs * _residuals(rival))
    scale = float(flipped.std()) or 1.0
    return FlipTest(float(_mean_best(gains, rival)) / scale, flipped / scale, is_exact=False)


def best_gains_p(gains: np.ndarray, rival: np.ndarray | None = None) -> float:
    """Return the two-sided p of the mean best gain, or of its difference from a rival arm's, choices included.

    Under the null, settings do not differ in their means, so that the choice is among noise. Each setting's mean is
    subtracted, G[g, s] - mean_t G[g, t], times sqrt(n / (n - 1)) to keep the spread; signs of whole seeds (all
    settings of both arms) are flipped, the best settings are chosen anew for each flip, and p = 2 (1 + number of flips
    as far out as the observed mean, on its side) / (1 + flips). Flipping the signs of the chosen gains alone would be
    wrong: seeds choose by each other, so their gains are correlated (at nine seeds such a p is below 0.05 in a fifth
    of null cases).

    Args:
        gains: Gains of the arm, ``[settings seeds]``, NaN where there is none.
        rival: Gains of the other arm, same seeds.

    References:
        Wu, "Jackknife, bootstrap and other resampling methods in regression analysis", Annals of Statistics 14, 1261
        (1986), for flipped residuals; Mammen, Annals of Statistics 21, 255 (1993).
    """
    test = best_gains_test(gains, rival)
    return tails_p(test.flipped, test.observed, is_exact=False)


def _residuals(gains: np.ndarray) -> np.ndarray:
    is_there = ~np.isnan(gains)
    num = is_there.sum(-1, keepdims=True)
    means = np.where(is_there, gains, 0.0).sum(-1, keepdims=True) / np.maximum(num, 1)
    return (gains - means) * np.sqrt(num / np.maximum(num - 1, 1))


def _mean_best(gains: np.ndarray, rival: np.ndarray | None) -> np.ndarray:
    best = best_gains(gains)[0]
    if rival is not None:
        best = best - best_gains(rival)[0]
    is_there = ~np.isnan(best)
    return np.asarray(np.where(is_there, best, 0.0).sum(-1) / np.maximum(is_there.sum(-1), 1))
