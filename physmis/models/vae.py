"""A variational autoencoder over whole trajectories (Kingma and Welling 2014) that learns its own noise.

A code u ~ N(0, I) is decoded into x ~ N(mean(u), diag scale^2), where scale is learned, one number for each
step and channel (Rybkin et al. 2021). Training minimises the negative evidence lower bound,

    -ELBO = E_{u ~ q(u|x)} [-log p(x|u)] + KL(q(u|x) || N(0, I)).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physmis.models.base import Condition, GenerativeModel, Trajectories, embed_condition
from physmis.models.mlp import ResidualMLP

FLOOR = 1e-3  # least standard deviation of the decoder, in units of the data's: densities stay finite
ACTIVE = 0.1  # least variance, over data, of the mean of a code that carries something; pure noise has 0.08


class Autoencoder(nn.Module):
    """Encoder and decoder, each a residual MLP on the flattened trajectory, and the decoder's scale."""

    def __init__(self, steps: int, channels: int, width: int, depth: int, codes: int, conditional: bool):
        super().__init__()
        self.shape = (steps, channels)
        self.encoder = ResidualMLP(steps * channels, 2 * codes, width, depth)
        self.decoder = ResidualMLP(codes, steps * channels, width, depth)
        self.log_scale = nn.Parameter(torch.zeros(steps, channels))
        self.condition = embed_condition(width) if conditional else None
        self.register_buffer("activity", torch.zeros(codes))  # variance of each mean code over the data

    def encode(self, x: Trajectories, condition: Condition = None) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(u | x), (n, codes) each."""
        mean, log_scale = self.encoder(x.flatten(1), self._embed(condition)).chunk(2, dim=1)
        return mean, log_scale.clamp(-10, 10).exp()

    def decode(self, u: Float[Tensor, "n codes"], condition: Condition = None) -> tuple[Tensor, Tensor]:
        """Mean (n, T, C) and standard deviation (T, C) of p(x | u)."""
        mean = self.decoder(u, self._embed(condition)).unflatten(1, self.shape)
        return mean, FLOOR + self.log_scale.exp()

    def _embed(self, condition):
        return None if self.condition is None else self.condition(condition)


@dataclass
class VAE(GenerativeModel):
    """A variational autoencoder with ``codes`` numbers a trajectory, and `ResidualMLP` on both sides. `fit`
    warns if no code is active (Burda et al. 2016): the posterior has then collapsed onto N(0, I)."""

    name = "vae"
    speed = 480
    choices = {"output": ("draw", "mean")}
    sampling = ("output",)
    steps: int = 9000
    rate: float = 2e-3
    width: int = 128
    depth: int = 3
    codes: int = 16
    output: str = "draw"  # from p(x | u), or its mean

    def make_network(self, steps, channels, conditional):
        return Autoencoder(steps, channels, self.width, self.depth, self.codes, conditional)

    def after_training(self, x, condition):
        with torch.no_grad():
            codes = [
                self.network.encode(x[rows], None if condition is None else condition[rows])[0]
                for rows in torch.arange(len(x), device=x.device).split(4096)
            ]
        self.network.activity = torch.cat(codes).var(dim=0, correction=0)
        if not (self.network.activity > ACTIVE).any():
            warnings.warn(f"posterior collapse: none of the {self.codes} codes varies with x", stacklevel=4)

    def training_noise(self, n, generator):
        return (torch.randn((n, self.codes), generator=generator),)

    def loss(self, x, condition, noise):
        return self.bound(x, condition, noise).mean()

    def bound(self, x: Trajectories, condition: Condition, noise: Tensor) -> Float[Tensor, "n"]:
        """-ELBO of each trajectory in nats, divided by T C; ``noise`` draws the code."""
        mean, scale = self.network.encode(x, condition)
        decoded, spread = self.network.decode(mean + scale * noise, condition)
        misfit = ((x - decoded) / spread) ** 2 / 2 + spread.log() + 0.5 * math.log(2 * math.pi)
        divergence = (mean**2 + scale**2 - 1) / 2 - scale.log()
        return (misfit.sum(dim=(1, 2)) + divergence.sum(dim=1)) / x[0].numel()

    def generate(self, n, generator, held, condition):
        if held:
            raise ValueError("expected no clamp, as a VAE makes all time steps at once, got one")
        return self.decoded(self.normal(generator, n, self.codes), generator, condition)

    def round_trip(self, x, strength, generator, condition):
        """Encode, draw a code, move it toward the prior by ``strength`` (1: all the way), and decode."""
        mean, scale = self.network.encode(x, condition)
        own, fresh = (self.normal(generator, len(x), self.codes) for _ in range(2))
        u = (1 - strength**2) ** 0.5 * (mean + scale * own) + strength * fresh
        return self.decoded(u, generator, condition)

    def decoded(self, u, generator, condition):
        """A draw from p(x | u), or its mean."""
        mean, scale = self.network.decode(u, condition)
        return mean if self.output == "mean" else mean + scale * self.normal(generator, *mean.shape)
