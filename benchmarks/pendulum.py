"""Integration of pendulum motions in one batch, against one `solve_ivp` each at the same energy error."""

from collections.abc import Callable
from math import cos, sin

import numpy as np
from scipy.integrate import solve_ivp

from benchmarks.timing import Row, compare
from physmis.tasks import load
from physmis.tasks.pendulum import CHUNK

SINGLE, REPEATS = 100, 3


def run() -> tuple[list[Row], list[str]]:
    """The row of the table, and what stands beneath it."""
    task, rng = load("pendulum"), np.random.default_rng(0)
    start = task.start(task.quantity.prior.ppf(rng.random(2 * CHUNK)), rng)

    def error(motions):
        """Worst relative error of the energy."""
        energies = task.energy(motions)
        return np.abs(energies / energies[:, :1] - 1).max()

    ours = error(task.integrate(start))
    # The loosest that keeps the energy of a tenth of the motions as well as the batch keeps that of all.
    few = start[:: len(start) // 200]
    for accuracy in 10.0 ** -np.arange(7, 13, 0.25):
        if error(one_by_one(task, few, accuracy)()) <= ours:
            break
    else:
        raise RuntimeError(f"no tolerance down to {accuracy:.0e} keeps the energy within {ours:.1e}")
    row = compare(
        "pendulum: integration",
        "trajectories",
        len(start),
        lambda: task.integrate(start),
        one_by_one(task, few[:SINGLE], accuracy),
        REPEATS,
        SINGLE,
    )
    note = (
        f"Pendulum: the batch keeps the energy of each motion within {ours:.1e} of its value. The peer is "
        f"DOP853 of scipy, one motion at a time, at the loosest tolerance ({accuracy:.1e}) that does so too."
    )
    return [row], [note]


def one_by_one(task, start, accuracy) -> Callable:
    """A call that integrates each motion by itself; rates are plain Python, fastest for single numbers."""
    m1, m2, l1, l2, g = task.m1, task.m2, task.l1, task.l2, task.g

    def rate(_, state):
        a1, a2, w1, w2 = state
        c, s = cos(a1 - a2), sin(a1 - a2)
        f1 = -m2 * l2 * w2**2 * s - (m1 + m2) * g * sin(a1)
        f2 = m2 * (l1 * w1**2 * s - g * sin(a2))
        det = m2 * (m1 + m2 * s**2)
        return w1, w2, m2 * (f1 - c * f2) / (det * l1), ((m1 + m2) * f2 - m2 * c * f1) / (det * l2)

    times = np.linspace(0, task.duration, task.steps)

    def call():
        solved = (
            solve_ivp(rate, times[[0, -1]], one, "DOP853", times, rtol=accuracy, atol=accuracy)
            for one in start
        )
        return np.stack([one.y.T for one in solved])

    return call
