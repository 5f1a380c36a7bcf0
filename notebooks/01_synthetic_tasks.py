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
# # Train on a curated quantity, and measure what comes back
#
# **Question.** If training trajectories have a quantity spread *uniformly* over a range, do new trajectories keep it?
#
# **Answer.** No: more than nine in ten trajectories of a small diffusion model obey their rule, and their growth rates
# are off by four times what chance explains; Transformers, VAEs and MLPs drift, too.
#
# **What you need.** Some probability and some Python. No diffusion models: it is enough to know that one is trained
# on examples and then draws new ones.
#
# This notebook accompanies *Mechanisms of Misgeneralization in Physical Sequence Modeling* (Nishi, Tang, Kumar, Park,
# Tanaka, 2026), whose abstract tells of controlled synthetic tasks. These three tasks, all definitions and all numbers
# are this companion's own. Claims examined: C1, *each generated trajectory looks valid, yet the distribution of a
# physical quantity over many of them is wrong*; C2, *it happens for diffusion models, Transformers, VAEs and MLPs*.

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
import matplotlib.pyplot as plt
import numpy as np

import physmis
from physmis import drift, tasks
from physmis.experiments.experiment import excerpt, samples, training, training_set
from physmis.experiments.forecasts import assess, excess_of_valid, experiment, valid_share
from physmis.paper import plotting

plotting.use_style()
run = physmis.start("01_synthetic_tasks", profile=PROFILE, seed=SEED, device=DEVICE)
P = run.profile


# %% [markdown]
# An experiment is a task, a model, the size of its training set, the number of trajectories to draw from it, and a
# seed. The sizes come from the *profile* (`standard`: 3 seeds, 20,000 training trajectories, 8,192 new ones, 2,600
# training steps). The network is a small *U-Net*. `run.compute` trains what has not been trained before, on all cores,
# and keeps it in the store on disk.


# %%
def experiments(name, model="unet", **changes):
    """One experiment for each seed: the profile's model on a task."""
    return [experiment(P, tasks.load(name), seed, model, **changes) for seed in run.seeds]


def results(groups):
    """Results of a dictionary of lists of experiments."""
    flat = run.compute({(name, e.seed): e for name, group in groups.items() for e in group})
    return {name: [flat[name, e.seed] for e in group] for name, group in groups.items()}


def keys(groups):
    """Where the results of a dictionary of lists stand in the store."""
    return [result.key for group in groups.values() for result in group]


# %% [markdown]
# ## 1. See the problem in one picture
#
# The **logistic map** $x_{t+1} = r\,x_t(1-x_t)$ turns a growth rate $r$ and a first value $x_0$ into a trajectory of
# 32 steps. We curate the data so that $r$ is uniform on $[3.5, 4]$: the **prior** $p(r)$. The model sees trajectories
# only, never $r$. Afterwards a **measurement** $m(x)$ recovers $r$ from any trajectory by least squares,
#
# $$ m(x) = \frac{\sum_t x_{t+1}\,s_t}{\sum_t s_t^2}, \qquad s_t = x_t(1-x_t), $$
#
# and the **recovered distribution** $q(r)$ is the law of $m(\tilde x)$ over new trajectories $\tilde x$. If the model
# had learned the distribution of its data, $q$ would equal $p$.
#
# From left to right: the prior; three training trajectories; what the model learns to undo, one of them with more and
# more noise; three new trajectories, made by undoing noise alone; how one of them is measured (its steps $(x_t,
# x_{t+1})$ lie on a parabola of height $r/4$); and the recovered distribution. Colour tells $r$. All trajectories shown
# are the first of their set, not chosen.

