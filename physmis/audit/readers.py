"""Trajectories from files, data frames and data sets, in many layouts. Nothing is unpickled."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from physmis.audit.measurements import Ragged
from physmis.audit.preparation import numbers

KNOWN = ("trajectories", "x", "observations", "obs", "state", "data/state", "observation.state")
ENDS = ("terminals", "timeouts", "dones", "terminations", "truncations")  # true at the last step of each
VALID = ("valid", "mask", "masks")
TIMES = ("timestamp", "timestamps", "times", "time", "t")  # of each step; seconds, unless whole numbers
FRAMES = ("frame_index", "frame", "timestep", "step")
RATES = ("fps", "hz", "framerate", "frame_rate", "mocap_framerate")
BESIDE = {"lengths", "episode_ends", "dt", *ENDS, *VALID, *TIMES, *FRAMES, *RATES}
IDS = ("scenario_id", "episode_index", "episode_id", "episode", "trajectory_id", "traj_id", "track_id", "id")
NO_CHANNEL = re.compile(r"__.*|unnamed.*|index|num_.*|.*(_id|_index|_category|timestamps?)|rewards?")
EPISODE = re.compile(r"(.*?)(?:episode|demo|traj|trajectory)_(\d+)/(.+)")
CONVERT = (
    '; from arrays (T, C), two lines convert: import numpy as np; np.savez("x.npz", '
    "x=np.concatenate(episodes), lengths=[len(one) for one in episodes])"
)
MATLAB = "; a .mat of version 7.3 is HDF5 with the axes reversed: save permute(x, [3 2 1]), and name it .h5"


class Recording(NamedTuple):
    """Trajectories, an array (n, T, C) or arrays (T, C), with NaN where a step is missing."""

    trajectories: Ragged
    dt: float | None = None  # seconds a step, where the file has times or rates
    notes: tuple[str, ...] = ()  # sentences on what was left out, and on how it was read
    short: float = 0.0  # share of the pieces that had fewer than 2 steps, and were left out


def read(path: str | Path, array: str | None = None, channels: Sequence[int] | None = None) -> Recording:
    """The trajectories in a file or folder. Raises ValueError, which names the path, where it cannot be read.

    docs/audit.md says what files hold. An array is called as in `KNOWN`, or the only one; of shape (steps,
    C), nothing is taken beyond the last end. Where there are times, or "dt" or `RATES` that differ, all are
    put on one time grid. ``array`` names another array, such as "infos/qpos", or columns, such as "x,y";
    ``channels`` are those to take.
    """
    path = Path(path)
    try:
        kind = _folder(path) if path.is_dir() else path.suffix
        if kind not in READERS:
            known = ", ".join(key for key in READERS if key.startswith("."))
            way = CONVERT + MATLAB * (kind == ".mat")
            raise ValueError(f"expected {known} or a folder of Minari or LeRobot{way}")
        return _finished(*READERS[kind](path, array), channels)
    except Exception as error:  # damaged files raise whatever the libraries that parse them come across
        way = CONVERT if "allow_pickle" in str(error) else ""
        raise ValueError(f"{path}: cannot be read ({error or type(error).__name__}{way})") from error


def recording(
    given: Any,
    by: Sequence[str] | None = None,
    array: str | None = None,
    channels: Sequence[int] | None = None,
) -> Recording:
    """The trajectories of a path, a pandas data frame, a Minari data set, arrays, or tensors.

    ``by`` names the column, or columns, that tell the trajectories of a data frame apart, if they are not
    called as in `IDS`; ``array`` and ``channels`` are as in `read`.
    """
    if isinstance(given, str | Path):
        return read(given, array, channels)
    if hasattr(given, "groupby"):
        return _finished(*_table(given, array, by), channels)
    if hasattr(given, "iterate_episodes"):
        trees = [dict(_leaves(one.observations)) for one in given.iterate_episodes()]
        given = [tree[_name(tree, array)] for tree in trees]
    if not np.iterable(given):
        raise TypeError(f"expected trajectories, got {type(given).__name__}")
    found = numbers(given) if hasattr(given, "shape") else [numbers(one) for one in given]
    return _finished(found, None, [], channels)


def _finished(every, dt, notes, channels):
    """The recording of what was found: without pieces of one step, and of the channels that are asked for."""
    found = [x for x in every if np.ndim(x) != 2 or len(x) > 1] if isinstance(every, list) else every
    if short := len(every) - len(found):
        notes = [*notes, f"{short} of {len(every)} pieces have fewer than 2 steps and are left out."]
    if len(found) == 0:
        raise ValueError("expected trajectories of 2 or more steps, got none")
    if channels is not None:
        count = min(x.shape[-1] for x in found)
        if not channels or not all(0 <= k < count for k in channels):
            raise ValueError(f"expected channels from 0 to {count - 1}, got {channels}")
        found = [x[..., channels] for x in found]
    return Recording(found, dt, tuple(notes), short / len(every))


# arrays by name


def _name(tree, array):
    """The name of the array to take."""
    others = [name for name in tree if name.rpartition("/")[2] not in BESIDE]
    alone = others if len(others) == 1 else []
    name = array or next((known for known in (*KNOWN, *alone) if known in tree), None)
    if name not in tree:
        expected = repr(array or KNOWN) + (not array) * ", or one alone, or its name (--array)"
        raise ValueError(f"expected an array {expected}, got {', '.join(list(tree)[:20]) or 'none'}")
    return name


def _arrays(tree, array):
    """Trajectories, seconds a step, and notes, from functions that load the arrays, by name."""
    episodes = {}
    for name, load in tree.items():
        if part := EPISODE.fullmatch(name):
            episodes.setdefault((part[1], int(part[2])), {})[part[3]] = load
    if episodes:
        return [one[_name(one, array)]() for _, one in sorted(episodes.items())], None, []
    name, notes = _name(tree, array), []
    nearest = sorted(tree, key=lambda key: -key.count("/"))
    beside = {key.rpartition("/")[2]: tree[key] for key in nearest if key != name}
    beside = {key: load for key, load in beside.items() if key in BESIDE}
    x = tree[name]()
    if x.ndim not in (2, 3):
        raise ValueError(f"expected '{name}' of shape (n, T, C) or (steps, C), got {x.shape}")
    valid, stamps = (next((key for key in names if key in beside), None) for names in (VALID, TIMES))
    steps = {key: beside[key]() for key in (valid, stamps) if key}
    for key, one in steps.items():
        if one.size != np.prod(x.shape[:-1]):
            raise ValueError(f"expected '{key}' of shape {x.shape[:-1]}, got {one.shape}")
        steps[key] = one.reshape(x.shape[:-1])
    if valid:
        there = steps[valid].astype(bool)
        x = np.where(there[..., None], x, np.nan)
        notes.append(f"'{valid}' marks {(~there).sum()} of {there.size} steps as missing.")
    parts = _cut(x, beside, notes)
    found = [x[part] for part in parts] if x.ndim == 2 or len(steps) or "lengths" in beside else x
    if valid:  # what is missing at the end was padding
        found = [one[: np.flatnonzero(~np.isnan(one).all(axis=1)).max(initial=-1) + 1] for one in found]
    if stamps:
        times = [steps[stamps][part][: len(one)] for part, one in zip(parts, found, strict=True)]
        return *_regular(found, times, notes), notes
    key = next((key for key in ("dt", *RATES) if key in beside), None)
    if key is None:
        return found, None, notes
    step = beside[key]().astype(float).ravel()
    if len(step) not in (1, len(found)) or not (np.isfinite(step) & (step > 0)).all():
        raise ValueError(f"expected '{key}' as one positive number, or {len(found)}, got {step[:5]}")
    step = step if key == "dt" else 1 / step
    if np.ptp(step) > 1e-6 * step.max():
        times = [one * np.arange(len(part)) for one, part in zip(step, found, strict=True)]
        found, _ = _regular(found, times, notes, step.max())
    return found, float(step.max()), notes


def _cut(x, beside, notes):
    """Where in ``x`` each trajectory lies."""
    lengths = next((beside[key]() for key in ("episode_ends", "lengths") if key in beside), None)
    if lengths is None and x.ndim == 3:
        return list(range(len(x)))
    if lengths is None:
        marks = {key: beside[key]().astype(bool).ravel() for key in ENDS if key in beside}
        if {len(mark) for mark in marks.values()} != {len(x)}:
            expected = f"'lengths', 'episode_ends', 'terminals' or 'timeouts' for the {len(x)} steps"
            raise ValueError(f"expected {expected}, got {', '.join(beside) or 'none'}{CONVERT}")
        never = " and ".join(f"'{key}'" for key, mark in marks.items() if not mark.any())
        ends = np.flatnonzero(np.any(list(marks.values()), axis=0)) + 1
        if len(ends) == 0:
            raise ValueError(f"expected ends of trajectories, but no step of {never} is true{CONVERT}")
        notes += [f"No step of {never} is true."] if never else []
        if left := len(x) - ends[-1]:  # a trajectory that was cut short
            notes.append(f"{left} steps after the last end are left out.")
        return [slice(*part) for part in zip([0, *ends[:-1]], ends, strict=True)]
    whole = lengths.dtype.kind in "iu" and lengths.ndim == 1 and len(lengths) > 0
    if whole and x.ndim == 2 and lengths[-1] == len(x) and (len(lengths) > 1 or "episode_ends" in beside):
        if "episode_ends" not in beside:
            notes.append("'lengths' are read as ends of trajectories, as the last is the number of steps.")
        lengths = np.diff(lengths.astype(int), prepend=0)
    most = x.shape[1] if x.ndim == 3 else len(x)
    fits = whole and ((lengths > 0) & (lengths <= most)).all()
    if not fits or (len(lengths) != len(x) if x.ndim == 3 else lengths.sum() != len(x)):
        raise ValueError(f"expected 'lengths' of the trajectories in shape {x.shape}, got {lengths}")
    if x.ndim == 3:
        return [(row, slice(length)) for row, length in enumerate(lengths)]
    return [slice(end - length, end) for end, length in zip(np.cumsum(lengths), lengths, strict=True)]


def _regular(parts, times, notes, dt=None):
    """Trajectories on one time grid, and its step, in seconds unless times are whole numbers.

    Where times fit a grid, steps that are absent are NaN; between irregular times it is linear.
    """
    seconds = all(np.asarray(t).dtype.kind == "f" for t in times)
    order = [np.argsort(t, kind="stable") for t in times]
    parts = [np.asarray(x, float)[k] for x, k in zip(parts, order, strict=True)]
    times = [np.asarray(t)[k] for t, k in zip(times, order, strict=True)]
    times = [(t - t[:1]).astype(float) for t in times]  # as nanoseconds since 1970 have too many digits
    gaps = np.concatenate([np.diff(t) for t in times])
    dt = dt or (float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else np.nan)
    at = [t / dt for t in times]
    if not sum(t[-1] + 1 for t in at if len(t)) < 100 * sum(map(len, times)):
        raise ValueError("expected times of steps, finite and different")
    fits = all((np.abs(t - np.rint(t)) < 0.1).all() and (np.diff(t) > 0.5).all() for t in at)
    found = []
    for x, t in zip(parts, at, strict=True):
        grid = np.arange(max(t, default=-1) + (0.5 if fits else 1e-6))
        found.append(np.full((len(grid), x.shape[1]), np.nan))
        if fits:
            found[-1][np.rint(t).astype(int)] = x
        elif len(t):
            found[-1][:] = np.stack([np.interp(grid, t, one) for one in x.T], axis=1)
    steps, absent = sum(map(len, found)), sum(map(len, found)) - sum(map(len, parts))
    if not fits:
        notes.append(f"Times are irregular or rates differ: steps are interpolated to one every {dt:.3g}.")
    elif absent:
        notes.append(f"{absent} of {steps} steps are absent, and count as missing.")
    return found, dt if seconds else None


# tables


def _table(frame, array, by=None):
    """Trajectories, seconds a step and notes from the rows of a data frame."""
    frame = frame.rename(columns=str)
    lower = {name.lower(): name for name in frame.columns}
    ids = [by] if isinstance(by, str) else list(by or [lower[key] for key in IDS if key in lower])
    if not ids or not set(ids) <= set(frame.columns):
        some = ", ".join(frame.columns[:20])
        raise ValueError(
            f"expected columns of trajectories, {', '.join(ids or IDS)}, got {some}; in Python "
            'recording(frame, by="YOURS") names them, or two lines convert: '
            'import pandas; pandas.read_csv("x.csv").rename(columns={"YOURS": "episode"}).to_csv("new.csv")'
        )
    time = next((lower[key] for key in (*TIMES, *FRAMES) if key in lower and lower[key] not in ids), None)
    names = array.split(",") if array else [lower[key] for key in KNOWN if key in lower][:1]
    if not array and (not names or frame[names[0]].dtype.kind in "biuf"):  # one channel, not all of them
        beside = BESIDE | {name.lower() for name in ids}
        names = [name for key, name in lower.items() if key not in beside and not NO_CHANNEL.fullmatch(key)]
        names = [name for name in names if getattr(frame[name].dtype, "kind", "O") in "iuf"]
    if absent := [name for name in names or ["of numbers, or names (--array)"] if name not in frame.columns]:
        raise ValueError(f"expected columns {', '.join(absent)}, got {', '.join(frame.columns[:20])}")
    group, notes = frame.groupby(ids, sort=True).ngroup().to_numpy(), []
    kept = group >= 0
    for valid in (lower[key] for key in VALID if key in lower):
        kept &= frame[valid].to_numpy(bool)
    if time:
        kept &= frame[time].notna().to_numpy()
    if not kept.all():
        notes.append(f"{(~kept).sum()} of {len(kept)} rows are marked invalid or lack time or trajectory.")
    frame, group = frame[kept], group[kept]
    order = np.argsort(group, kind="stable")
    x = np.concatenate([_column(frame[name]) for name in names], axis=1)[order]
    notes.append(f"Channels are {', '.join(names)}.")
    after = np.flatnonzero(np.diff(group[order])) + 1
    parts = np.split(x, after)
    if time is None:
        return parts, None, notes
    return *_regular(parts, np.split(frame[time].to_numpy()[order], after), notes), notes


def _column(column):
    """A column of numbers, or of lists of equally many numbers, as (rows, channels)."""
    if getattr(column.dtype, "kind", "O") in "biuf":
        return column.to_numpy(float, na_value=np.nan)[:, None]
    return np.stack([numbers(one, column.name) for one in column]).reshape(len(column), -1)


# files


def _numpy(path, array):
    file = np.load(path, allow_pickle=False)
    if isinstance(file, np.ndarray):
        if file.dtype.names:
            raise ValueError(f"expected an array of numbers, got fields {file.dtype.names}{CONVERT}")
        return file, None, []
    with file:
        return _arrays({name: partial(file.__getitem__, name) for name in file.files}, array)


def _hdf5(path, array):
    import h5py  # of the extra "formats", as are zarr and pyarrow

    with h5py.File(path, "r") as file:
        file.visit((names := []).append)
        datasets = {name: file[name] for name in names if isinstance(file[name], h5py.Dataset)}
        return _arrays({name: partial(one.__getitem__, ()) for name, one in datasets.items()}, array)


def _zarr(path, array):
    import zarr

    tree = {}
    for name, node in zarr.open_group(path, mode="r").members(max_depth=None):
        # A codec that unpickles may hide behind any type.
        if isinstance(node, zarr.Array) and "pickle" not in str(node.metadata.to_dict()):
            tree[name] = partial(node.__getitem__, ...)
    return _arrays(tree, array)


def _csv(path, array):
    import pandas

    return _table(pandas.read_csv(path), array)


def _arrow(path, array):
    """Rows of a parquet file, or of those in a folder of LeRobot or Minari."""
    from pyarrow import dataset, types

    options = {"format": "parquet", "ignore_prefixes": [".", "_", "metadata.json"]}
    if path.is_dir():
        path = path / "data"
        if (about := path / "metadata.json").exists():  # Minari: a folder an episode
            kind = json.loads(about.read_text())["data_format"]
            options |= {"format": kind, "partitioning": ["episode_id"]}
    table = dataset.dataset(path, **options).to_table()
    while any(map(types.is_struct, table.schema.types)):
        table = table.flatten()
    names = [name.replace("observations.", "observations/") for name in table.column_names]  # as in HDF5
    return _table(table.rename_columns(names).to_pandas(), array)


def _folder(path):
    if path.suffix == ".zarr" or (path / ".zgroup").exists() or (path / "zarr.json").exists():
        return ".zarr"
    if next(path.glob("data/*/*.*"), None):
        return ".parquet"
    return "minari" if (path / "data" / "main_data.hdf5").exists() else ""


def _leaves(tree, name="observations"):
    """Names and arrays in observations of Minari, which may be dictionaries."""
    if not isinstance(tree, Mapping):
        return [(name, tree)]
    return [leaf for key, one in tree.items() for leaf in _leaves(one, f"{name}/{key}")]


READERS = {
    **{".npz": _numpy, ".npy": _numpy, ".h5": _hdf5, ".hdf5": _hdf5, ".zarr": _zarr},
    **{".csv": _csv, ".parquet": _arrow},
    "minari": lambda path, array: _hdf5(path / "data" / "main_data.hdf5", array),
}
