"""Coordinates in which the quantity is the size of a trajectory: y = x rho(m(x)) / size(x).

Where the prior ends abruptly, every blur of the quantity leaks over its ends. The curve rho can take it to a
distribution that fades out, such as that of the size of a Gaussian, which a diffusion model hardly blurs.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from physmis import checks
from physmis.coordinates.maps import SMALLEST, Warp
from physmis.tasks.pendulum import Pendulum

# Factor by which a motion is enlarged in search of its energy, and how often; then how often it is bisected.
GROWTH, ENLARGEMENTS, HALVINGS = 1.1, 100, 45


@dataclass(frozen=True)
class Scaled(Warp):
    """A warp of the size alone: rho takes ``knots`` of the quantity to ``values`` of the size, and 0 to 0."""

    @property
    def curve(self) -> Warp:
        """rho."""
        return Warp((0.0, *self.knots), (0.0, *self.values))

    @abstractmethod
    def _size(self, x):
        """What grows in proportion when trajectories (n, T, C) are enlarged, (n,)."""

    def _map(self, x):
        size = np.maximum(self._size(x), SMALLEST)
        return x * (self.curve._map(size) / size)[:, None, None]

    def _unmap(self, y):
        size = np.maximum(self._size(y), SMALLEST)
        return y * (self.curve._unmap(size) / size)[:, None, None]


@dataclass(frozen=True)
class NormWarp(Scaled):
    """The size is the Euclidean norm over all steps and channels."""

    name: ClassVar[str] = "norm warp"

    def _size(self, x):
        return np.sqrt((x**2).sum(axis=(1, 2)))


@dataclass(frozen=True)
class EnergyWarp(Scaled):
    """Angles and angular velocities of a double pendulum, enlarged so that their size gives the energy.

    The size is the root of what the energy would be if it were quadratic, as it is for small swings.
    Bisection finds the enlargement with the right energy. For this the energy must grow with a motion: so
    angles, and that between the rods, count as half a turn where they are beyond. Then potential energy never
    falls, and kinetic energy, (A + B cos(u)) u^2 in the enlarged angle u between the rods, grows for
    m2 < 0.7 m1, as |B| / A is at most the root of m2 / (m1 + m2), and 2 cos(u) - u sin(u) above -3.11.
    """

    name: ClassVar[str] = "energy warp"
    pendulum: Pendulum

    def __post_init__(self):
        super().__post_init__()
        if self.pendulum.m2 >= 0.7 * self.pendulum.m1:
            raise ValueError(f"expected a pendulum with m2 below 0.7 m1, got {self.pendulum}")

    @classmethod
    def between(cls, source: Any, target: Any, **others: Any) -> Self:
        """As `Warp.between`, and rising little beyond, lest motions over the top become outliers."""
        curve = Warp.between(source, target)
        return cls((*curve.knots, 3 * curve.knots[-1]), (*curve.values, 1.2 * curve.values[-1]), **others)

    def config(self):
        return super().config() | {"pendulum": self.pendulum.config()}

    def _size(self, x):
        a1, a2, w1, w2 = np.moveaxis(x, -1, 0)
        p = self.pendulum
        swing = p.g * ((p.m1 + p.m2) * p.l1 * a1**2 + p.m2 * p.l2 * a2**2) / 2
        return np.sqrt((p.kinetic(1.0, w1, w2) + swing).mean(axis=1))

    def _map(self, x):
        # Angles go on from step to step without jumps, and are within half a turn on average.
        states = self.pendulum.decode(x)
        states[..., :2] -= 2 * np.pi * np.round(states[..., :2].mean(axis=1, keepdims=True) / (2 * np.pi))
        size = np.maximum(self._size(states), SMALLEST)
        return states * (self.curve._map(self._energy(states)) / size)[:, None, None]

    def _unmap(self, y):
        y = checks.trajectories(y, channels=4)
        size = np.maximum(self._size(y), SMALLEST)
        energy = np.maximum(self.curve._unmap(size), SMALLEST)
        direction = y * (1 / size)[:, None, None]
        low, high = np.zeros(len(y)), np.sqrt(energy)
        for _ in range(ENLARGEMENTS):  # enough but for motions without velocity, which have a largest energy
            short = self._energy(direction * high[:, None, None]) < energy
            low[short], high[short] = high[short], GROWTH * high[short]
            if not short.any():
                break
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            above = self._energy(direction * middle[:, None, None]) > energy
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return self.pendulum.encode(direction * high[:, None, None])

    def _energy(self, states):
        """Mean mechanical energy in J, of angles that count as half a turn where they are beyond, (n,)."""
        a1, a2, w1, w2 = np.moveaxis(states, -1, 0)
        between, a1, a2 = (np.cos(np.clip(a, -np.pi, np.pi)) for a in (a1 - a2, a1, a2))
        return (self.pendulum.kinetic(between, w1, w2) + self.pendulum.potential(a1, a2)).mean(axis=1)
