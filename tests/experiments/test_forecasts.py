"""What is made of stored results: checked on results written by hand."""

import dataclasses

import numpy as np
import pytest

from physmis import drift
from physmis.experiments import forecasts
from physmis.experiments.experiment import Experiment, Samples, training_set
from physmis.experiments.kernel_draws import KernelDraws
from physmis.models import build
from physmis.tasks import load

SINE = Experiment(load("sine"), build("unet", width=8, steps=40, sampler_steps=6), 500, 64, 0)


def result(z, validity, seed=0, data=500):
    experiment = dataclasses.replace(SINE, seed=seed, data=data)
    return Samples(experiment, "key", {"z": z, "validity": validity})


def drawn(z, z_perturbed, validity=None):
    return KernelDraws(SINE, None, "key", 1.0, z, z_perturbed, validity)


@pytest.fixture
def three():
    rng = np.random.default_rng(0)
    return [result(rng.uniform(2, 5, 400), rng.uniform(0, 0.1, 400), seed) for seed in range(3)]


def test_drift_is_that_of_the_recovered_quantity(three):
    quantity = SINE.task.quantity
    expected = drift.assess([r.z for r in three], quantity.prior, quantity.bins(), 500)
    assert forecasts.assess(three).tv == expected.tv and expected.tv.value > 0.2


def test_drift_of_valid_ones_leaves_out_the_others(three):
    """Here the valid ones follow the prior and the others do not."""
    rng = np.random.default_rng(1)
    mixed = []
    for seed in range(3):
        fine, z = rng.random(4000) < 0.5, rng.uniform(2, 6, 4000)
        mixed.append(result(np.where(fine, z, 2.0), np.where(fine, 0.01, 0.09), seed, data=100_000))
    assert forecasts.assess(mixed).excess.low > 0.3
    assert abs(forecasts.excess_of_valid(mixed).value) < 0.02
    few = [result(r.z, np.where(np.arange(400) < 99, 0.0, 1.0), r.experiment.seed) for r in three]
    assert forecasts.excess_of_valid(few) == (0.0, -1.0, 1.0)


def test_matched_scale_gives_the_target_residual(store):
    scale = forecasts.matched_scale(SINE, 0.03, store)
    x = training_set(SINE, store).x
    noise = np.random.default_rng(5).normal(size=x.shape)
    perturbed = x + scale * x.std() * noise
    assert np.median(SINE.task.validity(perturbed)) == pytest.approx(0.03, rel=0.05)
    assert forecasts.matched_scale(SINE, 1e9, store) == 10.0
    assert forecasts.matched_scale(SINE, 1e-12, store) == 1e-5


def test_calibration_takes_medians_and_at_most_all_of_the_pilot(three, store):
    numbers = forecasts.calibrate(three, three[0], store)
    expected = np.mean([np.median(r.validity) for r in three])
    assert forecasts.residual(three) == pytest.approx(expected)
    assert numbers.scale == forecasts.matched_scale(SINE, expected, store)
    assert numbers.share == min(expected / np.median(three[0].validity), 1.0)
    worse = result(three[0].z, 4 * three[0].validity)
    share = forecasts.calibrate(three, worse, store).share
    assert share == pytest.approx(expected / np.median(worse.validity))


def test_pilot_is_shorter_in_training_and_sampling():
    pilot = forecasts.pilot_of(SINE)
    assert (pilot.model.steps, pilot.model.sampler_steps) == (4, 3)
    assert dataclasses.replace(pilot, model=SINE.model) == SINE
    vae = dataclasses.replace(SINE, model=build("vae", steps=50))
    assert forecasts.pilot_of(vae).model.steps == 5


def test_longest_reach_is_the_last_valid_one():
    def at(residual):
        return drawn(None, None, np.full(9, residual))

    found = {0.025: at(0.0), 0.05: at(0.04), 0.1: at(0.2), 0.2: at(0.3), 0.4: at(0.01)}
    assert forecasts.longest_reach(found) == 0.05
    assert forecasts.longest_reach(found, most=0.4) == 0.4
    assert forecasts.longest_reach({0.1: at(0.2), 0.05: at(0.1)}) == 0.05


