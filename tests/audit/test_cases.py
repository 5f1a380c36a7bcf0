"""Layouts that people have, from file to verdict: faults are named, and without them the verdict is right."""

import json

import h5py
import numpy as np
import pytest

from physmis.audit.audit import audit
from physmis.audit.cli import BAD_INPUT, NO_SHIFT, SHIFT, main
from physmis.audit.demo import smooth_paths

MEASURE = "def outside(x):\n    return (abs(x) > 8).any(axis=(1, 2)).astype(float)\n"


def paths(n, seed, scale=1.0):
    """Smooth paths in the plane, (n, 64, 2), which begin anywhere."""
    rng = np.random.default_rng(seed)
    return scale * smooth_paths(n, rng) + rng.uniform(-4, 4, size=(n, 1, 2))


def ragged(n, seed):
    """The same of 40 to 64 steps: the beginnings of such paths."""
    lengths = np.random.default_rng([seed, 1]).integers(40, 65, size=n)
    return [one[:length] for one, length in zip(paths(n, seed), lengths, strict=True)]


def flat(parts):
    return {"x": np.concatenate(parts), "lengths": [len(one) for one in parts]}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # restores sys.path, too


def ask(capsys, demonstrations, generated, line=""):
    """Exit code, status and kinds of warnings of an audit of two files, given as arrays by name."""
    files = []
    for name, given in {"demos": demonstrations, "plans": generated}.items():
        files.append(given if isinstance(given, str) else f"{name}.npz")
        if not isinstance(given, str):
            np.savez(f"{name}.npz", **(given if isinstance(given, dict) else {"x": given}))
    words = f"audit {files[0]} --generated {files[1]} --no-forecast --json {line}".split()
    measure = [] if "--measure" in words else ["--measure", "path_length"]
    code = main([*words, *measure])
    out, err = capsys.readouterr()
    if code == BAD_INPUT:
        return code, err, set()
    (one,) = json.loads(out)["audits"]
    return code, one["status"], {warning["kind"] for warning in one["warnings"]}


SAME = NO_SHIFT, "no shift detected", set()


def test_marks_of_the_end_that_stay_true_are_no_shift_of_the_model(capsys):
    """As in AntMaze, where a terminal is a step near the goal, which is passed, and left again."""
    x, marks = paths(300, 0), np.zeros((2, 300, 64), bool)
    marks[0, :, 30:35], marks[1, :, -1] = True, True
    steps = {"terminals": marks[0].ravel(), "timeouts": marks[1].ravel()}
    given = {"x": np.concatenate(x), **steps}
    assert ask(capsys, given, paths(200, 1)) == (SHIFT, "shift detected", {"pieces", "lengths"})
    code, err, _ = ask(capsys, given, paths(200, 1), "--strict")
    assert code == BAD_INPUT and "demonstrations: 67% of the pieces have fewer than 2 steps" in err


def test_nothing_is_wrong(capsys):
    assert ask(capsys, paths(300, 0), paths(200, 1)) == SAME
    assert ask(capsys, paths(300, 0), paths(200, 1, 1.15)) == (SHIFT, "shift detected", set())


def channels_first(x, y):
    return x.transpose(0, 2, 1), y.transpose(0, 2, 1)


def glued(x, y):
    """Ends of episodes are ten steps late."""
    return [{"x": one.reshape(-1, 2), "timeouts": np.arange(one[..., 0].size) % 64 == 9} for one in (x, y)]


def padded(x, y):
    """To one length by the last step."""
    return [np.concatenate([one[:, :40], np.repeat(one[:, 39:40], 24, axis=1)], axis=1) for one in (x, y)]


def windows(x, y):
    """Of 16 steps, each begun a step later than the one before."""
    cut = [np.lib.stride_tricks.sliding_window_view(one[:20], 16, axis=1) for one in (x, y)]
    return [one.reshape(-1, *one.shape[2:]).transpose(0, 2, 1) for one in cut]


def millimetres(x, y):
    return x, 1000 * y


def one_step_more(x, y):
    """T + 1 observations beside T."""
    return x, y[:, :-1]


def clocked(x, y):
    """A third channel holds the time since 1970."""
    time = np.broadcast_to(1.7e9 + np.arange(64.0)[:, None], (len(x), 64, 1))
    return [np.concatenate([one, time[: len(one)]], axis=-1) for one in (x, y)]


