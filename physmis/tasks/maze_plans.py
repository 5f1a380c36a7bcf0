"""Plans in a maze: made by a model from a start to a goal, and executed in the environment."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.interpolate import make_interp_spline

from physmis import checks
from physmis.tasks.maze import PointMaze
from physmis.tasks.maze_layout import STEP, layout, make_environment

# Of the tracker: demonstrations are followed within a centimetre. With the demonstrator's own gains the ball
# overshoots at every turn and travels a metre too far.
GAIN, DAMP = 10.0, 4.0  # action = GAIN * (plan - position) + DAMP * (speed of the plan - velocity)
FARTHEST = 1e6  # metres from the middle of a maze: with much larger numbers MuJoCo starts anew


def plan(
    model: Any, task: PointMaze, start: ArrayLike, goal: ArrayLike, n: int, rng: np.random.Generator
) -> Float[np.ndarray, "n T 2"]:
    """``n`` plans of a trained "planner" from ``start`` to ``goal``, free positions (x, y) in m."""
    clamp, maze = {}, layout(task.maze)
    for step, name, position in ((0, "start", start), (-1, "goal", goal)):
        place = checks.sized(checks.real(position, name), name)
        if place.shape != (2,):
            raise ValueError(f"expected {name} to be a position (x, y), got {position!r}")
        if (depth := float(maze.depth(place[None])[0])) > 0:
            raise ValueError(f"expected a free {name}, got {position!r}, {depth:.2f} m in a wall")
        clamp[step] = np.tile(place, (checks.check_count("n", n), 1))
    return model.sample(n, rng, clamp)


def execute(task: PointMaze, plans: Float[np.ndarray, "n T 2"]) -> dict[str, np.ndarray]:
    """Follow plans in the environment, each from its first position at rest to its last, without noise.

    ``x`` (n, T, 2) holds positions, ``effort`` (n,) the sum of squared actions times seconds,
    ``success`` (n,) what the environment says at the last step: the ball is within 0.45 m of the goal.
    """
    paths = checks.sized(task.check(plans), "positions", largest=FARTHEST)
    environment, stride = make_environment(task.maze), task.stride
    x = np.empty(paths.shape, dtype=np.float32)
    effort, success = np.zeros(len(paths)), np.zeros(len(paths), dtype=bool)
    moments = np.arange(1, (task.steps - 1) * stride + 1) / stride  # at which environment steps end
    environment.reset(seed=0)
    for row, path in enumerate(paths):
        environment.goal = path[-1]
        environment.point_env.set_state(path[0], np.zeros(2))
        curve = make_interp_spline(np.arange(task.steps), path, k=3)
        now = np.concatenate([path[0], np.zeros(2)])
        x[row, 0] = path[0]
        pairs = zip(curve(moments), curve(moments, 1) / task.interval, strict=True)
        for k, (target, speed) in enumerate(pairs, start=1):
            action = np.clip(GAIN * (target - now[:2]) + DAMP * (speed - now[2:]), -1, 1)
            observed, *_, info = environment.step(action)
            now = observed["observation"]
            effort[row] += STEP * float(action @ action)
            if k % stride == 0:
                x[row, k // stride] = now[:2]
        success[row] = info["success"]
    environment.close()
    return {"x": x, "effort": effort, "success": success}
