"""Whether a law has moved: values held against others, or against a prior, by a test that is exact.

Laws are shares of bins of equal mass. Differences that sampling alone explains are told apart from others at
any sample size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float, Int

from physmis import checks
from physmis.drift.intervals import Interval
from physmis.drift.metrics import bin_of

LEVEL = 0.03  # of the test: so that over many audits of laws that were kept, fewer than 1 in 20 cry wolf
BINS = 20  # of equal mass, at most
A_BIN = 10  # trajectories a bin wants, at least, on either side
DRAWS = 2000  # of each null law and each interval


class Comparison(NamedTuple):
    """A law of values held against the law that they should have, over bins.

    p, q : shares of the bins before and after.    low, high : 95 % interval of q - p, each bin by itself.
    tv : total variation.    floor : what sampling alone gives, mean and central 95 %.
    excess : ``tv`` above the mean floor, with its bootstrap interval. It is less than the drift without
    sampling: the stronger that is, the less does sampling add to ``tv``.    carried : how far the mass is
    from where it should be, in bins: the summed difference of the cumulated shares.    chance : the
    probability that sampling alone gives a total variation, or a ``carried``, as rare as the rarer of the two
    is here (p-value).    level : of the test, the chance up to which the law is said to have moved.
    """

    p: Float[np.ndarray, "bins"]
    q: Float[np.ndarray, "bins"]
    low: Float[np.ndarray, "bins"]
    high: Float[np.ndarray, "bins"]
    tv: float
    floor: Interval
    excess: Interval
    carried: float
    chance: float
    level: float

    @property
    def moved(self) -> bool:
        """Whether the law has moved, beyond what sampling does but once in ``1 / level`` cases."""
        return self.chance <= self.level


def bin_edges(
    z: Float[np.ndarray, "n"], generated: Float[np.ndarray, "m"] | None = None, prior: Any = None
) -> Float[np.ndarray, "edges"]:
    """Edges of up to 20 bins of equal mass, the outermost infinite.

    Of the prior where there is one, then with a bin beyond each finite end of its range; else of all values
    together, so that it does not matter to the bins which side a value is from: without that the test of
    `compare` would not be exact. These lie midway between values, so that rounding carries none over an edge.
    Few values make few bins.

    Raises
    ------
    ValueError : ``z`` or ``generated`` are no vectors of finite values; the prior has no quantiles.
    """
    given = [checks.real(some, "values") for some in (z, generated) if some is not None]
    for some in given:
        checks.values(some)
    smaller = min(map(len, given))
    shares = np.linspace(0, 1, int(np.clip(smaller // A_BIN, 2, BINS)) + 1)
    if prior is not None:
        inner = prior.ppf(shares)
        if np.isnan(inner).any():
            raise ValueError("a prior with quantiles wanted; prior.ppf gives NaN: is its scale positive?")
        return np.unique(np.concatenate([[-np.inf], inner, [np.inf]]))
    pooled = np.concatenate(given)
    distinct = np.unique(pooled)
    at = np.searchsorted(distinct, np.quantile(pooled, shares[1:-1], method="nearest"))
    at = np.unique(np.maximum(at, 1))
    at = at[at < len(distinct)]  # none where all values are equal
    midway = distinct[at - 1] / 2 + distinct[at] / 2
    inner = np.where(midway > distinct[at - 1], midway, distinct[at])
    return np.concatenate([[-np.inf], inner, [np.inf]])


def law(z: Float[np.ndarray, "n"], edges: Float[np.ndarray, "edges"]) -> Float[np.ndarray, "bins"]:
    """Share of the values in each bin, which holds its lower edge.

    Raises
    ------
    ValueError : what `physmis.drift.histogram` refuses.
    """
    return counts(z, edges) / len(z)


def prior_law(prior: Any, edges: Float[np.ndarray, "edges"]) -> Float[np.ndarray, "bins"]:
    """Probability of each bin under ``prior``, continuous or discrete; it holds its lower edge.

    Raises
    ------
    ValueError : ``edges`` do not ascend.
    """
    edges = checks.edges(edges)
    below = np.where(np.isfinite(edges), np.nextafter(edges, -np.inf), edges)
    return np.diff(prior.cdf(below))


def counts(z: Float[np.ndarray, "n"], edges: Float[np.ndarray, "edges"]) -> Int[np.ndarray, "bins"]:
    """Values in each bin, which holds its lower edge.

    Raises
    ------
    ValueError : what `physmis.drift.histogram` refuses.
    """
    return np.bincount(bin_of(z, edges), minlength=len(edges) - 1)


def compare(
    z: Float[np.ndarray, "n"],
    generated: Float[np.ndarray, "m"] | None,
    prior: Any,
    edges: Float[np.ndarray, "edges"],
    rng: np.random.Generator,
    level: float = LEVEL,
) -> Comparison:
    """Whether ``generated`` follows the law of ``z``; with a ``prior``, whether it (or else z) follows that.

    Without a prior: a permutation test, in which the values are dealt out anew to the two sides (their counts
    over bins follow the multivariate hypergeometric law). With one: as many values drawn from the prior.
    Either is exact, whatever the law of the values, if the trajectories are independent. Two distances are
    looked at: total variation notices peaks and gaps, the difference of the cumulated shares what moves far.
    The rarer of the two decides, and the same choice is made in every draw, so that the test stays exact
    (Tippett 1931, by permutation). The interval of the excess is the estimate plus the deviations of a
    bootstrap on either side from their mean; those of single bins are Newcombe's (1998, method 10), which
    hold for few and for no values, too.

    Raises
    ------
    ValueError : what `counts` refuses.
    """
    if prior is None:
        ours, theirs = counts(z, edges), counts(generated, edges)
        n, m = ours.sum(), theirs.sum()
        p = ours / n
        dealt = rng.multivariate_hypergeometric(ours + theirs, m, size=DRAWS)
        drawn = (ours + theirs - dealt) / n, dealt / m
        again = rng.multinomial(n, p, size=DRAWS) / n
    else:
        theirs = counts(z if generated is None else generated, edges)
        m, p = theirs.sum(), prior_law(prior, edges)
        drawn = p, rng.multinomial(m, p, size=DRAWS) / m
        again = p
    q = theirs / m
    tv, carried = _tv(p, q), _carried(p, q)
    null = _tv(*drawn)
    change = rng.multinomial(m, q, size=DRAWS) / m - again
    q_low, q_high = _wilson(q, m)
    p_low, p_high = _wilson(p, n) if prior is None else (p, p)
    low = q - p - np.hypot(q - q_low, p_high - p)
    high = q - p + np.hypot(q_high - q, p - p_low)
    spread = 0.5 * np.abs(change).sum(axis=1)
    excess = tv - null.mean()
    around = np.percentile(spread - spread.mean(), [2.5, 97.5]) + excess
    return Comparison(
        p, q, low, high,
        float(tv),
        Interval(float(null.mean()), *np.percentile(null, [2.5, 97.5]).tolist()),
        Interval(float(excess), float(min(around[0], excess)), float(max(around[1], excess))),
        float(carried),
        _chance(np.append(null, tv), np.append(_carried(*drawn), carried)),
        level,
    )  # fmt: skip


def _wilson(share, n):
    """Ends of the 95 % interval of shares that were found in samples of n (Wilson 1927)."""
    z = scipy.stats.norm.ppf(0.975)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # Exactly so at the ends, where rounding would leave a little.
    return np.where(share == 0, 0.0, middle - half), np.where(share == 1, 1.0, middle + half)


def _chance(*distances):
    """How rare the last of each of ``distances`` is among all; of the rarer one, how rare that is."""
    # Ties count against: the shares of small samples take few values. Rounding keeps equal ones equal.
    ranks = [scipy.stats.rankdata(-np.round(values, 12), method="max") for values in distances]
    rarer = np.min(ranks, axis=0)
    return float((rarer <= rarer[-1]).mean())


def _tv(p, q):
    """Total variation of laws over bins, along the last axis."""
    return 0.5 * np.abs(p - q).sum(axis=-1)


def _carried(p, q):
    """Summed difference of the cumulated shares, along the last axis: how far mass must go, in bins."""
    return np.abs(np.cumsum(p - q, axis=-1)).sum(axis=-1)
