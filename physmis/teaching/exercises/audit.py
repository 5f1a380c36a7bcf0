"""Checks of the exercises of notebook 06."""

from __future__ import annotations

import numpy as np
import scipy.stats

from physmis.audit.measurements import path_length


def walks(n: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth random paths in the plane, (n, 40, 2), in metres, of various lengths."""
    turns = np.cumsum(rng.normal(0, 0.15, (n, 39)), axis=1) + rng.uniform(0, 2 * np.pi, (n, 1))
    steps = rng.uniform(0.02, 0.1, (n, 1, 1)) * np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    return np.concatenate([np.zeros((n, 1, 2)), np.cumsum(steps, axis=1)], axis=1)


def displacement(answer) -> str | None:
    """A measurement of the distance between first and last step."""
    rng = np.random.default_rng(1)
    for shape in ((5, 7, 2), (3, 2, 3), (4, 9, 1)):
        x = rng.normal(size=shape)
        found = np.asarray(answer(x), dtype=float)
        if found.shape != shape[:1]:
            return f"For trajectories of shape {shape} a shape of {shape[:1]} is wanted, got {found.shape}."
        wanted = [np.sqrt(sum((a - b) ** 2 for a, b in zip(row[0], row[-1], strict=True))) for row in x]
        if not np.allclose(found, wanted, rtol=1e-6):
            return f"The distances are off for trajectories of shape {shape}."
    return None


def permutation(answer) -> str | None:
    """A p-value that is uniform where nothing moved, small where something did, and never 0."""
    rng = np.random.default_rng(2)

    def difference(ours, theirs):
        return abs(np.mean(ours) - np.mean(theirs))

    def asked(ours, theirs):
        return float(answer(ours, theirs, difference, rng))

    far = asked(rng.normal(size=30), rng.normal(size=30) + 3)
    if not 0 < far <= 1:
        return f"A p-value is above 0 and at most 1, got {far} for samples that are far apart."
    if far > 0.05:
        return f"Samples three standard deviations apart get {far:.2f}, which is not small."
    alike = np.array([asked(rng.normal(size=12), rng.normal(size=20)) for _ in range(60)])
    if not np.isfinite(alike).all() or alike.min() <= 0 or alike.max() > 1:
        return "Some p-values of samples of one law are not between 0 and 1."
    if (chance := scipy.stats.kstest(alike, "uniform").pvalue) < 1e-3:
        return f"For samples of one law the p-values are not spread evenly (chance {chance:.1g})."
    return None


def robust_length(answer) -> str | None:
    """A measurement that ranks paths as their length does, and that jitter hardly biases."""
    rng = np.random.default_rng(3)
    x = walks(400, rng)
    jittered = x + 0.02 * rng.normal(size=x.shape)
    clean, moved = (np.asarray(answer(paths.copy()), dtype=float) for paths in (x, jittered))
    if clean.shape != (400,) or moved.shape != (400,):
        return f"For 400 paths a shape of (400,) is wanted, got {clean.shape}."
    if not (np.isfinite(clean).all() and np.isfinite(moved).all()) or np.ptp(clean) == 0:
        return "It must give finite numbers, and not the same one for all paths."
    ranks = scipy.stats.spearmanr(clean, path_length(x)).statistic
    if not ranks >= 0.9:
        return (
            f"It ranks paths otherwise than their length does: rank correlation {ranks:.2f}, 0.9 is wanted."
        )
    bias = abs((moved - clean).mean()) / clean.std()
    plain = (path_length(jittered) - path_length(x)).mean() / path_length(x).std()
    if not bias <= plain / 4:
        return (
            f"Jitter moves it by {bias:.2f} standard deviations; at most a quarter of {plain:.2f} is wanted."
        )
    return None


CHECKS = {"06.1": displacement, "06.2": permutation, "06.3": robust_length}
