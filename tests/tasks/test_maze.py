"""The maze: geometry by hand-made paths, physics by the environment, curation, plans and their execution."""

import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mujoco import rollout

from physmis.tasks import load, maze_demonstrations, path_length
from physmis.tasks.maze_demonstrations import CHUNK, FORCE, STRATA, collect, drive, pick, propose
from physmis.tasks.maze_layout import MAZES, layout, make_environment
from physmis.tasks.maze_plans import execute, plan

SMALL = {"maze": "umaze", "low": 1.0, "high": 4.0}
HARD = {"maze": "umaze", "low": 2.0, "high": 4.5, "noise": 0.5, "detours": True, "prior": "humps"}


@pytest.fixture(scope="module")
def task():
    return load("maze", **SMALL)


@pytest.fixture(scope="module", params=[SMALL, HARD], ids=["plain", "hard"])
def chunk(request):
    task = load("maze", **request.param)
    return SimpleNamespace(task=task, **collect(task, 0))


def straight(start, end, steps=32):
    return np.linspace(start, end, steps)[None]


# geometry


@pytest.mark.parametrize("maze", MAZES)
def test_the_layout_is_that_of_the_environment(maze):
    plan_, environment = layout(maze), make_environment(maze)
    assert (plan_.free == (np.array(environment.maze.maze_map) == 0)).all()
    for cell, centre in zip(plan_.cells, plan_.centres, strict=True):
        np.testing.assert_allclose(environment.maze.cell_rowcol_to_xy(cell), centre)


@pytest.mark.parametrize("maze", ["umaze", "medium"])
def test_routes_are_shortest_and_lead_through_free_neighbours(maze):
    plan_ = layout(maze)
    for start in range(len(plan_.cells)):
        depth, front = {start: 0}, [start]  # breadth first, by hand
        for cell in front:
            for other in range(len(plan_.cells)):
                if other not in depth and np.abs(plan_.cells[cell] - plan_.cells[other]).sum() == 1:
                    depth[other] = depth[cell] + 1
                    front.append(other)
        for goal in range(len(plan_.cells)):
            way = plan_.route(start, goal)
            assert way[0] == start and way[-1] == goal and len(way) - 1 == depth[goal]
            assert plan_.moves[start, goal] == depth[goal]
            assert (np.abs(np.diff(plan_.cells[way], axis=0)).sum(axis=1) == 1).all()


def test_depth_of_hand_made_points():
    # The upper left free cell of "umaze" is centred at (-1, 1), with walls above, below and to the left.
    depth = layout("umaze").depth
    points = np.array([[-1, 1], [-1, 1.35], [-1, 1.45], [-1.4, 1.45], [-1, 1.5], [-1, 1.7], [0, 0], [50, 50]])
    found = depth(points.astype(float))
    np.testing.assert_allclose(found[:6], [0, 0, 0.05, 0.05, 0.1, 0.3], atol=0.011)
    assert found[6] == pytest.approx(0.6, abs=0.02) and found[7] > 0.5
    corner = np.array([0.5, 0.5]) + 0.05 / 2**0.5  # off the corner of the wall at (0, 0)
    assert depth(corner[None])[0] == pytest.approx(0.05, abs=0.011)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.floats(-2.4, 2.4), st.floats(-2.4, 2.4))
def test_depth_is_the_radius_less_the_distance_to_the_walls(x, y):
    plan_ = layout("umaze")
    rows, columns = plan_.free.shape
    walls = np.argwhere(~plan_.free)
    centres = np.stack([walls[:, 1] + 0.5 - columns / 2, rows / 2 - walls[:, 0] - 0.5], axis=1)
    apart = np.linalg.norm(np.maximum(np.abs([x, y] - centres) - 0.5, 0), axis=1).min()
    found = plan_.depth(np.array([[x, y]]))[0]
    if apart > 0.02:
        assert found == pytest.approx(max(0.1 - apart, 0), abs=0.012)
    elif not plan_.free[int(rows / 2 - y), int(x + columns / 2)]:
        assert found > 0.07


def test_paths_through_walls_are_invalid_and_others_are_not(task):
    through, along = straight((-1, 1), (-1, -1)), straight((-1, 1), (1, 1))
    assert task.wall_depth(through)[0] > 0.5 and task.validity(through)[0] > task.tolerance
    assert task.validity(along)[0] == 0
    leap = along.copy()
    leap[0, 16:] = leap[0, -1]  # a leap of one metre
    assert task.wall_depth(leap)[0] == 0 and task.overreach(leap)[0] > 0.5
    assert task.validity(leap)[0] > task.tolerance
    # between two positions on either side of a wall's corner
    cut = np.repeat([[0.35, 0.65], [0.65, 0.35]], 16, axis=0)[None]
    inside = layout("umaze").depth(cut)[0].max()
    assert task.wall_depth(cut)[0] > inside


