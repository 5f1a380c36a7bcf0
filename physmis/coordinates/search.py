"""Coordinates chosen by a kernel: what a model's errors would do to the quantity, before any is trained.

They are balanced where deviations of y, mapped back, raise the measured quantity as much as they lower it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from physmis import checks
from physmis.coordinates.maps import Coordinates, check_invertible
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
