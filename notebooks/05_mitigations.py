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
# **What you will do.** Try three ways against drift on the logistic map, the cone, the maze and the pendulum: weight
# the data, tell the model the quantity, and change the coordinates that it sees. Let a kernel choose the coordinates
# before a model is trained in them. Hold each drift against the validity of single trajectories.
#
# **What you will learn.** Why weights can only trade a leak over the ends of a prior against a gap. Where a condition
# is followed, and what comes out when it contradicts the start or the goal. What coordinates with little drift have
# in common, and how a kernel finds them.
#
# **What you need.** Notebooks 01 and 02; what the maze and the pendulum are, from the first sections of 03 and 04.
#
# This notebook accompanies *Mechanisms of Misgeneralization in Physical Sequence Modeling* (Nishi, Tang, Kumar, Park,
# Tanaka, 2026). The coordinates, the weights, the models and all numbers are this companion's own. Claims examined:
# C8, *reweighting does not fix the drift, conditioning helps in simple cases only*; C9, *a kernel-informed change of
# coordinates reduces it*.

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
import scipy.stats

import physmis
from physmis import drift, tasks
from physmis.coordinates import Chain, Filter, FirstAndRest, Identity, Increments, Innovations, Polar, Warp
from physmis.coordinates.families import family as family_of
from physmis.coordinates.search import KernelCoordinates, learn_ratios, rank
from physmis.coordinates.size_maps import EnergyWarp, LengthWarp, NormWarp
from physmis.drift import intervals
from physmis.experiments.compatibility import Compatibility
from physmis.experiments.experiment import Collection, Experiment
from physmis.experiments.forecasts import assess, matched_scale, residual
from physmis.experiments.kernel_draws import Deviation
from physmis.kernels import IsotropicKernel, Kernel, TangentKernel
from physmis.mitigations import (
    Conditioned,
    InCoordinates,
    Reweighted,
    closest_source,
    effective_size,
    inverse_drift_weights,
    unfolded_source,
)
from physmis.models import build
from physmis.paper import plotting

plotting.use_style()
run = physmis.start("05_mitigations", profile=PROFILE, seed=SEED, device=DEVICE)
P = run.profile

# %% [markdown]
# ## 1. Set the stage
#
# Four tasks, from a line of 32 numbers to plans and motions. Diffusion models drift on all of them. To try many
# treatments in little time we train *briefly*: a quarter (logistic map, cone), a third (maze) or a sixth (pendulum) of
# the steps of the earlier notebooks. In the maze the brief model is the planner, given start and goal.
# In the maze and for the pendulum brief training leaves hardly any trajectory valid; so beside it stands the U-Net
# with all its training, unconditional.
#
# Models are sampled by the deterministic sampler of notebook 01, in 20 steps, but for two places in sections 3 and 4
# where the ancestral one of notebooks 03 and 04 comes back. Each treated model is compared with the untreated one of
# the same kind, the same steps and the same sampler.

