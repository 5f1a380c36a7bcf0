import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.integrate import quad

from physmis.drift import (
    Drift,
    advantage,
    assess,
    drift_correlation,
    histogram,
    noise_ceiling,
    prior_mass,
    sampling_floor,
    score,
    skill,
    total_variation,
    wasserstein,
    wasserstein_binned,
)
from physmis.drift.intervals import Interval, bootstrap

fixed = settings(deadline=None, derandomize=True, max_examples=100)
UNIT = stats.uniform(0, 1)
EDGES = np.array([-np.inf, *np.linspace(0, 1, 21), np.inf])
MANY = 20_000  # size of a training set that adds little to the floor
finite = st.floats(-50, 50)


@st.composite
def laws(draw, count):
    """`count` laws over the same bins, some of them without mass."""
    bins = draw(st.integers(1, 7))
    weights = st.integers(0, 5).map(float)
    found = []
    for _ in range(count):
        w = draw(arrays(float, bins, elements=weights))
        w[draw(st.integers(0, bins - 1))] += 1
        found.append(w / w.sum())
    return found


# intervals


def test_shift_moves_all_three_numbers_and_text_shows_them():
    shifted = Interval(1.0, 0.5, 2.0).shifted(0.25)
    assert shifted == (1.25, 0.75, 2.25) and isinstance(shifted, Interval)
    assert str(Interval(0.12345, -1.0, 2.5)) == "0.123 [-1.000, 2.500]"


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
    assert found.sum() == pytest.approx(1)


def test_infinite_bins_take_all_that_leaks():
    z = np.array([-1e300, -0.1, 0.0, 0.2, 0.999, 1.0, 5.0, 1e300])
    np.testing.assert_array_equal(histogram(z, [-np.inf, 0, 0.5, 1, np.inf]), np.array([2, 2, 1, 3]) / 8)


@pytest.mark.parametrize(
    ("z", "edges", "said"),
    [
        ([], [0, 1], r"\(0,\)"),
        ([[0.5, 0.5]], [0, 1], r"\(1, 2\)"),
        (0.5, [0, 1], r"\(\)"),
        ([0.5, np.nan, np.inf], [0, 1], "2 of 3"),
        ([0.5], [0, 1, 1], "ascend"),
        ([0.5], [1, 0], "ascend"),
        ([0.5], [0, np.nan, 1], "ascend"),
        ([0.5], [0], "two"),
        ([0.5], [[0, 1], [1, 2]], "ascend"),
        ([0.5, 1.5], [0, 1], "0.5 to 1.5.* 0 to 1"),
        ([-0.5, 0.5], [0, 1], "-0.5 to 0.5"),
    ],
)
def test_histogram_refuses_bad_input(z, edges, said):
    with pytest.raises(ValueError, match=said):
        histogram(z, edges)


@fixed
@given(st.floats(0.5, 5), st.floats(0.5, 5), st.integers(1, 30))
def test_prior_mass_is_the_integral_of_the_density(a, b, bins):
    prior = stats.beta(a, b, loc=2, scale=3)
    edges = np.linspace(2.3, 4.7, bins + 1)
    mass = prior_mass(prior, np.array([-np.inf, *edges, np.inf]))
    assert mass.sum() == pytest.approx(1) and (mass >= 0).all()
    assert mass[1] == pytest.approx(quad(prior.pdf, edges[0], edges[1])[0], abs=1e-8)


# total variation


@fixed
@given(laws(3))
def test_total_variation_is_a_metric_between_0_and_1(found):
    p, q, r = found
    assert total_variation(p, q) == total_variation(q, p)
    assert 0 <= total_variation(p, q) <= 1 + 1e-12
    assert total_variation(p, q) <= total_variation(p, r) + total_variation(r, q) + 1e-12
    assert total_variation(p, p) == 0
    assert (total_variation(p, q) > 1e-12) == (not np.allclose(p, q, rtol=0, atol=1e-13))


