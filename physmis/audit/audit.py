"""An audit of one's own trajectories: will a model keep the distribution of a quantity, and has it?

Before training, a data deviation kernel forecasts from demonstrations alone which values a model will make
too often and which too rarely. After training, generated trajectories are held against the demonstrations,
or against the prior that was curated, by a test that is exact at any sample size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float

from physmis import checks
from physmis.audit.measurements import measurement
from physmis.audit.preparation import Prepared, prepare, stretch
from physmis.coordinates.maps import Filter, Identity, Increments
from physmis.coordinates.search import KernelCoordinates
from physmis.drift.intervals import Interval
from physmis.drift.metrics import bin_of, half_l1, histogram, prior_mass
from physmis.drift.shift_test import LEVEL, ShiftTest, bin_edges, shift_test
from physmis.kernels.kernels import (
    IsotropicKernel,
    Kernel,
    Measurement,
    TangentKernel,
    Trajectories,
)
from physmis.kernels.transition import transition

BROKEN = 0.01  # level of the other test, of how many trajectories cannot be measured
AS_THEY_ARE = "as they are"  # the data's own coordinates
FEWEST = 20  # trajectories on either side
SEEN = 4096  # most trajectories that a kernel sees
SEEN_STEPS = 2**20  # and most time steps of all of them
STEPS = 64  # most time steps of a trajectory that a kernel sees
SCALE = 0.0125  # isotropic errors, in standard deviations: as matched to U-Nets on the sine, notebook 05
LOST = float(np.finfo(float).max)  # stands for a quantity that cannot be measured
CANDIDATES = {
    "filtered, Filter(0.5)": Filter(0.5),
    "increments, Increments()": Increments(),
}


class Errors(Kernel):
    """The errors that an audit expects of a model: along the data, and then a little in all directions."""

    def __init__(self, y: Trajectories):
        tangent = TangentKernel(y, reach=0.1)
        spread = checks.real(y, "trajectories").std(axis=(0, 1))
        self.parts = (tangent, IsotropicKernel(SCALE, np.maximum(spread, 1e-9 * spread.max())))

    def deviate(self, x, rng):
        for part in self.parts:
            x = part.deviate(x, rng)
        return x


class Forecast(NamedTuple):
    """What a kernel foretells, before anything is trained.

    law : forecast share of each bin.    tv : its total variation from the law before.    floor : what would
    be left of ``tv`` if each step between values were as likely the other way, mean and central 95 %.
    bias : mean change of the quantity from each bin, NaN where none begins.    coordinates : forecast total
    variation in other coordinates, by name; those that cannot be had on the data are left out.
    """

    law: Float[np.ndarray, "bins"]
    tv: float
    floor: Interval
    bias: Float[np.ndarray, "bins"]
    coordinates: dict[str, float]


@dataclass(frozen=True)
class Report:
    """What `audit` found. ``str(report)`` is for a terminal, `physmis.audit.report.html` makes a page of it.

    Attributes
    ----------
    quantity : name of the measurement.
    against : what the values are held against: "the demonstrations" or "the prior".
    edges : of the bins; the first and the last bin are open.
    values, generated : the quantity of each demonstration and of each generated trajectory (or None).
    unmeasured, mended : demonstrations and generated trajectories that could not be measured and were left
        out; and those with missing steps that were filled in.
    forecast : None if none was asked for, or none could be made.
    curation : the demonstrations held against the prior; None without one.
    comparison : the generated trajectories held against the prior, or else the demonstrations; None without.
    refused : why the forecast that was asked for could not be made; empty if it could.
    """

    quantity: str
    against: str
    edges: Float[np.ndarray, "edges"]
    values: Float[np.ndarray, "n"]
    generated: Float[np.ndarray, "m"] | None
    unmeasured: tuple[int, int]
    mended: tuple[int, int]
    forecast: Forecast | None
    curation: ShiftTest | None
    comparison: ShiftTest | None
    refused: str = ""

    @property
    def compared(self) -> ShiftTest | None:
        """What the verdict is about: the generated trajectories, or without them the curation."""
        return self.comparison or self.curation

    @property
    def broken(self) -> bool:
        """Whether more generated trajectories than demonstrations cannot be measured, beyond chance.

        By Fisher's exact test, at a level of 1 %.
        """
        if self.generated is None:
            return False
        table = [[self.unmeasured[1], len(self.generated)], [self.unmeasured[0], len(self.values)]]
        return scipy.stats.fisher_exact(table, alternative="greater").pvalue <= BROKEN

    @property
    def moved(self) -> bool:
        """Whether a distribution was compared and has moved, or generated trajectories are `broken`."""
        return self.broken or any(c is not None and c.shifted for c in (self.comparison, self.curation))

    def __str__(self) -> str:
        from physmis.audit.report import text

        return text(self)


def audit(
    trajectories: Sequence[Float[np.ndarray, "T C"]],
    measure: str | Measurement,
    kernel: Callable[[Trajectories], Kernel] | None = Errors,
    generated: Sequence[Float[np.ndarray, "T C"]] | None = None,
    prior: Any = None,
    dt: float = 1.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Whether models will keep, or have kept, the distribution of a quantity.

    Parameters
    ----------
    trajectories : demonstrations: an array (n, T, C), or n arrays (T, C) of any length of 2 or more steps.
        Steps with NaN in some channel count as missing: filled in linearly between others, cut off at the
        ends.
    measure : a name in `physmis.audit.measurements.MEASUREMENTS`, or a callable from (n, T, C) to (n,), given
        trajectories of equal length. Those of which it makes no finite number are left out and counted.
    kernel : makes the kernel of the forecast from trajectories of equal length; None for no forecast. It sees
        at most 4,096 of them, each at up to 64 moments; what it does between them is interpolated. Those that
        cannot be measured any more where they land are left out of the forecast.
    generated : trajectories of a trained model, as many or fewer or more.
    prior : the law that was curated, a frozen `scipy.stats` distribution; without it, that of the
        demonstrations.
    dt : time between steps, for measurements by name.
    progress : called with trajectories measured and trajectories in all.

    Raises
    ------
    ValueError : fewer than 20 trajectories on a side can be measured; shapes that do not fit; the quantity is
        the same for all demonstrations; a prior without quantiles; what `measurement`
        refuses; or, where nothing is compared, what the kernel refuses.
    """
    name = measure if isinstance(measure, str) else getattr(measure, "__name__", "<lambda>")
    name = "quantity" if name == "<lambda>" else name
    measure = measurement(measure, dt)
    sides = {"demonstrations": prepare(trajectories, "demonstrations")}
    if generated is not None:
        sides["generated trajectories"] = prepare(generated, "generated trajectories")
        if len({side.channels for side in sides.values()}) > 1:
            raise ValueError(
                "as many channels wanted on both sides, got "
                + " and ".join(f"{side.channels} in the {word}" for word, side in sides.items())
            )
    whole, done, found = sum(side.count for side in sides.values()), 0, []
    for word, side in sides.items():
        values = side.measured(measure, progress and (lambda k, begun=done: progress(begun + k, whole)))
        done += side.count
        if (usable := int(np.isfinite(values).sum())) < FEWEST:
            raise ValueError(f"{FEWEST} {word} or more that can be measured wanted, got {usable}")
        found.append(values)
    finite = [values[np.isfinite(values)] for values in found]
    z, z_generated = finite[0], finite[1] if generated is not None else None
    if np.ptp(z) <= 1e-13 * np.abs(z).max():  # to rounding
        raise ValueError(f"the quantity is {z[0]:g} for all demonstrations; one that varies wanted")
    # A stream for each, so that the one does not depend on whether the other is asked for.
    for_forecast, for_curation, for_comparison = np.random.default_rng(seed).spawn(3)
    edges = bin_edges(z, z_generated, prior)
    # Of two tests either may cry wolf: each gets half of the level (Bonferroni).
    level = LEVEL if prior is None or generated is None else LEVEL / 2
    curation = None if prior is None else shift_test(z, None, prior, edges, for_curation, level)
    comparison = None
    if generated is not None:
        comparison = shift_test(z, z_generated, prior, edges, for_comparison, level)
    before = histogram(z, edges) if prior is None else prior_mass(prior, edges)
    told, refused = None, ""
    if kernel is not None:
        own = bin_edges(z, None, prior)
        try:
            told = _forecast(
                sides["demonstrations"], found[0], measure, kernel, own, edges, before, for_forecast
            )
        except ValueError as error:
            if comparison is None and curation is None:
                raise
            refused = str(error)  # a test that was asked for does not need it
    return Report(
        name,
        "the demonstrations" if prior is None else "the prior",
        edges,
        z,
        z_generated,
        tuple(len(a) - len(b) for a, b in zip(found, finite, strict=True)) + (0,) * (2 - len(found)),
        tuple(side.mended for side in sides.values()) + (0,) * (2 - len(found)),
        told,
        curation,
        comparison,
        refused,
    )


