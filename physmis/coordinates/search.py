"""Coordinates chosen by a kernel: what a model's errors would do to the quantity, before any is trained.

They are balanced where deviations of y, mapped back, raise the measured quantity as much as they lower it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from physmis import checks
from physmis.coordinates.maps import INSIDE, Coordinates, Ratios, check_invertible
from physmis.drift.metrics import Values, histogram, total_variation
from physmis.kernels.kernels import Kernel, Measurement, Trajectories
from physmis.kernels.transition import measured
from physmis.tasks.base import with_bins_beyond

# Windows are short because small changes grow from step to step, and gradients with them.
WINDOWS, WINDOW, DEVIATION = 1024, 8, 0.01
KernelOf = Callable[[Trajectories], Kernel]


@dataclass(frozen=True, eq=False)
class KernelCoordinates:
    """What a kernel does, in given ``coordinates``, to trajectories (``x_perturbed``) and their quantity."""

    coordinates: Coordinates
    z: Values
    z_perturbed: Values
    x_perturbed: Trajectories

    @classmethod
    def of(
        cls, coordinates: Coordinates, x: Trajectories, measure: Measurement, kernel: KernelOf, seed: int = 0
    ) -> KernelCoordinates:
        """What ``kernel(y)`` does, such as ``lambda y: IsotropicKernel(0.02, y.std(axis=(0, 1)))``."""
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
        edges = with_bins_beyond(np.unique(np.quantile(self.z, np.linspace(0, 1, 21))), 2)
        # A bin is open above, but the largest of ``z`` belongs to the range.
        edges = np.where(edges == self.z.max(), np.nextafter(edges, np.inf), edges)
        return float(total_variation(histogram(self.z, edges), histogram(self.z_perturbed, edges)))


def learn_ratios(
    x: Trajectories, measure: Callable[[Tensor], Tensor], low: float, high: float, seed: int = 0
) -> Ratios:
    """The `Ratios` in which small isotropic errors change the quantity least, by gradient descent.

    Windows of ``x``, whose values are within ``low`` and ``high``, are perturbed in y by 1 % of a standard
    deviation. With d = m(x') - m(x) in 1 % of the spread of the quantity, BFGS makes the mean of
    log(d^2 + 0.1) small, where windows that go astray do not rule. ``measure`` is of one trajectory (T, 1).
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

    found = minimize(imbalance, np.zeros(4), jac=True, method="BFGS", options={"maxiter": 60})
    a, b, c, d = (round(value, 6) for value in found.x.tolist())
    return Ratios((a, b), (c, d), low, high)