def test_what_full_force_allows_is_no_overreach():
    task = load("maze", **SMALL, stride=6)
    dt, strongest = task.interval, (100 + 5) / (4 / 3 * np.pi * 0.1**3 * 1000)
    t = np.arange(4) * dt
    path = np.zeros((1, 32, 2))
    path[0, 28:, 0] = strongest * t**2 / 2
    assert task.overreach(path)[0] == pytest.approx(0, abs=1e-9)
    path[0, 28:, 0] *= 1.5
    assert task.overreach(path)[0] == pytest.approx(0.5 * strongest * dt**2, rel=1e-6)


# the measurement


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_travel_distance_is_the_sum_of_the_pieces(seed):
    task, x = load("maze"), np.random.default_rng(seed).normal(size=(3, 32, 2))
    by_hand = [sum(np.hypot(*(b - a)) for a, b in zip(row, row[1:], strict=False)) for row in x]
    for found in (task.measure(x), path_length(x)):
        np.testing.assert_allclose(found, by_hand)
    for row, length in zip(x, by_hand, strict=True):
        assert float(task.differentiable(torch.from_numpy(row))) == pytest.approx(length)


# the demonstrations


@pytest.mark.parametrize("detours", [False, True])
def test_ways_lead_from_cell_to_cell_and_are_shortest_without_detours(detours):
    plan_ = layout("umaze")
    points, lengths, cells = propose(plan_, detours, 400, np.random.default_rng(0))
    np.testing.assert_allclose(lengths, path_length(points))
    longer = 0
    for way, (start, goal) in zip(points, cells, strict=True):
        apart = np.abs(way[:, None] - plan_.centres).max(axis=-1)
        route = apart.argmin(axis=1)
        count = 1 + np.flatnonzero((np.diff(way, axis=0) != 0).any(axis=1)).max()  # the rest repeats the goal
        assert (route[0], route[count]) == (start, goal) and (way[count:] == way[count]).all()
        assert (plan_.moves[route[:count], route[1 : count + 1]] == (start != goal or count > 1)).all()
        assert (
            apart.min(axis=1)[[0, count]].max() <= 0.3 and apart.min(axis=1)[1:count].max(initial=0) <= 0.05
        )
        longer += count > max(plan_.moves[start, goal], 1)
    assert longer > 100 if detours else longer == 0
    spread = points[:, 0] - plan_.centres[cells[:, 0]]
    assert spread.min() < -0.29 and spread.max() > 0.29
    assert len(np.unique(cells, axis=0)) == len(plan_.cells) ** 2  # every pair


def test_each_fortieth_of_the_prior_of_travel_distance_is_met_equally_often(chunk):
    batch = chunk.task.batch(chunk.x)
    np.testing.assert_array_equal(batch.z, chunk.task.measure(batch.x))
    edges = chunk.task.quantity.prior.ppf(np.linspace(0, 1, STRATA + 1))
    assert (np.histogram(batch.z, edges)[0] == CHUNK / STRATA).all()


def test_demonstrations_are_valid_vary_and_lead_between_the_cells_told(chunk):
    assert chunk.x.shape == (CHUNK, 32, 2) and chunk.x.dtype == np.float32 and chunk.episodes >= CHUNK
    assert (chunk.task.validity(chunk.x) <= chunk.task.tolerance).all()
    assert len(np.unique(chunk.x, axis=0)) == CHUNK
    away = np.abs(chunk.x[:, [0, -1]] - layout(chunk.task.maze).centres[chunk.cells]).max(axis=(0, 2))
    assert away[0] <= 0.3 + 1e-6 and away[1] <= 0.3 + 0.1


def test_a_number_names_one_chunk(chunk):
    again, other = chunk.task.collect(0), chunk.task.sample(50, np.random.default_rng(0))
    for name, array in again.items():
        np.testing.assert_array_equal(array, getattr(chunk, name))
    assert other.x.shape == (50, 32, 2) and not np.array_equal(other.x, chunk.x[:50])


def test_the_ball_rests_at_the_goal_and_only_noise_is_random(task):
    model = make_environment(task.maze).point_env.model
    ways = propose(layout(task.maze), False, 200, np.random.default_rng(0))[0]
    (x, arrived), (again, _) = (drive(task, model, ways, np.random.default_rng(seed)) for seed in (0, 1))
    np.testing.assert_array_equal(x, again)
    near = path_length(ways) < 2
    assert arrived[near].all()
    np.testing.assert_allclose(x[near, -5:], ways[near, None, -1].repeat(5, axis=1), atol=0.02)
    early, arrived = drive(dataclasses.replace(task, steps=8), model, ways, np.random.default_rng(0))
    np.testing.assert_array_equal(arrived, np.linalg.norm(early[:, -1] - ways[:, -1], axis=1) < 0.1)
    assert 0.1 < arrived.mean() < 0.9
    noisy, _ = drive(dataclasses.replace(task, noise=0.5), model, ways, np.random.default_rng(0))
    assert 0.005 < np.std(noisy[near, -1] - ways[near, -1]) < 0.1


