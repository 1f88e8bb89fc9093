"""Tests of several hypotheses: size under the null, power, and the numbers of other packages where they have them."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest, combine_pvalues
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

import modjax as mj
from modjax.report.multiplicity import holm_p
from modjax.report.statistics import sign_flip_p, summarize_seeds

GRAPHS = 16


def graphs_of_networks(rng: np.random.Generator, num_seeds: int, shared: float, noise="normal") -> np.ndarray:
    """Differences ``[graphs seeds]`` without effect; graphs of a network share this part of their variance."""
    draw = {
        "normal": rng.standard_normal,
        "heavy": lambda size: rng.exponential(size=size) - rng.exponential(size=size),
    }[noise]
    return np.sqrt(shared) * draw((1, num_seeds)) + np.sqrt(1 - shared) * draw((GRAPHS, num_seeds))


def literal_step_down(table: np.ndarray) -> np.ndarray:
    """Algorithm 4.1 of Westfall & Young by its definition, with t statistics."""

    def t(d: np.ndarray) -> float:
        return abs(d.mean() / (d.std(ddof=1) / np.sqrt(len(d))))

    observed = np.array([t(row) for row in table])
    order = np.argsort(-observed)
    counts = np.zeros(len(table))
    flips = list(product([1, -1], repeat=table.shape[1]))
    for signs in flips:
        flipped = np.array([t(row * signs) for row in table])
        for rank in range(len(order)):
            counts[rank] += max(flipped[order[rank:]]) >= observed[order[rank]] - 1e-9
    adjusted = np.empty(len(table))
    adjusted[order] = np.maximum.accumulate(counts / len(flips))
    return adjusted


def test_max_t_is_its_definition_with_t():
    table = np.random.default_rng(0).standard_normal((4, 7)) + np.array([[1.0], [0.5], [0.0], [2.0]])
    np.testing.assert_allclose(mj.max_t_p(table), literal_step_down(table))


def test_one_test_is_not_adjusted():
    for seed in range(5):
        d = np.random.default_rng(seed).standard_normal(8) + 0.5
        assert mj.max_t_p([d])[0] == sign_flip_p(d)


@pytest.mark.parametrize("noise", ["normal", "heavy"])
@pytest.mark.parametrize("shared", [0.0, 0.7])
@pytest.mark.parametrize("num_seeds", [6, 9])
def test_family_wise_error_is_at_most_the_level(num_seeds, shared, noise):
    rng = np.random.default_rng(num_seeds)
    num = 400
    errors = sum(mj.max_t_p(graphs_of_networks(rng, num_seeds, shared, noise)).min() <= 0.05 for _ in range(num))
    assert binomtest(errors, num, 0.05, alternative="greater").pvalue > 1e-3


@pytest.mark.parametrize("shared", [0.0, 0.7])
def test_five_effects_of_sixteen_are_shown_by_six_seeds(shared):
    """Benjamini-Hochberg needs ten of sixteen at the floor of 2/64; shared flips know that graphs go together."""
    rng = np.random.default_rng(0)
    by_flips, by_benjamini_hochberg = [], []
    for _ in range(50):
        table = 0.1 * graphs_of_networks(rng, 6, shared)
        table[:5] += 1.0
        by_flips.append(np.sum(mj.max_t_p(table)[:5] <= 0.05))
        by_benjamini_hochberg.append(np.sum(mj.adjusted_p([sign_flip_p(row) for row in table])[:5] <= 0.05))
    assert np.mean(by_flips) > 4.5
    assert np.median(by_benjamini_hochberg) == 0


def test_seeds_that_lack_a_number():
    table = np.random.default_rng(0).standard_normal((3, 9)) + 2
    table[1, 4] = np.nan
    table[2, :4] = np.nan  # five seeds are too few
    adjusted = mj.max_t_p(table)
    assert np.isnan(adjusted[2])
    assert (adjusted[:2] >= [sign_flip_p(table[0]), sign_flip_p(table[1][~np.isnan(table[1])])]).all()
    np.testing.assert_array_equal(adjusted[:2], mj.max_t_p(table[:2]))


def test_holm_is_that_of_statsmodels():
    p = np.random.default_rng(0).random(20) ** 3
    np.testing.assert_allclose(holm_p(p), multipletests(p, method="holm")[1])
    assert np.isnan(holm_p([np.nan, np.nan])).all()
    with_gap = holm_p([*p, np.nan])
    np.testing.assert_allclose(with_gap[:-1], holm_p(p))


@pytest.mark.parametrize("mean", [0.0, 0.3, -0.6])
def test_equivalence_is_that_of_statsmodels(mean):
    d = np.random.default_rng(1).standard_normal(9) + mean
    expected = DescrStatsW(d).ttost_mean(-0.5, 0.5)[0]
    assert mj.equivalence_p(d, 0.5) == pytest.approx(expected)
    assert mj.equivalence_p([*d, np.nan], 0.5) == pytest.approx(expected)


@pytest.mark.parametrize("num_seeds", [6, 9])
def test_size_and_power_of_the_equivalence_test(num_seeds):
    """At a mean of exactly the margin it errs in at most 5 %; without a difference it says so."""
    rng = np.random.default_rng(num_seeds)
    num, margin = 2000, 1.0
    at_margin = sum(mj.equivalence_p(rng.standard_normal(num_seeds) + margin, margin) <= 0.05 for _ in range(num))
    assert binomtest(at_margin, num, 0.05, alternative="greater").pvalue > 1e-3
    without = [mj.equivalence_p(0.3 * rng.standard_normal(num_seeds), margin) <= 0.05 for _ in range(200)]
    assert np.mean(without) > 0.95


@pytest.mark.parametrize("margin", [0.0, -0.1, np.nan, np.inf])
def test_a_margin_must_be_positive(margin):
    with pytest.raises(ValueError, match=f"margin of an equivalence test must be a positive number; got {margin}"):
        mj.equivalence_p([0.0, 1.0], margin)


def test_equivalence_of_too_little():
    assert mj.equivalence_p([0.1], 0.5) is None
    assert mj.equivalence_p([0.1, 0.1, 0.1], 0.5) is None  # no spread to test against


@pytest.mark.parametrize("method", ["stouffer", "fisher"])
def test_combined_p_is_that_of_scipy_and_uniform_under_the_null(method):
    p = np.random.default_rng(0).random(7)
    assert mj.combined_p([*p, np.nan], method) == pytest.approx(combine_pvalues(p, method)[1])
    rng = np.random.default_rng(1)
    combined = np.array([mj.combined_p(rng.random(9), method) for _ in range(1000)])
    assert binomtest(int(np.sum(combined <= 0.05)), 1000, 0.05).pvalue > 1e-3
    # On the grid of 19 nulls it errs less often than it says.
    grid = np.array([mj.combined_p(np.ceil(20 * rng.random(9)) / 20, method) for _ in range(1000)])
    assert binomtest(int(np.sum(grid <= 0.05)), 1000, 0.05, alternative="greater").pvalue > 1e-3
    assert mj.combined_p([1.0, 1.0], method) > 0.9
    assert mj.combined_p([np.nan], method) is None
    for wrong in ([0.0], [1.5]):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            mj.combined_p(wrong, method)


@pytest.mark.parametrize("noise", ["normal", "difference of skewed", "skewed"])
@pytest.mark.parametrize("num_seeds", [6, 9])
def test_t_intervals_cover_what_they_say(num_seeds, noise):
    """93 to 97 %; a percentile bootstrap covers less with six seeds."""
    rng = np.random.default_rng(3)
    draws = {
        "normal": lambda: rng.standard_normal(num_seeds),
        "difference of skewed": lambda: rng.exponential(size=num_seeds) - rng.exponential(size=num_seeds),
        "skewed": lambda: rng.gamma(16, size=num_seeds) - 16,  # skewness 0.5
    }[noise]
    covered = [(low <= 0 <= high) for low, high in (mj.t_interval(draws()) for _ in range(4000))]
    assert 0.93 <= np.mean(covered) <= 0.97
    if num_seeds == 6:
        bootstrapped = [summarize_seeds(draws(), "bootstrap") for _ in range(300)]
        assert np.mean([row.low <= 0 <= row.high for row in bootstrapped]) < 0.92


def test_an_interval_needs_two_numbers():
    with pytest.raises(ValueError, match="two numbers at least; got 1"):
        mj.t_interval([1.0])
