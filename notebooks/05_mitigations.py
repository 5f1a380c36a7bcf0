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
# # Reduce the drift: weights, conditions, coordinates
#
# **Question.** What reduces the drift: weighting the data, conditioning the model on the quantity, or changing the
# coordinates that it sees? And can a kernel choose the coordinates before training?
#
# **You will** take the valid models of notebooks 01, 03 and 04, change one thing at a time, and measure how much drift is
# left. **You will learn** why weights cannot undo errors, what a model does with contradictory requests, and how a kernel
# ranks coordinates. **You need** notebook 01, and from notebook 02 what a kernel is.
#
# **Contents.** [1 Base](#1.-One-base-for-each-task) · [2 Weights](#2.-Weight-the-data) ·
# [3 Conditions](#3.-Condition-the-model-on-the-quantity) · [What gives way?](#What-gives-way?) ·
# [4 Coordinates](#4.-Change-the-coordinates) · [Try it](#Try-it:-the-power-of-a-norm) · [5 Side by side](#5.-Side-by-side) ·
# [Verdicts](#Verdicts) · [Exercises](#Exercises). Code that only prepares or draws is folded.
#
# This notebook accompanies *Mechanisms of Misgeneralization in Physical Sequence Modeling* (Nishi, Tang, Kumar, Park,
# Tanaka, 2026); all definitions and numbers are this companion's own. Claims examined: C8, *reweighting does not fix the
# drift; conditioning helps in simple cases, and is harder where distance, energy, endpoints and dynamics must agree*;
# C9, *a kernel-informed change of coordinates reduces it*.

# %% tags=["parameters"]
PROFILE = "standard"
SEED = 0
DEVICE = "auto"

# %% jupyter={"source_hidden": true} tags=["remove-cell"]
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("physmis") is None:
    if "PHYSMIS_REPOSITORY" not in os.environ:  # which is set on Colab: docs/install.md
        raise ModuleNotFoundError(
            "physmis is not installed here; choose .venv, or open this notebook by `make class`"
        )
    clone = ["git", "clone", "-q", "--depth", "1", os.environ["PHYSMIS_REPOSITORY"], "src/physmis"]
    install = [sys.executable, "-m", "pip", "install", "-q", "-e", "src/physmis[audit,maze]"]
    for command in (clone, install):
        subprocess.run(command, check=True)
    sys.path.insert(0, "src/physmis")

# %% jupyter={"source_hidden": true}
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import scipy.stats

import physmis
from physmis import drift, mitigations, tasks
from physmis.coordinates import Identity, NormPower
from physmis.coordinates.search import KernelCoordinates, candidates, condition_number, knows
from physmis.drift import intervals
from physmis.experiments.experiment import demonstrations, excerpt, own_values, training
from physmis.experiments.forecasts import (
    assess,
    base_experiment,
    excess_of_valid,
    over_seeds,
    request_errors,
    seeds_of,
    valid_share,
)
from physmis.experiments.kernel_draws import early_forecast, ranking
from physmis.kernels import IsotropicKernel
from physmis.mitigations import Conditioned, InCoordinates, Reweighted
from physmis.models import build
from physmis.paper import plotting

plotting.use_style()
run = physmis.start("05_mitigations", profile=PROFILE, seed=SEED, device=DEVICE)
P = run.profile

# %% [markdown]
# ## 1. One base for each task
#
# The *untreated* models are the MLPs of notebook 01 on cone, logistic map and sine, the planner of notebook 03, and the MLP
# of notebook 04, three seeds of each. A treated model has the same network, training steps and sampler. An *arm* is one
# treatment on one task, with all its seeds. Where the interval of its share of valid samples
# reaches below 0.9, an arm supports no claim and is drawn in grey.

# %%
TASKS = {name: tasks.load(name) for name in ("cone", "logistic", "sine", "maze", "pendulum")}
SEEDS = run.seeds[:3]
VALID = 0.9  # least share of valid samples of an arm that is tested
done, drifts, shares = {}, {}, {}


def arm(name, treatment=None, **changes):
    """One experiment a seed."""
    return [replace(base_experiment(P, name, seed), treatment=treatment, **changes) for seed in SEEDS]


def claim(paper, name, what, interval):
    """Record a test on a task, of a claim of the paper."""
    run.record_claim(f"{paper}.05.{name}_{what}", *interval, seeds=SEEDS)


def train(arms):
    """Train arms {(task, way): experiments}; what comes out goes to ``done``, ``drifts`` and ``shares``."""
    results = run.compute({(*key, e.seed): e for key, group in arms.items() for e in group})
    for key in arms:
        done[key] = seeds_of(results, *key)
        drifts[key], shares[key] = assess(done[key]), valid_share(done[key])
        print(f"{', '.join(key):28s} valid {shares[key]}, excess drift {drifts[key].excess}")


