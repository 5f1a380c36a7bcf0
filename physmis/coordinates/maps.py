"""Invertible changes of coordinates y = phi(x) for trajectories.

A model trained on y and mapped back makes other errors in x than one trained on x. Those with numbers to
choose are in `physmis.coordinates.families`.
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
# Where a `Warp` between two laws is exact: evenly, and closer to the ends.
SHARES = np.array([0.002, 0.01, 0.03, *np.arange(1, 17) / 17, 0.97, 0.99, 0.998])
INSIDE = 1e-4  # how near to the ends of its range a curve is still followed
SMALLEST = 1e-12  # norm or step below which a direction means nothing


class Coordinates(ABC):
    """An invertible map of trajectories; subclasses are frozen dataclasses, their fields its parameters."""

    name: ClassVar[str]

    @abstractmethod
    def transform(self, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n T C"]:
        """y = phi(x), in float64.

        Raises
        ------
        ValueError, TypeError : ``x`` is not finite, of shape (n, T, C), and of channels that will do.
        """

    @abstractmethod
    def inverse(self, y: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n T C"]:
        """x with phi(x) = y, in float64; for a finite y that no trajectory has, some finite x.

        Raises
        ------
        ValueError, TypeError : as `transform`, of ``y``.
        """

    def config(self) -> dict[str, Any]:
        """Name and parameters."""
        return {"name": self.name, **dataclasses.asdict(self)}


def check_invertible(coordinates: Coordinates, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n T C"]:
    """y = phi(x), if ``coordinates`` undo themselves on ``x``.

    Raises
    ------
    ValueError : ``x`` is not of shape (n, T, C) or not finite; or some channel does not come back within 1e-5
        of its range.
    """
    x = checks.trajectories(x)
    if len(x) == 0:
        raise ValueError(f"finite trajectories of shape (n, T, C), one at least, wanted, got shape {x.shape}")
    y = coordinates.transform(x)
    back = coordinates.inverse(y) if np.isfinite(y).all() else np.full_like(x, np.inf)
    off = np.abs(back - x).max(axis=(0, 1))
    allowed = EXACT * np.maximum(np.ptp(x, axis=(0, 1)), SMALLEST)
    if not (off <= allowed).all():
        worst = int(np.argmax(np.nan_to_num(off / allowed, nan=np.inf)))
        raise ValueError(
            f"coordinates '{coordinates.name}' are not invertible on these data: channel {worst} is off by "
            f"{off[worst]:g}, and {allowed[worst]:g} is allowed"
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
    """Each frequency k of each channel over time, times (1 + k)^slope: above 0 it stresses what is quick."""

    name: ClassVar[str] = "filter"
    slope: float = 0.5

    def __post_init__(self):
        if not np.isfinite(self.slope):
            raise ValueError(f"a finite slope wanted, got {self.slope!r}")

    def transform(self, x):
        return self._scaled(x, self.slope)

    def inverse(self, y):
        return self._scaled(y, -self.slope)

    @staticmethod
    def _scaled(x, slope):
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

    Gregory and Delbourgo (1982), with the slopes of the harmonic means of the chords at inner knots and those
    of the outer chords at the ends, beyond which it goes on as a straight line. It is smooth once. Being for
    values, it takes arrays of any shape.
    """

    name: ClassVar[str] = "warp"
    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self):
        knots, values = np.asarray(self.knots, dtype=float), np.asarray(self.values, dtype=float)
        if knots.shape != values.shape or knots.ndim != 1 or len(knots) < 2:
            raise ValueError(
                f"as many values as knots wanted, two at least; got {values.shape} and {knots.shape}"
            )
        for what, numbers in (("knots", knots), ("values", values)):
            if not (np.isfinite(numbers).all() and (np.diff(numbers) > 0).all()):
                raise ValueError(f"{what} must ascend, or the warp has no inverse; got {tuple(numbers)}")

    @classmethod
    def between(cls, law: Any, other: Any) -> Warp:
        """The warp that takes quantiles of one frozen `scipy.stats` distribution to those of another.

        Knots are at the shares `SHARES` of probability.
        """
        return cls(tuple(law.ppf(SHARES).tolist()), tuple(other.ppf(SHARES).tolist()))

    def _pieces(self):
        knots, values = np.asarray(self.knots, dtype=float), np.asarray(self.values, dtype=float)
        chords = np.diff(values) / np.diff(knots)
        inner = 2 / (1 / chords[1:] + 1 / chords[:-1])
        return knots, values, chords, np.concatenate([chords[:1], inner, chords[-1:]])

    def transform(self, x):
        x = np.asarray(checks.sized(checks.real(x, "values"), "values"), dtype=float)
        knots, values, chords, slopes = self._pieces()
        k = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(chords) - 1)
        t = np.clip((x - knots[k]) / (knots[k + 1] - knots[k]), 0, 1)
        s, d, e = chords[k], slopes[k], slopes[k + 1]
        rise = (values[k + 1] - values[k]) * (s * t**2 + d * t * (1 - t))
        y = values[k] + rise / (s + (d + e - 2 * s) * t * (1 - t))
        y = np.where(x < knots[0], values[0] + slopes[0] * (x - knots[0]), y)
        return np.where(x > knots[-1], values[-1] + slopes[-1] * (x - knots[-1]), y)

    def inverse(self, y):
        y = np.asarray(checks.sized(checks.real(y, "values"), "values"), dtype=float)
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
            raise ValueError(
                f"finite numbers and low < high wanted, got powers {self.powers}, bend {self.bend}, "
                f"low {self.low}, high {self.high}"
            )

    def curve(self, x: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """s(x).

        Raises
        ------
        ValueError, TypeError : ``x`` does not hold finite numbers.
        """
        return self._curve(checks.sized(checks.real(x, "values"), "values"))

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
        table = np.asarray(self.coefficients, dtype=float)
        if not np.isfinite(table).all():
            raise ValueError("finite coefficients wanted")
        channels = table.shape[-1]
        if table.ndim != 2 or len(table) != 1 + channels + channels * (channels + 1) // 2:
            raise ValueError(
                f"a row for 1, each channel and each product, a column a channel wanted; got {table.shape}"
            )

    @staticmethod
    def _features(x: Float[np.ndarray, "... C"]) -> Float[np.ndarray, "... F"]:
        """1, the channels, and their products in pairs."""
        first, second = np.triu_indices(x.shape[-1])
        return np.concatenate([np.ones_like(x[..., :1]), x, x[..., first] * x[..., second]], axis=-1)

    @classmethod
    def of(cls, x: Float[np.ndarray, "n T C"], gain: float | None = None) -> Innovations:
        """By least squares on data ``x``; with the default gain they vary as much as the first step.

        Raises
        ------
        ValueError : ``x`` is not finite, or not of shape (n, T, C) with n of 1 and T of 2 or more; or,
            without a gain, first steps are constant, or all steps are as predicted.
        """
        x = checks.trajectories(x)
        if len(x) == 0 or x.shape[1] < 2:
            raise ValueError(f"one trajectory or more, of 2 steps or more, wanted, got shape {x.shape}")
        before, after = (np.concatenate(part) for part in (cls._features(x[:, :-1]), x[:, 1:]))
        coefficients = np.linalg.lstsq(before, after, rcond=None)[0]
        if gain is None:
            rest = checks.varying("innovations", spread(after - before @ coefficients), np.abs(x).max())
            gain = checks.varying("first steps", spread(x[:, 0]), np.abs(x).max()) / rest
        return cls(tuple(map(tuple, coefficients.tolist())), gain)

    def transform(self, x):
        coefficients = np.asarray(self.coefficients)
        x = checks.trajectories(x, channels=coefficients.shape[1])
        rest = x[:, 1:] - self._features(x[:, :-1]) @ coefficients
        return np.concatenate([x[:, :1], self.gain * rest], axis=1)

    def inverse(self, y):
        coefficients = np.asarray(self.coefficients)
        x = checks.trajectories(y, channels=coefficients.shape[1]).copy()
        for t in range(1, x.shape[1]):
            x[:, t] = x[:, t] / self.gain + self._features(x[:, t - 1]) @ coefficients
            np.clip(x[:, t], -RUNAWAY, RUNAWAY, out=x[:, t])  # what runs away stays a number
        return x


@dataclass(frozen=True)
class Polar(Coordinates):
    """Paths in the plane as first position, then the logarithm of each step's length and its heading.

    Of channels beyond the first two nothing is changed. ``least`` is added to lengths, so that a rest has a
    finite logarithm; headings go on from step to step without jumps of a whole turn, in radians.
    """

    name: ClassVar[str] = "polar"
    least: float = 0.01

    def __post_init__(self):
        checks.positive(least=self.least)

    def transform(self, x):
        x = checks.trajectories(x).copy()
        checks.enough_channels(self.name, x, 2)
        step = np.diff(x[..., :2], axis=1)
        length = np.linalg.norm(step, axis=-1)
        heading = np.unwrap(np.arctan2(step[..., 1], step[..., 0]), axis=1)
        x[:, 1:, :2] = np.stack([np.log(length + self.least), heading], axis=-1)
        return x

    def inverse(self, y):
        y = checks.trajectories(y).copy()
        checks.enough_channels(self.name, y, 2)
        # A generated logarithm below that of a rest stands for a rest.
        length = np.maximum(np.exp(np.minimum(y[:, 1:, 0], np.log(RUNAWAY))) - self.least, 0)
        heading = y[:, 1:, 1]
        y[:, 1:, 0], y[:, 1:, 1] = length * np.cos(heading), length * np.sin(heading)
        y[..., :2] = np.cumsum(y[..., :2], axis=1)
        return y


def spread(x: Float[np.ndarray, "... C"]) -> float:
    """Standard deviation about the mean of each channel, over all channels."""
    return float(np.sqrt(x.var(axis=tuple(range(x.ndim - 1))).mean()))
