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
# # Keep the energy of a double pendulum
#
# **Question.** Do generated motions that each conserve energy also have the right distribution of energy?
#
# **You will** derive the equations of motion, draw motions of a given energy, train a diffusion model, check single motions
# against the equations, and compare the energies of thousands. **You will learn** to draw states of one energy, and what
# noise does to energy. **You need** notebook 01; for section 6 the kernels of notebook 02; mechanics with Lagrange's
# equations.
#
# **Contents.** [1 Equations](#1.-Derive-the-motion) · [2 Fair draws](#2.-Draw-motions-of-a-given-energy) ·
# [3 Validity](#3.-Train-a-model,-and-check-single-motions) · [4 Energies](#4.-Compare-the-energies-with-the-curated-ones) ·
# [5 Noise](#5.-Ask-what-noise-does-to-energy) · [Try it](#Try-it:-errors-on-real-motions) ·
# [6 Forecast](#6.-Forecast-the-drift) · [Verdicts](#Verdicts) · [Exercises](#Exercises). Code that only prepares or draws
# is folded.
#
# This notebook accompanies *Mechanisms of Misgeneralization in Physical Sequence Modeling* (Nishi, Tang, Kumar, Park,
# Tanaka, 2026). The pendulum's parameters, its prior, the models and all numbers are this companion's own. Claims
# examined: C7, *mechanical energy drifts although single motions are valid*; C3, *local errors move the quantity*; C4 and
# C5, *a kernel forecasts which values gain and lose mass*.

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

import physmis
from physmis import drift, tasks
from physmis.experiments import forecasts
from physmis.experiments.experiment import excerpt, half, samples, training
from physmis.experiments.forecasts import (
    assess,
    base_experiment,
    excess_of_valid,
    over_seeds,
    seeds_of,
    valid_share,
)
from physmis.experiments.kernel_draws import kernel_draws
from physmis.experiments.parallel import Job, whole
from physmis.paper import plotting

plotting.use_style()
run = physmis.start("04_pendulum", profile=PROFILE, seed=SEED, device=DEVICE)
P = run.profile

# %% [markdown]
# ## 1. Derive the motion
#
# Two point masses hang on two rigid rods, one below the other. $\theta_1, \theta_2$ are the angles of the rods from
# hanging straight down, $\omega_1, \omega_2$ their rates. With $\Delta = \theta_1 - \theta_2$ the energies are
#
# $$ K = \tfrac12\, \omega^\top M \omega, \qquad M = \begin{pmatrix} (m_1 + m_2)\, l_1^2 & m_2 l_1 l_2 \cos\Delta \\
#    m_2 l_1 l_2 \cos\Delta & m_2 l_2^2 \end{pmatrix}, $$
#
# $$ V = (m_1 + m_2)\, g\, l_1 (1 - \cos\theta_1) + m_2\, g\, l_2 (1 - \cos\theta_2), $$
#
# so that hanging at rest has energy 0. Lagrange's equations $\frac{d}{dt}\frac{\partial (K - V)}{\partial \omega_i} =
# \frac{\partial (K - V)}{\partial \theta_i}$ become
#
# $$ M \begin{pmatrix} \dot\omega_1 \\ \dot\omega_2 \end{pmatrix} = \begin{pmatrix}
#    -m_2 l_1 l_2\, \omega_2^2 \sin\Delta - (m_1 + m_2)\, g\, l_1 \sin\theta_1 \\
#    \phantom{-}m_2 l_1 l_2\, \omega_1^2 \sin\Delta - m_2\, g\, l_2 \sin\theta_2 \end{pmatrix} . $$
#
# (The tests derive them with sympy.) The energy $E = K + V$ does not change along a motion. It is our
# **quantity**.
#
# Three other states are at rest, though not stably: the outer rod upright, the inner one, or both. Below the energy
# of the lowest of these **saddles** no rod can go over the top.

# %%
task = tasks.load("pendulum")
quantity = task.quantity
low, high = quantity.prior.support()
print(f"masses {task.m1}, {task.m2} kg; rods {task.l1}, {task.l2} m; g = {task.g} m/s^2")
print("saddles [J]: outer rod upright {:.2f}, inner {:.2f}, both {:.2f}".format(*task.saddles))


