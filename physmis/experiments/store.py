"""Content-addressed results on disk: an entry's address is a hash of the config that made it.

An entry is a folder `<root>/<kind>/<key[:2]>/<key>` of three files: `arrays.npz`, `weights.safetensors` and
`meta.json` (config, checksums, versions, device, wall time). It is written aside and renamed into place: it
is there wholly or not at all. A store may come from elsewhere: nothing is unpickled, no link is followed, and
what a file claims to hold is checked before it is read.
"""

import hashlib
import io
import json
import os
import platform
import re
import secrets
import shutil
import stat
import time
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors.torch
import torch

from physmis import paths
from physmis.audit import npy

FORMAT = 1  # Bump by hand when equal configs no longer mean equal results.

_DAY = 86_400
# What an entry's files may hold, in bytes.
_LARGEST = {"arrays.npz": npy.LARGEST, "weights.safetensors": npy.LARGEST, "meta.json": 2**20}
_HEADER = 2**20  # bytes of a safetensors header, at most
_MEMBERS = 10_000  # arrays of an entry, at most


class StoreError(OSError):
    """An entry could not be read, written or set aside; the message names the path."""


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
    """The bytes of an `.npz`, the same for the same arrays.

    Raises TypeError for arrays of objects, ValueError for a name that an archive cannot have.
    """
    arrays = {name: np.asarray(array) for name, array in sorted(arrays.items())}
    for name, array in arrays.items():
        if not _plain_name(name):
            raise ValueError(f"an array is called {name!r}; a name without /, \\ and NUL wanted")
        if name in ("file", "allow_pickle"):
            raise ValueError(f"an array is called {name!r}, which numpy.savez keeps for itself")
        if array.dtype.hasobject:
            raise TypeError(f"array {name!r} holds Python objects; give numbers, booleans or strings")
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _plain_name(name: str) -> bool:
    return re.fullmatch(r"[^/\\\0]+", name) is not None


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
    """Results under `root` (default: `paths.store_root()`). Safe to share between processes.

    Raises StoreError where the folder in which entries are made, or set aside, is a link.
    """

    def __init__(self, root: Path | str | None = None):
        self.root = Path(root) if root is not None else paths.store_root()
        self._unfinished, self._damaged = self.root / "unfinished", self.root / "damaged"
        for folder in (self._unfinished, self._damaged):
            if folder.is_symlink():  # What is old would be deleted wherever it leads.
                raise StoreError(f"{folder} is a link; a store's folders lie in the store")
        for folder in self._unfinished.glob("*"):
            try:
                if time.time() - folder.lstat().st_mtime > _DAY:
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
        """The stored entry, or None. A damaged one is set aside with a warning, and None returned.

        Raises StoreError when the disk does not give it, it does not fit into memory, or it is damaged and
        cannot be set aside.
        """
        folder = self.path(config)
        for part in (folder.parents[1], folder.parent, folder):
            if part.is_symlink():
                return self._set_aside(part, "it is a link, and a store holds none")
        if not folder.exists():
            return None
        try:
            return _read(folder, key(config))
        except (FileNotFoundError, NotADirectoryError) as error:
            return self._set_aside(folder, error)
        except OSError as error:
            raise StoreError(f"cannot read the store entry {folder}: {error}") from error
        except MemoryError as error:
            raise StoreError(f"the store entry {folder} does not fit into memory") from error
        except Exception as error:  # damaged files raise whatever the libraries that parse them may run into
            return self._set_aside(folder, error)

    def _set_aside(self, path: Path, reason: Exception | str) -> None:
        aside = self._damaged / f"{path.name}-{secrets.token_hex(4)}"
        try:
            self._damaged.mkdir(parents=True, exist_ok=True)
            os.rename(path, aside)
        except FileNotFoundError:
            return  # Another process has set it aside.
        except OSError as failure:
            raise StoreError(f"{path} is damaged ({reason}) and cannot be set aside: {failure}") from failure
        warnings.warn(f"damaged store entry set aside as {aside}, will be rebuilt: {reason}", stacklevel=3)

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

        `seconds` is the wall time that it took on `device`. Raises StoreError when it cannot be written,
        ValueError when it is larger than what is read.
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
        files["meta.json"] = json.dumps(meta | {"seal": _seal(meta)}, indent=1).encode()
        for name, data in files.items():
            if len(data) > _LARGEST[name]:
                given = f"{name} of the store entry {folder} would have {len(data)} bytes"
                raise ValueError(f"{given}; at most {_LARGEST[name]} are stored")
        aside = self._unfinished / f"{folder.name}-{secrets.token_hex(4)}"
        try:
            for name, data in files.items():
                write(aside / name, data)
            folder.parent.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    os.rename(aside, folder)
                except OSError:
                    if not os.path.lexists(folder):
                        raise
                if entry := self.fetch(config):
                    return entry
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(f"cannot write the store entry {folder}: {error}") from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _seal(meta: Mapping[str, Any]) -> str:
    """Checksum of all else that `meta.json` holds."""
    rest = {name: value for name, value in meta.items() if name != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _read(folder: Path, address: str) -> Entry:
    with _opened(folder / "meta.json") as file:
        meta = json.loads(file.read())
    if key(meta["config"]) != address:
        raise ValueError("it holds another config")
    if meta.get("seal", seal := _seal(meta)) != seal:  # older entries have none
        raise ValueError("meta.json does not match its checksum")
    arrays = _arrays(folder / "arrays.npz", meta)
    return Entry(arrays, _weights(folder / "weights.safetensors", meta), meta)


def _opened(path: Path) -> BinaryIO:
    """A file of its own, no link and no pipe, which would be waited for; and no larger than is stored."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path.name} is not a file")
    if status.st_size > _LARGEST[path.name]:
        raise ValueError(f"{path.name} has {status.st_size} bytes; at most {_LARGEST[path.name]} are stored")
    return open(path, "rb")


def _checked(path: Path, meta: Mapping[str, Any]) -> bytes:
    """A file's contents, held in memory only if they match their checksum."""
    with _opened(path) as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != meta["sha256"][path.name]:
            raise ValueError(f"{path.name} does not match its checksum")
        file.seek(0)
        return file.read()


def _arrays(path: Path, meta: Mapping[str, Any]) -> dict[str, np.ndarray]:
    data = _checked(path, meta)
    # A list of many members takes more memory than it has bytes; each begins with this mark.
    if data.count(b"PK\1\2") > _MEMBERS:
        raise ValueError(f"{path.name} lists more than {_MEMBERS} arrays")
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > len(data):
            raise ValueError(f"{path.name} promises more than it holds")
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name == member.filename or not _plain_name(name):
                raise ValueError(f"{path.name} holds {member.filename!r}, which is no array's name")
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{path.name} is packed otherwise than the store does")
            with archive.open(member) as file:
                npy.check_header(path, file, member.file_size)
                file.seek(0)
                arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
    return arrays


def _weights(path: Path, meta: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    data = _checked(path, meta)
    if int.from_bytes(data[:8], "little") > _HEADER:
        raise ValueError(f"{path.name} has a header of more than {_HEADER} bytes")
    return safetensors.torch.load(data)