def test_the_drive_is_what_the_environment_does(task, monkeypatch):
    """Rollout of many at once, against steps of the environment, with the same actions."""
    environment, actions, real = make_environment(task.maze), [], rollout.rollout
    ways = propose(layout(task.maze), True, 3, np.random.default_rng(0))[0]

    def recorded(*arguments, control, **others):
        actions.append(control.copy())
        return real(*arguments, control=control, **others)

    monkeypatch.setattr(rollout, "rollout", recorded)
    x, _ = drive(task, environment.point_env.model, ways, np.random.default_rng(1))
    assert np.abs(actions).max() == FORCE
    for row in range(3):
        environment.reset(seed=0)
        environment.point_env.set_state(ways[row, 0], np.zeros(2))
        for step, action in enumerate(actions[:300]):
            if step % task.stride == 0:
                np.testing.assert_allclose(x[row, step // task.stride], environment.data.qpos, atol=1e-4)
            environment.step(action[row, 0])


def test_a_range_that_the_maze_has_no_ways_for_is_refused(monkeypatch):
    monkeypatch.setattr("physmis.tasks.maze_demonstrations.ROUNDS", 5)
    with pytest.raises(RuntimeError, match="expected demonstrations of 30.00 to .* in 'umaze', got none"):
        collect(load("maze", **{**SMALL, "low": 30.0, "high": 31.0}), 0)


def test_pick_keeps_to_the_quota():
    rng = np.random.default_rng(0)
    at, quota = rng.integers(-1, 4, size=500), np.array([5, 0, 1000])
    chosen = pick(at, quota, rng)
    assert [chosen[at == b].sum() for b in range(-1, 4)] == [0, 5, 0, (at == 2).sum(), 0]
    assert np.flatnonzero(chosen & (at == 0)).max() > 50  # not the first ones


# plans and their execution


def test_plans_are_asked_of_the_model_with_both_ends_held(task):
    def sample(n, rng, clamp):
        share = np.linspace(0, 1, 32)[:, None]
        return clamp[0][:, None] * (1 - share) + clamp[-1][:, None] * share

    model, rng = SimpleNamespace(sample=sample), np.random.default_rng(0)
    plans = plan(model, task, (-1, 1), (1, 1), 3, rng)
    np.testing.assert_allclose(plans, straight((-1, 1), (1, 1)).repeat(3, axis=0), atol=1e-12)
    for start, goal, n, words in (
        ((0, 0), (1, 1), 3, r"free start, got \(0, 0\)"),
        ((-1, 1), (1, 1.45), 3, r"free goal, got \(1, 1.45\), 0.05 m in a wall"),
        ((-1, 1), (1, 1), 0, "n to be a whole number"),
        ((1,), (1, 1), 3, "start to be a position"),
        ((np.nan, 1), (1, 1), 3, "finite start"),
    ):
        with pytest.raises(ValueError, match=f"expected .*{words}"):
            plan(model, task, start, goal, n, rng)


def test_a_plan_that_can_be_followed_is(task):
    plans = np.concatenate([straight((-1, 1), (1, 1)), straight((1, 1), (-1, 1))])
    done = execute(task, plans)
    assert done["success"].all()
    assert done["x"].shape == plans.shape
    np.testing.assert_allclose(done["x"][:, -1], plans[:, -1], atol=0.05)
    np.testing.assert_allclose(task.measure(done["x"]), 2, atol=0.1)
    np.testing.assert_allclose(done["effort"][0], done["effort"][1], rtol=1e-6)  # the maze is symmetric


def test_a_plan_through_a_wall_fails_where_the_environment_says_so(task):
    done = execute(task, straight((-1, 1), (-1, -1)))
    assert not done["success"][0] and task.wall_depth(done["x"])[0] < 0.05  # the wall holds


# bad input


def test_unusable_parameters_and_calls_are_refused():
    for bad in (
        *({"maze": "huge"}, {"low": 11.0}, {"stride": 0}, {"steps": 3}, {"separations": 5}),
        *({"noise": noise} for noise in (-0.1, np.nan, np.inf)),
        *({"detours": detours} for detours in (1, 0.0, None, "no")),
    ):
        with pytest.raises(ValueError, match="expected"):
            load("maze", **bad)
    with pytest.raises(NotImplementedError, match="use `sample`"):
        load("maze").generate(np.ones(2), np.random.default_rng(0))


def test_without_the_physics_the_error_says_how_to_get_it(monkeypatch):
    layout.cache_clear()
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    try:
        for use in (layout, make_environment):
            with pytest.raises(ModuleNotFoundError, match=r"pip install -e '.\[maze\]'"):
                use("medium")
        assert load("maze").measure(straight((0, 0), (3, 4)))[0] == pytest.approx(5)  # needs none
    finally:
        layout.cache_clear()


def test_environments_leave_no_files_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment = make_environment("umaze")
    assert list(tmp_path.iterdir()) == [] and str(environment.tmp_xml_file_path).startswith(str(tmp_path))


def test_a_task_is_what_its_class_says():
    task = load("maze")
    assert task.quantity.label == "travel distance $d$ [m]"
    assert [c.label for c in task.channels] == ["x [m]", "y [m]"]
    assert task.interval == pytest.approx(0.12)
    told = {"name": "maze", "controller": maze_demonstrations.SETTINGS}
    assert task.config() == {**told, **dataclasses.asdict(task)}
