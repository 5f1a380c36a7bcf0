"""Coordinates in which the quantity is the size of a trajectory: y = x rho(m(x)) / size(x).

Where the prior ends abruptly, every blur of the quantity leaks over its ends. The curve rho can take it to a
distribution that fades out, such as that of the size of a Gaussian, which a diffusion model hardly blurs.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from physmis import checks
from physmis.coordinates.maps import SMALLEST, Coordinates, Warp, check_curve
from physmis.tasks.pendulum import Pendulum

GROWTH, ENLARGEMENTS = 1.1, 100  # factor by which a motion is enlarged in search of its energy, and how often
HALVINGS = 45


@dataclass(frozen=True)
class Scaled(Coordinates):
    """What these coordinates share: rho takes ``knots`` of the quantity to ``values`` of the size, 0 to 0."""

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self):
        check_curve((0.0, *self.knots), (0.0, *self.values))

    @classmethod
    def between(cls, prior: Any, target: Any, **others: Any) -> Scaled:
        """Sizes follow ``target`` where the quantity follows ``prior``, two `scipy.stats` distributions."""
        warp = Warp.between(prior, target)
        return cls(warp.knots, warp.values, **others)

    @property
    def curve(self) -> Warp:
        """rho."""
        return Warp((0.0, *self.knots), (0.0, *self.values))

    @abstractmethod
    def _size(self, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n"]:
        """What grows in proportion when trajectories are enlarged."""

    def transform(self, x):
        x = checks.trajectories(x)
        size = np.maximum(self._size(x), SMALLEST)
        return _times(x, self.curve.transform(size) / size)

    def inverse(self, y):
        y = checks.trajectories(y)
        size = np.maximum(self._size(y), SMALLEST)
        return _times(y, self.curve.inverse(size) / size)


@dataclass(frozen=True)
class NormWarp(Scaled):
    """The size is the Euclidean norm over all steps and channels."""

    name: ClassVar[str] = "norm warp"

    def _size(self, x):
        return np.sqrt((x**2).sum(axis=(1, 2)))


@dataclass(frozen=True)
class LengthWarp(Scaled):
    """The size is the length of the path in the first two channels; paths are enlarged about the origin."""

    name: ClassVar[str] = "length warp"

    def _size(self, x):
        return np.linalg.norm(np.diff(x[..., :2], axis=1), axis=-1).sum(axis=1)


@dataclass(frozen=True)
class EnergyWarp(Scaled):
    """Angles and angular velocities of a double pendulum, enlarged so that their size gives the energy.

    The size is the root of what the energy would be if it were quadratic, as it is for small swings. The
    enlargement at which a motion has the energy that its size gives is found by bisection. For this the
    energy must grow with a motion: so angles, and the angle between the rods, count as half a turn where they
    are beyond. Then potential energy never falls, and kinetic energy, (A + B cos(u)) u^2 in the enlarged
    angle u between the rods, grows for m2 < 0.7 m1: |B| / A is at most the root of m2 / (m1 + m2), and
    2 cos(u) - u sin(u) above -3.11. Sines and cosines become angles, which go on from step to step without
    jumps, and are within half a turn on average.
    """

    name: ClassVar[str] = "energy warp"
    pendulum: Pendulum

    def __post_init__(self):
        super().__post_init__()
        if self.pendulum.m2 >= 0.7 * self.pendulum.m1:
            raise ValueError(
                "expected m2 below 0.7 m1, as else the energy may fall while a motion is enlarged; got "
                f"m1 = {self.pendulum.m1:g} kg and m2 = {self.pendulum.m2:g} kg"
            )

    @classmethod
    def between(cls, prior: Any, target: Any, **others: Any) -> EnergyWarp:
        """As `Scaled.between`, with one more knot far beyond the prior.

        Motions over the top may count as more energetic than they are; beyond the prior the curve rises
        little, lest they become outliers.
        """
        curve = Warp.between(prior, target)
        knots, values = (*curve.knots, 3 * curve.knots[-1]), (*curve.values, 1.2 * curve.values[-1])
        return cls(knots, values, **others)

    def config(self):
        return super().config() | {"pendulum": self.pendulum.config()}

    def _size(self, x):
        a1, a2, w1, w2 = np.moveaxis(x, -1, 0)
        p = self.pendulum
        swing = p.g * ((p.m1 + p.m2) * p.l1 * a1**2 + p.m2 * p.l2 * a2**2) / 2
        return np.sqrt((p.kinetic(1.0, w1, w2) + swing).mean(axis=1))

    def transform(self, x):
        states = self.pendulum.decode(x)
        turns = np.round(states[..., :2].mean(axis=1, keepdims=True) / (2 * np.pi))
        states[..., :2] -= 2 * np.pi * turns
        size = np.maximum(self._size(states), SMALLEST)
        return _times(states, self.curve.transform(self._energy(states)) / size)

    def inverse(self, y):
        y = checks.trajectories(y, channels=4)
        size = np.maximum(self._size(y), SMALLEST)
        energy = np.maximum(self.curve.inverse(size), SMALLEST)
        direction = _times(y, 1 / size)
        low, high = np.zeros(len(y)), np.sqrt(energy)
        for _ in range(ENLARGEMENTS):  # enough but for motions without velocity, which have a largest energy
            short = self._energy(_times(direction, high)) < energy
            low[short], high[short] = high[short], GROWTH * high[short]
            if not short.any():
                break
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            above = self._energy(_times(direction, middle)) > energy
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return self.pendulum.encode(_times(direction, high))

    def _energy(self, states):
        """Mean mechanical energy in J, of angles that count as half a turn where they are beyond, (n,)."""
        a1, a2, w1, w2 = np.moveaxis(states, -1, 0)
        between, a1, a2 = (np.cos(np.clip(a, -np.pi, np.pi)) for a in (a1 - a2, a1, a2))
        return (self.pendulum.kinetic(between, w1, w2) + self.pendulum.potential(a1, a2)).mean(axis=1)


def _times(x, factors):
    return x * factors[:, None, None]
