"""One way to train every network: Adam, a one-cycle learning rate, and a moving average of the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

Progress = Callable[[int, int], None]  # called with steps done and steps in all
AVERAGE = 0.995  # decay of the moving average of the weights, which is what samples; less in the first steps


@torch.no_grad()
def move_average(average: list[Tensor], weights: list[Tensor], updates: int) -> None:
    """One step of the exponential moving average, in place; early steps forget the random start faster."""
    decay = min(AVERAGE, (1 + updates) / (10 + updates)) if updates else 0.0
    torch._foreach_lerp_(average, weights, 1 - decay)


def optimise(
    network: nn.Module,
    batch_loss: Callable[[], Tensor],
    steps: int,
    rate: float,
    progress: Progress | None = None,
) -> tuple[nn.Module, Float[np.ndarray, "steps"]]:
    """Train ``network`` to make ``batch_loss`` small; returns the averaged network and the losses.

    Parameters
    ----------
    batch_loss : draws a batch and returns its loss.
    rate : peak of the learning rate, reached after a tenth of the steps.

    Raises FloatingPointError as soon as a loss is not finite.
    """
    averaged = copy.deepcopy(network)
    weights, average = list(network.parameters()), list(averaged.parameters())
    optimiser = torch.optim.Adam(weights, lr=rate, fused=True)
    # Of fewer than 20 steps a tenth would be none: such a training sees the start of a longer schedule.
    schedule = OneCycleLR(optimiser, rate, total_steps=max(steps + 1, 20), pct_start=0.1)
    losses = np.empty(steps, dtype=np.float32)
    for step in range(steps):
        if progress is not None:
            progress(step, steps)
        loss = batch_loss()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        move_average(average, weights, step)
        losses[step] = loss.item()
        if not np.isfinite(losses[step]):
            raise FloatingPointError(
                f"training diverged at step {step + 1} of {steps}: the loss is {losses[step]}. "
                f"Try a rate below {rate:g}"
            )
    if progress is not None:
        progress(steps, steps)
    return averaged.eval(), losses
