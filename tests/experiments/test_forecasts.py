"""What is made of stored results: checked on results written by hand."""

import dataclasses

import numpy as np
import pytest

from physmis import drift
from physmis.experiments import forecasts
from physmis.experiments.experiment import Experiment, Samples
from physmis.experiments.kernel_draws import KernelDraws
from physmis.models import build
from physmis.paper import profiles
from physmis.tasks import load

TASK = load("sine", low=2.0, high=6.0, steps=32)
SINE = Experiment(TASK, build("unet", width=8, steps=40, sampler_steps=6), 500, 64, 0)


def result(z, validity, seed=0, data=500):
    experiment = dataclasses.replace(SINE, seed=seed, data=data)
    return Samples(experiment, "key", z, validity)


def drawn(z, z_perturbed):
    return KernelDraws(SINE, "key", z, z_perturbed)


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


def test_forecast_pushes_the_prior_through():
    """The lower half of the range is mapped onto the upper one."""
    z = SINE.task.quantity.prior.ppf((np.arange(4000) + 0.5) / 4000)
    forecast = forecasts.forecast_from_draws([drawn(z, np.where(z < 4, z + 2, z))])
    p = drift.prior_mass(SINE.task.quantity.prior, SINE.task.quantity.bins())
    inner = slice(3, -3)
    assert forecast.shape == (1, len(p))
    np.testing.assert_allclose(forecast[0, inner], np.repeat([0, 2], 10) * p[inner], atol=2e-3)


def test_matched_blur_is_the_prior_and_a_gaussian():
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


def test_value_correlation_is_a_correlation():
    z = np.linspace(2, 6, 100)
    assert forecasts.value_correlation(drawn(z, 7 - z)) == pytest.approx(-1)
    assert abs(forecasts.value_correlation(drawn(z, np.tile([2.0, 3.0], 50)))) < 0.05


def test_seeds_and_shares(three):
    results = {("a", "b", 0): 1, ("a", "b", 1): 2, ("a", 0): 3, ("c", "b", 0): 4}
    assert forecasts.seeds_of(results, "a", "b") == [1, 2] and forecasts.seeds_of(results, "a") == [3]
    share = forecasts.valid_share(three)
    assert share.value == pytest.approx(np.mean([r.validity < SINE.task.tolerance for r in three]))
    assert share == forecasts.over_seeds(lambda r: r.valid, three)


def test_an_experiment_of_a_profile():
    profile = profiles.resolve("smoke")
    made = forecasts.experiment(profile, SINE.task, 3, "mlp", width=32)
    assert (made.data, made.samples, made.seed, made.model.width) == (profile.data, profile.samples, 3, 32)
    assert made.model.steps == profile.models["mlp"]["steps"]


def test_requested_values_are_compared_with_what_comes_out():
    rng = np.random.default_rng(0)
    low, high = SINE.task.quantity.prior.support()
    z = rng.uniform(low, high, 40_000)
    made = Samples(SINE, "key", 1.1 * z + 0.05 * rng.normal(size=len(z)), z, requested=z)
    found = forecasts.request_errors([made, made], 4)
    quarters = low + (high - low) * (np.arange(4) + 0.5) / 4
    np.testing.assert_allclose(found[0, 0], 0.1 * quarters, atol=5e-3)
    np.testing.assert_allclose(found[1, 1], np.hypot(0.05, 0.1 * (high - low) / 4 / np.sqrt(12)), atol=2e-3)
    upper = dataclasses.replace(made, z=z[z > high - 0.1], requested=z[z > high - 0.1])
    assert np.isnan(forecasts.request_errors([upper], 4)[0, :, :3]).all()


def test_kernels_are_scored_beside_a_blur(three, capsys):
    observed = forecasts.assess(three)
    z = SINE.task.quantity.prior.ppf((np.arange(4000) + 0.5) / 4000)
    low, high = SINE.task.quantity.prior.support()
    draws = {"right": [drawn(z, low + 0.75 * (z - low))] * 3, "wrong": [drawn(z, low + high - z)] * 3}
    found, scores = forecasts.score_kernels(draws, observed)
    assert list(found) == list(scores) == ["right", "wrong", "matched blur", "another seed"]
    assert scores["right"].skill.value > 0.5 > scores["matched blur"].skill.value
    np.testing.assert_array_equal(found["right"], forecasts.forecast_from_draws(draws["right"]))
    assert ", all bins" in capsys.readouterr().out
    again, inner = forecasts.score_kernels(draws, observed, inner=0.8)
    np.testing.assert_array_equal(again["right"], found["right"])
    assert inner["wrong"] == drift.score(found["wrong"], observed, 0.8) != scores["wrong"]
    assert ", inner 80%" in capsys.readouterr().out
