"""Arguments spoilt in many ways, and what may come of it: for `test_hostile_input`.

`FORMS` and `WHOLE` write the same numbers down differently, which must not change an answer. The others make
arguments that are not what was wanted.
"""

import dataclasses
import linecache
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
import torch

import physmis

PACKAGE = physmis.__path__[0]


@dataclass(frozen=True)
class Case:
    """A public function, and how to call it well.

    call : takes the arrays by name.    good : makes them from a generator; all fit into single precision.
    any_shape : arguments that may have any number of dimensions.    infinite, missing : arguments in which
    infinite values, or NaN, can mean something.    nan : what the documentation says of NaN in the answer.
    rounding : how far answers for one and the same input may lie apart.    costly : takes longer than others.
    """

    call: Callable[..., Any]
    good: Callable[[np.random.Generator], dict[str, np.ndarray]]
    any_shape: tuple[str, ...] = ()
    infinite: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    nan: str = ""
    rounding: float = 1e-9
    costly: bool = False


def with_one(value, kind=None):
    """Puts ``value`` somewhere into an array."""

    def spoil(x, rng):
        x = x.astype(kind or x.dtype)
        x.flat[rng.integers(x.size)] = value
        return x

    return spoil


def masked(x, rng):
    return np.ma.array(x, mask=with_one(True)(np.zeros(x.shape, dtype=bool), rng))


SHAPES = {
    "within one more dimension": lambda x, rng: x[None],
    "with one more dimension": lambda x, rng: x[..., None],
    "with one dimension less": lambda x, rng: x[0],
    "a single number": lambda x, rng: x.flat[0],
}
EMPTY = {f"empty along axis -{k}": lambda x, rng, k=k: x.take([], axis=max(x.ndim - k, 0)) for k in (1, 2, 3)}
NO_NUMBERS = {
    "a word": with_one("far", "U32"),
    "complex": lambda x, rng: x + 1j * rng.normal(size=x.shape),
    "masked": masked,
    "ragged": lambda x, rng: [*x.tolist(), [[1.0], 2.0]],
    "dates": lambda x, rng: x.astype("datetime64[s]"),
}
MISSING = {"NaN": with_one(np.nan), "None": with_one(None, object)}
INFINITE = {"inf": with_one(np.inf), "-inf": with_one(-np.inf)}
VALUES = {
    "one along an axis": lambda x, rng: x.take([0], axis=rng.integers(x.ndim)),
    "all 0": lambda x, rng: np.zeros_like(x),
    "all 1": lambda x, rng: np.ones_like(x),
    "constant": lambda x, rng: np.full_like(x, x.flat[0]),
    "one huge": with_one(1e300),
    "one huge in single precision": with_one(-3e38),
    "one large": with_one(1e20),
    "one tiny": with_one(5e-324),
    "one as large as can be": with_one(np.finfo(float).max),
    "all huge": lambda x, rng: 1e300 * x,
    "all large": lambda x, rng: 1e20 * x,
    "all tiny": lambda x, rng: 1e-300 * x,
    "all small": lambda x, rng: 1e-20 * x,
}

FORMS = {
    "lists": lambda x: x.tolist(),
    "every other number of an array": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "a reversed array": lambda x: x[::-1].copy()[::-1],
    "columns first": lambda x: np.array(x, order="F"),
    "read only": lambda x: np.frombuffer(x.tobytes()).reshape(x.shape),
    "single precision": lambda x: x.astype(np.float32),
    "objects": lambda x: x.astype(object),
}
WHOLE = {kind: lambda x, kind=kind: x.astype(kind) for kind in ("int64", "int8", "uint8", "bool")}


def whole_numbers(x):
    """Whole numbers in place of ``x``, of which some will do: rounded, laws on one bin, ascending ones."""
    yield np.rint(x) + 0.0
    yield (x == x.max(axis=-1, keepdims=True)) * 1.0
    yield np.arange(x.size).reshape(x.shape) * 1.0


def answer(case, arguments):
    """What ``case`` answers, as arrays; None after a deliberate refusal. All else that is raised goes on.

    Deliberate is a ValueError or TypeError from a `raise` of the package. A RuntimeWarning is no answer.
    """
    before = {name: picture(x) for name, x in arguments.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return numbers(case.call(**arguments))
        except (ValueError, TypeError) as error:
            trace = error.__traceback__
            while trace.tb_next:
                trace = trace.tb_next
            place = trace.tb_frame.f_code.co_filename
            line = linecache.getline(place, trace.tb_lineno).strip()
            if not (place.startswith(PACKAGE) and line.startswith("raise ") and len(str(error)) > 20):
                raise
            return None
        finally:
            for name, x in arguments.items():
                assert picture(x) == before[name], f"{name} was changed in place"


def picture(x):
    """All that can be seen of an argument."""
    return repr(x) if isinstance(x, list) or x.dtype == object else (x.dtype, x.shape, x.tobytes())


def numbers(found):
    """All numbers of an answer, as a list of arrays; without bin edges, which may be infinite."""
    if isinstance(found, torch.Tensor):
        return [found.numpy()]
    if isinstance(found, (np.ndarray, Number, np.bool_)):
        return [np.asarray(found)]
    if dataclasses.is_dataclass(found):
        names = [field.name for field in dataclasses.fields(found) if field.name != "edges"]
        found = [getattr(found, name) for name in names]
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, (tuple, list)):
        return [part for one in found for part in numbers(one)]
    return []


def assert_same(found, wanted, rounding):
    assert [part.shape for part in found] == [part.shape for part in wanted]
    for a, b in zip(found, wanted, strict=True):
        size = np.abs(b[np.isfinite(b)]).max(initial=0.0)
        np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=rounding, atol=rounding * size)
