"""The four model classes at their standard sizes: how long training takes, and sampling."""

import statistics
from dataclasses import replace

import numpy as np

from benchmarks.timing import Row, interleaved, short
from physmis.models import build
from physmis.paper.plotting import NAMES
from physmis.paper.profiles import resolve
from physmis.tasks import load

SAMPLES, STEPS, REPEATS = 4096, (50, 150), 5  # STEPS: two short trainings, whose difference is timed


def run() -> tuple[list[Row], list[str]]:
    """Rows of the table, and a note on how alike the classes' training times are."""
    profile = resolve("standard")
    x = load("logistic").sample(profile.data, np.random.default_rng(0)).x
    # Weights change nothing in the work, so a few steps of training will do.
    models = {name: build(name, **profile.models[name]) for name in NAMES}
    few = {(name, n): replace(model, steps=n) for name, model in models.items() for n in STEPS}
    training = {key: lambda m=m: m.fit(x, np.random.default_rng(0)) for key, m in few.items()}
    seconds = interleaved(training, REPEATS)
    trained = {
        name: [more - less for less, more in zip(*(seconds[name, n] for n in STEPS), strict=True)]
        for name in models
    }
    sampling = {
        name: lambda m=few[name, STEPS[0]]: m.sample(SAMPLES, np.random.default_rng(0)) for name in models
    }
    sampled = interleaved(sampling, REPEATS)
    rows, whole = [], {}
    for name, model in models.items():
        whole[name] = statistics.median(trained[name]) * model.steps / (STEPS[1] - STEPS[0])
        for what, amount, unit, taken in (
            (f"training step, batch {model.batch}", STEPS[1] - STEPS[0], "steps", trained[name]),
            (f"{SAMPLES:,} samples", SAMPLES, "trajectories", sampled[name]),
        ):
            rates = [amount / s for s in taken]
            spread = f"{short(min(rates))} to {short(max(rates))}"
            rows.append(
                Row(f"class {name}: {what}", f"{short(statistics.median(rates))} {unit}/s", "-", "-", spread)
            )
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in whole.items())
    return rows, [
        f"Training at the standard profile's sizes: {times}; slowest over fastest "
        f"{max(whole.values()) / min(whole.values()):.2f}."
    ]


if __name__ == "__main__":
    for line in sum(run(), []):
        print(line)
