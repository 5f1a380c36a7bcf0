"""Files of trajectories: each layout that is read, and what is said of files that cannot be read."""

import contextlib
import os
import pickle
import warnings

import numpy as np
import pandas
import pytest
import torch

from physmis.audit.readers import read, recording

h5py = pytest.importorskip("h5py")

X = np.random.default_rng(0).normal(size=(6, 5, 3))
STEPS = X.reshape(30, 3)
LENGTHS = [4, 9, 2, 15]
RAGGED = np.split(STEPS, [4, 13, 15])


def assert_same(found, expected):
    """The trajectories of recordings, or trajectories."""
    found, expected = (getattr(one, "trajectories", one) for one in (found, expected))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def refused(path, message=None, **options):
    """Reading raises the one error there is, which names the file."""
    with pytest.raises(ValueError, match=message) as caught:
        read(path, **options)
    assert str(path) in str(caught.value)


# numpy


@pytest.mark.parametrize("dtype", [float, np.float32, np.int16, ">f8"])
def test_npy_files_are_read(tmp_path, dtype):
    path = tmp_path / "x.npy"
    np.save(path, (10 * X).astype(dtype))
    assert_same(read(str(path)), (10 * X).astype(dtype))
    assert_same(read(path, array="x"), read(path))  # as the other file of an audit may need it


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_files_are_read(tmp_path, save):
    path = tmp_path / "x.npz"
    for arrays in ({"trajectories": X}, {"x": X}, {"anything": X}, {"x": X, "other": np.zeros(3)}):
        save(path, **arrays)
        assert_same(read(path), X)
    save(path, trajectories=X, x=np.zeros((2, 2, 2)))
    assert_same(read(path), X)
    assert_same(read(path, array="x"), np.zeros((2, 2, 2)))


def test_npz_files_with_lengths_are_cut_into_trajectories(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=STEPS, lengths=LENGTHS)
    assert_same(read(path), RAGGED)
    huge = 2**62  # the sum overflows to 30
    for bad in ([4, 9, 2], [4, 9, 2, 15, 0], [31, -1], [30.0], [[30]], [huge, huge, huge, huge, 30], []):
        np.savez(path, x=STEPS, lengths=bad)
        refused(path, "expected 'lengths'")


def test_npz_files_with_lengths_beside_padded_trajectories_lose_the_padding(tmp_path):
    path, (n, steps, _) = tmp_path / "x.npz", X.shape
    lengths = np.arange(n) % (steps - 1) + 2
    padded = np.where(np.arange(steps)[:, None] < lengths[:, None, None], X, 0)
    np.savez(path, x=padded, lengths=lengths)
    assert_same(read(path), [row[:length] for row, length in zip(X, lengths, strict=True)])
    for bad in ([steps] * (n - 1), [0] * n, [steps + 1] * n, [float(steps)] * n, [[steps]] * n):
        np.savez(path, x=X, lengths=bad)
        refused(path, "'lengths'")


def test_npz_files_without_the_array_that_is_expected_tell_what_there_is(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=X, b=X)
    refused(path, "expected an array .'trajectories', .* or one alone, or its name .--array., got a, b")
    refused(path, "expected an array 'c', got a, b", array="c")
    np.savez(path)
    refused(path, "got none")
    np.savez(path, x=X[:0])
    refused(path, "got none")


def test_channels_are_taken_in_the_order_asked_for(tmp_path):
    whole, ragged = tmp_path / "x.npy", tmp_path / "x.npz"
    np.save(whole, X)
    np.savez(ragged, x=STEPS, lengths=LENGTHS)
    assert_same(read(whole, channels=[2, 0]), X[..., [2, 0]])
    assert_same(read(ragged, channels=[1]), [x[:, [1]] for x in RAGGED])
    for path in (whole, ragged):
        for bad in ([3], [-1], []):
            refused(path, "expected channels from 0 to 2", channels=bad)


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
    d4rl(path, observations=STEPS, terminals=marks(3, 14), timeouts=marks(12, 29))
    assert_same(read(path), RAGGED)
    for name in ("terminals", "timeouts"):
        d4rl(path, observations=STEPS, **{name: marks(3, 12, 14, 29).astype(float)[:, None]})
        assert_same(read(path), RAGGED)


def test_what_follows_the_last_end_and_single_steps_are_left_out(tmp_path):
    path = d4rl(tmp_path / "x.h5", observations=STEPS, terminals=marks(3, 12, 14))
    assert_same(read(path), RAGGED[:3])
    assert read(path).notes == ("15 steps after the last end are left out.",)
    found = read(d4rl(path, observations=STEPS, terminals=marks(0, 1, 29)))
    assert_same(found, [STEPS[2:]])
    assert found.notes == ("2 of 3 pieces have fewer than 2 steps and are left out.",)
    refused(d4rl(path, observations=STEPS, terminals=marks(*range(30))), "2 or more steps, got none")


