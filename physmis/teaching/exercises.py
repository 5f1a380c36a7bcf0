"""Checks of the exercises of the notebooks, which state what each of them asks.

`CHECKS` maps an exercise to a function that takes the learner's answer and raises `NotYet`, with a hint of
one sentence, unless it is right. Most compare it with a closed form; where many answers are right, the
required properties are measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special
import scipy.stats
from jaxtyping import Float

from physmis.audit.measurements import path_length
from physmis.drift.metrics import histogram, total_variation, wasserstein
from physmis.tasks import load

CHECKS: dict[str, Callable[[Any], None]] = {}


class NotYet(Exception):
    """An answer is not right; the message is a hint."""


def hint(exercise: str, answer: Any) -> str | None:
    """What is off with an answer, in a sentence; None if it is right."""
    if exercise not in CHECKS:
        raise ValueError(f"expected one of the exercises {', '.join(CHECKS)}, got {exercise!r}")
    try:
        CHECKS[exercise](answer)
    except NotYet as error:
        return str(error)
    except Exception as error:  # whatever a learner's function does
        return f"It raised {type(error).__name__}: {error}"
    return None


def smooth_paths(n: int, rng: np.random.Generator) -> Float[np.ndarray, "n 64 2"]:
    """Smooth paths in the plane in metres, of lengths uniform between 5 and 10 m.

    Each channel is a sum over k = 1 to 4 of sin(pi k t) / k times a normal number, t from 0 to 1, less its
    mean. The whole is scaled to a random length.
    """
    k = np.arange(1, 5)
    x = (np.sin(np.pi * k * np.linspace(0, 1, 64)[:, None]) / k) @ rng.standard_normal((n, 4, 2))
    x -= x.mean(axis=1, keepdims=True)
    return x * (rng.uniform(5, 10, n) / path_length(x))[:, None, None]


def walks(n: int, rng: np.random.Generator) -> Float[np.ndarray, "n 40 2"]:
    """Smooth random paths in the plane, in metres, of various lengths."""
    turns = np.cumsum(rng.normal(0, 0.15, (n, 39)), axis=1) + rng.uniform(0, 2 * np.pi, (n, 1))
    steps = rng.uniform(0.02, 0.1, (n, 1, 1)) * np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    return np.concatenate([np.zeros((n, 1, 2)), np.cumsum(steps, axis=1)], axis=1)


def _exercise(number):
    def register(check):
        CHECKS[number] = check
        return check

    return register


def _expect(condition, hint):
    if not condition:
        raise NotYet(hint)


def _real(values, shape=()):
    """``values`` as an array of finite real numbers of a shape."""
    array = np.asarray(values)
    expected = f"an array of shape {shape}" if shape else "one number"
    _expect(array.shape == shape, f"Expected {expected}, got shape {array.shape}.")
    _expect(array.dtype.kind in "iuf" and np.isfinite(array).all(), "Expected finite real numbers.")
    return array.astype(float)


def _too(given, right):
    return f"too {'large' if given > right else 'small'}"


def _path_deviation(x, y):
    """Root mean square over positions of the distance between two paths, (n,)."""
    return np.sqrt(((y - x) ** 2).sum(axis=-1).mean(axis=1))


def _with_errors(answer, x, r, size, rng):
    """``x`` with errors, and the growth rates that an answer measures in it; they are ``r`` without."""
    off = np.abs(_real(answer(x.copy()), r.shape) - r).max()
    _expect(off <= 1e-6, f"On exact trajectories it is off by up to {off:.2g}.")
    noisy = x + size * rng.standard_normal(x.shape)
    return noisy, _real(answer(noisy.copy()), r.shape)


@_exercise("01.1")
def _two_distances(answer):
    given, right = _real(answer, (2,)), np.array([0.1, 0.05])
    _expect(np.abs(given[::-1] - right).max() > 1e-3, "Both numbers occur, but in the other order.")
    for name, value, expected in zip(("total variation", "Wasserstein-1"), given, right, strict=True):
        _expect(abs(value - expected) <= 1e-3, f"The {name} distance is {_too(value, expected)}.")


@_exercise("01.2")
def _sampling_floor(answer):
    rng = np.random.default_rng(0)
    for bins, n, data in ((5, 400, 1000), (40, 8192, 20_000)):
        known = rng.multinomial(data, np.full(bins, 1 / bins), size=4000) / data
        simulated = 0.5 * np.abs(rng.multinomial(n, known) / n - 1 / bins).sum(axis=1).mean()
        ratio = _real(answer(bins, n, data)) / simulated
        _expect(abs(ratio - 2) > 0.05, "You forgot the factor 1/2 of the total variation.")
        _expect(abs(ratio - 1) <= 0.05, f"It is {_too(ratio, 1)} for {bins} bins, n = {n}, data = {data}.")


@_exercise("01.3")
def _measurement_with_little_error(answer):
    task, rng = load("logistic", low=3.0, high=4.0), np.random.default_rng(0)
    r = rng.uniform(3, 4, 2000)
    x, given = _with_errors(answer, task.generate(r, rng)[..., 0], r, 0.02, rng)
    share = np.sqrt(np.mean((given - r) ** 2) / np.mean((task.measure(x[..., None]) - r) ** 2))
    _expect(share <= 0.8, f"With errors it is off by {share:.2f} of what least squares is off by.")


@_exercise("02.1")
def _bias_of_kinetic_energy(answer):
    for T, dt, s in ((3, 0.5, 1.0), (32, 2.0, 0.3)):
        ratio = _real(answer(T, dt, s)) / ((T - 1) * (s / dt) ** 2)
        _expect(abs(ratio - 2) > 0.03, "You forgot the factor 1/2 of the kinetic energy.")
        _expect(abs(ratio - 0.5) > 0.03, "It is half as large as it should be: both ends of a step err.")
        _expect(abs(ratio - 1) <= 0.03, f"For T = {T}, dt = {dt}, s = {s} it is {_too(ratio, 1)}.")


@_exercise("02.2")
def _transition_without_drift(answer):
    for p in (np.exp(-0.5 * np.linspace(-2, 2, 12) ** 2), np.array([1.0, 4, 2, 1, 3, 6, 1])):
        p, n = p / p.sum(), len(p)
        T, (i, j) = _real(answer(p.copy()), (n, n)), np.indices((n, n))
        rows = T.min() > -1e-12 and np.allclose(T.sum(axis=1), 1, rtol=0, atol=1e-9)
        _expect(rows, "Rows must hold probabilities that sum to 1: T[i, j] leads from bin i to bin j.")
        _expect(T[abs(i - j) > 1].max() < 1e-12, "It leads from some bin to one that is not next to it.")
        taken = 1 - p @ np.diag(T)
        _expect(taken >= 0.1, f"It takes {taken:.1%} of the mass to another bin; at least 10% is required.")
        drift = total_variation(p, p @ T / (p @ T).sum())
        _expect(drift < 1e-9, f"Its forecast drifts by {drift:.2g}: count what crosses between two bins.")


@_exercise("02.3")
def _measurement_with_little_drift(answer):
    task, prior, rng = load("logistic"), scipy.stats.uniform(3.5, 0.5), np.random.default_rng(0)
    r = prior.ppf((np.arange(6000) + 0.5) / 6000)
    x, given = _with_errors(answer, task.generate(r, rng)[..., 0], r, 0.03, rng)
    isolated = np.abs(_real(answer(x[5:12].copy()), (7,)) - given[5:12]).max() < 1e-8
    _expect(isolated, "It measures a trajectory otherwise when other trajectories are given beside it.")
    correlation = np.corrcoef(given, r)[0, 1]
    _expect(correlation >= 0.8, f"Its correlation with r is {correlation:.2f}; at least 0.8 is required.")
    share = wasserstein(given, prior) / wasserstein(task.measure(x[..., None]), prior)
    _expect(share <= 2 / 3, f"Its drift is {share:.0%} of that of least squares; at most 67% is allowed.")


@_exercise("03.1")
def _length_of_a_rest(answer):
    ratio = _real(answer) / (63 * 0.01 * np.sqrt(np.pi))
    _expect(abs(ratio - 64 / 63) > 0.004, "Very close: count the steps, not the positions.")
    _expect(abs(ratio - 0.5**0.5) > 0.01, "It is too small: both ends of a step have an error.")
    _expect(abs(ratio - 1) <= 0.005, f"It is {_too(ratio, 1)}; a step has an error in two directions.")


@_exercise("03.2")
def _correlated_errors(answer):
    length = np.array([0.0, 0.004, 0.02, 0.1, 0.5])
    for s, rho in ((0.01, 0.9), (0.002, -0.5)):
        given = _real(answer(length.copy(), s, rho), length.shape)
        variance = 2 * s**2 * (1 - rho)
        u = length**2 / (2 * variance)
        bessel = (1 + u) * scipy.special.i0e(u / 2) + u * scipy.special.i1e(u / 2)
        added = np.sqrt(np.pi * variance / 2) * bessel - length  # Rice's distribution
        for where, ratio in zip(length, (given - length) / added, strict=True):
            said = f"For s = {s} m and rho = {rho}, what the errors add to a step of {where} m"
            _expect(abs(ratio - 1) <= 0.02, f"{said} is {_too(ratio, 1)}.")


@_exercise("03.3")
def _deviation_without_drift(answer):
    x = smooth_paths(1500, np.random.default_rng(3))
    y, other = (_real(answer(x.copy(), np.random.default_rng(seed)), x.shape) for seed in (4, 5))
    _expect(np.abs(y - x)[:, [0, -1]].max() <= 1e-3, "Start and goal must stay within 1 mm.")
    size = np.median(_path_deviation(x, y))
    _expect(0.03 <= size <= 0.1, f"A typical path moves by {100 * size:.2g} cm; expected 3 to 10 cm.")
    differ = _path_deviation(y, other).mean() >= size / 2
    _expect(differ, "Two generators give nearly the same deviations: draw them from rng.")
    error = np.random.default_rng(6).standard_normal(x.shape)
    error[:, [0, -1]] = 0
    independent = x + size * error / np.median(_path_deviation(0, error))
    before, after, most = (np.sort(path_length(some)) for some in (x, y, independent))
    share = np.abs(after - before).mean() / np.abs(most - before).mean()
    _expect(share <= 0.05, f"The drift is {share:.0%} of that by independent errors; at most 5% is allowed.")


@_exercise("04.1")
def _noise_on_angles(answer):
    angles = np.array([(0.0, 0.0), (np.pi, 0.0), (0.5, -1.2), (-2.5, 0.4)])
    height = 9.81 * (np.cos(angles) @ [1.25, 0.25])
    for s, hint in ((0.05, "It is off for s = 0.05 rad."), (1.2, "It is right for small errors only.")):
        given = np.array([_real(answer(*pair, s)) for pair in angles])
        _expect(given[0] > 0, "The energy must rise where the pendulum hangs straight down.")
        right = height * (1 - np.exp(-(s**2) / 2))
        _expect(np.abs(given - right).max() <= 1e-3 * right.max(), hint)


@_exercise("04.2")
def _states_of_one_energy(answer):
    task, rng, n = load("pendulum", m2=1.0), np.random.default_rng(4), 20_000

    def of_angles(a1, a2, *_):
        return [np.sin(a1), np.sin(a2), np.cos(a1), np.cos(a2), np.cos(a1 - a2), np.sin(a1 - a2) ** 2]

    def of_velocities(a1, a2, w1, w2):
        return [w1, w2, w1**2, w2**2, w1 * w2, w1 * np.sin(a1 - a2), w2 * np.sin(a1 - a2)]

    for energy in (10.0, 30.0):  # below and above the lowest saddle
        states = _real(answer(energy, n, rng), (n, 4))
        off = np.abs(task.energy(states) / energy - 1).max()
        _expect(off <= 1e-6, f"States for {energy:.0f} J do not have this energy: one is off by {off:.1%}.")
        right = task.start(np.full(5 * n, energy), rng)
        for name, features in (("angles", of_angles), ("velocities", of_velocities)):
            given, expected = np.array(features(*states.T)), np.array(features(*right.T))
            gap = np.abs(given.mean(axis=1) - expected.mean(axis=1)) / expected.std(axis=1)
            close = gap.max() < 5.5 / np.sqrt(n)  # five standard errors of the difference
            _expect(close, f"At {energy:.0f} J the distribution of the {name} is off.")


@_exercise("04.3")
def _repaired_motions(answer):
    task, rng = load("pendulum"), np.random.default_rng(4)
    curated = 1 + 5 * (np.arange(400) + 0.5) / 400
    motions = task.integrate(task.start(curated, rng))
    noisy = motions + np.array([0.1, 0.1, 0.5, 0.5]) * rng.standard_normal(motions.shape)

    def faults(states):
        angles, velocities = np.sqrt(((states - motions) ** 2).reshape(-1, 2, 2).mean(axis=(0, 2)))
        energies = task.energy(states)
        drift = np.abs(np.sort(energies.mean(axis=1)) - curated).mean()
        return {
            "error of the angles": (angles, 1),
            "error of the angular velocities": (velocities, 1),
            "spread of the energy along a motion": (energies.std(axis=1).mean(), 0.5),
            "Wasserstein-1 distance of the mean energies": (drift, 0.2),
        }

    before, after = faults(noisy), faults(_real(answer(noisy.copy()), noisy.shape))
    for name, (fault, most) in after.items():
        share = fault / before[name][0]
        _expect(share < most, f"The {name} is {share:.0%} of what it was; less than {most:.0%} is required.")


@_exercise("05.1")
def _weights_of_half_the_data(answer):
    k = _real(answer)
    _expect(k > 0, "Weights that grow with the amplitude have k above 0.")
    share = (2 * k + 1) / (k + 1) ** 2
    _expect(abs(share - 0.5) <= 0.001, f"At this k the effective size is {share:.3f} of the data.")


@_exercise("05.2")
def _bias_of_a_norm(answer):
    a = np.array([0.25, 0.5, 0.9])
    for power, sigma, d in ((0.5, 0.005, 32), (0.8, 0.004, 3), (1.5, 0.003, 8)):
        right = sigma**2 / 2 / power * (1 / power + d - 2) * a ** (1 - 2 * power)
        ratio = _real(answer(a.copy(), power, sigma, d), a.shape) / right
        _expect(np.abs(ratio - 2).max() > 0.03, "You forgot the factor 1/2.")
        # Terms beyond the second order are below 0.5 %.
        close = np.abs(ratio - 1).max() <= 0.015
        _expect(close, f"It is {np.round(ratio, 2)} times the bias for p = {power}, d = {d}.")


@_exercise("05.3")
def _coordinates_for_paths(answer):
    transform, inverse = answer if isinstance(answer, tuple) else (answer.transform, answer.inverse)
    x = smooth_paths(2000, np.random.default_rng(5))
    noise = 0.05 * np.random.default_rng(6).standard_normal(x.shape)
    y = _real(transform(x.copy()), x.shape)
    gap = np.abs(_real(inverse(y[::-2].copy()), x[::-2].shape) - x[::-2]).max()
    _expect(gap <= 1e-5, f"The inverse does not undo the transform: it is off by up to {gap:.2g} m.")
    x_perturbed = _real(inverse(y + y.std(axis=(0, 1)) * noise), x.shape)
    plain = x + x.std(axis=(0, 1)) * noise
    edges = np.array([-np.inf, *np.linspace(5, 10, 26), np.inf])
    before, after, most = (histogram(path_length(some), edges) for some in (x, x_perturbed, plain))
    drift = total_variation(before, after) / total_variation(before, most)
    _expect(drift <= 0.25, f"The drift is {drift:.2f} of that without coordinates; at most 0.25 is allowed.")
    way = _path_deviation(x, x_perturbed).mean() / _path_deviation(x, plain).mean()
    _expect(way <= 0.75, f"The drift is small enough, but paths move {way:.2f} times as far as without.")


@_exercise("06.1")
def _displacement(answer):
    x = np.random.default_rng(1).normal(size=(5, 7, 3))
    right = np.sqrt(((x[:, 6] - x[:, 0]) ** 2).sum(axis=1))
    off = np.abs(_real(answer(x.copy()), (5,)) - right).max()
    _expect(off < 1e-6, f"The distances are off for trajectories of shape {x.shape}.")


@_exercise("06.2")
def _permutation_test(answer):
    rng = np.random.default_rng(2)

    def p_value(ours, theirs):
        return _real(answer(ours, theirs, lambda a, b: abs(np.mean(a) - np.mean(b)), rng))

    far = p_value(rng.normal(size=30), rng.normal(size=30) + 3)
    _expect(0 < far <= 0.05, f"Samples that are far apart get {far:.2g}; expected a small p-value above 0.")
    same = [p_value(rng.normal(size=12), rng.normal(size=20)) for _ in range(60)]
    even = min(same) > 0 and scipy.stats.kstest(same, "uniform").pvalue >= 1e-3
    _expect(even, "For samples of one distribution the p-values are not spread evenly between 0 and 1.")


@_exercise("06.3")
def _length_without_jitter(answer):
    rng = np.random.default_rng(3)
    x = walks(400, rng)
    jittered = x + 0.02 * rng.normal(size=x.shape)
    clean, perturbed = (_real(answer(some.copy()), (400,)) for some in (x, jittered))
    ranks = scipy.stats.spearmanr(clean, path_length(x)).statistic
    _expect(ranks >= 0.9, f"Its rank correlation with the length is {ranks:.2f}; at least 0.9 is required.")
    bias = abs((perturbed - clean).mean()) / clean.std()
    most = (path_length(jittered) - path_length(x)).mean() / path_length(x).std() / 4
    _expect(bias <= most, f"Jitter moves it by {bias:.2f} standard deviations; at most {most:.2f} allowed.")
