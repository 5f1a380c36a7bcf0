"""The maze: demonstrations, plans (against the same network in `diffusers`), and steps of execution."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet1DModel

from benchmarks.timing import Row, alone, compare
from benchmarks.unet import peer_network
from physmis.models import build
from physmis.models.base import CHUNK
from physmis.models.diffusion import LEVELS
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
    rows.append(
        compare(
            f"maze: plans, {model.sampler_steps} ancestral steps",
            "plans",
            PLANS,
            lambda: model.sample(PLANS, np.random.default_rng(0), ends),
            planning(peer_network(model.width, channels=2), ends, task.steps, model.sampler_steps),
            REPEATS,
        )
    )
    steps = EXECUTIONS * (task.steps - 1) * task.stride
    rows.append(alone("maze: execution", "steps", steps, lambda: execute(task, x[:EXECUTIONS]), REPEATS))
    return rows


def planning(network: UNet1DModel, ends: dict[int, np.ndarray], steps: int, sampler_steps: int) -> Callable:
    """A call that makes `PLANS` plans with diffusers' ancestral sampler, both ends held at each step."""
    scheduler = DDPMScheduler(
        num_train_timesteps=LEVELS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
    )
    scheduler.set_timesteps(sampler_steps)
    held = {step: torch.from_numpy(value) for step, value in ends.items()}

    @torch.inference_mode()
    def call():
        parts = []
        for i in range(0, PLANS, CHUNK):
            y = torch.randn(CHUNK, 2, steps)
            for t in scheduler.timesteps:
                for step, value in held.items():
                    y[..., step] = value[i : i + CHUNK]
                y = scheduler.step(network(y, t, return_dict=False)[0], t, y, return_dict=False)[0]
            parts.append(y)
        return torch.cat(parts)

    return call
