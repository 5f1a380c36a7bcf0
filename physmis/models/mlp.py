"""A residual perceptron over the flattened trajectory, which knows nothing of the order of time steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physmis.models.base import Condition, Trajectories, embed_condition
from physmis.models.diffusion import SCALE, Diffusion

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
    """The network of a diffusion model."""

    def __init__(self, steps: int, channels: int, width: int, depth: int, conditional: bool):
        super().__init__()
        self.body = ResidualMLP(steps * channels, steps * channels, width, depth)
        rates = math.pi / 2 / SCALE * 2.0 ** torch.arange(RATES)  # from a quarter turn over all levels on
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
    """A diffusion model with a residual MLP: ``depth`` blocks of two layers of ``width`` numbers."""

    name = "mlp"
    speed = 625
    steps: int = 12000
    rate: float = 3e-3
    width: int = 128
    depth: int = 4

    def make_network(self, steps, channels, conditional):
        return Denoiser(steps, channels, self.width, self.depth, conditional)


class Continuation(MLPDiffusion):
    """An MLP given the first step of each trajectory without noise: it continues from a state."""

    name = "continuation"
    given = (0,)
