"""Throughput of every task: drawing trajectories, measuring their quantity, checking their validity."""

import numpy as np

from benchmarks.timing import Row, alone
from physmis.tasks import load

NAMES, N, REPEATS = ("sine", "cone", "logistic", "pendulum"), 20_000, 5


def run() -> list[Row]:
    """One row for each task and operation."""
    rows = []
    for name in NAMES:
        task = load(name)
        x = task.sample(N, np.random.default_rng(0)).x
        calls = {
            "sample": lambda task=task: task.sample(N, np.random.default_rng(0)),
            "measure": lambda task=task, x=x: task.measure(x),
            "validity": lambda task=task, x=x: task.validity(x),
        }
        rows += [alone(f"{name}: {what}", "trajectories", N, call, REPEATS) for what, call in calls.items()]
    return rows
