"""What is trained. Every model learns trajectories alone; none is told the physical quantity."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

CHUNK = 256  # trajectories that pass through a network at once when sampling: what fits a core's cache
Progress = Callable[[int, int], None]  # called with steps done and steps in all


class GenerativeModel(ABC):
    """Base of all models. Subclasses are dataclasses; their fields are the model's hyperparameters.

    Arrays go in and come out; scale and device stay inside. Every random draw is made by a CPU generator and
    then moved, so that the noise is the same on every device.
    """

    name: ClassVar[str]
    sampling: ClassVar[tuple[str, ...]] = ()  # hyperparameters that training does not depend on
    device: str = "cpu"
    network: torch.nn.Module | None = None
    losses: Float[np.ndarray, "steps"] | None = None

    @property
    @abstractmethod
    def cost(self) -> float:
        """Relative cost of training, to start the longest first."""

    @abstractmethod
    def make_network(self, steps: int, channels: int) -> torch.nn.Module:
        """A fresh network for trajectories of shape (steps, channels)."""

    @abstractmethod
    def train(self, x: Tensor, rng: np.random.Generator, progress: Progress | None) -> None:
        """Train ``self.network`` on standardised trajectories ``x`` on the model's device."""

    @abstractmethod
    def generate(self, n: int, draw: torch.Generator, clamp: Mapping[int, Tensor]) -> Tensor:
        """``n`` new standardised trajectories, with standardised values (n, C) at the steps in ``clamp``."""

    @abstractmethod
    def round_trip(self, x: Tensor, strength: float, draw: torch.Generator) -> Tensor:
        """`perturb` for standardised trajectories."""

    def fit(self, x: Float[np.ndarray, "n T C"], rng: np.random.Generator, progress: Progress | None = None):
        """Train on trajectories ``x``; returns the model itself.

        Raises
        ------
        ValueError : ``x`` has the wrong shape or holds NaN or infinite values.
        """
        x = check_trajectories(x)
        self.shape = tuple(x.shape[1:])
        self.mean, self.scale = x.mean(dim=(0, 1)), x.std(dim=(0, 1)).clamp(min=1e-6)
        # Twice the largest standardised value: only estimates from almost pure noise ever lie beyond.
        self.limit = 2 * float(((x - self.mean) / self.scale).abs().max())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            self.network = self.make_network(*self.shape).to(self.device)
        self.train(((x - self.mean) / self.scale).to(self.device), rng, progress)
        self.network.eval()
        return self

    @torch.inference_mode()
    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        clamp: Mapping[int, Float[np.ndarray, "n C"]] | None = None,
    ) -> Float[np.ndarray, "n T C"]:
        """``n`` new trajectories; ``clamp`` maps time steps (0 the first, -1 the last) to values held there.

        The model is not trained with held values, so the other steps follow them in part only.

        Raises
        ------
        ValueError : ``n`` is below 1; ``clamp`` names a step beyond the horizon, or its values have another
            shape.
        """
        self._check_trained()
        if n < 1:
            raise ValueError(f"at least 1 trajectory must be drawn, got n = {n}")
        held = {step: self._standardised_step(step, value, n) for step, value in (clamp or {}).items()}
        draw = generator(rng)
        parts = [
            self.generate(min(CHUNK, n - i), draw, {k: v[i : i + CHUNK] for k, v in held.items()}).cpu()
            for i in range(0, n, CHUNK)
        ]
        return (torch.cat(parts) * self.scale + self.mean).numpy()

    def _standardised_step(self, step: int, value: Float[np.ndarray, "n C"], n: int) -> Tensor:
        value = np.asarray(value, dtype=np.float32)
        if not np.isfinite(value).all():
            raise ValueError(
                f"finite values wanted in clamp; those for step {step} hold NaN or infinite ones"
            )
        if step not in range(-self.shape[0], self.shape[0]) or value.shape != (n, self.shape[1]):
            raise ValueError(
                f"clamp wants steps within {self.shape[0]} and values of shape ({n}, {self.shape[1]}); "
                f"got step {step} with values of shape {tuple(value.shape)}"
            )
        return ((torch.from_numpy(value) - self.mean) / self.scale).to(self.device)

    @torch.inference_mode()
    def perturb(
        self, x: Float[np.ndarray, "n T C"], strength: float, rng: np.random.Generator
    ) -> Float[np.ndarray, "n T C"]:
        """Round trip: where the model lands when it starts from ``x`` and forgets a share of it.

        Raises
        ------
        ValueError : ``strength`` is not in (0, 1], or ``x`` does not have the shape that was trained on.
        """
        self._check_trained()
        if not 0 < strength <= 1:
            raise ValueError(f"strength in (0, 1] wanted, got {strength}")
        x = check_trajectories(x)
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"trajectories of shape (n, {self.shape[0]}, {self.shape[1]}) wanted, got {tuple(x.shape)}"
            )
        draw = generator(rng)
        parts = [
            self.round_trip(((part - self.mean) / self.scale).to(self.device), strength, draw).cpu()
            for part in x.split(CHUNK)
        ]
        return (torch.cat(parts) * self.scale + self.mean).numpy()

    def config(self) -> dict[str, Any]:
        """Name and hyperparameters: what identifies the model in the store."""
        return {"name": self.name, **dataclasses.asdict(self)}

    def to(self, device: str) -> GenerativeModel:
        """Move the model to ``device`` ("cpu" or "cuda"); returns the model itself."""
        self.device = device
        if self.network is not None:
            self.network.to(device)
        return self

    def state(self) -> dict[str, Tensor]:
        """All that `from_state` needs beside the hyperparameters: shape and scale of the data, weights."""
        self._check_trained()
        weights = {f"network.{k}": v.cpu().contiguous() for k, v in self.network.state_dict().items()}
        return {
            "shape": torch.tensor(self.shape),
            "mean": self.mean,
            "scale": self.scale,
            "limit": torch.tensor(self.limit),
            **weights,
        }

    def from_state(self, state: dict[str, Tensor]) -> GenerativeModel:
        """Take up what `state` gave; returns the model itself."""
        self.shape = tuple(state["shape"].tolist())
        self.mean, self.scale, self.limit = state["mean"], state["scale"], float(state["limit"])
        self.network = self.make_network(*self.shape)
        self.network.load_state_dict(
            {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
        )
        self.network.to(self.device).eval()
        return self

    def _check_trained(self) -> None:
        if self.network is None:
            raise RuntimeError(f"model '{self.name}' is not trained yet: call fit or from_state first")


def check_trajectories(x: Float[np.ndarray, "n T C"]) -> torch.Tensor:
    """``x`` as a float32 tensor.

    Raises
    ------
    ValueError : ``x`` is not of shape (n, T, C) with n >= 1, or holds NaN or infinite values.
    """
    x = np.asarray(x)
    if x.ndim != 3 or x.size == 0:
        raise ValueError(f"trajectories of shape (n, T, C) wanted, with at least one of them; got {x.shape}")
    if not np.isfinite(x).all():
        bad = int(np.argmin(np.isfinite(x).all(axis=(1, 2))))
        raise ValueError(f"finite trajectories wanted; number {bad} holds NaN or infinite values")
    return torch.as_tensor(x, dtype=torch.float32)


def generator(rng: np.random.Generator) -> torch.Generator:
    """A CPU torch generator seeded from ``rng``."""
    return torch.Generator().manual_seed(int(rng.integers(2**63)))


def build(name: str, **parameters: Any) -> GenerativeModel:
    """The model called ``name``; ``parameters`` override its defaults.

    Raises
    ------
    ValueError : unknown model or hyperparameter, or a value that it does not accept.
    """
    from physmis.models.diffusion import UNetDiffusion

    registry = {model.name: model for model in (UNetDiffusion,)}
    if name not in registry:
        raise ValueError(f"unknown model {name!r}; accepted: {', '.join(sorted(registry))}")
    known = [f.name for f in dataclasses.fields(registry[name])]
    for parameter in parameters:
        if parameter not in known:
            raise ValueError(f"model {name!r} has no parameter {parameter!r}; accepted: {', '.join(known)}")
    return registry[name](**parameters)
