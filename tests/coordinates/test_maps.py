"""Changes of coordinates: exact inverses, and what each kind says of itself."""

import copy

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from physmis.coordinates import (
    Chain,
    Filter,
    Identity,
    Increments,
    Innovations,
    NormPower,
    PreEmphasis,
    Ratios,
    Warp,
)
from physmis.coordinates.maps import SHARES, check_invertible
from physmis.tasks import load

fixed = settings(deadline=None, derandomize=True, max_examples=60)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def warps(draw):
    n = draw(st.integers(2, 7))
    knots, values = (
        np.cumsum(draw(st.lists(st.floats(0.1, 2), min_size=n, max_size=n))) - 3 for _ in range(2)
    )
    return Warp(tuple(knots), tuple(values))


any_channels = st.one_of(
    st.just(Identity()),
    st.floats(0.3, 3).map(NormPower),
    st.floats(-1.5, 1.5).map(Filter),
    st.floats(0.05, 20).map(Increments),
    warps(),
    st.builds(PreEmphasis, st.floats(0.05, 20), st.floats(-2, 2)),
    st.builds(Chain, warps(), st.floats(-1, 1).map(Filter)),
)
INNOVATIONS = Innovations.of(0.5 * np.random.default_rng(0).normal(size=(30, 12, 2)))
RATIOS = Ratios((0.7, 1.2), (-0.5, 0.4))
curved = st.sampled_from([INNOVATIONS, RATIOS])


@fixed
@given(any_channels, st.integers(1, 3), st.integers(4, 20), seeds)
def test_inverse_gives_back_what_was_transformed(coordinates, channels, steps, seed):
    x = np.random.default_rng(seed).normal(size=(5, steps, channels))
    y = coordinates.transform(x)
    assert y.shape == x.shape and np.isfinite(y).all()
    np.testing.assert_allclose(coordinates.inverse(y), x, atol=1e-5)
    np.testing.assert_allclose(coordinates.transform(coordinates.inverse(x)), x, atol=1e-5)


@fixed
@given(st.lists(st.floats(-1.5, 1.5), min_size=4, max_size=4), seeds)
def test_ratios_give_back_their_trajectories(numbers, seed):
    x = np.random.default_rng(seed).uniform(0.02, 0.98, (5, 12, 1))
    ratios = Ratios(tuple(numbers[:2]), tuple(numbers[2:]))
    np.testing.assert_allclose(ratios.inverse(ratios.transform(x)), x, atol=1e-9)


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-2, 2)
anything = st.one_of(
    arrays(float, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4), elements=numbers),
    arrays(float, st.tuples(*[st.integers(1, 4)] * 3), elements=st.floats(-1e40, 1e40)),
    st.sampled_from([None, "path", [[1.0], [1.0, 2.0]], np.ones((2, 3, 2), complex), [[[1, True], [3, 4]]]]),
)


@fixed
@given(any_channels | curved, anything)
def test_any_input_is_transformed_and_left_as_it_was_or_refused(coordinates, x):
    before = copy.deepcopy(x)
    for direction in (coordinates.transform, coordinates.inverse):
        try:
            y = direction(x)
        except (TypeError, ValueError) as error:
            assert str(error)
            continue
        assert y.dtype == np.float64 and y.shape == np.shape(x) and np.isfinite(y).all()
        np.testing.assert_array_equal(x, before)


def test_innovations_of_the_logistic_map_are_what_a_parabola_leaves_and_vary_like_first_steps():
    batch = load("logistic").sample(2000, np.random.default_rng(0))
    coordinates = Innovations.of(batch.x)
    x, y = batch.x.astype(float)[..., 0], coordinates.transform(batch.x)[..., 0]
    parabola = np.polyfit(x[:, :-1].ravel(), x[:, 1:].ravel(), 2)
    np.testing.assert_allclose(np.ravel(coordinates.coefficients)[::-1], parabola, atol=1e-8)
    left = x[:, 1:] - np.polyval(parabola, x[:, :-1])
    np.testing.assert_allclose(y[:, 1:] / coordinates.gain, left, atol=1e-9)
    assert y[:, 1:].std() == pytest.approx(y[:, 0].std(), rel=0.01)
    check_invertible(coordinates, batch.x)
    check_invertible(INNOVATIONS, np.random.default_rng(1).normal(size=(30, 12, 2)) / 2)


def test_ratios_are_growth_rates_where_the_curve_is_that_of_the_logistic_map():
    batch = load("logistic").sample(200, np.random.default_rng(0))
    x = batch.x.astype(float)
    inside = (x[:, :-1] > 0.01).all(axis=(1, 2)) & (x[:, :-1] < 0.99).all(axis=(1, 2))
    y = Ratios((1.0, 1.0)).transform(x)
    np.testing.assert_allclose(
        y[inside, 1:, 0], np.repeat(batch.z[inside, None], x.shape[1] - 1, axis=1), atol=1e-3
    )
    np.testing.assert_array_equal(y[:, 0], x[:, 0])
    doubled = Ratios((0.7, 1.2), low=0.0, high=2.0)
    np.testing.assert_allclose(doubled.transform(2 * x)[:, 1:], 2 * Ratios((0.7, 1.2)).transform(x)[:, 1:])
    curve = np.exp(0.3 * x[:, :-1] - 0.8 * x[:, :-1] ** 2)
    np.testing.assert_allclose(Ratios(bend=(0.3, -0.8)).transform(x)[:, 1:], x[:, 1:] / curve, rtol=1e-3)


