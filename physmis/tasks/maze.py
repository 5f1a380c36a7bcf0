"""A point mass in a maze, driven from a start to a goal in MuJoCo; curated is the travel distance.

The mazes are those of gymnasium-robotics. Lengths are in metres; a cell of a maze is 1 m wide.
"""

from __future__ import annotations

from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.sparse import csgraph, csr_matrix

from physmis import checks
from physmis.tasks import Batch, Channel, Quantity, Task, check_steps, uniform_prior

# name here -> id of the environment, name of its map
MAZES = {
    "umaze": ("PointMaze_UMaze-v3", "U_MAZE"),
    "medium": ("PointMaze_Medium-v3", "MEDIUM_MAZE"),
    "large": ("PointMaze_Large-v3", "LARGE_MAZE"),
}
RADIUS = 0.1  # of the moving ball
RASTER = 0.01  # on which distances to walls are tabled
STEP = 0.01  # seconds an environment step
SPEED = 5.0  # m/s an axis: the environment clips velocities there, before each step
STRONGEST = (100 + 1 * SPEED) / (
    4 / 3 * np.pi * RADIUS**3 * 1000
)  # m/s^2: full force and damping on the mass
CHUNK = 1024  # trajectories whose distances to walls are looked up at once


@dataclass(frozen=True)
class Layout:
    """Where a maze is free, and how its cells are connected. Cells are numbered row by row."""

    free: Bool[np.ndarray, "rows columns"]
    cells: Int[np.ndarray, "cells 2"]
    centres: Float[np.ndarray, "cells 2"]
    moves: Float[np.ndarray, "cells cells"]
    before: Int[np.ndarray, "cells cells"]
    clearance: Float[np.ndarray, "raster_rows raster_columns"]

    def cell_of(self, points: Float[np.ndarray, "*n 2"]) -> Int[np.ndarray, "*n"]:
        """Number of the cell at each point, -1 in a wall or outside of the maze.

        Raises
        ------
        ValueError, TypeError : the points are not two finite numbers each, in metres.
        """
        numbers = np.full(self.free.shape, -1)
        numbers[tuple(self.cells.T)] = np.arange(len(self.cells))
        rows, columns = self.free.shape
        at = np.floor(self._rows_and_columns(points)).clip(-1, max(rows, columns))
        row, column = np.moveaxis(at.astype(int), -1, 0)
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        return np.where(inside, numbers[row.clip(0, rows - 1), column.clip(0, columns - 1)], -1)

    def depth(self, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n"]:
        """How far the ball's centre is beyond where the ball touches a wall; 0 where it touches none.

        Looked up on a raster of 0.01 m, which is also about the error; outside of the maze, at its border.

        Raises
        ------
        ValueError, TypeError : as `cell_of`.
        """
        at = self._rows_and_columns(points) / RASTER - 0.5
        clear = ndimage.map_coordinates(self.clearance, np.moveaxis(at, -1, 0), order=1, mode="nearest")
        return np.maximum(RADIUS - clear, 0.0)

    def route(self, start: int, goal: int) -> list[int]:
        """Cells of a shortest way from ``start`` to ``goal``, both included."""
        way = [int(goal)]
        while way[-1] != start:
            way.append(int(self.before[start, way[-1]]))
        return way[::-1]

    def _rows_and_columns(self, points):
        points = checks.sized(checks.real(points, "points"), "points")
        if points.shape[-1:] != (2,):
            raise ValueError(f"points (x, y) of shape (..., 2) wanted, got shape {points.shape}")
        rows, columns = self.free.shape
        return np.stack([rows / 2 - points[..., 1], points[..., 0] + columns / 2], axis=-1)


@lru_cache
def layout(maze: str) -> Layout:
    """The layout of the maze called ``maze``.

    Raises
    ------
    ValueError : unknown maze.
    ModuleNotFoundError : gymnasium-robotics is not installed; the message says how to get it.
    """
    _check_maze(maze)
    free = np.array(getattr(_robotics().envs.maze.maps, MAZES[maze][1])) == 0
    cells = np.argwhere(free)
    rows, columns = free.shape
    linked = np.abs(cells[:, None] - cells).sum(axis=-1) == 1
    moves, before = csgraph.shortest_path(csr_matrix(linked), unweighted=True, return_predecessors=True)
    fine = np.kron(free, np.ones((round(1 / RASTER),) * 2, dtype=bool))
    # Distance to the nearest wall, negative inside of walls; between raster points both start at half a step.
    inside, outside = ndimage.distance_transform_edt(fine), ndimage.distance_transform_edt(~fine)
    return Layout(
        free=free,
        cells=cells,
        centres=np.stack([cells[:, 1] + 0.5 - columns / 2, rows / 2 - cells[:, 0] - 0.5], axis=1),
        moves=moves,
        before=before,
        clearance=RASTER * (np.maximum(inside - 0.5, 0) - np.maximum(outside - 0.5, 0)),
    )


def make_environment(maze: str) -> Any:
    """The gymnasium-robotics environment of a maze, without the wrappers around it."""
    _check_maze(maze)
    robotics = _robotics()
    import gymnasium

    gymnasium.register_envs(robotics)
    environment = gymnasium.make(MAZES[maze][0], continuing_task=False).unwrapped
    Path(environment.tmp_xml_file_path).unlink(missing_ok=True)  # it leaves its model in the temporary folder
    return environment


def _check_maze(maze):
    if maze not in MAZES:
        raise ValueError(f"unknown maze {maze!r}; accepted: {', '.join(MAZES)}")


def _robotics():
    try:
        with redirect_stderr(StringIO()):  # it warns of robot hands
            import gymnasium_robotics
            import gymnasium_robotics.envs.maze.maps
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the maze needs gymnasium-robotics and MuJoCo ({error}): pip install -e '.[maze]'"
        ) from error
    return gymnasium_robotics


