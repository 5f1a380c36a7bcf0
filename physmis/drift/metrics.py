"""How far the recovered distribution q(z) is from the prior p(z), and how sure we can be of it.

drift = q(z) - p(z). Distances come with their sampling floor, what a perfect model would give,
and with a bootstrap interval over seeds and trajectories. A forecast is a distribution over the same bins,
made before q(z) is seen; `score` says how much of the drift it explains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float, Int

from physmis import checks
from physmis.drift.intervals import REPEATS, Interval, bootstrap, interval

SPLITS = 50  # of each seed's values into halves, for the noise ceiling

Values = Float[np.ndarray, "n"]
Edges = Float[np.ndarray, "edges"]
Shares = Float[np.ndarray, "... bins"]


def histogram(z: Values, edges: Edges) -> Shares:
    """Share of ``z`` in each bin; sums to 1."""
    return _shares(bin_of(z, edges), len(edges) - 1)


def bin_of(z: Values, edges: Edges) -> Int[np.ndarray, "n"]:
    """Number of the bin that holds each of ``z``; bins hold their lower edge, the last its upper one, too."""
    z, edges = checks.values(z), checks.edges(edges)
    if z.min() < edges[0] or z.max() > edges[-1]:
        ends = f"{edges[0]:.4g} to {edges[-1]:.4g}, got {z.min():.4g} to {z.max():.4g}"
        raise ValueError(f"expected values within the bins, from {ends}")
    return _bin_of(z, edges)


def _bin_of(z, edges):
    return np.minimum(np.searchsorted(edges, z, side="right") - 1, edges.size - 2)


def _shares(bins, count):
    """Share of the bin numbers ``bins`` in each of ``count`` bins."""
    return np.bincount(bins, minlength=count) / len(bins)


def prior_mass(prior: Any, edges: Edges) -> Shares:
    """Probability of each bin under ``prior``, a frozen `scipy.stats` distribution."""
    edges = checks.edges(edges)
    if hasattr(prior, "pmf"):  # discrete: a bin holds the mass at its lower edge
        edges = np.where(np.isfinite(edges), np.nextafter(edges, -np.inf), edges)
    return np.diff(prior.cdf(edges))


def total_variation(p: Shares, q: Shares) -> Any:
    """Half the summed absolute difference of distributions over bins: the mass that would have to move."""
    return half_l1(*distributions(p, q))


def half_l1(p: Shares, q: Shares) -> Any:
    """`total_variation` of arrays that are known to be distributions."""
    return 0.5 * np.abs(p - q).sum(axis=-1)


def distributions(*given: Shares) -> list[Shares]:
    """Distributions in float64. Raises ValueError unless all are shares of the same bins that sum to 1."""
    found = [np.asarray(checks.real(one, "shares"), dtype=float) for one in given]
    for one in found:
        if one.size == 0 or not (np.isfinite(one) & (one >= 0)).all() or not np.allclose(one.sum(axis=-1), 1):
            raise ValueError(f"expected shares of 0 or more that sum to 1, got {one}")
        if one.ndim == 0 or one.shape[-1] != found[0].shape[-1]:
            raise ValueError(f"expected shares of the same bins, got shapes {[one.shape for one in found]}")
    return found


def wasserstein(z: Values, prior: Any) -> float:
    """Wasserstein-1 distance, in the unit of ``z``, between a sample and the prior's n midpoint quantiles."""
    z = checks.values(z)
    return _mean_gap(z, _midpoints(prior, len(z)))


def _midpoints(prior, n):
    """Midpoint quantiles of a prior, (n,)."""
    return prior.ppf((np.arange(n) + 0.5) / n)


def _mean_gap(z, quantiles):
    """Wasserstein-1 distance between as many values and quantiles; transport on a line keeps the order."""
    return float(np.abs(np.sort(z) - quantiles).mean())


def sampling_floor(
    statistic: Callable[[Values], float], prior: Any, n: int, data: int, repeats: int = 200
) -> Interval:
    """Mean and central 95 % range of ``statistic`` without any drift.

    ``n`` values are drawn with replacement from a training set of ``data`` values of the prior: samples of a
    model that knows its training set perfectly, and nothing else.
    """
    values = [statistic(prior.ppf(row)) for row in _drawn_quantiles(n, data, repeats)]
    return Interval(float(np.mean(values)), *map(float, np.percentile(values, [2.5, 97.5])))


