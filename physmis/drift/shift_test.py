"""An exact test of whether a distribution has shifted, against other values or against a prior."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from numpy.random import Generator

from physmis import checks
from physmis.drift.intervals import Interval
from physmis.drift.metrics import Edges, Shares, Values, bin_of, half_l1, prior_mass

LEVEL = 0.03  # of the test: so that over many audits without a shift, fewer than 1 in 20 are false alarms
DRAWS = 2000  # of each null distribution and each interval


class ShiftTest(NamedTuple):
    """Values compared with the distribution that they should have, over bins.

    p, q : shares of the bins before and after.    low, high : 95 % interval of q - p, each bin by itself.
    tv, w1_bins : total variation, Wasserstein-1 in bins.    floor, excess : ``tv`` of sampling, and above it.
    """

    p: Shares
    q: Shares
    low: Shares
    high: Shares
    tv: float
    floor: Interval
    excess: Interval
    w1_bins: float
    p_value: float
    level: float

    @property
    def shifted(self) -> bool:
        """Whether the distribution has shifted by more than sampling does but once in ``1 / level`` cases."""
        return self.p_value <= self.level


def bin_edges(z: Values, generated: Values | None = None, prior: Any = None) -> Edges:
    """Edges of up to 20 bins of equal mass, the outermost infinite.

    Of the prior, with a bin beyond each finite end; or else of all values: bins must not depend on sides.
    """
    given = [checks.real(some, "values") for some in (z, generated) if some is not None]
    smaller = min(len(checks.values(some)) for some in given)
    shares = np.linspace(0, 1, int(np.clip(smaller // 10, 2, 20)) + 1)  # 10 values a bin, on the smaller side
    if prior is not None:
        inner = prior.ppf(shares)
        if np.isnan(inner).any():
            raise ValueError("expected a prior with quantiles, got NaN from prior.ppf; is its scale > 0?")
        return np.unique(np.concatenate([[-np.inf], inner, [np.inf]]))
    pooled = np.concatenate(given)
    distinct = np.unique(pooled)
    at = np.searchsorted(distinct, np.quantile(pooled, shares[1:-1], method="nearest"))
    at = np.unique(np.maximum(at, 1))
    at = at[at < len(distinct)]  # none where all values are equal
    midway = distinct[at - 1] / 2 + distinct[at] / 2  # so that rounding moves no value over an edge
    inner = np.where(midway > distinct[at - 1], midway, distinct[at])
    return np.concatenate([[-np.inf], inner, [np.inf]])


def shift_test(
    z: Values, generated: Values | None, prior: Any, edges: Edges, rng: Generator, level: float = LEVEL
) -> ShiftTest:
    """Whether ``generated`` has the distribution of ``z``; with a ``prior``, whether it (or else z) has that.

    Without a prior: a permutation test, in which the values are dealt out anew to the two sides. With one: as
    many values drawn from it. Total variation notices peaks and gaps, Wasserstein-1 mass that moves far; the
    rarer decides, in every draw of the null, too, so that the test stays exact (Tippett 1931).
    """
    if prior is None:
        ours, theirs = _counts(z, edges), _counts(generated, edges)
        n, m = ours.sum(), theirs.sum()
        p = ours / n
        dealt = rng.multivariate_hypergeometric(ours + theirs, m, size=DRAWS)
        drawn = (ours + theirs - dealt) / n, dealt / m
        again = rng.multinomial(n, p, size=DRAWS) / n
        p_low, p_high = _wilson(p, n)
    else:
        theirs = _counts(z if generated is None else generated, edges)
        m, p = theirs.sum(), prior_mass(prior, edges)
        drawn = p, rng.multinomial(m, p, size=DRAWS) / m
        again = p_low = p_high = p
    q = theirs / m
    q_low, q_high = _wilson(q, m)
    low = q - p - np.hypot(q - q_low, p_high - p)  # Newcombe (1998), method 10
    high = q - p + np.hypot(q_high - q, p - p_low)
    tv, w1_bins, null = float(half_l1(p, q)), float(_w1_bins(p, q)), half_l1(*drawn)
    floor = Interval(float(null.mean()), *np.percentile(null, [2.5, 97.5]).tolist())
    spread = half_l1(rng.multinomial(m, q, size=DRAWS) / m, again)
    above = tv - floor.value
    around = (np.percentile(spread - spread.mean(), [2.5, 97.5]) + above).tolist()
    excess = Interval(above, min(around[0], above), max(around[1], above))
    p_value = _p_value(np.append(null, tv), np.append(_w1_bins(*drawn), w1_bins))
    return ShiftTest(p, q, low, high, tv, floor, excess, w1_bins, p_value, level)


def _counts(z, edges):
    return np.bincount(bin_of(z, edges), minlength=len(edges) - 1)


def _wilson(share, n):
    """Ends of the 95 % interval of shares that were found in samples of n (Wilson 1927)."""
    z = scipy.stats.norm.ppf(0.975)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # Exactly so at the ends, where rounding would leave a little.
    return np.where(share == 0, 0.0, middle - half), np.where(share == 1, 1.0, middle + half)


def _p_value(*distances):
    """How rare the last of each of ``distances`` is among all; of the rarer one, how rare that is."""
    # Ties count against: small samples take few values. Rounding keeps equal ones equal.
    ranks = [scipy.stats.rankdata(-np.round(values, 12), method="max") for values in distances]
    rarer = np.min(ranks, axis=0)
    return float((rarer <= rarer[-1]).mean())


def _w1_bins(p, q):
    """Summed difference of the cumulated shares, along the last axis: Wasserstein-1 distance, in bins."""
    return np.abs(np.cumsum(p - q, axis=-1)).sum(axis=-1)