@fixed
@given(laws(2))
def test_total_variation_is_the_largest_difference_over_events(found):
    p, q = found
    events = [np.array(event, dtype=bool) for event in itertools.product([0, 1], repeat=len(p))]
    largest = max(p[event].sum() - q[event].sum() for event in events)
    assert total_variation(p, q) == pytest.approx(largest, abs=1e-12)


def test_disjoint_laws_are_1_apart_and_rows_are_compared_one_by_one():
    assert total_variation([0.5, 0.5, 0, 0], [0, 0, 0.3, 0.7]) == pytest.approx(1)
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5), size=(2, 3))
    rows = total_variation(p, q)
    assert rows.shape == (2, 3)
    np.testing.assert_allclose(rows[1, 2], total_variation(p, q[1, 2]))


@pytest.mark.parametrize(
    ("p", "q", "said"),
    [
        ([0.5, 0.5], [1.0], "2 and 1"),
        ([0.5, 0.6], [0.5, 0.5], "first"),
        ([0.5, 0.5], [1.5, -0.5], "second"),
        ([0.5, 0.5], [np.nan, 0.5], "second"),
        ([3, 5], [0.5, 0.5], "first"),
    ],
)
def test_total_variation_refuses_what_is_not_a_law(p, q, said):
    with pytest.raises(ValueError, match=said):
        total_variation(p, q)


# Wasserstein


@fixed
@given(arrays(float, st.integers(1, 50), elements=finite), st.floats(0.3, 4), st.floats(0.3, 4))
def test_wasserstein_agrees_with_scipy_against_the_quantile_sample(z, a, b):
    prior = stats.beta(a, b, loc=-1, scale=2)
    quantiles = prior.ppf((np.arange(len(z)) + 0.5) / len(z))
    assert wasserstein(z, prior) == pytest.approx(stats.wasserstein_distance(z, quantiles), abs=1e-9)


def test_wasserstein_is_the_area_between_the_distribution_functions():
    # The n midpoint quantiles of the unit interval are themselves 1 / 4n away from it.
    z = np.sort(np.random.default_rng(0).beta(2, 3, 200))
    grid = np.linspace(-0.5, 1.5, 400_001)
    area = np.mean(np.abs(np.searchsorted(z, grid, side="right") / 200 - UNIT.cdf(grid))) * 2
    assert wasserstein(z, UNIT) == pytest.approx(area, abs=1 / 800 + 1e-5)


@fixed
@given(st.integers(1, 60), st.floats(-10, 10))
def test_wasserstein_of_a_translated_prior_is_the_translation(n, shift):
    z = np.random.default_rng(n).permutation((np.arange(n) + 0.5) / n)
    assert wasserstein(z, UNIT) == pytest.approx(0, abs=1e-12)
    assert wasserstein(z + shift, UNIT) == pytest.approx(abs(shift), abs=1e-9)


@fixed
@given(arrays(float, st.integers(1, 30), elements=finite), st.floats(-10, 10))
def test_wasserstein_changes_by_no_more_than_the_translation(z, shift):
    assert abs(wasserstein(z + shift, UNIT) - wasserstein(z, UNIT)) <= abs(shift) + 1e-9


# floors


def test_floor_of_total_variation_agrees_with_an_independent_simulation():
    n, p = 300, prior_mass(UNIT, EDGES)
    floor = sampling_floor(lambda z: total_variation(p, histogram(z, EDGES)), UNIT, n, MANY, repeats=400)
    shares = np.random.default_rng(7).multinomial(n, p, size=20_000) / n
    simulated = 0.5 * np.abs(shares - p).sum(axis=1)
    assert floor.value == pytest.approx(simulated.mean(), abs=4 * simulated.std() / np.sqrt(400))
    assert floor.low == pytest.approx(np.quantile(simulated, 0.025), abs=0.5 * simulated.std())
    assert floor.high == pytest.approx(np.quantile(simulated, 0.975), abs=0.5 * simulated.std())