@lru_cache(maxsize=64)  # a notebook asks for the same floor for every arm
def _tv_floor(levels, n, data):
    """`sampling_floor` of the total variation over bins that end at these ``levels`` of the prior's cdf."""
    levels = np.array(levels)
    p, uniform = np.diff(levels), scipy.stats.uniform()
    return sampling_floor(lambda u: _tv(p, _bin_of(u, levels)), uniform, n, data)


@lru_cache(maxsize=4)
def _drawn_quantiles(n, data, repeats):
    """Quantiles of a training set that samples of it draw, (repeats, n)."""
    rng = np.random.default_rng(0)
    return np.stack([rng.choice(rng.random(data), n) for _ in range(repeats)])


@dataclass(frozen=True)
class Drift:
    """Distributions over bins, distances and their floors; ``bins`` holds the bin of each value."""

    edges: Edges
    p: Float[np.ndarray, "bins"]
    q: Float[np.ndarray, "seeds bins"]
    tv: Interval
    tv_floor: Interval
    bins: Int[np.ndarray, "seeds n"]
    values: Float[np.ndarray, "seeds n"]
    prior: Any
    data: int

    @cached_property  # these take longer than all the rest
    def w1(self) -> Interval:
        """Wasserstein-1 distance from the prior."""
        quantiles = _midpoints(self.prior, self.values.shape[1])  # once, not for each resample
        return bootstrap(lambda z: _mean_gap(z, quantiles), list(self.values))

    @cached_property
    def w1_floor(self) -> Interval:
        """`sampling_floor` of `w1`."""
        n = self.values.shape[1]
        quantiles = _midpoints(self.prior, n)
        return sampling_floor(lambda z: _mean_gap(z, quantiles), self.prior, n, self.data)

    @cached_property
    def ceiling(self) -> float:
        """Noise ceiling: reliability of one seed's drift, by split halves and the Spearman-Brown correction.

        The correlation r between random halves of a seed's values, mean over splits and seeds (0 if
        negative), gives 2r / (1 + r): the expected correlation with a second sample from the same models. A
        noiseless forecast of each seed's true distribution could reach its square root.
        """
        rng, found = np.random.default_rng(0), []
        for _ in range(SPLITS):
            for values in rng.permuted(self.bins, axis=1):
                one, other = (_shares(half, len(self.p)) for half in np.array_split(values, 2))
                found.append(_correlation(one, other, self.p))
        # The mean is corrected, not each r: the correction has a pole at -1, and single splits come near.
        r = max(float(np.mean(found)), 0.0)
        return 2 * r / (1 + r)

    @property
    def excess(self) -> Interval:
        """Total variation above its mean sampling floor: about 0 or less where nothing has drifted.

        Less than the drift without sampling: the stronger that is, the less does sampling add.
        """
        return Interval(*(end - self.tv_floor.value for end in self.tv))

    def minus(self, other: Drift) -> Interval:
        """How much larger this total variation is than another one, seed by seed."""
        if self.bins.shape != other.bins.shape:
            raise ValueError(f"expected as many seeds and values, {self.bins.shape}, got {other.bins.shape}")
        pairs = np.stack([self.bins, other.bins], axis=-1)
        return bootstrap(lambda rows: _tv(self.p, rows[:, 0]) - _tv(other.p, rows[:, 1]), list(pairs))


def _tv(p, bins):
    """Total variation between ``p`` and the shares of the bin numbers ``bins``."""
    return half_l1(p, _shares(bins, len(p)))


def assess(groups: Sequence[Values], prior: Any, edges: Edges, data: int) -> Drift:
    """The drift of recovered values (one array a seed, equally many in each) from their prior.

    Distances are means over seeds of each seed's own distance, so one floor serves them all. ``data`` is the
    size of the training sets (see `sampling_floor`). Bins must hold the whole prior.
    """
    bins = [bin_of(group, edges) for group in groups]
    sizes = {len(row) for row in bins}
    if len(sizes) != 1:
        raise ValueError(f"expected equally many values from each seed, got {sorted(sizes)}")
    bins, values = np.stack(bins), np.stack([np.asarray(group, dtype=float) for group in groups])
    edges = np.asarray(edges, dtype=float)
    p = prior_mass(prior, edges)
    if not np.isclose(p.sum(), 1):
        raise ValueError(f"expected bins that hold the whole prior, got {p.sum():.3g} of it")
    return Drift(
        edges=edges,
        p=p,
        q=np.stack([_shares(row, len(p)) for row in bins]),
        tv=bootstrap(lambda rows: _tv(p, rows), list(bins)),
        tv_floor=_tv_floor(tuple(prior.cdf(edges).tolist()), bins.shape[1], data),
        bins=bins,
        values=values,
        prior=prior,
        data=data,
    )


