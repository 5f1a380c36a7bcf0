"""The cost model of the benchmarks, on costs that follow known laws."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import cost


def training(size):
    return 2.0 * size.models * (size.steps / 120) ** 1.02 * (size.data / 5_000) ** 0.05 * size.horizon**0.7


def sampling(size):
    return 0.6 * size.models * (size.samples / 512) ** 0.97 * size.horizon**0.84


def costs(noise, seed=0):
    rng = np.random.default_rng(seed)
    sizes = {
        name: [replace(cost.BASE, **{name: value}) for value in values]
        for name, values in cost.VALUES.items()
    }
    return {
        name: [
            cost.Cost(
                training(size) * np.exp(noise * rng.normal()),
                sampling(size) * np.exp(noise * rng.normal()),
                start=3.0,
                memory=0.5 * np.exp(noise * rng.normal()),
            )
            for size in along
        ]
        for name, along in sizes.items()
    }


def test_known_laws_are_found_and_extrapolated():
    found = costs(noise=1e-9)
    laws = cost.laws(found)
    assert laws["training", "steps"].value == pytest.approx(1.02, abs=1e-6)
    assert laws["sampling", "horizon"].value == pytest.approx(0.84, abs=1e-6)
    assert laws["memory", "models"].value == pytest.approx(0, abs=1e-6)
    base = cost.typical(found)
    one = replace(cost.SWEEP, models=1, horizon=48)
    seconds = training(one) + sampling(one)
    assert cost.of_one(one, base, laws).value == pytest.approx(seconds, rel=1e-5)
    for models, cores, turns in ((1_000, 16, 63), (64, 64, 1), (65, 64, 2)):
        expected = 3.0 + turns * seconds
        assert cost.wall(replace(one, models=models), cores, base, laws).value == pytest.approx(expected)


def test_intervals_cover_the_truth_as_often_as_they_say():
    true = training(replace(cost.SWEEP, models=1)) + sampling(replace(cost.SWEEP, models=1))
    slopes, seconds, tries = 0, 0, 200
    for seed in range(tries):
        found = costs(noise=0.05, seed=seed)
        laws = cost.laws(found)
        slopes += laws["training", "steps"].low < 1.02 < laws["training", "steps"].high
        one = cost.of_one(cost.SWEEP, cost.typical(found), laws)
        seconds += one.low < true < one.high
        assert 0.05 * one.value < one.high - one.low < 4 * one.value
    assert 0.9 < slopes / tries < 0.99  # 95 %
    assert seconds / tries > 0.9  # that of few models is wide: it reaches far beyond what was measured
