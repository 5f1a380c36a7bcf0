"""Store entries that somebody else wrote: damaged ones are set aside, and none harms the reader."""

import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_recordings import Harm, header, zipped

from physmis.experiments import store
from physmis.experiments.store import Store, StoreError

CONFIG = {"kind": "samples", "task": {"name": "cone"}, "seed": 0}
OTHER = {**CONFIG, "seed": 1}
ARRAYS = {"x": np.arange(12, dtype=np.float32).reshape(3, 4), "chosen": np.array([True, False])}
WEIGHTS = {"layer.weight": torch.arange(6.0).reshape(2, 3)}
FILES = ("arrays.npz", "weights.safetensors", "meta.json")


def put(root, config=CONFIG, factor=1):
    arrays = ARRAYS | {"x": factor * ARRAYS["x"]}
    weights = {name: factor * tensor for name, tensor in WEIGHTS.items()}
    return Store(root).put(config, arrays=arrays, weights=weights, seconds=1e-05, device="cpu")


def same(entry, wanted):
    assert entry.arrays.keys() == wanted.arrays.keys() and entry.weights.keys() == wanted.weights.keys()
    for name, array in wanted.arrays.items():
        assert entry.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(entry.arrays[name], array)
    for name, tensor in wanted.weights.items():
        assert torch.equal(entry.weights[name], tensor)
    for name in ("config", "seconds", "device", "versions"):
        assert entry.meta[name] == wanted.meta[name]
    return True


def forge(root, **files):
    """An entry with these bytes in place of `arrays` or `weights`, whose checksums are right."""
    put(root)
    folder = Store(root).path(CONFIG)
    meta = json.loads((folder / "meta.json").read_text())
    del meta["seal"]  # as in older entries
    for name in FILES[:2]:
        if (data := files.get(name.partition(".")[0])) is not None:
            (folder / name).write_bytes(data)
            meta["sha256"][name] = hashlib.sha256(data).hexdigest()
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def set_aside(root, message):
    """Fetch: a warning, no entry, little memory; and then the entry can be made again."""
    tracemalloc.start()
    try:
        with pytest.warns(UserWarning, match=f"damaged store entry set aside as .*: .*{message}"):
            assert Store(root).fetch(CONFIG) is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20
    assert same(put(root), Store(root).fetch(CONFIG))


def test_forged_entries_are_read_where_nothing_is_wrong(tmp_path):
    entry = put(tmp_path / "wanted")
    shutil.rmtree(tmp_path / "wanted")
    forge(tmp_path, arrays=store.pack(ARRAYS), weights=safetensors.torch.save(WEIGHTS))
    same(Store(tmp_path).fetch(CONFIG), entry)


# chance


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A store of one entry, the entry, and the bytes of its files."""
    root = tmp_path_factory.mktemp("store")
    entry, folder = put(root), Store(root).path(CONFIG)
    return root, entry, {name: (folder / name).read_bytes() for name in FILES}


def assert_never_wrong(written, damaged):
    """Entry files as given are set aside, or read with the same values."""
    root, wanted, _ = written
    folder = Store(root).path(CONFIG)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in damaged.items():
        (folder / name).write_bytes(data)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        entry = Store(root).fetch(CONFIG)
    if entry is None:
        assert not folder.exists() and ["set aside" in str(w.message) for w in told] == [True]
        assert same(put(root), wanted)
    else:
        assert same(entry, wanted)
    return entry is None


where = st.tuples(st.sampled_from(FILES), st.integers(0, 2**20))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where)
def test_truncated_files_are_set_aside(written, where):
    name, size = where
    data = written[2][name]
    assert assert_never_wrong(written, written[2] | {name: data[: size % len(data)]})


@settings(deadline=None)
@given(where, st.integers(0, 7))
def test_no_flipped_bit_gives_a_wrong_number(written, where, bit):
    name, at = where
    data = bytearray(written[2][name])
    data[at % len(data)] ^= 1 << bit
    noticed = assert_never_wrong(written, written[2] | {name: bytes(data)})
    # Of meta.json, 1e-05 may have become 1E-05, or the seal have lost its name.
    assert noticed or name == "meta.json"


@pytest.mark.parametrize("swapped", FILES)
def test_files_swapped_between_entries_are_noticed(tmp_path, swapped):
    put(tmp_path)
    put(tmp_path, OTHER, factor=2)
    a, b = (Store(tmp_path).path(config) / swapped for config in (CONFIG, OTHER))
    os.rename(a, tmp_path / "c")
    os.rename(b, a)
    os.rename(tmp_path / "c", b)
    for config in (CONFIG, OTHER):
        with pytest.warns(UserWarning, match="another config|does not match its checksum"):
            assert Store(tmp_path).fetch(config) is None


# arrays


def central(data):
    """Where an archive's list of members begins, and where it ends."""
    return data.index(b"PK\1\2"), data.index(b"PK\5\6")


