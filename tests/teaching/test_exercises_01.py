"""The checks of notebook 01's exercises turn typical mistakes away, and take any right answer."""

import numpy as np
import pytest

from physmis.teaching import widgets as workshop


@pytest.mark.parametrize(
    "answer",
    [
        0,
        0.1,  # one number
        (0.0, 0.0),  # no drift seen
        (0.2, 0.05),  # the half forgotten
        (0.1, 0.1),  # the largest distance, not the mean
        (0.05, 0.1),  # the other order
        (0.1, -0.05),  # a sign
        (0.1, 0.0),
        (0.1, np.nan),
        (np.nan, np.nan),
        (0.1, 0.05, 0.0),
        [[0.1, 0.05]],
        "0.1, 0.05",
        None,
    ],
)
def test_wrong_distances(answer):
    assert workshop.hint("01.1", answer)


@pytest.mark.parametrize(
    "answer", [(0.1, 0.05), [0.1, 0.05], np.array([0.1004, 0.0497]), (np.float32(0.1), 1 / 20)]
)
def test_right_distances(answer):
    assert workshop.hint("01.1", answer) is None


def right_floor(bins, n, data):
    return np.sqrt((bins - 1) / (2 * np.pi) * (1 / n + 1 / data))


@pytest.mark.parametrize(
    "answer",
    [
        0.0327,  # a number, right for the notebook's sizes
        lambda bins, n, data: 0.0327,
        lambda bins, n, data: 0.0,
        lambda bins, n, data: np.nan,
        lambda bins, n, data: 2 * right_floor(bins, n, data),  # the half forgotten
        lambda bins, n, data: np.sqrt((bins - 1) / (2 * np.pi * n)),  # a training set without end
        lambda bins, n, data: np.sqrt((bins - 1) / (2 * np.pi * data)),
        lambda bins, n, data: np.sqrt(bins / (2 * np.pi) * (1 / n + 1 / data)),  # p instead of p (1 - p)
        lambda bins, n, data: np.sqrt(np.pi / 2) * right_floor(bins, n, data),  # the root mean square
        lambda bins, n, data: np.sqrt((bins - 1) / (2 * np.pi * (n + data))),  # pooled
        lambda bins, n, data: -right_floor(bins, n, data),
        lambda bins, n, data: np.full(bins, right_floor(bins, n, data)),  # one number a bin
        lambda bins, n, data: None,
        lambda bins, n: right_floor(bins, n, n),  # a parameter missing
    ],
)
def test_wrong_floors(answer):
    assert workshop.hint("01.2", answer)


def simulated(bins, n, data, repeats=400):
    rng = np.random.default_rng(1)
    known = rng.multinomial(data, np.full(bins, 1 / bins), size=repeats) / data
    return 0.5 * np.mean([np.abs(rng.multinomial(n, p) / n - 1 / bins).sum() for p in known])


@pytest.mark.parametrize(
    "answer",
    [right_floor, simulated, lambda bins, n, data: np.array(right_floor(bins, n, data))],
)
def test_right_floors(answer):
    assert workshop.hint("01.2", answer) is None


def parts(x):
    x = np.asarray(x)
    return x[:, :-1] * (1 - x[:, :-1]), x[:, 1:]


def weighted(x, weight):
    s, after = parts(x)
    return np.sum(weight * after * s, axis=1) / np.sum(weight * s * s, axis=1)


def least_squares(x):
    return weighted(x, 1.0)


def by_slope(x):
    return weighted(x, 1 / (1 + (least_squares(x)[:, None] * (1 - 2 * x[:, :-1])) ** 2))


def near_the_top(x):
    return weighted(x, np.exp(-(((x[:, :-1] - 0.5) / 0.1) ** 2) / 2) + 1e-12)


def correlated(x):
    """Generalised least squares: the errors of neighbouring steps share a state."""
    s, after = parts(x)
    slope = by_slope(x)[:, None] * (1 - 2 * x[:, :-1])
    i = np.arange(s.shape[1])
    covariance = np.zeros((*s.shape, len(i)))
    covariance[:, i, i] = 1 + slope**2
    covariance[:, i[1:], i[:-1]] = covariance[:, i[:-1], i[1:]] = -slope[:, 1:]
    a = np.linalg.solve(covariance, s[..., None])[..., 0]
    return np.sum(a * after, axis=1) / np.sum(a * s, axis=1)


def ratios(x):
    s, after = parts(x)
    return after / s


def shrunk_if_noisy(x):
    """Least squares where that fits exactly, else drawn toward the middle of the notebook's prior."""
    s, after = parts(x)
    r = least_squares(x)
    return np.where(np.abs(after - r[:, None] * s).max(axis=1) < 1e-8, r, 3.75)


@pytest.mark.parametrize(
    "answer",
    [
        3.75,
        lambda x: np.full(len(x), 3.75),  # the mean of the prior: no error, no measurement
        lambda x: 0.0,
        lambda x: x,
        lambda x: np.full(len(x), np.nan),
        least_squares,
        lambda x: np.median(ratios(x), axis=1),
        lambda x: ratios(x).mean(axis=1),
        lambda x: 4 * x.max(axis=1),  # the height of the parabola, if a state was at its top
        lambda x: np.clip(by_slope(x), 3.5, 4),  # knows the prior
        lambda x: by_slope(x)[:, None],
        lambda x: by_slope(x.T),  # over trajectories instead of time
        lambda x: by_slope(x).mean(),
        lambda x: weighted(x, np.abs(1 - 2 * x[:, :-1])),  # the steep steps weighted up
        shrunk_if_noisy,
    ],
)
def test_wrong_measurements(answer):
    assert workshop.hint("01.3", answer)


@pytest.mark.parametrize(
    "answer",
    [by_slope, near_the_top, correlated, lambda x: list(by_slope(x)), lambda x: correlated(x[:, 2:])],
)
def test_right_measurements(answer):
    assert workshop.hint("01.3", answer) is None
