"""The sizes at which the same notebooks run: one table, `profiles.toml`, resolved in one place."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from importlib.resources import files
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
        were chosen so that each of the four classes trains until its trajectories are valid, where it can,
        however long that takes.
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
        models = {
            model: {**sizes, "steps": max(round(share * sizes["steps"]), smoke.models[model]["steps"])}
            for model, sizes in self.models.items()
        }
        sizes = {
            part: max(round(share * getattr(self, part)), getattr(smoke, part))
            for part in ("seeds", "data", "samples")
        }
        return replace(
            self, name=name, stamp=f"{100 * share:g} % OF {self.name.upper()}", models=models, **sizes
        )


_TABLE = tomllib.loads((files("physmis.paper") / "profiles.toml").read_text())
PROFILES = {  # a profile "of" another one has its sizes, but for those that it names
    name: Profile(name, **{**_TABLE.get(sizes.pop("of", ""), {}), **sizes}) for name, sizes in _TABLE.items()
}


def resolve(name: str) -> Profile:
    """The profile called ``name``, such as "full", or "full@0.01" for a hundredth of it (`Profile.scaled`).

    Raises ValueError naming the accepted ones.
    """
    base, at, share = name.partition("@")
    if base not in PROFILES:
        raise ValueError(f"profile: expected one of {', '.join(PROFILES)}, got {name!r}")
    if not at:
        return PROFILES[base]
    if not (re.fullmatch(r"0\.\d+", share) and float(share)):
        raise ValueError(f"profile: expected a share between 0 and 1 such as '{base}@0.01', got {name!r}")
    return PROFILES[base].scaled(name, float(share))
