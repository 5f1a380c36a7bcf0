"""What a task is: a prior, a generator, a measurement and a validity check."""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int16
from scipy import stats
from torch import Tensor

from physmis import checks

LEVELS = 10_240  # of stored values over the prior's range: 512 in each twentieth of it
GRID = np.linspace(0, 1, 2001)
HUMPS = 1 - np.cos(2 * np.pi * (GRID[1:] + GRID[:-1]))  # density of two humps, 0 at the ends and between
# Priors over [0, 1]. The last two have soft ends, where blurring moves little mass.
PRIORS = {
    "uniform": stats.uniform(),
    "ramp": stats.triang(0.8),  # rises over four fifths of the range and falls over the last
    "humps": stats.rv_histogram((HUMPS, GRID), density=True)(),
}
CHUNK = 8192  # trajectories measured at once: keeps memory flat however many are given


@dataclasses.dataclass(frozen=True)
class Batch:
    """Trajectories in float32, and the quantity of each."""

    x: Float[np.ndarray, "n T C"]
    z: Float[np.ndarray, "n"]


@dataclasses.dataclass(frozen=True)
class Quantity:
    """The physical quantity and its prior p(z), a frozen `scipy.stats` distribution (``pdf``, ``ppf``)."""

    name: str
    symbol: str
    unit: str
    prior: Any

    @property
    def label(self) -> str:
        return Channel(f"{self.name} ${self.symbol}$", self.unit).label

    def encode(self, z: Float[np.ndarray, "n"]) -> Int16[np.ndarray, "n"]:
        """Values as stored: in 10,240 levels of the prior's range, and to two ranges beyond it."""
        low, high = self.prior.support()
        codes = np.floor((np.asarray(z) - low) / (high - low) * LEVELS)
        limits = np.iinfo(np.int16)
        return np.clip(codes, limits.min, limits.max).astype(np.int16)

    def decode(self, codes: Int16[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """The values that `encode` has stored, in the middle of their level."""
        low, high = self.prior.support()
        return low + (codes + 0.5) * (high - low) / LEVELS

    def bins(self, n: int = 20) -> Float[np.ndarray, "edges"]:
        """Edges of histogram bins: ``n`` of equal prior mass, ``n // 8`` beyond each end of it, for leaks."""
        return with_bins_beyond(self.prior.ppf(np.linspace(0, 1, n + 1)), n // 8)


@dataclasses.dataclass(frozen=True)
class Channel:
    """One channel of a trajectory: what it is, and in which unit."""

    name: str
    unit: str

    @property
    def label(self) -> str:
        return self.name + (f" [{self.unit}]" if self.unit else "")


class Task(ABC):
    """Base of all tasks. Subclasses are frozen dataclasses; their fields are the task's parameters."""

    name: ClassVar[str]  # that `load` takes
    channels: ClassVar[tuple[Channel, ...]]
    measured: ClassVar[tuple[str, str, str]]  # name, symbol and unit of the quantity
    tolerance: ClassVar[float] = 0.05  # valid is a smaller residual: 5 % of the scale of the state
    chunk: ClassVar[int] = 0  # how many demonstrations a task collects at a time; 0 where it generates
    shortest: ClassVar[int] = 2
    bounds: ClassVar[tuple[float, float]] = (0.0, np.inf)
    low: float  # the prior's support is [low, high], which lies within the bounds
    high: float
    steps: int
    prior: str  # a name in `PRIORS`

    def __post_init__(self):
        checks.check_count("steps", self.steps, least=self.shortest)
        if not (np.isfinite(self.high) and self.bounds[0] <= self.low < self.high <= self.bounds[1]):
            raise ValueError(f"expected finite low < high in {[*self.bounds]}, got [{self.low}, {self.high}]")
        if self.prior not in PRIORS:
            raise ValueError(f"prior: expected one of {', '.join(PRIORS)}, got {self.prior!r}")

    @property
    def quantity(self) -> Quantity:
        shape = PRIORS[self.prior]
        return Quantity(*self.measured, shape.dist(*shape.args, loc=self.low, scale=self.high - self.low))

    @abstractmethod
    def generate(self, z: Float[np.ndarray, "n"], rng: np.random.Generator) -> Float[np.ndarray, "n T C"]:
        """Trajectories x = g(z, u) in float64, with the nuisance variables u drawn from ``rng``."""

    @abstractmethod
    def measure(self, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n"]:
        """Recover the quantity m(x) from any finite trajectories, valid or not."""

    @abstractmethod
    def validity(self, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n"]:
        """Residual of the generating rule for each trajectory; 0 is a perfect one."""

    @abstractmethod
    def differentiable(self, x: Float[Tensor, "T C"]) -> Float[Tensor, ""]:
        """`measure` of one trajectory in torch, under `torch.func.vmap` and twice `torch.func.grad`."""

    def sample(self, n: int, rng: np.random.Generator) -> Batch:
        """Draw ``n`` trajectories whose quantity follows the prior."""
        z = self.quantity.prior.ppf(rng.random(n))
        return Batch(self.generate(z, rng).astype(np.float32), z)

    def config(self) -> dict[str, Any]:
        """Name and parameters: what identifies the task in the store."""
        return {"name": self.name, **dataclasses.asdict(self)}

    def check(self, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n T C"]:
        """``x`` in float64. Raises unless it holds finite real numbers in shape (n, steps, channels)."""
        return checks.trajectories(x, len(self.channels), self.steps, f"trajectories of task '{self.name}'")

    def check_values(self, z: Any, high: float = checks.LARGEST) -> Float[np.ndarray, "n"]:
        """Values of the quantity in float64. Raises ValueError unless all are within 0 and ``high``."""
        z = checks.values(z, f"values of the {self.measured[0]}")
        if z.min() < 0 or z.max() > high:
            raise ValueError(f"expected {self.measured[0]} of 0 to {high:g}, got {z.min():g} to {z.max():g}")
        return z


def with_bins_beyond(inner: Float[np.ndarray, "inner"], beyond: int) -> Float[np.ndarray, "edges"]:
    """Edges ``inner``, of ``beyond`` more bins of the outermost width on each side, and infinite ends."""
    below = inner[0] - np.arange(beyond, 0, -1) * (inner[1] - inner[0])
    above = inner[-1] + np.arange(1, beyond + 1) * (inner[-1] - inner[-2])
    return np.concatenate([[-np.inf], below, inner, above, [np.inf]])


def path_length(x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n"]:
    """Length of the polygon through each trajectory, whose channels are coordinates; dtype of ``x``."""
    return np.linalg.norm(np.diff(x, axis=1), axis=-1).sum(axis=1)


def in_chunks(method: Callable) -> Callable:
    """A method of a task that checks trajectories and takes `CHUNK` of them at a time."""

    def whole(self: Task, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n"]:
        x = self.check(x)
        return np.concatenate([method(self, x[i : i + CHUNK]) for i in range(0, max(len(x), 1), CHUNK)])

    return functools.wraps(method)(whole)
