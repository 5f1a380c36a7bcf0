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
# **Question.** Before a model is trained, can we say which values of a quantity it will make too often and
# too rarely?
#
# **You will** push small errors through a measurement, turn that into a forecast of the recovered
# distribution, and score it against trained diffusion models, beside a blur that knows no trajectories. **You
# need** notebook 01, derivatives, and expectations.
#
# Claims examined: C3, *local errors typical of the model class, pushed through the measurement, move
# probability mass*; C4, *a data deviation kernel (the paper's word; the definitions here are ours) forecasts
# the drift*; C5, *before training*.

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
from physmis import drift, kernels, tasks
from physmis.drift import intervals
from physmis.experiments import forecasts
from physmis.experiments.experiment import training, training_set
from physmis.experiments.forecasts import assess, experiment, seeds_of, valid_share
from physmis.experiments.kernel_draws import kernel_draws
from physmis.kernels import expansion
from physmis.paper import plotting

plotting.use_style()
run = physmis.start("02_kernel_theory", profile=PROFILE, seed=SEED, device=DEVICE)
P = run.profile
few = run.seeds[:3]
three = {name: tasks.load(name) for name in ("sine", "cone", "logistic")}
models = {(name, s): experiment(P, three[name], s, "mlp") for name in three for s in few}  # of notebook 01

# %% [markdown]
# ## 1. See the idea in one picture
#
# A model imitates trajectories, not their quantity $z = m(x)$. Where it should make $x$, it makes a slightly
# different $x'$. A **data deviation kernel** $K(x'|x)$ says how. Measured, its draws give the **induced
# transition**, and that gives a **forecast** of the recovered distribution $q$ from the prior $p$:
#
# $$ T(z'|z) = \mathbb{E}\big[\,m(x') \text{ is } z' \;\big|\; m(x) = z,\; x' \sim K(\cdot|x)\,\big], \qquad
#    \hat q(z') = \int p(z)\, T(z'|z)\, dz . $$
#
# Counting pairs of bins of $z$ and $z'$ gives $T$. Here $K$ is the tangent kernel of section 4 on the
# logistic map.

# %%
reaches = (0.025, 0.05, 0.1, 0.2)  # of the tangent kernel, see section 4
tangents = run.compute({
    (name, r): kernel_draws(models[name, few[0]], "tangent", {"reach": r}) for name in three for r in reaches
})  # fmt: skip
shown, quantity = tangents["logistic", reaches[-1]], three["logistic"].quantity
data, edges, T = training_set(shown.experiment, run.store), quantity.bins(), shown.transition.matrix
p, (low, high) = drift.prior_mass(quantity.prior, edges), quantity.prior.support()
forecast = kernels.forecast(p, T)
z_bins = drift.bin_of(data.z, edges)
bin_shown = int(z_bins[0])  # that of the first trajectory, which is not chosen
x, rng = data.x[:1], np.random.default_rng(SEED)
perturbed = kernels.TangentKernel(data.x, reaches[-1]).deviate(np.repeat(x, 6, axis=0), rng)

