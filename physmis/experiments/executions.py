"""Plans executed in the environment, and conditioned models that are given steps, through the store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from physmis.experiments.experiment import Experiment, samples, trained, training, training_set
from physmis.experiments.parallel import Job, cached
from physmis.experiments.store import Store
from physmis.mitigations import Conditioned
from physmis.tasks.maze_plans import DAMP, GAIN, execute


def executions(experiment: Experiment, plans: int, demonstrations: bool = False) -> Job:
    """Execute an experiment's first ``plans`` samples, or the ``demonstrations`` with the same ends.

    The arrays are those of `physmis.tasks.maze_plans.execute`. Raises ValueError for more plans than samples.
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
    return Job(config, partial(_execute, experiment, plans, demonstrations), (samples(experiment),))


def _execute(experiment, plans, demonstrations, store: Store, device: str) -> dict[str, np.ndarray]:
    generated = cached(samples(experiment), store, device)
    if not demonstrations:
        return execute(experiment.task, generated.x[:plans])
    data = training_set(experiment, store).x
    return execute(experiment.task, data[generated.row[:plans]])


def compatibility(experiment: Experiment, rows: Sequence[int], values: Sequence[float], seed: int) -> Job:
    """Ask a conditioned model for each of ``values`` beside the given steps of each training row.

    The array ``x`` has shape (rows, values, T, C). Raises ValueError for a model that is not both.
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
    return Job(config, partial(_request, experiment, rows, values, seed), (training(experiment),))


def _request(experiment, rows, values, seed, store: Store, device: str) -> dict[str, np.ndarray]:
    model, data = trained(experiment, store, device), training_set(experiment, store).x
    clamp = {step: np.repeat(data[list(rows), step], len(values), axis=0) for step in model.given}
    x = model.sample(len(rows) * len(values), np.random.default_rng(seed), clamp, np.tile(values, len(rows)))
    return {"x": x.reshape(len(rows), len(values), *x.shape[1:])}