train({(name, "untreated"): arm(name) for name in TASKS})

# %% [markdown]
# The **excess drift** $e$ is the total variation above its sampling floor, and the **share left** is $R = e_\text{after} /
# e_\text{before}$: 0 if all drift is gone, 1 if none is. For its interval,
# $e_\text{after} - R\,e_\text{before}$ is resampled, and divided by the measured $e_\text{before}$. Preconditions are an untreated model that
# drifts, and two valid arms.


# %% jupyter={"source_hidden": true}
def least_valid(name, way):
    """The share of valid samples of the untreated arm or of another, whichever has fewer."""
    return min(shares[name, "untreated"], shares[name, way], key=lambda share: share.low)


def tested(*key):
    """Whether enough samples of an arm are valid."""
    return shares[key].low >= VALID


def keys(*ways):
    """Where the results of arms stand in the store."""
    return [result.key for (_, way), results in done.items() if way in ways for result in results]


for name in TASKS:
    claim("C8", name, "untreated_valid", shares[name, "untreated"])
    claim("C8", name, "untreated_drifts", drifts[name, "untreated"].excess)

# %% [markdown]
# ## 2. Weight the data
#
# *Naive* weights are $w(z) = p(z) / q(z)$, with $q$ from the untreated models: values that these make too rarely occur
# more often in training. The simple alternative is to **resample the output**: keep each sample of the untreated model with
# a probability proportional to $p(z) / q(z)$, where $q$ is estimated on one half of the samples and the other half is
# resampled. Resampling needs the measurement at run time and more samples; uneven weights lower the
# effective sample size, $(\sum w)^2 / \sum w^2$.

# %%
weights, RESAMPLED, drawn = {}, {}, {}
for name in TASKS:
    found, results = drifts[name, "untreated"], done[name, "untreated"]
    p, edges, n = found.p, found.edges, results[0].experiment.samples
    q = (found.q.mean(axis=0) * n + 0.5) / (n + 0.5 * len(p))  # half a sample more in each bin: none is empty
    weights[name] = mitigations.inverse_drift_weights(p, q).round(6)
    made = [
        mitigations.resample_output(r.z, p, edges, np.random.default_rng(r.experiment.seed)) for r in results
    ]
    n, drawn[name] = min(len(z) for z, _ in made), np.mean([cost for _, cost in made])
    RESAMPLED[name] = drift.assess([z[:n] for z, _ in made], found.prior, edges, results[0].experiment.data)
effective = {name: 1 / np.sum(drifts[name, "untreated"].p * w**2) for name, w in weights.items()}

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True)
panels = {"effective share of the data\nunder naive weights": (effective, "reweighted"),
          "samples drawn for each\nsample kept by resampling": (drawn, "mlp")}  # fmt: skip
for ax, (label, (found, way)) in zip(axes, panels.items(), strict=True):
    ax.barh(list(found), list(found.values()), color=plotting.COLOURS[way], height=0.6)
    ax.set_xlabel(label)
axes[0].invert_yaxis()
saved = {"effective": list(effective.values()), "drawn": list(drawn.values())}
run.save_figure(fig, "fig_05_cost", data=saved, configs=keys("untreated"))
plt.show()

# %%
train({(name, "reweighted"): arm(name, Reweighted(tuple(w))) for name, w in weights.items()})
for name in TASKS:
    before = drifts[name, "untreated"]
    claim("C8", name, "reweighted_valid", least_valid(name, "reweighted"))
    claim("C8", name, "reweighted_left", drifts[name, "reweighted"].left_of(before))
    claim("C8", name, "resampled_left", RESAMPLED[name].left_of(before))

# %% [markdown]
# **What we see.** Naive weights leave more than half of the drift on the logistic map. On cone and sine the interval is too
# wide to tell, and in maze and pendulum too few weighted samples are surely valid. By an estimate even the best weights leave
# about half of the drift or more; on the logistic map such weights left three fifths (notebook 08). Errors blur any source, and
# weights, which are not negative, cannot undo a blur. Resampling the output leaves far less than weights on logistic map and
# pendulum; elsewhere its interval is wide. It draws up to five samples for each one kept; weights keep seven tenths of the
# data or more.
#
# ## 3. Condition the model on the quantity
#
# The network gets $z$ as an input beside the noise level. In sampling, the requested values are drawn from the prior: a model
# that follows each request has no drift. On cone, logistic map and sine nothing else is given. The planner is conditioned on
# the travel distance *beside* its start and goal; for the pendulum we train a *continuation*, which is given the first state
# beside the energy. There a request can contradict what is given.

