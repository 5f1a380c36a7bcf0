import dataclasses
import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from physmis.drift import histogram
from physmis.kernels import IsotropicKernel, Kernel, expand, forecast, induced_transition, transition
from physmis.tasks import load

module = importlib.import_module("physmis.kernels.transition")
fixed = settings(deadline=None, derandomize=True, max_examples=60)
seeds = st.integers(0, 2**32 - 1)
EDGES = np.array([-np.inf, *np.linspace(-2, 2, 9), np.inf])


def rng_of(seed=0):
    return np.random.default_rng(seed)


def mean(x):
    return x.mean(axis=(1, 2))


@dataclasses.dataclass(frozen=True)
class Shift(Kernel):
    """Shifts every value by a fixed amount, and draws nothing."""

    by: float

    def deviate(self, x, rng):
        return x + self.by


@st.composite
def pairs(draw):
    """Edges, and values before and after within them, some of them on an edge; an edge may be infinite."""
    edges = np.array(draw(st.lists(st.floats(-5, 5), min_size=2, max_size=8, unique=True).map(sorted)))
    rng = rng_of(draw(seeds))
    z, z_perturbed = rng.uniform(edges[0], edges[-1], (2, draw(st.integers(1, 60))))
    for values in (z, z_perturbed):
        on = rng.random(values.shape) < 0.2
        values[on] = rng.choice(edges, on.sum())
    ends = draw(st.tuples(st.booleans(), st.booleans()))
    return np.concatenate([[-np.inf] * ends[0], edges, [np.inf] * ends[1]]), z, z_perturbed


@fixed
@given(pairs())
def test_transition_agrees_with_the_histogram_of_numpy(given_):
    edges, z, z_perturbed = given_
    found, bins = transition(z, z_perturbed, edges), len(edges) - 1
    counts = np.histogram2d(z, z_perturbed, [edges, edges])[0]
    expected = np.array([row / row.sum() if row.any() else np.eye(bins)[i] for i, row in enumerate(counts)])
    np.testing.assert_allclose(found.matrix, expected, atol=1e-15)
    at = np.clip(np.digitize(z, edges) - 1, 0, bins - 1)
    sums = np.bincount(at, z_perturbed - z, minlength=bins)
    held = counts.any(axis=1)
    np.testing.assert_allclose(found.bias[held], (sums / counts.sum(axis=1).clip(1))[held], atol=1e-12)
    assert np.isnan(found.bias[~held]).all()
    # The distribution before becomes that after.
    after = histogram(z_perturbed, edges)
    np.testing.assert_allclose(forecast(histogram(z, edges), found.matrix), after, atol=1e-12)


def test_a_kernel_that_shifts_all_values_shifts_the_matrix():
    x = rng_of().uniform(-1.5, 1.5, (300, 1, 1))
    for by, k in ((0.0, 0), (0.5, 1)):
        found = induced_transition(Shift(by), mean, x, EDGES, rng_of())
        held = ~np.isnan(found.bias)
        assert held.sum() == 6
        np.testing.assert_array_equal(found.matrix[held], np.eye(10, k=k)[held])
        np.testing.assert_allclose(found.bias[held], by)


@pytest.mark.parametrize("size", [1, 7])
def test_trajectories_are_taken_a_few_at_a_time_which_changes_nothing(size, monkeypatch):
    x, most, kernel = rng_of().standard_normal((64, 3, 1)), [], IsotropicKernel(0.5)

    def measure(part):
        most.append(len(part))
        return mean(part)

    whole = induced_transition(kernel, mean, x, EDGES, rng_of(1))
    monkeypatch.setattr(module, "CHUNK", size)
    parts = induced_transition(kernel, measure, x, EDGES, rng_of(1))
    assert max(most) == size and sum(most) == 2 * 64
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"measure": lambda x: x[:, 0]}, r"20 finite measured values, got shape \(20, 1\), 0 not"),
        ({"kernel": Shift(np.nan)}, "finite values of 99% of the draws, got 20 of 20 not"),
        ({"x": np.zeros((0, 3, 1))}, r"got shape \(0, 3, 1\)"),
    ],
)
def test_what_makes_no_transition_is_refused(changed, says):
    call = {"kernel": IsotropicKernel(0.1), "measure": mean, "x": np.ones((20, 3, 1)), "edges": EDGES}
    with pytest.raises(ValueError, match=f"expected .*{says}"):
        induced_transition(**call | changed, rng=rng_of())