def test_floor_holds_the_central_95_percent_of_a_known_law():
    prior, n = stats.norm(3, 2), 50
    floor = sampling_floor(np.mean, prior, n, MANY, repeats=2000)
    error = 2 / np.sqrt(n)
    assert floor.value == pytest.approx(3, abs=4 * error / np.sqrt(2000))
    assert (floor.low, floor.high) == pytest.approx((3 - 1.96 * error, 3 + 1.96 * error), abs=0.2 * error)


def test_floor_of_wasserstein_falls_with_the_square_root_of_the_sample():
    few, many = (sampling_floor(lambda z: wasserstein(z, UNIT), UNIT, n, MANY) for n in (100, 1600))
    assert few.value / many.value == pytest.approx(4, rel=0.25)


def test_floor_counts_the_noise_of_the_training_set():
    # Twice the variance: that of the training set, and that of as many draws from it.
    prior, n = stats.norm(0, 1), 200
    floor = sampling_floor(lambda z: float(np.mean(z) ** 2), prior, n, n, repeats=2000)
    assert floor.value == pytest.approx(2 / n, rel=0.15)


# bootstrap


def test_bootstrap_of_three_seeds_covers_in_about_95_percent_of_repeats():
    rng, covered = np.random.default_rng(13), 0
    for _ in range(300):
        groups = [rng.normal() + 0.1 * rng.normal(size=20) for _ in range(3)]
        interval = bootstrap(np.mean, groups, repeats=200)
        covered += interval.low <= 0 <= interval.high
    assert 0.90 <= covered / 300 <= 0.99


def test_bootstrap_covers_a_known_mean_in_about_95_percent_of_repeats():
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(300):
        interval = bootstrap(np.mean, [rng.normal(5, 2, size=80)], repeats=200)
        covered += interval.low <= 5 <= interval.high
    assert 0.90 <= covered / 300 <= 0.985


def test_bootstrap_covers_a_known_total_variation():
    # A law 0.1 away from the prior; the mean of the statistic at this sample size is what is estimated.
    rng, n = np.random.default_rng(12), 400
    p, q = np.full(10, 0.1), np.full(10, 0.1) + np.repeat([0.02, -0.02], 5)

    def distance(bins):
        return total_variation(p, np.bincount(bins, minlength=10) / n)

    mean = np.mean([distance(rng.choice(10, n, p=q)) for _ in range(2000)])
    intervals = [bootstrap(distance, [rng.choice(10, n, p=q)], repeats=120) for _ in range(100)]
    assert 0.85 <= np.mean([interval.low <= mean <= interval.high for interval in intervals]) <= 1
    assert np.mean([interval.high - interval.low for interval in intervals]) < 0.12


@pytest.mark.parametrize(("between", "within"), [(0.0, 1.0), (0.1, 1.0), (1.0, 1.0), (1.0, 0.0)])
def test_bootstrap_resamples_seeds_and_rows(between, within):
    # Variance of a mean of means: between groups over their number, within them over all rows. The t interval
    # for the former is wider than the normal one.
    rng, count, n = np.random.default_rng(3), 12, 40
    groups = [between * rng.normal() + within * rng.normal(size=n) for _ in range(count)]
    wider = stats.t.ppf(0.975, count - 1) / 1.96
    variance = wider**2 * np.var([g.mean() for g in groups], ddof=1) / count
    variance += np.mean([g.var() for g in groups]) / (n * count)
    interval = bootstrap(np.mean, groups, repeats=3000)
    assert interval.value == pytest.approx(np.mean(groups))
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.1)


@pytest.mark.parametrize("count", [3, 5])
def test_bootstrap_of_few_seeds_is_as_wide_as_the_t_interval_of_their_means(count):
    rng, ratios = np.random.default_rng(4), []
    for seeds in rng.normal(size=(20, count)):
        low, high = stats.t.interval(0.95, count - 1, seeds.mean(), stats.sem(seeds))
        interval = bootstrap(np.mean, list(seeds[:, None]), repeats=200)
        ratios.append((interval.high - interval.low) / (high - low))
    assert np.mean(ratios) == pytest.approx(1, abs=0.07)


