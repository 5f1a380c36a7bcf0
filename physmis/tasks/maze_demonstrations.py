"""Demonstrations in a maze by the waypoint controller of D4RL and Minari, curated by travel distance."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from physmis.tasks.base import Task, path_length
from physmis.tasks.maze_layout import SPEED, Layout, layout, make_environment

GAIN, DAMP = 10.0, 1.0  # action = GAIN * (waypoint - position) - DAMP * velocity + noise
FORCE = 0.8  # of the motors' maximum, for each axis: small errors of a plan stay within what they can do
REACHED = 0.1  # metres from a waypoint at which the controller turns to the next
ENDS, WAY = 0.3, 0.05  # metres for each axis from the centre of a cell: start and goal; other waypoints
STRATA = 40  # ranges of travel distance with equally many demonstrations: two in each bin
CHUNK = 480  # demonstrations of one `collect`, a multiple of STRATA
ROUNDS = 60  # of 3000 proposals each, before `collect` gives up
# What demonstrations depend on beside the task's parameters. Count up "version" when the code changes them.
SETTINGS = {
    "gains": [GAIN, DAMP],
    "force": FORCE,
    "reached": REACHED,
    "spread": [ENDS, WAY],
    "strata": STRATA,
    "chunk": CHUNK,
    "tolerance": Task.tolerance,
    "version": 2,
}


def collect(task: Task, number: int) -> dict[str, np.ndarray]:
    """Chunk ``number`` of the demonstrations of a maze task: `CHUNK` of them, with ``episodes`` run for it.

    ``x`` (n, T, 2) holds positions, ``cells`` (n, 2) the numbers of the cells of start and goal. Each
    fortieth of the prior of travel distance has equally many. Raises RuntimeError naming a range of distances
    for which none is found.
    """
    rng = np.random.default_rng([number, 7])
    plan, model = layout(task.maze), make_environment(task.maze).point_env.model
    edges = task.quantity.prior.ppf(np.linspace(0, 1, STRATA + 1))
    missing = np.full(STRATA, CHUNK // STRATA)
    kept, line, episodes = [], np.array([0.95, 0.0]), 0  # travel distance is about line[0] * length + line[1]
    for _ in range(ROUNDS):
        ways, lengths, cells = propose(plan, task.detours, 3000, rng)
        expected = line[0] * lengths + line[1]
        chosen = pick(np.digitize(expected, edges) - 1, 2 * missing, rng)
        if not chosen.any():
            continue
        ways, lengths, cells = ways[chosen], lengths[chosen], cells[chosen]
        x, arrived = drive(task, model, ways, rng)
        episodes += len(x)
        distance = task.measure(x)
        line = np.polyfit(lengths, distance, 1) if len(x) > 100 else line
        taken = np.flatnonzero(arrived & (task.validity(x) <= task.tolerance))
        at = np.digitize(distance, edges) - 1
        taken = taken[pick(at[taken], missing, rng)]
        np.subtract.at(missing, at[taken], 1)
        kept.append((x[taken], cells[taken]))
        if not missing.any():
            break
    else:
        empty = np.argmax(missing)
        lacking = f"{edges[empty]:.2f} to {edges[empty + 1]:.2f} m in '{task.maze}'"
        raise RuntimeError(
            f"expected demonstrations of {lacking}, got none: change low and high, or raise steps or stride"
        )
    x, cells = (np.concatenate(part) for part in zip(*kept, strict=True))
    order = rng.permutation(len(x))
    return {"x": x[order], "cells": cells[order].astype(np.uint8), "episodes": episodes}


def pick(at, quota, rng) -> Bool[np.ndarray, "n"]:
    """Mask of at most ``quota[k]`` of the rows in stratum k, at random; ``at`` (n,) holds the strata."""
    order = rng.permutation(len(at))
    chosen = np.zeros(len(at), dtype=bool)
    for stratum in np.flatnonzero(quota):
        chosen[order[at[order] == stratum][: quota[stratum]]] = True
    return chosen


def propose(plan: Layout, detours: bool, n: int, rng):
    """Shortest ways between two random places, or by way of a third cell: waypoints (n, w, 2), padded by the
    goal; their lengths (n,) in metres; cells of start and goal (n, 2)."""
    starts, stops, goals = rng.integers(len(plan.cells), size=(3, n))
    if detours:
        there = [plan.route(start, stop) for start, stop in zip(starts, stops, strict=True)]
        ways = [way + plan.route(way[-1], goal)[1:] for way, goal in zip(there, goals, strict=True)]
    else:
        ways = [plan.route(start, goal) for start, goal in zip(starts, goals, strict=True)]
    ways = [way if len(way) > 1 else way * 2 for way in ways]  # start and goal in one cell are two points
    longest, rows = max(map(len, ways)), np.arange(n)
    last = np.array([len(way) - 1 for way in ways])
    points = plan.centres[np.array([way + [way[-1]] * (longest - len(way)) for way in ways])]
    points = points + rng.uniform(-WAY, WAY, points.shape)
    for column, cell in ((0, starts), (last, goals)):
        points[rows, column] = plan.centres[cell] + rng.uniform(-ENDS, ENDS, (n, 2))
    points = np.where(np.arange(longest)[:, None] > last[:, None, None], points[rows, last][:, None], points)
    return points, path_length(points), np.stack([starts, goals], axis=1)


def drive(
    task: Task, model: Any, ways: Float[np.ndarray, "n w 2"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n T 2"], Bool[np.ndarray, "n"]]:
    """Positions of a ball that is driven along waypoints, and whether it ends at the last one."""
    from mujoco import MjData, mj_stateSize, mjtState, rollout

    n, rows, data = len(ways), np.arange(len(ways)), MjData(model)
    state = np.zeros((n, mj_stateSize(model, mjtState.mjSTATE_FULLPHYSICS)))  # time, positions, velocities
    state[:, 1:3] = ways[:, 0]
    at, end = np.zeros(n, dtype=int), ways.shape[1] - 1
    x = np.empty((n, task.steps, 2), dtype=np.float32)
    for step in range(task.steps * task.stride):
        position, velocity = state[:, 1:3], state[:, 3:5]
        if step % task.stride == 0:
            x[:, step // task.stride] = position
        at = np.minimum(at + (np.linalg.norm(position - ways[rows, at], axis=1) < REACHED), end)
        action = GAIN * (ways[rows, at] - position) - DAMP * velocity
        action = np.clip(action + task.noise * rng.standard_normal((n, 2)), -FORCE, FORCE)
        state[:, 3:5] = np.clip(velocity, -SPEED, SPEED)  # as the environment does before each step
        state = rollout.rollout(model, data, initial_state=state, control=action[:, None])[0][:, 0]
    return x, np.linalg.norm(x[:, -1] - ways[:, -1], axis=1) < REACHED
