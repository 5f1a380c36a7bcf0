"""Public functions that take arrays, and good arguments for each: for `test_hostile_input`."""

from functools import lru_cache

import numpy as np
import scipy.stats
from hostile import Case

from physmis import coordinates, drift, kernels, mitigations, models, tasks
from physmis.audit.audit import audit, measurements, preparation
from physmis.coordinates import families
from physmis.coordinates import search as kernel_coordinates
from physmis.coordinates import size_maps as scaled
from physmis.drift import shift_test as comparison
from physmis.experiments import planning
from physmis.kernels import expansion
from physmis.tasks import maze, travel

PRIOR = scipy.stats.uniform(0, 1)
SINE, CONE, LOGISTIC = (tasks.load(name, steps=24) for name in ("sine", "cone", "logistic"))
PENDULUM = tasks.load("pendulum", steps=4, duration=0.1)
MAZE = tasks.load("maze", maze="umaze", low=3.0, high=6.0, separations=2, steps=12)
RECORDED = tasks.load("maze", steps=12, velocities=True)
ISOTROPIC = kernels.IsotropicKernel(0.1)
REFERENCES = kernels.References(np.random.default_rng(0).normal(size=(9, 8, 2)))
ENERGY = scaled.EnergyWarp.between(PENDULUM.quantity.prior, scipy.stats.chi(4), pendulum=PENDULUM)
SIZES = (0.5, 1.0, 2.0), (0.5, 1.5, 2.0)
WARP = coordinates.Warp((-1.0, 0.0, 2.0), (-1.0, 1.0, 2.0))
INNOVATIONS = coordinates.Innovations(((0.0, 0.1), (0.5, 0.0), (0.0, 0.5), *(((0.01, 0.0),) * 3)))


def new():
    return np.random.default_rng(0)


# What good arguments look like: small, and exact in single precision.


def rounded(**arrays):
    return {name: np.asarray(x, dtype=np.float32).astype(float) for name, x in arrays.items()}


def paths(n=6, steps=8, channels=2, name="x"):
    return lambda rng: rounded(**{name: rng.normal(size=(n, steps, channels))})


def samples(*names, n=8):
    return lambda rng: rounded(**{name: rng.uniform(0, 1, n) for name in names})


def edges(rng):
    return rounded(edges=np.cumsum([-0.5, *rng.uniform(0.3, 0.6, 5)]))


def laws(*names, bins=5, square=()):
    def make(rng):
        one = {name: rng.dirichlet(np.full(bins, 3.0)) for name in names}
        return rounded(**one, **{name: rng.dirichlet(np.full(bins, 3.0), size=bins) for name in square})

    return make


def both(*makers):
    return lambda rng: {name: x for make in makers for name, x in make(rng).items()}


def data(task, n=6, name="x"):
    return lambda rng: rounded(**{name: task.sample(n, rng).x})


def in_maze(rng):
    return rounded(x=rng.uniform(-1, 1, (4, 1, 2)) + rng.normal(size=(4, 12, 2)).cumsum(axis=1) / 20)


def covariance(rng):
    a = np.float32(rng.normal(size=(4, 4))).astype(float)
    return rounded(covariance=np.round(8 * a @ a.T) / 8)


def length(x):
    with np.errstate(over="ignore"):
        return np.abs(np.diff(x, axis=1)).sum(axis=(1, 2))


@lru_cache
def found_drift():
    rng = new()
    return drift.assess(rng.uniform(0, 0.9, (2, 50)), PRIOR, np.linspace(0, 1, 6), 50)


def fitted(x, condition=None, weights=None, name="mlp", **parameters):
    return models.build(name, steps=2, batch=4, **parameters).fit(
        x, new(), condition=condition, weights=weights
    )


@lru_cache
def trained(conditional=False):
    return fitted(new().normal(size=(16, 8, 2)), np.arange(16.0) if conditional else None)


@lru_cache
def planner():
    return models.build("planner", width=8, steps=2, batch=4).fit(new().normal(size=(16, 12, 2)), new())


