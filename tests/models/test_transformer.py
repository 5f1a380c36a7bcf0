"""The Transformer against formulas of Gaussian mixtures written down here."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import kstest, norm
from torch import nn

from physmis.models import build
from physmis.models.base import torch_generator
from physmis.models.transformer import Mixture

pytestmark = pytest.mark.usefixtures("one_thread")


def random_generator(seed=0):
    return torch.Generator().manual_seed(seed)


# mixtures


def mixture_of(logits, mean, scale):
    return Mixture(*(torch.as_tensor(v, dtype=torch.float64) for v in (logits, mean, scale)))


def expected_log_density(x, logits, mean, scale):
    """Of x (n, C) under one mixture with K components: logits (K,), mean and scale (K, C)."""
    each = norm.logpdf(x[:, None], mean, scale).sum(axis=-1)
    return logsumexp(np.asarray(logits) - logsumexp(logits) + each, axis=1)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(1, 6), st.integers(1, 4), st.floats(0.01, 20), st.integers(0, 10**6))
def test_log_density_equals_that_of_scipy(components, channels, spread, seed):
    rng = np.random.default_rng(seed)
    logits = spread * rng.normal(size=components)
    mean = spread * rng.normal(size=(components, channels))
    scale = np.exp(rng.normal(size=(components, channels)))
    x = 2 * spread * rng.normal(size=(9, channels))
    found = mixture_of(logits, mean, scale).log_density(torch.tensor(x))
    np.testing.assert_allclose(found.numpy(), expected_log_density(x, logits, mean, scale), rtol=1e-9)


def test_draws_follow_the_mixture_and_share_the_component_among_channels():
    n, share = 20_000, np.array([0.3, 0.7])
    mean, scale = np.array([[-4.0, 3.0], [2.0, -3.0]]), np.array([[0.5, 1.0], [1.0, 0.2]])
    one = mixture_of(np.log(share) + 5, mean, scale)
    x = Mixture(*(v.expand(n, *v.shape) for v in one)).draw(random_generator()).numpy()
    assert x.shape == (n, 2)
    for channel in range(2):
        low, high = (norm(mean[k, channel], scale[k, channel]) for k in range(2))
        cdf = lambda v, low=low, high=high: share[0] * low.cdf(v) + share[1] * high.cdf(v)  # noqa: E731
        assert kstest(x[:, channel], cdf).pvalue > 1e-4
    first = x[:, 0] < -1.5  # 5 and 3.5 standard deviations from the two means
    assert np.mean(first == (x[:, 1] > 0)) > 0.995
    assert first.mean() == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / n))
    assert np.corrcoef(x[first].T)[0, 1] == pytest.approx(0, abs=0.07)  # independent within a component


def test_each_row_draws_from_its_own_mixture():
    mean = torch.arange(24.0).reshape(4, 3, 2)
    logits = torch.tensor([[100.0, 0, 0], [0, 100, 0], [0, 0, 100], [0, -200, 200]])
    x = Mixture(logits, mean, torch.full_like(mean, 1e-3)).draw(random_generator())
    torch.testing.assert_close(
        x, torch.stack([mean[i, k] for i, k in enumerate((0, 1, 2, 2))]), atol=0.01, rtol=0
    )


# the Transformer


def transformer(channels=2, steps=6, conditional=False, seed=0):
    """An untrained model, random in all of its weights, for data of mean 0 and scale 1."""
    torch.manual_seed(seed)
    model = build("transformer", width=8, layers=2, heads=2, components=3)
    model.shape, model.mean, model.scale = (steps, channels), torch.zeros(channels), torch.ones(channels)
    model.network = model.make_network(steps, channels, conditional).eval()
    for parameter in (model.network.start, model.network.place):
        nn.init.normal_(parameter)
    for block in model.network.blocks:
        nn.init.normal_(block.qkv.weight)
    model.condition_stats = torch.tensor([0.0, 1.0, -9.0, 9.0]) if conditional else None
    return model


LOGITS = np.array([1.0, 0.0, -1.0])
MEANS = np.array([[0.0, -2.0], [1.5, 1.0], [-3.0, 2.0]])
SCALES = np.array([[0.4, 1.0], [0.05, 0.3], [2.0, 0.7]])


def constant_transformer():
    """One whose steps all have the mixture above, whatever came before."""
    model = transformer()
    least = 1e-3
    bias = np.concatenate([LOGITS[:, None], MEANS, np.log(np.expm1(SCALES - least))], axis=1)
    with torch.no_grad():
        model.network.leave.weight.zero_()
        model.network.leave.bias.copy_(torch.tensor(bias.ravel()))
    return model


def test_likelihood_of_known_mixtures():
    model, x = constant_transformer(), 2 * np.random.default_rng(0).normal(size=(11, 6, 2))
    expected = expected_log_density(x.reshape(-1, 2), LOGITS, MEANS, SCALES).reshape(11, 6)
    given = torch.tensor(x, dtype=torch.float32)
    with torch.inference_mode():
        found = model.network(given).log_density(given)
        loss = model.loss(given, None)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert float(loss) == pytest.approx(-expected.mean(), rel=1e-4)  # nats a step


@pytest.mark.parametrize("conditional", [False, True])
def test_a_step_sees_those_before_it_alone(conditional):
    model, rng = transformer(conditional=conditional), random_generator(1)
    x, c = torch.randn(3, 6, 2, generator=rng), torch.randn(3, 1, generator=rng) if conditional else None
    with torch.inference_mode():
        before = model.network(x, c)
        for t in range(6):
            changed = x.clone()
            changed[:, t] += 1
            for one, two in zip(before, model.network(changed, c), strict=True):
                change = (one - two).abs().flatten(2).amax(dim=(0, 2))
                assert (change[: t + 1] < 1e-6).all() and (change[t + 1 :] > 1e-3).all()
        if conditional:
            for one, two in zip(before, model.network(x, c + 1), strict=True):
                assert ((one - two).abs().flatten(2).amax(dim=(0, 2)) > 1e-3).all()


@pytest.mark.parametrize("conditional", [False, True])
def test_samples_are_drawn_from_the_mixtures_that_the_past_gives(conditional):
    model, n = transformer(conditional=conditional), 40
    condition = np.random.default_rng(1).normal(size=n) if conditional else None
    found = model.sample(n, np.random.default_rng(2), condition=condition)
    draw, x = torch_generator(np.random.default_rng(2)), torch.full((n, 6, 2), torch.nan)
    c = None if condition is None else torch.tensor(condition, dtype=torch.float32)[:, None]
    with torch.inference_mode():
        for t in range(6):
            mixture = model.network(x.nan_to_num(), c)
            x[:, t] = Mixture(*(part[:, t] for part in mixture)).draw(draw)
    np.testing.assert_allclose(found, x.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("strength", "kept"), [(0.01, 5), (0.5, 3), (0.95, 0), (1.0, 0)])
def test_round_trip_draws_the_rest_of_a_trajectory_anew(strength, kept):
    model, x = transformer(), np.random.default_rng(0).normal(size=(200, 6, 2))
    found = model.perturb(x, strength, np.random.default_rng(1))
    np.testing.assert_allclose(found[:, :kept], x[:, :kept], rtol=0, atol=1e-6)
    assert (np.abs(found[:, kept:] - x[:, kept:]) > 1e-6).mean() > 0.99
    held = model.sample(200, np.random.default_rng(1), {t: x[:, t] for t in range(kept)})
    np.testing.assert_array_equal(found, held)