def energy(theta1, theta2, omega1, omega2):
    """Mechanical energy above hanging at rest, in J, with the symbols above."""
    coupling = task.m2 * task.l1 * task.l2 * np.cos(theta1 - theta2)
    K = ((task.m1 + task.m2) * task.l1**2 * omega1**2 + task.m2 * task.l2**2 * omega2**2) / 2
    K = K + coupling * omega1 * omega2
    V = (task.m1 + task.m2) * task.g * task.l1 * (1 - np.cos(theta1))
    return K + V + task.m2 * task.g * task.l2 * (1 - np.cos(theta2))


# %% [markdown]
# ## 2. Draw motions of a given energy
#
# The **prior** of $E$ is uniform. It begins where both rods only swing and ends where the outer one sometimes goes
# over the top. Given $E$, which state does a motion begin in? The fair choice is the **microcanonical** distribution
# $\delta(H(\theta, p) - E)\, d\theta\, dp$ with $H = K + V$ and momenta $p = M\omega$: uniform in the phase space between $E$ and $E
# + dE$. Motion leaves it as it is (Liouville), so no step is special: each of the 32 has the same distribution.
#
# Drawing from it is easy with two degrees of freedom. At given angles, $K = \frac12 p^\top M^{-1} p$, and
#
# $$ \int \delta\!\left(\tfrac12 p^\top M^{-1} p - (E - V)\right) dp = 2\pi \sqrt{\det M} \quad\text{if } V < E, $$
#
# whatever $E - V$ is. So angles have density $\sqrt{\det M}$ where $V(\theta) < E$, which rejection draws; and velocities are
# $\omega = \sqrt{2 (E - V)}\; L^{-\top} u$, with $M = L L^\top$ and $u$ a unit vector of random direction. From there we
# integrate over 1.5 s with a Runge-Kutta method of order 8 (DOP853) and keep 32 steps. A **trajectory** holds sine and cosine
# of both angles and both angular velocities: 32 × 6 numbers.

# %%
rng = np.random.default_rng(SEED)
z = quantity.prior.ppf(rng.random(P.data))
motions = task.integrate(task.start(z, rng))
worst = np.abs(energy(*np.moveaxis(motions, -1, 0)) / z[:, None] - 1).max()
run.record_claim("C7.04.energy_conserved", worst, worst, worst, seeds=[SEED])
x = task.encode(motions).astype(np.float32)


