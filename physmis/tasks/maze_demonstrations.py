"""Demonstrations in a maze, with detours, by the waypoint controller of D4RL and Minari, and curated."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from physmis.tasks.base import Task, path_length
from physmis.tasks.maze_layout import SPEED, Layout, layout, make_environment

GAIN, DAMP, NOISE = 10.0, 1.0, 0.5  # action = GAIN * (waypoint - position) - DAMP * velocity + NOISE * normal
REACHED = 0.1  # metres: a waypoint that is so near is passed
ENDS, WAY = 0.15, 0.05  # metres from the centre of their cell to start and goal, and to points on the way
STRATA = 40  # ranges of travel distance that are filled equally: the bins of its quantity
CHUNK = 480  # demonstrations of one `collect`, a multiple of STRATA
ROUNDS = 200  # of 3000 proposals each, before `collect` gives up
# What demonstrations depend on beside the task's parameters. Count up "version" when the code changes them.
SETTINGS = {
    "gains": [GAIN, DAMP],
    "noise": NOISE,
    "reached": REACHED,
    "spread": [ENDS, WAY],
    "strata": STRATA,
    "chunk": CHUNK,
    "tolerance": Task.tolerance,
    "version": 1,
}


def collect(task: Task, number: int) -> dict[str, np.ndarray]:
    """Chunk ``number`` of the demonstrations of a maze task: `CHUNK` of them, with ``episodes`` run for it.

    ``x`` (n, T, 4) holds positions and velocities, ``goal`` (n, 2) where the controller went, ``separation``
    (n,) the cells between start and goal. Every separation, and within it every fortieth of the range of
    travel distance, is met equally often. Raises RuntimeError where the maze has no such way in that time.
    """
    rng = np.random.default_rng([number, 7])
    plan, model = layout(task.maze), make_environment(task.maze).point_env.model
    edges = np.linspace(task.low, task.high, STRATA + 1)
    missing = np.full((task.separations, STRATA), CHUNK // (task.separations * STRATA))
    kept, line, episodes = [], np.array([0.95, 0.5]), 0  # travel distance is about line[0] * length + line[1]
    for _ in range(ROUNDS):
        ways, lengths, separation = propose(plan, task.separations, 3000, rng)
        expected = line[0] * lengths + line[1] + rng.normal(scale=0.2, size=len(lengths))
        chosen = pick(np.digitize(expected, edges) - 1, separation, 4 * missing, rng)
        if not chosen.any():
            continue
        ways, lengths, separation = ways[chosen], lengths[chosen], separation[chosen]
        x, arrived = drive(task, model, ways, rng)
        episodes += len(x)
        batch = task.batch(x)
        line = np.polyfit(lengths, batch.z, 1) if len(x) > 100 else line
        taken = np.flatnonzero(arrived & (task.validity(batch.x) <= task.tolerance))
        at = np.digitize(batch.z, edges) - 1
        taken = taken[pick(at[taken], separation[taken], missing, rng)]
        np.subtract.at(missing, (separation[taken] - 1, at[taken]), 1)
        kept.append((x[taken], ways[taken, -1], separation[taken]))
        if not missing.any():
            break
    else:
        row, stratum = np.argwhere(missing)[0]
        lacking = f"{edges[stratum]:.2f} to {edges[stratum + 1]:.2f} m at {row + 1} cells in '{task.maze}'"
        raise RuntimeError(
            f"no demonstrations of {lacking}; take another range, or more time (steps, stride)"
        )
    x, goal, separation = (np.concatenate(part) for part in zip(*kept, strict=True))
    order = rng.permutation(len(x))
    return {"x": x[order], "goal": goal[order], "separation": separation[order], "episodes": episodes}


def pick(at, separation, quota, rng) -> Bool[np.ndarray, "n"]:
    """At most ``quota[separation - 1, at]`` of each kind, at random."""
    order = rng.permutation(len(at))
    chosen = np.zeros(len(at), dtype=bool)
    for row, stratum in np.argwhere(quota):
        kind = order[(separation[order] == row + 1) & (at[order] == stratum)]
        chosen[kind[: quota[row, stratum]]] = True
    return chosen


def propose(plan: Layout, separations: int, n: int, rng):
    """Ways by a random cell: waypoints (n, w, 2), padded by the goal; their lengths; separations in cells."""
    starts, goals = np.nonzero((plan.moves >= 1) & (plan.moves <= separations))
    pairs = rng.integers(len(starts), size=n)
    starts, goals, stops = starts[pairs], goals[pairs], rng.integers(len(plan.cells), size=n)
    there = [plan.route(start, stop) for start, stop in zip(starts, stops, strict=True)]
    ways = [way + plan.route(way[-1], goal)[1:] for way, goal in zip(there, goals, strict=True)]
    longest = max(map(len, ways))
    last, rows = np.array([len(way) - 1 for way in ways]), np.arange(n)
    cells = np.array([way + [way[-1]] * (longest - len(way)) for way in ways])
    points = plan.centres[cells]
    points = points + rng.uniform(-WAY, WAY, points.shape)
    # A way that turns back does so anywhere between two cells, so that all lengths occur.
    turns = np.array([len(way) - 1 for way in there])
    before, after = cells[rows, np.maximum(turns - 1, 0)], cells[rows, np.minimum(turns + 1, last)]
    back = (turns > 0) & (turns < last) & (before == after)
    share = np.where(back, rng.random(n), 0.0)[:, None]
    points[rows, turns] += share * (plan.centres[before] - plan.centres[cells[rows, turns]])
    for column, cell in ((0, starts), (last, goals)):
        points[rows, column] = plan.centres[cell] + rng.uniform(-ENDS, ENDS, (n, 2))
    points = np.where(np.arange(longest)[:, None] > last[:, None, None], points[rows, last][:, None], points)
    return points, path_length(points), plan.moves[starts, goals].astype(int)


def drive(
    task: Task, model: Any, ways: Float[np.ndarray, "n w 2"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n T 4"], Bool[np.ndarray, "n"]]:
    """Positions and velocities of a ball along waypoints, and whether each ends at the last; side by side."""
    from mujoco import MjData, mj_stateSize, mjtState, rollout

    n, rows, data = len(ways), np.arange(len(ways)), MjData(model)
    state = np.zeros((n, mj_stateSize(model, mjtState.mjSTATE_FULLPHYSICS)))  # time, positions, velocities
    state[:, 1:3] = ways[:, 0]
    at, end = np.zeros(n, dtype=int), ways.shape[1] - 1
    x = np.empty((n, task.steps, 4), dtype=np.float32)
    for step in range(task.steps * task.stride):
        position, velocity = state[:, 1:3], state[:, 3:5]
        if step % task.stride == 0:
            x[:, step // task.stride] = state[:, 1:5]
        at = np.minimum(at + (np.linalg.norm(position - ways[rows, at], axis=1) < REACHED), end)
        action = GAIN * (ways[rows, at] - position) - DAMP * velocity
        action = np.clip(action + NOISE * rng.standard_normal((n, 2)), -1, 1)
        state[:, 3:5] = np.clip(velocity, -SPEED, SPEED)  # as the environment does before each step
        state = rollout.rollout(model, data, initial_state=state, control=action[:, None])[0][:, 0]
    return x, np.linalg.norm(x[:, -1, :2] - ways[:, -1], axis=1) < REACHED