def test_other_arrays_of_d4rl_files_are_read_by_name(tmp_path):
    path = d4rl(tmp_path / "x.h5", observations=np.zeros((30, 1)), terminals=marks(29), whole=X)
    with h5py.File(path, "a") as file:
        file["infos/qpos"] = STEPS
    assert_same(read(path, array="infos/qpos"), [STEPS])
    assert_same(read(path, array="infos/qpos", channels=[2]), [STEPS[:, [2]]])
    assert_same(read(path, array="whole"), X)
    for absent in ("infos", "infos/x", "x"):
        there = "got infos/qpos, observations, terminals, whole"
        refused(path, f"expected an array '{absent}', {there}", array=absent)


def test_d4rl_files_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "x.h5"
    refused(d4rl(path, observations=STEPS), "expected .* 'terminals' or 'timeouts' for the 30 steps")
    refused(d4rl(path, observations=STEPS, terminals=marks()[:9]), "expected .* for the 30 steps")
    refused(d4rl(path, observations=STEPS, terminals=marks()), "no step of 'terminals' is true; .* convert")
    refused(d4rl(path, observations=3.0, terminals=marks(3)), "expected 'observations' of shape")
    refused(d4rl(path), "expected an array .* 'observations', .*, got none")


# one group an episode, ends of episodes, masks, times


@pytest.mark.parametrize("group", ["data/demo_{}/obs/pos", "traj_{}/obs/pos", "train/episode_{}/obs/pos"])
def test_groups_of_episodes_are_read_in_their_order(tmp_path, group):
    path = tmp_path / "x.hdf5"
    numbered = {k: np.full((3 + k, 2), k) for k in range(12)}
    d4rl(path, **{group.format(k): x for k, x in numbered.items()}, **{"mask/train": np.arange(3)})
    assert_same(read(path), numbered.values())
    d4rl(path, **{group.format(k).replace("/pos", ""): x for k, x in numbered.items()})
    assert_same(read(path), numbered.values())
    d4rl(path, **{group.format(0): STEPS, group.format(0).replace("pos", "quat"): STEPS})
    refused(path, "one alone, or its name .--array., got obs/pos, obs/quat")
    assert_same(read(path, array="obs/quat"), [STEPS])


def save_zarr(path, **arrays):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(path, mode="w", zarr_format=2)
    for name, values in arrays.items():
        group.create_array(name, data=values)


def save_npz(path, **arrays):
    np.savez(path, **{name.rpartition("/")[2]: values for name, values in arrays.items()})


@pytest.mark.parametrize(("save", "suffix"), [(save_npz, "npz"), (save_zarr, "zarr")])
def test_trajectories_end_where_episode_ends_says(tmp_path, save, suffix):
    path = tmp_path / f"x.{suffix}"
    save(path, **{"data/state": STEPS, "meta/episode_ends": np.cumsum(LENGTHS)})
    assert_same(read(path), RAGGED)
    for bad in ([4, 13, 15, 29], [4, 3, 30], [4.0, 30.0], [[30]]):
        save(path, **{"data/state": STEPS, "meta/episode_ends": np.array(bad)})
        refused(path, "expected 'lengths'")
    save_npz(tmp_path / "y.npz", x=STEPS, lengths=np.cumsum(LENGTHS))
    assert_same(read(tmp_path / "y.npz"), RAGGED)
    assert "read as ends" in read(tmp_path / "y.npz").notes[0]


@pytest.mark.parametrize("name", ["valid", "mask"])
def test_steps_that_a_mask_leaves_out_are_missing_and_cut_at_the_end(tmp_path, name):
    path, there = tmp_path / "x.npz", np.ones((6, 5), bool)
    there[2, 3:], there[3, 1] = False, False
    np.savez(path, x=X, **{name: there})
    found = read(path)
    middle = X[3].copy()
    middle[1] = np.nan
    assert_same(found, [X[0], X[1], X[2, :3], middle, X[4], X[5]])
    assert found.notes == (f"'{name}' marks 3 of 30 steps as missing.",)
    np.savez(path, x=X, **{name: there[:, 1:]})
    refused(path, f"expected '{name}' of shape .6, 5., got .6, 4.")


