"""Denoising diffusion over whole trajectories.

At level l a trajectory x becomes y = c x + s noise with c^2 + s^2 = 1 and l = log(c / s), half of the log of
the signal-to-noise ratio. Levels go from `NOISIEST` to `CLEANEST`. The network sees y and l and predicts the
velocity v = c noise - s x (Salimans and Ho 2022), so that x = c y - s v.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from physmis.models.base import GenerativeModel, Held, Trajectories

SAMPLERS = ("multistep", "ancestral")
# Noise is 80 times as large as the data at first, and 0.005 of them at last: at 0.025 the last estimate alone
# would take 22 % off the spread of a direction of variance 0.001.
NOISIEST, CLEANEST = -np.log(80.0), -np.log(0.005)
SCALE = 100.0  # networks are given levels on a scale from 0 to this


def cosine_sine(level: float) -> tuple[float, float]:
    """c and s at a level."""
    return float((1 + np.exp(-2 * level)) ** -0.5), float((1 + np.exp(2 * level)) ** -0.5)


def level_at(share: float) -> float:
    """The level whose angle arctan(s / c) is a ``share`` of that at `NOISIEST`."""
    return min(-float(np.log(np.tan(share * np.arctan(np.exp(-NOISIEST))))), CLEANEST)


@dataclass
class Diffusion(GenerativeModel):
    """What diffusion models share: a network of noisy trajectories, levels (n,) and a condition learns the
    velocity; a ``sampler`` asks it ``sampler_steps`` times on the way from noise to data."""

    choices = {"sampler": SAMPLERS}
    sampling = ("sampler", "sampler_steps")
    sampler: str = "multistep"
    sampler_steps: int = 25

    def training_noise(self, n, generator):
        # Angles arctan(s / c) are spread evenly over the batch: less variance than independent draws.
        share = (torch.arange(n) + torch.rand(n, generator=generator)) / n
        clean, noisy = np.arctan(np.exp([-CLEANEST, -NOISIEST]))
        level = -torch.log(torch.tan(clean + share * (noisy - clean)))
        return level, torch.randn((n, *self.shape), generator=generator)

    def loss(self, x, condition, level, noise):
        """Mean squared error of the velocity at levels (n,)."""
        c, s = (torch.sigmoid(sign * level).sqrt()[:, None, None] for sign in (2, -2))
        target = c * noise - s * x
        noisy, given = c * x + s * noise, list(self.given)
        noisy[:, given] = x[:, given]
        out = self.network(noisy, scaled(level), condition)
        if given:  # nothing is to be learned there
            rest = torch.ones(x.shape[1], dtype=torch.bool)
            rest[given] = False
            out, target = out[:, rest], target[:, rest]
        return F.mse_loss(out, target)

    def generate(self, n, generator, held, condition):
        return self.denoise(self.normal(generator, n, *self.shape), NOISIEST, generator, held, condition)

    def round_trip(self, x, strength, generator, condition):
        """Add noise up to an angle arctan(s / c) of ``strength`` times the largest, and denoise."""
        level = level_at(strength)
        c, s = cosine_sine(level)
        held = {step % x.shape[1]: x[:, step] for step in self.given}
        y = c * x + s * self.normal(generator, *x.shape)
        return self.denoise(y, level, generator, held, condition)

    def denoise(self, y: Trajectories, start: float, generator, held: Held, condition=None) -> Trajectories:
        """From y at level ``start`` to clean data, with clean values held at the steps in ``held``.

        Levels are even from ``start`` to `CLEANEST`, h apart, as many as fall to this part of the whole way.
        With the estimate x of the clean data, and e of the noise, the next level's y' is, for the samplers
        - multistep: s'/s y + c' (1 - exp(-h)) (x + (x - previous x) / 2), the DPM-Solver++(2M) of Lu et al.
          (2022);
        - ancestral (Ho et al. 2020): c' x + sqrt(s'^2 - v) e + sqrt(v) fresh noise, v = var(y' | y, x).
        The estimate at the last level is what is returned.
        """
        share = (CLEANEST - start) / (CLEANEST - NOISIEST)
        levels, last = np.linspace(start, CLEANEST, max(2, round(self.sampler_steps * share))), None
        for level, then in zip(levels, (*levels[1:], None), strict=True):
            c, s = cosine_sine(level)
            for step in self.given:  # the network sees these without noise
                y[:, step] = held[step % y.shape[1]]
            now = torch.full((len(y),), scaled(level), dtype=y.dtype, device=y.device)
            x = c * y - s * self.network(y, now, condition)
            x = x.clamp(-self.limit, self.limit)  # at the noisiest levels c is nearly 0
            for step, value in held.items():
                x[:, step] = value
            if then is None:
                return x
            c2, s2 = cosine_sine(then)
            if self.sampler == "ancestral":
                variance = (s2 / s) ** 2 * (1 - (c / c2) ** 2)
                fresh = self.normal(generator, *y.shape)
                y = c2 * x + max(s2**2 - variance, 0) ** 0.5 / s * (y - c * x) + variance**0.5 * fresh
            else:
                ahead = x if last is None else x + (x - last) / 2
                y = s2 / s * y - c2 * np.expm1(level - then) * ahead
            last = x


def scaled(level: Float[Tensor, "n"] | float) -> Float[Tensor, "n"] | float:
    """Levels as networks are given them."""
    return SCALE * (CLEANEST - level) / (CLEANEST - NOISIEST)
