"""Invertible changes of coordinates y = phi(x) for trajectories.

A model trained on y and mapped back makes other errors in x than one trained on x.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from physmis import checks

EXACT = 1e-5  # of the range of a channel: how well phi must be undone
RUNAWAY = 1e6  # where a recursion that diverges is stopped
# Shares of probability at which a `Warp` between two distributions is exact: evenly, and closer to the ends.
SHARES = np.array([0.002, 0.01, 0.03, *np.arange(1, 17) / 17, 0.97, 0.99, 0.998])
INSIDE = 1e-4  # how near to the ends of its range a curve is still followed
SMALLEST = 1e-12  # size below which a trajectory counts as constant


class Coordinates(ABC):
    """An invertible map of trajectories; subclasses are frozen dataclasses, their fields its parameters."""

    name: ClassVar[str]

    @abstractmethod
    def transform(self, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n T C"]:
        """y = phi(x), in float64."""

    @abstractmethod
    def inverse(self, y: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n T C"]:
        """x with phi(x) = y, in float64; for a finite y that no trajectory has, some finite x."""

    def config(self) -> dict[str, Any]:
        """Name and parameters."""
        return {"name": self.name, **dataclasses.asdict(self)}


def check_invertible(coordinates: Coordinates, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n T C"]:
    """y = phi(x); a ValueError if some channel does not come back from it within 1e-5 of its range."""
    x = checks.trajectories(x)
    if len(x) == 0:
        raise ValueError(f"expected at least one trajectory, got shape {x.shape}")
    y = coordinates.transform(x)
    off = np.abs(coordinates.inverse(y) - x).max(axis=(0, 1))
    allowed = EXACT * np.maximum(np.ptp(x, axis=(0, 1)), SMALLEST)
    if not (off <= allowed).all():
        worst = int(np.argmax(off / allowed))
        raise ValueError(
            f"coordinates '{coordinates.name}' are not invertible on these data: expected channel {worst} "
            f"back within {allowed[worst]:g}, got {off[worst]:g}"
        )
    return y


@dataclass(frozen=True)
class Identity(Coordinates):
    """y = x."""

    name: ClassVar[str] = "identity"

    def transform(self, x):
        return checks.trajectories(x).copy()

    inverse = transform


@dataclass(frozen=True)
class NormPower(Coordinates):
    """y = x |x|^(power - 1), with the Euclidean norm over all steps and channels: |y| = |x|^power."""

    name: ClassVar[str] = "norm power"
    power: float = 0.5

    def __post_init__(self):
        checks.positive(power=self.power)

    def transform(self, x):
        return _to_power(x, self.power)

    def inverse(self, y):
        return _to_power(y, 1 / self.power)


def _to_power(x, power):
    x = checks.trajectories(x)
    norm = np.sqrt((x**2).sum(axis=(1, 2), keepdims=True))
    return x * np.where(norm > 0, norm, 1.0) ** (power - 1)


@dataclass(frozen=True)
class Filter(Coordinates):
    """Each frequency k of each channel over time, times (1 + k)^slope: above 0 it raises the high ones."""

    name: ClassVar[str] = "filter"
    slope: float = 0.5

    def __post_init__(self):
        if not np.isfinite(self.slope):
            raise ValueError(f"expected a finite slope, got {self.slope!r}")

    def transform(self, x):
        return _filtered(x, self.slope)

    def inverse(self, y):
        return _filtered(y, -self.slope)


def _filtered(x, slope):
    x = checks.trajectories(x)
    spectrum = np.fft.rfft(x, axis=1)
    gain = (1.0 + np.arange(spectrum.shape[1])) ** slope
    return np.fft.irfft(spectrum * gain[:, None], n=x.shape[1], axis=1)


@dataclass(frozen=True)
class Increments(Coordinates):
    """The first step, then the change from step to step, times ``scale``."""

    name: ClassVar[str] = "increments"
    scale: float = 1.0

    def __post_init__(self):
        checks.positive(scale=self.scale)

    def transform(self, x):
        x = checks.trajectories(x)
        return np.concatenate([x[:, :1], self.scale * np.diff(x, axis=1)], axis=1)

    def inverse(self, y):
        y = checks.trajectories(y)
        return np.cumsum(np.concatenate([y[:, :1], y[:, 1:] / self.scale], axis=1), axis=1)


@dataclass(frozen=True)
class Warp(Coordinates):
    """Each value through one monotone curve: a rational-quadratic spline through ``values`` at ``knots``.

    Gregory and Delbourgo (1982), with harmonic means of the chords as slopes at inner knots and those of the
    outer chords at the ends, beyond which it goes on as a straight line. It is smooth once. Being for values,
    it takes arrays of any shape.
    """

    name: ClassVar[str] = "warp"
    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self):
        check_curve(self.knots, self.values)

    @classmethod
    def between(cls, source: Any, target: Any) -> Warp:
        """The warp that takes quantiles of one frozen `scipy.stats` distribution to those of another."""
        return cls(tuple(source.ppf(SHARES).tolist()), tuple(target.ppf(SHARES).tolist()))

    def _pieces(self):
        knots, values = np.asarray(self.knots, dtype=float), np.asarray(self.values, dtype=float)
        chords = np.diff(values) / np.diff(knots)
        inner = 2 / (1 / chords[1:] + 1 / chords[:-1])
        return knots, values, chords, np.concatenate([chords[:1], inner, chords[-1:]])

    def transform(self, x):
        x = _any_shape(x)
        knots, values, chords, slopes = self._pieces()
        k = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(chords) - 1)
        t = np.clip((x - knots[k]) / (knots[k + 1] - knots[k]), 0, 1)
        s, d, e = chords[k], slopes[k], slopes[k + 1]
        rise = (values[k + 1] - values[k]) * (s * t**2 + d * t * (1 - t))
        y = values[k] + rise / (s + (d + e - 2 * s) * t * (1 - t))
        y = np.where(x < knots[0], values[0] + slopes[0] * (x - knots[0]), y)
        return np.where(x > knots[-1], values[-1] + slopes[-1] * (x - knots[-1]), y)

    def inverse(self, y):
        y = _any_shape(y)
        knots, values, chords, slopes = self._pieces()
        k = np.clip(np.searchsorted(values, y, side="right") - 1, 0, len(chords) - 1)
        s, d, e = chords[k], slopes[k], slopes[k + 1]
        # The piece is a ratio of quadratics in t: its inverse is the root of a quadratic.
        height, above = values[k + 1] - values[k], np.clip(y, values[0], values[-1]) - values[k]
        bend = above * (d + e - 2 * s)
        a, b, c = height * (s - d) + bend, height * d - bend, -s * above
        t = 2 * c / (-b - np.sqrt(np.maximum(b**2 - 4 * a * c, 0)))
        x = knots[k] + t * (knots[k + 1] - knots[k])
        x = np.where(y < values[0], knots[0] + (y - values[0]) / slopes[0], x)
        return np.where(y > values[-1], knots[-1] + (y - values[-1]) / slopes[-1], x)


def check_curve(knots: tuple[float, ...], values: tuple[float, ...]) -> None:
    """Raises ValueError unless a monotone curve goes through ``values`` at ``knots``."""
    pair = np.asarray(knots, dtype=float), np.asarray(values, dtype=float)
    if pair[0].shape != pair[1].shape or pair[0].ndim != 1 or len(pair[0]) < 2:
        raise ValueError(f"expected as many values as knots, two at least; got {values} and {knots}")
    for what, numbers in zip(("knots", "values"), pair, strict=True):
        if not (np.isfinite(numbers).all() and (np.diff(numbers) > 0).all()):
            raise ValueError(f"expected {what} that ascend and are finite, got {numbers.tolist()}")


def _any_shape(x):
    return np.asarray(checks.sized(checks.real(x, "values"), "values"), dtype=float)


@dataclass(frozen=True)
class FirstAndRest(Coordinates):
    """One warp for the first step, another for all that follow: where they are of different kinds."""

    name: ClassVar[str] = "first and rest"
    first: Warp
    rest: Warp

    def transform(self, x):
        x = checks.trajectories(x)
        return np.concatenate([self.first.transform(x[:, :1]), self.rest.transform(x[:, 1:])], axis=1)

    def inverse(self, y):
        y = checks.trajectories(y)
        return np.concatenate([self.first.inverse(y[:, :1]), self.rest.inverse(y[:, 1:])], axis=1)


@dataclass(frozen=True)
class Chain(Coordinates):
    """y = then(first(x))."""

    name: ClassVar[str] = "chain"
    first: Coordinates
    then: Coordinates

    def config(self):
        return {"name": self.name, "first": self.first.config(), "then": self.then.config()}

    def transform(self, x):
        return self.then.transform(self.first.transform(x))

    def inverse(self, y):
        return self.first.inverse(self.then.inverse(y))


@dataclass(frozen=True)
class Ratios(Coordinates):
    """The first step, then each step divided by a positive curve of the one before: y_t = x_t / s(x_{t-1}).

    With u = (x - low) / (high - low), held within `INSIDE` of (0, 1),
    s = u^powers[0] (1 - u)^powers[1] exp(bend[0] u + bend[1] u^2), for trajectories of one channel.
    All numbers 0 is the identity; powers (1, 1) on (0, 1) give the growth rates of a logistic map. Steps are
    undone one after the other, and a chaotic map magnifies rounding: 32 steps of the logistic map come back
    within 1e-9, 64 do not within 1e-5.
    """

    name: ClassVar[str] = "ratios"
    powers: tuple[float, float] = (0.0, 0.0)
    bend: tuple[float, float] = (0.0, 0.0)
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self):
        if not (np.isfinite([*self.powers, *self.bend, self.low, self.high]).all() and self.low < self.high):
            raise ValueError(f"expected finite numbers and low < high, got {self}")

    def _curve(self, x):
        u = np.clip((x - self.low) / (self.high - self.low), INSIDE, 1 - INSIDE)
        (a, b), (c, d) = self.powers, self.bend
        return u**a * (1 - u) ** b * np.exp(c * u + d * u**2)

    def transform(self, x):
        x = checks.trajectories(x, channels=1)
        return np.concatenate([x[:, :1], x[:, 1:] / self._curve(x[:, :-1])], axis=1)

    def inverse(self, y):
        x = checks.trajectories(y, channels=1).copy()
        for t in range(1, x.shape[1]):
            x[:, t] = np.clip(x[:, t] * self._curve(x[:, t - 1]), -RUNAWAY, RUNAWAY)
        return x


@dataclass(frozen=True)
class Innovations(Coordinates):
    """The first step, then what each step differs from its prediction by the one before, times ``gain``.

    The prediction of each channel is a polynomial of degree two of all channels one step before:
    ``coefficients`` has a row for each of 1, the channels, and their products, and a column for each channel.
    """

    name: ClassVar[str] = "innovations"
    coefficients: tuple[tuple[float, ...], ...]
    gain: float = 1.0

    def __post_init__(self):
        checks.positive(gain=self.gain)

    @classmethod
    def of(cls, x: Float[np.ndarray, "n T C"], gain: float | None = None) -> Innovations:
        """By least squares on data ``x``; with the default gain they vary as much as the first step."""
        x = checks.trajectories(x)
        if len(x) == 0 or x.shape[1] < 2:
            raise ValueError(f"expected at least one trajectory of at least 2 steps, got shape {x.shape}")
        before, after = (np.concatenate(part) for part in (_features(x[:, :-1]), x[:, 1:]))
        coefficients = np.linalg.lstsq(before, after, rcond=None)[0]
        if gain is None:
            first, rest = _spread(x[:, 0]), _spread(after - before @ coefficients)
            if min(first, rest) <= 1e-12 * np.abs(x).max():
                raise ValueError("expected first steps and innovations that vary, got constant ones")
            gain = first / rest
        return cls(tuple(map(tuple, coefficients.tolist())), gain)

    def transform(self, x):
        coefficients = np.asarray(self.coefficients)
        x = checks.trajectories(x, channels=coefficients.shape[1])
        rest = x[:, 1:] - _features(x[:, :-1]) @ coefficients
        return np.concatenate([x[:, :1], self.gain * rest], axis=1)

    def inverse(self, y):
        coefficients = np.asarray(self.coefficients)
        x = checks.trajectories(y, channels=coefficients.shape[1]).copy()
        for t in range(1, x.shape[1]):
            x[:, t] = x[:, t] / self.gain + _features(x[:, t - 1]) @ coefficients
            np.clip(x[:, t], -RUNAWAY, RUNAWAY, out=x[:, t])
        return x


def _features(x):
    """1, the channels, and their products in pairs, (..., features)."""
    first, second = np.triu_indices(x.shape[-1])
    return np.concatenate([np.ones_like(x[..., :1]), x, x[..., first] * x[..., second]], axis=-1)


def _spread(x):
    """Standard deviation about the mean of each channel, over all channels."""
    return float(np.sqrt(x.var(axis=tuple(range(x.ndim - 1))).mean()))


@dataclass(frozen=True)
class Polar(Coordinates):
    """Paths in the plane as first position, then the logarithm of each step's length and its heading.

    Channels beyond the first two stay as they are. ``least`` is added to lengths, so that a rest has a
    finite logarithm; headings, in radians, go on from step to step without jumps of a whole turn.
    """

    name: ClassVar[str] = "polar"
    least: float = 0.01

    def __post_init__(self):
        checks.positive(least=self.least)

    def transform(self, x):
        x = _in_the_plane(x)
        step = np.diff(x[..., :2], axis=1)
        length = np.linalg.norm(step, axis=-1)
        heading = np.unwrap(np.arctan2(step[..., 1], step[..., 0]), axis=1)
        x[:, 1:, :2] = np.stack([np.log(length + self.least), heading], axis=-1)
        return x

    def inverse(self, y):
        y = _in_the_plane(y)
        # A generated logarithm below that of a rest stands for a rest.
        length = np.maximum(np.exp(np.minimum(y[:, 1:, 0], np.log(RUNAWAY))) - self.least, 0)
        heading = y[:, 1:, 1]
        y[:, 1:, 0], y[:, 1:, 1] = length * np.cos(heading), length * np.sin(heading)
        y[..., :2] = np.cumsum(y[..., :2], axis=1)
        return y


def _in_the_plane(x):
    x = checks.trajectories(x).copy()
    if x.shape[2] < 2:
        raise ValueError(f"expected at least 2 channels for polar coordinates, got {x.shape[2]}")
    return x
