"""Trajectories from files: `.npy`, `.npz`, HDF5 in the D4RL layout, and Minari data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

LARGEST = 8 * 2**30  # bytes of a file


class UnreadableError(ValueError):
    """A file holds no trajectories that can be read; the message names it and what was expected."""


def read(
    path: str | Path, array: str | None = None, channels: Sequence[int] | None = None
) -> np.ndarray | list[Float[np.ndarray, "T C"]]:
    """Trajectories in a file: an array (n, T, C), or a list of arrays (T, C). Nothing is unpickled.

    - `.npy`: the array (n, T, C).
    - `.npz`: the array called "trajectories" or "x", or the only one; of shape (n, T, C), or (steps, C)
      beside an array "lengths" (n,) of steps a trajectory. Beside (n, T, C), "lengths" counts the valid steps
      of each; what follows is padding.
    - `.h5`, `.hdf5` in the D4RL layout: "observations" (steps, C), beside "terminals" and "timeouts"
      (steps,), of which a true one ends a trajectory. What follows the last end is left out.
    - Minari: the folder of a data set, or its `main_data.hdf5`: "observations" of each episode.

    Parameters
    ----------
    array : name of another array than "trajectories" or "observations", such as "infos/qpos".
    channels : which channels to take; all if None.
    """
    path = Path(path)
    try:
        if path.is_dir():
            path = path / "data" / "main_data.hdf5"  # Minari
        if path.stat().st_size > LARGEST:
            raise ValueError(f"expected at most {LARGEST:,} bytes, got {path.stat().st_size:,}")
        if path.suffix not in READERS:
            raise ValueError(f"expected {', '.join(READERS)} or the folder of a Minari data set")
        found = READERS[path.suffix](path, array)
        if len(found) == 0:
            raise ValueError("expected trajectories of 2 or more steps, got none")
        if channels is None:
            return found
        channels, count = list(channels), min(x.shape[-1] for x in found)
        if not channels or not all(0 <= k < count for k in channels):
            raise ValueError(f"expected channels from 0 to {count - 1}, got {channels}")
        return found[..., channels] if isinstance(found, np.ndarray) else [x[..., channels] for x in found]
    except Exception as error:  # damaged files raise whatever the libraries that parse them come across
        raise UnreadableError(f"{path}: cannot be read ({error or type(error).__name__})") from error


def _numpy(path, array):
    file = np.load(path, allow_pickle=False)
    if isinstance(file, np.ndarray):
        return file
    with file:
        name = array or next((known for known in ("trajectories", "x") if known in file), None)
        if name is None and len(file.files) == 1:
            (name,) = file.files
        if name not in file:
            expected = f"an array '{array}'" if array else "an array 'trajectories' or 'x', or one alone"
            raise ValueError(f"expected {expected}, got {', '.join(file.files) or 'none'}")
        x = file[name]
        if "lengths" not in file or name == "lengths":
            return x
        lengths = file["lengths"]
    if lengths.dtype.kind not in "iu" or lengths.ndim != 1 or not ((lengths > 0) & (lengths <= x.size)).all():
        raise ValueError(f"expected 'lengths' to be positive whole numbers, got {lengths.dtype} {lengths}")
    if x.ndim == 3:
        if len(lengths) != len(x) or lengths.max() > x.shape[1]:
            raise ValueError(f"expected {len(x)} 'lengths' of at most {x.shape[1]}, got {lengths}")
        return [row[:length] for row, length in zip(x, lengths, strict=True)]
    if lengths.sum() != len(x):
        raise ValueError(f"expected 'lengths' that sum to {len(x)}, got {lengths}")
    return np.split(x, np.cumsum(lengths)[:-1])


def _hdf5(path, array):
    try:
        import h5py
    except ImportError as error:
        raise ValueError("HDF5 needs h5py: pip install 'physmis[audit]'") from error

    def dataset(group, name):
        if isinstance(group.get(name), h5py.Dataset):
            return group[name][()]
        there = []
        group.visititems(lambda key, node: there.append(key) if isinstance(node, h5py.Dataset) else None)
        raise ValueError(f"expected an array '{name}', got {', '.join(there[:20]) or 'none'}")

    name = array or "observations"
    with h5py.File(path, "r") as file:
        episodes = [key for key in file if key.startswith("episode_")]  # of Minari
        if episodes:
            order = sorted(episodes, key=lambda key: int(key.removeprefix("episode_")))
            return [dataset(file[key], name) for key in order]
        x = dataset(file, name)
        ends = [dataset(file, key).astype(bool).ravel() for key in ("terminals", "timeouts") if key in file]
    if x.ndim == 3:
        return x
    if not ends or {len(end) for end in ends} != {len(x)}:
        raise ValueError(f"expected 'terminals' or 'timeouts' for the {len(x)} steps of '{name}'")
    after = np.flatnonzero(np.any(ends, axis=0)) + 1
    # Steps after the last end are a trajectory that was cut short.
    parts = np.split(x, after)[:-1] if len(after) else [x]
    return [part for part in parts if len(part) > 1]


READERS = {".npz": _numpy, ".npy": _numpy, ".h5": _hdf5, ".hdf5": _hdf5}
