"""What all models share: trajectories in, trajectories out; scale, device and randomness are handled here."""

from __future__ import annotations

import dataclasses
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from physmis import checks
from physmis.models.training import Progress, TrainingData, train

CHUNK = 256  # trajectories that are sampled at once: what fits a core's cache
SLACK = 0.01  # how far beyond the conditions of training no warning is given, in units of their range

# What networks work with: standardised tensors on the model's device.
Trajectories = Float[Tensor, "n T C"]
Condition = Float[Tensor, "n 1"] | None
Held = Mapping[int, Float[Tensor, "n C"]]  # values held at time steps, which are counted from 0 on


@dataclasses.dataclass
class GenerativeModel(ABC):
    """Base of all models. Subclasses are dataclasses; their fields are the model's hyperparameters.

    Parameters
    ----------
    steps, batch, rate : training steps, trajectories in each, peak of the one-cycle learning rate.
    """

    name: ClassVar[str]
    sampling: ClassVar[tuple[str, ...]] = ()  # hyperparameters that training does not depend on
    given: ClassVar[tuple[int, ...]] = ()  # time steps given in training and needed in ``clamp``
    steps: int = 2000
    batch: int = 128
    rate: float = 1e-3

    def __post_init__(self):
        self.device = "cpu"
        self.network: nn.Module | None = None
        self.losses: Float[np.ndarray, "steps"] | None = None
        # Mean, standard deviation, least and largest of the condition, if trained with one.
        self.condition_stats: Float[Tensor, "4"] | None = None
        for field in dataclasses.fields(self):
            if isinstance(field.default, int):
                setattr(self, field.name, checks.check_count(field.name, getattr(self, field.name)))
            if isinstance(field.default, float):
                checks.positive(**{field.name: getattr(self, field.name)})

    @property
    @abstractmethod
    def cost(self) -> float:
        """Relative cost of training, to start the longest first."""

    @abstractmethod
    def make_network(self, steps: int, channels: int, conditional: bool) -> nn.Module:
        """A fresh network for trajectories (steps, channels), and a scalar condition if ``conditional``."""

    @abstractmethod
    def training_noise(self, n: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The random numbers that `loss` needs for a batch of ``n``: tensors (n, ...) on the CPU."""

    @abstractmethod
    def loss(self, x: Trajectories, condition: Condition, *noise: Tensor) -> Tensor:
        """What training minimises: the mean over a batch."""

    def after_training(self, x: Trajectories, condition: Condition) -> None:  # noqa: B027
        """What is left to do after training, with all of the data."""

    @abstractmethod
    def generate(self, n: int, generator: torch.Generator, held: Held, condition: Condition) -> Trajectories:
        """``n`` new trajectories."""

    @abstractmethod
    def round_trip(
        self, x: Trajectories, strength: float, generator: torch.Generator, condition: Condition
    ) -> Trajectories:
        """See `perturb`."""

    def fit(
        self,
        x: Float[np.ndarray, "n T C"],
        rng: np.random.Generator,
        *,
        condition: Float[np.ndarray, "n"] | None = None,
        weights: Float[np.ndarray, "n"] | None = None,
        progress: Progress | None = None,
    ) -> GenerativeModel:
        """Train on trajectories ``x``; returns the model itself.

        A call that is refused or interrupted leaves the model as it was.

        Parameters
        ----------
        condition : a scalar for each trajectory that the model is conditioned on, in training and sampling.
        weights : how often each trajectory is used in training, in proportion; all alike if not given. (They
            do not enter the mean and scale by which data are standardised.)
        progress : called before each step and at the end with steps done and steps in all.

        Raises FloatingPointError when training diverges.
        """
        before = dict(vars(self))
        try:
            train(self, self._prepare(x, rng, condition, weights), progress)
        except BaseException:
            self.__dict__ = before
            raise
        return self

    def _prepare(self, x, rng, condition, weights) -> TrainingData:
        """Take up the scale of the data and a fresh network; returns what training draws batches from."""
        checks.check_generator(rng)
        x = _trajectories(x)
        checks.enough_spread(x)
        x = torch.as_tensor(x, dtype=torch.float32)
        self.shape = tuple(x.shape[1:])
        self.mean, self.scale = x.mean(dim=(0, 1)), x.std(dim=(0, 1)).clamp(min=1e-6)
        x = ((x - self.mean) / self.scale).contiguous()
        # Twice the largest standardised value: only estimates from almost pure noise ever lie beyond.
        self.limit = 2 * float(x.abs().max())
        self.condition_stats = None
        if condition is not None:
            numbers = _numbers("condition", condition, len(x))
            spread = numbers.std(correction=0).clamp(min=1e-12)
            self.condition_stats = torch.stack([numbers.mean(), spread, numbers.min(), numbers.max()])
        if weights is not None:
            weights = _numbers("weights", weights, len(x))
            if weights.min() < 0 or not weights.any():
                given = f"from {weights.min():g} to {weights.max():g}"
                raise ValueError(f"expected weights of 0 or more, not all 0, got {given}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            self.network = self.make_network(*self.shape, condition is not None).to(self.device)
        condition = self._standardised_condition(condition, len(x))
        return TrainingData(x.to(self.device), condition, weights, torch_generator(rng))

    @torch.inference_mode()
    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        clamp: Mapping[int, Float[np.ndarray, "n C"]] | None = None,
        condition: Float[np.ndarray, "n"] | None = None,
    ) -> Float[np.ndarray, "n T C"]:
        """``n`` new trajectories.

        Parameters
        ----------
        clamp : maps time steps (0 the first, -1 the last) to values held there. Steps that the model is
            `given` in training must be among them. With others it was not trained, so the rest of the
            trajectory follows those in part only.
        condition : the requested condition of each trajectory, for a model that was trained with one; warns
            of values outside of the range of training.

        Raises RuntimeError if the model is not trained.
        """
        self._check_trained()
        n, generator = checks.check_count("n", n), torch_generator(rng)
        held = dict(self._held(step, value, n) for step, value in (clamp or {}).items())

        def make(rows, condition):
            here = {step: value[rows] for step, value in held.items()}
            return self.generate(rows.stop - rows.start, generator, here, condition)

        return self._in_chunks(make, n, condition)

    @torch.inference_mode()
    def perturb(
        self,
        x: Float[np.ndarray, "n T C"],
        strength: float,
        rng: np.random.Generator,
        condition: Float[np.ndarray, "n"] | None = None,
    ) -> Float[np.ndarray, "n T C"]:
        """Round trip: a perturbed trajectory x' for each of ``x``, from which the model starts.

        Parameters
        ----------
        strength : how much of ``x`` is forgotten, in (0, 1]; at 1 the result is a new sample. It counts
            noise levels, time steps, or the way of a code toward a fresh one: see each class's `round_trip`.
            So strengths of two classes cannot be compared.
        condition : one for each trajectory, for a model that was trained with a condition.

        Raises RuntimeError if the model is not trained.
        """
        self._check_trained()
        if not (isinstance(strength, Real) and 0 < strength <= 1):
            raise ValueError(f"expected a strength in (0, 1], got {strength!r}")
        x = torch.as_tensor(_trajectories(x), dtype=torch.float32)
        if tuple(x.shape[1:]) != self.shape:
            steps, channels = self.shape
            raise ValueError(f"expected trajectories of shape (n, {steps}, {channels}), got {tuple(x.shape)}")
        generator = torch_generator(rng)

        def make(rows, condition):
            part = ((x[rows] - self.mean) / self.scale).to(self.device)
            return self.round_trip(part, strength, generator, condition)

        return self._in_chunks(make, len(x), condition)

    def _in_chunks(self, make: Callable, n: int, condition: Any) -> Float[np.ndarray, "n T C"]:
        """What ``make(rows, condition)`` gives for a few rows at a time, in the units of the data."""
        condition = self._standardised_condition(condition, n)
        parts = []
        for i in range(0, n, CHUNK):
            rows = slice(i, min(i + CHUNK, n))
            parts.append(make(rows, None if condition is None else condition[rows]).cpu())
        x = (torch.cat(parts) * self.scale + self.mean).numpy()
        if bad := int((~np.isfinite(x).all(axis=(1, 2))).sum()):
            raise ValueError(
                f"model '{self.name}' gives NaN or infinite values in {bad} of {n} trajectories: its input "
                "is too far from what it was trained with"
            )
        return x

    def _held(self, step: int, value: Float[np.ndarray, "n C"], n: int) -> tuple[int, Tensor]:
        """One entry of ``clamp``, with the step counted from 0 and the value standardised."""
        steps, channels = self.shape
        if not isinstance(step, Integral) or step not in range(-steps, steps):
            raise ValueError(f"clamp: expected steps from {-steps} to {steps - 1}, got {step!r}")
        value = checks.real(value, "clamp")
        if value.shape != (n, channels):
            raise ValueError(
                f"clamp: expected values of shape ({n}, {channels}), got {value.shape} for step {step}"
            )
        value = checks.sized(value, f"values in clamp for step {step}", largest=checks.SINGLE)
        value = torch.from_numpy(value.astype(np.float32))
        return int(step) % steps, ((value - self.mean) / self.scale).to(self.device)

    def _standardised_condition(self, condition: Any, n: int) -> Condition:
        if (condition is None) != (self.condition_stats is None):
            expected, given = ("one", "none") if condition is None else ("none", "one")
            raise ValueError(
                f"condition of model '{self.name}': expected {expected}, as in training, got {given}"
            )
        if condition is None:
            return None
        mean, scale, low, high = self.condition_stats
        numbers = _numbers("condition", condition, n)
        slack = SLACK * (high - low)
        if beyond := int(((numbers < low - slack) | (numbers > high + slack)).sum()):
            warnings.warn(
                f"{beyond} of {n} conditions lie outside of the range that model '{self.name}' was trained "
                f"on, {low:g} to {high:g}: there it extrapolates",
                stacklevel=5,  # of whoever calls `sample`, which is wrapped once
            )
        return ((numbers - mean) / scale).float()[:, None].to(self.device)

    def normal(self, generator: torch.Generator, *shape: int) -> Tensor:
        """Standard normal numbers, drawn on the CPU and then moved: the same on every device."""
        return torch.randn(shape, generator=generator).to(self.device)

    def config(self) -> dict[str, Any]:
        """Name and hyperparameters: what identifies the model in the store."""
        return {"name": self.name, **dataclasses.asdict(self)}

    @property
    def size(self) -> int:
        """How many numbers are learned."""
        self._check_trained()
        return sum(p.numel() for p in self.network.parameters())

    def to(self, device: str) -> GenerativeModel:
        """Move the model to ``device`` ("cpu" or "cuda"); returns the model itself."""
        if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
            raise ValueError(f"expected device 'cpu', or 'cuda' where torch finds one, got {device!r}")
        if device == "cuda":  # in single precision: a card would round the factors of convolutions to 10 bits
            torch.backends.cudnn.conv.fp32_precision = "ieee"
        self.device = device
        if self.network is not None:
            self.network.to(device)
        return self

    def state(self) -> dict[str, np.ndarray]:
        """All that `from_state` needs beside the hyperparameters: shape and scale of the data, weights."""
        self._check_trained()
        weights = {f"network.{k}": v.cpu().contiguous().numpy() for k, v in self.network.state_dict().items()}
        return {
            "shape": np.array(self.shape),
            "mean": self.mean.numpy(),
            "scale": self.scale.numpy(),
            "limit": np.array(self.limit, dtype=np.float32),
            **({} if self.condition_stats is None else {"told": self.condition_stats.numpy()}),
            **weights,
        }

    def from_state(self, state: Mapping[str, np.ndarray]) -> GenerativeModel:
        """Take up the `state` of a model with the same `config`; returns the model itself.

        Raises ValueError, and leaves the model as it was, where the state does not fit.
        """
        try:
            tensors = {name: torch.as_tensor(array) for name, array in state.items()}
            shape, stats = tuple(tensors["shape"].tolist()), tensors.get("told")
            mean, scale, limit = tensors["mean"], tensors["scale"], float(tensors["limit"])
            network = self.make_network(*shape, stats is not None)
            network.load_state_dict(
                {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
            )
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"expected the state of a model {self.config()}, got another") from error
        self.shape, self.mean, self.scale, self.limit = shape, mean, scale, limit
        self.condition_stats, self.network = stats, network.to(self.device).eval()
        return self

    def _check_trained(self) -> None:
        if self.network is None:
            raise RuntimeError(f"model '{self.name}' is not trained yet: call fit or from_state first")


def _trajectories(x: Any) -> Float[np.ndarray, "n T C"]:
    """``x`` as a float array, if it holds one trajectory or more that single precision can represent."""
    x = checks.real(x, "trajectories")
    if x.ndim != 3 or x.size == 0:
        raise ValueError(f"expected one or more trajectories of shape (n, T, C), got {x.shape}")
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
