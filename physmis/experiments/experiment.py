"""From an experiment to its training set, its trained model and its samples, through the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from jaxtyping import Float, Float16, Int

from physmis.experiments.parallel import Job, whole
from physmis.experiments.progress import reporter
from physmis.experiments.store import Entry, Store
from physmis.mitigations import InCoordinates, Treatment
from physmis.models import GenerativeModel, build
from physmis.tasks import Batch, Task

# Random streams of one seed, `default_rng([seed, stream])`. None is 0: numpy takes [s, 0] for s itself.
DATA, FIT, SAMPLE, KERNEL, FORECAST, ROWS = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class Experiment:
    """One model trained on one training set of a task, and ``samples`` trajectories drawn from it.

    ``seed`` decides the training set, the initial weights, the order of training and the drawn noise. (Where
    a task's trajectories are collected, all seeds share the same demonstrations.) A ``treatment`` changes how
    the model is trained and sampled.
    """

    task: Task
    model: GenerativeModel
    data: int
    samples: int
    seed: int
    treatment: Treatment | None = None

    def __post_init__(self):
        if isinstance(self.treatment, InCoordinates):
            kept, given = self.treatment.coordinates.kept, self.model.given
            if not set(given) <= set(kept):
                raise ValueError(
                    f"model '{self.model.name}' is given steps {given}: expected coordinates that keep them, "
                    f"got '{self.treatment.coordinates.name}', which keeps {kept}"
                )

    @property
    def training_config(self) -> dict[str, Any]:
        """What a trained model depends on."""
        model = {k: v for k, v in self.model.config().items() if k not in self.model.sampling}
        return {
            "kind": "model",
            "task": self.task.config(),
            "data": self.data,
            "model": model,
            "seed": self.seed,
            **({} if self.treatment is None else {"treatment": self.treatment.config()}),
        }

    @property
    def config(self) -> dict[str, Any]:
        """What the samples depend on."""
        sampling = {k: v for k, v in self.model.config().items() if k in self.model.sampling}
        return {"kind": "samples", "of": self.training_config, "samples": self.samples, "sampling": sampling}

    def __str__(self) -> str:
        treated = f", {self.treatment.name}" if self.treatment else ""
        return f"{describe(self.model)} on {describe(self.task)}{treated}, seed {self.seed}"


@dataclass(frozen=True)
class Samples:
    """Trajectories that an experiment's model has generated.

    key : address in the store.    z, validity : quantity and residual of each.    row : the training
    trajectory that given steps come from.    requested : the quantity that a conditioned model was given.
    The trajectories themselves, "x", are a large array: see `excerpt`.
    """

    experiment: Experiment
    key: str
    z: Float[np.ndarray, "n"]
    validity: Float[np.ndarray, "n"]
    row: Int[np.ndarray, "n"] | None = None
    requested: Float[np.ndarray, "n"] | None = None

    @property
    def valid(self) -> np.ndarray:
        """Which trajectories have a residual below the task's tolerance."""
        return self.validity < self.experiment.task.tolerance


def demonstrations(task: Task, chunk: int) -> Job:
    """Collect chunk number ``chunk`` of a task's demonstrations: their "z" and "cells"; large is "x"."""
    if not task.chunk:
        raise ValueError(f"expected a task that collects demonstrations, got '{task.name}'")
    config = {"kind": "demonstrations", "task": task.config(), "chunk": chunk}

    def collect(store: Store, device: str) -> dict[str, np.ndarray]:
        found = task.collect(chunk)
        return {**found, "z": task.quantity.encode(task.batch(found["x"]).z)}

    def read(entry: Entry) -> dict[str, np.ndarray]:
        return {**entry.arrays, "z": task.quantity.decode(entry.arrays["z"])}

    return Job(config, collect, read=read, small=("z", "cells"))


def excerpt(job: Job, rows: Sequence[int], array: str = "x") -> Job:
    """Some rows of a large array of another job's result, which are small."""
    config = {"kind": "excerpt", "of": job.config, "array": array, "rows": [int(row) for row in rows]}

    def compute(store: Store, device: str) -> dict[str, np.ndarray]:
        return {array: whole(job, store, device).arrays[array][list(rows)]}

    return Job(config, compute, (job,), lambda entry: entry.arrays[array])


def needed_demonstrations(experiment: Experiment) -> tuple[Job, ...]:
    """The jobs that collect an experiment's training set."""
    chunk = experiment.task.chunk
    count = -(-experiment.data // chunk) if chunk else 0  # none where trajectories are generated
    return tuple(demonstrations(experiment.task, i) for i in range(count))


def training_set(experiment: Experiment, store: Store) -> Batch:
    """The trajectories that the model is trained on."""
    task, n = experiment.task, experiment.data
    if not task.chunk:
        return _generated(task, n, experiment.seed)
    chunks = [whole(job, store).arrays["x"] for job in needed_demonstrations(experiment)]
    return task.batch(np.concatenate(chunks)[:n])


@lru_cache(maxsize=2)  # several kernels in a row ask for the same one
def _generated(task: Task, n: int, seed: int) -> Batch:
    return task.sample(n, np.random.default_rng([seed, DATA]))


def training(experiment: Experiment) -> Job:
    """Train an experiment's model. The weights are large; how long it took is in the entry's ``meta``."""
    needs, cost = needed_demonstrations(experiment), experiment.model.cost
    return Job(experiment.training_config, partial(_train, experiment), needs, small=(), cost=cost)


def _train(experiment: Experiment, store: Store, device: str) -> dict[str, np.ndarray]:
    data = training_set(experiment, store)
    treatment = experiment.treatment
    given = treatment.fitting(experiment.task, data) if treatment else {"x": data.x}
    model = build(**experiment.model.config()).to(device)
    rng = np.random.default_rng([experiment.seed, FIT])
    try:
        model.fit(**given, rng=rng, progress=reporter(f"train {experiment}"))
    except FloatingPointError as error:
        raise FloatingPointError(f"{experiment}: {error}") from error
    return {"losses": model.losses, **model.state()}


def trained(experiment: Experiment, store: Store, device: str = "cpu") -> GenerativeModel:
    """The experiment's model, trained now if ``store`` does not hold it."""
    weights = dict(whole(training(experiment), store, device).arrays)
    weights.pop("losses")
    return build(**experiment.model.config()).to(device).from_state(weights)


def samples(experiment: Experiment) -> Job:
    """Draw an experiment's `Samples`."""

    def read(entry: Entry) -> Samples:
        arrays, quantity = dict(entry.arrays), experiment.task.quantity
        for name in {"z", "requested"} & arrays.keys():
            arrays[name] = quantity.decode(arrays[name])
        return Samples(experiment, entry.key, **{**arrays, "validity": arrays["validity"].astype(float)})

    model = experiment.model
    cost = experiment.samples * getattr(model, "sampler_steps", 1.0) * model.width**2
    small = ("z", "validity", "row", "requested")
    return Job(experiment.config, partial(_sample, experiment), (training(experiment),), read, small, cost)


def _sample(experiment: Experiment, store: Store, device: str) -> dict[str, np.ndarray]:
    model, rng = trained(experiment, store, device), np.random.default_rng([experiment.seed, SAMPLE])
    task, treatment, n = experiment.task, experiment.treatment, experiment.samples
    clamp, beside = {}, {}
    if model.given:  # some steps of each trajectory are those of training data, drawn at random
        data = training_set(experiment, store).x
        beside["row"] = rng.integers(len(data), size=n)
        clamp = {step: data[beside["row"], step] for step in model.given}
    requested = treatment.requests(task, n, rng) if treatment else None
    if requested is not None:
        beside["requested"] = task.quantity.encode(requested)
    x = model.sample(n, rng, clamp, requested)
    if treatment:
        x = treatment.restore(x)
    return {"x": x, "z": task.quantity.encode(task.measure(x)), "validity": half(task.validity(x)), **beside}


def own_values(experiment: Experiment) -> Job:
    """The quantity of the training trajectories whose steps an experiment's samples are given, (n,)."""
    job, quantity = samples(experiment), experiment.task.quantity

    def compute(store: Store, device: str) -> dict[str, np.ndarray]:
        row = whole(job, store, device).arrays["row"]
        return {"z": quantity.encode(training_set(experiment, store).z[row])}

    config = {"kind": "own_values", "of": experiment.config}
    return Job(config, compute, (job,), lambda entry: quantity.decode(entry.arrays["z"]))


def half(residuals: Float[np.ndarray, "n"]) -> Float16[np.ndarray, "n"]:
    """Residuals as stored: in half precision, where the largest are 60,000."""
    return np.minimum(residuals, 6e4).astype(np.float16)


def describe(part: GenerativeModel | Task) -> str:
    """Name of a model or task, with the parameters that differ from their defaults."""
    changed = [
        f"{field.name}={value}"
        for field in dataclasses.fields(part)
        if (value := getattr(part, field.name)) != field.default
    ]
    return part.name + (f"({', '.join(changed)})" if changed else "")
