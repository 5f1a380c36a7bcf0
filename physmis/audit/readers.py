"""Trajectories from files: `.npy`, `.npz`, HDF5 in the D4RL layout, and Minari data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float


def read(
    path: str | Path, array: str | None = None, channels: Sequence[int] | None = None
) -> np.ndarray | list[Float[np.ndarray, "T C"]]:
    """Trajectories in a file: an array (n, T, C), or a list of arrays (T, C). Nothing is unpickled.

    - `.npy`: the array (n, T, C).
    - `.npz`: the array "trajectories" or "x", or the only one. Beside an array "lengths" (n,), of shape
      (steps, C), to be cut, or (n, T, C), with padding after the valid steps of each.
    - `.h5`, `.hdf5` in the D4RL layout: "observations" (steps, C), beside "terminals" and "timeouts"
      (steps,), of which a true one ends a trajectory. What follows the last end is left out.
    - Minari: the folder of a data set, or its `main_data.hdf5`: "observations" of each episode.

    ``array`` names another array, such as "infos/qpos"; ``channels`` are those to take.
    """
    path = Path(path)
    try:
        if path.is_dir():
            path = path / "data" / "main_data.hdf5"  # Minari
        if path.suffix not in READERS:
            raise ValueError(f"expected {', '.join(READERS)} or the folder of a Minari data set")
        found = READERS[path.suffix](path, array)
        if len(found) == 0:
            raise ValueError("expected trajectories of 2 or more steps, got none")
        if channels is None:
            return found
        count = min(x.shape[-1] for x in found)
        if not channels or not all(0 <= k < count for k in channels):
            raise ValueError(f"expected channels from 0 to {count - 1}, got {channels}")
        return [x[..., channels] for x in found]
    except Exception as error:  # damaged files raise whatever the libraries that parse them come across
        raise ValueError(f"{path}: cannot be read ({error or type(error).__name__})") from error


def _numpy(path, array):
    file = np.load(path, allow_pickle=False)
    if isinstance(file, np.ndarray):
        return file
    with file:
        alone = file.files if len(file.files) == 1 else []
        name = array or next((known for known in ("trajectories", "x", *alone) if known in file), None)
        if name not in file:
            expected = f"'{array}'" if array else "'trajectories' or 'x', or one alone"
            raise ValueError(f"expected an array {expected}, got {', '.join(file.files) or 'none'}")
        if "lengths" not in file or name == "lengths":
            return file[name]
        x, lengths = file[name], file["lengths"]
    most = x.shape[1] if x.ndim == 3 else len(x)
    fits = lengths.dtype.kind in "iu" and lengths.ndim == 1 and ((lengths > 0) & (lengths <= most)).all()
    if not fits or (len(lengths) != len(x) if x.ndim == 3 else lengths.sum() != len(x)):
        raise ValueError(f"expected 'lengths' of the trajectories in shape {x.shape}, got {lengths}")
    if x.ndim == 3:
        return [row[:length] for row, length in zip(x, lengths, strict=True)]
    return np.split(x, np.cumsum(lengths)[:-1])


def _hdf5(path, array):
    import h5py  # of the extra "audit"

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
    after = np.flatnonzero(np.any(ends, axis=0)) + 1  # beyond the last, a trajectory was cut short
    return [part for part in (np.split(x, after)[:-1] or [x]) if len(part) > 1]


READERS = {".npz": _numpy, ".npy": _numpy, ".h5": _hdf5, ".hdf5": _hdf5}
