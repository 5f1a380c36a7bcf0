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
# # Audit trajectories of your own
#
# **What you will do.** Record demonstrations of a robot arm that this project did not make, with a controller of a few
# lines. Ask an audit, before training, which path lengths a model will make too often. Train, and ask again. Then test
# the audit itself: how often does it cry wolf, and what does it miss?
#
# **What you will learn.** What to test beside the validity of single trajectories (claim C10), how to read the
# answer, and how many trajectories it takes to notice a shift of a given size.
#
# **What you need.** The idea of notebook 01. Nothing of the maze or the pendulum.
#
# This notebook accompanies *Mechanisms of Misgeneralization in Physical Sequence Modeling* (Nishi, Tang, Kumar, Park,
# Tanaka, 2026). The audit, its test and all numbers are this companion's own.

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
import tempfile
import time
from pathlib import Path

import gymnasium
import matplotlib.pyplot as plt
import mujoco
import numpy as np
import scipy.stats
import torch

import physmis
from physmis.audit.audit import CANDIDATES, audit
from physmis.audit.measurements import path_length
from physmis.coordinates import Identity
from physmis.drift import intervals
from physmis.drift.shift_test import DRAWS, LEVEL, bin_edges, compare, law
from physmis.experiments.parallel import fan_out
from physmis.experiments.store import Store
from physmis.models import build
from physmis.paper import plotting
from physmis.teaching import widgets as workshop

plotting.use_style()
run = physmis.start("06_audit", profile=PROFILE, seed=SEED, device=DEVICE)
P = run.profile

# %% [markdown]
# ## 1. Record demonstrations
#
# `Reacher-v5` of gymnasium: an arm of two links in the plane, in MuJoCo. The controller pulls the fingertip toward
# the target with a force that is turned into torques by the transposed Jacobian, $\tau = k J^\top (g - x) - d\, \dot
# q$. Its gain $k$ differs from episode to episode by a factor of up to 30, so that some demonstrations crawl and
# others swing. We record the fingertip, two coordinates in metres, for 48 steps of 0.02 s. What matters to us is the
# **length of its path**.


# %%
def episode(environment, seed):
    """The fingertip of one episode, (48, 2), in metres."""
    environment.reset(seed=seed)
    model, data = environment.model, environment.data
    tip, jacobian = model.body("fingertip").id, np.zeros((3, model.nv))
    gain = 10 ** np.random.default_rng([SEED, seed]).uniform(0.5, 2)
    path = np.empty((48, 2))
    for step in range(48):
        path[step] = data.xpos[tip][:2]
        mujoco.mj_jacBody(model, data, jacobian, None, tip)
        pull = jacobian[:2, :2].T @ (data.body("target").xpos[:2] - path[step])
        environment.step(np.clip(gain * pull - 0.01 * gain**0.5 * data.qvel[:2], -1, 1))
    return path


def recorded(episodes):
    """All episodes, from the store if they are there."""
    config = {"kind": "reacher", "episodes": episodes, "seed": SEED}
    entry = Store().fetch(config)
    if entry is None:
        run.cold = True
        with gymnasium.make("Reacher-v5") as environment:
            paths = np.stack([episode(environment.unwrapped, i) for i in range(episodes)])
        entry = Store().put(config, arrays={"x": paths.astype(np.float32)}, seconds=0.0, device="cpu")
    return entry.arrays["x"]


