"""Data deviation kernels K(x' | x): where a model class tends to land when it means the trajectory x.

A kernel is pushed through the measurement m to a transition T(z' | z) on the quantity, and the transition
forecasts the recovered distribution: q^(z') = integral of p(z) T(z' | z) dz. Kernels take arrays and
callables; they know no task and no model by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float

from physmis import checks
from physmis.drift.metrics import bin_of, total_variation

CHUNK = 4096  # trajectories deviated and measured at once: keeps memory flat however many are given
Trajectories = Float[np.ndarray, "n T C"]
Measurement = Callable[[Trajectories], Float[np.ndarray, "n"]]


class Kernel(ABC):
    """Base of all kernels: one way to ask where a trajectory lands."""

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
        x, spread = checks.trajectories(x), checks.real(self.spread, "spread")
        if spread.shape not in ((), (x.shape[2],)):
            raise ValueError(f"a spread of shape () or ({x.shape[2]},) wanted, got {spread.shape}")
        return x + self.scale * spread * rng.standard_normal(x.shape)


class References:
    """Reference trajectories, and half the squared distances of others to them.

    Distances are Euclidean over all steps and channels, each channel in units of its standard deviation over
    the references (``spread``). A trajectory that is itself among the references is infinitely far from
    itself, so that it never meets itself (leave-one-out).
    """

    def __init__(self, data: Trajectories):
        data = checks.trajectories(data)
        if len(data) < 2:
            raise ValueError(
                f"trajectories of shape (N, T, C) with N of 2 or more wanted, got shape {data.shape}"
            )
        checks.enough_spread(checks.sized(data, "trajectories", largest=checks.SINGLE))
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
        x = checks.trajectories(x)
        if x.shape[1:] != self.data.shape[1:] or len(x) == 0:
            raise ValueError(
                f"one trajectory or more of shape {self.data.shape[1:]} wanted, got shape {x.shape}"
            )
        x = checks.sized(x, "trajectories", largest=checks.SINGLE).astype(np.float32)
        rows = max(1, 10_000_000 // len(self.data))  # 10 million distances are 40 MiB
        return np.concatenate(
            [pick(self.half_squares(x[i : i + rows])).numpy() for i in range(0, len(x), rows)]
        )

    def nearest(self, x: Trajectories) -> np.ndarray:
        """Index of the reference nearest to each of ``x``, other than itself."""
        return self.in_blocks(lambda half: half.argmin(dim=1), x)

    def draw(self, x: Trajectories, width: float, rng: np.random.Generator) -> Trajectories:
        """An x_j for each of ``x``, in proportion to exp(-|x_j - x|^2 / (2 width^2)); or the nearest."""
        if width == 0:
            return self.data[self.nearest(x)]

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
            raise ValueError(f"width and deviation of 0 or more wanted, got {width} and {deviation}")
        self.references, self.width, self.deviation = References(data), width, deviation

    def deviate(self, x, rng):
        landed = self.references.draw(x, self.width, rng)
        if self.deviation:
            landed = IsotropicKernel(self.deviation, self.references.spread).deviate(landed, rng)
        return landed


class ExchangeKernel(Kernel):
    """The exact noise-and-denoise exchange: blur x by ``width``, then draw from the posterior of references.

    y = x + width * noise, and x' is a reference x_j, drawn in proportion to exp(-|x_j - y|^2 / (2 width^2)).
    With plentiful references, drawn afresh from the law of x, this is one step of a reversible chain. It
    leaves the prior unchanged, whatever its bias at each value: a null that should forecast nothing.

    Parameters
    ----------
    references : trajectories drawn from the same law as x, and not x themselves, shape (N, T, C).
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
            raise ValueError(f"share in (0, 1] wanted, got {share}")
        self.references, self.reach = References(data), reach
        self.count = min(max(2, round(share * len(self.references.data))), len(self.references.data) - 1)
        self.centre = self.references.data.mean(axis=(0, 1), dtype=np.float64)

    def deviate(self, x, rng):
        def pick(half):
            near = half.topk(self.count, largest=False).indices
            return near.gather(1, torch.from_numpy(rng.integers(self.count, size=(len(half), 3))))

        x, data = checks.real(x, "trajectories"), self.references.data
        i, j, k = self.references.in_blocks(pick, x).T
        blur, pull = data[i] - data[j], data[k] - x
        square = self._squares(x - self.centre) * self.reach**2
        square = np.maximum(square, 1e-12)
        return (
            x + blur / np.sqrt(1 + self._squares(blur) / square) + pull / (1 + self._squares(pull) / square)
        )

    def _squares(self, steps):
        """Squared length of each step, (n, 1, 1), in the distance of `References`."""
        return ((steps / self.references.spread) ** 2).sum(axis=(1, 2), keepdims=True)