def test_bootstrap_weighs_seeds_equally_and_is_about_trajectories_as_wholes():
    groups = [np.zeros((10, 2)), np.ones((1000, 2))]
    assert bootstrap(np.mean, groups).value == 0.5
    # Both columns of a row stay together, so their difference never varies.
    pairs = np.random.default_rng(0).normal(size=(50, 1)) + np.array([0.0, 3.0])
    interval = bootstrap(lambda rows: np.mean(rows[:, 1] - rows[:, 0]), [pairs])
    assert interval == pytest.approx((3, 3, 3))


@settings(fixed, max_examples=30)
@given(st.lists(arrays(float, st.integers(1, 12), elements=finite), min_size=1, max_size=4))
def test_bootstrap_interval_holds_its_estimate_and_repeats_itself(groups):
    first, second = (bootstrap(np.max, groups, repeats=50) for _ in range(2))
    assert first == second and first.low <= first.value <= first.high
    assert first.value == pytest.approx(np.mean([group.max() for group in groups]))


@pytest.mark.parametrize("groups", [[], [np.array([])], [np.ones(3), np.array([])]])
def test_bootstrap_refuses_empty_groups(groups):
    with pytest.raises(ValueError, match="at least one"):
        bootstrap(np.mean, groups)


# the whole assessment


def test_no_drift_is_found_where_there_is_none():
    rng = np.random.default_rng(5)
    found = [assess([rng.random(800) for _ in range(3)], UNIT, EDGES, MANY) for _ in range(10)]
    assert sum(drift.excess.low <= 0 <= drift.excess.high for drift in found) >= 9
    assert sum(drift.tv_floor.low <= drift.tv.value <= drift.tv_floor.high for drift in found) >= 8
    assert sum(drift.w1_floor.low <= drift.w1.value <= drift.w1_floor.high for drift in found) >= 8


def test_planted_drift_is_found_at_its_size():
    # Uniform on [0, 1/2] instead of [0, 1]: half of the mass moves, by 1/4 on average.
    rng = np.random.default_rng(6)
    groups = [rng.random(1000) / 2 for _ in range(3)]
    drift = assess(groups, UNIT, EDGES, MANY)
    assert drift.excess.low > 0.4 and drift.tv.low > drift.tv_floor.high
    assert drift.tv.value == pytest.approx(0.5, abs=0.005 + drift.tv_floor.value / 4)
    assert drift.w1.value == pytest.approx(0.25, abs=0.01) and drift.w1.low > drift.w1_floor.high
    np.testing.assert_array_equal(drift.p, prior_mass(UNIT, EDGES))
    np.testing.assert_array_equal(drift.q, [histogram(group, EDGES) for group in groups])
    assert drift.excess == pytest.approx(np.array(drift.tv) - drift.tv_floor.value)


def test_small_planted_drift_is_found_with_many_trajectories():
    # Mass 0.05 goes from the upper half of the range to beyond its end.
    rng = np.random.default_rng(8)
    groups = []
    for _ in range(3):
        z = rng.random(4000)
        groups.append(np.where((z > 0.5) & (rng.random(4000) < 0.1), 1.2, z))
    drift = assess(groups, UNIT, EDGES, MANY)
    assert drift.excess.low > 0 and drift.tv.low < 0.05 + drift.tv_floor.value < drift.tv.high + 0.02


def test_distances_are_means_over_seeds():
    rng = np.random.default_rng(9)
    groups = [rng.random(500), rng.random(500) ** 2]
    drift = assess(groups, UNIT, EDGES, MANY)
    assert drift.tv.value == pytest.approx(np.mean(total_variation(drift.p, drift.q)))
    assert drift.w1.value == pytest.approx(np.mean([wasserstein(group, UNIT) for group in groups]))


