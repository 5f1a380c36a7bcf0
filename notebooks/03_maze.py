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
# # Plan ways through a maze, and measure how far they go
#
# **Question.** Does a planner that reaches its goal keep the distribution of travel distance of its demonstrations?
#
# **You will** collect demonstrations in MuJoCo, train a planner that is given start and goal, check its plans and execute
# them, and find where the additional metres come from. **You will learn** how small errors lengthen paths, on the way and at
# rest. **You need** notebook 01; for section 5 the kernels of notebook 02; gymnasium-robotics and
# MuJoCo, which `make figures` installs.
#
# **Contents.** [1 Demonstrations](#1.-Collect-demonstrations-and-curate-their-travel-distance) ·
# [2 Plans](#2.-Train-planners,-plan,-and-execute) · [3 Jitter](#3.-Find-the-metres:-jitter) ·
# [Try it](#Try-it:-quick-and-slow-errors) · [4 Variations](#4.-Change-the-demonstrations,-the-task-and-the-sampler) ·
# [5 Forecast](#5.-Forecast-the-drift) · [6 Effort](#6.-See-what-it-costs) · [Verdicts](#Verdicts) ·
# [Exercises](#Exercises). Code that only prepares or draws is folded.
#
# This notebook accompanies *Mechanisms of Misgeneralization in Physical Sequence Modeling* (Nishi, Tang, Kumar, Park,
# Tanaka, 2026). The maze task, its curation, the models and all numbers are this companion's own. Claims examined: C1, *the
# distribution is wrong although trajectories look valid*; C6, *a planner reaches its goal, but its paths are too long too
# often*; C3, *local errors move the quantity*; C4 and C5, *a kernel forecasts which values gain and lose mass*.

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
from scipy.special import i0e, i1e

import physmis
from physmis import drift
from physmis.drift import intervals
from physmis.experiments import forecasts
from physmis.experiments.executions import executions
from physmis.experiments.experiment import (
    Experiment,
    excerpt,
    needed_demonstrations,
    samples,
    training,
    training_set,
)
from physmis.experiments.forecasts import assess, base_experiment, over_seeds, seeds_of, valid_share
from physmis.experiments.kernel_draws import kernel_draws
from physmis.experiments.parallel import Job, whole
from physmis.paper import plotting
from physmis.tasks.maze_layout import layout

plotting.use_style()
run = physmis.start("03_maze", profile=PROFILE, seed=SEED, device=DEVICE)
P = run.profile
few = run.seeds[:1]  # of other demonstrations, whose planners are trained for this

# %% [markdown]
# ## 1. Collect demonstrations and curate their travel distance
#
# A ball in `PointMaze_Medium-v3` of gymnasium-robotics is pushed by two motors. A *waypoint controller* drives it along a
# shortest way between two random places: the action is $10\,(\text{waypoint} - \text{position}) - \text{velocity}$, at
# most 0.8 of the motors' force, without noise. On arrival it stays at the goal. We record its position $(x, y)$ every
# 0.12 s, 32 times. The **quantity** is the travel distance,
#
# $$ m(x) = \sum_t \lVert x_{t+1} - x_t \rVert , $$
#
# and from many episodes we keep equally many in each fortieth of 2 to 8 m: the **prior** is uniform. (The longest shortest
# way in this maze has 11 cells; beyond 8 m few pairs of places are left.)
#
# A trajectory is **valid** if the ball, of radius 0.1 m, never overlaps a wall, and no step goes farther than the
# speed and force of the motors allow, both within 0.05 m. All demonstrations are valid.

