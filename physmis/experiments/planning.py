"""Plans in a maze: made from a start to a goal, and executed in the environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.interpolate import make_interp_spline

from physmis import checks
from physmis.experiments.experiment import AsksModel, Experiment, run
from physmis.experiments.store import Store
from physmis.models import GenerativeModel
from physmis.tasks.maze import STEP, PointMaze, layout, make_environment

# Of the tracker; with these the demonstrations are followed within a centimetre. (With the demonstrator's own
# gains the ball overshoots at every turn and travels a metre too far.)
GAIN, DAMP = 10.0, 4.0
FARTHEST = 1e6  # metres from the middle of a maze: with much larger numbers MuJoCo begins anew


def plan(
    model: GenerativeModel,
    task: PointMaze,
    start: Sequence[float],
    goal: Sequence[float],
    n: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "n T C"]:
    """``n`` plans of a trained "planner" from ``start`` to ``goal``, positions (x, y) in metres, at rest.

    Raises
    ------
    ValueError : start or goal is no finite position, or the ball would touch a wall there, or both are equal;
        the model was trained on other shapes than the task's; ``n`` is below 1.
    RuntimeError : the model is not trained.
    """
    n, shape = checks.check_count("n", n), (task.steps, len(task.channels))
    _ = model.size  # checks that it is trained
    if model.shape != shape:
        raise ValueError(
            f"a model of trajectories of shape {shape} wanted for this task, got one of {model.shape}"
        )
    clamp = {}
    for step, name, position in ((0, "start", start), (-1, "goal", goal)):
        place = np.asarray(checks.real(position, name), dtype=float)
        if place.shape != (2,) or not np.isfinite(place).all():
            raise ValueError(f"{name} must be a finite position (x, y), got {position!r}")
        if (depth := float(layout(task.maze).depth(place[None])[0])) > 0:
            raise ValueError(
                f"{name} {tuple(place.tolist())} is in a wall of maze '{task.maze}', or the ball is, by "
                f"{depth:.2f} m; free are {free_positions(task)}"
            )
        ends = np.zeros((n, len(task.channels)))
        ends[:, :2] = place
        clamp[step] = ends
    if np.array_equal(clamp[0], clamp[-1]):
        raise ValueError(f"start and goal are both {tuple(clamp[0][0, :2].tolist())}; two positions wanted")
    return model.sample(n, rng, clamp)


def free_positions(task: PointMaze) -> str:
    """The first few cell centres, to show what a position looks like."""
    centres = layout(task.maze).centres
    return (
        ", ".join(str(tuple(centre)) for centre in centres[:3].tolist()) + f" and {len(centres) - 3} others"
    )


def execute(task: PointMaze, plans: Float[np.ndarray, "n T C"]) -> dict[str, np.ndarray]:
    """Follow plans in the environment, each from its first position at rest to its last, without noise.

    Proportional-derivative tracking of a cubic spline through the plan: action = GAIN * (plan - position) +
    DAMP * (speed of the plan - velocity).

    Returns
    -------
    x : positions and velocities, (n, T, 4) float32.    effort : sum of squared actions times seconds, (n,).
    success : what the environment says at the last step: the ball is within 0.45 m of the goal.

    Raises
    ------
    ValueError : what `PointMaze.check` refuses, or positions beyond 1e6 m.
    """
    paths = checks.sized(task.check(plans)[..., :2], "positions", largest=FARTHEST)
    environment = make_environment(task.maze)
    stride = task.stride
    x = np.empty((*paths.shape[:2], 4), dtype=np.float32)
    effort, success = np.zeros(len(paths)), np.zeros(len(paths), dtype=bool)
    moments = np.arange(1, (task.steps - 1) * stride + 1) / stride  # at which environment steps end
    environment.reset(seed=0)
    for row, path in enumerate(paths):
        environment.goal = path[-1]
        environment.point_env.set_state(path[0], np.zeros(2))
        curve = make_interp_spline(np.arange(task.steps), path, k=3)
        targets, speeds = curve(moments), curve(moments, 1) / task.interval
        now = np.concatenate([path[0], np.zeros(2)])
        x[row, 0] = now
        for k, (target, speed) in enumerate(zip(targets, speeds, strict=True)):
            action = np.clip(GAIN * (target - now[:2]) + DAMP * (speed - now[2:]), -1, 1)
            observed, *_, info = environment.step(action)
            now = observed["observation"]
            effort[row] += STEP * float(action @ action)
            if (k + 1) % stride == 0:
                x[row, (k + 1) // stride] = now
        success[row] = info["success"]
    environment.close()
    return {"x": x, "effort": effort, "success": success}


@dataclass(frozen=True)
class Execution(AsksModel):
    """The first ``plans`` samples of an experiment, executed; or the demonstrations with the same ends."""

    of: Experiment
    plans: int
    demonstrations: bool = False

    def __post_init__(self):
        if not 1 <= self.plans <= self.of.samples:
            raise ValueError(
                f"plans from 1 to the experiment's {self.of.samples} samples wanted, got {self.plans}"
            )
        if self.demonstrations and not self.of.model.given:
            raise ValueError(
                f"model '{self.of.model.name}' is given no start and goal; "
                "no demonstrations belong to its samples"
            )

    @property
    def config(self) -> dict[str, Any]:
        """What the execution depends on."""
        return {
            "kind": "execution",
            "of": self.of.config,
            "plans": self.plans,
            "demonstrations": self.demonstrations,
            "tracker": [GAIN, DAMP],
        }

    def compute(self, store: Store, device: str) -> dict[str, np.ndarray]:
        """What `execute` gives."""
        made = run(self.of, device, store.root)
        if not self.demonstrations:
            return execute(self.of.task, made.x[: self.plans])
        data = self.of.training_set(store).x
        return execute(self.of.task, data[made.samples.arrays["row"][: self.plans]])

    def __str__(self) -> str:
        return f"{self.plans} executions of {self.of}"