def drift_correlation(f: Shares, q: Shares, p: Shares) -> Any:
    """Pearson correlation over bins of the forecast drift f - p with the observed drift q - p.

    0 where either drift is none to rounding, as that of the uninformative forecast f = p.
    """
    return _correlation(*distributions(f, q, p))


def _correlation(f, q, p):
    def unit(drift):
        # A difference of two distributions sums to 0, so nothing has to be centred.
        size = np.linalg.norm(drift, axis=-1, keepdims=True)
        return drift / np.where(size > 1e-12, size, np.inf)

    return (unit(f - p) * unit(q - p)).sum(axis=-1)


def skill(f: Shares, q: Shares, p: Shares) -> Any:
    """Share of the total variation between prior and q that a forecast explains, 1 - TV(f, q) / TV(p, q).

    0 for the forecast of no drift, f = p, and 1 for f = q; negative for a forecast worse than none. The noise
    of a finite sample is in both distances, so that even the distribution it was drawn from stays below 1.
    """
    f, q, p = distributions(f, q, p)
    drifted = half_l1(p, q)
    if not np.all(drifted > 0):
        raise ValueError("expected an observed drift to forecast, got the prior itself")
    return 1 - half_l1(f, q) / drifted


def _wasserstein_binned(f, q, edges):
    """Wasserstein-1 distance of distributions over bins, each bin's mass at its centre, in the unit of edges.

    That is the trapezoid rule for the area between the distribution functions. The mass of an open end bin
    is taken at the outermost finite edge.
    """
    finite = edges[np.isfinite(edges)]
    edges = np.clip(edges, finite.min(), finite.max())
    centres = (edges[1:] + edges[:-1]) / 2
    return np.abs(np.cumsum(f - q, axis=-1)[..., :-1]) @ np.diff(centres)


class Score(NamedTuple):
    """How well a forecast met the drift: means over seeds, and the `Drift.ceiling` of the correlation."""

    correlation: Interval
    ceiling: float
    skill: Interval
    tv: Interval
    w1: Interval


def score(forecasts: Shares, drift: Drift) -> Score:
    """Score a forecast of q(z), one for all seeds or one for each, against the observed ``drift``.

    As in `assess`, numbers are means over seeds of each seed's own score. Intervals are those of `bootstrap`;
    their ends are not kept to the range of the statistic. That of the skill is too narrow where a single seed
    has a ceiling below a half (80 % or less instead of 95 % in simulations).
    """
    f, p = _forecasts(forecasts, drift), drift.p

    def all_four(f, q):
        tv, drifted = half_l1(f, q), half_l1(p, q)
        # A resample may have no drift though the sample has one: it says nothing about the skill.
        left = np.divide(tv, drifted, out=np.ones_like(tv), where=drifted > 0)
        w1 = _wasserstein_binned(f, q, drift.edges)
        return np.stack([_correlation(f, q, p), 1 - left, tv, w1], axis=-1)

    correlation, skilled, tv, w1 = _over_seeds(all_four, f, drift)
    return Score(correlation, drift.ceiling, skilled, tv, w1)


def advantage(a: Shares, b: Shares, drift: Drift) -> Interval:
    """How much better forecasts ``a`` correlate with the ``drift`` than ``b`` do, seed by seed."""
    pairs = np.stack([_forecasts(a, drift), _forecasts(b, drift)], axis=1)

    def difference(pair, q):
        of_a, of_b = (_correlation(pair[..., i, :], q, drift.p) for i in (0, 1))
        return of_a - of_b

    return _over_seeds(difference, pairs, drift)


def _forecasts(forecasts, drift):
    """The forecasts, checked, one a seed: (seeds, bins)."""
    (f,) = distributions(forecasts)
    if f.shape not in (drift.p.shape, drift.q.shape):
        raise ValueError(f"expected forecasts of shape {drift.p.shape} or {drift.q.shape}, got {f.shape}")
    return np.broadcast_to(f, drift.q.shape)


def _over_seeds(statistic, forecasts, drift):
    """`bootstrap` of ``statistic`` of forecasts and observed distributions (..., bins), all seeds at once."""
    rng, seeds, n = np.random.default_rng(0), *drift.bins.shape
    chosen, drawn = np.empty((REPEATS, seeds), dtype=int), np.empty((REPEATS, *drift.q.shape))
    for i in range(REPEATS):
        chosen[i] = rng.integers(seeds, size=seeds)
        drawn[i] = rng.multinomial(n, drift.q[chosen[i]]) / n  # of n rows drawn anew
    return interval(statistic(forecasts, drift.q), chosen, statistic(forecasts[chosen], drawn))
