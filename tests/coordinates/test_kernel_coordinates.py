"""Coordinates chosen by a kernel, where the right ones are known."""

from dataclasses import dataclass

import numpy as np
import pytest

from physmis import drift
from physmis.coordinates import Coordinates, Identity, Increments, NormPower
from physmis.coordinates.families import family
from physmis.coordinates.search import KernelCoordinates, learn_ratios, rank
from physmis.kernels import IsotropicKernel
from physmis.tasks import load


def isotropic(scale):
    return lambda y: IsotropicKernel(scale, y.std(axis=(0, 1)))


def norm(x):
    return np.linalg.norm(x.reshape(len(x), -1), axis=1)


@pytest.fixture(scope="module")
def plane():
    """Points of the plane, as trajectories of two steps, with their distance from 0 uniform on [0, 1]."""
    rng = np.random.default_rng(0)
    z, angle = rng.random(20_000), rng.uniform(0, 2 * np.pi, 20_000)
    return (z * np.stack([np.cos(angle), np.sin(angle)])).T[..., None]


def test_small_deviations_forecast_little_and_none_forecasts_nothing(plane):
    found = [KernelCoordinates.of(Identity(), plane, norm, isotropic(s)) for s in (1e-6, 0.02, 0.1)]
    assert found[0].drift < 2e-3 and found[0].distance < 1e-5
    assert found[0].drift < found[1].drift < found[2].drift
    assert found[0].distance < found[1].distance < found[2].distance


def test_forecast_is_that_of_the_bins_of_the_task():
    task = load("cone")
    batch = task.sample(20_000, np.random.default_rng(0))
    found = KernelCoordinates.of(Identity(), batch.x, task.measure, isotropic(0.05))
    edges = task.quantity.bins()
    p, q = drift.histogram(found.z, edges), drift.histogram(found.landed, edges)
    assert found.drift == pytest.approx(drift.total_variation(p, q), abs=0.01)


def test_at_the_tip_of_a_plane_the_square_root_is_balanced(plane):
    """There |y|^2 = z is uniform: an even density in the plane, which isotropic errors leave as it is."""

    def share_at_the_tip(coordinates):
        found = KernelCoordinates.of(coordinates, plane, norm, isotropic(0.1))
        return np.mean(found.landed < 0.05) / np.mean(found.z < 0.05)

    assert share_at_the_tip(Identity()) < 0.75
    assert share_at_the_tip(NormPower(0.5)) == pytest.approx(1, abs=0.05)
    assert share_at_the_tip(NormPower(0.3)) > 1.05


def test_rank_sorts_by_forecast_drift(plane):
    candidates = [NormPower(2.0), Identity(), NormPower(1.5)]
    ranked = rank(candidates, plane, norm, isotropic(0.05))
    assert [found.coordinates for found in ranked] == [Identity(), NormPower(1.5), NormPower(2.0)]


def test_fit_finds_the_power_that_a_scan_finds(plane):
    members = family("norm power", plane)
    best = KernelCoordinates.fit(plane, norm, isotropic(0.05), members)
    scan = [
        KernelCoordinates.of(members.make([a]), plane, norm, isotropic(0.05)).distance
        for a in np.linspace(-1.5, 1, 26)
    ]
    assert best.distance <= min(scan) * 1.02


def test_fit_never_ends_worse_than_it_began():
    task = load("logistic")
    x = task.sample(500, np.random.default_rng(0)).x
    better = 0
    for name in ("filter", "increments", "warp"):
        members = family(name, x)
        begin = members.make(np.zeros(members.numbers))
        start = KernelCoordinates.of(begin, x, task.measure, isotropic(0.01))
        best = KernelCoordinates.fit(x, task.measure, isotropic(0.01), members, evaluations=12)
        assert best.distance <= start.distance
        better += best.distance < start.distance
    assert better


