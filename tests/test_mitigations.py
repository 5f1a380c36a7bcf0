"""What can be changed against drift: data, interface, coordinates."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from physmis import drift
from physmis.coordinates import Identity, Increments
from physmis.experiments.experiment import Experiment, samples
from physmis.experiments.parallel import cached
from physmis.experiments.store import key
from physmis.mitigations import (
    Conditioned,
    InCoordinates,
    Reweighted,
    closest_source,
    effective_size,
    inverse_drift_weights,
    unfolded_source,
)
from physmis.models import build
from physmis.tasks import load

fixed = settings(deadline=None, derandomize=True, max_examples=30)
CONE = load("cone", steps=8)
PLAIN = Experiment(CONE, build("unet", width=8, steps=4, batch=16, sampler_steps=2), 200, 40, 0)


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


# weights


@fixed
@given(distributions(5), distributions(5))
def test_inverse_drift_weights_are_a_ratio_with_mean_one(p, q):
    weights = inverse_drift_weights(p, q)
    assert p @ weights == pytest.approx(1)
    np.testing.assert_allclose(weights * q / p, (weights * q / p)[0])


def test_inverse_drift_weights_leave_out_what_has_no_data():
    p = np.array([0, 0.5, 0.5])
    np.testing.assert_allclose(inverse_drift_weights(p, np.array([0.2, 0.2, 0.6])), [0, 1.5, 0.5])
    for bad in ([5.0, 5.0, 0.0], [-0.5, 1.0, 0.5], [0.5, 0.5]):
        with pytest.raises(ValueError, match="expected two distributions over the same bins"):
            inverse_drift_weights(p, bad)
    with pytest.raises(ValueError, match="expected mass in all 2 bins of the prior, got none in 1"):
        inverse_drift_weights(p, [0.4, 0.6, 0.0])


@fixed
@given(problems(), st.data())
def test_no_distribution_comes_closer_than_the_closest_source(problem, data):
    p, matrix = problem
    best = closest_source(p, matrix)
    np.testing.assert_allclose(best.recovered, best.law @ matrix)
    assert best.law.sum() == pytest.approx(1) and (best.law >= 0).all()
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
        np.sum(p * np.log(p / unfolded_source(p, matrix, steps).recovered)) for steps in (0, 1, 2, 5, 20)
    ]
    assert (np.diff(divergence) <= 1e-12).all()
    assert unfolded_source(p, matrix, 20).residual >= closest_source(p, matrix).residual - 1e-7


def test_a_blur_over_a_hard_edge_cannot_be_undone():
    """Mass that leaks over the ends comes from whatever data there are; only less of it can be made."""
    p, matrix = blur(20, 5)
    plain = drift.total_variation(p, p @ matrix)
    source = closest_source(p, matrix)
    assert 0.2 * plain < source.residual < plain
    assert (source.law[p == 0] == 0).all() and (source.weights[p == 0] == 0).all()
    smooth = np.where(p > 0, np.sin(np.pi * (np.arange(30) - 4.5) / 20) ** 4, 0)
    smooth = smooth / smooth.sum()
    assert closest_source(smooth, matrix).residual < 0.1 * drift.total_variation(smooth, smooth @ matrix)
    # Unfolding lessens the divergence and not the total variation.
    few, many = (unfolded_source(p, matrix, steps) for steps in (20, 1000))
    assert few.residual > plain
    inside = p > 0
    divergences = [np.sum(p[inside] * np.log((p / source.recovered)[inside])) for source in (few, many)]
    assert divergences[1] < divergences[0] < np.sum(p[inside] * np.log((p / (p @ matrix))[inside]))


def test_what_cannot_be_reached_is_not_requested():
    """Bin 2 belongs to the prior, but nothing comes there; and where nothing comes at all, data stay."""
    p, matrix = np.array([0.25, 0.25, 0.5]), np.array([[0.5, 0.5, 0], [0.1, 0.9, 0], [0.5, 0.5, 0]])
    assert unfolded_source(p, matrix, 5).law.sum() == pytest.approx(1)
    away = np.array([[0, 0, 1.0]] * 3)
    np.testing.assert_allclose(unfolded_source(np.array([0.5, 0.5, 0]), away, 5).law, [0.5, 0.5, 0])
    with pytest.raises(ValueError, match="expected 0 steps or more, got -1"):
        unfolded_source(p, matrix, -1)


def test_effective_size_of_simple_weights():
    assert effective_size(np.full(7, 3.0)) == pytest.approx(1)
    assert effective_size([0, 0, 0, 2]) == pytest.approx(1 / 4)
    assert effective_size([1, 1, 0, 0]) == pytest.approx(1 / 2)


@pytest.mark.parametrize("bad", [[], [0.0, 0.0], [1.0, -0.1], [1.0, np.nan], [[1.0]]])
def test_bad_weights_are_refused(bad):
    for door in (effective_size, Reweighted):
        with pytest.raises(ValueError, match="expected a vector of finite weights of 0 or more, not all 0"):
            door(bad)


@fixed
@given(*[arrays(float, array_shapes(max_dims=2, min_side=0, max_side=3)) | st.just("shares")] * 2)
def test_any_input_gives_finite_weights_or_is_refused(p, other):
    for found in (
        lambda: inverse_drift_weights(p, other),
        lambda: closest_source(p, other).weights,
        lambda: unfolded_source(p, other, 3).weights,
        lambda: effective_size(p),
    ):
        try:
            assert np.isfinite(found()).all()
        except (TypeError, ValueError) as error:
            assert str(error)


# treatments


def test_weights_follow_the_quantity_of_each_trajectory():
    bins = len(CONE.quantity.bins()) - 1
    weights = np.arange(1.0, bins + 1)
    batch = CONE.sample(300, np.random.default_rng(0))
    fitting = Reweighted(tuple(weights)).fitting(CONE, batch)
    assert fitting["x"] is batch.x
    np.testing.assert_array_equal(fitting["weights"], weights[drift.bin_of(batch.z, CONE.quantity.bins())])
    with pytest.raises(ValueError, match=f"expected one weight for each of the {bins} bins, got 3"):
        Reweighted((1.0, 2.0, 3.0)).fitting(CONE, batch)


def test_training_with_weights_meets_what_they_ask_for():
    """Weights on the lower half alone: a model of such data makes amplitudes there."""
    weights = Reweighted(tuple((CONE.quantity.bins()[1:] <= 0.5).astype(float)))
    batch, shares = CONE.sample(500, np.random.default_rng(0)), []
    for fitting in ({"x": batch.x}, weights.fitting(CONE, batch)):
        model = build("unet", width=8, steps=60, batch=32, sampler_steps=4)
        model.fit(**fitting, rng=np.random.default_rng(0))
        shares.append(np.mean(CONE.measure(model.sample(200, np.random.default_rng(1))) < 0.55))
    assert shares[1] > shares[0] + 0.2


def test_a_conditioned_experiment_asks_for_the_prior(store):
    result = cached(samples(dataclasses.replace(PLAIN, treatment=Conditioned())), store)
    assert result.requested.shape == result.z.shape
    requested = Conditioned().requests(CONE, 2000, np.random.default_rng(0))
    found = drift.assess([requested], CONE.quantity.prior, CONE.quantity.bins(), 20_000)
    assert found.tv.value < 1.5 * found.tv_floor.high
    assert cached(samples(PLAIN), store).requested is None


def test_a_model_in_other_coordinates_makes_trajectories_of_the_task(store):
    same = cached(samples(dataclasses.replace(PLAIN, treatment=InCoordinates(Identity()))), store)
    assert same.x.dtype == np.float32
    np.testing.assert_allclose(same.x, cached(samples(PLAIN), store).x, atol=1e-6)
    doubled, batch = InCoordinates(Increments(2.0)), CONE.sample(50, np.random.default_rng(0))
    y = doubled.fitting(CONE, batch)["x"]
    np.testing.assert_array_equal(y, Increments(2.0).transform(batch.x))
    np.testing.assert_allclose(doubled.restore(y), batch.x, atol=1e-6)
    with pytest.raises(ValueError, match="'planner' is given some steps"):
        dataclasses.replace(PLAIN, model=build("planner"), treatment=doubled)


def test_treatments_have_their_own_place_in_the_store_and_none_changes_none():
    kinds = [None, Conditioned(), Reweighted((1.0, 2.0)), Reweighted((2.0, 1.0)), InCoordinates(Identity())]
    experiments = [dataclasses.replace(PLAIN, treatment=kind) for kind in kinds]
    assert (
        len({key(e.config) for e in experiments}) == len({key(e.training_config) for e in experiments}) == 5
    )
    assert "treatment" not in PLAIN.training_config
    assert "conditioned" in str(experiments[1])