# %%
logistic = tasks.load("logistic")
first = experiments("logistic")[0]
made = run.compute({"all": first, "three": excerpt(samples(first), range(3))})
result, some = made["all"], made["three"]
data = training_set(first, run.store)
noise = np.random.default_rng(SEED).normal(data.x.mean(), data.x.std(), data.x[0].shape)
noisy = np.stack([np.cos(a) * data.x[0] + np.sin(a) * noise for a in (0.3, 0.8, 1.3)])
fig = plotting.plot_problem(logistic, data, noisy, some, result.z)
edges, saved = logistic.quantity.bins(), {"training_x": data.x[:3], "training_z": data.z[:3], "noisy": noisy}
saved |= {"generated_x": some, "generated_z": result.z[:3], "edges": edges}
saved |= {"curated": drift.histogram(data.z, edges), "recovered": drift.histogram(result.z, edges)}
run.save_figure(fig, "fig_01_problem", data=saved, configs=[result.key], seeds=[SEED])
plt.show()

# %% [markdown]
# **What we see.** None of the three new trajectories looks out of place. The distribution of $r$ over many of them is
# not the one that was curated.

# %% [markdown]
# ## 2. Define three tasks whose measurement is exact
#
# A task is a prior, a generator $x = g(z, u)$, and a measurement $m$; the nuisance variables $u$ are whatever else
# varies from trajectory to trajectory.
#
# | task | trajectory, 32 steps | quantity $z$ | nuisance $u$ | kind |
# |---|---|---|---|---|
# | sine | $\sin(2\pi f t/32 + \varphi)$ | frequency $f \sim U[2, 6]$ | phase $\varphi$ | smooth |
# | cone | $a\,c_\varphi$, with $\lVert c_\varphi\rVert = 1$ | amplitude $a \sim U[0, 1]$ | phase $\varphi$ | a singular point at $x = 0$ |
# | logistic | $x_{t+1} = r x_t (1 - x_t)$ | growth rate $r \sim U[3.5, 4]$ | first value $x_0$ | chaotic |
#
# Here $c_\varphi \propto \sum_{k=1}^{3} \sin(k(2\pi t/32 + \varphi)) / k$. All phases meet at $x = 0$, the tip of a
# cone, where the phase is lost: that is the singular point.
#
# On data made by the generator, $m(g(z, u)) = z$ up to rounding: the measurement adds no error of its own.

# %%
three = ("sine", "cone", "logistic")
examples = {name: training_set(experiments(name)[0], run.store) for name in three}
errors = {}
fig, axes = plt.subplots(1, 3, figsize=(12, 3.2))
for ax, (name, batch) in zip(axes, examples.items(), strict=True):
    task = tasks.load(name)
    low, high = task.quantity.prior.support()
    errors[name] = np.abs(task.measure(batch.x) - batch.z).max() / (high - low)
    gap = 1.2 * np.ptp(batch.x) * np.arange(2, -1, -1)[:, None]
    lines = plotting.plot_trajectories(ax, batch.x[:3, :, 0] + gap, batch.z[:3], limits=(low, high))
    ax.set(title=name, yticks=[], ylabel=f"{task.channels[0].label}, offset")
    fig.colorbar(lines, ax=ax, label=task.quantity.label)
saved = {f"{name}_{part}": getattr(b, part)[:3] for name, b in examples.items() for part in "xz"}
run.save_figure(fig, "fig_01_tasks", data=saved, seeds=[SEED])
plt.show()
worst = max(errors.values())
run.record_claim("C1.01.measurement_exact", worst, worst, worst, seeds=[SEED])

# %% [markdown]
# ## 3. Compare the recovered with the intended distribution
#
# We cut the range into bins of equal prior mass, with a few more beyond each end. The bins come from the prior alone.
# With $p_b$ and $q_b$ the mass in bin $b$,
#
# $$ \text{drift}_b = q_b - p_b, \qquad \mathrm{TV}(p, q) = \tfrac12 \sum_b |q_b - p_b| . $$
#
# A finite sample has $\mathrm{TV} > 0$ even without any drift. The **sampling floor** is what a model would show that
# knew its training set perfectly: samples drawn from a training set that is itself drawn from the prior. The **excess**
# is what total variation lies above the floor.
#
# A trajectory counts as **valid** when it obeys its generating rule for *some* value of the quantity, inside the range
# or not: when the residual is below 0.05, 5 % of the scale of the state. The residual is the root-mean-square distance
# to the best sine of amplitude 1 (sine), the distance to the nearest point of the cone (cone), and the root-mean-square
# one-step error of the map at the recovered $r$ (logistic). In the histograms thin lines are seeds, the thick line is
# their mean, and the grey band holds 95 % of the histograms of one sample of the prior itself.


