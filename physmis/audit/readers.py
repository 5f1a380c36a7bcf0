"""Trajectories from files, data frames and data sets, in the layouts that people have; nothing is unpickled."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
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
NO_CHANNEL = re.compile(r"unnamed.*|index|num_.*|.*(_id|_index|_category)|.*timestamps?|rewards?|reward")
EPISODE = re.compile(r"(.*?)(?:episode|demo|traj|trajectory)_(\d+)/(.+)")
CONVERT = (
    '; from arrays (T, C), two lines convert: import numpy as np; np.savez("x.npz", '
    "x=np.concatenate(episodes), lengths=[len(one) for one in episodes])"
)


class Recording(NamedTuple):
    """Trajectories, an array (n, T, C) or arrays (T, C), NaN where a step is missing."""

    trajectories: Ragged
    dt: float | None = None  # seconds a step, where the file has times or a rate
    notes: tuple[str, ...] = ()  # sentences on what was left out, and on how it was read


def read(path: str | Path, array: str | None = None, channels: Sequence[int] | None = None) -> Recording:
    """The trajectories in a file or folder. Raises ValueError, which names the path, where it cannot be read.

    - `.npy`: the array (n, T, C). `.npz`, `.zarr`, `.h5`, `.hdf5`: an array called as in `KNOWN`, or the only
      one: (n, T, C), or (steps, C) beside "lengths" (n,), "episode_ends" (n,) or marks of `ENDS` (steps,).
      What follows the last mark is left out. Beside (n, T, C), "lengths" tell where padding begins.
      Steps are missing where an array of `VALID` is false.
    - HDF5 with one group an episode: of Minari, robomimic ("data/demo_0") or ManiSkill ("traj_0").
    - `.csv`, `.parquet`: rows are steps, with columns of `IDS` and, in any order of rows, `TIMES` or `FRAMES`.
    - Folders of Minari (HDF5, arrow, parquet), LeRobot and zarr.

    Where there are times, or rates that differ (`RATES`, "dt"), all are put on one regular time grid.
    ``array`` names another array, such as "infos/qpos", or columns: "x,y"; ``channels`` are those to take.
    """
    path = Path(path)
    try:
        kind = _folder(path) if path.is_dir() else path.suffix
        if kind not in READERS:
            known = ", ".join(READERS)
            raise ValueError(f"expected {known} or a folder of Minari, LeRobot or zarr{CONVERT}")
        return _finished(*READERS[kind](path, array), channels)
    except Exception as error:  # damaged files raise whatever the libraries that parse them come across
        raise ValueError(f"{path}: cannot be read ({error or type(error).__name__})") from error


def recording(
    given: Any,
    by: str | Sequence[str] | None = None,
    array: str | None = None,
    channels: Sequence[int] | None = None,
) -> Recording:
    """The trajectories of a path, a pandas data frame, a Minari data set, arrays, or tensors.

    ``by`` names the columns of a data frame whose values are the same throughout a trajectory, if not `IDS`;
    ``array`` and ``channels`` are as in `read`.
    """
    if isinstance(given, str | Path):
        return read(given, array, channels)
    if hasattr(given, "groupby"):
        return _finished(*_table(given, array, by), channels)
    if hasattr(given, "iterate_episodes"):
        found = []
        for episode in given.iterate_episodes():
            tree = dict(_leaves(episode.observations, "observations"))
            found.append(np.asarray(tree[_name(tree, array)]))
        return _finished(found, None, [], channels)
    if not np.iterable(given):
        raise TypeError(f"expected trajectories, got {type(given).__name__}")
    if not hasattr(given, "shape"):
        return _finished([numbers(one, "trajectories") for one in given], None, [], channels)
    return _finished(numbers(given, "trajectories"), None, [], channels)


def _finished(found, dt, notes, channels):
    """The recording, without pieces of fewer than two steps, of the channels that are asked for."""
    if isinstance(found, list):
        whole = [x for x in found if np.ndim(x) != 2 or len(x) > 1]
        if short := len(found) - len(whole):
            notes = [*notes, f"{short} of {len(found)} pieces have fewer than 2 steps and are left out."]
        found = whole
    if len(found) == 0:
        raise ValueError("expected trajectories of 2 or more steps, got none")
    if channels is not None:
        count = min(x.shape[-1] for x in found)
        if not channels or not all(0 <= k < count for k in channels):
            raise ValueError(f"expected channels from 0 to {count - 1}, got {channels}")
        found = [x[..., channels] for x in found]
    return Recording(found, dt, tuple(notes))


# arrays by name


def _name(tree, array):
    """The name of the array to take."""
    others = [name for name in tree if name.rpartition("/")[2] not in BESIDE]
    alone = others if len(others) == 1 else []
    name = array or next((known for known in (*KNOWN, *alone) if known in tree), None)
    if name not in tree:
        expected = repr(array) if array else f"{', '.join(map(repr, KNOWN[:3]))}, or one alone, or --array"
        raise ValueError(f"expected an array {expected}, got {', '.join(list(tree)[:20]) or 'none'}")
    return name


def _arrays(tree: Mapping[str, Callable], array):
    """Trajectories, seconds a step and notes from arrays by name, each as a function that loads it."""
    episodes = {}
    for name, load in tree.items():
        if part := EPISODE.fullmatch(name):
            episodes.setdefault((part[1], int(part[2])), {})[part[3]] = load
    if episodes:
        return [one[_name(one, array)]() for _, one in sorted(episodes.items())], None, []
    name, notes = _name(tree, array), []
    x = tree[name]()
    beside = {key.rpartition("/")[2]: key for key in sorted(tree, key=lambda key: -key.count("/"))}
    beside = {last: tree[key] for last, key in beside.items() if last in BESIDE and key != name}
    if x.ndim not in (2, 3):
        raise ValueError(f"expected '{name}' of shape (n, T, C) or (steps, C), got {x.shape}")
    for valid in (key for key in VALID if key in beside):
        there = beside[valid]().astype(bool)
        if there.size != np.prod(x.shape[:-1]):
            raise ValueError(f"expected '{valid}' of shape {x.shape[:-1]}, got {there.shape}")
        x = np.where(there.reshape(x.shape[:-1])[..., None], x, np.nan)
        notes.append(f"'{valid}' marks {(~there).sum()} of {there.size} steps as missing.")
    stamps = next((beside[key]() for key in TIMES if key in beside), None)
    if stamps is not None and stamps.shape != x.shape[:-1]:
        raise ValueError(f"expected times of shape {x.shape[:-1]}, got {stamps.shape}")
    cut = _cut(x, name, beside, notes)
    found = [x[part] for part in cut] if cut else list(x) if notes or stamps is not None else x
    if notes:  # what is missing at the end was padding
        found = [one[: np.flatnonzero(~np.isnan(one).all(axis=1)).max(initial=-1) + 1] for one in found]
    if stamps is not None:
        times = [stamps[part][: len(one)] for part, one in zip(cut or range(len(x)), found, strict=True)]
        return *_regular(found, times, notes), notes
    rate = next((1 / beside[key]().astype(float) for key in RATES if key in beside), None)
    steps = beside["dt"]().astype(float).ravel() if "dt" in beside else rate
    if steps is None:
        return found, None, notes
    if np.size(steps) not in (1, len(found)) or not (np.isfinite(steps) & (steps > 0)).all():
        raise ValueError(f"expected one positive time step or rate, or {len(found)}, got {np.size(steps)}")
    if np.ptp(steps) <= 1e-6 * np.max(steps):
        return found, float(np.max(steps)), notes
    times = [step * np.arange(len(one)) for step, one in zip(np.ravel(steps), found, strict=True)]
    return *_regular(found, times, notes, float(np.max(steps))), notes


def _cut(x, name, beside, notes):
    """Where in ``x`` each trajectory lies, or nothing where ``x`` holds them one by one."""
    count = x.shape[1] if x.ndim == 3 else len(x)
    if "episode_ends" in beside and x.ndim == 2:
        ends = beside["episode_ends"]()
        lengths = np.diff(ends, prepend=ends[:1] * 0) if ends.dtype.kind in "iu" and ends.ndim == 1 else ends
    elif "lengths" in beside:
        lengths = beside["lengths"]()
        cumulative = lengths.ndim == 1 and x.ndim == 2 and len(lengths) > 1 and lengths[-1] == len(x)
        if cumulative and (np.diff(lengths.astype(float)) > 0).all():
            notes.append("'lengths' are read as the ends of trajectories, as they add up to the last.")
            lengths = np.diff(lengths, prepend=lengths[:1] * 0)
    elif x.ndim == 3:
        return []
    else:
        marks = {key: beside[key]().astype(bool).ravel() for key in ENDS if key in beside}
        if not marks or {len(mark) for mark in marks.values()} != {len(x)}:
            expected = f"'lengths', 'episode_ends', 'terminals' or 'timeouts' for the {len(x)} steps"
            raise ValueError(f"expected {expected} of '{name}', got {', '.join(beside) or 'none'}{CONVERT}")
        never = " and ".join(f"'{key}'" for key, mark in marks.items() if not mark.any())
        after = np.flatnonzero(np.any(list(marks.values()), axis=0)) + 1
        if len(after) == 0:
            raise ValueError(f"expected ends of trajectories, but no step of {never} is true{CONVERT}")
        notes += [f"No step of {never} is true."] if never else []
        if left := len(x) - after[-1]:  # a trajectory that was cut short
            notes.append(f"{left} steps after the last end are left out.")
        return [slice(*part) for part in zip([0, *after[:-1]], after, strict=True)]
    fits = lengths.dtype.kind in "iu" and lengths.ndim == 1 and ((lengths > 0) & (lengths <= count)).all()
    if not fits or (len(lengths) != len(x) if x.ndim == 3 else lengths.sum() != len(x)):
        raise ValueError(f"expected 'lengths' of the trajectories in shape {x.shape}, got {lengths}")
    if x.ndim == 3:
        return [(row, slice(length)) for row, length in enumerate(lengths)]
    ends = np.cumsum(lengths)
    return [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]


def _regular(parts, times, notes, dt=None):
    """Trajectories on one time grid, and its step, in seconds where times are not whole numbers.

    Steps that are absent are NaN where the times fit a grid; irregular times are interpolated linearly.
    """
    seconds = {np.asarray(t).dtype.kind for t in times} == {"f"}
    order = [np.argsort(t, kind="stable") for t in times]
    times = [np.asarray(t)[k] for t, k in zip(times, order, strict=True)]
    times = [(t - t[:1]).astype(float) for t in times]  # whole nanoseconds since 1970 have too many digits
    parts = [np.asarray(x, float)[k] for x, k in zip(parts, order, strict=True)]
    gaps = np.concatenate([np.diff(t) for t in times])
    dt = dt or float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else np.nan
    if not np.isfinite(gaps).all() or not dt > 0:
        raise ValueError("expected times that are finite and differ from step to step")
    regular = all(
        (np.abs(t / dt - np.rint(t / dt)) < 0.1).all() and (np.diff(t) > dt / 2).all() for t in times
    )
    found = []
    for x, t in zip(parts, times, strict=True):
        count = int(np.rint(t[-1] / dt)) + 1 if len(t) else 0
        if count > 100 * len(t) + 1000:
            raise ValueError(f"expected times of steps, got {len(t)} steps in the time of {count}")
        if regular:
            whole = np.full((count, x.shape[1]), np.nan)
            whole[np.rint(t / dt).astype(int)] = x
        else:
            at = dt * np.arange(int(t[-1] / dt + 1e-6) + 1 if len(t) else 0)
            whole = np.stack([np.interp(at, t, channel) for channel in x.T], axis=1) if len(t) else x
        found.append(whole)
    if absent := regular and sum(map(len, found)) - sum(map(len, parts)):
        notes.append(f"{absent} of {sum(map(len, found))} steps are absent, and count as missing.")
    if not regular:
        notes.append(f"Times are irregular or rates differ: steps are interpolated to one every {dt:.3g}.")
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
            f"expected columns of trajectories, {', '.join(ids or IDS)}, got {some}; two lines convert: "
            'import pandas; pandas.read_csv("x.csv").rename(columns={"YOURS": "episode"}).to_csv("new.csv")'
        )
    time = next((lower[key] for key in (*TIMES, *FRAMES) if key in lower and lower[key] not in ids), None)
    names = array.split(",") if array else [lower[key] for key in KNOWN if key in lower][:1]
    if not array and (not names or frame[names[0]].dtype.kind in "biuf"):  # one channel, not all of them
        beside = BESIDE | {name.lower() for name in ids}
        names = [name for key, name in lower.items() if key not in beside and not NO_CHANNEL.fullmatch(key)]
        names = [name for name in names if getattr(frame[name].dtype, "kind", "O") in "iuf"]
    if absent := [name for name in names if name not in frame.columns] or not names:
        raise ValueError(f"expected columns {absent or 'of numbers'}, got {', '.join(frame.columns[:20])}")
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
            fields = (
                "import numpy as np; np.save('new.npy', np.stack([a[name] for name in a.dtype.names], -1))"
            )
            raise ValueError(f"expected an array of numbers, got fields; as (n, T) array a: {fields}")
        return file, None, []
    with file:
        return _arrays({name: partial(file.__getitem__, name) for name in file.files}, array)


def _hdf5(path, array):
    import h5py  # of the extra "formats", as what is imported below

    with h5py.File(path, "r") as file:
        tree = {}
        file.visititems(
            lambda key, node: tree.update({key: partial(node.__getitem__, ())} if _is(node, h5py) else {})
        )
        return _arrays(tree, array)


def _is(node, h5py):
    return isinstance(node, h5py.Dataset)


def _zarr(path, array):
    import zarr

    tree = {}
    for name, node in zarr.open_group(path, mode="r").members(max_depth=None):
        if isinstance(node, zarr.Array):
            if node.dtype.kind not in "biufSU" or "pickle" in str(node.metadata.to_dict()):
                continue  # what would be unpickled
            tree[name] = partial(node.__getitem__, ...)
    return _arrays(tree, array)


def _csv(path, array):
    import pandas

    return _table(pandas.read_csv(path), array)


def _arrow(path, array):
    """Rows of a parquet file, or of those in a folder of LeRobot or Minari."""
    from pyarrow import dataset

    options = {"format": "parquet"}
    if path.is_dir():
        path = path / "data"
        meta = path / "metadata.json"
        options["ignore_prefixes"] = [".", "_", "metadata.json"]
        if meta.exists():  # Minari
            options |= {"format": json.loads(meta.read_text())["data_format"], "partitioning": ["episode_id"]}
    table = dataset.dataset(path, **options).to_table()
    while any(field.type.num_fields and str(field.type).startswith("struct") for field in table.schema):
        table = table.flatten()
    table = table.rename_columns(
        [name.replace("observations.", "observations/") for name in table.column_names]
    )
    return _table(table.to_pandas(), array)


def _folder(path):
    if path.suffix == ".zarr" or (path / ".zgroup").exists() or (path / "zarr.json").exists():
        return ".zarr"
    return ".parquet" if next(path.glob("data/*/*.*"), None) else "minari"


def _leaves(tree, name):
    """Names and arrays in observations of Minari, which may be dictionaries."""
    if not isinstance(tree, Mapping):
        return [(name, tree)]
    return [leaf for key, one in tree.items() for leaf in _leaves(one, f"{name}/{key}")]


READERS = {
    **{".npz": _numpy, ".npy": _numpy, ".h5": _hdf5, ".hdf5": _hdf5, ".zarr": _zarr},
    **{".csv": _csv, ".parquet": _arrow},
    "minari": lambda path, array: _hdf5(path / "data" / "main_data.hdf5", array),
}
