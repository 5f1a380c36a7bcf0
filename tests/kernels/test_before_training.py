"""The forecast before training, of models whose errors are known."""

from dataclasses import dataclass

import numpy as np
import pytest

from physmis import drift
from physmis.kernels import (
    Forecast,
    IsotropicKernel,
    TangentKernel,
    before_training,
    forecast_before_training,
)
from physmis.models import build
from physmis.tasks import load

EDGES = np.linspace(0, 1, 11)


def rng_of(seed=0):
    return np.random.default_rng(seed)


def mean(x):
    return x.mean(axis=(1, 2))


@dataclass
class Erring:
    """Makes data with errors of a kernel, of the size that belongs to the training steps."""

    steps: int
    sizes: dict
    kernel: str = "isotropic"
    given: tuple = ()
    device: str = "cpu"

    def to(self, device):
        return self

    def fit(self, x, rng, progress=None):
        self.x = x
        if progress:
            progress(self.steps, self.steps)

    def sample(self, n, rng, clamp):
        x, size = self.x[rng.integers(len(self.x), size=n)], self.sizes.get(self.steps, 0)
        for step, value in clamp.items():
            x[:, step] = value
        if not size:
            return x
        if self.kernel == "tangent":
            return TangentKernel(self.x, size).deviate(x, rng)
        return IsotropicKernel(size, self.x.std()).deviate(x, rng)


SHORT = {100: 0.3}  # a size after 100 of 800 steps


def curved(n=20_000):
    """Two steps on the parabola y = t^2."""
    t = rng_of(3).random(n)
    return np.stack([t, t**2], axis=1)[..., None]


@pytest.mark.parametrize(("kernel", "name"), [("isotropic", "cone"), ("tangent", "logistic")])
def test_errors_whose_drift_falls_with_the_root_of_the_steps_are_forecast(kernel, name):
    task = load(name)
    x, edges, sizes = task.sample(6000, rng_of(3)).x, task.quantity.bins(), np.linspace(0, 0.3, 7)
    p = drift.histogram(task.measure(x), edges)

    def made(size):
        model = Erring(1, {1: size}, kernel)
        model.fit(x, rng_of())
        return drift.histogram(task.measure(model.sample(20_000, rng_of(2), {})), edges)

    drifts = [drift.total_variation(p, made(size)) for size in sizes]
    whole = np.interp(drifts[-1] / np.sqrt(8), drifts, sizes)
    model = Erring(800, {100: 0.3, 800: whole}, kernel)
    found = forecast_before_training(x, task.measure, model, edges, rng_of(1))
    assert found.kernel == kernel and not hasattr(model, "x")  # the model itself stays untrained
    assert found.short == pytest.approx(drifts[-1], abs=0.025)
    assert found.size == pytest.approx(whole, rel=0.4)
    assert drift.skill(found.q, made(whole), found.p) > 0.6


def test_a_model_without_errors_is_forecast_to_drift_no_more_than_its_samples_do():
    found = forecast_before_training(curved(), mean, Erring(800, {}), EDGES, rng_of(1))
    assert drift.total_variation(found.p, found.q) < 0.01 and found.short < 0.03


def test_bins_may_end_or_be_open():
    x = curved(2000)
    closed, opened = (
        forecast_before_training(x, mean, Erring(800, SHORT), edges, rng_of(1))
        for edges in (EDGES, np.concatenate([[-np.inf], EDGES[1:-1], [np.inf]]))
    )
    np.testing.assert_allclose(closed.transition, opened.transition, atol=1e-12)
    narrow = forecast_before_training(x, mean, Erring(800, SHORT), EDGES[3:-3], rng_of(1))
    assert narrow.q.sum() == pytest.approx(1) and narrow.p[0] > 0.2  # what lies below is counted there


def test_steps_that_the_model_is_given_are_kept():
    """Of three steps both ends are given: errors of the middle alone reach the sum over all."""
    x = np.cumsum(rng_of().random((4000, 3, 1)), axis=1)
    draws = []

    def watched(x):
        draws.append(x)
        return x.sum(axis=(1, 2))

    forecast_before_training(x, watched, Erring(800, SHORT, given=(0, -1)), np.linspace(0, 6, 9), rng_of(1))
    perturbed = [d for d in draws if d.shape == x.shape]
    assert len(perturbed) == 1 + sum(map(len, before_training.SIZES.values()))
    for one in perturbed[1:]:
        np.testing.assert_allclose(one[:, [0, -1]], x[:, [0, -1]], atol=1e-6)


def test_the_short_training_has_its_share_and_shows_progress():
    seen = []
    found = [
        forecast_before_training(
            curved(500),
            mean,
            Erring(800, {100: 0.3, 200: 0.2}),
            EDGES,
            rng_of(1),
            share=share,
            progress=lambda *at: seen.append(at),
        )
        for share in (1 / 8, 1 / 4, 1 / 4)
    ]
    assert seen == [(100, 100), (200, 200), (200, 200)]
    assert all(isinstance(one, Forecast) for one in found) and found[0].short > found[1].short
    np.testing.assert_array_equal(found[1].transition, found[2].transition)


@pytest.mark.parametrize("share", [0, -1, 1.5, np.nan])
def test_other_shares_are_refused(share):
    with pytest.raises(ValueError, match=r"expected a share in \(0, 1\], got"):
        forecast_before_training(curved(50), mean, Erring(100, {}), EDGES, rng_of(), share=share)


def test_measurements_that_fail_on_perturbed_trajectories_are_told_and_refused_above_a_hundredth():
    def measure(share):  # fails between the thousandths on which the data lie
        def found(x):
            rest = x[:, 0, 0] * 1000 % 1
            return np.where((rest > 0.4) & (rest < 0.4 + share), np.nan, mean(x))

        return found

    call = {"x": curved(2000).round(3), "model": Erring(800, SHORT), "edges": EDGES}
    with pytest.raises(ValueError, match="expected finite values of 99% of the draws, got"):
        forecast_before_training(measure=measure(0.05), **call, rng=rng_of(1))
    with pytest.warns(UserWarning, match="left out: .* have no finite measurement"):
        forecast_before_training(measure=measure(0.003), **call, rng=rng_of(1))


def test_a_real_model_of_this_package_is_forecast():
    x = curved(400).astype(np.float32)
    found = forecast_before_training(
        x, mean, build("mlp", width=16, steps=80, sampler_steps=4), EDGES, rng_of(1)
    )
    assert found.q.sum() == pytest.approx(1) and found.q.shape == (10,) and 0 < found.short < 1


def test_transitions_are_mixed_to_the_drift_that_is_asked_for():
    p = rng_of().dirichlet(np.ones(10))
    steps = [np.eye(10)] + [(1 - a) * np.eye(10) + a * np.roll(np.eye(10), 1, axis=1) for a in (0.1, 0.5, 1)]
    most = drift.total_variation(p, p @ steps[-1])
    for wanted in (0, 0.01, 0.5 * most, most, 2 * most):
        T, at = before_training._drifting(p, steps, wanted)
        assert drift.total_variation(p, p @ T) == pytest.approx(min(wanted, most), abs=1e-12)
        assert 0 <= at <= 3
