"""An audit of one's own trajectories: will a model keep the distribution of a quantity, and has it?

Before training, a data deviation kernel forecasts from demonstrations alone which values a model will make
too often and which too rarely. After training, generated trajectories are compared with the demonstrations,
or with the prior that was curated, by a test that is exact at any sample size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from physmis.audit.measurements import Measurement, Trajectories, measurement
from physmis.audit.preparation import measured, prepare, resample
from physmis.audit.report import OWN_COORDINATES, Forecast, Report
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
SCALE = 0.0125  # isotropic errors, in standard deviations: as matched to U-Nets on the sine, notebook 05
UNMEASURABLE = float(np.finfo(float).max)  # for a quantity that is not finite, which kernels refuse
CANDIDATES = {"filtered, Filter(0.5)": Filter(0.5), "increments, Increments()": Increments()}


class Errors(Kernel):
    """The errors that an audit expects of a model: along the data, and then a little in all directions.

    Parameters
    ----------
    y : the training trajectories, shape (n, T, C), in the model's coordinates.
    scale : of the isotropic errors, in standard deviations of each channel.
    """

    def __init__(self, y: Trajectories, scale: float = SCALE):
        tangent, spread = TangentKernel(y, reach=0.1), np.std(y, axis=(0, 1))
        self.parts = (tangent, IsotropicKernel(scale, np.maximum(spread, 1e-9 * spread.max())))

    def deviate(self, x, rng):
        for part in self.parts:
            x = part.deviate(x, rng)
        return x


def audit(
    trajectories: Sequence[Float[np.ndarray, "T C"]],
    measure: str | Measurement,
    kernel: Callable[[Trajectories], Kernel] | None = Errors,
    generated: Sequence[Float[np.ndarray, "T C"]] | None = None,
    prior: Any = None,
    dt: float = 1.0,
    seed: int = 0,
) -> Report:
    """Whether models will keep, or have kept, the distribution of a quantity.

    Parameters
    ----------
    trajectories : demonstrations: an array (n, T, C), or n arrays (T, C) of any length of 2 or more steps.
        Steps with NaN in some channel count as missing: imputed linearly between others, cut off at the ends.
    measure : a name in `physmis.audit.measurements.MEASUREMENTS`, or a callable from (n, T, C) to (n,), given
        trajectories of equal length. Those for which it is not finite are left out and counted.
    kernel : makes the kernel of the forecast from trajectories of equal length; None for no forecast. It sees
        at most 4,096 of them, each at up to 64 moments, and its errors are interpolated between these.
        Trajectories that become unmeasurable by its errors are left out of the forecast.
    generated : trajectories of a trained model, as many or fewer or more.
    prior : the distribution that was curated, a frozen `scipy.stats` distribution; without it, that of the
        demonstrations.
    dt : time between steps, for measurements by name.

    There must be 20 measurable trajectories on each side, and the quantity must vary.
    """
    name = measure if isinstance(measure, str) else getattr(measure, "__name__", "<lambda>")
    measure = measurement(measure, dt)
    sides = [_measured(trajectories, "demonstrations", measure)]
    if generated is not None:
        sides.append(_measured(generated, "generated trajectories", measure))
    channels = [given[0].shape[1] for given, *_ in sides]
    if len(set(channels)) > 1:
        raise ValueError(f"expected as many channels in demonstrations as in generated ones, got {channels}")
    finite = [values[np.isfinite(values)] for _, values, _ in sides]
    z, z_generated = finite[0], finite[1] if generated is not None else None
    if np.ptp(z) <= 1e-13 * np.abs(z).max():  # to rounding
        raise ValueError(f"expected a quantity that varies, got {z[0]:g} for all demonstrations")
    # A stream for each, so that the one does not depend on whether the other is asked for.
    for_forecast, for_curation, for_comparison = np.random.default_rng(seed).spawn(3)
    edges = bin_edges(z, z_generated, prior)
    # Of two tests either may raise a false alarm: each gets half of the level (Bonferroni).
    level = LEVEL if prior is None or generated is None else LEVEL / 2
    curation = None if prior is None else shift_test(z, None, prior, edges, for_curation, level)
    comparison = None
    if generated is not None:
        comparison = shift_test(z, z_generated, prior, edges, for_comparison, level)
    before = histogram(z, edges) if curation is None else curation.p
    forecast, no_forecast = None, ""
    if kernel is not None:
        try:
            forecast = _forecast(*sides[0][:2], measure, kernel, prior, edges, before, for_forecast)
        except ValueError as error:
            if comparison is None and curation is None:
                raise
            no_forecast = " ".join(str(error).split())  # a test that was asked for does not need it
    return Report(
        quantity="quantity" if name == "<lambda>" else name.replace("_", " "),
        reference="the demonstrations" if prior is None else "the prior",
        edges=edges,
        before=before,
        values=z,
        generated=z_generated,
        unmeasurable=tuple(int(np.isnan(values).sum()) for _, values, _ in sides),
        imputed=tuple(imputed for *_, imputed in sides),
        forecast=forecast,
        curation=curation,
        comparison=comparison,
        no_forecast=no_forecast,
    )


def _measured(given, name, measure):
    """Trajectories without gaps, the quantity of each (or NaN), and how many of them had gaps."""
    trajectories, imputed = prepare(given, name)
    values = measured(trajectories, measure)
    if (count := int(np.isfinite(values).sum())) < MIN_TRAJECTORIES:
        raise ValueError(f"expected {MIN_TRAJECTORIES} or more measurable {name}, got {count}")
    return trajectories, values, imputed


def _forecast(trajectories, values, measure, kernel, prior, edges, before, rng) -> Forecast:
    """See `Forecast`. ``values`` holds NaN where a trajectory cannot be measured.

    Total variations are over the bins of the demonstrations alone, so that they do not depend on what was
    generated; the distribution and the bias are over ``edges``.
    """
    usable = np.flatnonzero(np.isfinite(values))
    own_edges = bin_edges(values[usable], None, prior)
    lengths = np.array([len(trajectories[row]) for row in usable])
    count = max(MIN_TRAJECTORIES, min(KERNEL_TRAJECTORIES, int(TOTAL_STEPS / lengths.mean())))
    seen = [trajectories[row].astype(float) for row in np.sort(rng.permutation(usable)[:count])]
    steps = int(min(KERNEL_STEPS, np.median(lengths)))
    x = np.stack([resample(one, steps) for one in seen])

    def measure_perturbed(perturbed):
        """The quantity of the trajectories at full length, with the errors of ``perturbed`` added."""
        full = (one + resample(error, len(one)) for one, error in zip(seen, perturbed - x, strict=True))
        return np.nan_to_num(measured(list(full), measure), nan=UNMEASURABLE)

    noise = int(rng.integers(2**32))  # the same in all coordinates, so that they differ by nothing else

    def values_in(coordinates):
        """The quantity before and after the kernel's errors in ``coordinates``, where both are measurable."""
        found = KernelCoordinates.of(coordinates, x, measure_perturbed, kernel, seed=noise)
        z, z_perturbed = found.z, found.z_perturbed
        kept = (z != UNMEASURABLE) & (z_perturbed != UNMEASURABLE)
        if kept.sum() < MIN_TRAJECTORIES:
            raise ValueError(
                f"expected {MIN_TRAJECTORIES} or more demonstrations that are measurable after the kernel's "
                f"errors, got {kept.sum()}; kernel=None leaves the forecast out"
            )
        return z[kept], z_perturbed[kept]

    own = values_in(Identity())
    tv, floor = _tv_and_floor(*own, own_edges, rng)
    coordinates = {OWN_COORDINATES: tv}
    for name, candidate in CANDIDATES.items():
        try:
            coordinates[name] = _tv_and_floor(*values_in(candidate), own_edges, rng)[0]
        except ValueError:  # other coordinates need not fit the data
            continue
    moves = transition(*own, edges)
    return Forecast(before @ moves.matrix, tv, floor, moves.bias, coordinates)


def _tv_and_floor(z, z_perturbed, edges, rng):
    """Total variation between paired values before and after, and with each step either way at random."""
    before, after = bin_of(z, edges), bin_of(z_perturbed, edges)
    step = np.zeros((len(before), len(edges) - 1))
    np.add.at(step, (np.arange(len(before)), after), 1)
    np.add.at(step, (np.arange(len(before)), before), -1)
    either = rng.choice([-1.0, 1.0], size=(200, len(before))) @ step / len(before)
    null = 0.5 * np.abs(either).sum(axis=1)
    tv = float(0.5 * np.abs(step.sum(axis=0)).sum() / len(before))
    return tv, Interval(float(null.mean()), *np.percentile(null, [2.5, 97.5]).tolist())
