"""Changes of coordinates: exact inverses, and what each family says of itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from physmis.coordinates import Filter, Identity, Increments, Innovations, NormPower, NormWarp, Polar, Warp
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
@given(warps(), st.integers(0, 2**32 - 1))
def test_norm_warp_warps_norms_and_keeps_directions(warp, seed):
    knots, values = (tuple(np.array(part) - part[0] + 0.3) for part in (warp.knots, warp.values))
    coordinates = NormWarp(knots, values)
    x = np.random.default_rng(seed).normal(size=(6, 5, 2)) * np.geomspace(0.01, 10, 6)[:, None, None]
    y = coordinates.transform(x)
    np.testing.assert_allclose(coordinates.inverse(y), x, atol=1e-5)
    norms, wanted = (np.linalg.norm(part.reshape(6, -1), axis=1) for part in (x, y))
    np.testing.assert_allclose(wanted, Warp((0, *knots), (0, *values)).transform(norms), rtol=1e-9)
    np.testing.assert_allclose(y / wanted[:, None, None], x / norms[:, None, None], atol=1e-9)
    assert not coordinates.transform(np.zeros((1, 5, 2))).any()


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


def test_a_recursion_that_runs_away_stays_a_number():
    batch = load("logistic").sample(100, np.random.default_rng(0))
    coordinates = Innovations.of(batch.x)
    assert np.isfinite(coordinates.inverse(np.full((3, 32, 1), 1e3))).all()


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
    for coordinates in (Identity(), NormPower(), Filter(), Increments(), Polar(), Warp((0, 1), (0, 2))):
        coordinates.inverse(coordinates.transform(x))
        np.testing.assert_array_equal(x, before)


def test_norm_power_changes_norms_and_keeps_directions():
    batch = load("cone").sample(100, np.random.default_rng(0))
    y = NormPower(0.5).transform(batch.x)
    norms = np.linalg.norm(y.reshape(100, -1), axis=1)
    np.testing.assert_allclose(norms, np.sqrt(batch.z), rtol=1e-5)
    np.testing.assert_allclose(y * norms[:, None, None], batch.x, atol=1e-6)
    assert not NormPower(0.5).transform(np.zeros((1, 4, 1))).any()


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
        (lambda: NormWarp((0.0, 1.0), (0.1, 1.0)), "knots of a norm must be above 0.*0.0"),
        (lambda: NormWarp((0.1, 1.0), (-0.1, 1.0)), "values of a norm must be above 0.*-0.1"),
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
