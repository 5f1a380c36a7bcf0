"""Data deviation kernels K(x' | x): the errors that a model class tends to make at the trajectory x.

Kernels take arrays and callables; they know no task and no model by name. `physmis.kernels.transition` pushes
them through a measurement.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from physmis import checks

AT_ONCE = 10_000_000  # distances held at once: 40 MiB
Trajectories = Float[np.ndarray, "n T C"]
Measurement = Callable[[Trajectories], Float[np.ndarray, "n"]]


class Kernel(ABC):
    """Base of all kernels."""

    @abstractmethod
    def deviate(self, x: Trajectories, rng: np.random.Generator) -> Trajectories:
        """One draw x' ~ K(x' | x) for each trajectory of ``x``."""


@dataclass(frozen=True)
class IsotropicKernel(Kernel):
    """x' = x + scale * spread * noise: the same independent error in every step and channel.

    Parameters
    ----------
    scale : standard deviation of the error, in the coordinates that the model sees; positive.
    spread : what one unit of these coordinates is in each channel, shape (C,): models standardise their data.
    """

    scale: float
    spread: Any = 1.0

    def __post_init__(self):
        checks.positive(scale=self.scale, spread=self.spread)

    def deviate(self, x, rng):
        x = checks.trajectories(x)
        return x + self.scale * np.asarray(self.spread) * rng.standard_normal(x.shape)


class References:
    """Reference trajectories, and half the squared distances of others to them.

    Distances are Euclidean over all steps and channels, each channel in units of its standard deviation over
    the references (``spread``). No reference is its own neighbour (leave-one-out).
    """

    def __init__(self, data: Trajectories):
        data = checks.trajectories(data)
        if len(data) < 2:
            raise ValueError(f"expected two trajectories or more, got shape {data.shape}")
        checks.enough_spread(data)
        self.data = np.ascontiguousarray(data, dtype=np.float32)
        # In float64, as a channel may vary little about a large value.
        self.spread = np.maximum(self.data.std(axis=(0, 1), dtype=np.float64), 1e-6).astype(np.float32)
        self._origin = self.data.mean(axis=0, dtype=np.float64)
        self.flat = self.standardised(self.data)
        self._half_norms = (self.flat**2).sum(dim=1) / 2
        self._places = {row.tobytes(): i for i, row in enumerate(self.data)}

    def standardised(self, x: Trajectories) -> torch.Tensor:
        """Rows of ``x``, less the mean of the references, as vectors in units of ``spread``, (n, T * C)."""
        centred = ((x - self._origin) / self.spread).astype(np.float32)  # far from 0, products would cancel
        return torch.from_numpy(centred.reshape(len(x), -1))

    def half_squares(self, x: Float[np.ndarray, "rows T C"]) -> torch.Tensor:
        """|x_j - x|^2 / 2 up to a constant of each row, (rows, N); infinite where x_j is x itself."""
        half = torch.addmm(self._half_norms, self.standardised(x), self.flat.T, alpha=-1)
        own = [(i, j) for i, row in enumerate(x) if (j := self._places.get(row.tobytes())) is not None]
        if own:
            i, j = torch.tensor(own).T
            half[i, j] = torch.inf
        return half

    def in_blocks(self, pick: Callable[[torch.Tensor], torch.Tensor], x: Trajectories) -> np.ndarray:
        """``pick`` of the `half_squares` of a few rows of ``x`` at a time, joined: memory stays flat."""
        x = checks.trajectories(x).astype(np.float32)
        if x.shape[1:] != self.data.shape[1:] or len(x) == 0:
            raise ValueError(f"expected trajectories of shape {self.data.shape[1:]}, got shape {x.shape}")
        rows = max(1, AT_ONCE // len(self.data))
        return np.concatenate(
            [pick(self.half_squares(x[i : i + rows])).numpy() for i in range(0, len(x), rows)]
        )

    def draw(self, x: Trajectories, width: float, rng: np.random.Generator) -> Trajectories:
        """An x_j for each of ``x``, in proportion to exp(-|x_j - x|^2 / (2 width^2)); or the nearest."""
        if width == 0:
            return self.data[self.in_blocks(lambda half: half.argmin(dim=1), x)]

        def pick(half):
            weights = half.sub_(half.amin(dim=1, keepdim=True)).div_(-max(width**2, 1e-30)).exp_()
            reached = weights.cumsum_(dim=1)
            level = torch.from_numpy(rng.random((len(half), 1), dtype=np.float32)) * reached[:, -1:]
            # The first that is reached beyond the level, which is below the last: never one of weight 0.
            return torch.searchsorted(reached, level, right=True).squeeze(1)

        return self.data[self.in_blocks(pick, x)]


class NeighbourKernel(Kernel):
    """x' is another training trajectory x_j, drawn in proportion to exp(-|x_j - x|^2 / (2 width^2)).

    With ``width`` 0 it is the nearest other one. Distances are those of `References`.

    Parameters
    ----------
    data : the training trajectories, shape (N, T, C).
    width : how far the draw reaches; 0 or more.
    deviation : scale of an `IsotropicKernel` afterwards; 0 for none.
    """

    def __init__(self, data: Trajectories, width: float = 0.0, deviation: float = 0.0):
        if not (0 <= width < np.inf and 0 <= deviation < np.inf):
            raise ValueError(f"expected width and deviation of 0 or more, got {width} and {deviation}")
        self.references, self.width, self.deviation = References(data), width, deviation

    def deviate(self, x, rng):
        neighbour = self.references.draw(x, self.width, rng)
        if self.deviation:
            return IsotropicKernel(self.deviation, self.references.spread).deviate(neighbour, rng)
        return neighbour


class ExchangeKernel(Kernel):
    """The exact noise-and-denoise exchange: blur x by ``width``, then draw from the posterior of references.

    y = x + width * noise, and x' is a reference x_j, drawn in proportion to exp(-|x_j - y|^2 / (2 width^2)).
    With plentiful references, drawn afresh, this is one step of a reversible chain. It leaves the prior
    unchanged, whatever its bias at each value: a null that should forecast nothing.

    Parameters
    ----------
    references : trajectories with the distribution of x, and not x themselves, shape (N, T, C).
    width : standard deviation of the noise, in units of the channels' standard deviations; positive.
    """

    def __init__(self, references: Trajectories, width: float):
        checks.positive(width=width)
        self.references, self.width = References(references), width

    def deviate(self, x, rng):
        noisy = IsotropicKernel(self.width, self.references.spread).deviate(x, rng)
        return self.references.draw(noisy, self.width, rng)


class TangentKernel(Kernel):
    """Errors along the data: steps between neighbours, short beside the trajectory's size.

    With x_i, x_j, x_k drawn from the nearest ``share`` of the training trajectories (x itself left out), and
    l = reach * |x - mean| (the mean of each channel, over data and steps),

        x' = x + (x_i - x_j) / sqrt(1 + |x_i - x_j|^2 / l^2) + (x_k - x) / (1 + |x_k - x|^2 / l^2).

    The first step is a blur along the data, no longer than l; the second a pull toward neighbours that lie
    within l, and nearly none where they are far. Errors across the data are left out: a trained model
    corrects them. The kernel is this companion's own.

    Parameters
    ----------
    data : the training trajectories, shape (N, T, C).
    reach : l as a share of a trajectory's distance to the mean; positive.
    share : how much of the data counts as neighbours, in (0, 1]; two where there are so many.
    """

    def __init__(self, data: Trajectories, reach: float, share: float = 0.05):
        checks.positive(reach=reach)
        if not 0 < share <= 1:
            raise ValueError(f"expected share in (0, 1], got {share}")
        self.references, self.reach = References(data), reach
        self.count = min(max(2, round(share * len(self.references.data))), len(self.references.data) - 1)
        self.centre = self.references.data.mean(axis=(0, 1), dtype=np.float64)

    def deviate(self, x, rng):
        x = checks.real(x, "trajectories")
        return self.step(x, self.references.data[self.neighbours(x, rng).T])

    def neighbours(self, x: Trajectories, rng: np.random.Generator) -> Int[np.ndarray, "n 3"]:
        """Indices of x_i, x_j and x_k among the data, drawn for each of ``x``."""

        def pick(half):
            near = half.topk(self.count, largest=False).indices
            return near.gather(1, torch.from_numpy(rng.integers(self.count, size=(len(half), 3))))

        return self.references.in_blocks(pick, x)

    def step(self, x: Trajectories, near: Float[np.ndarray, "3 n T C"]) -> Trajectories:
        """x' for given neighbours ``near`` = (x_i, x_j, x_k)."""
        x_i, x_j, x_k = near
        blur, pull = x_i - x_j, x_k - x
        square = np.maximum(self._squares(x - self.centre) * self.reach**2, 1e-12)
        blur = blur / np.sqrt(1 + self._squares(blur) / square)
        return x + blur + pull / (1 + self._squares(pull) / square)

    def _squares(self, steps):
        """Squared length of each step, (n, 1, 1), in the distance of `References`."""
        return ((steps / self.references.spread) ** 2).sum(axis=(1, 2), keepdims=True)


