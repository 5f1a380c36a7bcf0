"""Invertible changes of coordinates y = phi(x): a model trained on y makes other errors in x."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float
from scipy.fft import dst, idst

from physmis import checks

RUNAWAY = 1e6  # where a recursion that diverges is stopped
# Shares of probability at which a `Warp` between two distributions is exact: evenly, and closer to the ends.
SHARES = np.array([0.002, 0.01, 0.03, *np.arange(1, 17) / 17, 0.97, 0.99, 0.998])
INSIDE = 1e-4  # how near to the ends of its range a curve is still followed
SMALLEST = 1e-12  # size below which a trajectory counts as constant


class Coordinates:
    """A frozen dataclass of parameters, with a map of trajectories, `_map`, and its inverse, `_unmap`."""

    name: ClassVar[str]
    channels: ClassVar[int | None] = None  # the only number of channels that it takes, if there is one
    kept: ClassVar[tuple[int, ...]] = ()  # time steps that are the same in x and y

    def transform(self, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n T C"]:
        """y = phi(x), in float64."""
        return self._map(checks.trajectories(x, channels=self.channels))

    def inverse(self, y: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n T C"]:
        """x with phi(x) = y, in float64; for a finite y that no trajectory has, some finite x."""
        return self._unmap(checks.trajectories(y, channels=self.channels))

    def config(self) -> dict[str, Any]:
        """Name and parameters."""
        return {"name": self.name, **asdict(self)}


def check_invertible(coordinates: Coordinates, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n T C"]:
    """y = phi(x); a ValueError if some channel does not come back from it within 1e-5 of its largest size."""
    y = coordinates.transform(x)
    checks.check_count("number of trajectories", len(y))
    off = np.abs(coordinates.inverse(y) - x).max(axis=(0, 1))
    if not (off <= 1e-5 * np.maximum(np.abs(x).max(axis=(0, 1)), SMALLEST)).all():
        raise ValueError(f"expected data back from coordinates '{coordinates.name}', got errors of {off}")
    return y


@dataclass(frozen=True)
class Identity(Coordinates):
    """y = x."""

    name: ClassVar[str] = "identity"
    kept: ClassVar[tuple[int, ...]] = (0, -1)

    def _map(self, x):
        return x.copy()

    _unmap = _map


@dataclass(frozen=True)
class NormPower(Coordinates):
    """y = x |x|^(power - 1), with the Euclidean norm over all steps and channels: |y| = |x|^power."""

    name: ClassVar[str] = "norm power"
    power: float = 0.5

    def __post_init__(self):
        checks.positive(power=self.power)

    def _map(self, x):
        norm = np.sqrt((x**2).sum(axis=(1, 2), keepdims=True))
        return x * np.where(norm > 0, norm, 1.0) ** (self.power - 1)

    def _unmap(self, y):
        return NormPower(1 / self.power)._map(y)


@dataclass(frozen=True)
class Filter(Coordinates):
    """Each frequency k of each channel over time, times (1 + k)^slope: above 0 it raises the high ones."""

    name: ClassVar[str] = "filter"
    slope: float = 0.5

    def _map(self, x):
        spectrum = np.fft.rfft(x, axis=1)
        gain = (1.0 + np.arange(spectrum.shape[1])) ** self.slope
        return np.fft.irfft(spectrum * gain[:, None], n=x.shape[1], axis=1)

    def _unmap(self, y):
        return Filter(-self.slope)._map(y)


@dataclass(frozen=True)
class PreEmphasis(Coordinates):
    """Quick deviations from the line between both ends are enlarged; the ends stay, for models given these.

    Frequency k of the sine transform of the inner steps, times (1 + 2 gain (1 - cos(pi k / (T - 1))))^power:
    at power 1, y_t = x_t - gain (x_{t+1} - 2 x_t + x_{t-1}).
    """

    name: ClassVar[str] = "pre-emphasis"
    kept: ClassVar[tuple[int, ...]] = (0, -1)
    gain: float = 1.0
    power: float = 1.0

    def __post_init__(self):
        checks.positive(gain=self.gain)

    def _map(self, x):
        y, last = x.copy(), x.shape[1] - 1
        if last > 1:
            line = x[:, :1] + np.linspace(0, 1, last + 1)[:, None] * (x[:, -1:] - x[:, :1])
            k = np.arange(1, last)[:, None]
            factors = (1 + 2 * self.gain * (1 - np.cos(np.pi * k / last))) ** self.power
            inner = idst(factors * dst((x - line)[:, 1:-1], type=1, axis=1), type=1, axis=1)
            y[:, 1:-1] = line[:, 1:-1] + inner
        return y

    def _unmap(self, y):
        return PreEmphasis(self.gain, -self.power)._map(y)


@dataclass(frozen=True)
class Increments(Coordinates):
    """The first step, then the change from step to step, times ``scale``."""

    name: ClassVar[str] = "increments"
    scale: float = 1.0

    def __post_init__(self):
        checks.positive(scale=self.scale)

    def _map(self, x):
        return np.concatenate([x[:, :1], self.scale * np.diff(x, axis=1)], axis=1)

    def _unmap(self, y):
        return np.cumsum(np.concatenate([y[:, :1], y[:, 1:] / self.scale], axis=1), axis=1)


@dataclass(frozen=True)
class Warp(Coordinates):
    """Each value through one monotone curve: a rational-quadratic spline through ``values`` at ``knots``.

    Gregory and Delbourgo (1982), with harmonic means of chords as inner slopes, and straight beyond the ends.
    """

    name: ClassVar[str] = "warp"
    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self):
        steps = np.append(np.diff(self.knots), np.diff(self.values))
        if len(self.knots) != len(self.values) or not ((steps > 0) & (steps < np.inf)).all():
            raise ValueError(f"expected finite knots and as many values, both ascending, got {self}")

    @classmethod
    def between(cls, source: Any, target: Any, **others: Any) -> Self:
        """The warp that takes quantiles of one frozen `scipy.stats` distribution to those of another."""
        return cls(tuple(source.ppf(SHARES).tolist()), tuple(target.ppf(SHARES).tolist()), **others)

    def _pieces(self, ends, at):
        """Knots, values and slopes; of the piece around each ``at``: number, chord, slopes at its ends."""
        knots, values = np.asarray(self.knots, dtype=float), np.asarray(self.values, dtype=float)
        chords = np.diff(values) / np.diff(knots)
        slopes = np.concatenate([chords[:1], 2 / (1 / chords[1:] + 1 / chords[:-1]), chords[-1:]])
        k = np.clip(np.searchsorted(ends, at, side="right") - 1, 0, len(chords) - 1)
        return knots, values, slopes, k, chords[k], slopes[k], slopes[k + 1]

    def _map(self, x):
        knots, values, slopes, k, s, d, e = self._pieces(self.knots, x)
        t = np.clip((x - knots[k]) / (knots[k + 1] - knots[k]), 0, 1)
        rise = (values[k + 1] - values[k]) * (s * t**2 + d * t * (1 - t))
        y = values[k] + rise / (s + (d + e - 2 * s) * t * (1 - t))
        y = np.where(x < knots[0], values[0] + slopes[0] * (x - knots[0]), y)
        return np.where(x > knots[-1], values[-1] + slopes[-1] * (x - knots[-1]), y)

    def _unmap(self, y):
        knots, values, slopes, k, s, d, e = self._pieces(self.values, y)
        # The piece is a ratio of quadratics in t: its inverse is the root of a quadratic.
        height, above = values[k + 1] - values[k], np.clip(y, values[0], values[-1]) - values[k]
        bend = above * (d + e - 2 * s)
        a, b, c = height * (s - d) + bend, height * d - bend, -s * above
        t = 2 * c / (-b - np.sqrt(np.maximum(b**2 - 4 * a * c, 0)))
        x = knots[k] + t * (knots[k + 1] - knots[k])
        x = np.where(y < values[0], knots[0] + (y - values[0]) / slopes[0], x)
        return np.where(y > values[-1], knots[-1] + (y - values[-1]) / slopes[-1], x)


@dataclass(frozen=True)
class Chain(Coordinates):
    """y = then(first(x))."""

    name: ClassVar[str] = "chain"
    first: Coordinates
    then: Coordinates

    @property
    def kept(self):
        return tuple(step for step in self.first.kept if step in self.then.kept)

    def config(self):
        return {"name": self.name, "first": self.first.config(), "then": self.then.config()}

    def _map(self, x):
        return self.then.transform(self.first.transform(x))

    def _unmap(self, y):
        return self.first.inverse(self.then.inverse(y))


@dataclass(frozen=True)
class Ratios(Coordinates):
    """The first step, then each step divided by a positive curve of the one before: y_t = x_t / s(x_{t-1}).

    With u = (x - low) / (high - low) clipped, s = u^powers[0] (1 - u)^powers[1] exp(bend[0] u + bend[1] u^2):
    powers (1, 1) on (0, 1) give the growth rates of a logistic map, whose chaos magnifies rounding.
    """

    name: ClassVar[str] = "ratios"
    channels: ClassVar[int] = 1
    powers: tuple[float, float] = (0.0, 0.0)
    bend: tuple[float, float] = (0.0, 0.0)
    low: float = 0.0
    high: float = 1.0

    def _curve(self, x):
        u = np.clip((x - self.low) / (self.high - self.low), INSIDE, 1 - INSIDE)
        (a, b), (c, d) = self.powers, self.bend
        return u**a * (1 - u) ** b * np.exp(c * u + d * u**2)

    def _map(self, x):
        return np.concatenate([x[:, :1], x[:, 1:] / self._curve(x[:, :-1])], axis=1)

    def _unmap(self, y):
        x = y.copy()
        for t in range(1, x.shape[1]):
            x[:, t] = np.clip(x[:, t] * self._curve(x[:, t - 1]), -RUNAWAY, RUNAWAY)
        return x


@dataclass(frozen=True)
class Innovations(Coordinates):
    """The first step, then each step less its prediction, `_features` @ ``coefficients``, times ``gain``."""

    name: ClassVar[str] = "innovations"
    coefficients: tuple[tuple[float, ...], ...]
    gain: float = 1.0

    @property
    def channels(self):
        return len(self.coefficients[0])

    @classmethod
    def of(cls, x: Float[np.ndarray, "n T C"]) -> Innovations:
        """By least squares on data ``x``; the gain makes them vary as much as the first step."""
        x = checks.trajectories(x)
        if len(x) == 0 or x.shape[1] < 2:
            raise ValueError(f"expected at least one trajectory of at least 2 steps, got shape {x.shape}")
        before, after = np.concatenate(_features(x[:, :-1])), np.concatenate(x[:, 1:])
        coefficients = np.linalg.lstsq(before, after, rcond=None)[0]
        rest = after - before @ coefficients
        first, rest = (float(np.sqrt(part.var(axis=0).mean())) for part in (x[:, 0], rest))
        if min(first, rest) <= SMALLEST * np.abs(x).max():
            raise ValueError("expected first steps and innovations that vary, got constant ones")
        return cls(tuple(map(tuple, coefficients.tolist())), first / rest)

    def _map(self, x):
        rest = x[:, 1:] - _features(x[:, :-1]) @ np.asarray(self.coefficients)
        return np.concatenate([x[:, :1], self.gain * rest], axis=1)

    def _unmap(self, y):
        x, coefficients = y.copy(), np.asarray(self.coefficients)
        for t in range(1, x.shape[1]):
            x[:, t] = np.clip(x[:, t] / self.gain + _features(x[:, t - 1]) @ coefficients, -RUNAWAY, RUNAWAY)
        return x


def _features(x):
    """1, the channels, and their products in pairs, (..., features)."""
    first, second = np.triu_indices(x.shape[-1])
    return np.concatenate([np.ones_like(x[..., :1]), x, x[..., first] * x[..., second]], axis=-1)
