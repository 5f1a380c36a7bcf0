"""What models accept: each check says what was given and what was wanted."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from physmis import checks


def check_trajectories(x: Float[np.ndarray, "n T C"]) -> Tensor:
    """``x`` as a float32 tensor.

    Raises
    ------
    ValueError : ``x`` is not of shape (n, T, C) with n >= 1, or holds NaN or infinite values.
    TypeError : it holds other things than real numbers.
    """
    x = checks.real(x, "trajectories")
    if x.ndim != 3 or x.size == 0:
        raise ValueError(f"trajectories of shape (n, T, C) wanted, with at least one of them; got {x.shape}")
    checks.sized(x, "trajectories", largest=checks.SINGLE)
    return torch.as_tensor(x, dtype=torch.float32)


def check_count(name: str, value: Any) -> int:
    """``value`` as an int. Raises ValueError unless it is a whole number of at least 1."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    return int(value)


def check_numbers(what: str, values: Any, n: int) -> Float[Tensor, "n"]:
    """``values`` as a float64 tensor. Raises ValueError or TypeError unless they are ``n`` finite numbers."""
    values = np.asarray(checks.real(values, what), dtype=np.float64)
    if values.shape != (n,):
        raise ValueError(f"{what} of shape ({n},) wanted, one number a trajectory; got {values.shape}")
    return torch.from_numpy(checks.sized(values, what))


def check_generator(rng: Any) -> None:
    """Raises TypeError unless ``rng`` is a `numpy.random.Generator`."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"a numpy Generator wanted, such as np.random.default_rng(0); got {rng!r}")
