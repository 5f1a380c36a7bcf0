"""Files of trajectories: each layout that is read, and files that mean harm."""

import io
import os
import struct
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest

from physmis.audit import readers as recordings
from physmis.audit.readers import UnreadableError, read

h5py = pytest.importorskip("h5py")

X = np.random.default_rng(0).normal(size=(6, 5, 3))
RAGGED = np.split(X.reshape(30, 3), [4, 13, 15])  # steps: 4, 9, 2, 15
LENGTHS = [4, 9, 2, 15]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def refused(path, message=None, **options):
    """The error that reading raises, after a look at the memory that it took."""
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableError, match=message) as caught:
            read(path, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert peak < 8 * 2**20
    return str(caught.value)


# numpy


@pytest.mark.parametrize("dtype", [float, np.float32, np.int16, ">f8"])
def test_npy_files_are_read(tmp_path, dtype):
    path = tmp_path / "x.npy"
    np.save(path, (10 * X).astype(dtype))
    found = read(path)
    np.testing.assert_array_equal(found, (10 * X).astype(dtype))
    assert_same(read(str(path)), found)
    assert_same(read(path, array="x"), found)  # as the other file of an audit may need it


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_files_are_read(tmp_path, save, order):
    path, x = tmp_path / "x.npz", np.asarray(X, order=order)
    for arrays in ({"trajectories": x}, {"x": x}, {"anything": x}, {"x": x, "other": np.zeros(3)}):
        save(path, **arrays)
        np.testing.assert_array_equal(read(path), X)
    save(path, trajectories=x, x=np.zeros((2, 2, 2)))
    np.testing.assert_array_equal(read(path), X)
    np.testing.assert_array_equal(read(path, array="x"), np.zeros((2, 2, 2)))


def test_npz_files_with_lengths_are_cut_into_trajectories(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=X.reshape(30, 3), lengths=LENGTHS)
    assert_same(read(path), RAGGED)
    huge = 2**62
    for bad in ([4, 9, 2], [4, 9, 2, 15, 0], [31, -1], [30.0], [[30]], [huge, huge, huge, huge, 30], []):
        np.savez(path, x=X.reshape(30, 3), lengths=bad)
        refused(path, "'lengths' must be positive whole numbers that sum to 30")


def test_npz_files_with_lengths_beside_padded_trajectories_lose_the_padding(tmp_path):
    path, (n, steps, _) = tmp_path / "x.npz", X.shape
    lengths = np.arange(n) % (steps - 1) + 2
    padded = np.where(np.arange(steps)[:, None] < lengths[:, None, None], X, 0)
    np.savez(path, x=padded, lengths=lengths)
    assert_same(read(path), [row[:length] for row, length in zip(X, lengths, strict=True)])
    for bad in ([steps] * (n - 1), [1] * n, [steps + 1] * n, [float(steps)] * n, [[steps]] * n):
        np.savez(path, x=X, lengths=bad)
        refused(path, f"must be {n} whole numbers from 2 to {steps}, the steps that count")


def test_npz_files_without_the_array_that_is_wanted_tell_what_there_is(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=X, b=X)
    refused(path, "'trajectories' or 'x', or one array only, wanted; there are a, b")
    refused(path, "array 'c' wanted; there are a, b", array="c")
    np.savez(path, x=X[0])
    refused(path, r"shape \(n, T, C\) wanted, got \(5, 3\)")
    np.savez(path)
    refused(path, "there are none")
    np.savez(path, x=X[:0])
    refused(path, "no trajectories")


def test_channels_are_taken_in_the_order_asked_for(tmp_path):
    whole, ragged = tmp_path / "x.npy", tmp_path / "x.npz"
    np.save(whole, X)
    np.savez(ragged, x=X.reshape(30, 3), lengths=LENGTHS)
    np.testing.assert_array_equal(read(whole, channels=[2, 0]), X[..., [2, 0]])
    assert_same(read(ragged, channels=[1]), [x[:, [1]] for x in RAGGED])
    for path in (whole, ragged):
        for bad in ([3], [-1], []):
            refused(path, "channels from 0 to 2 wanted", channels=bad)


# HDF5


def d4rl(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


def marks(*at):
    return np.isin(np.arange(30), at)


@pytest.mark.parametrize("suffix", ["h5", "hdf5"])
def test_d4rl_files_end_trajectories_where_they_say(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    steps = X.reshape(30, 3)
    d4rl(path, observations=steps, terminals=marks(3, 14), timeouts=marks(12, 29))
    assert_same(read(path), RAGGED)
    for name in ("terminals", "timeouts"):
        d4rl(path, observations=steps, **{name: marks(3, 12, 14, 29).astype(float)[:, None]})
        assert_same(read(path), RAGGED)


def test_what_follows_the_last_end_is_cut_short_and_left_out(tmp_path):
    path = d4rl(tmp_path / "x.h5", observations=X.reshape(30, 3), terminals=marks(3, 12, 14))
    assert_same(read(path), RAGGED[:3])
    d4rl(path, observations=X.reshape(30, 3), terminals=marks())
    assert_same(read(path), [X.reshape(30, 3)])


def test_trajectories_of_a_single_step_are_left_out(tmp_path):
    path = d4rl(tmp_path / "x.h5", observations=X.reshape(30, 3), terminals=marks(0, 1, 29))
    assert_same(read(path), [X.reshape(30, 3)[2:]])
    d4rl(path, observations=X.reshape(30, 3), terminals=marks(*range(30)))
    refused(path, "no trajectories of 2 steps or more", channels=[0])


def test_other_arrays_of_d4rl_files_are_read_by_name(tmp_path):
    path = d4rl(tmp_path / "x.h5", observations=np.zeros((30, 1)), terminals=marks(29))
    with h5py.File(path, "a") as file:
        file["infos/qpos"], file["infos/deep/qvel"] = X.reshape(30, 3), X.reshape(30, 3)[:, :2]
        file["whole"] = X
    assert_same(read(path, array="infos/qpos"), [X.reshape(30, 3)])
    assert_same(read(path, array="infos/qpos", channels=[2]), [X.reshape(30, 3)[:, [2]]])
    np.testing.assert_array_equal(read(path, array="whole"), X)
    refused(path, "'infos' holds several arrays; name one of infos/deep, infos/qpos", array="infos")
    refused(path, "name one of infos/deep/qvel", array="infos/deep")
    refused(path, "no array 'infos/x'; in 'infos' there are deep, qpos", array="infos/x")
    refused(path, "no array 'x'; there are infos, observations, terminals, whole", array="x")


def test_d4rl_files_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "x.h5"
    steps = X.reshape(30, 3)
    refused(d4rl(path, observations=steps), "no 'terminals' or 'timeouts'")
    refused(d4rl(path, observations=steps, terminals=marks()[:9]), "must have the 30 steps")
    refused(d4rl(path, observations=steps[:, 0], terminals=marks(3)), r"\(steps, channels\) wanted")
    refused(d4rl(path, observations=3.0, terminals=marks(3)), r"\(steps, channels\) wanted")
    refused(d4rl(path, observations=np.ones((30, 3), bool), terminals=marks(3)), "of numbers .* got bool")
    refused(d4rl(path, observations=h5py.Empty("f"), terminals=marks(3)), "holds no array")
    refused(d4rl(path, x=steps), "no array 'observations'; there are x")
    refused(d4rl(path), "there are none")


# Minari


@pytest.fixture(scope="module")
def minari_sets(tmp_path_factory):
    """Folders of two data sets that Minari itself has written, and what is in them."""
    minari, gymnasium = pytest.importorskip("minari"), pytest.importorskip("gymnasium")
    from minari.data_collector import EpisodeBuffer

    root = tmp_path_factory.mktemp("minari")
    rng = np.random.default_rng(0)
    plain, goals = [], []
    for i, steps in enumerate(rng.integers(2, 20, 12)):  # twelve: episode_10 must not come before episode_2
        x = rng.normal(size=(steps + 1, 4)).astype(np.float32)
        rest = {
            "id": i,
            "actions": rng.normal(size=(steps, 2)).astype(np.float32),
            "rewards": [1.0] * steps,
            "terminations": [False] * steps,
            "truncations": [False] * (steps - 1) + [True],
        }
        plain.append(EpisodeBuffer(observations=x, **rest))
        goals.append(EpisodeBuffer(observations={"observation": x, "goal": x[:, :2]}, **rest))

    def box(size):
        return gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)

    spaces = {
        "test/plain-v0": (plain, box(4)),
        "test/goals-v0": (goals, gymnasium.spaces.Dict({"observation": box(4), "goal": box(2)})),
    }
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        for name, (buffer, space) in spaces.items():
            minari.create_dataset_from_buffers(
                name, buffer=buffer, observation_space=space, action_space=box(2), data_format="hdf5"
            )
        again = minari.load_dataset("test/plain-v0")
        theirs = [np.asarray(episode.observations) for episode in again.iterate_episodes()]
    assert_same(theirs, [one.observations for one in plain])
    return root / "test", theirs


@pytest.mark.parametrize("place", ["plain-v0", "plain-v0/data/main_data.hdf5"])
def test_minari_sets_are_read_as_minari_reads_them(minari_sets, place):
    root, expected = minari_sets
    assert_same(read(root / place), expected)
    assert_same(read(root / place, channels=[3, 1]), [x[:, [3, 1]] for x in expected])
    refused(root / place, "no array 'x'; there are actions, observations, rewards", array="x")
    refused(root / place, r"\(steps, channels\) wanted, got float64", array="rewards")


def test_a_minari_set_of_several_observations_asks_which(minari_sets):
    root, expected = minari_sets
    refused(root / "goals-v0", "name one of observations/goal, observations/observation")
    assert_same(read(root / "goals-v0", array="observations/observation"), expected)
    assert_same(read(root / "goals-v0", array="observations/goal"), [x[:, :2] for x in expected])


# files that are not what they seem


def test_other_files_are_refused(tmp_path):
    refused(tmp_path / "x.npy", "no such file")
    refused(tmp_path, "no Minari data set")
    (tmp_path / "x.npy").mkdir()
    refused(tmp_path / "x.npy", "no Minari data set")
    (tmp_path / "x.csv").write_text("1,2")
    refused(tmp_path / "x.csv", r"one of \.npy, \.npz, \.h5, \.hdf5 or the folder")
    for suffix in ("npz", "h5", "hdf5"):
        path = tmp_path / f"text.{suffix}"
        path.write_text("these are no numbers\n" * 100)
        refused(path, "cannot be read")
    for suffix in ("npy", "npz", "h5"):
        path = tmp_path / f"empty.{suffix}"
        path.touch()
        refused(path, "cannot be read")
    refused(tmp_path / ("long" * 2000 + ".npy"), "cannot be read")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.npy")
    refused(tmp_path / "x.npy", "not a file")


class Harm:
    """What unpickling this runs makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_nothing_is_unpickled(tmp_path):
    harm = np.array([Harm(tmp_path / "harm")] * 8, dtype=object).reshape(2, 2, 2)
    np.save(tmp_path / "x.npy", harm, allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=harm)
    np.savez(tmp_path / "y.npz", x=X.reshape(30, 3), lengths=harm)
    (tmp_path / "raw.npy").write_bytes(b"\x80\x04.")  # where numpy.load would try pickle
    for name in ("x.npy", "x.npz", "y.npz"):
        refused(tmp_path / name, "Python objects, which are not read")
    refused(tmp_path / "raw.npy")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "values", [["a", "b"], [True, False], [1j, 2], np.zeros(2, "V8"), np.zeros(2, "M8[s]")]
)
def test_arrays_of_other_than_real_numbers_are_refused(tmp_path, values):
    x = np.array(values).reshape(2, 1, 1)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    for name in ("x.npy", "x.npz"):
        refused(tmp_path / name, "numbers wanted")


def header(shape, descr="<f8"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def zipped(path, members, packing=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2**40, 2, 1), "16384.0 GiB; at most 8 are read"),
        ((2**62, 2**62, 2**62), "GiB; at most 8 are read"),
        ((1000, 100, 100), "80000000 bytes is promised"),
        ((-1, 2, 2), "promised"),
        ((2, -(2**40), -(2**40)), "promised"),
    ],
)
def test_headers_that_promise_too_much_are_refused(tmp_path, shape, message):
    data = header(shape) + bytes(64)
    (tmp_path / "x.npy").write_bytes(data)
    refused(tmp_path / "x.npy", message)
    refused(zipped(tmp_path / "x.npz", {"x.npy": data}), message)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0), (9, 9)])
def test_an_endless_header_is_not_read(tmp_path, version):
    start = b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", 0xFFFF)
    if version != (1, 0):
        start = start[:-4] + struct.pack("<I", 0xFFFFFFFF)
    data = start + b" " * 2**24
    refused(zipped(tmp_path / "x.npz", {"x.npy": data}), "cannot be read")
    (tmp_path / "x.npy").write_bytes(data[: 2**20])
    refused(tmp_path / "x.npy", "cannot be read")


@pytest.mark.parametrize(
    "text",
    ["{[]: 1}", "(" * 5000, "{'descr': 'a b', 'fortran_order': 0}", "'''", "{'shape': (1,", "\0", "  x\n y"],
)
def test_headers_that_are_no_headers_are_refused(tmp_path, text):
    data = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + bytes(64)
    (tmp_path / "x.npy").write_bytes(data)
    refused(tmp_path / "x.npy", "cannot be read")
    refused(zipped(tmp_path / "x.npz", {"x.npy": data}), "cannot be read")


def bomb(path, shape):
    """An array of zeros, packed a thousandfold, that is never held in memory here."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        member.write(header(shape))
        for _ in range(int(np.prod(shape)) * 8 // 2**23):
            member.write(bytes(2**23))
    return path


@pytest.fixture
def soon_large(monkeypatch):
    """Calls arrays large from 16 MiB on: the same bombs, made faster."""
    assert recordings.LARGE <= 2**28
    monkeypatch.setattr(recordings, "LARGE", 2**24)


def test_a_zip_bomb_is_refused_before_it_is_expanded(tmp_path, soon_large):
    path = bomb(tmp_path / "x.npz", (32, 256, 512))  # 32 MiB
    assert path.stat().st_size < 2**16
    refused(path, "more than 100 times as many are not read")
    lying = bytearray(path.read_bytes())
    at = lying.rindex(b"PK\1\2")
    lying[at + 20 : at + 24] = struct.pack("<I", 2**31)  # says that it is hardly packed at all
    path.write_bytes(lying)
    refused(path, "more than 100 times as many are not read")


@pytest.mark.parametrize("said", [100, 2**20, 2**26])
def test_an_archive_that_lies_about_a_size_is_refused(tmp_path, said):
    """Too small, and the array is not there; larger than it is, and its end is missing."""
    data = header((64, 128, 32)) + np.random.default_rng(0).bytes(2**19) + bytes(3 * 2**19)
    path = zipped(tmp_path / "x.npz", {"x.npy": data[: -(2**17)] if said > len(data) else data})
    lying = bytearray(path.read_bytes())
    at = lying.rindex(b"PK\1\2")
    lying[at + 24 : at + 28] = struct.pack("<I", said)
    path.write_bytes(lying)
    refused(path)


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_that_expand_without_bound_are_refused(tmp_path, packing):
    path = zipped(tmp_path / "x.npz", {"x.npy": header((2, 256, 256)) + bytes(2**20)}, packing)
    refused(path, "packed otherwise than numpy does")


def test_names_that_lead_out_of_the_archive_lead_nowhere(tmp_path):
    """Members are read in memory and never written."""
    buffer = io.BytesIO()
    np.save(buffer, X)
    (tmp_path / "in").mkdir()
    path = zipped(
        tmp_path / "in" / "x.npz", {"../evil.npy": buffer.getvalue(), "/evil.npy": b"", "x.npy": b""}
    )
    refused(path, "cannot be read")
    np.testing.assert_array_equal(read(path, array="../evil"), X)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["in", "x.npz"]
    assert not os.path.exists("/evil.npy")


def test_members_that_are_no_arrays_are_refused(tmp_path):
    refused(zipped(tmp_path / "x.npz", {"x": b"text"}), "cannot be read")
    refused(zipped(tmp_path / "x.npz", {"x.npy": b"text"}), "cannot be read")
    refused(zipped(tmp_path / "x.npz", {"x.npy": b""}), "cannot be read")


def good_files(folder):
    rng = np.random.default_rng(0)
    np.save(folder / "a.npy", X)
    np.savez(folder / "b.npz", x=X.reshape(30, 3), lengths=LENGTHS)
    np.savez_compressed(folder / "c.npz", x=np.round(rng.normal(size=(20, 10, 3)), 1))
    d4rl(folder / "d.h5", observations=X.reshape(30, 3), terminals=marks(3, 29))
    return sorted(folder.iterdir())


def read_or_refused(path):
    """Whether a file could be read; any error but the one that is promised fails the test."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except UnreadableError as error:
        assert str(path) in str(error)
        return False
    return True


def test_truncated_files_are_refused(tmp_path):
    for path in good_files(tmp_path):
        whole = path.read_bytes()
        assert read_or_refused(path)
        for size in np.linspace(0, len(whole) - 1, 25).astype(int):
            path.write_bytes(whole[:size])
            assert not read_or_refused(path), (path.name, size)


def test_damaged_files_raise_no_other_error(tmp_path):
    rng, refusals = np.random.default_rng(0), 0
    for path in good_files(tmp_path):
        whole = path.read_bytes()
        head = np.flatnonzero(np.frombuffer(whole, np.uint8))  # where there is something to damage
        for _ in range(150):
            damaged = bytearray(whole)
            for at in rng.choice(head, rng.integers(1, 4)):
                damaged[at] ^= 1 << rng.integers(8)
            path.write_bytes(damaged)
            refusals += not read_or_refused(path)
    assert refusals > 200


# HDF5 that leads elsewhere


def test_links_out_of_a_file_are_not_followed(tmp_path):
    secret = d4rl(tmp_path / "secret.h5", observations=X.reshape(30, 3), terminals=marks(29))
    path = tmp_path / "x.h5"

    def linked(name, link, **arrays):
        d4rl(path, **arrays)
        with h5py.File(path, "a") as file:
            file[name] = link
        return path

    outside = h5py.ExternalLink(str(secret), "observations")
    refused(linked("observations", outside, terminals=marks(29)), "a link to elsewhere")
    refused(linked("terminals", h5py.ExternalLink(str(secret), "terminals"), observations=X.reshape(30, 3)),
            "a link to elsewhere")  # fmt: skip
    refused(linked("observations", h5py.SoftLink("/x"), x=X.reshape(30, 3), terminals=marks(29)), "a link to")
    refused(linked("observations", h5py.SoftLink("/nowhere"), terminals=marks(29)), "a link to elsewhere")
    refused(linked("episode_0", h5py.ExternalLink(str(secret), "/")), "links to elsewhere are not followed")
    refused(linked("episode_0/observations", outside), "a link to elsewhere")
    refused(
        linked("infos", h5py.ExternalLink(str(secret), "/")),
        "a link to elsewhere",
        array="infos/observations",
    )


def test_arrays_kept_in_other_files_are_not_read(tmp_path):
    secret = tmp_path / "secret.raw"
    secret.write_bytes(X.tobytes())
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("observations", (30, 3), "f8", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
        file["terminals"] = marks(29)
    refused(path, "kept in other files")
    d4rl(tmp_path / "source.h5", observations=X.reshape(30, 3))
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((30, 3), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "source.h5"), "observations", (30, 3))
        file.create_virtual_dataset("observations", layout)
        file["terminals"] = marks(29)
    refused(path, "kept in other files")


@pytest.mark.parametrize("kind", ["text", "object", "compound", "complex"])
def test_hdf5_of_other_than_real_numbers_is_refused(tmp_path, kind):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        dtype = {
            "text": h5py.string_dtype(), "object": h5py.vlen_dtype(float), "complex": complex,
            "compound": [("a", "f8"), ("b", "f8")],
        }[kind]  # fmt: skip
        file.create_dataset("observations", (30, 3), dtype)
        file["terminals"] = marks(29)
    refused(path, "'observations' holds .*numbers wanted")


@pytest.mark.parametrize("steps", [2**50, 2**28, 2**24])
def test_arrays_of_which_nothing_was_written_are_not_filled_in(tmp_path, steps):
    """Petabytes, gigabytes, and 384 MiB, promised by a file of some kilobytes."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("observations", (steps, 3), "f8", chunks=(1024, 3))
        file["terminals"] = marks(29)
    refused(path, "at most 8 are read|more than 100 times")
    with h5py.File(path, "w") as file:
        file["observations"] = X.reshape(30, 3)
        file.create_dataset("terminals", (20 * steps,), bool, chunks=(1024,))
    refused(path, "at most 8 are read|more than 100 times")


def test_many_episodes_of_nothing_are_counted_together(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for i in range(20):
            file.create_dataset(f"episode_{i}/observations", (2**20, 3), "f8", chunks=(1024, 3))
    refused(path, "more than 100 times")


def test_a_small_array_in_a_huge_chunk_is_refused(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "observations", (30, 3), "f8", chunks=(2**24, 3), maxshape=(None, 3), compression=9
        )
        file["terminals"] = marks(29)
    refused(path, "more than 100 times")


def test_minari_files_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "x.hdf5"
    refused(d4rl(path, episode_one=1.0), "cannot be read")
    refused(d4rl(path, episode_0=1.0), "no array 'observations'; there are none")
    refused(d4rl(path, **{"episode_0/observations": X}), r"got float64 \(6, 5, 3\)")
