"""Coordinates chosen by a kernel: what a model's errors would do to the quantity, before any is trained.

A model that sees y = phi(x) deviates in y. Mapped back and measured, its deviations change the distribution
of the quantity; the coordinates are balanced where what goes up and what goes down weigh the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from jaxtyping import Float

from physmis import checks
from physmis.coordinates.maps import Coordinates, check_invertible
from physmis.drift.metrics import histogram, total_variation
from physmis.kernels.kernels import Kernel, Measurement
from physmis.kernels.transition import measured
from physmis.tasks.base import Quantity


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
