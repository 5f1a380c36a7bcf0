"""Where kernels land the trajectories of an experiment, through the store."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from physmis import kernels
from physmis.experiments.experiment import KERNEL, Experiment, told
from physmis.experiments.fitting import trained
from physmis.experiments.store import Entry, Store, key

# How each kernel is made from the training set, as many fresh trajectories, and a trained model. No parameter
# has a default: all of them are in the config, by which results are found again.
KERNELS: dict[str, Callable[..., kernels.Kernel]] = {
    "isotropic": lambda data, fresh, model, scale: kernels.IsotropicKernel(scale, data.std(axis=(0, 1))),
    "neighbour": lambda data, fresh, model, width, deviation: kernels.NeighbourKernel(data, width, deviation),
    "exchange": lambda data, fresh, model, width: kernels.ExchangeKernel(fresh(), width),
    "tangent": lambda data, fresh, model, reach: kernels.TangentKernel(data, reach),
    "pilot": lambda data, fresh, model, strength, scale: kernels.PilotKernel(model, strength, scale),
    "round_trip": lambda data, fresh, model, strength: kernels.RoundTripKernel(model, strength),
}
ASK_A_MODEL = ("pilot", "round_trip")


@dataclass(frozen=True)
class Deviation:
    """Where a kernel lands trajectories of an experiment's training set.

    Attributes
    ----------
    of : the experiment whose training set is taken: its first trajectories (where they are collected: some at
        random), as many as the experiment draws samples.
    kernel : a name in `KERNELS`.
    parameters : the kernel's parameters, beside data and model.
    model : the experiment whose trained model the kernel asks; None where it asks none.
    """

    of: Experiment
    kernel: str
    parameters: Mapping[str, float]
    model: Experiment | None = None

    def __post_init__(self):
        if self.kernel not in KERNELS:
            raise ValueError(f"unknown kernel {self.kernel!r}; accepted: {', '.join(KERNELS)}")
        signature = inspect.signature(KERNELS[self.kernel])
        try:
            signature.bind(None, None, None, **self.parameters)
        except TypeError as error:
            accepted = ", ".join(list(signature.parameters)[3:])
            raise ValueError(f"kernel {self.kernel!r}: {error}; accepted: {accepted}") from error
        if (self.model is not None) != (self.kernel in ASK_A_MODEL):
            given = "asks no model, but one was" if self.model else "asks a trained model, and none was"
            raise ValueError(f"kernel {self.kernel!r} {given} given; {' and '.join(ASK_A_MODEL)} ask one")

    @property
    def trains(self) -> Experiment | None:
        """The experiment whose model is needed, if any."""
        return self.model

    @property
    def training_config(self) -> dict[str, Any]:
        """The model that it depends on; its own config where there is none."""
        return self.config if self.model is None else self.model.training_config

    @property
    def config(self) -> dict[str, Any]:
        """What the landing places depend on."""
        model = None
        if self.model is not None:
            sampling = self.model.config["sampling"]
            model = {"of": self.model.training_config, "sampling": sampling}
        return {
            "kind": "deviation",
            "task": self.of.task.config(),
            "data": self.of.data,
            "seed": self.of.seed,
            "n": self.of.samples,
            "kernel": self.kernel,
            "parameters": dict(self.parameters),
            "model": model,
            **({"given": list(self.of.model.given)} if self.of.model.given else {}),
        }

    def compute(self, store: Store, device: str) -> dict[str, np.ndarray]:
        """Arrays ``z`` and ``landed``, the quantity before and after, and ``validity`` after."""
        data = self.of.training_set(store).x
        model = None if self.model is None else trained(self.model, store, device)

        def fresh():
            return self.of.fresh_set(store).x

        kernel = KERNELS[self.kernel](data, fresh, model, **self.parameters)
        if self.of.model.given:
            kernel = kernels.HeldEnds(kernel)
        task, rows = self.of.task, slice(self.of.samples)
        if task.chunk:  # seeds share the data, so let them at least take others of it
            rows = np.random.default_rng([self.of.seed, KERNEL, 0]).permutation(len(data))[rows]
        x = data[rows]
        moved = kernel.deviate(x, np.random.default_rng([self.of.seed, KERNEL]))
        return {"z": task.measure(x), "landed": task.measure(moved), "validity": task.validity(moved)}

    @property
    def cost(self) -> float:
        """Relative cost of what must be trained, to start the longest first."""
        return 0.0 if self.model is None else self.model.cost

    def result(self, entry: Entry) -> Landing:
        """What was stored, by name."""
        return Landing(self, entry)

    def __str__(self) -> str:
        return f"{self.kernel} kernel on {told(self.of.task)}, seed {self.of.seed}"


@dataclass(frozen=True)
class Landing:
    """What a `Deviation` gave: the quantity ``z`` before, ``landed`` after, and ``validity`` after."""

    deviation: Deviation
    arrays: Entry

    @property
    def z(self) -> Float[np.ndarray, "n"]:
        return self.arrays.arrays["z"]

    @property
    def landed(self) -> Float[np.ndarray, "n"]:
        return self.arrays.arrays["landed"]

    @property
    def validity(self) -> Float[np.ndarray, "n"]:
        return self.arrays.arrays["validity"]

    @property
    def transition(self) -> kernels.Transition:
        """The induced transition over the bins of the task's quantity."""
        return kernels.transition(self.z, self.landed, self.deviation.of.task.quantity.bins())

    @property
    def key(self) -> str:
        """Address in the store."""
        return key(self.deviation.config)