# %%
base = [base_experiment(P, "maze", seed) for seed in run.seeds]
task, model, n = base[0].task, base[0].model, base[0].samples
quantity, executed = task.quantity, max(8, min(P.samples, 8192) // 32)


def arms(seeds=run.seeds, task=task, **changes):
    """One planner for each seed. All seeds share the demonstrations."""
    return [Experiment(task, replace(model, **changes), base[0].data, n, seed) for seed in seeds]


recorded = run.compute(dict(enumerate(needed_demonstrations(base[0]))))
z, cells = (np.concatenate([part[name] for part in recorded.values()]) for name in ("z", "cells"))

# %% [markdown]
# ## 2. Train planners, plan, and execute
#
# The **planner** is the U-Net of notebook 01 with one change (Janner et al., 2022): the first and the last position of what the
# network sees are never noisy. So it learns to fill in the way between a given start and goal. For each plan we take both from
# a demonstration drawn at random, which is the plan's *own* demonstration below. Plans are then **executed**: a *tracker*, a
# feedback controller, follows them in the environment. All seeds share the demonstrations. Success is what the environment says
# at the end: the ball is within 0.45 m of the goal.


# %% jupyter={"source_hidden": true}
def parts(e):
    """Of each plan: its length beyond that of its own demonstration, before and after the latter has arrived; the mean
    step and mean square step after; whether it is clear of walls."""

    def compute(store, device):
        made, x = whole(samples(e), store, device).arrays, training_set(e, store).x
        plan, own = made["x"].astype(float), x[made["row"]].astype(float)
        rest = np.linalg.norm(own - own[:, -1:], axis=-1) < 0.01  # once it is so near, it stays
        rest = rest[:, :-1] & rest[:, 1:]
        step, step_own = (np.linalg.norm(np.diff(part, axis=1), axis=-1) for part in (plan, own))
        count = np.maximum(rest.sum(axis=1), 1)
        return {
            "moving": ((step - step_own) * ~rest).sum(axis=1).astype(np.float32),
            "resting": ((step - step_own) * rest).sum(axis=1).astype(np.float32),
            "step": ((step * rest).sum(axis=1) / count).astype(np.float32),
            "square": ((step**2 * rest).sum(axis=1) / count).astype(np.float32),
            "clear": e.task.wall_depth(plan) < e.task.tolerance,
        }

    needs = (samples(e), *needed_demonstrations(e))
    return Job({"kind": "plan_parts", "of": e.config}, compute, needs, lambda entry: entry.arrays)


# %%
jobs = {("plans", e.seed): e for e in base}
jobs |= {("parts", e.seed): parts(e) for e in base}
jobs |= {("executed", e.seed): executions(e, executed) for e in base}
jobs |= {("intent", e.seed): executions(e, executed, demonstrations=True) for e in base}
jobs["four times the steps"] = arms([SEED], sampler_steps=4 * model.sampler_steps)[0]
done = run.compute(jobs)
plans, split, driven, intent = (seeds_of(done, name) for name in ("plans", "parts", "executed", "intent"))


def excess(result):
    """Travel distance of each plan less that of its own demonstration, in metres."""
    return result.z - z[result.row]


# %%
finer = done["four times the steps"]
edges = quantity.bins()
change = drift.total_variation(drift.histogram(plans[0].z, edges), drift.histogram(finer.z, edges))
observed = assess(plans)
change = change / observed.tv_floor.value
run.record_claim("C6.03.sampler_converged", change, change, change, seeds=[SEED])
run.record_claim("C6.03.clear_of_walls", *over_seeds(lambda r: r["clear"], split))
run.record_claim("C6.03.valid", *valid_share(plans))
run.record_claim("C6.03.success", *over_seeds(lambda r: r["success"], driven))
print("demonstrations, executed by the same tracker: success", over_seeds(lambda r: r["success"], intent))

# %% jupyter={"source_hidden": true}
between, counts = np.unique(cells[np.concatenate([r.row for r in plans])], axis=0, return_counts=True)
moves = layout(task.maze).moves[tuple(between.T)]
start, goal = between[np.lexsort((counts, moves))[np.searchsorted(np.sort(moves), 7)]]  # about 7 cells apart
rows = [np.flatnonzero((cells[r.row] == (start, goal)).all(axis=1))[:12] for r in plans]
some = run.compute({e.seed: excerpt(samples(e), of) for e, of in zip(base, rows, strict=True) if len(of)})
some = np.concatenate(list(some.values()))
own = np.concatenate([r.row[of] for r, of in zip(plans, rows, strict=True)])


def intended(store, device):
    """The demonstrations of these plans."""
    return {"x": training_set(base[0], store).x[own]}


config = {"kind": "own_demonstrations", "of": base[0].training_config, "rows": own.tolist()}
theirs = run.compute(
    {0: Job(config, intended, needed_demonstrations(base[0]), lambda entry: entry.arrays["x"])}
)[0]

# %% jupyter={"source_hidden": true}
fig = plt.figure(figsize=(11, 6.6), layout="constrained")
top, bottom = fig.subfigures(2, 1, height_ratios=(1.5, 1))
plan_of, saved = layout(task.maze), {"plans": some, "demonstrations": theirs}
height, width = plan_of.free.shape
for ax, x, colour, title in zip(
    top.subplots(1, 2), (theirs, some), ("prior", "planner"), ("demonstrations", "plans"), strict=True
):
    ax.imshow(~plan_of.free, extent=(-width / 2, width / 2, -height / 2, height / 2), cmap="Greys", vmax=2.5)
    ax.plot(*x.transpose(2, 1, 0), "o-", color=plotting.COLOURS[colour], lw=0.9, ms=1.8, alpha=0.6)
    ax.set(
        xticks=[],
        yticks=[],
        aspect="equal",
        xlabel="cells of 1 m",
        title=f"{title}, mean {task.measure(x).mean():.2f} m",
    )
    ax.spines[:].set_visible(False)
left, right = bottom.subplots(1, 2)
plotting.plot_recovered(left, observed.edges, observed.p, observed.q, n, "planner")
left.set(xlabel=quantity.label, ylabel="density / prior density", title="planned")
left.legend(fontsize=9, loc="lower center")
grid = np.linspace(-0.6, 1, 33)
colours = {"planned": plotting.COLOURS["planner"], "executed": "black"}
moved = {"planned": [excess(r) for r in plans],
         "executed": [d["distance"] - z[r.row[:executed]] for d, r in zip(driven, plans, strict=True)]}  # fmt: skip
for name, groups in moved.items():
    share = np.histogram(np.concatenate(groups), grid)[0] / sum(map(len, groups)) / np.diff(grid)
    right.stairs(share, grid, color=colours[name], lw=1.8, label=name)
    saved[name] = share
right.axvline(0, color="0.4", lw=1)
right.set(xlabel="longer than its own demonstration [m]", ylabel="density [1/m]", title="each plan")
right.legend(fontsize=9)
keys = [result.key for result in plans]
run.save_figure(
    fig,
    "fig_03_plans",
    data=saved | {"q": observed.q, "p": observed.p, "edges": observed.edges},
    configs=keys,
)
plt.show()


# %%
def mean_of_valid(rows):
    """Mean of the first column over the rows whose second is 1; 0 where there is none."""
    return (rows[:, 0] * rows[:, 1]).sum() / max(rows[:, 1].sum(), 1)


for name, of_excess in (("longer", lambda r: excess(r) > 0), ("excess", excess)):
    pairs = [np.stack([of_excess(r), r.valid], axis=1).astype(float) for r in plans]
    run.record_claim(f"C6.03.{name}", *intervals.bootstrap(mean_of_valid, pairs))
run.record_claim("C1.03.planner_drift", *observed.times_floor)
run.record_claim("C6.03.executed_longer", *over_seeds(lambda values: values > 0, moved["executed"]))
run.record_claim("C6.03.executed_excess", *over_seeds(lambda values: values, moved["executed"]))

# %% [markdown]
# **What we see.** Seven in ten plans are longer than their own demonstration, valid ones as planned and all as executed.
# The shortest distances are too rare, and some plans are longer than any demonstration.
#
# ## 3. Find the metres: jitter
#
# Independent errors of standard deviation $s$ at each position turn a step $v$ of length $\ell$ into one whose length follows
# *Rice's distribution*. With $e$ the difference of the errors at its two ends, and modified Bessel functions $I_0, I_1$, its
# mean is
#
# $$ \mathbb{E}\,\lVert v + e\rVert = \sigma \sqrt{\tfrac{\pi}{2}}\; L\!\left(\frac{\ell^2}{2\sigma^2}\right), \qquad
#    L(u) = e^{-u/2}\left[(1+u)\, I_0(u/2) + u\, I_1(u/2)\right], $$
#
# where $\sigma^2 = 2 s^2$. Length is convex, so jitter can only add (Jensen): for $\sigma \ll \ell$ as little as
# $\sigma^2/2\ell$, but where the ball *rests* the whole $\sigma\sqrt{\pi/2} = s\sqrt\pi$ a step. We read $s$ off the plans' steps
# after arrival, and ask what it predicts elsewhere: in closed form, and as an **isotropic kernel**, whose draws add
# independent errors of this size to demonstrations and leave start and goal.


# %%
def length_with_jitter(x, s):
    """Expected travel distance after independent errors of standard deviation s at each position but the two ends."""
    step = np.linalg.norm(np.diff(x.astype(float), axis=1), axis=-1)
    sigma = np.full(step.shape[1], np.sqrt(2) * s)
    sigma[[0, -1]] = s  # one of their ends is given
    half = step**2 / (4 * sigma**2)  # i0e(a) = exp(-a) I0(a)
    return (sigma * np.sqrt(np.pi / 2) * ((1 + 2 * half) * i0e(half) + 2 * half * i1e(half))).sum(axis=1)


# %%
chunk = run.compute({0: excerpt(needed_demonstrations(base[0])[0], range(task.chunk))})[0]
rng, off = np.random.default_rng(SEED), []
for s in (0.003, 0.01, 0.03):
    error = s * rng.standard_normal((64, *chunk.shape))
    error[:, :, [0, -1]] = 0
    moved_by = np.mean([task.measure(chunk + one) - task.measure(chunk) for one in error])
    off.append(abs(moved_by / (length_with_jitter(chunk, s) - task.measure(chunk)).mean() - 1))
run.record_claim("C3.03.jitter_formula", max(off), min(off), max(off), seeds=[SEED])

# %%
jitter = [part["step"].mean() / np.sqrt(np.pi) for part in split]  # the mean step between two errors at rest
s = float(np.mean(jitter))
print(f"jitter at rest: s = {1000 * s:.1f} mm; by seed", *(f"{1000 * one:.1f}" for one in jitter))
rayleigh = over_seeds(
    lambda part: part["step"] / (np.sqrt(np.pi / 4) * np.sqrt(part["square"].mean())), split
)
run.record_claim("C3.03.jitter_is_normal", *rayleigh)
scale = s / float(chunk.std(axis=(0, 1)).mean())  # kernels count in standard deviations of the data
draws = run.compute({e.seed: kernel_draws(e, "isotropic", {"scale": scale}) for e in base})

# %% jupyter={"source_hidden": true}
bins = np.linspace(*quantity.prior.support(), 7)
centres = (bins[1:] + bins[:-1]) / 2


def by_distance(values, of):
    """Mean of values in each of six ranges of the distance of the demonstrations, with its interval."""
    at = [np.digitize(d, bins[1:-1]) for d in of]
    return [over_seeds(lambda v: v, [v[k == b] for v, k in zip(values, at, strict=True)]) for b in range(6)]


of = [z[r.row] for r in plans]
measured = by_distance([excess(r) for r in plans], of)
resting = by_distance([part["resting"] for part in split], of)
isotropic = by_distance([d.z_perturbed - d.z for d in draws.values()], [d.z for d in draws.values()])
closed = by_distance([length_with_jitter(chunk, s) - task.measure(chunk)], [task.measure(chunk)])

# %%
share = intervals.bootstrap(
    lambda rows: rows[:, 0].mean() / rows.sum(axis=1).mean(),
    [np.stack([part["resting"], part["moving"]], axis=1) for part in split],
)
run.record_claim("C3.03.share_at_rest", *share)
fall = intervals.bootstrap(lambda rows: np.polyfit(*rows.T, 1)[0],
                           [np.stack([z[r.row], excess(r)], axis=1) for r in plans])  # fmt: skip
run.record_claim("C3.03.excess_falls_with_distance", *fall)
whole_excess = over_seeds(excess, plans).value
ratio = intervals.bootstrap(
    lambda values: values.mean() / whole_excess, [d.z_perturbed - d.z for d in draws.values()]
)
run.record_claim("C3.03.jitter_predicts_excess", *ratio)

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(7, 3.8))
plotting.plot_intervals(ax, centres, measured, plotting.COLOURS["planner"], ls="-", label="plans")
plotting.plot_intervals(
    ax, centres, resting, plotting.COLOURS["planner"], "^", ls=":", label="of it, after arrival"
)
plotting.plot_intervals(
    ax, centres + 0.06, isotropic, *plotting.KERNELS["isotropic"], ls="none", label="isotropic kernel"
)
ax.plot(centres, [one.value for one in closed], color="0.2", ls="--", label="Rice's formula")
ax.axhline(0, color="0.5", lw=0.8)
ax.set(xlabel=f"{quantity.label} of the demonstration", ylabel="mean excess [m]")
ax.legend(fontsize=9)
saved = {
    "measured": measured,
    "resting": resting,
    "isotropic": isotropic,
    "closed": closed,
    "centres": centres,
}
run.save_figure(fig, "fig_03_jitter", data=saved, configs=[*keys, *(d.key for d in draws.values())])
plt.show()

