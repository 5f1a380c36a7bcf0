"""Coordinates chosen by a kernel, where the right ones are known."""

import numpy as np
import pytest

from physmis import drift
from physmis.coordinates import Filter, Identity, NormPower
from physmis.coordinates.maps import check_invertible
from physmis.coordinates.search import KernelCoordinates, candidates, condition_number, knows
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
    drifts = [one.drift for one in found]
    assert drifts[0] < 2e-3 and drifts[0] < drifts[1] < drifts[2]
    np.testing.assert_allclose(norm(found[2].x_perturbed), found[2].z_perturbed)


def test_forecast_is_that_of_the_bins_of_the_task():
    task = load("cone")
    batch = task.sample(20_000, np.random.default_rng(0))
    found = KernelCoordinates.of(Identity(), batch.x, task.measure, isotropic(0.05))
    edges = task.quantity.bins()
    p, q = drift.histogram(found.z, edges), drift.histogram(found.z_perturbed, edges)
    assert found.drift == pytest.approx(drift.total_variation(p, q), abs=0.01)


def test_the_largest_value_belongs_to_the_range_and_equal_values_to_one_bin():
    x = np.repeat(np.arange(1.0, 5.0), 10)[:, None, None]
    found = KernelCoordinates.of(Identity(), x, norm, lambda y: IsotropicKernel(1e-9, 1.0))
    for z_perturbed, expected in ((found.z, 0), (np.where(found.z == 4, 4.5, found.z), 0.25)):
        again = KernelCoordinates(Identity(), found.z, z_perturbed, x)
        assert again.drift == pytest.approx(expected)


def test_at_the_tip_of_a_plane_the_square_root_is_balanced(plane):
    """There |y|^2 = z is uniform: an even density in the plane, which isotropic errors leave as it is."""

    def share_at_the_tip(coordinates):
        found = KernelCoordinates.of(coordinates, plane, norm, isotropic(0.1))
        return np.mean(found.z_perturbed < 0.05) / np.mean(found.z < 0.05)

    assert share_at_the_tip(Identity()) < 0.75
    assert share_at_the_tip(NormPower(0.5)) == pytest.approx(1, abs=0.05)
    assert share_at_the_tip(NormPower(0.3)) > 1.05


def test_bad_input_is_refused(plane):
    with pytest.raises(ValueError, match="expected a measurement that varies, got 3 for all trajectories"):
        KernelCoordinates.of(Identity(), plane, lambda x: np.full(len(x), 3.0), isotropic(0.1))
    with pytest.raises(ValueError, match="20000 not finite"):
        KernelCoordinates.of(Identity(), plane, lambda x: np.full(len(x), np.nan), isotropic(0.1))


@pytest.mark.parametrize(
    "name, kept", [("sine", ()), ("cone", ()), ("logistic", ()), ("pendulum", ()), ("pendulum", (0, -1))]
)
def test_candidates_are_many_different_invertible_and_the_same_for_the_same_seed(name, kept):
    task = load(name)
    x = task.sample(200, np.random.default_rng(0)).x
    found, again = (candidates(x, 24, np.random.default_rng(1), kept, task) for _ in range(2))
    assert found == again and len(found) == len(set(found.values())) == 24
    other = task.sample(200, np.random.default_rng(1)).x
    for one in found.values():
        y = check_invertible(one, other)
        if kept:
            np.testing.assert_array_equal(y[:, list(kept)], other[:, list(kept)])
    families = {family for label in found for family in label.split(" ", 1)[1].split(", ")}
    assert len(families) >= (1 if kept else 4)
    knowing = sum(knows(one, task) for one in found.values())
    assert (0 < knowing < 24) == (name != "sine" and not kept)


def test_steps_that_no_family_keeps_are_refused():
    x = np.random.default_rng(0).normal(size=(5, 8, 2))
    with pytest.raises(ValueError, match=r"expected 2 coordinates that keep steps \(3,\)"):
        candidates(x, 2, np.random.default_rng(0), (3,))


def test_the_condition_number_is_that_of_the_linear_map():
    x = np.repeat(np.random.default_rng(0).normal(size=(3, 8, 1)), 2, axis=2) * (1, 100)
    assert condition_number(Identity(), x) == pytest.approx(1, rel=1e-6)
    # A filter multiplies frequency k, which goes to 4, by (1 + k)^slope.
    assert condition_number(Filter(0.7), x) == pytest.approx(5**0.7, rel=1e-6)
    # A power p of the norm enlarges errors along x, and across it, by factors of ratio p.
    for power in (0.5, 2):
        assert condition_number(NormPower(power), x / (1, 100)) == pytest.approx(2, rel=1e-4)
