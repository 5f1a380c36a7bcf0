import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import stats
from scipy.integrate import quad

from physmis.drift import (
    Drift,
    Interval,
    advantage,
    assess,
    bin_of,
    bootstrap,
    drift_correlation,
    histogram,
    prior_mass,
    sampling_floor,
    score,
    skill,
    total_variation,
    wasserstein,
)

fixed = settings(deadline=None, derandomize=True, max_examples=50)
UNIT = stats.uniform(0, 1)
EDGES = np.array([-np.inf, *np.linspace(0, 1, 21), np.inf])
LARGE = 20_000  # trajectories of a training set that adds little to the floor
finite = st.floats(-50, 50)
random_rows = st.integers(0, 10**6).map(lambda k: np.random.default_rng(k).dirichlet(np.ones(9), size=3))


# what public functions accept

anything = st.one_of(
    arrays(float, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), elements=st.floats(-2, 2)),
    arrays(float, st.integers(1, 4), elements=st.sampled_from([0.0, 0.5, 1.0, np.nan, np.inf])),
    st.lists(st.sampled_from([0.25, 0.5, 1, True, None, "far", 1j]), max_size=4),
)


@settings(fixed, max_examples=150)
@given(st.lists(anything, min_size=3, max_size=3))
def test_any_input_gives_a_finite_answer_or_a_clear_error(some):
    one, two, three = some
    for call in (
        lambda: histogram(one, two),
        lambda: prior_mass(UNIT, one),
        lambda: total_variation(one, two),
        lambda: drift_correlation(one, two, three),
        lambda: wasserstein(one, UNIT),
        lambda: score(one, SHORT).skill,
        lambda: assess([one, two], UNIT, [-np.inf, 0.5, np.inf], 10).q,
    ):
        try:
            assert np.isfinite(call()).all()
        except (TypeError, ValueError) as error:
            assert any(word in str(error) for word in ("expected", "broadcast"))


# histograms


@fixed
@given(
    st.lists(finite, min_size=2, max_size=8, unique=True).map(sorted),
    st.lists(st.floats(0, 1), min_size=1, max_size=40),
    st.integers(0, 7),
)
def test_histogram_agrees_with_numpy_also_on_the_edges(edges, shares, at):
    edges = np.array(edges)
    # Values inside, and some exactly on an edge.
    z = np.clip(edges[0] + np.array(shares) * (edges[-1] - edges[0]), edges[0], edges[-1])
    z = np.append(z, edges[at % len(edges)])
    found = histogram(z, edges)
    np.testing.assert_allclose(found, np.histogram(z, edges)[0] / len(z), atol=1e-15)
    np.testing.assert_array_equal(np.bincount(bin_of(z, edges), minlength=len(found)) / len(z), found)


def test_infinite_bins_hold_all_values_and_finite_ones_refuse_what_is_outside():
    z = np.array([-1e300, -0.1, 0.0, 0.2, 0.999, 1.0, 5.0, 1e300])
    np.testing.assert_array_equal(histogram(z, [-np.inf, 0, 0.5, 1, np.inf]), np.array([2, 2, 1, 3]) / 8)
    with pytest.raises(ValueError, match="expected values within the bins, from 0 to 1, got -0.1 to 0.999"):
        histogram(z[1:5], [0, 1])


@fixed
@given(st.floats(0.5, 5), st.floats(0.5, 5), st.integers(1, 30))
def test_prior_mass_is_the_integral_of_the_density(a, b, bins):
    prior = stats.beta(a, b, loc=2, scale=3)
    edges = np.linspace(2.3, 4.7, bins + 1)
    mass = prior_mass(prior, np.array([-np.inf, *edges, np.inf]))
    assert mass.sum() == pytest.approx(1) and (mass >= 0).all()
    assert mass[1] == pytest.approx(quad(prior.pdf, edges[0], edges[1])[0], abs=1e-8)


@pytest.mark.parametrize("prior", [stats.randint(0, 6), stats.poisson(2.5)])
def test_prior_mass_of_whole_numbers_is_that_of_draws(prior):
    z, edges = prior.rvs(100_000, random_state=0), np.array([-np.inf, 0, 1, 2, 4.5, 6, np.inf])
    np.testing.assert_allclose(prior_mass(prior, edges), histogram(z, edges), atol=0.008)


