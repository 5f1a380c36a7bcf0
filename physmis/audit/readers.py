"""Trajectories from files: `.npy`, `.npz`, HDF5 in the D4RL layout, and Minari data sets."""

from __future__ import annotations

import itertools
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from physmis.audit.npy import UnreadableError, check_header, check_size

LARGE, DENSEST = 2**28, 100  # bytes; larger arrays may be no more than so many times as large as in the file
SUFFIXES = (".npy", ".npz", ".h5", ".hdf5")


def read(
    path: str | Path, array: str | None = None, channels: Sequence[int] | None = None
) -> np.ndarray | list[Float[np.ndarray, "T C"]]:
    """Trajectories in a file: an array (n, T, C), or a list of arrays (T, C).

    - `.npy`: the array (n, T, C).
    - `.npz`: the array called "trajectories" or "x", or the only one; of shape (n, T, C), or (steps, C)
      beside an array "lengths" (n,) of steps a trajectory. Beside (n, T, C), "lengths" tells how many of the
      T steps count; what follows is padding.
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
            return _whole(path, _array(path, file, path.stat().st_size))
    if path.suffix == ".npz":
        return _npz(path, array)
    if path.suffix in (".h5", ".hdf5"):
        return _hdf5(path, array)
    raise UnreadableError(f"{path}: one of {', '.join(SUFFIXES)} or the folder of a Minari data set wanted")


def _array(path, file, held):
    """The array of an open `.npy` of ``held`` bytes."""
    dtype = check_header(path, file, held)
    if not _numbers(dtype):
        raise UnreadableError(f"{path}: holds {dtype}; numbers wanted")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _numbers(dtype):
    return np.issubdtype(dtype, np.floating) or np.issubdtype(dtype, np.integer)


def _check_density(path, size, held):
    """Raise if ``size`` bytes are too many, at all or for the ``held`` bytes that they are packed in."""
    check_size(path, size)
    if size > LARGE and size > DENSEST * held:
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
            _check_density(path, info.file_size, min(info.compress_size, path.stat().st_size))
            with archive.open(member + ".npy") as file:
                return _array(path, file, sizes[member])

        found = one(name)
        if found.ndim not in (2, 3) or "lengths" not in sizes or name == "lengths":
            return _whole(path, found)
        lengths, padded = one("lengths"), found.ndim == 3
        most = found.shape[1] if padded else len(found)
        whole = lengths.ndim == 1 and np.issubdtype(lengths.dtype, np.integer)
        whole = whole and ((lengths > padded) & (lengths <= most)).all()
        if padded:
            if not whole or len(lengths) != len(found):
                raise UnreadableError(
                    f"{path}: 'lengths' beside '{name}' of shape {found.shape} must be {len(found)} whole "
                    f"numbers from 2 to {most}, the steps that count"
                )
            return [row[:length] for row, length in zip(found, lengths, strict=True)]
        if not whole or lengths.sum() != most:
            raise UnreadableError(f"{path}: 'lengths' must be positive whole numbers that sum to {most}")
        return np.split(found, np.cumsum(lengths)[:-1])


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
            _check_density(path, sum(map(_expanded, nodes)), path.stat().st_size)
            return [_shaped(path, name, node, (2,)) for node in nodes]
        node = _dataset(path, h5py, file, name)
        _check_density(path, _expanded(node), path.stat().st_size)
        steps = _shaped(path, name, node, (2, 3))
        if steps.ndim == 3:
            return steps
        marks = [_dataset(path, h5py, file, key) for key in ("terminals", "timeouts") if key in file]
        _check_density(path, sum(map(_expanded, marks)), path.stat().st_size)
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
