"""Three tasks, smooth, singular and chaotic, that recover their quantity exactly from valid data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from physmis.tasks.base import Channel, Task, in_chunks


@dataclass(frozen=True)
class Sine(Task):
    """x_t = sin(2 pi f t / T + phase), frequency f of [low, high] cycles per window, phase free."""

    name: ClassVar[str] = "sine"
    channels: ClassVar = (Channel("displacement", ""),)
    measured: ClassVar = ("frequency", "f", "cycles/window")
    shortest: ClassVar[int] = 5
    low: float = 1.0
    high: float = 3.0
    steps: int = 16
    prior: str = "uniform"

    @property
    def bounds(self):
        return 1.0, self.steps / 4

    def generate(self, z, rng):
        z = self.check_values(z, self.steps / 2)  # above, frequencies alias
        phase = rng.uniform(0, 2 * np.pi, len(z))
        t = np.arange(self.steps) / self.steps
        return np.sin(2 * np.pi * z[:, None] * t + phase[:, None])[..., None]

    @in_chunks
    def measure(self, x):
        return self._fit(x[..., 0])[0]

    def differentiable(self, x):
        """The frequency of most power (see `_fit`), by a grid and three Newton steps without derivatives.
        Each of two further steps doubles the order to which it is right in deviations of x: derivatives are
        those of the implicit function theorem."""
        t = 2 * np.pi * torch.arange(self.steps, dtype=x.dtype, device=x.device) / self.steps

        def power(f, y):
            c, s = torch.cos(f * t), torch.sin(f * t)
            cc, ss, cs, yc, ys = (c * c).sum(), (s * s).sum(), (c * s).sum(), (y * c).sum(), (y * s).sum()
            return (ss * yc**2 - 2 * cs * yc * ys + cc * ys**2) / (cc * ss - cs**2)

        slope, bend = torch.func.grad(power), torch.func.grad(torch.func.grad(power))
        y, fixed = x[:, 0], x[:, 0].detach()
        grid = torch.arange(0.25, self.steps / 2 - 0.25, 0.125, dtype=x.dtype, device=x.device)
        f = start = grid[0] + 0.125 * torch.func.vmap(power, (0, None))(grid, fixed).argmax()
        for row in (fixed, fixed, fixed, y, y):
            f = torch.clamp(f - slope(f, row) / bend(f, row), start - 0.125, start + 0.125)
        return f

    @in_chunks
    def validity(self, x):
        """Root-mean-square distance to the fitted sinusoid, scaled to its amplitude of 1."""
        f, a, b = self._fit(x[..., 0])
        a = np.where(np.hypot(a, b) > 0, a, 1.0)  # a trajectory of zeros is as far from any phase
        size = np.hypot(a, b)
        angle = 2 * np.pi * f[:, None] * np.arange(self.steps) / self.steps
        fit = (a / size)[:, None] * np.cos(angle) + (b / size)[:, None] * np.sin(angle)
        return np.sqrt(np.mean((x[..., 0] - fit) ** 2, axis=1))

    def _fit(self, x):
        """Nonlinear least squares of a cos(w t) + b sin(w t) for rows of ``x``: f, a, b, each (n,). With a, b
        linear given w, the residual depends on w alone (variable projection; Golub and Pereyra 1973): a grid
        finds its global minimum, Gauss-Newton steps polish it."""
        # Scaled by powers of two, which is exact, so that small amplitudes do not reach the floors below.
        scale = np.frexp(np.abs(x).max(axis=1))[1]
        x = np.ldexp(x, -scale[:, None])
        t = np.arange(self.steps) / self.steps * 2 * np.pi
        grid = np.arange(0.25, self.steps / 2 - 0.25, 0.125)
        basis = np.stack([np.cos(np.outer(t, grid)), np.sin(np.outer(t, grid))], axis=-1)
        q = np.linalg.qr(basis.transpose(1, 0, 2))[0]  # explained power is a sum of two squares
        power = (x @ q[..., 0].T) ** 2 + (x @ q[..., 1].T) ** 2
        start = grid[np.argmax(power, axis=1)]
        f, moving = start.copy(), np.arange(len(x))
        for _ in range(10):
            c, s = np.cos(f[moving, None] * t), np.sin(f[moving, None] * t)
            a, b, residual = _project(x[moving], c, s)
            slope = t * (b[:, None] * c - a[:, None] * s)
            # The slope's part outside span(c, s) is the derivative of the projected fit (Kaufman 1975).
            slope = _project(slope, c, s)[2]
            step = np.sum(slope * residual, axis=1) / np.maximum(np.sum(slope**2, axis=1), 1e-30)
            before = f[moving]
            f[moving] = np.clip(before + step, start[moving] - 0.125, start[moving] + 0.125)
            moving = moving[np.abs(f[moving] - before) > 1e-11]  # less, and the next step changes nothing
        a, b, _ = _project(x, np.cos(f[:, None] * t), np.sin(f[:, None] * t))
        return f, np.ldexp(a, scale), np.ldexp(b, scale)


def _project(y, c, s):
    """Least-squares coefficients of rows of ``y`` on rows ``c`` and ``s``, and the residual."""
    cc, ss, cs = np.sum(c * c, axis=1), np.sum(s * s, axis=1), np.sum(c * s, axis=1)
    yc, ys = np.sum(y * c, axis=1), np.sum(y * s, axis=1)
    det = np.maximum(cc * ss - cs**2, 1e-12)
    a, b = (ss * yc - cs * ys) / det, (cc * ys - cs * yc) / det
    return a, b, y - a[:, None] * c - b[:, None] * s


@dataclass(frozen=True)
class Cone(Task):
    """x = a * c(phase), a cone: amplitude a = |x| of [0, high] times a closed curve of norm 1 with
    c(phase)_t proportional to the sum over k = 1, 2, 3 of sin(k (2 pi t / T + phase)) / k."""

    name: ClassVar[str] = "cone"
    channels: ClassVar = (Channel("displacement", ""),)
    measured: ClassVar = ("amplitude", "a", "")
    shortest: ClassVar[int] = 7  # a third harmonic needs over two points a period
    low: ClassVar[float] = 0.0
    high: float = 1.0
    steps: int = 16
    prior: str = "uniform"

    def curve(self, phase):
        """c(phase), shape (n, T), each row of Euclidean norm 1, of n phases in radians."""
        angle = 2 * np.pi * np.arange(self.steps) / self.steps + phase[:, None]
        wave = sum(np.sin(k * angle) / k for k in (1, 2, 3))
        return wave / np.sqrt(self.steps / 2 * (1 + 1 / 4 + 1 / 9))

    def generate(self, z, rng):
        z = self.check_values(z)
        return (z[:, None] * self.curve(rng.uniform(0, 2 * np.pi, len(z))))[..., None]

    def measure(self, x):
        return np.linalg.norm(self.check(x)[..., 0], axis=1)

    def differentiable(self, x):
        return (x * x).sum().sqrt()  # at 0, where no derivative exists, it gives NaN, not some subgradient

    @in_chunks
    def validity(self, x):
        """Euclidean distance to the cone of all amplitudes, which says little near its apex."""
        x = x[..., 0]
        grid = 2 * np.pi * np.arange(64) / 64
        phase = grid[np.argmax(x @ self.curve(grid).T, axis=1)]
        for scale in (1, 1 / 8, 1 / 64):  # parabola through three points, ever closer to the maximum
            d = grid[1] / 4 * scale
            left, mid, right = (np.sum(x * self.curve(phase + k * d), axis=1) for k in (-1, 0, 1))
            bend = np.minimum(left - 2 * mid + right, -1e-30)
            phase = phase + np.clip(d * (left - right) / bend / 2, -4 * d, 4 * d)
        match = np.maximum(np.sum(x * self.curve(phase), axis=1), 0)
        return np.linalg.norm(x - match[:, None] * self.curve(phase), axis=1)


@dataclass(frozen=True)
class Logistic(Task):
    """The logistic map x_{t+1} = r x_t (1 - x_t), chaotic for most r above 3.57; x_0 is uniform on [0, 1]."""

    name: ClassVar[str] = "logistic"
    channels: ClassVar = (Channel("population", ""),)
    measured: ClassVar = ("growth rate", "r", "")
    bounds: ClassVar = (0.0, 4.0)
    low: float = 3.5
    high: float = 4.0
    steps: int = 12
    prior: str = "uniform"

    def generate(self, z, rng):
        z = self.check_values(z, 4.0)  # beyond, populations run away
        x = np.empty((self.steps, len(z)))
        x[0] = rng.random(len(z))
        for t in range(1, self.steps):
            x[t] = z * x[t - 1] * (1 - x[t - 1])
        return x.T[..., None]

    def measure(self, x):
        x = self.check(x)[..., 0]
        s = x[:, :-1] * (1 - x[:, :-1])
        return np.sum(x[:, 1:] * s, axis=1) / np.maximum(np.sum(s * s, axis=1), 1e-12)

    def differentiable(self, x):
        s = x[:-1, 0] * (1 - x[:-1, 0])
        return (x[1:, 0] * s).sum() / (s * s).sum().clamp(min=1e-12)

    def validity(self, x):
        """Root-mean-square one-step residual of the map at the recovered r."""
        r, x = self.measure(x), self.check(x)[..., 0]
        residual = x[:, 1:] - r[:, None] * x[:, :-1] * (1 - x[:, :-1])
        return np.sqrt(np.mean(residual**2, axis=1))
