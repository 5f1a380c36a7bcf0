"""Plans executed in the environment, through the store."""

from __future__ import annotations

from functools import partial

import numpy as np

from physmis.experiments.experiment import Experiment, samples, training_set
from physmis.experiments.parallel import Job, whole
from physmis.experiments.store import Entry, Store
from physmis.tasks.maze_plans import DAMP, GAIN, execute


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
