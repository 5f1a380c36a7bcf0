"""Trajectories from files: `.npy`, `.npz`, HDF5 in the D4RL layout, and Minari data sets."""

from __future__ import annotations

import io
import itertools
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

LARGEST = 8 * 2**30  # bytes of all arrays, as a file says of itself: more is refused before it is read
LARGE, DENSEST = 2**28, 100  # bytes; larger arrays may be no more than so many times as large as in the file
HEADER = 10_000  # bytes of a `.npy` header, at most: numpy reads no longer ones either
SUFFIXES = (".npy", ".npz", ".h5", ".hdf5")


class UnreadableError(ValueError):
    """A file holds no trajectories that can be read; the message names it and says what was wanted."""


def read(
    path: str | Path, array: str | None = None, channels: Sequence[int] | None = None
) -> np.ndarray | list[Float[np.ndarray, "T C"]]:
    """Trajectories in a file: an array (n, T, C), or a list of arrays (T, C).

    - `.npy`: the array (n, T, C).
    - `.npz`: the array called "trajectories" or "x", or the only one; of shape (n, T, C), or (steps, C)
      beside an array "lengths" (n,) of steps a trajectory.
    - `.h5`, `.hdf5` in the D4RL layout: "observations" (steps, C), beside "terminals" and "timeouts"
      (steps,), of which a true one ends a trajectory.
    - Minari: the folder of a data set, or its `main_data.hdf5`: "observations" of each episode.

    Nothing is unpickled, no other file is opened, nothing is written. Sizes are checked before anything large
    is read.

    Parameters
    ----------
    array : name of another array than "trajectories" or "observations", such as "infos/qpos"; a `.npy` holds
        one array, and has no names.
    channels : which channels to take; all if None.

    Raises
    ------
    UnreadableError : no such file, another format, too large, or not the arrays that are wanted.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise UnreadableError(f"{path}: no such file")
        found = _read(path, array)
    except UnreadableError:
        raise
    except Exception as error:  # damaged files raise whatever the libraries that parse them may run into
        told = str(error) or type(error).__name__
        raise UnreadableError(f"{path}: cannot be read ({told})") from error
    if len(found) == 0:
        raise UnreadableError(f"{path}: no trajectories of 2 steps or more in it")
    if channels is None:
        return found
    size = min(x.shape[-1] for x in found)
    if not len(channels) or not all(0 <= k < size for k in channels):
        raise UnreadableError(f"{path}: channels from 0 to {size - 1} wanted, got {list(channels)}")
    if isinstance(found, np.ndarray):
        return found[..., list(channels)]
    return [x[:, list(channels)] for x in found]


def _read(path, array):
    if path.is_dir():
        inside = path / "data" / "main_data.hdf5"
        if not inside.exists():
            raise UnreadableError(f"{path}: a folder without data/main_data.hdf5 is no Minari data set")
        return _hdf5(inside, array)
    if not path.is_file():  # a pipe would be waited for
        raise UnreadableError(f"{path}: not a file")
    if path.suffix == ".npy":
        with open(path, "rb") as file:
            _check_header(path, file, path.stat().st_size)
            file.seek(0)
            return _whole(path, np.lib.format.read_array(file, allow_pickle=False))
    if path.suffix == ".npz":
        return _npz(path, array)
    if path.suffix in (".h5", ".hdf5"):
        return _hdf5(path, array)
    raise UnreadableError(f"{path}: one of {', '.join(SUFFIXES)} or the folder of a Minari data set wanted")


def _check_header(path, file, held):
    """Raise unless a `.npy` header names numbers, no more than `LARGEST` bytes, and all are there."""
    start = io.BytesIO(file.read(HEADER + 12))  # no more, whatever length the header says it has
    version = np.lib.format.read_magic(start)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(start)
    if dtype.hasobject:
        raise UnreadableError(f"{path}: holds Python objects, which are not read; numbers wanted")
    if not _numbers(dtype):
        raise UnreadableError(f"{path}: holds {dtype}; numbers wanted")
    if min(shape, default=0) < 0:
        raise UnreadableError(f"{path}: an array of shape {shape} is promised")
    size = math.prod(shape) * dtype.itemsize
    _check_size(path, size)
    if size > held:
        raise UnreadableError(f"{path}: an array of {size} bytes is promised, and {held} are there")


def _numbers(dtype):
    return np.issubdtype(dtype, np.floating) or np.issubdtype(dtype, np.integer)


def _check_size(path, size, held=None):
    """Raise if ``size`` bytes are too many; or too many for the ``held`` bytes that they are packed in."""
    if size > LARGEST:
        raise UnreadableError(f"{path}: {size / 2**30:.1f} GiB; at most {LARGEST / 2**30:.0f} are read")
    if held is not None and size > LARGE and size > DENSEST * held:
        raise UnreadableError(
            f"{path}: {held} bytes that would become {size}; more than {DENSEST} times as many are not read"
        )


def _npz(path, array):
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        name = array or next((known for known in ("trajectories", "x") if known in sizes), None)
        if name is None and len(sizes) == 1:
            (name,) = sizes
        if name not in sizes:
            wanted = f"array {array!r}" if array else "an array 'trajectories' or 'x', or one array only,"
            raise UnreadableError(
                f"{path}: {wanted} wanted; there are {', '.join(sorted(sizes)) or 'none'} "
                "(array, or --array, names one)"
            )

        def one(member):
            info = archive.getinfo(member + ".npy")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise UnreadableError(f"{path}: packed otherwise than numpy does")
            _check_size(path, info.file_size, min(info.compress_size, path.stat().st_size))
            with archive.open(member + ".npy") as file:
                _check_header(path, file, sizes[member])
            with archive.open(member + ".npy") as file:
                return np.lib.format.read_array(file, allow_pickle=False)

        found = one(name)
        if found.ndim == 2 and "lengths" in sizes:
            lengths = one("lengths")
            whole = lengths.ndim == 1 and np.issubdtype(lengths.dtype, np.integer)
            whole = whole and ((lengths > 0) & (lengths <= len(found))).all()
            if not whole or lengths.sum() != len(found):
                raise UnreadableError(
                    f"{path}: 'lengths' must be positive whole numbers that sum to {len(found)}"
                )
            return np.split(found, np.cumsum(lengths)[:-1])
        return _whole(path, found)


def _whole(path, found):
    if found.ndim != 3:
        raise UnreadableError(f"{path}: an array of shape (n, T, C) wanted, got {found.shape}")
    return found


def _hdf5(path, array):
    try:
        import h5py
    except ImportError as error:
        raise UnreadableError(f"{path}: reading HDF5 needs h5py: pip install 'physmis[audit]'") from error
    name = array or "observations"
    with h5py.File(path, "r") as file:
        episodes = [key for key in file if key.startswith("episode_")]
        if episodes:  # Minari
            episodes.sort(key=lambda key: int(key.removeprefix("episode_")))
            if not all(isinstance(file.get(key, getlink=True), h5py.HardLink) for key in episodes):
                raise UnreadableError(f"{path}: episodes that are links to elsewhere are not followed")
            nodes = [_dataset(path, h5py, file[key], name) for key in episodes]
            _check_size(path, sum(map(_expanded, nodes)), path.stat().st_size)
            return [_shaped(path, name, node, (2,)) for node in nodes]
        node = _dataset(path, h5py, file, name)
        _check_size(path, _expanded(node), path.stat().st_size)
        steps = _shaped(path, name, node, (2, 3))
        if steps.ndim == 3:
            return steps
        marks = [_dataset(path, h5py, file, key) for key in ("terminals", "timeouts") if key in file]
        _check_size(path, sum(map(_expanded, marks)), path.stat().st_size)
        ends = [mark[()].astype(bool).ravel() for mark in marks]
        if not ends:
            raise UnreadableError(
                f"{path}: no 'terminals' or 'timeouts' that would tell where trajectories end"
            )
        if any(len(end) != len(steps) for end in ends):
            raise UnreadableError(
                f"{path}: 'terminals' and 'timeouts' must have the {len(steps)} steps of '{name}'"
            )
        after = np.flatnonzero(np.any(ends, axis=0)) + 1
        # What begins after the last end is cut short, and so no whole trajectory.
        parts = np.split(steps, after)[:-1] if len(after) else [steps]
        return [part for part in parts if len(part) > 1]


def _dataset(path, h5py, node, name):
    """The array of that name, unread: of numbers or marks, and held in this file."""
    parts = name.strip("/").split("/")
    for i, part in enumerate(parts):
        below = "/".join(parts[:i])
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            there = f"in '{below}' " if below else ""
            raise UnreadableError(f"{path}: no array '{name}'; {there}there are {_listed(node)}")
        if not isinstance(link, h5py.HardLink):
            raise UnreadableError(f"{path}: '{name}' is a link to elsewhere, which is not followed")
        node = node[part]
    if isinstance(node, h5py.Group):
        inside = _listed(node, name + "/")
        raise UnreadableError(f"{path}: '{name}' holds several arrays; name one of {inside}")
    if not isinstance(node, h5py.Dataset) or node.shape is None:
        raise UnreadableError(f"{path}: '{name}' holds no array")
    if node.external is not None or node.is_virtual:
        raise UnreadableError(f"{path}: '{name}' is kept in other files, which are not read")
    if not (_numbers(node.dtype) or node.dtype == bool):
        raise UnreadableError(f"{path}: '{name}' holds {node.dtype}; numbers wanted")
    return node


def _listed(node, before="", most=20):
    """What a group holds."""
    names = [before + name for name in itertools.islice(node, most)] if hasattr(node, "keys") else []
    return ", ".join(names) + (", ..." if len(names) == most else "") if names else "none"


def _expanded(node):
    """Bytes that reading an array takes: of all its values, or of the one chunk of them that is larger."""
    return max(node.size, math.prod(node.chunks or (0,))) * node.dtype.itemsize


def _shaped(path, name, node, dimensions):
    if node.ndim not in dimensions or not _numbers(node.dtype):
        raise UnreadableError(
            f"{path}: '{name}' of numbers of shape (steps, channels) wanted, got {node.dtype} {node.shape}"
        )
    return node[()]
