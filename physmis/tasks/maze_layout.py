"""Where a maze is free and how its cells are connected, and its environment in MuJoCo.

The mazes are those of gymnasium-robotics. Lengths are in metres; a cell of a maze is 1 m wide.
"""

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


@dataclass(frozen=True)
class Layout:
    """Where a maze is free, and how its cells are connected. Cells are numbered row by row.

    moves, before : steps of a shortest path between two cells, and its last cell but one.
    clearance : distance to the nearest wall, negative inside walls, on a raster.
    """

    free: Bool[np.ndarray, "rows columns"]
    cells: Int[np.ndarray, "cells 2"]
    centres: Float[np.ndarray, "cells 2"]
    moves: Float[np.ndarray, "cells cells"]
    before: Int[np.ndarray, "cells cells"]
    clearance: Float[np.ndarray, "raster_rows raster_columns"]

    def cell_of(self, points: Float[np.ndarray, "*n 2"]) -> Int[np.ndarray, "*n"]:
        """Number of the cell at each point, -1 in a wall or outside of the maze."""
        numbers = np.full(self.free.shape, -1)
        numbers[tuple(self.cells.T)] = np.arange(len(self.cells))
        rows, columns = self.free.shape
        at = np.floor(self._rows_and_columns(points)).clip(-1, max(rows, columns))
        row, column = np.moveaxis(at.astype(int), -1, 0)
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        return np.where(inside, numbers[row.clip(0, rows - 1), column.clip(0, columns - 1)], -1)

    def depth(self, points: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n"]:
        """How deep the ball is in a wall when its centre is at each point; 0 where it touches none.

        Looked up on a raster of 0.01 m, which is also about the error; outside of the maze, at its border.
        """
        at = self._rows_and_columns(points) / RASTER - 0.5
        clear = ndimage.map_coordinates(self.clearance, np.moveaxis(at, -1, 0), order=1, mode="nearest")
        return np.maximum(RADIUS - clear, 0.0)

    def route(self, start: int, goal: int) -> list[int]:
        """Cells of a shortest path from ``start`` to ``goal``, both included."""
        way = [int(goal)]
        while way[-1] != start:
            way.append(int(self.before[start, way[-1]]))
        return way[::-1]

    def _rows_and_columns(self, points):
        rows, columns = self.free.shape
        return np.stack([rows / 2 - points[..., 1], points[..., 0] + columns / 2], axis=-1)


@lru_cache
def layout(maze: str) -> Layout:
    """The layout of the maze called ``maze``. ModuleNotFoundError without gymnasium-robotics."""
    free = np.array(getattr(_robotics().envs.maze.maps, MAZES[maze][1])) == 0
    cells = np.argwhere(free)
    rows, columns = free.shape
    linked = np.abs(cells[:, None] - cells).sum(axis=-1) == 1
    moves, before = csgraph.shortest_path(csr_matrix(linked), unweighted=True, return_predecessors=True)
    fine = np.kron(free, np.ones((round(1 / RASTER),) * 2, dtype=bool))
    # Distance to the nearest wall, negative inside walls; between raster points both start at half a step.
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
    robotics = _robotics()
    import gymnasium

    gymnasium.register_envs(robotics)
    environment = gymnasium.make(MAZES[maze][0], continuing_task=False).unwrapped
    Path(environment.tmp_xml_file_path).unlink(missing_ok=True)  # it leaves its model in the temporary folder
    return environment


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
