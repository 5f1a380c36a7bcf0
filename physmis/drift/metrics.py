"""How far the recovered distribution q(z) is from the prior p(z), and how sure we can be of it.

drift = q(z) - p(z). Distances come with their sampling floor, what a perfect model would give,
and with a bootstrap interval over seeds and trajectories. A forecast is a law over the same bins, made before
q(z) is seen; `score` tells how much of the drift it foretold.
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
from physmis.drift.intervals import REPEATS, Interval, bootstrap, check_groups, interval


def histogram(z: Float[np.ndarray, "n"], edges: Float[np.ndarray, "edges"]) -> Float[np.ndarray, "bins"]:
    """Share of ``z`` in each bin; sums to 1.

    Raises
    ------
    ValueError : ``z`` is empty or not finite, ``edges`` do not ascend, or a value lies outside of them.
    """
    bins = bin_of(z, edges)
    return np.bincount(bins, minlength=len(edges) - 1) / bins.size


def bin_of(z: Float[np.ndarray, "n"], edges: Float[np.ndarray, "edges"]) -> Int[np.ndarray, "n"]:
    """Number of the bin that holds each of ``z``; the last bin includes its upper edge.

    Raises
    ------
    ValueError : what `histogram` refuses.
    """
    z, edges = checks.values(z), checks.edges(edges)
    if z.min() < edges[0] or z.max() > edges[-1]:
        raise ValueError(
            f"values from {z.min():.4g} to {z.max():.4g} do not fit into "
            f"bins from {edges[0]:.4g} to {edges[-1]:.4g}"
        )
    return _bin_of(z, edges)


def _bin_of(z, edges):
    """`bin_of` without checks, for many times."""
    return np.minimum(np.searchsorted(edges, z, side="right") - 1, edges.size - 2)


def prior_mass(prior: Any, edges: Float[np.ndarray, "edges"]) -> Float[np.ndarray, "bins"]:
    """Probability of each bin under ``prior``, a frozen `scipy.stats` distribution.

    Raises
    ------
    ValueError : ``edges`` do not ascend.
    """
    return np.diff(prior.cdf(checks.edges(edges)))


def total_variation(p: Float[np.ndarray, "... bins"], q: Float[np.ndarray, "... bins"]) -> Any:
    """Half the summed absolute difference of two laws over bins: the mass that would have to move.

    Raises
    ------
    ValueError : the two have different bins, or either is not a law (negative, or not summing to 1).
    """
    p, q = _laws(p, q)
    return 0.5 * np.abs(p - q).sum(axis=-1)


def _laws(*given, least=0.0):
    """Laws over the same bins, in float64, and of shapes that go together; no share below ``least``."""
    places = ("first", "second", "third")
    laws = [_law_given(law, f"{place} argument", least) for place, law in zip(places, given, strict=False)]
    if len({law.shape[-1] for law in laws}) > 1:
        bins = " and ".join(str(law.shape[-1]) for law in laws)
        raise ValueError(f"laws over the same bins wanted, got {bins} bins")
    shapes = [law.shape for law in laws]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError as error:
        raise ValueError(f"as many laws wanted in each array, or a single one, got {shapes}") from error
    return laws


def _law_given(given, name, least=0.0):
    law = np.asarray(checks.real(given, name), dtype=float)
    if law.size == 0 or law.ndim == 0:
        raise ValueError(f"the {name} is not a law: shares of one bin at least wanted, got shape {law.shape}")
    if not (np.isfinite(law) & (law >= least)).all() or not np.allclose(law.sum(axis=-1), 1):
        bound = f"be at least {least:g} and " if np.isfinite(least) else ""
        raise ValueError(f"the {name} is not a law: shares must {bound}sum to 1")
    return law


def wasserstein(z: Float[np.ndarray, "n"], prior: Any) -> float:
    """Wasserstein-1 distance, in the unit of ``z``, between a sample and the prior's n midpoint quantiles.

    Raises
    ------
    ValueError : ``z`` is empty or not finite.
    """
    z = checks.sized(checks.values(z), "values")
    return _mean_gap(z, _midpoints(prior, len(z)))


def _midpoints(prior, n):
    """Midpoint quantiles of a prior, (n,)."""
    return prior.ppf((np.arange(n) + 0.5) / n)


def _mean_gap(z, quantiles):
    """Wasserstein-1 distance between as many values and quantiles; transport on a line keeps the order."""
    return float(np.abs(np.sort(z) - quantiles).mean())


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
    """What `assess` finds: laws over bins, distances and the floors beneath them.

    ``bins`` holds the bin of each recovered value, ``values`` the values themselves.
    """

    edges: Float[np.ndarray, "edges"]
    p: Float[np.ndarray, "bins"]
    q: Float[np.ndarray, "seeds bins"]
    tv: Interval
    tv_floor: Interval
    bins: Int[np.ndarray, "seeds n"]
    values: Float[np.ndarray, "seeds n"]
    prior: Any
    data: int

    # Worked out when asked for: these take longer than all the rest.
    @cached_property
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
        """`noise_ceiling`: many forecasts are scored against one drift."""
        return noise_ceiling(self)

    @property
    def excess(self) -> Interval:
        """Total variation above its mean sampling floor: about 0 or less where nothing has drifted.

        Less than the drift without sampling: the stronger that is, the less does sampling add.
        """
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
    """Total variation between ``p`` and the share of ``bins`` in each bin; without checks, for many times."""
    return 0.5 * np.abs(p - _law(bins, len(p))).sum()


def _law(bins, count):
    """Share of the bin numbers ``bins`` in each of ``count`` bins."""
    return np.bincount(bins, minlength=count) / len(bins)


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
    ValueError : the seeds have samples of different size, or values or bins that `histogram` refuses; or the
        bins leave out a part of the prior.
    TypeError : a group is no array of numbers.
    """
    check_groups(groups)
    groups, edges = [checks.values(group) for group in groups], checks.edges(edges)
    sizes = {len(group) for group in groups}
    if len(sizes) != 1:
        raise ValueError(f"equally many values from each seed wanted, got {sorted(sizes)}")
    n = sizes.pop()
    p = prior_mass(prior, edges)
    if not np.isclose(p.sum(), 1):
        raise ValueError(
            f"bins that hold the whole prior wanted, got {p.sum():.3g} of it in {edges[0]:g} to {edges[-1]:g}"
        )
    q = np.stack([histogram(group, edges) for group in groups])

    bins = np.stack([bin_of(group, edges) for group in groups])

    def tv(rows):
        return _tv(p, rows)

    return Drift(
        edges=edges,
        p=p,
        q=q,
        tv=bootstrap(tv, list(bins)),
        tv_floor=_tv_floor(tuple(prior.cdf(edges).tolist()), n, data),
        bins=bins,
        values=np.stack(groups),
        prior=prior,
        data=data,
    )


