"""One way to train every network: Adam, a one-cycle learning rate, and a moving average of the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

Progress = Callable[[int, int], None]  # called with steps done and steps in all
AVERAGE = 0.995  # decay of the moving average of the weights, which is what samples


@dataclass(frozen=True)
class TrainingData:
    """What a model is trained on: standardised data on its device; weights and generator on the CPU."""

    x: Float[Tensor, "n T C"]
    condition: Float[Tensor, "n 1"] | None
    weights: Float[Tensor, "n"] | None
    generator: torch.Generator

    def rows(self, n: int) -> Int[Tensor, "n"]:
        """Which trajectories the next batch holds."""
        if self.weights is None:
            return torch.randint(len(self.x), (n,), generator=self.generator)
        return torch.multinomial(self.weights, n, replacement=True, generator=self.generator)


def train(model: Any, data: TrainingData, progress: Progress | None = None) -> None:
    """Train the network of a `GenerativeModel` and keep the moving average of its weights, and its losses.

    Raises FloatingPointError when a loss is not finite.
    """

    def batch_loss():
        draws = data.rows(model.batch), *model.training_noise(model.batch, data.generator)
        rows, *noise = (draw.to(data.x.device) for draw in draws)
        return model.loss(data.x[rows], None if data.condition is None else data.condition[rows], *noise)

    weights = list(model.network.parameters())
    averages, model.losses = optimise(weights, batch_loss, model.steps, model.rate, progress)
    for weight, average in zip(weights, averages, strict=True):
        weight.data = torch.empty_like(weight).copy_(average)  # no longer a part of one long vector
    model.network.zero_grad()
    model.network.eval()
    model.after_training(data.x, data.condition)


def optimise(
    weights: list[Tensor],
    batch_loss: Callable[[], Tensor],
    steps: int,
    rate: float,
    progress: Progress | None = None,
) -> tuple[list[Tensor], Float[np.ndarray, "steps"]]:
    """Train ``weights``, in place, to make ``batch_loss`` small; returns their averages and the losses.

    The weights become parts of one vector, and so do their gradients, so that optimiser and average take one
    operation each instead of one a weight: on small networks that is a fifteenth of the time.

    Parameters
    ----------
    batch_loss : draws a batch and returns its loss.
    rate : peak of the learning rate, reached after a tenth of the steps.
    """
    joined, parts = _vector(weights)
    gradient, slopes = _vector(weights)
    average, averages = _vector(weights)
    for weight, part, slope in zip(weights, parts, slopes, strict=True):
        weight.data, weight.grad = part.copy_(weight.data), slope
    joined.requires_grad_()
    joined.grad = gradient
    optimiser = torch.optim.Adam([joined], lr=rate, fused=True)
    # A tenth of fewer than 20 steps would be none: such a training sees the start of a longer schedule.
    schedule = OneCycleLR(optimiser, rate, total_steps=max(steps + 1, 20), pct_start=0.1)
    losses = np.empty(steps, dtype=np.float32)
    for step in range(steps):
        if progress is not None:
            progress(step, steps)
        loss = batch_loss()
        losses[step] = loss.item()
        if not np.isfinite(losses[step]):
            raise FloatingPointError(
                f"training diverged at step {step + 1} of {steps}: the loss is {losses[step]}. "
                f"Try a rate below {rate:g}"
            )
        gradient.zero_()
        loss.backward()
        optimiser.step()
        schedule.step()
        # Early steps forget the random start faster.
        decay = min(AVERAGE, (1 + step) / (10 + step)) if step else 0.0
        average.lerp_(joined.detach(), 1 - decay)
    if progress is not None:
        progress(steps, steps)
    return averages, losses


def _vector(tensors: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """A vector of zeros with room for all of ``tensors``, and its parts, each laid out as one of them."""
    begins = np.cumsum([0, *(tensor.numel() for tensor in tensors)]).tolist()
    vector = tensors[0].new_zeros(begins[-1])
    return vector, [
        vector.as_strided(tensor.shape, tensor.stride(), begin)
        for tensor, begin in zip(tensors, begins, strict=False)
    ]