def test_seeds_stacked_into_one_array_are_the_same_seeds():
    groups = np.random.default_rng(10).random((2, 200))
    stacked, listed = assess(groups, UNIT, EDGES, MANY), assess(list(groups), UNIT, EDGES, MANY)
    assert stacked.tv == listed.tv and stacked.w1 == listed.w1


@pytest.mark.parametrize(
    ("groups", "edges", "said"),
    [
        ([], EDGES, "each seed"),
        ([np.full(3, 0.5), np.full(4, 0.5)], EDGES, r"\[3, 4\]"),
        ([np.array([])], EDGES, r"\(0,\)"),
        ([np.array([0.5, np.nan])], EDGES, "1 of 2"),
        ([np.full((3, 2), 0.5)], EDGES, r"\(3, 2\)"),
        ([np.full(3, 0.5)], EDGES[::-1], "ascend"),
        ([np.full(3, 1.5)], np.linspace(0, 1, 5), "do not fit"),
        ([np.full(3, 0.25)], np.linspace(0, 0.5, 5), "whole prior.* 0.5 of it"),
    ],
)
def test_assessment_refuses_bad_input(groups, edges, said):
    with pytest.raises(ValueError, match=said):
        assess(groups, UNIT, edges, MANY)


def test_difference_of_drifts_is_taken_seed_by_seed():
    # Seeds differ far more than the two sides do: only pairing can tell which is larger.
    rng = np.random.default_rng(14)
    scales = (0.5, 0.7, 0.9)
    a = [rng.random(3000) * scale for scale in scales]
    b = [rng.random(3000) * (scale + 0.05) for scale in scales]
    first, second = (assess(groups, UNIT, EDGES, MANY) for groups in (a, b))
    difference = first.minus(second)
    assert difference.value == pytest.approx(first.tv.value - second.tv.value)
    assert difference.low > 0 and first.tv.low < second.tv.high
    assert first.minus(first).value == 0


def test_difference_wants_equal_seeds_and_samples():
    groups = np.random.default_rng(0).random((3, 100))
    whole, part = (assess(g, UNIT, EDGES, MANY) for g in (groups, groups[:2]))
    with pytest.raises(ValueError, match=r"\(3, 100\) and \(2, 100\)"):
        whole.minus(part)


# forecasts

PHASE = 2 * np.pi * (np.arange(20) + 0.5) / 20
PRIOR = np.array([0, *np.full(20, 0.05), 0])
random_laws = st.integers(0, 10**6).map(lambda k: np.random.default_rng(k).dirichlet(np.ones(9), size=3))


def wave(size, phase=0.0):
    """A law over EDGES, drifted from PRIOR by a wave of relative `size`."""
    return np.array([0, *(1 + size * np.sin(PHASE + phase)) / 20, 0])


def drawn(laws, n, rng):
    """The drift of `n` values from each of `laws`, one a seed."""
    bins = np.stack([rng.choice(22, n, p=law) for law in laws])
    q = np.stack([np.bincount(row, minlength=22) / n for row in bins])
    return Drift(EDGES, PRIOR, q, None, None, bins, None, None, None)


def reliability(law, n):
    """Share of the variance over bins of an observed drift that is signal: multinomial noise is the rest."""
    signal, noise = ((law - PRIOR) ** 2).sum(), (law * (1 - law)).sum() / n
    return signal / (signal + noise)


@fixed
@given(random_laws)
def test_drift_correlation_is_that_of_numpy(found):
    f, q, p = found
    assert drift_correlation(f, q, p) == pytest.approx(np.corrcoef(f - p, q - p)[0, 1])
    np.testing.assert_allclose(drift_correlation(np.stack([f, q]), q, p), [drift_correlation(f, q, p), 1])
    # Half the drift, or the reverse of it.
    np.testing.assert_allclose([drift_correlation(p + c * (q - p), q, p) for c in (0.5, -0.5)], [1, -1])