def listed(data, times):
    """An archive whose list of members is repeated."""
    begin, end = central(data)
    members = data[begin:end] * times
    tail = bytearray(data[end:])
    struct.pack_into("<HHL", tail, 8, times % 2**16, times % 2**16, len(members))
    return data[:begin] + members + bytes(tail)


def claimed(data, size):
    """An archive that says that its last member has another size, packed and unpacked."""
    data = bytearray(data)
    struct.pack_into("<LL", data, central(data)[0] + 20, size, size)
    return bytes(data)


def archive(members, packing=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    zipped(buffer, members, packing)
    return buffer.getvalue()


def one(data):
    return archive({"x.npy": data})


GOOD = header((4,)) + bytes(32)
BAD_ARRAYS = {
    "a bomb": (archive({"x.npy": header((2**23,)) + bytes(2**26)}, zipfile.ZIP_DEFLATED), "promises more"),
    "packed": (archive({"x.npy": GOOD}, zipfile.ZIP_DEFLATED), "packed otherwise"),
    "bzip2": (archive({"x.npy": GOOD}, zipfile.ZIP_BZIP2), "packed otherwise"),
    "more than is there": (one(header((1000, 1000)) + bytes(64)), "8000000 bytes is promised"),
    "more than any": (one(header((2**40,)) + bytes(64)), "8192.0 GiB; at most 8"),
    "beyond 64 bits": (one(header((2**62, 2**62)) + bytes(64)), "GiB; at most 8"),
    "less than nothing": (one(header((-1, 4)) + bytes(64)), r"shape \(-1, 4\) is promised"),
    "an endless header": (one(b"\x93NUMPY\2\0" + struct.pack("<I", 2**32 - 1) + b" " * 2**20), ""),
    "text": (one(b"these are no numbers"), ""),
    "no archive": (b"these are no numbers" * 100, "not a zip file"),
    "nothing": (b"", "not a zip file"),
    "a path upwards": (archive({"../x.npy": GOOD}), "no array's name"),
    "an absolute path": (archive({"/x.npy": GOOD}), "no array's name"),
    "a folder": (archive({"a/x.npy": GOOD}), "no array's name"),
    "another name": (archive({"x.txt": GOOD}), "no array's name"),
    "no name": (archive({".npy": GOOD}), "no array's name"),
    "one member many times": (
        listed(one(header((2**10,)) + bytes(2**13)), 100),
        "promises more than it holds",
    ),
    "a list of very many": (listed(one(GOOD), 40_000), "more than 10000 arrays"),
    "a size too large": (claimed(one(GOOD), 2**31), "promises more than it holds"),
    "a size too small": (claimed(one(GOOD), 100), "CRC"),
}


@pytest.mark.parametrize(("data", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_archives_that_are_not_the_stores_own_are_set_aside(tmp_path, data, message):
    forge(tmp_path, arrays=data)
    set_aside(tmp_path, message)


def test_nothing_is_unpickled(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, x=np.array([Harm(tmp_path / "harm")], dtype=object))
    forge(tmp_path, arrays=buffer.getvalue())
    set_aside(tmp_path, "Python objects, which are not read")
    forge(tmp_path, weights=b"\x80\x04.")
    set_aside(tmp_path, "")
    assert not (tmp_path / "harm").exists()


# weights and meta


def weights(head, data=bytes(24)):
    text = json.dumps(head).encode() if isinstance(head, dict) else head
    return struct.pack("<Q", len(text)) + text + data


def tensor(shape, begin=0, end=24, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


BAD_WEIGHTS = {
    "a header beyond the file": struct.pack("<Q", 2**20 - 1) + b"{}",
    "a header beyond all": struct.pack("<Q", 2**64 - 1) + b"{}",
    "a huge header": weights(b"{" + b" " * 2**21 + b"}", b""),
    "more than is there": weights({"a": tensor([2**40], 0, 2**42)}),
    "a shape of its own": weights({"a": tensor([2**40])}),
    "beyond 64 bits": weights({"a": tensor([2**62, 2**62])}),
    "the same bytes twice": weights({"a": tensor([6]), "b": tensor([6])}),
    "an unknown dtype": weights({"a": tensor([6], dtype="X99")}),
    "a folded nothing": weights({"a": tensor([0, 2**63 - 1, 2**63 - 1], 0, 0)}, b""),
    "no JSON": weights(b"{" * 1000),
    "nothing": b"",
}


@pytest.mark.parametrize("data", BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_weights_that_promise_what_is_not_there_are_set_aside(tmp_path, data):
    forge(tmp_path, weights=data)
    set_aside(tmp_path, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" " * 2**21 + "{}", "meta.json has 2097154 bytes; at most 1048576"),
        ("[" * 500_000, "recursion"),
        ('{"config": ' + '{"a":' * 100_000, "recursion"),
        ("9" * 10_000, ""),
        ('{"config": {"kind": "samples", "seed": NaN}}', "finite"),
        ("\0", ""),
        ("{}", "config"),
    ],
    ids=["huge", "deep", "deep config", "a long number", "not finite", "zero", "empty"],
)
def test_meta_that_is_not_the_stores_own_is_set_aside(tmp_path, text, message):
    (forge(tmp_path) / "meta.json").write_text(text)
    set_aside(tmp_path, message)


@pytest.mark.parametrize("name", FILES)
def test_files_too_large_to_be_true_are_not_read(tmp_path, name):
    os.truncate(forge(tmp_path) / name, 2**34)  # 16 GiB, of which the disk holds next to nothing
    set_aside(tmp_path, f"{name} has 17179869184 bytes; at most")


def test_a_file_is_not_held_in_memory_before_its_checksum_is_right(tmp_path):
    os.truncate(forge(tmp_path) / "arrays.npz", 2**28)
    set_aside(tmp_path, "does not match its checksum")


@pytest.mark.end_to_end
@pytest.mark.skipif(
    sys.platform != "linux", reason="limits on memory, and how to ask for its size, are Linux's"
)
def test_an_entry_that_does_not_fit_into_memory_is_told_and_kept(tmp_path):
    code = """
import resource, sys, numpy as np
from pathlib import Path
from physmis.experiments.store import Store, StoreError
kept = Store(sys.argv[1])
kept.put({"kind": "samples"}, arrays={"x": np.zeros(2**24)}, seconds=0.0, device="cpu")
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 2**26, now + 2**26))
try:
    kept.fetch({"kind": "samples"})
except StoreError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    folder = Store(tmp_path).path({"kind": "samples"})
    assert done.stdout == f"the store entry {folder} does not fit into memory\n", done.stderr
    assert len(Store(tmp_path).fetch({"kind": "samples"}).arrays["x"]) == 2**24


def test_entries_too_large_to_be_read_are_not_stored(tmp_path, monkeypatch):
    monkeypatch.setitem(store._LARGEST, "arrays.npz", 500)
    with pytest.raises(ValueError, match=r"arrays\.npz of the store entry .* 5\d\d bytes; at most 500"):
        put(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a/b", "../a", "a\\b", "", "a\0b", "file", "allow_pickle"])
def test_arrays_with_names_that_an_archive_cannot_have_are_not_stored(tmp_path, name):
    with pytest.raises(ValueError, match="an array is called"):
        store.pack({name: np.zeros(2)})


# links and pipes


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_links_are_not_followed(tmp_path, name):
    folder = forge(tmp_path / "store")
    os.rename(folder / name, tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    set_aside(tmp_path / "store", f"{name} is not a file")
    assert (tmp_path / name).is_file()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", FILES)
def test_a_pipe_is_not_waited_for(tmp_path, name):
    path = forge(tmp_path) / name
    path.unlink()
    os.mkfifo(path)
    set_aside(tmp_path, f"{name} is not a file")


@pytest.mark.parametrize("above", [0, 1, 2], ids=["entry", "its folder", "its kind"])
@pytest.mark.parametrize("dangling", [False, True])
def test_folders_that_are_links_are_set_aside_themselves(tmp_path, above, dangling):
    entry = forge(tmp_path / "store")
    link = (entry, *entry.parents)[above]
    os.rename(link, tmp_path / "elsewhere")
    link.symlink_to(tmp_path / ("nowhere" if dangling else "elsewhere"))
    before = sorted(tmp_path.joinpath("elsewhere").rglob("*"))
    set_aside(tmp_path / "store", "it is a link")
    assert not link.is_symlink() and sorted(tmp_path.joinpath("elsewhere").rglob("*")) == before
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["unfinished", "damaged"])
def test_a_store_that_would_delete_or_move_things_elsewhere_is_refused(tmp_path, name):
    (tmp_path / "store").mkdir()
    old = tmp_path / "documents" / "old"
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    (tmp_path / "store" / name).symlink_to(tmp_path / "documents")
    with pytest.raises(StoreError, match=f"{name} is a link; a store's folders lie in the store"):
        Store(tmp_path / "store")
    assert old.exists()


def test_links_among_leftovers_are_not_followed(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "letter").write_text("dear")
    os.utime(tmp_path / "old", (0, 0))
    unfinished = tmp_path / "store" / "unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "link").symlink_to(tmp_path / "old")
    (unfinished / "loop").symlink_to(unfinished / "loop")
    Store(tmp_path / "store")
    assert (tmp_path / "old" / "letter").exists()
