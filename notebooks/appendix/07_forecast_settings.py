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
# # Appendix: how small errors must be, and how much the exponent matters
#
# **Question.** Notebook 02 expands the drift in small errors, and fixes a size by one exponent. Where do both stop working?
# And does the forecast's kernel make the errors that the model makes?
#
# **You will** raise the size of the errors until the expansion fails, change the exponent of the forecast made before
# training, and compare its kernel with the model's round trips, value by value. **You need** notebook 02.
#
# **Contents.** [1 Errors](#1.-Raise-the-size-of-the-errors) · [2 Exponent](#2.-Change-the-exponent) ·
# [3 Bias and spread](#3.-Compare-bias-and-spread-by-value).

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
import matplotlib.pyplot as plt
import numpy as np

import physmis
from physmis import drift, kernels, tasks
from physmis.experiments.experiment import training_set
from physmis.experiments.forecasts import assess, experiment, seeds_of, valid_share
from physmis.experiments.kernel_draws import early_forecast, kernel_draws
from physmis.kernels import expansion
from physmis.paper import plotting

plotting.use_style()
run = physmis.start("07_forecast_settings", profile=PROFILE, seed=SEED, device=DEVICE)
P = run.profile
few = run.seeds[:3]
three = {name: tasks.load(name) for name in ("sine", "cone", "logistic")}
styles = dict(zip(three, (("o", "-"), ("s", "--"), ("D", ":")), strict=True))

# %% [markdown]
# ## 1. Raise the size of the errors
#
# Isotropic errors of standard deviation $s$ move a quantity by a bias $b$ and a blur $\sqrt{D}$, to second order in $s$
# (section 2 of notebook 02). We draw such errors of growing $s$, measure, and divide what we find by what the expansion says,
# in each tenth of the prior.

# %%
tenths = 10
count = min(P.samples, 2000) // tenths * tenths
sizes = np.array([0.01, 0.02, 0.04, 0.08, 0.16])  # over the standard deviation of the data


def blur_ratios(task, rng):
    """Simulated over expanded blur, (sizes, tenths of the prior)."""
    z = task.quantity.prior.ppf((np.arange(count) + 0.5) / count)
    x = task.generate(z, np.random.default_rng(SEED))
    D, ratios = expansion.bias_and_blur(task.differentiable, x, 1.0)[1], []
    for s in sizes * x.std():
        changes = [task.measure(x + s * rng.standard_normal(x.shape)) - z for _ in range(32)]
        found = np.var(changes, axis=0, ddof=1).reshape(tenths, -1).mean(axis=1)
        ratios.append(np.sqrt(found / (s**2 * D).reshape(tenths, -1).mean(axis=1)))
    return np.array(ratios)


repeats = np.array(
    [[blur_ratios(task, np.random.default_rng([SEED, k])) for task in three.values()] for k in range(3)]
)
off = np.abs(repeats - 1)  # (repeats, tasks, sizes, tenths)
tip = off[:, list(three).index("cone"), :, 0].copy()
off[:, list(three).index("cone"), :, 0] = 0
worst = off.max(axis=3)

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(6, 3.8))
rows = {f"{name} off the tip" if name == "cone" else name: worst[:, i] for i, name in enumerate(three)}
for (label, values), (marker, ls) in zip(rows.items(), styles.values(), strict=True):
    ax.plot(100 * sizes, values.mean(axis=0), ls, marker=marker, color="black", label=label)
ax.plot(100 * sizes, tip.mean(axis=0), "--", marker="s", mfc="white", color="0.5", label="cone, lowest tenth")
ax.axhline(0.05, color="0.4", ls="--", lw=0.9)
ax.set(xscale="log", yscale="log", xlabel="size of the errors [% of the data's standard deviation]",
       ylabel="largest error of the blur")  # fmt: skip