# total variation


@fixed
@given(random_rows)
def test_total_variation_is_a_metric_between_0_and_1(found):
    p, q, r = found
    assert total_variation(p, q) == total_variation(q, p)
    assert total_variation(p, q) <= total_variation(p, r) + total_variation(r, q) + 1e-12
    assert total_variation(p, p) == 0
    assert (total_variation(p, q) > 1e-12) == (not np.allclose(p, q, rtol=0, atol=1e-13))


# Wasserstein


@fixed
@given(arrays(float, st.integers(1, 50), elements=finite), st.floats(0.3, 4), st.floats(0.3, 4))
def test_wasserstein_agrees_with_scipy_against_the_quantile_sample(z, a, b):
    prior = stats.beta(a, b, loc=-1, scale=2)
    quantiles = prior.ppf((np.arange(len(z)) + 0.5) / len(z))
    assert wasserstein(z, prior) == pytest.approx(stats.wasserstein_distance(z, quantiles), abs=1e-9)


# floors


def test_floor_of_total_variation_agrees_with_an_independent_simulation():
    n, p = 300, prior_mass(UNIT, EDGES)
    floor = sampling_floor(lambda z: total_variation(p, histogram(z, EDGES)), UNIT, n, LARGE)
    shares = np.random.default_rng(7).multinomial(n, p, size=20_000) / n
    simulated = 0.5 * np.abs(shares - p).sum(axis=1)
    assert floor.value == pytest.approx(simulated.mean(), abs=4 * simulated.std() / np.sqrt(200))
    assert floor.low == pytest.approx(np.quantile(simulated, 0.025), abs=0.5 * simulated.std())
    assert floor.high == pytest.approx(np.quantile(simulated, 0.975), abs=0.5 * simulated.std())


def test_floor_counts_the_noise_of_the_training_set():
    # Twice the variance: that of the training set, and that of as many draws from it.
    floor = sampling_floor(lambda z: float(np.mean(z) ** 2), stats.norm(), 200, 200)
    assert floor.value == pytest.approx(2 / 200, rel=0.25)


# bootstrap


@pytest.mark.parametrize("seeds", [1, 3])
def test_bootstrap_covers_a_known_mean_in_about_95_percent_of_repeats(seeds):
    rng, covered = np.random.default_rng(13), 0
    for _ in range(200):
        between = 2.0 if seeds > 1 else 0.0
        groups = [5 + between * rng.normal() + rng.normal(size=40) for _ in range(seeds)]
        interval = bootstrap(np.mean, groups, repeats=100)
        covered += interval.low <= 5 <= interval.high
    assert 0.90 <= covered / 200 <= 0.99


def test_bootstrap_of_few_seeds_is_as_wide_as_the_t_interval_of_their_means():
    rng, ratios = np.random.default_rng(4), []
    for seeds in rng.normal(size=(20, 3)):
        low, high = stats.t.interval(0.95, 2, seeds.mean(), stats.sem(seeds))
        interval = bootstrap(np.mean, list(seeds[:, None]), repeats=200)
        ratios.append((interval.high - interval.low) / (high - low))
    assert np.mean(ratios) == pytest.approx(1, abs=0.07)


def test_bootstrap_weighs_seeds_equally_and_keeps_rows_whole():
    groups = [np.zeros((10, 2)), np.ones((1000, 2))]
    assert bootstrap(np.mean, groups).value == 0.5
    # Both columns of a row stay together, so their difference never varies.
    pairs = np.random.default_rng(0).normal(size=(50, 1)) + np.array([0.0, 3.0])
    interval = bootstrap(lambda rows: np.mean(rows[:, 1] - rows[:, 0]), [pairs])
    assert interval == pytest.approx((3, 3, 3)) and str(interval) == "3.000 [3.000, 3.000]"
    both = bootstrap(lambda rows: rows.mean(axis=0), [pairs])
    assert both[1] == pytest.approx(bootstrap(np.mean, [pairs[:, 1]]))


