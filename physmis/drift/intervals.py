"""Estimates over seeds and rows, with their 95 % intervals by bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.special

REPEATS = 400  # resamples of a bootstrap


class Interval(NamedTuple):
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(statistic: Callable[[Any], Any], groups: Sequence[Any], repeats: int = REPEATS) -> Any:
    """Mean of ``statistic`` over ``groups`` (one array a seed), with its bootstrap 95 % interval.

    An `Interval`, or a list of them where the statistic is a vector. Seeds are resampled, and rows in each.
    """
    groups = [np.asarray(group) for group in groups]
    if not groups or any(group.ndim == 0 or len(group) == 0 for group in groups):
        shapes = [group.shape for group in groups]
        raise ValueError(f"expected at least one group, and at least one row in each, got shapes {shapes}")
    rng = np.random.default_rng(0)
    chosen, drawn = [], []
    for _ in range(repeats):
        chosen.append(rng.integers(len(groups), size=len(groups)))
        rows = [groups[k][rng.integers(len(groups[k]), size=len(groups[k]))] for k in chosen[-1]]
        drawn.append([statistic(group) for group in rows])
    each = np.array([statistic(group) for group in groups], dtype=float)
    return interval(each, np.array(chosen), np.array(drawn, dtype=float))


def interval(each: np.ndarray, chosen: np.ndarray, drawn: np.ndarray) -> Any:
    """The interval of `bootstrap`: the estimate plus the central 95 % of the resamples' deviations.

    ``each`` (seeds, ...) of seeds; ``drawn`` (repeats, seeds, ...) from seeds ``chosen`` (repeats, seeds).
    """
    seeds, value = len(each), each.mean(axis=0)
    between = each[chosen].mean(axis=1) - value
    within = drawn.mean(axis=1) - each[chosen].mean(axis=1)
    if seeds > 1:  # few resampled seeds differ too little: as wide as the t interval of their mean
        between *= scipy.special.stdtrit(seeds - 1, 0.975) / 1.96 * np.sqrt(seeds / (seeds - 1))
    # Resampling rows adds noise, which makes every distance larger: that shift of the mean is taken off.
    low, high = value + np.percentile(between + within - within.mean(axis=0), [2.5, 97.5], axis=0)
    ends = np.stack([value, np.minimum(low, value), np.maximum(high, value)], axis=-1)
    return Interval(*ends.tolist()) if ends.ndim == 1 else [Interval(*row) for row in ends.tolist()]
