"""What arguments must be: arrays of usable numbers, or an error that says what was given and what was wanted.

Nothing is imported from the package.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from jaxtyping import Float

LARGEST = 1e50  # fourth powers of it are still numbers, and so are those of 1 / LARGEST
SINGLE = 1e30  # means and standard deviations of what is smaller are still numbers in single precision


def real(given: Any, what: str) -> np.ndarray:
    """``given`` as an array of float64; or of float32, if that is what it is.

    Raises
    ------
    TypeError : it holds other things than real numbers, or some of them are masked.
    ValueError : its rows differ in length, or a number is too large.
    """
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise ValueError(
            f"{what}: an array of real numbers wanted, got rows that do not fit ({error})"
        ) from error
    if np.ma.is_masked(given):
        raise TypeError(f"{what}: real numbers wanted, got some that are masked")
    if min(array.strides, default=0) < 0:
        array = array.copy()  # torch takes no array that runs backwards
    if array.dtype in (np.float64, np.float32):
        return array
    if array.dtype.kind not in "biufO":
        raise TypeError(f"{what}: real numbers wanted, got {array.dtype}")
    if array.dtype.kind == "O":
        others = {type(one).__name__ for one in array.flat if not _is_real(one)}
        if others:
            raise TypeError(f"{what}: real numbers wanted, got others, too: {', '.join(sorted(others))}")
    try:
        return array.astype(float)
    except OverflowError as error:
        raise ValueError(f"{what}: numbers that fit in 64 bits wanted ({error})") from error


def _is_real(one: Any) -> bool:
    return isinstance(one, Real) or (np.ndim(one) == 0 and np.asarray(one).dtype.kind in "biuf")


def sized(x: np.ndarray, what: str, least: float = 0.0, largest: float = LARGEST) -> np.ndarray:
    """``x`` itself, if it is finite, and the largest absolute value is 0 or within ``least`` and ``largest``.

    Raises ValueError otherwise.
    """
    size = max(float(x.max(initial=0)), -float(x.min(initial=0)))
    if not np.isfinite(size):
        bad = ~np.isfinite(x)
        raise ValueError(
            f"finite {what} wanted, got shape {x.shape} with {bad.sum()} of {x.size} numbers NaN or "
            f"infinite, the first at index {tuple(np.argwhere(bad)[0].tolist())}"
        )
    if size != 0 and not least <= size <= largest:
        raise ValueError(
            f"{what} in another unit wanted: {least:g} to {largest:g} can be calculated with, and the "
            f"largest absolute value is {size:g}"
        )
    return x


def trajectories(
    given: Any, what: str = "trajectories", channels: int | None = None
) -> Float[np.ndarray, "n T C"]:
    """Trajectories in float64, of which there may be none; of so many ``channels``, if that is given.

    Raises
    ------
    TypeError, ValueError : the shape is not (n, T, C) with T and C of 1 or more; or what `real` and `sized`
        refuse.
    """
    x = real(given, what)
    if x.ndim != 3 or 0 in x.shape[1:] or channels not in (None, x.shape[2]):
        wanted = "C" if channels is None else channels
        raise ValueError(f"finite {what} of shape (n, T, {wanted}) wanted, got shape {x.shape}")
    return np.asarray(sized(x, what, least=1 / LARGEST), dtype=np.float64)


def values(given: Any, what: str = "values") -> Float[np.ndarray, "n"]:
    """A vector of numbers in float64, one at least.

    Raises
    ------
    TypeError, ValueError : it is empty, or no vector; or what `real` and `sized` refuse.
    """
    z = real(given, what)
    if z.ndim != 1 or z.size == 0:
        raise ValueError(f"a vector of {what} wanted, with at least one of them; got shape {z.shape}")
    return np.asarray(sized(z, what, largest=np.inf), dtype=np.float64)


def edges(given: Any) -> Float[np.ndarray, "edges"]:
    """Bin edges in float64; the outermost may be infinite.

    Raises
    ------
    TypeError, ValueError : they do not ascend, or are fewer than two; or what `real` refuses.
    """
    ends = np.asarray(real(given, "bin edges"), dtype=np.float64)
    if ends.ndim != 1 or ends.size < 2 or not (ends[1:] > ends[:-1]).all():
        raise ValueError("bin edges must ascend strictly, and there must be two at least")
    return ends


def positive(**given: Any) -> None:
    """Raises ValueError unless every number is finite and positive, and TypeError if it is no number."""
    for name, value in given.items():
        numbers = real(value, name)
        if numbers.size == 0 or not (np.isfinite(numbers).all() and (numbers > 0).all()):
            raise ValueError(f"{name} must be positive and finite, got {value!r}")


def enough_spread(x: Float[np.ndarray, "n T C"]) -> None:
    """Raises ValueError where a channel varies, but too little for single precision."""
    x = np.asarray(x, dtype=np.float64)
    size, varies = np.abs(x.mean(axis=(0, 1))), x.std(axis=(0, 1))
    for channel in np.flatnonzero((varies > 1e-12 * size) & (varies < np.maximum(1e-5 * size, 1e-6))):
        raise ValueError(
            f"channel {channel} varies by {varies[channel]:g} about {size[channel]:g}, too little for single "
            "precision: take off its mean first, or take a smaller unit"
        )


def enough_channels(name: str, x: Float[np.ndarray, "... C"], least: int) -> None:
    """Raises ValueError unless trajectories have ``least`` channels, which the coordinates ``name`` want."""
    if x.shape[-1] < least:
        raise ValueError(f"coordinates '{name}' are for {least} channels or more, got {x.shape[-1]}")


def varying(what: str, size: float, largest: float) -> float:
    """``size``, how much something varies. Raises ValueError if beside the ``largest`` value it is none."""
    if not size > 1e-12 * largest:
        raise ValueError(f"{what} that vary wanted; these are constant")
    return size


def check_count(name: str, value: Any) -> int:
    """``value`` as an int. Raises ValueError unless it is a whole number of at least 1."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"expected {name} to be a whole number of at least 1, got {value!r}")
    return int(value)


def check_generator(rng: Any) -> None:
    """Raises TypeError unless ``rng`` is a `numpy.random.Generator`."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"expected a numpy Generator, such as np.random.default_rng(0), got {rng!r}")
