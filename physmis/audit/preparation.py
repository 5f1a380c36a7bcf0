"""Trajectories as users have them, of various lengths and with missing steps, made ready and measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from physmis import checks
from physmis.audit.measurements import Measurement, Ragged, Values

STEPS_AT_ONCE = 2**18  # time steps, over all trajectories, that are measured at once: keeps memory flat


def numbers(given: Any, name: str = "trajectories") -> np.ndarray:
    """Real numbers in double or single precision: of arrays, tensors, or nullable pandas columns."""
    if hasattr(given, "detach"):  # torch: of a model, in training, on an accelerator
        given = given.detach().cpu()
        given = (given.double() if given.is_floating_point() else given).numpy()
    elif hasattr(given, "to_numpy"):
        given = given.to_numpy(dtype=float, na_value=np.nan)
    return checks.real(given, name)


def prepare(
    given: Ragged, name: str = "trajectories", gaps: bool = True
) -> tuple[list[Float[np.ndarray, "T C"]], int]:
    """Trajectories (an array (n, T, C), or n arrays (T, C)) without gaps, and how many of them had gaps.

    Steps with NaN in some channel are imputed linearly from the steps around them, and cut off at either end;
    unless ``gaps`` is false, as for a model, which leaves nothing out. Nothing is kept of trajectories with
    fewer than 2 steps left, or infinite values.
    """
    found, imputed = [], 0
    for one in given:
        x = numbers(one, name)
        if x.ndim != 2 or x.shape[0] < 2 or x.shape[1] < 1:
            raise ValueError(f"{name}: expected shape (T, C) of each, T of 2 or more, got {x.shape}")
        there = np.flatnonzero(np.isfinite(x).all(axis=1))
        infinite, missing = np.isinf(x).any(), len(there) < len(x)
        imputed += bool(missing and gaps and not infinite)
        if infinite or len(there) < 2 or (missing and not gaps):
            x = x[:0]
        elif missing:
            at = np.arange(there[0], there[-1] + 1)
            x = np.stack([np.interp(at, there, channel[there]) for channel in x.T], axis=1)
        found.append(x)
    if len(channels := {x.shape[1] for x in found}) != 1:
        raise ValueError(f"{name}: expected equally many channels in all, got {sorted(channels) or 'none'}")
    return found, imputed


def measured(trajectories: Ragged, measure: Measurement) -> Values:
    """The quantity of each of the trajectories, which may differ in length; NaN where it is not finite.

    ``measure`` is called with trajectories of equal length, (n, T, C), and never with those without steps.
    """
    z, by_length = np.full(len(trajectories), np.nan), {}
    for row, x in enumerate(trajectories):
        by_length.setdefault(len(x), []).append(row)
    by_length.pop(0, None)
    for steps, rows in by_length.items():
        size = max(1, STEPS_AT_ONCE // steps)
        for part in (rows[i : i + size] for i in range(0, len(rows), size)):
            x = np.stack([trajectories[row] for row in part]).astype(float)
            found = checks.real(measure(x), "values")
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