x = recorded(P.data // 5)
z = path_length(x)
fig, axes = plt.subplots(1, 2, figsize=(8, 3.4))
for row in np.argsort(z)[np.linspace(0, len(z) - 1, 24).astype(int)]:
    axes[0].plot(*x[row].T, color=plt.cm.viridis(z[row] / z.max()), lw=1.2)
axes[0].set(xlabel="$x$ [m]", ylabel="$y$ [m]", aspect="equal", title="fingertips (bright: long paths)")
axes[1].hist(z, 40, color=plotting.COLOURS["prior"])
axes[1].set(xlabel="path length [m]", ylabel="demonstrations")
run.save_figure(fig, "fig_06_demonstrations", data={"x": x[:200], "path_length": z}, seeds=[SEED])
plt.show()

# %% [markdown]
# ## 2. Ask before training
#
# One call. Nothing is trained: a kernel deviates demonstrations a little along the data and a little in all
# directions, and the audit looks where their path lengths land.

# %%
before = audit(x, "path_length", seed=SEED)
print(before)

# %% [markdown]
# **What we see.** Small errors make a path longer, never shorter on average: the bias is positive at every length, by
# 0.12 m for the shortest paths and a fifth of that for the longest. So the audit foresees that paths below 0.1 m will
# be missing, and that the lengths above and those at the upper end gain. It also foresees where that would be less:
# the forecast drift is 0.13, and 0.05 if the model sees the paths filtered (quick changes stressed); if it sees
# increments, it is no more than what comes by chance, 0.035.

# %% [markdown]
# ## 3. Train, and ask again
#
# The U-Net of notebook 01, on the fingertips as they are and in the coordinates that the audit compared. New
# trajectories are mapped back, and looked at one by one: is the fingertip within the arm's reach of 0.21 m (to 1 cm),
# and no step longer than the longest of all demonstrations? Then the audit.

# %%
COORDINATES = {"as they are": Identity()} | CANDIDATES
n = P.samples // 4
size, device = P.models["unet"], run.device


def config(name, seed):
    """What the new trajectories of a model depend on."""
    return {"kind": "reacher_model", "data": len(x), "episodes of": SEED, "seed": seed, "samples": n,
            "model": build("unet", **size).config(), "coordinates": COORDINATES[name].config()}  # fmt: skip


def make(name, seed, store):
    """Train a U-Net in the coordinates called ``name``, and store new trajectories of it."""
    torch.set_num_threads(1)
    coordinates, begun = COORDINATES[name], time.perf_counter()
    model = build("unet", **size).to(device).fit(coordinates.transform(x), np.random.default_rng([seed, 1]))
    new = coordinates.inverse(model.sample(n, np.random.default_rng([seed, 2]))).astype(np.float32)
    store.put(config(name, seed), arrays={"x": new}, seconds=time.perf_counter() - begun, device=device)


store = Store()
arms = [(name, seed) for name in COORDINATES for seed in run.seeds]
lacking = [(*arm, store) for arm in arms if store.fetch(config(*arm)) is None]
run.cold |= bool(lacking)
if device == "cuda":
    for call in lacking:
        make(*call)
else:
    fan_out(make, lacking, "model")
new = {name: [store.fetch(config(name, seed)).arrays["x"] for seed in run.seeds] for name in COORDINATES}


def checks(paths):
    """Whether each path stays within reach, and whether it has no step longer than those of demonstrations."""
    longest = np.linalg.norm(np.diff(x, axis=1), axis=-1).max()
    reach = np.linalg.norm(paths, axis=-1).max(axis=1)
    return np.stack([reach <= 0.22, np.linalg.norm(np.diff(paths, axis=1), axis=-1).max(axis=1) <= longest])


def valid(paths):
    """Whether each path passes both checks."""
    return checks(paths).all(axis=0)


edges = bin_edges(z)
p = law(z, edges)
floor = compare(z, path_length(new["as they are"][0]), None, edges, np.random.default_rng(SEED)).floor.value


def excess(rows):
    """Total variation of path lengths from those of the demonstrations, above what sampling alone gives."""
    fewer = np.sqrt((1 / len(rows) + 1 / len(z)) / (1 / n + 1 / len(z)))  # samples than n have a higher floor
    return 0.5 * np.abs(law(rows, edges) - p).sum() - floor * fewer


print(
    f"{'coordinates':26s} {'forecast':9s} {'excess drift (TV)':22s} {'of the valid':22s} {'valid':22s} moved"
)
drifts, shares, chances = {}, {}, {}
for name, runs in new.items():
    drifts[name] = intervals.bootstrap(excess, [path_length(paths) for paths in runs])
    shares[name] = intervals.bootstrap(np.mean, [valid(paths).astype(float) for paths in runs])
    of_valid = intervals.bootstrap(excess, [path_length(paths[valid(paths)]) for paths in runs])
    after = [audit(x, "path_length", kernel=None, generated=paths, seed=SEED) for paths in runs]
    chances[name] = [report.comparison.chance for report in after]
    print(f"{name:26s} {before.forecast.coordinates[name]:<9.3f} {drifts[name]!s:22s} {of_valid!s:22s} "
          f"{shares[name]!s:22s} {sum(report.moved for report in after)} of {len(after)}")  # fmt: skip
best = min(before.forecast.coordinates, key=before.forecast.coordinates.get)
print(f"least forecast: {best}")
far, fast = 1 - np.mean([checks(paths).mean(axis=1) for paths in new["as they are"]], axis=0)
print(f"as they are, share beyond the reach: {far:.3f}, with too long a step: {fast:.3f}")

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
laws = {name: np.stack([law(path_length(paths), edges) for paths in runs]) for name, runs in new.items()}
centres = np.quantile(z, (np.arange(len(p)) + 0.5) / len(p))
for ax, name, colour in ((axes[0], "as they are", "unet"), (axes[1], best, "in coordinates")):
    change = 100 * (laws[name] - p)
    sampling = 196 * np.sqrt(p.mean() * (1 - p.mean()) * (1 / n + 1 / len(z)))
    ax.axhspan(-sampling, sampling, color="0.92", zorder=0, label="95 % by sampling, one model")
    ax.axhline(0, color="0.5", lw=0.8)
    ax.plot(centres, change.T, color=plotting.COLOURS[colour], lw=0.8, alpha=0.6)
    ax.plot(
        centres,
        change.mean(axis=0),
        "o-",
        color=plotting.COLOURS[colour],
        ms=4,
        label=f"trained, {len(change)} seeds",
    )
    ax.set(xlabel="path length [m]", title=name.split(",")[0])
told = 100 * (before.forecast.law - law(before.values, before.edges))
axes[0].plot(centres, told, "s--", color=plotting.KERNELS["tangent"][0], ms=4, label="forecast")
axes[0].set_ylabel("change of share\n[percentage points]")
axes[0].legend(fontsize=9)
run.save_figure(
    fig,
    "fig_06_drift",
    data={"edges": edges, "p": p, "forecast": told} | {k.split(",")[0]: v for k, v in laws.items()},
)
plt.show()
agreement = intervals.bootstrap(
    lambda rows: np.corrcoef(law(rows, edges) - p, before.forecast.law - p)[0, 1],
    [path_length(paths) for paths in new["as they are"]],
)
run.record_claim("C10.06.looks_valid", *shares["as they are"])
run.record_claim("C10.06.moved", *drifts["as they are"])
run.record_claim("C10.06.each_moved", *3 * [max(chances["as they are"])])
run.record_claim("C10.06.forecast", *np.minimum(agreement, 1))
pairs = [
    np.stack([path_length(a), path_length(b)], axis=1)
    for a, b in zip(new["as they are"], new[best], strict=True)
]
run.record_claim(
    "C10.06.advice", *intervals.bootstrap(lambda rows: excess(rows[:, 0]) - excess(rows[:, 1]), pairs)
)

# %% [markdown]
# **What we see.** Paths get longer, as foreseen: the shortest twentieth is missing in every model, and nearly all of
# the next, and the upper end gains. The forecast has the direction right (correlation 0.5 over bins, with a wide
# interval). It puts too little at the upper end, and its gain between 0.1 and 0.27 m did not come; the models lose
# there, too. Three models of one recipe drift by 0.10 to 0.20 above the floor: with so few seeds the interval of their
# mean is wide, while of each of them by itself the audit has no doubt. Of the paths, two in three pass the look at
# single ones. (The others leave the reach by more than the 1 cm that we allow; we set out to show nine in ten, and that
# claim fails.) Leaving them out does not help: the drift of the valid ones is as large.
#
# In the coordinates that the audit recommends the drift is a fifth of that, 0.03, and more paths are valid, 0.78. (That
# it is less is just assured: the interval of the difference is 0.003 to 0.26.) The shortest paths are there, and two
# fifths of the longest twentieth are lost instead. Filtered paths do as well in total variation, but still lose most of
# the shortest twentieth. The audit says *moved* of all of them but one: with 2,048 paths it notices as little as that.
#
# This is C10: paths that pass a look at single ones are together still wrong, 0.14 above the floor. Only a look at the
# distribution shows it.

# %% [markdown]
# ## 4. Test the audit
#
# The test deals all values out anew to the two sides, 2,000 times, and asks how often that gives as large a
# difference as was found, in total variation or in how far mass must go, whichever is rarer. Bins of equal mass are
# made of both sides together, so the test is exact whatever the law of the quantity; only the trajectories must be
# independent. It says *moved* below a chance of 3 %, so that over many audits fewer than 1 in 20 cry wolf. What does
# it notice? We take values of a normal law, shift half of them, and count.

# %%
repeats = min(500, P.samples // 16)


def noticed(shift, values, times):
    """Share of ``times`` comparisons of ``values`` against ``values`` shifted ones that say "moved"."""
    config = {"kind": "audit_power", "shift": shift, "values": values, "times": times, "seed": SEED,
              "level": LEVEL, "draws": DRAWS}  # fmt: skip
    entry = Store().fetch(config)
    if entry is None:
        run.cold, rng, count = True, np.random.default_rng([SEED, values, round(100 * shift)]), 0
        for _ in range(times):
            ours, theirs = rng.normal(size=values), rng.normal(size=values) + shift
            count += compare(ours, theirs, None, bin_edges(ours, theirs), rng).moved
        entry = Store().put(config, arrays={"share": np.array(count / times)}, seconds=0.0, device="cpu")
    return float(entry.arrays["share"])


def interval(share, times):
    """A share with its 95 % interval (Clopper and Pearson 1934)."""
    return share, *scipy.stats.binomtest(round(share * times), times).proportion_ci()


shifts, sizes = (0.0, 0.1, 0.2, 0.3, 0.5), (100, 400, 1600)
power = np.array([[noticed(shift, values, repeats // 5) for shift in shifts[1:]] for values in sizes])
wolf = noticed(0.0, 400, repeats)
fig, ax = plt.subplots(figsize=(7.2, 3.4))
for values, row, style in zip(sizes, power, ("o:", "s--", "D-"), strict=True):
    bars = np.abs(np.transpose([interval(share, repeats // 5)[1:] for share in row]) - row)
    ax.errorbar(shifts[1:], row, bars, fmt=style, color=plotting.COLOURS["unet"], ms=5, capsize=3, lw=1.4,
                label=f"{values:,} a side")  # fmt: skip
ax.errorbar(0, wolf, yerr=np.abs(np.array(interval(wolf, repeats)[1:])[:, None] - wolf), fmt="^", color="0.2", ms=6,
            capsize=3, label="no shift, 400 a side")  # fmt: skip
ax.axhline(LEVEL, color="0.5", lw=0.8, ls="--", label="level of the test")
ax.set(xlabel="shift [standard deviations]", ylabel='share that says "moved"', ylim=(-0.02, 1.05))
ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
run.save_figure(
    fig,
    "fig_06_power",
    data={"shifts": shifts[1:], "sizes": sizes, "power": power, "no_shift": wolf},
    seeds=[SEED],
)
plt.show()
run.record_claim("C10.06.false_alarms", *interval(wolf, repeats), seeds=[SEED])
run.record_claim("C10.06.power", *interval(power[1, -1], repeats // 5), seeds=[SEED])

# %% [markdown]
# **What we see.** Of 500 audits of a law that was kept, 2.8 % say *moved*. With 1,600 values a side the audit notices
# a shift of a fifth of a standard deviation always, with 400 in half of the cases, with 100 in one of eight.
# (The first version of this test looked at total variation alone, and noticed the shift of a fifth with 400 values in
# one of four cases. A shift moves a little mass out of every bin in the same direction, which cumulated shares show.)

# %% [markdown]
# ## 5. In a pipeline
#
# The same from the command line. The exit code is 0 if no shift was found, 1 if the distribution has moved, 2 for bad
# input, so that a training pipeline can stop there. `--html` writes a page with figure and table that needs no other
# file.

# %%
with tempfile.TemporaryDirectory() as folder:
    np.savez(Path(folder) / "demos.npz", trajectories=x)
    np.savez(Path(folder) / "plans.npz", trajectories=new["as they are"][0])
    command = [
        "audit",
        "demos.npz",
        "--measure",
        "path_length",
        "--generated",
        "plans.npz",
        "--html",
        "report.html",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "physmis", *command], cwd=folder, capture_output=True, text=True
    )
    print("$ physmis", *command)
    print("\n".join(done.stdout.splitlines()[:9]), "\n...")
    print(
        "exit code",
        done.returncode,
        "; the page has",
        (Path(folder) / "report.html").stat().st_size // 1024,
        "KiB",
    )

# %% [markdown]
# ## What to take along
#
# - Test the distribution of every quantity that you curated, not only single trajectories. It takes one call.
# - Ask before training: the forecast names the values at risk, and coordinates in which the risk is less.
# - Take a thousand trajectories or more on either side: with a hundred, only large shifts are noticed.
# - Let the exit code stop a pipeline, and read the page that the audit writes.
#
# **Limits.** One arm, one controller, one class of model. The forecast knows nothing of the model but that its errors
# are small and along the data; it is a warning, not a measurement. The test needs independent trajectories.

# %%
run.finish()

# %% [markdown]
# ## Try it
#
# Two samples of normal laws, one of them shifted and made wider, and what the audit says. Move the shift until it
# says *moved*, then take more values. With 400 values on either side, a shift of a fifth of a standard deviation lies
# between what is mostly noticed and what is mostly missed; so does a law that is a quarter wider.


# %%
def draw(shift, width, values):
    """Densities of both samples, and the total variation against what sampling alone gives."""
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=values), rng.normal(shift, width, size=values)
    edges = bin_edges(ours, theirs)
    found = compare(ours, theirs, None, edges, rng)
    fig, axes = plt.subplots(1, 2, figsize=(8, 3.2), width_ratios=(1.6, 1))
    grid = np.linspace(-4, 5, 46)
    axes[0].hist(ours, grid, density=True, color=plotting.COLOURS["prior"], alpha=0.6, label="before")
    axes[0].hist(
        theirs, grid, density=True, histtype="step", color=plotting.COLOURS["unet"], lw=2, label="after"
    )
    axes[0].set(xlabel="value [standard deviations]", ylabel="density", ylim=(0, 0.75))
    axes[0].legend(fontsize=9)
    axes[1].barh([0], [found.tv], color=plotting.COLOURS["unet"], height=0.4)
    axes[1].errorbar([found.floor.value], [1], xerr=[[found.floor.value - found.floor.low],
                     [found.floor.high - found.floor.value]], fmt="o", color="0.2", capsize=4)  # fmt: skip
    axes[1].set(xlabel="total variation", yticks=[0, 1], yticklabels=["found", "by sampling"], xlim=(0, 0.5),
                title=f"{'moved' if found.moved else 'no shift found'}, chance {found.chance:.3f}")  # fmt: skip
    return fig


workshop.explore(draw, shift=(-1.0, 1.0, 0.2), width=(0.5, 2.0, 1.0), values=[400, 100, 1600, 6400])

# %% [markdown]
# ## Exercises
#
# ### Exercise 06.1: a measurement
#
# Write a function that takes trajectories of shape `(n, T, C)` and returns the distance between the first and the last
# step of each, shape `(n,)`. That is all the audit asks of a measurement.

# %%
answer = ...
workshop.check("06.1", answer)

# %% [markdown]
# <details><summary>Solution 06.1</summary>
#
# The norm over channels of the difference of two steps.
#
# ```python
# import numpy as np
#
#
# def answer(x):
#     return np.linalg.norm(x[:, -1] - x[:, 0], axis=-1)
# ```
# </details>

# %% [markdown]
# ### Exercise 06.2: an exact test
#
# Write a function `answer(ours, theirs, statistic, rng)` that returns the p-value of a permutation test: the
# probability that `statistic(a, b)` is as large as for the given samples, if the pooled values are dealt out to both
# sides at random. `ours` and `theirs` are vectors, not of one length; `rng` is a numpy generator; 200 deals are
# enough. The p-value must never be 0, as the deal that was found is one of those that are possible.

# %%
answer = ...
workshop.check("06.2", answer)

# %% [markdown]
# <details><summary>Solution 06.2</summary>
#
# The given deal counts as one more: $(1 + \text{as large}) / (1 + \text{deals})$.
#
# ```python
# import numpy as np
#
#
# def answer(ours, theirs, statistic, rng):
#     found, pooled, as_large = statistic(ours, theirs), np.concatenate([ours, theirs]), 0
#     for _ in range(200):
#         dealt = rng.permutation(pooled)
#         as_large += statistic(dealt[: len(ours)], dealt[len(ours) :]) >= found
#     return (1 + as_large) / 201
# ```
# </details>

# %% [markdown]
# ### Exercise 06.3: a length that jitter leaves alone (open)
#
# Jitter makes paths longer. Find a measurement that ranks the paths `physmis.teaching.exercises.audit.walks(n, rng)`, shape
# `(n, 40, 2)`, as their length does (rank correlation of 0.9 or more), and that jitter of 2 cm in each step moves, in
# units of its own standard deviation, by at most a quarter of what it does to the path length. What does it no longer
# see?

# %%
answer = ...
workshop.check("06.3", answer)

# %% [markdown]
# <details><summary>Solution 06.3</summary>
#
# One of many: the length of the polygon through every thirteenth step. It no longer sees detours that are shorter
# than that.
#
# ```python
# import numpy as np
#
#
# def answer(x):
#     return np.linalg.norm(np.diff(x[:, ::13], axis=1), axis=-1).sum(axis=1)
# ```
# </details>