def test_families_begin_where_they_say():
    data = np.cumsum(np.random.default_rng(0).normal(size=(50, 12, 2)), axis=1)
    np.testing.assert_allclose(family("norm power", data).make([0.0]).transform(data), data)
    np.testing.assert_allclose(family("filter", data).make([0.0]).transform(data), data, atol=1e-12)
    np.testing.assert_allclose(family("warp", data).make(np.zeros(8)).transform(data), data, atol=1e-9)
    y = family("increments", data).make([0.0]).transform(data)
    assert y[:, 1:].std() == pytest.approx(y[:, 0].std(), rel=1e-3)
    assert isinstance(family("increments", data).make([1.0]), Increments)
    longest = np.linalg.norm(np.diff(data, axis=1), axis=-1).max()
    assert family("polar", data).make([0.0]).least == pytest.approx(longest / 100)


@dataclass(frozen=True)
class Rounded(Coordinates):
    """Not invertible: it forgets decimals."""

    name = "rounded"

    def transform(self, x):
        return np.round(x, 1)

    def inverse(self, y):
        return y


def test_bad_input_is_refused(plane):
    with pytest.raises(ValueError, match="'rounded' are not invertible on these data: channel 0"):
        KernelCoordinates.of(Rounded(), plane, norm, isotropic(0.1))
    with pytest.raises(ValueError, match="the measurement is 3 for all trajectories"):
        KernelCoordinates.of(Identity(), plane, lambda x: np.full(len(x), 3.0), isotropic(0.1))
    with pytest.raises(ValueError, match="NaN or infinite"):
        KernelCoordinates.of(Identity(), plane, lambda x: np.full(len(x), np.nan), isotropic(0.1))
    with pytest.raises(ValueError, match="unknown family 'wave'; accepted: norm power, filter"):
        family("wave", plane)
    with pytest.raises(ValueError, match="constant"):
        family("increments", np.ones((5, 4, 1)))
    with pytest.raises(ValueError, match="at least three different values"):
        family("warp", np.zeros((5, 4, 1)))
    with pytest.raises(ValueError, match="the measurement is 1 for all"):
        KernelCoordinates.fit(plane, lambda x: np.ones(len(x)), isotropic(0.1), family("norm power", plane))


def test_coordinates_of_a_kernel_transform_like_the_ones_they_hold(plane):
    found = KernelCoordinates.of(NormPower(0.5), plane, norm, isotropic(0.05))
    np.testing.assert_array_equal(found.transform(plane), NormPower(0.5).transform(plane))
    np.testing.assert_array_equal(found.inverse(plane), NormPower(0.5).inverse(plane))
    assert found.config() == NormPower(0.5).config()
    np.testing.assert_allclose(norm(found.moved), found.landed)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_kernel_finds_the_curve_of_the_logistic_map(seed):
    """From the identity, by the gradient of the change of the growth rate: x (1 - x), up to a factor."""
    task = load("logistic")
    x = task.sample(3000, np.random.default_rng(seed)).x
    found = learn_ratios(x, task.differentiable, 0.0, 1.0, seed=seed)
    at = np.linspace(0.05, 0.95, 50)
    ratio = found.curve(at) / (at * (1 - at))
    assert np.abs(ratio / ratio.mean() - 1).max() < 0.02
    before, after = (KernelCoordinates.of(c, x, task.measure, isotropic(0.01)) for c in (Identity(), found))
    assert np.median(np.abs(after.landed - after.z)) < 0.4 * np.median(np.abs(before.landed - before.z))


def test_learning_refuses_what_it_cannot_learn_from():
    task = load("logistic")
    x = task.sample(50, np.random.default_rng(0)).x
    with pytest.raises(ValueError, match=r"shape \(n, T >= 8, 1\) wanted, got \(50, 4, 1\)"):
        learn_ratios(x[:, :4], task.differentiable, 0.0, 1.0)
    hole = np.where(np.arange(32)[:, None] == 5, np.nan, x)
    with pytest.raises(ValueError, match="finite trajectories wanted"):
        learn_ratios(hole, task.differentiable, 0.0, 1.0)
    with pytest.raises(ValueError, match="shape"):
        learn_ratios(x[:0], task.differentiable, 0.0, 1.0)
    with pytest.raises(ValueError, match="values within 0 and 0.5 wanted"):
        learn_ratios(x, task.differentiable, 0.0, 0.5)
    with pytest.raises(ValueError, match="the same for all trajectories"):
        learn_ratios(x, lambda x: x.sum() * 0 + 1, 0.0, 1.0)
