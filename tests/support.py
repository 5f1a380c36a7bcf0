"""What tests of experiments and paper share: tiny experiments, and folders with notebooks of their own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from physmis.experiments.experiment import Experiment
from physmis.models import build
from physmis.paper import claims
from physmis.tasks import load

ROOT = Path(__file__).parents[1]
TINY = Experiment(
    load("cone", steps=8),
    build("unet", width=8, steps=5, batch=32, sampler_steps=4),
    data=300,
    samples=64,
    seed=0,
)
# The same task, and a model that is given the first half of each trajectory.
GIVEN = Experiment(
    TINY.task, build("continuation", width=8, steps=5, batch=32, sampler_steps=4), data=64, samples=12, seed=0
)

HEADER = """# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A title

# %% tags=["parameters"]
PROFILE = "standard"
SEED = 0
DEVICE = "auto"
"""
START = """
# %%
import matplotlib.pyplot as plt

from physmis.paper import plotting
from physmis.paper.run import start

plotting.use_style()
run = start({name!r}, profile=PROFILE, seed=SEED, device=DEVICE)
arrays = {{"seed": SEED}}
"""
SAVE = """
# %%
fig, ax = plt.subplots(figsize=(2, 1))
_ = run.save_figure(fig, "fig_{number}_a", arrays)
"""
CLAIM = """
# %%
run.record_claim("C1.{number}.so", {value}, {value}, {value})
"""
FINISH = """
# %%
run.finish()
"""


class Place:
    """A $PHYSMIS_ROOT with notebooks of its own, and the runner at work on it."""

    def __init__(self, folder, bodies):
        self.root = folder / "place {braces}"
        self.notebooks, self.figures = self.root / "notebooks", self.root / "figures"
        self.output, self.store = self.root / "output" / "standard", folder / "store"
        self.notebooks.mkdir(parents=True)
        self.figures.mkdir()
        contract = []
        for name, body in bodies.items():
            number = name[:2]
            text = HEADER + body.format(name=name, number=number, value="1.0")
            (self.notebooks / f"{name}.py").write_text(text)
            contract.append(
                f'[figures.fig_{number}_a]\nnotebook = "{name}"\nsources = []\ncaption = ""\n'
                f'claims = ["C1.{number}.so"]\n'
                f'[claims."C1.{number}.so"]\nnotebook = "{name}"\nstatement = "It is so."\nmeasured = "m"\n'
                f'expected = "> 0"\nprofiles = ["standard"]\nrole = "primary"\nnull = "0"\n'
            )
        (self.figures / "contract.toml").write_text("".join(contract))
        (self.root / "docs").mkdir()
        for name in ("README.md", "docs/claims.md"):
            (self.root / name).write_text(f"{claims.BEGIN}\n{claims.END}\n")
        self.environment = without_settings() | {
            "PHYSMIS_ROOT": str(self.root),
            "PHYSMIS_STORE": str(self.store),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        }

    def command(self, *arguments):
        return [sys.executable, "-m", "physmis.paper.regenerate", "--profile", "standard", *arguments]

    def run(self, *arguments):
        """The finished process of the runner, with what it told as text."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )

    def manifest(self):
        return json.loads((self.output / "manifest.json").read_text())


def without_settings():
    """This process's environment without what steers the package or matplotlib."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PHYSMIS_", "MPL"))}


def contents(root):
    """The arrays of all entries of a store, by kind, key and name."""
    found = {}
    for path in Path(root).glob("*/*.npz"):
        with np.load(path) as file:
            for name in set(file.files) - {"meta"}:
                found[path.parent.name, path.stem, name] = (file[name].dtype, file[name].tobytes())
    return found


def wait_for(condition, seconds=300):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.05)


def same_cells(source, pair):
    """Whether two notebooks have the same cells but for outputs."""

    def seen(notebook):
        return [
            (c.cell_type, c.source, c.metadata.get("tags"), c.metadata.get("jupyter")) for c in notebook.cells
        ]

    return seen(source) == seen(pair)