# %% [markdown]
# **What we see.** Short ways rest longer, so jitter adds most to them. More than the whole excess arises after arrival
# (triangles above circles, but for the shortest ways): before it a plan is *shorter* than its own demonstration, the more so
# the longer that is, as it smooths turns. The dashed line and the squares use one number, $s$. They predict the excess of the
# shortest ways and overestimate the whole, as jitter cannot shorten a way. The errors at rest are not all of one size, either.

# %% [markdown]
# ### Try it: quick and slow errors
#
# Each position of 480 demonstrated paths gets a normal error; choose its size and its correlation time. **Predict** first:
# errors of 2 cm, once independent at each step, once changing slowly over half a second. Which lengthens paths, and can
# either shorten them?

# %% jupyter={"source_hidden": true}
from physmis.teaching import check, explore

pick = chunk.astype(float)
normal = np.random.default_rng(SEED).standard_normal(pick.shape)  # the same at each redraw
direct = int(np.argmax(task.measure(chunk[:100])))  # the longest of the first hundred


def with_errors(n, size_cm, smoothness_s):
    """The first n paths after normal errors; at a time lag t their correlation is exp(-t^2 / (4 smoothness_s^2))."""
    seconds = task.interval * np.arange(task.steps)
    weight = np.exp(-(((seconds[:, None] - seconds) / max(smoothness_s, 1e-3)) ** 2) / 2)
    weight /= np.linalg.norm(weight, axis=1, keepdims=True)  # so that smoothness leaves the size as it is
    return pick[:n] + size_cm / 100 * np.einsum("ts,nsc->ntc", weight, normal[:n], optimize=True)