FAULTS = {
    "axes": channels_first, "jumps": glued, "tails": padded, "windows": windows, "units": millimetres,
    "lengths": one_step_more, "clock": clocked,
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_named_and_refused_if_strict(capsys, kind):
    given = FAULTS[kind](paths(300, 0), paths(200, 1))
    code, status, kinds = ask(capsys, *given)
    assert code != BAD_INPUT and kind in kinds
    code, message, _ = ask(capsys, *given, "--strict")
    assert code == BAD_INPUT and "--strict: " in message


def test_a_clock_is_left_out_by_naming_the_channels(capsys):
    assert ask(capsys, *clocked(paths(300, 0), paths(200, 1)), "--channels 0 1") == SAME


def test_rates_differ(capsys):
    """50 steps a second beside 10: a warning; brought to one rate, nothing."""
    x, y = paths(300, 0), paths(200, 1)[:, ::5]
    line = "--measure mean_speed --dt 0.02 --generated-dt 0.1"
    code, _, kinds = ask(capsys, x, y, line)
    assert "rates" in kinds and "lengths" in kinds
    assert ask(capsys, x[:, ::5], y, "--measure mean_speed --dt 0.1") == SAME


def test_a_quantity_is_constant_in_the_demonstrations(capsys):
    """None leaves the table, and a quarter of the plans does."""
    with open("mine.py", "w") as file:
        file.write(MEASURE)
    x, y = np.clip(paths(300, 0), -8, 8), np.clip(paths(200, 1), -8, 8)
    assert ask(capsys, x, y, "--measure mine.py:outside")[:2] == (NO_SHIFT, "no shift detected")
    y[::4, 30:] += 20
    assert ask(capsys, x, y, "--measure mine.py:outside")[:2] == (SHIFT, "shift detected")


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_model_diverges(capsys, value):
    """Once in 200 samples is no shift of the others; a tenth of all is one."""
    y = paths(200, 1)
    y[3, 20:] = value
    assert ask(capsys, paths(300, 0), y)[:2] == (NO_SHIFT, "no shift detected")
    y[::10, 20:] = value
    assert ask(capsys, paths(300, 0), y)[:2] == (SHIFT, "shift detected")


# layouts that are read


def one_group_an_episode(name, parts):
    with h5py.File(f"{name}.hdf5", "w") as file:
        for k, part in enumerate(parts):
            file[f"data/demo_{k}/obs"] = part
    return f"{name}.hdf5"


def ends_of_episodes(name, parts):
    return {"state": np.concatenate(parts), "episode_ends": np.cumsum([len(one) for one in parts])}


def mask_beside_padding(name, parts):
    x, valid = np.full((len(parts), 64, 2), -1.0), np.zeros((len(parts), 64), bool)
    for k, part in enumerate(parts):
        x[k, : len(part)], valid[k, : len(part)] = part, True
    return {"x": x, "valid": valid}


def shuffled_table(name, parts):
    rows = [(k, step, *x) for k, part in enumerate(parts) for step, x in enumerate(part)]
    np.random.default_rng(0).shuffle(rows)
    lines = [f"{int(k)},{int(step)},{x},{y}" for k, step, x, y in rows]
    with open(f"{name}.csv", "w") as file:
        file.write("\n".join(["episode_index,frame_index,x,y", *lines]))
    return f"{name}.csv"


def ends_beside_a_cut_tail(name, parts):
    x = np.concatenate(parts)
    ends = np.isin(np.arange(1, len(x) + 1), np.cumsum([len(one) for one in parts]))
    return {"observations": np.concatenate([x, x[:7]]), "timeouts": np.append(ends, np.zeros(7, bool))}


LAYOUTS = [
    one_group_an_episode,
    ends_of_episodes,
    mask_beside_padding,
    shuffled_table,
    ends_beside_a_cut_tail,
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_read_as_what_it_is(capsys, layout):
    """The same verdict, and the same quantities, as those of the plain arrays."""
    parts, same, longer = ragged(300, 0), ragged(200, 1), [1.2 * one for one in ragged(200, 2)]
    assert ask(capsys, layout("a", parts), layout("b", same)) == SAME
    assert ask(capsys, layout("a", parts), layout("c", longer))[:2] == (SHIFT, "shift detected")
    assert ask(capsys, layout("a", parts), flat(same)) == SAME


def test_topics_that_alternate_are_refused_with_the_reason():
    x = np.cumsum(np.random.default_rng(0).normal(size=(60, 40, 2)), axis=1)
    x[:, ::2, 0] = x[:, 1::2, 1] = np.nan  # each channel is recorded at other moments
    with pytest.raises(ValueError, match="got 0; .*no step has all channels; interpolate each channel first"):
        audit(x, "path_length")
    whole = np.stack([np.stack([np.interp(np.arange(40), at, row[at]) for row, at in
                                ((one[:, 0], np.arange(1, 40, 2)), (one[:, 1], np.arange(0, 40, 2)))], axis=1)
                      for one in x])  # fmt: skip
    assert audit(whole, "path_length").status == "nothing compared"
