"""The test is exact and has power."""

import importlib
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import eval_legendre

from physmis.drift import bin_edges, bin_of, histogram, prior_mass, shift_test

module = importlib.import_module("physmis.drift.shift_test")
LEVEL = module.LEVEL
fixed = settings(deadline=None, derandomize=True, max_examples=40)
seeds = st.integers(0, 2**32 - 1)


def counts(z, edges):
    return np.bincount(bin_of(z, edges), minlength=len(edges) - 1)


# bins


@fixed
@given(seeds, st.integers(20, 500), st.integers(20, 500))
def test_bins_of_equal_mass_hold_ten_of_the_smaller_side(seed, n, m):
    rng = np.random.default_rng(seed)
    z, g = rng.normal(size=n), rng.normal(size=m) + 1
    edges = bin_edges(z, g)
    np.testing.assert_array_equal(edges, bin_edges(g, rng.permutation(z)))
    bins = min(20, max(2, min(n, m) // 10))
    assert len(edges) == bins + 1 and np.isinf(edges[[0, -1]]).all()
    assert np.abs(counts(z, edges) + counts(g, edges) - (n + m) / bins).max() <= 1.5


def test_bins_of_a_prior_have_equal_probability_and_its_ends_are_edges():
    z, prior = np.random.default_rng(0).uniform(1, 3, 90), stats.uniform(1, 2)
    edges = bin_edges(z, None, prior)
    assert {1.0, 3.0} <= set(edges)
    np.testing.assert_allclose(prior_mass(prior, edges), [0, *np.full(9, 1 / 9), 0], atol=1e-12)
    assert np.isfinite(bin_edges(z, None, stats.norm())[1:-1]).all()
    with pytest.raises(ValueError, match="expected a prior with quantiles"):
        bin_edges(z, None, stats.uniform(0, -1))


@fixed
@given(seeds, st.integers(2, 5), st.integers(40, 200))
def test_edges_lie_between_values_that_differ(seed, kinds, n):
    """Rounding moves no value over an edge, and no bin is empty."""
    rng = np.random.default_rng(seed)
    z = np.concatenate([np.arange(kinds), rng.integers(kinds, size=n)]) * 0.1
    edges = bin_edges(z)
    for near in (np.nextafter(z, -np.inf), np.nextafter(z, np.inf), 1.01 * z):
        np.testing.assert_array_equal(counts(near, edges), counts(z, edges))
    assert (counts(z, edges) > 0).all()


# the test keeps its level

PRIORS = {
    "normal": stats.norm(),
    "exponential": stats.expon(),
    "few whole numbers": stats.poisson(2.0),
    "mostly zero": stats.poisson(0.1),
}
REPEATS = 400


def p_values(prior, n, m, one_sample, monkeypatch):
    # With 99 draws of the null it is as exact as with 2,000, and only the power is less.
    monkeypatch.setattr(module, "DRAWS", 99)
    found = np.empty(REPEATS)
    for i in range(REPEATS):
        rng = np.random.default_rng(i)
        z = prior.rvs(n, random_state=rng)
        g = None if one_sample else prior.rvs(m, random_state=rng)
        against = prior if one_sample else None
        found[i] = shift_test(z, g, against, bin_edges(z, g, against), rng, level=0.3).p_value
    return found


def assert_level_kept(found):
    assert (found <= LEVEL).mean() <= 0.05
    for level in (0.1, 0.3):  # the whole distribution of p-values, to three standard errors
        assert (found <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / REPEATS)


@pytest.mark.parametrize("name", PRIORS)
def test_samples_of_one_distribution_rarely_differ(name, monkeypatch):
    assert_level_kept(p_values(PRIORS[name], 40, 40, False, monkeypatch))


@pytest.mark.parametrize(("name", "n"), [("normal", 40), ("few whole numbers", 200)])
def test_samples_of_a_prior_rarely_differ_from_it(name, n, monkeypatch):
    assert_level_kept(p_values(PRIORS[name], n, 0, True, monkeypatch))


def test_the_level_is_used_up_where_values_are_continuous_and_sides_unequal(monkeypatch):
    """A test that never detects a shift would keep its level, too."""
    found = p_values(PRIORS["normal"], 400, 60, False, monkeypatch)
    assert_level_kept(found)
    assert (found <= 0.3).mean() >= 0.3 - 3 * np.sqrt(0.21 / REPEATS)


# and has power


@pytest.mark.parametrize(("prior", "quarter"), [(None, 0.7), (stats.norm(), 0.9)])
def test_power_grows_with_the_shift_and_the_samples(prior, quarter, monkeypatch):
    monkeypatch.setattr(module, "DRAWS", 300)

    def power(n, shift, repeats=50):
        detected = 0
        for i in range(repeats):
            rng = np.random.default_rng(i)
            z, g = rng.normal(size=n) + shift, rng.normal(size=n) if prior is None else None
            detected += shift_test(z, g, prior, bin_edges(z, g, prior), rng).shifted
        return detected / repeats

    at_400 = [power(400, shift) for shift in (0.0, 0.25, 0.5)]
    assert at_400[0] <= 0.1 and at_400[1] >= quarter and at_400[2] >= 0.98
    assert power(100, 0.25) < at_400[1] < power(1600, 0.25) + 1e-9


def test_the_floor_is_that_of_dealing_out_the_values_themselves():
    rng = np.random.default_rng(0)
    z, g = rng.normal(size=150), np.round(rng.normal(size=90) * 1.2, 1)
    edges = bin_edges(z, g)

    def distance(one, other):
        below = [np.mean(one < edge) - np.mean(other < edge) for edge in edges[1:]]
        return 0.5 * np.abs(np.diff(below, prepend=0)).sum()

    found = shift_test(z, g, None, edges, rng)
    assert found.tv == pytest.approx(distance(z, g))
    pooled, null = np.concatenate([z, g]), []
    for _ in range(2000):
        rng.shuffle(pooled)
        null.append(distance(pooled[:150], pooled[150:]))
    assert found.floor.value == pytest.approx(np.mean(null), abs=6 * np.std(null) / np.sqrt(2000))
    assert found.floor.low < found.floor.value < found.floor.high


# its parts, against formulas of their own


def distances(z, g):
    """Far, largest, normal, smooth, ends, location, spread, higher orders; as the test takes them."""
    cells = module._cells(np.concatenate([z, g]), bin_edges(z, g))
    ours, theirs = module._counts(z, cells), module._counts(g, cells)
    expected = (ours + theirs) / (len(z) + len(g))
    return module._distances(
        ours[None], theirs[None], theirs[None] / len(g) - expected, expected, 1 + len(g) / len(z)
    )[:, 0]


@fixed
@given(seeds, st.integers(20, 200), st.integers(20, 200), st.sampled_from([1, 5]))
def test_each_distance_is_the_one_of_the_literature(seed, n, m, digits):
    rng = np.random.default_rng(seed)
    z, g = rng.normal(size=n), 1.5 * rng.normal(size=m)
    z, g = np.round(z, digits), np.round(g, digits)
    _, largest, normal, smooth, ends, location, spread, higher = distances(z, g)
    share = (stats.rankdata(np.concatenate([z, g])) - 0.5) / (n + m)  # of ties the middle

    def standardised(values):
        return (values[n:].mean() - values[:n].mean()) / values.std() / np.sqrt(1 / n + 1 / m)

    score = stats.norm.ppf(share)
    assert location == pytest.approx(standardised(score) ** 2, abs=1e-9)
    assert spread == pytest.approx(standardised(score**2) ** 2, abs=1e-9)
    assert normal == pytest.approx(location + spread)
    squares = [m * (n + m) / n * (2 * k + 1) * (eval_legendre(k, 2 * share[n:] - 1).mean()
               - eval_legendre(k, 2 * share - 1).mean()) ** 2 for k in range(1, 9)]  # fmt: skip
    assert smooth == pytest.approx(sum(squares)) and higher == pytest.approx(sum(squares[2:]))
    far = [0.0]
    for value in np.concatenate([z, g]):
        under = [np.mean(side <= value) for side in (z, g, np.concatenate([z, g]))]
        if (n + m) * (variance := under[2] * (1 - under[2])) > 5:
            far.append(n * m / (n + m) * (under[1] - under[0]) ** 2 / variance)
    assert largest == pytest.approx(max(far))
    beyond = [(a < b.min()).sum() + (a > b.max()).sum() for a, b in ((z, g), (g, z))]
    assert ends == pytest.approx(beyond[0] * np.log((n + m) / n) + beyond[1] * np.log((n + m) / m))


def test_the_distance_of_anderson_and_darling_is_scipys():
    """Up to the mean and standard deviation that scipy takes off."""
    ours, theirs = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        z, g = rng.normal(size=70), rng.normal(size=50) + 0.5
        ours.append(distances(z, g)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.append(stats.anderson_ksamp([z, g], variant="right").statistic)
    slope = np.diff(theirs) / np.diff(ours)
    np.testing.assert_allclose(slope, slope[0])


@fixed
@given(seeds, st.integers(20, 3000), st.floats(-0.5, 0.5))
def test_of_values_only_the_order_counts(seed, n, shift):
    rng = np.random.default_rng(seed)
    z, g = np.round(rng.normal(size=n), 3), np.round(rng.normal(size=60) + shift, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DRAWS", 50)
        found = [
            shift_test(f(z), f(g), None, bin_edges(f(z), f(g)), np.random.default_rng(1), 0.5).p_value
            for f in (np.array, np.exp, lambda values: values**3 + values)
        ]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("prior", "digits"), [(None, 1), (None, 9), (stats.norm(), 9)])
def test_single_precision_on_one_side_is_no_shift(prior, digits):
    rng = np.random.default_rng(0)
    z, g = np.round(rng.normal(size=(2, 500)), digits)
    rounded = g.astype(np.float32).astype(float)
    exact, found = (
        shift_test(z, one, prior, bin_edges(z, g, prior), np.random.default_rng(0)) for one in (g, rounded)
    )
    assert found.p_value == pytest.approx(exact.p_value, abs=0.01) and found.p_value > 0.05


def test_a_small_level_draws_more_often():
    """A shift can be found at a level that is shared among many tests."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=100)
    found = shift_test(z, z + 3, None, bin_edges(z, z + 3), rng, level=1e-4)
    assert found.p_value <= 1e-5 and found.shifted


KINDS = {
    "location": lambda z, rng: stats.norm.cdf(stats.norm.ppf(z) + 0.4),
    "spread": lambda z, rng: stats.norm.cdf(0.85 * stats.norm.ppf(z)),
    "ends": lambda z, rng: z + 0.08 * rng.normal(size=z.size),
    "peaks or gaps": lambda z, rng: np.where(
        rng.random(z.size) < 0.2, 0.5 + 0.02 * rng.normal(size=z.size), z
    ),
}


@pytest.mark.parametrize("prior", [None, stats.uniform()])
@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_the_change_is_named(kind, prior):
    rng = np.random.default_rng(0)
    z, g = rng.random((2, 600))
    g = KINDS[kind](g, rng)
    found = shift_test(z, g, prior, bin_edges(z, g, prior), rng)
    assert found.shifted and found.kind == kind


@pytest.mark.parametrize("prior", [None, stats.uniform()])
def test_a_blur_at_the_ends_is_detected(prior):
    """Of a uniform distribution, by 8 % of its range: 400 values a side are enough."""
    detected = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        z, g = rng.random(400), rng.random(400) + 0.08 * rng.normal(size=400)
        detected += shift_test(z, g, prior, bin_edges(z, g, prior), rng).shifted
    assert detected >= 19


@fixed
@given(seeds, st.integers(20, 200), st.integers(20, 200), st.floats(-1, 1))
def test_the_parts_of_a_result_agree(seed, n, m, shift):
    rng = np.random.default_rng(seed)
    z, g = rng.normal(size=n), rng.normal(size=m) + shift
    for generated, prior in ((g, None), (g, stats.norm()), (None, stats.norm())):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "DRAWS", 200)
            edges = bin_edges(z, generated, prior)
            found = shift_test(z, generated, prior, edges, rng)
        np.testing.assert_array_equal(found.q, histogram(z if generated is None else g, edges))
        p = histogram(z, edges) if prior is None else prior_mass(prior, edges)
        np.testing.assert_array_equal(found.p, p)
        assert found.tv == pytest.approx(np.maximum(found.q - found.p, 0).sum())
        assert found.excess.low <= found.excess.value <= found.excess.high
        assert found.excess.value == pytest.approx(found.tv - found.floor.value)
        change = found.q - found.p
        assert (found.low - 0.02 <= change).all() and (change <= found.high + 0.02).all()
        assert 0 < found.p_value <= 1 and found.shifted == (found.p_value <= LEVEL)


# intervals


def test_intervals_of_bins_and_of_the_excess_cover():
    """19 of 20; the distributions are two normal ones, known exactly."""
    edges = np.array([-np.inf, -1, 0, 1, np.inf])
    truth = np.diff(stats.norm(0.4).cdf(edges)) - np.diff(stats.norm().cdf(edges))
    covered, excess = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        z, g = rng.normal(size=300), rng.normal(size=300) + 0.4
        found = shift_test(z, g, None, edges, rng)
        covered.append((found.low <= truth) & (truth <= found.high))
        excess.append(found.excess)
    assert 0.91 <= np.mean(covered) <= 0.98
    mean = np.mean([one.value for one in excess])
    assert 0.88 <= np.mean([one.low <= mean <= one.high for one in excess]) <= 0.995


@pytest.mark.parametrize("prior", [None, stats.uniform(0, 1)])
def test_intervals_cover_the_share_of_a_bin_that_holds_few_values(prior, monkeypatch):
    """Of 100 values one falls into the first bin on average, and in every third sample none.

    For so few, Wilson's interval covers 92 % instead of 95 (binomial distribution: 2 at most).
    """
    monkeypatch.setattr(module, "DRAWS", 100)
    edges, q, covered = np.linspace(0, 1, 6), np.array([0.01, 0.24, 0.25, 0.25, 0.25]), []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        few = edges[rng.choice(5, 100, p=q)] + 0.1
        found = shift_test(rng.random(100), few, prior, edges, rng)
        covered.append((found.low <= q - 0.2) & (q - 0.2 <= found.high))
    assert (np.mean(covered, axis=0) > 0.89).all()
