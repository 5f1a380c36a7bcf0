"""Checks of the exercises of notebook 05: weights, the bias of a norm, coordinates for paths."""

from __future__ import annotations

import numpy as np
import scipy.special
from jaxtyping import Float

from physmis.drift.metrics import histogram, total_variation
from physmis.kernels.kernels import IsotropicKernel
from physmis.mitigations import effective_size

SHORTEST, LONGEST = 5.0, 10.0  # m
BINS = 25  # of the length, between the two
ERROR = 0.05  # standard deviations of y
DRIFT, WAY = 0.25, 0.75  # what may be left, as a share of what there is without coordinates
UNDONE = 1e-5  # m: how well a transform must be undone
UNMOVED = 1e-6  # m: a path that errors move less was put back where it was, not mapped back

# Of the bias: powers, standard deviations of the errors in y, numbers in y. Terms beyond the second order are
# below 0.5 % in all of them.
AMPLITUDES = np.array([0.25, 0.5, 0.9])
CASES = (
    (1.0, 0.004, 32),
    (0.5, 0.01, 2),
    (0.5, 0.005, 32),
    (0.8, 0.004, 3),
    (1.5, 0.003, 8),
    (0.7, 0.002, 5),
)


def paths(n: int, rng: np.random.Generator) -> Float[np.ndarray, "n 64 2"]:
    """Smooth ways in the plane in metres, of lengths uniform between 5 and 10 m.

    Each channel is a sum over k = 1 to 4 of sin(pi k t) / k times a normal number, t from 0 to 1, less its
    mean. The whole is enlarged to the length that was drawn.
    """
    k = np.arange(1, 5)
    waves = np.sin(np.pi * k * np.linspace(0, 1, 64)[:, None]) / k
    x = waves @ rng.standard_normal((n, 4, 2))
    x -= x.mean(axis=1, keepdims=True)
    return x * (rng.uniform(SHORTEST, LONGEST, n) / path_length(x))[:, None, None]


def path_length(x: Float[np.ndarray, "n T 2"]) -> Float[np.ndarray, "n"]:
    """Sum of the lengths of the steps, in the unit of ``x``."""
    return np.linalg.norm(np.diff(x, axis=1), axis=-1).sum(axis=1)


def check_weights(k):
    """05.1: the effective size is computed from the weights of a fine grid of amplitudes."""
    if np.shape(k) != () or np.asarray(k).dtype.kind not in "fiu":
        return "One real number is wanted."
    if not np.isfinite(k):
        return "A finite number is wanted."
    if k <= 0:
        return "Weights that grow with the amplitude are wanted: k must be above 0."
    amplitude = (np.arange(100_000) + 0.5) / 100_000
    share = effective_size(amplitude ** float(k))
    if abs(share - 0.5) < 0.001:
        return None
    told = "too even" if share > 0.5 else "too uneven"
    return f"At this k the weights are {told}: the effective size is {share:.3f} of the data."


def check_bias(answer):
    """05.2: the formula is held against the mean over the law of the errors, integrated by Gauss quadrature.

    Across y errors have a squared length of the chi-squared law, along y they are normal.
    """
    if not callable(answer):
        return "A function of a, power, sigma and d is wanted."
    for power, sigma, d in CASES:
        found = answer(AMPLITUDES.copy(), power, sigma, d)
        if np.shape(found) != AMPLITUDES.shape:
            return f"For {len(AMPLITUDES)} amplitudes it returned shape {np.shape(found)}."
        found = np.asarray(found)
        if not (np.isrealobj(found) and np.isfinite(found.astype(float)).all()):
            return "It returned values that are not finite real numbers."
        along, weight = scipy.special.roots_hermitenorm(16)
        across, other = scipy.special.roots_genlaguerre(16, (d - 3) / 2)
        weight = np.outer(weight / weight.sum(), other / other.sum())
        r = AMPLITUDES[:, None, None] ** power
        squared = (r + sigma * along[:, None]) ** 2 + sigma**2 * 2 * across
        wanted = (squared ** (0.5 / power) * weight).sum(axis=(1, 2)) - AMPLITUDES
        ratio = found / wanted
        worst = np.argmax(np.abs(ratio - 1))
        if not abs(ratio[worst] - 1) < 0.015:
            return (
                f"For power {power}, sigma {sigma} and d = {d} it gives {ratio[worst]:.3g} times the bias at "
                f"amplitude {AMPLITUDES[worst]}."
            )
    return None


def check_coordinates(answer):
    """05.3: drift and displacement under isotropic errors in the given coordinates and without any."""
    if hasattr(answer, "transform") and hasattr(answer, "inverse"):
        answer = answer.transform, answer.inverse
    if not isinstance(answer, tuple | list) or len(answer) != 2 or not all(map(callable, answer)):
        return "A pair of functions, (transform, inverse), is wanted."
    transform, inverse = answer
    rng = np.random.default_rng(5)
    x = paths(2000, rng)
    noise, order = rng.integers(2**63), rng.permutation(len(x))[:1500]
    y = transform(x.copy())
    if off := _wrong("transform", y, x.shape):
        return off
    y = np.array(y, dtype=float)
    back = inverse(y[order])  # in another order and number, as a model's samples would come
    if off := _wrong("inverse", back, (len(order), *x.shape[1:])):
        return off
    if not (gap := np.abs(back - x[order]).max()) < UNDONE:
        return f"The inverse does not undo the transform: it is off by up to {gap:.2g} m."
    landed = inverse(_errors(y, noise))
    if off := _wrong("inverse", landed, x.shape):
        return f"{off[:-1]} where y has errors."
    drift, way = _drift_and_way(x, np.asarray(landed, dtype=float))
    plain_drift, plain_way = _drift_and_way(x, _errors(x, noise))
    if way.min() < UNMOVED:
        return "Errors in y leave a path where it was: two different y must not go to the same path."
    if drift > DRIFT * plain_drift:
        return f"The drift is {drift / plain_drift:.2f} of what it is without coordinates."
    if way.mean() > WAY * plain_way.mean():
        return (
            f"The drift is small enough, but paths land at {way.mean() / plain_way.mean():.2f} of the "
            "distance without coordinates."
        )
    return None


def _wrong(name, values, shape):
    """What is off with the shape or the numbers that a function returned; None if nothing is."""
    if np.shape(values) != shape:
        return f"The {name} was given paths of shape {shape} and returned shape {np.shape(values)}."
    if np.iscomplexobj(values) or not np.isfinite(np.asarray(values, dtype=float)).all():
        return f"The {name} returns values that are not finite real numbers."
    return None


def _errors(y, seed):
    """y with errors of `ERROR` standard deviations of each channel."""
    return IsotropicKernel(ERROR, y.std(axis=(0, 1))).deviate(y, np.random.default_rng(seed))


def _drift_and_way(x, landed):
    """Total variation of the lengths before and after, and how far each path lands from where it was [m]."""
    edges = np.array([-np.inf, *np.linspace(SHORTEST, LONGEST, BINS + 1), np.inf])
    before, after = (histogram(path_length(some), edges) for some in (x, landed))
    return total_variation(before, after), np.sqrt(((landed - x) ** 2).sum(axis=-1).mean(axis=1))


CHECKS = {"05.1": check_weights, "05.2": check_bias, "05.3": check_coordinates}
