# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Forecast which values gain and lose mass
#
# **What you will do.** Push small errors through a measurement, first with derivatives and then with draws; build
# *data deviation kernels*, which say where a model class tends to land when it means a trajectory; and forecast from
# them which values of the quantity a model will make too often and too rarely, before looking at its samples.
#
# **What you will learn.** Errors that are right on average still move the quantity: *bias* and *blur*. The errors that
# matter run along the data, where validity cannot see them. A forecast made before training says roughly where growth
# rates gather, for diffusion models. A trained model's own errors say it better, for each of four model classes; but
# the drift of some is not made by small errors alone, and then only a trip that forgets much of a trajectory sees it.
#
# **What you need.** Notebook 01, derivatives, and expectations. No diffusion models.
#
# This notebook accompanies *Mechanisms of Misgeneralization in Physical Sequence Modeling* (Nishi, Tang, Kumar, Park,
# Tanaka, 2026), which names the data deviation kernel. The definitions, kernels and numbers here are this companion's
# own. Claims examined: C3, *local errors typical of the model class, pushed through the measurement, move probability
# mass*; C4, *a data deviation kernel forecasts which values gain and lose mass*; C5, *before the model is trained*.

# %% tags=["parameters"]
PROFILE = "standard"
SEED = 0
DEVICE = "auto"

# %%
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("physmis") is None:  # as on Colab: see the README
    source = f"git+{os.environ['PHYSMIS_REPOSITORY']}#egg=physmis[audit,maze]"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--src", "src", "-e", source], check=True)
    sys.path.insert(0, "src/physmis")

# %%
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from scipy.stats import spearmanr

import physmis
from physmis import drift, kernels, tasks
from physmis.drift import intervals
from physmis.experiments.experiment import Experiment
from physmis.experiments.forecasts import (
    assess,
    blurred,
    by_value,
    calibrate,
    deviations,
    forecast,
    longest_reach,
    matched_scale,
    memory,
    pilot_of,
    residual,
)
from physmis.experiments.kernel_draws import Deviation
from physmis.kernels import expansion
from physmis.models import build
from physmis.paper import plotting

plotting.use_style()
run = physmis.start("02_kernel_theory", profile=PROFILE, seed=SEED, device=DEVICE)
P = run.profile

# %% [markdown]
# ## 1. Push a small error through the measurement
#
# A model means the trajectory $x$ and makes $x' = x + d$ instead. Let the error $d$ have mean 0 and covariance $S$,
# and let it be small. What happens to the quantity $z = m(x)$? With the gradient $g = \nabla m(x)$ and the matrix of
# second derivatives $H = \mathrm{Hess}\,m(x)$, Taylor's formula says
#
# $$ m(x + d) = m(x) + g^\top d + \tfrac12\, d^\top H d + \dots $$
#
# Take the mean. The linear term averages to 0, because $d$ does. The quadratic one is a sum of $\frac12 H_{ij} d_i
# d_j$, and $\mathbb{E}[d_i d_j] = S_{ij}$. The variance comes from the linear term. To second order in the size of
# $d$,
#
# $$ \underbrace{b = \mathbb{E}[m(x')] - m(x) = \tfrac12 \mathrm{tr}(S H)}_{\text{bias}}, \qquad
#    \underbrace{D = \mathrm{Var}[m(x')] = g^\top S\, g}_{\text{blur}} . $$
#
# So errors that are right on average still shift the quantity wherever the measurement is *curved*. This is Jensen's
# inequality: jitter can be across a vector as well as along it, and a step across can only make it longer.
#
# **By hand, for the cone.** There $m(x) = \lVert x \rVert = z$, for $T = 32$ values. The gradient $x/z$ has length 1.
# The curvature is $1/z$ in each of the $T - 1$ directions across $x$ and 0 along it. With isotropic errors, $S = s^2
# I$,
#
# $$ b = \frac{(T-1)\,s^2}{2z}, \qquad D = s^2 . $$
#
# The bias pushes mass away from the tip, the more the closer it is.
#
# **From single trajectories to the distribution.** Let $b(z)$ and $D(z)$ now be the means over all trajectories that
# share $z$, let $q$ be the law of $z'$, and take any smooth function $f$ that vanishes far out. The recovered quantity
# $z'$ has $\mathbb{E}[z' - z] = b$ and $\mathbb{E}[(z'-z)^2] = D$, to second order, so
#
# $$ \int f\, q \;=\; \mathbb{E}\, f(z') \;=\; \int \left( f + b f' + \tfrac12 D f'' \right) p
#    \;=\; \int f \left( p - (b p)' + \tfrac12 (D p)'' \right) , $$
#
# integrating by parts once for $b$ and twice for $D$. It holds for every $f$, so what stands beside $f$ must be $q$:
#
# $$ q - p = -(b p)' + \tfrac12 (D p)'' . $$
#
# The bias carries mass along, the blur spreads it. At the ends of our priors $p$ jumps and has no derivative. There
# we use the same two numbers without differentiating: every trajectory becomes a small Gaussian, moved by its bias
# and as wide as its blur,
#
# $$ \hat q(z') = \int p(z)\, \mathcal{N}(z';\; z + b,\, D)\, dz . $$
#
# `expansion.bias_and_blur` takes the derivatives of any measurement written in torch, `expansion.expand` the
# integral.
#
# **The check.** For each task we spread trajectories evenly over the prior and take isotropic errors of 2 % of the
# data's standard deviation. The theory predicts bias and blur; we also draw errors and simply measure. Errors come in
# pairs, $d$ and $-d$: the linear terms of the two cancel in their mean, which leaves the small bias to see.


# %%
def spread_evenly(task):
    """Trajectories at evenly spaced quantiles of the prior, lowest quantity first, and their quantity."""
    z = task.quantity.prior.ppf((np.arange(count) + 0.5) / count)
    return task.generate(z, np.random.default_rng(SEED)), z


def measure_errors(task, x, s, pairs, rng):
    """Mean and variance of m(x') - m(x) at each of ``x``, and the squared standard error of the mean."""
    odd, even = [], []
    start = task.measure(x)
    for _ in range(pairs):
        d = s * rng.standard_normal(x.shape)
        up, down = task.measure(x + d) - start, task.measure(x - d) - start
        odd.append((up - down) / 2)
        even.append((up + down) / 2)
    rest = np.var(even, axis=0, ddof=1)
    return np.mean(even, axis=0), np.mean(np.square(odd), axis=0) + rest, rest / pairs


def by_tenth(values):
    """Mean over each tenth of the prior's mass; ``values`` are in order of the quantity."""
    return np.array([part.mean(axis=0) for part in np.array_split(values, 10)])


count = min(P.samples, 2000)
rng = np.random.default_rng(SEED)
three = {name: tasks.load(name) for name in ("sine", "cone", "logistic")}
sets = {name: spread_evenly(task) for name, task in three.items()}
unit = {name: x.std() for name, (x, _) in sets.items()}  # of the scale of errors
# Bias and blur grow as the square of the scale: once at scale 1 serves all scales.
derived = {
    name: expansion.bias_and_blur(task.differentiable, sets[name][0], 1.0) for name, task in three.items()
}

fig, axes = plt.subplots(2, 3, figsize=(12, 5.6), sharex="col")
shown, variances = {}, []
for column, (name, task) in zip(axes.T, three.items(), strict=True):
    (x, z), s = sets[name], 0.02 * unit[name]
    b, D = (s**2 * part for part in derived[name])
    mean, variance, error = measure_errors(task, x, s, 64, rng)
    size = np.ptp(task.quantity.prior.support())
    bars = 1.96 * np.sqrt(by_tenth(error) / (count / 10))
    theory = by_tenth(b) / size, np.sqrt(by_tenth(D)) / size
    seen = by_tenth(mean) / size, np.sqrt(by_tenth(variance)) / size
    for ax, line, points, bar in zip(column, theory, seen, (bars / size, None), strict=True):
        ax.plot(by_tenth(z), line, color=plotting.COLOURS["prior"], lw=3, label="expansion")
        ax.errorbar(by_tenth(z), points, bar, fmt="o", ms=5, color="black", capsize=3, label="Monte Carlo")
        ax.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    column[0].axhline(0, color="0.7", lw=0.9, zorder=0)
    column[0].set_title(name)
    column[1].set(xlabel=task.quantity.label, ylim=(0, 1.3 * max(seen[1])))
    shown |= {
        f"{name}_{k}": v
        for k, v in zip(("z", "b", "sd", "bars"), (by_tenth(z), *theory, bars / size), strict=True)
    }
    shown |= {f"{name}_measured_{k}": v for k, v in zip(("b", "sd"), seen, strict=True)}
    variances += [variance, D]
axes[0, 0].set_ylabel("bias $b$ / range of $z$")
axes[1, 0].set_ylabel(r"blur $\sqrt{D}$ / range of $z$")
axes[1, 0].legend(loc="lower left")
run.save_figure(fig, "fig_02_expansion", data=shown, configs=[], seeds=[SEED])
plt.show()

# %%
x, z = sets["cone"]
print("cone, largest relative difference from the formulas by hand:",
      f"bias {np.abs(derived['cone'][0] / ((x.shape[1] - 1) / (2 * z)) - 1).max():.0e},",
      f"blur {np.abs(derived['cone'][1] - 1).max():.0e}")  # fmt: skip
