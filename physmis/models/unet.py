"""A small U-Net over time steps, with the layers of the reinforcement-learning U-Net of `diffusers` (after
Janner et al. 2022) and SiLU throughout."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physmis.models.base import Condition, Trajectories, embed_condition
from physmis.models.diffusion import Diffusion

GROUPS = 8  # of the group norm, as in the reference


def conv(inputs: int, outputs: int, width: int = 5, stride: int = 1) -> nn.Conv2d:
    """Convolution over the time steps of (n, channels, 1, T): CPUs do those, channels last, fastest."""
    return nn.Conv2d(inputs, outputs, (1, width), (1, stride), (0, width // 2))


def conv_block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv(inputs, outputs), nn.GroupNorm(GROUPS, outputs), nn.SiLU())


class ResidualBlock(nn.Module):
    """Two convolution blocks around a skip; noise level and condition shift each channel in between."""

    def __init__(self, inputs: int, outputs: int, embedding: int):
        super().__init__()
        self.enter, self.leave = conv_block(inputs, outputs), conv_block(outputs, outputs)
        self.shift = nn.Linear(embedding, outputs)
        self.skip = conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x, e):
        return self.leave(self.enter(x) + self.shift(F.silu(e))[:, :, None, None]) + self.skip(x)


class UNet(nn.Module):
    """The network, with twice and four times ``width`` channels at a half and a quarter of the resolution."""

    def __init__(self, channels: int, width: int, conditional: bool = False):
        super().__init__()
        a, b, c = width, 2 * width, 4 * width
        rates = torch.exp(-math.log(10_000) * torch.arange(width // 2) / (width // 2))
        self.register_buffer("rates", rates, persistent=False)
        self.embed = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
        self.condition = embed_condition(width) if conditional else None
        self.down = nn.ModuleList(ResidualBlock(i, o, width) for i, o in ((channels, a), (a, b), (b, c)))
        self.shrink = nn.ModuleList(conv(size, size, 3, stride=2) for size in (a, b))
        self.middle = ResidualBlock(c, c, width)
        self.up = nn.ModuleList(ResidualBlock(2 * i, o, width) for i, o in ((c, b), (b, a)))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(size, size, (1, 4), (1, 2), (0, 1)) for size in (b, a))
        self.leave = nn.Sequential(conv_block(a, a), conv(a, channels, 1))
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Trajectories, level: Tensor, condition: Condition = None) -> Trajectories:
        angle = level[:, None] * self.rates
        e = self.embed(torch.cat([angle.cos(), angle.sin()], dim=1))
        if self.condition is not None:
            e = e + self.condition(condition)
        h = x.unsqueeze(1).permute(0, 3, 1, 2)  # (n, C, 1, T), channels last in memory
        skips = []
        for block, shrink in zip(self.down, (*self.shrink, nn.Identity()), strict=True):
            skips.append(block(h, e))
            h = shrink(skips[-1])
        h = self.middle(h, e)
        for block, grow in zip(self.up, self.grow, strict=True):
            h = grow(block(torch.cat([h, skips.pop()], dim=1), e))
        return self.leave(h).permute(0, 2, 3, 1)[:, 0]


@dataclass
class UNetDiffusion(Diffusion):
    """A diffusion model with a small 1-D U-Net; ``width`` channels at full resolution, a multiple of 8."""

    name = "unet"
    rate: float = 5e-3
    width: int = 16

    def make_network(self, steps, channels, conditional):
        if steps % 4 or self.width % GROUPS:
            expected = f"a multiple of 4 time steps and a width that is a multiple of {GROUPS}"
            raise ValueError(f"expected {expected}, got {steps} and {self.width}")
        return UNet(channels, self.width, conditional)


class Planner(UNetDiffusion):
    """A U-Net that sees the first and the last step of each trajectory without noise (Janner et al. 2022)."""

    name = "planner"
    given = (0, -1)
