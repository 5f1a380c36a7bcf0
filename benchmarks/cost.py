"""What a sweep costs: `python -m benchmarks.cost` measures, fits, predicts, and checks the prediction.

Writes `cost.md` and `cost.png` beside this file, in about five minutes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from joblib.externals.loky import get_reusable_executor
from scipy.stats import linregress, t

from benchmarks.__main__ import describe_machine
from benchmarks.kernels import peak_memory
from physmis.experiment import Experiment, run, run_all, trained
from physmis.intervals import Interval
from physmis.models import build
from physmis.profiles import resolve
from physmis.store import Store
from physmis.tasks import load


@dataclass(frozen=True)
class Size:
    """U-Nets of the standard width and batch, on trajectories of the logistic map of `horizon` time steps."""

    models: int = 1
    steps: int = 120
    data: int = 5_000
    samples: int = 512
    horizon: int = 32

    def experiments(self) -> list[Experiment]:
        model = build("unet", **resolve("standard").models["unet"] | {"steps": self.steps})
        task = load("logistic", steps=self.horizon)
        return [Experiment(task, model, self.data, self.samples, seed) for seed in range(self.models)]


BASE = Size()
VALUES = {
    "models": (1, 2, 4, 8),
    "steps": (60, 120, 240, 480),
    "data": (2_500, 5_000, 10_000, 20_000),
    "samples": (256, 512, 1_024, 2_048, 4_096),
    "horizon": (16, 32, 64, 128),
}
TOLD = {
    "models": "models",
    "steps": "training steps",
    "data": "training trajectories",
    "samples": "trajectories drawn",
    "horizon": "time steps of each",
}
# What the seconds of one model depend on; the rest is measured to see that it does not matter.
MATTERS = {"training": ("steps", "data", "horizon"), "sampling": ("samples", "horizon")}
SWEEP = Size(
    models=1_000,
    steps=resolve("standard").models["unet"]["steps"],
    data=resolve("standard").data,
    samples=resolve("standard").samples,
)
CORES = (2, 16, 64)
CHECKED = (4, 8, 16)  # models, on two processes


class Cost(NamedTuple):
    """Processor seconds of training, of sampling and measuring, and of starting a process; peak GiB."""

    training: float
    sampling: float
    start: float
    memory: float


MEASURED = ("training", "sampling", "memory")
Laws = dict[tuple[str, str], Interval]  # exponent of what is measured, by it and what was varied


def measure(size: Size) -> Cost:
    """The cost of a size, in this process, which should be fresh."""
    import torch

    torch.set_num_threads(1)
    start = time.process_time()
    training = sampling = 0.0
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        run(replace(BASE, steps=2, samples=8).experiments()[0], root=store.root)  # fills caches and buffers
        for experiment in size.experiments():
            begun = time.process_time()
            trained(experiment, store, "cpu")
            between = time.process_time()
            run(experiment, root=store.root)
            training += between - begun
            sampling += time.process_time() - between
    return Cost(training, sampling, start, peak_memory())


def measure_all() -> dict[str, list[Cost]]:
    """Costs along each variable, every one in a process of its own."""
    found = {}
    for name, values in VALUES.items():
        print(f"{TOLD[name]}: {', '.join(f'{value:,}' for value in values)}", flush=True)
        found[name] = []
        for value in values:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found[name].append(pool.apply(measure, (replace(BASE, **{name: value}),)))
    return found


def exponent(x: np.ndarray, y: np.ndarray) -> Interval:
    """The power of ``x`` that ``y`` grows with: the slope of a line through their logarithms."""
    fit = linregress(np.log(x), np.log(y))
    reach = t.ppf(0.975, len(x) - 2) * fit.stderr
    return Interval(fit.slope, fit.slope - reach, fit.slope + reach)


def laws(found: dict[str, list[Cost]]) -> Laws:
    """All exponents."""
    return {
        (what, name): exponent(np.array(VALUES[name]), np.array([getattr(cost, what) for cost in costs]))
        for what in MEASURED
        for name, costs in found.items()
    }


def typical(found: dict[str, list[Cost]]) -> Cost:
    """The cost of `BASE`, which is met once along each variable."""
    met = [costs[VALUES[name].index(getattr(BASE, name))] for name, costs in found.items()]
    return Cost(*(median(values) for values in zip(*met, strict=True)))


def of_one(size: Size, base: Cost, exponents: Laws) -> Interval:
    """Processor seconds of one model of a size, from that of the base.

    The interval is that of the exponents, taken as independent.
    """
    total, spread = 0.0, 0.0
    for what, names in MATTERS.items():
        seconds, error = getattr(base, what), 0.0
        for name in names:
            ratio, law = getattr(size, name) / getattr(BASE, name), exponents[what, name]
            seconds *= ratio**law.value
            error += ((law.high - law.value) * np.log(ratio)) ** 2
        total += seconds
        spread += seconds**2 * error
    return Interval(total, max(total - spread**0.5, 0.0), total + spread**0.5)


def wall(size: Size, cores: int, base: Cost, exponents: Laws) -> Interval:
    """Wall seconds of a sweep on so many cores, which have nothing else to do: a process starts on each."""
    turns = -(-size.models // cores)
    return Interval(*(base.start + turns * seconds for seconds in of_one(size, base, exponents)))


def check(base: Cost, exponents: Laws) -> list[tuple[Size, float, float]]:
    """Sweeps that grow, with predicted and measured wall seconds on two processes."""
    rows = []
    for models in CHECKED:
        size = replace(BASE, models=models)
        get_reusable_executor().shutdown(wait=True)  # each sweep starts its own processes
        with (
            tempfile.TemporaryDirectory() as folder,
            patch.dict(os.environ, PHYSMIS_STORE=folder, PHYSMIS_JOBS="2"),
        ):
            begun = time.perf_counter()
            run_all(size.experiments())
            seconds = time.perf_counter() - begun
        rows.append((size, wall(size, 2, base, exponents).value, seconds))
    return rows


def draw(found: dict[str, list[Cost]], exponents: Laws, path: Path) -> None:
    """Log-log panels: what is measured against each variable, with the fitted lines."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    from physmis.plotting import COLOURS, use_style

    use_style()
    size = {"figsize": (10.5, 5), "height_ratios": (2, 1)}
    fig, axes = plt.subplots(2, len(VALUES), sharex="col", sharey="row", **size)
    styles = {
        "training": (0, 0.97, COLOURS["unet"], "o"),
        "sampling": (0, 0.86, COLOURS["transformer"], "D"),
        "memory": (1, 0.97, "0.25", "s"),
    }
    for column, (name, costs) in enumerate(found.items()):
        x = np.array(VALUES[name])
        for what, (row, height, colour, marker) in styles.items():
            ax, y = axes[row, column], np.array([getattr(cost, what) for cost in costs])
            slope = exponents[what, name].value
            line = np.exp(np.log(y).mean() + slope * (np.log(x) - np.log(x).mean()))
            ax.loglog(x, y, marker, color=colour, ms=6)
            ax.loglog(x, line, color=colour, lw=1.4)
            label = f"{what}: power {_rounded(slope, 2)}"
            ax.text(0.04, height, label, transform=ax.transAxes, va="top", color=colour, fontsize=10)
        axes[1, column].set_xlabel(TOLD[name])
        axes[1, column].xaxis.set(major_locator=FixedLocator(x[::2]), minor_locator=NullLocator())
        axes[1, column].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    for ax, label, ticks, top in (
        (axes[0, 0], "processor seconds", (0.1, 1, 10, 100), 120),
        (axes[1, 0], "peak memory, GiB", (0.25, 0.5, 1, 2), 3),
    ):
        ax.yaxis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator())
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.set(ylabel=label, ylim=(ticks[0], top))
    fig.savefig(path)
    plt.close(fig)


