"""Physical quantities of one's own trajectories, by name.

Trajectories have shape (n, T, C), T of 2 or more, and steps are ``dt`` apart, in a unit of the user's. The
quantity is NaN where values are not finite, or their squares overflow or underflow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float

from physmis import checks

# As in `physmis.kernels`, which imports torch: the command line lists the names below, and must be quick.
Trajectories = Float[np.ndarray, "n T C"]
Ragged = Sequence[Float[np.ndarray, "T C"]]
Values = Float[np.ndarray, "n"]
Measurement = Callable[[Trajectories], Values]
MIN_TRAJECTORIES = 20  # measurable ones, on either side of an audit


@np.errstate(over="ignore", invalid="ignore")
def path_length(x: Trajectories, dt: float = 1.0) -> Values:
    """Length of the polygon through all steps, in the unit of the channels, which are coordinates."""
    x = _checked(x)
    length = np.sqrt((np.diff(x, axis=1) ** 2).sum(axis=-1)).sum(axis=1)
    return _known(length, x, np.sqrt(np.finfo(x.dtype).tiny))


def mean_speed(x: Trajectories, dt: float = 1.0) -> Values:
    """`path_length` over its duration."""
    return path_length(x) / (dt * (np.shape(x)[1] - 1))


@np.errstate(over="ignore", invalid="ignore")
def kinetic_energy(x: Trajectories, dt: float = 1.0) -> Values:
    """Mean of half the squared speed from step to step: the kinetic energy of a unit mass."""
    x = _checked(x)
    square = (np.diff(x, axis=1) ** 2).sum(axis=-1).mean(axis=1)
    return _known(square, x, np.finfo(x.dtype).tiny) / 2 / dt / dt


@np.errstate(over="ignore", invalid="ignore")
def spectral_peak(x: Trajectories, dt: float = 1.0) -> Values:
    """Frequency of the largest power, summed over channels, in cycles a unit of time.

    Of deviations from the mean under a Hann window. Between frequencies of the discrete transform the peak is
    that of the parabola through the logarithms of three powers (Smith and Serra 1987). Fewer than two periods
    are resolved to half a period only. NaN for constant trajectories and below 5 steps.
    """
    x = _checked(x)
    if x.shape[1] < 5:
        return np.full(len(x), np.nan)
    window = np.hanning(x.shape[1] + 2)[1:-1, None]
    weighted_mean = (x * window).sum(axis=1, keepdims=True) / window.sum()
    power = (np.abs(np.fft.rfft((x - weighted_mean) * window, axis=1)) ** 2).sum(axis=-1)
    constant = power.max(axis=1) <= np.maximum(1e-24 * np.square(x).sum(axis=(1, 2)), 1e-270)
    power = np.log(np.maximum(power, 1e-300))
    # The spectrum of real values is its own mirror image at the highest frequency; at 0 nothing is left of
    # it, which must not count as a neighbour.
    beyond = power[:, -2 if x.shape[1] % 2 == 0 else -1]
    power = np.column_stack([power[:, 2], power[:, 1:], beyond])
    at = power[:, 1:-1].argmax(axis=1) + 1
    left, middle, right = (power[np.arange(len(x)), at + k] for k in (-1, 0, 1))
    bend = np.minimum(left - 2 * middle + right, -1e-12)
    peak = at + np.clip((left - right) / (2 * bend), -0.5, 0.5)  # in cycles a trajectory
    return np.where(constant, np.nan, peak) / (dt * x.shape[1])


def _checked(x):
    x = checks.real(x, "trajectories")
    if x.ndim != 3 or x.shape[1] < 2 or x.shape[2] < 1:
        raise ValueError(f"expected trajectories of shape (n, T, C), T of 2 or more, got shape {x.shape}")
    return x


def _known(z, x, least):
    """``z``, NaN where it is not finite, or below ``least`` though ``x`` varies: squares underflowed."""
    constant = (x == x[:, :1]).all(axis=(1, 2))
    return np.where(np.isfinite(z) & ((z >= least) | constant), z, np.nan)


MEASUREMENTS = {one.__name__: one for one in (path_length, mean_speed, kinetic_energy, spectral_peak)}


def measurement(given: str | Measurement, dt: float = 1.0) -> Measurement:
    """A measurement by name, for steps ``dt`` apart; or the callable itself."""
    checks.positive(dt=dt)
    if callable(given):
        return given
    if not isinstance(given, str) or given not in MEASUREMENTS:
        raise ValueError(f"expected a measurement ({', '.join(MEASUREMENTS)}) or a callable, got {given!r}")
    return partial(MEASUREMENTS[given], dt=dt)
