"""Diffusion models that are shown some steps of a trajectory, and fill in the rest.

As in Janner et al. (2022), these steps of what the network sees are without noise, both in training and in
sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from physmis.models.unet import UNetDiffusion


@dataclass
class Planner(UNetDiffusion):
    """Diffusion with a `UNet` that is shown the first and the last step; `sample` wants both in ``clamp``."""

    name: ClassVar[str] = "planner"
    given: ClassVar[tuple[int, ...]] = (0, -1)

    def generate(self, n, noise, held, condition):
        last = self.shape[0] - 1
        held = {-1 if step == last and -1 in self.given else step: value for step, value in held.items()}
        if missing := [step for step in self.given if step not in held]:
            raise ValueError(
                f"model '{self.name}' is given the steps {self.given} of a trajectory: "
                f"clamp must hold {missing}, too"
            )
        return super().generate(n, noise, held, condition)


@dataclass
class Continuation(Planner):
    """The same, shown the first step alone: it goes on from a state."""

    name: ClassVar[str] = "continuation"
    given: ClassVar[tuple[int, ...]] = (0,)
