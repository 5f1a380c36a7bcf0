"""Draws of a kernel for an experiment's training data, and forecasts before training, through the store."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float

from physmis import kernels
from physmis.coordinates.maps import Coordinates, Identity
from physmis.coordinates.search import KernelCoordinates
from physmis.experiments import experiment as experiments
from physmis.experiments.experiment import FORECAST, KERNEL, ROWS, Experiment
from physmis.experiments.parallel import Job
from physmis.experiments.progress import reporter
from physmis.experiments.store import Entry, Store
from physmis.models import build

# How each kernel is made from the training set, a measurement and a trained model. No parameter has a
# default: all of them are in the config, by which results are found again.
KERNELS: dict[str, Callable[..., kernels.Kernel]] = {
    "isotropic": lambda x, measure, model, scale: kernels.IsotropicKernel(scale, x.std(axis=(0, 1))),
    "tangent": lambda x, measure, model, reach: kernels.TangentKernel(x, reach),
    "round_trip": lambda x, measure, model, strength: kernels.RoundTripKernel(model, strength),
    "remembering": lambda x, measure, model, correlation: kernels.RoundTripKernel.remembering(
        model, x[:1024], measure, correlation
    ),
}


@dataclass(frozen=True)
class KernelDraws:
    """One perturbed trajectory x' for each x of a training set.

    experiment : whose training set.    key : address in the store.    z, z_perturbed : quantity of x and x'.
    """

    experiment: Experiment
    key: str
    z: Float[np.ndarray, "n"]
    z_perturbed: Float[np.ndarray, "n"]

    @property
    def matrix(self) -> kernels.Matrix:
        """The induced transition T(z' | z) over the bins of the task's quantity."""
        return kernels.transition(self.z, self.z_perturbed, self.experiment.task.quantity.bins()).matrix


@dataclass(frozen=True)
class EarlyForecast:
    """What `kernels.forecast_before_training` finds of an experiment.

    key, seconds : address in the store, and how long it took, the short training included.
    kernel, size, short, matrix : see `kernels.Forecast`, whose transition is the matrix.
    """

    experiment: Experiment
    key: str
    seconds: float
    kernel: str
    size: float
    short: float
    matrix: kernels.Matrix


def early_forecast(experiment: Experiment, share: float = kernels.SHARE) -> Job:
    """The `EarlyForecast` of an experiment, from a short training of a ``share`` of its steps."""
    config = {
        "kind": "early_forecast",
        "of": experiment.training_config,
        "sampling": experiment.config["sampling"],
        "share": share,
    }
    names = list(kernels.SIZES)

    def read(entry: Entry) -> EarlyForecast:
        kernel, size, short = (entry.arrays[name].item() for name in ("kernel", "size", "short"))
        seconds, matrix = entry.meta["seconds"], entry.arrays["transition"].astype(float)
        return EarlyForecast(experiment, entry.key, seconds, names[kernel], size, short, matrix)

    def compute(store: Store, device: str) -> dict[str, np.ndarray]:
        x, task = experiments.training_set(experiment, store).x, experiment.task
        model = build(**experiment.model.config()).to(device)
        found = kernels.forecast_before_training(
            x,
            task.measure,
            model,
            task.quantity.bins(),
            np.random.default_rng([experiment.seed, FORECAST]),
            share=share,
            progress=reporter(f"short training of {experiment}"),
        )
        return {
            "transition": found.transition.astype(np.float32),
            "kernel": np.array(names.index(found.kernel)),
            "size": np.array(found.size),
            "short": np.array(found.short),
        }

    needs, cost = experiments.needed_demonstrations(experiment), share * experiment.model.cost
    return Job(config, compute, needs, read, cost=cost)


def kernel_draws(
    experiment: Experiment, kernel: str, parameters: Mapping[str, float], model: Experiment | None = None
) -> Job:
    """`KernelDraws` for trajectories of an experiment's training set, as many as it draws samples.

    Taken are the first of the training set; where it is collected, some at random. ``kernel`` is a name in
    `KERNELS`, ``model`` the experiment whose trained model it asks. Raises ValueError for other parameters
    than the kernel has, and for a model where it asks none.
    """
    if kernel not in KERNELS:
        raise ValueError(f"kernel: expected one of {', '.join(KERNELS)}, got {kernel!r}")
    expected = list(inspect.signature(KERNELS[kernel]).parameters)[3:]
    if sorted(parameters) != sorted(expected):
        raise ValueError(f"kernel {kernel!r}: expected the parameters {expected}, got {sorted(parameters)}")
    if (model is not None) != (kernel in ("round_trip", "remembering")):
        raise ValueError(f"kernel {kernel!r}: expected {'a' if model is None else 'no'} model, got {model}")
    asked = model and {"of": model.training_config, "sampling": model.config["sampling"]}
    config = {
        "kind": "deviation",
        "task": experiment.task.config(),
        "data": experiment.data,
        "seed": experiment.seed,
        "n": experiment.samples,
        "kernel": kernel,
        "parameters": dict(parameters),
        "model": asked,
        **({"given": list(experiment.model.given)} if experiment.model.given else {}),
    }
    needs = experiments.needed_demonstrations(experiment)
    if model is not None:
        needs += (experiments.training(model),)

    def read(entry: Entry) -> KernelDraws:
        decode, arrays = experiment.task.quantity.decode, entry.arrays
        return KernelDraws(experiment, entry.key, decode(arrays["z"]), decode(arrays["z_perturbed"]))

    compute = partial(_draw, experiment, kernel, parameters, model)
    return Job(config, compute, needs, read, cost=experiment.samples)


def _draw(experiment, kernel, parameters, model, store: Store, device: str) -> dict[str, np.ndarray]:
    data, task = experiments.training_set(experiment, store).x, experiment.task
    asked = None if model is None else experiments.trained(model, store, device)
    made = KERNELS[kernel](data, task.measure, asked, **parameters)
    if experiment.model.given:
        made = kernels.HeldEnds(made)
    rows = slice(experiment.samples)
    if task.chunk:  # seeds share the data, so let them at least take others of it
        rows = np.random.default_rng([experiment.seed, ROWS]).permutation(len(data))[rows]
    x = data[rows]
    perturbed = made.deviate(x, np.random.default_rng([experiment.seed, KERNEL]))
    z, z_perturbed = (task.quantity.encode(task.measure(part)) for part in (x, perturbed))
    return {"z": z, "z_perturbed": z_perturbed, "valid": task.validity(perturbed) < task.tolerance}


def ranking(
    experiment: Experiment,
    candidates: Mapping[str, Coordinates],
    kernel: str,
    size: float | None,
    rows: int,
    matched: float | None = None,
) -> Job:
    """What a kernel ("isotropic" or "tangent") of a size forecasts in each of the candidates for coordinates.

    The arrays are "drift" and, of the perturbed trajectories, the share "valid", (candidates,). The first
    ``rows`` of the training set are perturbed. Where the size is None it is that of `kernels.SIZES` at which
    the drift in the data's own coordinates is nearest to ``matched``.
    """
    config = {
        "kind": "ranked",
        "of": experiment.training_config,
        "rows": rows,
        "kernel": kernel,
        "size": size,
        "matched": matched,
        "candidates": [one.config() for one in candidates.values()],
    }

    def compute(store: Store, device: str) -> dict[str, np.ndarray]:
        x, task = experiments.training_set(experiment, store).x[:rows], experiment.task

        def found(coordinates, size):
            def made(y):
                of_y = kernels.of_kind(kernel, y, size)
                return kernels.HeldEnds(of_y) if experiment.model.given else of_y

            return KernelCoordinates.of(coordinates, x, task.measure, made, experiment.seed)

        at = size
        if at is None:
            at = min(kernels.SIZES[kernel], key=lambda s: abs(found(Identity(), s).drift - matched))
        drawn = [found(one, at) for one in candidates.values()]
        valid = [np.mean(task.validity(one.x_perturbed) < task.tolerance) for one in drawn]
        return {"drift": np.array([one.drift for one in drawn]), "valid": np.array(valid)}

    return Job(config, compute, experiments.needed_demonstrations(experiment))
