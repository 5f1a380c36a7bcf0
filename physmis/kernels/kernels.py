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
MOST = 2000  # references of the tangent kernel


def spread_of(x: Trajectories) -> Float[np.ndarray, "C"]:
    """Standard deviation of each channel, at least a billionth of the largest: a constant one has none."""
    spread = np.std(x, axis=(0, 1))
    return np.maximum(spread, 1e-9 * spread.max())


class Kernel(ABC):
    """Base of all kernels."""

    @abstractmethod
    def deviate(self, x: Trajectories, rng: np.random.Generator) -> Trajectories:
        """One draw x' ~ K(x' | x) for each trajectory of ``x``."""


class SizedKernel(Kernel):
    """Base of kernels whose errors have a ``size``."""

    size: float

    @abstractmethod
    def draws(self, x: Trajectories, rng: np.random.Generator) -> Callable[[float], Trajectories]:
        """One draw for each trajectory as a function of the size: the same chance at every size."""

    def deviate(self, x, rng):
        return self.draws(x, rng)(self.size)


@dataclass(frozen=True)
class IsotropicKernel(SizedKernel):
    """x' = x + scale * spread * noise; ``spread`` is the unit of the model's coordinates in each channel."""

    scale: float
    spread: Any = 1.0

    def __post_init__(self):
        checks.positive(scale=self.scale, spread=self.spread)

    @property
    def size(self):
        return self.scale

    def draws(self, x, rng):
        x = checks.trajectories(x)
        noise = np.asarray(self.spread) * rng.standard_normal(x.shape)
        return lambda scale: x + scale * noise


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


class TangentKernel(SizedKernel):
    """Errors along the data (models correct those across): a blur below l, and a pull to neighbours within l.

    With x_i, x_j, x_k drawn from the nearest 5 % of other data (two at least), and l = reach * |x - mean|,
        x' = x + (x_i - x_j) / sqrt(1 + |x_i - x_j|^2 / l^2) + (x_k - x) / (1 + |x_k - x|^2 / l^2).
    Every k-th of the data serves, at most `MOST`: the nearest 5 % of them are as near.
    """

    def __init__(self, data: Trajectories, reach: float):
        checks.positive(reach=reach)
        data = checks.trajectories(data)
        self.references, self.size = References(data[:: -(-len(data) // MOST) or 1]), reach
        n = len(self.references.data)
        self.count = min(max(2, round(0.05 * n)), n - 1)  # of neighbours
        self.centre = self.references.data.mean(axis=(0, 1), dtype=np.float64)

    def draws(self, x, rng):
        def pick(half):
            near = half.topk(self.count, largest=False).indices
            return near.gather(1, torch.from_numpy(rng.integers(self.count, size=(len(half), 3))))

        def squares(steps):
            return ((steps / self.references.spread) ** 2).sum(axis=(1, 2), keepdims=True)

        x_i, x_j, x_k = self.references.data[self.references.in_blocks(pick, x).T]
        blur, pull, length = x_i - x_j, x_k - x, np.maximum(squares(x - self.centre), 1e-12)
        blurred, pulled = squares(blur) / length, squares(pull) / length

        def perturbed(reach):
            return x + blur / np.sqrt(1 + blurred / reach**2) + pull / (1 + pulled / reach**2)

        return perturbed


def of_kind(kind: str, x: Trajectories, size: float) -> SizedKernel:
    """The "tangent" or "isotropic" kernel of data ``x``, with a ``size`` as its reach or scale."""
    if kind not in ("tangent", "isotropic"):
        raise ValueError(f"kind: expected 'tangent' or 'isotropic', got {kind!r}")
    return TangentKernel(x, size) if kind == "tangent" else IsotropicKernel(size, spread_of(x))


def hold_ends(x: Trajectories, perturbed: Trajectories) -> Trajectories:
    """``perturbed`` less the line between its errors at both ends: for models that are given these steps."""
    error, share = perturbed - x, np.linspace(0, 1, x.shape[1])[:, None]
    return x + error - (1 - share) * error[:, :1] - share * error[:, -1:]


@dataclass(frozen=True)
class HeldEnds(Kernel):
    """Another kernel, whose draws keep both ends of x, see `hold_ends`."""

    kernel: Kernel

    def deviate(self, x, rng):
        return hold_ends(x, self.kernel.deviate(x, rng))


@dataclass(frozen=True)
class RoundTripKernel(Kernel):
    """x' = model.perturb(x): erase a share ``strength`` of x, and let the trained model fill it in."""

    model: Any
    strength: float

    @classmethod
    def remembering(cls, model, x: Trajectories, measure: Measurement, correlation: float) -> RoundTripKernel:
        """The kernel of the strength at which m(x) and m(x') have so high a ``correlation`` over ``x``.

        Within 0.01 of the strength; 1 if they keep a higher one there, and 0.01 where none is as high.
        """
        z, low, high = measure(x), 0.01, 1.0

        def keeps_more(strength):
            perturbed = measure(model.perturb(x, strength, np.random.default_rng(0)))
            return np.corrcoef(z, perturbed)[0, 1] > correlation

        if keeps_more(high):  # of a planner, for example, which is given start and goal
            return cls(model, high)
        while high - low > 0.01:
            middle = (low + high) / 2
            low, high = (middle, high) if keeps_more(middle) else (low, middle)
        return cls(model, (low + high) / 2)

    def deviate(self, x, rng):
        return self.model.perturb(x, self.strength, rng)
