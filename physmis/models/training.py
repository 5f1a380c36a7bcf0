"""One way to train every network: Adam, a one-cycle learning rate, and a moving average of the weights.

Models of equal hyperparameters can be trained together. Their weights are stacked, and each operation serves
all of them: this keeps a graphics card busy, which one small model leaves idle. Each model meets the batches
and the noise that it would meet alone, so that its results are the same up to rounding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.lr_scheduler import OneCycleLR

if TYPE_CHECKING:
    from physmis.models import GenerativeModel

Progress = Callable[[int, int], None]  # called with steps done and steps in all
AVERAGE = 0.995  # decay of the moving average of the weights, which is what samples; less in the first steps
LOOK = {"cpu": 1, "cuda": 100}  # steps from one look at the losses to the next: a card must stop for each


class Diverged(FloatingPointError):
    """Training diverged; ``model`` is the place of the model among those trained together."""

    def __init__(self, message: str, model: int):
        super().__init__(message, model)  # both, so that it can be sent from one process to another
        self.model = model

    def __str__(self) -> str:
        return self.args[0]


@dataclass(frozen=True)
class Supply:
    """What one model is trained on: standardised data on its device; weights and generator on the CPU."""

    x: Float[Tensor, "n T C"]
    condition: Float[Tensor, "n 1"] | None
    weights: Float[Tensor, "n"] | None
    draw: torch.Generator

    def rows(self, n: int) -> Int[Tensor, "n"]:
        """Which trajectories the next batch holds."""
        if self.weights is None:
            return torch.randint(len(self.x), (n,), generator=self.draw)
        return torch.multinomial(self.weights, n, replacement=True, generator=self.draw)


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Convolutions in single precision: a card would round their factors to 10 bits."""
    convolutions = torch.backends.cudnn.conv
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before


@full_precision()
def train(
    models: Sequence[GenerativeModel], given: Sequence[Mapping[str, Any]], progress: Progress | None = None
) -> None:
    """Train models, each with the arguments of `GenerativeModel.fit` that ``given`` holds for it.

    A call that is refused or interrupted leaves all of them as they were.

    Raises
    ------
    ValueError : as `GenerativeModel.fit`; there are no models, or they differ in class, device or what
        training depends on, or their trajectories in steps or channels, or only some are told a condition.
    Diverged : a loss is not finite. On a card this is seen up to 100 steps later.
    """
    if not models:
        raise ValueError("at least one model wanted, got none")
    before = [dict(model.__dict__) for model in models]
    try:
        supplies = [model.prepare(**each) for model, each in zip(models, given, strict=True)]
        _check_alike(models)
        draw = _joint_batch(models, supplies)
        weights, loss = _alone(models[0]) if len(models) == 1 else _stacked(models)
        averages, losses = optimise(weights, lambda: loss(*draw()), models[0].steps, models[0].rate, progress)
        for i, (model, supply) in enumerate(zip(models, supplies, strict=True)):
            for weight, kept in zip(model.network.parameters(), averages, strict=True):
                # In memory of its own again: what is stored may not share any.
                weight.data = torch.empty_like(weight).copy_(kept if len(models) == 1 else kept[i])
            model.network.zero_grad()
            model.network.eval()
            model.losses = losses.reshape(len(losses), -1)[:, i].copy()
            model.settle(supply.x, supply.condition)
    except BaseException:
        for model, state in zip(models, before, strict=True):
            model.__dict__ = state
        raise


def _check_alike(models: Sequence[GenerativeModel]) -> None:
    def traits(model):
        config = {k: v for k, v in model.config().items() if k not in model.sampling}
        return {**config, "device": model.device, "shape": model.shape, "told": model.told is not None}

    first = traits(models[0])
    for i, model in enumerate(models):
        if differing := [k for k, v in traits(model).items() if first.get(k) != v]:
            raise ValueError(
                f"models trained together must be alike; number {i} differs in {', '.join(differing)}"
            )


def _joint_batch(models: Sequence[GenerativeModel], supplies: Sequence[Supply]) -> Callable[[], list]:
    """A call that draws a batch for each model: what `GenerativeModel.loss` takes, with models first."""
    x = torch.cat([supply.x for supply in supplies])
    told = None if supplies[0].condition is None else torch.cat([supply.condition for supply in supplies])
    begins = np.cumsum([0, *(len(supply.x) for supply in supplies)]).tolist()

    def on_device(parts: tuple[Tensor, ...]) -> Tensor:
        part = torch.stack(parts)
        return part.pin_memory().to(x.device, non_blocking=True) if x.is_cuda else part

    def batch():
        drawn = [
            (begin + supply.rows(model.batch), *model.draws(model.batch, supply.draw))
            for model, supply, begin in zip(models, supplies, begins, strict=False)
        ]
        rows, *draws = (on_device(parts) for parts in zip(*drawn, strict=True))
        return [x[rows], None if told is None else told[rows], *draws]

    return batch