# %% jupyter={"source_hidden": true}
def draw(size_cm, smoothness_s):
    """One path, the distribution of travel distance, and the change of its mean, for errors of this size and smoothness."""
    fig, axes = plt.subplots(1, 3, figsize=(9, 3.1), width_ratios=(1, 1.1, 1.1))
    moved = with_errors(len(pick), size_cm, smoothness_s)
    ways = {"demonstrated": pick, "with errors": moved}
    colours = {"demonstrated": plotting.COLOURS["prior"], "with errors": plotting.KERNELS["isotropic"][0]}
    axes[0].imshow(
        ~plan_of.free, extent=(-width / 2, width / 2, -height / 2, height / 2), cmap="Greys", vmax=2.5
    )
    axes[0].set(xticks=[], yticks=[], aspect="equal")
    bins = np.arange(1, 12.1, 0.5)
    for name, x in ways.items():
        axes[0].plot(*x[direct].T, color=colours[name], lw=1.2)
        density = np.histogram(task.measure(x), bins)[0] / len(x) / 0.5
        label = f"{name}, mean {task.measure(x).mean():.2f} m"
        axes[1].stairs(density, bins, color=colours[name], lw=1.6, label=label)
    x, y = (pick[direct].min(axis=0) + pick[direct].max(axis=0)) / 2
    axes[0].set(xlim=(x - 1.2, x + 1.2), ylim=(y - 1.2, y + 1.2), title="one path, 2.4 m of the maze")
    axes[1].set(xlabel=quantity.label, ylabel="density [1/m]", ylim=(0, 0.55), title="all paths")
    axes[1].legend(fontsize=8, loc="upper right")
    grid = np.linspace(0, 0.5, 21)
    few_ways = [with_errors(60, size_cm, smoothness) for smoothness in grid]  # fewer, to be quick
    change = [task.measure(x).mean() - task.measure(pick[:60]).mean() for x in few_ways]
    axes[2].plot(grid, change, color=colours["with errors"], lw=1.6)
    axes[2].plot(smoothness_s, np.interp(smoothness_s, grid, change), "o", color=colours["with errors"])
    axes[2].axhline(0, color="0.7", lw=0.8, zorder=0)
    axes[2].set(xlabel="smoothness of the errors [s]", ylabel="change of the mean [m]", title="by smoothness")
    return fig


