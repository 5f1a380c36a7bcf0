"""An audit of one's own trajectories: will a model keep the distribution of a quantity, and has it?

Before training, a data deviation kernel forecasts which values a model will make too often or too rarely.
After it, an exact test compares generated trajectories with the demonstrations, or with the curated prior.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from physmis.audit.measurements import Measurement, Ragged, Trajectories, measurement
from physmis.audit.preparation import measured, prepare, resample
from physmis.audit.report import Forecast, Report, Side
from physmis.coordinates.maps import Filter, Identity, Increments
from physmis.coordinates.search import KernelCoordinates
from physmis.drift.intervals import Interval
from physmis.drift.metrics import bin_of, histogram
from physmis.drift.shift_test import LEVEL, bin_edges, shift_test
from physmis.kernels.kernels import IsotropicKernel, Kernel, TangentKernel
from physmis.kernels.transition import transition

MIN_TRAJECTORIES = 20  # on either side
KERNEL_TRAJECTORIES = 4096  # most that a kernel sees
KERNEL_STEPS = 64  # most time steps of each
TOTAL_STEPS = 2**20  # most time steps of all of them, at their full length
UNMEASURABLE = float(np.finfo(float).max)  # for a quantity that is not finite, which kernels refuse
CANDIDATES = {"filtered, Filter(0.5)": Filter(0.5), "increments, Increments()": Increments()}


class Errors(Kernel):
    """The errors that an audit expects of a model: along the data, and then a little in all directions.

    ``scale``, in standard deviations of each channel, is matched to U-Nets on the sine (notebook 05).
    """

    def __init__(self, y: Trajectories, scale: float = 0.0125):
        spread = np.std(y, axis=(0, 1))
        self.tangent = TangentKernel(y, reach=0.1)
        self.isotropic = IsotropicKernel(scale, np.maximum(spread, 1e-9 * spread.max()))

    def deviate(self, x, rng):
        return self.isotropic.deviate(self.tangent.deviate(x, rng), rng)


def audit(
    trajectories: Ragged,
    measure: str | Measurement,
    kernel: Callable[[Trajectories], Kernel] | None = Errors,
    generated: Ragged | None = None,
    prior: Any = None,
    dt: float = 1.0,
    seed: int = 0,
) -> Report:
    """Whether models will keep, or have kept, the distribution of a quantity.

    Parameters
    ----------
    trajectories : 20 or more demonstrations, of any length of 2 or more steps. Steps with NaN in some channel
        count as missing: imputed linearly between others, cut off at the ends.
    measure : a name in `physmis.audit.measurements.MEASUREMENTS`, or a callable from trajectories of equal
        length, (n, T, C), to (n,). Those for which it is not finite are left out and counted.
    kernel : makes the kernel of the forecast from trajectories of equal length; None for no forecast. It sees
        at most 4,096 of them, each at up to 64 moments, and its errors are interpolated between these.
    generated : 20 or more trajectories of a trained model.
    prior : a frozen `scipy.stats` distribution, if not that of the demonstrations was curated.
    dt : time between steps, for measurements by name.
    """
    name = measure if isinstance(measure, str) else getattr(measure, "__name__", "<lambda>")
    quantity, measure = name.replace("<lambda>", "quantity").replace("_", " "), measurement(measure, dt)
    x, ours = _measured(trajectories, "demonstrations", measure)
    sides, z, z_generated = [ours], ours.values, None
    if generated is not None:
        (y, *_), theirs = _measured(generated, "generated trajectories", measure, gaps=False)
        sides, z_generated = [ours, theirs], theirs.values
        if y.shape[1] != x[0].shape[1]:
            raise ValueError(f"expected {x[0].shape[1]} channels of generated trajectories, got {y.shape[1]}")
    if np.ptp(z) <= 1e-13 * np.abs(z).max():  # to rounding
        raise ValueError(f"expected a quantity that varies, got {z[0]:g} for all demonstrations")
    # A stream for each, so that the one does not depend on whether the other is asked for.
    for_forecast, for_curation, for_comparison = np.random.default_rng(seed).spawn(3)
    edges = bin_edges(z, z_generated, prior)
    # Of two tests either may raise a false alarm: each gets half of the level (Bonferroni).
    level = LEVEL if prior is None or generated is None else LEVEL / 2
    curation, comparison, forecast, no_forecast = None, None, None, ""
    if prior is not None:
        curation = shift_test(z, None, prior, edges, for_curation, level)
    if generated is not None:
        comparison = shift_test(z, z_generated, prior, edges, for_comparison, level)
    before, own_edges = histogram(z, edges) if prior is None else curation.p, bin_edges(z, None, prior)
    try:
        if kernel is not None:
            forecast = _forecast(x, measure, kernel, own_edges, edges, before, for_forecast)
    except ValueError as error:
        if comparison is None and curation is None:
            raise
        no_forecast = " ".join(str(error).split())  # a test that was asked for does not need it
    return Report(quantity, edges, before, sides, forecast, curation, comparison, no_forecast)


def _measured(given, name, measure, gaps=True):
    """The measurable ones of the given trajectories, without gaps, and what is known of them."""
    trajectories, imputed = prepare(given, name, gaps)
    values = measured(trajectories, measure)
    usable = np.flatnonzero(np.isfinite(values))
    if len(usable) < MIN_TRAJECTORIES:
        raise ValueError(f"expected {MIN_TRAJECTORIES} or more measurable {name}, got {len(usable)}")
    side = Side(name, values[usable], len(values) - len(usable), imputed)
    return [trajectories[row] for row in usable], side


def _forecast(trajectories, measure, kernel, own_edges, edges, before, rng) -> Forecast:
    """Total variations are over ``own_edges``, which do not depend on what was generated."""
    lengths = np.array([len(one) for one in trajectories])
    count = max(MIN_TRAJECTORIES, min(KERNEL_TRAJECTORIES, int(TOTAL_STEPS / lengths.mean())))
    seen = [trajectories[k].astype(float) for k in np.sort(rng.permutation(len(trajectories))[:count])]
    steps = int(min(KERNEL_STEPS, np.median(lengths)))
    x = np.stack([resample(one, steps) for one in seen])
    noise = int(rng.integers(2**32))  # the same in all coordinates, so that they differ by nothing else

    def measure_perturbed(perturbed):
        """The quantity of the trajectories at full length, with the errors of ``perturbed`` added."""
        full = [one + resample(error, len(one)) for one, error in zip(seen, perturbed - x, strict=True)]
        return np.nan_to_num(measured(full, measure), nan=UNMEASURABLE)

    def values_in(coordinates):
        """The quantity before and after the kernel's errors in ``coordinates``, where both are measurable."""
        found = KernelCoordinates.of(coordinates, x, measure_perturbed, kernel, seed=noise)
        kept = (found.z != UNMEASURABLE) & (found.z_perturbed != UNMEASURABLE)
        if kept.sum() < MIN_TRAJECTORIES:
            raise ValueError(
                f"expected {MIN_TRAJECTORIES} measurable after a kernel's errors, got {kept.sum()}"
            )
        return found.z[kept], found.z_perturbed[kept]

    own = values_in(Identity())
    tv, floor = _tv_and_floor(*own, own_edges, rng)
    coordinates = {"as they are": tv}
    for name, candidate in CANDIDATES.items():
        with suppress(ValueError):  # other coordinates need not fit the data
            coordinates[name] = _tv_and_floor(*values_in(candidate), own_edges, rng)[0]
    moves = transition(*own, edges)
    return Forecast(before @ moves.matrix, tv, floor, moves.bias, coordinates)


def _tv_and_floor(z, z_perturbed, edges, rng):
    """Total variation between paired values before and after, and with each step either way at random."""
    bins = np.eye(len(edges) - 1)
    step = bins[bin_of(z_perturbed, edges)] - bins[bin_of(z, edges)]
    either = rng.choice([-1.0, 1.0], size=(200, len(z))) @ step / len(z)
    null = 0.5 * np.abs(either).sum(axis=1)
    tv = float(0.5 * np.abs(step.sum(axis=0)).sum() / len(z))
    return tv, Interval(float(null.mean()), *np.percentile(null, [2.5, 97.5]).tolist())
