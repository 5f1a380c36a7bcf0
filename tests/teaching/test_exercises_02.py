"""Exercises of notebook 02: typical mistakes do not pass, other right answers do."""

import numpy as np
import pytest

from physmis.teaching import widgets as workshop


def walk(p):
    """Half of each bin to either side; what would leave stays: leaves the uniform law, not p."""
    n = len(p)
    T = np.eye(n, k=1) / 2 + np.eye(n, k=-1) / 2
    return T + np.diag(1 - T.sum(axis=1))


def metropolis(p, try_=0.5):
    up = np.minimum(1, p[1:] / p[:-1]) * try_
    down = np.minimum(1, p[:-1] / p[1:]) * try_
    T = np.diag(up, 1) + np.diag(down, -1)
    return T + np.diag(1 - T.sum(axis=1))


def barker(p):
    n, T = len(p), np.zeros((len(p), len(p)))
    for i in range(n):
        for j in (i - 1, i + 1):
            if 0 <= j < n:
                T[i, j] = p[j] / (p[i] + p[j]) / 2
        T[i, i] = 1 - T[i].sum()
    return T.tolist()


def pairs(p):
    """Draw anew within bins 0 and 1, 2 and 3, and so on."""
    T = np.eye(len(p))
    for i in range(0, len(p) - 1, 2):
        T[i : i + 2, i : i + 2] = p[i : i + 2] / p[i : i + 2].sum()
    return T


def upwards(p):
    """The wrong ratio: accepts a step down the law always, a step up it seldom."""
    up, down = np.minimum(1, p[:-1] / p[1:]) / 2, np.minimum(1, p[1:] / p[:-1]) / 2
    T = np.diag(up, 1) + np.diag(down, -1)
    return T + np.diag(1 - T.sum(axis=1))


def parts(x):
    return x[:, 1:], x[:, :-1] * (1 - x[:, :-1])


def least_squares(x):
    y, s = parts(x)
    return (y * s).sum(axis=1) / (s * s).sum(axis=1)


def sums(x):
    y, s = parts(x)
    return y.sum(axis=1) / s.sum(axis=1)


def median(x):
    y, s = parts(x)
    return np.median(y / s, axis=1)


def total_least_squares(x):
    """Errors in y and, nine times smaller variance, in s."""
    y, s = parts(x)
    a, b, c = (s * s).sum(axis=1), (s * y).sum(axis=1), (y * y).sum(axis=1)
    return (c - 9 * a + np.sqrt((c - 9 * a) ** 2 + 36 * b * b)) / (2 * b)


WRONG = {
    "02.1": [
        0.0,
        (5, 0.1, 0.02),
        lambda T, dt, s: 0,
        lambda T, dt, s: 2.0,
        lambda T, dt, s: s,
        lambda T, dt, s: T * s**2 / dt**2,
        lambda T, dt, s: (T - 1) * s**2 / dt,
        lambda T, dt, s: (T - 1) * s / dt**2,
        lambda T, dt, s: (T - 1) * s**2 / (2 * dt**2),
        lambda T, dt, s: 2 * (T - 1) * s**2 / dt**2,
        lambda T, dt, s: -(T - 1) * s**2 / dt**2,
        lambda T, dt, s: np.nan,
        lambda T, dt, s: None,
        lambda T, dt, s: np.full(T, (T - 1) * s**2 / dt**2),
        lambda s: s,
    ],
    "02.2": [
        np.eye(12),
        lambda p: np.eye(len(p)),
        lambda p: 0,
        lambda p: p,
        lambda p: np.tile(p, (len(p), 1)),  # leaves p, but leaps
        lambda p: metropolis(p).T,
        lambda p: metropolis(p, 0.001),  # hardly moves
        lambda p: np.full((len(p), len(p)), np.nan),
        lambda p: np.full((len(p), len(p)), 1 / len(p)),
        lambda p: metropolis(p) - 0.2 * np.eye(len(p)),
        lambda p: np.eye(len(p)) + 1.2 * (metropolis(p, 1.0) - np.eye(len(p))),  # negative diagonal
        lambda p: metropolis(np.full(12, 1 / 12)),
        walk,
        upwards,
    ],
    "02.3": [
        3.75,
        lambda x: 3.75,
        lambda x: np.full(len(x), 3.75),
        lambda x: np.full(len(x), np.nan),
        lambda x: x,
        lambda x: least_squares(x.T),
        lambda x: least_squares(x)[:, None],
        lambda x: 1.03 * least_squares(x),  # right on average with errors, wrong without
        lambda x: np.clip(least_squares(x), 3.5, 4),
        lambda x: (x[:, 1:] ** 2).sum(axis=1) / (parts(x)[1] * x[:, 1:]).sum(axis=1),
        lambda x: x[:, 1] / (x[:, 0] * (1 - x[:, 0])),
        lambda x: 3.5 + 0.5 * (np.argsort(np.argsort(least_squares(x))) + 0.5) / len(x),  # the prior, by rank
        lambda x: (
            least_squares(x)
            if len(x) != 2000
            else 3.5 + 0.5 * (np.argsort(np.argsort(median(x))) + 0.5) / 2000
        ),
        least_squares,
        sums,
    ],
}
RIGHT = {
    "02.1": [
        lambda T, dt, s: (T - 1) * (s / dt) ** 2,
        lambda T, dt, s: np.array((T - 1) * s**2 / dt**2),
        lambda T, dt, s: (
            0.5 * s**2 * np.trace(np.diff(np.eye(T), axis=0).T @ np.diff(np.eye(T), axis=0)) / dt**2
        ),
    ],
    "02.2": [metropolis, lambda p: metropolis(p, 0.3), barker, pairs],
    "02.3": [
        lambda x: (least_squares(x) + sums(x)) / 2,
        lambda x: list(np.sqrt(least_squares(x) * sums(x))),
        median,
        total_least_squares,
    ],
}


@pytest.mark.parametrize(("exercise", "k"), [(e, k) for e in WRONG for k in range(len(WRONG[e]))])
def test_wrong(exercise, k):
    assert isinstance(workshop.hint(exercise, WRONG[exercise][k]), str)


@pytest.mark.parametrize(("exercise", "k"), [(e, k) for e in RIGHT for k in range(len(RIGHT[e]))])
def test_right(exercise, k):
    assert workshop.hint(exercise, RIGHT[exercise][k]) is None
