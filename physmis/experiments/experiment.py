"""From a resolved config to a trained model, its samples and the recovered quantity, through the store."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float

from physmis.experiments.fitting import trained, training
from physmis.experiments.parallel import fan_out
from physmis.experiments.store import Entry, Store, StoreError, key
from physmis.mitigations import InCoordinates, Treatment
from physmis.models import GenerativeModel
from physmis.tasks import Batch, Task

# Random streams of one seed. numpy fills up with zeros, so [s, 0] is s itself: `default_rng(s)` draws the
# training set of seed s anew, and is no source of fresh trajectories (`Experiment.fresh_set` is).
DATA, FIT, SAMPLE, KERNEL, FRESH = 0, 1, 2, 3, 4
PATIENCE = 90.0  # seconds; NFS looks anew at a folder after at most 60


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
        if isinstance(self.treatment, InCoordinates) and self.model.given:
            raise ValueError(
                f"model '{self.model.name}' is given some steps; other coordinates do not keep them"
            )

    def training_set(self, store: Store | None = None) -> Batch:
        """The ``data`` trajectories that the model is trained on."""
        if self.task.chunk:
            return self._recorded(self.collections(), store)
        return _generated(self.task, self.data, self.seed, DATA)

    def fresh_set(self, store: Store | None = None) -> Batch:
        """As many trajectories again, that no model is trained on."""
        if self.task.chunk:
            return self._recorded(self.collections(fresh=True), store)
        return _generated(self.task, self.data, self.seed, FRESH)

    def collections(self, fresh: bool = False) -> list[Collection]:
        """The chunks that make up the training set (or `fresh_set`); none where nothing is collected."""
        count = -(-self.data // self.task.chunk) if self.task.chunk else 0
        return [Collection(self.task, i + count * fresh) for i in range(count)]

    def _recorded(self, collections: list[Collection], store: Store | None) -> Batch:
        chunks = [run(chunk, root=store and store.root).arrays["x"] for chunk in collections]
        return self.task.batch(np.concatenate(chunks)[: self.data])

    def fitting(self, store: Store | None = None) -> dict[str, Any]:
        """The arguments of `physmis.models.GenerativeModel.fit`."""
        data = self.training_set(store)
        given = self.treatment.fitting(self.task, data) if self.treatment else {"x": data.x}
        return {**given, "rng": np.random.default_rng([self.seed, FIT])}

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

    @property
    def trains(self) -> Experiment:
        """The experiment whose model is needed: this one."""
        return self

    def compute(self, store: Store, device: str) -> dict[str, np.ndarray]:
        """Arrays ``x``, ``z`` and ``validity`` of the drawn trajectories.

        For a model that is given some steps also ``row``, the training trajectory that they come from; for
        one that is told a quantity also ``requested``.
        """
        model, rng = trained(self, store, device), np.random.default_rng([self.seed, SAMPLE])
        clamp, of = {}, {}
        if model.given:  # it asks for some steps of each trajectory: those of training data, drawn at random
            data = self.training_set(store).x
            of["row"] = rng.integers(len(data), size=self.samples)
            clamp = {step: data[of["row"], step] for step in model.given}
        if self.treatment and (asked := self.treatment.requests(self.task, self.samples, rng)) is not None:
            of["requested"] = asked
        x = model.sample(self.samples, rng, clamp, of.get("requested"))
        if self.treatment:
            x = self.treatment.restore(x)
        return {"x": x, "z": self.task.measure(x), "validity": self.task.validity(x), **of}

    @property
    def seconds_of_training(self) -> float:
        """How long training took where it was done, with the making of its data unless collected."""
        return training(self, Store(), "cpu").meta["seconds"]

    @property
    def cost(self) -> float:
        """Relative cost of training, to start the longest first."""
        return self.model.cost

    def result(self, entry: Entry) -> Result:
        """What was stored, by name."""
        return Result(self, entry)

    def __str__(self) -> str:
        treated = f", {self.treatment.name}" if self.treatment else ""
        return f"{told(self.model)} on {told(self.task)}{treated}, seed {self.seed}"


@lru_cache(maxsize=2)  # several kernels in a row ask for the same one
def _generated(task: Task, n: int, seed: int, stream: int) -> Batch:
    return task.sample(n, np.random.default_rng([seed, stream]))


@dataclass(frozen=True)
class Collection:
    """One chunk of the demonstrations of a task that collects them: ``run`` gives its store `Entry`."""

    task: Task
    number: int
    trains = None
    cost = 0.0

    def __post_init__(self):
        if not self.task.chunk:
            raise ValueError(
                f"task '{self.task.name}' generates its trajectories: there is nothing to collect"
            )

    @property
    def config(self) -> dict[str, Any]:
        """What the demonstrations depend on."""
        return {"kind": "demonstrations", "task": self.task.recording, "chunk": self.number}

    training_config = config

    def compute(self, store: Store, device: str) -> dict[str, np.ndarray]:
        """What `physmis.tasks.Task.collect` gives."""
        return self.task.collect(self.number)

    def result(self, entry: Entry) -> Entry:
        """The entry itself."""
        return entry

    def __str__(self) -> str:
        return f"demonstrations of {told(self.task)}, chunk {self.number}"


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

    @property
    def seconds_of_training(self) -> float:
        """That of the experiment."""
        return self.experiment.seconds_of_training

    @cached_property
    def model(self) -> GenerativeModel:
        """The trained model, on the CPU."""
        return trained(self.experiment, Store(), "cpu")


class Item(Protocol):
    """What can be computed once and stored: an `Experiment`, a `Deviation`, a `Collection`, an execution."""

    trains: Experiment | None
    training_config: dict[str, Any]
    config: dict[str, Any]
    cost: float

    def compute(self, store: Store, device: str) -> dict[str, np.ndarray]: ...

    def result(self, entry: Entry) -> Any: ...


class AsksModel:
    """What an item shares that asks the trained model of an experiment ``of``."""

    of: Experiment

    @property
    def trains(self) -> Experiment:
        """The experiment whose model is needed."""
        return self.of

    @property
    def training_config(self) -> dict[str, Any]:
        """The model that it depends on."""
        return self.of.training_config

    @property
    def cost(self) -> float:
        """Relative cost of what must be trained, to start the longest first."""
        return self.of.cost

    def result(self, entry: Entry) -> Entry:
        """The entry itself."""
        return entry


def run(item: Item, device: str = "cpu", root: Path | None = None) -> Any:
    """What an item gives, from the store (at ``root`` if given) where it is there."""
    torch.set_num_threads(1)
    store = Store(root)
    entry = store.fetch(item.config)
    if entry is None:
        if item.trains is not None:
            trained(item.trains, store, device)  # It has an entry of its own, with its own wall time.
        begun = time.perf_counter()
        arrays = item.compute(store, device)
        seconds = time.perf_counter() - begun
        entry = store.put(item.config, arrays=arrays, seconds=seconds, device=device)
    return item.result(entry)


def run_all(items: Sequence[Item], device: str = "cpu") -> tuple[list[Any], bool]:
    """Results in the order of ``items``, and whether any had to be computed.

    Whatever the store lacks is spread over processes of one thread each: $PHYSMIS_JOBS of them, or one for
    each core; or over the workers of the Dask scheduler at $PHYSMIS_SCHEDULER. An enclosing
    `joblib.parallel_config` moves the work elsewhere, too. Interrupting loses only what is being computed.
    Workers must share the store: StoreError if what they have made does not turn up in it. With the device
    "cuda" this process does what asks a network.
    """
    store = Store()
    entries = [store.fetch(item.config) for item in items]
    lacking = [item for item, entry in zip(items, entries, strict=True) if entry is None]
    _collect_first(lacking, device)
    if device == "cuda":
        _run_group([item for item in lacking if item.trains is not None], device, store.root)
        lacking = [item for item in lacking if item.trains is None]
    groups: dict[str, list] = {}  # those that share a model go to one worker, which trains it once
    for item in lacking:
        groups.setdefault(key(item.training_config), []).append(item)
    # Longest first, so that no core is left with a long one at the end.
    work = sorted(groups.values(), key=lambda group: -group[0].cost)
    fan_out(_run_group, [(group, device, store.root) for group in work], "model")
    results = [
        item.result(_arrived(item, store) if entry is None else entry)
        for item, entry in zip(items, entries, strict=True)
    ]
    return results, any(entry is None for entry in entries)


def _arrived(item: Item, store: Store) -> Entry:
    """The entry that a worker has made. A file system that is shared over a network may show it late."""
    until = time.monotonic() + PATIENCE
    while (entry := store.fetch(item.config)) is None:
        if time.monotonic() > until:
            raise StoreError(
                f"{item} is done, but {store.root} does not hold it; workers must have this folder in common "
                "with this process, and the same version of physmis"
            )
        time.sleep(0.1)
    return entry


def _collect_first(items: Sequence[Item], device: str) -> None:
    """Collect the demonstrations that ``items`` need, so that no two workers do."""
    needed = {}
    for item in items:
        for part in (item, item.trains, getattr(item, "of", None)):
            if isinstance(part, Experiment):
                needed |= {key(chunk.config): chunk for chunk in part.collections()}
    if needed:
        run_all(list(needed.values()), device)


def _run_group(group: Sequence[Item], device: str, root: Path) -> None:
    """`run` in turn, without sending trajectories back between processes: the store holds them.

    ``root`` is passed on because a worker keeps the environment that it was born with.
    """
    for item in group:
        run(item, device, root)


def told(part: GenerativeModel | Task) -> str:
    """Name of a model or task, with the parameters that differ from their defaults."""
    changed = [
        f"{field.name}={value}"
        for field in dataclasses.fields(part)
        if (value := getattr(part, field.name)) != field.default
    ]
    return part.name + (f"({', '.join(changed)})" if changed else "")
