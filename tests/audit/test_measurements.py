"""Built-in measurements: against shapes, signals and maps whose quantity is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from physmis.audit.measurements import (
    MEASUREMENTS,
    kinetic_energy,
    mean_speed,
    measurement,
    path_length,
    spectral_peak,
)

fixed = settings(deadline=None, derandomize=True, max_examples=30)
seeds = st.integers(0, 2**32 - 1)


def polygon(corners, radius=1.0):
    turn = 2 * np.pi * np.arange(corners + 1) / corners
    return radius * np.stack([np.cos(turn), np.sin(turn)], axis=-1)[None]


def wave(cycles, phase, steps, offset=0.0):
    return np.sin(2 * np.pi * cycles * np.arange(steps) / steps + phase)[None, :, None] + offset


@pytest.mark.parametrize("corners", [3, 4, 6, 17])
def test_path_length_is_the_perimeter_of_a_polygon(corners):
    assert path_length(polygon(corners, 2.5))[0] == pytest.approx(5 * corners * np.sin(np.pi / corners))


@fixed
@given(seeds, st.integers(2, 12), st.integers(1, 4), st.floats(0.1, 10))
def test_speeds_do_not_change_when_space_is_turned_shifted_or_channels_swapped(seed, steps, channels, dt):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, steps, channels))
    turn, _ = np.linalg.qr(rng.normal(size=(channels, channels)))
    for name in ("path_length", "mean_speed", "kinetic_energy"):
        measure = measurement(name, dt)
        for same in (x @ turn, x + rng.normal(size=channels), x[..., ::-1], x[:, ::-1]):
            np.testing.assert_allclose(measure(same), measure(x), rtol=1e-9)


@fixed
@given(seeds, st.floats(0.1, 10), st.floats(0.01, 100))
def test_quantities_scale_with_space_and_time_as_their_units_do(seed, scale, dt):
    x = np.random.default_rng(seed).normal(size=(3, 16, 2))
    units = {
        "path_length": (1, 0),
        "mean_speed": (1, -1),
        "kinetic_energy": (2, -2),
        "spectral_peak": (0, -1),
    }
    assert units.keys() == MEASUREMENTS.keys()
    for name, (space, time) in units.items():
        expected = MEASUREMENTS[name](x) * scale**space * dt**time
        np.testing.assert_allclose(measurement(name, dt)(scale * x), expected, rtol=1e-8)


def test_uniform_motion_has_its_speed_and_half_its_square():
    x = np.array([3.0, 4.0]) * 0.1 * np.arange(8)[None, :, None]
    assert mean_speed(x, 0.1)[0] == pytest.approx(5)
    assert kinetic_energy(x, 0.1)[0] == pytest.approx(12.5)


# spectra


@fixed
@given(st.integers(12, 200), st.floats(0, 1), st.floats(0, 6.3), st.floats(-100, 100), st.floats(0.01, 10))
def test_spectral_peak_finds_the_frequency_of_a_sine(steps, share, phase, offset, dt):
    """Between two periods and two cycles below the highest frequency, to 0.03 cycles a trajectory."""
    cycles = 2 + share * (steps / 2 - 4)
    found = spectral_peak(wave(cycles, phase, steps, offset), dt)[0]
    assert found * dt * steps == pytest.approx(cycles, abs=0.03)


def test_the_stronger_of_two_channels_and_of_two_waves_decides():
    strong, weak = wave(5, 0.3, 64), 0.5 * wave(11, 1.0, 64)
    for x in (strong + weak, np.concatenate([strong, weak], axis=2), np.concatenate([weak, strong], axis=2)):
        assert spectral_peak(x)[0] * 64 == pytest.approx(5, abs=0.05)


def test_what_stands_still_or_is_too_short_has_no_spectral_peak():
    x = np.concatenate(
        [np.full((1, 32, 1), 0.1), np.zeros((1, 32, 1)), np.full((1, 32, 1), -1e9), wave(4, 0, 32)]
    )
    np.testing.assert_array_equal(np.isnan(spectral_peak(x)), [True, True, True, False])
    assert np.isnan(spectral_peak(np.random.default_rng(0).normal(size=(3, 4, 1)))).all()
    assert np.isfinite(spectral_peak(np.random.default_rng(0).normal(size=(3, 5, 1)))).all()


def test_what_is_not_finite_or_too_large_or_too_small_to_square_is_nan():
    """Of the powers of ten, only those whose squares are normal numbers are measured; a still path is 0."""
    scales = 10.0 ** np.array([-170, -100, 0, 100, 170])
    x = scales[:, None, None] * np.cumsum(np.ones((5, 6, 1)), axis=1)
    for measure in (path_length, mean_speed, kinetic_energy):
        np.testing.assert_array_equal(np.isfinite(measure(x)), [False, True, True, True, False])
        assert np.isnan(measure(np.full((1, 6, 1), np.nan))).all()
        assert measure(np.full((1, 6, 1), 3.0)) == 0


# by name


@pytest.mark.parametrize("shape", [(3, 4), (3, 1, 2), (3, 4, 0)])
def test_other_shapes_are_refused(shape):
    for measure in MEASUREMENTS.values():
        with pytest.raises(ValueError, match=r"expected trajectories of shape \(n, T, C\)"):
            measure(np.zeros(shape))


@pytest.mark.parametrize("dt", [0, -1, np.nan, np.inf])
def test_times_between_steps_that_are_not_positive_are_refused(dt):
    with pytest.raises(ValueError, match="positive"):
        measurement("path_length", dt)