@settings(fixed, max_examples=20)
@given(st.lists(arrays(float, st.integers(1, 12), elements=finite), min_size=1, max_size=4))
def test_bootstrap_interval_holds_its_estimate_and_repeats_itself(groups):
    first, second = (bootstrap(np.max, groups, repeats=50) for _ in range(2))
    assert first == second and first.low <= first.value <= first.high
    assert first.value == pytest.approx(np.mean([group.max() for group in groups]))


@pytest.mark.parametrize("groups", [[], [np.ones(3), np.array([])], [1.0]])
def test_bootstrap_refuses_empty_groups(groups):
    with pytest.raises(ValueError, match="expected at least one group"):
        bootstrap(np.mean, groups)


# the whole assessment


def test_no_drift_is_found_where_there_is_none():
    rng = np.random.default_rng(5)
    found = [assess([rng.random(400) for _ in range(3)], UNIT, EDGES, LARGE) for _ in range(10)]
    assert sum(drift.excess.low <= 0 <= drift.excess.high for drift in found) >= 9
    assert sum(drift.tv_floor.low <= drift.tv.value <= drift.tv_floor.high for drift in found) >= 8
    assert np.mean([drift.times_floor.value for drift in found]) == pytest.approx(1, abs=0.1)


def test_what_is_left_of_a_drift_is_a_share_of_its_excess():
    rng = np.random.default_rng(7)
    before, after = (assess(high * rng.random((3, 2000)), UNIT, EDGES, LARGE) for high in (0.6, 0.8))
    found = after.left_of(before)
    assert found.value == pytest.approx(after.excess.value / before.excess.value)
    # A half, less what taking off the floor changes: 0.2 of the mass is misplaced in place of 0.4.
    assert found.low < found.value < found.high < found.low + 0.05 and abs(found.value - 0.5) < 0.07
    assert before.left_of(before) == pytest.approx((1, 1, 1))
    fewer = assess(0.8 * rng.random((3, 1000)), UNIT, EDGES, LARGE).left_of(before)
    assert fewer.low < fewer.value < fewer.high and abs(fewer.value - 0.5) < 0.1
    with pytest.raises(ValueError, match="expected 3 seeds"):
        assess(rng.random((2, 2000)), UNIT, EDGES, LARGE).left_of(before)


def test_planted_drift_is_found_at_its_size():
    # Uniform on [0, 1/2] instead of [0, 1]: half of the mass moves, by 1/4 on average.
    groups = np.random.default_rng(6).random((3, 1000)) / 2
    drift = assess(groups, UNIT, EDGES, LARGE)
    assert drift.excess.low > 0.4 and drift.tv.low > drift.tv_floor.high
    assert drift.times_floor == pytest.approx([end / drift.tv_floor.value for end in drift.tv])
    assert drift.tv.value == pytest.approx(0.5, abs=0.005 + drift.tv_floor.value / 4)
    np.testing.assert_array_equal(drift.q, [histogram(group, EDGES) for group in groups])
    # Distances are means over seeds.
    assert drift.tv.value == pytest.approx(np.mean(total_variation(drift.p, drift.q)))


def test_assessment_refuses_uneven_seeds_and_bins_without_the_whole_prior():
    with pytest.raises(ValueError, match=r"expected equally many .*\[3, 4\]"):
        assess([np.full(3, 0.5), np.full(4, 0.5)], UNIT, EDGES, LARGE)
    with pytest.raises(ValueError, match="expected .* whole prior, got 0.5 of it"):
        assess([np.full(3, 0.25)], UNIT, np.linspace(0, 0.5, 5), LARGE)


def test_difference_of_drifts_is_taken_seed_by_seed():
    # Seeds differ far more than the two sides do: only pairing can tell which is larger.
    rng = np.random.default_rng(14)
    scales = (0.5, 0.7, 0.9)
    a = [rng.random(3000) * scale for scale in scales]
    b = [rng.random(3000) * (scale + 0.05) for scale in scales]
    first, second = (assess(groups, UNIT, EDGES, LARGE) for groups in (a, b))
    difference = first.minus(second)
    assert difference.value == pytest.approx(first.tv.value - second.tv.value)
    assert difference.low > 0 and first.tv.low < second.tv.high


# forecasts

PHASE = 2 * np.pi * (np.arange(20) + 0.5) / 20
PRIOR = np.array([0, *np.full(20, 0.05), 0])


