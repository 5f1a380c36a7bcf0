"""A forecast of a model's drift before it is trained, from its data and one short training.

Size. A short training drifts more than the whole one will: total variation falls with the root of the steps.
Kind. Of the isotropic and the tangent kernel, of the size at which each forecasts as much drift as the short
training has, the one with the better skill says which kind of errors the model makes.
Forecast. The same kernel, of the size at which it forecasts as much drift as will be left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from physmis import checks
from physmis.drift.metrics import Edges, Shares, bin_of, half_l1
from physmis.kernels.kernels import Measurement, Trajectories, hold_ends, of_kind
from physmis.kernels.transition import CHUNK, Matrix, forecast, measurable, measured, transition
from physmis.models import GenerativeModel

SHARE = 1 / 8  # of the training steps, in the short training
EXPONENT = 0.5  # with which total variation falls with the steps; of sine, cone and logistic map
SAMPLES = 2048  # of the short training
SIZES = {  # tried, in units of `IsotropicKernel.scale` and `TangentKernel.reach`
    "isotropic": np.geomspace(0.002, 0.5, 14),
    "tangent": np.geomspace(0.02, 0.6, 10),
}


@dataclass(frozen=True)
class Forecast:
    """What `forecast_before_training` finds.

    edges, p : bins, and shares of the data in them.    transition : T(z' | z) by bin, (bins, bins).
    kernel, size : "isotropic" and its scale, or "tangent" and its reach.
    short : total variation of the short training's drift, less what sampling adds.
    """

    edges: Edges
    p: Shares
    transition: Matrix
    kernel: str
    size: float
    short: float

    @property
    def q(self) -> Shares:
        """Forecast shares of the trained model's samples."""
        return forecast(self.p, self.transition)


def forecast_before_training(
    x: Trajectories,
    measure: Measurement,
    model: GenerativeModel,
    edges: Edges,
    rng: np.random.Generator,
    *,
    share: float = SHARE,
    progress: Callable[[int, int], None] | None = None,
) -> Forecast:
    """Forecast how ``model``, if it is trained on ``x``, will distribute the quantity ``measure(x)``.

    Parameters
    ----------
    x : trajectories (n, T, C) to train on.    measure : from trajectories (n, T, C) to values (n,).
    model : what will be trained, with its training steps; it stays untrained.
    edges : of the bins. Values beyond them count in the outermost bins.
    share : of the training steps, in the short training.
    progress : gets steps done and steps in all.

    Raises ValueError for other shapes, and where more than `transition.UNMEASURABLE` of the samples or of the
    perturbed trajectories have no finite measurement.
    """
    checks.check_generator(rng)
    x, edges = checks.trajectories(x), checks.edges(edges)
    if not 0 < share <= 1:
        raise ValueError(f"expected a share in (0, 1], got {share!r}")

    def shares(z):
        return np.bincount(bin_of(np.clip(z, edges[0], edges[-1]), edges), minlength=len(edges) - 1) / len(z)

    z = measured(measure, x)
    short = replace(model, steps=max(1, round(share * model.steps))).to(model.device)
    short.fit(x, rng, progress=progress)
    rows = rng.integers(len(x), size=SAMPLES)
    made = short.sample(SAMPLES, rng, {step: x[rows, step] for step in model.given})
    p, q = shares(z), shares(_finite(measured(measure, made, finite=False)))
    noise = np.sqrt(2 * p * (1 - p) / (np.pi * SAMPLES)).sum() / 2  # mean total variation of samples of p
    drift = max(half_l1(p, q) ** 2 - noise**2, 0) ** 0.5

    tried = {kernel: _transitions(kernel, x, z, measure, edges, bool(model.given), rng) for kernel in SIZES}
    kernel = min(tried, key=lambda kernel: half_l1(p @ _drifting(p, tried[kernel], drift)[0], q))
    T, at = _drifting(p, tried[kernel], drift * (short.steps / model.steps) ** EXPONENT)
    size = np.interp(at, np.arange(len(tried[kernel])), [0, *SIZES[kernel]])
    return Forecast(edges, p, T, kernel, float(size), float(drift))


def _drifting(p, transitions, drift) -> tuple[Matrix, float]:
    """The first mixture of two neighbours in ``transitions`` with so much of a ``drift``, and its place."""
    made = np.maximum.accumulate([half_l1(p, p @ T) for T in transitions])
    at = float(np.interp(drift, made, np.arange(len(made))))
    below = min(int(at), len(made) - 2)
    return (below + 1 - at) * transitions[below] + (at - below) * transitions[below + 1], at


def _finite(z):
    return z[measurable(z)]


def _transitions(kernel, x, z, measure, edges, held, rng) -> list[Matrix]:
    """The transition of no error, and those of the kernel at each of its `SIZES`."""
    made, perturbed = of_kind(kernel, x, 1.0), [[] for _ in SIZES[kernel]]
    for i in range(0, len(x), CHUNK):
        part = x[i : i + CHUNK]
        draw = made.draws(part, rng)
        for values, size in zip(perturbed, SIZES[kernel], strict=True):
            moved = hold_ends(part, draw(size)) if held else draw(size)
            values.append(measured(measure, moved, finite=False))
    found = [np.eye(len(edges) - 1)]
    z = np.clip(z, edges[0], edges[-1])
    for values in map(np.concatenate, perturbed):
        kept = measurable(values)
        found.append(transition(z[kept], np.clip(values[kept], edges[0], edges[-1]), edges).matrix)
    return found
