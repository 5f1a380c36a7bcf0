"""Coordinates chosen by a kernel: what a model's errors would do to the quantity, before any is trained.

A model that sees y = phi(x) deviates in y. Pushed back and measured, its deviations move the law of the
quantity; the coordinates are balanced where what moves up and what moves down weigh the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from physmis import checks
from physmis.coordinates.families import Family
from physmis.coordinates.maps import INSIDE, Coordinates, Ratios, check_invertible
from physmis.kernels.kernels import Kernel, Measurement
from physmis.kernels.transition import measured

BINS = 40  # of equal mass in the data, and an eighth of them beyond each end

# Of `learn_ratios`. Windows are short because small changes grow from step to step, and gradients with them.
WINDOWS, WINDOW, DEVIATION, ITERATIONS = 1024, 8, 0.01, 60


@dataclass(frozen=True, eq=False)
class KernelCoordinates(Coordinates):
    """Coordinates, and what a kernel does to the quantity of data in them.

    Attributes
    ----------
    coordinates : the map phi.
    z, landed : the quantity before and after a deviation, (n,) each.
    moved : the trajectories after a deviation, (n, T, C).
    """

    name = "kernel coordinates"
    coordinates: Coordinates
    z: Float[np.ndarray, "n"]
    landed: Float[np.ndarray, "n"]
    moved: Float[np.ndarray, "n T C"]

    @classmethod
    def of(
        cls,
        coordinates: Coordinates,
        x: Float[np.ndarray, "n T C"],
        measure: Measurement,
        kernel: Callable[[Float[np.ndarray, "n T C"]], Kernel],
        seed: int = 0,
    ) -> KernelCoordinates:
        """What a kernel does in given ``coordinates`` to data ``x``.

        Parameters
        ----------
        measure : maps trajectories (n, T, C) to the quantity (n,).
        kernel : makes a data deviation kernel from transformed data, such as
            ``lambda y: IsotropicKernel(0.02, y.std(axis=(0, 1)))``.

        Raises
        ------
        ValueError : what `physmis.coordinates.check_invertible` refuses; or the measurement is constant on
            ``x``, or not finite on it or where deviations land.
        """
        x = checks.trajectories(x)
        if len(x) == 0:
            raise ValueError(f"one trajectory or more wanted, got shape {x.shape}")
        z = measured(measure, x)
        if np.ptp(z) == 0:
            raise ValueError(f"the measurement is {z[0]:g} for all trajectories; one that varies wanted")
        y = check_invertible(coordinates, x)
        moved = coordinates.inverse(kernel(y).deviate(y, np.random.default_rng(seed)))
        return cls(coordinates, z, measured(measure, moved), moved)

    @classmethod
    def fit(
        cls,
        x: Float[np.ndarray, "n T C"],
        measure: Measurement,
        kernel: Callable[[Float[np.ndarray, "n T C"]], Kernel],
        family: Family,
        evaluations: int = 40,
        seed: int = 0,
    ) -> KernelCoordinates:
        """The coordinates of a family with the least forecast `distance`, which has no bins and so no steps.

        A simplex search (Nelder and Mead 1965) with the same noise in each of ``evaluations``; later
        coordinates in which the measurement fails count as infinitely bad.

        Raises
        ------
        ValueError : what `of` refuses where the search begins.
        """
        start = np.zeros(family.numbers)
        best = cls.of(family.make(start), x, measure, kernel, seed)

        def cost(numbers):
            nonlocal best
            try:
                found = cls.of(family.make(numbers), x, measure, kernel, seed)
            except (ValueError, OverflowError):
                return np.inf
            best = min(best, found, key=lambda one: one.distance)
            return found.distance

        simplex = np.vstack([start, start + 0.4 * np.eye(family.numbers)])
        minimize(
            cost, start, method="Nelder-Mead", options={"maxfev": evaluations, "initial_simplex": simplex}
        )
        return best

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

    def config(self):
        return self.coordinates.config()

    def transform(self, x):
        return self.coordinates.transform(x)

    def inverse(self, y):
        return self.coordinates.inverse(y)


def rank(
    candidates: Sequence[Coordinates],
    x: Float[np.ndarray, "n T C"],
    measure: Measurement,
    kernel: Callable[[Float[np.ndarray, "n T C"]], Kernel],
    seed: int = 0,
) -> list[KernelCoordinates]:
    """`KernelCoordinates.of` each candidate, least forecast drift first."""
    found = [KernelCoordinates.of(c, x, measure, kernel, seed) for c in candidates]
    return sorted(found, key=lambda one: one.drift)


def learn_ratios(
    x: Float[np.ndarray, "n T 1"],
    measure: Callable[[Float[Tensor, "T 1"]], Float[Tensor, ""]],
    low: float,
    high: float,
    seed: int = 0,
) -> Ratios:
    """The `Ratios` in which small isotropic errors change the quantity least, by gradient descent.

    1,024 windows of 8 steps are deviated in y, the first step of each by a hundredth of the standard
    deviation of x, the others by a hundredth of that of y, and mapped back; what leaves the range is held at
    its end. With d = m(x') - m(x), in units of a hundredth of the spread of the quantity, the mean of
    log(d^2 + 0.1) is made small: a logarithm, so that windows that go astray do not rule. BFGS begins at the
    identity; its gradients go through the deviations, the inverse map and the measurement. The numbers found
    are rounded to six decimals.

    Parameters
    ----------
    measure : the quantity of one trajectory, differentiable, for windows of any length.
    low, high : range of the values, outside of which there are no data.

    Raises
    ------
    ValueError : trajectories of several channels, of fewer steps than a window, not finite, or beyond low and
        high; the measurement is constant; or nothing was found.
    """
    x = checks.real(x, "trajectories")
    if x.ndim != 3 or not len(x) or x.shape[1] < WINDOW or x.shape[2] != 1:
        raise ValueError(f"trajectories of shape (n, T >= {WINDOW}, 1) wanted, got {x.shape}")
    x = torch.tensor(checks.trajectories(x))
    if x.min() < low or x.max() > high:
        raise ValueError(f"values within {low:g} and {high:g} wanted, got {x.min():g} to {x.max():g}")
    measure = torch.func.vmap(measure)
    rng = np.random.default_rng(seed)
    rows, begin = rng.integers(len(x), size=WINDOWS), rng.integers(x.shape[1] - WINDOW + 1, size=WINDOWS)
    windows = x[rows[:, None], begin[:, None] + np.arange(WINDOW)]
    noise = DEVIATION * torch.as_tensor(rng.normal(size=windows.shape))
    first = (windows[:, 0] + noise[:, 0] * x.std()).clamp(low, high)
    target = measure(windows)
    unit = DEVIATION * target.std()
    if not unit > 0:
        raise ValueError("the measurement is the same for all trajectories; one that varies wanted")

    def imbalance(numbers):
        a, b, c, d = numbers = torch.tensor(numbers, requires_grad=True)

        def curve(values):
            u = ((values - low) / (high - low)).clamp(INSIDE, 1 - INSIDE)
            return (a * u.log() + b * (1 - u).log() + c * u + d * u**2).exp()

        y = windows[:, 1:] / curve(windows[:, :-1])
        moved = [first]
        for t in range(1, WINDOW):
            step = (y[:, t - 1] + noise[:, t] * y.std()) * curve(moved[-1])
            moved.append(step.clamp(low, high))
        loss = torch.log(((measure(torch.stack(moved, dim=1)) - target) / unit) ** 2 + 0.1).mean()
        loss.backward()
        return loss.item(), numbers.grad.numpy()

    found = minimize(imbalance, np.zeros(4), jac=True, method="BFGS", options={"maxiter": ITERATIONS})
    if not np.isfinite(found.fun):
        raise ValueError("the measurement or its derivative is not finite on windows of these trajectories")
    a, b, c, d = (round(value, 6) for value in found.x.tolist())
    return Ratios((a, b), (c, d), low, high)
