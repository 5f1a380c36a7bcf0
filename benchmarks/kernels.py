"""Deviation kernels: neighbours among many trajectories, and a forecast by isotropic errors."""

import multiprocessing
import re
import statistics
from pathlib import Path

import numpy as np

from benchmarks.timing import Row, interleaved, short
from physmis.drift import histogram
from physmis.kernels import IsotropicKernel, TangentKernel, forecast, induced_transition
from physmis.tasks import load

N, BINS, STEPS, REACH, SCALE = 20_000, 50, 8, 0.1, 0.02
EDGES = np.array([-np.inf, *np.linspace(0, 1, BINS - 1), np.inf])
REPEATS = {"tangent": 2, "isotropic": 5}


def run() -> tuple[list[Row], list[str]]:
    """Rows of the table, and a note on what one call takes."""
    rows, notes = [], []
    for name, operation in {
        "tangent": f"tangent kernel of reach {REACH:g} among {N:,}",
        "isotropic": f"isotropic forecast, {BINS} bins, k = {STEPS}",
    }.items():
        # In a process of its own, whose peak of memory is that of this job.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, peak = pool.apply(measure, (name,))
        rates = [N / s for s in seconds]
        spread = f"{short(min(rates))} to {short(max(rates))}"
        rows.append(Row(operation, f"{short(statistics.median(rates))} trajectories/s", "-", "-", spread))
        notes.append(
            f"{operation.capitalize()}: {statistics.median(seconds):.2f} s for {N:,} trajectories of "
            f"{load('cone').steps} steps; its process never holds more than {peak:.2f} GiB."
        )
    return rows, notes


def measure(name: str) -> tuple[list[float], float]:
    """Seconds of each call, and the most memory that the process has held, in GiB."""
    import torch

    torch.set_num_threads(1)
    task = load("cone")
    batch = task.sample(N, np.random.default_rng(0))

    def tangent():
        return TangentKernel(batch.x, REACH).deviate(batch.x, np.random.default_rng(1))

    def isotropic():
        kernel = IsotropicKernel(SCALE)
        found = induced_transition(kernel, task.measure, batch.x, EDGES, np.random.default_rng(1))
        return forecast(histogram(batch.z, EDGES), found.matrix, STEPS)

    seconds = interleaved({name: {"tangent": tangent, "isotropic": isotropic}[name]}, REPEATS[name])
    return seconds[name], peak_memory()


def peak_memory() -> float:
    """Most memory that this process has held so far, in GiB; NaN on systems other than Linux."""
    status = Path("/proc/self/status")
    return (
        int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 2**20
        if status.exists()
        else float("nan")
    )


if __name__ == "__main__":
    for line in sum(run(), []):
        print(line)
