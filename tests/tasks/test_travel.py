"""The parts of a travel distance, on paths whose parts are known."""

import numpy as np
import pytest

from physmis.tasks import load
from physmis.tasks.maze import layout
from physmis.tasks.travel import smooth, split, visited

TASK = load("maze", maze="umaze")
ROUND = [(-1, 1), (1, 1), (1, -1), (-1, -1)]  # the corners of the U


def along(*corners, steps=64):
    """Positions at equal distances along straight lines."""
    corners = np.array(corners, dtype=float)
    lengths = np.concatenate([[0], np.linalg.norm(np.diff(corners, axis=0), axis=1).cumsum()])
    at = np.linspace(0, lengths[-1], steps)
    return np.stack([np.interp(at, lengths, side) for side in corners.T], axis=-1)[None]


def test_the_filter_keeps_lines_and_slow_turns_and_takes_off_jitter():
    line = along((-1, 1), (1, 1))
    np.testing.assert_allclose(smooth(line), line, atol=1e-12)
    t = np.arange(64)
    slow = 0.3 * np.sin(2 * np.pi * t / 40)  # 2.4 s
    fast = 0.02 * np.cos(np.pi * t)  # as fast as there is
    both = line.copy()
    both[0, :, 1] += slow + fast
    left = smooth(both)[0, :, 1] - line[0, :, 1]
    middle = slice(8, -8)
    np.testing.assert_allclose(left[middle], slow[middle], atol=0.01)


def test_the_filter_halves_what_swings_in_about_0_4_seconds():
    t = np.arange(64)
    wave = np.zeros((1, 64, 2))
    found = []
    for period in (4, 7, 12):  # steps of 0.06 s
        wave[0, :, 0] = np.cos(2 * np.pi * t / period)
        kept = smooth(wave)[0, 8:-8, 0]
        found.append(kept @ wave[0, 8:-8, 0] / (wave[0, 8:-8, 0] @ wave[0, 8:-8, 0]))
    assert abs(found[0]) < 0.3 and found[1] == pytest.approx(0.5, abs=0.1) and found[2] > 0.9


def test_the_parts_of_known_paths():
    straight = split(TASK, along((-1, 1), (1, 1)))
    assert straight.route[0] == 2 and abs(straight.manner[0]) < 1e-9 and abs(straight.jitter[0]) < 1e-9
    whole = split(TASK, along(*ROUND))
    assert whole.route[0] == 6 and -0.3 < whole.manner[0] < 0  # the filter rounds corners off
    there_and_back = split(TASK, along((-1, 1), (1, 1), (-1, 1)))
    assert there_and_back.route[0] == 4
    cut = split(TASK, along((-1, 1), (0.6, 1), (1, 0.6), (1, -1), (-1, -1)))
    assert cut.route[0] == 6 and cut.manner[0] < whole.manner[0] - 0.1
    half = split(TASK, along((-1, 1), (-0.25, 1), (-1, 1)))  # turns back inside the next cell
    assert half.route[0] == 2 and half.manner[0] < -0.4


def test_parts_add_up_and_jitter_is_jitter():
    rng = np.random.default_rng(0)
    path = np.repeat(along(*ROUND), 200, axis=0)
    noisy = path + 0.02 * rng.standard_normal(path.shape)
    parts, calm = split(TASK, noisy), split(TASK, path)
    np.testing.assert_allclose(sum(parts), TASK.measure(noisy))
    assert (parts.route == calm.route).all()
    gained = (TASK.measure(noisy) - TASK.measure(path)).mean()
    assert (parts.jitter - calm.jitter).mean() > 0.75 * gained  # the rest is within the band of the filter


def test_a_path_along_a_border_does_not_go_to_and_fro():
    t = np.linspace(0, 1, 64)
    path = np.stack([np.full(64, 0.5) + 0.05 * np.sin(40 * t), 1 + 0.2 * t], axis=-1)[None]
    cells = visited(TASK, path)[0]
    assert len(np.unique(cells)) == 1


def test_a_way_through_a_wall_counts_as_the_way_round():
    through = along((-1, 1), (-1, -1))
    assert split(TASK, through).route[0] == layout("umaze").moves[0, -3] == 6
    outside = through + np.array([-5.0, 0.0])
    assert np.isfinite(sum(split(TASK, outside))).all()


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(n, 64, 2\) wanted"):
        split(TASK, np.zeros((3, 10, 2)))
