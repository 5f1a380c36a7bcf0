"""Results on disk: the address of an entry is a hash of the config that made it.

An entry is one file, `<root>/<kind>/<key>.npz`: named arrays, and beside them "meta", a JSON text of config,
versions, device and seconds. It is written aside and renamed into place: it is there wholly or not at all.
Nothing is unpickled; the checksums are those of the zip format.
"""

import hashlib
import io
import json
import os
import platform
import re
import secrets
import stat
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from physmis import paths

FORMAT = 1  # Bump by hand when equal configs no longer mean equal results.
PACKAGES = ("physmis", "numpy", "scipy", "torch", "matplotlib", "seaborn", "mujoco", "gymnasium-robotics")


@dataclass(frozen=True)
class Entry:
    """One stored result: its address, named arrays, and what is known about their making."""

    key: str
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


def key(config: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a config and `FORMAT`: 64 hex digits.

    Key order does not matter and a tuple counts as a list; `1` and `1.0` differ.
    Raises TypeError or ValueError for a config that is not plain JSON.
    """
    text = json.dumps({"format": FORMAT, "config": _plain(config, "config")}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any, where: str) -> Any:
    # json.dumps would take NaN, and keys such as 1, which it turns into "1".
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not np.isfinite(value):
            raise ValueError(f"{where}: expected finite numbers in a config, got {value}")
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _plain(item, f"{where}.{name}") for name, item in value.items()}
    raise TypeError(f"{where}: expected None, bool, int, float, str, list or dict with names, got {value!r}")


def pack(arrays: Mapping[str, Any]) -> bytes:
    """The bytes of an `.npz`, the same for the same arrays. Raises TypeError for arrays of objects."""
    arrays = {name: np.asarray(array) for name, array in sorted(arrays.items())}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"array {name!r}: expected numbers, booleans or strings, got Python objects")
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _unpack(data: bytes) -> dict[str, np.ndarray]:
    # Not by np.load alone: it compares no checksum where a damaged header claims a smaller array.
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name: io.BytesIO(file.read(name)) for name in file.namelist()}
    if len(members) != int.from_bytes(data[-12:-10], "little"):  # what the end of the file tells
        raise ValueError("its table of contents is damaged")
    return {name.removesuffix(".npy"): np.load(part, allow_pickle=False) for name, part in members.items()}


def write(path: Path, data: bytes) -> None:
    """Write a file so that it is there wholly or not at all, also after a power cut.

    What was there before is replaced; who may read it stays as it was. Raises OSError that names the path.
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
    except OSError as error:  # of a full disk the system does not say where
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


class Store:
    """Results under `root` (default: `paths.store_root()`). Processes may share it."""

    def __init__(self, root: Path | str | None = None):
        self.root = Path(root) if root is not None else paths.store_root()

    def path(self, config: Mapping[str, Any]) -> Path:
        """The file of a config's entry, there or not. Raises ValueError when "kind" is no plain name."""
        kind = config.get("kind")
        if not isinstance(kind, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", kind):
            raise ValueError(f"config['kind']: expected lower-case letters, digits and _, got {kind!r}")
        return self.root / kind / f"{key(config)}.npz"

    def fetch(self, config: Mapping[str, Any]) -> Entry | None:
        """The stored entry, or None; also, with a warning, where the file is damaged."""
        path = self.path(config)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            arrays = _unpack(data)
            meta = json.loads(str(arrays.pop("meta")))
            if key(meta["config"]) != path.stem:
                raise ValueError("it holds another config")
        except Exception as error:  # zipfile and numpy raise nearly anything for damaged bytes
            warnings.warn(f"{path} is damaged and will be made anew: {error}", stacklevel=2)
            return None
        return Entry(path.stem, arrays, meta)

    def put(self, config: Mapping[str, Any], arrays: Mapping[str, Any], seconds: float, device: str) -> None:
        """Store what took `seconds` on `device`. Raises OSError naming the path when it cannot be written."""
        plain = _plain(config, "config")
        meta = {"config": plain, "seconds": seconds, "device": device, "versions": versions()}
        write(self.path(config), pack({**arrays, "meta": json.dumps(meta)}))