def kernel_of(make):
    """Cases of a kernel's data and of what it deviates."""
    return (
        Case(lambda data: make(data).deviate(new().normal(size=(3, 8, 2)), new()), paths(name="data")),
        Case(lambda x: make(new().normal(size=(9, 8, 2))).deviate(x, new()), paths()),
    )


NEIGHBOUR = kernel_of(lambda data: kernels.NeighbourKernel(data, 0.5, 0.1))
EXCHANGE = kernel_of(lambda data: kernels.ExchangeKernel(data, 0.5))
TANGENT = kernel_of(lambda data: kernels.TangentKernel(data, 0.1))
ERRORS = kernel_of(audit.Errors)


def round_trip(kind, **others):
    return Case(
        lambda x: kind(trained(), 0.5, **others).deviate(x, new()), paths(), rounding=1e-4, costly=True
    )


def maps(one, good):
    """Cases of both directions of coordinates."""
    return Case(one.transform, good), Case(
        lambda y: one.inverse(y), lambda rng: rounded(y=one.transform(good(rng)["x"]))
    )


def moved(x, **others):
    return kernel_coordinates.KernelCoordinates.of(
        coordinates.Identity(), x, length, lambda y: ISOTROPIC, **others
    )


def of_task(task, method, good=None, **others):
    return Case(getattr(task, method), good or data(task), **others)


def measurement(function):
    return Case(function, paths(), infinite=("x",), missing=("x",), nan="is NaN for")


def in_families(x):
    made = [families.family(name, x) for name in families.FAMILIES]
    return [found.make(np.full(found.numbers, 0.1)).transform(new().normal(size=(2, 3, 2))) for found in made]


def energies(name):
    return lambda rng: rounded(**{name: rng.uniform(1, 5, 5)})


