import numpy as np
import pytest
from scipy import stats

from modjax.report.statistics import (
    bootstrap,
    bootstrap_mean,
    compare_groups,
    sign_flip_p,
    slope,
    spearman,
    summarize_seeds,
    welch_p,
)


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(0).normal(size=9)
    low, high = bootstrap_mean(values)
    known = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=50_000, rng=np.random.default_rng(1))
    np.testing.assert_allclose((low, high), known.confidence_interval, atol=0.03)


def test_bootstrap_of_a_ratio_keeps_seeds_paired():
    x = np.random.default_rng(0).uniform(1, 2, 9)
    rows = np.stack([3 * x, x], axis=1)
    np.testing.assert_allclose(bootstrap(rows, lambda r: r[..., 0].mean(-1) / r[..., 1].mean(-1)), (3, 3))


def test_order_of_seeds_changes_nothing():
    rng = np.random.default_rng(0)
    values = rng.normal(1, 1, 9)
    one, other = summarize_seeds(values), summarize_seeds(rng.permutation(values))
    np.testing.assert_allclose(np.array(one, float), np.array(other, float), rtol=1e-12)
    reference = rng.normal(size=20)
    one, other = compare_groups(values, reference), compare_groups(values[::-1], rng.permutation(reference))
    np.testing.assert_allclose(np.array(one, float), np.array(other, float), rtol=1e-12)


def test_sign_flip_agrees_with_scipy_and_has_a_floor():
    values = np.random.default_rng(3).normal(0.5, 1, 9)
    known = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(values) == pytest.approx(known.pvalue)
    assert sign_flip_p(np.arange(1.0, 10.0)) == 2 / 512
    assert sign_flip_p(np.zeros(9)) == 1
    assert sign_flip_p(np.ones(100)) == 2 / 10_001


@pytest.mark.parametrize("num_seeds", [9, 20])
def test_sign_flip_p_is_uniform_under_the_null(num_seeds):
    rng = np.random.default_rng(5)
    # Heavy tails, to show that nothing normal is needed.
    p = np.array([sign_flip_p(rng.standard_t(3, num_seeds), seed) for seed in range(400)])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(p <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(p))


def test_welch_p_holds_its_level_with_a_small_and_wide_group():
    rng = np.random.default_rng(0)
    p = np.array([welch_p(rng.normal(0, 5, 9), rng.normal(0, 1, 100)) for _ in range(600)], float)
    assert abs(np.mean(p <= 0.05) - 0.05) < 3 * np.sqrt(0.05 * 0.95 / len(p))


def test_few_seeds_are_told_as_points():
    few = summarize_seeds([0.3, 0.1, np.nan, 0.2])
    assert few.estimate == pytest.approx(0.2)
    assert (few.low, few.high, few.p) == (None, None, None)
    assert (few.least, few.most, few.num_seeds) == (0.1, 0.3, 3)
    assert summarize_seeds([np.nan]).estimate is None
    assert summarize_seeds([1.0]).effect_size is None
    few = compare_groups([1.0, 2.0], np.arange(9.0))
    assert (few.low, few.p, few.num_seeds) == (None, None, 2)
    assert (few.least, few.most) == (-3, -2)
    assert compare_groups([1.0], []).estimate is None


def test_enough_seeds_give_interval_p_and_effect_size():
    many = summarize_seeds([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert many.estimate == 3.5
    assert many.low is not None
    assert many.high is not None
    assert 1 < many.low < 3.5 < many.high < 6
    assert many.p == 2 / 64
    assert many.effect_size == pytest.approx(3.5 / np.std([1, 2, 3, 4, 5, 6], ddof=1))
    five = summarize_seeds([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (five.low is None, five.p) == (False, None)
    many = compare_groups(np.arange(5.0) + 10, np.arange(9.0))
    assert many.estimate == 8
    assert many.effect_size == pytest.approx(8 / np.arange(9.0).std(ddof=1))
    assert many.p == pytest.approx(stats.ttest_ind(np.arange(5.0) + 10, np.arange(9.0), equal_var=False).pvalue)
    same = compare_groups(np.ones(5), np.zeros(5))
    assert (same.estimate, same.p, same.effect_size) == (1, None, None)


def test_slope_and_spearman_agree_with_scipy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=15), rng.integers(4, size=15).astype(float)
    assert slope(x, y) == pytest.approx(stats.linregress(x, y).slope)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert spearman(x, np.ones(15)) == 0
    assert np.isnan(slope([1.0], [1.0]))
    assert np.isnan(spearman([1.0, 1.0], [1.0, 2.0]))


def test_coverage_of_the_interval_at_nine_seeds_is_what_the_documentation_says():
    rng = np.random.default_rng(0)
    hits = [low <= 0 <= high for low, high in (bootstrap_mean(rng.normal(size=9)) for _ in range(300))]
    assert 0.84 < np.mean(hits) < 0.95
