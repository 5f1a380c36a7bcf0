"""From results in the store to drift, to the numbers of kernels, and to forecasts.

Seeds come as lists, one `physmis.experiments.experiment.Result` or `Landing` a seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

from physmis import drift, kernels
from physmis.drift import intervals
from physmis.experiments.experiment import Experiment, Result
from physmis.experiments.kernel_draws import Deviation, Landing
from physmis.kernels import expansion
from physmis.tasks import Quantity

PILOT_LANDINGS = 2048  # fewer than of the others: a forecast by a pilot should be cheap
FEWEST = 100  # valid trajectories of a seed from which a distribution can be told at all


def assess(results: Sequence[Result]) -> drift.Drift:
    """The drift of experiments that differ in their seed."""
    experiment = results[0].experiment
    quantity = experiment.task.quantity
    return drift.assess([r.z for r in results], quantity.prior, quantity.bins(), experiment.data)


def excess_of_valid(results: Sequence[Result]) -> intervals.Interval:
    """Excess drift of the valid trajectories alone, equally many from each seed.

    With fewer than 100 from some seed it is the interval from -1 to 1: nothing is known.
    """
    n = min(result.valid.sum() for result in results)
    if n < FEWEST:
        return intervals.Interval(0.0, -1.0, 1.0)
    experiment = results[0].experiment
    quantity = experiment.task.quantity
    values = [result.z[result.valid][:n] for result in results]
    return drift.assess(values, quantity.prior, quantity.bins(), experiment.data).excess


def residual(results: Sequence[Result]) -> float:
    """Median residual of the validity check, mean over seeds."""
    return float(np.mean([np.median(result.validity) for result in results]))


def matched_scale(experiment: Experiment, wanted: float) -> float:
    """Scale of the isotropic kernel after which training data have the median residual ``wanted``.

    In standard deviations of each channel; 10 where even that leaves a smaller residual, 1e-5 where even that
    leaves a larger one.
    """
    data = experiment.training_set().x[:2000]

    def excess(scale):
        kernel = kernels.IsotropicKernel(scale, data.std(axis=(0, 1)))
        moved = kernel.deviate(data, np.random.default_rng(0))
        return np.median(experiment.task.validity(moved)) - wanted

    if excess(10) <= 0:
        return 10.0
    return brentq(excess, 1e-5, 10, rtol=1e-3) if excess(1e-5) < 0 else 1e-5


class Calibration(NamedTuple):
    """Numbers of a model class that are set on one task and carried over to others.

    scale : of the isotropic kernel, and of the deviation after the neighbour's.
    share : of the pilot's deviations that is kept.
    """

    scale: float
    share: float


def calibrate(results: Sequence[Result], pilot: Result) -> Calibration:
    """By the residuals of trained models and of a pilot of one task, and by no histogram of the quantity."""
    wanted = residual(results)
    return Calibration(matched_scale(results[0].experiment, wanted), min(wanted / residual([pilot]), 1.0))


def pilot_of(experiment: Experiment) -> Experiment:
    """The same, trained for a tenth of the steps, and sampled in half as many where sampling has steps."""
    model = experiment.model
    shorter = {"steps": model.steps // 10}
    if "sampler_steps" in model.sampling:
        shorter["sampler_steps"] = model.sampler_steps // 2
    return replace(experiment, model=replace(model, **shorter))


def longest_reach(landings: Mapping[float, Landing], most: float = 0.2) -> float:
    """The largest reach of the tangent kernel, up to ``most``, whose typical landing place is valid.

    ``landings`` maps reaches to where they land; the smallest is given where none is valid.
    """
    fits = [
        reach
        for reach, landing in landings.items()
        if reach <= most and np.median(landing.validity) <= landing.deviation.of.task.tolerance
    ]
    return max(fits, default=min(landings))


def deviations(
    experiment: Experiment, numbers: Calibration, reach: float, strength: float, pilot: Experiment
) -> dict[str, Deviation]:
    """Where each kernel lands the training data of an experiment. Only "round trip" asks its own model.

    The pilot, which is asked at the same ``strength``, lands 2,048 at most.
    """
    few = replace(experiment, samples=min(experiment.samples, PILOT_LANDINGS))
    return {
        "isotropic": Deviation(experiment, "isotropic", {"scale": numbers.scale}),
        "neighbour": Deviation(experiment, "neighbour", {"width": 0.0, "deviation": numbers.scale}),
        "tangent": Deviation(experiment, "tangent", {"reach": reach}),
        "pilot": Deviation(few, "pilot", {"strength": strength, "scale": numbers.share}, pilot),
        "round trip": Deviation(experiment, "round_trip", {"strength": strength}, experiment),
    }


def forecast(landings: Sequence[Landing], steps: int = 1) -> Float[np.ndarray, "seeds bins"]:
    """The law that each seed's kernel forecasts from the prior, its transition applied ``steps`` times."""
    quantity = landings[0].deviation.of.task.quantity
    p = drift.prior_mass(quantity.prior, quantity.bins())
    return np.stack([kernels.forecast(p, landing.transition.matrix, steps) for landing in landings])


def blurred(quantity: Quantity, width: float) -> Float[np.ndarray, "bins"]:
    """The prior after a Gaussian blur of ``width`` times its range: a forecast that knows no trajectories."""
    z = quantity.prior.ppf((np.arange(2000) + 0.5) / 2000)
    variance = (width * np.ptp(quantity.prior.support())) ** 2
    return expansion.expand(z, np.zeros(2000), np.full(2000, variance), quantity.bins())


def blur_of_size(quantity: Quantity, size: float) -> Float[np.ndarray, "bins"]:
    """The `blurred` prior, as wide as it must be for its total variation from the prior to be ``size``.

    At most as wide as the range itself, and at least a thousandth of it.
    """
    p = drift.prior_mass(quantity.prior, quantity.bins())

    def excess(width):
        return drift.total_variation(p, blurred(quantity, width)) - size

    ends = (1e-3, 1.0)
    if excess(ends[0]) >= 0 or excess(ends[1]) <= 0:
        return blurred(quantity, ends[0] if excess(ends[0]) >= 0 else ends[1])
    return blurred(quantity, brentq(excess, *ends, rtol=1e-3))


def by_value(landings: Sequence[Landing], n: int) -> Float[np.ndarray, "seeds 2 n"]:
    """Bias and spread of m(x') - m(x) in ``n`` bins of equal prior mass, in units of the quantity.

    NaN in a bin where nothing begins.
    """
    prior = landings[0].deviation.of.task.quantity.prior
    found = []
    for landing in landings:
        at = np.minimum((prior.cdf(landing.z) * n).astype(int), n - 1)
        moved = [(landing.landed - landing.z)[at == k] for k in range(n)]
        found.append([[f(part) if len(part) else np.nan for part in moved] for f in (np.mean, np.std)])
    return np.array(found)


def memory(landing: Landing) -> float:
    """Correlation of m(x') with m(x): 1 if a deviation keeps the quantity, 0 if it forgets it."""
    return float(np.corrcoef(landing.z, landing.landed)[0, 1])