# %% jupyter={"source_hidden": true}
def draw_strip(ax, motion, moments=9):
    """Poses of one motion from left to right, with the way of the outer bob since the pose before."""
    x1, y1, x2, y2 = replace(task, coordinates="bobs").encode(motion)[:, :4].T
    shown = np.linspace(0, task.steps - 1, moments).round().astype(int)
    for k, now in enumerate(shown):
        since = slice(shown[k - 1] if k else 0, now + 1)
        at = 2.8 * k
        ax.plot(at + x2[since], y2[since], color="0.6", lw=1)
        ax.plot([at, at + x1[now], at + x2[now]], [0, y1[now], y2[now]], "o-", color="0.15", lw=1.6, ms=4)
        ax.plot(at, 0, "s", color="0.5", ms=3)
    ax.set(xlim=(-1.8, 2.8 * (moments - 1) + 1.8), ylim=(-2.15, 0.9), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def one_of_each_third(energies):
    """Of the first 30 motions, those whose energies are nearest to the middle of each third of the range."""
    middles = low + (high - low) * (np.arange(3) + 0.5) / 3
    return [int(np.abs(energies[:30] - middle).argmin()) for middle in middles]


# %% jupyter={"source_hidden": true}
edges = np.linspace(low, high, 21)
over = task.over_the_top(x)
fig = plt.figure(figsize=(13, 5.2), layout="constrained")
left, right = fig.subfigures(1, 2, width_ratios=(2.1, 1))
for ax, row in zip(left.subplots(3, 1), one_of_each_third(z), strict=True):
    draw_strip(ax, motions[row])
    ax.set_title(f"$E$ = {z[row]:.1f} J", fontsize=11)
top, bottom = right.subplots(2, 1, sharex=True)
top.hist(z, edges, density=True, color=plotting.COLOURS["prior"], alpha=0.4)
top.set(ylabel="density [1/J]", title="curated")
share = np.histogram(z[over], edges)[0] / np.maximum(np.histogram(z, edges)[0], 1)
bottom.stairs(share, edges, color="0.2", lw=1.8)
bottom.set(xlabel=quantity.label, ylabel="share", title="goes over the top")
for ax in (top, bottom):
    ax.axvline(task.saddles[0], color="0.2", ls="--", lw=1.2)
saved = {"motions": motions[one_of_each_third(z)], "energies": z, "over_the_top": over}
run.save_figure(fig, "fig_04_problem", data=saved, seeds=[SEED])
plt.show()

# %%
fresh = [task.start(z, rng) for _ in range(2)]
first, last, *others = (np.sort(np.cos(states[:, 1])) for states in (motions[:, 0], motions[:, -1], *fresh))
print(f"distribution of cos(theta_2), largest gap of quantiles: {np.abs(first - last).max():.3f} from the first to the last step, "
      f"{np.abs(others[0] - others[1]).max():.3f} between two fresh draws of the start")  # fmt: skip

# %% [markdown]
# **What we see.** Energies are spread uniformly, and only above the dashed line, the lowest saddle, a rod goes over the top.
# (Left: nine poses each of three motions, with the way of the outer bob since the pose before in grey.)
#
# ## 3. Train a model, and check single motions
#
# A diffusion model with an MLP as its network, twice as wide as in notebook 01, trained for twice as many steps. A
# motion is **valid** when four root mean squares along it are below 0.05, 5 % of the scale of the state: *energy*, how far
# it strays from its mean, in units of the lowest saddle; *rods*, how far sine and cosine leave the unit circle;
# *kinematics*, angles against the integral of angular velocities; and *dynamics*, angular velocities against the integral
# of the accelerations that the equations of section 1 give, in units of $2\sqrt{g/l_2}$.


# %%
def arms(seeds=run.seeds, **changes):
    """One experiment for each seed."""
    alike = [base_experiment(P, "pendulum", seed) for seed in seeds]
    return [replace(e, model=replace(e.model, **changes)) for e in alike]


# %% jupyter={"source_hidden": true}
def residuals_of(e):
    """A job for the residuals of an experiment's motions, by name."""

    def compute(store, device):
        found = e.task.residuals(whole(samples(e), store, device).arrays["x"])
        return {kind: half(values) for kind, values in found.items()}

    def read(entry):
        return {kind: values.astype(float) for kind, values in entry.arrays.items()}

    return Job({"kind": "residuals", "of": e.config}, compute, (samples(e),), read)


# %%
base = arms()
jobs = {("made", e.seed): e for e in base} | {("residuals", e.seed): residuals_of(e) for e in base}
jobs["finer"] = arms([SEED], sampler_steps=4 * base[0].model.sampler_steps)[0]
jobs["some"] = excerpt(samples(base[0]), range(6))
done = run.compute(jobs)
made, residuals = seeds_of(done, "made"), seeds_of(done, "residuals")
observed = assess(made)
for kind in residuals[0]:
    print(f"{kind:11s} too large: {np.mean([part[kind] > task.tolerance for part in residuals]):.3f}")
change = drift.total_variation(*(drift.histogram(r.z, observed.edges) for r in (made[0], done["finer"])))
change = change / observed.tv_floor.value
run.record_claim("C7.04.sampler_converged", change, change, change, seeds=[SEED])
run.record_claim("C7.04.valid", *valid_share(made))

# %% [markdown]
# Each of the first six generated motions beside the real one from the *same* start: the state of its first step,
# integrated by section 1's equations.

# %%
states = task.decode(done["some"])
real = task.integrate(states[:, 0])
times = np.linspace(0, task.duration, task.steps)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(2, 6, figsize=(13, 5), height_ratios=(1, 1.2))
for (above, below), one, true, energy_of in zip(axes.T, states, real, made[0].z, strict=False):
    above.plot(times, true[:, 1], color="0.6", lw=3.5, label="real")
    above.plot(times, one[:, 1], color=plotting.COLOURS["mlp"], lw=1.3, label="generated")
    above.set(title=f"$E$ = {energy_of:.1f} J", xlabel="time [s]")
    ways = [replace(task, coordinates="bobs").encode(motion)[:, 2:4] for motion in (true, one)]
    below.plot(*ways[0].T, color="0.6", lw=3.5)
    below.plot(*ways[1].T, color=plotting.COLOURS["mlp"], lw=1.3)
    ends = np.concatenate(ways)
    middle, half_width = (ends.max(axis=0) + ends.min(axis=0)) / 2, 0.56 * np.ptp(ends, axis=0).max()
    below.set(
        xlim=middle[0] + half_width * np.array([-1, 1]), ylim=middle[1] + half_width * np.array([-1, 1])
    )
    below.set(aspect="equal", xticks=[], yticks=[], xlabel=f"{2 * half_width:.1f} m wide")
axes[0, 0].set_ylabel(r"outer angle $\theta_2$ [rad]")
axes[1, 0].set_ylabel("way of the outer bob")
axes[0, 0].legend(fontsize=8)
run.save_figure(
    fig, "fig_04_motions", data={"generated": states, "real": real}, configs=[made[0].key], seeds=[SEED]
)
plt.show()

# %% [markdown]
# **What we see.** By eye, few of the generated motions differ from the real ones.
#
# ## 4. Compare the energies with the curated ones

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 2, figsize=(11, 3.8), width_ratios=(1.5, 1))
plotting.plot_recovered(axes[0], observed.edges, observed.p, observed.q, P.samples, "mlp")
axes[0].axvline(task.saddles[0], color="0.2", ls="--", lw=1.2, label="saddle: outer rod upright")
axes[0].set(xlabel=quantity.label, ylabel="density relative to the prior")
axes[0].set_title(
    f"total variation {observed.tv.value:.3f}, floor {observed.tv_floor.value:.3f}", fontsize=11
)
axes[0].legend(fontsize=9, loc="lower center")
plotting.plot_validity(axes[1], [r.validity for r in made], task.tolerance, "mlp")
axes[1].set(
    xlabel="largest residual of a motion", xlim=(3e-3, 1), title=f"{valid_share(made).value:.0%} valid"
)
axes[1].legend(fontsize=9, loc="upper left")
keys = [result.key for result in made]
saved = {k: getattr(observed, k) for k in ("edges", "p", "q")} | {"validity": [r.validity for r in made]}
run.save_figure(fig, "fig_04_energy", data=saved, configs=keys)
plt.show()

