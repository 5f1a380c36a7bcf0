"""Checks of the exercises of notebook 02: each takes an answer, and returns None or a hint in a sentence."""

from __future__ import annotations

import numpy as np
from scipy.stats import uniform

from physmis import drift, tasks

ERROR = 0.03  # standard deviation of the errors of exercise 02.3
SHARE = 2 / 3  # of the drift of least squares that is allowed there
MEMORY = 0.8  # least correlation of the measured with the intended growth rate there


def kinetic_energy_bias(answer):
    """02.1: ``answer(T, dt, s)``, a number, against the mean over draws of errors, within 3 %."""
    if not callable(answer):
        return "A function answer(T, dt, s) is wanted."
    rng = np.random.default_rng(0)
    for T, dt, s in ((3, 0.5, 1.0), (6, 0.1, 0.02), (32, 2.0, 0.3)):
        where = f"T = {T}, dt = {dt}, s = {s}"
        given = np.asarray(answer(T, dt, s))
        if given.shape != () or given.dtype.kind not in "iuf":
            return (
                f"It must return one real number; for {where} it has shape {given.shape}, type {given.dtype}."
            )
        if not np.isfinite(given):
            return f"It is not finite for {where}."
        x = rng.standard_normal(T)
        d = s * rng.standard_normal((50_000, T))
        # Errors in pairs, d and -d: without the linear term, which has mean 0, the mean is told within 1 %.
        both = (_kinetic(x + d, dt) + _kinetic(x - d, dt)) / 2
        seen = both.mean() - _kinetic(x, dt)
        if abs(given - seen) > 0.03 * seen:
            if given < 0:
                return f"For {where} it is negative: think of a path at rest, and of what jitter does to it."
            way = "large" if given > seen else "small"
            return f"For {where} it is too {way}, compared with draws of errors."
    return None


def _kinetic(x, dt):
    return (np.diff(x) ** 2).sum(axis=-1) / (2 * dt**2)


def drift_free_transition(answer):
    """02.2: ``answer(p)``, an (n, n) transition for a law p (n,): moves mass, to next bins, and leaves p."""
    if not callable(answer):
        return "A function answer(p) is wanted."
    hill = np.exp(-0.5 * np.linspace(-2, 2, 12) ** 2)
    for p in (hill, np.array([1.0, 4, 2, 1, 3, 6, 1]), np.random.default_rng(0).uniform(0.2, 1, 30)):
        p, n = p / p.sum(), len(p)
        T = np.asarray(answer(p.copy()), dtype=float)
        if T.shape != (n, n):
            return f"For a law over {n} bins, an array of shape ({n}, {n}) is wanted; it has shape {T.shape}."
        if not np.isfinite(T).all():
            return "It holds NaN or infinite values."
        if T.min() < -1e-12:
            return "It holds negative probabilities."
        if not np.allclose(T.sum(axis=1), 1, rtol=0, atol=1e-9):
            if np.allclose(T.sum(axis=0), 1, rtol=0, atol=1e-9):
                return "Its columns sum to 1; rows should: T[i, j] leads from bin i to bin j."
            return "Not every row sums to 1."
        i, j = np.indices(T.shape)
        if T[abs(i - j) > 1].max() > 1e-12:
            return "It leads from some bin to one that is not next to it."
        moved = 1 - p @ np.diag(T)
        if not moved >= 0.1:
            return f"It moves {moved:.1%} of the mass to another bin; a tenth at least is wanted."
        gap = drift.total_variation(p, p @ T / (p @ T).sum())
        if not gap < 1e-9:
            return (
                f"It moves mass, but its forecast drifts: total variation {gap:.2g} for a law over {n} bins. "
                "Count what crosses between two bins, each way."
            )
    return None


def measurement_with_little_drift(answer):
    """02.3: ``answer(x)``, growth rates (n,) of x (n, 32): exact, and with little drift under errors."""
    if not callable(answer):
        return "A function answer(x) is wanted."
    rng = np.random.default_rng(0)
    task = tasks.load("logistic")
    prior = uniform(3.5, 0.5)
    r = prior.ppf(rng.random(300))
    x = task.generate(r, rng)[..., 0]
    given, why = _vector(answer, x)
    if why:
        return why
    if not np.abs(given - r).max() < 1e-6:
        return f"On trajectories without errors it is off by up to {np.abs(given - r).max():.2g}."
    r = prior.ppf((np.arange(2000) + 0.5) / 2000)
    found = []
    for _ in range(3):
        x = task.generate(r, rng)[..., 0] + ERROR * rng.standard_normal((len(r), 32))
        given, why = _vector(answer, x)
        if why:
            return f"On trajectories with errors: {why}"
        found.append(
            (
                drift.wasserstein(given, prior),
                drift.wasserstein(task.measure(x[..., None]), prior),
                np.corrcoef(given, r)[0, 1],
            )
        )
    alone, _ = _vector(answer, x[5:12])
    if alone is None or not np.allclose(alone, given[5:12], rtol=0, atol=1e-8):
        return "It gives a trajectory another growth rate when other trajectories are given beside it."
    mine, baseline, memory = np.mean(found, axis=0)
    if not memory >= MEMORY:
        return f"With errors its values hardly follow r: correlation {memory:.2f}, at least {MEMORY} wanted."
    if not mine <= SHARE * baseline:
        return (
            f"With errors its drift is {mine / baseline:.0%} of that of least squares; "
            f"at most {SHARE:.0%} is wanted."
        )
    return None


def _vector(answer, x):
    """``answer(x)`` as a finite vector, one number a row of ``x``, and None; or None and what is wrong."""
    given = np.asarray(answer(x.copy()), dtype=float)
    if given.shape != (len(x),):
        return None, f"For x of shape {x.shape} it must return shape ({len(x)},), not {given.shape}."
    if not np.isfinite(given).all():
        return None, "It returns NaN or infinite values."
    return given, None


CHECKS = {
    "02.1": kinetic_energy_bias,
    "02.2": drift_free_transition,
    "02.3": measurement_with_little_drift,
}