def test_few_draws_without_a_finite_measurement_are_left_out_and_told():
    x = rng_of().random((1000, 3, 1))

    def measure(x):
        z = mean(x)
        return np.where(z > np.sort(z)[-8], np.nan, z) if calls.append(0) or len(calls) == 1 else z

    calls = []  # the first call measures the perturbed ones
    with pytest.warns(UserWarning, match="left out: 7 of 1000 draws"):
        found = induced_transition(IsotropicKernel(0.01), measure, x, EDGES, rng_of(1))
    assert found.matrix.sum() == pytest.approx(len(EDGES) - 1)


def test_transition_takes_lists_and_refuses_what_does_not_pair_up():
    found = transition([0.1, 0.6], [0.6, 0.6], [0, 0.5, 1])
    np.testing.assert_array_equal(found.matrix, [[0, 1], [0, 1]])
    with pytest.raises(ValueError, match="expected as many values after as before, 2, got 1"):
        transition([0.1, 0.6], [0.6], [0, 0.5, 1])


# forecasts


@fixed
@given(seeds, st.integers(1, 9), st.integers(1, 7))
def test_steps_are_applied_one_after_the_other_and_lose_no_mass(seed, bins, steps):
    rng = rng_of(seed)
    p, matrix = rng.dirichlet(np.ones(bins)), rng.dirichlet(np.ones(bins), bins)
    expected = p
    for _ in range(steps):
        expected = np.array([sum(expected[i] * matrix[i, j] for i in range(bins)) for j in range(bins)])
    found = forecast(p, matrix, steps)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.sum() == pytest.approx(1, abs=1e-12) and (found >= 0).all()


@pytest.mark.parametrize(
    ("matrix", "steps", "says"),
    [
        (np.full((3, 2), 0.5), 1, r"square transition of 2 bins, got shape \(3, 2\)"),
        ([[0.9, 0.5], [0.1, 0.5]], 1, "shares of 0 or more"),  # columns sum to 1, rows do not
        (np.eye(2), 0, "whole number of at least 1, got 0"),
    ],
)
def test_what_cannot_be_applied_is_refused(matrix, steps, says):
    with pytest.raises(ValueError, match=f"expected .*{says}"):
        forecast([0.5, 0.5], matrix, steps)


# theory


def test_small_isotropic_errors_change_the_amplitude_of_the_cone_as_theory_says():
    # Bias (T - 1) s^2 / 2z and variance s^2, as of any norm of T values, where z is large beside s.
    task, s = load("cone", steps=32), 0.01
    batch = task.sample(22_000, rng_of())
    x, z = batch.x[batch.z > 0.1], batch.z[batch.z > 0.1]
    edges = np.array([-np.inf, *np.linspace(0.2, 1, 33), np.inf])
    found = induced_transition(IsotropicKernel(s), task.measure, x, edges, rng_of(1))
    bias, blur = (task.steps - 1) * s**2 / (2 * z), np.full(len(z), s**2)
    still = histogram(z, edges)
    q, expected = forecast(still, found.matrix), expand(z, bias, blur, edges)
    # Only trajectories within a few s of an edge may change their bin: less noise than in a fresh sample.
    error = np.sqrt(expected * (1 - expected) / len(z))
    assert (np.abs(q - expected) < 3 * error).all()
    assert (np.abs(still - expected) > 4 * error)[[0, -1]].all()
    at = np.digitize(z, edges) - 1
    count = np.bincount(at, minlength=34)[1:-1]
    theory = np.bincount(at, bias, minlength=34)[1:-1] / count
    assert (np.abs(found.bias[1:-1] - theory) < 4.5 * s / np.sqrt(count)).all()
    assert (theory > 3 * s / np.sqrt(count)).all()  # the bias is more than its error