# %%
def show_recovered(axes, groups, drifts, titles):
    """One panel of intended and recovered distribution for each group."""
    for ax, group, found, title in zip(axes, groups, drifts, titles, strict=True):
        model = group[0].experiment.model.name
        plotting.plot_recovered(ax, found.edges, found.p, found.q, P.samples, model)
        ax.set(title=title, xlabel=group[0].experiment.task.quantity.label)
    axes[0].set_ylabel("density relative to the prior")
    top = max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(0, top)


def histograms(drifts):
    """The plotted laws of a dictionary of drifts, for the figure's file."""
    return {f"{name}_{part}": getattr(d, part) for name, d in drifts.items() for part in ("edges", "p", "q")}


base = results({name: experiments(name) for name in three})
found = {name: assess(group) for name, group in base.items()}
fig, axes = plt.subplots(2, 3, figsize=(12, 6.2))
show_recovered(axes[0], base.values(), found.values(), found)
axes[0, 0].legend(loc="lower center")
for ax, group in zip(axes[1], base.values(), strict=True):
    tolerance = group[0].experiment.task.tolerance
    plotting.plot_validity(ax, [result.validity for result in group], tolerance, "unet")
    ax.set(xlabel="residual of the generating rule", xlim=(1e-4, 1))
axes[1, 0].legend(loc="upper left")
saved = {f"{name}_validity": np.stack([r.validity for r in group]) for name, group in base.items()}
run.save_figure(fig, "fig_01_recovered", data=histograms(found) | saved, configs=keys(base))
plt.show()
for name, d in found.items():
    print(f"{name:9s} TV {d.tv}, floor {d.tv_floor}; Wasserstein-1 {d.w1}, floor {d.w1_floor}")

# %% [markdown]
# **What we see.** The sine is off only within about 0.2 of each end. The cone makes too few amplitudes above 0.9 and some
# beyond 1, which no training trajectory has. The logistic map makes up to 1.4 times as many growth rates near 3.8 as
# curated, and too few at both ends. (Wasserstein-1 is the mean distance by which mass would have to move.)
#
# Are the single trajectories valid, and is the distribution wrong all the same? Each line gives a value, its 95 %
# interval over seeds and trajectories, what is expected, and whether the whole interval is as expected. Some lines ask
# the question of the valid trajectories alone.

# %%
for name, group in base.items():
    run.record_claim(f"C1.01.{name}_valid", *valid_share(group))
for name in base:
    run.record_claim(f"C1.01.{name}_drift", *found[name].excess)
for name in ("cone", "logistic"):
    run.record_claim(f"C1.01.{name}_drift_of_valid", *excess_of_valid(base[name]))
run.record_claim("C1.01.sine_drifts_less", *found["logistic"].minus(found["sine"]))

# %% [markdown]
# ## 4. Train longer
#
# Is the drift only a matter of too little training? The same model on the logistic task, from a quarter of the
# profile's training steps to twice as many. Each model is trained from the start, not continued.