@dataclass(frozen=True)
class PointMaze(Task):
    """Demonstrations of a waypoint controller, curated so that travel distance is uniform on [low, high].

    It is uniform at each separation of start and goal, too. A trajectory holds the ball's position every
    ``stride`` steps of 0.01 s; once arrived, the controller keeps the ball at the goal.

    Parameters
    ----------
    maze : "umaze", "medium" or "large".
    low, high : range of the travel distance, in metres.
    separations : start and goal are 1 to so many cells apart, along the shortest way, equally often each.
    steps, stride : steps of a trajectory, and environment steps between them.
    velocities : whether trajectories hold velocities beside positions.
    """

    name: ClassVar[str] = "maze"
    tolerance: ClassVar[float] = 0.05  # metres: 5 % of a cell
    chunk: ClassVar[int] = 480
    maze: str = "medium"
    low: float = 5.0
    high: float = 10.0
    separations: int = 4
    steps: int = 64
    stride: int = 6
    velocities: bool = False

    def __post_init__(self):
        _check_maze(self.maze)
        check_steps(self.steps, least=9)  # what the filter of `physmis.tasks.travel` spans
        if not isinstance(self.stride, int) or self.stride < 1:
            raise ValueError(f"stride is {self.stride!r}; a whole number of 1 or more wanted")
        if self.separations not in (1, 2, 3, 4, 6, 12):  # so that a chunk has as many of each
            raise ValueError(f"separations is {self.separations!r}; 1, 2, 3, 4, 6 or 12 wanted")
        _ = self.quantity

    @property
    def channels(self) -> tuple[Channel, ...]:
        position = (Channel("x", "m"), Channel("y", "m"))
        return position + self.velocities * (Channel("velocity in x", "m/s"), Channel("velocity in y", "m/s"))

    @property
    def quantity(self) -> Quantity:
        return Quantity("travel distance", "d", "m", uniform_prior(self.low, self.high, within=(0.0, np.inf)))

    @property
    def interval(self) -> float:
        """Seconds between two steps of a trajectory."""
        return STEP * self.stride

    def generate(self, z, rng):
        raise NotImplementedError(
            "a travel distance cannot be prescribed to the controller; `sample` collects and selects"
        )

    def collect(self, number):
        from physmis.tasks.maze_demonstrations import collect

        return collect(self, number)

    def config(self):
        from physmis.tasks.maze_demonstrations import SETTINGS

        return {**super().config(), "controller": dict(SETTINGS)}

    @property
    def recording(self) -> dict[str, Any]:
        """What `collect` depends on."""
        config = self.config()
        del config["velocities"]  # they are recorded in any case
        return config

    def sample(self, n, rng):
        """``n`` demonstrations, collected now. (An experiment keeps its own in the store.)"""
        x = [self.collect(int(rng.integers(2**31)))["x"] for _ in range(0, n, self.chunk)]
        return self.batch(np.concatenate(x)[:n])

    def batch(self, x: Float[np.ndarray, "n T 4"]) -> Batch:
        """Positions and velocities as recorded, as this task's trajectories and their travel distance.

        Raises
        ------
        ValueError, TypeError : what `check` refuses.
        """
        x = checks.real(x, "recordings")
        if x.ndim != 3:
            raise ValueError(f"recordings of shape (n, T, 4) wanted, got shape {x.shape}")
        x = x[..., : len(self.channels)]
        self.check(x)
        return Batch(x, self.distance(x))

    def measure(self, x):
        """Length of the polygon through the positions, in metres."""
        return self.distance(self.check(x))

    @staticmethod
    def distance(x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n"]:
        """Length of the polygon through the first two channels.

        Raises
        ------
        ValueError, TypeError : ``x`` is not finite, or not of shape (n, T, C) with C of 2 or more.
        """
        return np.linalg.norm(np.diff(_positions(x), axis=1), axis=-1).sum(axis=1)

    def differentiable(self, x):
        """`measure` in torch. Its derivatives do not exist where two positions in a row are equal."""
        return torch.linalg.vector_norm(x[1:, :2] - x[:-1, :2], dim=-1).sum()

    def validity(self, x):
        """The largest of `wall_depth` and `overreach`, in metres; of positions, velocities are not looked at.

        The tolerance of 0.05 m is 5 % of a cell. Between steps of 0.06 s it forgives 0.8 m/s beyond the speed
        limit, and half as much acceleration again as full force gives.
        """
        x = self.check(x)
        return np.maximum(self.wall_depth(x), self.overreach(x))

    def wall_depth(self, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n"]:
        """How deep the ball goes into a wall, at worst, at the positions and half way between them.

        Raises
        ------
        ValueError, TypeError : as `distance`.
        """
        x, plan = checks.real(x, "trajectories"), layout(self.maze)
        if x.ndim != 3:
            raise ValueError(f"trajectories of shape (n, T, C) wanted, got shape {x.shape}")
        deepest = []
        for i in range(0, max(len(x), 1), CHUNK):
            path = _positions(x[i : i + CHUNK])
            path = np.concatenate([path, (path[:, 1:] + path[:, :-1]) / 2], axis=1)
            deepest.append(plan.depth(path).max(axis=1))
        return np.concatenate(deepest)

    def overreach(self, x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n"]:
        """How far positions go beyond what speed limit and full force allow, at worst, per axis, in metres.

        The speed limit bounds the way from one step to the next. The largest acceleration (full force and
        damping at the speed limit, against the mass) bounds the second difference, from two steps to a third.

        Raises
        ------
        ValueError, TypeError : as `distance`; or fewer than three steps.
        """
        path, dt = _positions(x), self.interval
        if path.shape[1] < 3:
            raise ValueError(f"trajectories of 3 steps or more wanted, got {path.shape[1]}")
        bounds = ((SPEED + STRONGEST * STEP) * dt, STRONGEST * dt**2)
        over = [np.abs(np.diff(path, n=k, axis=1)) - bound for k, bound in enumerate(bounds, start=1)]
        return np.maximum(np.max([part.max(axis=(1, 2)) for part in over], axis=0), 0.0)


def _positions(x):
    x = checks.trajectories(x)
    if x.shape[2] < 2:
        raise ValueError(f"trajectories with positions (x, y) wanted, got shape {x.shape}")
    return x[..., :2]