def drift_correlation(
    f: Float[np.ndarray, "... bins"], q: Float[np.ndarray, "... bins"], p: Float[np.ndarray, "bins"]
) -> Any:
    """Pearson correlation over bins of the forecast drift f - p with the observed drift q - p.

    0 where either drift is none to rounding, as that of the forecast f = p, which tells nothing.

    Raises
    ------
    ValueError : what `total_variation` refuses, but for negative shares: a drift may be turned round.
    """
    return _correlation(*_laws(f, q, p, least=-np.inf))


def _correlation(f, q, p):
    """`drift_correlation` without checks, for many times."""

    def unit(drift):
        # A difference of two laws sums to 0, so nothing has to be centred.
        size = np.linalg.norm(drift, axis=-1, keepdims=True)
        return drift / np.where(size > 1e-12, size, np.inf)

    return (unit(f - p) * unit(q - p)).sum(axis=-1)


def skill(
    f: Float[np.ndarray, "... bins"], q: Float[np.ndarray, "... bins"], p: Float[np.ndarray, "bins"]
) -> Any:
    """Share of the total variation between prior and q that a forecast explains, 1 - TV(f, q) / TV(p, q).

    0 for the forecast of no drift, f = p, and 1 for f = q; negative for a forecast worse than none. The noise
    of a finite sample is in both distances, so that even the law it was drawn from stays below 1.

    Raises
    ------
    ValueError : q is the prior, or what `total_variation` refuses.
    """
    drifted = total_variation(p, q)
    if not np.all(drifted > 0):
        raise ValueError("there is no drift to forecast: the observed law is the prior")
    return 1 - total_variation(f, q) / drifted


def wasserstein_binned(
    f: Float[np.ndarray, "... bins"], q: Float[np.ndarray, "... bins"], edges: Float[np.ndarray, "edges"]
) -> Any:
    """Wasserstein-1 distance of two laws over bins, each bin's mass at its centre, in the unit of ``edges``.

    That is the trapezoid rule for the area between the distribution functions. The mass of an open end bin
    is taken at the outermost finite edge.

    Raises
    ------
    ValueError : what `total_variation` refuses; or ``edges`` do not ascend, are not those of as many bins, or
        all infinite.
    """
    f, q = _laws(f, q)
    edges = checks.edges(edges)
    if len(edges) != f.shape[-1] + 1 or not np.isfinite(edges).any():
        raise ValueError(
            f"{f.shape[-1] + 1} edges wanted for {f.shape[-1]} bins, one of them finite, got {edges}"
        )
    checks.sized(edges[np.isfinite(edges)], "bin edges")
    return _gap_over_bins(f, q, edges)