ax.set_xticks(100 * sizes, [f"{100 * s:g}" for s in sizes])
ax.set_yticks([0.02, 0.05, 0.1, 0.2], ["2 %", "5 %", "10 %", "20 %"])
ax.minorticks_off()
ax.legend(fontsize=9)
saved = {"sizes": sizes, "worst": worst, "tip": tip}
run.save_figure(fig, "fig_07_regimes", data=saved, seeds=[SEED])
plt.show()

# %%
at_2 = worst[:, :, 1].max(axis=1)
run.record_claim("C3.07.expansion_off_tip", at_2.mean(), at_2.min(), at_2.max(), seeds=[SEED])

# %% [markdown]
# **What we see.** Off the cone's tip the expansion gives the blur within the noise of the simulation, 2 %, for errors of up to
# 8 % of the data's standard deviation, and within a tenth at twice that. At the tip it is off by 2 % for the smallest errors and
# by 21 % for the largest: the shortest trajectories are no longer than the errors. So the expansion explains the drift of a well
# trained model, and the Monte Carlo transition of notebook 02 is needed beyond.
#
# ## 2. Change the exponent
#
# The forecast made before training takes the size at which the kernel's drift is $d\,(1/8)^a$, where $d$ is the drift of
# a training of an eighth of the steps. Notebook 02 fixes $a = 1/2$, which was chosen on these three tasks. Here is what another
# $a$ would have given on them, with the tangent kernel; $a = 0$ forecasts the drift of the short training itself.

# %%
exponents = np.linspace(0, 1, 11)
models = {(name, s): experiment(P, task, s, "mlp") for name, task in three.items() for s in few}
results, early = run.compute(models), run.compute({key: early_forecast(e) for key, e in models.items()})


def forecasts_by_exponent(name, short):
    """What the tangent kernel forecasts at each exponent, (exponents, bins)."""
    e, quantity = models[name, short.experiment.seed], three[name].quantity
    x, edges = training_set(e, run.store).x[: P.samples], quantity.bins()
    p, z = drift.prior_mass(quantity.prior, edges), three[name].measure(x)
    draw = kernels.TangentKernel(x, 1.0).draws(x, np.random.default_rng([SEED, e.seed]))
    made = [p]
    for reach in kernels.SIZES["tangent"]:
        T = kernels.transition(z, three[name].measure(draw(reach)), edges).matrix
        made.append(kernels.forecast(p, T))
    made, sizes = np.array(made), np.maximum.accumulate([drift.total_variation(p, q) for q in made])
    at = np.interp(short.short * kernels.SHARE**exponents, sizes, np.arange(len(sizes)))
    return np.array([np.interp(at, np.arange(len(made)), column) for column in made.T]).T


skills = {}
for name in three:
    d, made = assess(seeds_of(results, name)), [forecasts_by_exponent(name, f) for f in seeds_of(early, name)]
    skills[name] = [drift.score(np.array(by_seed), d).skill for by_seed in zip(*made, strict=True)]

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(6, 3.8))
for shift, (name, values) in zip((-0.01, 0, 0.01), skills.items(), strict=True):
    marker, ls = styles[name]
    plotting.plot_intervals(
        ax, exponents + shift, values, plotting.KERNELS["tangent"][0], marker, ls=ls, label=name
    )
ax.axhline(0, color="0.7", lw=0.9, zorder=0)
ax.axvline(0.5, color="0.4", ls="--", lw=0.9)
ax.set(xlabel="exponent $a$ of the size", ylabel="skill", ylim=(-1, 1))
ax.legend(fontsize=9, loc="lower right")
keys = [result.key for result in (*results.values(), *early.values())]
run.save_figure(fig, "fig_07_exponent", data={"exponents": exponents} | skills, configs=keys, seeds=few)
plt.show()

# %%
near = [
    skills[name][k] for name in ("cone", "logistic") for k in np.flatnonzero(np.abs(exponents - 0.5) < 0.15)
]
run.record_claim("C5.07.exponent", *min(near), seeds=few)