@dataclass(frozen=True)
class HeldEnds(Kernel):
    """Another kernel's x', moved so that it begins and ends where x does.

    The error at the two ends is taken off, going over from the one to the other linearly in time: for models
    that are given the first and the last step.
    """

    kernel: Kernel

    def deviate(self, x, rng):
        x = checks.real(x, "trajectories")
        error = self.kernel.deviate(x, rng) - x
        share = np.linspace(0, 1, x.shape[1])[:, None]
        return x + error - (1 - share) * error[:, :1] - share * error[:, -1:]


class Perturbs(Protocol):
    """What a trained model must offer: `physmis.models.GenerativeModel.perturb`."""

    def perturb(self, x: Trajectories, strength: float, rng: np.random.Generator) -> Trajectories: ...


@dataclass(frozen=True)
class RoundTripKernel(Kernel):
    """x' = model.perturb(x): forget a share ``strength``, in (0, 1], of x, and let the model fill it in.

    It measures the errors of the trained model at hand, so what it says is an explanation, not a forecast
    made before training.
    """

    model: Perturbs
    strength: float

    def deviate(self, x, rng):
        return self.model.perturb(x, self.strength, rng)


@dataclass(frozen=True)
class PilotKernel(Kernel):
    """x' = x + scale * (round trip of a pilot model - x): its errors, shrunk to those of a better model.

    The pilot is of the same class, trained on such data for a small share of the budget. Its errors are taken
    as they come, so they depend on time step, channel and state.
    """

    pilot: Perturbs
    strength: float
    scale: float

    def __post_init__(self):
        checks.positive(scale=self.scale)

    def deviate(self, x, rng):
        x = checks.real(x, "trajectories")
        return x + self.scale * (self.pilot.perturb(x, self.strength, rng) - x)


class Transition(NamedTuple):
    """What a kernel does to the quantity, by bin of z.

    matrix : T[i, j], the probability that a trajectory with z in bin i lands in bin j. Each row sums to 1; a
        bin that holds no data keeps its mass.
    count : trajectories in each bin.
    bias, spread : mean and standard deviation of m(x') - z, in the unit of z; NaN where a bin holds no data.
    """

    matrix: Float[np.ndarray, "bins bins"]
    count: Float[np.ndarray, "bins"]
    bias: Float[np.ndarray, "bins"]
    spread: Float[np.ndarray, "bins"]


def induced_transition(
    kernel: Kernel,
    measure: Measurement,
    x: Trajectories,
    edges: Float[np.ndarray, "edges"],
    rng: np.random.Generator,
) -> Transition:
    """T(z' | z) = E[K-law of m(x') given m(x) = z], estimated from trajectories ``x`` by one draw for each.

    Trajectories are taken `CHUNK` at a time, so that memory hardly grows with their number. ``measure`` may
    be any callable; no derivatives are needed.

    Raises
    ------
    ValueError : ``x`` holds no trajectories, or some that are not finite; ``measure`` returns another shape
        than (n,) or values that are not finite, the kernel another shape than it was given; or what
        `transition` refuses.
    """
    x = checks.real(x, "trajectories")
    if x.ndim != 3 or len(x) == 0:
        raise ValueError(f"one trajectory or more wanted, got shape {x.shape} for (n, T, C)")
    z, landed = [], []
    for i in range(0, len(x), CHUNK):
        part = x[i : i + CHUNK]
        checks.trajectories(part)
        moved = kernel.deviate(part, rng)
        if np.shape(moved) != np.shape(part):
            raise ValueError(f"the kernel was given shape {np.shape(part)} and returned {np.shape(moved)}")
        z.append(measured(measure, part))
        landed.append(measured(measure, moved))
    return transition(np.concatenate(z), np.concatenate(landed), edges)