fig, axes = plt.subplots(1, 4, figsize=(13, 3.3), width_ratios=(1.1, 1, 1.2, 1.1))
red, grey, drawn = plotting.KERNELS["tangent"][0], plotting.COLOURS["prior"], edges[1:-1]
axes[0].plot(perturbed[..., 0].T, color=red, lw=0.9, alpha=0.7, label=["draws $x'$"] + [None] * 5)
axes[0].plot(x[0, :, 0], color="black", lw=1.6, label="$x$")
axes[0].set(title="1  a kernel perturbs $x$", xlabel="time step", ylabel="population", ylim=(-0.05, 1.35))
axes[0].legend(loc="upper center", ncols=2, fontsize=9)
axes[1].stairs(T[bin_shown, 1:-1], drawn, fill=True, color=red, alpha=0.6)
axes[1].axvspan(*edges[bin_shown : bin_shown + 2], color="black", lw=0)
axes[1].set(title="2  $z'$ of all $x$ at this $z$", xlabel="$z'$", ylabel="$T(z'|z)$ by bin")
seen = T[1:-1, 1:-1].T  # from z to the right, to z' upwards
mesh = axes[2].pcolormesh(drawn, drawn, seen, cmap="Greys", vmin=0, vmax=T[3:-3].max())
axes[2].vlines(edges[bin_shown : bin_shown + 2], low, high, color=red, lw=1.2)
axes[2].set(title="3  the same at every $z$", xlabel="$z$", ylabel="$z'$", xlim=(low, high))
fig.colorbar(mesh, ax=axes[2], label="$T(z'|z)$ by bin")
axes[3].stairs(p[1:-1], drawn, fill=True, color=grey, alpha=0.4, label="prior $p$")
axes[3].stairs(forecast[1:-1], drawn, color=red, lw=2, label=r"forecast $\hat q$")
axes[3].set(title="4  prior and forecast", xlabel="$z$", ylabel="share of each bin")
axes[3].set_ylim(0, 1.4 * forecast.max())
axes[3].legend(loc="upper center", ncols=2, fontsize=9)
saved = {"x": x[0], "perturbed": perturbed, "bin": bin_shown, "edges": edges}
saved |= {"T": T, "p": p, "forecast": forecast}
run.save_figure(fig, "fig_02_concept", data=saved, configs=[shown.key], seeds=few[:1])
plt.show()

# %% [markdown]
# **Look at** the picture from left to right: one trajectory and six draws; the $z'$ of all trajectories that
# share its bin of $z$ (black); the same for every $z$, one column each; and what becomes of the prior.
#
# ## 2. Push a small error through the measurement
#
# Let the error $x' - x$ have mean 0 and covariance $S$, and let it be small. With the gradient $g = \nabla
# m(x)$ and the matrix of second derivatives $H = \mathrm{Hess}\, m(x)$, Taylor's formula gives the mean and
# the variance of the change of the quantity, to second order,
#
# $$ \underbrace{b = \mathbb{E}[m(x')] - m(x) = \tfrac12 \mathrm{tr}(S H)}_{\text{bias}}, \qquad
#    \underbrace{D = \mathrm{Var}[m(x')] = g^\top S\, g}_{\text{blur}} . $$
#
# So errors that are right on average still shift the quantity wherever the measurement is *curved*. For the
# cone, $m(x) = \lVert x \rVert = z$ with $T$ steps, isotropic errors $S = s^2 I$ give $b = (T-1)\,s^2 / 2z$
# and $D = s^2$: the bias pushes mass away from the tip, the more the closer it is. With the means $b(z)$ and
# $D(z)$ over trajectories that share $z$, integrating $\mathbb{E} f(z')$ by parts for every smooth $f$ gives
# the drift
#
# $$ q - p = -(b p)' + \tfrac12 (D p)'' . $$
#
# **The check.** We spread trajectories evenly over each prior, take isotropic errors of 2 % of the data's
# standard deviation, and measure. Errors come in pairs, $d$ and $-d$, whose linear terms cancel: what is left
# is the small bias.


# %%
def spread_evenly(task):
    """Trajectories at evenly spaced quantiles of the prior, lowest quantity first, and their quantity."""
    z = task.quantity.prior.ppf((np.arange(count) + 0.5) / count)
    return task.generate(z, np.random.default_rng(SEED)), z


