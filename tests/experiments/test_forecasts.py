"""What is made of stored results: checked on results written by hand."""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pytest

import physmis
from physmis import drift
from physmis.experiments import forecasts
from physmis.experiments.experiment import Experiment, Result, run
from physmis.experiments.kernel_draws import Deviation, Landing
from physmis.experiments.store import Entry
from physmis.models import build
from physmis.paper import plotting, profiles
from physmis.tasks import load

pytestmark = pytest.mark.usefixtures("store")

SINE = Experiment(load("sine"), build("unet", width=8, steps=40, sampler_steps=6), 500, 64, 0)


def entry(**arrays):
    return Entry(arrays, {}, {})


def result(z, validity, seed=0, data=500):
    return Result(dataclasses.replace(SINE, seed=seed, data=data), entry(z=z, validity=validity))


def landing(z, landed, validity=None):
    deviation = Deviation(SINE, "isotropic", {"scale": 0.1})
    return Landing(deviation, entry(z=z, landed=landed, validity=validity))


@pytest.fixture
def three():
    rng = np.random.default_rng(0)
    return [result(rng.uniform(2, 5, 400), rng.uniform(0, 0.1, 400), seed) for seed in range(3)]


def test_drift_is_that_of_the_recovered_quantity(three):
    quantity = SINE.task.quantity
    wanted = drift.assess([r.z for r in three], quantity.prior, quantity.bins(), 500)
    assert forecasts.assess(three).tv == wanted.tv and wanted.tv.value > 0.2


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


def test_seeds_and_shares(three):
    results = {("a", "b", 0): 1, ("a", "b", 1): 2, ("a", 0): 3, ("c", "b", 0): 4}
    assert forecasts.seeds_of(results, "a", "b") == [1, 2] and forecasts.seeds_of(results, "a") == [3]
    share = forecasts.valid_share(three)
    assert share.value == pytest.approx(np.mean([r.validity < SINE.task.tolerance for r in three]))
    assert share == forecasts.over_seeds(lambda r: r.valid, three)
    better = [result(r.z, 0.5 * r.validity, r.experiment.seed) for r in three]
    assert forecasts.validity_gain(three, better).value == pytest.approx(1 - share.value)


def test_an_experiment_of_a_profile():
    profile = profiles.resolve("smoke")
    made = forecasts.experiment(profile, SINE.task, 3, "mlp", width=32)
    assert (made.data, made.samples, made.seed, made.model.width) == (2_000, 512, 3, 32)
    assert made.model.steps == profile.models["mlp"]["steps"]


def test_half_of_the_excess():
    rng = np.random.default_rng(0)
    fine, prior = rng.uniform(2, 6, (2, 2, 2000))
    drifted = [result(np.where(z < 2.5, z + 2, z), z, seed, data=20_000) for seed, z in enumerate(prior)]
    before, after = (
        forecasts.assess(group) for group in (drifted, [result(z, z, data=20_000) for z in fine])
    )
    gain = forecasts.halved(before, after)
    assert gain.value == pytest.approx(before.excess.value / 2 - after.excess.value) and gain.value > 0.03
    assert forecasts.halved(before, before).value < -0.03


def test_matched_scale_gives_the_residual_asked_for():
    scale = forecasts.matched_scale(SINE, 0.03)
    x = SINE.training_set().x
    noise = np.random.default_rng(5).normal(size=x.shape)
    moved = x + scale * x.std() * noise
    assert np.median(SINE.task.validity(moved)) == pytest.approx(0.03, rel=0.05)
    assert forecasts.matched_scale(SINE, 1e9) == 10.0
    assert forecasts.matched_scale(SINE, 1e-12) == 1e-5


def test_calibration_takes_medians_and_at_most_all_of_the_pilot(three):
    numbers = forecasts.calibrate(three, three[0])
    wanted = np.mean([np.median(r.validity) for r in three])
    assert forecasts.residual(three) == pytest.approx(wanted)
    assert numbers.scale == forecasts.matched_scale(SINE, wanted)
    assert numbers.share == min(wanted / np.median(three[0].validity), 1.0)
    worse = result(three[0].z, 4 * three[0].validity)
    assert forecasts.calibrate(three, worse).share == pytest.approx(wanted / np.median(worse.validity))


def test_pilot_is_shorter_in_training_and_sampling():
    pilot = forecasts.pilot_of(SINE)
    assert (pilot.model.steps, pilot.model.sampler_steps) == (4, 3)
    assert dataclasses.replace(pilot, model=SINE.model) == SINE
    vae = dataclasses.replace(SINE, model=build("vae", steps=50))
    assert forecasts.pilot_of(vae).model.steps == 5


def test_longest_reach_is_the_last_valid_one():
    def at(residual):
        return landing(None, None, np.full(9, residual))

    found = {0.025: at(0.0), 0.05: at(0.04), 0.1: at(0.2), 0.2: at(0.3), 0.4: at(0.01)}
    assert forecasts.longest_reach(found) == 0.05
    assert forecasts.longest_reach(found, most=0.4) == 0.4
    assert forecasts.longest_reach({0.1: at(0.2), 0.05: at(0.1)}) == 0.05