def wave(size, phase=0.0):
    """A distribution over EDGES, drifted from PRIOR by a wave of relative `size`."""
    return np.array([0, *(1 + size * np.sin(PHASE + phase)) / 20, 0])


def drawn(true, n, rng):
    """The drift of `n` values from each of the distributions `true`, one a seed."""
    bins = np.stack([rng.choice(22, n, p=q) for q in true])
    q = np.stack([np.bincount(row, minlength=22) / n for row in bins])
    return Drift(EDGES, PRIOR, q, None, bins, UNIT)


SHORT = drawn([wave(0.3)] * 3, 50, np.random.default_rng(0))


@fixed
@given(random_rows)
def test_drift_correlation_is_that_of_numpy(found):
    f, q, p = found
    assert drift_correlation(f, q, p) == pytest.approx(np.corrcoef(f - p, q - p)[0, 1])
    np.testing.assert_allclose(drift_correlation(np.stack([f, q]), q, p), [drift_correlation(f, q, p), 1])
    assert drift_correlation(p + 0.5 * (q - p), q, p) == pytest.approx(1)


@fixed
@given(random_rows)
def test_no_forecast_drift_explains_nothing_and_the_truth_explains_all(found):
    f, q, p = found
    assert skill(p, q, p) == 0 and skill(q, q, p) == 1
    assert skill(f, q, p) <= 1 and skill(p + 0.3 * (q - p), q, p) == pytest.approx(0.3)
    # Rounding is no drift.
    for still in (p, p * (1 + 1e-15 * np.arange(9))):
        assert drift_correlation(still, q, p) == drift_correlation(f, still, p) == 0
    with pytest.raises(ValueError, match="expected an observed drift"):
        skill(f, np.stack([q, p]), p)


@pytest.mark.parametrize(("size", "n"), [(0.3, 300), (0.8, 1500)])
def test_ceiling_is_the_reliability_and_the_true_drift_reaches_its_root(size, n):
    rng, true = np.random.default_rng(15), wave(size)
    found = [drawn([true] * 3, n, rng) for _ in range(20)]
    # Share of the variance over bins of an observed drift that is signal: multinomial noise is the rest.
    signal, noise = ((true - PRIOR) ** 2).sum(), (true * (1 - true)).sum() / n
    ceiling = np.mean([drift.ceiling for drift in found])
    assert ceiling == pytest.approx(signal / (signal + noise), abs=0.04)
    reached = np.mean([drift_correlation(true, drift.q, PRIOR) for drift in found])
    assert reached == pytest.approx(np.sqrt(ceiling), abs=0.04)
    # Another sample of the same distribution reaches the ceiling itself.
    again = np.mean([drift_correlation(drawn([true] * 3, n, rng).q, drift.q, PRIOR) for drift in found])
    assert again == pytest.approx(ceiling, abs=0.06)


def test_ceiling_is_about_0_without_drift_and_counts_what_one_seed_repeats():
    rng = np.random.default_rng(16)
    still = [drawn([PRIOR] * 3, 400, rng).ceiling for _ in range(20)]
    assert min(still) == 0 and np.mean(still) < 0.15
    # Opposite drifts cancel in the mean over seeds, yet each seed's own can be forecast.
    assert drawn([wave(0.8), wave(-0.8)], 2000, rng).ceiling > 0.9


def test_score_is_the_mean_over_seeds():
    drift = drawn([wave(0.3), wave(0.5), wave(0.4, 1.0)], 500, np.random.default_rng(17))
    f = np.stack([wave(0.2), wave(0.9), wave(0.4, 0.5)])
    found = score(f, drift)
    for name, statistic in (
        ("correlation", lambda f, q: np.corrcoef(f - PRIOR, q - PRIOR)[0, 1]),
        ("skill", lambda f, q: 1 - np.abs(f - q).sum() / np.abs(q - PRIOR).sum()),
    ):
        interval = getattr(found, name)
        each = [statistic(*pair) for pair in zip(f, drift.q, strict=True)]
        assert interval.value == pytest.approx(np.mean(each))
        assert interval.low < interval.value < interval.high
    assert found.ceiling == drift.ceiling
    assert score(wave(0.2), drift) == score([wave(0.2)] * 3, drift) != found
    none = score(PRIOR, drift)
    assert none.correlation == none.skill == (0, 0, 0)