def test_a_warp_between_two_distributions_takes_quantiles_to_quantiles():
    warp = Warp.between(scipy.stats.uniform(2, 3), scipy.stats.norm())
    for shares, off in ((SHARES, 1e-9), (np.linspace(0.01, 0.99, 99), 0.002)):
        found = scipy.stats.norm.cdf(warp.transform(2 + 3 * shares[None, :, None]))
        np.testing.assert_allclose(found.ravel(), shares, atol=off)


@fixed
@given(warps())
def test_warp_meets_its_knots_ascends_and_bends_without_a_kink(warp):
    np.testing.assert_allclose(warp._map(np.array(warp.knots)), warp.values, atol=1e-12)
    x = np.linspace(warp.knots[0] - 1, warp.knots[-1] + 1, 5001)
    y = warp._map(x)
    assert (np.diff(y) > 0).all()
    slope = np.diff(y) / np.diff(x)
    assert np.abs(np.diff(slope)).max() < 0.2 * slope.max()


def test_chains_and_parts_do_one_after_the_other():
    x = np.random.default_rng(0).normal(size=(3, 8, 1))
    double, warp = Increments(2.0), Warp((0, 1), (0, 3))
    np.testing.assert_allclose(Chain(double, warp).transform(x), warp.transform(double.transform(x)))
    assert Chain(double, warp).config()["first"] == {"name": "increments", "scale": 2.0}
    assert Chain(PreEmphasis(), Identity()).kept == (0, -1) and not Chain(PreEmphasis(), warp).kept


def test_norm_power_changes_norms_and_keeps_directions():
    batch = load("cone").sample(100, np.random.default_rng(0))
    y = NormPower(0.5).transform(batch.x)
    norms = np.linalg.norm(y.reshape(100, -1), axis=1)
    np.testing.assert_allclose(norms, np.sqrt(batch.z), rtol=1e-5)
    np.testing.assert_allclose(y * norms[:, None, None], batch.x, atol=1e-6)
    assert not NormPower(0.5).transform(np.zeros((1, 4, 1))).any()
    small = batch.x * np.geomspace(1e-12, 1, 100)[:, None, None]
    np.testing.assert_allclose(NormPower(6.0).inverse(NormPower(6.0).transform(small)), small, rtol=1e-9)


def test_filter_multiplies_each_frequency():
    t = np.arange(32) / 32
    for k in (0, 1, 5):
        wave = np.cos(2 * np.pi * k * t)[None, :, None]
        np.testing.assert_allclose(Filter(0.7).transform(wave), (1 + k) ** 0.7 * wave, atol=1e-12)


def test_pre_emphasis_is_a_three_point_formula_that_leaves_both_ends():
    x = np.random.default_rng(0).normal(size=(3, 9, 2))
    y = PreEmphasis(1.7).transform(x)
    np.testing.assert_array_equal(y[:, [0, -1]], x[:, [0, -1]])
    inner = x[:, 1:-1] - 1.7 * (x[:, 2:] - 2 * x[:, 1:-1] + x[:, :-2])
    np.testing.assert_allclose(y[:, 1:-1], inner, atol=1e-12)
    halves = Chain(PreEmphasis(1.7, 0.5), PreEmphasis(1.7, 0.5))
    np.testing.assert_allclose(halves.transform(x), y, atol=1e-12)
    np.testing.assert_array_equal(PreEmphasis().transform(x[:, :2]), x[:, :2])


def test_only_what_comes_back_is_invertible():
    x = np.random.default_rng(0).normal(size=(20, 8, 2)) * [1e6, 1.0]
    np.testing.assert_array_equal(check_invertible(Increments(), x), Increments().transform(x))
    constant = np.concatenate([x, np.full((20, 8, 1), 0.1)], axis=2)  # comes back to rounding
    check_invertible(Chain(Increments(0.3), PreEmphasis(7.0)), constant)
    blind = Warp((0, 1), (0, 1))
    object.__setattr__(blind, "transform", lambda x: x * [1.0, 0.0])
    with pytest.raises(ValueError, match="expected data back from coordinates 'warp'"):
        check_invertible(blind, x)
    long = load("logistic", steps=64).sample(200, np.random.default_rng(0)).x
    with pytest.raises(ValueError, match="coordinates 'ratios'"):
        check_invertible(Ratios((1.0, 1.0)), long)
    with pytest.raises(ValueError, match="expected number of trajectories"):
        check_invertible(Identity(), np.ones((0, 4, 1)))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: NormPower(0.0), "power"),
        (lambda: Innovations.of(np.ones((5, 4, 1))), "expected first steps and innovations that vary"),
        (lambda: Innovations.of(np.ones((5, 1, 1))), "at least 2 steps"),
        (lambda: PreEmphasis(0.0), "gain"),
        (lambda: Warp((0, 1, 2), (0, 2, 1)), "both ascending"),
    ],
)
def test_maps_without_an_inverse_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
