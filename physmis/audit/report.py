"""An audit told: as text for a terminal, and as one self-contained page of HTML."""

from __future__ import annotations

import base64
import html as markup
import io

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import physmis
from physmis.audit.audit import AS_THEY_ARE, Report
from physmis.drift.metrics import histogram
from physmis.paper import plotting

MANY = 1000  # demonstrations that a forecast wants
CROWDED = 0.9  # share of the values in one bin, from which a forecast over the bins tells nothing
WORTH = 0.8  # of the forecast drift: other coordinates are recommended if they leave less


def verdict(report: Report) -> str:
    """What was found, in a few sentences."""
    c, told = report.compared, []
    if c is None and report.forecast is None:
        told.append(
            f"{_about(report)}: {len(report.values):,} demonstrations, and nothing to hold them against."
        )
    if c is not None:
        told.append(_compared(report, c))
    if report.broken:
        told.append(
            f"Of the generated trajectories {_share(report, 1)} could not be measured, of the demonstrations "
            f"{_share(report, 0)}: more than chance."
        )
    if report.comparison is not None and report.curation is not None and report.curation.shifted:
        told.append("The demonstrations themselves are not distributed as the prior says.")
    if report.generated is None and report.forecast is not None:
        told.append(_foretold(report))
    return " ".join(told)


def _compared(report, c):
    who = "generated trajectories" if report.generated is not None else "demonstrations"
    prior = report.against == "the prior"
    rare = _rare(c)
    size = (
        f"total variation {c.tv:.3f}, where sampling alone gives {c.floor.value:.3f}; as rare a change comes "
        f"by sampling in {rare} of cases (moved means {100 * c.level:g}% or fewer)"
    )
    if c.shifted:
        aim = "the prior says" if prior else "that of the demonstrations"
        return (
            f"The {_quantity(report)} of the {who} is not distributed as {aim}: {size}. "
            f"There are {_values(report, c.q - c.p)}."
        )
    other = "what the prior says" if prior else "that of the demonstrations"
    return (
        f"With {_fewest(report):,} trajectories no difference is found between the {_quantity(report)} of "
        f"the {who} and {other}: {size}."
    )


def _rare(c):
    return f"{c.p_value:.1%}" if c.p_value > 1e-3 else "at most 0.1%"


def _foretold(report):
    f = report.forecast
    together = histogram(report.values, report.edges).max()
    if together > CROWDED:
        return (
            f"{_about(report)}: no forecast, as {together:.0%} of the values lie in a single bin; is the "
            "prior in their unit?"
        )
    if f.tv <= f.floor.high:
        return (
            f"{_about(report)}: small errors of a model would move no more of its distribution than chance "
            f"does (forecast {f.tv:.3f}, by chance up to {f.floor.high:.3f})."
        )
    change = _values(report, f.law - _before(report))
    return f"{_about(report)}: a model with small errors is forecast to make {change}."


def _share(report, side):
    values = (report.values, report.generated)[side]
    return f"{report.unmeasured[side] / (report.unmeasured[side] + len(values)):.1%}"


def advice(report: Report) -> list[str]:
    """What to do next."""
    found, better = [], _better(report)
    badly_curated = report.curation is not None and report.curation.shifted
    drifted = _drifted(report)
    if badly_curated:
        found.append("Curate again: the demonstrations themselves are not distributed as the prior says.")
    if report.forecast is not None and len(report.values) < MANY:
        found.append(
            f"A forecast from fewer than {MANY:,} demonstrations is noisy: repeat it with other seeds, and "
            "believe what stays."
        )
    if report.broken:
        found.append("Look at single generated trajectories: some of them are no trajectories at all.")
    if better and (report.generated is None or drifted):
        when = "Before training" if report.generated is None else "Train again, and before that"
        own = report.forecast.coordinates[AS_THEY_ARE]
        found.append(
            f"{when}, try other coordinates: {better} (physmis.coordinates), with a forecast drift of "
            f"{report.forecast.coordinates[better]:.3f} instead of {own:.3f}. Check that single trajectories "
            "stay valid: a smaller drift is no gain if they do not."
        )
    if report.generated is None:
        found.append("After training, draw some thousands of trajectories and audit them as generated ones.")
    elif drifted and not badly_curated:
        found.append("Train longer, or a larger model, and see whether the drift shrinks.")
        if not better:
            found.append(
                "Choose coordinates in which the quantity is linear and its distribution fades out "
                "(physmis.coordinates.search), or tell the model the quantity if you can ask for it."
            )
        found.append("Weights on the demonstrations undo a tilt, not what leaks over the ends of the range.")
    elif not drifted:
        found.append("Smaller differences than so few trajectories can tell go unnoticed: draw more of them.")
    found.append("Single trajectories may still be invalid: test walls, residuals and goals beside this.")
    return found