def measure_errors(task, x, s, pairs, rng):
    """Mean and variance of m(x') - m(x) at each of ``x``, and the squared standard error of the mean."""
    odd, even, start = [], [], task.measure(x)
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
sets = {name: spread_evenly(task) for name, task in three.items()}
expanded, variances = {}, []
for name, task in three.items():
    (x, z), s, size = sets[name], 0.02 * sets[name][0].std(), np.ptp(task.quantity.prior.support())
    b, D = (s**2 * part for part in expansion.bias_and_blur(task.differentiable, x, 1.0))
    mean, variance, error = measure_errors(task, x, s, 64, rng)
    bars = 1.96 * np.sqrt(by_tenth(error) / (count / 10))
    found = {"b": by_tenth(b), "sd": np.sqrt(by_tenth(D)), "bars": bars}
    found |= {"measured_b": by_tenth(mean), "measured_sd": np.sqrt(by_tenth(variance))}
    found = {"z": by_tenth(z)} | {part: values / size for part, values in found.items()}
    expanded |= {f"{name}_{part}": values for part, values in found.items()}
    variances += [variance, D]

# %%
fig, axes = plt.subplots(2, 3, figsize=(12, 5.2), sharex="col")
for column, name in zip(axes.T, three, strict=True):
    at, bars = expanded[f"{name}_z"], expanded[f"{name}_bars"]
    for ax, part, bar in ((column[0], "b", bars), (column[1], "sd", None)):
        ax.plot(at, expanded[f"{name}_{part}"], color=grey, lw=3, label="expansion")
        measured = expanded[f"{name}_measured_{part}"]
        ax.errorbar(at, measured, bar, fmt="o", ms=5, color="black", capsize=3, label="simulation")
        ax.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    column[0].axhline(0, color="0.7", lw=0.9, zorder=0)
    column[0].set_title(name)
    column[1].set(xlabel=three[name].quantity.label, ylim=(0, 1.3 * max(measured)))
axes[0, 0].set_ylabel("bias $b$ / range of $z$")
axes[1, 0].set_ylabel(r"blur $\sqrt{D}$ / range of $z$")
axes[1, 0].legend(loc="lower left")
run.save_figure(fig, "fig_02_expansion", data=expanded, configs=[], seeds=[SEED])
plt.show()


def worst_blur(rows):
    """Largest relative difference of sqrt(D) from the expansion: over all tenths, and off the tip."""
    tenth, *columns = rows.T
    sums = [np.bincount(tenth.astype(int), weights=column, minlength=10) for column in columns]
    ratios = [np.sqrt(seen / expected) for seen, expected in zip(sums[::2], sums[1::2], strict=True)]
    off = np.abs(np.array(ratios) - 1)  # (tasks, tenths)
    everywhere, off[list(three).index("cone"), 0] = off.max(), 0
    return everywhere, off.max()


