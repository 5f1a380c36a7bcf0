"""What can be changed against drift: data, interface, coordinates."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from physmis import drift
from physmis.coordinates import Identity, Increments, PreEmphasis
from physmis.experiments.experiment import Experiment, samples, training_set
from physmis.experiments.parallel import cached, whole
from physmis.mitigations import (
    Conditioned,
    InCoordinates,
    Reweighted,
    closest_source,
    inverse_drift_weights,
    resample_output,
    unfolded_source,
)
from physmis.models import build
from physmis.tasks import load

fixed = settings(deadline=None, derandomize=True, max_examples=30)
CONE = load("cone", steps=8)
PLAIN = Experiment(CONE, build("unet", width=8, steps=4, batch=16, sampler_steps=2), 200, 40, 0)


def run(store, treatment=None):
    return cached(samples(dataclasses.replace(PLAIN, treatment=treatment)), store)


def distributions(n):
    return st.lists(st.floats(0.01, 1), min_size=n, max_size=n).map(lambda v: np.array(v) / sum(v))


@st.composite
def problems(draw):
    n = draw(st.integers(2, 6))
    return draw(distributions(n)), np.stack([draw(distributions(n)) for _ in range(n)])


def blur(n, outside, width=1.0):
    """A transition over n bins and as many outside of each end, and the uniform prior on the inner ones."""
    at = np.arange(n + 2 * outside)
    matrix = np.exp(-((at[:, None] - at) ** 2) / (2 * width**2))
    p = np.where((at >= outside) & (at < n + outside), 1 / n, 0.0)
    return p, matrix / matrix.sum(axis=1, keepdims=True)


def test_inverse_drift_weights_have_mean_one_and_leave_out_what_has_no_data():
    p = np.array([0, 0.5, 0.5])
    with pytest.raises((TypeError, ValueError), match="expected"):
        inverse_drift_weights(p, [0.0, 0.5, -0.5])
    np.testing.assert_allclose(inverse_drift_weights(p, np.array([0.2, 0.2, 0.6])), [0, 1.5, 0.5])
    with pytest.raises(ValueError, match="expected mass in all 2 bins of the prior, got none in 1"):
        inverse_drift_weights(p, [0.4, 0.6, 0.0])


@fixed
@given(problems(), st.data())
def test_no_distribution_comes_closer_than_the_closest_source(problem, data):
    p, matrix = problem
    best = closest_source(p, matrix)
    assert best.residual == pytest.approx(0.5 * np.abs(best.shares @ matrix - p).sum())
    assert best.shares.sum() == pytest.approx(1) and (best.shares >= 0).all()
    for other in (data.draw(distributions(len(p))), *np.eye(len(p))):
        assert best.residual <= 0.5 * np.abs(other @ matrix - p).sum() + 1e-7


@fixed
@given(problems())
def test_a_prior_that_can_be_reached_is(problem):
    source, matrix = problem
    reachable = source @ matrix
    assert closest_source(reachable, matrix).residual < 1e-7
    assert unfolded_source(reachable, matrix, 2000).residual < 0.02


@fixed
@given(problems())
def test_unfolding_never_increases_the_divergence(problem):
    p, matrix = problem
    divergence = [
        np.sum(p * np.log(p / (unfolded_source(p, matrix, steps).shares @ matrix)))
        for steps in (0, 1, 2, 5, 20)
    ]
    assert (np.diff(divergence) <= 1e-12).all()
    assert unfolded_source(p, matrix, 20).residual >= closest_source(p, matrix).residual - 1e-7


def test_a_blur_over_a_hard_edge_cannot_be_undone():
    """Mass that leaks over the ends comes from whatever data there are; only less of it can be made."""
    p, matrix = blur(20, 5)
    plain = drift.total_variation(p, p @ matrix)
    source = closest_source(p, matrix)
    assert 0.2 * plain < source.residual < plain
    assert (source.shares[p == 0] == 0).all() and (source.weights[p == 0] == 0).all()
    smooth = np.where(p > 0, np.sin(np.pi * (np.arange(30) - 4.5) / 20) ** 4, 0)
    smooth = smooth / smooth.sum()
    assert closest_source(smooth, matrix).residual < 0.1 * drift.total_variation(smooth, smooth @ matrix)
    assert unfolded_source(p, matrix, 20).residual > plain  # unfolding lessens another divergence


def test_what_cannot_be_reached_is_not_requested():
    """Bin 2 belongs to the prior, but nothing comes there."""
    p, matrix = np.array([0.25, 0.25, 0.5]), np.array([[0.5, 0.5, 0], [0.1, 0.9, 0], [0.5, 0.5, 0]])
    assert unfolded_source(p, matrix, 5).shares.sum() == pytest.approx(1)


def test_weights_follow_the_quantity_of_each_trajectory():
    bins = len(CONE.quantity.bins()) - 1
    weights = np.arange(1.0, bins + 1)
    batch = CONE.sample(300, np.random.default_rng(0))
    fitting = Reweighted(tuple(weights)).fitting(CONE, batch)
    assert fitting["x"] is batch.x
    np.testing.assert_array_equal(fitting["weights"], weights[drift.bin_of(batch.z, CONE.quantity.bins())])
    with pytest.raises(ValueError, match=f"expected a weight for each of {bins} bins, got 3"):
        Reweighted((1.0, 2.0, 3.0)).fitting(CONE, batch)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, derandomize=True, max_examples=20)
def test_resampled_values_follow_the_prior_and_cost_what_rejection_does(seed):
    rng = np.random.default_rng(seed)
    edges, p = np.linspace(0, 1, 5), np.array([0.1, 0.2, 0.3, 0.4])
    q = rng.dirichlet([5] * 4)
    z = (rng.choice(4, 40_000, p=q) + rng.random(40_000)) / 4
    kept, drawn = resample_output(z, p, edges, rng)
    found = np.histogram(kept, edges)[0] / len(kept)
    assert drawn == pytest.approx((p / q).max(), rel=0.1)  # rejection sampling draws this many for each
    assert len(kept) * drawn == pytest.approx(20_000, rel=0.01)
    np.testing.assert_allclose(found, p, atol=5 / np.sqrt(len(kept)))


def test_nothing_to_resample_gives_something():
    kept, drawn = resample_output(
        np.full(100, 0.9), np.array([1.0, 0.0]), np.array([0, 0.5, 1]), np.random.default_rng(0)
    )
    assert len(kept) == 20 and np.isfinite(drawn)


def test_a_conditioned_experiment_asks_for_the_prior(store):
    result = run(store, Conditioned())
    assert result.requested.shape == result.z.shape
    requested = Conditioned().requests(CONE, 2000, np.random.default_rng(0))
    found = drift.assess([requested], CONE.quantity.prior, CONE.quantity.bins(), 20_000)
    assert found.tv.value < 1.5 * found.tv_floor.high
    assert run(store).requested is None


def test_a_model_in_other_coordinates_makes_trajectories_of_the_task(store):
    plain, same = (
        whole(samples(dataclasses.replace(PLAIN, treatment=treatment)), store).arrays["x"]
        for treatment in (None, InCoordinates(Identity()))
    )
    assert same.dtype == np.float32
    np.testing.assert_allclose(same, plain, atol=1e-6)
    doubled, batch = InCoordinates(Increments(2.0)), CONE.sample(50, np.random.default_rng(0))
    y = doubled.fitting(CONE, batch)["x"]
    np.testing.assert_array_equal(y, Increments(2.0).transform(batch.x))
    np.testing.assert_allclose(doubled.restore(y), batch.x, atol=1e-6)


def test_a_planner_in_coordinates_that_keep_both_ends_gets_and_gives_them_as_they_are(store):
    treatment = InCoordinates(PreEmphasis(2.0))
    planner = build("planner", width=8, steps=3, batch=16, sampler_steps=3)
    experiment = dataclasses.replace(PLAIN, model=planner, treatment=treatment)
    made, x = whole(samples(experiment), store).arrays, training_set(experiment, store).x
    for step in planner.given:
        np.testing.assert_allclose(made["x"][:, step], x[made["row"], step], atol=1e-5)
