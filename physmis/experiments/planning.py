"""Plans in a maze that are executed in the environment, as something to compute once and store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from physmis.experiments.experiment import AsksModel, Experiment, run
from physmis.experiments.store import Store
from physmis.tasks.maze_plans import DAMP, GAIN, execute


@dataclass(frozen=True)
class Execution(AsksModel):
    """The first ``plans`` samples of an experiment, executed; or the demonstrations with the same ends."""

    of: Experiment
    plans: int
    demonstrations: bool = False

    def __post_init__(self):
        if not 1 <= self.plans <= self.of.samples:
            raise ValueError(
                f"plans from 1 to the experiment's {self.of.samples} samples wanted, got {self.plans}"
            )
        if self.demonstrations and not self.of.model.given:
            raise ValueError(
                f"model '{self.of.model.name}' is given no start and goal; "
                "no demonstrations belong to its samples"
            )

    @property
    def config(self) -> dict[str, Any]:
        """What the execution depends on."""
        return {
            "kind": "execution",
            "of": self.of.config,
            "plans": self.plans,
            "demonstrations": self.demonstrations,
            "tracker": [GAIN, DAMP],
        }

    def compute(self, store: Store, device: str) -> dict[str, np.ndarray]:
        """What `execute` gives."""
        made = run(self.of, device, store.root)
        if not self.demonstrations:
            return execute(self.of.task, made.x[: self.plans])
        data = self.of.training_set(store).x
        return execute(self.of.task, data[made.samples.arrays["row"][: self.plans]])

    def __str__(self) -> str:
        return f"{self.plans} executions of {self.of}"