# %%
explore(draw, size_cm=(0.0, 8.0, 2.0), smoothness_s=(0.0, 0.5, 0.0))

# %% [markdown]
# <details><summary>What you see</summary>
#
# Quick errors lengthen paths by half a metre on average, slow ones of the same size by a tenth of that: length depends on how
# an error changes from step to step, not on how large it is. Neither shortens paths: errors of mean zero that do not depend on
# the path can only add to the mean length, since length is convex. A planner that smooths turns makes errors that depend on it.
# </details>

# %% [markdown]
# ## 4. Change the demonstrations, the task and the sampler
#
# We change one thing at a time, the demonstrations for one planner each. *Noise in the demonstrations*: the controller's actions get normal noise of 0.5, which the
# model cannot predict. *Detours*: demonstrations go by way of a random third cell, 5 to 10 m, so distance depends on a global
# choice, the way. *Another sampler*: the same weights, with fresh noise in each of twice as many steps (*ancestral*). Each plan is
# compared with its own demonstration. Where fewer than 0.9 of the plans are valid, the figure supports no claim.

# %%
others = {
    "action noise": arms(few, replace(task, noise=0.5)),
    "detours": arms(few, replace(task, detours=True, low=5.0, high=10.0)),
    "ancestral sampler": arms(sampler="ancestral", sampler_steps=2 * model.sampler_steps),
}
collected = {
    name: run.compute(dict(enumerate(needed_demonstrations(group[0])))) for name, group in others.items()
}
distances = {
    name: np.concatenate([part["z"] for part in found.values()]) for name, found in collected.items()
}
found = run.compute({(name, e.seed): e for name, group in others.items() for e in group})
beyond, validity = {}, {}  # the plan less its demonstration [m], and the share of valid plans
for name in others:
    group, id = seeds_of(found, name), f"C6.03.{name.replace(' ', '_')}"
    beyond[name], validity[name] = [r.z - distances[name][r.row] for r in group], valid_share(group)
    seeds = [r.experiment.seed for r in group]
    run.record_claim(f"{id}_valid", *validity[name], seeds=seeds)
    run.record_claim(id, *over_seeds(lambda v: v, beyond[name]), seeds=seeds)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 3, figsize=(12, 3.4), sharey=True)
