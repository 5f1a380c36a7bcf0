"""Answers to the exercises of notebook 03: typical mistakes do not pass, other right answers do."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d
from scipy.special import hyp1f1, i0, i1

from physmis.teaching import widgets as workshop

REST = 63 * 0.01 * np.sqrt(np.pi)


@pytest.mark.parametrize(
    "wrong",
    [
        0,
        1,
        -REST,
        np.nan,
        np.inf,
        None,
        "1.12",
        True,
        [REST, REST],
        REST * 64 / 63,  # positions for steps
        REST / np.sqrt(2),  # one end only
        REST * np.sqrt(2),
        63 * 0.01 * 2 / np.sqrt(np.pi),  # one direction only
        63 * 0.01 * 2,  # root of the mean square
        REST * 100,  # centimetres
        REST / 63,  # one step
        lambda: REST,
    ],
)
def test_rest_wrong(wrong):
    assert workshop.hint("03.1", wrong)


@pytest.mark.parametrize("right", [REST, np.float64(REST), np.array(REST), 1.117, np.float32(1.1166)])
def test_rest_right(right):
    assert workshop.hint("03.1", right) is None


def rice(length, variance):
    """By Kummer's function, for steps that are not too long."""
    return np.sqrt(np.pi * variance / 2) * hyp1f1(-0.5, 1, -(np.asarray(length) ** 2) / (2 * variance))


def overflowing(length, s, rho):
    variance = 2 * s**2 * (1 - rho)
    u = length**2 / (2 * variance)
    with np.errstate(all="ignore"):
        bessel = (1 + u) * i0(u / 2) + u * i1(u / 2)
        return np.sqrt(np.pi * variance / 2) * np.exp(-u / 2) * bessel


@pytest.mark.parametrize(
    "wrong",
    [
        0.3,
        None,
        lambda length, s, rho: None,
        lambda length, s, rho: 0.0,
        lambda length, s, rho: length,
        lambda length, s, rho: length * np.nan,
        lambda length, s, rho: "long",
        lambda length, s, rho: rice(length, 2 * s**2),  # no correlation
        lambda length, s, rho: rice(length, s**2 * (1 - rho)),  # one end
        lambda length, s, rho: rice(length, 2 * s**2 * (1 + rho)),
        lambda length, s, rho: rice(length, 2 * s**2 * (1 - rho**2)),
        lambda length, s, rho: rice(length, 2 * s**2 * (1 - rho)).sum(),
        lambda length, s, rho: rice(length, 2 * s**2 * (1 - rho))[:, None],
        lambda length, s, rho: rice(length, 2 * s**2 * (1 - rho)) - length,  # what is added only
        lambda length, s, rho: np.sqrt(length**2 + 4 * s**2 * (1 - rho)),  # root of the mean square
        lambda length, s, rho: length + s**2 * (1 - rho) / np.maximum(length, 1e-9),  # small errors only
        overflowing,
        lambda length, s: length,
    ],
)
def test_correlated_errors_wrong(wrong):
    assert workshop.hint("03.2", wrong)


def by_quadrature(length, s, rho):
    """Mean over angle and size of the difference of the two errors."""
    sigma = s * np.sqrt(2 * (1 - rho))
    size, angle = np.meshgrid((np.arange(400) + 0.5) / 50, (np.arange(200) + 0.5) * np.pi / 200)
    weight = size * np.exp(-(size**2) / 2)
    x, y = sigma * size * np.cos(angle), sigma * size * np.sin(angle)
    return [((weight / weight.sum()) * np.hypot(one + x, y)).sum() for one in length]  # a list will do


@pytest.mark.parametrize("right", [by_quadrature, lambda length, s, rho: rice(length, 2 * s**2 * (1 - rho))])
def test_correlated_errors_right(right):
    assert workshop.hint("03.2", right) is None


def bridge(size, over):
    """Normal errors, smoothed over so many steps, that keep the ends."""

    def deviate(x, rng):
        error = gaussian_filter1d(rng.standard_normal(x.shape), over, axis=1)
        at = np.linspace(0, 1, x.shape[1])[:, None]
        error -= (1 - at) * error[:, :1] + at * error[:, -1:]
        return x + size * error / np.sqrt((error**2).sum(axis=-1).mean())

    return deviate


def wave(size, periods, along=1.0):
    def deviate(x, rng):
        swing = np.sin(np.pi * periods * np.linspace(0, 1, x.shape[1]))[:, None]
        return x + size * swing * rng.standard_normal((len(x), 1, 2)) * [1, along]

    return deviate


def late_or_early(x, rng):
    """Each path at other times: errors along the path only."""
    times = np.linspace(0, 1, x.shape[1])
    delay = 0.01 * rng.choice([-1, 1], len(x))[:, None] * np.sin(np.pi * times)
    return [CubicSpline(times, path)(t) for path, t in zip(x, np.clip(times + delay, 0, 1), strict=True)]


def in_place(x, rng):
    x += wave(0.05, 1)(np.zeros_like(x), rng)
    return x


def independent(x, rng):
    y = x + 0.03 * rng.standard_normal(x.shape)
    y[:, [0, -1]] = x[:, [0, -1]]
    return y


def with_a_fixed_seed(x, rng):
    return wave(0.05, 1)(x, np.random.default_rng(0))


def not_finite(x, rng):
    return wave(np.nan, 1)(x, rng)


def half_not_finite(x, rng):
    y = wave(0.05, 1)(x, rng)
    y[0, 5] = np.nan
    return y


@pytest.mark.parametrize(
    "wrong",
    [
        0,
        None,
        lambda x, rng: None,
        lambda x, rng: x,
        lambda x, rng: np.zeros_like(x),
        lambda x, rng: 0.0,
        lambda x, rng: x.swapaxes(1, 2),
        lambda x, rng: x[:10],
        lambda x, rng: x + 0.05,
        lambda x, rng: x + 0.05 * rng.standard_normal((len(x), 1, 2)),  # ends move
        lambda x, rng: x[rng.permutation(len(x))],
        lambda x, rng: wave(0.05, 1)(x, rng)[..., 0],
        lambda x: x,
        independent,
        not_finite,
        half_not_finite,
        with_a_fixed_seed,
        wave(0.01, 1),  # too small
        wave(0.3, 1),  # too large
        wave(0.05, 20),  # too quick
        bridge(0.05, 2),
    ],
)
def test_deviation_wrong(wrong):
    assert workshop.hint("03.3", wrong)


@pytest.mark.parametrize(
    "right",
    [wave(0.05, 1), wave(0.08, 2), wave(0.08, 1, along=0.0), bridge(0.05, 8), late_or_early, in_place],
)
def test_deviation_right(right):
    assert workshop.hint("03.3", right) is None


def test_hints_are_one_sentence_that_names_what_is_off():
    assert "not the positions" in workshop.hint("03.1", REST * 64 / 63)
    assert "both ends" in workshop.hint("03.1", REST / np.sqrt(2))
    assert "rho = 0.9" in workshop.hint("03.2", lambda length, s, rho: rice(length, 2 * s**2))
    assert "step of 0.5 m" in workshop.hint("03.2", overflowing)
    assert "longer" in workshop.hint("03.3", independent)
    assert "draw them from rng" in workshop.hint("03.3", with_a_fixed_seed)
    assert "Start and goal" in workshop.hint("03.3", lambda x, rng: x + 0.05)
