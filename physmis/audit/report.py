"""What an audit found, as text for a terminal, as one self-contained page of HTML, and as JSON."""

from __future__ import annotations

import base64
import html as markup
import io
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

import physmis
from physmis.audit.data_checks import Finding
from physmis.drift.intervals import Interval
from physmis.drift.metrics import drift_correlation
from physmis.drift.shift_test import ShiftTest

HERE = FileSystemLoader(Path(__file__).parent)  # report.txt and, where values are escaped, report.html
JINJA = Environment(loader=HERE, autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True)
TRUE = 0.5  # correlation of forecast and observed change from which a forecast came true


class QuantityForecast(NamedTuple):
    """What a kernel forecasts, before anything is trained."""

    q: Float[np.ndarray, "bins"]  # share of each bin
    tv: float  # total variation from the distribution before
    floor: Interval  # of ``tv`` if each step between values were as likely the other way; central 95 %
    bias: Float[np.ndarray, "bins"]  # mean change of the quantity from each bin, NaN for an empty bin
    coordinates: dict[str, float]  # ``tv`` by name, the data's own first; NaN if they do not fit

    @property
    def better(self) -> str | None:
        """The coordinates with the least forecast drift, if that is surely less than in the data's own."""
        fit = {name: tv for name, tv in self.coordinates.items() if tv == tv}
        best = min(fit, key=fit.get)
        left, noise = fit[best], self.floor.high - self.floor.value
        sure = self.tv > self.floor.high and left < 0.8 * self.tv and self.tv - left > noise
        return best if sure else None


class Side(NamedTuple):
    """The demonstrations, or the generated trajectories."""

    name: str
    values: Float[np.ndarray, "n"]  # of the quantity
    unmeasurable: int  # number of those left out
    imputed: int  # number of those that had missing steps
    dt: float  # between steps
    notes: tuple[str, ...] = ()  # on how they were read

    @property
    def unmeasurable_share(self) -> float:
        """Share of those left out."""
        return self.unmeasurable / (self.unmeasurable + len(self.values))


@dataclass(frozen=True)
class Report:
    """What an audit found; ``str(report)`` is for a terminal, `html` makes a page of it, `data` JSON."""

    quantity: str
    unit: str
    edges: Float[np.ndarray, "edges"]  # of bins
    before: Float[np.ndarray, "bins"]  # shares of the prior or, without one, of the demonstrations
    sides: list[Side]  # the demonstrations and, if there are any, the generated trajectories
    forecast: QuantityForecast | None
    curation: ShiftTest | None  # the demonstrations against the prior
    comparison: ShiftTest | None  # the generated trajectories against the prior or the demonstrations
    no_forecast: str  # why a forecast that was asked for could not be made
    findings: tuple[Finding, ...]  # faults that the data seem to have
    level: float  # of all tests together
    tolerance: float  # total variation above the floor up to which a shift does not count
    about: dict[str, str] = field(default_factory=dict)  # files, command and so on, to be said

    @property
    def values(self) -> Float[np.ndarray, "n"]:
        """The quantity of each demonstration."""
        return self.sides[0].values

    @property
    def test(self) -> ShiftTest | None:
        """The test that the report is about."""
        return self.comparison or self.curation

    @property
    def unmeasurable_shift(self) -> bool:
        """Whether more generated trajectories than demonstrations are unmeasurable (Fisher's test)."""
        theirs, ours = self.sides[-1], self.sides[0]
        if theirs.unmeasurable_share - ours.unmeasurable_share <= self.tolerance:
            return False
        from scipy.stats import fisher_exact  # takes most of a second, which is rarely needed

        table = [[side.unmeasurable, len(side.values)] for side in (theirs, ours)]
        return fisher_exact(table, alternative="greater").pvalue <= self.level / 3

    @property
    def model_shift(self) -> bool:
        """Whether a shift that counts is detected in generated trajectories."""
        return self.unmeasurable_shift or self._counts(self.comparison)

    @property
    def curation_shift(self) -> bool:
        """Whether the demonstrations themselves differ from the prior, by what counts."""
        return self._counts(self.curation)

    @property
    def shifted(self) -> bool:
        """Whether any shift that counts is detected."""
        return self.model_shift or self.curation_shift

    @property
    def status(self) -> str:
        """In two or three words."""
        if self.shifted:
            return "shift detected"
        if self.test is None:
            return "nothing compared"
        within = any(one is not None and one.shifted for one in (self.comparison, self.curation))
        return "shift within tolerance" if within else "no shift detected"

    @property
    def agreement(self) -> float | None:
        """Correlation over bins of the forecast and the observed change; None without a model's, or a bin."""
        if self.forecast is None or self.comparison is None or len(self.before) < 2:
            return None
        return float(drift_correlation(self.forecast.q, self.comparison.q, self.before))

    @property
    def came_true(self) -> bool | None:
        """Whether the forecast did: of a change, or of none; None where nothing can tell."""
        if self.agreement is None:
            return None
        foreseen, came = self.forecast.tv > self.forecast.floor.high, self.comparison.shifted
        return foreseen == came and (not came or self.agreement >= TRUE)

    def _counts(self, test):
        relevant = test is not None and (not self.tolerance or test.excess.value > self.tolerance)
        return relevant and test.shifted

    def __str__(self) -> str:
        said = parts(self)
        longest = max(len(name) for name, _ in said["numbers"])
        widths = [max(map(len, column)) for column in zip(*said["values"], strict=True)]
        lines = [" ".join(line for (line,) in said[name]) for name in ("verdict", "details")]
        rows = [f"physmis audit of {self.quantity}", "", *filter(None, lines), ""]
        rows += [f"! {line}" for (line,) in said["warnings"]] + [""] * bool(said["warnings"])
        rows += [f"  {name.ljust(longest)}  {value}" for name, value in said["numbers"]]
        rows += ["", *("  " + "  ".join(map(str.rjust, row, widths)) for row in said["values"])]
        return "\n".join([*rows, "", "What to do next:", *(f"- {line}" for (line,) in said["advice"])])

    def _repr_html_(self) -> str:
        page = markup.escape(html(self))
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 56rem; border: 0"></iframe>'