def _forecast(side: Prepared, values, measure, kernel, own_edges, edges, before, rng) -> Forecast:
    """See `Forecast`. ``values`` holds NaN where a trajectory cannot be measured.

    Total variations are over ``own_edges``, the bins of the demonstrations, so that they do not depend on
    what was generated; the law and the bias are over ``edges``.
    """
    usable = np.flatnonzero(np.isfinite(values))
    lengths = side.lengths[usable]
    few = max(FEWEST, min(SEEN, int(SEEN_STEPS / lengths.mean())))
    blocks = side.taken(np.sort(rng.permutation(usable)[:few]))
    steps = int(min(STEPS, np.median(lengths)))
    x = np.concatenate([stretch(block, steps) for block in blocks])
    starts = np.cumsum([0] + [len(block) for block in blocks])

    def measure_back(moved):
        """The quantity of the trajectories at full length, moved by what ``moved`` is off ``x``."""
        found = []
        for block, i in zip(blocks, starts, strict=False):
            error = stretch(moved[i : i + len(block)] - x[i : i + len(block)], block.shape[1])
            found.append(measure(block + error))
        found = np.concatenate(found)
        return np.where(np.isfinite(found), found, LOST)

    noise = int(rng.integers(2**32))  # the same in all coordinates, so that they differ by nothing else

    def landed(candidate):
        there = KernelCoordinates.of(candidate, x, measure_back, kernel, seed=noise)
        kept = (there.z != LOST) & (there.z_perturbed != LOST)
        if kept.sum() < FEWEST:
            raise ValueError(
                f"{FEWEST} demonstrations or more that can be measured after the kernel's errors wanted, "
                f"got {kept.sum()}; kernel=None leaves the forecast out"
            )
        return there.z[kept], there.z_perturbed[kept]

    own = landed(Identity())
    tv, floor = _paired(*own, own_edges, rng)
    coordinates = {AS_THEY_ARE: tv}
    for name, candidate in CANDIDATES.items():
        try:
            coordinates[name] = _paired(*landed(candidate), own_edges, rng)[0]
        except ValueError:  # in the coordinates of the data it must go; in others it need not
            continue
    moves = transition(*own, edges)
    return Forecast(before @ moves.matrix, tv, floor, moves.bias, coordinates)


def _paired(z, landed, edges, rng):
    """Total variation between values and where they land; and with each step either way at random."""
    at, to = bin_of(z, edges), bin_of(landed, edges)
    step = np.zeros((len(at), len(edges) - 1))
    np.add.at(step, (np.arange(len(at)), to), 1)
    np.add.at(step, (np.arange(len(at)), at), -1)
    either = rng.choice([-1.0, 1.0], size=(200, len(at))) @ step / len(at)
    null = half_l1(either, 0)
    tv = float(half_l1(step.sum(axis=0), 0) / len(at))
    return tv, Interval(float(null.mean()), *np.percentile(null, [2.5, 97.5]).tolist())