def test_only_the_round_trip_asks_the_model_itself():
    pilot = forecasts.pilot_of(SINE)
    made = forecasts.deviations(SINE, forecasts.Calibration(0.03, 0.5), 0.1, 0.7, pilot)
    assert {k: d.model for k, d in made.items() if d.model} == {"pilot": pilot, "round trip": SINE}
    assert made["pilot"].parameters == {"strength": 0.7, "scale": 0.5}
    assert made["neighbour"].parameters["deviation"] == made["isotropic"].parameters["scale"] == 0.03
    assert run(made["isotropic"]).z.shape == (64,)


def test_forecast_pushes_the_prior_through():
    """All that begins in the lower half of the range lands in the upper one, on the same place there."""
    z = SINE.task.quantity.prior.ppf((np.arange(4000) + 0.5) / 4000)
    law = forecasts.forecast([landing(z, np.where(z < 4, z + 2, z))])
    p = drift.prior_mass(SINE.task.quantity.prior, SINE.task.quantity.bins())
    inner = slice(6, -6)
    assert law.shape == (1, len(p))
    np.testing.assert_allclose(law[0, inner], np.repeat([0, 2], 20) * p[inner], atol=2e-3)
    twice = forecasts.forecast([landing(z, np.where(z < 4, z + 2, z - 2))], steps=2)
    np.testing.assert_allclose(twice[0], p, atol=2e-3)


def test_plain_blur_is_the_prior_and_a_gaussian():
    quantity = SINE.task.quantity
    noisy = np.random.default_rng(0).uniform(2, 6, 400_000) + 0.4 * np.random.default_rng(1).normal(
        size=400_000
    )
    law = forecasts.blurred(quantity, 0.1)
    np.testing.assert_allclose(law, drift.histogram(noisy, quantity.bins()), atol=2e-3)
    p = drift.prior_mass(quantity.prior, quantity.bins())
    assert drift.total_variation(p, forecasts.blur_of_size(quantity, 0.07)) == pytest.approx(0.07, rel=1e-2)
    np.testing.assert_array_equal(forecasts.blur_of_size(quantity, -0.01), forecasts.blurred(quantity, 1e-3))
    np.testing.assert_array_equal(forecasts.blur_of_size(quantity, 0.99), forecasts.blurred(quantity, 1.0))


def test_bias_and_spread_by_value():
    rng = np.random.default_rng(0)
    z = rng.uniform(2, 6, 40_000)
    moved = z + 0.1 * z + 0.05 * rng.normal(size=len(z))
    found = forecasts.by_value([landing(z, moved)] * 2, 4)
    assert found.shape == (2, 2, 4)
    np.testing.assert_allclose(found[0, 0], 0.1 * np.array([2.5, 3.5, 4.5, 5.5]), atol=5e-3)
    np.testing.assert_allclose(found[1, 1], np.hypot(0.05, 0.1 / np.sqrt(12)), atol=2e-3)
    upper = forecasts.by_value([landing(z[z > 4], moved[z > 4])], 4)
    assert np.isnan(upper[0, :, :2]).all() and np.isfinite(upper[0, :, 2:]).all()


def test_requested_values_are_compared_with_what_comes_out():
    z = np.random.default_rng(0).uniform(2, 6, 4000)
    made = Result(SINE, entry(z=z + 0.1, validity=z, requested=z))
    np.testing.assert_allclose(forecasts.followed_by_value([made], 4), [[[0.1] * 4, [0.0] * 4]], atol=1e-12)


def test_kernels_are_scored_beside_a_blur(three, capsys):
    observed = forecasts.assess(three)
    z = SINE.task.quantity.prior.ppf((np.arange(4000) + 0.5) / 4000)
    draws = {"right": [landing(z, 2 + 0.75 * (z - 2))] * 3, "wrong": [landing(z, 8 - z)] * 3}
    laws, scores = forecasts.score_kernels(draws, observed)
    assert list(laws) == list(scores) == ["right", "wrong", "plain blur"]
    assert scores["right"].skill.value > 0.5 > scores["plain blur"].skill.value
    np.testing.assert_array_equal(laws["right"], forecasts.forecast(draws["right"]))
    assert "wrong" in capsys.readouterr().out


def test_errors_by_value_are_drawn():
    z = np.random.default_rng(0).uniform(2, 6, 4000)
    errors = {kernel: forecasts.by_value([landing(z, z + 0.1)], 4) for kernel in ("tangent", "weaker trip")}
    _, axes = plt.subplots(1, 2)
    plotting.plot_errors(axes, SINE.task.quantity, errors)
    np.testing.assert_allclose(axes[0].lines[0].get_xydata(), [[at, 0.1] for at in (2.5, 3.5, 4.5, 5.5)])
    assert plotting.array_name("cone", "weaker trip, all steps") == "cone_weaker_trip_all_steps"
    plt.close("all")


def test_memory_is_a_correlation():
    z = np.linspace(2, 6, 100)
    assert forecasts.memory(landing(z, 7 - z)) == pytest.approx(-1)
    assert abs(forecasts.memory(landing(z, np.tile([2.0, 3.0], 50)))) < 0.05


def test_a_run_computes_once_and_knows_whether_it_did():
    job = dataclasses.replace(SINE, model=build("unet", width=8, steps=3, sampler_steps=2))
    first, again = (physmis.start("02_kernel_theory", profile="smoke", seed=0, device="cpu") for _ in "ab")
    made = first.compute({"one": job, ("two", 2): job})
    assert list(made) == ["one", ("two", 2)] and first.cold
    np.testing.assert_array_equal(again.compute({3: job})[3].z, made["one"].z)
    assert not again.cold