def html(*reports: Report) -> str:
    """Audits as one page: no other file and no network is needed to show it."""
    given = []
    for one in reports:
        figure(one).savefig(png := io.BytesIO(), format="png", dpi=180, metadata={"Software": None})
        given.append({"report": one, "image": base64.b64encode(png.getvalue()).decode(), **parts(one)})
    return JINJA.get_template("report.html").render(audits=given, version=physmis.__version__)


def data(report: Report) -> dict[str, Any]:
    """What was found in numbers and words, for `json.dumps`; None for what is not finite or not there."""
    f, said = report.forecast, parts(report)
    tests = {"comparison": report.comparison, "curation": report.curation}
    return _plain({
        "status": report.status, "shifted": report.shifted, "verdict": said["verdict"][0][0],
        "quantity": report.quantity, "unit": report.unit, "level": report.level,
        "tolerance": report.tolerance, "warnings": [one._asdict() for one in report.findings],
        "advice": [line for (line,) in said["advice"]],
        "sides": [
            {"name": side.name, "n": len(side.values), "mean": side.values.mean(), "sd": side.values.std(),
             "unmeasurable": side.unmeasurable, "imputed": side.imputed, "dt": side.dt, "notes": side.notes}
            for side in report.sides
        ],
        "bins": {"edges": report.edges, "before": report.before},
        **{
            name: test and {"p_value": test.p_value, "level": test.level, "shifted": test.shifted,
                            "kind": test.kind if test.shifted else None, "total_variation": test.tv,
                            "floor": test.floor, "excess": test.excess, "after": test.q, "low": test.low,
                            "high": test.high}
            for name, test in tests.items()
        },
        "forecast": f and {"total_variation": f.tv, "floor": f.floor, "after": f.q, "bias": f.bias,
                           "coordinates": f.coordinates, "better": f.better, "agreement": report.agreement,
                           "came_true": report.came_true},
        "no_forecast": report.no_forecast or None, "about": report.about,
    })  # fmt: skip


def _plain(given):
    if isinstance(given, dict):
        return {name: _plain(value) for name, value in given.items()}
    if isinstance(given, list | tuple | np.ndarray):
        return [_plain(value) for value in given]
    if isinstance(given, float | np.floating):
        return float(given) if np.isfinite(given) else None
    return given.item() if isinstance(given, np.generic) else given


