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
# # Appendix: the best weights there are
#
# **Question.** Naive weights leave more than half of the drift on logistic map and maze (notebook 05). What could weights reach at best?
#
# **You will** invert the transition that a model's errors induce, train with the weights that this gives, and compute a bound
# by a linear program. **You need** notebook 05, section 2, and from notebook 02 the transition of a round trip.
#
# **Contents.** [1 Bound](#1.-Bound-what-weights-can-reach) · [2 Unfolding](#2.-Train-with-unfolded-weights) ·
# [3 Control](#3.-Check-that-weights-steer-a-model).

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
from physmis.experiments.forecasts import assess, base_experiment, seeds_of, valid_share
from physmis.experiments.kernel_draws import kernel_draws
from physmis.mitigations import Reweighted
from physmis.paper import plotting

plotting.use_style()
run = physmis.start("08_best_weights", profile=PROFILE, seed=SEED, device=DEVICE)
P = run.profile
TASKS = {name: tasks.load(name) for name in ("cone", "logistic", "sine", "maze", "pendulum")}
SEEDS = run.seeds[:3]
base = {(name, s): base_experiment(P, name, s) for name in TASKS for s in SEEDS}

# %% [markdown]
# ## 1. Bound what weights can reach
#
# Suppose that a model moves mass by the same transition $T(z'|z)$ whatever its data, here that of round trips through the
# untreated model. Weights choose the source $\pi$, and the model makes $\pi T$. The *best* source solves a linear program; we
# give its total variation over that of the unweighted source, $\min_\pi \mathrm{TV}(p, \pi T) / \mathrm{TV}(p, p T)$.

# %%
results = run.compute(base)
untreated = {name: seeds_of(results, name) for name in TASKS}
before = {name: assess(group) for name, group in untreated.items()}
trips = run.compute({key: kernel_draws(e, "remembering", {"correlation": 0.9}, e) for key, e in base.items()})
run.record_claim(
    "C8.08.untreated_valid", *min(map(valid_share, untreated.values()), key=lambda share: share.low)
)
for name, found in before.items():
    p, reach = found.p, []
    for T in (draw.matrix for draw in seeds_of(trips, name)):
        reach.append(mitigations.closest_source(p, T).residual / drift.total_variation(p, p @ T))
    run.record_claim(f"C8.08.{name}_best_weights", np.mean(reach), min(reach), max(reach), seeds=SEEDS)

# %% [markdown]
# **What we see.** Even the best source leaves about half of the drift of $T$, and for the pendulum 0.7: errors blur any source, and weights, which are
# not negative, cannot undo a blur.
#
# ## 2. Train with unfolded weights
#
# The linear program may put all mass on few values. A smoother source inverts $T$ by twenty steps of $\pi \leftarrow \pi\, T
# (p / \pi T)$ (Richardson 1972, Lucy 1974). We train with its weights $\pi / p$, three seeds as without weights.

# %%
sources, arms = {}, {}
for name in ("cone", "logistic"):
    T = np.mean([draw.matrix for draw in seeds_of(trips, name)], axis=0)
    sources[name] = mitigations.unfolded_source(before[name].p, T, 20)
    treatment = Reweighted(tuple(sources[name].weights.round(6)))
    arms |= {(name, s): replace(base[name, s], treatment=treatment) for s in SEEDS}
weighted = run.compute(arms)
after = {name: assess(seeds_of(weighted, name)) for name in sources}
valid = {name: valid_share(seeds_of(weighted, name)) for name in sources}

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(2, 2, figsize=(9, 6), sharex="col")
saved = {}
for (top, bottom), (name, source) in zip(axes.T, sources.items(), strict=True):
    d = after[name]
    top.stairs(source.weights[1:-1], d.edges[1:-1], color=plotting.COLOURS["reweighted"], lw=2)
    top.axhline(1, color="0.6", lw=0.8)
    top.set_title(name)
    plotting.plot_recovered(
        bottom, d.edges, d.p, d.q, P.samples, "reweighted" if valid[name].low >= 0.9 else "invalid"
    )
    density = plotting.relative_density(d.edges, d.p, before[name].q.mean(axis=0))
    bottom.stairs(density, d.edges[1:-1], color="0.2", ls="--", label="untreated")
    bottom.set_xlabel(TASKS[name].quantity.label)
    top.set_title(f"{valid[name].value:.0%} valid", loc="right", fontsize=9)
    saved |= {f"{name}_weights": source.weights, f"{name}_edges": d.edges, f"{name}_q": d.q}
fig.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
axes[0, 0].set_ylabel("unfolded weights")
axes[1, 0].set_ylabel("density / prior density")
keys = [result.key for result in (*results.values(), *weighted.values())]
run.save_figure(fig, "fig_08_unfolded", data=saved, configs=keys)
plt.show()

# %%
for name in sources:
    share = min(valid_share(untreated[name]), valid[name], key=lambda share: share.low)
    run.record_claim(f"C8.08.{name}_drifts", *before[name].excess, seeds=SEEDS)
    run.record_claim(f"C8.08.{name}_unfolded_valid", *share, seeds=SEEDS)
    run.record_claim(f"C8.08.{name}_unfolded_left", *after[name].left_of(before[name]), seeds=SEEDS)

# %% [markdown]
# **What we see.** Unfolded weights are largest near the upper ends, at about 2 (top). The models trained with them recover the
# inner range better than those without (dashed), and still lack mass at both ends: on the logistic map three fifths of the
# drift are left, with an interval that just includes a half; on the cone it is too wide to tell.
#
# ## 3. Check that weights steer a model
#
# As a control we weight the cone by $w(a) = 2a$, for which amplitudes should have the density $2a$.

# %%
RAMP, bins, p = scipy.stats.powerlaw(2), TASKS["cone"].quantity.bins(), before["cone"].p
to_ramp = np.divide(drift.prior_mass(RAMP, bins), p, out=np.zeros_like(p), where=p > 0).round(6)
first = base["cone", SEEDS[0]]
steered = run.compute({"": replace(first, treatment=Reweighted(tuple(to_ramp)))})[""]
flat, ramp = (drift.assess([r.z], RAMP, bins, P.data) for r in (untreated["cone"][0], steered))
run.record_claim("C8.08.weights_steer", *ramp.left_of(flat), seeds=[SEED])

# %%
run.finish()
