"""The plots, in one visual language: the prior is grey, each model class has its colour, z is viridis."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.resources import files

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython import get_ipython
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib_inline.config import InlineBackend
from scipy.signal import find_peaks

from physmis.drift.intervals import Interval

STYLE = str(files("physmis.paper") / "physmis.mplstyle")
_WONG = sns.color_palette("colorblind").as_hex()  # told apart with any colour vision
COLOURS = {
    "unet": _WONG[0],
    "transformer": _WONG[1],
    "vae": _WONG[2],
    "mlp": _WONG[4],
    "planner": "#882255",  # wine: red is a kernel's
    "untreated": "0.2",  # in comparisons with treatments
    "reweighted": "#999933",
    "conditioned": "#661100",
    "in coordinates": "#332288",
    "prior": "0.45",
    "invalid": "0.7",  # models of which too few samples are valid
}
NAMES = {"unet": "U-Net", "mlp": "MLP", "transformer": "Transformer", "vae": "VAE"}
MARKERS = {"unet": "o", "mlp": "s", "transformer": "D", "vae": "^"}
# Colour and marker of each kernel.
KERNELS = {
    "isotropic": (_WONG[9], "s"),
    "tangent": (_WONG[3], "o"),
    "before training": (_WONG[3], "o"),
    "round trip": ("black", "^"),
    "strong round trip": ("0.55", "v"),
    "matched blur": ("#5b3a1a", "D"),
    "another seed": ("0.5", "*"),
}


def use_style() -> None:
    """Take up the figure style of this package; in notebooks figures have their own size, as in files."""
    plt.style.use(STYLE)
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # the dates in matplotlib's fonts are none of ours
    if (shell := get_ipython()) is not None:  # it would cut each to a tight box, and draw it twice for that
        InlineBackend.instance(parent=shell).print_figure_kwargs = {"bbox_inches": None}


def array_name(*words: str) -> str:
    """Words as one name of an array beside a figure: "cone" and "round trip" make "cone_round_trip"."""
    return "_".join(words).replace(", ", "_").replace(" ", "_")


def plot_trajectories(
    ax: Axes, x: Float[np.ndarray, "n T"], z: Float[np.ndarray, "n"], limits: tuple[float, float]
) -> LineCollection:
    """One line a trajectory over its time steps, coloured by ``z`` on a scale of ``limits``.

    Returns what `Figure.colorbar` needs.
    """
    steps = np.broadcast_to(np.arange(x.shape[1]), x.shape)
    lines = LineCollection(
        np.stack([steps, x], axis=-1), array=z, cmap="viridis", clim=limits, lw=1.4, alpha=0.9
    )
    ax.add_collection(lines)
    ax.autoscale()
    ax.set_xlabel("time step")
    return lines


def relative_density(
    edges: Float[np.ndarray, "edges"], p: Float[np.ndarray, "bins"], q: np.ndarray
) -> np.ndarray:
    """Density of shares ``q`` (..., bins) in inner bins over the mean density of ``p`` inside its range."""
    width, mass = np.diff(edges[1:-1]), p[1:-1]
    return q[..., 1:-1] / width / (mass.sum() / width[mass > 0].sum())


def plot_recovered(
    ax: Axes,
    edges: Float[np.ndarray, "edges"],
    p: Float[np.ndarray, "bins"],
    q: Float[np.ndarray, "seeds bins"],
    n: int,
    model: str,
) -> None:
    """Recovered and intended distribution, as density relative to the prior's mean density inside its range.

    ``edges`` begin and end with an infinite one; the two open bins are not drawn, the mass in them is
    written into the corner where it exceeds 0.1 %. Thin lines are seeds, the thick one is their mean. The
    grey band is where 95 % of histograms of ``n`` values drawn from the prior itself would lie.
    """
    inner = edges[1:-1]
    p_in, q_in, spread = (relative_density(edges, p, one) for one in (p, q, 1.96 * np.sqrt(p * (1 - p) / n)))
    ax.stairs(
        p_in + spread, inner, baseline=p_in - spread, fill=True, color=COLOURS["prior"], alpha=0.3, lw=0,
        label="95 % range by chance",
    )  # fmt: skip
    ax.stairs(p_in, inner, color=COLOURS["prior"], lw=1.4, label="intended $p(z)$")
    for row in q_in:
        ax.stairs(row, inner, color=COLOURS[model], lw=0.7, alpha=0.5)
    ax.stairs(q_in.mean(axis=0), inner, color=COLOURS[model], lw=2, label="recovered $q(z)$")
    room = 1.12 * max(q_in.max(), (p_in + spread).max())  # for what lies outside, written above the curves
    ax.set(xlim=(inner[0], inner[-1]), ylim=(0, max(room, ax.get_ylim()[1])))
    _write_outside(ax, q, COLOURS[model])


def _write_outside(ax, q, colour):
    """Write the mass of the two open bins, which are not drawn, into the upper corners."""
    outside = q[:, [0, -1]].mean(axis=0)
    for share, side, place in zip(outside, ("left", "right"), (0.01, 0.99), strict=True):
        if share > 0.001:
            text, style = f"{share:.1%} further {side}", {"fontsize": 9, "color": colour}
            label = ax.text(place, 0.98, text, transform=ax.transAxes, ha=side, va="top", **style)
            label.set_bbox({"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 1})


def plot_forecast(
    ax: Axes,
    edges: Float[np.ndarray, "edges"],
    p: Float[np.ndarray, "bins"],
    q: Float[np.ndarray, "seeds bins"],
    forecasts: dict[str, Float[np.ndarray, "seeds bins"]],
    n: int,
    model: str,
) -> None:
    """Drift of a model, and forecasts of it by kernel: means over seeds, over the prior's mean density.

    ``n`` values were drawn from each seed. The grey band is where 95 % of such means would lie without drift;
    triangles mark the peaks and troughs of the drift that stand out of that noise. The mass of open bins is
    written into the corners, as by `plot_recovered`.
    """
    inner = edges[1:-1]
    width = np.diff(inner)
    unit = width * p[1:-1].sum() / width[p[1:-1] > 0].sum()
    noise = 1.96 * np.sqrt(p[1:-1] * (1 - p[1:-1]) / (n * len(q))) / unit
    drawn = {kernel: (f.mean(axis=0) - p)[1:-1] / unit for kernel, f in forecasts.items()}
    seen = (q.mean(axis=0) - p)[1:-1] / unit
    ax.stairs(
        noise, inner, baseline=-noise, fill=True, color=COLOURS["prior"], alpha=0.3, lw=0, label="noise"
    )
    ax.stairs(seen, inner, fill=True, color=COLOURS[model], alpha=0.45, lw=0, label="trained model")
    centres = (inner[1:] + inner[:-1]) / 2
    for kernel, values in drawn.items():
        dashes = ":" if kernel == "matched blur" else "-"
        ax.plot(centres, values, color=KERNELS[kernel][0], ls=dashes, lw=1.8, label=kernel)
    reach = np.abs([seen, *drawn.values()]).max()
    for sign, marker in ((1, "v"), (-1, "^")):
        at, _ = find_peaks(sign * seen, prominence=2 * noise.max(), height=noise.max())
        ax.plot(centres[at], seen[at] + sign * 0.1 * reach, marker, color=COLOURS[model], ms=6)
    ax.axhline(0, color="0.3", lw=0.8)
    ax.set(xlim=(inner[0], inner[-1]), ylim=(-1.25 * reach, 1.25 * reach))
    _write_outside(ax, q, COLOURS[model])


def plot_validity(
    ax: Axes, residuals: Sequence[Float[np.ndarray, "n"]], tolerance: float, model: str
) -> None:
    """Share of trajectories whose residual is below each value, one line a seed, and the tolerance."""
    for i, residual in enumerate(residuals):
        ax.ecdf(residual, color=COLOURS[model], lw=1.4, alpha=0.7, label="generated" if i == 0 else None)
    ax.axvline(tolerance, color="0.2", ls="--", lw=1.2, label="tolerance")
    ax.set_xscale("log")
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("share with a smaller residual")


def plot_intervals(
    ax: Axes, x: Sequence[float], intervals: Sequence[Interval], colour: str, marker: str = "o", **style
) -> None:
    """Points with 95 % bars at ``x``."""
    value, low, high = np.array(intervals).T
    bars = [value - low, high - value]
    ax.errorbar(x, value, yerr=bars, color=colour, capsize=3, marker=marker, **{"ms": 6} | style)
