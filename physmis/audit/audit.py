"""An audit of one's own trajectories: will a model keep the distribution of a quantity, and has it?

Before training, a data deviation kernel forecasts which values a model will make too often or too rarely.
After it, an exact test compares generated trajectories with the demonstrations, or with the curated prior.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from physmis.audit.data_checks import FEW, Finding, check
from physmis.audit.measurements import MIN_TRAJECTORIES, Measurement, Ragged, Trajectories, measurement
from physmis.audit.preparation import measured, prepare
from physmis.audit.readers import Recording, recording
from physmis.audit.report import Report, Side
from physmis.drift.metrics import histogram
from physmis.drift.shift_test import LEVEL, bin_edges, shift_test


def errors(y: Trajectories) -> Any:
    """The kernel of the forecast, `physmis.audit.forecast.Errors`, which imports torch."""
    from physmis.audit.forecast import Errors

    return Errors(y)


def audit(
    trajectories: Ragged | Recording,
    measure: str | Measurement,
    kernel: Callable[[Trajectories], Any] | None = errors,
    generated: Ragged | Recording | None = None,
    prior: Any = None,
    dt: float | None = None,
    seed: int = 0,
    *,
    generated_dt: float | None = None,
    level: float = LEVEL,
    tolerance: float = 0.0,
    unit: str = "",
    tell: Callable[[str], None] = lambda stage: None,
) -> Report:
    """Whether models will keep, or have kept, the distribution of a quantity.

    Parameters
    ----------
    trajectories : 20 or more demonstrations, of any length of 2 or more steps, as arrays or whatever
        `physmis.audit.readers.recording` takes. Steps with NaN in some channel count as missing: imputed
        linearly between others, cut off at the ends.
    measure : a name in `physmis.audit.measurements.MEASUREMENTS`, or a callable from trajectories of equal
        length, (n, T, C), to (n,). Those for which it is not finite are left out and counted.
    kernel : makes the kernel of the forecast from trajectories of equal length; None for no forecast. It sees
        at most 4,096 of them, each at up to 64 moments, and its errors are interpolated between these.
    generated : 20 or more trajectories of a trained model. Infinite values, and NaN if demonstrations have
        none, make one unmeasurable.
    prior : a frozen `scipy.stats` distribution, if not that of the demonstrations was curated.
    dt, generated_dt : time between steps, for measurements by name; else that of the recording, or 1.
    level : of all tests of this call together. Over many calls, give each its share.
    tolerance : total variation above its sampling floor up to which a shift does not count.
    unit : of the quantity, for the report.    tell : called with the name of each stage, before it.
    """
    name = measure if isinstance(measure, str) else getattr(measure, "__name__", "<lambda>")
    quantity = name.replace("<lambda>", "quantity").replace("_", " ")
    sides, kept, looked, findings = [], [], [], []
    for who, given, step in (
        ("demonstrations", trajectories, dt),
        ("generated trajectories", generated, generated_dt),
    ):
        if given is None:
            continue
        tell(who)
        given = given if isinstance(given, Recording) else recording(given)
        if given.short > FEW:
            text = f"{given.short:.0%} of the pieces have fewer than 2 steps, as where an end stays marked"
            findings.append(Finding("pieces", who.split()[0], f"{who.split()[0]}: {text}; give lengths."))
        step = next(one for one in (step, given.dt, *(side.dt for side in sides), 1.0) if one is not None)
        # What demonstrations may lack, a model may, too; otherwise it has broken down.
        x, imputed = prepare(given.trajectories, who, gaps=not sides or sides[0].imputed > 0)
        values = measured(x, measurement(measure, step))
        usable = np.flatnonzero(np.isfinite(values))
        if len(usable) < MIN_TRAJECTORIES:
            faults = [] if sides else check([given.trajectories], [values])
            found = "; ".join([f"got {len(usable)}", *(one.message for one in [*findings, *faults])])
            raise ValueError(f"expected {MIN_TRAJECTORIES} or more measurable {who}, {found}")
        kept.append([x[row] for row in usable])
        looked.append((given.trajectories, values, step))
        sides.append(Side(who, values[usable], len(values) - len(usable), imputed, step, given.notes))
    if generated is not None and (counts := [side[0].shape[1] for side in kept])[0] != counts[1]:
        text = f"expected {counts[0]} channels of generated trajectories, got {counts[1]}"
        raise ValueError(f"{text}; name those of both (--channels, --generated-channels)")
    x, z, z_generated = kept[0], sides[0].values, sides[-1].values if generated is not None else None
    no_forecast = ""
    if np.ptp(z) <= 1e-13 * np.abs(z).max():  # to rounding
        if prior is None and generated is None:
            raise ValueError(f"expected a quantity that varies, got {z[0]:g} for all demonstrations")
        if kernel is not None:
            kernel, no_forecast = None, f"the quantity is {z[0]:g} for all demonstrations"
        z = np.full_like(z, z[0])
        if generated is not None:
            z_generated = np.where(np.isclose(z_generated, z[0], rtol=1e-6, atol=0), z[0], z_generated)
    tell("checks of the data")
    findings += check(*map(list, zip(*looked, strict=True)))
    if callable(measure):  # which knows its channels
        findings = [one for one in findings if one.kind not in ("velocity", "clock")]
    # A stream for each, so that the one does not depend on whether the other is asked for.
    for_forecast, for_curation, for_comparison = np.random.default_rng(seed).spawn(3)
    edges = bin_edges(z, z_generated, prior)
    # Of two tests either may raise a false alarm: each gets half of the level (Bonferroni).
    each = level if prior is None or generated is None else level / 2
    tell("test")
    curation = None if prior is None else shift_test(z, None, prior, edges, for_curation, each)
    comparison, foreseen = None, None
    if generated is not None:
        comparison = shift_test(z, z_generated, prior, edges, for_comparison, each)
    before, own_edges = histogram(z, edges) if prior is None else curation.p, bin_edges(z, None, prior)
    if kernel is not None:
        from physmis.audit.forecast import forecast  # with torch, which takes seconds

        measure = measurement(measure, sides[0].dt)
        try:
            foreseen = forecast(x, measure, kernel, own_edges, edges, before, for_forecast, tell)
        except ValueError as error:
            if comparison is None and curation is None:
                raise
            no_forecast = " ".join(str(error).split())  # a test that was asked for does not need it
    return Report(
        quantity, unit, edges, before, sides, foreseen, curation, comparison, no_forecast, tuple(findings),
        level, tolerance,
    )  # fmt: skip
