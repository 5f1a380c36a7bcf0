"""Trajectories as users have them, of various lengths and with missing steps, made ready and measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from physmis import checks
from physmis.audit.measurements import Measurement

STEPS_AT_ONCE = 2**18  # time steps, over all trajectories, that are measured at once: keeps memory flat


def prepare(
    given: Sequence[Float[np.ndarray, "T C"]], name: str = "trajectories"
) -> tuple[list[Float[np.ndarray, "T C"]], int]:
    """Trajectories (an array (n, T, C), or n arrays (T, C)) without gaps, and how many of them had gaps.

    Steps with NaN in some channel are imputed, each channel linearly between the steps around them; at either
    end they are cut off. Of trajectories with fewer than 2 steps left nothing is kept. ``name`` is what
    errors call the trajectories.
    """
    if isinstance(given, np.ndarray) and given.ndim != 3:
        hint = "; with one channel, that is x[..., None]" if given.ndim == 2 else ""
        raise ValueError(f"{name}: expected shape (n, T, C), got {given.shape}{hint}")
    if not np.iterable(given):
        raise TypeError(f"{name}: expected an array (n, T, C) or arrays (T, C), got {type(given).__name__}")
    found, imputed = [], 0
    for x in map(np.asanyarray, given):
        _check(x, name)
        if not np.isfinite(x).all():
            x, imputed = _imputed(x), imputed + 1
        found.append(x)
    if len(channels := {x.shape[1] for x in found}) != 1:
        got = f"trajectories of {sorted(channels)}" if found else "none"
        raise ValueError(f"{name}: expected trajectories with equally many channels, got {got}")
    return found, imputed


def _check(x, name):
    if x.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected real numbers, got {x.dtype}")
    if np.ma.is_masked(x):
        raise TypeError(f"{name}: expected NaN where a step is missing, got a mask; that is x.filled(np.nan)")
    if x.ndim != 2 or x.shape[0] < 2 or x.shape[1] < 1:
        raise ValueError(f"{name}: expected shape (T, C) of each, T of 2 or more, got {x.shape}")
    if np.isinf(x).any():
        raise ValueError(f"{name}: expected finite values (NaN where a step is missing), got infinite ones")


def _imputed(x):
    """One trajectory with its missing steps filled in; without any step if fewer than two are there."""
    there = np.flatnonzero(np.isfinite(x).all(axis=1))
    if len(there) < 2:
        return x[:0]
    at = np.arange(there[0], there[-1] + 1)
    return np.stack([np.interp(at, there, channel[there]) for channel in x.T], axis=1)


def measured(
    trajectories: Sequence[Float[np.ndarray, "T C"]],
    measure: Measurement,
) -> Float[np.ndarray, "n"]:
    """The quantity of each of the trajectories, which may differ in length; NaN where it is not finite.

    ``measure`` is called with trajectories of equal length, (n, T, C), and never with those without steps.
    """
    z, by_length = np.full(len(trajectories), np.nan), {}
    for row, x in enumerate(trajectories):
        if len(x):
            by_length.setdefault(len(x), []).append(row)
    for steps, rows in by_length.items():
        size = max(1, STEPS_AT_ONCE // steps)
        for part in (rows[i : i + size] for i in range(0, len(rows), size)):
            found = checks.real(
                measure(np.stack([trajectories[row] for row in part]).astype(float)), "values"
            )
            if found.shape != (len(part),):
                raise ValueError(f"expected a measurement of shape ({len(part)},), got {found.shape}")
            z[part] = np.where(np.isfinite(found), found, np.nan)
    return z


def resample(x: Float[np.ndarray, "T C"], steps: int) -> Float[np.ndarray, "steps C"]:
    """A trajectory at ``steps`` moments, evenly spaced from the first step to the last, linear in between."""
    if len(x) == steps:
        return x
    at = np.linspace(0, len(x) - 1, steps)
    left = np.minimum(at.astype(int), len(x) - 2)
    share = (at - left)[:, None]
    return x[left] * (1 - share) + x[left + 1] * share
