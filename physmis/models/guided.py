"""A U-Net diffusion model that is told a number, and can be pushed toward it beyond what it learned.

Classifier-free guidance (Ho and Salimans 2022): a tenth of the training trajectories come without their
number, so that the network also knows what it would make unasked. In sampling the difference between the two
is stretched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physmis.models.unet import UNetDiffusion

UNTOLD = 0.1  # share of training trajectories that come without their number


class Told(nn.Module):
    """The embedding of a condition, or of being told nothing where the condition is NaN."""

    def __init__(self, embed: nn.Module, width: int):
        super().__init__()
        self.embed, self.nothing = embed, nn.Parameter(torch.zeros(width))

    def forward(self, condition: Float[Tensor, "n 1"]) -> Float[Tensor, "n width"]:
        return torch.where(condition.isnan(), self.nothing, self.embed(condition.nan_to_num()))


@dataclass
class Guided(UNetDiffusion):
    """A U-Net that is told a number, with classifier-free guidance.

    Parameters
    ----------
    guidance : 1 samples what was learned; above 1 the number counts for more, below 1 for less.
    """

    name: ClassVar[str] = "guided"
    sampling: ClassVar[tuple[str, ...]] = (*UNetDiffusion.sampling, "guidance")
    guidance: float = 1.0

    def make_network(self, steps, channels, conditional):
        if not conditional:
            raise ValueError("model 'guided' is told a number: fit it with a condition, or use 'unet'")
        network = super().make_network(steps, channels, conditional)
        network.condition = Told(network.condition, self.width)
        return network

    def draws(self, n, draw):
        untold = torch.rand((n, 1), generator=draw) < UNTOLD
        return untold, *super().draws(n, draw)

    def loss(self, x, condition, untold, level, noise):
        return super().loss(x, condition.masked_fill(untold, torch.nan), level, noise)

    def predict(self, y, level, condition):
        told = super().predict(y, level, condition)
        if self.guidance == 1:
            return told
        free = super().predict(y, level, torch.full_like(condition, torch.nan))
        return free + self.guidance * (told - free)
