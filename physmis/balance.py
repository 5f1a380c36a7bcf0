"""Coordinates chosen by a kernel: what a model's errors would do to the quantity, before any is trained.

A model that sees y = phi(x) deviates in y. Pushed back and measured, its deviations move the law of the
quantity; the coordinates are balanced where what moves up and what moves down weigh the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from physmis.coordinates import Coordinates, Family
from physmis.kernels import Kernel, Measurement, measured

EXACT = 1e-5  # of the standard deviation of the data: how well phi must be undone
BINS = 40  # of equal mass in the data, and an eighth of them beyond each end


@dataclass(frozen=True)
class Balance:
    """What a kernel does to the quantity of data, in some coordinates.

    z, landed : the quantity before and after a deviation, (n,) each.
    """

    coordinates: Coordinates
    z: Float[np.ndarray, "n"]
    landed: Float[np.ndarray, "n"]

    @property
    def drift(self) -> float:
        """Forecast total variation between the laws of ``landed`` and ``z``, over bins of equal mass."""
        edges = np.unique(np.quantile(self.z, np.linspace(0, 1, BINS + 1)))
        steps = np.arange(1, BINS // 8 + 1)
        beyond = [-np.inf, *(edges[0] - steps[::-1] * (edges[1] - edges[0]))]
        above = [*(edges[-1] + steps * (edges[-1] - edges[-2])), np.inf]
        # A bin is open above, but the largest of ``z`` belongs to the range.
        edges = np.concatenate([beyond, edges[:-1], [np.nextafter(edges[-1], np.inf)], above])
        laws = [np.histogram(values, edges)[0] / len(values) for values in (self.z, self.landed)]
        return float(0.5 * np.abs(laws[1] - laws[0]).sum())

    @property
    def distance(self) -> float:
        """Forecast Wasserstein-1 distance of the two laws, against the range of ``z``."""
        gap = np.abs(np.sort(self.landed) - np.sort(self.z)).mean()
        return float(gap / np.ptp(self.z))


def balance(
    coordinates: Coordinates,
    x: Float[np.ndarray, "n T C"],
    measure: Measurement,
    kernel: Callable[[Float[np.ndarray, "n T C"]], Kernel],
    seed: int = 0,
) -> Balance:
    """The `Balance` of ``coordinates`` on data ``x``.

    Parameters
    ----------
    measure : maps trajectories (n, T, C) to the quantity (n,).
    kernel : makes a data deviation kernel from transformed data, such as
        ``lambda y: IsotropicKernel(0.02, y.std(axis=(0, 1)))``.

    Raises
    ------
    ValueError : the coordinates do not undo themselves on ``x`` within 1e-5 of its standard deviation; the
        measurement is constant on ``x``, or not finite on it or where deviations land.
    """
    x = np.asarray(x, dtype=float)
    z = measured(measure, x)
    if np.ptp(z) == 0:
        raise ValueError(f"the measurement is {z[0]:g} for all trajectories; one that varies wanted")
    y = coordinates.transform(x)
    worst = np.abs(coordinates.inverse(y) - x).max() if np.isfinite(y).all() else np.inf
    if not worst <= EXACT * x.std():
        raise ValueError(
            f"coordinates '{coordinates.name}' are not invertible on these data: off by {worst:g}, and "
            f"{EXACT * x.std():g} is allowed"
        )
    moved = coordinates.inverse(kernel(y).deviate(y, np.random.default_rng(seed)))
    return Balance(coordinates, z, measured(measure, moved))


def rank(
    candidates: Sequence[Coordinates],
    x: Float[np.ndarray, "n T C"],
    measure: Measurement,
    kernel: Callable[[Float[np.ndarray, "n T C"]], Kernel],
    seed: int = 0,
) -> list[Balance]:
    """The `balance` of each candidate, least forecast drift first."""
    return sorted((balance(c, x, measure, kernel, seed) for c in candidates), key=lambda b: b.drift)


def fit(
    family: Family,
    x: Float[np.ndarray, "n T C"],
    measure: Measurement,
    kernel: Callable[[Float[np.ndarray, "n T C"]], Kernel],
    evaluations: int = 40,
    seed: int = 0,
) -> Balance:
    """The best balanced coordinates of a family: least forecast `Balance.distance`.

    A simplex search (Nelder and Mead 1965) with the same noise in each of ``evaluations``; later coordinates
    in which the measurement fails count as infinitely bad.

    Raises
    ------
    ValueError : what `balance` refuses where the search begins.
    """
    start = np.zeros(family.numbers)
    tried = [balance(family.make(start), x, measure, kernel, seed)]

    def cost(numbers):
        try:
            tried.append(balance(family.make(numbers), x, measure, kernel, seed))
        except (ValueError, OverflowError):
            return np.inf
        return tried[-1].distance

    simplex = np.vstack([start, start + 0.4 * np.eye(family.numbers)])
    minimize(cost, start, method="Nelder-Mead", options={"maxfev": evaluations, "initial_simplex": simplex})
    return min(tried, key=lambda found: found.distance)
