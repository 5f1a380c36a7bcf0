"""The audit: its verdicts and its level, and that its forecast is what the kernel does."""

import numpy as np
import pytest
import scipy.stats

from physmis.audit import forecast as module
from physmis.audit.audit import audit
from physmis.audit.forecast import Errors
from physmis.audit.measurements import path_length
from physmis.coordinates import Increments
from physmis.drift import histogram, prior_mass
from physmis.drift.shift_test import LEVEL, bin_edges
from physmis.kernels import Kernel, TangentKernel, induced_transition


def first(x):
    return x[:, 0, 0]


def constant(z, steps=4):
    """Trajectories that stay where they are, so that every step tells the quantity."""
    return np.repeat(np.asarray(z, dtype=float)[:, None, None], steps, axis=1)


def walks(n, steps=16, channels=2, seed=0, scale=1.0):
    return scale * np.cumsum(np.random.default_rng(seed).normal(size=(n, steps, channels)), axis=1)


class Shift(Kernel):
    """x' = x + by."""

    def __init__(self, by):
        self.by = by

    def deviate(self, x, rng):
        return x + self.by


class Halfway(Kernel):
    """x' is halfway between x and the mean of the data; nothing is drawn."""

    def __init__(self, data):
        self.centre = data.mean(axis=0)

    def deviate(self, x, rng):
        return (x + self.centre) / 2


class Exchange(Kernel):
    """x' = 0.8 x + 0.6 fresh, ``fresh`` as many normal trajectories: reversible where x is one of these."""

    def __init__(self, fresh):
        self.fresh = fresh

    def deviate(self, x, rng):
        return 0.8 * x + 0.6 * self.fresh[rng.integers(len(self.fresh), size=len(x))]


def test_more_unmeasurable_trajectories_on_one_side_are_a_shift():
    """A model that breaks down in some of its samples has kept nothing, whatever the rest does."""
    z = np.random.default_rng(0).normal(size=400)
    few, many = z[:200].copy(), z[:200].copy()
    few[:2], many[:20] = np.nan, np.nan
    assert not audit(constant(z), first, None, constant(few)).shifted
    found = audit(constant(z), first, None, constant(many))
    assert found.unmeasurable_shift and found.shifted and not found.comparison.excess.low > 0
    as_many = np.where(np.arange(400) < 40, np.nan, z)
    assert not audit(constant(as_many), first, None, constant(many)).shifted


def test_a_wrong_curation_differs_from_a_wrong_model():
    even, prior = (np.arange(300) + 0.5) / 300, scipy.stats.uniform(0, 1)
    found = audit(constant(even + 0.5), first, None, constant(even + 0.5), prior)
    assert found.shifted and found.curation_shift and found.model_shift
    assert found.comparison.level == found.curation.level == LEVEL / 2  # two tests share it
    found = audit(constant(even), first, None, constant(even + 0.5), prior)
    assert found.shifted and found.model_shift and not found.curation_shift


def test_the_default_errors_are_along_the_data_and_then_in_all_directions():
    """A tangent kernel, and isotropic noise in standard deviations of each channel."""
    x = walks(60) * [1, 10]
    rng = np.random.default_rng(5)
    expected = TangentKernel(x, reach=0.1).deviate(x, rng)
    expected = expected + 0.3 * x.std(axis=(0, 1)) * rng.standard_normal(x.shape)
    np.testing.assert_allclose(Errors(x, 0.3).deviate(x, np.random.default_rng(5)), expected, rtol=1e-5)
    # On a channel that is constant it still works, and leaves that channel alone.
    still = np.concatenate([x, np.ones((60, 16, 1))], axis=-1)
    found = Errors(still).deviate(still, np.random.default_rng(0))
    np.testing.assert_allclose(found[..., 2], 1, atol=1e-6)


def test_the_forecast_does_not_depend_on_what_was_generated():
    alone = audit(walks(200), path_length).forecast
    beside = audit(walks(200), path_length, generated=walks(100, seed=1, scale=1.3)).forecast
    assert (alone.tv, alone.floor, alone.coordinates) == (beside.tv, beside.floor, beside.coordinates)