for k in (0, 1, 9):
    print(f"cone, tenth {k + 1:2d}: bias {shown['cone_b'][k]:.2e} by expansion,",
          f"{shown['cone_measured_b'][k]:.2e} +- {shown['cone_bars'][k]:.0e} by Monte Carlo")  # fmt: skip


def worst_blur(rows):
    """Largest relative difference of sqrt(D) between expansion and Monte Carlo: over all tenths, and off the tip."""
    tenth, *columns = rows.T
    sums = [np.bincount(tenth.astype(int), weights=column, minlength=10) for column in columns]
    ratios = [np.sqrt(seen / forecast) for seen, forecast in zip(sums[::2], sums[1::2], strict=True)]
    off = np.abs(np.array(ratios) - 1)  # (tasks, tenths)
    everywhere = off.max()
    off[list(three).index("cone"), 0] = 0
    return everywhere, off.max()


tenths = np.arange(count) * 10 // count
rows = [np.stack([tenths, *variances], axis=1)]
run.record_claim("C3.02.expansion", *intervals.bootstrap(lambda r: worst_blur(r)[0], rows), seeds=[SEED])
run.record_claim(
    "C3.02.expansion_off_tip", *intervals.bootstrap(lambda r: worst_blur(r)[1], rows), seeds=[SEED]
)

# %% [markdown]
# **What we see.** The blur of all three comes out, and so does the bias of the logistic map and, beyond the lowest
# tenth, of the cone. The sine's measurement is so nearly linear in its errors that its bias, some $10^{-8}$ of the
# range, is 0 within nine of the ten bars. The growth rate comes out too low, most at large $r$: it is a quotient, and
# errors enter its divisor as squares, which add up. (The same is known as regression dilution.) In the cone's lowest
# tenth the expansion gives twice the bias that there is, and 5 % too much blur. The formula by hand says why: errors
# have length $s\sqrt{T} \approx 0.012$, as large as the smallest amplitudes, so they are not small there. The first
# claim asks for agreement within 5 % everywhere; because of that tenth its interval reaches beyond. The second leaves
# that tenth out; we added it after seeing the first.

# %% [markdown]
# ## 2. See what the theory forecasts, and where it stops
#
# The expansion keeps two terms of Taylor's formula. How small must errors be for that? We let isotropic errors grow,
# from 3 % of the data's standard deviation to three times it, and compare two laws of $m(x')$: the one that Monte
# Carlo finds, and the forecast $\hat q$. Their total variation, divided by that between the Monte Carlo law and $p$,
# is the share of the drift that the theory gets wrong: 0 is perfect, 1 is as bad as forecasting no drift at all. A
# perfect theory would still show the noise of a finite number of draws. We find that floor by drawing from $\hat q$
# itself, equally often.


# %%
def bins(task, per_range, beyond):
    """Bins over the prior's range and so many ranges beyond each end, so that laws far off are told apart."""
    low, high = task.quantity.prior.support()
    inner = low + (high - low) * np.linspace(-beyond, 1 + beyond, (1 + 2 * beyond) * per_range + 1)
    return np.concatenate([[-np.inf], inner, [np.inf]])


def laws(name, s, edges, draws, rng):
    """Masses in bins: without errors, by Monte Carlo, by the expansion, by as many draws from the expansion."""
    task, (x, z) = three[name], sets[name]
    b, D = (s**2 * part for part in derived[name])
    landed = [task.measure(x + s * rng.standard_normal(x.shape)) for _ in range(draws)]
    ideal = z + b + np.sqrt(D) * rng.standard_normal((draws, count))
    return (
        drift.histogram(z, edges),
        drift.histogram(np.concatenate(landed), edges),
        expansion.expand(z, b, D, edges),
        drift.histogram(ideal.ravel(), edges),
    )


scales = np.geomspace(0.03, 3, 7)
draws = {"sine": 16, "cone": 64, "logistic": 64}  # the sine's measurement is a search, a hundred times slower
found = {
    name: [laws(name, s * unit[name], bins(task, 20, 10), draws[name], rng) for s in scales]
    for name, task in three.items()
}
wrong = {name: [drift.total_variation(f, q) / drift.total_variation(p, q) for p, q, f, _ in rows]
         for name, rows in found.items()}  # fmt: skip
floor = {name: [drift.total_variation(f, i) / drift.total_variation(p, i) for p, _, f, i in rows]
         for name, rows in found.items()}  # fmt: skip

fig, axes = plt.subplots(1, 3, figsize=(12, 3.6))
edges = bins(three["cone"], 40, 1)
inner = edges[1:-1]
saved = {"scales": scales, "edges": inner}
for ax, share in zip(axes, (0.1, 1.0), strict=False):
    p, q, f, _ = (law[1:-1] * 40 for law in laws("cone", share * unit["cone"], edges, 200, rng))
    ax.stairs(p, inner, color="0.75", lw=1.4, label="intended $p$")
    ax.stairs(f, inner, color=plotting.COLOURS["prior"], lw=3, label="expansion")
    ax.plot((inner[1:] + inner[:-1]) / 2, q, "o", ms=3, color="black", label="Monte Carlo")
    ax.set(title=f"cone, errors of {share:.0%}", xlabel=three["cone"].quantity.label, xlim=(-0.3, 1.7))
    saved |= {f"cone_{share}_{k}": law for k, law in zip(("p", "q", "forecast"), (p, q, f), strict=True)}
axes[0].set_ylabel("density")
axes[0].legend(loc="upper right")
for (name, values), style in zip(wrong.items(), ("s:", "o-", "^--"), strict=True):
    axes[2].loglog(100 * scales, values, style, color="black", ms=5, label=name)
    axes[2].loglog(100 * scales, floor[name], style[1:], color="0.7", lw=1.2, zorder=0)
    saved |= {f"{name}_wrong": values, f"{name}_floor": floor[name]}
axes[2].set(
    title="share of the drift got wrong", xlabel="error / data's standard deviation [%]", ylabel="TV ratio"
)
axes[2].plot([], [], color="0.7", lw=1.2, label="floor of each")
axes[2].set_ylim(3e-3, 20)
axes[2].legend(loc="upper left", ncols=2)
run.save_figure(fig, "fig_02_validity", data=saved, configs=[], seeds=[SEED])
plt.show()
print("errors / data's standard deviation:", np.round(scales, 3))
for name in three:
    print(f"{name:9s} got wrong", np.round(wrong[name], 2), " floor", np.round(floor[name], 2))
task, (x, z) = three["sine"], sets["sine"]
for s in scales[3:] * unit["sine"]:
    leaps = np.abs(task.measure(x + s * rng.standard_normal(x.shape)) - z) > 5 * s * np.sqrt(
        derived["sine"][1]
    )
    print(
        f"sine, errors of {s / unit['sine']:.0%}: {leaps.mean():.1%} land more than 5 standard deviations away"
    )

# %% [markdown]
# **What we see.** *Logistic map*: the forecast is near its floor up to 6.5 % of the standard deviation, still good at
# 14 %, wrong by about a quarter at 65 %, and useless at 300 %. *Sine*: up to 65 % it is within a factor of 1.4 of its
# floor, which is high because there is little drift to forecast. *Cone*: the forecast has the right shape, yet most of
# the drift is put in the wrong place at every scale here, at 6.5 % worse than no forecast. That surprised us. The drift
# at the tip is made by trajectories with $z \lesssim s\sqrt{T}$, and for these the error is never small, however small
# $s$ is: $b \propto 1/z$ throws them too far. The upper edge is forecast well while errors are small (left panel).
#
# Where does the theory stop?
#
# - **Curvature.** When $d$ is so large that $g$ and $H$ change along the way, as at the tip.
# - **Leaps.** The sine's frequency is where a fit is best. A large error can make a distant frequency fit better. The
#   last lines count such leaps: none in 2,000 at 65 %, 1 in 12 at 139 %, more than half at 300 %. No derivative at
#   $x$ can know of them. The same holds for a model that means one trajectory and makes another of the data.
# - **Chaos.** Our measurement of $r$ looks one step ahead, so it does not magnify errors from step to step. A *model*
#   that makes trajectories step by step does: a small error grows by $e^{\lambda t}$. Then $d$ is large, or its
#   covariance far from isotropic.

# %% [markdown]
# ## 3. Find measurements that small errors cannot bias
#
# The bias $\frac12\mathrm{tr}(SH)$ vanishes where second derivatives cancel. For isotropic errors it is $\frac12
# s^2\,\mathrm{tr} H = \frac12 s^2 \Delta m$, with the Laplacian $\Delta m$, the sum of the pure second derivatives. A
# function with $\Delta m = 0$ *everywhere* is called **harmonic**. For it much more is true: isotropic errors of
# *any* size leave it unbiased. To see why, average $m$ over the sphere of radius $\rho$ around $x$ and let $\rho$
# grow. The average changes as fast as $m$ changes outwards, on average over the sphere. By the divergence theorem
# this is the integral of $\Delta m$ over the ball inside, up to a positive factor: nothing. So the average over every
# sphere is the value at its centre, $m(x)$. An isotropic error lands on spheres around $x$, evenly on each.
# Conversely, a measurement that is unbiased at every $x$, however small the errors, must have $\Delta m = 0$
# everywhere.
#
# Linear measurements are harmonic, and more: they stay unbiased under *every* error of mean 0, isotropic or not. Let
# us try six measurements of a trajectory of two steps, at the point $x = (1, \frac12)$, with errors up to three times
# the larger entry.

