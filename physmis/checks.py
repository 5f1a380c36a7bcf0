"""Checks of arguments at public doors: TypeError where numbers are not real, ValueError for other faults."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from jaxtyping import Float

LARGEST = 1e50  # fourth powers of it are still numbers, and so are those of 1 / LARGEST
SINGLE = 1e30  # means and standard deviations of what is smaller are still numbers in single precision


def real(given: Any, what: str) -> np.ndarray:
    """``given`` as an array of float64; or of float32, if that is what it is."""
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise ValueError(f"expected {what} as an array of real numbers, got rows that do not fit") from error
    if np.ma.is_masked(given) or array.dtype.kind not in "biuf":
        raise TypeError(f"expected real numbers as {what}, none masked, got {array.dtype}")
    if min(array.strides, default=0) < 0:
        array = array.copy()  # torch takes no array that runs backwards
    return array if array.dtype in (np.float64, np.float32) else array.astype(float)


def sized(x: np.ndarray, what: str, least: float = 0.0, largest: float = LARGEST) -> np.ndarray:
    """``x`` itself, if it is finite, and its largest absolute value 0 or within ``least`` and ``largest``."""
    size = max(float(x.max(initial=0)), -float(x.min(initial=0)))
    if not np.isfinite(size):
        bad = np.argwhere(~np.isfinite(x)).tolist()
        raise ValueError(f"expected finite {what}, got {len(bad)} of {x.size} not, from index {(*bad[0],)}")
    if size != 0 and not least <= size <= largest:
        raise ValueError(f"expected {what} of a size of 0 or {least:g} to {largest:g}, got {size:g}")
    return x


def trajectories(given: Any, channels: int = 0, steps: int = 0, what: str = "trajectories") -> np.ndarray:
    """Trajectories (n, T, C) in float64, n of 0 or more; of so many channels and steps, if given."""
    x = real(given, what)
    if x.ndim != 3 or 0 in x.shape[1:] or x.shape[1:] != (steps or x.shape[1], channels or x.shape[2]):
        shape = f"(n, {steps or 'T'}, {channels or 'C'})"
        raise ValueError(f"expected {what} of shape {shape}, got shape {x.shape}")
    return np.asarray(sized(x, what, least=1 / LARGEST), dtype=np.float64)


def values(given: Any, what: str = "values") -> Float[np.ndarray, "n"]:
    """A vector of numbers in float64, one at least."""
    z = real(given, what)
    if z.ndim != 1 or z.size == 0:
        raise ValueError(f"expected a vector of {what}, one at least, got shape {z.shape}")
    return np.asarray(sized(z, what, largest=np.inf), dtype=np.float64)


def edges(given: Any) -> Float[np.ndarray, "edges"]:
    """Bin edges in float64, two at least, that ascend strictly; the outermost may be infinite."""
    ends = np.asarray(real(given, "bin edges"), dtype=np.float64)
    if ends.ndim != 1 or ends.size < 2 or not (ends[1:] > ends[:-1]).all():
        raise ValueError(f"expected two bin edges or more that ascend strictly, got {given!r}")
    return ends


def positive(**given: Any) -> None:
    """Raises ValueError unless every number is finite and positive."""
    for name, value in given.items():
        numbers = real(value, name)
        if numbers.size == 0 or not ((numbers > 0) & (numbers < np.inf)).all():
            raise ValueError(f"expected a positive and finite {name}, got {value!r}")


def check_count(name: str, value: Any, least: int = 1) -> int:
    """``value`` as an int. Raises ValueError unless it is a whole number of ``least`` or more."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"expected {name} to be a whole number of at least {least}, got {value!r}")
    return int(value)


def check_generator(rng: Any) -> None:
    """Raises TypeError unless ``rng`` is a `numpy.random.Generator`."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"expected a numpy Generator, such as np.random.default_rng(0), got {rng!r}")


def enough_spread(x: Float[np.ndarray, "n T C"]) -> None:
    """Raises ValueError where a channel varies, but too little for single precision."""
    size, varies = np.abs(x.mean((0, 1), np.float64)), x.std((0, 1), np.float64)
    for channel in np.flatnonzero((varies > 1e-12 * size) & (varies < np.maximum(1e-5 * size, 1e-6))):
        got = f"{varies[channel]:g} about {size[channel]:g} in channel {channel}"
        raise ValueError(f"expected more variation, got {got}: take off its mean, or take a smaller unit")