def _drifted(report):
    """Whether something is wrong with the generated trajectories."""
    return report.broken or (report.comparison is not None and report.comparison.shifted)


def _better(report):
    """Coordinates whose forecast drift is clearly less than that of the data's own; None without."""
    f = report.forecast
    if f is None or f.tv <= f.floor.high:
        return None
    best = min(f.coordinates, key=f.coordinates.get)
    left, noise = f.coordinates[best], f.floor.high - f.floor.value
    return best if left < WORTH * f.tv and f.tv - left > noise else None


def text(report: Report) -> str:
    """The audit for a terminal: verdict, numbers, values, advice."""
    rows = [f"physmis audit of {_quantity(report)}", "", verdict(report), ""]
    longest = max(len(name) for name, _ in _numbers(report))
    rows += [f"  {name.ljust(longest)}  {value}" for name, value in _numbers(report)]
    head, body = _table(report)
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
    rows += [
        "",
        *(
            "  " + "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True))
            for row in [head, *body]
        ),
    ]
    rows += ["", "What to do next:", *(f"- {line}" for line in advice(report))]
    return "\n".join(rows)


def html(report: Report) -> str:
    """The audit as one page: no other file and no network is needed to show it."""
    head, body = _table(report)
    numbers = "".join(
        f"<tr><th scope=row>{markup.escape(name)}</th><td>{markup.escape(value)}</td></tr>"
        for name, value in _numbers(report)
    )
    values = "".join(f"<th scope=col>{markup.escape(cell)}</th>" for cell in head)
    rows = "".join(
        "<tr>" + "".join(f"<td>{markup.escape(cell)}</td>" for cell in row) + "</tr>" for row in body
    )
    steps = "".join(f"<li>{markup.escape(line)}</li>" for line in advice(report))
    state = "moved" if report.moved else "held" if report.comparison is not None else "none"
    word = {"none": "Before training", "moved": "Moved", "held": "No shift found"}[state]
    if report.comparison is not None and report.moved and not _drifted(report):
        word = "Not as curated"
    return _PAGE.format(
        quantity=markup.escape(_quantity(report)),
        state=state,
        word=word,
        verdict=markup.escape(verdict(report)),
        image=_embedded(figure(report)),
        alt=markup.escape(f"Distribution of {_quantity(report)}, and change by value"),
        numbers=numbers,
        head=values,
        rows=rows,
        steps=steps,
        version=physmis.__version__,
    )


def figure(report: Report) -> Figure:
    """The law before, what came or is forecast, and the change by value with its interval."""
    with plt.style.context(plotting.STYLE):
        fig, (upper, lower) = plt.subplots(2, 1, figsize=(7, 5.6), sharex=True, height_ratios=(1.2, 1))
        edges = _drawn_edges(report)
        width, c, f = np.diff(edges), report.compared, report.forecast
        before = _before(report)
        upper.stairs(before / width, edges, fill=True, color="0.85", label=report.against)
        if c is not None:
            who = "generated" if report.generated is not None else "demonstrations"
            upper.stairs(c.q / width, edges, color=plotting.COLOURS["unet"], lw=2, label=who)
            lower.bar(edges[:-1], (c.high - c.low) * 100, width, c.low * 100, align="edge", alpha=0.3, lw=0,
                      color=plotting.COLOURS["unet"])  # fmt: skip
            lower.stairs(
                (c.q - c.p) * 100, edges, baseline=None, color=plotting.COLOURS["unet"], lw=2, label=who
            )
        if f is not None:
            colour = plotting.KERNELS["tangent"][0]
            upper.stairs(f.law / width, edges, color=colour, lw=1.6, ls="--", label="forecast")
            lower.stairs(
                (f.law - before) * 100, edges, baseline=None, color=colour, lw=1.6, ls="--", label="forecast"
            )
        lower.axhline(0, color="0.5", lw=0.8)
        lower.set(xlabel=_quantity(report).replace("$", r"\$"), ylabel="change of share\n[percentage points]")
        upper.set(ylabel="density", ylim=(0, None))
        upper.legend(fontsize=9)
        plt.close(fig)
    return fig