CASES = {
    "drift.histogram": Case(drift.histogram, both(samples("z"), edges), infinite=("edges",)),
    "drift.bin_of": Case(drift.bin_of, both(samples("z"), edges), infinite=("edges",)),
    "drift.prior_mass": Case(lambda edges: drift.prior_mass(PRIOR, edges), edges, infinite=("edges",)),
    "drift.total_variation": Case(drift.total_variation, laws("p", "q"), any_shape=("p", "q")),
    "drift.wasserstein": Case(lambda z: drift.wasserstein(z, PRIOR), samples("z")),
    "drift.assess": Case(
        lambda groups, edges: drift.assess(groups, PRIOR, edges, 20),
        both(lambda rng: rounded(groups=rng.uniform(0, 1, (2, 8))), edges),
        infinite=("edges",),
        costly=True,
    ),
    "drift.drift_correlation": Case(drift.drift_correlation, laws("f", "q", "p"), any_shape=("f", "q", "p")),
    "drift.skill": Case(drift.skill, laws("f", "q", "p"), any_shape=("f", "q", "p")),
    "drift.wasserstein_binned": Case(
        drift.wasserstein_binned, both(laws("f", "q"), edges), any_shape=("f", "q"), infinite=("edges",)
    ),
    "drift.score": Case(
        lambda forecasts: drift.score(forecasts, found_drift()),
        laws("forecasts"),
        any_shape=("forecasts",),
        costly=True,
    ),
    "drift.advantage": Case(
        lambda a, b: drift.advantage(a, b, found_drift()), laws("a", "b"), any_shape=("a", "b"), costly=True
    ),
    "kernels.IsotropicKernel": Case(
        lambda spread: kernels.IsotropicKernel(0.1, spread).deviate(np.ones((2, 3, 2)), new()),
        lambda rng: rounded(spread=rng.uniform(1, 2, 2)),
        any_shape=("spread",),
    ),
    "kernels.IsotropicKernel.deviate": Case(lambda x: ISOTROPIC.deviate(x, new()), paths()),
    "kernels.References": NEIGHBOUR[0],
    "kernels.References.in_blocks": Case(
        lambda x: REFERENCES.in_blocks(lambda half: half.argmin(dim=1), x), paths()
    ),
    "kernels.References.nearest": Case(lambda x: REFERENCES.nearest(x), paths()),
    "kernels.References.draw": Case(lambda x: REFERENCES.draw(x, 0.3, new()), paths()),
    "kernels.NeighbourKernel": NEIGHBOUR[0],
    "kernels.NeighbourKernel.deviate": NEIGHBOUR[1],
    "kernels.ExchangeKernel": EXCHANGE[0],
    "kernels.ExchangeKernel.deviate": EXCHANGE[1],
    "kernels.TangentKernel": TANGENT[0],
    "kernels.TangentKernel.deviate": TANGENT[1],
    "kernels.HeldEnds.deviate": Case(lambda x: kernels.HeldEnds(ISOTROPIC).deviate(x, new()), paths()),
    "kernels.RoundTripKernel.deviate": round_trip(kernels.RoundTripKernel),
    "kernels.PilotKernel.deviate": round_trip(kernels.PilotKernel, scale=0.5),
    "kernels.induced_transition": Case(
        lambda x, edges: kernels.induced_transition(
            kernels.HeldEnds(ISOTROPIC), lambda y: y[:, 0, 0], x, edges, new()
        ),
        both(lambda rng: rounded(x=rng.uniform(0, 1, (6, 3, 2))), edges),
        infinite=("edges",),
        nan="NaN where",
    ),
    "kernels.transition": Case(
        kernels.transition, both(samples("z", "landed"), edges), infinite=("edges",), nan="NaN where"
    ),
    "kernels.forecast": Case(
        lambda p, transition: kernels.forecast(p, transition, 2), laws("p", square=("transition",))
    ),
    "kernels.check_transition": Case(
        lambda p, transition: np.vstack(kernels.check_transition(p, transition)),
        laws("p", square=("transition",)),
    ),
    "expansion.bias_and_blur": Case(
        lambda x, covariance: expansion.bias_and_blur(lambda row: (row**2).sum(), x, covariance),
        both(paths(steps=2), covariance),
        any_shape=("covariance",),
    ),
    "expansion.expand": Case(
        expansion.expand, both(samples("z", "bias", "blur"), edges), infinite=("edges",)
    ),
    "mitigations.Reweighted.fitting": Case(
        lambda z: mitigations.Reweighted((1.0,) * 52).fitting(SINE, tasks.Batch(None, z)),
        lambda rng: rounded(z=rng.uniform(2, 6, 5)),
    ),
    "mitigations.Reweighted": Case(
        lambda weights: np.asarray(mitigations.Reweighted(weights).weights, dtype=float), samples("weights")
    ),
    "mitigations.InCoordinates.fitting": Case(
        lambda x: mitigations.InCoordinates(coordinates.Increments()).fitting(SINE, tasks.Batch(x, None)),
        paths(),
    ),
    "mitigations.InCoordinates.restore": Case(
        mitigations.InCoordinates(coordinates.Increments()).restore, paths(name="y")
    ),
    "mitigations.inverse_drift_weights": Case(mitigations.inverse_drift_weights, laws("p", "q")),
    "mitigations.closest_source": Case(mitigations.closest_source, laws("p", square=("transition",))),
    "mitigations.unfolded_source": Case(
        lambda p, transition: mitigations.unfolded_source(p, transition, 3), laws("p", square=("transition",))
    ),
    "mitigations.effective_size": Case(mitigations.effective_size, samples("weights")),
    "coordinates.check_invertible": Case(
        lambda x: coordinates.check_invertible(coordinates.Increments(), x), paths()
    ),
    "coordinates.Ratios.curve": Case(coordinates.Ratios((1.0, 0.5)).curve, paths(), any_shape=("x",)),
    "coordinates.Innovations.of": Case(coordinates.Innovations.of, paths(n=20)),
    "families.family": Case(in_families, paths()),
    "scaled.NormWarp.size": Case(scaled.NormWarp(*SIZES).size, paths()),
    "scaled.LengthWarp.size": Case(scaled.LengthWarp(*SIZES).size, paths()),
    "scaled.EnergyWarp.size": Case(ENERGY.size, paths(channels=4)),
    "kernel_coordinates.KernelCoordinates.of": Case(moved, paths()),
    "kernel_coordinates.KernelCoordinates.fit": Case(
        lambda x: kernel_coordinates.KernelCoordinates.fit(
            x, length, lambda y: ISOTROPIC, families.family("filter", x), evaluations=2
        ),
        paths(),
    ),
    "kernel_coordinates.rank": Case(
        lambda x: [
            found.drift
            for found in kernel_coordinates.rank(
                [coordinates.Identity(), coordinates.Increments()], x, length, lambda y: ISOTROPIC
            )
        ],
        paths(),
    ),
    "kernel_coordinates.learn_ratios": Case(
        lambda x: kernel_coordinates.learn_ratios(x, lambda row: row.mean(), 0.0, 1.0),
        lambda rng: rounded(x=rng.uniform(0, 1, (4, 8, 1))),
        costly=True,
    ),
    "measurements.path_length": measurement(measurements.path_length),
    "measurements.mean_speed": measurement(measurements.mean_speed),
    "measurements.kinetic_energy": measurement(measurements.kinetic_energy),
    "measurements.spectral_peak": measurement(measurements.spectral_peak),
    "measurements.map_parameter": measurement(measurements.map_parameter(lambda x: x * (1 - x))),
    "preparation.prepare": Case(preparation.prepare, paths(name="given"), missing=("given",)),
    "preparation.Prepared.measured": Case(
        lambda x: preparation.prepare(x).measured(length), paths(), missing=("x",), nan="NaN where"
    ),
    "preparation.stretch": Case(lambda x: preparation.stretch(x, 5), paths()),
    "audit.Errors": ERRORS[0],
    "audit.Errors.deviate": ERRORS[1],
    "audit.audit": Case(
        lambda trajectories, generated: audit.audit(trajectories, "path_length", generated=generated),
        both(paths(24, 3, 1, name="trajectories"), paths(24, 3, 1, name="generated")),
        missing=("trajectories", "generated"),
        nan="NaN where none begins",
        costly=True,
    ),
    "comparison.bin_edges": Case(
        lambda z, generated: comparison.bin_edges(z, generated)[1:-1], samples("z", "generated", n=30)
    ),
    "comparison.law": Case(comparison.law, both(samples("z"), edges), infinite=("edges",)),
    "comparison.prior_law": Case(
        lambda edges: comparison.prior_law(PRIOR, edges), edges, infinite=("edges",)
    ),
    "comparison.counts": Case(comparison.counts, both(samples("z"), edges), infinite=("edges",)),
    "comparison.compare": Case(
        lambda z, generated, edges: comparison.compare(z, generated, None, edges, new()),
        both(samples("z", "generated"), edges),
        infinite=("edges",),
    ),
    "travel.smooth": Case(travel.smooth, paths(steps=9)),
    "travel.split": Case(lambda x: travel.split(MAZE, x), in_maze),
    "travel.visited": Case(lambda path: travel.visited(MAZE, path), lambda rng: {"path": in_maze(rng)["x"]}),
    "planning.plan": Case(
        lambda start, goal: planning.plan(planner(), MAZE, start, goal, 2, new()),
        lambda rng: {"start": np.array([-1.0, 1.0]), "goal": np.array([1.0, 1.0])},
        rounding=1e-4,
        costly=True,
    ),
    "planning.execute": Case(
        lambda plans: planning.execute(MAZE, plans), lambda rng: {"plans": in_maze(rng)["x"][:1]}, costly=True
    ),
    "tasks.Task.check": Case(SINE.check, data(SINE)),
    "tasks.Task.check_values": Case(lambda z: SINE.check_values(z, 0.0, 1.0), samples("z")),
    "tasks.maze.Layout.cell_of": Case(
        lambda points: maze.layout("umaze").cell_of(points),
        lambda rng: {"points": in_maze(rng)["x"]},
        any_shape=("points",),
    ),
    "tasks.maze.Layout.depth": Case(
        lambda points: maze.layout("umaze").depth(points),
        lambda rng: {"points": in_maze(rng)["x"]},
        any_shape=("points",),
    ),
    "tasks.maze.PointMaze.batch": Case(RECORDED.batch, paths(steps=12, channels=4)),
    "tasks.maze.PointMaze.distance": Case(MAZE.distance, in_maze),
    "tasks.maze.PointMaze.wall_depth": Case(MAZE.wall_depth, in_maze),
    "tasks.maze.PointMaze.overreach": Case(MAZE.overreach, in_maze),
    "tasks.synthetic.Cone.curve": Case(CONE.curve, samples("phase")),
    "tasks.pendulum.Pendulum.generate": Case(lambda z: PENDULUM.generate(z, new()), energies("z")),
    "tasks.pendulum.Pendulum.start": Case(lambda energy: PENDULUM.start(energy, new()), energies("energy")),
    "tasks.pendulum.Pendulum.integrate": Case(
        PENDULUM.integrate, lambda rng: rounded(start=PENDULUM.start(rng.uniform(1, 5, 5), rng))
    ),
    "tasks.pendulum.Pendulum.energy": Case(
        PENDULUM.energy, paths(channels=4, name="states"), any_shape=("states",)
    ),
    "tasks.pendulum.Pendulum.encode": Case(
        PENDULUM.encode, paths(channels=4, name="states"), any_shape=("states",)
    ),
    "models.GenerativeModel.fit": Case(
        lambda x, condition, weights: fitted(x, condition, weights).losses,
        both(paths(), samples("condition", "weights", n=6)),
        rounding=1e-4,
        costly=True,
    ),
    "models.GenerativeModel.sample": Case(
        lambda values, condition: trained(conditional=True).sample(5, new(), {0: values}, condition),
        lambda rng: rounded(values=rng.normal(size=(5, 2)), condition=rng.uniform(0, 15, 5)),
        rounding=1e-4,
        costly=True,
    ),
    "models.GenerativeModel.perturb": Case(
        lambda x, condition: trained(conditional=True).perturb(x, 0.5, new(), condition),
        both(paths(), samples("condition", n=6)),
        rounding=1e-4,
        costly=True,
    ),
    "models.check_trajectories": Case(models.check_trajectories, paths()),
    "models.check_numbers": Case(lambda values: models.check_numbers("values", values, 8), samples("values")),
}
CASES["coordinates.Warp.transform"], CASES["coordinates.Warp.inverse"] = (
    Case(WARP.transform, paths(), any_shape=("x",)),
    Case(lambda y: WARP.inverse(y), paths(name="y"), any_shape=("y",)),
)
for name, one, good in (
    ("coordinates.Identity", coordinates.Identity(), None),
    ("coordinates.NormPower", coordinates.NormPower(0.5), None),
    ("coordinates.Filter", coordinates.Filter(0.5), None),
    ("coordinates.Increments", coordinates.Increments(2.0), None),
    ("coordinates.FirstAndRest", coordinates.FirstAndRest(WARP, WARP), None),
    ("coordinates.Chain", coordinates.Chain(coordinates.Filter(0.5), WARP), None),
    ("coordinates.Ratios", coordinates.Ratios((0.5, 0.5)), paths(channels=1)),
    ("coordinates.Innovations", INNOVATIONS, None),
    ("coordinates.Polar", coordinates.Polar(), None),
    ("scaled.Scaled", scaled.NormWarp(*SIZES), None),
    ("scaled.EnergyWarp", ENERGY, data(PENDULUM)),
    ("kernel_coordinates.KernelCoordinates", moved(new().normal(size=(6, 8, 2))), None),
):
    CASES[f"{name}.transform"], CASES[f"{name}.inverse"] = maps(one, good or paths())
for task in (SINE, CONE, LOGISTIC):
    where = f"tasks.synthetic.{type(task).__name__}"
    CASES[f"{where}.generate"] = Case(
        lambda z, task=task: task.generate(z, new()),
        lambda rng, task=task: rounded(z=task.quantity.prior.ppf(rng.random(5))),
    )
    CASES |= {f"{where}.{method}": of_task(task, method) for method in ("measure", "validity")}
CASES |= {
    f"tasks.maze.PointMaze.{method}": of_task(MAZE, method, in_maze) for method in ("measure", "validity")
}
CASES |= {
    f"tasks.pendulum.Pendulum.{method}": of_task(PENDULUM, method)
    for method in ("decode", "measure", "validity", "residuals", "over_the_top")
}
