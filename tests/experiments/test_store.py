import itertools
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from physmis.experiments import store
from physmis.experiments.store import Store, StoreError, key

CONFIG = {"kind": "samples", "task": {"name": "cone", "steps": 32}, "seed": 0}
ARRAYS = {"x": np.arange(12, dtype=np.float32).reshape(3, 4), "z": np.array([0.5, 1.5, 2.5])}
WEIGHTS = {"layer.weight": torch.arange(6.0).reshape(2, 3)}


def put(root, config=CONFIG, arrays=ARRAYS):
    return Store(root).put(config, arrays=arrays, weights=WEIGHTS, seconds=1.5, device="cpu")


def left_behind(root):
    return [path for path in Path(root).rglob("*") if path.is_file() and "damaged" not in path.parts]


def test_round_trip(tmp_path):
    put(tmp_path)
    entry = Store(tmp_path).fetch(dict(reversed(CONFIG.items())))
    assert entry.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert entry.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(entry.arrays[name], array)
    assert torch.equal(entry.weights["layer.weight"], WEIGHTS["layer.weight"])
    assert entry.meta["config"] == CONFIG
    assert (entry.meta["seconds"], entry.meta["device"]) == (1.5, "cpu")
    # A build may add its kind to one of the two only: 2.13.0+cpu.
    assert Version(entry.meta["versions"]["torch"]).public == Version(torch.__version__).public
    assert Store(tmp_path).fetch({**CONFIG, "seed": 1}) is None


def test_packed_arrays_are_reproducible(monkeypatch):
    first = store.pack(ARRAYS)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert store.pack(dict(reversed(ARRAYS.items()))) == first


@pytest.mark.parametrize(
    "array", [np.array([{}, None]), np.array([(1, "a")], dtype=[("n", int), ("o", object)])]
)
def test_object_arrays_are_refused(tmp_path, array):
    with pytest.raises(TypeError, match="array 'bad' holds Python objects"):
        put(tmp_path, arrays={"bad": array})
    assert left_behind(tmp_path) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
configs = st.dictionaries(st.text(), json_values, max_size=4)


def shuffled(value):
    if isinstance(value, dict):
        return {name: shuffled(item) for name, item in reversed(value.items())}
    return tuple(shuffled(item) for item in value) if isinstance(value, list) else value


@given(configs, configs)
def test_keys_are_equal_when_configs_are(a, b):
    assert key(a) == key(shuffled(a)) == key(json.loads(json.dumps(a)))
    # Unlike ==, repr tells 1 from 1.0 and from True; and both sides have their keys sorted.
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (key(a) == key(b)) == same


def test_the_format_version_changes_every_key(monkeypatch):
    before = key(CONFIG)
    monkeypatch.setattr(store, "FORMAT", store.FORMAT + 1)
    assert key(CONFIG) != before


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": {"width": np.int64(3)}}, r"config\.model\.width is a int64"),
        ({"a": [1, {"b": float("nan")}]}, r"config\.a\[1\]\.b is nan"),
        ({"a": Path("x")}, r"config\.a is a \w*Path"),
        ({"a": {3: 1}}, r"config\.a has the key 3"),
    ],
)
def test_configs_that_are_not_json_are_refused(config, message):
    with pytest.raises((TypeError, ValueError), match=message):
        key(config)


@pytest.mark.parametrize("kind", [None, "../up", "Big", ""])
def test_kind_must_be_a_plain_name(tmp_path, kind):
    with pytest.raises(ValueError, match="it names a folder"):
        Store(tmp_path).path({"kind": kind})


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def rewrite_config(folder):
    meta = json.loads((folder / "meta.json").read_text())
    meta["config"]["seed"] = 7
    (folder / "meta.json").write_text(json.dumps(meta))


