"""Coordinates in which the quantity is the size of a trajectory."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from physmis.coordinates import Warp
from physmis.coordinates.size_maps import EnergyWarp, NormWarp
from physmis.tasks import load

fixed = settings(deadline=None, derandomize=True, max_examples=30)
PENDULUM = load("pendulum", steps=16)
ENERGY = EnergyWarp.between(PENDULUM.quantity.prior, scipy.stats.chi(4), pendulum=PENDULUM)


@st.composite
def curves(draw):
    n = draw(st.integers(2, 7))
    return tuple(
        tuple(0.2 + np.cumsum(draw(st.lists(st.floats(0.1, 2), min_size=n, max_size=n)))) for _ in range(2)
    )


def norms_of(x):
    return np.linalg.norm(x.reshape(len(x), -1), axis=1)


@fixed
@given(curve=curves(), seed=st.integers(0, 2**32 - 1))
def test_sizes_are_warped_and_shapes_kept(curve, seed):
    x = np.random.default_rng(seed).normal(size=(6, 5, 2)) * np.geomspace(0.01, 10, 6)[:, None, None]
    coordinates = NormWarp(*curve)
    y = coordinates.transform(x)
    np.testing.assert_allclose(coordinates.inverse(y), x, atol=1e-5)
    before, after = norms_of(x), norms_of(y)
    expected = Warp((0, *curve[0]), (0, *curve[1])).transform(before[:, None, None]).ravel()
    np.testing.assert_allclose(after, expected, rtol=1e-9)
    np.testing.assert_allclose(y / after[:, None, None], x / before[:, None, None], atol=1e-9)
    corner = np.full((1, 5, 2), 3.0)  # a path that rests
    np.testing.assert_allclose(coordinates.inverse(coordinates.transform(corner)), corner, atol=1e-9)
    assert not coordinates.transform(0 * corner).any()


def test_amplitudes_of_the_cone_become_those_of_a_gaussian_in_the_plane():
    task = load("cone")
    batch = task.sample(20_000, np.random.default_rng(0))
    y = NormWarp.between(task.quantity.prior, scipy.stats.chi(2)).transform(batch.x)
    found = scipy.stats.kstest(task.measure(y), scipy.stats.chi(2).cdf)
    assert found.statistic < 0.012


def test_the_size_of_a_motion_is_its_energy_on_the_curve():
    batch = PENDULUM.sample(500, np.random.default_rng(0))
    y = ENERGY.transform(batch.x)
    below = ~PENDULUM.over_the_top(batch.x)
    np.testing.assert_allclose(ENERGY.curve._unmap(ENERGY._size(y))[below], batch.z[below], rtol=1e-4)
    np.testing.assert_allclose(ENERGY.inverse(y), batch.x, atol=1e-5 * batch.x.std())
    assert (np.abs(y).max(axis=(0, 1)) < 15 * y.std(axis=(0, 1))).all()  # no motion becomes an outlier


def test_for_small_swings_the_size_is_the_root_of_the_energy():
    states = PENDULUM.decode(PENDULUM.generate(np.full(20, 1e-3), np.random.default_rng(0)))
    np.testing.assert_allclose(ENERGY._size(states) ** 2, 1e-3, rtol=2e-3)


def test_motions_over_the_top_come_back_too():
    """Where an enlarged motion can have the same energy twice, if angles counted beyond half a turn."""
    x = PENDULUM.generate(np.full(300, 25.0), np.random.default_rng(0)).astype(np.float32)
    assert PENDULUM.over_the_top(x).mean() > 0.3
    np.testing.assert_allclose(ENERGY.inverse(ENERGY.transform(x)), x, atol=1e-5 * x.std())


@fixed
@given(seed=st.integers(0, 2**32 - 1))
def test_the_energy_grows_as_a_motion_is_enlarged_up_to_the_heaviest_outer_bob(seed):
    warp = EnergyWarp(ENERGY.knots, ENERGY.values, load("pendulum", steps=16, m2=0.69))
    way = np.random.default_rng(seed).normal(size=(1, 16, 4)) * [[[1.0, 1.0, 0.3, 0.3]]]
    found = warp._energy(np.concatenate([way * factor for factor in np.linspace(0.01, 6, 300)]))
    assert (np.diff(found) > 0).all()
    with pytest.raises(ValueError, match="expected a pendulum with m2 below 0.7 m1.*m2=1.0"):
        EnergyWarp(ENERGY.knots, ENERGY.values, load("pendulum", m2=1.0))


def test_a_pendulum_at_rest_stays_at_rest():
    rest = PENDULUM.encode(np.zeros((2, 16, 4)))
    np.testing.assert_allclose(ENERGY.inverse(ENERGY.transform(rest)), rest, atol=1e-6)
    hanging = np.zeros((1, 16, 4))
    hanging[..., 0] = 1.0  # no velocity: no enlargement has a large energy
    assert np.isfinite(ENERGY.inverse(100 * hanging)).all()


@fixed
@given(st.integers(0, 2**32 - 1))
def test_any_numbers_become_motions_of_the_energy_that_belongs_to_their_size(seed):
    y = np.random.default_rng(seed).normal(size=(4, 16, 4))
    x = ENERGY.inverse(y)
    assert np.isfinite(x).all() and PENDULUM.residuals(x)["rods"].max() < 1e-9
    small = 0.2 * y
    within = ENERGY.curve._unmap(ENERGY._size(small))
    np.testing.assert_allclose(PENDULUM.measure(ENERGY.inverse(small)), within, rtol=1e-6)


def test_each_has_its_own_config_and_no_curve_without_an_inverse():
    curve = ((0.1, 1.0), (0.1, 2.0))
    configs = [NormWarp(*curve).config(), ENERGY.config()]
    assert configs[0]["name"] != configs[1]["name"] and configs[1]["pendulum"] == PENDULUM.config()
    with pytest.raises(ValueError, match="both ascending"):
        NormWarp((0.1, 1.0), (2.0, 1.0))
