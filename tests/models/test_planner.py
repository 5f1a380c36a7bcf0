import numpy as np
import pytest

from physmis.models import build


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
        with pytest.raises(ValueError, match="clamp"):
            model.sample(200, rng, clamp)
    with pytest.raises(ValueError, match="multiple of 4"):
        build("planner", steps=1).fit(x[:, :7], rng)
