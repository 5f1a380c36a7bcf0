"""What an audit found, as text for a terminal and as one self-contained page of HTML."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jinja2
import matplotlib
import numpy as np
import scipy.stats
from jaxtyping import Float
from matplotlib.figure import Figure

import physmis
from physmis.drift.intervals import Interval
from physmis.drift.metrics import histogram
from physmis.drift.shift_test import ShiftTest

OWN_COORDINATES = "as they are"  # name of the data's own coordinates among those of a forecast
UNMEASURABLE_LEVEL = 0.01  # of the test of how many trajectories cannot be measured
LESS_DRIFT = 0.8  # share of the forecast drift that other coordinates may leave to be recommended
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=jinja2.select_autoescape(),  # in .html only
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
)


class Forecast(NamedTuple):
    """What a kernel forecasts, before anything is trained.

    law : forecast share of each bin.    tv : its total variation from the distribution before.    floor :
    ``tv`` if each step between values were as likely the other way, mean and central 95 %.    bias : mean
    change of the quantity from each bin, NaN for a bin without values.    coordinates : forecast total
    variation in other coordinates, by name; without those that do not fit the data.
    """

    law: Float[np.ndarray, "bins"]
    tv: float
    floor: Interval
    bias: Float[np.ndarray, "bins"]
    coordinates: dict[str, float]


@dataclass(frozen=True)
class Report:
    """What `physmis.audit.audit.audit` found; ``str(report)`` is for a terminal, `html` makes a page of it.

    Attributes
    ----------
    quantity : name of the measurement, in words.
    reference : what values are compared with: "the demonstrations" or "the prior".
    edges : of the bins; the first and the last bin are open.
    before : share of each bin, of the reference.
    values, generated : the quantity of each demonstration and of each generated trajectory (or None).
    unmeasurable, imputed : of each side (demonstrations, generated trajectories), how many could not be
        measured and were left out, and how many had missing steps that were imputed.
    forecast : None if none was asked for or none could be made.
    curation : the demonstrations compared with the prior; None without one.
    comparison : the generated trajectories compared with the prior, or else the demonstrations; or None.
    no_forecast : why the forecast that was asked for could not be made; or empty.
    """

    quantity: str
    reference: str
    edges: Float[np.ndarray, "edges"]
    before: Float[np.ndarray, "bins"]
    values: Float[np.ndarray, "n"]
    generated: Float[np.ndarray, "m"] | None
    unmeasurable: tuple[int, ...]
    imputed: tuple[int, ...]
    forecast: Forecast | None
    curation: ShiftTest | None
    comparison: ShiftTest | None
    no_forecast: str

    @property
    def compared(self) -> ShiftTest | None:
        """What the verdict is about: the generated trajectories, or without them the curation."""
        return self.comparison or self.curation

    @property
    def unmeasurable_shift(self) -> bool:
        """Whether more generated trajectories than demonstrations are unmeasurable (Fisher's test, 1 %)."""
        if self.generated is None:
            return False
        table = [[self.unmeasurable[1], len(self.generated)], [self.unmeasurable[0], len(self.values)]]
        return scipy.stats.fisher_exact(table, alternative="greater").pvalue <= UNMEASURABLE_LEVEL

    @property
    def model_shift(self) -> bool:
        """Whether a shift is detected in generated trajectories."""
        return self.unmeasurable_shift or (self.comparison is not None and self.comparison.shifted)

    @property
    def curation_shift(self) -> bool:
        """Whether the demonstrations themselves differ from the prior."""
        return self.curation is not None and self.curation.shifted

    @property
    def shifted(self) -> bool:
        """Whether any shift is detected."""
        return self.model_shift or self.curation_shift

    def __str__(self) -> str:
        return text(self)


def verdict(report: Report) -> str:
    """What was found, in a few sentences."""
    return " ".join(line for (line,) in _part(report, "verdict"))


def advice(report: Report) -> list[str]:
    """What to do next."""
    return [line for (line,) in _part(report, "advice")]


def text(report: Report) -> str:
    """The audit for a terminal: verdict, numbers, values, advice."""
    numbers, values = _part(report, "numbers"), _part(report, "values")
    longest = max(len(name) for name, _ in numbers)
    widths = [max(map(len, column)) for column in zip(*values, strict=True)]
    rows = [f"physmis audit of {report.quantity}", "", verdict(report), ""]
    rows += [f"  {name.ljust(longest)}  {value}" for name, value in numbers]
    rows += ["", *("  " + "  ".join(map(str.rjust, row, widths)) for row in values)]
    rows += ["", "What to do next:", *(f"- {line}" for line in advice(report))]
    return "\n".join(rows)


def html(report: Report) -> str:
    """The audit as one page: no other file and no network is needed to show it."""
    image = io.BytesIO()
    figure(report).savefig(image, format="png", dpi=180, metadata={"Software": None})
    return TEMPLATES.get_template("report.html").render(
        report=report, verdict=verdict(report), advice=advice(report),
        numbers=_part(report, "numbers"), values=_part(report, "values"),
        image=base64.b64encode(image.getvalue()).decode(), version=physmis.__version__,
    )  # fmt: skip


def figure(report: Report) -> Figure:
    """The distribution before, what came or is forecast, and the change by value with its interval."""
    from physmis.paper import plotting  # with seaborn and IPython, which a report in a terminal does not need

    edges, c, f = _finite_edges(report), report.compared, report.forecast
    width, colour = np.diff(edges), plotting.COLOURS["unet"]
    with matplotlib.style.context(plotting.STYLE):
        fig = Figure(figsize=(7, 5.6))
        upper, lower = fig.subplots(2, 1, sharex=True, height_ratios=(1.2, 1))
        upper.stairs(report.before / width, edges, fill=True, color="0.85", label=report.reference)
        if c is not None:
            who = "generated" if report.generated is not None else "demonstrations"
            upper.stairs(c.q / width, edges, color=colour, lw=2, label=who)
            lower.bar(edges[:-1], (c.high - c.low) * 100, width, c.low * 100, align="edge", alpha=0.3, lw=0,
                      color=colour)  # fmt: skip
            lower.stairs((c.q - c.p) * 100, edges, baseline=None, color=colour, lw=2)
        if f is not None:
            dashed = {"color": plotting.KERNELS["tangent"][0], "lw": 1.6, "ls": "--", "label": "forecast"}
            upper.stairs(f.law / width, edges, **dashed)
            lower.stairs((f.law - report.before) * 100, edges, baseline=None, **dashed)
        lower.axhline(0, color="0.5", lw=0.8)
        lower.set(xlabel=report.quantity.replace("$", r"\$"), ylabel="change of share\n[percentage points]")
        upper.set(ylabel="density", ylim=(0, None))
        upper.legend(fontsize=9)
    return fig


def _finite_edges(report):
    """Edges to be drawn: the outermost bins reach to the outermost values, within limits."""
    edges, values = report.edges.copy(), report.values
    if report.generated is not None:
        values = np.concatenate([values, report.generated])
    inner = edges[1:-1]
    largest = np.ptp(inner) or max(np.ptp(values), 1e-12)  # one far value must not squeeze all others
    typical = np.median(np.diff(inner)) if len(inner) > 1 else largest
    edges[0] = np.clip(values.min(), inner[0] - largest, inner[0] - typical)
    edges[-1] = np.clip(values.max(), inner[-1] + typical, inner[-1] + largest)
    return edges


def _part(report, name):
    """Lines of a part of report.txt, in cells."""
    quantity, f = report.quantity, report.forecast
    better = None
    if f is not None and f.tv > f.floor.high:
        best = min(f.coordinates, key=f.coordinates.get)
        left, noise = f.coordinates[best], f.floor.high - f.floor.value
        better = best if left < LESS_DRIFT * f.tv and f.tv - left > noise else None
    sides = zip(
        ("demonstrations", "generated trajectories"), (report.values, report.generated),
        report.unmeasurable, report.imputed, strict=False,
    )  # fmt: skip
    module = TEMPLATES.get_template("report.txt").make_module({
        "report": report, "c": report.compared, "f": f, "better": better,
        "title": quantity[:1].upper() + quantity[1:], "own_coordinates": OWN_COORDINATES,
        "sides": list(sides), "crowded": histogram(report.values, report.edges).max(),
        "changes": lambda change: _changes(report.edges, change),
        "interval": lambda first, last: _interval(report.edges, first, last),
    })  # fmt: skip
    return [line.strip().split("\t") for line in getattr(module, name)().splitlines() if line.strip()]


def _changes(edges, change):
    """Where share is gained and lost: "too many 3 to 4 (+5.0 points), too few below 1 (-4.0 points)"."""
    found = []
    for sign, word in ((1, "too many"), (-1, "too few")):
        at = np.flatnonzero(sign * change > 0)
        runs = [run for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1) if len(run)]
        runs = sorted(runs, key=lambda run: -abs(change[run].sum()))[:2]  # of neighbouring bins
        where = [
            f"{_interval(edges, run[0], run[-1])} ({100 * change[run].sum():+.1f} points)"
            for run in runs
            if abs(change[run].sum()) > abs(change[runs[0]].sum()) / 3
        ]
        found += [f"{word} {' and '.join(where)}"] if where else []
    return ", ".join(found)


def _interval(edges, first, last):
    """The values from bin ``first`` to bin ``last``, with enough digits to tell neighbouring edges apart."""
    inner = edges[1:-1]
    step = np.diff(inner).min() if len(inner) > 1 else abs(inner[0]) or 1.0
    digits = int(1 - np.floor(np.log10(step)))
    plain = digits <= 6 and np.abs(inner).max() < 1e9
    low, high = (f"{e:,.{max(digits, 0)}f}" if plain else f"{e:.12g}" for e in edges[[first, last + 1]])
    if first == 0:
        return f"below {high}"
    return f"{low} and above" if last == len(edges) - 2 else f"{low} to {high}"
