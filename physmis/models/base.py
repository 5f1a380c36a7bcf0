"""What is trained. Every model learns trajectories alone, unless it is given a condition to go with them."""

from __future__ import annotations

import dataclasses
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from physmis import checks
from physmis.models.arguments import check_count, check_generator, check_numbers, check_trajectories
from physmis.models.training import Progress, Supply, full_precision, train

CHUNK = 256  # trajectories whose noise is drawn together when sampling
AT_ONCE = {"cpu": CHUNK, "cuda": 64 * CHUNK}  # pass through a network: what fits a core's cache, or a card
BEYOND = 0.01  # of the range of conditions: how far outside of it none is warned of
Held = Mapping[int, Tensor]  # time step -> standardised values (n, C) held there
_INITIALISING = threading.Lock()  # initial weights come from a generator that all threads share


@dataclasses.dataclass
class GenerativeModel(ABC):
    """Base of all models. Subclasses are dataclasses; their fields are the model's hyperparameters.

    Arrays go in and come out; scale and device stay inside. Every random draw is made by a CPU generator and
    then moved, so that the noise is the same on every device.

    Parameters
    ----------
    steps, batch, rate : training steps, trajectories in each, peak of the one-cycle learning rate.
    """

    name: ClassVar[str]
    sampling: ClassVar[tuple[str, ...]] = ()  # hyperparameters that training does not depend on
    given: ClassVar[tuple[int, ...]] = ()  # time steps that it is told in training, and wants in ``clamp``
    steps: int = 2000
    batch: int = 128
    rate: float = 1e-3

    def __post_init__(self):
        self.device = "cpu"
        self.network: nn.Module | None = None
        self.losses: Float[np.ndarray, "steps"] | None = None
        self.told: Tensor | None = (
            None  # mean, scale, least and largest of the condition, if trained with one
        )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, int):
                setattr(self, field.name, check_count(field.name, value))
            if isinstance(field.default, float) and not (
                isinstance(value, Real) and 0 < value < float("inf")
            ):
                raise ValueError(f"{field.name} must be positive and finite, got {value!r}")

    @property
    @abstractmethod
    def cost(self) -> float:
        """Relative cost of training, to start the longest first."""

    @abstractmethod
    def make_network(self, steps: int, channels: int, conditional: bool) -> nn.Module:
        """A fresh network for trajectories (steps, channels); ``conditional`` if it is told a scalar, too."""

    @abstractmethod
    def draws(self, n: int, draw: torch.Generator) -> tuple[Tensor, ...]:
        """The random numbers that `loss` asks for with a batch of ``n``: tensors (n, ...) on the CPU."""

    @abstractmethod
    def loss(
        self, x: Float[Tensor, "n T C"], condition: Float[Tensor, "n 1"] | None, *draws: Tensor
    ) -> Tensor:
        """What training makes small, for a batch of standardised trajectories."""

    def settle(self, x: Float[Tensor, "n T C"], condition: Float[Tensor, "n 1"] | None) -> None:  # noqa: B027
        """What is left to do after training, with all of the standardised data."""

    @abstractmethod
    def noise(self, n: int, draw: torch.Generator, strength: float | None = None) -> tuple[Tensor, ...]:
        """The random numbers that `generate` asks for, or `round_trip` with a ``strength``.

        Tensors (n, ...) on the CPU.
        """

    @abstractmethod
    def generate(
        self, n: int, noise: Sequence[Tensor], held: Held, condition: Float[Tensor, "n 1"] | None
    ) -> Float[Tensor, "n T C"]:
        """``n`` new standardised trajectories."""

    @abstractmethod
    def round_trip(
        self,
        x: Float[Tensor, "n T C"],
        strength: float,
        noise: Sequence[Tensor],
        condition: Float[Tensor, "n 1"] | None,
    ) -> Float[Tensor, "n T C"]:
        """`perturb` for standardised trajectories."""

    def fit(
        self,
        x: Float[np.ndarray, "n T C"],
        rng: np.random.Generator,
        *,
        condition: Float[np.ndarray, "n"] | None = None,
        weights: Float[np.ndarray, "n"] | None = None,
        progress: Progress | None = None,
    ):
        """Train on trajectories ``x``; returns the model itself.

        A call that is refused or interrupted leaves the model as it was.

        Parameters
        ----------
        condition : a scalar for each trajectory that the model is told, in training and then in sampling.
        weights : how often each trajectory is met in training, in proportion; all alike if not given. (They
            do not enter the mean and scale by which data are standardised.)
        progress : called before each step and at the end with steps done and steps in all.

        Raises
        ------
        ValueError : ``x`` has the wrong shape, a single value in a channel, NaN or infinite values, or a
            channel that varies too little, or too little about its mean, for single precision; ``condition``
            or ``weights`` are not one finite number for each trajectory; conditions differ, but by less than
            can be told apart; weights are negative or all 0; the horizon does not suit the network.
        TypeError : ``rng`` is no `numpy.random.Generator`, or an array holds no real numbers.
        FloatingPointError : training diverged.
        """
        given = {"x": x, "rng": rng, "condition": condition, "weights": weights}
        train([self], [given], progress)
        return self

    def prepare(self, x, rng, condition=None, weights=None) -> Supply:
        """Take up the scale of the data and a fresh network; gives what training draws batches from."""
        check_generator(rng)
        x, given = check_trajectories(x), x
        if x[..., 0].numel() < 2:
            raise ValueError(f"two values or more in each channel wanted, got shape {tuple(x.shape)}")
        checks.enough_spread(checks.real(given, "trajectories"))
        self.shape = tuple(x.shape[1:])
        self.mean, self.scale = x.mean(dim=(0, 1)), x.std(dim=(0, 1)).clamp(min=1e-6)
        x = (x - self.mean) / self.scale
        # Twice the largest standardised value: only estimates from almost pure noise ever lie beyond.
        self.limit = 2 * float(x.abs().max())
        self.told = None
        if condition is not None:
            numbers = check_numbers("condition", condition, len(x))
            spread = numbers.std(correction=0).clamp(min=1e-12)
            if spread == 1e-12 and numbers.min() < numbers.max():
                told = f"{numbers.min():g} to {numbers.max():g}"
                raise ValueError(f"conditions that vary by 1e-12 or more wanted, got {told}")
            self.told = torch.stack([numbers.mean(), spread, numbers.min(), numbers.max()])
        if weights is not None:
            weights = check_numbers("weights", weights, len(x))
            checks.sized(weights.numpy(), "weights", least=1 / checks.LARGEST)
            if (weights < 0).any() or not weights.any():
                given = f"values from {weights.min():g} to {weights.max():g}"
                raise ValueError(f"weights of 0 or more, not all 0, wanted; got {given}")
        with _INITIALISING, torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            self.network = self.make_network(*self.shape, self.told is not None).to(self.device)
        told = self._standardised_condition(condition, len(x))
        return Supply(x.to(self.device), told, weights, generator(rng))

    @torch.inference_mode()
    @full_precision()
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
        condition : what each trajectory should be like, for a model that was trained with a condition; warns
            of values outside of the range of training.

        Raises
        ------
        ValueError : ``n`` is below 1; ``clamp`` names a step beyond the horizon, or one twice, or its values
            have another shape or are not finite, or the model cannot hold steps; ``condition`` is missing,
            or given to a model trained without one, or is not one finite number for each trajectory; or what
            is asked for is so far from what was learned that the model makes no numbers of it.
        RuntimeError : the model is not trained.
        """
        self._check_trained()
        n = check_count("n", n)
        held = {}
        for step, value in (clamp or {}).items():
            value = self._standardised_step(step, value, n)
            if (place := int(step) % self.shape[0]) in held:
                raise ValueError(f"clamp names step {place} twice, the second time as {step}")
            held[place] = value
        c = self._standardised_condition(condition, n)
        parts = [
            self.generate(
                len(noise[0]),
                noise,
                {step: value[rows] for step, value in held.items()},
                None if c is None else c[rows],
            ).cpu()
            for rows, noise in self._portions(n, generator(rng))
        ]
        return self._in_units(parts)

    def _portions(
        self, n: int, draw: torch.Generator, strength: float | None = None
    ) -> Iterator[tuple[slice, list[Tensor]]]:
        """Rows that pass through the network together, and their noise on the model's device.

        It is drawn `CHUNK` rows at a time on every device, so that each trajectory has the same everywhere.
        """
        for i in range(0, n, AT_ONCE[self.device]):
            stop = min(i + AT_ONCE[self.device], n)
            parts = [self.noise(min(CHUNK, stop - j), draw, strength) for j in range(i, stop, CHUNK)]
            yield slice(i, stop), [torch.cat(part).to(self.device) for part in zip(*parts, strict=True)]

    def _standardised_step(self, step: int, value: Float[np.ndarray, "n C"], n: int) -> Tensor:
        value = checks.real(value, "clamp")
        if not isinstance(step, Integral) or step not in range(-self.shape[0], self.shape[0]):
            raise ValueError(f"clamp wants steps from {-self.shape[0]} to {self.shape[0] - 1}, got {step!r}")
        if value.shape != (n, self.shape[1]):
            raise ValueError(
                f"clamp wants values of shape ({n}, {self.shape[1]}) for each step; "
                f"got shape {value.shape} for step {step}"
            )
        value = checks.sized(value, f"values in clamp for step {step}", largest=checks.SINGLE)
        value = value.astype(np.float32)
        return ((torch.from_numpy(value) - self.mean) / self.scale).to(self.device)

    def _standardised_condition(self, condition: Any, n: int) -> Float[Tensor, "n 1"] | None:
        if (condition is None) != (self.told is None):
            trained, given = ("with", "none was") if condition is None else ("without", "one was")
            raise ValueError(f"model '{self.name}' was trained {trained} a condition, and {given} given")
        if condition is None:
            return None
        mean, scale, low, high = self.told
        numbers = check_numbers("condition", condition, n)
        slack = BEYOND * (high - low)
        if beyond := int(((numbers < low - slack) | (numbers > high + slack)).sum()):
            warnings.warn(
                f"{beyond} of {n} conditions lie outside of what model '{self.name}' was trained with, "
                f"{low:g} to {high:g}: what it makes there is a guess",
                stacklevel=5,  # of whoever calls `sample`, which is wrapped twice
            )
        return ((numbers - mean) / scale).float()[:, None].to(self.device)

    @torch.inference_mode()
    @full_precision()
    def perturb(
        self,
        x: Float[np.ndarray, "n T C"],
        strength: float,
        rng: np.random.Generator,
        condition: Float[np.ndarray, "n"] | None = None,
    ) -> Float[np.ndarray, "n T C"]:
        """Round trip: where the model lands when it starts from ``x`` and forgets a share of it.

        Parameters
        ----------
        strength : how much is forgotten, in (0, 1]; at 1 it is a new sample. What it counts depends on the
            class (noise levels, time steps, the way of a code toward a fresh one): see each `round_trip`. So
            strengths of two classes cannot be compared.
        condition : one for each trajectory, for a model that was trained with a condition.

        Raises
        ------
        ValueError : ``strength`` is not in (0, 1], or ``x`` does not have the shape that was trained on, or
            ``condition`` is refused as by `sample`; or what is given is so far from what was learned that the
            model makes no numbers of it.
        RuntimeError : the model is not trained.
        """
        self._check_trained()
        if not (isinstance(strength, Real) and 0 < strength <= 1):
            raise ValueError(f"strength in (0, 1] wanted, got {strength!r}")
        x = check_trajectories(x)
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"trajectories of shape (n, {self.shape[0]}, {self.shape[1]}) wanted, got {tuple(x.shape)}"
            )
        c = self._standardised_condition(condition, len(x))
        parts = []
        for rows, noise in self._portions(len(x), generator(rng), strength):
            part = ((x[rows] - self.mean) / self.scale).to(self.device)
            parts.append(self.round_trip(part, strength, noise, None if c is None else c[rows]).cpu())
        return self._in_units(parts)

    def _in_units(self, parts: list[Tensor]) -> Float[np.ndarray, "n T C"]:
        x = (torch.cat(parts) * self.scale + self.mean).numpy()
        if bad := int((~np.isfinite(x).all(axis=(1, 2))).sum()):
            raise ValueError(
                f"model '{self.name}' makes NaN or infinite values in {bad} of {len(x)} trajectories: "
                "what it is given is too far from what it was trained with"
            )
        return x

    def config(self) -> dict[str, Any]:
        """Name and hyperparameters: what identifies the model in the store."""
        return {"name": self.name, **dataclasses.asdict(self)}

    @property
    def size(self) -> int:
        """How many numbers are learned."""
        self._check_trained()
        return sum(p.numel() for p in self.network.parameters())

    def to(self, device: str) -> GenerativeModel:
        """Move the model to ``device`` ("cpu" or "cuda"); returns the model itself.

        Raises ValueError for another device, or for "cuda" where there is none.
        """
        if device not in ("cpu", "cuda"):
            raise ValueError(f"unknown device {device!r}; accepted: cpu, cuda")
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device 'cuda' was asked for, and torch finds none; accepted here: cpu")
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
            **({} if self.told is None else {"told": self.told}),
            **weights,
        }

    def from_state(self, state: dict[str, Tensor]) -> GenerativeModel:
        """Take up what `state` of a model with the same `config` gave; returns the model itself.

        Raises ValueError, and leaves the model as it was, where the state does not fit.
        """
        try:
            shape, told = tuple(state["shape"].tolist()), state.get("told")
            mean, scale, limit = state["mean"], state["scale"], float(state["limit"])
            network = self.make_network(*shape, told is not None)
            network.load_state_dict(
                {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
            )
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"this state does not fit the model {self.config()}: it is of another class, of other "
                "hyperparameters, or not whole"
            ) from error
        self.shape, self.told, self.mean, self.scale, self.limit = shape, told, mean, scale, limit
        self.network = network.to(self.device).eval()
        return self

    def _check_trained(self) -> None:
        if self.network is None:
            raise RuntimeError(f"model '{self.name}' is not trained yet: call fit or from_state first")


def embed_condition(width: int) -> nn.Sequential:
    """A small network from a scalar condition (n, 1) to ``width`` numbers."""
    return nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))


def generator(rng: np.random.Generator) -> torch.Generator:
    """A CPU torch generator seeded from ``rng``."""
    check_generator(rng)
    return torch.Generator().manual_seed(int(rng.integers(2**63)))
