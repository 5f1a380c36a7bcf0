"""How far the recovered distribution q(z) is from the prior p(z), and how sure we can be of it.

drift = q(z) - p(z). Distances come with their sampling floor, what a perfect model would give,
and with a bootstrap interval over seeds and trajectories.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float, Int


class Interval(NamedTuple):
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def shifted(self, by: float) -> Interval:
        """The same interval with a constant added."""
        return Interval(*(float(end + by) for end in self))


def histogram(z: Float[np.ndarray, "n"], edges: Float[np.ndarray, "edges"]) -> Float[np.ndarray, "bins"]:
    """Share of ``z`` in each bin; sums to 1.

    Raises
    ------
    ValueError : ``z`` is empty or not finite, ``edges`` do not ascend, or a value lies outside of them.
    """
    z, edges = np.asarray(z, dtype=float), np.asarray(edges, dtype=float)
    if z.ndim != 1 or z.size == 0:
        raise ValueError(f"a non-empty vector of values wanted, got shape {z.shape}")
    if not np.isfinite(z).all():
        raise ValueError(f"finite values wanted; {np.sum(~np.isfinite(z))} of {z.size} are NaN or infinite")
    if edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all():
        raise ValueError("bin edges must ascend strictly, and there must be two at least")
    if z.min() < edges[0] or z.max() > edges[-1]:
        raise ValueError(
            f"values from {z.min():.4g} to {z.max():.4g} do not fit into "
            f"bins from {edges[0]:.4g} to {edges[-1]:.4g}"
        )
    return np.bincount(_bin(z, edges), minlength=edges.size - 1) / z.size


def _bin(z, edges):
    """Number of the bin that holds each of ``z``; the last bin includes its upper edge."""
    return np.minimum(np.searchsorted(edges, z, side="right") - 1, edges.size - 2)


def prior_mass(prior: Any, edges: Float[np.ndarray, "edges"]) -> Float[np.ndarray, "bins"]:
    """Probability of each bin under ``prior``, a frozen `scipy.stats` distribution."""
    return np.diff(prior.cdf(edges))


def total_variation(p: Float[np.ndarray, "... bins"], q: Float[np.ndarray, "... bins"]) -> Any:
    """Half the summed absolute difference of two laws over bins: the mass that would have to move.

    Raises
    ------
    ValueError : the two have different bins, or either is not a law (negative, or not summing to 1).
    """
    p, q = np.asarray(p, dtype=float), np.asarray(q, dtype=float)
    if p.shape[-1:] != q.shape[-1:]:
        raise ValueError(f"laws over the same bins wanted, got {p.shape[-1]} and {q.shape[-1]} bins")
    for name, law in (("first", p), ("second", q)):
        if not (law >= 0).all() or not np.allclose(law.sum(axis=-1), 1):
            raise ValueError(f"the {name} argument is not a law: shares must be at least 0 and sum to 1")
    return 0.5 * np.abs(p - q).sum(axis=-1)


def wasserstein(z: Float[np.ndarray, "n"], prior: Any) -> float:
    """Wasserstein-1 distance, in the unit of ``z``, between a sample and the prior's n midpoint quantiles."""
    quantiles = prior.ppf((np.arange(len(z)) + 0.5) / len(z))
    return float(np.abs(np.sort(z) - quantiles).mean())  # optimal transport on a line keeps the order


def sampling_floor(
    statistic: Callable[[Float[np.ndarray, "n"]], float],
    prior: Any,
    n: int,
    data: int,
    repeats: int = 200,
) -> Interval:
    """What ``statistic`` gives without any drift: its mean and central 95 % range.

    ``n`` values are drawn with replacement from a training set of ``data`` values of the prior: what a model
    that knew its training set perfectly, and nothing else, would give.
    """
    rng = np.random.default_rng(0)
    values = [statistic(rng.choice(prior.ppf(rng.random(data)), n)) for _ in range(repeats)]
    return Interval(float(np.mean(values)), *map(float, np.percentile(values, [2.5, 97.5])))


