"""A double pendulum: two point masses on two rigid rods in a plane; curated is the mechanical energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from scipy.integrate import solve_ivp

from physmis import checks
from physmis.tasks.base import Channel, Task

CHUNK = 1000  # motions integrated together: they share their steps in time


@dataclass(frozen=True)
class Pendulum(Task):
    """Motions of a double pendulum whose mechanical energy E, in J above hanging at rest, is curated."""

    name: ClassVar[str] = "pendulum"
    measured: ClassVar = ("mechanical energy", "E", "J")
    low: float = 1.0
    high: float = 6.0
    steps: int = 32
    prior: str = "uniform"
    duration: float = 1.5  # seconds from the first step to the last
    coordinates: str = "angles"  # or "bobs": positions and velocities of both masses
    m1: float = 1.0  # kg, of the inner bob
    m2: float = 0.25
    l1: float = 1.0  # m, of its rod
    l2: float = 1.0
    g: float = 9.81  # m/s^2

    def __post_init__(self):
        super().__post_init__()
        checks.positive(duration=self.duration, m1=self.m1, m2=self.m2, l1=self.l1, l2=self.l2, g=self.g)
        if self.coordinates not in ("angles", "bobs"):
            raise ValueError(f"expected coordinates 'angles' or 'bobs', got {self.coordinates!r}")

    @property
    def channels(self) -> tuple[Channel, ...]:
        if self.coordinates == "angles":
            named = [(f"{f} of angle {i}", "") for i in (1, 2) for f in ("sine", "cosine")]
            named += [(f"angular velocity {i}", "rad/s") for i in (1, 2)]
        else:
            named = [(f"{axis}{i}", "m") for i in (1, 2) for axis in "xy"]
            named += [(f"velocity in {axis}{i}", "m/s") for i in (1, 2) for axis in "xy"]
        return tuple(Channel(*pair) for pair in named)

    @property
    def saddles(self) -> tuple[float, float, float]:
        """Energies of rest with the outer rod upright, the inner, both. Below them, no rod passes the top."""
        outer, inner = 2 * self.m2 * self.g * self.l2, 2 * (self.m1 + self.m2) * self.g * self.l1
        return outer, inner, outer + inner

    @property
    def speed(self) -> float:
        """Angular velocity in rad/s at the bottom of an outer rod that just reaches the upright, alone."""
        return 2 * np.sqrt(self.g / self.l2)

    def generate(self, z, rng):
        return self.encode(self.integrate(self.start(z, rng)))

    def start(self, energy: Float[np.ndarray, "n"], rng: np.random.Generator) -> Float[np.ndarray, "n 4"]:
        """States (angle 1, angle 2, angular velocities) from the microcanonical distribution of each energy.

        Its density is delta(H - E) over angles and momenta, which motion preserves. With two degrees of
        freedom, momenta at given angles with energies E to E + dE fill an area of 2 pi sqrt(det M) dE. So
        angles have density sqrt(det M) where V < E; velocities, in the metric of M, have a free direction.
        """
        energy = self.check_values(energy, 1e6 * self.saddles[2])  # more would take minutes to integrate
        # Neither angle can be larger than if all the energy lifted its own rod.
        own = np.array([(self.m1 + self.m2) * self.l1, self.m2 * self.l2]) * self.g
        widest = np.arccos(np.maximum(1 - energy[:, None] / own, -1))
        angles, left = np.empty((len(energy), 2)), np.arange(len(energy))
        most = np.sqrt(self.m1 + self.m2)  # of sqrt(det M), up to a factor that all share
        while len(left):
            angles[left] = widest[left] * rng.uniform(-1, 1, (len(left), 2))
            a1, a2 = angles[left].T
            density = np.sqrt(self.m1 + self.m2 * np.sin(a1 - a2) ** 2)
            inside = self.potential(np.cos(a1), np.cos(a2)) <= energy[left]
            left = left[~(inside & (rng.random(len(left)) * most < density))]
        a1, a2 = angles.T
        speed = np.sqrt(2 * np.maximum(energy - self.potential(np.cos(a1), np.cos(a2)), 0))
        turn = rng.uniform(0, 2 * np.pi, len(energy))
        # M = L L', so that velocities w with L' w = speed * (cos, sin) have kinetic energy speed^2 / 2.
        a, b, d = self.mass_matrix(np.cos(a1 - a2))
        l11, l21 = np.sqrt(a), b / np.sqrt(a)
        w2 = speed * np.sin(turn) / np.sqrt(d - l21**2)
        w1 = (speed * np.cos(turn) - l21 * w2) / l11
        return np.column_stack([angles, w1, w2])

    def integrate(self, start: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n T 4"]:
        """States of the motions that begin in ``start``, by DOP853 (Hairer, Norsett and Wanner 1993)."""

        def flat_rate(_, y):
            return np.concatenate(self.rate(y.reshape(4, -1)))

        motions = np.empty((len(start), self.steps, 4))
        times = np.linspace(0, self.duration, self.steps)
        for i in range(0, len(start), CHUNK):
            flat = start[i : i + CHUNK].T.ravel()  # state by state, so that each of the four is contiguous
            y = solve_ivp(flat_rate, times[[0, -1]], flat, "DOP853", times, rtol=1e-11, atol=1e-11).y
            motions[i : i + CHUNK] = y.reshape(4, -1, self.steps).transpose(1, 2, 0)
        return motions

    def rate(self, state):
        """Time derivatives of four arrays: Lagrange's equations M (w1', w2') = f, where D = a1 - a2 and
        f = (-m2 l1 l2 w2^2 sin D - (m1 + m2) g l1 sin a1, m2 l1 l2 w1^2 sin D - m2 g l2 sin a2)."""
        a1, a2, w1, w2 = state
        c, s = np.cos(a1 - a2), np.sin(a1 - a2)
        # M divided by (l1, l2) on both sides, f by (l1, l2): lengths remain in the unknowns l1 w1', l2 w2'.
        f1 = -self.m2 * self.l2 * w2**2 * s - (self.m1 + self.m2) * self.g * np.sin(a1)
        f2 = self.m2 * (self.l1 * w1**2 * s - self.g * np.sin(a2))
        det = self.m2 * (self.m1 + self.m2 * s**2)
        rate1 = self.m2 * (f1 - c * f2) / (det * self.l1)
        rate2 = ((self.m1 + self.m2) * f2 - self.m2 * c * f1) / (det * self.l2)
        return w1, w2, rate1, rate2

    def mass_matrix(self, cosine):
        """Entries (1, 1), (1, 2), (2, 2) of M in kg m^2; ``cosine`` is that of the angle between the rods."""
        return (self.m1 + self.m2) * self.l1**2, self.m2 * self.l1 * self.l2 * cosine, self.m2 * self.l2**2

    def potential(self, cos1, cos2):
        """Potential energy above hanging at rest, in J."""
        return self.g * ((self.m1 + self.m2) * self.l1 * (1 - cos1) + self.m2 * self.l2 * (1 - cos2))

    def kinetic(self, cosine, w1, w2):
        """Kinetic energy w' M w / 2 in J; ``cosine`` is that of the angle between the rods."""
        a, b, d = self.mass_matrix(cosine)
        return (a * w1**2 + 2 * b * w1 * w2 + d * w2**2) / 2

    def energy(self, states: Float[np.ndarray, "... 4"]) -> Float[np.ndarray, "..."]:
        """Mechanical energy of states (angle 1, angle 2, angular velocities), in J."""
        a1, a2, w1, w2 = np.moveaxis(states, -1, 0)
        return self.kinetic(np.cos(a1 - a2), w1, w2) + self.potential(np.cos(a1), np.cos(a2))

    def encode(self, states: Float[np.ndarray, "... 4"]) -> Float[np.ndarray, "... C"]:
        """States as this task's channels."""
        a1, a2, w1, w2 = np.moveaxis(states, -1, 0)
        s1, c1, s2, c2 = np.sin(a1), np.cos(a1), np.sin(a2), np.cos(a2)
        if self.coordinates == "angles":
            return np.stack([s1, c1, s2, c2, w1, w2], axis=-1)
        x1, y1, u1, v1 = self.l1 * s1, -self.l1 * c1, self.l1 * w1 * c1, self.l1 * w1 * s1
        x2, y2 = x1 + self.l2 * s2, y1 - self.l2 * c2
        u2, v2 = u1 + self.l2 * w2 * c2, v1 + self.l2 * w2 * s2
        return np.stack([x1, y1, x2, y2, u1, v1, u2, v2], axis=-1)

    def read(self, x):
        """Sines, cosines and velocities of the angles; and violations of the rods: relative errors of lengths
        and, for "bobs", velocities along a rod in units of `speed`."""
        if self.coordinates == "angles":
            s1, c1, s2, c2, w1, w2 = (x[..., k] for k in range(6))
            (s1, c1, r1), (s2, c2, r2) = _direction(s1, c1), _direction(s2, c2)
            return (s1, c1, s2, c2, w1, w2), (r1 - 1, r2 - 1)
        x1, y1, x2, y2, u1, v1, u2, v2 = (x[..., k] for k in range(8))
        s1, c1, r1 = _direction(x1 / self.l1, -y1 / self.l1)
        s2, c2, r2 = _direction((x2 - x1) / self.l2, (y1 - y2) / self.l2)
        u1, v1, u2, v2 = u1 / self.l1, v1 / self.l1, (u2 - u1) / self.l2, (v2 - v1) / self.l2
        off = (r1 - 1, r2 - 1, (u1 * s1 - v1 * c1) / self.speed, (u2 * s2 - v2 * c2) / self.speed)
        return (s1, c1, s2, c2, u1 * c1 + v1 * s1, u2 * c2 + v2 * s2), off

    def decode(self, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n T 4"]:
        """States of channels; angles are unwrapped along time."""
        (s1, c1, s2, c2, w1, w2), _ = self.read(self.check(x))
        a1, a2 = (np.unwrap(np.arctan2(s, c), axis=1) for s, c in ((s1, c1), (s2, c2)))
        return np.stack([a1, a2, w1, w2], axis=-1)

    def energies(self, x):
        """Mechanical energy at each step, in J. For arrays and tensors."""
        (s1, c1, s2, c2, w1, w2), _ = self.read(x)
        return self.kinetic(c1 * c2 + s1 * s2, w1, w2) + self.potential(c1, c2)

    def measure(self, x):
        return self.energies(self.check(x)).mean(axis=1)

    def differentiable(self, x):
        return self.energies(x).mean()

    def validity(self, x):
        """The largest of four root mean squares along a trajectory (see `residuals`)."""
        return np.max(list(self.residuals(x).values()), axis=0)

    def residuals(self, x: Float[np.ndarray, "n T C"]) -> dict[str, Float[np.ndarray, "n"]]:
        """Root mean squares along each trajectory: of the energy's deviation from its mean, in units of
        `saddles`[0]; of violations of the rods (see `read`); of angles less integrated angular velocities;
        and of these less integrated accelerations, in units of `speed`. The trapezoidal rule is right to
        0.01 at default times."""
        x, states = self.check(x), self.decode(x)
        rates = np.stack(self.rate(np.moveaxis(states, -1, 0)), axis=-1)
        steps = (rates[:, 1:] + rates[:, :-1]) / 2 * (self.duration / (self.steps - 1))
        gap = np.cumsum(np.insert(np.diff(states, axis=1) - steps, 0, 0.0, axis=1), axis=1)
        gap = np.sqrt(np.mean((gap - gap.mean(axis=1, keepdims=True)) ** 2, axis=1))
        return {
            "energy": self.energies(x).std(axis=1) / self.saddles[0],
            "rods": np.sqrt(np.mean(np.stack(self.read(x)[1]) ** 2, axis=2)).max(axis=0),
            "kinematics": gap[:, :2].max(axis=1),
            "dynamics": gap[:, 2:].max(axis=1) / self.speed,
        }

    def over_the_top(self, x: Float[np.ndarray, "n T C"]) -> np.ndarray:
        """Whether a rod passes the upright, up to the last step, (n,)."""
        turns = np.floor((self.decode(x)[..., :2] + np.pi) / (2 * np.pi))
        return (turns != turns[:, :1]).any(axis=(1, 2))


def _direction(sine, cosine):
    """The point (sine, cosine) projected onto the unit circle, and its distance from 0 before."""
    radius = (sine * sine + cosine * cosine).clip(1e-24) ** 0.5
    return sine / radius, cosine / radius, radius