def test_only_the_round_trip_asks_the_model_itself():
    pilot = forecasts.pilot_of(SINE)
    many = dataclasses.replace(SINE, samples=9999)
    made = forecasts.kernel_jobs(many, forecasts.Calibration(0.03, 0.5), 0.1, 0.7, pilot)
    assert [job.config["n"] for job in made.values()] == [9999, 9999, 9999, forecasts.PILOT_DRAWS, 9999]
    asked = {name: job.config["model"]["of"] for name, job in made.items() if job.config["model"]}
    assert asked == {"pilot": pilot.training_config, "round trip": SINE.training_config}
    assert {name: job.config["parameters"] for name, job in made.items()} == {
        "isotropic": {"scale": 0.03},
        "neighbour": {"width": 0.0, "deviation": 0.03},
        "tangent": {"reach": 0.1},
        "pilot": {"strength": 0.7, "scale": 0.5},
        "round trip": {"strength": 0.7},
    }


def test_forecast_pushes_the_prior_through():
    """The lower half of the range is mapped onto the upper one."""
    z = SINE.task.quantity.prior.ppf((np.arange(4000) + 0.5) / 4000)
    forecast = forecasts.forecast_from_draws([drawn(z, np.where(z < 4, z + 2, z))])
    p = drift.prior_mass(SINE.task.quantity.prior, SINE.task.quantity.bins())
    inner = slice(6, -6)
    assert forecast.shape == (1, len(p))
    np.testing.assert_allclose(forecast[0, inner], np.repeat([0, 2], 20) * p[inner], atol=2e-3)
    twice = forecasts.forecast_from_draws([drawn(z, np.where(z < 4, z + 2, z - 2))], steps=2)
    np.testing.assert_allclose(twice[0], p, atol=2e-3)


def test_plain_blur_is_the_prior_and_a_gaussian():
    quantity = SINE.task.quantity
    rng = np.random.default_rng(0)
    noisy = rng.uniform(2, 6, 400_000) + rng.normal(scale=0.4, size=400_000)
    forecast = forecasts.blurred_prior(quantity, 0.1)
    np.testing.assert_allclose(forecast, drift.histogram(noisy, quantity.bins()), atol=2e-3)
    p = drift.prior_mass(quantity.prior, quantity.bins())
    assert drift.total_variation(p, forecasts.matched_blur(quantity, 0.07)) == pytest.approx(0.07, rel=1e-2)
    for size, width in ((-0.01, 1e-3), (0.99, 1.0)):
        matched, widest = forecasts.matched_blur(quantity, size), forecasts.blurred_prior(quantity, width)
        np.testing.assert_array_equal(matched, widest)


def test_bias_and_spread_by_value():
    rng = np.random.default_rng(0)
    z = rng.uniform(2, 6, 40_000)
    perturbed = z + 0.1 * z + 0.05 * rng.normal(size=len(z))
    found = forecasts.bias_and_spread([drawn(z, perturbed)] * 2, 4)
    assert found.shape == (2, 2, 4)
    np.testing.assert_allclose(found[0, 0], 0.1 * np.array([2.5, 3.5, 4.5, 5.5]), atol=5e-3)
    np.testing.assert_allclose(found[1, 1], np.hypot(0.05, 0.1 / np.sqrt(12)), atol=2e-3)
    upper = forecasts.bias_and_spread([drawn(z[z > 4], perturbed[z > 4])], 4)
    assert np.isnan(upper[0, :, :2]).all() and np.isfinite(upper[0, :, 2:]).all()


def test_value_correlation_is_a_correlation():
    z = np.linspace(2, 6, 100)
    assert forecasts.value_correlation(drawn(z, 7 - z)) == pytest.approx(-1)
    assert abs(forecasts.value_correlation(drawn(z, np.tile([2.0, 3.0], 50)))) < 0.05
