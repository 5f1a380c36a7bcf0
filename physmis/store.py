"""Content-addressed results on disk: an entry's address is a hash of the config that made it.

An entry is a folder `<root>/<kind>/<key[:2]>/<key>` of three files: `arrays.npz`, `weights.safetensors` and
`meta.json` (config, checksums, versions, device, wall time). It is written aside and renamed into place: it
is there wholly or not at all. Nothing is ever unpickled.
"""

import hashlib
import io
import json
import os
import platform
import re
import secrets
import shutil
import time
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from . import paths

FORMAT = 1  # Bump by hand when equal configs no longer mean equal results.

_DAY = 86_400
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_MALFORMED = (ValueError, KeyError, TypeError, zipfile.BadZipFile, safetensors.SafetensorError)


class StoreError(OSError):
    """An entry could not be written or set aside; the message names the path."""


@dataclass(frozen=True)
class Entry:
    """One stored result: named arrays, named weights, and the contents of `meta.json`."""

    arrays: dict[str, np.ndarray]
    weights: dict[str, torch.Tensor]
    meta: dict[str, Any]


def key(config: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a resolved config and `FORMAT`: 64 hex digits.

    Key order does not matter and a tuple counts as a list; `1` and `1.0` differ.
    Raises TypeError or ValueError naming the part of the config that is not plain JSON.
    """
    text = json.dumps({"format": FORMAT, "config": _plain(config, "config")}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not np.isfinite(value):
            raise ValueError(f"{where} is {value}; a stored config holds finite numbers only")
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"{where} has the key {name!r}; keys of a stored config are strings")
        return {name: _plain(item, f"{where}.{name}") for name, item in value.items()}
    raise TypeError(
        f"{where} is a {type(value).__name__}; a config holds only None, bool, int, float, str, list and dict"
    )


def pack(arrays: Mapping[str, Any]) -> bytes:
    """The bytes of an `.npz`, the same for the same arrays. Raises TypeError for arrays of objects."""
    arrays = {name: np.asarray(array) for name, array in sorted(arrays.items())}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"array {name!r} holds Python objects; give numbers, booleans or strings")
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def write(path: Path, data: bytes) -> None:
    """Write a file so that it is there wholly or not at all, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in (
        "physmis",
        "numpy",
        "scipy",
        "torch",
        "matplotlib",
        "seaborn",
        "mujoco",
        "gymnasium-robotics",
    ):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


class Store:
    """Results under `root` (default: `paths.store_root()`). Safe to share between processes."""

    def __init__(self, root: Path | str | None = None):
        self.root = Path(root) if root is not None else paths.store_root()
        for folder in (self.root / "unfinished").glob("*"):
            try:
                if time.time() - folder.stat().st_mtime > _DAY:
                    shutil.rmtree(folder, ignore_errors=True)
            except FileNotFoundError:
                pass  # Its owner finished meanwhile.

    def path(self, config: Mapping[str, Any]) -> Path:
        """The folder of a config's entry, there or not.

        Raises ValueError when `config["kind"]` is not a plain name.
        """
        kind, address = config.get("kind"), key(config)
        if not isinstance(kind, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", kind):
            raise ValueError(f"config.kind is {kind!r}; it names a folder: lower-case letters, digits and _")
        return self.root / kind / address[:2] / address

    def fetch(self, config: Mapping[str, Any]) -> Entry | None:
        """The stored entry, or None. A damaged one is set aside with a warning, and None returned."""
        folder = self.path(config)
        if not folder.exists():
            return None
        try:
            return _read(folder, key(config))
        except (*_MISSING, *_MALFORMED) as error:
            aside = self.root / "damaged" / f"{folder.name}-{secrets.token_hex(4)}"
            try:
                aside.parent.mkdir(parents=True, exist_ok=True)
                os.rename(folder, aside)
            except FileNotFoundError:
                return None  # Another process has set it aside.
            except OSError as failure:
                raise StoreError(
                    f"{folder} is damaged ({error}) and cannot be set aside: {failure}"
                ) from failure
            warnings.warn(f"damaged store entry set aside as {aside}, will be rebuilt: {error}", stacklevel=2)
            return None

    def put(
        self,
        config: Mapping[str, Any],
        *,
        arrays: Mapping[str, Any] | None = None,
        weights: Mapping[str, torch.Tensor] | None = None,
        seconds: float,
        device: str,
    ) -> Entry:
        """Store a result and return it as read back. An equal entry that is already there is kept.

        `seconds` is the wall time that it took on `device`. Raises StoreError when it cannot be written.
        """
        folder, plain = self.path(config), _plain(config, "config")
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in (weights or {}).items()}
        files = {"arrays.npz": pack(arrays or {}), "weights.safetensors": safetensors.torch.save(tensors)}
        meta = {
            "config": plain,
            "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
            "seconds": seconds,
            "device": device,
            "versions": versions(),
        }
        files["meta.json"] = json.dumps(meta, indent=1).encode()
        aside = self.root / "unfinished" / f"{folder.name}-{secrets.token_hex(4)}"
        try:
            for name, data in files.items():
                write(aside / name, data)
            folder.parent.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    os.rename(aside, folder)
                except OSError:
                    if not folder.exists():
                        raise
                if entry := self.fetch(config):
                    return entry
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(f"cannot write the store entry {folder}: {error}") from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _read(folder: Path, address: str) -> Entry:
    meta = json.loads((folder / "meta.json").read_bytes())
    if key(meta["config"]) != address:
        raise ValueError("it holds another config")
    files = {name: (folder / name).read_bytes() for name in ("arrays.npz", "weights.safetensors")}
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != meta["sha256"][name]:
            raise ValueError(f"{name} does not match its checksum")
    with np.load(io.BytesIO(files["arrays.npz"]), allow_pickle=False) as arrays:
        return Entry(dict(arrays), safetensors.torch.load(files["weights.safetensors"]), meta)