@pytest.mark.parametrize("amount", [-0.7, 0.0, 100.0])
def test_a_kernel_that_shifts_all_values_is_forecast_exactly(amount):
    z = np.random.default_rng(0).normal(size=300)
    found = audit(constant(z), first, lambda y: Shift(amount))
    expected = histogram(z + amount, found.edges)
    np.testing.assert_allclose(found.forecast.q, expected, atol=1e-12)
    np.testing.assert_allclose(found.forecast.bias, amount, rtol=1e-9)
    assert found.forecast.tv == pytest.approx(0.5 * np.abs(expected - found.before).sum())
    assert found.forecast.coordinates["as they are"] == found.forecast.tv
    if abs(amount) > 0.5:
        assert found.forecast.tv > found.forecast.floor.high


def test_errors_in_other_coordinates_come_back_through_their_inverse():
    """The same amount added to each increment adds up along the trajectory."""
    x = walks(200, steps=8, channels=1)

    def last(x):
        return x[:, -1, 0]

    found = audit(x, last, lambda y: Shift(0.5)).forecast
    perturbed = Increments().inverse(Increments().transform(x) + 0.5)
    edges = bin_edges(last(x))
    expected = 0.5 * np.abs(histogram(last(perturbed), edges) - histogram(last(x), edges)).sum()
    assert found.coordinates["increments, Increments()"] == pytest.approx(expected)
    assert found.coordinates["increments, Increments()"] > found.tv


def test_the_forecast_is_that_of_the_induced_transition():
    x = walks(250)
    found = audit(x, path_length, Halfway)
    expected = induced_transition(Halfway(x), path_length, x, found.edges, np.random.default_rng(0))
    np.testing.assert_allclose(found.forecast.q, found.before @ expected.matrix)
    np.testing.assert_allclose(found.forecast.bias, expected.bias, atol=1e-5)  # float32


def test_a_prior_is_what_the_forecast_begins_with():
    z = np.random.default_rng(0).normal(size=300)
    prior = scipy.stats.norm(0.2, 1.1)
    found = audit(constant(z), first, lambda y: Shift(0.5), prior=prior)
    matrix = induced_transition(Shift(0.5), first, constant(z), found.edges, np.random.default_rng(0)).matrix
    np.testing.assert_allclose(found.forecast.q, prior_mass(prior, found.edges) @ matrix)
    assert found.curation is not None


def test_kernels_that_exchange_trajectories_stay_within_their_floor():
    """Reversible, so a step is as likely the other way: the forecast drift is noise, as the floor says."""
    within = 0
    for seed in range(20):
        fresh = walks(400, steps=4, channels=1, seed=1000 + seed)
        found = audit(walks(300, steps=4, channels=1, seed=seed), lambda x: x[:, -1, 0],
                      lambda y, fresh=fresh: Exchange(fresh)).forecast  # fmt: skip
        within += found.tv <= found.floor.high
    assert within >= 16


