"""Plans executed in the environment, and conditioned models that are given steps, through the store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from physmis.experiments.experiment import Experiment, half, samples, trained, training, training_set
from physmis.experiments.parallel import Job, whole
from physmis.experiments.store import Entry, Store
from physmis.mitigations import Conditioned
from physmis.tasks.maze_plans import DAMP, GAIN, execute
from physmis.tasks.pendulum import Pendulum


def executions(experiment: Experiment, plans: int, demonstrations: bool = False) -> Job:
    """Execute an experiment's first ``plans`` samples, or the ``demonstrations`` with the same ends.

    The arrays are those of `physmis.tasks.maze_plans.execute`, of which "x" is large, and the travel
    "distance". Raises ValueError for more plans than samples.
    """
    if not 1 <= plans <= experiment.samples:
        raise ValueError(f"plans: expected 1 to the experiment's {experiment.samples} samples, got {plans}")
    if demonstrations and not experiment.model.given:
        raise ValueError(f"expected a model that is given start and goal, got '{experiment.model.name}'")
    config = {
        "kind": "execution",
        "of": experiment.config,
        "plans": plans,
        "demonstrations": demonstrations,
        "tracker": [GAIN, DAMP],
    }

    def read(entry: Entry) -> dict[str, np.ndarray]:
        arrays = dict(entry.arrays)
        return {**arrays, "distance": experiment.task.quantity.decode(arrays["distance"])}

    compute = partial(_execute, experiment, plans, demonstrations)
    small = ("distance", "success", "effort")
    return Job(config, compute, (samples(experiment),), read, small, cost=plans)


def _execute(experiment, plans, demonstrations, store: Store, device: str) -> dict[str, np.ndarray]:
    generated, task = whole(samples(experiment), store, device).arrays, experiment.task
    x = generated["x"][:plans]
    if demonstrations:
        x = training_set(experiment, store).x[generated["row"][:plans]]
    done = execute(task, x)
    return {**done, "distance": task.quantity.encode(task.measure(done["x"]))}


def compatibility(experiment: Experiment, rows: Sequence[int], values: Sequence[float], seed: int) -> Job:
    """Ask a conditioned model for each of ``values`` beside the given steps of each training row.

    The arrays "z", the quantity that comes out, and "validity", its residual (of the pendulum's rules, the
    energy's alone), have shape (rows, values). Raises ValueError for a model that is not both.
    """
    if not (experiment.model.given and isinstance(experiment.treatment, Conditioned)):
        raise ValueError(f"expected a conditioned model that is given steps, got {experiment}")
    config = {
        "kind": "compatibility",
        "of": experiment.training_config,
        "sampling": experiment.config["sampling"],
        "rows": [int(row) for row in rows],
        "values": [float(value) for value in values],
        "seed": seed,
    }

    def read(entry: Entry) -> dict[str, np.ndarray]:
        z, validity = entry.arrays["z"], entry.arrays["validity"].astype(float)
        return {"z": experiment.task.quantity.decode(z), "validity": validity}

    compute = partial(_request, experiment, rows, values, seed)
    return Job(config, compute, (training(experiment),), read, cost=len(rows) * len(values))


def _request(experiment, rows, values, seed, store: Store, device: str) -> dict[str, np.ndarray]:
    model, data = trained(experiment, store, device), training_set(experiment, store).x
    clamp = {step: np.repeat(data[list(rows), step], len(values), axis=0) for step in model.given}
    x = model.sample(len(rows) * len(values), np.random.default_rng(seed), clamp, np.tile(values, len(rows)))
    task = experiment.task
    residual = task.residuals(x)["energy"] if isinstance(task, Pendulum) else task.validity(x)
    found = {"z": task.quantity.encode(task.measure(x)), "validity": half(residual)}
    return {name: part.reshape(len(rows), len(values)) for name, part in found.items()}