def test_times_beside_arrays_tell_the_step_and_the_gaps(tmp_path):
    path, times = tmp_path / "x.npz", 0.1 * np.arange(5) + np.array([1.7e9] * 6)[:, None]
    np.savez(path, x=X, timestamps=times)
    assert_same(read(path), X)
    assert read(path).dt == pytest.approx(0.1, rel=1e-5)
    times[0, 3:] += 0.1  # nothing was recorded for a step
    np.savez(path, x=X, timestamps=times)
    found = read(path)
    np.testing.assert_array_equal(np.isnan(found.trajectories[0]).all(axis=1), [0, 0, 0, 1, 0, 0])
    assert found.notes == ("1 of 31 steps are absent, and count as missing.",)
    for bad in (np.zeros((6, 5)), np.full((6, 5), np.nan), 10.0 ** np.arange(30).reshape(6, 5)):
        np.savez(path, x=X, timestamps=bad)
        refused(path, "expected times of steps")
    np.savez(path, x=X, timestamps=times[0])
    refused(path, "expected 'timestamps' of shape")


def test_irregular_times_and_rates_that_differ_are_put_on_one_grid(tmp_path):
    """Uniform motion is uniform motion at whatever times it was seen."""
    path, rng = tmp_path / "x.npz", np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.5, 1.5, (6, 50)), axis=1)
    np.savez(path, x=times[..., None] * [1, 2], times=times)
    found = read(path)
    for one in found.trajectories:
        np.testing.assert_allclose(
            np.diff(one, axis=0), np.broadcast_to([1, 2], (len(one) - 1, 2)) * found.dt
        )
    rates = np.array([10.0, 20, 50])
    parts = [np.arange(2 * rate + 1)[:, None] / rate for rate in rates]
    steps = {"x": np.concatenate(parts), "lengths": [len(one) for one in parts]}
    for name, values in (("fps", rates), ("dt", 1 / rates)):
        np.savez(path, **steps, **{name: values})
        assert read(path).dt == pytest.approx(0.1)
        for one in read(path).trajectories:
            np.testing.assert_allclose(one[:, 0], 0.1 * np.arange(21), atol=1e-12)
    np.savez(path, x=X, mocap_framerate=np.array(25.0))
    assert_same(read(path), X)
    assert read(path).dt == pytest.approx(0.04)
    for bad in ([1.0, 2.0], 0.0, np.nan):
        np.savez(path, x=X, fps=bad)
        refused(path, "expected 'fps' as one positive number, or 6")


# tables


def table(parts=RAGGED):
    """A row a step, in no order, with a column that is no channel."""
    rows = [
        {"Episode": i, "frame_index": k, "task_index": 0, "x": x[0], "y": x[1], "z": x[2]}
        for i, part in enumerate(parts)
        for k, x in enumerate(part)
    ]
    return pandas.DataFrame(rows).sample(frac=1, random_state=0)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_are_cut_by_episode_and_sorted_by_time(tmp_path, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    path, frame = tmp_path / f"x.{suffix}", table()

    def save(frame):
        frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)

    save(frame)
    assert_same(read(path), RAGGED)
    assert read(path).notes == ("Channels are x, y, z.",) and read(path).dt is None
    assert_same(read(path, array="z,x"), [x[:, [2, 0]] for x in RAGGED])
    save(frame.assign(timestamp=frame.frame_index / 30))
    assert_same(read(path), RAGGED)
    assert read(path).dt == pytest.approx(1 / 30)
    save(frame[(frame.Episode != 3) | (frame.frame_index != 7)])
    absent = RAGGED[3].copy()
    absent[7] = np.nan
    assert_same(read(path), [*RAGGED[:3], absent])
    refused(path, "expected columns w, got", array="w")
    save(frame.drop(columns="Episode"))
    refused(path, "expected columns of trajectories, .*, got frame_index, .* two lines convert")


def test_data_frames_may_say_what_tells_trajectories_apart():
    frame = table().rename(columns={"Episode": "who"})
    assert_same(recording(frame, by="who"), RAGGED)
    frame["where"] = "a"
    assert_same(recording(frame, by=["where", "who"], channels=[1]), [x[:, [1]] for x in RAGGED])
    nullable = frame.convert_dtypes()
    nullable.loc[nullable.index[5], "x"] = pandas.NA
    found = recording(nullable, by="who").trajectories
    assert sum(np.isnan(one).any(axis=1).sum() for one in found) == 1
    for by in (None, "which"):
        with pytest.raises(ValueError, match=r"expected columns of trajectories.*recording\(frame, by="):
            recording(frame, by=by)


