"""What a task is: a prior, a generator, a measurement and a validity check."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from physmis import checks

CHUNK = 8192  # trajectories measured at once: keeps memory flat however many are given


@dataclass(frozen=True)
class Batch:
    """Trajectories ``x`` of shape (n, T, C), float32, and the quantity ``z`` of each, shape (n,)."""

    x: Float[np.ndarray, "n T C"]
    z: Float[np.ndarray, "n"]


@dataclass(frozen=True)
class Quantity:
    """The physical quantity and its prior p(z), a frozen `scipy.stats` distribution (``pdf``, ``ppf``)."""

    name: str
    symbol: str
    unit: str
    prior: Any

    @property
    def label(self) -> str:
        """Axis label, with the unit where there is one."""
        return f"{self.name} ${self.symbol}$" + (f" [{self.unit}]" if self.unit else "")

    def bins(self, n: int = 40) -> Float[np.ndarray, "edges"]:
        """Edges of histogram bins: ``n`` of equal prior mass, ``n // 8`` beyond each end of it, for leaks."""
        return with_bins_beyond(self.prior.ppf(np.linspace(0, 1, n + 1)), n // 8)


@dataclass(frozen=True)
class Channel:
    """One channel of a trajectory: what it is, and in which unit."""

    name: str
    unit: str

    @property
    def label(self) -> str:
        """Axis label, with the unit where there is one."""
        return self.name + (f" [{self.unit}]" if self.unit else "")


class Task(ABC):
    """Base of all tasks. Subclasses are frozen dataclasses; their fields are the task's parameters.

    Class attributes
    ----------------
    name : the name that `load` takes.
    channels : one `Channel` for each of the C channels.
    tolerance : a trajectory whose `validity` residual is below it counts as valid. It is fixed with the
        task, before any model is trained: 5 % of the scale of the state.
    chunk : how many trajectories `collect` gives at a time; 0 for tasks that `generate` them.
    """

    name: ClassVar[str]
    channels: ClassVar[tuple[Channel, ...]]
    tolerance: ClassVar[float]
    chunk: ClassVar[int] = 0
    steps: int

    @property
    @abstractmethod
    def quantity(self) -> Quantity:
        """The curated quantity and its prior."""

    @abstractmethod
    def generate(self, z: Float[np.ndarray, "n"], rng: np.random.Generator) -> Float[np.ndarray, "n T C"]:
        """Trajectories x = g(z, u) in float64, with the nuisance variables u drawn from ``rng``."""

    @abstractmethod
    def measure(self, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n"]:
        """Recover the quantity m(x) from any finite trajectories, valid or not."""

    @abstractmethod
    def validity(self, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n"]:
        """Residual of the generating rule for each trajectory; 0 is a perfect one."""

    def differentiable(self, x: Float[Tensor, "T C"]) -> Float[Tensor, ""]:
        """`measure` of one trajectory in torch, for `kernels.expansion`: same value, right derivatives.

        It must work under `torch.func.vmap` and twice `torch.func.grad`.
        """
        raise NotImplementedError(
            f"task '{self.name}': its measurement has no derivatives; "
            "the Monte Carlo route, physmis.kernels.induced_transition, needs none"
        )

    def sample(self, n: int, rng: np.random.Generator) -> Batch:
        """Draw ``n`` trajectories whose quantity follows the prior."""
        z = self.quantity.prior.ppf(rng.random(n))
        return Batch(self.generate(z, rng).astype(np.float32), z)

    def collect(self, number: int) -> dict[str, np.ndarray]:
        """Chunk ``number`` of the task's demonstrations: trajectories ``x`` and what belongs to them."""
        raise NotImplementedError(f"task '{self.name}' generates its trajectories: use sample")

    def config(self) -> dict[str, Any]:
        """Name and parameters: what identifies the task in the store."""
        return {"name": self.name, **dataclasses.asdict(self)}

    def check(self, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n T C"]:
        """``x`` in float64. Raises unless it holds finite real numbers in shape (n, steps, channels)."""
        x = np.asarray(checks.real(x, "trajectories"), dtype=np.float64)
        expected = (self.steps, len(self.channels))
        if x.ndim != 3 or x.shape[1:] != expected:
            raise ValueError(
                f"task '{self.name}': expected trajectories of shape (n, {expected[0]}, {expected[1]}), "
                f"got {x.shape}"
            )
        return checks.sized(x, f"trajectories of task '{self.name}'", least=1 / checks.LARGEST)

    def check_values(
        self, z: Float[np.ndarray, "n"], low: float, high: float = checks.LARGEST
    ) -> Float[np.ndarray, "n"]:
        """Values of the quantity in float64. Raises ValueError unless all are within ``low`` and ``high``."""
        z = checks.values(z, f"values of the {self.quantity.name}")
        if z.min() < low or z.max() > high:
            raise ValueError(
                f"task '{self.name}': expected {self.quantity.name} from {low:g} to {high:g}"
                f"{f' {self.quantity.unit}'.rstrip()}, got values from {z.min():g} to {z.max():g}"
            )
        return z


def check_range(low: float, high: float, *, least: float, most: float) -> None:
    """Raises ValueError unless [low, high] is a range of finite numbers that lies within [least, most]."""
    if not (np.isfinite(high) and least <= low < high <= most):
        raise ValueError(f"expected a range with {least} <= low < high <= {most}, got [{low}, {high}]")


def with_bins_beyond(inner: Float[np.ndarray, "inner"], beyond: int) -> Float[np.ndarray, "edges"]:
    """Edges ``inner``, of ``beyond`` more bins of the outermost width on each side, and infinite ends."""
    steps = np.arange(1, beyond + 1)
    below = inner[0] - steps[::-1] * (inner[1] - inner[0])
    above = inner[-1] + steps * (inner[-1] - inner[-2])
    return np.concatenate([[-np.inf], below, inner, above, [np.inf]])


def path_length(x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n"]:
    """Length of the polygon through each trajectory, whose channels are coordinates; dtype of ``x``."""
    return np.linalg.norm(np.diff(x, axis=1), axis=-1).sum(axis=1)


def in_chunks(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """``function`` over rows of ``x``, `CHUNK` rows at a time, results joined."""
    return np.concatenate([function(x[i : i + CHUNK]) for i in range(0, max(len(x), 1), CHUNK)])
