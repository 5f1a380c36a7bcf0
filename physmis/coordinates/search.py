"""Coordinates chosen by a kernel: what a model's errors would do to the quantity, before any is trained.

They are balanced where deviations of y, mapped back, raise the measured quantity as much as they lower it.
Candidates are drawn at random, from families that depend on the number of channels and on nothing learned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.stats

from physmis import checks
from physmis.coordinates.maps import (
    SHARES,
    Chain,
    Coordinates,
    Filter,
    Increments,
    Innovations,
    NormPower,
    PreEmphasis,
    Ratios,
    Warp,
    check_invertible,
)
from physmis.coordinates.size_maps import EnergyWarp, NormWarp
from physmis.drift.metrics import Values, histogram, total_variation
from physmis.kernels.kernels import Kernel, Measurement, Trajectories, spread_of
from physmis.kernels.transition import measured
from physmis.tasks import Task
from physmis.tasks.base import with_bins_beyond
from physmis.tasks.pendulum import Pendulum

# Families that contain the measured quantity of a task.
KNOWING = {"cone": (NormPower, NormWarp), "logistic": (Ratios,), "pendulum": (EnergyWarp,)}
TRIES = 100  # draws for each candidate that is wanted
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


def candidates(
    x: Trajectories, n: int, rng: np.random.Generator, kept: tuple[int, ...] = (), task: Task | None = None
) -> dict[str, Coordinates]:
    """``n`` random coordinates by name, fitted to trajectories ``x`` of a task; they keep the steps ``kept``.

    Each is of a random family, a third of them followed by a second one. Those not invertible on ``x``
    are drawn anew. Numbers are rounded to six digits, as they become part of an address in the store.
    Raises ValueError where hardly any keep these steps and come back from ``x``.
    """
    families, found = _families(x, rng, task), {}
    for _ in range(TRIES * n):
        drawn = [families[k]() for k in rng.integers(len(families), size=1 + (rng.random() < 1 / 3))]
        made = drawn[0] if len(drawn) == 1 else Chain(*drawn)
        try:
            check_invertible(made, x)
        except ValueError:
            continue
        if set(kept) <= set(made.kept):
            found[f"{len(found)} {', '.join(one.name for one in drawn)}"] = made
        if len(found) == n:
            return found
    raise ValueError(f"expected {n} coordinates that keep steps {kept} and are invertible, got {len(found)}")


def condition_number(coordinates: Coordinates, x: Trajectories) -> float:
    """How unevenly errors of y come back to x: the largest over the least singular value of dx/dy.

    Each channel is in units of its standard deviation over ``x``; the median is over the first eight. At 1
    no error is enlarged more than another.
    """
    y, found = coordinates.transform(x), []
    unit_x, unit_y = (np.broadcast_to(spread_of(one), one.shape[1:]) for one in (x, y))
    steps = 1e-4 * np.eye(y[0].size).reshape(-1, *y.shape[1:]) * unit_y
    for one in y[:8]:
        change = (coordinates.inverse(one + steps) - coordinates.inverse(one - steps)) / unit_x
        singular = np.linalg.svd(change.reshape(len(steps), -1), compute_uv=False)
        found.append(singular[0] / singular[-1])
    return float(np.median(found))


def knows(coordinates: Coordinates, task: Task) -> bool:
    """Whether coordinates contain the measured quantity of a task (see `KNOWING`)."""
    parts = (coordinates.first, coordinates.then) if isinstance(coordinates, Chain) else (coordinates,)
    return any(isinstance(part, KNOWING.get(task.name, ())) for part in parts)


def _families(x, rng, task) -> list[Callable[[], Coordinates]]:
    """One draw of each family that fits the channels."""

    def between(low, high):
        return float(f"{np.exp(rng.uniform(*np.log((low, high)))):.6g}")

    def rounded(values):
        return tuple(float(f"{value:.6g}") for value in values)

    def chi():
        """The distribution of the norm of a Gaussian, in a random number of dimensions."""
        return scipy.stats.chi(between(1.5, 12))

    found = [
        lambda: PreEmphasis(between(0.1, 20), round(rng.uniform(0.25, 1.5), 6)),
        lambda: Filter(round(rng.uniform(-0.5, 1.5), 6)),
        lambda: Increments(between(0.3, 3)),
        lambda: NormPower(between(0.3, 2)),
    ]
    if x.shape[-1] == 1:
        knots = np.quantile(x, SHARES)
        normal = x.std() * scipy.stats.norm.ppf(SHARES)

        def warp():
            """Values a random part of the way to a Gaussian."""
            share = rng.random()
            return Warp(rounded(knots), rounded((1 - share) * knots + share * normal))

        fitted = Innovations.of(x)
        coefficients = tuple(rounded(row) for row in fitted.coefficients)
        norm = np.quantile(np.linalg.norm(x, axis=(1, 2)), SHARES)
        found += [
            warp,
            lambda: Innovations(coefficients, float(f"{fitted.gain * between(0.3, 3):.6g}")),
            lambda: NormWarp(rounded(norm), rounded(chi().ppf(SHARES))),
            lambda: Ratios(
                rounded(rng.uniform(0, 1, 2)), low=rounded([x.min()])[0], high=rounded([x.max()])[0]
            ),
        ]
    if isinstance(task, Pendulum) and task.coordinates == "angles":
        prior = task.quantity.prior

        def energy():
            made = EnergyWarp.between(prior, chi(), pendulum=task)
            return EnergyWarp(rounded(made.knots), rounded(made.values), task)

        found.append(energy)
    return found
