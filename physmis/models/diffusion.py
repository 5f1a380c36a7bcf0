"""Denoising diffusion over whole trajectories.

At level t of the cosine schedule (Nichol and Dhariwal 2021) a trajectory x becomes y = c x + s noise, with
c = cos(theta_t) and s = sin(theta_t). The network sees y and t and predicts the noise, the clean x, or the
velocity c noise - s x (Salimans and Ho 2022). Given y, each of the three determines the other two.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from physmis.models.base import Condition, GenerativeModel, Held, Trajectories

PREDICTIONS = ("noise", "clean", "velocity")
SAMPLERS = ("multistep", "ddim", "ancestral")
LEVELS = 100


def angles() -> Float[np.ndarray, "levels"]:
    """theta_t of the cosine schedule, from nearly 0 (data) to nearly pi / 2 (noise)."""
    ends = np.cos((np.arange(LEVELS + 1) / LEVELS + 0.008) / 1.008 * np.pi / 2) ** 2
    kept = np.cumprod(np.maximum(ends[1:] / ends[:-1], 0.001))  # no step may drop more than 99.9 % of x
    return np.arccos(np.sqrt(kept))


def trailing(start: int, steps: int) -> list[int]:
    """``steps`` levels from ``start`` - 1 downwards, evenly spaced from the noisy end (Lin et al. 2024)."""
    steps = max(1, min(steps, start))
    return (np.round(np.arange(start, 0, -start / steps))[:steps] - 1).astype(int).tolist()


@dataclass
class Diffusion(GenerativeModel):
    """What diffusion models share: a network of noisy trajectories, levels (n,) and a condition learns the
    ``prediction``; a ``sampler`` takes ``sampler_steps`` from noise to data, 100 at most."""

    choices = {"prediction": PREDICTIONS, "sampler": SAMPLERS}
    sampling = ("sampler", "sampler_steps")
    prediction: str = "velocity"
    sampler: str = "multistep"
    sampler_steps: int = 20

    def training_noise(self, n, generator):
        # Levels are spread evenly over the batch: less variance than independent draws.
        share = (torch.arange(n) + torch.rand(n, generator=generator)) / n
        level = (share * LEVELS).long().clamp(max=LEVELS - 1)
        return level, torch.randn((n, *self.shape), generator=generator)

    def loss(self, x, condition, level, noise):
        """Mean squared error of the prediction; ``level`` holds whole numbers below LEVELS, shape (n,)."""
        theta = torch.as_tensor(angles(), dtype=x.dtype, device=x.device)[level][:, None, None]
        c, s = theta.cos(), theta.sin()
        target = {"noise": noise, "clean": x, "velocity": c * noise - s * x}[self.prediction]
        noisy, given = c * x + s * noise, list(self.given)
        noisy[:, given] = x[:, given]
        out = self.network(noisy, level.to(x.dtype), condition)
        if given:  # nothing is to be learned there
            rest = torch.ones(x.shape[1], dtype=torch.bool)
            rest[given] = False
            out, target = out[:, rest], target[:, rest]
        return F.mse_loss(out, target)

    def predict(self, y: Trajectories, level: Tensor, condition: Condition) -> Trajectories:
        """What the network predicts in sampling."""
        return self.network(y, level, condition)

    def generate(self, n, generator, held, condition):
        return self.denoise(self.normal(generator, n, *self.shape), LEVELS, generator, held, condition)

    def round_trip(self, x, strength, generator, condition):
        """Add noise of the lowest share ``strength`` of all levels, and denoise."""
        start = max(1, round(strength * LEVELS))
        theta = angles()[start - 1]
        held = {step % x.shape[1]: x[:, step] for step in self.given}
        y = np.cos(theta) * x + np.sin(theta) * self.normal(generator, *x.shape)
        return self.denoise(y, start, generator, held, condition)

    def denoise(self, y: Trajectories, start: int, generator, held: Held, condition=None) -> Trajectories:
        """From y at level ``start`` - 1 down to clean data, with clean values held at the steps in ``held``.

        With the estimates x of the clean data and e of the noise, the next level's y' is, for the samplers
        - ddim (Song et al. 2021): c' x + s' e;
        - ancestral (Ho et al. 2020): c' x + sqrt(s'^2 - v) e + sqrt(v) fresh noise, v = var(y' | y, x);
        - multistep: DDIM solves d(y / s) / d theta = -x / s^2 with x constant over a step, which shrinks
          amplitudes. Here x is linear in theta (Lu et al. 2022 extrapolate in log(c / s)).
        """
        theta, times = angles(), trailing(start, round(self.sampler_steps * start / LEVELS))
        last = None
        for t, then in itertools.zip_longest(times, times[1:]):
            c, s = float(np.cos(theta[t])), float(np.sin(theta[t]))
            for step in self.given:  # the network sees these without noise
                y[:, step] = held[step % y.shape[1]]
            out = self.predict(y, torch.full((len(y),), float(t), device=y.device), condition)
            x = {"noise": (y - s * out) / c, "clean": out, "velocity": c * y - s * out}[self.prediction]
            x = x.clamp(-self.limit, self.limit)  # at the noisiest levels c is nearly 0
            for step, value in held.items():
                x[:, step] = value
            if then is None:
                break
            noise = (y - c * x) / s
            c2, s2 = float(np.cos(theta[then])), float(np.sin(theta[then]))
            if self.sampler == "ancestral":
                variance = (s2 / s) ** 2 * (1 - (c / c2) ** 2)
                fresh = self.normal(generator, *y.shape)
                y = c2 * x + max(s2**2 - variance, 0) ** 0.5 * noise + variance**0.5 * fresh
            else:
                y = c2 * x + s2 * noise
                if self.sampler == "multistep" and last is not None:
                    slope = (x - last[0]) / (theta[t] - last[1])
                    y = y + s2 * slope * ((theta[then] - theta[t]) * c2 / s2 - np.log(s2 / s))
            last = x, theta[t]
        return x
