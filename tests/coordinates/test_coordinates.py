"""Changes of coordinates: exact inverses, and what each family says of itself."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from physmis.coordinates import (
    SHARES,
    Chain,
    Filter,
    FirstAndRest,
    Identity,
    Increments,
    Innovations,
    NormPower,
    Polar,
    Ratios,
    Warp,
    check_invertible,
)
from physmis.coordinates.families import family
from physmis.tasks import load

fixed = settings(deadline=None, derandomize=True, max_examples=60)


@st.composite
def warps(draw):
    n = draw(st.integers(2, 7))
    knots = np.cumsum(draw(st.lists(st.floats(0.1, 2), min_size=n, max_size=n))) - 3
    values = np.cumsum(draw(st.lists(st.floats(0.1, 2), min_size=n, max_size=n))) - 3
    return Warp(tuple(knots), tuple(values))


families = st.one_of(
    st.just(Identity()),
    st.floats(0.3, 3).map(NormPower),
    st.floats(-1.5, 1.5).map(Filter),
    st.floats(0.05, 20).map(Increments),
    warps(),
    st.builds(FirstAndRest, warps(), warps()),
    st.builds(Chain, warps(), st.floats(-1, 1).map(Filter)),
)


@fixed
@given(families, st.integers(1, 3), st.integers(4, 20), st.integers(0, 2**32 - 1))
def test_inverse_gives_back_what_was_transformed(coordinates, channels, steps, seed):
    x = np.random.default_rng(seed).normal(size=(5, steps, channels))
    y = coordinates.transform(x)
    assert y.shape == x.shape and np.isfinite(y).all()
    np.testing.assert_allclose(coordinates.inverse(y), x, atol=1e-5)
    np.testing.assert_allclose(coordinates.transform(coordinates.inverse(x)), x, atol=1e-5)


@fixed
@given(st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_innovations_give_back_their_trajectories(channels, seed):
    rng = np.random.default_rng(seed)
    x = 0.5 * rng.normal(size=(30, 12, channels))
    coordinates = Innovations.of(x)
    np.testing.assert_allclose(coordinates.inverse(coordinates.transform(x)), x, atol=1e-5)


def test_innovations_of_the_logistic_map_are_what_a_parabola_leaves():
    batch = load("logistic").sample(2000, np.random.default_rng(0))
    coordinates = Innovations.of(batch.x, gain=3.0)
    x, y = batch.x.astype(float)[..., 0], coordinates.transform(batch.x)[..., 0]
    parabola = np.polyfit(x[:, :-1].ravel(), x[:, 1:].ravel(), 2)
    np.testing.assert_allclose(np.ravel(coordinates.coefficients)[::-1], parabola, atol=1e-8)
    np.testing.assert_allclose(y[:, 1:], 3 * (x[:, 1:] - np.polyval(parabola, x[:, :-1])), atol=1e-9)
    assert y[:, 1:].std() < 0.5 * x.std()
    even = Innovations.of(batch.x).transform(batch.x)
    assert even[:, 1:].std() == pytest.approx(even[:, 0].std(), rel=1e-6)


def test_first_steps_and_the_rest_vary_alike_whatever_the_means_of_channels():
    x = np.random.default_rng(0).normal(size=(500, 8, 2)) + [0.0, 100.0]
    for y in (Innovations.of(x).transform(x), family("increments", x).make([0.0]).transform(x)):
        first, rest = (part.std(axis=(0, 1)) for part in (y[:, :1], y[:, 1:]))
        np.testing.assert_allclose(rest / first, 1, atol=0.1)


@fixed
@given(st.lists(st.floats(-1.5, 1.5), min_size=4, max_size=4), st.integers(0, 2**32 - 1))
def test_ratios_give_back_their_trajectories(numbers, seed):
    x = np.random.default_rng(seed).uniform(0.02, 0.98, (5, 12, 1))
    ratios = Ratios(tuple(numbers[:2]), tuple(numbers[2:]))
    np.testing.assert_allclose(ratios.inverse(ratios.transform(x)), x, atol=1e-9)


def test_ratios_are_growth_rates_where_the_curve_is_that_of_the_logistic_map():
    batch = load("logistic").sample(200, np.random.default_rng(0))
    x = batch.x.astype(float)
    inside = (x[:, :-1] > 0.01).all(axis=(1, 2)) & (x[:, :-1] < 0.99).all(axis=(1, 2))
    y = Ratios((1.0, 1.0)).transform(x)
    np.testing.assert_allclose(y[inside, 1:, 0], np.repeat(batch.z[inside, None], 31, axis=1), atol=1e-3)
    np.testing.assert_array_equal(y[:, 0], x[:, 0])
    np.testing.assert_allclose(Ratios().transform(x), x)
    doubled = Ratios((0.7, 1.2), low=0.0, high=2.0)
    np.testing.assert_allclose(doubled.transform(2 * x)[:, 1:], 2 * Ratios((0.7, 1.2)).transform(x)[:, 1:])


def test_a_warp_between_two_laws_takes_quantiles_to_quantiles():
    warp = Warp.between(scipy.stats.uniform(2, 3), scipy.stats.norm())
    np.testing.assert_allclose(warp.transform(2 + 3 * SHARES), scipy.stats.norm.ppf(SHARES), atol=1e-9)
    shares = np.linspace(0.01, 0.99, 99)
    off = np.abs(scipy.stats.norm.cdf(warp.transform(2 + 3 * shares)) - shares)
    assert off.max() < 0.002


def test_chains_and_parts_do_one_after_the_other():
    x = np.random.default_rng(0).normal(size=(3, 8, 1))
    double, warp = Increments(2.0), Warp((0, 1), (0, 3))
    np.testing.assert_allclose(Chain(double, warp).transform(x), warp.transform(double.transform(x)))
    assert Chain(double, warp).config()["first"]["name"] == "increments"
    y = FirstAndRest(warp, Warp((0, 1), (0, 1))).transform(x)
    np.testing.assert_allclose(y, np.concatenate([3 * x[:, :1], x[:, 1:]], axis=1))


def test_a_recursion_that_runs_away_stays_a_number():
    batch = load("logistic").sample(100, np.random.default_rng(0))
    coordinates = Innovations.of(batch.x)
    for recursion in (coordinates, Ratios((-1.0, -1.0))):
        assert np.isfinite(recursion.inverse(np.full((3, 32, 1), 1e3))).all()


@fixed
@given(st.floats(1e-3, 1), st.integers(3, 4), st.integers(0, 2**32 - 1))
def test_polar_steps_give_back_paths_with_rests(least, channels, seed):
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(5, 20, channels)) * (rng.random((5, 20, 1)) < 0.7)
    x = np.cumsum(steps, axis=1)
    polar = Polar(least)
    y = polar.transform(x)
    np.testing.assert_allclose(polar.inverse(y), x, atol=1e-5)
    np.testing.assert_array_equal(y[..., 2:], x[..., 2:])
    assert (np.abs(np.diff(y[:, 1:, 1], axis=1)) <= np.pi + 1e-9).all()


def test_input_is_left_as_it_was():
    x = np.random.default_rng(0).normal(size=(3, 8, 2))
    before = x.copy()
    warp = Warp((0, 1), (0, 2))
    parts = (Innovations.of(x), FirstAndRest(warp, warp), Chain(warp, Filter()))
    for coordinates in (Identity(), NormPower(), Filter(), Increments(), Polar(), warp, *parts):
        coordinates.inverse(coordinates.transform(x))
        np.testing.assert_array_equal(x, before)


def test_norm_power_changes_norms_and_keeps_directions():
    batch = load("cone").sample(100, np.random.default_rng(0))
    y = NormPower(0.5).transform(batch.x)
    norms = np.linalg.norm(y.reshape(100, -1), axis=1)
    np.testing.assert_allclose(norms, np.sqrt(batch.z), rtol=1e-5)
    np.testing.assert_allclose(y * norms[:, None, None], batch.x, atol=1e-6)
    assert not NormPower(0.5).transform(np.zeros((1, 4, 1))).any()


@pytest.mark.parametrize("power", [0.3, 2.0, 6.0])
def test_norm_powers_come_back_however_small(power):
    x = np.random.default_rng(0).normal(size=(5, 8, 1)) * np.geomspace(1e-12, 1, 5)[:, None, None]
    np.testing.assert_allclose(NormPower(power).inverse(NormPower(power).transform(x)), x, rtol=1e-9)


def test_only_what_comes_back_is_invertible():
    x = np.random.default_rng(0).normal(size=(20, 8, 2)) * [1e6, 1.0]
    np.testing.assert_array_equal(check_invertible(Increments(), x), Increments().transform(x))
    blind = Warp((0, 1), (0, 1))
    object.__setattr__(blind, "transform", lambda x: x * [1.0, 0.0])
    with pytest.raises(ValueError, match="'warp' are not invertible on these data: channel 1 is off by"):
        check_invertible(blind, x)
    long = load("logistic", steps=64).sample(200, np.random.default_rng(0)).x
    with pytest.raises(ValueError, match="'ratios' are not invertible"):
        check_invertible(Ratios((1.0, 1.0)), long)
    for bad in (np.full((2, 4, 1), np.nan), np.ones((4, 1)), np.ones((0, 4, 1))):
        with pytest.raises(ValueError, match=r"finite trajectories .*wanted, got shape"):
            check_invertible(Identity(), bad)


def test_filter_multiplies_each_frequency():
    t = np.arange(32) / 32
    for k in (0, 1, 5):
        wave = np.cos(2 * np.pi * k * t)[None, :, None]
        np.testing.assert_allclose(Filter(0.7).transform(wave), (1 + k) ** 0.7 * wave, atol=1e-12)


def test_polar_of_a_square_walk():
    walk = np.array([[[0, 0], [1, 0], [1, 2], [0, 2], [0, 2]]], dtype=float)
    y = Polar(1.0).transform(walk)[0]
    np.testing.assert_allclose(y[:, 0], [0, np.log(2), np.log(3), np.log(2), 0], atol=1e-12)
    np.testing.assert_allclose(y[1:4, 1], [0, np.pi / 2, np.pi], atol=1e-12)
    assert np.ptp(Polar(0.5).inverse(np.full((1, 4, 2), -9.0)), axis=1).max() == 0  # lengths below none


@fixed
@given(warps())
def test_warp_meets_its_knots_ascends_and_bends_without_a_kink(warp):
    np.testing.assert_allclose(warp.transform(np.array(warp.knots)), warp.values, atol=1e-12)
    x = np.linspace(warp.knots[0] - 1, warp.knots[-1] + 1, 5001)
    y = warp.transform(x)
    assert (np.diff(y) > 0).all()
    slope = np.diff(y) / np.diff(x)
    assert np.abs(np.diff(slope)).max() < 0.2 * slope.max()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: NormPower(0.0), "power must be positive.*0.0"),
        (lambda: NormPower(float("nan")), "power.*nan"),
        (lambda: Increments(-1.0), "scale must be positive.*-1.0"),
        (lambda: Polar(0.0), "least must be positive"),
        (lambda: Ratios((np.nan, 0.0)), "finite numbers"),
        (lambda: Ratios(high=np.inf), "finite numbers"),
        (lambda: Filter(np.nan), "finite slope"),
        (lambda: Polar().transform(np.ones((2, 4, 1))), "for 2 channels or more, got 1"),
        (lambda: Innovations(((0.0,), (1.0,))), r"row for 1, each channel.*\(2, 1\)"),
        (lambda: Ratios(low=1.0, high=1.0), "low < high"),
        (lambda: Ratios().transform(np.ones((2, 4, 2))), r"shape \(n, T, 1\) wanted, got shape \(2, 4, 2\)"),
        (lambda: Innovations(((0.0,),), gain=-1.0), "gain must be positive"),
        (lambda: Innovations(((np.nan,),)), "finite coefficients"),
        (lambda: Innovations.of(np.ones((5, 4, 1))), "constant"),
        (lambda: Warp((0, 1), (0, 1, 2)), "as many values as knots"),
        (lambda: Warp((0,), (0,)), "two at least"),
        (lambda: Warp((0, 1, 2), (0, 2, 1)), "values must ascend, or the warp has no inverse"),
        (lambda: Warp((0, 0), (0, 1)), "knots must ascend"),
        (lambda: Warp((0, 1), (0, np.inf)), "values must ascend"),
    ],
)
def test_maps_without_an_inverse_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
