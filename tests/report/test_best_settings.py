import numpy as np
import pytest

from modjax.report.best_settings import best_gains, best_gains_p

SCENARIOS = {  # true gains of the settings of two arms whose best are equal, in standard deviations of the noise
    "nothing does anything": (np.zeros(14), np.zeros(8)),
    "both raise alike": (np.full(14, 2.0), np.full(8, 2.0)),
    "rising alike": (np.linspace(0, 2, 14), np.linspace(0, 2, 8)),
    "one good setting against many": (np.r_[0, np.full(13, -3.0)], np.zeros(8)),
    "close settings against equal ones": (-np.linspace(0, 3, 14), np.zeros(8)),
}


def noisy_arms(rng, *arms, num_seeds=9):
    """Gains over one shared, noisy baseline."""
    baseline = rng.normal(size=(1, num_seeds))
    return [means[:, None] + rng.normal(size=(len(means), num_seeds)) - baseline for means in arms]


def literal(gains):
    num_settings, num_seeds = gains.shape
    best, chosen = np.full(num_seeds, np.nan), np.full(num_seeds, -1)
    for s in range(num_seeds):
        means = {}
        for g in range(num_settings):
            others = [gains[g, t] for t in range(num_seeds) if t != s and not np.isnan(gains[g, t])]
            if others and not np.isnan(gains[g, s]):
                means[g] = np.mean(others)
        if means:
            chosen[s] = max(means, key=means.__getitem__)
            best[s] = gains[chosen[s], s]
    return best, chosen


def test_agrees_with_the_definition_with_holes_and_in_stacks():
    rng = np.random.default_rng(0)
    gains = rng.normal(size=(20, 5, 7))
    gains[rng.random(gains.shape) < 0.3] = np.nan
    gains[0, :, 2] = np.nan
    gains[1, :, 1:] = np.nan
    stacked = best_gains(gains)
    for index, one in enumerate(gains):
        for found, expected in zip((part[index] for part in stacked), literal(one), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert np.isnan(stacked[0][0, 2])
    assert np.isnan(stacked[0][1]).all()


@pytest.mark.parametrize("shape", [(0, 3), (2, 1)], ids=["no setting", "one seed"])
def test_nothing_to_choose_from(shape):
    best, chosen = best_gains(np.zeros(shape))
    assert np.isnan(best).all()
    assert (chosen == -1).all()


def test_choice_does_not_inflate_gains():
    rng = np.random.default_rng(0)
    gains = rng.normal(size=(1000, 14, 9))
    found = best_gains(gains)[0].mean(-1)
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(1000)
    assert gains.max(1).mean() > 1.5


@pytest.mark.parametrize("name", SCENARIOS)
def test_p_holds_its_level_where_the_best_are_equal(name):
    rng = np.random.default_rng(1)
    pairs = [noisy_arms(rng, *SCENARIOS[name]) for _ in range(300)]
    for p in (np.array([best_gains_p(a, b) for a, b in pairs]), np.array([best_gains_p(b, a) for a, b in pairs[:100]])):
        assert np.mean(p <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(p))


def test_p_of_one_arm_holds_its_level_and_finds_what_is_there():
    rng = np.random.default_rng(2)
    p = np.array([best_gains_p(*noisy_arms(rng, np.zeros(14))) for _ in range(300)])
    assert np.mean(p <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(p))
    assert best_gains_p(*noisy_arms(rng, np.linspace(0, 10, 14))) == 2 / 513
    # An arm of which every setting lowers, the weakest least, is seen to lower.
    assert best_gains_p(*noisy_arms(rng, np.linspace(-4, -20, 14))) == 2 / 513
    assert best_gains_p(*noisy_arms(rng, np.linspace(0, 10, 14), np.zeros(8))) <= 0.01
    assert best_gains_p(*noisy_arms(rng, np.linspace(-4, -20, 14), np.zeros(8))) <= 0.01
