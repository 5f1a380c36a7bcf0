"""Faults of recording are named, and clean motion of many kinds raises no warning."""

import itertools
import re

import numpy as np
import pytest

from physmis.audit.data_checks import check
from physmis.audit.demo import smooth_paths
from physmis.audit.measurements import path_length
from physmis.tasks import load


def reaches(n, steps, rng):
    """From point to point along a curve, at rest at either end."""
    s = np.linspace(0, 1, steps)[:, None]
    s = 10 * s**3 - 15 * s**4 + 6 * s**5
    start, way, side = rng.normal(size=(3, n, 1, 2))
    return start + way * s + 0.3 * side * np.sin(np.pi * s)


def walks(n, steps, rng):
    return np.cumsum(rng.normal(size=(n, steps, 2)), axis=1)


def noise(n, steps, rng):
    return rng.normal(size=(n, steps, 2))


def autoregressive(n, steps, rng):
    x = rng.normal(size=(n, steps, 3))
    for t in range(1, steps):
        x[:, t] = 0.8 * x[:, t - 1] + 0.6 * x[:, t]
    return x


def heavy_tails(n, steps, rng):
    return np.cumsum(rng.standard_t(3, size=(n, steps, 2)), axis=1)


def circles(n, steps, rng):
    angle = 0.2 * np.arange(steps) + rng.uniform(0, 2 * np.pi, (n, 1))
    return rng.uniform(0.5, 2, (n, 1, 1)) * np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def chaos(n, steps, rng):
    x, r = rng.uniform(0, 1, (n, steps, 1)), rng.uniform(2.5, 4, (n, 1))
    for t in range(1, steps):
        x[:, t] = r * x[:, t - 1] * (1 - x[:, t - 1])
    return x


def counts(n, steps, rng):
    return np.cumsum(rng.poisson(0.1, (n, steps, 1)), axis=1)


def grid(n, steps, rng):
    moves = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]])
    return np.cumsum(moves[rng.integers(0, 5, (n, steps))], axis=1)


def millimetres(n, steps, rng):
    return np.round(1000 * reaches(n, steps, rng))


