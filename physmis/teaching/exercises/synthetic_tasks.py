"""Checks of notebook 01: two distances between laws, the sampling floor, a measurement of the growth rate."""

from __future__ import annotations

import numpy as np

from physmis.tasks import load

NOISE = 0.02  # standard deviation of the errors on the states of the logistic map
SHARE = 0.8  # of the error of least squares that a better measurement may leave


def two_distances(answer) -> str | None:
    """Total variation and Wasserstein-1 between U[0, 1] and the same law shrunk, by sums over fine grids."""
    try:
        given = np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        return "A pair of numbers is wanted."
    if given.shape != (2,):
        return f"A pair of numbers is wanted, not something of shape {given.shape}."
    if not np.isfinite(given).all():
        return "Both numbers must be finite."
    old = (np.arange(100_000) + 0.5) / 100_000
    new = 0.9 * old
    edges = np.linspace(0, 1, 101)
    tv = 0.5 * np.abs(np.histogram(new, edges)[0] - np.histogram(old, edges)[0]).sum() / len(old)
    wanted = np.array([tv, np.abs(np.sort(new) - np.sort(old)).mean()])
    off = np.abs(given - wanted) > 1.5e-3  # 1e-3 is asked for, the rest is the grid's
    if not off.any():
        return None
    if (np.abs(given[::-1] - wanted) <= 1.5e-3).all():
        return "Both numbers occur, but in the other order."
    names = np.array(["total variation", "Wasserstein-1 distance"])
    way = np.where(given > wanted, "large", "small")
    told = " and ".join(f"the {name} is too {w}" for name, w in zip(names[off], way[off], strict=True))
    return f"Look again: {told}."


def floor(answer) -> str | None:
    """Mean total variation of resampled training sets, against histograms drawn as the exercise says."""
    if not callable(answer):
        return "A function of bins, n and data is wanted."
    rng = np.random.default_rng(0)
    for bins, n, data in (
        (5, 400, 400),
        (40, 8192, 20_000),
        (40, 2000, 8000),
        (20, 4000, 1000),
        (12, 1000, 10**7),
    ):
        given = answer(bins, n, data)
        try:
            given = float(given)
        except (TypeError, ValueError):
            return f"The function must return one number, not {type(given).__name__}."
        if not np.isfinite(given):
            return f"For {bins} bins, n = {n:,} and data = {data:,} it returns {given}."
        known = rng.multinomial(data, np.full(bins, 1 / bins), size=4000) / data
        drawn = rng.multinomial(n, known) / n
        mean = 0.5 * np.abs(drawn - 1 / bins).sum(axis=1).mean()  # its own error is below 1 %
        if not abs(given / mean - 1) <= 0.05:
            way = "larger" if given > mean else "smaller"
            return f"For {bins} bins, n = {n:,} and data = {data:,} it is {way} than what a simulation gives."
    return None


def measurement(answer) -> str | None:
    """Exactness for r in [3, 4], and the error under noise as a share of that of least squares."""
    if not callable(answer):
        return "A function of trajectories, shape (n, 32), is wanted."
    task, rng = load("logistic", low=3.0, high=4.0), np.random.default_rng(0)
    r = rng.uniform(3, 4, 2000)
    exact = task.generate(r, rng)[..., 0]
    noisy = exact + NOISE * rng.normal(size=exact.shape)
    found = []
    for name, x in (("exact", exact), ("noisy", noisy)):
        given = np.asarray(answer(x.copy()), dtype=float)
        if given.shape != r.shape:
            return f"For trajectories of shape {x.shape} it must return shape {r.shape}, not {given.shape}."
        if not np.isfinite(given).all():
            return f"On {name} trajectories {np.mean(~np.isfinite(given)):.1%} of its values are not finite."
        found.append(given)
    wrong = np.abs(found[0] - r) > 1e-6
    if wrong.any():
        return (
            f"It is not exact: {wrong.mean():.0%} of exact trajectories are measured wrongly, "
            f"one with r = {r[wrong][0]:.3f}."
        )
    error, least_squares = (
        np.sqrt(np.mean((given - r) ** 2)) for given in (found[1], task.measure(noisy[..., None]))
    )
    if not error <= SHARE * least_squares:
        return (
            f"It is exact, but its error under noise is {error / least_squares:.2f} of that of least squares."
        )
    return None


CHECKS = {"01.1": two_distances, "01.2": floor, "01.3": measurement}
