"""Kernel draws, rankings of coordinates and executed plans, all through the store."""

import dataclasses

import numpy as np
import pytest
from support import GIVEN, TINY

from physmis import kernels
from physmis.coordinates import Identity, Increments
from physmis.coordinates.search import KernelCoordinates
from physmis.experiments.executions import executions
from physmis.experiments.experiment import FORECAST, KERNEL, own_values, samples, trained, training_set
from physmis.experiments.kernel_draws import early_forecast, kernel_draws, ranking
from physmis.experiments.parallel import cached, whole
from physmis.experiments.store import key
from physmis.tasks.base import LEVELS

QUANTITY = TINY.task.quantity
HALF_A_LEVEL = np.ptp(QUANTITY.prior.support()) / LEVELS / 2
WIDE = dataclasses.replace(TINY.model, width=16)
TANGENT = kernel_draws(TINY, "tangent", {"reach": 0.2})


def as_stored(z):
    return QUANTITY.decode(QUANTITY.encode(z))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("name", "parameters", "make"),
    [
        ("isotropic", {"scale": 0.1}, lambda x: kernels.IsotropicKernel(0.1, x.std(axis=(0, 1)))),
        ("tangent", {"reach": 0.2}, lambda x: kernels.TangentKernel(x, 0.2)),
    ],
)
def test_draws_are_what_the_kernel_makes_of_the_first_of_the_training_set(
    store, seed, name, parameters, make
):
    experiment = dataclasses.replace(TINY, seed=seed)
    job, task = kernel_draws(experiment, name, parameters), experiment.task
    draws = cached(job, store)
    data = training_set(experiment, store)
    perturbed = make(data.x).deviate(data.x[:64], np.random.default_rng([seed, KERNEL]))
    np.testing.assert_allclose(draws.z, data.z[:64], atol=HALF_A_LEVEL + 1e-6)
    np.testing.assert_array_equal(draws.z_perturbed, as_stored(task.measure(perturbed)))
    valid = store.fetch(job.config).arrays["valid"]
    np.testing.assert_array_equal(valid, task.validity(perturbed) < task.tolerance)
    assert draws.experiment == experiment and draws.key == key(job.config)
    assert not (store.root / "model").exists()


def test_a_round_trip_asks_the_model_that_is_named(store):
    other, task = dataclasses.replace(TINY, seed=1), TINY.task
    model = trained(TINY, store)
    for experiment in (TINY, other):
        trip = cached(kernel_draws(experiment, "round_trip", {"strength": 0.5}, TINY), store)
        x, rng = training_set(experiment, store).x[:64], np.random.default_rng([experiment.seed, KERNEL])
        np.testing.assert_array_equal(trip.z_perturbed, as_stored(task.measure(model.perturb(x, 0.5, rng))))
        assert trip.experiment == experiment
    assert len(list(store.root.glob("model/*.large.npz"))) == 1


def test_the_forecast_before_training_is_that_of_the_public_function(store):
    job = early_forecast(TINY, share=0.25)
    found, task = cached(job, store), TINY.task
    expected = kernels.forecast_before_training(
        training_set(TINY, store).x, task.measure, TINY.model, task.quantity.bins(),
        np.random.default_rng([0, FORECAST]), share=0.25,
    )  # fmt: skip
    np.testing.assert_allclose(found.matrix, expected.transition, atol=1e-6)
    assert found.kernel == expected.kernel
    assert (found.size, found.short) == pytest.approx((expected.size, expected.short))
    assert found.seconds > 0 and not (store.root / "model").exists()
    assert key(job.config) != key(early_forecast(TINY).config)
    assert key(job.config) == key(early_forecast(dataclasses.replace(TINY, samples=7), share=0.25).config)


def test_given_steps_are_held_in_kernel_draws_too(store):
    job = kernel_draws(GIVEN, "isotropic", {"scale": 0.1})
    x = training_set(GIVEN, store).x
    kernel = kernels.HeldEnds(kernels.IsotropicKernel(0.1, x.std(axis=(0, 1))))
    perturbed = kernel.deviate(x[:12], np.random.default_rng([0, KERNEL]))
    np.testing.assert_array_equal(cached(job, store).z_perturbed, as_stored(TINY.task.measure(perturbed)))
    assert job.config["given"] == list(GIVEN.model.given) and "given" not in TANGENT.config