# %%
run.record_claim("C7.04.energy_drifts", *observed.times_floor)
run.record_claim("C7.04.drift_of_valid", *excess_of_valid(made))
top = high - (high - low) / 5
run.record_claim("C7.04.highest_fifth", *over_seeds(lambda r: (r.z >= top) / 0.2 - 1, made))
run.record_claim("C7.04.mean_energy", *over_seeds(lambda r: r.z - quantity.prior.mean(), made))

# %% [markdown]
# **What we see.** Energies leak over both ends of the range, the highest fifth loses most, and the middle gains. The lower
# end, far from the saddle (dashed), loses over as wide a range, so this figure does not show an effect of the saddle. Most
# motions are far within the tolerance.
#
# ## 5. Ask what noise does to energy
#
# Independent errors of standard deviation $s$ on both angular velocities leave the potential energy alone and add to
# the kinetic energy, at every angle and exactly,
#
# $$ \mathbb{E}\,K(\omega + d) - K(\omega) = \tfrac12\,\mathbb{E}\, d^\top M d = \tfrac12 (M_{11} + M_{22})\, s^2 , $$
#
# as $M_{12}$ meets the product of two independent errors: noise that is added to velocities makes motions *too
# energetic*. Draws come in pairs $d$ and $-d$, so that the large linear terms cancel in their mean.

# %%
some, off = x[:200].astype(float), []
M11, _, M22 = task.mass_matrix(1.0)
for s in (0.1, 0.3, 1.0):
    noise = np.zeros((16, *some.shape))
    noise[..., 4:] = s * rng.standard_normal(noise[..., 4:].shape)
    added = np.mean([task.measure(some + d) - task.measure(some) for d in (*noise, *-noise)])
    off.append(abs(added / ((M11 + M22) * s**2 / 2) - 1))
run.record_claim("C3.04.kinetic_bias", max(off), min(off), max(off), seeds=[SEED])

# %% [markdown]
# ### Try it: errors on real motions
#
# Real motions get errors at each of their 32 steps: of standard deviation `angle_error` [rad] on both angles, of
# `velocity_error` [rad/s] on both angular velocities, redrawn every `redrawn_every_steps` steps. Choose the prior of the
# energy, too. **Predict** first, for independent errors on velocities alone: do energies go up or down, and by the same at
# every energy? Do such errors give the drift of the trained model (dashed)?