saved, grid = {}, np.linspace(-1.5, 1.5, 61)


def density_of(values):
    """Density of all values, of those beyond the axis, too."""
    values = np.concatenate(values)
    return np.histogram(values, grid)[0] / len(values) / np.diff(grid), np.mean(np.abs(values) > grid[-1])


reference, _ = density_of([excess(r) for r in plans])
for ax, name in zip(axes, others, strict=True):
    density, outside = density_of(beyond[name])
    ax.stairs(density, grid, fill=True, color="0.55", alpha=0.7, label=name)
    ax.stairs(reference, grid, color=plotting.COLOURS["planner"], lw=1.2, label="planner of section 2")
    ax.axvline(0, color="0.3", lw=1)
    note = "" if validity[name].low >= 0.9 else "not tested: "
    ax.set_title(f"{name}, {note}{validity[name].value:.1%} valid", fontsize=11)
    ax.set_xlabel("plan less its demonstration [m]")
    ax.text(0.98, 0.97, f"{outside:.0%} beyond", transform=ax.transAxes, ha="right", va="top", fontsize=8)
    ax.legend(fontsize=8, loc="upper left")
    saved[name.replace(" ", "_")] = density
axes[0].set_ylabel("density [1/m]")
run.save_figure(fig, "fig_03_sign", data=saved | {"edges": grid}, configs=[r.key for r in found.values()])
plt.show()

