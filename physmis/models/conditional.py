"""U-Net diffusion models that are given a quantity, or some steps of each trajectory.

A quantity is given by classifier-free guidance (Ho and Salimans 2022): a tenth of the training trajectories
come without it, so that the network learns the unconditional distribution, too. In sampling the difference
between the two predictions is stretched. Steps are given as in Janner et al. (2022): they have no noise in
what the network sees, both in training and in sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physmis.models.unet import UNetDiffusion

UNCONDITIONAL = 0.1  # share of training trajectories that come without their condition


class OptionalCondition(nn.Module):
    """The embedding of a condition, or a learned vector where the condition is NaN."""

    def __init__(self, embed: nn.Module, width: int):
        super().__init__()
        self.embed, self.nothing = embed, nn.Parameter(torch.zeros(width))

    def forward(self, condition: Float[Tensor, "n 1"]) -> Float[Tensor, "n width"]:
        return torch.where(condition.isnan(), self.nothing, self.embed(condition.nan_to_num()))


@dataclass
class Guided(UNetDiffusion):
    """A U-Net conditioned on a quantity, with classifier-free guidance.

    Parameters
    ----------
    guidance : 1 samples what was learned; above 1 the condition counts for more, below 1 for less.
    """

    name: ClassVar[str] = "guided"
    sampling: ClassVar[tuple[str, ...]] = (*UNetDiffusion.sampling, "guidance")
    guidance: float = 1.0

    def make_network(self, steps, channels, conditional):
        if not conditional:
            raise ValueError("model 'guided': expected a condition, got none; 'unet' is trained without")
        network = super().make_network(steps, channels, conditional)
        network.condition = OptionalCondition(network.condition, self.width)
        return network

    def training_noise(self, n, generator):
        unconditional = torch.rand((n, 1), generator=generator) < UNCONDITIONAL
        return unconditional, *super().training_noise(n, generator)

    def loss(self, x, condition, unconditional, level, noise):
        return super().loss(x, condition.masked_fill(unconditional, torch.nan), level, noise)

    def predict(self, y, level, condition):
        conditional = super().predict(y, level, condition)
        if self.guidance == 1:
            return conditional
        unconditional = super().predict(y, level, torch.full_like(condition, torch.nan))
        return unconditional + self.guidance * (conditional - unconditional)


@dataclass
class Planner(UNetDiffusion):
    """A U-Net given the first and the last step of each trajectory; `sample` needs both in ``clamp``."""

    name: ClassVar[str] = "planner"
    given: ClassVar[tuple[int, ...]] = (0, -1)

    def generate(self, n, generator, held, condition):
        if missing := [step for step in self.given if step % self.shape[0] not in held]:
            raise ValueError(f"model '{self.name}': expected steps {self.given} in clamp, got no {missing}")
        return super().generate(n, generator, held, condition)


@dataclass
class Continuation(Planner):
    """A U-Net given the first step of each trajectory alone: it continues from a state."""

    name: ClassVar[str] = "continuation"
    given: ClassVar[tuple[int, ...]] = (0,)
