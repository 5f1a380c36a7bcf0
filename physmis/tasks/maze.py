"""A point mass in a maze, driven from a start to a goal in MuJoCo; curated is the travel distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float

from physmis import checks
from physmis.tasks import maze_demonstrations
from physmis.tasks.base import Batch, Channel, Task, in_chunks, path_length
from physmis.tasks.maze_layout import MAZES, RADIUS, SPEED, STEP, layout

STRONGEST = (100 + 1 * SPEED) / (4 / 3 * np.pi * RADIUS**3 * 1000)  # m/s^2: full force and most damping


@dataclass(frozen=True)
class PointMaze(Task):
    """Demonstrations of a waypoint controller on shortest ways between random places, curated by distance.

    Once arrived, the controller keeps the ball there. ``noise`` is the standard deviation of what is added to
    its actions, which lie within -1 and 1; with ``detours`` it goes by a random third cell.
    """

    name: ClassVar[str] = "maze"
    measured: ClassVar = ("travel distance", "d", "m")
    chunk: ClassVar[int] = maze_demonstrations.CHUNK
    collect = maze_demonstrations.collect
    shortest: ClassVar[int] = 4  # `maze_plans.execute` fits cubic splines
    maze: str = "medium"  # or "umaze" or "large"
    low: float = 2.0
    high: float = 8.0
    steps: int = 32
    stride: int = 12  # environment steps of 0.01 s between steps of a trajectory
    noise: float = 0.0
    detours: bool = False
    prior: str = "uniform"
    channels: ClassVar = (Channel("x", "m"), Channel("y", "m"))

    def __post_init__(self):
        super().__post_init__()
        if self.maze not in MAZES:
            raise ValueError(f"expected a maze out of {', '.join(MAZES)}, got {self.maze!r}")
        checks.check_count("stride", self.stride)
        if not 0 <= self.noise < np.inf:
            raise ValueError(f"expected noise of 0 or more, got {self.noise!r}")
        if not isinstance(self.detours, bool):
            raise ValueError(f"detours: expected True or False, got {self.detours!r}")

    @property
    def interval(self) -> float:
        """Seconds between two steps of a trajectory."""
        return STEP * self.stride

    def generate(self, z, rng):
        raise NotImplementedError("the controller takes no travel distance: use `sample`, which selects")

    def config(self):
        return {**super().config(), "controller": dict(maze_demonstrations.SETTINGS)}

    def sample(self, n, rng):
        x = [self.collect(int(rng.integers(2**31)))["x"] for _ in range(0, n, self.chunk)]
        return self.batch(np.concatenate(x)[:n])

    def batch(self, x: Float[np.ndarray, "n T 2"]) -> Batch:
        """Demonstrations and their travel distance."""
        return Batch(x, self.measure(x))

    def measure(self, x):
        """Length of the polygon through the positions, in metres."""
        return path_length(self.check(x))

    def differentiable(self, x):
        return torch.linalg.vector_norm(x[1:] - x[:-1], dim=-1).sum()

    @in_chunks
    def validity(self, x):
        """The largest of `wall_depth` and `overreach`, in metres; the tolerance is 5 % of a cell."""
        return np.maximum(self.wall_depth(x), self.overreach(x))

    def wall_depth(self, x: Float[np.ndarray, "n T 2"]) -> Float[np.ndarray, "n"]:
        """How deep the ball is in a wall, at worst, at the positions and half way between them."""
        path = np.concatenate([x, (x[:, 1:] + x[:, :-1]) / 2], axis=1)
        return layout(self.maze).depth(path).max(axis=1)

    def overreach(self, x: Float[np.ndarray, "n T 2"]) -> Float[np.ndarray, "n"]:
        """How far positions go beyond what speed limit and full force allow, at worst, per axis."""
        dt = self.interval
        bounds = ((SPEED + STRONGEST * STEP) * dt, STRONGEST * dt**2)  # of first and second differences
        over = [np.abs(np.diff(x, n=k, axis=1)) - bound for k, bound in enumerate(bounds, start=1)]
        return np.maximum(np.max([part.max(axis=(1, 2)) for part in over], axis=0), 0.0)