@dataclass(frozen=True)
class HeldEnds(Kernel):
    """Another kernel's x', less the line between its errors at both ends, so that x' begins and ends as x.

    For models that are given the first and the last step.
    """

    kernel: Kernel

    def deviate(self, x, rng):
        x = checks.real(x, "trajectories")
        error = self.kernel.deviate(x, rng) - x
        share = np.linspace(0, 1, x.shape[1])[:, None]
        return x + error - (1 - share) * error[:, :1] - share * error[:, -1:]


@dataclass(frozen=True)
class RoundTripKernel(Kernel):
    """x' = model.perturb(x): erase a share ``strength``, in (0, 1], of x, and let the model fill it in.

    It measures the errors of the trained model at hand, so it explains drift and is no forecast made before
    training.
    """

    model: Any
    strength: float

    def deviate(self, x, rng):
        return self.model.perturb(x, self.strength, rng)


@dataclass(frozen=True)
class PilotKernel(Kernel):
    """x' = x + scale * (round trip of a pilot model - x): its errors, shrunk to those of a better model.

    The pilot is of the same class, trained on such data for a small share of the budget. Its errors are taken
    as they come, so they depend on time step, channel and state.
    """

    pilot: Any
    strength: float
    scale: float

    def __post_init__(self):
        checks.positive(scale=self.scale)

    def deviate(self, x, rng):
        return x + self.scale * (self.pilot.perturb(x, self.strength, rng) - x)