# %%
sizes = arm("pendulum")[0].model.config() | {"name": "continuation"}
conditioned = {(name, "conditioned"): arm(name, Conditioned()) for name in TASKS if name != "pendulum"}
conditioned["pendulum", "conditioned"] = arm("pendulum", Conditioned(), model=build(**sizes))
train(conditioned)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(2, 5, figsize=(15, 6), sharex="col", height_ratios=(1.4, 1))
saved = {}
for (cloud, ax), (name, task) in zip(axes.T, TASKS.items(), strict=True):
    results, quantity = done[name, "conditioned"], task.quantity
    low, high = quantity.prior.support()
    colour = plotting.COLOURS["conditioned" if tested(name, "conditioned") else "prior"]
    some, found = np.stack([results[0].requested, results[0].z])[:, :2000], request_errors(results, 12)
    bias, spread = found.mean(axis=0)
    saved |= {f"{name}_values": some, f"{name}_bias_and_spread": found}
    cloud.plot(*some, ".", color=colour, ms=3, alpha=0.4, mec="none", rasterized=True)
    cloud.plot([low, high], [low, high], color="0.2", lw=1)
    margin = 0.15 * (high - low)
    share = shares[name, "conditioned"].value
    cloud.set(title=f"{name}: {share:.0%} valid", ylim=(low - margin, high + margin))
    centres = quantity.prior.ppf((np.arange(12) + 0.5) / 12)
    ax.fill_between(centres, bias - spread, bias + spread, color=colour, alpha=0.2, lw=0)
    ax.plot(centres, bias, color=colour, marker="s", ms=4)
    ax.axhline(0, color="0.2", lw=0.8)
    ax.set_xlabel("requested " + quantity.label.replace(" $", "\n$"))
axes[0, 0].set_ylabel("recovered value")
axes[1, 0].set_ylabel("recovered minus requested:\nmean and spread")
run.save_figure(fig, "fig_05_conditioning", data=saved, configs=keys("conditioned"))
plt.show()


