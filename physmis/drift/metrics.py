"""The drift q(z) - p(z) of recovered distributions from the prior, and how well forecasts of q(z) meet it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from physmis import checks
from physmis.drift.intervals import REPEATS, Interval, bootstrap, interval

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
    return np.minimum(np.searchsorted(edges, z, side="right") - 1, edges.size - 2)


def _shares(bins, count):
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


def _tv(p, bins):
    return half_l1(p, _shares(bins, len(p)))


def distributions(*given: Shares) -> list[Shares]:
    """Distributions in float64. Raises ValueError unless all are shares of the same bins that sum to 1."""
    found = [np.atleast_1d(np.asarray(checks.real(one, "shares"), dtype=float)) for one in given]
    for one in found:
        if one.shape[-1] != found[0].shape[-1] or (one < 0).any() or not np.allclose(one.sum(axis=-1), 1):
            raise ValueError(f"expected shares of 0 or more of the same bins that sum to 1, got {given}")
    return found


def wasserstein(z: Values, prior: Any) -> float:
    """Wasserstein-1 distance, in the unit of ``z``, between a sample and the prior's n midpoint quantiles."""
    z = checks.values(z)
    quantiles = prior.ppf((np.arange(len(z)) + 0.5) / len(z))
    return float(np.abs(np.sort(z) - quantiles).mean())  # transport on a line keeps the order


def sampling_floor(statistic: Callable[[Values], float], prior: Any, n: int, data: int) -> Interval:
    """Mean and central 95 % of ``statistic`` of ``n`` draws from a training set, ``data`` prior values."""
    rng = np.random.default_rng(0)
    values = [statistic(prior.ppf(rng.choice(rng.random(data), n))) for _ in range(200)]
    return Interval(float(np.mean(values)), *map(float, np.percentile(values, [2.5, 97.5])))


@lru_cache(maxsize=64)  # a notebook asks for the same floor for every arm
def _tv_floor(levels, n, data):
    """`sampling_floor` of the total variation over bins that end at these ``levels`` of the prior's cdf."""
    import scipy.stats  # takes most of a second, which a test of a shift does not need

    p, uniform = np.diff(levels), scipy.stats.uniform()
    return sampling_floor(lambda u: half_l1(p, np.histogram(u, levels)[0] / n), uniform, n, data)


@dataclass(frozen=True)
class Drift:
    """Distributions over bins, and the floor of their distance; ``bins`` holds the bin of each value."""

    edges: Edges
    p: Float[np.ndarray, "bins"]
    q: Float[np.ndarray, "seeds bins"]
    tv_floor: Interval
    bins: Int[np.ndarray, "seeds n"]
    prior: Any

    @cached_property  # these take longer than all the rest
    def tv(self) -> Interval:
        """Total variation from the prior."""
        return bootstrap(lambda rows: _tv(self.p, rows), self.bins)

    @cached_property
    def ceiling(self) -> float:
        """Reliability of one seed's drift, by split halves: its expected correlation with a second sample."""
        return self.reliability(self.inner(None))

    def reliability(self, kept: Bool[np.ndarray, "bins"]) -> float:
        """`ceiling` over some of the bins."""
        rng, found = np.random.default_rng(0), []
        for _ in range(50):
            for values in rng.permuted(self.bins, axis=1):
                one, other = (_shares(half, len(self.p))[kept] for half in np.array_split(values, 2))
                found.append(_correlation(one, other, self.p[kept]))
        # Spearman-Brown, of the mean: the correction has a pole at -1, and single splits come near.
        r = max(float(np.mean(found)), 0.0)
        return 2 * r / (1 + r)

    def inner(self, share: float | None) -> Bool[np.ndarray, "bins"]:
        """Which bins have their centre in the middle ``share`` of the prior's range; None stands for all."""
        if share is None:
            return np.ones(len(self.p), dtype=bool)
        low, high = self.prior.support()
        centres = (self.edges[1:] + self.edges[:-1]) / 2
        return np.abs(centres - (low + high) / 2) < share * (high - low) / 2

    @property
    def excess(self) -> Interval:
        """Total variation above its mean sampling floor: less than the drift of infinitely many samples."""
        return Interval(*(end - self.tv_floor.value for end in self.tv))

    @property
    def times_floor(self) -> Interval:
        """Total variation over its mean sampling floor: about 1 without drift."""
        return Interval(*(end / self.tv_floor.value for end in self.tv))

    def minus(self, other: Drift) -> Interval:
        """How much larger this total variation is than another one, seed by seed."""
        pairs = np.stack([self.bins, other.bins], axis=-1)
        return bootstrap(lambda rows: _tv(self.p, rows[:, 0]) - _tv(other.p, rows[:, 1]), pairs)

    def left_of(self, before: Drift) -> Interval:
        """This excess as a share of another one: 0 if all of that drift is gone, 1 if none is.

        The interval is to first order in the noise: of the difference from that share of ``before``, whose
        values are cut to as many. Raises ValueError unless seeds and bins are the same.
        """
        if len(self.bins) != len(before.bins) or not np.array_equal(self.edges, before.edges):
            raise ValueError(
                f"expected {len(before.bins)} seeds and the bins before, got {len(self.bins)} seeds"
            )
        size, n = max(before.excess.value, 0.001), self.bins.shape[1]
        share = self.excess.value / size
        pairs = np.stack([before.bins[:, :n], self.bins], axis=-1)
        found = bootstrap(lambda rows: _tv(self.p, rows[:, 1]) - share * _tv(self.p, rows[:, 0]), pairs)
        return Interval(*(share + (end - found.value) / size for end in found))