# %% jupyter={"source_hidden": true}
from physmis.teaching import check, explore

WIDTH = 0.25  # of a bar, in J: both ends of the prior's range are edges
PRIORS = {  # up to a factor, for energies from 0, the lowest, to 1
    "uniform": lambda u: np.ones_like(u),
    "falling": lambda u: 1 - u,
    "rising": lambda u: u,
    "middle": lambda u: u * (1 - u),
}
bars = np.arange(0, 12 + WIDTH / 2, WIDTH)
middles = (bars[1:] + bars[:-1]) / 2
inside = (middles > low) & (middles < high)
subset, before = motions[:6000], z[:6000]
bar_of = np.digitize(before, bars) - 1


# %% jupyter={"source_hidden": true}
def draw(angle_error, velocity_error, redrawn_every_steps, prior):
    """The distribution of energies before and after errors; and bias and spread, by the energy before."""
    fresh = np.random.default_rng(0).standard_normal((len(subset), task.steps // redrawn_every_steps, 4))
    errors = np.repeat(fresh, redrawn_every_steps, axis=1) * np.repeat([angle_error, velocity_error], 2)
    after = task.energy(subset + errors).mean(axis=1)
    p = np.where(inside, PRIORS[prior]((middles - low) / (high - low)), 0)
    p = p / p.sum()
    # Motions are weighted by the prior of their bar over how many are in it.
    weights = (p / np.maximum(np.bincount(bar_of, minlength=len(p)), 1))[bar_of]
    q = np.histogram(after, bars, weights=weights)[0]
    leaks = weights[after < low].sum(), weights[after >= high].sum()
    colour = plotting.KERNELS["isotropic"][0]
    fig, (density, change) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=(1.5, 1))
    p, q = p / WIDTH, q / WIDTH
    density.stairs(p, bars, color=plotting.COLOURS["prior"], lw=1.4, label="prior")
    density.stairs(q, bars, color=colour, lw=2, label="after the errors")
    if prior == "uniform":  # what the models were trained on
        share = np.mean([np.histogram(r.z, bars)[0] / len(r.z) for r in made], axis=0)
        density.plot(middles, share / WIDTH, "--", color=plotting.COLOURS["mlp"], label="trained model")
    density.set(xlabel=quantity.label, ylabel="density [1/J]", xlim=(0, 9), ylim=(0, 0.5))
    density.set_title("{:.0%} below, {:.0%} above the range".format(*leaks), fontsize=11)
    density.legend(fontsize=9, ncols=2)
    moved = [(after - before)[bar_of == k] for k in np.flatnonzero(inside)]
    bias, spread = np.array(
        [(part.mean(), part.std()) if len(part) else (np.nan, np.nan) for part in moved]
    ).T
    change.errorbar(middles[inside], bias, spread, color=colour, label="bias and spread")
    formula = (M11 + M22) * velocity_error**2 / 2
    change.axhline(formula, color="0.2", ls=":", lw=1.4, label="section 5, velocities alone")
    change.set(xlabel="energy before [J]", ylabel="change [J]", xlim=(low, high), ylim=(-1, 4))
    change.legend(fontsize=9, loc="upper left")
    return fig


# %%
errors = {"angle_error": (0.0, 0.3, 0.1), "velocity_error": (0.0, 1.0, 0.7)}
explore(draw, **errors, redrawn_every_steps=[32, 8, 4, 1], prior=list(PRIORS))

# %% [markdown]
# <details><summary>What you see</summary>
#
# Up, and on average by the same at every energy (dotted), however often errors are redrawn; only the spread grows with the
# energy. So mass leaves over the upper end and hardly over the lower. The trained model loses mass over both ends: noise on
# velocities does not explain its drift.
# </details>

# %% [markdown]
# ## 6. Forecast the drift
#
# *Before training*: the rule of notebook 02, from a short training of an eighth of the steps. *After*: the model's round trips
# that keep a correlation of 0.9 of the energies, and round trips from two fixed noise levels (strengths 0.5 and 0.9), to see at
# which level drift arises. The *matched blur* of the prior has the total variation of the model's drift.

# %%
jobs = forecasts.BEFORE_AND_AFTER | {
    "weak round trip": lambda e: kernel_draws(e, "round_trip", {"strength": 0.5}, e),
    "strong round trip": lambda e: kernel_draws(e, "round_trip", {"strength": 0.9}, e),
}
trips = run.compute({(kernel, e.seed): make(e) for kernel, make in jobs.items() for e in base})
grouped = {kernel: seeds_of(trips, kernel) for kernel in jobs}
expected, scores = forecasts.score_kernels(grouped, observed)
forecasts.score_kernels(grouped, observed, inner=0.8)
early, blur = expected["before training"], expected["matched blur"]
weak, strong = expected["weak round trip"], expected["strong round trip"]
run.record_claim("C5.04.skill", *scores["before training"].skill)
run.record_claim("C5.04.beats_blur", *drift.advantage(early, blur, observed))
run.record_claim("C5.04.beats_blur_inside", *drift.advantage(early, blur, observed, 0.8))
run.record_claim("C4.04.round_trip_skill", *scores["round trip"].skill)
run.record_claim("C4.04.round_trip_beats_blur", *drift.advantage(expected["round trip"], blur, observed))
run.record_claim("C4.04.from_more_noise", *drift.advantage(strong, weak, observed))
fits = run.compute({e.seed: training(e) for e in base})
paid = [f.seconds / fits[f.experiment.seed].meta["seconds"] for f in grouped["before training"]]
run.record_claim("C5.04.cheap", np.mean(paid), min(paid), max(paid))
print("short trainings:", [f"{f.kernel} kernel, drift {f.short:.3f}" for f in grouped["before training"]])

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(7.5, 4))
shown = {"before training": early, "round trip": expected["round trip"]}
shown |= {"strong round trip": strong, "matched blur": np.broadcast_to(blur, observed.q.shape)}
plotting.plot_forecast(ax, observed.edges, observed.p, observed.q, shown, P.samples, "mlp")
ax.axvline(task.saddles[0], color="0.2", ls="--", lw=1.2)
ax.set(xlabel=quantity.label, ylabel="drift relative to the prior")
ax.set_title("skill: " + ", ".join(f"{k} {scores[k].skill.value:.2f}" for k in shown), fontsize=9)
ax.legend(fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.44, 0.08))
saved = {plotting.array_name(kernel): values for kernel, values in shown.items()}
saved |= {k: getattr(observed, k) for k in ("edges", "p", "q")}
run.save_figure(fig, "fig_04_forecast", data=saved, configs=[d.key for d in trips.values()])
plt.show()

