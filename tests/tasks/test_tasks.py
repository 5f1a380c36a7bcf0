import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.optimize import least_squares, minimize_scalar

from physmis.tasks import load
from physmis.tasks.base import CHUNK, PRIORS

NAMES = ("cone", "logistic", "sine")
SINE = load("sine", low=2.0, high=6.0, steps=32)
fixed = settings(deadline=None, derandomize=True, max_examples=40)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def tasks(draw):
    name = draw(st.sampled_from(NAMES))
    steps = draw(st.integers(16, 64))
    prior = draw(st.sampled_from(sorted(PRIORS)))
    if name == "cone":
        return load(name, steps=steps, high=draw(st.floats(0.01, 100)), prior=prior)
    first, last = (1.0, steps / 4) if name == "sine" else (2.0, 4.0)
    low = draw(st.floats(first, last))
    high = draw(st.floats(first, last))
    assume(high - low > 0.05)
    return load(name, steps=steps, low=low, high=high, prior=prior)


def noisy(task, n, sigma, seed):
    rng = np.random.default_rng(seed)
    x = task.sample(n, rng).x
    return x + sigma * rng.normal(size=x.shape)


def cone_curve(phase, steps):
    """The direction of the cone's docstring, scaled to norm 1 here."""
    angle = 2 * np.pi * np.arange(steps) / steps + phase
    wave = np.sin(angle) + np.sin(2 * angle) / 2 + np.sin(3 * angle) / 3
    return wave / np.linalg.norm(wave)


def fit_sine(x, f):
    """Least-squares frequency, cosine and sine amplitude, and sum of squares, by scipy, started at f."""
    t = 2 * np.pi * np.arange(len(x)) / len(x)
    basis = np.stack([np.cos(f * t), np.sin(f * t)], axis=1)
    a, b = np.linalg.lstsq(basis, x, rcond=None)[0]
    fit = least_squares(
        lambda p: p[1] * np.cos(p[0] * t) + p[2] * np.sin(p[0] * t) - x, (f, a, b), xtol=1e-14, ftol=1e-14
    )
    return *fit.x, 2 * fit.cost


@fixed
@given(tasks(), seeds)
def test_valid_data_have_no_residual_and_their_quantity_is_recovered(task, seed):
    x, z = dataclasses.astuple(task.sample(50, np.random.default_rng(seed)))
    low, high = task.quantity.prior.support()
    assert x.shape == (50, task.steps, len(task.channels)) and x.dtype == np.float32
    assert z.shape == (50,) and (z >= low).all() and (z <= high).all()
    recovered, residual = task.measure(x), task.validity(x)
    assert recovered.shape == residual.shape == (50,) and recovered.dtype == residual.dtype == np.float64
    np.testing.assert_allclose(recovered, z, rtol=0, atol=1e-5 * task.high)
    assert (residual >= 0).all()
    assert (residual <= 2e-6 * np.maximum(np.linalg.norm(x, axis=(1, 2)), 1e-3)).all()


# Distribution functions over [0, 1], integrated by hand from densities that rise to 4/5 and then fall,
# or go as 1 - cos(4 pi u).
CUMULATIVE = {
    "uniform": lambda u: u,
    "ramp": lambda u: np.where(u < 0.8, u**2 / 0.8, 1 - (1 - u) ** 2 / 0.2),
    "humps": lambda u: u - np.sin(4 * np.pi * u) / (4 * np.pi),
}


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("name", [*NAMES, "pendulum", "maze"])
def test_a_prior_has_its_shape_between_low_and_high(name, prior):
    task = load(name, prior=prior)
    assert task.quantity.prior.support() == (task.low, task.high) and task.config()["prior"] == prior
    share = np.linspace(0, 1, 101)
    found = task.quantity.prior.cdf(task.low + share * (task.high - task.low))
    np.testing.assert_allclose(found, CUMULATIVE[prior](share), atol=1e-6)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("name", NAMES)
