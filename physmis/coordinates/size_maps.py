"""Coordinates in which the quantity is the size of a trajectory: y = x rho(m(x)) / size(x).

Where the prior ends abruptly, every blur of the quantity leaks over its ends. The curve rho can take it to a
law that fades out, such as that of the size of a Gaussian, which a diffusion model hardly blurs.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from physmis import checks
from physmis.coordinates.maps import SMALLEST, Coordinates, Warp
from physmis.tasks.pendulum import Pendulum

GROWTH, ENLARGEMENTS = 1.1, 100  # factor by which a motion is enlarged in search of its energy, and how often
HALVINGS = 45


@dataclass(frozen=True)
class Scaled(Coordinates):
    """What these coordinates share. ``knots`` of the quantity are taken to ``values`` of the size.

    Both must be above 0; a quantity of 0 is taken to the size 0.
    """

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self):
        _ = Warp(self.knots, self.values)
        for what, numbers in (("knots", self.knots), ("values", self.values)):
            if numbers[0] <= 0:
                raise ValueError(f"{what} of a size must be above 0; got {numbers[0]!r} as the first")

    @classmethod
    def between(cls, prior: Any, law: Any, **others: Any) -> Scaled:
        """Sizes that follow ``law`` where the quantity follows ``prior``, two `scipy.stats` distributions."""
        warp = Warp.between(prior, law)
        return cls(warp.knots, warp.values, **others)

    @property
    def curve(self) -> Warp:
        """rho."""
        return Warp((0.0, *self.knots), (0.0, *self.values))

    @abstractmethod
    def size(self, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n"]:
        """What grows in proportion when trajectories are enlarged.

        Raises
        ------
        ValueError, TypeError : as `transform`.
        """

    def transform(self, x):
        x = checks.trajectories(x)
        size = np.maximum(self.size(x), SMALLEST)  # of what has none, the limit
        return _times(x, self.curve.transform(size) / size)

    def inverse(self, y):
        y = checks.trajectories(y)
        size = np.maximum(self.size(y), SMALLEST)
        return _times(y, self.curve.inverse(size) / size)


@dataclass(frozen=True)
class NormWarp(Scaled):
    """The size is the Euclidean norm over all steps and channels."""

    name: ClassVar[str] = "norm warp"

    def size(self, x):
        return np.sqrt((checks.trajectories(x) ** 2).sum(axis=(1, 2)))


@dataclass(frozen=True)
class LengthWarp(Scaled):
    """The size is the length of the path in the first two channels; paths are enlarged about the origin."""

    name: ClassVar[str] = "length warp"

    def size(self, x):
        return np.linalg.norm(np.diff(checks.trajectories(x)[..., :2], axis=1), axis=-1).sum(axis=1)


@dataclass(frozen=True)
class EnergyWarp(Scaled):
    """Angles and angular velocities of a double pendulum, enlarged so that their size tells the energy.

    The size is the root of what the energy would be if it were quadratic, as it is for small swings. Which
    enlargement of a motion has the energy that its size tells is found by bisection. For this the energy must
    grow with a motion: so angles, and the angle between the rods, count as half a turn where they are beyond.
    Then potential energy never falls, and kinetic energy, which is (A + B cos(u)) u^2 in the enlarged angle u
    between the rods, grows for m2 < 0.7 m1: |B| / A is at most the root of m2 / (m1 + m2), and 2 cos(u) - u
    sin(u) above -3.11. Sines and cosines become angles, which go on from step to step without jumps, and
    are within half a turn on average.

    Parameters
    ----------
    pendulum : the task whose channels are transformed; its m2 must be below 0.7 m1.
    """

    name: ClassVar[str] = "energy warp"
    pendulum: Pendulum

    def __post_init__(self):
        super().__post_init__()
        if self.pendulum.m2 >= 0.7 * self.pendulum.m1:
            raise ValueError(
                f"m2 below 0.7 m1 wanted, as else the energy may fall while a motion is enlarged; got m1 = "
                f"{self.pendulum.m1:g} kg and m2 = {self.pendulum.m2:g} kg"
            )

    @classmethod
    def between(cls, prior: Any, law: Any, **others: Any) -> EnergyWarp:
        """As `Scaled.between`, with one more knot far beyond the prior.

        Motions over the top may count as more energetic than they are; beyond the prior the curve rises
        little, lest they become outliers.
        """
        found = super().between(prior, law, **others)
        return cls(
            (*found.knots, 3 * found.knots[-1]), (*found.values, 1.2 * found.values[-1]), found.pendulum
        )

    def config(self):
        return {
            "name": self.name,
            "knots": list(self.knots),
            "values": list(self.values),
            "pendulum": self.pendulum.config(),
        }

    def size(self, x):
        a1, a2, w1, w2 = np.moveaxis(checks.trajectories(x, channels=4), -1, 0)
        p = self.pendulum
        swing = p.g * ((p.m1 + p.m2) * p.l1 * a1**2 + p.m2 * p.l2 * a2**2) / 2
        return np.sqrt((p.kinetic(1.0, w1, w2) + swing).mean(axis=1))

    def transform(self, x):
        states = self.pendulum.decode(x)
        turns = np.round(states[..., :2].mean(axis=1, keepdims=True) / (2 * np.pi))
        states[..., :2] -= 2 * np.pi * turns
        size = np.maximum(self.size(states), SMALLEST)
        return _times(states, self.curve.transform(self._energy(states)) / size)

    def inverse(self, y):
        y = checks.trajectories(y, channels=4)
        size = np.maximum(self.size(y), SMALLEST)
        wanted = np.maximum(self.curve.inverse(size), SMALLEST)
        direction = _times(y, 1 / size)
        low, high = np.zeros(len(y)), np.sqrt(wanted)
        for _ in range(ENLARGEMENTS):  # enough but for motions without velocity, which have a largest energy
            short = self._energy(_times(direction, high)) < wanted
            low[short], high[short] = high[short], GROWTH * high[short]
            if not short.any():
                break
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            above = self._energy(_times(direction, middle)) > wanted
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return self.pendulum.encode(_times(direction, high))

    def _energy(self, states):
        a1, a2, w1, w2 = np.moveaxis(states, -1, 0)
        between, a1, a2 = (np.cos(np.clip(a, -np.pi, np.pi)) for a in (a1 - a2, a1, a2))
        return (self.pendulum.kinetic(between, w1, w2) + self.pendulum.potential(a1, a2)).mean(axis=1)


def _times(x, factors):
    return x * factors[:, None, None]
