"""Checks of the exercises of notebook 03: travel distance, and the errors that change it.

The first two are checked by Monte Carlo with a fixed seed, the third by the drift of the travel distance on
paths that are made here, without MuJoCo. All lengths are in metres.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

STEPS = 64  # positions of a path
RESTING = 0.01  # standard deviation of the errors at rest, in each direction
LEAST, MOST = 0.03, 0.10  # how far a typical path is to be moved
PATHS = 1500
SHARE = 0.05  # of the drift by independent errors that is allowed


def resting(answer: float) -> str | None:
    """03.1: mean length of 64 independent errors of 1 cm in a row, to 0.5 %."""
    value, wrong = _number(answer)
    if wrong:
        return wrong
    rng = np.random.default_rng(3)
    steps = np.diff(RESTING * rng.standard_normal((20_000, STEPS, 2)), axis=1)
    expected = np.linalg.norm(steps, axis=-1).sum(axis=1).mean()  # to 0.06 %
    if abs(value / expected - 1) <= 0.005:
        return None
    if value <= 0:
        return "Every error makes length, so the number must be above 0."
    if abs(value / expected - 1 / np.sqrt(2)) < 0.01:
        return "Too short: both ends of a step move, each by an error of its own."
    if abs(value / expected - STEPS / (STEPS - 1)) < 0.004:
        return "Very close: count the steps, not the positions."
    if not 0.1 < value / expected < 10:
        return "It is not even of the right size; mind the units (metres), and that all steps count."
    return (
        f"It is too {'long' if value > expected else 'short'}; a step has an error in each of two directions."
    )


def correlated_errors(answer: Callable[..., Any]) -> str | None:
    """03.2: mean length of steps of 0 to 0.5 m after correlated errors, to 2 % of what these add."""
    if not callable(answer):
        return f"A function answer(length, s, rho) is wanted, not {_name(answer)}."
    length = np.array([0.0, 0.004, 0.02, 0.1, 0.5])
    rng = np.random.default_rng(2)
    first, other = rng.standard_normal((2, 200_000, 2))
    for s, rho in ((0.01, 0.0), (0.01, 0.9), (0.03, 0.5), (0.002, -0.5)):
        where = f"for s = {s} m and rho = {rho}"
        found, wrong = _array(answer(length.copy(), s, rho))
        if wrong:
            return f"{wrong[:-1]}, {where}."
        if found.shape != length.shape:
            return (
                f"For lengths of shape {length.shape} it gives shape {found.shape}; the same shape is wanted."
            )
        if not np.isfinite(found).all():
            bad = length[~np.isfinite(found)][0]
            return f"It is not finite for a step of {bad} m, {where}."
        error = (
            s * (rho * first + np.sqrt(1 - rho**2) * other) - s * first
        )  # of the second end, less the first
        for l_, value in zip(length, found, strict=True):
            # Less the error along the step, of which the mean is 0: what is left varies little.
            added = (np.hypot(l_ + error[:, 0], error[:, 1]) - l_ - error[:, 0]).mean()
            if not abs(value - l_ - added) <= 0.02 * added:
                side = "much" if value - l_ > added else "little"
                return f"The errors add too {side} to a step of {l_} m, {where}."
    return None


def deviation_without_drift(answer: Callable[..., Any]) -> str | None:
    """03.3: a random deviation of 3 to 10 cm that keeps both ends and, within 5 %, the law of distance."""
    if not callable(answer):
        return f"A function answer(x, rng) is wanted, not {_name(answer)}."
    x = make_paths(PATHS, np.random.default_rng(3))
    draws = []
    for seed in (4, 5):
        y, wrong = _array(answer(x.copy(), np.random.default_rng(seed)))
        if wrong:
            return wrong
        if y.shape != x.shape:
            return f"Paths of shape {x.shape} come back with shape {y.shape}; the same shape is wanted."
        if not np.isfinite(y).all():
            return "Some of the positions that come back are not finite."
        draws.append(y - x)
    deviation = draws[0]
    ends = np.abs(np.stack(draws)[:, :, [0, -1]]).max()
    if not ends <= 1e-3:
        return f"Start and goal must stay within 1 mm; one of them moves by {100 * ends:.2g} cm."
    size = np.median(_size(deviation))
    if not LEAST <= size <= MOST:
        return f"A typical path moves by {100 * size:.2g} cm (root mean square); 3 to 10 cm are wanted."
    if not _size(draws[1] - deviation).mean() >= size / 2:
        return "Two generators give nearly the same deviations: draw them from rng."
    drift, allowed = _drift(x, x + deviation), SHARE * _drift(x, x + _independent(x, size))
    if drift <= allowed:
        return None
    change = "longer" if _distance(x + deviation).mean() > _distance(x).mean() else "shorter"
    return (
        f"Distances drift by {drift:.3f} m (Wasserstein-1; on the whole they get {change}), and "
        f"{allowed:.3f} m are allowed, a twentieth of what independent errors of the same size make."
    )


CHECKS = {"03.1": resting, "03.2": correlated_errors, "03.3": deviation_without_drift}


def make_paths(n: int, rng: np.random.Generator) -> Float[np.ndarray, "n 64 2"]:
    """Ways of 5 to 10 m along the lines of a grid of 1 m, with rounded turns and a rest at the end.

    64 positions, 0.06 s apart; like demonstrations in the maze, but without walls. The rest takes up to a
    fifth of the time.
    """
    turns = rng.choice([-1, 0, 1, 2], p=[0.35, 0.25, 0.35, 0.05], size=(n, 11))  # quarter turns; 2 goes back
    angle = np.pi / 2 * np.cumsum(turns, axis=1)
    moves = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    corners = np.concatenate([np.zeros((n, 1, 2)), np.cumsum(moves, axis=1)], axis=1)
    length, arrival = rng.uniform([5.5, 0.8], [10.9, 1.0], (n, 2)).T[..., None]  # m, share of the time
    gone = length * np.minimum(np.arange(STEPS) / (STEPS - 1) / arrival, 1)
    whole = gone.astype(int)
    rows = np.arange(n)[:, None]
    x = corners[rows, whole] + (gone - whole)[..., None] * moves[rows, whole]
    return gaussian_filter1d(x, 1.5, axis=1, mode="nearest")


def _independent(x, size):
    """Independent errors of ``size`` at each position but the ends, (n, T, 2)."""
    error = np.random.default_rng(6).standard_normal(x.shape)
    error[:, [0, -1]] = 0
    return size * error / np.median(_size(error))


def _distance(x):
    return np.linalg.norm(np.diff(x, axis=1), axis=-1).sum(axis=1)


def _drift(x, y):
    """Wasserstein-1 between the laws of travel distance of two sets of as many paths, in metres."""
    return np.abs(np.sort(_distance(x)) - np.sort(_distance(y))).mean()


def _size(deviation):
    """Root mean square over positions of how far each path is moved, (n,)."""
    return np.sqrt((deviation**2).sum(axis=-1).mean(axis=1))


def _number(answer):
    """The answer as a finite real number, and None; or None, and what is off."""
    value, wrong = _array(answer)
    if wrong or value.shape != () or isinstance(answer, bool | np.bool_):
        return None, f"A single number, in metres, is wanted, not {_name(answer)}."
    if not np.isfinite(value):
        return None, f"A finite number is wanted, not {value}."
    return float(value), None


def _array(found):
    """What was given as an array of real numbers, and None; or None, and what is off."""
    try:
        array = np.asarray(found)
        if array.dtype.kind not in "iuf":
            raise TypeError
        return array.astype(float), None
    except (TypeError, ValueError):
        return None, f"Real numbers are wanted, in one array, not {_name(found)}."


def _name(thing):
    return (
        "nothing (does the function return?)"
        if thing is None
        else f"something of type {type(thing).__name__}"
    )