REPORT = """# What a sweep costs

Each cell is the power that the cost grows with, and its 95 % interval. Training and sampling are processor
seconds; sampling includes measuring. Memory is the peak of the process, with what the packages take.

{exponents}

![Log-log panels of processor seconds and peak memory](cost.png)

One model of {base.steps} steps, {base.data:,} training trajectories of {base.horizon} time steps,
and {base.samples} drawn: {cost.training:.2f} s of training, {cost.sampling:.2f} s of sampling,
{cost.memory:.2f} GiB. A process starts in {cost.start:.1f} s.

## {sweep.models:,} models of the standard profile

U-Nets of {sweep.steps:,} steps, {sweep.data:,} training trajectories, {sweep.samples:,} drawn:
{one} processor seconds a model. Intervals are those of the exponents.

{predicted}

## Predicted against measured

Sweeps of the small model, by `run_all` on two processes, which start anew for each.

{checked}

{machine}
"""


def report(found: dict[str, list[Cost]], exponents: Laws, checked: list, machine: str) -> str:
    """The text of `cost.md`."""
    base = typical(found)
    powers = [[TOLD[name], *(_told(exponents[what, name], 1, 2) for what in MEASURED)] for name in VALUES]
    hours = [[str(cores), _told(wall(SWEEP, cores, base, exponents), 3_600, 1)] for cores in CORES]
    ratios = [[str(size.models), f"{p:.1f}", f"{m:.1f}", f"{m / p:.2f}"] for size, p, m in checked]
    return REPORT.format(
        exponents=_table(["with the number of", *MEASURED], powers),
        base=BASE,
        cost=base,
        sweep=SWEEP,
        one=_told(of_one(SWEEP, base, exponents), 1, 0),
        predicted=_table(["cores", "predicted wall hours"], hours),
        checked=_table(["models", "predicted, s", "measured, s", "measured / predicted"], ratios),
        machine=machine,
    )


def _table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])


def _told(interval: Interval, unit: float, digits: int) -> str:
    value, low, high = (_rounded(number / unit, digits) for number in interval)
    return f"{value} [{low}, {high}]"


def _rounded(number: float, digits: int) -> str:
    return f"{round(number, digits) + 0.0:.{digits}f}"  # no minus before a zero


def main() -> None:
    """Measure, write the table and the figure."""
    machine = describe_machine()
    found = measure_all()
    exponents = laws(found)
    print(f"sweeps of {', '.join(map(str, CHECKED))} models on two processes", flush=True)
    checked = check(typical(found), exponents)
    here = Path(__file__).parent
    draw(found, exponents, here / "cost.png")
    text = report(found, exponents, checked, machine)
    (here / "cost.md").write_text(text, encoding="utf-8")
    print(f"{text}\nWritten to {here / 'cost.md'} and cost.png")


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__.split("\n")[0]).parse_args()
    main()
