"""Data deviation kernels K(x' | x): the errors that a model class tends to make at the trajectory x."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from physmis import checks

Trajectories = Float[np.ndarray, "n T C"]
Measurement = Callable[[Trajectories], Float[np.ndarray, "n"]]


class Kernel(ABC):
    """Base of all kernels."""

    @abstractmethod
    def deviate(self, x: Trajectories, rng: np.random.Generator) -> Trajectories:
        """One draw x' ~ K(x' | x) for each trajectory of ``x``."""


@dataclass(frozen=True)
class IsotropicKernel(Kernel):
    """x' = x + scale * spread * noise; ``spread`` is the unit of the model's coordinates in each channel."""

    scale: float
    spread: Any = 1.0

    def __post_init__(self):
        checks.positive(scale=self.scale, spread=self.spread)

    def deviate(self, x, rng):
        x = checks.trajectories(x)
        return x + self.scale * np.asarray(self.spread) * rng.standard_normal(x.shape)


class References:
    """Reference trajectories, and Euclidean distances to them with channels in units of their ``spread``."""

    def __init__(self, data: Trajectories):
        data = checks.trajectories(data)
        checks.check_count("number of trajectories", len(data), least=2)
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
        for i, row in enumerate(x):
            if (own := self._places.get(row.tobytes())) is not None:
                half.numpy()[i, own] = np.inf  # the same memory
        return half

    def in_blocks(self, pick: Callable[[torch.Tensor], torch.Tensor], x: Trajectories) -> np.ndarray:
        """``pick`` of the `half_squares` of a few rows of ``x`` at a time, joined: memory stays flat."""
        x = checks.trajectories(x).astype(np.float32)
        if x.shape[1:] != self.data.shape[1:] or len(x) == 0:
            raise ValueError(f"expected trajectories of shape {self.data.shape[1:]}, got shape {x.shape}")
        rows = max(1, 10_000_000 // len(self.data))  # 40 MiB of distances at once
        parts = [x[i : i + rows] for i in range(0, len(x), rows)]
        return np.concatenate([pick(self.half_squares(part)).numpy() for part in parts])


class TangentKernel(Kernel):
    """Errors along the data (models correct those across): a blur below l, and a pull to neighbours within l.

    With x_i, x_j, x_k drawn from the nearest 5 % of other data (two at least), and l = reach * |x - mean|,
        x' = x + (x_i - x_j) / sqrt(1 + |x_i - x_j|^2 / l^2) + (x_k - x) / (1 + |x_k - x|^2 / l^2).
    """

    def __init__(self, data: Trajectories, reach: float):
        checks.positive(reach=reach)
        self.references, self.reach = References(data), reach
        self.count = min(max(2, round(0.05 * len(data))), len(data) - 1)  # of neighbours
        self.centre = self.references.data.mean(axis=(0, 1), dtype=np.float64)

    def deviate(self, x, rng):
        def pick(half):
            near = half.topk(self.count, largest=False).indices
            return near.gather(1, torch.from_numpy(rng.integers(self.count, size=(len(half), 3))))

        def squares(steps):
            return ((steps / self.references.spread) ** 2).sum(axis=(1, 2), keepdims=True)

        x_i, x_j, x_k = self.references.data[self.references.in_blocks(pick, x).T]
        blur, pull = x_i - x_j, x_k - x
        longest = np.maximum(squares(x - self.centre) * self.reach**2, 1e-12)  # l^2
        return x + blur / np.sqrt(1 + squares(blur) / longest) + pull / (1 + squares(pull) / longest)


@dataclass(frozen=True)
class HeldEnds(Kernel):
    """Another kernel's x' less the line between its errors at both ends: for models given these steps."""

    kernel: Kernel

    def deviate(self, x, rng):
        error = self.kernel.deviate(x, rng) - x
        share = np.linspace(0, 1, error.shape[1])[:, None]
        return x + error - (1 - share) * error[:, :1] - share * error[:, -1:]


@dataclass(frozen=True)
class RoundTripKernel(Kernel):
    """x' = model.perturb(x): erase a share ``strength`` of x, and let the trained model fill it in."""

    model: Any
    strength: float

    def deviate(self, x, rng):
        return self.model.perturb(x, self.strength, rng)