# %%
six = {
    "(x0 + x1)/2": lambda x: (x[:, 0] + x[:, 1]) / 2,
    "x0 x1": lambda x: x[:, 0] * x[:, 1],
    "Re (x0 + i x1)^3": lambda x: x[:, 0] ** 3 - 3 * x[:, 0] * x[:, 1] ** 2,
    "(x0 - 1)^4": lambda x: (x[:, 0] - 1) ** 4,
    "x0^2 + x1^2": lambda x: (x**2).sum(-1),
    "|x|": lambda x: (x**2).sum(-1) ** 0.5,
}
sizes, tries = (0.1, 1.0, 3.0), 200_000
point = np.array([[1.0, 0.5]])
worst, rng = 0.0, np.random.default_rng(SEED)
print(f"{'m(x)':18s} {'tr H':>6s}   " + "".join(f"mean change at s = {s:<12g}" for s in sizes))
for name, m in six.items():
    b, _ = expansion.bias_and_blur(lambda x, m=m: m(x.T)[0], point[..., None], 1.0)
    text = ""
    for s in sizes:
        change = m(point + s * rng.standard_normal((tries, 2))) - m(point)
        error = 1.96 * change.std() / tries**0.5
        text += f"{change.mean():12.4f} +- {error:<15.4f}"
        if name in list(six)[:3]:
            worst = max(worst, abs(change.mean()) / change.std())
    print(f"{name:18s} {2 * b[0]:6.2f}   {text}")
noise = 3 / tries**0.5  # nine averages are looked at: three standard errors each way
run.record_claim("C3.02.harmonic_unbiased", worst, max(worst - noise, 0), worst + noise, seeds=[SEED])

# %% [markdown]
# **What we see.** The first three stay within noise of 0 at all sizes; the last two are biased at all sizes, the
# square by exactly $2 s^2$. The fourth's second derivative is 0 at this one point: small errors leave it nearly
# alone, large ones do not. Without bias there is still blur: harmonic measurements keep their mean, not their
# distribution.
#
# What is harmonic depends on the coordinates in which the errors are isotropic. This is a handle. If the coordinates
# that a model sees are chosen so that the quantity is a *linear* function of them, its errors cannot bias it as long
# as their mean is 0. Notebook 05 tries that.

# %% [markdown]
# ## 4. Build kernels that say where a model's errors land
#
# The expansion needs small errors. From here on we use none of it. A **data deviation kernel** $K(x'|x)$ says where a
# model class tends to land when it means $x$. Pushed through the measurement it gives a **transition**: $T(\cdot|z)$ is
# the law of $m(x')$ when $x$ is a trajectory with $m(x) = z$ and $x' \sim K(\cdot|x)$. The transition forecasts the
# recovered distribution,
#
# $$ \hat q(z') = \int p(z)\, T(z'|z)\, dz . $$
#
# A kernel only has to be drawn from; counting pairs of bins gives $T$. Here are six, from little knowledge to much.
#
# | kernel | $x'$ | knows | before training on this task? |
# |---|---|---|---|
# | isotropic | $x + s\,\varepsilon$ | one number $s$ | yes |
# | neighbour | the nearest *other* training trajectory, plus the isotropic error | the data | yes |
# | exchange | add noise to $x$, then draw from other trajectories of the same law, in proportion to how likely each is to have given that noisy one | the data | yes |
# | tangent | steps along the data, limited in reach | the data, and which trajectories are valid | yes |
# | pilot | $x + a\,(\text{round trip of a pilot} - x)$ | a model trained for a tenth of the budget | yes |
# | round trip | what the trained model makes of $x$ after forgetting a share of it, the *strength* (0: nothing, 1: all) | the trained model | no |
#
# What it is to forget depends on the class of the model:
#
# | class | round trip |
# |---|---|
# | U-Net, MLP | add noise, $\cos\theta\,x + \sin\theta\,\varepsilon$, up to $\theta$ = strength $\cdot\, \pi/2$; let the model remove it |
# | Transformer | keep the first steps, let the model make the rest: the strength is the share that is made anew |
# | VAE | encode $x$, draw a code $u$ from what the encoder says, move it toward a fresh one, $\sqrt{1-\tau^2}\,u + \tau\,\varepsilon$ with strength $\tau$, decode and add the learned noise |
#
# With plentiful data the exchange leaves $p$ unchanged, whatever its steps: it is a null that should forecast nothing.
# The **tangent** kernel is our own. A trained model corrects errors that leave the data (its trajectories are valid);
# what it cannot see are errors *along* the data. Differences of neighbours point along the data. So with $x_i, x_j,
# x_k$ drawn from the 5 % nearest trajectories,
#
# $$ x' = x + \frac{x_i - x_j}{\sqrt{1 + |x_i - x_j|^2/\ell^2}} + \frac{x_k - x}{1 + |x_k - x|^2/\ell^2} , $$
#
# a blur along the data, no longer than $\ell$, and a pull toward neighbours within $\ell$. The pull is there because a
# network trained on squared error answers with means, and so draws toward where data are dense. Here $|\cdot|$ is the
# length after dividing each channel by its standard deviation, and $\ell$ is the **reach** times $|x - \bar x|$, the
# size of the trajectory; $\bar x$ is the mean over all trajectories and steps.
#
# **What is set by what.** No number below is fitted to the histogram of the cone or of the logistic map. (The tangent
# kernel's form, its 5 %, and the upper limit of its reach were, however, found with these drifts in view.) "Before
# training" means: after one other task, the **calibration task**, for which we take the sine.
#
# | number | set on | by |
# |---|---|---|
# | isotropic scale $s$, pilot's share $a$, one for each class | sine | the residual of the trained models (no histogram) |
# | strength of the round trip, one for each class | sine | its skill (section 5: the share of the drift explained) |
# | width of the plain blur (section 5) | sine | the size of the drift |
# | reach | each task, without a trained model | validity of the landing places |
#
# The reach is the largest of a few, none above a fifth, at which the typical landing place is valid (median residual
# within the tolerance), because nearly all trajectories of the U-Net are. 0.4 is tried only to see what it would have
# done (section 7).

# %%
# Columns of the table to come: four model classes, and two more prediction types of the U-Net.
KINDS = {
    "unet": ("unet", {}),
    "transformer": ("transformer", {}),
    "vae": ("vae", {}),
    "mlp": ("mlp", {}),
    "noise": ("unet", {"prediction": "noise"}),
    "clean": ("unet", {"prediction": "clean"}),
}
CLASSES = tuple(plotting.NAMES)
CALIBRATION = "sine"
strengths = dict.fromkeys(KINDS, (0.1, 0.4, 0.7))  # 1 would forget x, and be the model's own samples
strengths["transformer"] = (0.75, 0.875, 0.9375)  # of 32 steps, all but 8, 4 and 2 are made anew
reaches = (0.025, 0.05, 0.1, 0.2, 0.4)


def experiment(task, seed, kind="unet", data=P.data, **changes):
    """The profile's model of a kind on a task; `changes` override its hyperparameters."""
    name, own = KINDS[kind]
    return Experiment(
        tasks.load(task), build(name, **{**P.models[name], **own, **changes}), data, P.samples, seed
    )