def _embedded(fig):
    buffer = io.BytesIO()
    with matplotlib.rc_context({"savefig.bbox": None}):
        fig.savefig(buffer, format="png", dpi=180, metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode()


def _quantity(report):
    return report.quantity.replace("_", " ")


def _about(report):
    name = _quantity(report)
    return name[:1].upper() + name[1:]


def _fewest(report):
    """Trajectories on the smaller side of the comparison; a prior is no side."""
    if report.generated is None:
        return len(report.values)
    if report.against == "the prior":
        return len(report.generated)
    return min(len(report.values), len(report.generated))


def _before(report):
    return report.compared.p if report.compared is not None else histogram(report.values, report.edges)


def _drawn_edges(report):
    """Edges with finite ends: the outermost values, and a typical bin's width at least."""
    edges = report.edges.copy()
    values = report.values if report.generated is None else np.concatenate([report.values, report.generated])
    inner = edges[1:-1]
    span = inner[-1] - inner[0] if len(inner) > 1 else max(np.ptp(values), 1e-12)
    typical = np.median(np.diff(inner)) if len(inner) > 1 else span
    # One far value must not squeeze all others.
    edges[0] = max(min(values.min(), inner[0] - typical), inner[0] - span)
    edges[-1] = min(max(values.max(), inner[-1] + typical), inner[-1] + span)
    return edges


def _interval(low, high, edge):
    if np.isneginf(low):
        return f"below {_short(high, edge)}"
    if np.isposinf(high):
        return f"{_short(low, edge)} and above"
    return f"{_short(low, edge)} to {_short(high, edge)}"


def _short(value, edges):
    """A bin's edge, with digits enough to tell it from its neighbours."""
    finite = edges[np.isfinite(edges)]
    step = np.diff(finite).min() if len(finite) > 1 else abs(finite[0]) or 1.0
    digits = int(1 - np.floor(np.log10(step)))
    largest = np.abs(finite).max()
    if digits > 6 or largest >= 1e9:
        return f"{value:.{int(np.clip(digits + np.ceil(np.log10(max(largest, step))), 3, 17))}g}"
    return f"{value:,.{max(digits, 0)}f}"


def _values(report, change):
    """Where mass is gained and lost: "too many 3 to 4 (+5 points), too few below 1 (-4 points)"."""
    told = []
    for sign, word in ((1, "too many"), (-1, "too few")):
        at = np.flatnonzero(sign * change > 0)
        if len(at) == 0:
            continue
        runs = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)  # of neighbouring bins
        runs = sorted(runs, key=lambda run: -abs(change[run].sum()))
        most = abs(change[runs[0]].sum())
        where = [
            f"{_interval(report.edges[run[0]], report.edges[run[-1] + 1], report.edges)} "
            f"({100 * change[run].sum():+.1f} points)"
            for run in runs[:2]
            if abs(change[run].sum()) > most / 3
        ]
        told.append(f"{word} {' and '.join(where)}")
    return ", ".join(told)


