"""Models that are told a number, or shown a state."""

import numpy as np
import pytest
import torch

from physmis.models import build
from physmis.models.guided import UNTOLD

SMALL = {"width": 8, "batch": 32, "sampler_steps": 10}


def bumps(n, rng):
    """A bump in 16 steps each, at a place that is told: in the middle for 0, five steps later for 1."""
    told = rng.uniform(-1, 1, n)
    t = np.arange(16) - 7.5 - 5 * told[:, None]
    return np.exp(-(t**2) / 4)[..., None] + 0.02 * rng.standard_normal((n, 16, 1)), told


def place(x):
    """Where the bump is, in the units of what is told."""
    weight = np.maximum(x[..., 0], 0) ** 2
    return ((weight * np.arange(16)).sum(axis=1) / weight.sum(axis=1) - 7.5) / 5


@pytest.fixture(scope="module")
def guided():
    rng = np.random.default_rng(0)
    x, told = bumps(500, rng)
    return build("guided", steps=400, **SMALL).fit(x, rng, condition=told)


def mean_place(model, guidance, asked, n=100):
    model.guidance = guidance
    x = model.sample(n, np.random.default_rng(1), condition=np.full(n, asked))
    model.guidance = 1.0
    return place(x).mean()


def test_samples_follow_what_is_asked(guided):
    low, high = (mean_place(guided, 1.0, asked) for asked in (-0.5, 0.5))
    assert low == pytest.approx(-0.5, abs=0.15) and high == pytest.approx(0.5, abs=0.15)


def test_conditions_beyond_those_of_training_are_warned_of(guided, recwarn):
    inside, beyond = np.array([-0.9, 0.0, 0.9]), np.array([-0.9, 5.0, -3.0])
    guided.sample(3, np.random.default_rng(0), condition=inside)
    assert not recwarn
    with pytest.warns(
        UserWarning, match="2 of 3 conditions lie outside .*'guided'.*, -0.99.* to 0.99"
    ) as told:
        guided.sample(3, np.random.default_rng(0), condition=beyond)
    assert {one.filename for one in told} == {__file__}  # where to look, and not in a library


def test_guidance_stretches_the_difference_between_told_and_untold(guided):
    y, level, told = torch.randn(3, 16, 1), torch.full((3,), 50.0), torch.tensor([[0.3], [-1.0], [2.0]])
    with torch.inference_mode():
        one = guided.network(y, level, told)
        free = guided.network(y, level, torch.full((3, 1), torch.nan))
        for guidance in (0.5, 1.0, 3.0):
            guided.guidance = guidance
            expected = free + guidance * (one - free)
            torch.testing.assert_close(guided.predict(y, level, told), expected)
    guided.guidance = 1.0
    assert not torch.allclose(one, free)


def test_a_tenth_of_training_is_untold(guided, monkeypatch):
    seen = []

    def network(y, level, condition):
        seen.append(condition)
        return y

    monkeypatch.setattr(guided, "network", network)
    x, told = torch.zeros(20_000, 16, 1), torch.arange(20_000.0)[:, None]
    guided.loss(x, told, *guided.draws(20_000, torch.Generator().manual_seed(0)))
    untold = seen[0].isnan()
    assert untold.float().mean() == pytest.approx(UNTOLD, abs=0.01)
    assert torch.equal(seen[0][~untold], told[~untold])


def test_state_keeps_what_being_untold_means(guided):
    again = build("guided", steps=400, **SMALL).from_state(guided.state())
    for guidance in (1.0, 2.0):
        assert mean_place(again, guidance, 0.4, 10) == mean_place(guided, guidance, 0.4, 10)


def test_a_guided_model_without_a_number_is_refused():
    with pytest.raises(ValueError, match="fit it with a condition, or use 'unet'"):
        build("guided", steps=2, **SMALL).fit(
            np.random.default_rng(0).normal(size=(20, 8, 1)), np.random.default_rng(0)
        )
    with pytest.raises(ValueError, match="guidance must be positive"):
        build("guided", guidance=0.0)


def test_continuation_goes_on_from_a_state():
    rng = np.random.default_rng(0)
    x, told = bumps(500, rng)
    x = np.concatenate([x, np.repeat(told[:, None, None], 16, axis=1)], axis=2)
    model = build("continuation", steps=400, **SMALL).fit(x, rng)
    for asked in (-0.6, 0.6):
        starts = np.column_stack([np.zeros(60), np.full(60, asked)])
        made = model.sample(60, np.random.default_rng(1), {0: starts})
        np.testing.assert_allclose(made[:, 0], starts, atol=1e-6)
        assert place(made).mean() == pytest.approx(asked, abs=0.2)
    with pytest.raises(ValueError, match=r"'continuation' is given the steps \(0,\).*\[0\]"):
        model.sample(60, np.random.default_rng(1), {3: starts})
    both = model.sample(60, np.random.default_rng(1), {0: starts, -1: starts})
    np.testing.assert_allclose(both[:, -1], starts, atol=1e-6)
