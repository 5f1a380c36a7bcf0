"""The sizes at which the same notebooks run: one table, resolved in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Profile:
    """Sizes and budgets. Notebooks read them; no notebook asks for the profile's name.

    Attributes
    ----------
    seeds : how many times each model is trained, each time on data drawn anew.
    data : trajectories in a training set.
    samples : trajectories drawn from each trained model.
    models : hyperparameters of each model for `physmis.models.build`. In `standard`, and there alone, they
        were chosen so that the four classes train for about the same time on one core, beside a second
        process. The planner of the maze trains longer.
    stamp : printed across figures that show no results; none in the profiles whose figures do.
    """

    name: str
    seeds: int
    data: int
    samples: int
    models: dict[str, dict[str, Any]]
    stamp: str = ""

    def scaled(self, name: str, share: float) -> Profile:
        """The same networks with a ``share`` of seeds, data, samples and training steps, and stamped figures.

        No size falls below that of the smoke profile.
        """
        smoke = PROFILES["smoke"]

        def part(size, least):
            return max(round(share * size), least)

        return Profile(
            name=name,
            stamp=f"{100 * share:g} % OF {self.name.upper()}",
            seeds=part(self.seeds, smoke.seeds),
            data=part(self.data, smoke.data),
            samples=part(self.samples, smoke.samples),
            models={
                model: {**sizes, "steps": part(sizes["steps"], smoke.models[model]["steps"])}
                for model, sizes in self.models.items()
            },
        )


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            stamp="SMOKE",
            seeds=1,
            data=2_000,
            samples=512,
            models={
                "unet": {"width": 8, "steps": 100, "batch": 64, "sampler_steps": 8},
                "transformer": {"width": 16, "layers": 2, "steps": 60, "batch": 64, "rate": 3e-3},
                "vae": {"width": 64, "steps": 200, "batch": 64, "rate": 2e-3},
                "mlp": {"width": 64, "steps": 200, "batch": 64, "rate": 2e-3, "sampler_steps": 8},
                "planner": {
                    "width": 8,
                    "steps": 60,
                    "batch": 64,
                    "sampler": "ancestral",
                    "sampler_steps": 8,
                },
            },
        ),
        Profile(
            name="workshop",
            stamp="WORKSHOP",
            seeds=1,
            data=5_000,
            samples=1_024,
            models={
                "unet": {"width": 16, "steps": 400, "batch": 64, "sampler_steps": 10},
                "transformer": {"width": 32, "layers": 2, "steps": 400, "batch": 32, "rate": 4e-3},
                "vae": {"width": 128, "steps": 1_500, "batch": 64, "rate": 2e-3},
                "mlp": {"width": 128, "steps": 2_000, "batch": 64, "rate": 3e-3, "sampler_steps": 10},
                "planner": {
                    "width": 16,
                    "steps": 400,
                    "batch": 64,
                    "rate": 1e-2,
                    "sampler": "ancestral",
                    "sampler_steps": 20,
                },
            },
        ),
        Profile(
            name="standard",
            seeds=3,
            data=20_000,
            samples=8_192,
            models={
                "unet": {"width": 16, "steps": 2_600, "batch": 64, "sampler_steps": 20},
                "transformer": {"width": 48, "layers": 3, "steps": 2_400, "batch": 32, "rate": 4e-3},
                "vae": {"width": 128, "depth": 3, "codes": 16, "steps": 9_000, "batch": 128, "rate": 2e-3},
                "mlp": {
                    "width": 128,
                    "depth": 4,
                    "steps": 12_000,
                    "batch": 128,
                    "rate": 3e-3,
                    "sampler_steps": 20,
                },
                "planner": {
                    "width": 16,
                    "steps": 2_600,
                    "batch": 128,
                    "rate": 1e-2,
                    "sampler": "ancestral",
                    "sampler_steps": 50,
                },
            },
        ),
        Profile(
            name="full",
            seeds=5,
            data=20_000,
            samples=16_384,
            models={
                "unet": {"width": 32, "steps": 12_000, "batch": 256, "sampler_steps": 40},
                "transformer": {"width": 96, "layers": 4, "steps": 8_000, "batch": 256, "rate": 2e-3},
                "vae": {"width": 256, "steps": 40_000, "batch": 256, "rate": 2e-3},
                "mlp": {"width": 384, "steps": 30_000, "batch": 256, "rate": 2e-3, "sampler_steps": 40},
                "planner": {
                    "width": 32,
                    "steps": 40_000,
                    "batch": 256,
                    "sampler": "ancestral",
                    "sampler_steps": 100,
                },
            },
        ),
    )
}


def resolve(name: str) -> Profile:
    """The profile called ``name``, such as "full", or "full@0.01" for a hundredth of it (`Profile.scaled`).

    Raises ValueError naming the accepted ones.
    """
    base, at, share = name.partition("@")
    if base not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; accepted: {', '.join(PROFILES)}")
    if not at:
        return PROFILES[base]
    if not (re.fullmatch(r"0\.\d+", share) and float(share)):
        raise ValueError(f"profile {name!r}: a share between 0 and 1 wanted, such as '{base}@0.01'")
    return PROFILES[base].scaled(name, float(share))
