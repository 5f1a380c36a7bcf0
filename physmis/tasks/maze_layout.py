"""The mazes of gymnasium-robotics, whose cells are 1 m wide: their layout and environment in MuJoCo."""

from __future__ import annotations

from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.sparse import csgraph, csr_matrix

MAZES = {"umaze": "UMaze", "medium": "Medium", "large": "Large"}  # name here -> name in gymnasium-robotics
RADIUS = 0.1  # of the moving ball
RASTER = 0.01  # on which distances to walls are tabled
STEP = 0.01  # seconds an environment step
SPEED = 5.0  # m/s an axis: the environment clips velocities there, before each step


@dataclass(frozen=True)
class Layout:
    """Where a maze is free, and how its cells, numbered row by row, are connected."""

    free: Bool[np.ndarray, "rows columns"]
    cells: Int[np.ndarray, "cells 2"]
    centres: Float[np.ndarray, "cells 2"]
    moves: Float[np.ndarray, "cells cells"]  # steps of a shortest path
    before: Int[np.ndarray, "cells cells"]  # its last cell but one
    clearance: Float[np.ndarray, "raster_rows raster_columns"]  # metres to the nearest wall, negative inside

    def depth(self, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n"]:
        """How deep the ball is in a wall when its centre is at each point, about as exact as the raster."""
        rows, columns = self.free.shape
        at = np.stack([rows / 2 - points[..., 1], points[..., 0] + columns / 2], axis=-1) / RASTER - 0.5
        clear = ndimage.map_coordinates(self.clearance, np.moveaxis(at, -1, 0), order=1, mode="nearest")
        return np.maximum(RADIUS - clear, 0.0)

    def route(self, start: int, goal: int) -> list[int]:
        """Cells of a shortest path from ``start`` to ``goal``, both included."""
        way = [int(goal)]
        while way[-1] != start:
            way.append(int(self.before[start, way[-1]]))
        return way[::-1]


@lru_cache
def layout(maze: str) -> Layout:
    """The layout of the maze called ``maze``. ModuleNotFoundError without gymnasium-robotics."""
    free = np.array(_gymnasium().spec(f"PointMaze_{MAZES[maze]}-v3").kwargs["maze_map"]) == 0
    cells = np.argwhere(free)
    rows, columns = free.shape
    linked = np.abs(cells[:, None] - cells).sum(axis=-1) == 1
    moves, before = csgraph.shortest_path(csr_matrix(linked), unweighted=True, return_predecessors=True)
    fine = np.kron(free, np.ones((round(1 / RASTER),) * 2, dtype=bool))
    # Between raster points, both distances start at half a step.
    inside, outside = ndimage.distance_transform_edt(fine), ndimage.distance_transform_edt(~fine)
    clearance = RASTER * (np.maximum(inside - 0.5, 0) - np.maximum(outside - 0.5, 0))
    centres = np.stack([cells[:, 1] + 0.5 - columns / 2, rows / 2 - cells[:, 0] - 0.5], axis=1)
    return Layout(free, cells, centres, moves, before, clearance)


def make_environment(maze: str) -> Any:
    """The gymnasium-robotics environment of a maze, without the wrappers around it."""
    environment = _gymnasium().make(f"PointMaze_{MAZES[maze]}-v3", continuing_task=False).unwrapped
    Path(environment.tmp_xml_file_path).unlink(missing_ok=True)  # it leaves its model in the temporary folder
    return environment


def _gymnasium():
    try:
        with redirect_stderr(StringIO()):  # it warns of robot hands
            import gymnasium
            import gymnasium_robotics
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"the maze needs MuJoCo: pip install -e '.[maze]' ({error})") from error
    gymnasium.register_envs(gymnasium_robotics)
    return gymnasium