def transition(
    z: Float[np.ndarray, "n"], landed: Float[np.ndarray, "n"], edges: Float[np.ndarray, "edges"]
) -> Transition:
    """The `Transition` that takes each of ``z`` to ``landed``.

    Raises
    ------
    ValueError : ``z`` and ``landed`` differ in shape; ``edges`` do not ascend or do not cover the values
        (begin and end them with infinite ones).
    """
    z, landed = (checks.sized(checks.values(values), "values") for values in (z, landed))
    edges = checks.edges(edges)
    if z.shape != landed.shape:
        raise ValueError(f"as many values after as before wanted, got shapes {landed.shape} and {z.shape}")
    bins = len(edges) - 1
    at, to = bin_of(z, edges), bin_of(landed, edges)
    matrix = np.zeros((bins, bins))
    np.add.at(matrix, (at, to), 1)
    count = matrix.sum(axis=1)
    moved = landed - z
    with np.errstate(invalid="ignore", divide="ignore"):
        bias = np.bincount(at, moved, minlength=bins) / count
        variance = np.bincount(at, (moved - bias[at]) ** 2, minlength=bins) / count
    empty = count == 0
    matrix[empty, empty] = 1
    return Transition(matrix / matrix.sum(axis=1, keepdims=True), count, bias, np.sqrt(variance))


def forecast(
    p: Float[np.ndarray, "bins"], transition: Float[np.ndarray, "bins bins"], steps: int = 1
) -> Float[np.ndarray, "bins"]:
    """The law over bins that ``p`` becomes when ``transition`` is applied ``steps`` times.

    Raises
    ------
    ValueError : what `check_transition` refuses, or ``steps`` is below 1.
    """
    p, transition = check_transition(p, transition)
    if steps < 1:
        raise ValueError(f"at least 1 step wanted, got {steps}")
    return p @ np.linalg.matrix_power(transition, steps)


def check_transition(
    p: Float[np.ndarray, "bins"], transition: Float[np.ndarray, "bins bins"]
) -> tuple[Float[np.ndarray, "bins"], Float[np.ndarray, "bins bins"]]:
    """Both in float64. Raises ValueError unless ``p`` and the rows of ``transition`` are laws that fit."""
    p, transition = checks.values(p, "shares"), np.asarray(checks.real(transition, "transition"), dtype=float)
    if transition.shape != (p.size, p.size):
        raise ValueError(f"a transition of shape ({p.size}, {p.size}) wanted, got {transition.shape}")
    if not ((transition >= 0).all() and np.allclose(transition.sum(axis=1), 1)):
        raise ValueError("rows of the transition must be laws: shares of 0 or more that sum to 1")
    total_variation(p, p)  # for its check of the law
    return p, transition


def measured(measure: Measurement, x: Trajectories) -> Float[np.ndarray, "n"]:
    """``measure(x)`` in float64, after a check of what it returned.

    Raises
    ------
    ValueError : another shape than (n,), or NaN or infinite values.    TypeError : other than real numbers.
    """
    z = np.asarray(checks.real(measure(x), "the measurement"), dtype=float)
    if z.shape != (len(x),):
        raise ValueError(
            f"the measurement must return shape ({len(x)},) for {len(x)} trajectories, got {z.shape}"
        )
    if not np.isfinite(z).all():
        raise ValueError(
            "the measurement returned NaN or infinite values for "
            f"{np.sum(~np.isfinite(z))} of {len(x)} trajectories"
        )
    return z
