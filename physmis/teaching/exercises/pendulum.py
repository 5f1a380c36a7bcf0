"""Checks of the exercises of notebook 04: noise on angles, states of one energy, repair of noisy motions.

Energies are worked out anew here, from heights and speeds of the two masses, not with the task's formulas.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from physmis.tasks import load

G = 9.81  # m/s^2
NOISE = np.array([0.1, 0.1, 0.5, 0.5])  # of exercise 04.3: two angles in rad, two angular velocities in rad/s
DRIFT_LEFT, STRAY_LEFT = 0.2, 0.5  # shares of what noise does that a repair may leave


def noise_on_angles(answer: Any) -> str | None:
    """04.1: a function (theta1, theta2, s) in rad, giving J, against Gauss-Hermite quadrature."""
    if not callable(answer):
        return "A function of theta1, theta2 and s is wanted."
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    weights = np.outer(weights, weights) / weights.sum() ** 2

    def mean_change(theta1, theta2, s):
        states = np.zeros((41, 41, 4))
        states[..., 0], states[..., 1] = theta1 + s * nodes[:, None], theta2 + s * nodes
        still = np.array([theta1, theta2, 0.0, 0.0])
        return (weights * (_energy(states, 0.25) - _energy(still, 0.25))).sum()

    angles = ((0.0, 0.0), (np.pi, 0.0), (0.0, np.pi), (0.5, -1.2), (2.0, 3.0), (-2.5, 0.4))
    cases = [(*pair, s) for s in (0.05, 0.4, 1.2) for pair in angles]
    given = [answer(*case) for case in cases]
    if any(np.shape(value) != () for value in given):
        return "For three numbers it has to return one number."
    given = np.array(given, dtype=float)
    if not np.isfinite(given).all():
        return "It returns NaN or infinity for some angles."
    right = np.array([mean_change(*case) for case in cases])
    scale = np.abs(right).reshape(3, 6).max(axis=1).repeat(6)  # of each s: the change is 0 at some angles
    close = np.abs(given - right) < 1e-3 * scale
    if close.all():
        return None
    if np.allclose(given, given[0]):
        return "It returns the same number whatever the angles and s are."
    if given[0] <= 0:
        return (
            "It is not positive for a pendulum that hangs straight down, where any change of an angle lifts."
        )
    if close[:6].all():
        return "It is right for small errors, but not for large ones: s = 1.2 rad is off."
    factor = given @ right / (right @ right)
    if (np.abs(given - factor * right) < 1e-2 * np.abs(factor) * scale).all():
        return "It is off by the same factor everywhere."
    theta1, theta2, s = cases[int(np.argmin(close))]
    return f"It is off at theta1 = {theta1:.2f}, theta2 = {theta2:.2f}, s = {s}, and perhaps elsewhere."


def states_of_one_energy(answer: Any) -> str | None:
    """04.2: a function (energy, n, rng) giving (n, 4) states in rad and rad/s, against the law on a grid.

    Means over the states are compared with those over a grid of angles, weighted by sqrt(det M), within 5
    standard errors; directions of whitened velocities with the uniform law, by their largest gap.
    """
    if not callable(answer):
        return "A function of energy, n and rng is wanted."
    n = 20_000
    for energy in (10.0, 30.0):  # below and above the lowest saddle
        states = np.asarray(answer(energy, n, np.random.default_rng(4)), dtype=float)
        if states.shape != (n, 4):
            return f"For n = {n} an array of shape ({n}, 4) is wanted, got shape {states.shape}."
        if not np.isfinite(states).all():
            return "Some states are NaN or infinite, as the root of a negative kinetic energy would be."
        off = np.abs(_energy(states, 1.0) / energy - 1).max()
        if off > 1e-6:
            return f"States for {energy:.0f} J do not have this energy: the worst is off by {off:.1%}."
        if hint := _angles_off(states, energy) or _directions_off(states, energy):
            return hint
    return None


def repaired_motions(answer: Any) -> str | None:
    """04.3: a function of noisy motions (n, 64, 4), giving repaired ones, against the motions without noise.

    Three properties: the law of energies (Wasserstein-1), the stray of the energy along a motion, and the
    distances of angles and of angular velocities, each in units of what they are without a repair.
    """
    if not callable(answer):
        return "A function of noisy motions is wanted."
    task, rng = load("pendulum"), np.random.default_rng(4)
    n = 400
    curated = 1 + 5 * (np.arange(n) + 0.5) / n
    motions = task.integrate(task.start(curated, rng))
    noisy = motions + NOISE * rng.standard_normal(motions.shape)
    given = np.asarray(answer(noisy.copy()), dtype=float)
    if given.shape != motions.shape:
        return f"For motions of shape {motions.shape} the same shape is wanted, got {given.shape}."
    if not np.isfinite(given).all():
        return "Some of the repaired motions hold NaN or infinity."

    def faults(states):
        energies = _energy(states, 0.25)
        gaps = np.sqrt(np.mean((states - motions) ** 2, axis=(0, 1)).reshape(2, 2).mean(axis=1))
        drift = np.abs(np.sort(energies.mean(axis=1)) - curated).mean()
        return drift, energies.std(axis=1).mean(), *gaps

    drift, stray, angles, velocities = np.divide(faults(given), faults(noisy))
    if not max(angles, velocities) < 1:
        what = "angles" if angles >= 1 else "angular velocities"
        return f"The {what} are no nearer to those of the true motions than before the repair."
    if not stray <= STRAY_LEFT:
        return (
            f"Along a motion the energy still strays by {stray:.0%} of what it did; "
            f"at most {STRAY_LEFT:.0%} is wanted."
        )
    if not drift <= DRIFT_LEFT:
        below = np.mean(_energy(given, 0.25)) < curated.mean()
        return (
            f"The law of energies is {drift:.0%} as far off as before, at most {DRIFT_LEFT:.0%} is wanted; "
            f"on average they are too {'low' if below else 'high'}."
        )
    return None


CHECKS = {"04.1": noise_on_angles, "04.2": states_of_one_energy, "04.3": repaired_motions}


def _energy(states: Float[np.ndarray, "... 4"], m2: float) -> Float[np.ndarray, "..."]:
    """Mechanical energy above hanging at rest, in J, of masses 1 kg and ``m2`` on rods of 1 m.

    Complex numbers stand for points: right is real, down is minus i.
    """
    a1, a2, w1, w2 = np.moveaxis(states, -1, 0)
    inner = -1j * np.exp(1j * a1)
    outer = inner - 1j * np.exp(1j * a2)
    v1 = w1 * np.exp(1j * a1)
    v2 = v1 + w2 * np.exp(1j * a2)
    lifted = (inner.imag + 1) + m2 * (outer.imag + 2)
    return (np.abs(v1) ** 2 + m2 * np.abs(v2) ** 2) / 2 + G * lifted


def _angles_off(states, energy):
    """A hint where the angles of states of this energy do not follow their law; masses of 1 kg both."""
    whole = 2 * np.pi * (np.arange(600) + 0.5) / 600
    grid = np.zeros((600, 600, 4))
    grid[..., 0], grid[..., 1] = whole[:, None], whole
    inside = _energy(grid, 1.0) <= energy
    a1, a2 = grid[inside][:, :2].T
    mass = np.sqrt(2 - np.cos(a1 - a2) ** 2)

    def features(a1, a2):
        yield "sin(theta1)", np.sin(a1)
        yield "sin(theta2)", np.sin(a2)
        yield "cos(theta1)", np.cos(a1)
        yield "cos(theta2)", np.cos(a2)
        yield "sin(theta1 - theta2)^2", np.sin(a1 - a2) ** 2
        yield "cos(theta1 - theta2)", np.cos(a1 - a2)

    for (name, found), (_, wanted) in zip(features(*states[:, :2].T), features(a1, a2), strict=True):
        gap = found.mean() - np.average(wanted, weights=mass)
        if not abs(gap) < 5 * wanted.std() / np.sqrt(len(found)):
            size = "large" if gap > 0 else "small"
            return f"At {energy:.0f} J the mean of {name} is too {size}: the law of the angles is off."
    return None


def _directions_off(states, energy):
    """A hint where velocities, given angles, do not have a free direction in the metric of M; masses 1 kg."""
    a1, a2, w1, w2 = states.T
    c, n = np.cos(a1 - a2), len(states)
    # Kinetic energy is a sum of two squares, along the outer rod's way and across it.
    turn = np.arctan2(np.sqrt(2 - c**2) * w1, c * w1 + w2)
    gap = np.abs(np.sort(turn % (2 * np.pi)) / (2 * np.pi) - (np.arange(n) + 0.5) / n).max()
    # By angles, too: a direction must not lean with them.
    leaning = [np.abs(np.mean(np.exp(1j * k * turn) * f)) / f.std() for k in (1, 2) for f in (c, a1, a2)]
    if not gap * np.sqrt(n) < 2.5 or not max(leaning) * np.sqrt(n) < 5:
        return (
            f"At {energy:.0f} J the angles are right, but some directions of the velocities come too often."
        )
    return None