def assess(groups: Sequence[Values], prior: Any, edges: Edges, data: int) -> Drift:
    """Mean over seeds of the drift of values, equally many a seed, of models trained on ``data`` rows."""
    bins = [bin_of(group, edges) for group in groups]
    if len(sizes := {len(row) for row in bins}) != 1:
        raise ValueError(f"expected equally many values from each seed, got {sorted(sizes)}")
    bins, edges = np.stack(bins), np.asarray(edges, dtype=float)
    p = prior_mass(prior, edges)
    if not np.isclose(p.sum(), 1):
        raise ValueError(f"expected bins that hold the whole prior, got {p.sum():.3g} of it")
    q = np.stack([_shares(row, len(p)) for row in bins])
    floor = _tv_floor(tuple(prior.cdf(edges).tolist()), bins.shape[1], data)
    return Drift(edges, p, q, floor, bins, prior)


def drift_correlation(f: Shares, q: Shares, p: Shares) -> Any:
    """Pearson correlation over bins of the forecast drift f - p and the observed q - p; 0 if one is none."""
    return _correlation(*distributions(f, q, p))


def _correlation(f, q, p):
    def unit(drift):
        drift = drift - drift.mean(axis=-1, keepdims=True)  # 0 but for rounding, if these are all bins
        size = np.linalg.norm(drift, axis=-1, keepdims=True)
        return drift / np.where(size > 1e-12, size, np.inf)

    return (unit(f - p) * unit(q - p)).sum(axis=-1)


def skill(f: Shares, q: Shares, p: Shares) -> Any:
    """Share of drift explained, 1 - TV(f, q) / TV(p, q): noise of q keeps even the truth below 1."""
    f, q, p = distributions(f, q, p)
    drifted = half_l1(p, q)
    if not np.all(drifted > 0):
        raise ValueError("expected an observed drift to forecast, got the prior itself")
    return 1 - half_l1(f, q) / drifted


class Score(NamedTuple):
    """How well a forecast met the drift: means over seeds, and the `Drift.ceiling` of the correlation."""

    correlation: Interval
    ceiling: float
    skill: Interval


def score(forecasts: Shares, drift: Drift, inner: float | None = None) -> Score:
    """Score forecasts, one or one a seed; one seed's skill has too narrow an interval if ceiling < 0.5.

    With ``inner``, the bins in this share of the range alone count (see `Drift.inner`).
    """
    kept = drift.inner(inner)
    correlation, explained = _over_seeds(_both(drift, kept), [forecasts], drift)
    return Score(correlation, drift.ceiling if inner is None else drift.reliability(kept), explained)


def advantage(a: Shares, b: Shares, drift: Drift, inner: float | None = None) -> Interval:
    """How much higher the skill of forecasts ``a`` is than that of ``b``, seed by seed; see `score`."""
    both = _both(drift, drift.inner(inner))
    return _over_seeds(lambda a, b, q: (both(a, q) - both(b, q))[..., 1], [a, b], drift)


def _both(drift, kept):
    """Correlation and skill of f, where q is observed, over the bins ``kept``."""
    p = drift.p[kept]

    def both(f, q):
        f, q = f[..., kept], q[..., kept]
        tv, drifted = half_l1(f, q), half_l1(p, q)
        # A resample may have no drift though the sample has one: it says nothing about the skill.
        left = np.divide(tv, drifted, out=np.ones_like(tv), where=drifted > 0)
        return np.stack([_correlation(f, q, p), 1 - left], axis=-1)

    return both


def _over_seeds(statistic, forecasts, drift):
    """`bootstrap` of ``statistic`` of forecasts and observed distributions (..., bins), all seeds at once."""
    forecasts = [np.broadcast_to(f, drift.q.shape) for f in distributions(drift.p, *forecasts)[1:]]
    rng, seeds, n = np.random.default_rng(0), *drift.bins.shape
    chosen, drawn = np.empty((REPEATS, seeds), dtype=int), np.empty((REPEATS, *drift.q.shape))
    for i in range(REPEATS):
        chosen[i] = rng.integers(seeds, size=seeds)
        drawn[i] = rng.multinomial(n, drift.q[chosen[i]]) / n  # of n rows drawn anew
    return interval(statistic(*forecasts, drift.q), chosen, statistic(*(f[chosen] for f in forecasts), drawn))
