"""Families of coordinates with a few numbers to choose, for `physmis.coordinates.search` to search."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from physmis import checks
from physmis.coordinates.maps import Coordinates, Filter, Increments, NormPower, Polar, Warp, spread


class Family(NamedTuple):
    """Coordinates that depend on a few numbers without bounds; all of them 0 is where a search begins."""

    name: str
    make: Callable[[Float[np.ndarray, "numbers"]], Coordinates]
    numbers: int


def family(name: str, x: Float[np.ndarray, "n T C"]) -> Family:
    """The family called ``name``, for data such as ``x``.

    "norm power" (begins at power 1), "filter" (at slope 0), "increments" (at the scale at which they vary as
    much as the first step), "polar" (at a hundredth of the longest step), "warp" (eight pieces between the
    quantiles of all values; begins at the identity).

    Raises
    ------
    ValueError : unknown name; ``x`` is not finite, or not of shape (n, T, C) with n of 1 and T of 2 or more;
        or it is constant where the family needs variation.
    """
    x = checks.trajectories(x)
    if len(x) == 0 or x.shape[1] < 2:
        raise ValueError(f"one trajectory or more, of 2 steps or more, wanted, got shape {x.shape}")
    if name == "norm power":
        return Family(name, lambda a: NormPower(float(np.exp(a[0]))), 1)
    if name == "filter":
        return Family(name, lambda a: Filter(float(a[0])), 1)
    if name == "increments":
        largest = np.abs(x).max()
        first = checks.varying("first steps", spread(x[:, 0]), largest)
        ratio = first / checks.varying("steps", spread(np.diff(x, axis=1)), largest)
        return Family(name, lambda a: Increments(float(ratio * np.exp(a[0]))), 1)
    if name == "polar":
        checks.enough_channels("polar", x, 2)
        longest = np.linalg.norm(np.diff(x[..., :2], axis=1), axis=-1).max()
        least = checks.varying("positions", longest, np.abs(x).max()) / 100
        return Family(name, lambda a: Polar(float(least * np.exp(a[0]))), 1)
    if name == "warp":
        knots = np.unique(np.quantile(x, np.linspace(0, 1, 9)))
        if len(knots) < 3:
            raise ValueError("a warp wants data of at least three different values")
        pieces = np.diff(knots)

        def make(a):
            values = knots[0] + np.concatenate([[0.0], np.cumsum(pieces * np.exp(a))])
            return Warp(tuple(knots.tolist()), tuple(values.tolist()))

        return Family(name, make, len(pieces))
    raise ValueError(f"unknown family {name!r}; accepted: {', '.join(FAMILIES)}")


FAMILIES = ("norm power", "filter", "increments", "polar", "warp")