def waits(n, steps, rng):
    """Rest, a reach of a sixth of the time, and noise of the sensor."""
    x = reaches(n, max(4, steps // 6), rng)
    x = np.concatenate([np.repeat(x[:, :1], steps - x.shape[1], axis=1), x], axis=1)
    return x + 1e-4 * rng.normal(size=x.shape)


def settles(n, steps, rng):
    """Swings about its goal, and comes to rest there by the last digits of single precision."""
    start, goal = rng.normal(size=(2, n, 1, 2))
    t = np.arange(steps)[:, None]
    return (goal + start * np.exp(-rng.uniform(0.3, 1, (n, 1, 1)) * t) * np.cos(0.5 * t)).astype(np.float32)


def drives(n, steps, rng):
    """Forward throughout, at speeds of their own, and a little to the side."""
    speed = rng.uniform(5, 15, (n, 1)) + np.cumsum(0.2 * rng.normal(size=(n, steps)), axis=1)
    return np.stack([np.cumsum(speed, axis=1), np.cumsum(rng.normal(size=(n, steps)), axis=1)], axis=-1)


def bounces(n, steps, rng):
    x, (height, speed) = np.empty((n, steps, 1)), rng.uniform(0.5, 2, (2, n))
    for t in range(steps):
        x[:, t, 0] = height
        speed = speed - 0.3
        height = height + 0.03 * speed
        speed, height = np.where(height < 0, -0.9 * speed, speed), np.abs(height)
    return x


def robots(n, steps, rng):
    """Six joints, a gripper that closes at once, and a channel that never moves."""
    joints = [reaches(n, steps, rng) for _ in range(3)]
    closed = np.arange(steps) > rng.integers(1, steps - 1, (n, 1))
    return np.concatenate([*joints, 0.08 * closed[..., None], np.ones((n, steps, 1))], axis=-1)


CLEAN = [
    *(reaches, walks, noise, autoregressive, heavy_tails, circles, chaos, counts, grid, millimetres),
    *(waits, settles, drives, bounces, robots),
]


def test_clean_motion_raises_warnings_in_one_pair_of_a_hundred_at_most():
    false, pairs = [], 0
    for kind in CLEAN:
        for seed in range(8):
            rng = np.random.default_rng([seed, 11])
            steps, sizes = (16, 32, 64, 128)[seed % 4], rng.choice([20, 60, 120], 2)
            x, y = (kind(n, steps, rng) for n in sizes)
            if seed > 5:
                x, y = ([one[: rng.integers(steps // 2, steps + 1)] for one in side] for side in (x, y))
            z = [[path_length(one[None])[0] for one in side] for side in (x, y)]
            false += [(kind.__name__, found) for found in check([x, y], z)]
            pairs += 1
    assert len({name for name, _ in false}) <= pairs / 100, false


@pytest.mark.parametrize("name", ["sine", "cone", "logistic"])
def test_tasks_raise_no_warning(name):
    x, y = (load(name).sample(200, np.random.default_rng(seed)).x for seed in (0, 1))
    assert check([x, y]) == []


RNG = np.random.default_rng(7)
X, Y = reaches(300, 60, RNG), reaches(200, 60, RNG)
RUN = walks(1, 3000, RNG)[0]
ANGLE = np.cumsum(RNG.normal(0.15, 0.02, (100, 60, 1)), axis=1) + RNG.uniform(0, 6, (100, 1, 1))


def with_values(x, steps, value):
    x = x.copy()
    x[:, steps] = value
    return x


def padded(x, value=None):
    """The last third of each made one value, or its last."""
    return [np.concatenate([one[:40], np.full((20, 2), one[39] if value is None else value)]) for one in x]


def joined(x, share):
    """Pieces as they are where a share of the ends is not marked."""
    marked = np.arange(len(x)) % round(1 / share) > 0
    return [np.concatenate(x[a:b]) for a, b in itertools.pairwise([0, *np.flatnonzero(marked) + 1])]


def clock(x, start=0.0):
    times = np.broadcast_to(start + 0.02 * np.arange(x.shape[1]), x.shape[:2])
    return np.concatenate([times[..., None], x], axis=-1)


@pytest.mark.parametrize(
    ("x", "kind", "remedy"),
    [
        (X.transpose(0, 2, 1), "axes", r"transpose\(0, 2, 1\)"),
        (X.transpose(1, 0, 2), "axes", r"transpose\(1, 0, 2\)"),
        (np.concatenate([X[:150, 20:], X[150:, :20]], axis=1), "jumps", "cut glued episodes"),
        (with_values(X, slice(20, 23), -99.0), "jumps", "fill values to NaN"),
        (with_values(X, 30, 0.0), "jumps", "fill values to NaN"),
        (ANGLE % (2 * np.pi), "jumps", "unwrap the angle"),
        (np.degrees(ANGLE) % 360, "jumps", "unwrap the angle"),
        (padded(X), "tails", "give lengths"),
        (padded(X, -1.0), "tails", "give lengths"),
        ([RUN[k : k + 16] for k in range(0, 400, 2)], "windows", "whole episodes"),
        ([RUN[k : k + 16] for k in RNG.permutation(400)], "windows", "whole episodes"),
        (np.concatenate([X[:100]] * 2), "windows", "whole episodes"),
        (
            [RUN[k : k + 30] for k in range(0, 3000, 30)],
            "run",
            "pieces of one run: each .* not independent; take",
        ),
        (joined(X, 0.1), "ends", "11% are much longer than the 60 steps of most: ends are missing"),
        (clock(X), "clock", "--channels 1 2"),
        (clock(X, 1.7e9), "clock", "--channels 1 2"),
        ([one[: 40 + row % 20] for row, one in enumerate(clock(X))], "clock", "--channels 1 2"),
        (np.concatenate([X, np.gradient(X, 0.02, axis=1)], axis=-1), "velocity", "--channels"),
        (np.where(RNG.random((300, 60, 1)) < 0.2, np.nan, X), "gaps", "same gaps"),
        (np.where(np.indices(X.shape)[1:].sum(axis=0) % 2 == 0, np.nan, X), "gaps", "interpolate each"),
    ],
)
def test_a_fault_of_one_side_is_named_with_its_remedy(x, kind, remedy):
    for side, found in (("demonstrations", check([x])), ("generated", check([X, x]))):
        texts = {one.kind: one.message for one in found if one.side == side}
        assert texts.keys() <= {kind, "jumps"}  # to what fills a gap there is a jump
        assert re.match(f"{side}: .*{remedy}.*[.]$", texts[kind])


def test_a_run_whose_pieces_are_joined_says_how_long_they_are():
    """With ends at random the lengths alone tell little; beside a run they are worth a look."""
    parts = np.array_split(
        RUN, np.sort(np.random.default_rng(0).choice(np.arange(1, 3000), 80, replace=False))
    )
    (found,) = (one for one in check([parts]) if one.kind == "run")
    assert f"one has {max(map(len, parts))} steps" in found.message and "ends are missing" in found.message


@pytest.mark.parametrize(
    ("y", "kind", "remedy"),
    [
        (Y[:, :-1], "lengths", "cut the first or last step"),
        (Y[:, ::5], "lengths", "resample"),
        (1000 * Y, "units", "1000 times"),
        (Y / 100, "units", "0.01 times"),
        (Y / np.abs(Y).max(axis=(0, 1)), "units", "normalisation"),
        (Y + [0, 50], "ranges", "channel 1 has"),
    ],
)
def test_what_does_not_fit_together_is_named(y, kind, remedy):
    assert check([X, Y]) == []
    found = {one.kind: one for one in check([X, y])}
    assert found[kind].side == "both" and remedy in found[kind].message


def test_rates_are_compared_where_they_are_known():
    assert check([X, Y], steps=[0.02, 0.02]) == []
    (found,) = check([X, Y], steps=[0.02, 0.1])
    assert found.kind == "rates" and "50 steps a second" in found.message


def test_neighbours_that_are_alike_are_noticed():
    rng = np.random.default_rng(0)
    z = np.cumsum(rng.normal(size=300))
    assert [one.kind for one in check([X], [z])] == ["dependence"]
    assert check([X], [rng.permutation(z)]) == []
    assert check([X], [np.full(300, np.nan)]) == check([X], [np.ones(300)]) == []


def test_data_too_poor_to_look_at_raise_nothing():
    huge = np.full((30, 8, 2), 1e300) * np.random.default_rng(0).choice([-1, 1], (30, 8, 2))
    for x in (np.zeros((30, 8, 2)), X[:2], X[:1], X[:, :2], huge, np.zeros((3, 2, 1))):
        check([x, x + 0.0])
    assert check([smooth_paths(50, np.random.default_rng(0)), [np.empty((0, 2))] * 20]) == []