# %%
steps = P.models["unet"]["steps"]
budgets = [steps // 4, steps, 2 * steps]
by_budget = results({n: experiments("logistic", steps=n) for n in budgets})
budget_drift = {steps: assess(group) for steps, group in by_budget.items()}
budget_valid = [valid_share(group) for group in by_budget.values()]

fig, axes = plt.subplots(1, 3, figsize=(12, 3.4))
distances, floor = [d.tv for d in budget_drift.values()], budget_drift[steps].tv_floor
plotting.plot_intervals(axes[0], budgets, distances, plotting.COLOURS["unet"], ls="-")
axes[0].axhspan(floor.low, floor.high, color=plotting.COLOURS["prior"], alpha=0.3, lw=0)
axes[0].text(budgets[0], floor.high, "sampling floor", va="bottom", fontsize=10, color="0.3")
axes[0].set(title="drift", ylabel="total variation", ylim=(0, None))
plotting.plot_intervals(axes[1], budgets, budget_valid, plotting.COLOURS["unet"], ls="-")
axes[1].set(title="validity", ylabel="share of valid trajectories", ylim=(0, 1.02))
for ax in axes[:2]:
    ax.set_xscale("log", base=2)
    ax.set_xticks(budgets, [f"{steps:,}" for steps in budgets])
    ax.minorticks_off()
    ax.set_xlabel("training steps")
longest = budget_drift[budgets[-1]]
plotting.plot_recovered(axes[2], longest.edges, longest.p, longest.q, P.samples, "unet")
axes[2].set(title=f"after {budgets[-1]:,} steps", xlabel=logistic.quantity.label)
saved = {"steps": budgets, "tv": distances, "tv_floor": floor, "valid": budget_valid}
run.save_figure(fig, "fig_01_budget", data=histograms(budget_drift) | saved, configs=keys(by_budget))
plt.show()

# %% [markdown]
# **What we see.** Eight times the training about halves the drift; the interval below is wide. It is then still more
# than three times the floor, while almost every single trajectory is valid.

# %%
run.record_claim("C1.01.training_helps", *budget_drift[budgets[0]].minus(longest))
run.record_claim("C1.01.training_is_not_enough", *longest.excess)

# %% [markdown]
# ## 5. Change the class of the model
#
# Is the drift a quirk of one architecture? Claim C2 says that it *happens for diffusion models, Transformers, VAEs and
# MLPs*. Here are four classes, each of them one file in `physmis/models`:
#
# | class | how it makes a trajectory | what it learns to make small |
# |---|---|---|
# | U-Net | takes noise away from all steps at once; its layers are convolutions over time | squared error of the velocity |
# | MLP | the same, with layers that connect all steps with all | squared error of the velocity |
# | Transformer | one step after the other, each drawn from a mixture of 8 Gaussians that depends on all steps before | $-\log p(x)$ |
# | VAE | decodes a code $u \sim \mathcal{N}(0, I)$ of 16 numbers, and adds noise of a learned size | an upper bound on $-\log p(x)$: misfit of the decoded trajectory, plus distance of the encoder's codes from $\mathcal{N}(0, I)$ |
#
# All classes learn from the same trajectories, for about the same *time*: in the `standard` profile their sizes and
# numbers of steps are chosen for that.

# %%
classes = plotting.NAMES
by_class = results({(model, name): experiments(name, model) for model in classes for name in three})
class_drift = {pair: assess(group) for pair, group in by_class.items()}
for model, title in classes.items():
    group = [result.experiment for name in three for result in by_class[model, name]]
    fits = run.compute({(e.task.name, e.seed): training(e) for e in group})
    seconds = np.mean([fit.meta["seconds"] for fit in fits.values()])
    network = group[0].model.make_network(logistic.steps, len(logistic.channels), False)
    size = sum(part.numel() for part in network.parameters())
    print(f"{title:12s} {size:10,d} parameters, {seconds:.1f} s of training")

# %%
fig, axes = plt.subplots(3, 4, figsize=(13, 8), sharex="row")
for row, name in zip(axes, three, strict=True):
    pairs = [(model, name) for model in classes]
    groups, drifts = [by_class[pair] for pair in pairs], [class_drift[pair] for pair in pairs]
    show_recovered(row, groups, drifts, [""] * 4)
    for ax, group in zip(row, groups, strict=True):
        share = np.mean([result.valid.mean() for result in group])
        ax.set_title(f"{share:.1%} valid", loc="right", fontsize=10)
for ax, title in zip(axes[0], classes.values(), strict=True):
    ax.set_title(title)
for ax in axes[[0, 2], 0]:
    ax.set_ylabel("")
for ax in axes[:, 1:].flat:
    ax.tick_params(labelleft=False)
saved = histograms({"_".join(pair): d for pair, d in class_drift.items()})
run.save_figure(fig, "fig_01_classes", data=saved, configs=keys(by_class))
plt.show()

# %%
fig, axes = plt.subplots(1, 2, figsize=(12, 3.8))
valid = {pair: valid_share(group) for pair, group in by_class.items()}
for i, model in enumerate(classes):
    at = np.arange(3) + 0.18 * (i - 1.5)
    colour = plotting.COLOURS[model]
    shown = [class_drift[model, n].tv for n in three], [valid[model, n] for n in three]
    for ax, values in zip(axes, shown, strict=True):
        plotting.plot_intervals(ax, at, values, colour, plotting.MARKERS[model], ls="", label=classes[model])
for at, name in enumerate(three):
    floor = class_drift["unet", name].tv_floor
    axes[0].fill_between(
        [at - 0.4, at + 0.4], floor.low, floor.high, color=plotting.COLOURS["prior"], alpha=0.3
    )
axes[0].set(title="drift", ylabel="total variation", ylim=(0, None))
axes[1].set(title="validity", ylabel="share of valid trajectories", ylim=(-0.02, 1.02))
for ax in axes:
    ax.set_xticks(range(3), three)
axes[0].legend(loc="upper left", fontsize=9)
saved = {f"{'_'.join(pair)}_tv": d.tv for pair, d in class_drift.items()}
saved |= {f"{'_'.join(pair)}_valid": v for pair, v in valid.items()}
saved |= {f"{name}_floor": class_drift["unet", name].tv_floor for name in three}
run.save_figure(fig, "fig_01_class_drift", data=saved, configs=keys(by_class))
plt.show()

# %% [markdown]
# **What we see.** Columns are classes, in colours that they keep from here on; rows are tasks. Every class makes too few
# growth rates near 4 and too few amplitudes above 0.9. Beyond that they fail differently. The *U-Net* is the mildest on
# the logistic map: blurred ends and a hump. The *MLP* is level with it but for the logistic map, where nearly one
# trajectory in five breaks the rule. The *Transformer* loses mass far inside the range: an early mistake is continued
# faithfully, even to frequencies absent from the data. The *VAE* keeps every trajectory of the cone valid, with
# amplitudes that gather near 0.25; on the other two tasks few are valid.

# %%
for (model, name), group in by_class.items():
    print(
        f"{classes[model]:12s} {name:9s} excess drift {class_drift[model, name].excess}, of the valid {excess_of_valid(group)}"
    )
for model in ("mlp", "transformer", "vae"):
    for name in three:
        run.record_claim(f"C2.01.{model}_{name}_valid", *valid[model, name])
        run.record_claim(f"C2.01.{model}_{name}_drift", *class_drift[model, name].excess)

# %% [markdown]
# **What we see.** Valid and yet wrong are the U-Net on all tasks, the MLP and the VAE on the cone, and nearly so the
# Transformer on the logistic map. Where enough valid trajectories remain, leaving out the invalid ones does not remove
# the drift. So C2 holds in this form: all four classes drift.
#
# ## What to take along
#
# - Valid one by one and wrong together: leaving out the invalid trajectories changes nothing.
# - Drift has structure: some growth rates gain, some lose. More training reduces it, slowly.
# - Four classes of model drift, each in its own way.
#
# **Limits.** Small models, trained for less than a minute; three tasks of 32 steps; three seeds, so intervals are wide.

# %%
run.finish()

# %% [markdown]
# ## Try it
#
# Move the growth rate into chaos, and the size of made-up errors (no model here): errors in each step that the map
# carries on (orange, as a Transformer may err), and the same errors on finished states (light blue).


# %%
from physmis.teaching import check, explore


def lyapunov(batch):
    """Mean over trajectories of the mean log rate at which close ones part."""
    stretch = np.abs(batch.z[:, None] * (1 - 2 * batch.x[..., 0]))
    return np.log(np.maximum(stretch, 1e-12)).mean()


def walk(start, r, errors):
    """Trajectories (n, T) of the map from `start`, (n,), with errors (n, T) that are carried on."""
    x = [start]
    for error in errors.T[1:]:
        x.append(1 - np.abs(1 - np.abs(r * x[-1] * (1 - x[-1]) + error)))  # folded back into [0, 1]
    return np.stack(x, axis=1)


def distance(x, exact):
    """Median distance to the exact trajectories at each time step, NaN where there is none to draw."""
    found = np.median(np.abs(x - exact), axis=0)
    return np.where(found > 0, found, np.nan)


def draw(growth_rate, error):
    """What errors do to a trajectory, to its distance from the exact one, and to the recovered growth rate."""
    rng = np.random.default_rng(SEED)
    start = rng.uniform(0.001, 0.999, 2000)
    errors = error * rng.normal(size=(len(start), logistic.steps))
    exact, close = (walk(at, growth_rate, 0 * errors) for at in (start, start + 1e-4))
    kinds = {
        "error on each state": (exact + errors, plotting.KERNELS["isotropic"][0]),
        "error in each step, carried on": (walk(start, growth_rate, errors), plotting.COLOURS["transformer"]),
    }
    grey = plotting.COLOURS["prior"]
    fig, axes = plt.subplots(1, 3, figsize=(9, 3.5), width_ratios=(1.2, 1, 1.1))
    lines = axes[0].plot(exact[0], color=grey, lw=2.5, label="exact")
    bins = growth_rate + np.linspace(-0.25, 0.25, 71)
    for name, (x, colour) in kinds.items():
        r, valid = logistic.measure(x[..., None]), logistic.validity(x[..., None]) < logistic.tolerance
        lines += axes[0].plot(x[0], color=colour, lw=1.2, label=name)
        axes[1].plot(distance(x, exact), color=colour)
        label = f"mean {r.mean():.3f}, spread {r.std():.3f},\n{valid.mean():.0%} valid"
        axes[2].stairs(
            np.histogram(r, bins)[0] / len(r), bins, fill=True, color=colour, alpha=0.55, label=label
        )
    lines += axes[1].plot(distance(close, exact), "--", color=grey, label="start $10^{-4}$ away")
    rate = lyapunov(tasks.Batch(exact[..., None], np.full(len(exact), growth_rate)))
    axes[0].set(title="one start", xlabel="time step", ylabel="population", ylim=(-0.05, 1.1))
    axes[1].set(
        title=f"median of all, $\\lambda$ = {rate:.2f}", xlabel="time step", ylabel="distance to exact"
    )
    axes[1].set(yscale="log", ylim=(1e-6, 2), yticks=[1e-6, 1e-4, 1e-2, 1])
    axes[2].set(title="recovered", xlabel=logistic.quantity.label, ylabel="share of trajectories")
    axes[2].legend(loc="upper center", fontsize=9)
    fig.legend(handles=lines, loc="outside upper center", ncols=4, fontsize=9)
    return fig


explore(draw, growth_rate=(3.0, 4.0, 3.9), error=(0.005, 0.055, 0.02))

# %% [markdown]
# ## Exercises
#
# Put your answer in place of the three dots and run the cell: `check` says whether it is right, and if not,
# what is off. None needs a trained model.

# %% [markdown]
# ### Exercise 01.1: valid, and how wrong?
#
# A model copies trajectories of the cone without any error of shape, but makes each 0.9 times as large. So all it makes
# is valid. The amplitudes of the data are uniform on $[0, 1]$. How far is the law of the new amplitudes from that,
# without bins: $\mathrm{TV} = \tfrac12 \int |q(a) - p(a)|\,da$, and Wasserstein-1, the least mean distance by which
# mass must move?
#
# `answer`: a pair of numbers, `(total_variation, wasserstein)`, right within 0.001.

# %%
answer = ...
check("01.1", answer)

# %% [markdown]
# <details><summary>Solution 01.1</summary>
#
# The new density is 1/0.9 on [0, 0.9] and 0 above, so the tenth of the mass above 0.9 has to go: the total variation is
# 0.1. On a line the cheapest transport keeps the order: from 0.9 a to a, by 0.1 a, which is 0.05 on average.
#
# ```python
# scale = 0.9
# total_variation = 0.5 * (scale * (1 / scale - 1) + (1 - scale) * 1)
# wasserstein = (1 - scale) * 0.5
# answer = (total_variation, wasserstein)
# ```
# </details>

# %% [markdown]
# ### Exercise 01.2: the sampling floor by a formula
#
# Section 3 finds by simulation how large the total variation is on average for a model that knows its training set and
# nothing else. Find a formula. The training set holds `data` values, drawn from the prior; the model draws `n` of them
# *with replacement*; the histogram has `bins` bins of equal prior mass. Each bin holds many values, so its share is
# nearly normal.
#
# `answer`: a function `answer(bins, n, data)` that returns the mean total variation between histogram and prior, a
# number, right within 5 %. Compare `answer(40, P.samples, P.data)` with the floor printed in section 3.

# %%
answer = ...
check("01.2", answer)

# %% [markdown]
# <details><summary>Solution 01.2</summary>
#
# A share has variance $p(1-p)/N$ from the training set's draws and $p(1-p)/n$ from the model's, with $p = 1/B$. The
# mean of $|y|$ for a normal $y$ of standard deviation $\sigma$ is $\sigma\sqrt{2/\pi}$; add up $B$ bins and halve.
#
# ```python
# import numpy as np
#
#
# def answer(bins, n, data):
#     share = 1 / bins
#     sigma = np.sqrt(share * (1 - share) * (1 / n + 1 / data))
#     return 0.5 * bins * sigma * np.sqrt(2 / np.pi)
# ```
# </details>

# %% [markdown]
# ### Exercise 01.3: a measurement that errors move less
#
# Least squares is one of many measurements that are exact on exact trajectories of the logistic map. Find one that
# reacts less to errors on the states. For growth rates uniform on $[3, 4]$ and first values uniform on $(0, 1)$, yours
# must
#
# - recover $r$ from each exact trajectory within $10^{-6}$;
# - after independent normal errors of standard deviation 0.02 on all states, be off by at most 0.8 of what least
#   squares is off by (root mean square over 2,000 trajectories).
#
# `answer`: a function of `x`, an array of trajectories of shape `(n, 32)`, that returns the growth rates, shape `(n,)`.
# How small can you make it? Then measure all trajectories of section 1 with it: was the drift made by the measurement?
# With `from physmis.experiments.parallel import whole` they are `whole(samples(first), run.store).arrays["x"][..., 0]`,
# for which the model is trained where the store lacks it.

# %%
answer = ...
check("01.3", answer)

# %% [markdown]
# <details><summary>Solution 01.3</summary>
#
# An error on $x_t$ enters the next step times the slope $r(1-2x_t)$, so steep steps are noisier. Weighting each step by
# one over its variance, with the slope at the least-squares $r$, leaves about 0.73 of the error. (Errors of
# neighbouring steps are correlated; taking that in as well leaves less than 0.4.) The drift stays: with this
# measurement the U-Net's total variation is 0.147 instead of 0.140, mean of three seeds in the standard profile. And
# what is best depends on the errors: against errors that the map carries on, plain least squares does better.
#
# ```python
# import numpy as np
#
#
# def answer(x):
#     now, after = x[:, :-1], x[:, 1:]
#     s = now * (1 - now)
#     r = np.sum(after * s, axis=1) / np.sum(s * s, axis=1)
#     weight = 1 / (1 + (r[:, None] * (1 - 2 * now)) ** 2)
#     return np.sum(weight * after * s, axis=1) / np.sum(weight * s * s, axis=1)
# ```
# </details>
