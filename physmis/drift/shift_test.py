"""An exact test of whether a distribution has shifted, against other values or against a prior.

Five distances are looked at, each at its best for another kind of change, and the rarest decides.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.special
from numpy.polynomial import legendre
from numpy.random import Generator

from physmis import checks
from physmis.drift.intervals import Interval
from physmis.drift.metrics import Edges, Shares, Values, bin_of, half_l1, prior_mass

LEVEL = 0.03  # of the test: so that over many audits without a shift, fewer than 1 in 20 are false alarms
DRAWS = 2000  # of each interval and, at least, of each null distribution: 20 of these are below the level
CELLS, ENDS = 500, 64  # of equally many values, in which these are counted; of one value each, at either end
ORDER = 8  # of the smooth statistic
VERSION = 3  # of the test, for the configs of stored results
KINDS = ("location", "spread", "ends", "peaks or gaps")


class ShiftTest(NamedTuple):
    """Values compared with the distribution that they should have, over bins.

    p, q : shares of the bins before and after.    low, high : 95 % interval of q - p, each bin by itself.
    tv : total variation.    floor, excess : ``tv`` of sampling, and above it.
    kind : of `KINDS`, the one in which the values differ most beyond what sampling does.
    """

    p: Shares
    q: Shares
    low: Shares
    high: Shares
    tv: float
    floor: Interval
    excess: Interval
    kind: str
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
        if not hasattr(prior, "ppf"):
            raise TypeError(f"expected a prior such as scipy.stats.uniform(LOW, HIGH - LOW), got {prior!r}")
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
    many values drawn from it. The rarest of `_distances` decides, in every draw of the null, too, so that the
    test stays exact (Tippett 1931). Of the values only the order counts;
    values nearer to each other than a millionth of the quartile range are ties.
    """
    if prior is None:
        n, m = len(z), len(generated)
        cells = _cells(np.concatenate([z, generated]), edges)
        ours, theirs = _counts(z, cells), _counts(generated, cells)
        pooled, expected = ours + theirs, (ours + theirs) / (n + m)
        method = "count" if n + m < 2**14 else "marginals"  # faster for few values, and for many

        def deal(size):
            dealt = rng.multivariate_hypergeometric(pooled, m, size=size, method=method)
            return pooled - dealt, dealt
    else:
        values = z if generated is None else generated
        n = m = len(values)
        cells = _cells_of_prior(prior, m, edges)
        theirs, expected = _counts(values, cells), np.maximum(prior_mass(prior, cells), 0)
        # As if the other side were m quantiles of the prior: none is in the last 1 / 2m of it, at either end.
        upper = np.cumsum(expected)
        ours = np.where((upper <= 0.5 / m) | (upper - expected >= 1 - 0.5 / m), 0.0, m * expected)

        def deal(size):
            return ours[None], rng.multinomial(m, expected / expected.sum(), size=size)

    bins = np.searchsorted(cells, edges[:-1])  # the first cell of each
    q = np.add.reduceat(theirs, bins) / m
    p = np.add.reduceat(ours, bins) / n if prior is None else prior_mass(prior, edges)
    scale = (n + m) / n if prior is None else 1.0  # of q - p in that of q - expected

    def distances(before, after):
        share = after / m - expected
        tv = scale * half_l1(np.add.reduceat(share, bins, axis=-1), 0.0)
        return np.vstack([tv, _distances(before, after, share, expected, scale)])

    found = distances(ours[None], theirs[None])
    draws, few = max(DRAWS, int(np.ceil(20 / level))), 500  # at once, which keeps memory flat
    null = np.hstack([*(distances(*deal(min(few, draws - i))) for i in range(0, draws, few)), found])
    outside = theirs[expected == 0].sum()  # where the prior has nothing: more of a surprise than their count
    kind = "ends" if 0 < outside < m / 4 else _kind(*found[5:, 0], most=m / 4)
    tv, floor = float(found[0, 0]), null[0, :-1]
    floor = Interval(float(floor.mean()), *np.percentile(floor, [2.5, 97.5]).tolist())
    p_low, p_high = _wilson(p, n) if prior is None else (p, p)
    q_low, q_high = _wilson(q, m)
    low = q - p - np.hypot(q - q_low, p_high - p)  # Newcombe (1998), method 10
    high = q - p + np.hypot(q_high - q, p - p_low)
    again = rng.multinomial(n, p, size=DRAWS) / n if prior is None else p
    spread = half_l1(rng.multinomial(m, q, size=DRAWS) / m, again)
    above = tv - floor.value
    around = (np.percentile(spread - spread.mean(), [2.5, 97.5]) + above).tolist()
    excess = Interval(above, min(around[0], above), max(around[1], above))
    return ShiftTest(p, q, low, high, tv, floor, excess, kind, _p_value(null[1:6]), level)