@fixed
@given(random_laws)
def test_no_forecast_drift_explains_nothing_and_the_truth_explains_all(found):
    f, q, p = found
    assert skill(p, q, p) == 0 and skill(q, q, p) == 1
    assert skill(f, q, p) <= 1 and skill(p + 0.3 * (q - p), q, p) == pytest.approx(0.3)
    # Rounding is no drift.
    for still in (p, p * (1 + 1e-15 * np.arange(9))):
        assert drift_correlation(still, q, p) == drift_correlation(f, still, p) == 0


@fixed
@given(random_laws, st.lists(finite, min_size=8, max_size=8, unique=True).map(sorted))
def test_binned_wasserstein_agrees_with_scipy(found, inner):
    f, q, _ = found
    edges = np.array([-np.inf, *inner, np.inf])
    centres = np.array([inner[0], *(np.array(inner[1:]) + inner[:-1]) / 2, inner[-1]])
    expected = stats.wasserstein_distance(centres, centres, f, q)
    assert wasserstein_binned(f, q, edges) == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(wasserstein_binned(found, q, edges)[0], expected, atol=1e-9)


def test_binned_wasserstein_comes_near_that_of_densities():
    a, b = stats.beta(2, 3), stats.beta(4, 2)
    area = quad(lambda x: abs(a.cdf(x) - b.cdf(x)), 0, 1)[0]
    assert wasserstein_binned(prior_mass(a, EDGES), prior_mass(b, EDGES), EDGES) == pytest.approx(
        area, abs=1e-3
    )


@pytest.mark.parametrize(("size", "n"), [(0.3, 300), (0.3, 1500), (0.8, 1500)])
def test_ceiling_is_the_reliability_and_the_true_drift_reaches_its_root(size, n):
    rng, law = np.random.default_rng(15), wave(size)
    found = [drawn([law] * 3, n, rng) for _ in range(20)]
    ceiling = np.mean([noise_ceiling(drift, splits=20) for drift in found])
    assert ceiling == pytest.approx(reliability(law, n), abs=0.04)
    reached = np.mean([drift_correlation(law, drift.q, PRIOR) for drift in found])
    assert reached == pytest.approx(np.sqrt(ceiling), abs=0.04)
    # Another sample of the same law reaches the ceiling itself.
    again = np.mean([drift_correlation(drawn([law] * 3, n, rng).q, drift.q, PRIOR) for drift in found])
    assert again == pytest.approx(ceiling, abs=0.06)


def test_ceiling_is_about_0_without_drift_and_counts_what_one_seed_repeats():
    rng = np.random.default_rng(16)
    still = [noise_ceiling(drawn([PRIOR] * 3, 400, rng), splits=20) for _ in range(20)]
    assert min(still) == 0 and np.mean(still) < 0.15
    # Opposite drifts cancel in the mean over seeds, yet each seed's own could be foretold.
    assert noise_ceiling(drawn([wave(0.8), wave(-0.8)], 2000, rng)) > 0.9


def test_score_is_the_mean_over_seeds_and_indifferent_to_the_order_of_rows():
    rng = np.random.default_rng(17)
    drift = drawn([wave(0.3), wave(0.5), wave(0.4, 1.0)], 500, rng)
    f = np.stack([wave(0.2), wave(0.9), wave(0.4, 0.5)])
    found, shuffled = (
        score(f, drift),
        score(f, dataclasses.replace(drift, bins=rng.permuted(drift.bins, axis=1))),
    )
    centres = np.array([0, *(np.arange(20) + 0.5) / 20, 1])
    for name, statistic in (
        ("correlation", lambda f, q: np.corrcoef(f - PRIOR, q - PRIOR)[0, 1]),
        ("skill", lambda f, q: 1 - np.abs(f - q).sum() / np.abs(q - PRIOR).sum()),
        ("tv", lambda f, q: 0.5 * np.abs(f - q).sum()),
        ("w1", lambda f, q: stats.wasserstein_distance(centres, centres, f, q)),
    ):
        interval = getattr(found, name)
        assert interval.value == pytest.approx(
            np.mean([statistic(*pair) for pair in zip(f, drift.q, strict=True)])
        )
        assert interval.low < interval.value < interval.high
        assert getattr(shuffled, name).value == pytest.approx(interval.value)
    assert found.ceiling == noise_ceiling(drift) == pytest.approx(shuffled.ceiling, abs=0.05)
    assert score(wave(0.2), drift) == score([wave(0.2)] * 3, drift) != found


