"""The maze: geometry by hand-made paths, physics by the environment, curation, planning, execution."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from physmis.experiments.experiment import Collection, Experiment, run, run_all
from physmis.experiments.kernel_draws import Deviation
from physmis.experiments.planning import Execution, execute, plan
from physmis.experiments.store import Store, key
from physmis.kernels import HeldEnds, IsotropicKernel
from physmis.models import build
from physmis.tasks import load
from physmis.tasks.maze import MAZES, PointMaze, layout, make_environment
from physmis.tasks.maze_demonstrations import SETTINGS, STRATA, Driver, collect, pick, propose

SMALL = {"maze": "umaze", "low": 3.0, "high": 6.0, "separations": 2}


@pytest.fixture(scope="module")
def task():
    return load("maze", **SMALL)


@pytest.fixture(scope="module")
def chunk(task):
    return collect(task, 0)


def straight(start, end, steps=64):
    return np.linspace(start, end, steps)[None]


# geometry


@pytest.mark.parametrize("maze", MAZES)
def test_the_layout_is_that_of_the_environment(maze):
    plan_, environment = layout(maze), make_environment(maze)
    assert (plan_.free == (np.array(environment.maze.maze_map) == 0)).all()
    for cell, centre in zip(plan_.cells, plan_.centres, strict=True):
        np.testing.assert_allclose(environment.maze.cell_rowcol_to_xy(cell), centre)
    assert (plan_.cell_of(plan_.centres) == np.arange(len(plan_.cells))).all()
    assert (plan_.cell_of(np.array([[99.0, 0], [0, -99.0]])) == -1).all()


@pytest.mark.parametrize("maze", MAZES)
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
    elif plan_.cell_of(np.array([[x, y]]))[0] == -1:
        assert found > 0.07


def test_paths_through_walls_are_invalid_and_others_are_not(task):
    through, along = straight((-1, 1), (-1, -1)), straight((-1, 1), (1, 1))
    assert task.wall_depth(through)[0] > 0.5 and task.validity(through)[0] > task.tolerance
    assert task.validity(along)[0] == 0
    leap = along.copy()
    leap[0, 32:] = leap[0, -1]  # a leap of one metre
    assert task.wall_depth(leap)[0] == 0 and task.overreach(leap)[0] > 0.5
    # between two positions on either side of a wall's corner
    cut = np.repeat([[0.35, 0.65], [0.65, 0.35]], 32, axis=0)[None]
    inside = layout("umaze").depth(cut)[0].max()
    assert task.wall_depth(cut)[0] > inside


def test_what_full_force_allows_is_no_overreach(task):
    dt, strongest = task.interval, (100 + 5) / (4 / 3 * np.pi * 0.1**3 * 1000)
    t = np.arange(4) * dt
    path = np.zeros((1, 64, 2))
    path[0, 60:, 0] = strongest * t**2 / 2
    assert task.overreach(path)[0] == pytest.approx(0, abs=1e-9)
    path[0, 60:, 0] *= 1.5
    assert task.overreach(path)[0] == pytest.approx(0.5 * strongest * dt**2, rel=1e-6)


# the measurement


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_travel_distance_is_the_sum_of_the_pieces(seed, velocities):
    task = load("maze", velocities=velocities)
    x = np.random.default_rng(seed).normal(size=(3, 64, len(task.channels)))
    by_hand = [sum(np.hypot(*(b - a)[:2]) for a, b in zip(row, row[1:], strict=False)) for row in x]
    np.testing.assert_allclose(task.measure(x), by_hand)
    for row, length in zip(x, by_hand, strict=True):
        assert float(task.differentiable(torch.from_numpy(row))) == pytest.approx(length)
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    moved = x.copy()
    moved[..., :2] = 2 * x[..., :2] @ turn + 5
    np.testing.assert_allclose(task.measure(moved), 2 * task.measure(x))


def test_a_straight_and_a_round_path():
    task = load("maze")
    assert task.measure(straight((0, 0), (3, 4)))[0] == pytest.approx(5)
    angle = np.linspace(0, 2 * np.pi, 64)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)[None]
    assert task.measure(circle)[0] == pytest.approx(2 * 63 * np.sin(np.pi / 63))


# the demonstrations


def test_travel_distance_is_uniform_also_at_each_separation(task, chunk):
    batch = task.batch(chunk["x"])
    np.testing.assert_array_equal(batch.z, task.measure(batch.x))
    counts = np.histogram(batch.z, np.linspace(task.low, task.high, STRATA + 1))[0]
    assert (counts == task.chunk // STRATA).all()
    for separation in (1, 2):
        z = batch.z[chunk["separation"] == separation]
        assert (
            len(z) == task.chunk / 2
            and (np.histogram(z, np.linspace(task.low, task.high, STRATA + 1))[0] == 6).all()
        )
    plan_ = layout(task.maze)
    cells = [plan_.cell_of(place) for place in (chunk["x"][:, 0, :2].astype(float), chunk["goal"])]
    np.testing.assert_array_equal(plan_.moves[cells[0], cells[1]], chunk["separation"])


def test_demonstrations_are_valid_arrive_and_vary(task, chunk):
    assert (task.validity(task.batch(chunk["x"]).x) <= task.tolerance).all()
    assert np.linalg.norm(chunk["x"][:, -1, :2] - chunk["goal"], axis=1).max() < 0.1
    assert chunk["episodes"] >= len(chunk["x"]) == task.chunk
    assert len(np.unique(chunk["x"], axis=0)) == task.chunk


def test_a_number_names_one_chunk(task, chunk):
    again, other = collect(task, 0), collect(task, 1)
    for name, array in chunk.items():
        np.testing.assert_array_equal(array, again[name])
    assert not np.array_equal(chunk["x"], other["x"])


def test_the_driver_does_what_the_environment_does(task):
    """Rollout of many at once, against steps of the environment, with the same actions."""
    driver, environment = Driver(task), make_environment(task.maze)
    ways = propose(layout(task.maze), 2, 3, np.random.default_rng(0))[0]
    actions = []
    driver.rollout, real = (
        lambda *a, **k: actions.append(k["control"].copy()) or real(*a, **k),
        driver.rollout,
    )
    x, _ = driver.drive(ways, np.random.default_rng(1))
    for row in range(3):
        environment.reset(seed=0)
        environment.point_env.set_state(ways[row, 0], np.zeros(2))
        for step, action in enumerate(actions[:300]):
            if step % task.stride == 0:
                state = np.concatenate([environment.data.qpos, environment.data.qvel])
                np.testing.assert_allclose(x[row, step // task.stride], state, atol=1e-4)
            environment.step(action[row, 0])


def test_a_range_that_the_maze_has_no_ways_for_is_refused(monkeypatch):
    with pytest.raises(
        RuntimeError, match="maze 'umaze': no demonstrations found for .*30.00 to .* another range"
    ):
        collect(load("maze", **{**SMALL, "low": 30.0, "high": 31.0}), 0)


def test_pick_keeps_to_the_quota():
    rng = np.random.default_rng(0)
    at, separation = rng.integers(-1, 3, size=500), rng.integers(1, 3, size=500)
    quota = np.array([[5, 0, 1000], [2, 3, 4]])
    chosen = pick(at, separation, quota, rng)
    for s in (1, 2):
        for b in range(3):
            there = (at == b) & (separation == s)
            assert chosen[there].sum() == min(quota[s - 1, b], there.sum())
    assert not chosen[at == -1].any()


# the store


@pytest.fixture(scope="module")
def store(task, chunk, tmp_path_factory):
    """A store that holds the first chunk."""
    store = Store(tmp_path_factory.mktemp("store"))
    store.put(Collection(task, 0).config, arrays=chunk, seconds=0.0, device="cpu")
    return store


def experiment(task, name="planner", **changes):
    model = build(name, **{"width": 8, "steps": 30, "batch": 32, "sampler_steps": 4, **changes})
    return Experiment(task, model, data=task.chunk, samples=20, seed=0)


def test_collected_chunks_serve_all_seeds_and_channels(task, store, monkeypatch):
    e = experiment(task)
    data = e.training_set(store)
    assert data.x.shape == (480, 64, 2)
    np.testing.assert_array_equal(data.z, task.measure(data.x))
    monkeypatch.setattr("physmis.tasks.demonstrations.collect", None)  # nothing is collected again
    np.testing.assert_array_equal(dataclasses.replace(e, seed=5).training_set(store).x, data.x)
    more = dataclasses.replace(e, task=dataclasses.replace(task, velocities=True)).training_set(store)
    np.testing.assert_array_equal(more.x[..., :2], data.x)
    assert more.x.shape == (480, 64, 4)


def test_a_crash_loses_one_chunk_at_most(task, chunk, tmp_path, monkeypatch):
    store, asked = Store(tmp_path / "store"), []

    def collect_or_crash(task, number):
        asked.append(number)
        if len(asked) == 2:
            raise MemoryError("crash")
        return chunk

    monkeypatch.setattr("physmis.tasks.demonstrations.collect", collect_or_crash)
    e = dataclasses.replace(experiment(task), data=2 * task.chunk)
    with pytest.raises(MemoryError):
        e.training_set(store)
    assert e.training_set(store).x.shape == (960, 64, 2)
    assert asked == [0, 1, 1]


def test_collect_train_plan_execute(task, store):
    e = experiment(task)
    made = run(e, root=store.root)
    assert made.x.shape == (20, 64, 2) and np.isfinite(made.x).all()
    data, rows = e.training_set(store).x, made.samples.arrays["row"]
    for step in (0, -1):
        np.testing.assert_allclose(made.x[:, step], data[rows, step], atol=1e-5)
    done = run(Execution(e, plans=3), root=store.root).arrays
    assert done["x"].shape == (3, 64, 4) and (done["effort"] > 0).all()
    np.testing.assert_allclose(done["x"][:, 0, :2], made.x[:3, 0], atol=1e-5)
    own = run(Execution(e, plans=20, demonstrations=True), root=store.root).arrays
    assert own["success"].all()  # demonstrations can be followed
    assert np.linalg.norm(own["x"][..., :2] - data[rows], axis=-1).mean() < 0.02
    np.testing.assert_allclose(task.distance(own["x"]), task.measure(data[rows]), atol=0.2)


def test_deviations_of_a_planner_keep_the_ends(task, store, monkeypatch):
    e = experiment(task)
    seen = []
    monkeypatch.setattr(
        HeldEnds,
        "deviate",
        lambda self, x, rng, real=HeldEnds.deviate: seen.append((x, real(self, x, rng))) or seen[-1][1],
    )
    run(Deviation(e, "isotropic", {"scale": 0.1}), root=store.root)
    x, moved = seen[0]
    np.testing.assert_allclose(moved[:, [0, -1]], x[:, [0, -1]], atol=1e-6)
    assert np.abs(moved - x).mean() > 0.05
    assert (
        Deviation(e, "isotropic", {"scale": 0.1}).config
        != Deviation(experiment(task, "unet"), "isotropic", {"scale": 0.1}).config
    )


@pytest.mark.end_to_end
def test_items_run_side_by_side(task, chunk, tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    store.put(Collection(task, 0).config, arrays=chunk, seconds=0.0, device="cpu")
    monkeypatch.setenv("PHYSMIS_STORE", str(store.root))
    monkeypatch.setenv("PHYSMIS_JOBS", "2")
    other = dataclasses.replace(experiment(task), seed=1)
    (made, done), cold = run_all([experiment(task), Execution(other, plans=2)])
    assert cold and made.x.shape == (20, 64, 2) and done.arrays["x"].shape == (2, 64, 4)


def test_demonstrations_are_collected_once_before_what_needs_them(task, chunk, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "physmis.tasks.demonstrations.collect", lambda task, number: asked.append(number) or chunk
    )
    monkeypatch.setenv("PHYSMIS_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PHYSMIS_JOBS", "1")
    e = experiment(task)
    run_all([Deviation(dataclasses.replace(e, seed=s), "isotropic", {"scale": 0.1}) for s in (0, 1)])
    assert asked == [0]
    run_all([Deviation(e, "exchange", {"width": 0.5})])  # needs as many others
    assert asked == [0, 1]


def test_held_ends_take_off_a_line():
    x, rng = np.zeros((2, 5, 1)), np.random.default_rng(0)
    raw = IsotropicKernel(1.0).deviate(x, np.random.default_rng(0))
    moved = HeldEnds(IsotropicKernel(1.0)).deviate(x, rng)
    np.testing.assert_allclose(moved[:, [0, -1]], 0, atol=1e-12)
    line = raw - moved
    np.testing.assert_allclose(np.diff(line, n=2, axis=1), 0, atol=1e-12)


# executing


def test_a_plan_that_can_be_followed_is(task):
    plans = np.concatenate([straight((-1, 1), (1, 1)), straight((1, 1), (-1, 1))])
    done = execute(task, plans)
    assert done["success"].all()
    np.testing.assert_allclose(done["x"][:, -1, :2], plans[:, -1], atol=0.05)
    np.testing.assert_allclose(task.distance(done["x"]), 2, atol=0.1)
    np.testing.assert_allclose(done["effort"][0], done["effort"][1], rtol=1e-6)  # the maze is symmetric


def test_a_plan_through_a_wall_fails_where_the_environment_says_so(task):
    done = execute(task, straight((-1, 1), (-1, -1)))
    assert not done["success"][0] and task.wall_depth(done["x"][..., :2])[0] < 0.05  # the wall holds


def test_executions_that_cannot_be_are_refused(task):
    with pytest.raises(ValueError, match="from 1 to the experiment's 20 samples wanted, got 21"):
        Execution(experiment(task), plans=21)
    with pytest.raises(ValueError, match="'unet' is given no start and goal"):
        Execution(experiment(task, "unet"), plans=2, demonstrations=True)


def test_what_a_demonstration_depends_on_is_in_every_key(task, monkeypatch):
    parts = (Collection(task, 0), experiment(task), Execution(experiment(task), 2))
    before = [key(part.config) for part in parts]
    monkeypatch.setitem(SETTINGS, "noise", 0.6)
    assert all(key(part.config) != old for part, old in zip(parts, before, strict=True))


def test_faster_plans_cost_more(task):
    slow = straight((-1, 1), (1, 1))
    fast = np.concatenate([straight((-1, 1), (1, 1), 32), np.repeat([[[1.0, 1.0]]], 32, axis=1)], axis=1)
    assert execute(task, fast)["effort"][0] > 2 * execute(task, slow)["effort"][0]


# the planner


def test_a_planner_learns_the_way_between_the_ends():
    """Straight lines between random ends: the middle follows from them."""
    rng = np.random.default_rng(0)
    ends = rng.normal(size=(2000, 2, 2))
    share = np.linspace(0, 1, 8)[:, None]
    x = ends[:, :1] * (1 - share) + ends[:, 1:] * share
    model = build("planner", width=8, steps=200, batch=64).fit(x, rng)
    start, goal = rng.normal(size=(2, 200, 2))
    y = model.sample(200, rng, {0: start, -1: goal})
    np.testing.assert_allclose(y[:, 0], start, atol=1e-5)
    np.testing.assert_allclose(y[:, -1], goal, atol=1e-5)
    line = start[:, None] * (1 - share) + goal[:, None] * share
    assert np.abs(y - line).mean() < 0.4 * np.abs(y - line[::-1]).mean()
    np.testing.assert_array_equal(
        model.sample(5, np.random.default_rng(1), {0: start[:5], 7: goal[:5]}),
        model.sample(5, np.random.default_rng(1), {-8: start[:5], -1: goal[:5]}),
    )
    back = model.perturb(line, 0.5, rng)
    np.testing.assert_allclose(back[:, [0, -1]], line[:, [0, -1]], atol=1e-5)
    for clamp in (None, {0: start}):
        with pytest.raises(ValueError, match="expected steps .* in clamp, got no .*-1"):
            model.sample(200, rng, clamp)


# bad input


def test_unknown_mazes_and_ranges_are_refused():
    with pytest.raises(ValueError, match="unknown maze 'huge'; accepted: umaze, medium, large"):
        load("maze", maze="huge")
    for bad in ({"low": 5.0, "high": 4.0}, {"stride": 0}, {"separations": 5}, {"steps": 8}):
        with pytest.raises(ValueError, match="wanted"):
            load("maze", **bad)
    with pytest.raises(NotImplementedError, match="collects"):
        load("maze").generate(np.ones(2), np.random.default_rng(0))
    with pytest.raises(NotImplementedError, match="use sample"):
        load("cone").collect(0)
    with pytest.raises(ValueError, match="nothing to collect"):
        Collection(load("cone"), 0)


def test_a_horizon_that_does_not_suit_the_network_is_refused(chunk):
    x = chunk["x"][:, :62, :2]
    with pytest.raises(ValueError, match="multiple of 4 .*got 62"):
        build("planner", steps=1).fit(x, np.random.default_rng(0))


def test_starts_and_goals_that_make_no_sense_are_refused(task, store):
    model = run(experiment(task), root=store.root)
    model = build(**model.experiment.model.config()).from_state(
        store.fetch(model.experiment.training_config).weights
    )
    rng = np.random.default_rng(0)
    plans = plan(model, task, (-1, 1), (1, 1), 3, rng)
    assert plans.shape == (3, 64, 2)
    np.testing.assert_allclose(plans[:, 0], [[-1, 1]] * 3, atol=1e-5)
    with pytest.raises(
        ValueError, match=r"start \(0.0, 0.0\) is in a wall of maze 'umaze'.*free are \(-1.0, 1.0\)"
    ):
        plan(model, task, (0, 0), (1, 1), 3, rng)
    with pytest.raises(ValueError, match=r"goal \(1.0, 1.45\).*by 0.05 m"):
        plan(model, task, (-1, 1), (1, 1.45), 3, rng)
    with pytest.raises(ValueError, match=r"shape \(64, 4\) wanted for this task, got one of \(64, 2\)"):
        plan(model, dataclasses.replace(task, velocities=True), (-1, 1), (1, 1), 3, rng)
    with pytest.raises(ValueError, match="n to be a whole number"):
        plan(model, task, (-1, 1), (1, 1), 0, rng)
    with pytest.raises(RuntimeError, match="not trained"):
        plan(build("planner"), task, (-1, 1), (1, 1), 1, rng)
    with pytest.raises(ValueError, match="start and goal are both"):
        plan(model, task, (1, 1), (1, 1), 3, rng)
    for bad in ((1,), (np.nan, 1), "ab"):
        with pytest.raises((ValueError, TypeError), match="finite position|real numbers wanted"):
            plan(model, task, bad, (1, 1), 3, rng)


def test_without_the_physics_the_error_says_how_to_get_it(monkeypatch):
    layout.cache_clear()
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    try:
        for use in (lambda: layout("medium"), lambda: make_environment("medium")):
            with pytest.raises(ModuleNotFoundError, match=r"pip install -e '.\[maze\]'"):
                use()
        assert load("maze").measure(straight((0, 0), (3, 4)))[0] == pytest.approx(5)  # needs none
    finally:
        layout.cache_clear()


def test_environments_leave_no_files_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment = make_environment("umaze")
    assert list(tmp_path.iterdir()) == [] and str(environment.tmp_xml_file_path).startswith(str(tmp_path))


def test_a_task_is_what_its_class_says():
    task = PointMaze(velocities=True)
    assert task.quantity.label == "travel distance $d$ [m]"
    assert [c.unit for c in task.channels] == ["m", "m", "m/s", "m/s"]
    assert task.interval == pytest.approx(0.06)