# %% jupyter={"source_hidden": true}
def unevenness(rows):
    """Mean absolute bias of (requested, recovered) over twelfths of the requested range."""
    at = np.minimum((scipy.stats.rankdata(rows[:, 0]) - 1) * 12 // len(rows), 11).astype(int)
    sums = np.bincount(at, rows[:, 1] - rows[:, 0], minlength=12)
    return np.abs(sums / np.bincount(at, minlength=12)).mean()


for name, task in TASKS.items():
    pairs = [np.stack([r.requested, r.z], axis=1) for r in done[name, "conditioned"]]
    reach = np.ptp(task.quantity.prior.support())
    claim("C8", name, "conditioned_valid", least_valid(name, "conditioned"))
    slope = intervals.bootstrap(lambda rows: np.polyfit(*rows.T, 1)[0], pairs)
    claim("C8", name, "conditioned_slope", slope)
    bias = intervals.bootstrap(unevenness, pairs)
    claim("C8", name, "conditioned_bias", [end / reach for end in bias])
    if name != "pendulum":
        claim("C8", name, "conditioned_left", drifts[name, "conditioned"].left_of(drifts[name, "untreated"]))

# %% [markdown]
# **What we see.** On cone and sine the mean bias is about a thousandth of the range or less, and no drift is left within the
# interval: conditioning helps in simple cases. On the logistic map the recovered growth rates are too low, most where the
# chaos is strongest, and more than half of the drift is left. Where a request may contradict what is given (grey), values
# are pulled to the middle of the range, and too many samples are invalid.
#
# ### What gives way?
#
# The given steps come from a training trajectory, which has its *own* distance or energy. A valid sample *meets* the request
# if the recovered value is within 5 % of the range of it. The request is *overruled* if the recovered value is instead within
# 5 % of the own value; all other valid samples meet *neither*.


# %%
gone = {}
given = {
    (name, r.experiment.seed): own_values(r.experiment)
    for name in ("maze", "pendulum")
    for r in done[name, "conditioned"]
}
own = run.compute(given)
for name in ("maze", "pendulum"):
    reach, gone[name] = np.ptp(TASKS[name].quantity.prior.support()), []
    for r, z in zip(done[name, "conditioned"], seeds_of(own, name), strict=True):
        met = (np.abs(r.z - r.requested) < 0.05 * reach) & r.valid
        kept = (np.abs(r.z - z) < 0.05 * reach) & r.valid & ~met
        parts = (np.abs(r.requested - z) / reach, met, kept, r.valid & ~met & ~kept, ~r.valid)
        gone[name].append(np.column_stack(parts))
    thirds = np.quantile(np.concatenate(gone[name])[:, 0], (1 / 3, 2 / 3))
    falls = intervals.bootstrap(
        lambda rows, ends=thirds: (
            rows[rows[:, 0] > ends[1], 1].mean() - rows[rows[:, 0] <= ends[0], 1].mean()
        ),
        gone[name],
    )
    claim("C8", name, "agreeing_valid", over_seeds(lambda rows: 1 - rows[rows[:, 0] < 0.05, 4], gone[name]))
    claim("C8", name, "requests_fall", falls)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
saved, edges = {}, np.linspace(0, 0.8, 9)
outcomes = {"met": (plotting.COLOURS["conditioned"], "-"), "overruled": ("black", "-"), "neither": ("0.35", "--"),
            "not valid": (plotting.COLOURS["invalid"], "-")}  # fmt: skip
for ax, (name, groups) in zip(axes, gone.items(), strict=True):
    for k, (outcome, (colour, dashes)) in enumerate(outcomes.items(), start=1):
        by_distance = [
            over_seeds(lambda rows, a=a, b=b, k=k: rows[(rows[:, 0] >= a) & (rows[:, 0] < b), k], groups)
            for a, b in zip(edges[:-1], edges[1:], strict=True)
        ]
        saved[plotting.array_name(name, outcome)] = by_distance
        centres = (edges[1:] + edges[:-1]) / 2
        plotting.plot_intervals(ax, centres, by_distance, colour, "o^sx"[k - 1], label=outcome, ls=dashes)
    ax.set(title=f"{name}: {TASKS[name].quantity.name}", ylim=(-0.02, 1.02))
    ax.set_xlabel("|requested − own value| / range")
axes[0].set_ylabel("share of samples")
axes[0].legend()
run.save_figure(fig, "fig_05_compatibility", data=saved, configs=keys("conditioned"))
plt.show()

# %% [markdown]
# **What we see.** Requests near the own value are mostly met. Farther off, the planner first makes valid plans that
# meet neither value; then its plans hit walls or need impossible accelerations. The first state of the pendulum fixes
# the energy, so no valid sample can meet another request: nearby, many are overruled; farther off, the samples violate the
# equations of motion.
#
# ## 4. Change the coordinates
#
# The model sees $y = \varphi(x)$, an invertible map of each trajectory, and its samples are mapped back; it stays
# unconditional. Errors in $y$ become other errors in $x$: if $y$ amplifies quick changes, for example, the inverse shrinks
# quick errors. The 24 **candidates** of each task are drawn at random from families, with random $g, s, a, b$:
#
# | family | $y$ |
# |---|---|
# | pre-emphasis | $x_t - g\,(x_{t+1} - 2 x_t + x_{t-1})$ and powers of it, ends kept: the only family for the planner, which is given them |
# | filter | frequency $k$ over time, times $(1 + k)^s$ |
# | increments | the first step, then changes from step to step, scaled |
# | norm power | $x\,\lvert x \rvert^{a-1}$, with the norm of the whole trajectory |
# | warp | each value part of the way to a Gaussian |
# | innovations | what a quadratic fit of $x_{t+1}$ to $x_t$ leaves, scaled |
# | norm warp, energy warp | $x$ enlarged until its norm, or the pendulum's energy, is spread like the norm of a Gaussian |
# | ratios | $x_t / (u^a (1 - u)^b)$, $u = x_{t-1}$ in units of its range |
#
# A third of them compose two such maps. **The rule** was fixed before any candidate was trained. The *frozen kernel* perturbs
# $y$: its kind and size are those that notebook 02 finds by a short training of seed 0, in the data's own coordinates. Among
# the candidates that keep as many perturbed trajectories valid as the data's own coordinates, within 0.02, we choose the one
# with the least forecast drift.

# %%
ROWS = 2048  # trajectories that the kernel perturbs
frozen = run.compute({name: early_forecast(arm(name)[0]) for name in TASKS})
some = run.compute({"maze": excerpt(demonstrations(TASKS["maze"], 0), range(64))})["maze"]
CANDIDATES, DATA = {}, {}
for name, task in TASKS.items():
    DATA[name] = some if name == "maze" else task.sample(ROWS, np.random.default_rng(SEED)).x
    kept, rng = arm(name)[0].model.given, np.random.default_rng([SEED, 24])
    CANDIDATES[name] = {"own": Identity()} | candidates(DATA[name], 24, rng, kept, task)


def ranked(name, *kernel):
    """A job for the drift that a kernel forecasts in each of a task's candidates."""
    return ranking(arm(name)[0], CANDIDATES[name], *kernel)


ranks = run.compute({name: ranked(name, f.kernel, f.size, ROWS) for name, f in frozen.items()})


def choose(name, among=True):
    """The rule: the candidate with the least forecast drift, of those ``among`` which it stays valid in."""
    forecast, valid = (ranks[name].arrays[key] for key in ("drift", "valid"))
    return list(CANDIDATES[name])[np.argmin(np.where(among & (valid >= valid[0] - 0.02), forecast, np.inf))]


CHOSEN = {name: choose(name) for name in TASKS}
for name, label in CHOSEN.items():
    forecast = dict(zip(CANDIDATES[name], ranks[name].arrays["drift"], strict=True))
    print(f"{name:9s} {frozen[name].kernel} of size {frozen[name].size:.3f}: forecast drift {forecast['own']:.3f} in the data's "
          f"own coordinates, {forecast[label]:.3f} in the chosen ones (number and kind: {label})")  # fmt: skip

# %% [markdown]
# ### Try it: the power of a norm
#
# Move the power of the norm, $y = x\,|x|^{a-1}$, and the size of isotropic errors in $y$. **Predict** first: which power
# drifts least, and does it depend on the size of the errors?

# %% jupyter={"source_hidden": true}
from physmis.teaching import check, explore

POWERS, some = np.linspace(0.2, 2.2, 11), TASKS["cone"].sample(4096, np.random.default_rng(SEED)).x


def draw(power, error_size):
    """Amplitudes that come back, and forecast drift by power."""
    cone, found = TASKS["cone"], {}
    for p in (1.0, power, *POWERS):
        found[p] = KernelCoordinates.of(
            NormPower(p), some, cone.measure, lambda y: IsotropicKernel(error_size, y.std(axis=(0, 1)))
        )
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    bins = cone.quantity.bins()[1:-1]
    for p in (1.0, power):
        left.hist(found[p].z_perturbed, bins, density=True, histtype="step", label=f"power {p:.2f}")
    left.set(xlabel=cone.quantity.label, ylabel="density")
    left.legend(fontsize=8)
    right.plot(POWERS, [found[p].drift for p in POWERS], power, found[power].drift, "o")
    right.set(xlabel="power of the norm", ylabel="forecast drift (TV)", ylim=(0, None))
    return fig


# %%
explore(draw, power=(0.2, 2.2, 2.0), error_size=(0.005, 0.105, 0.03))

# %% [markdown]
# <details><summary>What you see</summary>
#
# The best power falls as errors grow, from above 1 for the smallest to near 0.6 for the largest. A high power crowds small
# amplitudes together, a low one large amplitudes, and where amplitudes are crowded the same error moves them farther.
# Exercise 05.2 asks for the power at which all amplitudes have the same bias.
# </details>

# %% [markdown]
# Does the forecast rank candidates as training does? We train a model in each candidate, for a quarter of the steps on the
# cone and a half on the logistic map, with a seed on which no choice was made. As controls, two other kernels rank them, too:
# the same kind at four times the size, and the other kind (tangent or isotropic) at the size that forecasts the same drift in
# the data's own coordinates.

# %%
SHORT = {"cone": 4, "logistic": 2}  # share of the training steps: one over this
trials, others = {}, {}
for name, share in SHORT.items():
    e, f = replace(base_experiment(P, name, SEED + 5), samples=P.samples // 2), frozen[name]
    e = replace(e, model=replace(e.model, steps=max(1, e.model.steps // share)))
    for label, one in CANDIDATES[name].items():
        trials[name, label] = e if label == "own" else replace(e, treatment=InCoordinates(one))
    other = "isotropic" if f.kernel == "tangent" else "tangent"
    others[name, "wrong_size"] = ranked(name, f.kernel, 4 * f.size, ROWS)
    others[name, "wrong_kernel"] = ranked(name, other, None, ROWS, float(ranks[name].arrays["drift"][0]))
trials, others = run.compute(trials), run.compute(others)


def rank_correlation(rows):
    """Spearman's, of two columns; 0 where one is constant."""
    a, b = scipy.stats.rankdata(rows, axis=0).T
    return np.corrcoef(a, b)[0, 1] if np.ptp(a) * np.ptp(b) > 0 else 0.0


def agreement(forecast, trained):
    """Rank correlation over candidates, with its interval; nothing is known of fewer than four."""
    if len(trained) < 4:
        return intervals.Interval(0.0, -1.0, 1.0)
    found = intervals.bootstrap(rank_correlation, [np.column_stack([forecast, trained])])
    return intervals.Interval(*np.clip(found, -1, 1))


# %%
alone, two, drawn_of = {"seeds": [SEED + 5]}, {}, {}
for name in SHORT:
    results = [trials[name, label] for label in CANDIDATES[name]]
    trained, forecast = [assess([r]).excess for r in results], ranks[name].arrays["drift"]
    value = np.array([excess.value for excess in trained])
    valid = np.array([valid_share([r]).low >= VALID for r in results])
    contain = np.array([knows(one, TASKS[name]) for one in CANDIDATES[name].values()])
    drawn_of[name] = {"forecast": forecast, "trained": trained, "valid": valid, "contain": contain}
    run.record_claim(f"C9.05.{name}_ranked_valid", *[valid[1:].sum()] * 3, **alone)
    worse = np.maximum(forecast, others[name, "wrong_kernel"].arrays["drift"])
    two[name] = InCoordinates(list(CANDIDATES[name].values())[int(np.argmin(worse))])
    for kind, by, rows in (
        ("ranking", forecast, valid),
        ("wrong_size", others[name, "wrong_size"].arrays["drift"], valid),
        ("wrong_kernel", others[name, "wrong_kernel"].arrays["drift"], valid),
        ("two_kernels_ranking", worse, valid),
        ("without_quantity", forecast, valid & ~contain),
    ):
        run.record_claim(f"C9.05.{name}_{kind}", *agreement(by[rows], value[rows]), **alone)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 2, figsize=(10, 4))
for ax, (name, found) in zip(axes, drawn_of.items(), strict=True):
    labels = list(CANDIDATES[name])
    for k, (x, bar, valid, contain) in enumerate(zip(*found.values(), strict=True)):
        colour = plotting.COLOURS["in coordinates" if valid else "invalid"]
        marker = "*" if labels[k] == CHOSEN[name] else "X" if k == 0 else "o"
        face = "white" if marker == "o" and not contain else colour
        plotting.plot_intervals(
            ax, [x], [bar], colour, marker, mfc=face, ms={"*": 13, "X": 8, "o": 6}[marker]
        )
    ax.set(title=f"{name}, 1/{SHORT[name]} of the training", xlabel="forecast drift, before training")
    ax.set(xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(plt.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
axes[0].set_ylabel("excess drift after training")
saved = {f"{name}_{part}": values for name, found in drawn_of.items() for part, values in found.items()}
run.save_figure(fig, "fig_05_ranking", data=saved, configs=[r.key for r in trials.values()], **alone)
plt.show()

# %% [markdown]
# **What we see.** The frozen kernel does not rank valid candidates on the cone, and on the logistic map too few candidates are
# valid for a test. (Star: chosen, the least forecast of those that the kernel keeps valid; cross: the data's own coordinates;
# grey: not valid; hollow: maps that do not use the quantity.) The largest forecasts belong to coordinates that drift most, but
# a small one is no promise: one of the cone's smallest forecasts belongs to a large drift. A tangent kernel perturbs along the
# data only and says nothing of errors across them. The larger of the tangent and the isotropic forecast is least for a norm
# warp of the cone, which also drifts least after training.
#
# Now the chosen candidates are trained in full, and two other choices that were made after seeing results. *Two kernels*: on
# cone and logistic map, the candidate for which the larger of both forecasts is least. *Well-conditioned*: the rule again,
# among the candidates whose condition number, the largest over the least enlargement of an error of $y$, is at most ten. Where
# that chooses the same candidate nothing is trained twice.

# %%
chosen = {name: InCoordinates(CANDIDATES[name][CHOSEN[name]]) for name in TASKS}
train({(name, "in coordinates"): arm(name, treatment) for name, treatment in chosen.items()})
train({(name, "two kernels"): arm(name, treatment) for name, treatment in two.items()})
calm = {}
for name, found in CANDIDATES.items():
    even = {label: condition_number(one, DATA[name]) for label, one in found.items()}
    label = choose(name, np.array(list(even.values())) <= 10)
    print(
        f"{name:9s} condition number {even[CHOSEN[name]]:.3g} of {CHOSEN[name]}, {even[label]:.3g} of {label}"
    )
    if label != CHOSEN[name]:
        calm[name] = InCoordinates(found[label])
train({(name, "well-conditioned"): arm(name, treatment) for name, treatment in calm.items()})

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(2, 5, figsize=(15, 6.2), sharex="col")
saved = {}
for column, (name, task) in zip(axes.T, TASKS.items(), strict=True):
    for ax, way in zip(column, ("reweighted", "in coordinates"), strict=True):
        found, before = drifts[name, way], drifts[name, "untreated"].q
        density = plotting.relative_density(found.edges, found.p, before.mean(axis=0))
        ax.stairs(density, found.edges[1:-1], color=plotting.COLOURS["untreated"], ls="--", label="untreated")
        n = done[name, way][0].experiment.samples
        plotting.plot_recovered(ax, found.edges, found.p, found.q, n, way if tested(name, way) else "invalid")
        ax.set_title(f"{name}: {shares[name, way].value:.0%} valid")
        for part, values in (("p", found.p), ("q", found.q), ("untreated", before)):
            saved[plotting.array_name(name, way, part)] = values
    column[1].set_xlabel(task.quantity.label)
for ax, way in zip(axes[:, 0], ("naive weights", "chosen coordinates"), strict=True):
    ax.set_ylabel(way + "\ndensity / prior density")
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
run.save_figure(
    fig,
    "fig_05_distributions",
    data=saved,
    configs=keys("untreated", "reweighted", "in coordinates"),
)
plt.show()

# %%
for name in TASKS:
    before, after = drifts[name, "untreated"], drifts[name, "in coordinates"]
    claim("C9", name, "coordinates_valid", least_valid(name, "in coordinates"))
    pairs = [
        np.stack([b.valid, a.valid], axis=1)
        for a, b in zip(done[name, "in coordinates"], done[name, "untreated"], strict=True)
    ]
    gain = intervals.bootstrap(lambda rows: np.mean(rows[:, 1]) - np.mean(rows[:, 0]), pairs)
    claim("C9", name, "as_valid", gain)
    claim("C9", name, "coordinates_left", after.left_of(before))
    claim("C9", name, "more_than_weights", after.minus(drifts[name, "reweighted"]))
for name in two:
    claim("C9", name, "two_kernels_valid", least_valid(name, "two kernels"))
    claim("C9", name, "two_kernels_left", drifts[name, "two kernels"].left_of(drifts[name, "untreated"]))
CALM = {
    name: "well-conditioned" if name in calm else "in coordinates" for name in ("sine", "maze", "pendulum")
}
for name, way in CALM.items():
    claim("C9", name, "well_conditioned_valid", least_valid(name, way))
    claim("C9", name, "well_conditioned_left", drifts[name, way].left_of(drifts[name, "untreated"]))
    before, after = (excess_of_valid(done[name, one]) for one in ("untreated", way))
    print(f"  excess drift of its valid samples alone: {before} untreated, {after} here")


def lengths(way):
    """Of each plan: its length, and that of its own demonstration."""
    own = run.compute({r.experiment.seed: own_values(r.experiment) for r in done["maze", way]})
    return [np.stack([r.z, z], axis=1) for r, z in zip(done["maze", way], own.values(), strict=True)]


both = [np.hstack(pair) for pair in zip(lengths(CALM["maze"]), lengths("untreated"), strict=True)]
claim("C9", "maze", "well_conditioned_length", intervals.bootstrap(
    lambda rows: (rows[:, 0] - rows[:, 1]).mean() / (rows[:, 2] - rows[:, 3]).mean(), both
))  # fmt: skip

# %% [markdown]
# **What we see.** The rule fixed in advance does not reduce the drift: on cone, logistic map and sine none of its primary tests
# is reproduced, and in maze and pendulum too few samples are valid for a test. The kernel did not foresee that. Its choices
# there enlarge some errors a hundred times as much as others, or more (condition number); but so does its choice on the
# logistic map, whose samples are more valid than before. So that alone is not why.
#
# Coordinates that help are among the candidates. Well-conditioned ones leave the pendulum a tenth of its drift; but as one
# motion in eight is invalid, it counts as not tested; valid motions alone keep half of their drift. In the maze they make
# more plans valid and halve the excess length of the plans, but the distances drift as before. Two kernels choose coordinates
# that remove about half of the drift of the cone, with a wide interval; on the logistic map they choose what the rule chose.
# Both choices were made after seeing results of earlier models, so they have to be tested on other tasks. Naive weights (upper
# row) overshoot on cone and logistic map: too much mass lies just below the upper end, and too little in the middle.
#
# ## 5. Side by side
#
# A treatment that removes drift by making invalid samples has not helped: look for arms below the untreated one and not to the
# left of it.

# %%
WAYS = {"untreated": "X", "reweighted": "s", "conditioned": "D", "in coordinates": "o", "two kernels": "^",
        "well-conditioned": "v"}  # fmt: skip
fig, axes = plt.subplots(1, 5, figsize=(15, 3.6))
saved = {}
for ax, name in zip(axes, TASKS, strict=True):
    for way, marker in WAYS.items():
        if (name, way) == ("pendulum", "conditioned") or (name, way) not in drifts:
            continue  # the base of the conditioned pendulum is another one, which is given a state
        x, y = shares[name, way], drifts[name, way].excess
        saved[plotting.array_name(name, way)] = x, y
        known = way if way in plotting.COLOURS else "in coordinates"  # the choices differ by their markers
        colour = plotting.COLOURS[known if tested(name, way) else "invalid"]
        bars = {k: [[v.value - v.low], [v.high - v.value]] for k, v in (("xerr", x), ("yerr", y))}
        ax.errorbar(
            x.value, y.value, **bars, color=colour, marker=marker, ms=7, capsize=2, lw=1, ls="", label=way
        )
    ax.axhline(0, color="0.6", lw=0.8)
    ax.axvline(VALID, color="0.6", lw=0.8, ls=":")
    ax.set(title=name, xlabel="share of valid samples")
    ax.locator_params(axis="x", nbins=4)
axes[0].set_ylabel("excess drift (total variation)")
handles = {
    label: line for ax in axes[::-1] for line, label in zip(*ax.get_legend_handles_labels(), strict=True)
}
fig.legend([handles[way] for way in WAYS], WAYS, loc="outside lower center", ncols=6)
run.save_figure(fig, "fig_05_pareto", data=saved, configs=keys(*WAYS))
plt.show()

# %% jupyter={"source_hidden": true}
jobs = {(name, e.seed): training(e) for name in TASKS for e in arm(name, chosen[name])}
seconds = {key: entry.meta["seconds"] for key, entry in run.compute(jobs).items()}
cost = {name: ranks[name].meta["seconds"] / sum(seeds_of(seconds, name)) for name in TASKS}
run.record_claim("C9.05.choosing_cost", max(cost.values()), min(cost.values()), max(cost.values()))

# %% [markdown]
# **What we see.** Conditioning goes furthest down on cone, logistic map (and there a little to the left) and sine. The
# pendulum's coordinates go down and left, well-conditioned ones furthest down, so whether they help is not tested. Choosing
# coordinates costs less than a twentieth of the training in them.
#
# ## Verdicts
#
# `run.finish` prints the verdict on each claim. Three things to take along:
#
# - Weights change the distribution that a model is trained on, not its errors.
# - A conditioned model is judged by slope, bias and spread; where the request contradicts what is given, by validity, too.
# - Coordinates change the errors themselves. A large forecast drift warns of bad ones; a small one does not find the best.
#
# **Limits.** Few seeds, one class of model for each task, and a few families of coordinates.

# %%
run.finish()

# %% [markdown]
# ## Exercises
#
# ### Exercise 05.1: half of the data
#
# Amplitudes are uniform between 0 and 1. Weights $w(a) \propto a^k$ with $k > 0$ make small ones rare. For which $k$ is
# the effective sample size $(\sum w)^2 / \sum w^2$ of many weighted amplitudes half of their number? `answer` is a number,
# to two decimals.

# %%
answer = ...
check("05.1", answer)

# %% [markdown]
# <details><summary>Solution 05.1</summary>
#
# The mean of $a^k$ is $1/(k+1)$, that of its square $1/(2k+1)$; so the effective share is $(2k+1)/(k+1)^2$. It is a half
# where $k^2 - 2k - 1 = 0$, and only one root is above 0.
#
# ```python
# import numpy as np
#
# answer = 1 + np.sqrt(2)
# ```
# </details>

# %% [markdown]
# ### Exercise 05.2: the bias of a norm in other coordinates
#
# A trajectory $x$ has $d \ge 2$ numbers in all (steps times channels), and amplitude $a = |x| > 0$. A model sees
# $y = x\,|x|^{p-1}$ and makes independent normal errors of mean 0 and standard deviation $\sigma$ in each number of
# $y$. The perturbed $y'$ is mapped back and measured. By how much does its mean amplitude exceed $a$, to second order in
# $\sigma$? `answer` is a function `answer(a, power, sigma, d)` of an array `a` of shape (n,) and three numbers, which
# returns an array of shape (n,). For which power do all amplitudes have the same bias?

# %%
answer = ...
check("05.2", answer)

# %% [markdown]
# <details><summary>Solution 05.2</summary>
#
# The amplitude after mapping back is $|y'|^s$, $s = 1/p$. The bias is $\sigma^2/2$ times the Laplacian of $|y|^s$ in $d$
# dimensions, $s\,(s + d - 2)\,|y|^{s-2}$, at $|y| = a^p$. It is proportional to $a^{1-2p}$: the same for all amplitudes
# at $p = 1/2$, and largest for the smallest amplitudes at a higher power.
#
# ```python
# import numpy as np
#
#
# def answer(a, power, sigma, d):
#     s = 1 / power
#     return sigma**2 / 2 * s * (s + d - 2) * np.asarray(a) ** (1 - 2 * power)
# ```
# </details>

# %% [markdown]
# ### Exercise 05.3: coordinates for paths
#
# `smooth_paths(n, rng)` in `physmis.teaching.exercises` makes smooth paths in the plane, an array of shape (n, 64, 2) in
# metres, whose lengths are uniform between 5 and 10 m. Isotropic errors of 0.05 standard deviations of each channel (over
# paths and steps) make them too long. Find coordinates in which errors of 0.05 standard deviations of each channel *of y*
# leave at most a quarter of that drift (total variation between the lengths before and after, over bins of 0.2 m). The
# distance of perturbed paths from the original ones (root mean square over the steps, mean over the paths) must also fall to
# three quarters or less. `answer` is a pair of functions `(transform, inverse)`; both take and return arrays of shape
# (n, 64, 2), for any n, and `inverse` undoes `transform` within 0.00001 m.

# %%
answer = ...
check("05.3", answer)

# %% [markdown]
# <details><summary>Solution 05.3</summary>
#
# A length adds up steps, so quick errors count most. Amplify high frequencies in $y$: the inverse attenuates them, and the
# errors with them.
#
# ```python
# import numpy as np
#
# GAIN = 1.0 + np.arange(33)[:, None]  # by frequency over time, the same for both channels
#
#
# def filtered(x, gain):
#     return np.fft.irfft(np.fft.rfft(x, axis=1) * gain, n=64, axis=1)
#
#
# answer = (lambda x: filtered(x, GAIN), lambda y: filtered(y, 1 / GAIN))
# ```
# </details>