def figure(report: Report) -> Any:
    """The distribution before, what came or is forecast, and the change by value; a matplotlib figure."""
    import matplotlib.style  # with seaborn and IPython, which a report in a terminal does not need
    from matplotlib.figure import Figure

    from physmis.paper import plotting

    reference = "the prior" if report.curation else "the demonstrations"
    edges, f, c = _finite_edges(report), report.forecast, report.test
    width, colour = np.diff(edges), plotting.COLOURS["unet"]
    label = report.quantity + (f" [{report.unit}]" if report.unit else "")
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
            upper.stairs(f.q / width, edges, **dashed)
            lower.stairs((f.q - report.before) * 100, edges, baseline=None, **dashed)
        lower.axhline(0, color="0.5", lw=0.8)
        lower.set(xlabel=label.replace("$", r"\$"), ylabel="change of share\n[percentage points]")
        upper.set(ylabel="density", ylim=(0, None))
        upper.legend(fontsize=9)
    return fig


def _finite_edges(report):
    """Edges to be drawn: the outermost bins reach to the outermost values, within limits."""
    edges, values = report.edges.copy(), np.concatenate([side.values for side in report.sides])
    inner = edges[1:-1] if len(edges) > 2 else values[:1]
    largest = np.ptp(inner) or max(np.ptp(values), 1e-12)  # one far value must not squeeze all others
    typical = np.median(np.diff(inner)) if len(inner) > 1 else largest
    edges[0] = np.clip(values.min(), inner[0] - largest, inner[0] - typical)
    edges[-1] = np.clip(values.max(), inner[-1] + typical, inner[-1] + largest)
    return edges


def parts(report: Report) -> dict[str, list[list[str]]]:
    """What report.txt says: lines of the verdict, details, warnings, advice, numbers and values, in cells."""
    whole = all((side.values == np.rint(side.values)).all() for side in report.sides)
    words = {one.__name__[1:]: partial(one, whole=whole) for one in (_changes, _interval)}
    said = JINJA.get_template("report.txt").make_module({"report": report, **words})
    return {
        name: [line.strip().split("\t") for line in getattr(said, name)().splitlines() if line.strip()]
        for name in ("verdict", "details", "warnings", "advice", "numbers", "values")
    }


def _changes(edges, change, whole=False):
    """Where share is gained and lost: "too many 3 to 4 (+5.0 points), too few below 1 (-4.0 points)"."""
    found = []
    for sign, word in ((1, "too many"), (-1, "too few")):
        at = np.flatnonzero(sign * change > 0)
        runs = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)  # of neighbouring bins
        runs = sorted(runs, key=lambda run: -abs(change[run].sum()))[:2]
        runs = [run for run in runs if abs(change[run].sum()) > abs(change[runs[0]].sum()) / 3]
        where = [(_interval(edges, run[0], run[-1], whole), 100 * change[run].sum()) for run in runs]
        words = " and ".join(f"{values} ({points:+.1f} points)" for values, points in where)
        found += [f"{word} {words}"] if words else []
    return ", ".join(found)


def _interval(edges, first, last, whole=False):
    """The values from bin ``first`` to bin ``last``, with enough digits to tell neighbouring edges apart.

    Of ``whole`` numbers the first and the last one in it, as a bin ends between them.
    """
    inner = np.ceil(edges[1:-1]) if whole else edges[1:-1]
    if len(inner) == 0:
        return "all"
    step = np.diff(inner).min() if len(inner) > 1 else abs(inner[0]) or 1.0
    digits = 0 if whole else int(1 - np.floor(np.log10(step)))
    plain = digits <= 6 and np.abs(inner).max() < 1e9

    def word(edge):
        return f"{edge:,.{max(digits, 0)}f}" if plain else f"{edge:.12g}"

    if first == 0:
        return "all" if last == len(inner) else f"below {word(inner[last])}"
    if last == len(inner):
        return f"{word(inner[first - 1])} and above"
    low, high = inner[first - 1], inner[last] - whole
    return word(low) if low == high else f"{word(low)} to {word(high)}"
