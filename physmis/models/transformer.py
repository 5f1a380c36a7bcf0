"""A causal Transformer that makes a trajectory step by step.

It is a mixture density network (Bishop 1994) of pre-norm blocks as in GPT-2, and training minimises -log p:

    p(x) = prod_t sum_k w_k(x_<t) N(x_t; mean_k(x_<t), diag scale_k(x_<t)^2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from physmis.models.base import Condition, GenerativeModel, Trajectories, embed_condition


class Mixture(NamedTuple):
    """Gaussian mixtures over C channels with K components: logits (..., K), mean and scale (..., K, C)."""

    logits: Float[Tensor, "*n K"]
    mean: Float[Tensor, "*n K C"]
    scale: Float[Tensor, "*n K C"]

    def log_density(self, x: Float[Tensor, "*n C"]) -> Float[Tensor, "*n"]:
        z = (x[..., None, :] - self.mean) / self.scale
        each = -0.5 * z**2 - self.scale.log() - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(self.logits.log_softmax(-1) + each.sum(-1), dim=-1)

    def draw(self, generator: torch.Generator) -> Float[Tensor, "*n C"]:
        shape, device = self.mean.shape[:-2], self.mean.device
        level = torch.rand((*shape, 1), generator=generator).to(device)
        noise = torch.randn((*shape, self.mean.shape[-1]), generator=generator).to(device)
        reached = self.logits.softmax(-1).cumsum(-1)
        k = (reached < level * reached[..., -1:]).sum(-1)[..., None, None]
        k = k.expand(*noise.shape[:-1], 1, noise.shape[-1])
        return (self.mean.gather(-2, k) + self.scale.gather(-2, k) * noise[..., None, :]).squeeze(-2)


class Block(nn.Module):
    """Causal self-attention and a perceptron, each around a skip."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h: Float[Tensor, "n t width"], past: list[Tensor] | None = None) -> Tensor:
        """All steps at once; or the next one alone, with keys and values of the ``past``, which grow."""
        q, k, v = self.qkv(self.before(h)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = past[:] = [torch.cat([old, new], dim=2) for old, new in zip(past, (k, v), strict=True)]
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        h = h + self.out(mixed.transpose(1, 2).flatten(2))
        return h + self.mlp(self.between(h))


class CausalNetwork(nn.Module):
    """Maps trajectories (n, T, C) to the mixture of each step given those before it."""

    def __init__(self, steps, channels, conditional, width, layers, heads, components):
        super().__init__()
        self.components = components
        self.enter = nn.Linear(channels, width)
        self.start = nn.Parameter(torch.zeros(width))  # stands before the first step
        self.place = nn.Parameter(0.02 * torch.randn(steps, width))
        self.condition = embed_condition(width) if conditional else None
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, components * (1 + 2 * channels))

    def forward(self, x: Trajectories, condition: Condition = None) -> Mixture:
        tokens = torch.cat([self.start.expand(len(x), 1, -1), self.enter(x[:, :-1])], dim=1)
        return self.mixtures(tokens + self.place, condition, [None] * len(self.blocks))

    def mixtures(self, h: Float[Tensor, "n t width"], condition: Condition, past: list) -> Mixture:
        """The mixture that follows from each of the tokens ``h`` and those before it."""
        if self.condition is not None:
            h = h + self.condition(condition)[:, None]
        for block, kept in zip(self.blocks, past, strict=True):
            h = block(h, kept)
        out = self.leave(self.norm(h)).unflatten(-1, (self.components, -1))
        mean, scale = out[..., 1:].chunk(2, dim=-1)
        return Mixture(out[..., 0], mean, 1e-3 + F.softplus(scale))  # densities stay finite


@dataclass
class Transformer(GenerativeModel):
    """An autoregressive model: ``layers`` blocks of ``width`` numbers; ``components`` Gaussians a step."""

    name = "transformer"
    speed = 5
    steps: int = 2400
    batch: int = 32
    rate: float = 4e-3
    width: int = 48
    layers: int = 3
    heads: int = 4
    components: int = 8

    def make_network(self, steps, channels, conditional):
        if self.width % self.heads:
            raise ValueError(f"expected width to be a multiple of heads, got {self.width} and {self.heads}")
        sizes = self.width, self.layers, self.heads, self.components
        return CausalNetwork(steps, channels, conditional, *sizes)

    def loss(self, x, condition):
        return -self.network(x, condition).log_density(x).mean()

    def generate(self, n, generator, held, condition):
        x, network = torch.empty((n, *self.shape), device=self.device), self.network
        empty = torch.empty((n, self.heads, 0, self.width // self.heads), device=self.device)
        past = [[empty, empty] for _ in range(self.layers)]
        for t in range(self.shape[0]):
            token = network.enter(x[:, t - 1]) if t else network.start.expand(n, -1)
            mixture = network.mixtures(token[:, None] + network.place[t], condition, past)
            x[:, t] = held.get(t, mixture.draw(generator)[:, 0])
        return x

    def round_trip(self, x, strength, generator, condition):
        """Draw the last share ``strength`` of the steps anew."""
        kept = x.shape[1] - max(1, round(strength * x.shape[1]))
        return self.generate(len(x), generator, {t: x[:, t] for t in range(kept)}, condition)
