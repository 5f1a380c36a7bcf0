"""What the errors of a model will do to a quantity, before any is trained: the forecast of an audit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from physmis.audit.measurements import MIN_TRAJECTORIES, Measurement, Ragged, Trajectories
from physmis.audit.preparation import measured, resample
from physmis.audit.report import QuantityForecast
from physmis.coordinates.maps import Filter, Identity, Increments
from physmis.coordinates.search import KernelCoordinates
from physmis.drift.intervals import Interval
from physmis.drift.metrics import Edges, Shares, bin_of
from physmis.kernels.kernels import IsotropicKernel, Kernel, TangentKernel, spread_of
from physmis.kernels.transition import transition

KERNEL_TRAJECTORIES = 4096  # most that a kernel sees
KERNEL_STEPS = 64  # most time steps of each
TOTAL_STEPS = 2**20  # most time steps of all of them, at their full length
UNMEASURABLE = float(np.finfo(float).max)  # for a quantity that is not finite, which kernels refuse
CANDIDATES = {"filtered, Filter(0.5)": Filter(0.5), "increments, Increments()": Increments()}


class Errors(Kernel):
    """The errors that an audit expects of a model: along the data, and then a little in all directions.

    ``scale``, in standard deviations of each channel, is how far trained models stay from their data on the
    sine. It was matched to nothing else, and to no quantity that is audited.
    """

    def __init__(self, y: Trajectories, scale: float = 0.0125):
        self.tangent = TangentKernel(y, reach=0.1)
        self.isotropic = IsotropicKernel(scale, spread_of(y))

    def deviate(self, x, rng):
        return self.isotropic.deviate(self.tangent.deviate(x, rng), rng)


def forecast(
    trajectories: Ragged,
    measure: Measurement,
    kernel: Callable[[Trajectories], Kernel],
    own_edges: Edges,
    edges: Edges,
    before: Shares,
    rng: np.random.Generator,
    tell: Callable[[str], None],
) -> QuantityForecast:
    """The distribution over ``edges`` that the kernel's errors make of ``before``.

    Total variations are over ``own_edges``, which do not depend on what was generated. Channels that are
    constant stay so. ``tell`` is called before each of the coordinates. Raises ValueError where a forecast
    cannot be made; other coordinates need not fit the data, and have NaN then.
    """
    lengths = np.array([len(one) for one in trajectories])
    count = max(MIN_TRAJECTORIES, min(KERNEL_TRAJECTORIES, int(TOTAL_STEPS / lengths.mean())))
    seen = [trajectories[k].astype(float) for k in np.sort(rng.permutation(len(trajectories))[:count])]
    steps = int(min(KERNEL_STEPS, np.median(lengths)))
    whole = np.stack([resample(one, steps) for one in seen])
    varies = np.ptp(whole, axis=(0, 1)) > 0
    varies |= not varies.any()
    x = whole[..., varies]
    noise = int(rng.integers(2**32))  # the same in all coordinates, so that they differ by nothing else

    def measure_perturbed(perturbed):
        """The quantity of the trajectories at full length, with the errors of ``perturbed`` added."""
        error = np.zeros_like(whole)
        error[..., varies] = perturbed - x
        full = [one + resample(each, len(one)) for one, each in zip(seen, error, strict=True)]
        return np.nan_to_num(measured(full, measure), nan=UNMEASURABLE)

    def values_in(coordinates):
        """The quantity before and after the kernel's errors in ``coordinates``, where both are measurable."""
        found = KernelCoordinates.of(coordinates, x, measure_perturbed, kernel, seed=noise)
        kept = (found.z != UNMEASURABLE) & (found.z_perturbed != UNMEASURABLE)
        if kept.sum() < MIN_TRAJECTORIES:
            expected = f"expected {MIN_TRAJECTORIES} measurable after a kernel's errors"
            raise ValueError(f"{expected}, got {kept.sum()}")
        return found.z[kept], found.z_perturbed[kept]

    tell("forecast")
    own = values_in(Identity())
    tv, floor = _tv_and_floor(*own, own_edges, rng)
    coordinates = {"as they are": tv}
    for name, candidate in CANDIDATES.items():
        tell(f"forecast, {name}")
        try:
            coordinates[name] = _tv_and_floor(*values_in(candidate), own_edges, rng)[0]
        except ValueError:
            coordinates[name] = np.nan
    moves = transition(*own, edges)
    return QuantityForecast(before @ moves.matrix, tv, floor, moves.bias, coordinates)


def _tv_and_floor(z, z_perturbed, edges, rng):
    """Total variation between paired values before and after, and with each step either way at random."""
    bins = np.eye(len(edges) - 1)
    step = bins[bin_of(z_perturbed, edges)] - bins[bin_of(z, edges)]
    either = rng.choice([-1.0, 1.0], size=(200, len(z))) @ step / len(z)
    null = 0.5 * np.abs(either).sum(axis=1)
    tv = float(0.5 * np.abs(step.sum(axis=0)).sum() / len(z))
    return tv, Interval(float(null.mean()), *np.percentile(null, [2.5, 97.5]).tolist())