def test_inner_bins_are_scored_alone():
    drift = drawn([wave(0.3), wave(0.5, 0.2)], 500, np.random.default_rng(18))
    kept = slice(5, 17)  # their centres are 0.225 to 0.775
    np.testing.assert_array_equal(np.flatnonzero(drift.inner(0.6)), np.arange(22)[kept])
    assert drift.inner(None).all() and not drift.inner(1.0)[[0, -1]].any()
    f, p, found = wave(0.4, 0.3), PRIOR[kept], score(wave(0.4, 0.3), drift, 0.6)
    each = [
        (
            np.corrcoef(f[kept] - p, q[kept] - p)[0, 1],
            1 - np.abs(f - q)[kept].sum() / np.abs(q - PRIOR)[kept].sum(),
        )
        for q in drift.q
    ]
    by_hand = np.mean(each, axis=0)
    assert [found.correlation.value, found.skill.value] == pytest.approx(by_hand)
    assert found.ceiling == drift.reliability(drift.inner(0.6)) != drift.ceiling
    other = np.concatenate([f[:5][::-1], f[kept], f[17:][::-1]])  # is worse at the ends alone
    assert advantage(f, other, drift, 0.6) == (0, 0, 0) < advantage(f, other, drift)
    gain = found.skill.value - score(PRIOR, drift, 0.6).skill.value
    assert advantage(f, PRIOR, drift, 0.6).value == pytest.approx(gain) and gain > 0.2


@pytest.mark.parametrize("seeds", [1, 3])
def test_score_covers_what_a_sample_of_this_size_gives_on_average(seeds):
    rng, true, f = np.random.default_rng(19), wave(0.4), wave(0.3, 0.5)
    q = rng.multinomial(400, true, size=4000) / 400
    expected = drift_correlation(f, q, PRIOR).mean(), skill(f, q, PRIOR).mean()
    found = [score(f, drawn([true] * seeds, 400, rng)) for _ in range(15 // seeds)]
    for name, mean in zip(("correlation", "skill"), expected, strict=True):
        intervals = [getattr(one, name) for one in found]
        assert np.mean([interval.low <= mean <= interval.high for interval in intervals]) >= 0.8
        assert np.mean([interval.high - interval.low for interval in intervals]) < 0.6


def test_advantage_is_paired_by_seed():
    # Neither forecast has the second wave, whose size differs so much between seeds that only pairing tells
    # which of the two is better.
    second = np.array([0, *np.sin(2 * PHASE) / 20, 0])
    true = [wave(0.4) + size * second for size in (0.0, 0.1, 0.2)]
    drift = drawn(true, 4000, np.random.default_rng(20))
    a, b = wave(0.35), wave(0.25)
    found = advantage(a, b, drift)
    of_a, of_b = score(a, drift).skill, score(b, drift).skill
    assert found.value == pytest.approx(of_a.value - of_b.value) and found.low > 0
    assert of_a.low < of_b.high and isinstance(found, Interval)
    assert advantage(b, a, drift) == pytest.approx((-found.value, -found.high, -found.low))
    assert advantage(a, [a] * 3, drift) == (0, 0, 0) and advantage(true, a, drift).value > 0


def test_forecasts_must_be_distributions_over_the_bins_of_the_drift():
    for forecast, says in (
        (np.full(20, 0.05), "of the same bins"),
        (np.tile(PRIOR, (2, 1)), r"\(2,22\).*\(3,22\)"),
        (wave(1.5), "expected shares of 0 or more"),
    ):
        for call in (score, lambda f, d: advantage(PRIOR, f, d)):
            with pytest.raises(ValueError, match=says):
                call(forecast, SHORT)


def test_a_resample_without_drift_does_not_hinder_a_score():
    values = np.repeat([[0.25, 0.75]], [57, 43], axis=1)  # every twelfth resample of such has half in each
    found = assess(values, UNIT, np.array([0.0, 0.5, 1.0]), 1000)
    assert score([0.57, 0.43], found).skill.value == pytest.approx(1)
