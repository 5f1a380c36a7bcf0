"""A residual multilayer perceptron over the flattened trajectory, as the network of a diffusion model.

It knows nothing of the order of time steps: every value of a trajectory is connected to every other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physmis.models.base import Condition, Trajectories, embed_condition
from physmis.models.diffusion import LEVELS, Diffusion

RATES = 8  # sines and cosines that encode the noise level


class ResidualMLP(nn.Module):
    """``inputs`` to ``outputs`` numbers by ``depth`` residual blocks of ``width``, each shifted by ``e``."""

    def __init__(self, inputs: int, outputs: int, width: int, depth: int):
        super().__init__()
        self.enter, self.leave = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth + 1))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(depth)
        )

    def forward(self, x: Float[Tensor, "n inputs"], e: Float[Tensor, "n width"] | None = None) -> Tensor:
        h = self.enter(x)
        for norm, block in zip(self.norms, self.blocks, strict=False):
            h = h + block(norm(h) if e is None else norm(h) + e)
        return self.leave(self.norms[-1](h))


class Denoiser(nn.Module):
    """Maps noisy trajectories (n, T, C), noise levels (n,) and, if ``conditional``, scalars (n, 1)."""

    def __init__(self, steps: int, channels: int, width: int, depth: int, conditional: bool):
        super().__init__()
        self.body = ResidualMLP(steps * channels, steps * channels, width, depth)
        rates = math.pi / 2 / LEVELS * 2.0 ** torch.arange(RATES)  # from a quarter turn over all levels on
        self.register_buffer("rates", rates, persistent=False)
        self.embed = nn.Sequential(nn.Linear(2 * RATES, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = embed_condition(width) if conditional else None

    def forward(self, x: Trajectories, level: Tensor, condition: Condition = None) -> Trajectories:
        angle = level[:, None] * self.rates
        e = self.embed(torch.cat([angle.cos(), angle.sin()], dim=1))
        if self.condition is not None:
            e = e + self.condition(condition)
        return self.body(x.flatten(1), e).view_as(x)


@dataclass
class MLPDiffusion(Diffusion):
    """A diffusion model with a residual MLP.

    Parameters
    ----------
    width, depth : numbers in each layer, and residual blocks of two layers.
    """

    name: ClassVar[str] = "mlp"
    steps: int = 12000
    rate: float = 3e-3
    width: int = 128
    depth: int = 4

    @property
    def cost(self):
        return self.steps * self.batch * self.width**2 * self.depth / 2500  # as long as a U-Net of equal cost

    def make_network(self, steps, channels, conditional):
        return Denoiser(steps, channels, self.width, self.depth, conditional)
