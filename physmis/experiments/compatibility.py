"""Samples of a conditioned model whose given steps and requested values need not fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from physmis.experiments.experiment import AsksModel, Experiment, trained
from physmis.experiments.store import Store
from physmis.mitigations import Conditioned


@dataclass(frozen=True)
class Compatibility(AsksModel):
    """Trajectories with the given steps of some of the training set, and requested values of their own.

    Attributes
    ----------
    of : an experiment whose model is given some steps and conditioned on the quantity.
    rows : the trajectories of its training set whose given steps are held.
    values : requested values, each with each row.
    seed : of the noise.
    """

    of: Experiment
    rows: Sequence[int]
    values: Sequence[float]
    seed: int

    def __post_init__(self):
        if not (self.of.model.given and isinstance(self.of.treatment, Conditioned)):
            raise ValueError(f"expected a conditioned model that is given some steps, got {self.of}")
        if len(self.rows) == 0 or not all(0 <= row < self.of.data for row in self.rows):
            raise ValueError(f"expected one or more rows from 0 to {self.of.data - 1}, got {self.rows}")

    @property
    def config(self) -> dict[str, Any]:
        """What the trajectories depend on."""
        return {
            "kind": "compatibility",
            "of": self.of.training_config,
            "sampling": self.of.config["sampling"],
            "rows": [int(row) for row in self.rows],
            "values": [float(value) for value in self.values],
            "seed": self.seed,
        }

    def compute(self, store: Store, device: str) -> dict[str, np.ndarray]:
        """Array ``x`` of trajectories, shape (rows, values, T, C)."""
        model, data = trained(self.of, store, device), self.of.training_set(store).x
        each = len(self.values)
        clamp = {step: np.repeat(data[list(self.rows), step], each, axis=0) for step in self.of.model.given}
        requested = np.tile(self.values, len(self.rows))
        x = model.sample(len(requested), np.random.default_rng(self.seed), clamp, requested)
        return {"x": x.reshape(len(self.rows), each, *x.shape[1:])}

    def __str__(self) -> str:
        return f"{len(self.rows)} starts with {len(self.values)} requested values each, of {self.of}"
