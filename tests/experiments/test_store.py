import itertools
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from physmis.experiments import provenance, store
from physmis.experiments.store import Store, key

CONFIG = {"kind": "samples", "task": {"name": "cone", "steps": 32}, "seed": 0}
ARRAYS = {
    "x": np.arange(12, dtype=np.float32).reshape(3, 4),
    "z": np.array([0.5, 1.5, 2.5]),
    "valid": np.array([True, False]),
    "scalar": np.array(3),
    "word": np.array("cone"),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}


def put(root, config=CONFIG, arrays=ARRAYS, small=None, seconds=1.5):
    Store(root).put(config, arrays, seconds, "cpu", small, cost=3.0)
    return Store(root).path(config)


def large(path):
    return path.with_name(f"{path.stem}.large.npz")


def same(found, wanted=ARRAYS):
    def seen(arrays):
        return {name: (a.dtype, a.shape, a.strides, a.tobytes()) for name, a in arrays.items()}

    return seen(found) == seen(wanted)


# keys

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False, width=16)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
configs = st.dictionaries(st.text(), json_values, max_size=4)


def shuffled(value):
    if isinstance(value, dict):
        return {name: shuffled(item) for name, item in reversed(value.items())}
    return tuple(shuffled(item) for item in value) if isinstance(value, list) else value


@settings(deadline=None)
@given(configs, configs)
def test_keys_are_equal_exactly_when_configs_are(a, b):
    assert key(a) == key(shuffled(a)) == key(json.loads(json.dumps(a)))
    # Unlike ==, the text tells 1 from 1.0 and from True.
    assert (key(a) == key(b)) == (json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True))


def test_floats_count_to_nine_digits():
    assert (
        key({"a": [0.1 + 1e-11, 1 / 3]}) == key({"a": [0.1, 0.333333333]}) != key({"a": [0.1 + 1e-8, 1 / 3]})
    )


