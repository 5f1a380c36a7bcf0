"""Measurements of one's own trajectories: a physical quantity of each, by name.

Trajectories have shape (n, T, C). Steps are ``dt`` apart, in a unit of time of the user's. The quantity is
NaN for a trajectory that holds NaN or infinite values, or whose values are so large or small that their
squares overflow or vanish. All raise ValueError for other shapes, and TypeError for what is no array of real
numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Float

from physmis import checks
from physmis.kernels.kernels import Measurement, Trajectories


def path_length(x: Trajectories, dt: float = 1.0) -> Float[np.ndarray, "n"]:
    """Length of the polygon through all steps, in the unit of the channels, which are coordinates."""
    x = _checked(x)
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.sqrt((np.diff(x, axis=1) ** 2).sum(axis=-1)).sum(axis=1)
    return _known(length, x, np.sqrt(np.finfo(x.dtype).tiny))


def mean_speed(x: Trajectories, dt: float = 1.0) -> Float[np.ndarray, "n"]:
    """`path_length` over the time that it takes. NaN for a single step, which takes none."""
    x = _checked(x)
    return path_length(x) / (dt * (x.shape[1] - 1)) if x.shape[1] > 1 else np.full(len(x), np.nan)


def kinetic_energy(x: Trajectories, dt: float = 1.0) -> Float[np.ndarray, "n"]:
    """Mean of half the squared speed from step to step: the kinetic energy of a unit mass.

    NaN for a single step, which has no speed.
    """
    x = _checked(x)
    if x.shape[1] < 2:
        return np.full(len(x), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        square = (np.diff(x, axis=1) ** 2).sum(axis=-1).mean(axis=1)
    return _known(square, x, np.finfo(x.dtype).tiny) / 2 / dt / dt


def spectral_peak(x: Trajectories, dt: float = 1.0) -> Float[np.ndarray, "n"]:
    """Frequency of the largest power, summed over channels, in cycles a unit of time.

    The mean is left out and a Hann window laid over. Between the frequencies of the discrete transform the
    peak is that of the parabola through the logarithms of three powers (Smith and Serra 1987); fewer than two
    periods in a trajectory are told to the nearest half period only, and what is within a period of the
    highest frequency to the nearest period. NaN for a trajectory that stands still, or of fewer than 5 steps.
    """
    x = _checked(x)
    if x.shape[1] < 5:
        return np.full(len(x), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        return _peak(x) / (dt * x.shape[1])


def _peak(x):
    """`spectral_peak` in cycles a trajectory."""
    window = np.hanning(x.shape[1] + 2)[1:-1, None]
    weighted_mean = (x * window).sum(axis=1, keepdims=True) / window.sum()
    power = (np.abs(np.fft.rfft((x - weighted_mean) * window, axis=1)) ** 2).sum(axis=-1)
    still = power.max(axis=1) <= np.maximum(1e-24 * np.square(x).sum(axis=(1, 2)), 1e-270)
    power = np.log(np.maximum(power, 1e-300))
    # The spectrum of real values is its own mirror image at the highest frequency; at 0 nothing is left of
    # it, which must not count as a neighbour.
    beyond = power[:, -2 if x.shape[1] % 2 == 0 else -1]
    power = np.column_stack([power[:, 2], power[:, 1:], beyond])
    at = power[:, 1:-1].argmax(axis=1) + 1
    left, middle, right = (power[np.arange(len(x)), at + k] for k in (-1, 0, 1))
    bend = np.minimum(left - 2 * middle + right, -1e-12)
    return np.where(still, np.nan, at + np.clip((left - right) / (2 * bend), -0.5, 0.5))


def map_parameter(step: Callable[[Trajectories], Trajectories]) -> Measurement:
    """The measurement of theta in x_{t+1} = theta * step(x_t), by least squares over all steps and channels.

    ``map_parameter(lambda x: x * (1 - x))`` measures the growth rate of a logistic map. NaN where ``step`` is
    0 all along. The measurement raises ValueError where ``step`` gives another shape than it is given.
    """

    def least_squares(x):
        x = _checked(x)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            s = step(x[:, :-1])
            if np.shape(s) != x[:, :-1].shape:
                raise ValueError(f"the step was given shape {x[:, :-1].shape} and returned {np.shape(s)}")
            square = (s * s).sum(axis=(1, 2))
            found = (x[:, 1:] * s).sum(axis=(1, 2)) / square
        return np.where(np.isfinite(found) & (square >= np.finfo(x.dtype).tiny), found, np.nan)

    return least_squares


def _checked(x):
    x = checks.real(x, "trajectories")
    if x.ndim != 3 or 0 in x.shape[1:]:
        raise ValueError(f"trajectories of shape (n, T, C) wanted, got shape {x.shape}")
    return x


def _known(z, x, least):
    """``z``, with NaN where it is not finite, or below ``least`` though ``x`` moves: squares vanished."""
    known = np.isfinite(z)
    if (z < least).any():
        known &= (z >= least) | (x == x[:, :1]).all(axis=(1, 2))
    return z if known.all() else np.where(known, z, np.nan)


MEASUREMENTS: dict[str, Callable[..., Float[np.ndarray, "n"]]] = {
    "path_length": path_length,
    "mean_speed": mean_speed,
    "kinetic_energy": kinetic_energy,
    "spectral_peak": spectral_peak,
}


def measurement(given: str | Measurement, dt: float = 1.0) -> Measurement:
    """A measurement by name, for steps ``dt`` apart; or the callable itself.

    Raises
    ------
    ValueError : unknown name, or ``dt`` is not positive.    TypeError : neither a name nor callable.
    """
    if not (np.isfinite(dt) and dt > 0):
        raise ValueError(f"a positive time between steps wanted, got {dt}")
    if callable(given):
        return given
    if not isinstance(given, str):
        raise TypeError(f"a measurement's name or a callable wanted, got {given!r}")
    if given not in MEASUREMENTS:
        raise ValueError(f"unknown measurement {given!r}; accepted: {', '.join(MEASUREMENTS)}, or a callable")
    return partial(MEASUREMENTS[given], dt=dt)