pairs = [(task, kind) for task in three for kind in CLASSES] + [("logistic", "noise"), ("logistic", "clean")]
seed = run.seeds[0]  # where one seed is enough
models = {(task, kind, s): experiment(task, s, kind) for task, kind in pairs for s in run.seeds}
short = {(task, kind): pilot_of(models[task, kind, seed]) for task, kind in pairs}
logistic = three["logistic"]  # section 9 varies data and model on this one task
sizes = (P.data // 10, P.data, P.data * 10)
width, steps = P.models["unet"]["width"], P.models["unet"]["steps"]
variants = (
    {("data", n): experiment("logistic", seed, data=n) for n in sizes}
    | {("width", w): experiment("logistic", seed, width=w) for w in sorted({max(8, width // 2), width})}
    | {("steps", n): experiment("logistic", seed, steps=n) for n in (steps // 4, steps, 2 * steps)}
)
trained = run.compute(models | {(CALIBRATION, kind): short[CALIBRATION, kind] for kind in CLASSES} | variants)


def round_trip(e, strength):
    """Where the round trip through the experiment's own model lands its training data."""
    return Deviation(e, "round_trip", {"strength": strength}, e)


trips = run.compute({
    (t, kind, tau, s): round_trip(models[t, kind, s], tau)
    for t in three for kind in CLASSES for tau in strengths[kind] for s in (run.seeds if t == CALIBRATION else [seed])
})  # fmt: skip
tangents = run.compute({
    (t, r): Deviation(models[t, "unet", seed], "tangent", {"reach": r}) for t in three for r in reaches
})  # fmt: skip


def seeds_of(results, *name):
    """The results of one name, over seeds."""
    return [results[*name, s] for s in run.seeds]


observed = {pair: assess(seeds_of(trained, *pair)) for pair in pairs}

# %% [markdown]
# **Set the numbers.** The residual is that of notebook 01; for the sine, the distance to the best sine of amplitude 1.


# %%
def nearest(candidates, found, wanted):
    """The candidate whose finding is nearest to what is wanted, by ratio."""
    return candidates[np.argmin([abs(np.log(max(value, 1e-9) / max(wanted, 1e-9))) for value in found])]


numbers, strength = {}, {}
for kind in CLASSES:
    group = seeds_of(trained, CALIBRATION, kind)
    numbers[kind] = calibrate(group, trained[CALIBRATION, kind])
    d, found = observed[CALIBRATION, kind], {}
    for tau in strengths[kind]:
        found[tau] = drift.skill(forecast(seeds_of(trips, CALIBRATION, kind, tau)), d.q, d.p).mean()
    strength[kind] = max(found, key=found.get)
    print(f"{kind:12s} residual {residual(group):.4f}: scale s = {numbers[kind].scale:.4f}, share a = {numbers[kind].share:.3f}; "
          f"skill at strengths {strengths[kind]}: {np.round(list(found.values()), 2)}, so {strength[kind]}")  # fmt: skip
for chosen in (numbers, strength):  # the other prediction types are of the U-Net's class
    chosen |= dict.fromkeys(("noise", "clean"), chosen["unet"])
reach = {}
for name in three:
    found = {r: tangents[name, r] for r in reaches}
    reach[name] = longest_reach(found)
    left = np.round([np.median(landing.validity) for landing in found.values()], 3)
    print(f"{name:9s} median residual after steps of reach {reaches}: {left}, so reach {reach[name]}")


control = observed[CALIBRATION, "unet"]
blurs = np.geomspace(0.005, 0.16, 6)
blur = nearest(
    blurs,
    [drift.total_variation(control.p, blurred(three[CALIBRATION].quantity, w)) for w in blurs],
    control.excess.value,
)
print(f"excess drift of the sine {control.excess}, so plain blur of {blur:.3f} of the range")

# %% [markdown]
# ## 5. Compare the forecast with the model
#
# Now all kernels on all tasks, for the four model classes of notebook 01 and, on the logistic map, for the other two
# things a U-Net may predict; with three training seeds. A forecast is made from each seed's training set and compared
# with the samples of the model that was trained on it. Numbers are means over seeds:
#
# - **drift correlation**: Pearson's correlation over bins between forecast and observed drift. Beside it stands its
#   **noise ceiling**: what a second sample from the very same model would reach.
# - **skill** $1 - \mathrm{TV}(\hat q, q)/\mathrm{TV}(p, q)$: 0 is the forecast of no drift, 1 is perfect. The observed
#   law is a finite sample, so even the true law stays below 1.
#
# Two nulls stand beside the kernels: *no drift*, and a *plain blur* of the prior that knows no trajectories. *Another
# seed* is no kernel: it takes what one training run made as a forecast of another's.

# %%
jobs = {}
for (task, kind, s), e in models.items():
    each = deviations(e, numbers[kind], reach[task], strength[kind], short[task, kind])
    each["exchange"] = Deviation(e, "exchange", {"width": 0.5})
    jobs |= {(kernel, task, kind, s): d for kernel, d in each.items()}
landings = run.compute(jobs)
local = {kind: strengths[kind][1] for kind in CLASSES}  # a weaker trip, whose errors stay more local
weak = run.compute({
    (t, kind, s): round_trip(models[t, kind, s], local[kind]) for t in three for kind in CLASSES for s in run.seeds
})  # fmt: skip
KERNELS = ("isotropic", "neighbour", "exchange", "tangent", "pilot", "round trip")
laws_of = {
    (kernel, *pair): forecast(seeds_of(landings, kernel, *pair)) for kernel in KERNELS for pair in pairs
}
for pair in pairs:
    found_drift = observed[pair]
    laws_of["no drift", *pair] = found_drift.p
    laws_of["plain blur", *pair] = blurred(three[pair[0]].quantity, blur)
    laws_of["another seed", *pair] = np.roll(found_drift.q, 1, axis=0)
ROWS = ("no drift", "plain blur", *KERNELS, "another seed")
scores = {(row, *pair): drift.score(laws_of[row, *pair], observed[pair]) for row in ROWS for pair in pairs}

# %%
fig, axes = plt.subplots(1, 3, figsize=(12, 3.8))
saved = {}
for ax, task in zip(axes, three, strict=True):
    found_drift = observed[task, "unet"]
    shown = {kernel: laws_of[kernel, task, "unet"] for kernel in ("tangent", "round trip")}
    plotting.plot_forecast(ax, found_drift.edges, found_drift.p, found_drift.q, shown, P.samples, "unet")
    ax.set(title=task, xlabel=three[task].quantity.label)
    saved |= {f"{task}_edges": found_drift.edges, f"{task}_p": found_drift.p, f"{task}_q": found_drift.q}
    saved |= {f"{task}_{kernel.replace(' ', '_')}": law for kernel, law in shown.items()}
axes[0].set_ylabel("drift relative to the prior")
axes[0].legend(loc="lower center", fontsize=9)
keys = [result.key for result in (*trained.values(), *landings.values())]
run.save_figure(fig, "fig_02_forecast", data=saved, configs=keys)
plt.show()

# %% [markdown]
# **What we see.** Blue is what the trained model does too often (above 0) or too rarely, relative to the height of the
# prior; black is the round trip's forecast, red-orange the tangent kernel's. Triangles mark its peaks and troughs
# outside the grey band. The round trip follows the drift where it stands out of the noise: the loss at both ends of the
# sine and the logistic map and at the upper end of the cone, and on the logistic map the gain near 3.8. The tangent
# kernel has seen no trained model. It finds these losses (on the sine about half) and a broad gain of growth rates
# between 3.55 and 3.88; near 3.65, where the model gains nothing, it forecasts a gain, too. Of the small loss at the
# tip of the cone the round trip sees most, the tangent kernel nothing. All are means over seeds.

# %%
league = {
    f"{part}_{end}": np.array([[getattr(getattr(scores[row, *pair], part), end) for pair in pairs] for row in ROWS])
    for part in ("correlation", "skill", "tv", "w1") for end in ("value", "low", "high")
}  # fmt: skip
ceilings = np.array([scores["no drift", *pair].ceiling for pair in pairs])
fig, ax = plt.subplots(figsize=(12, 6.6))
labels = [[f"{c:.2f}\n({s:+.2f})" for c, s in zip(*row, strict=True)]
          for row in zip(league["correlation_value"], league["skill_value"], strict=True)]  # fmt: skip
labels.append([f"{value:.2f}" for value in ceilings])
names = [plotting.NAMES.get(kind, f"U-Net\n{kind}") for _, kind in pairs]
sns.heatmap(
    np.vstack([league["correlation_value"], ceilings]), annot=np.array(labels), fmt="", cmap="vlag", center=0,
    vmin=-1, vmax=1, xticklabels=names, yticklabels=[*ROWS, "noise ceiling"], ax=ax,
    annot_kws={"size": 9}, cbar_kws={"label": "drift correlation"}, linewidths=0.5,
)  # fmt: skip
for line in (2, 7, 8, 9):
    ax.axhline(line, color="black", lw=1.2)
for line in (4, 8):
    ax.axvline(line, color="black", lw=1.2)
for task, at in (("sine", 2), ("cone", 6), ("logistic", 11)):
    ax.text(at, -0.25, task, ha="center")
ax.tick_params(axis="x", rotation=0, labelsize=9)
ax.set_title("drift correlation (skill) of every forecast", pad=24)
run.save_figure(
    fig, "fig_02_league",
    data=league | {"rows": ROWS, "columns": [f"{t} {k}" for t, k in pairs], "ceiling": ceilings},
    configs=keys,
)  # fmt: skip
plt.show()

# %% [markdown]
# **What we see.** The four columns of the sine are the calibration. From the top:
#
# - *Plain blur*, set on the drift of the U-Net, forecasts a loss at both ends, the same on all tasks. For the U-Net on
#   the sine that is about all the round trip finds, too. For the VAE on the cone and on the logistic map it says
#   nothing.
# - *Isotropic*, at the scale set on the sine, forecasts little, but for the VAE's growth rates. The residual says how
#   far a model leaves the data, not how far off it is *along* them (section 8).
# - *Neighbour* and *exchange* see hardly more than the logistic map, where neighbours are far apart. The exchange is a
#   null on the sine and on the cone (there the noise of its own draws costs it some skill). On the logistic map 20,000
#   trajectories are not plentiful, and it acts like the neighbour. (For the VAE the neighbour's score is that of the
#   isotropic error added to it.)
# - *Tangent* is the best forecast made before training for the two diffusion models, U-Net and MLP, on the cone and the
#   logistic map. It was made with the U-Net in view. With noise and clean prediction it is worse, as it knows nothing
#   of what the network predicts. (For the MLP's growth rates the neighbour is level.) It is worse for the Transformer,
#   too, and for the VAE it has next to no skill.
# - *Pilot* has a skill surely above 0 for the MLP's growth rates and the VAE's amplitudes only, and little or a
#   negative one elsewhere (-2.0 for the Transformer's growth rates), though some correlation. After a tenth of the
#   training the errors are not a small version of what they will be. For the VAE on the logistic map it is highest on
#   average, but seeds differ.
# - *Round trip* has the best correlation for every class and task, and comes close to the noise ceiling for the
#   diffusion models with velocity and clean prediction. (On the sine the ceiling of the MLP is so low that round trip
#   and tangent lie above it, within their intervals; in skill neither is surely above 0 there, and a plain blur is
#   level with the round trip of the U-Net.) It knows the errors of this very network. With noise prediction it falls
#   short. Among the others, the VAE on the sine and the cone and the Transformer on the cone stay furthest below their
#   ceilings; section 6 asks why.
#
# At strength 1 every model would forecast itself, and for every class the rule took the largest strength tried: the end
# of the grid decides. So we must ask how much of $z$ a trip remembers (section 6 shows it), and the claims include a
# weaker trip. Some of the claims state aims that we had set beforehand, as a share of the noise ceiling, taken as
# exact.

# %%
for task in ("cone", "logistic"):
    d = observed[task, "unet"]
    for kernel, number in (("tangent", 5), ("round trip", 4)):
        name, s = kernel.replace(" ", "_"), scores[kernel, task, "unet"]
        run.record_claim(f"C{number}.02.{task}_{name}", *s.correlation)
        ratio = [part / s.ceiling for part in s.correlation]
        run.record_claim(f"C{number}.02.{task}_{name}_of_ceiling", *ratio)
        run.record_claim(f"C{number}.02.{task}_{name}_skill", *s.skill)
    weakly = drift.score(forecast(seeds_of(weak, task, "unet")), d)
    print(
        f"{task}, round trip at strength {local['unet']}: drift correlation {weakly.correlation}, skill {weakly.skill}"
    )
    run.record_claim(f"C3.02.{task}_local_errors", *weakly.correlation)
    better = drift.advantage(laws_of["tangent", task, "unet"], laws_of["plain blur", task, "unet"], d)
    run.record_claim(f"C3.02.{task}_trajectories_matter", *better)
d = observed["sine", "unet"]
little = [drift.total_variation(d.p, law) - d.tv_floor.high for law in laws_of["tangent", "sine", "unet"]]
run.record_claim("C5.02.sine_little", np.mean(little), min(little), max(little))
print(f"sampling floor of the sine: {d.tv_floor}; observed total variation {d.tv}")

# %% [markdown]
# **What we see.** All correlations are above 0, also those of the weaker trip, whose errors are more local (it
# remembers $z$ with 0.97 on the cone and 0.84 on the logistic map, section 6): on the
# logistic map it forecasts nearly as well as the stronger one, on the cone less well. Of the aims, the logistic round
# trip reaches that for the share of the ceiling; its skill is above 0.6, but not with the whole interval. The tangent
# kernel on the logistic map is above both of its aims, likewise not with the whole intervals. On the cone both kernels
# reach their aims for the share in the mean only, and miss those for skill. The advantage over a plain blur is clear on
# both tasks. On the sine the kernel forecasts no more drift than the sampling floor; the model shows a little more.

# %% [markdown]
# ## 6. Ask whether one number serves a class
#
# A forecast made before training lives on numbers that were found on another task. Does a number found on one task
# *transfer* within a class? For the isotropic scale we can ask directly: match it to the residual on each task, and
# compare (left panel).
#
# And which class is hardest to forecast? A forecast by local errors should work while a trip still *remembers* $z$. So
# the other panels show how well each strength forecasts, against the correlation of $z'$ with $z$ after the trip: 1 on
# the left, when only small errors are made, and 0 on the right, when the trip has become a new sample. Rings mark the
# strength that was set on the sine. The cross is another round trip of the Transformer, *teacher forcing*: each step is
# drawn anew, given the true steps before it, so that no error builds on another.

# %%
matched = {
    (kind, task): matched_scale(models[task, "unet", seed], residual(seeds_of(trained, task, kind)))
    for kind in CLASSES
    for task in three
}
forced = build("transformer", **P.models["transformer"], resample="each")
forced = run.compute(
    {t: round_trip(replace(models[t, "transformer", seed], model=forced), 1.0) for t in three}
)


def judged(landing, task, kind):
    """Memory of one seed's round trip, and drift correlation and skill of its forecast."""
    d, law = observed[task, kind], forecast([landing])[0]
    return (
        memory(landing),
        drift.drift_correlation(law, d.q[0], d.p),
        drift.skill(law, d.q[0], d.p),
    )


fig, axes = plt.subplots(1, 4, figsize=(13, 3.6))
saved = {}
print("round trips of one seed: memory of z, drift correlation, skill")
for kind in CLASSES:
    colour = plotting.COLOURS[kind]
    saved[f"{kind}_scale"] = [matched[kind, task] for task in three]
    marker = plotting.MARKERS[kind]
    axes[0].semilogy(range(3), saved[f"{kind}_scale"], marker, color=colour, label=plotting.NAMES[kind])
    for ax, task in zip(axes[1:], three, strict=True):
        found = np.array([judged(trips[task, kind, tau, seed], task, kind) for tau in strengths[kind]])
        ax.plot(*found.T[:2], marker=marker, color=colour, ms=5)
        chosen = strengths[kind].index(strength[kind])
        ax.plot(*found[chosen, :2], "o", ms=12, mfc="none", color="0.3")
        saved[f"{kind}_{task}"] = found
        for tau, row in zip(strengths[kind], found, strict=True):
            print(f"  {kind:12s} {task:9s} strength {tau:6.4g}:", *(f"{value:5.2f}" for value in row))
for ax, task in zip(axes[1:], three, strict=True):
    saved[f"forced_{task}"] = row = judged(forced[task], task, "transformer")
    ax.plot(*row[:2], "x", color=plotting.COLOURS["transformer"], ms=8, mew=2)
    print(
        f"  transformer  {task:9s} each step anew, from the true ones before it:", *(f"{v:5.2f}" for v in row)
    )
    ax.set(title=task, xlabel="memory of $z$ (less to the right)", xlim=(1.05, -0.25), ylim=(0, 1.05))
axes[0].set(title="matched scale", ylabel="scale / standard deviation")
axes[0].set_xticks(range(3), three)
axes[0].legend(fontsize=9)
axes[1].set_ylabel("drift correlation")
run.save_figure(
    fig,
    "fig_02_classes",
    data=saved,
    configs=[r.key for r in (*trained.values(), *trips.values(), *forced.values())],
)
plt.show()

# %%
print(f"{'class':12s} matched scale on each task / that on the sine")
for kind in CLASSES:
    print(
        f"{kind:12s}", *(f"{task} {matched[kind, task] / matched[kind, CALIBRATION]:6.2f}" for task in three)
    )
print(f"\n{'class':12s} round trip, three seeds: drift correlation / ceiling, skill")
for kind in CLASSES:
    for task in three:
        s = scores["round trip", task, kind]
        print(f"{kind:12s} {task:9s} {s.correlation} / {s.ceiling:.2f}   skill {s.skill}")
        if kind != "unet":
            run.record_claim(f"C4.02.{kind}_{task}_round_trip", *s.correlation)
print(f"\n{'class':12s} weaker round trip, three seeds: strength, memory, drift correlation, skill")
for kind in CLASSES:
    for task in three:
        group = seeds_of(weak, task, kind)
        s, remembered = (
            drift.score(forecast(group), observed[task, kind]),
            np.mean([memory(r) for r in group]),
        )
        print(
            f"{kind:12s} {task:9s} {local[kind]:6.4g} {remembered:6.2f}   {s.correlation}   skill {s.skill}"
        )
        if kind != "unet" and task != CALIBRATION:
            run.record_claim(f"C3.02.{kind}_{task}_local_errors", *s.correlation)
for kind in CLASSES[1:]:
    for task in ("cone", "logistic"):
        run.record_claim(f"C5.02.{kind}_{task}_tangent", *scores["tangent", task, kind].correlation)
print("\nVAE: total variation from the prior of encoded and decoded data, and of new trajectories")
for task in three:
    d, weakest = observed[task, "vae"], trips[task, "vae", strengths["vae"][0], seed]
    print(
        f"{task:9s} {drift.total_variation(d.p, forecast([weakest])[0]):.3f}",
        f"and {drift.total_variation(d.p, d.q[0]):.3f}; sampling floor {d.tv_floor}",
    )

# %% [markdown]
# **What we see.** *Does a scale transfer?* Not well. The scale that matches the residual on the cone or on the logistic
# map is within a factor of 2.5 of that on the sine for U-Net, MLP and Transformer, up for some and down for others,
# and for the VAE it is a twenty-fifth of it on the cone. How far a model leaves the data depends on the task
# as much as on the class.
#
# *Which class is hardest to forecast?* The more a trip forgets, the better it forecasts; one that forgets all would
# forecast perfectly, and say nothing about local errors. So we look at the left of the panels. One seed is shown; the
# last table has all three for the middle strength.
#
# - **Diffusion models.** At strength 0.4, which remembers $z$ with 0.97 on the cone and about 0.85 on the logistic map,
#   they forecast with about 0.7 and 0.9. These are errors near the trajectory.
# - **Transformer.** Errors made one step at a time (crosses) forecast the logistic map, where they already move $z$
#   far, and say little on the sine. There the drift is seen only by trips that make all but the first two to four steps
#   anew. An error in one of these is small in $x$ and, once continued, large in $z$.
# - **VAE.** The hardest. At strength 0.1 a trip is little more than encoding and decoding; on the cone it gives data
#   back with a drift within the sampling floor, while new trajectories drift by 0.3 (last lines). If the codes of the
#   data were distributed as $\mathcal{N}(0, I)$, decoding them and decoding new ones would give the same law of $z$.
#   They are not: the drift enters with the codes. That is no small deviation from any trajectory, so a kernel that
#   starts at one forecasts it only as far as it forgets. (On the sine it looks the same, but seeds differ.) On the
#   logistic map the VAE cannot give its data back, and even its weakest trips forget.
#
# So local errors forecast the direction of drift well for the diffusion models, in part for the Transformer, and for
# the VAE on the cone only where a good part of the code is drawn anew. A correlation does not say how much of the drift
# they explain. On the sine the diffusion models drift too little to judge.

# %% [markdown]
# ## 7. See how much the choices matter
#
# What would another reach, another strength have given, or a transition applied $k$ times? One seed; open circles are
# the choices made above. In the right panel red-orange is the tangent kernel, black the round trip.

# %%
fig, axes = plt.subplots(1, 3, figsize=(12, 3.6), sharey=True)
styles = {"sine": "s:", "cone": "o-", "logistic": "^--"}
saved, ks = {"reaches": reaches, "strengths": strengths["unet"]}, (1, 2, 4, 8)
for task, style in styles.items():
    p, q = observed[task, "unet"].p, observed[task, "unet"].q[0]
    chosen = {
        "tangent": landings["tangent", task, "unet", seed],
        "round trip": trips[task, "unet", strength["unet"], seed],
    }
    curves = {
        "reach": [forecast([tangents[task, r]])[0] for r in reaches],
        "strength": [forecast([trips[task, "unet", tau, seed]])[0] for tau in strengths["unet"]],
        **{f"{kernel} k": [forecast([landing], k)[0] for k in ks] for kernel, landing in chosen.items()},
    }
    curves = {name: drift.drift_correlation(np.array(laws), q, p) for name, laws in curves.items()}
    orange, black = (plotting.KERNELS[kernel][0] for kernel in chosen)
    axes[0].semilogx(reaches, curves["reach"], style, color=orange, label=task)
    axes[1].plot(strengths["unet"], curves["strength"], style, color=black, label=task)
    axes[2].semilogx(ks, curves["tangent k"], style, color=orange)
    axes[2].semilogx(ks, curves["round trip k"], style, color=black)
    axes[0].plot(
        reach[task], curves["reach"][reaches.index(reach[task])], "o", ms=12, mfc="none", color="0.3"
    )
    chosen = strengths["unet"].index(strength["unet"])
    axes[1].plot(strengths["unet"][chosen], curves["strength"][chosen], "o", ms=12, mfc="none", color="0.3")
    saved |= {f"{task}_{name.replace(' ', '_')}": values for name, values in curves.items()}
axes[0].set(title="tangent kernel", xlabel="reach", ylabel="drift correlation", ylim=(0, 1.02))
axes[0].set_xticks(reaches, [str(r) for r in reaches])
axes[1].set(title="round trip", xlabel="strength")
axes[2].set(title="both, applied $k$ times", xlabel="$k$")
axes[2].set_xticks(ks, [str(k) for k in ks])
for ax in (axes[0], axes[2]):
    ax.minorticks_off()
axes[1].legend(loc="lower right")
run.save_figure(
    fig,
    "fig_02_sensitivity",
    data=saved,
    configs=[r.key for r in (*trips.values(), *tangents.values())],
    seeds=[SEED],
)
plt.show()

# %% [markdown]
# **What we see.** The reach matters most on the logistic map, where the correlation falls from 0.88 at 0.1 to 0.41 at
# 0.2: there landing places stop being valid. The rule stops the logistic map and the sine; the cone, where validity is
# a weak test, is stopped by the limit of a fifth. A reach of 0.1 for all would have done as well on the cone and worse
# on the sine; at 0.4 the sine would do better still. The chosen strength is the largest tried; at 1 the round trip
# would be the model's own sampling. Applying a transition more than once helps the tangent kernel on the sine, the
# round trip there hardly, and hurts on the other two tasks.

# %% [markdown]
# ## 8. Look at the errors value by value
#
# A histogram may come out right for a wrong reason. So compare the errors themselves: bias $\mathbb{E}[m(x') - z \mid
# z]$ and spread, by value of $z$, of the kernels and of the trained model's weaker round trip, whose errors stay local.
# For the logistic map we also compare with the **Lyapunov exponent** $\lambda(r)$ of notebook 01, the rate at which
# close trajectories part.

# %%


errors = {}
for name, task in three.items():
    shown = {kernel: seeds_of(landings, kernel, name, "unet") for kernel in ("tangent", "isotropic")}
    shown["round trip"] = seeds_of(weak, name, "unet")
    for kernel, group in shown.items():
        errors[name, kernel] = by_value(group, 20) / np.ptp(task.quantity.prior.support())
fig, axes = plt.subplots(2, 3, figsize=(12, 5.4), sharex="col")
for (name, kernel), found in errors.items():
    column, (colour, marker) = axes[:, list(three).index(name)], plotting.KERNELS[kernel]
    centres = three[name].quantity.prior.ppf((np.arange(20) + 0.5) / 20)
    for ax, by_seed in zip(column, np.swapaxes(found, 0, 1), strict=True):
        label = f"round trip, strength {local['unet']}" if kernel == "round trip" else kernel
        ax.plot(centres, by_seed.T, color=colour, lw=0.7, alpha=0.5)
        ax.plot(centres, by_seed.mean(axis=0), color=colour, marker=marker, ms=4, label=label)
for column, (name, task) in zip(axes.T, three.items(), strict=True):
    column[0].axhline(0, color="0.7", lw=0.8, zorder=0)
    column[0].set_title(name)
    column[1].set(yscale="log", ylim=(1e-4, 1), xlabel=task.quantity.label)
axes[0, 0].set_ylabel("bias / range of $z$")
axes[1, 0].set_ylabel("spread / range of $z$")
axes[0, 0].legend(fontsize=9)
run.save_figure(
    fig,
    "fig_02_by_value",
    data={f"{name}_{kernel.replace(' ', '_')}": found for (name, kernel), found in errors.items()},
    configs=[r.key for r in (*weak.values(), *landings.values())],
)
plt.show()

# %%
data = models["logistic", "unet", seed].training_set()
stretch = np.log(np.maximum(np.abs(data.z[:, None] * (1 - 2 * data.x[..., 0])), 1e-12)).mean(axis=1)
at = np.minimum((three["logistic"].quantity.prior.cdf(data.z) * 20).astype(int), 19)
exponent = [stretch[at == k].mean() for k in range(20)]
for kernel in ("tangent", "round trip", "isotropic"):
    bias, spread = np.mean(errors["logistic", kernel], axis=0)
    print(f"{kernel:10s} rank correlation with the Lyapunov exponent: bias {spearmanr(bias, exponent)[0]:+.2f}, "
          f"spread {spearmanr(spread, exponent)[0]:+.2f}")  # fmt: skip
both = list(zip(errors["logistic", "tangent"], errors["logistic", "round trip"], strict=True))
for part, name in enumerate(("bias", "spread")):
    alike = [np.array([np.corrcoef(one[part], other[part])[0, 1]]) for one, other in both]
    run.record_claim(f"C3.02.logistic_{name}_by_value", *intervals.bootstrap(np.mean, alike))

# %% [markdown]
# **What we see.** On the logistic map the tangent kernel's bias has the sign and about the size of the model's above
# 3.88: growth rates come out too low, by a tenth of the range. It misses the upward bias at the lowest $r$ and the
# downward one near 3.65, and its downward bias begins at 3.82, the model's at 3.88. Its spread grows with $r$, too, but
# is about two fifths of the model's below 3.8. Both rank with the Lyapunov exponent. So does the spread of isotropic
# errors, and the exponent itself rises with $r$: this does not show that chaos is the cause. On the cone the kernel's
# spread shrinks toward the tip, the model's hardly does, and near the tip the model pushes amplitudes up; the kernel
# does not. Isotropic errors, with the residual matched on the sine, spread $z$ about ten times too little on the
# logistic map and about 50 times too little on the other two.
#
# A warning belongs here. Bias by value does not prove drift: the exchange of section 4, with plentiful data, has bias
# at nearly every value and leaves $p$ unchanged, because what leaves a bin and what enters it balance. Only the
# transition as a whole forecasts the drift.

# %% [markdown]
# ## 9. Ask how much the neighbours can say
#
# Where the nearest other trajectory is far away, a model has to make up what lies between (one may call it
# *data-limited*). Where neighbours are close, it may smooth over them (*capacity-limited*). From data alone we can
# count how many trajectories are *alone*: no other within a tenth of their size. We vary the training set of the
# logistic map, the width of the network, and the training steps, with one seed.

# %%
varied = {name: trained[name] for name in variants}
tried = ("isotropic", "neighbour", "tangent", "round trip")
settings = {
    "isotropic": {"scale": numbers["unet"].scale},
    "neighbour": {"width": 0.0, "deviation": numbers["unet"].scale},
    "tangent": {"reach": reach["logistic"]},
}
probes = run.compute({
    (kernel, *name): round_trip(e, strength["unet"]) if kernel == "round trip" else Deviation(e, kernel, settings[kernel])
    for name, e in ((name, replace(e, samples=P.samples // 2)) for name, e in variants.items()) for kernel in tried
})  # fmt: skip
varied_drift = {name: assess([result]) for name, result in varied.items()}
varied_scores = {
    (kernel, *name): drift.score(forecast([probes[kernel, *name]]), varied_drift[name])
    for kernel in tried for name in variants
}  # fmt: skip


def limited_by_data(task, n):
    """Share of trajectories whose nearest other one is farther away than a tenth of their size."""
    x = task.sample(n, np.random.default_rng(SEED)).x
    references = kernels.References(x)
    some = x[:1000]
    near = references.data[references.nearest(some)]
    lengths = [np.linalg.norm((part / references.spread).reshape(len(some), -1), axis=1)
               for part in (some - near, some - x.mean(axis=(0, 1)))]  # fmt: skip
    return np.mean(lengths[0] > 0.1 * lengths[1])


limited = {name: [limited_by_data(task, n) for n in sizes] for name, task in three.items()}
fig, axes = plt.subplots(1, 4, figsize=(13, 3.6))
saved = {"sizes": sizes}
for ax, what, label in zip(
    axes,
    ("data", "width", "steps"),
    ("training trajectories", "width of the network", "training steps"),
    strict=False,
):
    values = [name[1] for name in variants if name[0] == what]
    for kernel in tried:
        colour, marker = plotting.KERNELS[kernel]
        found_scores = [varied_scores[kernel, what, value].correlation for value in values]
        plotting.plot_intervals(ax, values, found_scores, colour, marker, ls="-", label=kernel)
        saved[f"{what}_{kernel.replace(' ', '_')}"] = found_scores
    ceiling = [varied_scores["tangent", what, value].ceiling for value in values]
    ax.plot(values, ceiling, color="0.6", lw=1, ls=":", label="noise ceiling")
    ax.set_xscale("log")
    ax.set_xticks(values, [f"{value:,}" for value in values])
    ax.minorticks_off()
    ax.set(title="logistic", xlabel=label, ylim=(-0.05, 1.05))
    saved |= {what: values, f"{what}_tv": [varied_drift[what, value].tv for value in values]}
axes[0].set_ylabel("drift correlation")
for name, style in styles.items():
    axes[3].semilogx(sizes, limited[name], style, color="black", label=name)
    saved[f"{name}_limited"] = limited[name]
axes[3].set(
    title="from data alone", xlabel="training trajectories", ylabel="share that is alone", ylim=(-0.02, 1.02)
)
axes[3].set_xticks(sizes, [f"{n:,}" for n in sizes])
axes[3].minorticks_off()
axes[3].legend(fontsize=9)
axes[0].legend(fontsize=8, loc="lower right", ncols=2)
run.save_figure(
    fig,
    "fig_02_regimes",
    data=saved,
    configs=[r.key for r in (*varied.values(), *probes.values())],
    seeds=[SEED],
)
plt.show()

# %%
print("share of trajectories with no other within a tenth of their size, by size of the training set", sizes)
for name, shares in limited.items():
    print(f"  {name:9s}", np.round(shares, 2))
base = residual([varied["steps", steps]])
print(f"\n{'logistic map':15s} {'TV':>6s} {'residual':>9s}  " + " ".join(f"{kernel:>10s}" for kernel in tried)
      + "   best reach (skill)   by the rule (skill)")  # fmt: skip
for name, d in varied_drift.items():
    skills = [drift.skill(forecast([tangents["logistic", r]]), d.q, d.p).mean() for r in reaches]
    left = residual([varied[name]])
    ruled = int(np.argmin(np.abs(np.log(np.array(reaches) / (reach["logistic"] * left / base)))))
    told = " ".join(f"{varied_scores[kernel, *name].correlation.value:10.2f}" for kernel in tried)
    print(f"{name[0]:6s} {name[1]:8,d} {d.tv.value:6.3f} {left:9.4f}  {told}", end="")
    if variants[name].data == P.data:  # the sweep over reaches has this training set
        print(
            f"   {reaches[np.argmax(skills)]:8} ({max(skills):+.2f}) {reaches[ruled]:12} ({skills[ruled]:+.2f})",
            end="",
        )
    print()

# %% [markdown]
# **What we see.** The right panel needs no model. Most trajectories of the logistic map are alone, even among 200,000;
# on the sine and the cone hardly any is, from 20,000 on. In the table of section 5 the nearest neighbour forecasts on
# the logistic map only. Three tasks suggest, and do not prove: *if most trajectories are alone, the nearest neighbour
# is informative; if hardly any is, it says nothing*. To be alone is not to be limited by data: a hundred times the data
# leaves the drift of the logistic map where it was, while a wider network and longer training reduce it. We saw no
# crossover inside one task.
#
# Longer training reduces the drift. (Bars are the sampling of one seed.) The reach that was set without any model
# forecasts best after 2,600 steps, for which it was made, less well after 5,200 (0.87 and 0.78), less again after 650,
# where the drift has another shape (notebook 01), and not at all for the narrow network, whose typical trajectory is
# invalid. The round trip forecasts all of them. How should the reach follow the model? The last column takes it in
# proportion to the residual of the trained model (so it is no forecast before training). Only three rows test it: one
# hit, at the end of the grid (the rule asks for 0.6), and two misses by a factor of two, of which one turns a good
# forecast into a bad one. We do not use it. The question is open.

# %% [markdown]
# ## 10. Compare the cost of a forecast with that of training
#
# A forecast is worth making when it costs less than the training it spares. Times are as the store recorded them, one
# process of one thread each, two at a time on two cores; for the pilot its training counts.

# %%
e = models["logistic", "unet", seed]
training = e.seconds_of_training
data = e.training_set().x
kernel = kernels.IsotropicKernel(numbers["unet"].scale, data.std(axis=(0, 1)))
p = observed["logistic", "unet"].p
ratios = []
for _ in range(5):
    begun = time.perf_counter()
    induced = kernels.induced_transition(
        kernel, logistic.measure, data, logistic.quantity.bins(), np.random.default_rng(SEED)
    )
    kernels.forecast(p, induced.matrix, steps=8)
    ratios.append(training / (time.perf_counter() - begun))
run.record_claim("C5.02.isotropic_cheap", np.median(ratios), min(ratios), max(ratios), seeds=[SEED])
ratios = []
for s in run.seeds:
    landing = landings["pilot", "logistic", "unet", s]
    cost = landing.deviation.model.seconds_of_training + landing.arrays.meta["seconds"]
    ratios.append(models["logistic", "unet", s].seconds_of_training / cost)
run.record_claim("C5.02.pilot_cheap", np.median(ratios), min(ratios), max(ratios))
ratios = []
for s in run.seeds:
    cost = landings["tangent", "logistic", "unet", s].arrays.meta["seconds"]
    ratios.append(models["logistic", "unet", s].seconds_of_training / cost)
run.record_claim("C5.02.tangent_cheap", np.median(ratios), min(ratios), max(ratios))

# %% [markdown]
# **What we see.** The isotropic forecast is nearly free, and says little. The tangent kernel, the useful one, costs a
# small part of training for one reach; choosing among five takes five such runs. The pilot cannot be much cheaper than
# the tenth of the training that it takes. (The numbers $s$ and $a$ also need trained models of the calibration task,
# once for all tasks to come.)

# %% [markdown]
# ## What to take along
#
# - Errors that are right on average move a quantity: bias where the measurement is curved, blur nearly everywhere, and
#   a loss at the ends of the prior. For small errors derivatives give both, but not at a singular point.
# - What matters is the error *along* the data. A kernel with the right residual, which is the error across them,
#   forecasts little.
# - A trained model's round trip forecasts which values gain and lose, for four classes on three tasks; for the
#   diffusion models with velocity prediction about as well as a second sample of the model would. For these a weak
#   trip, whose errors are local, forecasts much of it. So local errors are a mechanism at work. They are not the only
#   one: on the cone the VAE's drift comes from new codes, not from its reconstructions.
# - Before training, steps between neighbours forecast which values gain and lose for the two diffusion models, on the
#   cone and the logistic map: for the U-Net with about nine tenths of the correlation of a second sample (the interval
#   is wide on the cone). How much they gain and lose is forecast less well, and other classes less well.
#
# **Limits.** The tangent kernel was made with the drift of these three tasks in view: its formula, its 5 % of
# neighbours, and the rule for its reach with the upper limit of a fifth. (We first set the reach by the size of the
# sine's drift. Once the noise of finite draws is taken off, that gives 0.4 or more, and fails on the logistic map.) So
# these tasks are no test of it; the maze and the pendulum, not looked at yet, will be. The strength of the round trip
# rests on small differences in skill: in an earlier run with half as many trajectories the same rule took 0.1, where
# the forecasts are weaker. The plain blur is set on the sine, too; a wider one, chosen in hindsight, would forecast the
# logistic map better, if still less well than the tangent kernel. The pilot is made cheap, with half the denoising
# steps and a quarter of the trajectories. What prediction types do was looked at on the logistic map only. Three seeds,
# one in the figures of sections 6, 7 and 9; small models.

# %%
run.finish()

# %% [markdown]
# ## Try it
#
# Move the `scale` of a kernel (the tangent kernel's reach; the isotropic one's standard deviation over that of the
# data) and the number of `times` that its transition is applied. Look for one setting that forecasts all tasks. Left:
# drift of the trained U-Net and forecast. Right: the forecast's scores; rings mark what the left panel shows.
#
# In the picture shown, a reach of 0.1 finds the loss of growth rates above 3.9 and part of the gain below. A second
# time carries it too far. Half the reach wants two to four times. Isotropic errors of 0.1, a scale found in
# hindsight, do nearly as well on this task. On the cone no isotropic scale does. (Forecasts start from the evenly
# spread trajectories of section 1, so they differ a little from those of section 5.)

# %%
from physmis.teaching import widgets as workshop

repeats = {"sine": 3, "cone": 8, "logistic": 8}  # the sine's measurement is slow
meant, intended, near = {}, {}, {}
# Neighbours once, as they do not depend on the reach; evenly spread trajectories make the forecast less noisy.
for name, (x, z) in sets.items():
    references, rng = kernels.References(x), np.random.default_rng(SEED)
    share = max(2, count // 20)
    order = references.in_blocks(lambda half, share=share: half.topk(share, largest=False).indices, x)
    rows = np.tile(np.arange(count), repeats[name])
    near[name] = x[order[rows, rng.integers(share, size=(3, len(rows)))]]
    meant[name], intended[name] = x[rows], z[rows]


def landed(name, kernel, scale):
    """m(x') of one draw for each of ``meant``, the same draw at all scales."""
    x, (x_i, x_j, x_k) = meant[name], near[name]
    spread, rng = x.std(axis=(0, 1)), np.random.default_rng(SEED)
    if kernel == "isotropic":
        return three[name].measure(kernels.IsotropicKernel(scale, spread).deviate(x, rng))

    def length(step):
        return np.linalg.norm(step / spread, axis=(1, 2), keepdims=True)

    longest = scale * length(x - x.mean(axis=(0, 1)))
    blur, pull = x_i - x_j, x_k - x
    step = blur / np.hypot(1, length(blur) / longest) + pull / (1 + (length(pull) / longest) ** 2)
    return three[name].measure(x + step)


def draw(task, kernel, scale, times):
    """Drift of the U-Net and its forecast, and how well each number of times forecasts."""
    d, ks = observed[task, "unet"], np.arange(1, 17)
    T = kernels.transition(intended[task], landed(task, kernel, scale), d.edges).matrix
    laws = [kernels.forecast(d.p, T, k) for k in ks]
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=(3, 2))
    plotting.plot_forecast(left, d.edges, d.p, d.q, {kernel: laws[times - 1][None]}, P.samples, "unet")
    unit = d.p.max()  # bins are equally wide: the axis is that of the observed drift, whatever is forecast
    largest = 1.7 * np.abs(d.q.mean(axis=0) - d.p)[1:-1].max() / unit
    left.set(
        title=f"{task}: {kernel} kernel, scale {scale:.3g}, $k$ = {times}", ylim=(-largest, largest),
        xlabel=three[task].quantity.label, ylabel="drift relative to the prior",
    )  # fmt: skip
    left.legend(fontsize=9, loc="lower center")
    colour, marker = plotting.KERNELS[kernel]
    for judge, style, label in (
        (drift.drift_correlation, "-", "drift correlation"),
        (drift.skill, ":", "skill"),
    ):
        values = [judge(law, d.q, d.p).mean() for law in laws]
        right.semilogx(ks, values, style, color=colour, marker=marker, ms=4, label=label)
        right.plot(times, values[times - 1], "o", ms=12, mfc="none", color="0.3")
    right.axhline(0, color="0.7", lw=0.9, zorder=0)
    right.set(xlabel="times applied $k$", ylabel="score (1 is perfect)", ylim=(-1, 1))
    right.set_xticks((1, 2, 4, 8, 16), ("1", "2", "4", "8", "16"))
    right.minorticks_off()
    right.legend(fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return fig


workshop.explore(
    draw,
    task=["logistic", "cone", "sine"],
    kernel=["tangent", "isotropic"],
    scale=(0.005, 0.405, 0.1),
    times=(1, 16, 1),
)

# %% [markdown]
# ## Exercises
#
# Replace the three dots, and run the cell: the check says what is off, not how to do it. Solutions are folded away.

# %% [markdown]
# ### Exercise 02.1: the kinetic energy of jitter
#
# A unit mass on a line is seen at $T$ times, $dt$ apart. From its positions $x$, shape `(T,)`, we measure the kinetic
# energy summed over the steps, $m(x) = \frac12 \sum_t \left((x_{t+1} - x_t)/dt\right)^2$. Each position gets an
# independent error of mean 0 and standard deviation $s$. What is the bias $\mathbb{E}[m(x')] - m(x)$? `answer` must
# be a function `answer(T, dt, s)` that returns it, one number.

# %%
answer = ...
workshop.check("02.1", answer)

# %% [markdown]
# <details><summary>Solution 02.1</summary>
#
# Each of the $T - 1$ squares has second derivative $1/dt^2$ at both of its ends, so $\mathrm{tr}\,H = 2(T-1)/dt^2$, and
# $b = \frac12 s^2\, \mathrm{tr}\,H$. This is exact, as $m$ is quadratic. Halve the time step of a motion: the energy
# at each step stays, and its bias is four times as large.
#
# ```python
# def answer(T, dt, s):
#     return (T - 1) * s**2 / dt**2
# ```
# </details>

# %% [markdown]
# ### Exercise 02.2: bias without drift
#
# Section 8 warns that bias by value does not prove drift. Make an example. Given any law $p$ over $n$ bins, all of them
# above 0, find a transition $T$ that leads only to the same bin or to the one next to it, takes at least a tenth of the
# mass to another bin, and forecasts no drift: $pT = p$. `answer` must be a function `answer(p)` of an array of shape
# `(n,)` that returns $T$, an array of shape `(n, n)`; `T[i, j]` is the probability of going from bin $i$ to bin $j$.

# %%
answer = ...
workshop.check("02.2", answer)

# %% [markdown]
# <details><summary>Solution 02.2</summary>
#
# As much mass must cross between two bins each way: $p_i T_{i,i+1} = p_{i+1} T_{i+1,i}$. Try a step to either side with
# probability a half each, and take it with probability $\min(1, p_j/p_i)$, as Metropolis does; then both sides are
# $\frac12 \min(p_i, p_{i+1})$. Other choices serve, too. The mean step of bin $i$ is in general not 0: it points to
# where $p$ is larger. The larger bin sends back as much, each of its trajectories moving less often.
#
# ```python
# import numpy as np
#
#
# def answer(p):
#     cross = np.minimum(p[1:], p[:-1]) / 2  # mass between neighbours, each way
#     T = np.diag(cross / p[:-1], 1) + np.diag(cross / p[1:], -1)
#     return T + np.diag(1 - T.sum(axis=1))
# ```
# </details>

# %% [markdown]
# ### Exercise 02.3: measure the growth rate with less drift (open-ended)
#
# Section 1 finds that errors make the growth rate of the logistic map come out too low. The measurement is ours to
# choose. Find another one that is exact on trajectories without errors (within $10^{-6}$), and that drifts less with
# isotropic errors of standard deviation 0.03: the Wasserstein-1 distance between the law of $m(x')$ and the prior of
# $r$, uniform on $[3.5, 4]$, must be at most two thirds of that of least squares. Values must still follow $r$: a
# correlation of 0.8 or more. `answer` must be a function `answer(x)` of trajectories of shape `(n, 32)` that returns
# their growth rates, shape `(n,)`, each from its own trajectory alone. Many measurements will do. How little drift
# can you reach?

# %%
answer = ...
workshop.check("02.3", answer)

# %% [markdown]
# <details><summary>Solution 02.3</summary>
#
# With $s = x_t (1 - x_t)$, least squares divides by $\sum s^2$, which errors make too large on average: $r$ comes out
# too low. The quotient of sums, $\sum x_{t+1} / \sum s$, divides by what errors make too small, as $\mathbb{E}[s'] =
# s - 0.03^2$: $r$ comes out too high, by about as much. Their mean has about half the drift of least squares; what is
# left is mostly blur. The median of the quotients $x_{t+1}/s$ serves as well.
#
# ```python
# import numpy as np
#
#
# def answer(x):
#     s, y = x[:, :-1] * (1 - x[:, :-1]), x[:, 1:]
#     return ((y * s).sum(axis=1) / (s * s).sum(axis=1) + y.sum(axis=1) / s.sum(axis=1)) / 2
# ```
# </details>
