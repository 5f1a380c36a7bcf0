"""Coordinates chosen by a kernel: what a model's errors would do to the quantity, before any is trained.

A model that sees y = phi(x) deviates in y. Mapped back and measured, its deviations change the distribution
of the quantity; the coordinates are balanced where what goes up and what goes down weigh the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from physmis import checks
from physmis.coordinates.maps import INSIDE, Coordinates, Ratios, check_invertible
from physmis.drift.metrics import histogram, total_variation
from physmis.kernels.kernels import Kernel, Measurement
from physmis.kernels.transition import measured
from physmis.tasks.base import Quantity

# Of `learn_ratios`. Windows are short because small changes grow from step to step, and gradients with them.
WINDOWS, WINDOW, DEVIATION, ITERATIONS = 1024, 8, 0.01, 60


@dataclass(frozen=True, eq=False)
class KernelCoordinates(Coordinates):
    """Coordinates, and what a kernel does to the quantity of data in them.

    Attributes
    ----------
    coordinates : the map phi.
    z, z_perturbed : the quantity before and after a deviation, (n,) each.
    x_perturbed : the trajectories after a deviation, (n, T, C).
    """

    name = "kernel coordinates"
    coordinates: Coordinates
    z: Float[np.ndarray, "n"]
    z_perturbed: Float[np.ndarray, "n"]
    x_perturbed: Float[np.ndarray, "n T C"]

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
        measure : maps trajectories (n, T, C) to the quantity (n,), which must vary.
        kernel : makes a data deviation kernel from transformed data, such as
            ``lambda y: IsotropicKernel(0.02, y.std(axis=(0, 1)))``.
        """
        x = checks.trajectories(x)
        y = check_invertible(coordinates, x)
        z = measured(measure, x)
        if np.ptp(z) == 0:
            raise ValueError(f"expected a measurement that varies, got {z[0]:g} for all trajectories")
        x_perturbed = coordinates.inverse(kernel(y).deviate(y, np.random.default_rng(seed)))
        return cls(coordinates, z, measured(measure, x_perturbed), x_perturbed)

    @property
    def drift(self) -> float:
        """Forecast total variation between z' and z, over bins of equal mass of z (see `Quantity.bins`)."""
        quantiles = SimpleNamespace(ppf=lambda shares: np.unique(np.quantile(self.z, shares)))
        edges = Quantity("", "", "", quantiles).bins()
        # A bin is open above, but the largest of ``z`` belongs to the range.
        edges = np.where(edges == self.z.max(), np.nextafter(edges, np.inf), edges)
        return float(total_variation(histogram(self.z, edges), histogram(self.z_perturbed, edges)))

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

    Windows of ``x`` (values from ``low`` to ``high``) are perturbed in y by 1 % of a standard deviation and
    mapped back. With d = m(x') - m(x) in 1 % of the spread of the quantity, BFGS makes the mean of
    log(d^2 + 0.1) small, in which windows that go astray do not rule. ``measure`` is differentiable.
    """
    x = torch.tensor(checks.trajectories(x, channels=1))
    measure = torch.func.vmap(measure)
    rng = np.random.default_rng(seed)
    rows, begin = rng.integers(len(x), size=WINDOWS), rng.integers(x.shape[1] - WINDOW + 1, size=WINDOWS)
    windows = x[rows[:, None], begin[:, None] + np.arange(WINDOW)]
    noise = DEVIATION * torch.as_tensor(rng.normal(size=windows.shape))
    first = (windows[:, 0] + noise[:, 0] * x.std()).clamp(low, high)
    target = measure(windows)
    unit = DEVIATION * target.std()

    def imbalance(numbers):
        a, b, c, d = numbers = torch.tensor(numbers, requires_grad=True)

        def curve(values):
            u = ((values - low) / (high - low)).clamp(INSIDE, 1 - INSIDE)
            return (a * u.log() + b * (1 - u).log() + c * u + d * u**2).exp()

        y = windows[:, 1:] / curve(windows[:, :-1])
        perturbed = [first]
        for t in range(1, WINDOW):
            step = (y[:, t - 1] + noise[:, t] * y.std()) * curve(perturbed[-1])
            perturbed.append(step.clamp(low, high))
        loss = torch.log(((measure(torch.stack(perturbed, dim=1)) - target) / unit) ** 2 + 0.1).mean()
        loss.backward()
        return loss.item(), numbers.grad.numpy()

    found = minimize(imbalance, np.zeros(4), jac=True, method="BFGS", options={"maxiter": ITERATIONS})
    a, b, c, d = (round(value, 6) for value in found.x.tolist())
    return Ratios((a, b), (c, d), low, high)