def test_sampled_and_recovered_quantities_follow_the_prior(name, prior):
    task = load(name, prior=prior)
    batch = task.sample(3000, np.random.default_rng(1))
    for z in (batch.z, task.measure(batch.x)):
        share = (z - task.low) / (task.high - task.low)
        assert stats.kstest(np.clip(share, 0, 1), CUMULATIVE[prior]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("sine", {"steps": 5, "low": 1, "high": 1.25}), ("cone", {"steps": 7}), ("logistic", {"steps": 2})],
)
def test_recovers_the_quantity_at_the_shortest_horizon(name, parameters):
    task = load(name, **parameters)
    batch = task.sample(1000, np.random.default_rng(0))
    error = np.abs(task.measure(batch.x) - batch.z)
    assert np.median(error) < 1e-6 and np.quantile(error, 0.95) < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_residual_grows_with_noise_across_the_tolerance(name):
    task = load(name)
    residuals = [task.validity(noisy(task, 500, sigma, 0)) for sigma in (0, 0.005, 0.02, 0.05, 0.1, 0.2)]
    means = [residual.mean() for residual in residuals]
    assert (np.diff(means) > 0).all()
    assert (residuals[0] < task.tolerance).all() and (residuals[-1] > task.tolerance).all()


def test_noise_leaves_the_residual_its_degrees_of_freedom():
    # Noise of variance s^2 in T values, two of which (frequency or amplitude, and phase) the fit takes up.
    rng, sigma, n = np.random.default_rng(0), 0.003, 4000
    for task, z, share in (
        (load("sine", steps=16), rng.uniform(1, 3, n), 14 / 16),
        (load("cone", steps=16), rng.uniform(0.3, 1, n), 14),
    ):
        x = task.generate(z, rng) + sigma * rng.normal(size=(n, 16, 1))
        assert np.mean(task.validity(x) ** 2) == pytest.approx(share * sigma**2, rel=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_one_generator_state_names_one_sample(name):
    task = load(name)
    one, two, other = (task.sample(10, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.x, two.x)
    np.testing.assert_array_equal(one.z, two.z)
    assert not np.array_equal(one.x, other.x) and not np.array_equal(one.z, other.z)


@pytest.mark.parametrize("name", NAMES)
def test_nuisance_variables_vary_at_a_fixed_quantity(name):
    task = load(name)
    z = np.full(200, task.quantity.prior.mean())
    x = task.generate(z, np.random.default_rng(0))
    assert (x[:, 0, 0].std() > 0.05 * np.abs(x).max()) and len(np.unique(x[:, 0, 0])) == 200
    np.testing.assert_allclose(task.measure(x), z, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_each_trajectory_is_measured_alone(name):
    task = load(name)
    x = noisy(task, CHUNK + 7, 0.1, 0)
    rows = [0, 1, CHUNK - 1, CHUNK, CHUNK + 6]
    for function in (task.measure, task.validity):
        whole = function(x)
        single = np.concatenate([function(x[row : row + 1]) for row in rows])
        np.testing.assert_allclose(whole[rows], single, rtol=1e-9, atol=1e-12)
        assert function(x[:0]).shape == (0,)


@fixed
@given(tasks())
def test_config_rebuilds_the_task(task):
    assert load(**task.config()) == task
    assert dataclasses.replace(task, steps=task.steps + 4).config() != task.config()


SMALL = {
    "sine": {"low": 1.0, "high": 2.0}, "cone": {}, "logistic": {}, "pendulum": {"duration": 0.1},
    "maze": {"maze": "umaze"},
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
@fixed
@given(data=st.data())
def test_any_argument_is_answered_in_full_or_refused(name, data):
    task = load(name, steps=8, **SMALL[name])
    shape = (3, 8, len(task.channels))
    some = st.sampled_from([shape, shape, (0, *shape[1:]), (3, 7, shape[2]), shape[1:], (3,), (), (3, 8, 9)])
    dtype = data.draw(st.sampled_from([float, float, np.float32, np.int8, bool, complex, "U3", object]))
    x = data.draw(arrays(dtype, data.draw(some)))
    for call in (task.measure, task.validity, lambda z: task.generate(z, np.random.default_rng(0))):
        try:
            found = call(x)
        except NotImplementedError:
            assert name == "maze"
            continue
        except (TypeError, ValueError) as error:
            assert "expected" in str(error)
            continue
        assert found.shape in ((len(x),), (3, *shape[1:])) and np.isfinite(found).all()


@pytest.mark.parametrize("value", [0.0, 1.0, -1e3])
@pytest.mark.parametrize("name", SMALL)
def test_constant_trajectories_have_finite_measurements(name, value):
    task = load(name)
    x = np.full((2, task.steps, len(task.channels)), value)
    assert np.isfinite(task.measure(x)).all() and np.isfinite(task.validity(x)).all()


@pytest.mark.parametrize("name", SMALL)
def test_a_fault_is_named_with_its_task_and_place(name):
    task = load(name)
    x = np.zeros((9, task.steps, len(task.channels)))
    with pytest.raises(ValueError, match=rf"{name}.*\(n, {task.steps}, .*got shape \(9, 3"):
        task.measure(x[:, :3])
    x[4, 3, 0] = x[7, 0, 0] = np.nan
    with pytest.raises(ValueError, match=rf"{name}.* 2 of .*index \(4, 3, 0\)"):
        task.validity(x)


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("pendulums", {}, "cone, logistic, maze, pendulum, sine, got 'pendulums'"),
        ("sine", {"stepz": 3}, "low, high, steps, prior, got 'stepz'"),
        ("sine", {"steps": 10}, r"low < high in \[1.0, 2.5\], got \[1.0, 3.0\]"),
        ("sine", {"steps": 33.5}, "whole number"),
        ("sine", {"low": np.nan}, "got .nan"),
        ("sine", {"low": 3.0, "high": 3.0}, "low < high"),
        ("cone", {"prior": "beta"}, "one of uniform, ramp, humps, got 'beta'"),
        ("cone", {"steps": 6}, "at least 7"),
        ("cone", {"high": np.inf}, "got .0.0, inf"),
        ("logistic", {"steps": 1}, "at least 2"),
        ("logistic", {"high": 4.01}, r"low < high in \[0.0, 4.0\]"),
    ],
)
def test_unusable_parameters_are_refused(name, parameters, words):
    with pytest.raises(ValueError, match=f"expected .*{words}"):
        load(name, **parameters)


@fixed
@given(tasks(), st.integers(1, 100))
def test_bins_hold_equal_prior_mass_and_cover_the_line(task, n):
    prior = task.quantity.prior
    edges = task.quantity.bins(n)
    mass = np.diff(prior.cdf(edges))
    inside = mass > 1e-12
    assert (np.diff(edges) > 0).all() and edges[0] == -np.inf and edges[-1] == np.inf
    assert inside.sum() == n and np.diff(np.flatnonzero(inside)).max(initial=1) == 1
    np.testing.assert_allclose(mass[inside], 1 / n, atol=1e-9)
    # As many further bins on either side, each as wide as its inner neighbour.
    outside = n // 8
    assert len(edges) == n + 1 + 2 * (outside + 1)
    widths = np.diff(edges)[1:-1]
    np.testing.assert_allclose(widths[: outside + 1], widths[outside], rtol=1e-6)
    np.testing.assert_allclose(widths[len(widths) - outside - 1 :], widths[-outside - 1], rtol=1e-6)


# sine


@pytest.mark.parametrize("sigma", [0.02, 0.3])
def test_recovers_frequency_of_noisy_sine_like_least_squares(sigma):
    task = SINE
    x = noisy(task, 15, sigma, 2)
    f = task.measure(x)
    rms = task.validity(x)
    t = 2 * np.pi * np.arange(32) / 32
    for row, found, residual in zip(x[..., 0], f, rms, strict=True):
        # The best of several starts around the range: the oracle does not start from the answer.
        best = min((fit_sine(row, start) for start in np.arange(1.6, 7, 0.6)), key=lambda fit: fit[-1])
        a, b = best[1:3] / np.hypot(*best[1:3])
        assert found == pytest.approx(best[0], abs=1e-4)
        unit = a * np.cos(best[0] * t) + b * np.sin(best[0] * t)
        assert residual == pytest.approx(np.sqrt(np.mean((row - unit) ** 2)), rel=1e-4)


@fixed
@given(st.floats(0.5, 15.5), st.floats(0, 2 * np.pi), st.floats(0.1, 10), st.floats(0, 0.2), seeds)
def test_recovers_frequencies_beyond_the_prior_like_least_squares(f, phase, amplitude, sigma, seed):
    t = 2 * np.pi * np.arange(32) / 32
    x = np.sin(f * t + phase)
    assume(np.linalg.norm(x) > 2)  # next to 0 or Nyquist, some phases leave little to see
    x = amplitude * (x + sigma * np.random.default_rng(seed).normal(size=32))
    found = SINE.measure(x[None, :, None])[0]
    best = fit_sine(x, found)
    basis = np.stack([np.cos(found * t), np.sin(found * t)], axis=1)
    rest = np.sum((x - basis @ np.linalg.lstsq(basis, x, rcond=None)[0]) ** 2)
    assert rest <= best[-1] + 1e-6 * (x @ x)
    assert rest <= fit_sine(x, f)[-1] + 1e-6 * (x @ x)
    if sigma == 0:
        assert found == pytest.approx(f, abs=1e-6)


def test_frequency_fits_even_pure_noise_nearly_best():
    x = np.random.default_rng(0).normal(size=(200, 32, 1))
    t = 2 * np.pi * np.arange(32) / 32

    def explained(rows, f):
        q = np.linalg.qr(np.stack([np.cos(np.outer(f, t)), np.sin(np.outer(f, t))], axis=-1))[0]
        return np.sum(np.einsum("nt,ftk->nfk", rows, q) ** 2, axis=-1) / np.sum(rows**2, axis=1)[:, None]

    rows = x[..., 0]
    best = explained(rows, np.arange(0.25, 15.6, 0.01)).max(axis=1)
    found = np.diagonal(explained(rows, SINE.measure(x)))
    assert (found > best - 0.02).all() and np.median(best - found) < 1e-4


def test_amplitude_does_not_change_frequency_but_counts_as_a_residual():
    task = load("sine")
    x = task.sample(100, np.random.default_rng(0)).x
    np.testing.assert_allclose(task.measure(7 * x), task.measure(x), atol=1e-6)
    np.testing.assert_array_equal(task.measure(2.0**-60 * x), task.measure(x))
    # 1.3 sin - 1 sin leaves 0.3 sin, which is x itself times 0.3.
    np.testing.assert_allclose(task.validity(1.3 * x), 0.3 * np.sqrt(np.mean(x**2, axis=(1, 2))), rtol=1e-4)


# cone


@fixed
@given(st.integers(7, 200), st.floats(0, 1))
def test_cone_curve_has_unit_norm_and_closes(steps, high):
    task = load("cone", steps=steps, high=1 + high)
    phase = np.linspace(0, 2 * np.pi, 23)
    curve = task.curve(phase)
    np.testing.assert_allclose(np.linalg.norm(curve, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(curve[0], curve[-1], atol=1e-12)
    np.testing.assert_allclose(curve, [cone_curve(angle, steps) for angle in phase], atol=1e-12)


@pytest.mark.parametrize("sigma", [0.003, 0.03, 0.3])
def test_cone_residual_is_the_least_distance_over_phases_and_amplitudes(sigma):
    task = load("cone")
    x = noisy(task, 40, sigma, 3)
    grid = np.linspace(0, 2 * np.pi, 101)

    def distance(phase, row):
        direction = cone_curve(phase, task.steps)
        return np.linalg.norm(row - max(row @ direction, 0) * direction)

    for row, found in zip(x[..., 0], task.validity(x), strict=True):
        start = grid[np.argmin([distance(phase, row) for phase in grid])]
        least = minimize_scalar(
            distance, bounds=(start - 0.07, start + 0.07), args=(row,), options={"xatol": 1e-9}
        )
        assert found == pytest.approx(least.fun, rel=1e-5)


def test_cone_norm_scales_and_its_residual_ignores_the_amplitude_range():
    x = noisy(load("cone"), 50, 0.05, 0)
    task = load("cone")
    np.testing.assert_allclose(task.measure(3 * x), 3 * task.measure(x), rtol=1e-12)
    np.testing.assert_allclose(task.validity(3 * x), 3 * task.validity(x), rtol=1e-6)
    np.testing.assert_array_equal(load("cone", high=5.0).validity(x), task.validity(x))


# logistic


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.2])
def test_logistic_rate_and_residual_are_those_of_linear_least_squares(sigma):
    task = load("logistic")
    x = noisy(task, 60, sigma, 4)
    for row, r, residual in zip(x[..., 0], task.measure(x), task.validity(x), strict=True):
        regressor = (row * (1 - row))[:-1, None]
        (slope,), *_ = np.linalg.lstsq(regressor, row[1:], rcond=None)
        assert r == pytest.approx(slope, rel=1e-9)
        assert residual == pytest.approx(np.sqrt(np.mean((row[1:] - slope * regressor[:, 0]) ** 2)), rel=1e-6)


def test_logistic_trajectories_obey_the_map_and_start_uniformly():
    task = load("logistic", low=3.6, high=3.9)
    z = np.random.default_rng(0).uniform(3.6, 3.9, 3000)
    x = task.generate(z, np.random.default_rng(1))[..., 0]
    np.testing.assert_allclose(x[:, 1:], z[:, None] * x[:, :-1] * (1 - x[:, :-1]), rtol=1e-12)
    assert stats.kstest(x[:, 0], "uniform").pvalue > 1e-3
