"""A card: training many models together against one at a time, sampling, and agreement with the CPU.

`python -m benchmarks.gpu` prints the tables and writes them to `gpu.md` beside this file. Without a card it
says so. `--device cpu` runs all of it at toy sizes, to see that it works, and writes nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import short
from physmis import drift, figures, store
from physmis.fitting import TOGETHER
from physmis.models import AT_ONCE, build
from physmis.models.training import train
from physmis.plotting import NAMES
from physmis.profiles import Profile, resolve
from physmis.tasks import load

PROFILES = {"cuda": ("standard", "full"), "cpu": ("smoke",)}
# Models trained together: on a card as many as `physmis.fitting` does.
COUNTS = {"cuda": (1, 2, 4, 8, 16, TOGETHER), "cpu": (1, 2)}
STEPS = {"cuda": (20, 120), "cpu": (1, 3)}  # two short trainings, whose difference is timed
SAMPLES = {"cuda": AT_ONCE["cuda"], "cpu": 16}
REPEATS, AIM = 3, 8.0
# How far a card may be from the CPU: losses of the first steps relative to their size, samples of equal
# weights in standard deviations of the data, and laws of the quantity after training in total variation.
TOLERANCES = {"losses": 1e-4, "samples": 1e-3, "law": 0.03}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 1 if card and CPU do not agree."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description="Measure a card.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    device = parser.parse_args(arguments).device
    if device == "cuda" and not torch.cuda.is_available():
        print(
            "no CUDA device here: nothing measured (--device cpu shows at toy sizes that this program works)"
        )
        return 0
    torch.set_num_threads(1)
    lines = ["# Latest run on a card", ""]
    for name in PROFILES[device]:
        lines += training_table(resolve(name), device)
    lines += sampling_table(resolve(PROFILES[device][0]), device)
    differences = agreement(device)
    lines += ["| CPU against card | difference | tolerance |", "|---|---|---|"]
    lines += [f"| {what} | {found:.1e} | {TOLERANCES[what]:g} |" for what, found in differences.items()]
    told = ", ".join(f"{name} {store.versions()[name]}" for name in ("python", "torch", "numpy"))
    lines += ["", f"Machine: {figures.machine(device)}; {told}."]
    text = "\n".join(lines) + "\n"
    print(text)
    if device == "cuda":
        Path(__file__).with_name("gpu.md").write_text(text, encoding="utf-8")
    return int(any(found > TOLERANCES[what] for what, found in differences.items()))


def training_table(profile: Profile, device: str) -> list[str]:
    """U-Nets of a profile's size: throughput of all models together, and how many times that of one."""
    rates, lines = {}, []
    for count in COUNTS[device]:
        rates[count], spread, memory = training_rate(profile, count, device)
        lines.append(
            f"| {count} | {short(rates[count])} | {spread} | {rates[count] / rates[1]:.1f} | {memory:.1f} |"
        )
        print(f"{profile.name}: {lines[-1]}", flush=True)
    most = max(rates, key=rates.get)
    return [
        f"U-Net of the {profile.name} profile, batches of {profile.models['unet']['batch']}:",
        "",
        "| models together | trajectories/s | spread | times one model | GiB |",
        "|---|---|---|---|---|",
        *lines,
        "",
        f"Best: {most} models, {rates[most] / rates[1]:.1f} times one; the aim is {AIM:g}.",
        "",
    ]


def training_rate(profile: Profile, count: int, device: str) -> tuple[float, str, float]:
    """Trajectories a second, median and range as text; and the most memory that the card held, in GiB."""
    x = load("logistic").sample(profile.data, np.random.default_rng(0)).x
    model = build("unet", **profile.models["unet"])

    def seconds(steps: int) -> float:
        models = [replace(model, steps=steps).to(device) for _ in range(count)]
        given = [{"x": x, "rng": np.random.default_rng(seed)} for seed in range(count)]
        return timed(lambda: train(models, given), device)

    less, more = STEPS[device]
    seconds(less)  # the first run of each size looks for its algorithms
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    amount = count * model.batch * (more - less)
    rates = [amount / max(seconds(more) - seconds(less), 1e-9) for _ in range(REPEATS)]
    memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else float("nan")
    return statistics.median(rates), f"{short(min(rates))} to {short(max(rates))}", memory


def sampling_table(profile: Profile, device: str) -> list[str]:
    """Samples a second of each class."""
    n = SAMPLES[device]
    lines = [
        f"Sampling at the sizes of the {profile.name} profile:",
        "",
        "| class | trajectories/s |",
        "|---|---|",
    ]
    x = load("logistic").sample(profile.data, np.random.default_rng(0)).x
    for name in NAMES:
        # Weights change nothing in the work, so one step of training will do.
        model = replace(build(name, **profile.models[name]), steps=1).to(device)
        model.fit(x, np.random.default_rng(0))
        draw = lambda model=model: model.sample(n, np.random.default_rng(0))  # noqa: E731
        draw()
        rate = n / statistics.median(timed(draw, device) for _ in range(REPEATS))
        lines.append(f"| {name}, {n:,} at once | {short(rate)} |")
    return [*lines, ""]


def timed(job: Callable[[], object], device: str) -> float:
    """Wall seconds of a call, until the card has done what it was told."""
    begun = time.perf_counter()
    job()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def agreement(device: str, steps: int = 200, n: int = 2048) -> dict[str, float]:
    """How far ``device`` is from the CPU, for a small U-Net of equal settings and seed; see `TOLERANCES`."""
    task = load("logistic")
    x = task.sample(2000, np.random.default_rng(0)).x
    model = build("unet", width=16, batch=64, steps=steps)
    here, there = (replace(model).to(place).fit(x, np.random.default_rng(1)) for place in ("cpu", device))
    copied = replace(model).to(device).from_state(here.state())
    made = [each.sample(n, np.random.default_rng(2)) for each in (here, copied, there)]
    edges = task.quantity.bins()
    laws = [drift.histogram(task.measure(each), edges) for each in (made[0], made[2])]
    first = slice(10)
    return {
        "losses": float(np.abs(there.losses[first] / here.losses[first] - 1).max()),
        "samples": float(np.abs(made[1] - made[0]).max() / x.std()),
        "law": float(drift.total_variation(*laws)),
    }


if __name__ == "__main__":
    sys.exit(main())
