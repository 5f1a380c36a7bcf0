"""From a resolved config to a trained model, its samples and the recovered quantity, through the store."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from jaxtyping import Float
from tqdm.auto import tqdm

from physmis.models import GenerativeModel, build
from physmis.store import Entry, Store, key
from physmis.tasks import Batch, Task

# Independent random streams of one seed.
DATA, FIT, SAMPLE = 0, 1, 2


@dataclass(frozen=True)
class Experiment:
    """One model trained on one training set of a task, and ``samples`` trajectories drawn from it.

    ``seed`` decides the training set, the initial weights, the order of training and the drawn noise.
    """

    task: Task
    model: GenerativeModel
    data: int
    samples: int
    seed: int

    def training_set(self) -> Batch:
        """The ``data`` trajectories that the model is trained on."""
        return self.task.sample(self.data, np.random.default_rng([self.seed, DATA]))

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
        }

    @property
    def config(self) -> dict[str, Any]:
        """What the samples depend on."""
        sampling = {k: v for k, v in self.model.config().items() if k in self.model.sampling}
        return {"kind": "samples", "of": self.training_config, "samples": self.samples, "sampling": sampling}

    def __str__(self) -> str:
        return f"{_told(self.model)} on {_told(self.task)}, seed {self.seed}"


@dataclass(frozen=True)
class Result:
    """What an experiment gave: trajectories ``x``, recovered quantity ``z``, ``validity``, and their cost."""

    experiment: Experiment
    samples: Entry

    @property
    def x(self) -> Float[np.ndarray, "n T C"]:
        return self.samples.arrays["x"]

    @property
    def z(self) -> Float[np.ndarray, "n"]:
        return self.samples.arrays["z"]

    @property
    def validity(self) -> Float[np.ndarray, "n"]:
        return self.samples.arrays["validity"]

    @property
    def valid(self) -> np.ndarray:
        """Which trajectories have a residual below the task's tolerance."""
        return self.validity < self.experiment.task.tolerance

    @property
    def key(self) -> str:
        """Address in the store."""
        return key(self.experiment.config)

    @cached_property
    def model(self) -> GenerativeModel:
        """The trained model, on the CPU."""
        return trained(self.experiment, Store(), "cpu")


def trained(experiment: Experiment, store: Store, device: str) -> GenerativeModel:
    """The experiment's model, trained now if the store does not hold it."""
    model = build(**experiment.model.config()).to(device)
    entry = store.fetch(experiment.training_config)
    if entry is not None:
        return model.from_state(entry.weights)
    begun = time.perf_counter()
    data = experiment.training_set()
    model.fit(data.x, np.random.default_rng([experiment.seed, FIT]), _reporter(f"train {experiment}"))
    store.put(
        experiment.training_config,
        arrays={"losses": model.losses},
        weights=model.state(),
        seconds=time.perf_counter() - begun,
        device=device,
    )
    return model


def run(experiment: Experiment, device: str = "cpu", root: Path | None = None) -> Result:
    """The experiment's result, from the store (at ``root`` if given) where it is there."""
    torch.set_num_threads(1)
    store = Store(root)
    entry = store.fetch(experiment.config)
    if entry is None:
        model = trained(experiment, store, device)
        begun = time.perf_counter()
        x = model.sample(experiment.samples, np.random.default_rng([experiment.seed, SAMPLE]))
        entry = store.put(
            experiment.config,
            arrays={"x": x, "z": experiment.task.measure(x), "validity": experiment.task.validity(x)},
            seconds=time.perf_counter() - begun,
            device=device,
        )
    return Result(experiment, entry)


def run_all(experiments: Sequence[Experiment], device: str = "cpu") -> tuple[list[Result], bool]:
    """Results in the order of ``experiments``, and whether any had to be computed.

    Whatever the store lacks is spread over processes of one thread each: $PHYSMIS_JOBS of them, or one for
    each core. An enclosing `joblib.parallel_config` moves the work elsewhere. Interrupting loses only the
    models that are in training.
    """
    store = Store()
    entries = [store.fetch(experiment.config) for experiment in experiments]
    groups: dict[
        str, list[Experiment]
    ] = {}  # those that share a model go to one worker, which trains it once
    for experiment, entry in zip(experiments, entries, strict=True):
        if entry is None:
            groups.setdefault(key(experiment.training_config), []).append(experiment)
    # Longest first, so that no core is left with a long one at the end.
    work = sorted(groups.values(), key=lambda group: -group[0].model.cost)
    # Nothing is queued ahead: if this process is killed, its workers fall idle after the model they are at.
    done = joblib.Parallel(n_jobs=_jobs(len(work)), pre_dispatch="n_jobs", return_as="generator_unordered")(
        joblib.delayed(_run_group)(group, device, store.root) for group in work
    )
    for _ in tqdm(
        done, "models", len(work), unit="model", disable="PHYSMIS_PROGRESS" in os.environ or not work
    ):
        pass
    results = [
        run(experiment, device, store.root) if entry is None else Result(experiment, entry)
        for experiment, entry in zip(experiments, entries, strict=True)
    ]
    return results, bool(work)


def _jobs(work: int) -> int:
    """How many processes: $PHYSMIS_JOBS or one a core, but no more than there is work for."""
    given = os.environ.get("PHYSMIS_JOBS") or str(joblib.cpu_count())
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"PHYSMIS_JOBS is {given!r}; a number of processes, 1 or more, wanted")
    return min(int(given), max(work, 1))


def _run_group(group: list[Experiment], device: str, root: Path) -> None:
    """`run` in turn, without sending trajectories back between processes: the store holds them.

    ``root`` is passed on because a worker keeps the environment that it was born with.
    """
    for experiment in group:
        run(experiment, device, root)


def _told(part: GenerativeModel | Task) -> str:
    """Name of a model or task, with the parameters that differ from their defaults."""
    changed = [
        f"{field.name}={value}"
        for field in dataclasses.fields(part)
        if (value := getattr(part, field.name)) != field.default
    ]
    return part.name + (f"({', '.join(changed)})" if changed else "")


def _reporter(label: str) -> Callable[[int, int], None]:
    """A progress callback that appends to the file $PHYSMIS_PROGRESS, about once a second."""
    path = os.environ.get("PHYSMIS_PROGRESS")
    last = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.time()
        if path and (now - last >= 1 or done in {0, total}):
            last = now
            event = {"label": label, "done": done, "total": total, "unit": "steps", "time": now}
            with open(path, "a") as file:
                file.write(json.dumps(event) + "\n")

    return report
