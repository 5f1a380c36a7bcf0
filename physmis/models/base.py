"""What all models share: trajectories in, trajectories out; scale, device and randomness are handled here."""

from __future__ import annotations

import dataclasses
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from physmis import checks
from physmis.models.training import optimise

CHUNK = 256  # trajectories that are sampled at once: what fits a core's cache

Data = Float[np.ndarray, "n T C"]
Values = Float[np.ndarray, "n"] | None
Clamp = Mapping[int, Float[np.ndarray, "n C"]] | None
# What networks work with: standardised tensors on the model's device.
Trajectories = Float[Tensor, "n T C"]
Condition = Float[Tensor, "n 1"] | None
Held = Mapping[int, Float[Tensor, "n C"]]  # values held at time steps, which are counted from 0 on


@dataclasses.dataclass
class GenerativeModel(ABC):
    """Base of all models. Subclasses are dataclasses; their fields are the model's hyperparameters: here the
    training ``steps``, the trajectories of a ``batch``, and the peak of the one-cycle learning ``rate``."""

    name: ClassVar[str]
    speed: ClassVar[float] = 1  # training steps in the time of one of a U-Net of the same batch and width
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}  # what hyperparameters that are words may be
    sampling: ClassVar[tuple[str, ...]] = ()  # hyperparameters that training does not depend on
    given: ClassVar[tuple[int, ...]] = ()  # time steps given in training and needed in ``clamp``
    steps: int = 2000
    batch: int = 128
    rate: float = 1e-3

    def __post_init__(self):
        self.device = "cpu"
        self.network: nn.Module | None = None
        self.condition_stats: Float[Tensor, "4"] | None = None  # mean, standard deviation, least, largest
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            if isinstance(field.default, int):
                setattr(self, name, checks.check_count(name, value))
            elif isinstance(field.default, float):
                checks.positive(**{name: value})
            elif value not in self.choices[name]:
                raise ValueError(f"expected {name} in {', '.join(self.choices[name])}; got {value!r}")

    @abstractmethod
    def make_network(self, steps: int, channels: int, conditional: bool) -> nn.Module:
        """A fresh network for trajectories (steps, channels), and a scalar condition if ``conditional``."""

    def training_noise(self, n: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The random numbers that `loss` needs for a batch of ``n``: tensors (n, ...) on the CPU."""
        return ()

    @abstractmethod
    def loss(self, x: Trajectories, condition: Condition, *noise: Tensor) -> Tensor:
        """What training minimises: the mean over a batch."""

    def after_training(self, x: Trajectories, condition: Condition) -> None:  # noqa: B027
        """What is left to do after training, with all of the data."""

    @abstractmethod
    def generate(self, n: int, generator: torch.Generator, held: Held, condition: Condition) -> Trajectories:
        """``n`` new trajectories."""

    @abstractmethod
    def round_trip(self, x: Trajectories, strength: float, generator, condition) -> Trajectories:
        """See `perturb`."""

    def fit(
        self,
        x: Data,
        rng: np.random.Generator,
        *,
        condition: Values = None,
        weights: Values = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> GenerativeModel:
        """Train on trajectories ``x``, each with a scalar ``condition`` or none; returns the model itself.
        Batches hold them in proportion to ``weights``; ``progress`` gets steps done and steps in all.
        A call that is refused or interrupted leaves the model as it was."""
        before = dict(vars(self))
        try:
            self._fit(x, rng, condition, weights, progress)
        except BaseException:
            self.__dict__ = before
            raise
        return self

    def _fit(self, x, rng, condition, weights, progress) -> None:
        checks.check_generator(rng)
        x = _trajectories(x)
        checks.enough_spread(x)
        x = torch.as_tensor(x, dtype=torch.float32)
        self.shape = tuple(x.shape[1:])
        self.mean, self.scale = x.mean(dim=(0, 1)), x.std(dim=(0, 1)).clamp(min=1e-6)
        x = ((x - self.mean) / self.scale).contiguous()
        self.limit = 2 * float(x.abs().max())  # only estimates from almost pure noise ever lie beyond
        self.condition_stats = None
        if condition is not None:
            numbers = _numbers("condition", condition, len(x))
            spread = numbers.std(correction=0).clamp(min=1e-12)
            self.condition_stats = torch.stack([numbers.mean(), spread, numbers.min(), numbers.max()])
        if weights is not None:
            weights = _numbers("weights", weights, len(x))
            if weights.min() < 0 or not weights.any():
                raise ValueError(f"expected weights of 0 or more, not all 0, got {weights.min():g} and more")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            self.network = self.make_network(*self.shape, condition is not None).to(self.device)
        condition = self._standardised_condition(condition, len(x))
        x, generator = x.to(self.device), torch_generator(rng)

        def batch_loss():
            if weights is None:
                rows = torch.randint(len(x), (self.batch,), generator=generator)
            else:
                rows = torch.multinomial(weights, self.batch, replacement=True, generator=generator)
            rows, *noise = (draw.to(x.device) for draw in (rows, *self.training_noise(self.batch, generator)))
            return self.loss(x[rows], None if condition is None else condition[rows], *noise)

        self.losses = optimise(self.network, batch_loss, self.steps, self.rate, progress)
        self.after_training(x, condition)

    @torch.inference_mode()
    def sample(self, n: int, rng: np.random.Generator, clamp: Clamp = None, condition: Values = None) -> Data:
        """``n`` new trajectories, with the requested ``condition`` each if the model was trained with one.
        ``clamp`` maps time steps to values held there; those that are `given` in training are needed."""
        self._check_trained()
        n, generator = checks.check_count("n", n), torch_generator(rng)
        held, (steps, channels) = {}, self.shape
        for step, value in (clamp or {}).items():
            value = checks.sized(checks.real(value, "clamp"), "values in clamp", largest=checks.SINGLE)
            if step not in range(-steps, steps) or value.shape != (n, channels):
                expected = f"steps from {-steps} to {steps - 1} and values ({n}, {channels})"
                raise ValueError(f"clamp: expected {expected}, got {value.shape} for step {step!r}")
            value = torch.as_tensor(value, dtype=torch.float32)
            held[int(step) % steps] = ((value - self.mean) / self.scale).to(self.device)
        if not {step % steps for step in self.given} <= held.keys():
            raise ValueError(f"model '{self.name}': expected steps {self.given} in clamp, got {[*held]}")

        def make(rows, condition):
            here = {step: value[rows] for step, value in held.items()}
            return self.generate(rows.stop - rows.start, generator, here, condition)

        return self._in_chunks(make, n, condition)

    @torch.inference_mode()
    def perturb(self, x: Data, strength: float, rng: np.random.Generator, condition: Values = None) -> Data:
        """Round trip: a perturbed trajectory x' for each of ``x``; at ``strength`` 1, the most, a new sample.
        Strengths of two classes cannot be compared: each counts it in its own way, see `round_trip`."""
        self._check_trained()
        if not (isinstance(strength, Real) and 0 < strength <= 1):
            raise ValueError(f"expected a strength in (0, 1], got {strength!r}")
        x = torch.as_tensor(_trajectories(x, self.shape), dtype=torch.float32)
        generator = torch_generator(rng)

        def make(rows, condition):
            part = ((x[rows] - self.mean) / self.scale).to(self.device)
            return self.round_trip(part, strength, generator, condition)

        return self._in_chunks(make, len(x), condition)

    def _in_chunks(self, make: Callable, n: int, condition: Any) -> Data:
        """What ``make(rows, condition)`` gives for a few rows at a time, in the units of the data."""
        condition = self._standardised_condition(condition, n)
        parts = []
        for i in range(0, n, CHUNK):
            rows = slice(i, min(i + CHUNK, n))
            parts.append(make(rows, None if condition is None else condition[rows]).cpu())
        x = (torch.cat(parts) * self.scale + self.mean).numpy()
        if bad := int((~np.isfinite(x).all(axis=(1, 2))).sum()):
            raise ValueError(f"expected input like that of training, got NaN in {bad} of {n} trajectories")
        return x

    def _standardised_condition(self, condition: Any, n: int) -> Condition:
        if (condition is None) != (self.condition_stats is None):
            expected, got = ("one", "none") if condition is None else ("none", "one")
            raise ValueError(f"condition of '{self.name}': expected {expected}, as in training, got {got}")
        if condition is None:
            return None
        mean, scale, low, high = self.condition_stats
        numbers = _numbers("condition", condition, n)
        slack = 0.01 * (high - low)  # beyond the conditions of training, without a warning
        if beyond := int(((numbers < low - slack) | (numbers > high + slack)).sum()):
            text = f"{beyond} of {n} conditions lie outside of those of training, {low:g} to {high:g}"
            warnings.warn(text, stacklevel=5)  # of whoever calls `sample`, which is wrapped once
        return ((numbers - mean) / scale).float()[:, None].to(self.device)

    def normal(self, generator: torch.Generator, *shape: int) -> Tensor:
        """Standard normal numbers, drawn on the CPU and then moved: the same on every device."""
        return torch.randn(shape, generator=generator).to(self.device)

    def config(self) -> dict[str, Any]:
        """Name and hyperparameters: what identifies the model in the store."""
        return {"name": self.name, **dataclasses.asdict(self)}

    @property
    def cost(self) -> float:
        """Relative cost of training, to start the longest first."""
        return self.steps * self.batch * self.width**2 / self.speed

    def to(self, device: str) -> GenerativeModel:
        """Move the model to ``device`` ("cpu" or "cuda"); returns the model itself."""
        if device == "cuda":  # in single precision: a card would round the factors of convolutions to 10 bits
            torch.backends.cudnn.conv.fp32_precision = "ieee"
        self.device = device
        if self.network is not None:
            self.network.to(device)
        return self

    def state(self) -> dict[str, np.ndarray]:
        """All that `from_state` needs beside the hyperparameters: shape and scale of the data, weights."""
        self._check_trained()
        state = {"shape": torch.tensor(self.shape), "mean": self.mean, "scale": self.scale}
        state["limit"] = torch.tensor(self.limit, dtype=torch.float32)
        if self.condition_stats is not None:
            state["told"] = self.condition_stats
        state |= {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        return {name: tensor.cpu().contiguous().numpy() for name, tensor in state.items()}

    def from_state(self, state: Mapping[str, np.ndarray]) -> GenerativeModel:
        """Take up the `state` of a model with the same `config`; returns the model itself."""
        tensors = {name.removeprefix("network."): torch.as_tensor(array) for name, array in state.items()}
        self.shape, self.limit = tuple(tensors.pop("shape").tolist()), float(tensors.pop("limit"))
        self.mean, self.scale = tensors.pop("mean"), tensors.pop("scale")
        self.condition_stats = tensors.pop("told", None)
        self.network = self.make_network(*self.shape, self.condition_stats is not None).to(self.device).eval()
        self.network.load_state_dict(tensors)
        return self

    def _check_trained(self) -> None:
        if self.network is None:
            raise RuntimeError(f"model '{self.name}' is not trained yet: call fit or from_state first")


def _trajectories(x: Any, shape: tuple[int, ...] = ()) -> Data:
    """``x`` as a float array, if it holds one trajectory or more that single precision can represent."""
    x = checks.real(x, "trajectories")
    if x.ndim != 3 or x.size == 0 or x.shape[1:] != (shape or x.shape[1:]):
        raise ValueError(f"expected trajectories (n, T, C), (T, C) = {shape or 'any'}, got {x.shape}")
    return checks.sized(x, "trajectories", largest=checks.SINGLE)


def _numbers(name: str, values: Any, n: int) -> Float[Tensor, "n"]:
    """``values`` as a float64 tensor, if they are ``n`` finite numbers."""
    values = checks.values(values, name)
    if len(values) != n:
        raise ValueError(f"expected {name} of shape ({n},), one number a trajectory, got {values.shape}")
    return torch.from_numpy(values)


def embed_condition(width: int) -> nn.Sequential:
    """A small network from a scalar condition (n, 1) to ``width`` numbers."""
    return nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))


def torch_generator(rng: np.random.Generator) -> torch.Generator:
    """A CPU torch generator seeded from ``rng``."""
    checks.check_generator(rng)
    return torch.Generator().manual_seed(int(rng.integers(2**63)))
