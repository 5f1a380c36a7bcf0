"""Checks of the exercises of the notebooks, which state what each of them asks.

Each asserts that an answer is right, or has the required properties; the message is a hint of one sentence.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import i0e, i1e
from scipy.stats import kstest, spearmanr, uniform, wasserstein_distance

from physmis.audit.demo import smooth_paths
from physmis.audit.measurements import path_length
from physmis.drift.metrics import histogram, total_variation, wasserstein
from physmis.tasks import load


def hint(exercise: str, answer: Any) -> str | None:
    """What is off with an answer, in a sentence; None if it is right."""
    if exercise not in CHECKS:
        raise ValueError(f"expected one of the exercises {', '.join(CHECKS)}, got {exercise!r}")
    try:
        CHECKS[exercise](answer)
    except AssertionError as error:
        return str(error)
    except Exception as error:  # whatever a learner's function does
        return f"It raised {type(error).__name__}: {error}"
    return None


def walks(n: int, rng: np.random.Generator) -> Float[np.ndarray, "n 40 2"]:
    """Smooth random paths in the plane, in metres, of various lengths."""
    turns = np.cumsum(rng.normal(0, 0.15, (n, 39)), axis=1) + rng.uniform(0, 2 * np.pi, (n, 1))
    steps = rng.uniform(0.02, 0.1, (n, 1, 1)) * np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    return np.concatenate([np.zeros((n, 1, 2)), np.cumsum(steps, axis=1)], axis=1)


def _real(values, shape):
    """``values`` as an array of finite real numbers of a shape."""
    array = np.asarray(values)
    assert array.shape == shape, f"Expected an array of shape {shape}, got shape {array.shape}."
    assert array.dtype.kind in "iuf" and np.isfinite(array).all(), "Expected finite real numbers."
    return array.astype(float)


def _close(given, right, tolerance):
    """An answer that differs from the right one by no more than a ``tolerance``, relative to that."""
    off = ((_real(given, np.shape(right)) - right) / np.abs(right) / tolerance).ravel()
    k = np.abs(off).argmax()
    which = "It" if len(off) == 1 else f"Value {k + 1} of {len(off)}"
    assert abs(off[k]) <= 1, f"{which} is too {'large' if off[k] > 0 else 'small'}."


def _path_deviation(x, y):
    """Root mean square over positions of the distance between two paths, (n,)."""
    return np.sqrt(((y - x) ** 2).sum(axis=-1).mean(axis=1))


def _growth_rates(answer, low, n, size, **changes):
    """Growth rates from ``low`` to 4, noisy trajectories, and what an answer and least squares measure."""
    task, rng = load("logistic", low=low, high=4.0, **changes), np.random.default_rng(0)
    r = low + (4 - low) * (np.arange(n) + 0.5) / n
    x = task.generate(r, rng)[..., 0]
    off = np.abs(_real(answer(x.copy()), r.shape) - r).max()
    assert off <= 1e-6, f"On exact trajectories it is off by up to {off:.2g}."
    x += size * rng.standard_normal(x.shape)
    return r, x, _real(answer(x.copy()), r.shape), task.measure(x[..., None])


check_01_1 = partial(_close, right=[0.1, 0.05], tolerance=[0.01, 0.02])
check_03_1 = partial(_close, right=63 * 0.01 * np.sqrt(np.pi), tolerance=0.005)
check_05_1 = partial(_close, right=1 + np.sqrt(2), tolerance=0.003)


def check_01_2(answer):
    bins, n, data, rng = 5, 400, 1000, np.random.default_rng(0)
    known = rng.multinomial(data, np.full(bins, 1 / bins), size=4000) / data
    simulated = 0.5 * np.abs(rng.multinomial(n, known) / n - 1 / bins).sum(axis=1).mean()
    _close(answer(bins, n, data), simulated, 0.05)


def check_01_3(answer):
    r, _, given, least_squares = _growth_rates(answer, 3.0, 2000, 0.02)
    share = np.sqrt(np.mean((given - r) ** 2) / np.mean((least_squares - r) ** 2))
    assert share <= 0.8, f"With errors it is off by {share:.2f} of what least squares is off by."


def check_02_1(answer):
    _close(answer(7, 0.4, 0.3), 6 * (0.3 / 0.4) ** 2, 0.03)


def check_02_2(answer):
    p = np.array([1, 4, 2, 1, 3, 6, 1]) / 18
    T, (i, j) = _real(answer(p.copy()), (7, 7)), np.indices((7, 7))
    fine = T.min() > -1e-12 and np.abs(T.sum(axis=1) - 1).max() < 1e-9 and T[abs(i - j) > 1].max() < 1e-12
    assert fine, "Rows must hold probabilities that sum to 1, above 0 for neighbours of the bin only."
    assert p @ np.diag(T) <= 0.9, "It takes less than a tenth of the mass to another bin."
    assert np.abs(p @ T - p).max() < 1e-9, "Its forecast drifts: count what crosses between two bins."


def check_02_3(answer):
    r, x, given, least_squares = _growth_rates(answer, 3.5, 6000, 0.03, steps=32)
    isolated = np.abs(_real(answer(x[5:12]), (7,)) - given[5:12]).max() < 1e-8
    assert isolated, "It measures a trajectory otherwise when other trajectories are given beside it."
    correlation, prior = np.corrcoef(given, r)[0, 1], uniform(3.5, 0.5)
    share = wasserstein(given, prior) / wasserstein(least_squares, prior)
    found = f"Its correlation with r is {correlation:.2f}, its drift {share:.0%} of that of least squares"
    assert correlation >= 0.8 and share <= 2 / 3, f"{found}; 0.8 or more and 67% or less are required."


def check_03_2(answer):
    length, s, rho = np.array([0.0, 0.004, 0.02, 0.1, 0.5]), 0.002, -0.5
    variance = 2 * s**2 * (1 - rho)
    u = length**2 / (2 * variance)
    rice = np.sqrt(np.pi * variance / 2) * ((1 + u) * i0e(u / 2) + u * i1e(u / 2))
    _close(_real(answer(length.copy(), s, rho), length.shape) - length, rice - length, 0.02)


def check_03_3(answer):
    x = smooth_paths(1500, np.random.default_rng(3))
    y, other = (_real(answer(x.copy(), np.random.default_rng(seed)), x.shape) for seed in (4, 5))
    assert np.abs(y - x)[:, [0, -1]].max() <= 1e-3, "Start and goal must stay within 1 mm."
    size, differ = np.median(_path_deviation(x, y)), _path_deviation(y, other).mean()
    assert 0.03 <= size <= 0.1, f"A typical path moves by {100 * size:.2g} cm; expected 3 to 10 cm."
    assert differ >= size / 2, "Two generators give nearly the same deviations: draw them from rng."
    independent = x + size * np.sqrt(0.5) * np.random.default_rng(6).standard_normal(x.shape)
    before, after, most = map(path_length, (x, y, independent))
    share = wasserstein_distance(before, after) / wasserstein_distance(before, most)
    assert share <= 0.05, f"The drift is {share:.0%} of that by independent errors; at most 5% is allowed."


def check_04_1(answer):
    angles, s = np.array([(0.0, 0.0), (np.pi, 0.0), (0.5, -1.2), (-2.5, 0.4)]), 1.2
    right = 9.81 * (np.cos(angles) @ [1.25, 0.25]) * (1 - np.exp(-(s**2) / 2))
    _close([answer(*pair, s) for pair in angles], right, 1e-3)


def check_04_2(answer):
    def features(states):
        a, w, s = states[:, :2], states[:, 2:], np.sin(states[:, :1] - states[:, 1:2])
        return np.hstack([np.sin(a), np.cos(a), s**2, w, w**2, w[:, :1] * w[:, 1:], w * s])

    task, rng, n = load("pendulum", m2=1.0), np.random.default_rng(4), 20_000
    states = _real(answer(30.0, n, rng), (n, 4))
    assert np.allclose(task.energy(states), 30, rtol=1e-6), "States for 30 J do not have this energy."
    given, right = features(states), features(task.start(np.full(5 * n, 30.0), rng))
    gap = np.abs(given.mean(axis=0) - right.mean(axis=0)) / right.std(axis=0)
    close = gap.max() < 5.5 / np.sqrt(n)  # five standard errors of the difference
    assert close, "The distribution of the angles or of the velocities is off."


def check_04_3(answer):
    task, rng = load("pendulum", steps=64), np.random.default_rng(4)
    curated = 1 + 5 * (np.arange(400) + 0.5) / 400
    motions = task.integrate(task.start(curated, rng))
    noisy = motions + np.array([0.1, 0.1, 0.5, 0.5]) * rng.standard_normal(motions.shape)
    states = np.stack([_real(answer(noisy.copy()), noisy.shape), noisy])
    errors = np.sqrt(((states - motions) ** 2).reshape(2, -1, 2, 2).mean(axis=(1, 3)))
    energies = task.energy(states)
    drift = np.abs(np.sort(energies.mean(axis=2)) - curated).mean(axis=1)
    after, before = np.column_stack([errors, energies.std(axis=2).mean(axis=1), drift])
    names = "error of the angles", "error of the velocities", "spread of the energy", "drift of the energies"
    for name, share, most in zip(names, after / before, (1, 1, 0.5, 0.2), strict=True):
        assert share < most, f"The {name} is {share:.0%} of what it was; less than {most:.0%} is required."


def check_05_2(answer):
    a, power, sigma, d = np.array([0.25, 0.5, 0.9]), 0.8, 0.004, 3
    right = sigma**2 / 2 / power * (1 / power + d - 2) * a ** (1 - 2 * power)
    _close(answer(a, power, sigma, d), right, 0.015)  # terms beyond the second order are below 0.5 %


def check_05_3(answer):
    transform, inverse = answer
    x = smooth_paths(2000, np.random.default_rng(5))
    noise = 0.05 * np.random.default_rng(6).standard_normal(x.shape)
    y = _real(transform(x.copy()), x.shape)
    gap = np.abs(_real(inverse(y[::-2]), x[::-2].shape) - x[::-2]).max()
    assert gap <= 1e-5, f"The inverse does not undo the transform: it is off by up to {gap:.2g} m."
    x_perturbed = _real(inverse(y + y.std(axis=(0, 1)) * noise), x.shape)
    plain = x + x.std(axis=(0, 1)) * noise
    edges = np.array([-np.inf, *np.linspace(5, 10, 26), np.inf])
    before, after, most = (histogram(path_length(some), edges) for some in (x, x_perturbed, plain))
    drift = total_variation(before, after) / total_variation(before, most)
    way = _path_deviation(x, x_perturbed).mean() / _path_deviation(x, plain).mean()
    found = f"The drift is {drift:.2f}, the distance {way:.2f} of that without coordinates"
    assert drift <= 0.25 and way <= 0.75, f"{found}; at most 0.25 and 0.75 are allowed."


def check_06_1(answer):
    x = np.random.default_rng(1).normal(size=(5, 7, 3))
    _close(answer(x.copy()), np.sqrt(((x[:, 6] - x[:, 0]) ** 2).sum(axis=1)), 1e-6)


def check_06_2(answer):
    rng = np.random.default_rng(4)
    samples = [(rng.normal(size=12), rng.normal(size=20)) for _ in range(60)]
    samples.append((rng.normal(size=30), rng.normal(size=30) + 3))
    *same, far = (_real(answer(a, b, wasserstein_distance, rng), ()) for a, b in samples)
    assert 0 < far <= 0.05, f"Samples that are far apart get {far:.2g}; expected a small p-value above 0."
    even = min(same) > 0 and kstest(same, "uniform").pvalue >= 1e-3
    assert even, "For samples of one distribution the p-values are not spread evenly between 0 and 1."


def check_06_3(answer):
    rng = np.random.default_rng(3)
    x = walks(400, rng)
    jittered = x + 0.02 * rng.normal(size=x.shape)
    clean, perturbed = (_real(answer(some.copy()), (400,)) for some in (x, jittered))
    ranks = spearmanr(clean, path_length(x)).statistic
    bias = abs((perturbed - clean).mean()) / clean.std()
    most = (path_length(jittered) - path_length(x)).mean() / path_length(x).std() / 4
    found = f"Its rank correlation with the length is {ranks:.2f}; jitter adds {bias:.2f} of its spread"
    assert ranks >= 0.9 and bias <= most, f"{found}; 0.9 or more and {most:.2f} or less are required."


# That of exercise 01.2 is `check_01_2`.
CHECKS = {name[6:].replace("_", "."): one for name, one in sorted(globals().items()) if name[:6] == "check_"}