# %% [markdown]
# **What we see.** Between 0.4 and 0.6 the forecast has skill on cone and logistic map; on the sine the interval
# mostly reaches below 0. Below, it is too large: without any
# correction ($a = 0$) it is worse than no forecast on the logistic map, as the whole training drifts less than the short one.
# Above, it fades away. The exponent matters, though not to its second digit; whether it carries over to
# other tasks is what notebook 02 tests on the priors with soft ends, and notebooks 03 and 04 on maze and pendulum.
#
# ## 3. Compare bias and spread by value
#
# The kernel of the forecast and the round trips of the trained model both give a transition $T(z'|z)$ between bins. Its rows
# have a mean, which less $z$ is the bias at $z$, and a standard deviation, the spread. If the kernel is right about the errors, its
# curves have the shape of those of the round trips; their size differs, as round trips keep a correlation of 0.9.

# %%
trips = run.compute({
    key: kernel_draws(e, "remembering", {"correlation": 0.9}, e) for key, e in models.items()
})  # fmt: skip


def bias_and_spread(T, quantity):
    """Mean change of the quantity and its standard deviation, from each bin inside the prior, (2, bins)."""
    inner, inside = quantity.bins()[1:-1], drift.prior_mass(quantity.prior, quantity.bins()) > 0
    middles = np.concatenate(
        [inner[:1], (inner[1:] + inner[:-1]) / 2, inner[-1:]]
    )  # of what lies beyond: the ends
    mean = T @ middles
    return np.array([mean - middles, np.sqrt(np.maximum(T @ middles**2 - mean**2, 0))])[:, inside]


moves = {"before training": early, "round trip": trips}
by_value, agreement = {}, []
for name, task in three.items():
    for kind, group in moves.items():
        found = [bias_and_spread(r.matrix, task.quantity) for r in seeds_of(group, name)]
        by_value[name, kind] = np.array(found)
for name in ("cone", "logistic"):
    pairs = zip(*(by_value[name, kind][:, 0] for kind in moves), strict=True)
    agreement.append([np.corrcoef(kernel, model)[0, 1] for kernel, model in pairs])

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(2, 3, figsize=(12, 5.2), sharex="col")
saved = {}
for column, (name, task) in zip(axes.T, three.items(), strict=True):
    low, high = task.quantity.prior.support()
    count = by_value[name, "round trip"].shape[-1]
    at = low + (np.arange(count) + 0.5) / count * (high - low)
    for kind in moves:
        colour, marker = plotting.KERNELS[kind]
        for ax, values in zip(column, by_value[name, kind].mean(axis=0) / (high - low), strict=True):
            ax.plot(at, values, color=colour, marker=marker, ms=4, label=kind)
        saved[plotting.array_name(name, kind)] = by_value[name, kind]
    column[0].axhline(0, color="0.7", lw=0.9, zorder=0)
    column[0].set_title(name)
    column[1].set(xlabel=task.quantity.label, ylim=(0, None))
axes[0, 0].set_ylabel("bias / range of $z$")
axes[1, 0].set_ylabel("spread / range of $z$")
axes[0, 0].legend(fontsize=9)
keys = [r.key for group in moves.values() for r in group.values()]
run.save_figure(fig, "fig_07_by_value", data=saved, configs=keys, seeds=few)
plt.show()

# %%
for name, found in zip(("cone", "logistic"), agreement, strict=True):
    run.record_claim(f"C4.07.{name}_valid", *valid_share(seeds_of(results, name)), seeds=few)
    run.record_claim(f"C4.07.{name}_bias", np.mean(found), min(found), max(found), seeds=few)

# %% [markdown]
# **What we see.** On the logistic map the kernel has the model's bias: growth rates are drawn to the middle, most from above. On the
# cone it misses what happens at the tip, where the model pushes amplitudes up and spreads them: the kernel's errors are in
# proportion to the amplitude, and vanish there. That is why its forecast of the two humps fails (notebook 02).

# %%
run.finish()