@pytest.mark.parametrize("steps", [(2, 300), (30, 90)])
def test_long_and_ragged_trajectories_are_perturbed_at_their_full_length(steps):
    """What is added evenly is added evenly at any length."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=120)
    ragged = [
        constant([value], length)[0] for value, length in zip(z, rng.integers(*steps, 120), strict=True)
    ]
    seen = []

    def kernel(y):
        seen.append(y.shape)
        return Shift(0.4)

    found = audit(ragged, lambda x: x.mean(axis=(1, 2)), kernel)
    np.testing.assert_allclose(found.forecast.q, histogram(z + 0.4, found.edges), atol=1e-12)
    np.testing.assert_allclose(found.forecast.bias, 0.4)
    assert max(shape[1] for shape in seen) <= module.KERNEL_STEPS


def test_the_kernel_sees_a_sample_of_many_trajectories(monkeypatch):
    monkeypatch.setattr(module, "KERNEL_TRAJECTORIES", 50)
    seen = []
    z = np.random.default_rng(0).normal(size=400)
    found = audit(constant(z), first, lambda y: seen.append(len(y)) or Shift(0.0))
    assert set(seen) == {50}
    np.testing.assert_allclose(found.forecast.q, histogram(z, found.edges), atol=1e-12)


def test_a_forecast_that_cannot_be_made_takes_nothing_from_the_comparison():
    clock = 1.7e9 + np.arange(16.0)[:, None] * np.ones((120, 1, 1))  # varies too little for the kernel
    x, y = (np.concatenate([walks(120, seed=seed), clock], axis=-1) for seed in (0, 1))

    def length(x):
        return path_length(x[..., :2])

    found = audit(x, length, generated=y)
    assert found.forecast is None and "expected more variation" in found.no_forecast
    assert found.comparison.excess == audit(x, length, generated=y, kernel=None).comparison.excess
    assert f"  none: {found.no_forecast}" in str(found)
    with pytest.raises(ValueError, match="expected more variation"):
        audit(x, length)


def test_constant_channels_stay_so_and_keep_no_coordinates_from_the_forecast():
    """A value of 5 comes back from increments with an error of rounding, much beside a range of 0."""
    x = walks(200)
    still = np.concatenate([x, np.full((200, 16, 1), 5.0)], axis=-1)
    seen = []

    def length(x):
        seen.append(x[..., 2:])
        return path_length(x[..., :2])

    found, alone = audit(still, length).forecast, audit(x, path_length).forecast
    assert found.coordinates == pytest.approx(alone.coordinates) and found.tv == pytest.approx(alone.tv)
    assert all((part == 5.0).all() for part in seen)


def test_coordinates_that_do_not_fit_are_said(monkeypatch):
    class Unfit(Increments):
        def _unmap(self, y):
            return 2 * super()._unmap(y)

    monkeypatch.setitem(module.CANDIDATES, "increments, Increments()", Unfit())
    found = audit(walks(200), path_length)
    assert np.isnan(found.forecast.coordinates["increments, Increments()"])
    assert "none: these coordinates do not fit the data" in str(found)


@pytest.mark.parametrize(("share", "shifted"), [(0.25, True), (0.0, False)])
def test_a_quantity_that_is_constant_in_demonstrations_is_tested(share, shifted):
    """No demonstration violates a rule, and a share of the plans does."""
    violations = (np.random.default_rng(0).random(200) < share).astype(float)
    found = audit(constant(np.zeros(300)), first, generated=constant(violations))
    assert found.shifted == shifted and found.forecast is None
    assert found.no_forecast == "the quantity is 0 for all demonstrations" and found.no_forecast in str(found)
    assert found.comparison.tv == pytest.approx(violations.mean())
    assert "forecast" not in str(audit(constant(np.zeros(300)), first, None, constant(violations)))
    near = np.full(200, np.float32(0.1), dtype=float)
    assert not audit(constant(np.full(300, 0.1)), first, generated=constant(near)).shifted


# what cannot be measured


def test_infinite_and_missing_values_of_a_model_make_a_sample_unmeasurable():
    rng = np.random.default_rng(0)
    x, y = walks(300), walks(300, seed=1)
    y[0, 3, 1], y[1, 10:] = np.inf, np.nan
    found = audit(x, path_length, None, y)
    assert found.sides[1].unmeasurable == 2 and not found.shifted
    y[rng.permutation(300)[:60], -1] = -np.inf
    assert audit(x, path_length, None, y).unmeasurable_shift
    x[:150, 10:] = np.nan  # where demonstrations lack steps, a model may, too
    y = walks(300, seed=1)
    y[:150, 10:] = np.nan
    assert audit(x, path_length, None, y).sides[1].unmeasurable == 0


def test_what_cannot_be_measured_is_left_out_and_counted():
    z = np.random.default_rng(0).normal(size=200)
    x, generated = constant(z), constant(z[:100] + 1)
    x[:7] = np.nan
    x[7:9, 1] = np.nan

    def measure(x):
        return np.where(first(x) > 1.5, np.nan, first(x))

    found = audit(x, measure, lambda y: Shift(0.0), generated=generated)
    ours, theirs = found.sides
    assert (ours.unmeasurable, theirs.unmeasurable) == (7 + (z[7:] > 1.5).sum(), (z[:100] + 1 > 1.5).sum())
    assert (ours.imputed, theirs.imputed) == (9, 0)
    np.testing.assert_array_equal(found.values, z[7:][z[7:] <= 1.5])


def test_what_errors_make_unmeasurable_is_left_out_of_the_forecast():
    z = np.random.default_rng(0).normal(size=300)

    def measure(x):
        return np.where(first(x) > z.max(), np.nan, first(x))

    found = audit(constant(z), measure, lambda y: Shift(0.5)).forecast
    kept = z[z + 0.5 <= z.max()]
    np.testing.assert_allclose(found.bias[np.isfinite(found.bias)], 0.5)
    edges = bin_edges(z)
    expected = 0.5 * np.abs(histogram(kept + 0.5, edges) - histogram(kept, edges)).sum()
    assert found.tv == pytest.approx(expected)
    with pytest.raises(ValueError, match="after a kernel's errors, got 0"):
        audit(constant(z), measure, lambda y: Shift(100.0))


GOOD = constant(np.linspace(0, 1, 30))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trajectories": GOOD[:19]}, "expected 20 or more measurable demonstrations, got 19"),
        ({"generated": GOOD[:3]}, "expected 20 or more measurable generated trajectories, got 3"),
        ({"measure": lambda x: 1 + 1e-15 * first(x)}, "varies, got 1 for all demonstrations"),
        ({"measure": lambda x: x[:, 0]}, r"measurement of shape \(30,\), got \(30, 1\)"),
        ({"generated": np.zeros((30, 4, 2))}, "expected 1 channels of generated trajectories, got 2"),
        ({"generated": GOOD + np.inf}, "20 or more measurable generated trajectories, got 0"),
        ({"measure": "energy"}, "expected a measurement .*path_length.*got 'energy'"),
        ({"measure": ["path_length"]}, r"expected a measurement .*or a callable, got \['path_length'\]"),
        ({"prior": scipy.stats.uniform(0, -1)}, "prior"),
        ({"prior": (5, 10)}, r"expected a prior such as scipy.stats.uniform.*, got \(5, 10\)"),
    ],
)
def test_what_cannot_be_audited_is_refused(change, message):
    given = {"trajectories": GOOD, "measure": first, **change}
    with pytest.raises((ValueError, TypeError), match=message):
        audit(**given)


# what it does not depend on


def test_the_seed_decides_and_nothing_else():
    x, generated = walks(80), walks(60, seed=1, scale=1.1)

    def run(seed):
        return audit(x, path_length, generated=generated, seed=seed)

    one, same, other = run(3), run(3), run(4)
    assert str(one) == str(same)
    np.testing.assert_array_equal(one.forecast.q, same.forecast.q)
    assert one.comparison.tv == other.comparison.tv
    assert not np.array_equal(one.forecast.q, other.forecast.q)


def test_neither_the_order_of_trajectories_nor_their_unit_matters_to_the_comparison():
    rng = np.random.default_rng(0)
    z, g = np.round(rng.normal(size=60), 1), np.round(rng.normal(size=45) + 0.3, 1)
    one = audit(constant(z), first, None, constant(g), seed=1)
    other = audit(constant(rng.permutation(z)), first, None, constant(rng.permutation(g)), seed=1)
    larger = audit(constant(1024 * z), first, None, constant(1024 * g), seed=1)
    np.testing.assert_array_equal(one.edges * 1024, larger.edges)
    for same in (other, larger):
        for name in ("p", "q", "tv", "p_value"):
            np.testing.assert_array_equal(getattr(one.comparison, name), getattr(same.comparison, name))
