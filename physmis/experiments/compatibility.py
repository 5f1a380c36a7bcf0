"""What comes of a wish beside given steps, whether or not the two can hold together."""

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
    """Trajectories that begin (and end) like some of the training set, asked for values of their own.

    Attributes
    ----------
    of : an experiment whose model is given some steps and told the quantity.
    rows : the trajectories of its training set whose given steps are held.
    values : what is asked for, each value with each row.
    seed : of the noise.
    """

    of: Experiment
    rows: Sequence[int]
    values: Sequence[float]
    seed: int

    def __post_init__(self):
        if not (self.of.model.given and isinstance(self.of.treatment, Conditioned)):
            raise ValueError(f"a model that is given steps and told the quantity wanted, got {self.of}")
        if len(self.rows) == 0 or not all(0 <= row < self.of.data for row in self.rows):
            raise ValueError(f"rows from 0 to {self.of.data - 1}, one or more, wanted, got {self.rows}")
        if len(self.values) == 0 or not np.isfinite(self.values).all():
            raise ValueError(f"finite values to ask for, one or more, wanted, got {self.values}")

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
        asked = np.tile(self.values, len(self.rows))
        x = model.sample(len(asked), np.random.default_rng(self.seed), clamp, asked)
        return {"x": x.reshape(len(self.rows), each, *x.shape[1:])}

    def __str__(self) -> str:
        return f"{len(self.rows)} starts asked for {len(self.values)} values each, of {self.of}"
