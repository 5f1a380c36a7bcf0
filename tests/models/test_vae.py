"""The variational autoencoder against closed forms of Gaussian models."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from physmis.models import build

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:posterior collapse"),  # a few steps of training teach little
]


CODES, T, C = 2, 3, 2


class Affine(nn.Module):
    """x to x matrix + shift; what a condition embeds to is left aside."""

    def __init__(self, matrix, shift):
        super().__init__()
        self.register_buffer("matrix", torch.tensor(matrix))
        self.register_buffer("shift", torch.tensor(shift))

    def forward(self, x, e=None):
        return x @ self.matrix + self.shift


def affine_vae(seed=0, spread=0.6, posterior_scale=None, shifted=0.0):
    """A VAE with x = u W + b + spread noise, and the exact posterior unless other values are given.

    The rows of W are orthogonal, so that the posterior has independent codes. Returns the model and W, b.
    """
    rng = np.random.default_rng(seed)
    w = np.linalg.qr(rng.normal(size=(T * C, CODES)))[0].T * np.array([[1.5], [0.7]])
    b = rng.normal(size=T * C)
    variance = 1 / (1 + (w**2).sum(axis=1) / spread**2)
    gain = w.T * variance / spread**2
    scale = np.sqrt(variance) if posterior_scale is None else np.full(CODES, posterior_scale)
    encoder = np.concatenate([gain, np.zeros((T * C, CODES))], axis=1)
    at = np.concatenate([shifted - b @ gain, np.log(scale)])
    model = build("vae", width=16, depth=1, codes=CODES)
    model.shape, model.mean, model.scale = (T, C), torch.zeros(C), torch.ones(C)
    model.network = model.make_network(T, C, False).double()
    model.network.encoder = Affine(encoder, at)
    model.network.decoder = Affine(w, b)
    nn.init.constant_(model.network.log_scale, math.log(spread - 1e-3))
    return model, w, b


def expected_bound(model, x):
    """The mean of `bound` over its noise: exact for an affine decoder, where it is quadratic in the noise."""
    nodes = math.sqrt(CODES) * torch.cat([torch.eye(CODES), -torch.eye(CODES)]).double()
    with torch.inference_mode():
        return torch.stack([model.bound(x, None, node.expand(len(x), -1)) for node in nodes]).mean(dim=0)


@pytest.mark.parametrize(("posterior_scale", "shifted"), [(None, 0.0), (None, 0.5), (0.05, -1.0)])
def test_bound_exceeds_by_the_divergence_from_the_exact_posterior(posterior_scale, shifted):
    model, w, b = affine_vae(0, posterior_scale=posterior_scale, shifted=shifted)
    exact, _, _ = affine_vae(0)
    x = torch.tensor(2 * np.random.default_rng(1).normal(size=(9, T, C)))
    marginal = MultivariateNormal(torch.tensor(b), torch.tensor(w.T @ w + 0.6**2 * np.eye(T * C)))
    mine, theirs = (Independent(Normal(*m.network.encode(x)), 1) for m in (model, exact))
    expected = (kl_divergence(mine, theirs) - marginal.log_prob(x.flatten(1))) / (T * C)
    torch.testing.assert_close(expected_bound(model, x), expected, rtol=1e-9, atol=1e-9)


def assert_covariance(found, expected, n):
    """Within 5 standard errors, for Gaussian data of these (cross-)covariances."""
    size = 2.5  # above the largest variance of any entry
    assert np.abs(found - expected).max() < 5 * size * np.sqrt(2 / n)


@pytest.mark.parametrize("strength", [0.1, 0.6, 1.0])
def test_round_trip_of_the_exact_vae_keeps_the_distribution_and_a_known_share_of_its_start(strength):
    model, w, b = affine_vae()
    model.network.float()  # as `sample` is
    n = 20_000
    x = model.sample(n, np.random.default_rng(0)).reshape(n, -1)
    perturbed = model.perturb(x.reshape(n, T, C), strength, np.random.default_rng(1)).reshape(n, -1)
    covariance = w.T @ w + 0.6**2 * np.eye(T * C)
    assert np.diag(covariance).max() < 2.5
    for found in (x, perturbed):
        assert np.abs(found.mean(axis=0) - b).max() < 5 * np.sqrt(2.5 / n)
        assert_covariance(np.cov(found.T), covariance, n)
    shared = np.cov(x.T, perturbed.T)[: T * C, T * C :]
    assert_covariance(shared, math.sqrt(1 - strength**2) * w.T @ w, n)


def test_the_mean_output_is_a_draw_without_the_noise_of_the_decoder():
    model, w, b = affine_vae()
    model.network.float()
    model.output, n = "mean", 20_000
    x = model.sample(n, np.random.default_rng(0)).reshape(n, -1)
    assert_covariance(np.cov(x.T), w.T @ w, n)
    perturbed = model.perturb(x.reshape(n, T, C), 0.6, np.random.default_rng(1)).reshape(n, -1)
    beyond = np.eye(T * C) - np.linalg.pinv(w) @ w  # where the decoder cannot reach
    for found in (x, perturbed):
        np.testing.assert_allclose((found - b) @ beyond, 0, atol=1e-5)


@pytest.mark.parametrize("conditional", [False, True])
def test_activity_is_the_variance_of_the_mean_codes(conditional):
    rng = np.random.default_rng(0)
    x, numbers = rng.normal(size=(5000, 8, 1)).cumsum(axis=1), np.arange(5000.0)  # more than one chunk
    model = build("vae", width=16, depth=1, codes=3, steps=20)
    model.fit(x, rng, condition=numbers if conditional else None)
    standard = torch.tensor((x - x.mean()) / x.std(ddof=1), dtype=torch.float32)
    c = torch.tensor((numbers - numbers.mean()) / numbers.std(), dtype=torch.float32)[:, None]
    with torch.inference_mode():
        mean, _ = model.network.encode(standard, c if conditional else None)
    np.testing.assert_allclose(model.network.activity.numpy(), mean.numpy().var(axis=0), rtol=1e-3)


def test_posterior_collapse_is_warned_of():
    rng = np.random.default_rng(0)
    model = build("vae", width=16, depth=1, codes=3, steps=300)
    with pytest.warns(UserWarning, match="posterior collapse: none of the 3 codes") as warned:
        model.fit(rng.normal(size=(1000, 8, 1)), rng)
    assert warned[0].filename == __file__
