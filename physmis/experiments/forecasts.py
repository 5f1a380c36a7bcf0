"""From stored results to drift, to the parameters of kernels, and to forecasts.

Seeds come as lists, one `Samples` or `KernelDraws` a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

from physmis import drift, kernels
from physmis.drift import intervals
from physmis.experiments.experiment import Experiment, Samples, describe
from physmis.experiments.kernel_draws import EarlyForecast, KernelDraws, early_forecast, kernel_draws
from physmis.experiments.parallel import Job
from physmis.kernels import expansion
from physmis.models import build
from physmis.tasks import Quantity, Task, load

FEWEST = 100  # valid trajectories of a seed, below which their drift is not assessed
# Jobs of the two forecasts that are scored on every task: of an experiment, without and with its model.
BEFORE_AND_AFTER: dict[str, Callable[[Experiment], Job]] = {
    "before training": early_forecast,
    "round trip": lambda e: kernel_draws(e, "remembering", {"correlation": 0.9}, e),
}


def experiment(profile: Any, task: Task, seed: int, model: str = "unet", **changes: Any) -> Experiment:
    """A profile's model on a task of generated trajectories; ``changes`` override its hyperparameters."""
    network = build(model, **{**profile.models[model], **changes})
    return Experiment(task, network, profile.data, profile.samples, seed)


def base_experiment(profile: Any, name: str, seed: int) -> Experiment:
    """The model of a task that notebooks compare others with: the planner in the maze, elsewhere an MLP.

    Of the pendulum it is twice as wide and trained twice as long, and demonstrations come in whole chunks.
    """
    task = load(name)
    if name == "maze":
        planner = build("planner", **profile.models["planner"])
        data = -(-profile.data // task.chunk) * task.chunk
        return Experiment(task, planner, data, min(profile.samples, 4096), seed)
    mlp = profile.models["mlp"]
    larger = {"width": 2 * mlp["width"], "steps": 2 * mlp["steps"]}
    return experiment(profile, task, seed, "mlp", **(larger if name == "pendulum" else {}))


def seeds_of(results: Mapping[tuple, Any], *name: Any) -> list[Any]:
    """The results under (*name, seed), in the order of the mapping."""
    return [result for key, result in results.items() if key[:-1] == name]


def over_seeds(statistic: Callable[[Any], Any], results: Sequence[Any]) -> intervals.Interval:
    """Mean over seeds of a statistic of single trajectories, with its interval."""
    return intervals.bootstrap(np.mean, [np.asarray(statistic(r), dtype=float) for r in results])


def valid_share(results: Sequence[Samples]) -> intervals.Interval:
    """Share of valid trajectories, with its interval, which few seeds would extend beyond 0 and 1."""
    return intervals.Interval(*np.clip(over_seeds(lambda result: result.valid, results), 0, 1).tolist())


def assess(results: Sequence[Samples]) -> drift.Drift:
    """The drift of experiments that differ in their seed."""
    return _assess(results[0].experiment, [r.z for r in results])


def _assess(experiment: Experiment, values: Sequence[Float[np.ndarray, "n"]]) -> drift.Drift:
    quantity = experiment.task.quantity
    return drift.assess(values, quantity.prior, quantity.bins(), experiment.data)


def excess_of_valid(results: Sequence[Samples]) -> intervals.Interval:
    """Excess drift of the valid trajectories alone, equally many a seed; -1 to 1 where these are too few."""
    n = min(result.valid.sum() for result in results)
    if n < FEWEST:
        return intervals.Interval(0.0, -1.0, 1.0)
    return _assess(results[0].experiment, [result.z[result.valid][:n] for result in results]).excess


def forecast_from_draws(draws: Sequence[KernelDraws | EarlyForecast]) -> Float[np.ndarray, "seeds bins"]:
    """What each seed's kernel forecasts from the prior."""
    quantity = draws[0].experiment.task.quantity
    p = drift.prior_mass(quantity.prior, quantity.bins())
    return np.stack([kernels.forecast(p, draw.matrix) for draw in draws])


def blurred_prior(quantity: Quantity, width: float) -> Float[np.ndarray, "bins"]:
    """The prior after a Gaussian blur of ``width`` times its range: a forecast that knows no trajectories."""
    z = quantity.prior.ppf((np.arange(2000) + 0.5) / 2000)
    variance = (width * np.ptp(quantity.prior.support())) ** 2
    return expansion.expand(z, np.zeros(2000), np.full(2000, variance), quantity.bins())


def matched_blur(quantity: Quantity, size: float) -> Float[np.ndarray, "bins"]:
    """The `blurred_prior` whose total variation from the prior is ``size``.

    At most as wide as the range itself, and at least a thousandth of it.
    """
    p = drift.prior_mass(quantity.prior, quantity.bins())

    def excess(width):
        return drift.total_variation(p, blurred_prior(quantity, width)) - size

    least, most = 1e-3, 1.0
    if excess(least) >= 0:
        return blurred_prior(quantity, least)
    return blurred_prior(quantity, most if excess(most) <= 0 else brentq(excess, least, most, rtol=1e-3))


def score_kernels(
    draws: Mapping[str, Sequence[KernelDraws | EarlyForecast]],
    observed: drift.Drift,
    inner: float | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, drift.Score]]:
    """What each kernel forecasts, and its `drift.score`, of which a table is printed.

    Two more come last: a "matched blur", the prior after a Gaussian blur that drifts as much as the model
    did, and "another seed" of the model, the next one.
    """
    task = next(iter(draws.values()))[0].experiment.task
    forecasts = {kernel: forecast_from_draws(group) for kernel, group in draws.items()}
    forecasts["matched blur"] = matched_blur(task.quantity, observed.excess.value)
    forecasts["another seed"] = np.roll(observed.q, 1, axis=0)
    scores = {kernel: drift.score(forecast, observed, inner) for kernel, forecast in forecasts.items()}
    bins, ceiling = f"inner {inner:.0%}" if inner else "all bins", scores["matched blur"].ceiling
    print(
        f"{describe(task)}, {bins}: skill, drift correlation (ceiling {ceiling:.2f}), correlation of z and z'"
    )
    for kernel, score in scores.items():
        kept = [value_correlation(draw) for draw in draws.get(kernel, ()) if isinstance(draw, KernelDraws)]
        shown = f"{np.mean(kept):.2f}" if kept else ""
        print(f"  {kernel:18s} {score.skill!s:24s} {score.correlation!s:24s} {shown}")
    return forecasts, scores


def request_errors(results: Sequence[Samples], n: int) -> Float[np.ndarray, "seeds 2 n"]:
    """Bias and spread of the recovered less the requested quantity of conditioned models.

    In ``n`` bins of equal prior mass, in units of the quantity; NaN in an empty bin.
    """
    prior, found = results[0].experiment.task.quantity.prior, []
    for r in results:
        at = np.minimum((prior.cdf(r.requested) * n).astype(int), n - 1)
        changes = [(r.z - r.requested)[at == k] for k in range(n)]
        found.append([[f(part) if len(part) else np.nan for part in changes] for f in (np.mean, np.std)])
    return np.array(found)


def value_correlation(draw: KernelDraws) -> float:
    """Correlation of m(x') with m(x): 1 if a perturbation keeps the quantity, 0 if nothing of it is left."""
    return float(np.corrcoef(draw.z, draw.z_perturbed)[0, 1])
