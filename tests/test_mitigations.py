"""What can be changed against drift: data, interface, coordinates."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from physmis import drift
from physmis.coordinates import Identity, Increments
from physmis.experiments.experiment import Experiment, run, trained
from physmis.experiments.store import Store, key
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

pytestmark = pytest.mark.usefixtures("store")

fixed = settings(deadline=None, derandomize=True, max_examples=40)
CONE = load("cone", steps=8)
PLAIN = Experiment(CONE, build("unet", width=8, steps=4, batch=16, sampler_steps=2), 200, 40, 0)


def laws(n):
    return st.lists(st.floats(0.01, 1), min_size=n, max_size=n).map(lambda v: np.array(v) / sum(v))


@st.composite
def problems(draw):
    n = draw(st.integers(2, 6))
    return draw(laws(n)), np.stack([draw(laws(n)) for _ in range(n)])


def blur(n, outside, width=1.0):
    """A transition over n bins and as many outside of each end, and the uniform law on the inner ones."""
    at = np.arange(n + 2 * outside)
    matrix = np.exp(-((at[:, None] - at) ** 2) / (2 * width**2))
    p = np.where((at >= outside) & (at < n + outside), 1 / n, 0.0)
    return p, matrix / matrix.sum(axis=1, keepdims=True)


# weights


@fixed
@given(laws(5), laws(5))
def test_inverse_drift_weights_are_a_ratio_with_mean_one(p, q):
    weights = inverse_drift_weights(p, q)
    assert p @ weights == pytest.approx(1)
    np.testing.assert_allclose(weights * q / p, (weights * q / p)[0])


def test_inverse_drift_weights_leave_out_what_has_no_data():
    weights = inverse_drift_weights(np.array([0, 0.5, 0.5]), np.array([0.2, 0.2, 0.6]))
    np.testing.assert_allclose(weights, [0, 1.5, 0.5])
    for bad in ([np.nan, 1.0, 0.0], [5.0, 5.0, 0.0], [0.5, 0.5]):
        with pytest.raises(ValueError, match="law"):
            inverse_drift_weights(np.array([0, 0.5, 0.5]), np.array(bad))
    with pytest.raises(ValueError, match="1 of 2 bins were not met"):
        inverse_drift_weights(np.array([0, 0.5, 0.5]), np.array([0.4, 0.6, 0.0]))


def test_no_drift_asks_for_no_weights():
    p = np.array([0.2, 0.3, 0.5])
    np.testing.assert_allclose(inverse_drift_weights(p, p), 1)
    for source in (closest_source(p, np.eye(3)), unfolded_source(p, np.eye(3), 5)):
        np.testing.assert_allclose(source.weights, 1, atol=1e-9)
        assert source.residual == pytest.approx(0, abs=1e-9)


@fixed
@given(problems(), st.data())
def test_no_law_comes_closer_than_the_closest_source(problem, data):
    p, matrix = problem
    best = closest_source(p, matrix)
    np.testing.assert_allclose(best.recovered, best.law @ matrix)
    assert best.law.sum() == pytest.approx(1) and (best.law >= 0).all()
    other = data.draw(laws(len(p)))
    assert best.residual <= 0.5 * np.abs(other @ matrix - p).sum() + 1e-7
    for corner in matrix:
        assert best.residual <= 0.5 * np.abs(corner - p).sum() + 1e-7


@fixed
@given(problems())
def test_a_prior_that_can_be_reached_is(problem):
    source, matrix = problem
    reachable = source @ matrix
    assert closest_source(reachable, matrix).residual < 1e-7
    assert unfolded_source(reachable, matrix, 2000).residual < 0.02


@fixed
@given(problems())
def test_unfolding_never_moves_away(problem):
    p, matrix = problem
    divergence = [
        np.sum(p * np.log(p / unfolded_source(p, matrix, steps).recovered)) for steps in (0, 1, 2, 5, 20)
    ]
    assert (np.diff(divergence) <= 1e-12).all()
    best = closest_source(p, matrix).residual
    assert unfolded_source(p, matrix, 20).residual >= best - 1e-7


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


def test_unfolding_a_hard_edge_lessens_the_divergence_and_not_the_total_variation():
    p, matrix = blur(20, 5)
    few, many = (unfolded_source(p, matrix, steps) for steps in (20, 5000))
    plain = drift.total_variation(p, p @ matrix)
    assert few.residual > plain > closest_source(p, matrix).residual
    inside = p > 0
    divergences = [np.sum(p[inside] * np.log((p / source.recovered)[inside])) for source in (few, many)]
    assert divergences[1] < divergences[0] < np.sum(p[inside] * np.log((p / (p @ matrix))[inside]))


def test_what_no_law_reaches_is_not_asked_for():
    """Bin 2 belongs to the prior, but nothing lands there; and where nothing lands at all, data stay."""
    p, matrix = np.array([0.25, 0.25, 0.5]), np.array([[0.5, 0.5, 0], [0.1, 0.9, 0], [0.5, 0.5, 0]])
    assert unfolded_source(p, matrix, 5).law.sum() == pytest.approx(1)
    away = np.array([[0, 0, 1.0]] * 3)
    np.testing.assert_allclose(unfolded_source(np.array([0.5, 0.5, 0]), away, 5).law, [0.5, 0.5, 0])


def test_effective_size_of_simple_weights():
    assert effective_size(np.full(7, 3.0)) == pytest.approx(1)
    assert effective_size([0, 0, 0, 2]) == pytest.approx(1 / 4)
    assert effective_size([1, 1, 0, 0]) == pytest.approx(1 / 2)


@pytest.mark.parametrize("bad", [[], [0.0, 0.0], [1.0, -0.1], [1.0, np.nan], [[1.0]]])
def test_bad_weights_are_refused(bad):
    with pytest.raises(ValueError, match="weights of 0 or more, finite and not all 0"):
        effective_size(bad)
    with pytest.raises(ValueError, match="weights of 0 or more"):
        Reweighted(tuple(bad))


@pytest.mark.parametrize("find", [closest_source, lambda p, t: unfolded_source(p, t, 3)])
def test_bad_transitions_are_refused(find):
    with pytest.raises(ValueError, match=r"shape \(2, 2\) wanted, got \(3, 3\)"):
        find([0.5, 0.5], np.eye(3))
    for bad in (np.ones((2, 2)), np.full((2, 2), np.nan), np.array([[2.0, -1.0], [0.0, 1.0]])):
        with pytest.raises(ValueError, match="rows of the transition must be laws"):
            find([0.5, 0.5], bad)
    with pytest.raises(ValueError, match="is not a law"):
        find([0.5, 0.9], np.eye(2))


def test_negative_number_of_steps_is_refused():
    with pytest.raises(ValueError, match="-1"):
        unfolded_source([0.5, 0.5], np.eye(2), -1)


# experiments


def test_weights_follow_the_quantity_of_each_trajectory():
    bins = len(CONE.quantity.bins()) - 1
    weights = np.arange(1.0, bins + 1)
    batch = CONE.sample(300, np.random.default_rng(0))
    given = Reweighted(tuple(weights)).fitting(CONE, batch)
    assert given["x"] is batch.x
    np.testing.assert_array_equal(given["weights"], weights[drift.bin_of(batch.z, CONE.quantity.bins())])
    with pytest.raises(ValueError, match=f"one weight for each of the {bins} bins wanted, got 3"):
        Reweighted((1.0, 2.0, 3.0)).fitting(CONE, batch)


def test_training_with_weights_meets_what_they_ask_for():
    """Weights on the upper half alone: a model of such data makes amplitudes there."""
    edges = CONE.quantity.bins()
    weights = tuple((edges[:-1] >= 0.5).astype(float))
    longer = dataclasses.replace(
        PLAIN, model=build("unet", width=8, steps=120, batch=64, sampler_steps=6), data=500, samples=200
    )
    plain, treated = run(longer), run(dataclasses.replace(longer, treatment=Reweighted(weights)))
    assert np.mean(treated.z > 0.45) > np.mean(plain.z > 0.45) + 0.2


def test_a_conditioned_experiment_asks_for_the_prior():
    result = run(dataclasses.replace(PLAIN, treatment=Conditioned()))
    assert result.samples.arrays["requested"].shape == result.z.shape
    asked = Conditioned().requests(CONE, 2000, np.random.default_rng(0))
    found = drift.assess([asked], CONE.quantity.prior, CONE.quantity.bins(), 20_000)
    assert found.tv.value < 1.5 * found.tv_floor.high
    assert "requested" not in run(PLAIN).samples.arrays


def test_a_model_in_other_coordinates_makes_trajectories_of_the_task():
    """Doubled increments, and back: not what the plain model makes, but like the data."""
    treated = dataclasses.replace(PLAIN, treatment=InCoordinates(Increments(2.0)))
    result = run(treated)
    assert result.x.dtype == np.float32 and result.x.shape == run(PLAIN).x.shape
    same = run(dataclasses.replace(PLAIN, treatment=InCoordinates(Identity())))
    np.testing.assert_allclose(same.x, run(PLAIN).x, atol=1e-6)
    x = PLAIN.training_set().x
    made = trained(treated, Store(), "cpu")
    np.testing.assert_allclose(made.mean, Increments(2.0).transform(x).mean(axis=(0, 1)), atol=1e-6)
    with pytest.raises(ValueError, match="'planner' is given some steps"):
        dataclasses.replace(treated, model=build("planner"))


def test_treatments_have_their_own_place_in_the_store_and_none_changes_none():
    kinds = [None, Conditioned(), Reweighted((1.0, 2.0)), Reweighted((2.0, 1.0))]
    experiments = [dataclasses.replace(PLAIN, treatment=kind) for kind in kinds]
    assert (
        len({key(e.config) for e in experiments}) == len({key(e.training_config) for e in experiments}) == 4
    )
    assert "treatment" not in PLAIN.training_config
    assert "conditioned" in str(experiments[1])
