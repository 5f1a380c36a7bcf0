"""Results on disk: the address of an entry is a hash of the config that made it.

An entry is `<root>/<kind>/<key>.npz`: small arrays, and "meta", a JSON text of config, seconds, device,
machine, code and versions. Large arrays (weights, all trajectories) are in `<key>.large.npz`. The small ones
of the `standard` profile are committed, in the same layout, in `results/standard`. A file is renamed into
place once it is complete. Nothing is unpickled; the checksums are those of the zip format.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import re
import secrets
import stat
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from physmis import paths
from physmis.experiments import progress
from physmis.experiments.provenance import code_version, machine, versions

FORMAT = 2  # Raise it when equal configs no longer mean equal results.


@dataclass(frozen=True)
class Entry:
    """One stored result: its key, its arrays by name, and its "meta" (see the module)."""

    key: str
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


def key(config: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a config and `FORMAT`: 64 hex digits.

    Key order does not matter and a tuple counts as a list; `1` and `1.0` differ. Floats are rounded to nine
    digits, as the last digits of a computed number differ between processors.
    Raises TypeError or ValueError for a config that is not plain JSON.
    """
    text = json.dumps({"format": FORMAT, "config": _plain(config, "config", digits=9)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any, where: str, digits: int = 17) -> Any:
    # json.dumps would take NaN, and keys such as 1, which it turns into "1".
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not np.isfinite(value):
            raise ValueError(f"{where}: expected a finite number, got {value}")
        return float(f"{value:.{digits}g}")
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]", digits) for i, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _plain(item, f"{where}.{name}", digits) for name, item in value.items()}
    raise TypeError(f"{where}: expected None, bool, int, float, str, list or dict of str, got {value!r}")


def pack(arrays: Mapping[str, Any], compressed: bool = False) -> bytes:
    """The bytes of an `.npz`, the same for the same arrays. Raises TypeError for arrays of objects."""
    arrays = {name: np.asarray(array) for name, array in sorted(arrays.items())}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"array {name!r}: expected numbers, booleans or strings, got Python objects")
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _unpack(data: bytes) -> dict[str, np.ndarray]:
    # Not by np.load alone: it compares no checksum where a damaged header claims a smaller array.
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name: io.BytesIO(file.read(name)) for name in file.namelist()}
    if len(members) != int.from_bytes(data[-12:-10], "little"):  # what the end of the file tells
        raise ValueError("expected as many arrays as the end of the file says, got fewer or more")
    return {name.removesuffix(".npy"): np.load(part, allow_pickle=False) for name, part in members.items()}


def write(path: Path, data: bytes) -> None:
    """Write a file that is complete or absent, also after a power cut.

    A file of that name is replaced and keeps its permissions. Raises OSError that names the path.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(aside, "wb") as file:
                if path.exists():
                    os.chmod(aside, stat.S_IMODE(path.stat().st_mode))
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:  # for a full disk the system names no path
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


class Store:
    """Results under `root` (default: `paths.store_root()`). Processes may share it.

    Small arrays that it lacks are read from `results`, which is never written (default: the committed ones,
    `paths.results_root()`, if `root` is the default, too).
    """

    def __init__(self, root: Path | str | None = None, results: Path | str | None = None):
        self.root = Path(root) if root is not None else paths.store_root()
        self.results = Path(results) if results is not None else None if root else paths.results_root()

    def path(self, config: Mapping[str, Any]) -> Path:
        """The path of a config's small arrays, also if absent. ValueError when "kind" is no plain name."""
        return self.root / address(config)

    def holds(self, config: Mapping[str, Any]) -> bool:
        """Whether all arrays are in the store itself."""
        path = self.path(config)
        small = self.read(path)
        return small is not None and (not small.meta["large"] or _large(path).is_file())

    def fetch(self, config: Mapping[str, Any]) -> Entry | None:
        """The entry's small arrays, from the store or the committed results; None if neither has them.

        A damaged file counts as absent, with a warning; in the store it is renamed.
        """
        if (entry := self.read(self.path(config))) is not None or self.results is None:
            return entry
        return self.read(self.results / address(config))

    def fetch_whole(self, config: Mapping[str, Any]) -> Entry | None:
        """The entry with its large arrays, or None where the store itself lacks them."""
        path = self.path(config)
        if (small := self.read(path)) is None or not small.meta["large"]:
            return small
        large = self.read(_large(path))
        return large and Entry(small.key, {**large.arrays, **small.arrays}, small.meta)

    def read(self, path: Path) -> Entry | None:
        """The arrays of one file; None if it is absent, and, with a warning, if it is damaged."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            arrays = _unpack(data)
            meta = json.loads(str(arrays.pop("meta")))
            if not path.name.startswith(key(meta["config"])):
                raise ValueError("expected the config that its name stands for, got another")
            if not {"key", "large"} <= meta.keys():
                raise ValueError("expected key and large in meta, got an earlier format")
        except Exception as error:  # zipfile and numpy raise nearly anything for damaged bytes
            text = f"{path} is damaged: {error}. "
            if path.is_relative_to(self.root):
                aside = path.with_name(path.name + ".damaged")
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    path.replace(aside)
                text += f"It is renamed to {aside.name} and will be computed again"
            else:
                text += f"It counts as absent; `git checkout {path}` restores it"
            warnings.warn(text, stacklevel=3)
            if progress.is_followed():  # papermill does not pass on a notebook's warnings
                progress.say(text)
            return None
        return Entry(meta["key"], arrays, meta)

    def put(
        self,
        config: Mapping[str, Any],
        arrays: Mapping[str, Any],
        seconds: float,
        device: str,
        small: Iterable[str] | None = None,
        cost: float = 0.0,
    ) -> None:
        """Store arrays that took ``seconds`` on ``device``; ``small`` names the small ones (default: all).

        ``cost`` is the job's relative cost. Raises OSError naming the path when it cannot be written.
        """
        path, plain = self.path(config), _plain(config, "config")
        large = {} if small is None else {name: arrays[name] for name in sorted(arrays.keys() - set(small))}
        rest = {name: array for name, array in arrays.items() if name not in large}
        made = {"seconds": round(seconds, 3), "cost": cost, "device": device, "machine": machine(device)}
        made |= {"code": _code(paths.root()), "versions": versions(), "large": [*large]}
        meta = json.dumps({"key": path.stem, "config": plain, **made})
        if large:
            write(_large(path), pack({**large, "meta": meta}))
        write(path, pack({**rest, "meta": meta}, compressed=True))


@functools.lru_cache  # git is slow, and the code does not change within a process
def _code(root: Path) -> str:
    return code_version()


def address(config: Mapping[str, Any]) -> str:
    """Where an entry lies in a store. Raises ValueError when "kind" is no plain name."""
    kind = config.get("kind")
    if not isinstance(kind, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", kind):
        raise ValueError(f"config['kind']: expected lower-case letters, digits and _, got {kind!r}")
    return f"{kind}/{key(config)}.npz"


def _large(path: Path) -> Path:
    return path.with_suffix(".large.npz")
