"""What an audit found, as text for a terminal and as one self-contained page of HTML."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import scipy.stats
from jaxtyping import Float
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from matplotlib.figure import Figure

import physmis
from physmis.drift.intervals import Interval
from physmis.drift.shift_test import ShiftTest

FOLDER = FileSystemLoader(
    Path(__file__).parent
)  # of report.txt and, in which values are escaped, report.html
JINJA = Environment(
    loader=FOLDER, autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True
)


class Forecast(NamedTuple):
    """What a kernel forecasts, before anything is trained."""

    law: Float[np.ndarray, "bins"]  # share of each bin
    tv: float  # total variation from the distribution before
    floor: Interval  # of ``tv`` if each step between values were as likely the other way; central 95 %
    bias: Float[np.ndarray, "bins"]  # mean change of the quantity from each bin, NaN for an empty bin
    coordinates: dict[str, float]  # ``tv`` by name of coordinates, the data's own first

    @property
    def better(self) -> str | None:
        """The coordinates with the least forecast drift, if that is surely less than in the data's own."""
        best = min(self.coordinates, key=self.coordinates.get)
        left, noise = self.coordinates[best], self.floor.high - self.floor.value
        sure = self.tv > self.floor.high and left < 0.8 * self.tv and self.tv - left > noise
        return best if sure else None


class Side(NamedTuple):
    """The demonstrations, or the generated trajectories."""

    name: str
    values: Float[np.ndarray, "n"]  # of the quantity
    unmeasurable: int  # number of those left out
    imputed: int  # number of those that had missing steps


@dataclass(frozen=True)
class Report:
    """What an audit found; ``str(report)`` is for a terminal, `html` makes a page of it."""

    quantity: str
    edges: Float[np.ndarray, "edges"]  # of bins
    before: Float[np.ndarray, "bins"]  # shares of the prior or, without one, of the demonstrations
    sides: list[Side]  # the demonstrations and, if there are any, the generated trajectories
    forecast: Forecast | None
    curation: ShiftTest | None  # the demonstrations against the prior
    comparison: ShiftTest | None  # the generated trajectories against the prior or the demonstrations
    no_forecast: str = ""  # why a forecast that was asked for could not be made

    @property
    def values(self) -> Float[np.ndarray, "n"]:
        """The quantity of each demonstration."""
        return self.sides[0].values

    @property
    def unmeasurable_shift(self) -> bool:
        """Whether more generated trajectories than demonstrations are unmeasurable (Fisher's test, 1 %)."""
        table = [[side.unmeasurable, len(side.values)] for side in (self.sides[-1], self.sides[0])]
        return scipy.stats.fisher_exact(table, alternative="greater").pvalue <= 0.01

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
        said = parts(self)
        longest = max(len(name) for name, _ in said["numbers"])
        widths = [max(map(len, column)) for column in zip(*said["values"], strict=True)]
        rows = [f"physmis audit of {self.quantity}", "", " ".join(line for (line,) in said["verdict"]), ""]
        rows += [f"  {name.ljust(longest)}  {value}" for name, value in said["numbers"]]
        rows += ["", *("  " + "  ".join(map(str.rjust, row, widths)) for row in said["values"])]
        return "\n".join([*rows, "", "What to do next:", *(f"- {line}" for (line,) in said["advice"])])


def html(report: Report) -> str:
    """The audit as one page: no other file and no network is needed to show it."""
    png = io.BytesIO()
    figure(report).savefig(png, format="png", dpi=180, metadata={"Software": None})
    given = {"image": base64.b64encode(png.getvalue()).decode(), "version": physmis.__version__}
    return JINJA.get_template("report.html").render(report=report, **given, **parts(report))


def figure(report: Report) -> Figure:
    """The distribution before, what came or is forecast, and the change by value with its interval."""
    from physmis.paper import plotting  # with seaborn and IPython, which a report in a terminal does not need

    reference = "the prior" if report.curation else "the demonstrations"
    edges, f, c = _finite_edges(report), report.forecast, report.comparison or report.curation
    width, colour = np.diff(edges), plotting.COLOURS["unet"]
    with matplotlib.style.context(plotting.STYLE):
        fig = Figure(figsize=(7, 5.6))
        upper, lower = fig.subplots(2, 1, sharex=True, height_ratios=(1.2, 1))
        upper.stairs(report.before / width, edges, fill=True, color="0.85", label=reference)
        if c is not None:
            who, low, high = report.sides[-1].name.removesuffix(" trajectories"), c.low * 100, c.high * 100
            upper.stairs(c.q / width, edges, color=colour, lw=2, label=who)
            lower.bar(edges[:-1], high - low, width, low, align="edge", alpha=0.3, lw=0, color=colour)
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
    edges, values = report.edges.copy(), np.concatenate([side.values for side in report.sides])
    inner = edges[1:-1]
    largest = np.ptp(inner) or max(np.ptp(values), 1e-12)  # one far value must not squeeze all others
    typical = np.median(np.diff(inner)) if len(inner) > 1 else largest
    edges[0] = np.clip(values.min(), inner[0] - largest, inner[0] - typical)
    edges[-1] = np.clip(values.max(), inner[-1] + typical, inner[-1] + largest)
    return edges


def parts(report: Report) -> dict[str, list[list[str]]]:
    """What report.txt says: lines of the verdict, the advice, the numbers and the values by bin, in cells."""
    given = {"report": report, "changes": _changes, "interval": _interval}
    said = JINJA.get_template("report.txt").make_module(given)
    return {
        name: [line.strip().split("\t") for line in getattr(said, name)().splitlines() if line.strip()]
        for name in ("verdict", "advice", "numbers", "values")
    }


def _changes(edges, change):
    """Where share is gained and lost: "too many 3 to 4 (+5.0 points), too few below 1 (-4.0 points)"."""
    found = []
    for sign, word in ((1, "too many"), (-1, "too few")):
        at = np.flatnonzero(sign * change > 0)
        runs = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)  # of neighbouring bins
        runs = sorted(runs, key=lambda run: -abs(change[run].sum()))[:2]
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