# %% [markdown]
# **What we see.** The ancestral sampler hardly changes the excess, so it does not come from the sampler. The other two are
# *not tested*, as too few of their plans are valid. With noise in the demonstrations no excess is seen. With detours plans are
# longer or shorter than their demonstration by metres, as they take other ways.
#
# ## 5. Forecast the drift
#
# *Before training*: the rule of notebook 02, from a short training of an eighth of the steps. *After*: the planner's round
# trips from the noisiest level (start and goal are kept, so no level lowers the correlation of the distances to 0.9), and the
# isotropic kernel of section 3. The *matched blur* of the prior has the total variation of the planner's drift.

# %%
jobs = forecasts.BEFORE_AND_AFTER | {
    "isotropic": lambda e: kernel_draws(e, "isotropic", {"scale": scale}),
}
trips = run.compute({(kernel, e.seed): make(e) for kernel, make in jobs.items() for e in base})
grouped = {kernel: seeds_of(trips, kernel) for kernel in jobs}
expected, scores = forecasts.score_kernels(grouped, observed)
forecasts.score_kernels(grouped, observed, inner=0.8)
early, blur = expected["before training"], expected["matched blur"]
run.record_claim("C5.03.skill", *scores["before training"].skill)
run.record_claim("C5.03.beats_blur", *drift.advantage(early, blur, observed))
run.record_claim("C5.03.beats_blur_inside", *drift.advantage(early, blur, observed, 0.8))
run.record_claim("C4.03.round_trip_skill", *scores["round trip"].skill)
run.record_claim("C4.03.round_trip_beats_blur", *drift.advantage(expected["round trip"], blur, observed))
run.record_claim("C4.03.isotropic", *scores["isotropic"].skill)
fits = run.compute({e.seed: training(e) for e in base})
paid = [f.seconds / fits[f.experiment.seed].meta["seconds"] for f in grouped["before training"]]
run.record_claim("C5.03.cheap", np.mean(paid), min(paid), max(paid))
print("short trainings:", [f"{f.kernel} kernel, drift {f.short:.3f}" for f in grouped["before training"]])

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(7, 3.8))
shown = {kernel: np.broadcast_to(expected[kernel], observed.q.shape) for kernel in (*jobs, "matched blur")}
plotting.plot_forecast(ax, observed.edges, observed.p, observed.q, shown, n, "planner")
ax.set(xlabel=quantity.label, ylabel="drift relative to the prior")
ax.set_title("skill: " + ", ".join(f"{k} {scores[k].skill.value:.2f}" for k in shown), fontsize=10)
ax.legend(fontsize=8, ncols=2)
saved = {plotting.array_name(kernel): values for kernel, values in shown.items()}
run.save_figure(fig, "fig_03_forecast", data=saved | {"q": observed.q, "p": observed.p, "edges": observed.edges},
                configs=[d.key for d in trips.values()])  # fmt: skip
plt.show()

# %% [markdown]
# **What we see.** The forecast made before training finds both ends, the missing shortest ways and the surplus beyond 8 m. It
# explains more than a blur as large, and less than round trips or another seed, with overlapping intervals. Jitter as large as
# the planner's, known only after training, scores no higher. Inside the range the planner hardly drifts, and no skill there is
# clearly above 0, another seed's included.
#
# ## 6. See what it costs
#
# The tracker's **control effort** is the sum of its squared actions times seconds. We compare executed plans with executed
# demonstrations of the same starts and goals, followed by the same tracker.

# %%
effort = [np.stack([a["effort"], b["effort"]], axis=1) for a, b in zip(driven, intent, strict=True)]
for what, f in (("mean", np.mean), ("p95", lambda v: np.percentile(v, 95))):
    ratio = intervals.bootstrap(lambda rows, f=f: f(rows[:, 0]) / f(rows[:, 1]), effort)
    run.record_claim(f"C6.03.effort_{what}", *ratio)

# %% [markdown]
# **What we see.** Executed plans are longer and yet take a little less effort.
#
# ## Verdicts
#
# `run.finish` prints the verdict on each claim that has a primary test here. **Limits.** One maze, one controller, one size of network; a plan is
# compared with one demonstration between the same places.

