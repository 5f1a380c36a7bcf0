"""Transitions T(z' | z) of a quantity by kernels: they forecast q^(z') = integral of p(z) T(z' | z) dz."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from physmis import checks
from physmis.drift.metrics import Edges, Shares, Values, bin_of, distributions
from physmis.kernels.kernels import Kernel, Measurement, Trajectories

UNMEASURABLE = 0.01  # share of draws without a finite measurement that is left out, at most
CHUNK = 4096  # trajectories deviated and measured at once: keeps memory flat however many are given
Matrix = Float[np.ndarray, "bins bins"]


class Transition(NamedTuple):
    """What a kernel does to the quantity, by bin of z.

    matrix : T[i, j], the probability of bin j after bin i; a bin that holds no data keeps its mass.
    bias : mean of z' - z; NaN where a bin holds no data.
    """

    matrix: Matrix
    bias: Float[np.ndarray, "bins"]


def induced_transition(
    kernel: Kernel, measure: Measurement, x: Trajectories, edges: Edges, rng: np.random.Generator
) -> Transition:
    """T(z' | z), the distribution of m(x') given m(x) = z, from one draw x' for each trajectory of ``x``.

    Draws of which ``measure`` makes no finite number are left out with a warning; more than `UNMEASURABLE`
    of them raise ValueError.
    """
    x = checks.real(x, "trajectories")
    if x.ndim != 3 or len(x) == 0:
        raise ValueError(f"expected one trajectory or more of shape (n, T, C), got shape {x.shape}")
    z, z_perturbed = [], []
    for i in range(0, len(x), CHUNK):
        part = x[i : i + CHUNK]
        z_perturbed.append(measured(measure, kernel.deviate(part, rng), finite=False))
        z.append(measured(measure, part))
    z, z_perturbed = np.concatenate(z), np.concatenate(z_perturbed)
    kept = measurable(z_perturbed)
    return transition(z[kept], z_perturbed[kept], edges)


def transition(z: Values, z_perturbed: Values, edges: Edges) -> Transition:
    """The `Transition` that takes each of ``z`` to ``z_perturbed``; ``edges`` must cover both."""
    at, to = bin_of(z, edges), bin_of(z_perturbed, edges)
    if at.shape != to.shape:
        raise ValueError(f"expected as many values after as before, {len(at)}, got {len(to)}")
    bins = len(edges) - 1
    matrix = np.zeros((bins, bins))
    np.add.at(matrix, (at, to), 1)
    count = matrix.sum(axis=1)
    change = np.bincount(at, np.subtract(z_perturbed, z, dtype=float), minlength=bins)
    matrix[count == 0, count == 0] = 1
    with np.errstate(invalid="ignore"):
        bias = change / count
    return Transition(matrix / matrix.sum(axis=1, keepdims=True), bias)


def forecast(p: Shares, transition: Matrix, steps: int = 1) -> Shares:
    """The distribution over bins that ``p`` becomes when ``transition`` is applied ``steps`` times."""
    p, transition = check_transition(p, transition)
    return p @ np.linalg.matrix_power(transition, checks.check_count("steps", steps))


def check_transition(p: Shares, transition: Matrix) -> tuple[Shares, Matrix]:
    """Both in float64. Raises ValueError unless ``p`` and rows of ``transition`` are distributions."""
    p, transition = distributions(p, transition)
    if transition.shape != 2 * p.shape:
        raise ValueError(f"expected a square transition of {p.size} bins, got shape {transition.shape}")
    return p, transition


def measurable(z: Values) -> Bool[np.ndarray, "n"]:
    """Which of ``z`` are finite. Warns of others; ValueError if these are more than `UNMEASURABLE`."""
    kept = np.isfinite(z)
    if bad := int((~kept).sum()):
        if bad > UNMEASURABLE * len(z):
            raise ValueError(
                f"expected finite values of {1 - UNMEASURABLE:.0%} of the draws, got {bad} of {len(z)} not"
            )
        warnings.warn(
            f"left out: {bad} of {len(z)} draws of a kernel have no finite measurement", stacklevel=3
        )
    return kept


def measured(measure: Measurement, x: Trajectories, finite: bool = True) -> Values:
    """``measure(x)`` in float64, checked: one value for each trajectory, and ``finite`` ones."""
    z = np.asarray(checks.real(measure(x), "measurement"), dtype=float)
    bad = np.sum(~np.isfinite(z)) if finite else 0
    if z.shape != (len(x),) or bad:
        raise ValueError(f"expected {len(x)} finite measured values, got shape {z.shape}, {bad} not finite")
    return z
