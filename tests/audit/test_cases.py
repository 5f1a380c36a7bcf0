"""From file to verdict: faults are named, and without them the verdict is right."""

import json

import h5py
import numpy as np
import pytest

from physmis.audit.audit import audit
from physmis.audit.cli import BAD_INPUT, NO_SHIFT, SHIFT, main
from physmis.audit.demo import smooth_paths


def paths(n, seed, scale=1.0):
    """Smooth paths in the plane, (n, 64, 2), which begin anywhere."""
    rng = np.random.default_rng(seed)
    return scale * smooth_paths(n, rng) + rng.uniform(-4, 4, size=(n, 1, 2))


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


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


def clocked(x, y):
    """A third channel holds the time since 1970."""
    time = np.broadcast_to(1.7e9 + np.arange(64.0)[:, None], (len(x), 64, 1))
    return [np.concatenate([one, time[: len(one)]], axis=-1) for one in (x, y)]


def test_a_clock_is_left_out_by_naming_the_channels(capsys):
    assert ask(capsys, *clocked(paths(300, 0), paths(200, 1)), "--channels 0 1") == SAME


def test_rates_differ(capsys):
    """50 steps a second beside 10: a warning; brought to one rate, nothing."""
    x, y = paths(300, 0), paths(200, 1)[:, ::5]
    line = "--measure mean_speed --dt 0.02 --generated-dt 0.1"
    code, _, kinds = ask(capsys, x, y, line)
    assert "rates" in kinds and "lengths" in kinds
    assert ask(capsys, x[:, ::5], y, "--measure mean_speed --dt 0.1") == SAME


def test_files_of_one_group_an_episode_are_compared(capsys):
    def save(name, x):
        with h5py.File(name, "w") as file:
            for k, one in enumerate(x):
                file[f"data/demo_{k}/obs"] = one
        return name

    demonstrations = save("demos.h5", paths(300, 0))
    assert ask(capsys, demonstrations, save("same.h5", paths(200, 1))) == SAME
    assert ask(capsys, demonstrations, save("longer.h5", paths(200, 1, 1.15)))[0] == SHIFT


def test_topics_that_alternate_are_refused_with_the_reason():
    x = np.cumsum(np.random.default_rng(0).normal(size=(60, 40, 2)), axis=1)
    x[:, ::2, 0] = x[:, 1::2, 1] = np.nan  # each channel is recorded at other moments
    with pytest.raises(ValueError, match="got 0; .*no step has all channels; interpolate each channel first"):
        audit(x, "path_length")
    whole = np.stack([np.stack([np.interp(np.arange(40), at, row[at]) for row, at in
                                ((one[:, 0], np.arange(1, 40, 2)), (one[:, 1], np.arange(0, 40, 2)))], axis=1)
                      for one in x])  # fmt: skip
    assert audit(whole, "path_length").status == "nothing compared"
