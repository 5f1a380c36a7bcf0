"""The `.npy` format in files from elsewhere: what a header promises is checked before it is read."""

import io
import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

LARGEST = 8 * 2**30  # bytes of all arrays, as a file says of itself: more is refused before it is read
HEADER = 10_000  # bytes of a `.npy` header, at most: numpy reads no longer ones either


class UnreadableError(ValueError):
    """A file holds no arrays that can be read; the message names it and says what was wanted."""


def check_size(path: Path, size: int) -> None:
    """Raise UnreadableError if ``size`` bytes are too many."""
    if size > LARGEST:
        raise UnreadableError(f"{path}: {size / 2**30:.1f} GiB; at most {LARGEST / 2**30:.0f} are read")


def check_header(path: Path, file: BinaryIO, held: int) -> np.dtype:
    """The dtype of an open `.npy` of ``held`` bytes. Moves the file's position; errors name ``path``.

    Raises UnreadableError if it holds Python objects, or promises more than `LARGEST` bytes or than are
    there; and what numpy raises for a header that is none.
    """
    start = io.BytesIO(file.read(HEADER + 12))  # no more, whatever length the header says it has
    version = np.lib.format.read_magic(start)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(start)
    if dtype.hasobject:
        raise UnreadableError(f"{path}: holds Python objects, which are not read; numbers wanted")
    if min(shape, default=0) < 0:
        raise UnreadableError(f"{path}: an array of shape {shape} is promised")
    size = math.prod(shape) * dtype.itemsize
    check_size(path, size)
    if size > held:
        raise UnreadableError(f"{path}: an array of {size} bytes is promised, and {held} are there")
    return dtype
