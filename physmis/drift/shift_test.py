"""An exact test of whether a distribution has shifted, against other values or against a prior.

Distributions are shares of bins of equal mass. Sampling noise is separated from a shift at any sample size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.stats

from physmis import checks
from physmis.drift.intervals import Interval
from physmis.drift.metrics import Edges, Shares, Values, bin_of, half_l1, prior_mass

LEVEL = 0.03  # of the test: so that over many audits without a shift, fewer than 1 in 20 are false alarms
BINS = 20  # of equal mass, at most
VALUES_PER_BIN = 10  # at least, on the smaller side
DRAWS = 2000  # of each null distribution and each interval


class ShiftTest(NamedTuple):
    """Values compared with the distribution that they should have, over bins.

    p, q : shares of the bins before and after.    low, high : 95 % interval of q - p, each bin by itself.
    tv : total variation.    floor : that of sampling alone, mean and central 95 %.
    excess : ``tv`` above the mean floor, with its bootstrap interval. It is less than the drift without
    sampling: the stronger that is, the less does sampling add to ``tv``.    w1_bins : Wasserstein-1 distance
    in bins, the summed difference of the cumulated shares.    p_value : the probability that sampling alone
    gives a ``tv``, or a ``w1_bins``, as rare as the rarer of the two is here.    level : of the test.
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

    Of the prior where there is one, then with a bin beyond each finite end of its range; else of all values
    together, so that it does not matter to the bins which side a value is from: without that `shift_test`
    would not be exact. These lie midway between values, so that rounding moves none over an edge.
    Few values make few bins.
    """
    given = [checks.real(some, "values") for some in (z, generated) if some is not None]
    smaller = min(len(checks.values(some)) for some in given)
    shares = np.linspace(0, 1, int(np.clip(smaller // VALUES_PER_BIN, 2, BINS)) + 1)
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
    midway = distinct[at - 1] / 2 + distinct[at] / 2
    inner = np.where(midway > distinct[at - 1], midway, distinct[at])
    return np.concatenate([[-np.inf], inner, [np.inf]])


def shift_test(
    z: Values,
    generated: Values | None,
    prior: Any,
    edges: Edges,
    rng: np.random.Generator,
    level: float = LEVEL,
) -> ShiftTest:
    """Whether ``generated`` has the distribution of ``z``; with a ``prior``, whether it (or else z) has that.

    Without a prior: a permutation test, in which the values are dealt out anew to the two sides (their counts
    over bins are multivariate hypergeometric). With one: as many values drawn from the prior. Either is
    exact, whatever the distribution of the values, if the trajectories are independent. Of two distances,
    total variation notices peaks and gaps, the difference of the cumulated shares mass that moves far. The
    rarer of the two decides, and the same choice is made in every draw, so that the test stays exact (Tippett
    1931, by permutation). The interval of the excess is the estimate plus the deviations of a bootstrap on
    either side from their mean; those of single bins are Newcombe's (1998, method 10).
    """
    if prior is None:
        ours, theirs = _counts(z, edges), _counts(generated, edges)
        n, m = ours.sum(), theirs.sum()
        p = ours / n
        dealt = rng.multivariate_hypergeometric(ours + theirs, m, size=DRAWS)
        drawn = (ours + theirs - dealt) / n, dealt / m
        again = rng.multinomial(n, p, size=DRAWS) / n
    else:
        theirs = _counts(z if generated is None else generated, edges)
        m, p = theirs.sum(), prior_mass(prior, edges)
        drawn = p, rng.multinomial(m, p, size=DRAWS) / m
        again = p
    q = theirs / m
    tv, w1_bins = half_l1(p, q), _w1_bins(p, q)
    null = half_l1(*drawn)
    change = rng.multinomial(m, q, size=DRAWS) / m - again
    q_low, q_high = _wilson(q, m)
    p_low, p_high = _wilson(p, n) if prior is None else (p, p)
    low = q - p - np.hypot(q - q_low, p_high - p)
    high = q - p + np.hypot(q_high - q, p - p_low)
    spread = half_l1(change, 0)
    excess = tv - null.mean()
    around = np.percentile(spread - spread.mean(), [2.5, 97.5]) + excess
    return ShiftTest(
        p, q, low, high,
        float(tv),
        Interval(float(null.mean()), *np.percentile(null, [2.5, 97.5]).tolist()),
        Interval(float(excess), float(min(around[0], excess)), float(max(around[1], excess))),
        float(w1_bins),
        _p_value(np.append(null, tv), np.append(_w1_bins(*drawn), w1_bins)),
        level,
    )  # fmt: skip


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
    # Ties count against: the shares of small samples take few values. Rounding keeps equal ones equal.
    ranks = [scipy.stats.rankdata(-np.round(values, 12), method="max") for values in distances]
    rarer = np.min(ranks, axis=0)
    return float((rarer <= rarer[-1]).mean())


def _w1_bins(p, q):
    """Summed difference of the cumulated shares, along the last axis: Wasserstein-1 distance, in bins."""
    return np.abs(np.cumsum(p - q, axis=-1)).sum(axis=-1)