def test_all_arrays_of_draws_are_small_and_the_transition_is_over_the_bins_of_the_quantity(store):
    draws = cached(TANGENT, store)
    assert TANGENT.config["kind"] == "deviation"
    stored = {name: array.dtype for name, array in store.fetch(TANGENT.config).arrays.items()}
    assert stored == {"z": np.int16, "z_perturbed": np.int16, "valid": bool}
    wanted = kernels.transition(draws.z, draws.z_perturbed, TINY.task.quantity.bins())
    np.testing.assert_array_equal(draws.matrix, wanted.matrix)


def test_address_of_draws_depends_on_all_that_they_are_made_of_and_on_nothing_else():
    def trip(experiment=TINY, model=TINY, strength=0.5):
        return key(kernel_draws(experiment, "round_trip", {"strength": strength}, model).config)

    other, wide = (dataclasses.replace(TINY, **change) for change in ({"seed": 1}, {"model": WIDE}))
    assert len({trip(), trip(other), trip(model=other), trip(model=wide), trip(strength=0.4)}) == 5
    # Neither how many samples the asked model draws elsewhere, nor what is trained on the data, plays a part.
    assert trip() == trip(model=dataclasses.replace(TINY, samples=7)) == trip(wide)


def test_draws_that_cannot_be_made_are_refused_before_any_training():
    for name, parameters, model, message in (
        ("nearest", {}, None, "expected one of isotropic, .*, remembering, got 'nearest'"),
        ("tangent", {"reahc": 1}, None, r"'tangent': expected the parameters \['reach'\], got \['reahc'\]"),
        ("round_trip", {"strength": 0.5}, None, "'round_trip': expected a model, got None"),
        ("tangent", {"reach": 0.2}, TINY, "'tangent': expected no model, got unet"),
    ):
        with pytest.raises(ValueError, match=message):
            kernel_draws(TINY, name, parameters, model)


def test_plans_are_the_first_samples_and_demonstrations_have_the_same_ends(store, monkeypatch):
    def execute(task, plans):  # where nothing gets in the way
        return {"x": plans, "success": np.ones(len(plans), bool), "effort": np.zeros(len(plans))}

    monkeypatch.setattr("physmis.experiments.executions.execute", execute)
    planner = GIVEN
    drawn = whole(samples(planner), store).arrays
    demonstrations = training_set(planner, store).x[drawn["row"][:5]]
    for job, x in (
        (executions(planner, 5), drawn["x"][:5]),
        (executions(planner, 5, demonstrations=True), demonstrations),
    ):
        found = cached(job, store)
        assert found.keys() == {"distance", "success", "effort"}
        np.testing.assert_array_equal(found["distance"], as_stored(planner.task.measure(x)))
        np.testing.assert_array_equal(whole(job, store).arrays["x"], x)
    assert len({key(executions(GIVEN, n, d).config) for n in (4, 5) for d in (False, True)}) == 4
    with pytest.raises(ValueError, match="plans: expected 1 to .*12 samples, got 13"):
        executions(GIVEN, 13)
    with pytest.raises(ValueError, match="expected a model that is given start and goal, got 'unet'"):
        executions(TINY, 5, demonstrations=True)


@pytest.mark.parametrize("kernel, size", [("tangent", 0.1), ("isotropic", 0.05)])
def test_a_ranking_is_what_the_kernel_does_in_each_candidate(kernel, size, store):
    found = {"own": Identity(), "steps": Increments(2.0)}
    entry, (x, task) = (
        cached(ranking(TINY, found, kernel, size, 200), store),
        (training_set(TINY, store).x[:200], TINY.task),
    )
    for k, one in enumerate(found.values()):
        y = one.transform(x)
        made = (
            kernels.TangentKernel(y, size)
            if kernel == "tangent"
            else kernels.IsotropicKernel(size, y.std(axis=(0, 1)))
        )
        perturbed = one.inverse(made.deviate(y, np.random.default_rng(TINY.seed)))
        assert entry.arrays["valid"][k] == np.mean(task.validity(perturbed) < task.tolerance)
        assert (
            entry.arrays["drift"][k]
            == KernelCoordinates.of(one, x, task.measure, lambda y, made=made: made, TINY.seed).drift
        )
    # Without a size, it is the one that drifts as much.
    matched = cached(ranking(TINY, found, kernel, None, 200, float(entry.arrays["drift"][0])), store)
    assert matched.arrays["drift"][0] == pytest.approx(entry.arrays["drift"][0], abs=0.05)


def test_own_values_are_those_of_the_training_trajectories_whose_steps_are_given(store):
    result, z = cached(samples(GIVEN), store), training_set(GIVEN, store).z
    np.testing.assert_array_equal(cached(own_values(GIVEN), store), as_stored(z[result.row]))
