"""Models conditioned on a quantity, or on some steps."""

import numpy as np
import pytest

from physmis.models import build

SMALL = {"width": 8, "batch": 32, "sampler_steps": 10}


def bumps(n, rng):
    """A bump in 16 steps each, and its place: in the middle for 0, five steps later for 1."""
    places = rng.uniform(-1, 1, n)
    t = np.arange(16) - 7.5 - 5 * places[:, None]
    return np.exp(-(t**2) / 4)[..., None] + 0.02 * rng.standard_normal((n, 16, 1)), places


def place(x):
    """Where the bump is, in the units of the condition."""
    weight = np.maximum(x[..., 0], 0) ** 2
    return ((weight * np.arange(16)).sum(axis=1) / weight.sum(axis=1) - 7.5) / 5


@pytest.fixture(scope="module")
def conditional():
    rng = np.random.default_rng(0)
    x, places = bumps(500, rng)
    return build("unet", steps=400, **SMALL).fit(x, rng, condition=places)


def mean_place(model, requested, n=100):
    x = model.sample(n, np.random.default_rng(1), condition=np.full(n, requested))
    return place(x).mean()


def test_samples_follow_the_requested_value(conditional):
    low, high = (mean_place(conditional, requested) for requested in (-0.5, 0.5))
    assert low == pytest.approx(-0.5, abs=0.15) and high == pytest.approx(0.5, abs=0.15)


def test_conditions_beyond_those_of_training_are_warned_of(conditional, recwarn):
    inside, beyond = np.array([-0.9, 0.0, 0.9]), np.array([-0.9, 5.0, -3.0])
    conditional.sample(3, np.random.default_rng(0), condition=inside)
    assert not recwarn
    said = "2 of 3 conditions lie outside .*, -0.99.* to 0.99"
    with pytest.warns(UserWarning, match=said) as warned:
        conditional.sample(3, np.random.default_rng(0), condition=beyond)
        conditional.perturb(np.zeros((3, 16, 1)), 0.5, np.random.default_rng(0), beyond)
    assert [one.filename for one in warned] == 2 * [__file__]  # where to look, and not in a library


def test_a_planner_learns_the_way_between_the_ends():
    """Straight lines between random ends: the middle follows from them."""
    rng = np.random.default_rng(0)
    ends = rng.normal(size=(2000, 2, 2))
    share = np.linspace(0, 1, 8)[:, None]
    x = ends[:, :1] * (1 - share) + ends[:, 1:] * share
    model = build("planner", width=8, steps=200, batch=64).fit(x, rng)
    start, goal = rng.normal(size=(2, 200, 2))
    y = model.sample(200, rng, {0: start, -1: goal})
    np.testing.assert_allclose(y[:, 0], start, atol=1e-5)
    np.testing.assert_allclose(y[:, -1], goal, atol=1e-5)
    line = start[:, None] * (1 - share) + goal[:, None] * share
    assert np.abs(y - line).mean() < 0.4 * np.abs(y - line[::-1]).mean()
    np.testing.assert_array_equal(
        model.sample(5, np.random.default_rng(1), {0: start[:5], 7: goal[:5]}),
        model.sample(5, np.random.default_rng(1), {-8: start[:5], -1: goal[:5]}),
    )
    back = model.perturb(line, 0.5, rng)
    np.testing.assert_allclose(back[:, [0, -1]], line[:, [0, -1]], atol=1e-5)
    for clamp in (None, {0: start}):
        with pytest.raises(ValueError, match=r"expected steps \(0, -1\) in clamp, got \["):
            model.sample(200, rng, clamp)


def test_continuation_goes_on_from_a_state():
    rng = np.random.default_rng(0)
    x, places = bumps(500, rng)
    x = np.concatenate([x, np.repeat(places[:, None, None], 16, axis=1)], axis=2)
    model = build("continuation", **SMALL | {"width": 64, "steps": 1200}).fit(x, rng)
    for requested in (-0.6, 0.6):
        starts = np.column_stack([np.zeros(60), np.full(60, requested)])
        made = model.sample(60, np.random.default_rng(1), {0: starts, -1: starts})
        np.testing.assert_allclose(made[:, -1], starts, atol=1e-6)
        made = model.sample(60, np.random.default_rng(1), {0: starts})
        np.testing.assert_allclose(made[:, 0], starts, atol=1e-6)
        assert place(made).mean() == pytest.approx(requested, abs=0.2)
