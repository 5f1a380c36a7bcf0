"""What a travel distance is made of: the route through the cells of a maze, how it is taken, and jitter."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.signal import savgol_filter

from physmis import checks
from physmis.tasks.maze import PointMaze, layout

WINDOW, ORDER = 9, 3  # steps and degree of the filter: at 0.06 s a step it halves what swings in 0.4 s
INSIDE = 0.4  # a cell is entered when a path comes so near to its centre, in each direction


class Parts(NamedTuple):
    """Travel distance in metres: distance = route + manner + jitter, each (n,).

    route : moves from cell to cell, 1 m each, along the smoothed path.
    manner : length of the smoothed path less the route: corners cut (negative) or overshot, and where in
        their cells start, goal and turning points lie.
    jitter : length of the path less that of the smoothed path.
    """

    route: Float[np.ndarray, "n"]
    manner: Float[np.ndarray, "n"]
    jitter: Float[np.ndarray, "n"]


def smooth(x: Float[np.ndarray, "n T C"]) -> Float[np.ndarray, "n T 2"]:
    """Positions after a local cubic fit over 9 steps (Savitzky and Golay 1964): lines stay straight.

    Raises
    ------
    ValueError : ``x`` is not finite, or not of shape (n, T, C) with n of 1, T of 9 and C of 2 or more.
    """
    x = checks.trajectories(x)
    if len(x) == 0 or x.shape[1] < WINDOW or x.shape[2] < 2:
        raise ValueError(
            f"one trajectory or more, of {WINDOW} steps and 2 channels or more, wanted, got shape {x.shape}"
        )
    return savgol_filter(x[..., :2], WINDOW, ORDER, axis=1, mode="interp")


def split(task: PointMaze, x: Float[np.ndarray, "n T C"]) -> Parts:
    """The parts of each trajectory's travel distance.

    Raises
    ------
    ValueError : what `PointMaze.check` refuses.
    """
    x = task.check(x)
    path = smooth(x)
    length, slow = task.distance(x), task.distance(path)
    cells, moves = visited(task, path), layout(task.maze).moves
    route = moves[cells[:, :-1], cells[:, 1:]].sum(axis=1)
    return Parts(route, slow - route, length - slow)


def visited(task: PointMaze, path: Float[np.ndarray, "n T 2"]):
    """The cell that each position counts for, (n, T): the last one that was entered.

    A path along the border of two cells enters neither anew, so that it does not count as going to and fro.
    Who leaves through a wall is counted as having gone the shortest way round.

    Raises
    ------
    ValueError : ``path`` is not finite, or not of shape (n, T, 2).
    """
    path, plan = checks.trajectories(path, channels=2), layout(task.maze)
    cells = plan.cell_of(path)
    entered = (cells >= 0) & (np.abs(path - plan.centres[cells]).max(axis=-1) < INSIDE)
    entered[:, 0] = True
    first = np.abs(path[:, :1] - plan.centres).max(axis=-1).argmin(axis=1)  # also for a start in a wall
    cells[:, 0] = np.where(cells[:, 0] >= 0, cells[:, 0], first)
    last = np.maximum.accumulate(np.where(entered, np.arange(cells.shape[1]), 0), axis=1)
    return np.take_along_axis(cells, last, axis=1)