def _alone(model: GenerativeModel) -> tuple[list[Tensor], Callable[..., Tensor]]:
    """Weights to be trained, and the loss of a batch that has a first axis of length 1 for the model."""

    def loss(*batch):
        return model.loss(*(None if part is None else part[0] for part in batch))

    return list(model.network.parameters()), loss


class _Objective(nn.Module):
    """A model's loss as a module, so that it can be asked of other weights than the model's."""

    def __init__(self, model: GenerativeModel):
        super().__init__()
        self.network, self.loss = model.network, model.loss

    def forward(self, *batch):
        return self.loss(*batch)


def _stacked(models: Sequence[GenerativeModel]) -> tuple[list[Tensor], Callable[..., Tensor]]:
    """As `_alone`, for several models: weights with an axis for the models first, and a loss for each."""
    objectives = [_Objective(model) for model in models]
    weights, buffers = torch.func.stack_module_state(objectives)
    # Without channels last, which group norms under vmap refuse.
    weights = {name: part.detach().contiguous().requires_grad_() for name, part in weights.items()}

    def one(weights, buffers, *batch):
        return torch.func.functional_call(objectives[0], (weights, buffers), batch)

    def loss(*batch):
        axes = tuple(None if part is None else 0 for part in batch)
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels do not stack on every device
            return torch.vmap(one, in_dims=(0, 0, *axes))(weights, buffers, *batch)

    return list(weights.values()), loss


@torch.no_grad()
def move_average(average: Tensor, weights: Tensor, updates: int) -> None:
    """One step of the exponential moving average, in place; early steps forget the random start faster."""
    decay = min(AVERAGE, (1 + updates) / (10 + updates)) if updates else 0.0
    average.lerp_(weights, 1 - decay)


def _vector(tensors: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """A vector of zeros with room for all of ``tensors``, and its parts, each laid out as one of them."""
    begins = np.cumsum([0, *(tensor.numel() for tensor in tensors)]).tolist()
    vector = tensors[0].new_zeros(begins[-1])
    return vector, [
        vector.as_strided(tensor.shape, tensor.stride(), begin)
        for tensor, begin in zip(tensors, begins, strict=False)
    ]


def optimise(
    weights: list[Tensor],
    batch_loss: Callable[[], Tensor],
    steps: int,
    rate: float,
    progress: Progress | None = None,
) -> tuple[list[Tensor], Float[np.ndarray, "steps *models"]]:
    """Train ``weights``, in place, to make ``batch_loss`` small; returns their averages and the losses.

    They become parts of one vector, and so do their gradients, so that optimiser and average are one
    operation each and not one for each of them: on small networks that is a fifteenth of the time.

    Parameters
    ----------
    batch_loss : draws a batch and returns its loss; of several models one each, which depend on no weights
        but their own.
    rate : peak of the learning rate, reached after a tenth of the steps.

    Raises `Diverged` when a loss is not finite.
    """
    joined, parts = _vector(weights)
    gradient, slopes = _vector(weights)
    average, averages = _vector(weights)
    for weight, part, slope in zip(weights, parts, slopes, strict=True):
        weight.data, weight.grad = part.copy_(weight.data), slope
    joined.requires_grad_()
    joined.grad = gradient
    optimiser = torch.optim.Adam([joined], lr=rate, fused=True)
    # Of fewer than 20 steps a tenth would be none: such a training sees the start of a longer schedule.
    schedule = OneCycleLR(optimiser, rate, total_steps=max(steps + 1, 20), pct_start=0.1)
    losses, unseen = [], []
    for step in range(steps):
        if progress is not None:
            progress(step, steps)
        loss = batch_loss()
        gradient.zero_()
        loss.sum().backward()
        optimiser.step()
        schedule.step()
        move_average(average, joined, step)
        unseen.append(loss.detach())
        if len(unseen) == LOOK[loss.device.type] or step + 1 == steps:
            losses.append(torch.stack(unseen).cpu().numpy())
            unseen = []
            _check_finite(losses[-1], step + 1 - len(losses[-1]), steps, rate)
    if progress is not None:
        progress(steps, steps)
    return averages, np.concatenate(losses)


def _check_finite(losses: Float[np.ndarray, "some *models"], before: int, steps: int, rate: float) -> None:
    """Raises `Diverged` where a loss is not finite; ``before`` steps came before the first."""
    if np.isfinite(losses).all():
        return
    bad = np.argwhere(~np.isfinite(losses))[0]
    step, model = (*bad, 0)[:2]
    raise Diverged(
        f"training diverged at step {before + step + 1} of {steps}: the loss is {losses[tuple(bad)]}. "
        f"Try a rate below {rate:g}",
        int(model),
    )
