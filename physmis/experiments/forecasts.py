"""From results in the store to drift, to the numbers of kernels, and to forecasts.

Seeds come as lists, one `Samples` or `KernelDraws` a seed.
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
from physmis.experiments.experiment import Experiment, Samples, training_set
from physmis.experiments.kernel_draws import KernelDraws, kernel_draws
from physmis.experiments.parallel import Job
from physmis.experiments.store import Store
from physmis.kernels import expansion
from physmis.tasks import Quantity

PILOT_DRAWS = 2048  # kernel draws of a pilot, fewer than of the others: its forecast should be cheap
FEWEST = 100  # valid trajectories of a seed from which a distribution can be told at all


def assess(results: Sequence[Samples]) -> drift.Drift:
    """The drift of experiments that differ in their seed."""
    experiment = results[0].experiment
    quantity = experiment.task.quantity
    return drift.assess([r.z for r in results], quantity.prior, quantity.bins(), experiment.data)


def excess_of_valid(results: Sequence[Samples]) -> intervals.Interval:
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


def residual(results: Sequence[Samples]) -> float:
    """Median residual of the validity check, mean over seeds."""
    return float(np.mean([np.median(result.validity) for result in results]))


def matched_scale(experiment: Experiment, target: float, store: Store) -> float:
    """Scale of the isotropic kernel after which training data have the median residual ``target``.

    In standard deviations of each channel; 10 where even that leaves a smaller residual, 1e-5 where even that
    leaves a larger one.
    """
    data = training_set(experiment, store).x[:2000]

    def excess(scale):
        kernel = kernels.IsotropicKernel(scale, data.std(axis=(0, 1)))
        moved = kernel.deviate(data, np.random.default_rng(0))
        return np.median(experiment.task.validity(moved)) - target

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


def calibrate(results: Sequence[Samples], pilot: Samples, store: Store) -> Calibration:
    """By the residuals of trained models and of a pilot of one task, and by no histogram of the quantity."""
    target = residual(results)
    scale = matched_scale(results[0].experiment, target, store)
    return Calibration(scale, min(target / residual([pilot]), 1.0))


def pilot_of(experiment: Experiment) -> Experiment:
    """The same, trained for a tenth of the steps, and sampled in half as many where sampling has steps."""
    model = experiment.model
    shorter = {"steps": model.steps // 10}
    if "sampler_steps" in model.sampling:
        shorter["sampler_steps"] = model.sampler_steps // 2
    return replace(experiment, model=replace(model, **shorter))


def longest_reach(draws: Mapping[float, KernelDraws], most: float = 0.2) -> float:
    """The largest reach of the tangent kernel, up to ``most``, whose typical draw is valid.

    ``draws`` maps reaches to kernel draws; the smallest is given where none is valid.
    """
    fits = [
        reach
        for reach, draw in draws.items()
        if reach <= most and np.median(draw.validity) <= draw.experiment.task.tolerance
    ]
    return max(fits, default=min(draws))


def kernel_jobs(
    experiment: Experiment, numbers: Calibration, reach: float, strength: float, pilot: Experiment
) -> dict[str, Job]:
    """Draws of each kernel for the training data of an experiment. Only "round trip" asks its own model.

    The pilot, which is asked at the same ``strength``, draws 2,048 at most.
    """
    few = replace(experiment, samples=min(experiment.samples, PILOT_DRAWS))
    return {
        "isotropic": kernel_draws(experiment, "isotropic", {"scale": numbers.scale}),
        "neighbour": kernel_draws(experiment, "neighbour", {"width": 0.0, "deviation": numbers.scale}),
        "tangent": kernel_draws(experiment, "tangent", {"reach": reach}),
        "pilot": kernel_draws(few, "pilot", {"strength": strength, "scale": numbers.share}, pilot),
        "round trip": kernel_draws(experiment, "round_trip", {"strength": strength}, experiment),
    }


def forecast_from_draws(draws: Sequence[KernelDraws], steps: int = 1) -> Float[np.ndarray, "seeds bins"]:
    """The distribution that each seed's kernel forecasts, its transition applied ``steps`` times."""
    quantity = draws[0].experiment.task.quantity
    p = drift.prior_mass(quantity.prior, quantity.bins())
    return np.stack([kernels.forecast(p, draw.transition.matrix, steps) for draw in draws])


def blurred_prior(quantity: Quantity, width: float) -> Float[np.ndarray, "bins"]:
    """The prior after a Gaussian blur of ``width`` times its range: a forecast that knows no trajectories."""
    z = quantity.prior.ppf((np.arange(2000) + 0.5) / 2000)
    variance = (width * np.ptp(quantity.prior.support())) ** 2
    return expansion.expand(z, np.zeros(2000), np.full(2000, variance), quantity.bins())


def matched_blur(quantity: Quantity, size: float) -> Float[np.ndarray, "bins"]:
    """the `blurred_prior`, as wide as it must be for its total variation from the prior to be ``size``.

    At most as wide as the range itself, and at least a thousandth of it.
    """
    p = drift.prior_mass(quantity.prior, quantity.bins())

    def excess(width):
        return drift.total_variation(p, blurred_prior(quantity, width)) - size

    ends = (1e-3, 1.0)
    if excess(ends[0]) >= 0 or excess(ends[1]) <= 0:
        return blurred_prior(quantity, ends[0] if excess(ends[0]) >= 0 else ends[1])
    return blurred_prior(quantity, brentq(excess, *ends, rtol=1e-3))


def bias_and_spread(draws: Sequence[KernelDraws], n: int) -> Float[np.ndarray, "seeds 2 n"]:
    """Bias and spread of m(x') - m(x) in ``n`` bins of equal prior mass, in units of the quantity.

    NaN in a bin where nothing begins.
    """
    prior = draws[0].experiment.task.quantity.prior
    found = []
    for draw in draws:
        at = np.minimum((prior.cdf(draw.z) * n).astype(int), n - 1)
        moved = [(draw.z_perturbed - draw.z)[at == k] for k in range(n)]
        found.append([[f(part) if len(part) else np.nan for part in moved] for f in (np.mean, np.std)])
    return np.array(found)


def value_correlation(draws: KernelDraws) -> float:
    """Correlation of m(x') with m(x): 1 if the kernel keeps the quantity, 0 if nothing of it is left."""
    return float(np.corrcoef(draws.z, draws.z_perturbed)[0, 1])