def _numbers(report):
    c, f = report.compared, report.forecast
    found = [("demonstrations", _counted(len(report.values), report.unmeasured[0], report.mended[0]))]
    if report.generated is not None:
        found.append(
            (
                "generated trajectories",
                _counted(len(report.generated), report.unmeasured[1], report.mended[1]),
            )
        )
    found.append((f"mean {_quantity(report)}", _moments(report.values)))
    if report.generated is not None:
        found.append(("of generated trajectories", _moments(report.generated)))
    if c is not None:
        found += [
            ("drift (total variation)", f"{c.tv:.3f}"),
            (
                "floor (sampling alone)",
                f"{c.floor.value:.3f}, 95 % of cases {c.floor.low:.3f} to {c.floor.high:.3f}",
            ),
            (
                "drift above the floor",
                f"{c.excess.value:.3f}, 95 % interval {c.excess.low:.3f} to {c.excess.high:.3f}",
            ),
            (
                "chance of as rare a change by sampling",
                f"{c.p_value:.2g}" if c.p_value > 1e-3 else "0.001 or less",
            ),
        ]
    if report.comparison is not None and report.curation is not None:
        off = report.curation
        found.append(
            (
                "demonstrations against the prior",
                f"total variation {off.tv:.3f}, by sampling in {_rare(off)} of cases",
            )
        )
    if f is not None:
        chance = f"by chance {f.floor.value:.3f}, 95 % of cases {f.floor.low:.3f} to {f.floor.high:.3f}"
        found.append(("forecast drift", f"{f.tv:.3f} ({chance})"))
        others = {name: tv for name, tv in f.coordinates.items() if name != AS_THEY_ARE}
        found += [(f"forecast, {name}", f"{tv:.3f}") for name, tv in others.items()]
    if report.refused:
        found.append(("forecast drift", f"none: {report.refused}"))
    return found


def _counted(n, unmeasured, mended):
    extra = [
        f"{k:,} {word}"
        for k, word in ((unmeasured, "not measurable, left out"), (mended, "with missing steps"))
        if k
    ]
    return f"{n:,}" + (f" ({'; '.join(extra)})" if extra else "")


def _moments(values):
    return f"{values.mean():.4g}, standard deviation {values.std():.4g}"


def _table(report):
    """Head and rows of the table by value."""
    c, f, before = report.compared, report.forecast, _before(report)
    head = [_quantity(report), "share before"]
    if c is not None:
        head += ["share now", "change, 95 % interval"]
    if f is not None:
        head += ["forecast change", "forecast bias"]
    body = []
    for i, (low, high) in enumerate(zip(report.edges[:-1], report.edges[1:], strict=True)):
        row = [_interval(low, high, report.edges), f"{before[i]:.1%}"]
        if c is not None:
            row += [
                f"{c.q[i]:.1%}",
                f"{100 * (c.q - c.p)[i]:+.1f} [{100 * c.low[i]:+.1f}, {100 * c.high[i]:+.1f}]",
            ]
        if f is not None:
            bias = "-" if np.isnan(f.bias[i]) else f"{f.bias[i]:+.3g}"
            row += [f"{100 * (f.law - before)[i]:+.1f}", bias]
        body.append(row)
    return head, body


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="physmis.audit.audit">
<title>Audit of {quantity}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 50rem; margin: 2rem auto;
  padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }}
h1, p, li, th[scope=row] {{ overflow-wrap: anywhere; }}
.verdict {{ border-left: 6px solid; padding: .6rem 1rem; background: #f6f6f6; }}
.held {{ border-color: #029e73; }} .moved {{ border-color: #d55e00; }} .none {{ border-color: #0173b2; }}
img {{ width: 100%; height: auto; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }}
th[scope=row] {{ text-align: left; font-weight: normal; }}
footer {{ margin-top: 3rem; color: #666; font-size: .85rem; }}
</style>
</head>
<body>
<h1>Audit of {quantity}</h1>
<p class="verdict {state}" id="verdict"><strong>{word}.</strong> {verdict}</p>
<img id="figure" alt="{alt}" src="data:image/png;base64,{image}">
<h2>Numbers</h2>
<div class="wide"><table id="numbers">{numbers}</table></div>
<h2>By value</h2>
<p>Changes are in percentage points. The forecast bias is the mean change of a quantity that starts there.</p>
<div class="wide"><table id="values"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>
<h2>What to do next</h2>
<ul id="advice">{steps}</ul>
<footer>physmis {version}. Forecasts tell directions better than sizes, which depend on model and training.
The test takes trajectories to be independent: pieces of one long run are not.</footer>
</body>
</html>
"""