def test_configs_that_are_not_json_are_refused(tmp_path):
    for config, message in (
        ({"model": {"width": np.int64(3)}}, r"config\.model\.width: expected .*got np.int64\(3\)"),
        ({"a": [1, {"b": float("nan")}]}, r"config\.a\[1\]\.b: expected a finite number, got nan"),
        ({"a": {3: 1}}, r"config\.a: expected .*dict of str, got \{3: 1\}"),
        ({"kind": "../up"}, "kind.*expected lower-case letters, digits and _, got '../up'"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            Store(tmp_path).path({"kind": "a"} | config)


# entries


def test_round_trip(tmp_path):
    path = put(tmp_path)
    entry = Store(tmp_path).fetch(dict(reversed(CONFIG.items())))
    assert same(entry.arrays) and entry.arrays["x"].flags.writeable
    assert entry.key == key(CONFIG) == path.stem and path.parent.name == "samples"
    assert entry.meta["config"] == CONFIG
    assert (entry.meta["seconds"], entry.meta["cost"], entry.meta["device"]) == (1.5, 3.0, "cpu")
    assert entry.meta["versions"]["numpy"] == np.__version__ and "cores" in entry.meta["machine"]
    assert entry.meta["code"] == provenance.code_version() and entry.meta["large"] == []
    assert Store(tmp_path).fetch({**CONFIG, "seed": 1}) is None
    put(tmp_path, arrays={"other": np.zeros(1)})
    assert Store(tmp_path).fetch(CONFIG).arrays.keys() == {"other"}


def test_large_arrays_lie_beside_the_small_ones(tmp_path):
    path, place = put(tmp_path, small=["z", "valid", "absent"]), Store(tmp_path)
    assert sorted(path.parent.iterdir()) == [large(path), path]
    small, both = place.fetch(CONFIG), place.fetch_whole(CONFIG)
    assert place.holds(CONFIG) and same(both.arrays) and both.meta == small.meta and both.key == small.key
    assert same(small.arrays, {name: ARRAYS[name] for name in ("z", "valid")})
    assert small.meta["large"] == sorted(ARRAYS.keys() - {"z", "valid"})
    large(path).unlink()
    assert same(place.fetch(CONFIG).arrays, small.arrays)
    assert not place.holds(CONFIG) and place.fetch_whole(CONFIG) is None
    put(tmp_path, small=())
    assert place.fetch(CONFIG).arrays == {} and same(place.fetch_whole(CONFIG).arrays)


def test_what_the_store_lacks_is_looked_for_in_the_stored_results(tmp_path):
    both = Store(tmp_path / "store", tmp_path / "results")
    assert both.fetch(CONFIG) is None
    large(put(tmp_path / "results", small=["z"])).unlink()
    assert same(both.fetch(CONFIG).arrays, {"z": ARRAYS["z"]})
    # What needs all arrays is not served by what travels, even where these are all.
    assert not both.holds(CONFIG) and both.fetch_whole(CONFIG) is None
    put(tmp_path / "results")
    assert not both.holds(CONFIG) and both.fetch_whole(CONFIG) is None
    put(tmp_path / "store", arrays={"z": np.zeros(1)})
    assert same(both.fetch(CONFIG).arrays, {"z": np.zeros(1)}) and both.holds(CONFIG)


def test_where_the_stored_results_lie(tmp_path, monkeypatch):
    for name in ("PHYSMIS_RESULTS", "PHYSMIS_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PHYSMIS_ROOT", str(tmp_path))
    assert (Store().root, Store().results) == (tmp_path / "store", tmp_path / "results" / "standard")
    assert Store(tmp_path / "other").results is None
    for value, expected in ((str(tmp_path / "r"), tmp_path / "r"), ("none", None)):
        monkeypatch.setenv("PHYSMIS_RESULTS", value)
        assert Store().results == expected


@pytest.mark.parametrize("compressed", [False, True])
def test_packed_arrays_are_the_same_bytes_at_any_time_and_in_any_order(monkeypatch, compressed):
    first = store.pack(ARRAYS, compressed)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert store.pack(dict(reversed(ARRAYS.items())), compressed) == first


class Trap:
    """Leaves a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def swap(path, trap):
    other = put(path.parents[1], {**CONFIG, "seed": 1}, small=["z"])
    path.write_bytes((large(other) if ".large" in path.name else other).read_bytes())


DAMAGE = {
    "truncated": lambda path, trap: os.truncate(path, 400),
    "empty": lambda path, trap: os.truncate(path, 0),
    "swapped": swap,
    "a pickle in place of it": lambda path, trap: path.write_bytes(pickle.dumps(trap)),
    "objects inside": lambda path, trap: np.savez(
        path, x=np.array([trap]), meta=json.dumps({"config": CONFIG})
    ),
    "of an earlier form": lambda path, trap: np.savez(
        path, z=np.zeros(3), meta=json.dumps({"config": CONFIG})
    ),
    # In a header: of a smaller array numpy alone would read less, and compare no checksum.
    "a smaller array": lambda path, trap: path.write_bytes(path.read_bytes().replace(b"(3, 4)", b"(2, 4)")),
}
# Small files are compressed: no header is to be found in them.
DAMAGED = [("large", how) for how in DAMAGE] + [("small", how) for how in list(DAMAGE)[:-1]]


@pytest.mark.parametrize("which, how", DAMAGED)
def test_a_damaged_file_is_told_and_set_aside_and_made_anew_and_never_run(tmp_path, which, how):
    path = put(tmp_path, small=["z"])
    hurt = path if which == "small" else large(path)
    DAMAGE[how](hurt, Trap(tmp_path / "trapped"))
    before = hurt.read_bytes()
    told = f"{hurt} is damaged: .*It is renamed to {hurt.name}.damaged and will be computed again"
    with pytest.warns(UserWarning, match=told):
        assert Store(tmp_path).fetch_whole(CONFIG) is None
    assert not (tmp_path / "trapped").exists()
    assert not hurt.exists() and hurt.with_name(f"{hurt.name}.damaged").read_bytes() == before
    assert put(tmp_path, small=["z"]) == path and same(Store(tmp_path).fetch_whole(CONFIG).arrays)


@pytest.mark.parametrize("how", ["truncated", "swapped"])
def test_a_damaged_stored_result_is_told_and_left_and_counts_as_absent(tmp_path, how):
    path, both = put(tmp_path / "results"), Store(tmp_path / "store", tmp_path / "results")
    DAMAGE[how](path, None)
    before = path.read_bytes()
    with pytest.warns(UserWarning, match=f"{path} is damaged: .*counts as absent; `git checkout {path}`"):
        assert both.fetch(CONFIG) is None
    assert path.read_bytes() == before
    put(tmp_path / "store")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(both.fetch(CONFIG).arrays)


@pytest.mark.parametrize("compressed", [False, True])
def test_no_flipped_bit_of_an_entry_gives_other_numbers(compressed):
    """Every bit of a file: data, names, headers of numpy, headers of zip."""
    arrays = {"x": ARRAYS["x"], "z": ARRAYS["z"], "meta": np.array("{}")}
    data = bytearray(store.pack(arrays, compressed))
    for place, bit in itertools.product(range(len(data)), range(8)):
        data[place] ^= 1 << bit
        try:
            found = store._unpack(bytes(data))
        except Exception:  # whatever it is, `fetch` tells of damage
            found = arrays
        assert same(found, arrays), f"bit {bit} of byte {place}"
        data[place] ^= 1 << bit


# writing


def test_a_place_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=f"'{tmp_path}/file/store/samples/{key(CONFIG)}.npz'"):
        put(tmp_path / "file" / "store")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    before = put(tmp_path).read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/samples/.*\.npz'"):
        put(tmp_path, arrays={"x": np.zeros(3)})
    assert [path.read_bytes() for path in (tmp_path / "samples").iterdir()] == [before]
    monkeypatch.undo()
    Store(tmp_path).path(CONFIG).chmod(0o640)
    assert put(tmp_path, arrays={}).stat().st_mode & 0o777 == 0o640  # who may read it stays as it was


KILLED = """
import os, signal, sys, numpy as np
from physmis.experiments.store import Store
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
Store(sys.argv[1]).put({"kind": "samples"}, {"x": np.zeros(9)}, 0.0, "cpu")
"""


@pytest.mark.end_to_end
def test_a_process_killed_in_the_middle_of_writing_leaves_no_entry(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], timeout=300)
    assert done.returncode == -signal.SIGKILL
    assert list((tmp_path / "samples").glob("*.npz")) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Store(tmp_path).fetch({"kind": "samples"}) is None


def put_again_and_again(root, value):
    for _ in range(20):
        put(root, arrays={"x": np.full(50_000, value)})


@pytest.mark.end_to_end
def test_two_processes_may_put_the_same_entry_and_a_third_sees_one_of_them_whole(tmp_path):
    put(tmp_path, arrays={"x": np.full(50_000, 0.0)})
    spawn = multiprocessing.get_context("spawn")
    both = [spawn.Process(target=put_again_and_again, args=(tmp_path, float(i))) for i in range(2)]
    for process in both:
        process.start()
    while any(process.is_alive() for process in both):
        x = Store(tmp_path).fetch(CONFIG).arrays["x"]
        assert len(x) == 50_000 and x[0] in (0, 1) and np.all(x == x[0])
        time.sleep(0.01)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(list((tmp_path / "samples").iterdir())) == 1
