"""The three sizes at which the same notebooks run: one table, resolved in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """Sizes and budgets. Notebooks read them; no notebook asks for the profile's name.

    Attributes
    ----------
    seeds : how many times each model is trained, each time on data drawn anew.
    data : trajectories in a training set.
    samples : trajectories drawn from each trained model.
    steps, batch, width, sampler_steps : see `physmis.models.diffusion.UNetDiffusion`.
    """

    name: str
    seeds: int
    data: int
    samples: int
    steps: int
    batch: int
    width: int
    sampler_steps: int

    @property
    def unet(self) -> dict[str, int]:
        """Hyperparameters of the U-Net for `physmis.models.build`."""
        return {
            "width": self.width,
            "steps": self.steps,
            "batch": self.batch,
            "sampler_steps": self.sampler_steps,
        }


PROFILES = {
    profile.name: profile
    for profile in (
        # Fields: seeds, data, samples, steps, batch, width, sampler_steps.
        Profile("smoke", 1, 2_000, 512, 100, 64, 8, 8),
        Profile("standard", 3, 20_000, 8_192, 2_000, 128, 16, 20),
        Profile("full", 5, 20_000, 16_384, 12_000, 256, 32, 40),
    )
}


def resolve(name: str) -> Profile:
    """The profile called ``name``. Raises ValueError naming the accepted ones."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; accepted: {', '.join(PROFILES)}")
    return PROFILES[name]