DAMAGE = {
    "bit flip in arrays": lambda folder: flip_bit(folder / "arrays.npz"),
    "bit flip in weights": lambda folder: flip_bit(folder / "weights.safetensors"),
    "truncated arrays": lambda folder: os.truncate(folder / "arrays.npz", 100),
    "empty meta": lambda folder: os.truncate(folder / "meta.json", 0),
    "truncated meta": lambda folder: os.truncate(folder / "meta.json", 40),
    "meta of another shape": lambda folder: (folder / "meta.json").write_text("[1]"),
    "no meta": lambda folder: (folder / "meta.json").unlink(),
    "no weights": lambda folder: (folder / "weights.safetensors").unlink(),
    "another config": rewrite_config,
    "a file in its place": lambda folder: (shutil.rmtree(folder), folder.write_text("x")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_entries_are_set_aside_and_rebuilt(tmp_path, damage):
    put(tmp_path)
    folder = Store(tmp_path).path(CONFIG)
    damage(folder)
    with pytest.warns(UserWarning, match=folder.name):
        assert Store(tmp_path).fetch(CONFIG) is None
    assert not folder.exists() and len(list((tmp_path / "damaged").iterdir())) == 1
    put(tmp_path)
    assert Store(tmp_path).fetch(CONFIG) is not None


def test_swapped_entries_are_noticed(tmp_path):
    other = {**CONFIG, "seed": 1}
    put(tmp_path)
    put(tmp_path, other)
    a, b = Store(tmp_path).path(CONFIG), Store(tmp_path).path(other)
    os.rename(a, tmp_path / "c")
    os.rename(b, a)
    os.rename(tmp_path / "c", b)
    for config in (CONFIG, other):
        with pytest.warns(UserWarning, match="another config"):
            assert Store(tmp_path).fetch(config) is None


def test_put_replaces_a_damaged_entry_and_keeps_a_good_one(tmp_path):
    first = put(tmp_path)
    assert Store(tmp_path).put(CONFIG, arrays=ARRAYS, seconds=9.0, device="cpu").meta == first.meta
    (Store(tmp_path).path(CONFIG) / "meta.json").unlink()
    with pytest.warns(UserWarning, match="damaged"):
        again = Store(tmp_path).put(CONFIG, arrays=ARRAYS, seconds=9.0, device="cpu")
    assert again.meta["seconds"] == 9.0


def run(code, root, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, str(root), *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.mark.end_to_end
def test_a_killed_write_leaves_nothing_readable(tmp_path):
    code = """
import os, signal, sys, numpy as np
from physmis.experiments.store import Store
os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Store(sys.argv[1]).put({"kind": "samples"}, arrays={"x": np.zeros(9)}, seconds=0.0, device="cpu")
"""
    assert run(code, tmp_path).returncode == -9
    (unfinished,) = (tmp_path / "unfinished").iterdir()
    assert Store(tmp_path).fetch({"kind": "samples"}) is None
    assert unfinished.exists(), "a young folder may belong to a live process"
    os.utime(unfinished, (0, 0))
    Store(tmp_path)
    assert not unfinished.exists()


@pytest.mark.end_to_end
def test_a_full_disk_gives_one_clear_error_and_leaves_nothing(tmp_path):
    code = """
import resource, sys, numpy as np
from physmis.experiments.store import Store, StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    Store(sys.argv[1]).put({"kind": "samples"}, arrays={"x": np.zeros(9000)}, seconds=0.0, device="cpu")
except StoreError as error:
    print(error)
"""
    done = run(code, tmp_path)
    assert done.stdout.startswith(f"cannot write the store entry {tmp_path}"), done.stderr
    assert left_behind(tmp_path) == [] and list((tmp_path / "unfinished").iterdir()) == []


def test_a_root_that_cannot_be_written_gives_one_clear_error(tmp_path):
    # A file where the folder should be stops root too, as permissions would not.
    (tmp_path / "file").write_text("")
    root = tmp_path / "file" / "store"
    with pytest.raises(StoreError, match=f"cannot write the store entry {root}"):
        put(root)


def put_together(root, barrier, value):
    barrier.wait()
    Store(root).put(CONFIG, arrays={"x": np.full(100_000, value)}, seconds=0.0, device="cpu")


@pytest.mark.end_to_end
def test_two_processes_may_put_the_same_entry(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(2)
    both = [spawn.Process(target=put_together, args=(tmp_path, barrier, float(i))) for i in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    x = Store(tmp_path).fetch(CONFIG).arrays["x"]
    assert len(x) == 100_000 and x[0] in (0, 1) and np.all(x == x[0])
    assert list((tmp_path / "unfinished").iterdir()) == []


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["arrays.npz", "weights.safetensors", "meta.json"]))
)
def test_an_entry_that_is_copied_file_by_file_is_seen_wholly_or_set_aside(tmp_path, order):
    put(tmp_path / "from")
    source, there = (Store(tmp_path / name).path(CONFIG) for name in ("from", "to"))
    for count in range(3):
        there.mkdir(parents=True)
        for name in order[:count]:
            shutil.copy(source / name, there)
        with pytest.warns(UserWarning, match="set aside"):
            assert Store(tmp_path / "to").fetch(CONFIG) is None
    shutil.copytree(source, there)
    assert Store(tmp_path / "to").fetch(CONFIG).meta == Store(tmp_path / "from").fetch(CONFIG).meta


@pytest.mark.parametrize("name", ["arrays.npz", "weights.safetensors"])
def test_an_entry_that_mixes_files_of_two_machines_is_set_aside(tmp_path, name):
    put(tmp_path / "one")
    Store(tmp_path / "other").put(
        CONFIG,
        arrays={"x": ARRAYS["x"] + 1e-7},
        weights={"layer.weight": WEIGHTS["layer.weight"] + 1e-6},
        seconds=2.0,
        device="cpu",
    )
    one, other = (Store(tmp_path / root).path(CONFIG) for root in ("one", "other"))
    shutil.copy(other / name, one)
    with pytest.warns(UserWarning, match=f"{name} does not match its checksum"):
        assert Store(tmp_path / "one").fetch(CONFIG) is None