def test_score_of_the_prior_is_that_of_no_forecast():
    drift = drawn([wave(0.3)] * 3, 500, np.random.default_rng(18))
    found = score(PRIOR, drift)
    assert found.correlation == found.skill == (0, 0, 0)
    assert found.tv.value == pytest.approx(total_variation(PRIOR, drift.q).mean())


@pytest.mark.parametrize("seeds", [1, 3])
def test_score_covers_what_a_sample_of_this_size_gives_on_average(seeds):
    rng, law, f = np.random.default_rng(19), wave(0.4), wave(0.3, 0.5)
    q = rng.multinomial(400, law, size=4000) / 400
    expected = drift_correlation(f, q, PRIOR).mean(), skill(f, q, PRIOR).mean()
    found = [score(f, drawn([law] * seeds, 400, rng)) for _ in range(15 // seeds)]
    for name, mean in zip(("correlation", "skill"), expected, strict=True):
        intervals = [getattr(one, name) for one in found]
        assert np.mean([interval.low <= mean <= interval.high for interval in intervals]) >= 0.8
        assert np.mean([interval.high - interval.low for interval in intervals]) < 0.6


def test_advantage_is_paired_by_seed():
    # Neither forecast knows of the second wave, whose size differs so much between seeds that only pairing
    # can tell which of the two is the better.
    second = np.array([0, *np.sin(2 * PHASE) / 20, 0])
    laws = [wave(0.4) + size * second for size in (0.0, 0.3, 0.55)]
    drift = drawn(laws, 4000, np.random.default_rng(20))
    a, b = wave(0.3), wave(0.3, 0.8)
    found = advantage(a, b, drift)
    of_a, of_b = score(a, drift).correlation, score(b, drift).correlation
    assert found.value == pytest.approx(of_a.value - of_b.value) and found.low > 0
    assert of_a.low < of_b.high
    reverse = advantage(b, a, drift)
    assert reverse == pytest.approx((-found.value, -found.high, -found.low))
    assert advantage(a, [a] * 3, drift) == (0, 0, 0)
    assert advantage(laws, a, drift).value > 0


SHORT = drawn([wave(0.3)] * 3, 50, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("forecasts", "said"),
    [
        (np.full(20, 0.05), r"\(22,\) or \(3, 22\) wanted, got \(20,\)"),
        (np.tile(PRIOR, (2, 1)), r"got \(2, 22\)"),
        (2 * PRIOR, "the forecast is not a law"),
        (np.stack([PRIOR, PRIOR, PRIOR * np.nan]), "the forecast is not a law"),
        (wave(1.5), "the forecast is not a law"),
    ],
)
def test_forecasts_must_be_laws_over_the_bins_of_the_drift(forecasts, said):
    for call in (score, lambda f, d: advantage(f, PRIOR, d), lambda f, d: advantage(PRIOR, f, d)):
        with pytest.raises(ValueError, match=said):
            call(forecasts, SHORT)


def test_a_resample_without_drift_does_not_hinder_a_score():
    uniform = stats.uniform(0, 1)
    values = np.repeat([[0.25, 0.75]], [57, 43], axis=1)  # every twelfth resample of such has half in each
    found = assess(values, uniform, np.array([0.0, 0.5, 1.0]), 1000)
    assert score([0.57, 0.43], found).skill.value == pytest.approx(1)


def test_skill_and_ceiling_refuse_what_they_cannot_tell():
    with pytest.raises(ValueError, match="no drift to forecast"):
        skill(wave(0.3), np.stack([wave(0.1), PRIOR]), PRIOR)
    with pytest.raises(ValueError, match="at least two values"):
        noise_ceiling(drawn([PRIOR], 1, np.random.default_rng(0)))