def test_folders_of_lerobot_are_read(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "data" / "chunk-000").mkdir(parents=True)
    frame = table().assign(timestamp=lambda rows: (rows.frame_index / 30).astype(np.float32))
    frame["observation.state"] = list(frame[["x", "y", "z"]].to_numpy())
    frame = frame.drop(columns=["x", "y"]).rename(columns={"Episode": "episode_index"})
    for k in range(2):
        frame[frame.episode_index // 2 == k].to_parquet(
            tmp_path / "data" / "chunk-000" / f"file-00{k}.parquet"
        )
    assert_same(read(tmp_path), RAGGED)
    assert read(tmp_path).dt == pytest.approx(1 / 30, rel=1e-3)


def test_arrays_and_tensors_are_recordings():
    for given in (X, list(X), torch.tensor(X, requires_grad=True), [torch.tensor(x) for x in X], X.tolist()):
        assert_same(recording(given), X)
    assert_same(recording(X, channels=[1]), X[..., [1]])
    assert_same(recording([*X, X[0, :1]]), X)
    with pytest.raises(TypeError, match="expected trajectories, got int"):
        recording(3)


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
    refused(root / place, "expected an array 'x', got actions, observations, rewards", array="x")


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
def test_every_storage_of_minari_is_read_from_its_folder_and_as_a_data_set(minari_sets, data_format):
    root, expected = minari_sets
    if data_format != "hdf5":
        pytest.importorskip("pyarrow")
    import minari
    from minari.data_collector import EpisodeBuffer

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("MINARI_DATASETS_PATH", str(root.parent))
        name = f"test/goals-{data_format}-v0"
        goals = minari.load_dataset("test/goals-v0")
        if data_format != "hdf5":
            episodes = goals.iterate_episodes()
            minari.create_dataset_from_buffers(
                name,
                buffer=[EpisodeBuffer(**vars(one) | {"id": k}) for k, one in enumerate(episodes)],
                observation_space=goals.observation_space,
                action_space=goals.action_space,
                data_format=data_format,
            )
            goals = minari.load_dataset(name)
        folder = goals.storage.data_path.parent
        for found in (read(folder, "observations/goal"), recording(goals, array="observations/goal")):
            assert_same(found, [x[:, :2] for x in expected])
    refused(folder, "observations/observation")


# files that are not what they seem


def test_other_files_are_refused(tmp_path):
    refused(tmp_path / "x.npy", "No such file")
    refused(tmp_path, "expected .* or a folder of Minari or LeRobot")
    (tmp_path / "x.mat").write_text("1,2")
    refused(
        tmp_path / "x.mat", r"expected \.npz, .*, \.parquet or a folder of .*np\.savez.*; a \.mat .* \.h5"
    )
    refused(tmp_path / "x.txt", r"np\.savez.*for one in episodes\]\)\)$")
    for suffix in ("npy", "npz", "h5", "hdf5", "csv", "parquet", "zarr"):
        path = tmp_path / f"text.{suffix}"
        for text in ("these are no numbers\n" * 100, ""):
            path.write_text(text)
            refused(path, "cannot be read")


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
    np.savez(tmp_path / "y.npz", x=STEPS, lengths=harm)
    (tmp_path / "raw.npy").write_bytes(b"\x80\x04.")  # where numpy.load would try pickle
    zarr, numcodecs = pytest.importorskip("zarr"), pytest.importorskip("numcodecs")
    group = zarr.open_group(tmp_path / "x.zarr", mode="w", zarr_format=2)
    group.create_array("state", shape=(8,), chunks=(8,), dtype=float, compressors=numcodecs.Pickle())
    (tmp_path / "x.zarr" / "state" / "0").write_bytes(pickle.dumps(Harm(tmp_path / "harm")))
    for name in ("x.npy", "x.npz", "y.npz", "raw.npy", "x.zarr"):
        refused(tmp_path / name, "cannot be read")
    assert not (tmp_path / "harm").exists()


def test_a_mat_file_is_read_as_hdf5_under_that_name(tmp_path):
    """MATLAB writes 512 bytes of its own before what is HDF5."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["x"] = X
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")
    assert_same(read(path), X)


def test_damaged_files_raise_no_other_error(tmp_path):
    np.save(tmp_path / "a.npy", X)
    np.savez(tmp_path / "b.npz", x=STEPS, lengths=LENGTHS)
    np.savez_compressed(tmp_path / "c.npz", x=X)
    d4rl(tmp_path / "d.h5", observations=STEPS, terminals=marks(3, 29))
    rng, refusals = np.random.default_rng(0), 0
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        refused(path)
        head = np.flatnonzero(np.frombuffer(whole, np.uint8))  # where there is something to damage
        for at in rng.choice(head, 40):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.integers(8)]) + whole[at + 1 :])
            with warnings.catch_warnings(), contextlib.suppress(ValueError):
                warnings.simplefilter("ignore")
                read(path)
                continue
            refusals += 1
    assert refusals > 20