def bootstrap(
    statistic: Callable[[np.ndarray], float],
    groups: Sequence[np.ndarray],
    repeats: int = 400,
) -> Interval:
    """Mean of ``statistic`` over ``groups`` (one array a seed), with its bootstrap 95 % interval.

    Seeds are resampled, and rows within each seed. The interval is the estimate plus the central 95 % of the
    resamples' deviations, after two corrections. Resampling rows adds noise, which makes every distance
    larger: that shift is taken off (distances are read against `sampling_floor` instead). Resampling S seeds,
    with S small, understates how much seeds differ: their deviations are widened by
    t / 1.96 * sqrt(S / (S - 1)), t the 97.5 % point of Student's law with S - 1 degrees of freedom, which for
    means gives the width of the t interval.

    Raises
    ------
    ValueError : no groups, or an empty one.
    """
    if len(groups) == 0 or any(len(group) == 0 for group in groups):
        raise ValueError("at least one group wanted, and at least one row in each")
    rng = np.random.default_rng(0)
    seeds = len(groups)
    each = np.array([statistic(group) for group in groups], dtype=float)
    between, within = np.empty(repeats), np.empty(repeats)
    for i in range(repeats):
        chosen = rng.integers(seeds, size=seeds)
        drawn = [statistic(groups[k][rng.integers(len(groups[k]), size=len(groups[k]))]) for k in chosen]
        between[i] = each[chosen].mean() - each.mean()
        within[i] = np.mean(drawn) - each[chosen].mean()
    if seeds > 1:
        between *= scipy.stats.t.ppf(0.975, seeds - 1) / 1.96 * np.sqrt(seeds / (seeds - 1))
    value = float(each.mean())
    low, high = value + np.percentile(between + within - within.mean(), [2.5, 97.5])
    return Interval(value, float(min(low, value)), float(max(high, value)))


class Drift(NamedTuple):
    """What `assess` finds: laws over bins, distances and the floors beneath them, the bin of each value."""

    edges: Float[np.ndarray, "edges"]
    p: Float[np.ndarray, "bins"]
    q: Float[np.ndarray, "seeds bins"]
    tv: Interval
    tv_floor: Interval
    w1: Interval
    w1_floor: Interval
    bins: Int[np.ndarray, "seeds n"]

    @property
    def excess(self) -> Interval:
        """Total variation above its mean sampling floor: about 0 or less where nothing has drifted."""
        return self.tv.shifted(-self.tv_floor.value)

    def minus(self, other: Drift) -> Interval:
        """How much larger this total variation is than another one, seed by seed.

        Raises
        ------
        ValueError : the two do not have the same seeds and sample sizes.
        """
        if self.bins.shape != other.bins.shape:
            raise ValueError(
                f"as many seeds and values wanted on both sides, got {self.bins.shape} and {other.bins.shape}"
            )
        pairs = np.stack([self.bins, other.bins], axis=-1)
        return bootstrap(lambda rows: _tv(self.p, rows[:, 0]) - _tv(other.p, rows[:, 1]), list(pairs))


def _tv(p, bins):
    """Total variation between ``p`` and the share of ``bins`` in each bin."""
    return total_variation(p, np.bincount(bins, minlength=len(p)) / len(bins))


def assess(
    groups: Sequence[Float[np.ndarray, "n"]],
    prior: Any,
    edges: Float[np.ndarray, "edges"],
    data: int,
) -> Drift:
    """The drift of recovered values (one array a seed, equally many in each) from their prior.

    Distances are means over seeds of what each seed's sample alone gives, so one floor serves them all.
    ``data`` is the size of the training sets (see `sampling_floor`).

    Raises
    ------
    ValueError : the seeds have samples of different size, or values or bins that `histogram` refuses.
    """
    sizes = {len(group) for group in groups}
    if len(sizes) != 1:
        raise ValueError(f"equally many values from each seed wanted, got {sorted(sizes)}")
    n = sizes.pop()
    p = prior_mass(prior, edges)
    q = np.stack([histogram(group, edges) for group in groups])

    bins = np.stack([_bin(group, edges) for group in groups])

    def tv(rows):
        return _tv(p, rows)

    def w1(z):
        return wasserstein(z, prior)

    return Drift(
        edges=edges,
        p=p,
        q=q,
        tv=bootstrap(tv, list(bins)),
        tv_floor=sampling_floor(lambda z: tv(_bin(z, edges)), prior, n, data),
        w1=bootstrap(w1, groups),
        w1_floor=sampling_floor(w1, prior, n, data),
        bins=bins,
    )
