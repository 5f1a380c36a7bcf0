"""Trajectories as users have them: of various lengths, with steps missing. Made ready to be measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from physmis import checks
from physmis.kernels.kernels import Measurement, Trajectories

PART = 2**18  # time steps measured at once: keeps memory flat


@dataclass(frozen=True)
class Prepared:
    """Trajectories in blocks of equal length.

    blocks : arrays (n, T, C), one for each length.    mended : how many had steps missing.
    """

    blocks: list[Trajectories]
    mended: int

    @property
    def count(self) -> int:
        """Trajectories in all."""
        return sum(map(len, self.blocks))

    @property
    def channels(self) -> int:
        """Channels of each."""
        return self.blocks[0].shape[2]

    @property
    def lengths(self) -> Int[np.ndarray, "n"]:
        """Steps of each trajectory, block after block."""
        return np.concatenate([np.full(len(block), block.shape[1]) for block in self.blocks])

    def taken(self, rows: Int[np.ndarray, "k"]) -> list[Trajectories]:
        """The trajectories of ascending ``rows``, block after block, as float64."""
        starts = np.cumsum([0] + [len(block) for block in self.blocks])
        parts = np.split(rows, np.searchsorted(rows, starts[1:-1]))
        found = [
            block[part - i].astype(float) for block, part, i in zip(self.blocks, parts, starts, strict=False)
        ]
        return [block for block in found if len(block)]

    def measured(
        self, measure: Measurement, progress: Callable[[int], None] | None = None
    ) -> Float[np.ndarray, "n"]:
        """The quantity of each, block after block; NaN where ``measure`` gives no finite number.

        Trajectories of NaN are not shown to ``measure``.

        Raises
        ------
        ValueError : ``measure`` returns another shape than (n,).
        """
        found, done = [], 0
        for block in self.blocks:
            rows = max(1, PART // block.shape[1])
            for i in range(0, len(block), rows):
                x = block[i : i + rows].astype(float)
                there = ~np.isnan(x[:, 0, 0])
                z = np.full(len(x), np.nan)
                if there.any():
                    z[there] = _checked(measure(x if there.all() else x[there]), there.sum())
                found.append(np.where(np.isfinite(z), z, np.nan))
                done += len(x)
                if progress is not None:
                    progress(done)
        return np.concatenate(found)


def _checked(z, n):
    z = np.asarray(checks.real(z, "the measurement"), dtype=float)
    if z.shape != (n,):
        raise ValueError(f"the measurement must return shape ({n},) for {n} trajectories, got {z.shape}")
    return z


def prepare(given: Sequence[Float[np.ndarray, "T C"]], name: str = "trajectories") -> Prepared:
    """Trajectories (an array (n, T, C), or n arrays (T, C)) in blocks of equal length, without gaps.

    Steps with NaN in some channel are filled in, each channel linearly between the steps around them; at
    either end they are cut off. Trajectories with fewer than 2 steps left have nothing that could be
    measured: they become two steps of NaN.

    Raises
    ------
    ValueError : no trajectories, another number of dimensions, infinite values, fewer than 2 steps, or
        numbers of channels that differ.    TypeError : values that are not real numbers.
    """
    if not (hasattr(given, "__len__") and hasattr(given, "__iter__")):
        raise TypeError(f"{name}: an array (n, T, C) or a list of them wanted, got {type(given).__name__}")
    if isinstance(given, np.ndarray) and given.ndim != 3:
        hint = "; with one channel, that is x[..., None]" if given.ndim == 2 else ""
        raise ValueError(f"{name}: shape (n, T, C) wanted, got {given.shape}{hint}")
    if len(given) == 0:
        raise ValueError(f"{name}: one or more wanted, got none")
    if isinstance(given, np.ndarray):
        _check_numbers(given, name)
        whole = np.isfinite(given).all(axis=(1, 2))
        blocks, rest = ([given[whole]] if whole.any() else []), given[~whole]
        if whole.all():
            blocks = [given]
    else:
        try:
            given = [np.asanyarray(x) for x in given]
        except ValueError as error:
            raise ValueError(f"{name}: rows of numbers of equal length wanted in each; {error}") from error
        for i, x in enumerate(given):
            if x.ndim != 2:
                raise ValueError(f"{name}: shape (T, C) wanted of each, got {x.shape} in number {i}")
            _check_numbers(x, name)
        blocks, rest = [], given
    if len({x.shape[1] for x in [*rest, *(block[0] for block in blocks)]}) > 1:
        raise ValueError(f"{name}: as many channels wanted in each, got {sorted({x.shape[1] for x in rest})}")
    if short := [x.shape[0] for x in [*rest, *(block[0] for block in blocks)] if x.shape[0] < 2]:
        raise ValueError(f"{name}: 2 steps or more wanted in each, got {short[0]}")
    by_length: dict[int, list] = {}
    mended = 0
    for x in rest:
        if not np.isfinite(x).all():
            x, mended = _filled(x), mended + 1
        by_length.setdefault(len(x), []).append(x)
    blocks += [np.stack(group) for _, group in sorted(by_length.items())]
    return Prepared(blocks, mended)


def _check_numbers(x, name):
    if not (np.issubdtype(x.dtype, np.floating) or np.issubdtype(x.dtype, np.integer)):
        raise TypeError(f"{name}: real numbers wanted, got {x.dtype}")
    if np.ma.is_masked(x):
        raise TypeError(f"{name}: NaN where a step is missing wanted, got a mask; that is x.filled(np.nan)")
    if x.shape[-1] == 0:
        raise ValueError(f"{name}: one channel or more wanted, got shape {x.shape}")
    if np.isinf(x).any():
        raise ValueError(f"{name}: finite values wanted (NaN where a step is missing), got infinite ones")


def _filled(x):
    """One trajectory with its missing steps filled in; two steps of NaN if fewer than two are there."""
    there = np.flatnonzero(np.isfinite(x).all(axis=1))
    if len(there) < 2:
        return np.full((2, x.shape[1]), np.nan)
    at = np.arange(there[0], there[-1] + 1)
    return np.stack([np.interp(at, there, channel[there]) for channel in x.T], axis=1)


def stretch(x: Trajectories, steps: int) -> Trajectories:
    """Trajectories at ``steps`` moments, evenly spaced from the first step to the last, linear in between.

    Raises
    ------
    ValueError : ``x`` is not of shape (n, T, C) or not finite, or has one step where more are wanted.
    """
    x = checks.sized(checks.real(x, "trajectories"), "trajectories")
    if x.ndim != 3 or 0 in x.shape[1:]:
        raise ValueError(f"trajectories of shape (n, T, C) wanted, got shape {x.shape}")
    if x.shape[1] == steps:
        return x
    if x.shape[1] < 2:
        raise ValueError(f"2 steps or more wanted, to be stretched to {steps}, got shape {x.shape}")
    at = np.linspace(0, x.shape[1] - 1, steps)
    left = np.minimum(at.astype(int), x.shape[1] - 2)
    share = (at - left)[:, None]
    return x[:, left] * (1 - share) + x[:, left + 1] * share