# %%
TASKS = {name: tasks.load(name) for name in ("logistic", "cone", "maze", "pendulum")}
sampler = {key: build("unet", **P.models["unet"]).config()[key] for key in ("sampler", "sampler_steps")}
planner = P.models["planner"]
STEPS = {
    "logistic": P.models["unet"]["steps"],
    "cone": P.models["unet"]["steps"],
    "maze": planner["steps"],
    "pendulum": 3 * planner["steps"] // 2,
}
BRIEF = {"logistic": 4, "cone": 4, "maze": 3, "pendulum": 6}  # the part of the steps in brief training
chunk = TASKS["maze"].chunk
DATA = {name: P.data for name in TASKS} | {
    "maze": -(-P.data // chunk) * chunk
}  # whole chunks of demonstrations
n = min(P.samples, 2048)  # of each model, to save time


def experiment(name, seed, treatment=None, kind="unet", brief=True, **changes):
    """A model on a task: briefly trained, or with all steps."""
    size = P.models["unet"] if name in ("logistic", "cone") else planner
    steps = STEPS[name] // (BRIEF[name] if brief else 1)
    model = build(kind, **{**size, **sampler, "steps": steps, **changes})
    return Experiment(TASKS[name], model, DATA[name], n, seed, treatment)


def over_seeds(name, treatment=None, **settings):
    """One experiment a seed."""
    return {seed: experiment(name, seed, treatment, **settings) for seed in run.seeds}


def compute(arms):
    """Results of arms {name: {seed: experiment}}, as lists over seeds."""
    jobs = {(arm, seed): job for arm, by_seed in arms.items() for seed, job in by_seed.items()}
    found = run.compute(jobs)
    return {arm: [found[arm, seed] for seed in by_seed] for arm, by_seed in arms.items()}


def valid_share(results):
    """Share of valid trajectories, with its interval."""
    return intervals.bootstrap(np.mean, [r.valid.astype(float) for r in results])


def halved(before, after):
    """Half of the excess drift before less the excess drift after: above 0 if at least half is gone."""
    law, floor = before.p, before.tv_floor.value

    def gain(rows):
        was, remains = (np.bincount(bins, minlength=len(law)) / len(bins) for bins in rows.T)
        return (drift.total_variation(law, was) - floor) / 2 - (drift.total_variation(law, remains) - floor)

    return intervals.bootstrap(gain, list(np.stack([before.bins, after.bins], axis=-1)))


def change_of_validity(before, after):
    """Share of valid trajectories after less before."""
    pairs = [np.stack([a.valid, b.valid], axis=1).astype(float) for a, b in zip(before, after, strict=True)]
    return intervals.bootstrap(lambda rows: rows[:, 1].mean() - rows[:, 0].mean(), pairs)


KIND = {name: "planner" if name == "maze" else "unet" for name in TASKS}
arms = {(name, "untreated"): over_seeds(name, kind=KIND[name]) for name in TASKS}
arms |= {(name, "untreated, all steps"): over_seeds(name, brief=False) for name in ("maze", "pendulum")}
done = compute(arms)
seen = {arm: assess(results) for arm, results in done.items()}
demonstrations = {name: done[name, "untreated"][0].experiment.training_set() for name in TASKS}


def table(chosen):
    """Print drift beside validity."""
    print(
        f"{'task':9s} {'arm':36s} {'valid':22s} {'excess drift (TV)':22s} {'W1 [as the quantity]':24s} W1 floor"
    )
    for arm in chosen:
        found = seen[arm]
        print(f"{arm[0]:9s} {arm[1]:36s} {valid_share(done[arm])!s:22s} {found.excess!s:22s} "
              f"{found.w1!s:24s} {found.w1_floor.value:.3f}")  # fmt: skip


table(arms)

# %% [markdown]
# **What we see.** All of them drift. Briefly trained, more than eight tenths of the trajectories of the cone are
# valid and half of those of the logistic map; of plans and motions hardly any. With all steps and this sampler,
# eight in ten motions are valid (more with the ancestral one of notebook 04), and one in eleven of the unconditional
# ways through the maze.
#
# ## 2. Weight the data
#
# Values that come out too rarely could be shown more often in training. Three recipes, the first on all tasks, the
# second on the logistic map and for the pendulum, the third on the logistic map:
#
# - *naive*: weights $w(z) = p(z) / q(z)$, from the drift of the untreated model;
# - *half way*: their square root, more cautious;
# - *unfolded*: if the model moves mass by a transition $T(z'|z)$, data of law $\pi$ come out as $\pi T$. So look for
#   the $\pi \ge 0$ with $\pi T$ nearest to $p$. $T$ is estimated by round trips through the untreated model (notebook
#   02), and $\pi$ by the iteration $\pi \leftarrow \pi \cdot T(p / \pi T)$, which never makes the divergence of $\pi
#   T$ from $p$ larger (Richardson 1972, Lucy 1974).
#
# A fourth one, *ramp* on the cone, only tests that weights work: it asks for another law, amplitudes of density $2a$.
#
# What the best weights of all could reach under a fixed $T$ is a linear program: the law on the range of $p$ whose
# image is nearest to $p$ in total variation. Weights cannot make data where there are none, and they do not change
# the errors themselves. What leaks over an end comes from data near it: less of them means less leak, and a gap.
#
# The **effective size** of weighted data, $(\sum w)^2 / \sum w^2$, is how many equally weighted trajectories would
# have as little noise.

# %%
trips = compute(
    {name: {seed: Deviation(job, "round_trip", {"strength": 0.7}, job) for seed, job in arms[name, "untreated"].items()}
     for name in TASKS}
)  # fmt: skip
T = {name: np.mean([landing.transition.matrix for landing in trips[name]], axis=0) for name in TASKS}
p = {name: seen[name, "untreated"].p for name in TASKS}


def naive(name):
    """p / q, with half a trajectory added to each bin, so that none is empty."""
    q = (seen[name, "untreated"].q.mean(axis=0) * n + 0.5) / (n + 0.5 * len(p[name]))
    return inverse_drift_weights(p[name], q)


UNFOLDING = 20  # iterations, fixed in advance
weights = {(name, "naive"): naive(name) for name in TASKS}
for name in ("logistic", "pendulum"):
    half = np.sqrt(weights[name, "naive"])
    weights[name, "half way"] = half / (p[name] @ half)
weights["logistic", "unfolded"] = unfolded_source(p["logistic"], T["logistic"], UNFOLDING).weights
print(f"{'':9s} {'total variation by the transition':>34s}   {'effective size as a share of the data':>40s}")
print(
    f"{'':9s} {'of the prior':>16s} {'best weights':>17s}   {'best weights':>14s} {'unfolded':>12s} {'naive':>12s}"
)
reach = {}
for name in TASKS:
    reach[name] = closest_source(p[name], T[name])
    unfolded = unfolded_source(p[name], T[name], UNFOLDING)
    sizes = [
        effective_size(w[p[name] > 0])
        for w in (reach[name].weights, unfolded.weights, weights[name, "naive"])
    ]
    plain = drift.total_variation(p[name], p[name] @ T[name])
    print(
        f"{name:9s} {plain:16.3f} {reach[name].residual:17.3f}   {sizes[0]:14.2f} {sizes[1]:12.2f} {sizes[2]:12.2f}"
    )

# %%
RAMP = scipy.stats.powerlaw(2)  # amplitudes of density 2a
ramp = drift.prior_mass(RAMP, TASKS["cone"].quantity.bins())
weights["cone", "ramp"] = np.divide(ramp, p["cone"], out=np.zeros_like(ramp), where=p["cone"] > 0)
treated = {
    (name, f"reweighted, {recipe}"): over_seeds(name, Reweighted(tuple(w)), kind=KIND[name])
    for (name, recipe), w in weights.items()
}
done |= compute(treated)
seen |= {arm: assess(done[arm]) for arm in treated}
table(treated)

fig, axes = plt.subplots(2, 4, figsize=(13, 5.6), height_ratios=(1, 1.3), sharex="col")
saved = {}
for (upper, lower), (name, task) in zip(axes.T, TASKS.items(), strict=True):
    found, after = seen[name, "untreated"], seen[name, "reweighted, naive"]
    inner = found.edges[1:-1]
    upper.stairs(
        weights[name, "naive"][1:-1], inner, color=plotting.COLOURS["reweighted"], lw=1.8, label="naive"
    )
    for recipe, style in (("half way", ":"), ("unfolded", "-")):
        if (name, recipe) in weights:
            upper.stairs(weights[name, recipe][1:-1], inner, color="0.35", lw=1.2, ls=style, label=recipe)
    upper.set(title=name, ylim=(0, None))
    plotting.plot_recovered(lower, found.edges, found.p, after.q, n, "reweighted")
    unit = found.p[1:-1].max()
    lower.stairs(found.q.mean(axis=0)[1:-1] / unit, inner, color=plotting.COLOURS[KIND[name]], lw=1.4, ls="--",
                 label="untreated")  # fmt: skip
    if (name, "half way") in weights:
        again = seen[name, "reweighted, half way"].q
        lower.stairs(again.mean(axis=0)[1:-1] / unit, inner, color="0.35", lw=1.2, ls=":", label="half way")
        saved[f"{name}_half_way"] = again
    lower.set(xlabel=task.quantity.label)
    saved |= {f"{name}_{k}": v for k, v in (("edges", found.edges), ("p", found.p), ("untreated", found.q),
                                            ("naive", after.q), ("weights", weights[name, "naive"]))}  # fmt: skip
axes[0, 0].set_ylabel("weight")
axes[0, 0].legend(fontsize=9)
axes[1, 0].set_ylabel("density relative to the prior")
axes[1, 1].legend(*axes[1, 0].get_legend_handles_labels(), fontsize=8, loc="lower center")
run.save_figure(fig, "fig_05_reweighting", data=saved, configs=[r.key for arm in treated for r in done[arm]])
plt.show()

# %% [markdown]
# **What we see.** (Dashed: the untreated model, in the maze the planner. Solid: after naive weights. Dotted: half way.)
# Naive weights push, and push too far: where the untreated pendulum makes too few motions, near 5 J, the weighted one
# makes too many; the hump of the logistic map moves from one side to the other. In total variation the drift is hardly
# less (logistic map and maze: by a fifth). In W1, which counts how far mass must go, it is a third to more than a half
# less on three tasks on average, with intervals that overlap: weights undo a tilt, and make another. Half way, most of
# the tilt is gone for the pendulum and more than half of it on the logistic map, and with it two fifths and a sixth of
# the excess; here, too, the intervals overlap with those before. At the ends the law still falls off gradually,
# whatever the weights, and what is raised near an end also leaks more over it (far above the range of the logistic map
# 4 % instead of 0.8 %).
#
# Unfolding was trained on the logistic map only, and does no better there than doing nothing; its interval, 0.1 to 0.4,
# leaves much open. The law that it finds is a row of spikes. It assumes that the transition stays what it was when the
# weights change, and a model trained on spikes may not keep it; and what iteration lessens is the divergence, not the
# total variation. The linear program, too, takes the estimated transition for granted, which overstates the drift of
# all tasks but the pendulum. As a guide, not a bound: with the best weights of all, 0.54 to 0.81 of what the transition
# does would remain on each task, and the effective size would be a fifth to two fifths of the data.

# %%
for name in TASKS:
    run.record_claim(f"C8.05.{name}_reweighted_drifts", *seen[name, "reweighted, naive"].excess)


def least(law, matrix):
    """What weights can reach, as a share of the total variation without."""
    return closest_source(law, matrix).residual / drift.total_variation(law, law @ matrix)


for name in ("logistic", "cone"):
    found = [least(p[name], landing.transition.matrix) for landing in trips[name]]  # one a seed
    run.record_claim(f"C8.05.{name}_out_of_reach", np.mean(found), min(found), max(found))


def from_ramp(arm):
    """Drift from amplitudes of density 2a, of a model on the cone."""
    task = TASKS["cone"]
    return drift.assess([r.z for r in done["cone", arm]], RAMP, task.quantity.bins(), DATA["cone"])


plain, steered = from_ramp("untreated"), from_ramp("reweighted, ramp")
print(f"cone, excess from amplitudes of density 2a: {plain.excess}; weighted for it {steered.excess}; "
      f"effective size {effective_size(weights['cone', 'ramp'][ramp > 0]):.2f}")  # fmt: skip
run.record_claim("C8.05.weights_steer", *halved(plain, steered))

# %% [markdown]
# **What we see.** Weights do work for what they are for: *another law of the data*. Weighted for amplitudes of density
# $2a$, the model on the cone comes from an excess of 0.23 over that law to one of 0.07. (The untreated model has 0.05
# over its own law.) So on these tasks C8 holds for weights: they steer the law that a model aims at, and leave the
# errors with which it misses. In the maze and for the pendulum it is shown on models that make hardly anything valid.
#
# ## 3. Tell the model the quantity
#
# The model gets $z$ as an input, and is asked for values drawn from the prior. Training is *classifier-free* (Ho and
# Salimans 2022): a tenth of the trajectories come without their $z$, so that in sampling the difference between asked
# and unasked can be stretched by a factor, the **guidance**. At 1 nothing is stretched. The planner of the maze gets
# the distance beside start and goal, without that option. What is asked can be held against what comes out: the bias
# and the spread of $m(\tilde x) - z$ at each $z$.

# %%
told = {
    (name, "conditioned"): over_seeds(name, Conditioned(), kind="planner" if name == "maze" else "guided")
    for name in TASKS
}
stretched = {
    (name, "conditioned, guidance 2"): {
        SEED: experiment(name, SEED, Conditioned(), kind="guided", guidance=2.0)
    }
    for name in TASKS
    if name != "maze"
}
slow = {"sampler": "ancestral", "sampler_steps": planner["sampler_steps"]}  # as in notebook 03
asked_more = {  # for the next section
    ("maze", "conditioned, all steps"): {
        SEED: experiment("maze", SEED, Conditioned(), kind="planner", brief=False, **slow)
    },
    ("pendulum", "conditioned, given a state"): {
        SEED: experiment("pendulum", SEED, Conditioned(), kind="continuation")
    },
}
done |= compute(told | stretched | asked_more)
seen |= {arm: assess(done[arm]) for arm in told | stretched}
table(told | stretched)


def calibration(results, bins=12):
    """Bias and spread of what comes out, in bins of what was asked, (seeds, 2, bins)."""
    prior = results[0].experiment.task.quantity.prior
    found = []
    for result in results:
        asked = result.samples.arrays["requested"]
        at = np.minimum((prior.cdf(asked) * bins).astype(int), bins - 1)
        off = result.z - asked
        found.append([[f(off[at == k]) for k in range(bins)] for f in (np.mean, np.std)])
    return np.array(found)


fig, axes = plt.subplots(2, 4, figsize=(13, 5.4), sharex="col")
saved = {}
for column, (name, task) in zip(axes.T, TASKS.items(), strict=True):
    for arm, style in (("conditioned", "-"), ("conditioned, guidance 2", "--")):
        if (name, arm) not in done:
            continue
        found = calibration(done[name, arm])
        centres = task.quantity.prior.ppf((np.arange(found.shape[-1]) + 0.5) / found.shape[-1])
        for ax, values, by_seed in zip(column, found.mean(axis=0), found.swapaxes(0, 1), strict=True):
            ax.plot(centres, by_seed.T, style, color=plotting.COLOURS["conditioned"], lw=0.7, alpha=0.5)
            ax.plot(centres, values, style, color=plotting.COLOURS["conditioned"], marker="s", ms=4,
                    label=arm.replace("conditioned, ", "") if "," in arm else "guidance 1")  # fmt: skip
        saved[f"{name}_{arm.replace(', ', '_').replace(' ', '_')}"] = found
    column[0].axhline(0, color="0.7", lw=0.8, zorder=0)
    unit = f" [{task.quantity.unit}]" if task.quantity.unit else ""
    column[0].set(title=name, ylabel=f"bias{unit}")
    column[1].set(xlabel=f"asked: {task.quantity.label}", ylabel=f"spread{unit}", ylim=(0, None))
axes[0, 0].legend(fontsize=9)
run.save_figure(fig, "fig_05_conditioning", data=saved, configs=[r.key for arm in told for r in done[arm]])
plt.show()
for name in TASKS:
    ranks = [
        scipy.stats.rankdata([r.samples.arrays["requested"], r.z], axis=1).T
        for r in done[name, "conditioned"]
    ]
    follows = intervals.bootstrap(lambda rows: np.corrcoef(rows.T)[0, 1], ranks)
    run.record_claim(f"C8.05.{name}_conditioned_follows", *follows)
    run.record_claim(
        f"C8.05.{name}_conditioned_helps", *seen[name, "untreated"].minus(seen[name, "conditioned"])
    )
for name in ("logistic", "cone"):  # on the others there is no validity to lose
    run.record_claim(
        f"C8.05.{name}_conditioned_valid",
        *change_of_validity(done[name, "untreated"], done[name, "conditioned"]),
    )

# %% [markdown]
# **What we see.** (Thin: seeds. The planner of the maze has no guidance.) On the cone the condition is followed closely
# (a rank correlation of 0.97, of which the interval begins just below the 0.95 that we asked for): the drift falls by
# nearly half on average, to 0.03, with an interval that just includes no gain. On the logistic map, after brief
# training, it is followed loosely, with a spread of a fifth to two fifths of the range; the drift stays. On the
# pendulum it is followed with a spread of 0.3 to 0.5 J and a bias toward low energies; the drift falls to a half. In
# the maze the brief planner hardly listens: asked for 5 m it plans nearly 8. (With all steps and the ancestral sampler
# it does, see the next figure.) A guidance of 2 (one seed) narrows the spread on the cone and at low energies, but
# makes what is asked more extreme: above the middle of the range more than asked, below it less. On cone and pendulum
# the drift grows; on the logistic map the upper end breaks. What being told costs in validity is 0.02 on the logistic
# map and nothing on the cone, with intervals too wide to exclude 0.05; on the other two there is hardly any to lose.
#
# So a condition moves the question from *how often is each value made?* to *is what was asked made?*. It helps where
# the model hears it well: on the cone and for the pendulum the drift is half as large on average (by the claims it is
# surely less for the pendulum alone, of whose motions hardly any is valid), on the logistic map and in the maze nothing
# shows. That is C8's *in simple cases only*, if what is simple is what a model can hear, and not whether the task is
# synthetic. It needs a value from whoever samples, too, which an unconditional model does not.
#
# ### Ask for what cannot be
#
# A condition is one wish among others. In the maze the way must also begin at a start and end at a goal; a pendulum
# may have to go on from a given state, which already has an energy. We ask for combinations that can hold and for
# some that cannot: distances from 3 to 12 m between cells one to four moves apart, where demonstrations have 5 to 10
# m; and energies from 1 to 6 J for motions that begin in a state of another energy.

# %%
recorded = run.compute({i: Collection(TASKS["maze"], i) for i in range(DATA["maze"] // chunk)})
separation = np.concatenate([part.arrays["separation"] for part in recorded.values()])
rng = np.random.default_rng(SEED)
each = min(P.samples // 16, 32)
wishes, energies = np.linspace(3, 12, 10), np.linspace(1, 6, 6)
starts = (2.0, 3.5, 5.0)
wished, goes_on = (done[arm][0] for arm in asked_more)


def asking(result, rows, values):
    """A model that is given the ends of training trajectories and asked for values, noise drawn anew."""
    return Compatibility(result.experiment, rows.tolist(), values.tolist(), int(rng.integers(2**63)))


jobs = {}
for apart in range(1, TASKS["maze"].separations + 1):
    rows = rng.choice(np.flatnonzero(separation == apart), each)
    jobs["maze", apart] = asking(wished, rows, wishes)
for begin in starts:
    rows = np.argsort(np.abs(demonstrations["pendulum"].z - begin))[:each]
    jobs["pendulum", begin] = asking(goes_on, rows, energies)
plans, maze_valid, motion_energy, motion_valid = {}, {}, {}, {}
for (name, key), entry in run.compute(jobs).items():
    x = entry.arrays["x"]
    flat, task = x.reshape(-1, *x.shape[2:]), TASKS[name]
    came = task.measure(flat).reshape(x.shape[:2])
    if name == "maze":
        plans[key], maze_valid[key] = came, (task.validity(flat) < task.tolerance).reshape(x.shape[:2])
    else:
        motion_energy[key], motion_valid[key] = came, task.residuals(flat)["energy"].reshape(x.shape[:2])

asked = wished.samples.arrays["requested"]
follows = scipy.stats.spearmanr(asked, wished.z).statistic
print(f"maze, planner with all steps: valid {wished.valid.mean():.2f}; rank correlation of distance asked and planned "
      f"{follows:.2f}, bias {np.mean(wished.z - asked):+.2f} m, spread {np.std(wished.z - asked):.2f} m; "
      f"excess drift {assess([wished]).excess}")  # fmt: skip

fig, axes = plt.subplots(1, 4, figsize=(13, 3.6), layout="constrained")


def draw_mean(ax, asked, values, **style):
    """Mean of what comes out at each value asked, with 1.96 standard errors over plans or motions."""
    ax.errorbar(
        asked, values.mean(axis=0), 1.96 * values.std(axis=0) / len(values) ** 0.5, ms=4, capsize=2, **style
    )


for k, apart in enumerate(plans):
    style = {"color": plt.cm.cividis(k / len(plans)), "fmt": "o-"}
    draw_mean(axes[0], wishes, plans[apart], label=f"{apart} apart", **style)
    draw_mean(axes[1], wishes + 0.15 * (k - (len(plans) - 1) / 2), maze_valid[apart], **style)  # side by side
for k, begin in enumerate(starts):
    style = {"color": plt.cm.viridis(k / len(starts)), "fmt": "D-"}
    draw_mean(axes[2], energies, motion_energy[begin], label=f"from {begin} J", **style)
    draw_mean(axes[3], energies, motion_valid[begin], **style)
for ax, asked in ((axes[0], wishes), (axes[2], energies)):
    ax.plot(asked, asked, color="0.6", lw=1, zorder=0)
    ax.legend(fontsize=8)
axes[0].axvspan(5, 10, color="0.93", zorder=0)
axes[0].set(title="maze", xlabel="asked: $d$ [m]", ylabel="comes out [m]")
axes[1].set(title="maze", xlabel="asked: $d$ [m]", ylabel="share valid", ylim=(0, 1))
axes[2].set(title="pendulum", xlabel="asked: $E$ [J]", ylabel="comes out [J]")
axes[3].set(title="pendulum", xlabel="asked: $E$ [J]", ylabel="energy residual", ylim=(0, None))
axes[3].axhline(TASKS["pendulum"].tolerance, color="0.2", ls="--", lw=1.2)
run.save_figure(
    fig,
    "fig_05_compatibility",
    data={"wishes": wishes, "energies": energies}
    | {f"maze_{apart}_apart": plans[apart] for apart in plans}
    | {f"maze_{apart}_valid": maze_valid[apart] for apart in plans}
    | {f"pendulum_from_{begin:g}": motion_energy[begin] for begin in starts}
    | {f"pendulum_from_{begin:g}_residual": motion_valid[begin] for begin in starts},
    configs=[wished.key, goes_on.key],
    seeds=[SEED],
)
plt.show()
slopes = [np.polyfit(energies, motion_energy[begin].mean(axis=0), 1)[0] for begin in starts]
print("pendulum: change of energy for each joule asked, by start:", np.round(slopes, 2))
costs = []
for begin in starts:
    residuals, apart = motion_valid[begin], np.abs(energies - begin)
    costs.append(residuals[:, apart > 1].mean(axis=1) - residuals[:, apart <= 0.5].mean(axis=1))
    print(
        f"pendulum, from {begin} J: residual larger by {intervals.bootstrap(np.mean, costs[-1:])} in conflict"
    )
run.record_claim(
    "C8.05.pendulum_conflict", *intervals.bootstrap(np.mean, [np.concatenate(costs)]), seeds=[SEED]
)
beyond = np.concatenate([(plans[a] - wishes)[:, wishes > 10].ravel() for a in plans])
run.record_claim("C8.05.maze_beyond", *intervals.bootstrap(np.mean, [beyond]), seeds=[SEED])

# %% [markdown]
# **What we see.** *Maze* (grey: what demonstrations have; one seed, all steps, the sampler of notebook 03. A point is
# 32 plans.) Within the range the planner keeps to what it is asked, whatever the separation of start and goal: a rank
# correlation of 0.94, a bias of -0.3 m, and an excess drift of 0.075, where the untold planner of notebook 03 has 0.11.
# Beyond the range it does not: asked for 12 m it plans 10.6, and one plan in eight is valid instead of six in ten.
# Nothing forbids 12 m; it was never seen. Asked for 3 m it plans 3.4 m between neighbouring cells, and 4.4 m between
# cells four moves apart, which are 4 m from each other: there the wish cannot be met.
#
# *Pendulum* (one seed, brief). The given state has an energy, the request another: no motion has both. The model
# follows the request, 0.8 J for each joule asked, wherever it begins, and lets the energy change along the way. It
# hardly conserves energy even where nothing conflicts: brief training leaves a residual of 0.06 to 0.1. Where request
# and state differ by more than 1 J, the residual is larger by 0.04, nearly half as much again (by 0.07 from a state of
# 2 J, by 0.02 from 3.5 J, and from 5 J by no more than its interval). Nothing warns whoever
# asks: a model warns of values outside of its range of training, not of what does not fit together.
#
# ## 4. Change the coordinates
#
# Now the model is told nothing. It sees $y = \varphi(x)$, an invertible map of each trajectory, and its samples are
# mapped back. Its errors are made in $y$: to the quantity they do
#
# $$ m(\varphi^{-1}(\varphi(x) + \text{deviation})) - m(x) . $$
#
# Notebook 02 says what to look for. A *bias* arises where the measurement is curved: let $m \circ \varphi^{-1}$ be
# linear. A *blur* leaks over the ends of the range: let the law of the quantity **fade out** in $y$, so that there is
# no end to leak over. A size is not linear, but the size of a Gaussian has a law that fades out, and a diffusion model
# starts from a Gaussian.
#
# So here is one recipe for three tasks, $y = x\, \rho(m(x)) / \mathrm{size}(x)$: the quantity becomes the **size** of
# the trajectory, on a scale $\rho$ that takes its uniform law to one that fades out.
#
# - *cone*: size is the norm. At one amplitude the trajectories are a closed curve, as the points of one radius in the
#   plane are: $\rho$ takes amplitudes to the radii of a Gaussian in the plane ($\chi_2$).
# - *pendulum*: size is the root of the energy as it would be for small swings. Motions of one energy begin on a
#   surface of three dimensions in phase space: $\chi_4$.
# - *maze*: size is the length of the path, which is far from 0: $\rho$ takes it to a normal law of the same mean and
#   standard deviation.
#
# On the logistic map nobody tells us where the quantity shows. We let the kernel find it.
#
# ### Let the kernel find the coordinates of the logistic map
#
# A family with four numbers, in which each step is divided by a curve of the one before,
#
# $$ y_t = x_t / s(x_{t-1}), \qquad s(x) = x^a (1 - x)^b e^{c x + d x^2} . $$
#
# All numbers 0 is $y = x$. By gradient descent through deviation, inverse map and measurement we look for the numbers
# at which small isotropic errors in $y$ change the quantity least.

# %%
batch = demonstrations["logistic"]
for _ in range(2):  # the first fills caches, as where training is timed (section 5)
    began = time.process_time()
    learned = learn_ratios(batch.x, TASKS["logistic"].differentiable, 0.0, 1.0, seed=SEED)
    seconds = {"logistic": time.process_time() - began}
print(f"found in {seconds['logistic']:.1f} s: powers {learned.powers}, bend {learned.bend}")
at = np.linspace(0.01, 0.99, 99)
fig, ax = plt.subplots(figsize=(4.6, 3.4))
ax.plot(at, learned.curve(at) / learned.curve(np.array(0.5)) / 4, color=plotting.COLOURS["in coordinates"], lw=2.4,
        label="found by the kernel")  # fmt: skip
ax.plot(at, at * (1 - at), "--", color="0.2", lw=1.2, label="$x\\,(1 - x)$")
ax.set(xlabel="$x$", ylabel="$s(x)$, scaled to 1/4 at 1/2", ylim=(0, None))
ax.legend(fontsize=9, loc="lower center")
run.save_figure(
    fig,
    "fig_05_learned",
    data={"x": at, "s": learned.curve(at), "powers": learned.powers, "bend": learned.bend},
    seeds=[SEED],
)
plt.show()
gap = np.abs(learned.curve(batch.x[:2000]) / (batch.x[:2000] * (1 - batch.x[:2000]).clip(1e-4)))
gap = np.abs(gap / np.median(gap) - 1)
run.record_claim("C9.05.learned_the_map", *np.quantile(gap, [0.5, 0.025, 0.975]), seeds=[SEED])

# %% [markdown]
# **What we see.** The two curves are one: the powers come out as 1 and 1 within a ten-thousandth, the bend as nearly 0.
# (The interval printed is the spread over the data.) From trajectories, a measurement that fits $r$ by least squares,
# and a family that contains it, the descent has found the right side of the map, in less than a second. In these
# coordinates a trajectory reads $x_0, r, r, r, \dots$, and the measurement is a weighted mean of the ratios: linear but
# for the weights, nearly what the theory asks for. The law of $r$ in $y$ still ends abruptly. So one more candidate
# lets it fade out: a monotone curve takes $x_0$, and another takes all ratios, to a normal law.
#
# ### Rank coordinates before training
#
# For each task a list of candidates. The kernel is made of two of notebook 02: the tangent kernel (reach 0.1, the
# nearest 5 %), which errs along the data, and after it the isotropic one, which errs in all directions, at the scale
# that well trained sine models have there. Either alone can be fooled: along the data, stretched coordinates always
# look good, whatever lies beside them; and in all directions alike the wrong candidates for the logistic map look
# harmless. The kernel deviates 4,096 trajectories in each of the coordinates and forecasts the drift. It also tells
# how many landing places are valid. *The rule*: of the coordinates whose forecast is within 0.01 of the least, take
# those with the most valid landing places; where that leaves several (within one percentage point), the first.
#
# *How this came about.* Sizes, filter, the family of curves, the two parts of the kernel, the margins of the rule and
# the deterministic sampler were settled on seed 0, with drift and validity of trial models in view; some of these had
# other laws of size or more channels, and were worse. The map of the pendulum was mended once more after a version of
# it had run on all seeds: it was not exactly invertible, and its first repair made outliers of motions over the top.
# Seed 0 counts in the means below, and the ranking is tested on it alone. So what follows confirms the choice on two
# more seeds; it is no blind test.

# %%
normal = scipy.stats.norm()


def fade(values):
    """The warp that gives values of any law a normal one."""
    return Warp.between(scipy.stats.rv_histogram(np.histogram(values, 2000)), normal)


ratios = learned.transform(batch.x)
prior = {name: task.quantity.prior for name, task in TASKS.items()}
sized = {
    "cone": NormWarp.between(prior["cone"], scipy.stats.chi(2)),
    "maze": LengthWarp.between(prior["maze"], scipy.stats.norm(prior["maze"].mean(), prior["maze"].std())),
    "pendulum": EnergyWarp.between(prior["pendulum"], scipy.stats.chi(4), pendulum=TASKS["pendulum"]),
}
arcsine = np.linspace(0.02, 0.98, 17)
plain = {"filter": Filter(0.5), "increments": Increments()}
CANDIDATES = {
    "logistic": {"as it is": Identity()}
    | plain
    | {
        "arcsine": Warp(tuple(arcsine), tuple(np.arcsin(np.sqrt(arcsine)))),
        "innovations": Innovations.of(batch.x),
        "learned": learned,
        "learned, faded": Chain(learned, FirstAndRest(fade(ratios[:, 0]), fade(ratios[:, 1:]))),
    },
}
for name, coordinates in sized.items():
    CANDIDATES[name] = {"as it is": Identity(), "sized": coordinates} | plain
    CANDIDATES[name]["sized, filter"] = Chain(coordinates, plain["filter"])
CANDIDATES["maze"]["polar"] = Polar()

sine = compute({"sine": {s: Experiment(tasks.load("sine"), build("unet", **P.models["unet"]), P.data, P.samples, s)
                         for s in run.seeds}})["sine"]  # fmt: skip
scale = matched_scale(sine[0].experiment, residual(sine))
print(f"scale of the isotropic errors: {scale:.4f} standard deviations")


class Errors(Kernel):
    """Along the data y, and then a little in all directions."""

    def __init__(self, y):
        self.parts = TangentKernel(y, reach=0.1, share=0.05), IsotropicKernel(scale, y.std(axis=(0, 1)))

    def deviate(self, y, rng):
        for part in self.parts:
            y = part.deviate(y, rng)
        return y


subset = {name: some.x[rng.permutation(len(some.x))[:4096]] for name, some in demonstrations.items()}
power = KernelCoordinates.fit(
    subset["cone"][:2048],
    TASKS["cone"].measure,
    Errors,
    family_of("norm power", subset["cone"]),
    evaluations=12,
)
print(f"cone, the best balanced norm power: {power.coordinates.power:.2f}")
forecasts, CHOSEN = {}, {}
print(f"{'task':9s} {'coordinates':16s} forecast drift  valid landings")
for name, candidates in CANDIDATES.items():
    task = TASKS[name]
    began = time.process_time()
    ranked = rank(list(candidates.values()), subset[name], task.measure, Errors, seed=SEED)
    took = (time.process_time() - began) / len(candidates)
    seconds[name] = (
        seconds.get(name, 0.0) + took
    )  # what it takes to make the chosen ones and to forecast them
    forecast = {k: next(r for r in ranked if r.coordinates is c) for k, c in candidates.items()}
    lands = {k: np.mean(task.validity(r.moved) < task.tolerance) for k, r in forecast.items()}
    least = min(r.drift for r in forecast.values())
    near = [k for k in candidates if forecast[k].drift <= least + 0.01]
    CHOSEN[name] = next(k for k in near if lands[k] >= max(lands[other] for other in near) - 0.01)
    forecasts[name] = {k: r.drift for k, r in forecast.items()}
    for k in candidates:
        mark = " <- chosen" if k == CHOSEN[name] else ""
        print(f"{name:9s} {k:16s} {forecasts[name][k]:14.3f}  {lands[k]:14.3f}{mark}")

# %% [markdown]
# **What we see.** Coordinates in which the quantity is linear or a size, and fades out, have the least forecast on all
# four tasks, three to seven tenths less than the original ones. The forecast is selective. On the logistic map, a
# pointwise warp of the state helps little, and innovations (what a mean parabola leaves of each step) hurt: for them
# the quantity is as singular at its mean as the amplitude of the cone is at 0. On the cone a search over powers of
# the norm ends where it began, at 1. In the maze the size alone does nothing: its landing places are as invalid as
# the original ones. The filter does most. It raises high frequencies before training, and lowers them with the errors
# after it. Headings and step lengths (*polar*) would keep the distance as well, and lead through walls: they are near
# enough to the least forecast, but seven in a hundred landing places are valid, and so the rule passes them over.
#
# ### Train in them
#
# First one seed of each candidate on the two small tasks, briefly, to see whether the ranking holds. Then the chosen
# ones, on three seeds: briefly on the small tasks, with all steps in the maze and for the pendulum.

# %%
trial = {
    (name, f"trial, {k}"): {SEED: experiment(name, SEED, None if k == "as it is" else InCoordinates(c))}
    for name in ("logistic", "cone")
    for k, c in CANDIDATES[name].items()
}
chosen = {
    (name, "in coordinates"): over_seeds(
        name, InCoordinates(CANDIDATES[name][CHOSEN[name]]), brief=name in ("logistic", "cone")
    )
    for name in TASKS
}
done |= compute(trial | chosen)
seen |= {arm: assess(done[arm]) for arm in trial | chosen}
table(chosen)
fig, axes = plt.subplots(1, 2, figsize=(9, 3.8))
saved, points = {}, []
for ax, name in zip(axes, ("logistic", "cone"), strict=True):
    pairs = np.array([[forecasts[name][k], seen[name, f"trial, {k}"].excess.value] for k in CANDIDATES[name]])
    for i, (k, (x, y)) in enumerate(zip(CANDIDATES[name], pairs, strict=True)):
        ax.plot(x, y, "o", color=plotting.COLOURS["in coordinates" if k == CHOSEN[name] else "unet"], ms=7)
        ax.annotate(k, (x, y), xytext=(5, -11 if i % 2 else 4), textcoords="offset points", fontsize=8)
    ax.set(
        title=name, xlabel="forecast drift", ylabel="excess drift after training", xmargin=0.3, ymargin=0.15
    )
    ax.axhline(0, color="0.7", lw=0.8, zorder=0)
    saved[name], points = pairs, [*points, pairs]
    print(name, "one seed, brief:", ", ".join(
        f"{k} {y:.3f} (valid {valid_share(done[name, f'trial, {k}']).value:.2f})"
        for k, (_, y) in zip(CANDIDATES[name], pairs, strict=True)))  # fmt: skip
run.save_figure(
    fig, "fig_05_ranking", data=saved, configs=[r.key for arm in trial for r in done[arm]], seeds=[SEED]
)
plt.show()
within = [scipy.stats.rankdata(pairs, axis=0) / len(pairs) for pairs in points]
for name, pairs in zip(("logistic", "cone", "both"), (*points, np.concatenate(within)), strict=True):
    # Candidates are resampled: how much the correlation hangs on which of them were tried.
    value = scipy.stats.spearmanr(*pairs.T).statistic
    resampled = [pairs[rng.integers(len(pairs), size=len(pairs))] for _ in range(400)]
    spread = [scipy.stats.spearmanr(*r.T).statistic for r in resampled if len(np.unique(r[:, 0])) > 2]
    low, high = np.nanquantile(spread, [0.025, 0.975])
    run.record_claim(f"C9.05.{name}_ranking", value, min(low, value), max(high, value), seeds=[SEED])

# %% [markdown]
# **What we see.** (One seed; the chosen candidate is dark.) On the logistic map the candidate with the least forecast
# has the least drift, and that with the largest the most; on the cone the two with the least forecast have the least
# drift. In between the order is not kept: innovations come out better than forecast, the filter worse. Rank
# correlations over the candidates are 0.68 and 0.8, and 0.74 for both tasks together, each ranked within itself. With
# so few candidates the intervals are wide: for both together from 0.2 to 0.9. Nor are the forecasts sizes: on the
# logistic map most candidates drift more than forecast, on the cone most less. On two tasks and one seed, what the
# kernel chose is best or level with it. That it ranks the rest is not shown.

# %%
BASE = {name: "untreated" if name in ("logistic", "cone") else "untreated, all steps" for name in TASKS}
fig, axes = plt.subplots(2, 4, figsize=(13, 5.8), sharex="col")
saved = {}
for column, (name, task) in zip(axes.T, TASKS.items(), strict=True):
    for ax, arm, colour in ((column[0], BASE[name], "unet"), (column[1], "in coordinates", "in coordinates")):
        found = seen[name, arm]
        plotting.plot_recovered(ax, found.edges, found.p, found.q, n, colour)
        saved |= {f"{name}_{arm.replace(', ', '_').replace(' ', '_')}": found.q}
    saved |= {f"{name}_edges": found.edges, f"{name}_p": found.p}
    top = max(ax.get_ylim()[1] for ax in column)
    for ax in column:
        ax.set_ylim(0, top)
    column[0].set_title(name)
    column[1].set_xlabel(task.quantity.label)
axes[0, 0].set_ylabel("untreated\ndensity relative to the prior")
axes[1, 0].set_ylabel("in coordinates")
axes[0, 1].legend(fontsize=8, loc="lower center")
run.save_figure(fig, "fig_05_coordinates", data=saved, configs=[r.key for arm in chosen for r in done[arm]])
plt.show()


def rejected(results):
    """Excess drift if samples outside of the prior's range are thrown away, equally many kept of each seed."""
    quantity = results[0].experiment.task.quantity
    low, high = quantity.prior.support()
    inside = [r.z[(r.z >= low) & (r.z <= high)] for r in results]
    least = min(map(len, inside))
    if least < 100:
        return "too few are left"
    values = [z[:least] for z in inside]
    return drift.assess(values, quantity.prior, quantity.bins(), results[0].experiment.data).excess


print("untreated, with all samples outside of the range thrown away, against coordinates: excess drift")
for name in TASKS:
    print(f"{name:9s} {rejected(done[name, BASE[name]])!s:24s} {seen[name, 'in coordinates'].excess}")
for name in TASKS:
    before, after = seen[name, BASE[name]], seen[name, "in coordinates"]
    print(f"{name}: {1 - after.excess.value / before.excess.value:.0%} of the excess drift is gone; median residual "
          f"{residual(done[name, BASE[name]]):.4f} -> {residual(done[name, 'in coordinates']):.4f}")  # fmt: skip
    run.record_claim(f"C9.05.{name}_halved", *halved(before, after))
    run.record_claim(
        f"C9.05.{name}_validity", *change_of_validity(done[name, BASE[name]], done[name, "in coordinates"])
    )

# %% [markdown]
# **What we see.** On the *logistic map* the law is nearly flat up to its ends, and every trajectory is valid instead of
# one in two. The excess is 0.01 after a quarter of the training; without treatment four times the training leaves
# 0.11 (notebook 01). On the *cone* four fifths of the excess are gone; as there was little to lose, the interval
# of "half" just excludes 0. In the *maze* three quarters are gone, and four times as many ways are valid, though with
# this sampler, which serves the untreated model badly. Too many ways come out between 5 and 6 m. On the
# *pendulum* half is gone on average, and the share of valid motions is about what it was (0.77 after 0.78); but seeds
# differ, and the intervals assure neither. What remains is a tilt toward low energies. Throwing away what lies outside
# of the range would not have done it: the untreated models would keep two thirds to nine tenths of their excess.
#
# In W1 the gain is clear on the logistic map (0.006 after 0.080) and in the maze (0.32 m after 1.05 m). On the cone
# (0.018 after 0.021) and for the pendulum (0.32 J after 0.35 J) it hardly changes: less leaks over the ends, and the
# tilt stays.
#
# Notebooks 03 and 04 sampled with fresh noise at each of 50 steps (*ancestral*). The same trained models again, in
# that way:

# %%
again = {
    (name, f"{arm}, ancestral"): {
        seed: experiment(name, seed, job.treatment, brief=False, **slow)
        for seed, job in (arms | chosen)[name, arm].items()
    }
    for name in ("maze", "pendulum")
    for arm in (BASE[name], "in coordinates")
}  # fmt: skip
done |= compute(again)
seen |= {arm: assess(done[arm]) for arm in again}
table(again)
for arm in again:
    middle = TASKS[arm[0]].quantity.prior.mean()
    off = intervals.bootstrap(np.mean, [r.z - middle for r in done[arm]])
    print(f"{arm[0]:9s} {arm[1]:36s} mean less that of the prior: {off} {TASKS[arm[0]].quantity.unit}")
for name in ("maze", "pendulum"):
    before, after = (seen[name, f"{arm}, ancestral"] for arm in (BASE[name], "in coordinates"))
    run.record_claim(f"C9.05.{name}_ancestral", *before.minus(after))

# %% [markdown]
# **What we see.** In this way, too, there is less drift in coordinates, but the gain is smaller: a quarter to three
# tenths of the excess, 0.04 in both tasks, in the maze with an interval that includes none. Validity is nearly that of
# the untreated models: 0.49 after 0.45 in the maze, 0.88 after 0.93 for the pendulum. The last lines show what
# remains: ways are too short and energies too low on average, about as much as without treatment, in the maze more.
# Hence the larger W1 there. Sizes that fade out end the leak over the ends of the range; they do not end a pull toward
# small sizes, which this sampler has and the other has less of.
#
# ## 5. Put them side by side
#
# Drift against validity, for each treatment and the untreated model it belongs to. Of the weights, those are shown
# that came out best on the task. A treatment is good if it leads down and to the right. (Open triangles are the brief
# models of section 1, in the maze the planner; filled ones the U-Net with all its training.)


# %%
def best_recipe(name):
    """The recipe of weights that came out best, of those tried on a task."""
    tried = [arm for arm in treated if arm[0] == name and not arm[1].endswith("ramp")]
    return min(tried, key=lambda arm: seen[arm].excess.value)[1]


WAYS = {"reweighted": "s", "conditioned": "D", "in coordinates": "o"}
fig, axes = plt.subplots(1, 4, figsize=(13, 4), sharex=True)
saved = {}
for ax, name in zip(axes, TASKS, strict=True):
    drawn = {}
    for way, marker in WAYS.items():
        arm = best_recipe(name) if way == "reweighted" else way
        base = BASE[name] if way == "in coordinates" else "untreated"
        ends = [(valid_share(done[name, a]), seen[name, a].excess) for a in (base, arm)]
        (x0, y0), (x1, y1) = ([end[0].value, end[1].value] for end in ends)
        colour = plotting.COLOURS[way]
        ax.annotate("", (x1, y1), (x0, y0), arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.2})
        for (validity, excess), style in zip(
            ends,
            ((plotting.COLOURS[KIND[name] if base == "untreated" else "unet"], "^"), (colour, marker)),
            strict=True,
        ):
            key = base if style[1] == "^" else arm
            if key in drawn:
                continue
            drawn[key] = True
            label = {"untreated": "untreated, brief", "untreated, all steps": "untreated, all steps"}.get(
                key, way
            )
            face = "white" if key == "untreated" else style[0]
            ax.errorbar(validity.value, excess.value, color=style[0], marker=style[1], mfc=face, ms=7, capsize=2, lw=1,
                        zorder=4 if key == base else 3,
                        xerr=[[validity.value - validity.low], [validity.high - validity.value]],
                        yerr=[[excess.value - excess.low], [excess.high - excess.value]], label=label)  # fmt: skip
            saved[f"{name}_{key.replace(', ', '_').replace(' ', '_')}"] = [*validity, *excess]
    ax.axhline(0, color="0.6", lw=0.8, zorder=0)
    ax.set(title=name, xlabel="share valid", xlim=(-0.05, 1.05))
    ax.set_ylim(bottom=min(-0.01, ax.get_ylim()[0]))
axes[0].set_ylabel("excess drift (TV above its floor)")
axes[2].legend(fontsize=8)
run.save_figure(fig, "fig_05_pareto", data=saved, configs=[r.key for arm in chosen | told for r in done[arm]])
plt.show()
for name in ("logistic", "cone"):
    for label, other in (("reweighted", best_recipe(name)), ("conditioned", "conditioned")):
        run.record_claim(
            f"C9.05.{name}_beats_{label}", *seen[name, other].minus(seen[name, "in coordinates"])
        )


def training_seconds(job, y):
    """Processor seconds of all steps of a training, by what twenty of them take on this machine now."""
    took = {}
    for steps in (4, 4, 24):  # the first fills caches
        began = time.process_time()
        replace(job.model, steps=steps).fit(y, np.random.default_rng(SEED))
        took[steps] = time.process_time() - began
    return (took[24] - took[4]) / 20 * job.model.steps


print(
    "what it costs, in processor seconds: to train one model, and to make and forecast the chosen coordinates"
)
shares = {}
for name in TASKS:
    y = CANDIDATES[name][CHOSEN[name]].transform(subset[name])
    training = training_seconds(chosen[name, "in coordinates"][SEED], y)
    shares[name] = seconds[name] / training
    print(f"{name:9s} {training:6.0f} s, {seconds[name]:5.1f} s: {shares[name]:.1%}")
worst = max(shares.values())
run.record_claim("C9.05.cost_of_fitting", worst, worst, worst, seeds=[SEED])

# %% [markdown]
# **What we see.** In the coordinates that the kernel chose, arrows lead down on all four tasks, and to the right on
# three; on the pendulum validity stays about as it was. The three are on equal terms on the two small tasks only, where
# all have the same training. There coordinates leave less drift than the best weights (best in hindsight, of those
# tried); less than conditions on the logistic map, while on the cone the interval of the difference to conditions
# includes 0. In the maze and for the pendulum, weights and conditions were tried on brief models. There is one more
# point for the maze, not drawn: a planner that is told the distance, with all steps and the ancestral sampler, has an
# excess of 0.075 and 0.60 valid plans (section 3, one seed); coordinates with that sampler have 0.12 and 0.49. But it
# is given start, goal and distance.
#
# Choosing is cheap: the chosen coordinates are made and forecast in less than a twentieth of the training of a model (the
# largest share is that on the logistic map, where training is brief). Not counted: first calls, which fill caches, on
# either side (timed with it, the making came out as 4.3 to 5.3 % in four runs, once above the bound); the other
# candidates; the sine models that give the scale of the errors; and the trials in which all this was settled.
#
# ## What to take along
#
# - Weights change which law a model aims at. They do not change how it misses: naive weights turn one tilt into
#   another; half way, up to two fifths of the excess are gone, and the ends stay.
# - Conditions help where they are heard, as for the pendulum, and on the cone on average. They do not know what fits
#   together: asked for an energy that the given state does not have, a model lets the energy change; asked for more
#   than it has seen, it plans less and worse.
# - Coordinates change the errors themselves. Good ones make the quantity linear in what the model sees, or its size,
#   let its law fade out instead of ending, and raise what the model would get wrong. On all four tasks half of the
#   excess drift (in total variation) or more is gone on average, on three with the whole interval; validity is higher
#   on three and about the same on one. With the ancestral sampler (maze and pendulum only) it is a quarter to three
#   tenths, assured for the pendulum alone, and validity is about that of the untreated models.
# - A kernel can choose coordinates before a model is trained in them, if it errs along the data and across, and if
#   the validity of its landing places is watched. On the logistic map it even finds them.
# - Such coordinates carry knowledge of the measurement and of the ends of its law. The model is not told the quantity;
#   but what it sees was arranged by somebody who knows it.

# %%
run.finish()

# %% [markdown]
# ## Try it
#
# The kernel on the cone and in the maze, with its isotropic part alone. Move the power of the norm, $y = x\,|x|^{p-1}$,
# the size of the errors in $y$ (in standard deviations of $y$), and the slope of the filter in the maze. Look for the
# power with the least forecast drift, and for where it goes as errors grow; and for slopes that bring ways back valid.
#
# In the picture the power is 2. Norms near 0 are squeezed together, so errors throw small amplitudes off the apex:
# hardly any below 0.1 come back, and most of them pile up there. The open circle marks the power that moves the least
# mass, near 0.8. In the maze a slope of 0.5 halves the forecast, and brings two of three ways back valid, where none
# was before.

# %%
from physmis.coordinates import NormPower
from physmis.teaching import widgets as workshop

POWERS, SLOPES = np.linspace(0.2, 2.2, 11), np.linspace(0, 2, 9)
FEW = subset | {"maze": subset["maze"][:256]}  # enough for a forecast, and quickly done


def isotropic(coordinates, x, name, size):
    """What isotropic errors in some coordinates do to the quantity of a task."""
    return KernelCoordinates.of(
        coordinates, x, TASKS[name].measure, lambda y: IsotropicKernel(size, y.std(axis=(0, 1)))
    )


def in_maze(slope, size):
    """Forecast drift and share of valid landing places, for a filter."""
    found = isotropic(Filter(slope), FEW["maze"], "maze", size)
    return found.drift, np.mean(TASKS["maze"].validity(found.moved) < TASKS["maze"].tolerance)


def draw(power, error_size, slope):
    """Amplitudes that come back on the cone, forecast drift by power, and drift and validity by slope."""
    fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="none")
    fig.subplots_adjust(0.07, 0.17, 0.99, 0.9, wspace=0.32)  # sooner done than a layout that is worked out
    chosen_colour, plain_colour = plotting.COLOURS["in coordinates"], plotting.KERNELS["isotropic"][0]
    edges = TASKS["cone"].quantity.bins()[1:-1]
    axes[0].stairs(TASKS["cone"].quantity.prior.pdf((edges[1:] + edges[:-1]) / 2), edges, fill=True,
                   color=plotting.COLOURS["prior"], alpha=0.3, lw=0, label="prior")  # fmt: skip
    for p, colour, label in ((1.0, plain_colour, "as it is"), (power, chosen_colour, f"power {power:.2f}")):
        landed = isotropic(NormPower(p), demonstrations["cone"].x[:8192], "cone", error_size).landed
        share = np.histogram(landed, edges)[0] / len(landed)
        axes[0].stairs(share / np.diff(edges), edges, color=colour, lw=1.8, label=label)
    axes[0].set(title="cone", xlabel=TASKS["cone"].quantity.label, ylabel="density", xlim=edges[[0, -1]])
    axes[0].legend(fontsize=8, loc="upper right")
    by_power = [isotropic(NormPower(p), FEW["cone"], "cone", error_size).drift for p in POWERS]
    least = np.argmin(by_power)
    here = isotropic(NormPower(power), FEW["cone"], "cone", error_size).drift
    axes[1].plot(POWERS, by_power, color=chosen_colour)
    axes[1].plot(POWERS[least], by_power[least], "o", color=chosen_colour, mfc="white", ms=8, label="least")
    axes[1].plot(power, here, "o", color=chosen_colour, ms=8, label="this power")
    axes[1].set(
        title="cone, by power", xlabel="power of the norm", ylabel="forecast drift (TV)", ylim=(0, None)
    )
    axes[1].legend(fontsize=8)
    drifts, valid = np.transpose([in_maze(s, error_size) for s in SLOPES])
    axes[2].plot(SLOPES, drifts, color=chosen_colour, label="forecast drift (TV)")
    axes[2].plot(SLOPES, valid, "--", color="0.2", label="valid landing places")
    for value, colour in zip(in_maze(slope, error_size), (chosen_colour, "0.2"), strict=True):
        axes[2].plot(slope, value, "o", color=colour, ms=8)
    axes[2].set(title="maze, by slope", xlabel="slope of the filter", ylabel="share", ylim=(0, 1.4))
    axes[2].set_yticks(np.linspace(0, 1, 6))
    axes[2].legend(fontsize=8, loc="upper right")
    return fig


workshop.explore(draw, power=(0.2, 2.2, 2.0), error_size=(0.005, 0.105, 0.03), slope=(0.0, 2.0, 0.5))

# %% [markdown]
# ## Exercises
#
# ### Exercise 05.1: half of the data
#
# Amplitudes are uniform between 0 and 1. Weights $w(a) \propto a^k$ with $k > 0$ make small ones rare. For which $k$ is
# the effective size $(\sum w)^2 / \sum w^2$ of many weighted amplitudes half of their number? `answer` is a number, to
# two decimals.

# %%
answer = ...
workshop.check("05.1", answer)

# %% [markdown]
# <details><summary>Solution 05.1</summary>
#
# The mean of $a^k$ is $1/(k+1)$, that of its square $1/(2k+1)$; so the share is $(2k+1)/(k+1)^2$. Half of it means
# $k^2 - 2k - 1 = 0$, and only one root is above 0.
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
# $y$. What it makes is mapped back and measured. By how much does its mean amplitude exceed $a$, to second order in
# $\sigma$? `answer` is a function `answer(a, power, sigma, d)` of an array `a` of shape (n,) and three numbers, which
# returns an array of shape (n,). For which power do all amplitudes have the same bias?

# %%
answer = ...
workshop.check("05.2", answer)

# %% [markdown]
# <details><summary>Solution 05.2</summary>
#
# What comes back has amplitude $|y'|^s$, $s = 1/p$. The bias is $\sigma^2/2$ times the Laplacian of $|y|^s$ in $d$
# dimensions, $s\,(s + d - 2)\,|y|^{s-2}$, at $|y| = a^p$. It goes as $a^{1-2p}$: at $p = 1/2$ it is the same for all
# amplitudes, and above it is largest at the apex.
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
# `paths(n, rng)` in `physmis.teaching.exercises.mitigations` makes smooth paths in the plane, an array of shape (n, 64, 2) in
# metres, whose lengths are uniform between 5 and 10 m. A model that sees them as they are, with isotropic errors of
# 0.05 standard deviations of each channel (over paths and steps), makes them too long. Find coordinates in which errors
# of 0.05 standard deviations of each channel *of y* leave at most a quarter of that drift (total variation between the
# lengths before and after, over bins of 0.2 m). Paths must also land nearer to where they were, at three quarters of
# the distance at most (root mean square over the steps, mean over the paths): a drift that is bought with paths that
# wander off is no gain. `answer` is a pair of functions `(transform, inverse)`. Both take and return arrays of shape
# (n, 64, 2), for any n; `inverse` undoes `transform` within 0.00001 m. There are many right answers.

# %%
answer = ...
workshop.check("05.3", answer)

# %% [markdown]
# <details><summary>Solution 05.3</summary>
#
# A length adds up steps, so quick errors count most. Raise high frequencies in y: on the way back they are lowered
# again, and the errors with them. Increments lessen the drift, too, but their errors add up, and paths wander off.
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