def _gap_over_bins(f, q, edges):
    """`wasserstein_binned` without checks, for many times."""
    finite = edges[np.isfinite(edges)]
    edges = np.clip(edges, finite.min(), finite.max())
    centres = (edges[1:] + edges[:-1]) / 2
    return np.abs(np.cumsum(f - q, axis=-1)[..., :-1]) @ np.diff(centres)


def noise_ceiling(drift: Drift, splits: int = 50) -> float:
    """Reliability of one seed's observed drift: its split-half correlation, Spearman-Brown corrected.

    Each seed's values are split at random into halves. The correlation r of the two halves' drifts, mean over
    splits and seeds (and 0 where that is negative), gives 2r / (1 + r) for whole samples: the share of their
    variance over bins that is not sampling noise, and what a second sample from the same models would
    correlate with. A noiseless forecast of each seed's true law could reach the square root of it; one
    forecast for all seeds less, as far as their laws differ.

    Raises
    ------
    ValueError : a single value a seed, which cannot be split.
    """
    if drift.bins.shape[1] < 2:
        raise ValueError("at least two values from each seed wanted, to split them into halves")
    rng = np.random.default_rng(0)
    found = []
    for _ in range(splits):
        for values in rng.permuted(drift.bins, axis=1):
            one, other = (_law(half, len(drift.p)) for half in np.array_split(values, 2))
            found.append(_correlation(one, other, drift.p))
    # The mean is corrected, not each r: the correction has a pole at -1, near which single splits can come.
    r = max(float(np.mean(found)), 0.0)
    return 2 * r / (1 + r)


class Score(NamedTuple):
    """How well a forecast met the drift: means over seeds, and the `noise_ceiling` of the correlation."""

    correlation: Interval
    ceiling: float
    skill: Interval
    tv: Interval
    w1: Interval


def score(forecasts: Float[np.ndarray, "*seeds bins"], drift: Drift) -> Score:
    """Score a forecast of the law q(z), one for all seeds or one for each, against the observed ``drift``.

    As in `assess`, numbers are means over seeds of what each seed's sample alone gives. Intervals are those
    of `bootstrap`; their ends are not kept to the range of the statistic. That of the skill is too narrow
    where a single seed has a ceiling below a half (80 % or less instead of 95 % in simulations).

    Raises
    ------
    ValueError : the forecasts do not have the bins (and seeds) of the drift, or are not laws; a seed without
        drift; or what `noise_ceiling` refuses.
    """
    f, p = _forecasts(forecasts, drift), drift.p
    if (drift.q == p).all(axis=1).any():
        raise ValueError("there is no drift to forecast: the observed law is the prior")

    def all_four(f, q):
        tv, drifted = (0.5 * np.abs(law - q).sum(axis=-1) for law in (f, p))  # laws all, so nothing to check
        # A resample may have no drift though the sample has one: it tells nothing of the skill.
        left = np.divide(tv, drifted, out=np.ones_like(tv), where=drifted > 0)
        w1 = _gap_over_bins(f, q, drift.edges)
        return np.stack([_correlation(f, q, p), 1 - left, tv, w1], axis=-1)

    correlation, skilled, tv, w1 = _over_seeds(all_four, f, drift)
    return Score(correlation, drift.ceiling, skilled, tv, w1)


def advantage(
    a: Float[np.ndarray, "*seeds bins"], b: Float[np.ndarray, "*seeds bins"], drift: Drift
) -> Interval:
    """How much better forecasts ``a`` correlate with the ``drift`` than ``b`` do, seed by seed.

    Raises
    ------
    ValueError : either is what `score` refuses as forecasts.
    """
    pairs = np.stack([_forecasts(a, drift), _forecasts(b, drift)], axis=1)

    def difference(pair, q):
        of_a, of_b = (_correlation(pair[..., i, :], q, drift.p) for i in (0, 1))
        return of_a - of_b

    return _over_seeds(difference, pairs, drift)


def _forecasts(forecasts, drift):
    """The forecasts, checked, one a seed: (seeds, bins)."""
    f = _law_given(forecasts, "forecast")
    if f.shape not in (drift.p.shape, drift.q.shape):
        raise ValueError(f"forecasts of shape {drift.p.shape} or {drift.q.shape} wanted, got {f.shape}")
    return np.broadcast_to(f, drift.q.shape)


def _over_seeds(statistic, forecasts, drift):
    """`bootstrap` of ``statistic`` of seeds' forecasts and their observed laws (..., bins), all at once."""
    rng, seeds, n = np.random.default_rng(0), *drift.bins.shape
    chosen, laws = np.empty((REPEATS, seeds), dtype=int), np.empty((REPEATS, *drift.q.shape))
    for i in range(REPEATS):
        chosen[i] = rng.integers(seeds, size=seeds)
        laws[i] = rng.multinomial(n, drift.q[chosen[i]]) / n  # of n rows drawn anew
    return interval(statistic(forecasts, drift.q), chosen, statistic(forecasts[chosen], laws))
