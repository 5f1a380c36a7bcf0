"""A diffusion planner: a U-Net that is shown start and goal, and fills in the way between them.

As in Janner et al. (2022), the first and the last step of what the network sees are without noise, both in
training and in sampling.
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

    def generate(self, n, draw, held, condition):
        held = {step if step < self.shape[0] - 1 else -1: value for step, value in held.items()}
        if missing := [step for step in self.given if step not in held]:
            raise ValueError(f"model 'planner' plans from a start to a goal: clamp must hold {missing}, too")
        return super().generate(n, draw, held, condition)