# %% [markdown]
# **What we see.** The forecast made before training does not beat the blur. It finds that the upper end loses most, but
# underestimates the loss: the pendulum's drift falls more slowly than $1/\sqrt{\text{steps}}$. Round trips beat the blur, if by
# little. They explain most from the noisiest level (grey; a weaker one is not drawn), so drift arises mostly at high noise.
#
# ## Verdicts
#
# `run.finish` prints the verdict on each claim that has a primary test here. **Limits.** One pendulum, 1.5 s, one class of model.

# %%
run.finish()

# %% [markdown]
# ## Exercises
#
# Replace the three dots and run the cell; it says whether the answer is right, or what is off.
#
# ### Exercise 04.1: What noise on angles adds
#
# Section 5 asks what noise on velocities adds to the kinetic energy. Now the angles are off: $\theta_i + d_i$ with
# independent Gaussian $d_i$ of mean 0 and standard deviation $s$ (in rad), while both rods are at rest. By how much
# does the mean energy change? `answer` is a function `(theta1, theta2, s)` of three numbers that returns one number,
# the mean of the potential energy $V$ after the errors less $V(\theta_1, \theta_2)$, in J: exact for large errors,
# too. Masses, rods and $g$ are those of the notebook: 1 kg and 0.25 kg, 1 m each, 9.81 m/s².

# %%
answer = ...
check("04.1", answer)

# %% [markdown]
# <details><summary>Solution 04.1</summary>
#
# For Gaussian $d$, $\mathbb{E}\cos(\theta + d) = e^{-s^2/2} \cos\theta$: noise shrinks every cosine by the same factor.
# So it lifts a rod that hangs below the horizontal, and lowers one that stands above it.
#
# ```python
# import numpy as np
#
#
# def noise_on_angles(theta1, theta2, s):
#     m1, m2, l1, l2, g = 1.0, 0.25, 1.0, 1.0, 9.81
#     height = (m1 + m2) * g * l1 * np.cos(theta1) + m2 * g * l2 * np.cos(theta2)
#     return height * (1 - np.exp(-(s**2) / 2))
#
#
# answer = noise_on_angles
# ```
# </details>