def _cells(pooled, edges):
    """Edges of cells as fine as the values, ends of bins among them."""
    starts = np.unique(pooled)
    # Values that differ by rounding alone, as those of single and double precision, are ties.
    equal = 1e-6 * np.subtract(*np.percentile(pooled, [75, 25]))
    starts = starts[np.diff(starts, prepend=-np.inf) > equal]
    if len(starts) > CELLS + 2 * ENDS:
        inner = np.linspace(ENDS, len(starts) - ENDS, CELLS, endpoint=False).astype(int)
        starts = np.concatenate([starts[:ENDS], starts[inner], starts[-ENDS:]])
    return np.unique(np.concatenate([starts[starts > edges[0]], edges]))


def _cells_of_prior(prior, m, edges):
    """The same for m values of a prior: of equal probability, and finer in both tails."""
    tails = 0.5 / m * 4.0 ** np.arange(-6, 6)
    levels = np.concatenate([tails, 1 - tails, np.linspace(0, 1, min(CELLS, 2 * m) + 1)])
    starts = prior.ppf(levels[(levels > 0) & (levels < 1)])
    return np.unique(np.concatenate([starts[(edges[0] < starts) & (starts < edges[-1])], edges]))


def _counts(z, cells):
    return np.bincount(bin_of(z, cells), minlength=len(cells) - 1)


def _distances(before, after, share, expected, scale):
    """Distances of the sides, (8, draws), from counts ``before`` and ``after`` of all cells, (draws, cells).

    ``share`` is that of ``after`` less the ``expected`` one, and its variance that of ``scale`` m independent
    values. Rows: of Anderson and Darling (1952), as a mean over values and as the largest; of normal scores
    and their squares (van der Waerden 1952, Klotz 1962), as Lepage (1971) adds them; Neyman's smooth one
    (1937); how many values of either side lie beyond all of the other (Rosenbaum 1954, Tukey 1959), each by
    its surprise. Then parts of these: of the scores, of their squares, and of the orders above 2.
    """
    m, n = after[0].sum(), before[0].sum()
    size = m * scale
    below = np.cumsum(expected)
    variance, middle = below * (1 - below), below - expected / 2
    weight = np.divide(expected, variance, out=np.zeros_like(below), where=variance > 1e-12)
    far = size * np.cumsum(share, axis=-1) ** 2
    inner = variance * (n + m) > 5  # the largest would else be that of a few values at the ends
    largest = (far[:, inner] / variance[inner]).max(axis=-1, initial=0)
    score = scipy.special.ndtri(np.clip(middle, 0.25 / (n + m), 1 - 0.25 / (n + m)))
    scores = np.stack([score, score**2])
    scores = scores - scores @ expected[:, None]
    spread = np.sqrt(scores**2 @ expected)
    scores = np.divide(scores.T, spread, out=np.zeros_like(scores.T), where=spread > 1e-9)
    normal = size * (share @ scores) ** 2
    order = np.arange(1, ORDER + 1)
    smooth = size * (share @ (legendre.legvander(2 * middle - 1, ORDER)[:, 1:] * np.sqrt(2 * order + 1))) ** 2
    ends = np.log(1 + m / n) * _beyond(before, after) + np.log(1 + n / m) * _beyond(after, before)
    parts = [*normal.T, smooth[:, 2:].sum(axis=1)]
    return np.stack([far @ weight, largest, normal.sum(axis=1), smooth.sum(axis=1), ends, *parts])


def _beyond(one, other):
    """How many values of ``one``, (draws, cells), lie beyond all of ``other``, at both ends together."""
    one, other = np.broadcast_arrays(one, other)
    rows, cumulated, there = np.arange(len(one)), np.cumsum(one, axis=-1), other > 0
    first, last = there.argmax(axis=-1), there.shape[-1] - 1 - there[:, ::-1].argmax(axis=-1)
    return cumulated[rows, first] - one[rows, first] + cumulated[:, -1] - cumulated[rows, last]


def _wilson(share, n):
    """Ends of the 95 % interval of shares that were found in samples of n (Wilson 1927)."""
    z = scipy.special.ndtri(0.975)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # Exactly so at the ends, where rounding would leave a little.
    return np.where(share == 0, 0.0, middle - half), np.where(share == 1, 1.0, middle + half)


def _p_value(distances):
    """How rare the last column of ``distances`` is: by its rarest row; among equally rare ones, the next."""
    # Ties count against: small samples take few values. Rounding keeps equal ones equal.
    rows = np.round(distances, 10)
    ranks = np.stack([len(row) - np.searchsorted(np.sort(row), row) for row in rows])
    ahead = np.sort(ranks, axis=0) - np.sort(ranks[:, -1:], axis=0)
    decides = np.take_along_axis(ahead, (ahead != 0).argmax(axis=0)[None], axis=0)
    return float((decides <= 0).mean())


def _kind(ends, location, spread, higher, most):
    """Of `KINDS` the most surprising, by about minus the logarithm of each p-value.

    Where ``most`` or more lie beyond the other side, that is no matter of the ends.
    """
    squares = [location / 2, spread / 2, (higher - (ORDER - 2)) / 2]  # chi-squared
    ends = ends - np.log1p(ends) if ends < most else 0.0
    return KINDS[np.argmax([*squares[:2], ends, squares[2]])]