rows = [np.stack([np.arange(count) * 10 // count, *variances], axis=1)]
everywhere, off_tip = intervals.bootstrap(worst_blur, rows)
run.record_claim("C3.02.expansion", *everywhere, seeds=[SEED])
run.record_claim("C3.02.expansion_off_tip", *off_tip, seeds=[SEED])

# %% [markdown]
# **Look at** the cone's lowest tenth, where errors are as long as the smallest trajectories: no error is
# small there. The second claim leaves that tenth out; it was added after the first had failed.
#
# **A control.** For isotropic errors the bias is $\frac12 s^2 \Delta m$. A function with $\Delta m = 0$
# everywhere is called **harmonic**: its average over every sphere is the value at the centre, so isotropic
# errors of *any* size leave it unbiased. Three harmonic measurements of two steps:

# %%
harmonic = (
    lambda x: (x[:, 0] + x[:, 1]) / 2,
    lambda x: x[:, 0] * x[:, 1],
    lambda x: x[:, 0] ** 3 - 3 * x[:, 0] * x[:, 1] ** 2,  # the real part of (x0 + i x1)^3
)
point, tries = np.array([[1.0, 0.5]]), 200_000
worst, rng = 0.0, np.random.default_rng(SEED)
for m in harmonic:
    for s in (0.1, 1.0, 3.0):
        change = m(point + s * rng.standard_normal((tries, 2))) - m(point)
        worst = max(worst, abs(change.mean()) / change.std())
noise = 3 / tries**0.5  # nine averages are looked at: three standard errors each way
run.record_claim("C3.02.harmonic_unbiased", worst, max(worst - noise, 0), worst + noise, seeds=[SEED])

# %% [markdown]
# ## 3. Fix what counts as a forecast
#
# The models are the MLP diffusion models of notebook 01. A forecast $\hat q$ is made from each seed's
# training set and compared with the samples of the model trained on it.
#
# - **Skill**, $1 - \mathrm{TV}(\hat q, q)/\mathrm{TV}(p, q)$, is the main score: 0 is the forecast of no
#   drift, 1 is perfect.
# - **Drift correlation** is Pearson's correlation over bins of forecast and observed drift. Its **noise
#   ceiling** is what a second sample from the same model would reach.
# - The **matched blur** is what to beat: the prior after a Gaussian blur of the
#   width that gives the total variation of the model's own drift. It knows no trajectories, but how much the
#   model drifts.
# - **Inner bins.** Any blur lowers both ends of a uniform prior, and so does most drift. Each score is also
#   given for the bins in the inner 80 % of the range alone.
#
# ## 4. Build kernels that perturb as a model does
#
# | kernel | $x'$ | what it needs |
# |---|---|---|
# | isotropic | $x + s\,\varepsilon$ | one number from models of the sine |
# | tangent | steps along the data, limited in reach | the training set |
# | round trip | what the model makes of $\cos\theta\,x + \sin\theta\,\varepsilon$ | the trained model |
#
# What a trained model cannot see are errors *along* the data, where differences of neighbours point. With
# $x_i, x_j, x_k$ from the 5 % nearest trajectories, the **tangent** kernel takes
#
# $$ x' = x + \frac{x_i - x_j}{\sqrt{1 + |x_i - x_j|^2/\ell^2}} + \frac{x_k - x}{1 + |x_k - x|^2/\ell^2} , $$
#
# a blur along the data, no longer than $\ell$, and a pull toward neighbours within $\ell$, as a network
# trained on squared error answers with means. $|\cdot|$ is the length after dividing each channel by its
# standard deviation, and $\ell$ is the **reach** times $|x - \bar x|$, the size of the trajectory. One rule
# sets the reach on every task, without a trained model: the largest of those tried with which at least
# half of the draws are valid.
#
# A **round trip** adds noise up to an angle $\theta$, its *strength* times the largest, nearly $\pi/2$, and
# lets the model remove it. The strengths are fixed at 0.7, and at 0.4 for a *weak* one, whose errors are more
# local; 1 would forget $x$. The scale of the isotropic errors gives training data of the sine the residual
# that trained models have there.

# %%
strengths = {"weak round trip": 0.4, "round trip": 0.7}
results = run.compute(models)
observed = {name: assess(seeds_of(results, name)) for name in three}
residual = forecasts.residual(seeds_of(results, "sine"))
scale = forecasts.matched_scale(models["sine", few[0]], residual, run.store)
reach = {name: forecasts.longest_reach({r: tangents[name, r] for r in reaches}) for name in three}
print(f"isotropic scale {scale:.4f} of the standard deviation; reach {reach}")
jobs = {}
for (name, s), e in models.items():
    jobs["isotropic", name, s] = kernel_draws(e, "isotropic", {"scale": scale})
    jobs["tangent", name, s] = kernel_draws(e, "tangent", {"reach": reach[name]})
    for trip, strength in strengths.items():
        jobs[trip, name, s] = kernel_draws(e, "round_trip", {"strength": strength}, e)
draws = run.compute(jobs)
KERNELS, INNER = ("isotropic", "tangent", *strengths), 0.8
laws, scores = {}, {}
for name in three:
    group = {kernel: seeds_of(draws, kernel, name) for kernel in KERNELS}
    for inner in (None, INNER):
        laws[name], scores[name, inner] = forecasts.score_kernels(group, observed[name], inner)

# %% [markdown]
# ## 5. Compare the forecasts with the models

# %%
fig, axes = plt.subplots(1, 3, figsize=(13, 3.8))
saved, valid = {}, {name: valid_share(seeds_of(results, name)) for name in three}
for ax, name in zip(axes, three, strict=True):
    d, colour = observed[name], "mlp" if valid[name].value >= 0.9 else "invalid"
    shown = {kernel: laws[name][kernel] for kernel in ("tangent", "round trip")}
    shown["matched blur"] = laws[name]["matched blur"][None]
    plotting.plot_forecast(ax, d.edges, d.p, d.q, shown, P.samples, colour)
    skills = [f"{kernel}  {drift.skill(law, d.q, d.p).mean():.2f}" for kernel, law in shown.items()]
    ax.legend(ax.lines[: len(shown)], skills, title="skill", loc="lower center", fontsize=9, title_fontsize=9)
    ax.set(title=name, xlabel=three[name].quantity.label, ylim=(1.7 * ax.get_ylim()[0], None))
    ax.set_title(f"{valid[name].value:.0%} valid", loc="right", fontsize=9)
    saved |= {f"{name}_edges": d.edges, f"{name}_p": d.p, f"{name}_q": d.q}
    saved |= {plotting.array_name(name, kernel): law for kernel, law in shown.items()}
axes[0].set_ylabel("drift relative to the prior")
band_and_model = [part[:2] for part in ax.get_legend_handles_labels()]
fig.legend(*band_and_model, loc="outside lower center", ncols=2, fontsize=9)
keys = [result.key for result in (*results.values(), *draws.values())]
run.save_figure(fig, "fig_02_forecast", data=saved, configs=keys, seeds=few)
plt.show()

# %% [markdown]
# **Look at** the peaks and troughs of the models (filled; triangles mark those that stand out of the noise,
# the grey band): a blur can only lower both ends. Where the fill is grey, less than 0.9 of the trajectories
# are valid.

# %%
fig, axes = plt.subplots(2, 3, figsize=(12, 5.4), sharex=True, sharey="row")
saved, marks = {}, {None: ("black", "o", "all bins"), INNER: ("0.6", "s", f"inner {INNER:.0%}")}
for column, name in zip(axes.T, three, strict=True):
    for shift, (inner, (colour, marker, label)) in zip((-0.13, 0.13), marks.items(), strict=True):
        found = scores[name, inner]
        for ax, part in zip(column, ("skill", "correlation"), strict=True):
            values = np.array([getattr(score, part) for score in found.values()])
            plotting.plot_intervals(
                ax, np.arange(len(found)) + shift, np.maximum(values, -1), colour, marker, ls="", label=label
            )
            saved[plotting.array_name(name, part, label.strip("%"))] = values
    column[0].set_title(name)
    column[1].set_xticks(range(len(found)), [*KERNELS, "matched blur"], rotation=35, ha="right", fontsize=9)
    for ax in column:
        ax.axhline(0, color="0.7", lw=0.9, zorder=0)
axes[0, 0].set(ylabel="skill, cut off at -1", ylim=(-1.1, 1.1))
axes[1, 0].set(ylabel="drift correlation", ylim=(-1.1, 1.1))
axes[0, 0].legend(fontsize=9)
run.save_figure(fig, "fig_02_scores", data=saved, configs=keys, seeds=few)
plt.show()

# %% [markdown]
# **Look at** the distance of each kernel to the matched blur, and at how much of it is left in the inner
# bins. The tests ask three things: does a weak round trip, whose errors are local, forecast the drift at all
# (C3); does the round trip explain part of it (C4); does the tangent kernel, made before training, explain
# more than the matched blur (C5)?

# %%
run.record_claim("C3.02.logistic_valid", *valid["logistic"], seeds=few)
for name in ("cone", "logistic"):
    found, blur = scores[name, None], laws[name]["matched blur"]
    run.record_claim(f"C3.02.{name}_local_errors", *found["weak round trip"].correlation, seeds=few)
    for number, kernel in ((4, "round trip"), (5, "tangent")):
        claim, law = f"C{number}.02.{name}_{plotting.array_name(kernel)}", laws[name][kernel]
        run.record_claim(f"{claim}_skill", *found[kernel].skill, seeds=few)
        gain = drift.advantage(law, blur, observed[name], of="skill")
        run.record_claim(f"{claim}_beats_blur", *gain, seeds=few)
gain = drift.advantage(law, blur, observed[name], INNER, "skill")  # of the last: logistic map, tangent kernel
run.record_claim("C5.02.logistic_tangent_beats_blur_inside", *gain, seeds=few)

# %% [markdown]
# **What a forecast costs.** Seconds of training a model, over those of the tangent kernel's draws at all
# reaches tried; times are those of the stored results.

# %%
fits = run.compute({name: training(models[name, few[0]]) for name in three})
seconds = {name: sum(tangents[name, r].seconds for r in reaches) for name in three}
ratios = [fits[name].meta["seconds"] / seconds[name] for name in three]
run.record_claim("C5.02.tangent_cheap", np.median(ratios), min(ratios), max(ratios), seeds=few[:1])

# %% [markdown]
# ## What to take along
#
# - Errors that are right on average move a quantity: bias where the measurement is curved, blur nearly
#   everywhere.
# - A kernel turns errors into a forecast of the whole distribution; a round trip asks the trained model for
#   its errors, the tangent kernel guesses them from the data.
# - A forecast counts if it beats a blur of the same size, also away from the ends of the range.
#
# **Limits.** The tangent kernel and its rule were made with the drift of these tasks in view. The maze and
# the pendulum (notebooks 03 and 04) are its test.

# %%
run.finish()

# %% [markdown]
# ## Try it
#
# Move the `scale` of a kernel (the tangent kernel's reach; the isotropic one's standard deviation over that
# of the data) and the number of `times` that its transition is applied. Look for one setting that forecasts
# all tasks.

# %%
from physmis.teaching import check, explore


def transition_of(name, kernel, scale, edges):
    """From evenly spread trajectories, which make the forecast less noisy; the same draw at all scales."""
    x, z = (np.repeat(part, 8, axis=0) for part in sets[name])
    made = kernels.IsotropicKernel(scale, x.std(axis=(0, 1)))
    if kernel == "tangent":
        made = kernels.TangentKernel(sets[name][0], scale)
    perturbed = made.deviate(x, np.random.default_rng(SEED))
    return kernels.transition(z, three[name].measure(perturbed), edges).matrix


def draw(task, kernel, scale, times):
    """Drift of the trained model and its forecast, and the scores for each number of times."""
    d, ks = observed[task], np.arange(1, 17)
    T = transition_of(task, kernel, scale, d.edges)
    found = [kernels.forecast(d.p, T, k) for k in ks]
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=(3, 2))
    plotting.plot_forecast(left, d.edges, d.p, d.q, {kernel: found[times - 1][None]}, P.samples, "mlp")
    left.set(title=f"{task}: {kernel} kernel, scale {scale:.3g}, $k$ = {times}")
    left.set_xlabel(three[task].quantity.label)
    left.legend(fontsize=9, loc="lower center")
    colour, marker = plotting.KERNELS[kernel]
    for judge, style in ((drift.skill, "-"), (drift.drift_correlation, ":")):
        values = [judge(law, d.q, d.p).mean() for law in found]
        label = judge.__name__.replace("_", " ")
        right.plot(ks, values, style, color=colour, marker=marker, ms=4, label=label)
        right.plot(times, values[times - 1], "o", ms=12, mfc="none", color="0.3")
    right.set(xlabel="times applied $k$", ylabel="score (1 is perfect)", ylim=(-1, 1))
    right.legend(fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return fig


choices = {"task": ["logistic", "cone", "sine"], "kernel": ["tangent", "isotropic"]}
explore(draw, **choices, scale=(0.005, 0.405, 0.1), times=(1, 16, 1))

# %% [markdown]
# ## Exercises
#
# Replace the three dots, and run the cell: the check says what is off, not how to do it. Solutions are folded
# away.

# %% [markdown]
# ### Exercise 02.1: the kinetic energy of jitter
#
# A unit mass on a line is seen at $T$ times, $dt$ apart. From its positions $x$, shape `(T,)`, we measure the
# kinetic energy summed over the steps, $m(x) = \frac12 \sum_t \left((x_{t+1} - x_t)/dt\right)^2$. Each
# position gets an independent error of mean 0 and standard deviation $s$. What is the bias $\mathbb{E}[m(x')]
# - m(x)$? `answer` must be a function `answer(T, dt, s)` that returns it, one number.

# %%
answer = ...
check("02.1", answer)

# %% [markdown]
# <details><summary>Solution 02.1</summary>
#
# Each of the $T - 1$ squares has second derivative $1/dt^2$ at both of its ends, so $\mathrm{tr}\,H =
# 2(T-1)/dt^2$, and $b = \frac12 s^2\, \mathrm{tr}\,H$. This is exact, as $m$ is quadratic. Halve the time
# step of a motion: the energy at each step stays, and its bias is four times as large.
#
# ```python
# def answer(T, dt, s):
#     return (T - 1) * s**2 / dt**2
# ```
# </details>

# %% [markdown]
# ### Exercise 02.2: bias without drift
#
# A bias at nearly every value does not prove drift. Make an example. Given any distribution $p$ over $n$
# bins, all of them above 0, find a transition $T$ that leads only to the same bin or to the one next to it,
# takes at least a tenth of the mass to another bin, and forecasts no drift: $pT = p$. `answer` must be a
# function `answer(p)` of an array of shape `(n,)` that returns $T$, an array of shape `(n, n)`; `T[i, j]` is
# the probability of going from bin $i$ to bin $j$.

# %%
answer = ...
check("02.2", answer)

# %% [markdown]
# <details><summary>Solution 02.2</summary>
#
# As much mass must cross between two bins each way: $p_i T_{i,i+1} = p_{i+1} T_{i+1,i}$. Try a step to either
# side with probability a half each, and take it with probability $\min(1, p_j/p_i)$, as Metropolis does; then
# both sides are $\frac12 \min(p_i, p_{i+1})$. Other choices serve, too. The mean step of bin $i$ is in
# general not 0: it points to where $p$ is larger. The larger bin sends back as much, each of its trajectories
# moving less often.
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
# Section 2 measures how errors bias the growth rate of the logistic map. The measurement is ours to choose.
# On longer trajectories, of 32 steps, find another one that is exact on trajectories without errors (within
# $10^{-6}$), and that drifts less with isotropic errors of standard deviation 0.03: the Wasserstein-1
# distance between the distribution of $m(x')$ and the prior of $r$, uniform on $[3.5, 4]$, must be at most
# two thirds of that of least squares. Values must still follow $r$: a correlation of 0.8 or more. `answer`
# must be a function `answer(x)` of trajectories of shape `(n, 32)` that returns their growth rates, shape
# `(n,)`, each from its own trajectory alone. Many measurements will do. How little drift can you reach?

# %%
answer = ...
check("02.3", answer)

# %% [markdown]
# <details><summary>Solution 02.3</summary>
#
# With $s = x_t (1 - x_t)$, least squares divides by $\sum s^2$, which errors make too large on average: $r$
# comes out too low. The quotient of sums, $\sum x_{t+1} / \sum s$, divides by what errors make too small, as
# $\mathbb{E}[s'] = s - 0.03^2$: $r$ comes out too high, by about as much. Their mean has about half the drift
# of least squares; what is left is mostly blur. The median of the quotients $x_{t+1}/s$ serves as well.
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
