"""Trajectories from files: `.npy`, `.npz`, HDF5 in the D4RL layout, and Minari data sets."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

LARGEST = 8 * 2**30  # bytes of an array, as it says of itself: more is refused before it is read
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

    Nothing is unpickled. Sizes are checked before anything large is read.

    Parameters
    ----------
    array : name of another array than "trajectories" or "observations", such as "infos/qpos".
    channels : which channels to take; all if None.

    Raises
    ------
    UnreadableError : no such file, another format, too large, or not the arrays that are wanted.
    """
    path = Path(path)
    if not path.exists():
        raise UnreadableError(f"{path}: no such file")
    try:
        found = _read(path, array)
    except UnreadableError:
        raise
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, MemoryError) as error:
        raise UnreadableError(f"{path}: cannot be read ({error})") from error
    if channels is None:
        return found
    size = found[0].shape[-1] if len(found) else 0
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
    if path.suffix == ".npy":
        if array is not None:
            raise UnreadableError(
                f"{path}: a .npy file holds one array without a name, {array!r} was asked for"
            )
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
    version = np.lib.format.read_magic(file)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(file)
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if dtype.hasobject:
        raise UnreadableError(f"{path}: holds Python objects, which are not read; numbers wanted")
    if size > LARGEST:
        raise UnreadableError(
            f"{path}: an array of {size / 2**30:.1f} GiB; at most {LARGEST / 2**30:.0f} are read"
        )
    if size > held:
        raise UnreadableError(f"{path}: an array of {size} bytes is promised, and {held} are there")


def _npz(path, array):
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        name = array or next((known for known in ("trajectories", "x") if known in sizes), None)
        if name is None and len(sizes) == 1:
            (name,) = sizes
        if name not in sizes:
            wanted = f"array {array!r}" if array else "an array 'trajectories' or 'x', or one array only,"
            raise UnreadableError(f"{path}: {wanted} wanted; there are {', '.join(sorted(sizes)) or 'none'}")

        def one(member):
            with archive.open(member + ".npy") as file:
                _check_header(path, file, sizes[member])
            with archive.open(member + ".npy") as file:
                return np.lib.format.read_array(file, allow_pickle=False)

        found = one(name)
        if found.ndim == 2 and "lengths" in sizes:
            lengths = one("lengths")
            whole = lengths.ndim == 1 and np.issubdtype(lengths.dtype, np.integer) and (lengths > 0).all()
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
            return [_dataset(path, h5py, file[key], name) for key in episodes]
        steps = _dataset(path, h5py, file, name)
        if steps.ndim == 3:
            return steps
        ends = [file[key][:].astype(bool).ravel() for key in ("terminals", "timeouts") if key in file]
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


def _dataset(path, h5py, group, name):
    node = group.get(name)
    if isinstance(node, h5py.Group):
        inside = ", ".join(f"{name}/{key}" for key in node)
        raise UnreadableError(f"{path}: '{name}' holds several arrays; name one of {inside}")
    if node is None:
        raise UnreadableError(f"{path}: no array '{name}'; there are {', '.join(group)}")
    if not np.issubdtype(node.dtype, np.number):
        raise UnreadableError(f"{path}: '{name}' holds {node.dtype}; numbers wanted")
    if node.size * node.dtype.itemsize > LARGEST:
        raise UnreadableError(f"{path}: '{name}' is larger than {LARGEST / 2**30:.0f} GiB")
    found = node[()]
    if found.ndim not in (2, 3):
        raise UnreadableError(f"{path}: '{name}' of shape (steps, channels) wanted, got {found.shape}")
    return found
