"""Ways against drift: change the data, the interface of the model, its coordinates, or what it has made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog

from physmis.coordinates.maps import Coordinates, check_invertible
from physmis.drift.metrics import Edges, Shares, Values, bin_of, distributions, total_variation
from physmis.kernels.transition import Matrix, check_transition
from physmis.tasks import Batch, Task

SMALLEST = 1e-9  # share of the mass below which a bin counts as empty


class Treatment(ABC):
    """How an experiment departs from plain training and sampling. Subclasses are frozen dataclasses."""

    name: ClassVar[str]

    def config(self) -> dict[str, Any]:
        """Name and parameters: what identifies the treatment in the store."""
        return {"name": self.name, **asdict(self)}

    @abstractmethod
    def fitting(self, task: Task, batch: Batch) -> dict[str, np.ndarray]:
        """Trajectories ``x`` and further arguments of `physmis.models.GenerativeModel.fit`."""

    def requests(self, task: Task, n: int, rng: np.random.Generator) -> Float[np.ndarray, "n"] | None:
        """Requested values of the quantity, one for each sample; None for unconditional models."""
        return None

    def restore(self, y: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n T C"]:
        """Trajectories of the task from what the model makes."""
        return y


@dataclass(frozen=True)
class Reweighted(Treatment):
    """Training that meets trajectories in proportion to ``weights``, one for each bin of the quantity."""

    name: ClassVar[str] = "reweighted"
    weights: tuple[float, ...]

    def fitting(self, task, batch):
        edges = task.quantity.bins()
        if len(self.weights) != len(edges) - 1:
            raise ValueError(f"expected a weight for each of {len(edges) - 1} bins, got {len(self.weights)}")
        return {"x": batch.x, "weights": np.asarray(self.weights)[bin_of(batch.z, edges)]}


@dataclass(frozen=True)
class Conditioned(Treatment):
    """A model conditioned on the quantity of each trajectory; requested values are drawn from the prior."""

    name: ClassVar[str] = "conditioned"

    def fitting(self, task, batch):
        return {"x": batch.x, "condition": batch.z}

    def requests(self, task, n, rng):
        return task.quantity.prior.ppf(rng.random(n))


@dataclass(frozen=True)
class InCoordinates(Treatment):
    """An unconditional model that sees y = phi(x) and whose samples are mapped back."""

    name: ClassVar[str] = "in coordinates"
    coordinates: Coordinates

    def config(self):
        return {"name": self.name, "coordinates": self.coordinates.config()}

    def fitting(self, task, batch):
        return {"x": check_invertible(self.coordinates, batch.x)}

    def restore(self, y):
        return self.coordinates.inverse(y).astype(np.float32)


def inverse_drift_weights(p: Shares, q: Shares) -> Shares:
    """Weights p / q of bins, the naive recipe; 0 where ``p`` has no mass, and with mean 1 under it."""
    p, q = distributions(p, q)
    inside = p > SMALLEST
    if (empty := inside & (q <= SMALLEST)).any():
        raise ValueError(f"expected mass in all {inside.sum()} bins of the prior, got none in {empty.sum()}")
    weights = np.where(inside, p / np.maximum(q, SMALLEST), 0.0)
    return weights / (p @ weights)


def resample_output(z: Values, p: Shares, edges: Edges, rng: np.random.Generator) -> tuple[Values, float]:
    """Values with the distribution ``p`` over bins, out of values ``z``; and how many are drawn for each one.

    Half of ``z`` estimates its own distribution q, half a value more in each bin; of the other half, values
    are drawn in proportion to p / q, as many as rejection sampling would keep, and at least 20.
    """
    first, second = np.array_split(z, 2)
    q = np.bincount(bin_of(first, edges), minlength=len(p)) + 0.5
    chance = (p / q / (p / q).max() + SMALLEST)[bin_of(second, edges)]  # all may lie where p is 0
    kept = rng.choice(second, max(20, round(chance.sum())), p=chance / chance.sum())
    return kept, float(1 / chance.mean())


class Source(NamedTuple):
    """A distribution of the data that a transition takes near the prior."""

    shares: Shares
    weights: Shares  # shares / p, 0 where the prior has no mass
    residual: float  # total variation of what comes out from the prior


def closest_source(p: Shares, transition: Matrix) -> Source:
    """The best of reweighting: the source whose image is closest to ``p`` in total variation."""
    p, transition = check_transition(p, transition)
    inside = np.flatnonzero(p > SMALLEST)
    image, n, bins = transition[inside].T, len(inside), len(p)
    # Unknowns: pi on the bins inside, as elsewhere are no data to weight, and u with |pi T - p| <= u.
    eye = np.eye(bins)
    found = linprog(
        np.concatenate([np.zeros(n), np.full(bins, 0.5)]),
        A_ub=np.block([[image, -eye], [-image, -eye]]),
        b_ub=np.concatenate([p, -p]),
        A_eq=np.concatenate([np.ones(n), np.zeros(bins)])[None],
        b_eq=[1.0],
    )
    shares = np.zeros(bins)
    shares[inside] = np.maximum(found.x[:n], 0)
    return _source(shares / shares.sum(), p, transition)


def unfolded_source(p: Shares, transition: Matrix, steps: int) -> Source:
    """A smooth source: ``steps`` from ``p`` of pi <- pi * (T (p / (pi T))) (Richardson 1972, Lucy 1974)."""
    p, transition = check_transition(p, transition)
    shares = p.copy()
    for _ in range(steps):
        image = shares @ transition
        # Where nothing arrives from any bin, nothing can be requested.
        ratio = np.divide(p, image, out=np.zeros_like(p), where=(p > SMALLEST) & (image > 0))
        shares = shares * (transition @ ratio)
        shares /= shares.sum()
    return _source(shares, p, transition)


def _source(shares, p, transition):
    weights = np.divide(shares, p, out=np.zeros_like(p), where=p > SMALLEST)
    return Source(shares, weights, float(total_variation(p, shares @ transition)))