# %%
run.finish()

# %% [markdown]
# ## Exercises
#
# Replace the three dots and run the cell: the check says whether the answer is right, or what is off. Below each is a
# solution to unfold. All lengths are in metres.

# %% [markdown]
# ### Exercise 03.1: the length of a rest
#
# A ball rests at its goal. A model makes 64 positions for it, each of them off by a normal error with a standard
# deviation of 0.01 m in x and as much in y, all independent. How long is the path through these positions, on average?
# `answer` is one number, in metres, right to 0.5 %.

# %%
answer = ...
check("03.1", answer)

# %% [markdown]
# <details><summary>Solution 03.1</summary>
#
# A step is the difference of two errors, so it has the standard deviation $\sqrt2\,s$ in each direction, and its length follows
# a Rayleigh distribution, with mean $\sqrt2\,s\sqrt{\pi/2} = s\sqrt\pi$. There are 63 steps. (Rice's distribution of section 3
# says the same, with $\ell = 0$.) The rest is 1.12 m long.
#
# ```python
# import numpy as np
#
# answer = 63 * 0.01 * np.sqrt(np.pi)
# ```
# </details>

# %% [markdown]
# ### Exercise 03.2: errors that neighbours share
#
# The errors of a model are seldom independent. Let the two ends of a step each have a normal error of standard
# deviation `s` in x and in y; in each direction the errors of the two ends have the correlation `rho`, and the two
# directions are independent. How long is the step on average? `answer` is a function `answer(length, s, rho)`. `length`
# is an array of the lengths of steps without errors, in metres, each 0 or more; `s`, in metres, and `rho`, between -1
# and 1, are numbers. It returns an array of the shape of `length`: mean lengths with errors, in metres. What the errors
# *add* is to be right to 2 %, also for a step that is 250 times as long as `s`.

# %%
answer = ...
check("03.2", answer)

# %% [markdown]
# <details><summary>Solution 03.2</summary>
#
# Only the difference of the two errors changes the step. Its variance in each direction is
# $\sigma^2 = 2 s^2 (1 - \rho)$; the rest is Rice's distribution. The scaled Bessel functions hold $e^{-u/2}$ already, without
# which long steps overflow.
#
# ```python
# import numpy as np
# from scipy.special import i0e, i1e
#
#
# def answer(length, s, rho):
#     variance = 2 * s**2 * (1 - rho)
#     u = np.asarray(length) ** 2 / (2 * variance)
#     return np.sqrt(np.pi * variance / 2) * ((1 + u) * i0e(u / 2) + u * i1e(u / 2))
# ```
# </details>

# %% [markdown]
# ### Exercise 03.3: deviate without drift
#
# Make a random deviation of paths that a measurement of travel distance does not notice: each path changes, and the
# distribution of distances stays. There are many ways. `answer` is a function `answer(x, rng)`. `x` holds paths, an array of
# shape `(n, 64, 2)`, in metres, 0.06 s a step (half of the notebook's); `rng` is a generator of numpy. It returns deviated
# paths, an array of the same shape. The check makes 1,500 smooth paths of its own, of 5 to 10 m, and asks that
#
# - start and goal of each path stay, to 1 mm, as a planner keeps them;
# - a typical path moves by 3 to 10 cm: the root mean square over its positions, the median over paths;
# - two generators give different deviations: they differ by at least half of that size;
# - the Wasserstein-1 distance between the distributions of travel distance, before and after, is at most 5 % of what independent
#   normal errors of the same size make.

# %%
answer = ...
check("03.3", answer)

# %% [markdown]
# <details><summary>Solution 03.3</summary>
#
# Length depends on how a deviation changes from step to step, not on how large it is. So bend each path by half a wave in a
# random direction: it is slow, and 0 at both ends. Errors smoothed over two steps or more, or moving each position
# forth or back along its own path, do as well.
#
# ```python
# import numpy as np
#
#
# def answer(x, rng):
#     wave = np.sin(np.pi * np.linspace(0, 1, x.shape[1]))[:, None]
#     return x + 0.05 * wave * rng.standard_normal((len(x), 1, 2))
# ```
# </details>
