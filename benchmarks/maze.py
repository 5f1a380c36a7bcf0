"""The maze: demonstrations, plans (against the same network in `diffusers`), and steps of execution."""

from dataclasses import replace

import numpy as np
import torch

from benchmarks.timing import Row, alone, compare
from benchmarks.unet import peer_network, sampling
from physmis.models import build
from physmis.models.base import CHUNK
from physmis.paper.profiles import resolve
from physmis.tasks import load
from physmis.tasks.maze_plans import execute

PLANS, EXECUTIONS, REPEATS = 512, 10, 5


def run() -> list[Row]:
    """Rows of the table."""
    task, sizes = load("maze"), resolve("standard").models["planner"]
    rows = [
        alone("maze: demonstrations", "demonstrations", task.chunk, lambda: task.collect(0), repeats=2),
    ]
    x = task.batch(task.collect(0)["x"]).x
    # Weights change nothing in the work, so one step of training will do.
    model = replace(build("planner", **sizes), steps=1).fit(x, np.random.default_rng(0))
    chosen = np.random.default_rng(0).integers(len(x), size=PLANS)
    ends = {step: x[chosen, step] for step in (0, -1)}
    held = {step: torch.from_numpy(value) for step, value in ends.items()}
    peer, shape = peer_network(model.width, channels=2), (2, task.steps)
    rows.append(
        compare(
            f"maze: plans, {model.sampler_steps} multistep steps",
            "plans",
            PLANS,
            lambda: model.sample(PLANS, np.random.default_rng(0), ends),
            sampling(peer, PLANS, CHUNK, shape, model.sampler_steps, held),
            REPEATS,
        )
    )
    steps = EXECUTIONS * (task.steps - 1) * task.stride
    rows.append(alone("maze: execution", "steps", steps, lambda: execute(task, x[:EXECUTIONS]), REPEATS))
    return rows