# %% [markdown]
# ### Exercise 04.2: Draw states of one energy
#
# Take *equal* masses, 1 kg both, on rods of 1 m, with $g$ = 9.81 m/s². `answer` is a function `(energy, n, rng)` that
# returns `n` states, an array of shape `(n, 4)` with columns $\theta_1, \theta_2$ [rad], $\omega_1, \omega_2$ [rad/s],
# drawn from the microcanonical distribution of section 2 at that energy (in J), with the random generator `rng`. It has to hold
# above the lowest saddle, too. Write it yourself rather than call `task.start`; without a loop over states, as the
# check draws 20,000. (With equal masses the density of the angles varies more than in the notebook, so that a mistake
# shows.)

# %%
answer = ...
check("04.2", answer)

# %% [markdown]
# <details><summary>Solution 04.2</summary>
#
# Angles come from rejection, with density proportional to $\sqrt{\det M} = \sqrt{2 - \cos^2\Delta}$ where $V < E$. For
# velocities of a random direction in the metric of $M$, apply $L^{-\top}$ to a unit vector $u$ of random direction;
# without that, some directions of the velocities come too often.
#
# ```python
# import numpy as np
#
#
# def states_of_one_energy(energy, n, rng):
#     def potential(a):
#         return 9.81 * (2 * (1 - np.cos(a[:, 0])) + 1 - np.cos(a[:, 1]))
#
#     angles = np.empty((0, 2))
#     while len(angles) < n:
#         tried = rng.uniform(-np.pi, np.pi, (4 * n, 2))
#         density = np.sqrt(2 - np.cos(tried[:, 0] - tried[:, 1]) ** 2)
#         kept = (potential(tried) < energy) & (rng.random(len(tried)) * np.sqrt(2) < density)
#         angles = np.concatenate([angles, tried[kept]])
#     angles = angles[:n]
#     c = np.cos(angles[:, 0] - angles[:, 1])
#     M = np.moveaxis(np.array([[np.full(n, 2.0), c], [c, np.ones(n)]]), -1, 0)
#     L = np.linalg.cholesky(M)
#     turn = rng.uniform(0, 2 * np.pi, n)
#     u = np.stack([np.cos(turn), np.sin(turn)], axis=-1)[..., None]
#     direction = np.linalg.solve(np.swapaxes(L, 1, 2), u)[..., 0]
#     speed = np.sqrt(2 * (energy - potential(angles)))
#     return np.column_stack([angles, speed[:, None] * direction])
#
#
# answer = states_of_one_energy
# ```
# </details>

# %% [markdown]
# ### Exercise 04.3: Repair noisy motions, and keep their energies
#
# Noise of 0.1 rad on both angles and 0.5 rad/s on both angular velocities, independent at all 64 steps of 1.5 s (twice as many
# as above), makes motions invalid and lifts their energies by a quarter of a joule. `answer` is a function of noisy motions, an
# array of shape `(n, 64, 4)` with channels $\theta_1, \theta_2, \omega_1, \omega_2$ (angles without jumps), that returns
# repaired ones of the same shape. It does not see the true motions. The check draws 400 motions whose energies are spread over
# the prior, adds the noise, and asks of the repaired ones, all against the noisy ones:
#
# - angles, and angular velocities, are nearer to those of the true motions (root mean square);
# - along a motion, the energy strays at most half as much (standard deviation over steps, mean over motions);
# - the distribution of the mean energies is at most a fifth as far from the curated one (Wasserstein-1).
#
# There are many ways. What repairs single motions best need not repair the distribution.

# %%
answer = ...
check("04.3", answer)

# %% [markdown]
# <details><summary>Solution 04.3</summary>
#
# A local polynomial of order 4 over 31 steps follows the swings and averages out most of the noise. (A plain moving
# average works over 5 steps. Over 9 it brings single motions nearer still, but their energies come out too low.)
#
# ```python
# from scipy.signal import savgol_filter
#
#
# def repaired_motions(noisy):
#     return savgol_filter(noisy, 31, 4, axis=1)
#
#
# answer = repaired_motions
# ```
# </details>
