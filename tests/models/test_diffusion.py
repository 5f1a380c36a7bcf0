"""The diffusion models against `diffusers`, and against exact networks for Gaussian data."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet1DModel
from torch import nn

from physmis.models import build
from physmis.models.diffusion import LEVELS, PREDICTIONS, SAMPLERS, angles, trailing
from physmis.models.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")

D = 4  # time steps of the Gaussian data
THEIRS = dict(zip(PREDICTIONS, ("epsilon", "sample", "v_prediction"), strict=True))
COSINE = {"num_train_timesteps": LEVELS, "beta_schedule": "squaredcos_cap_v2"}


@pytest.fixture
def double():
    """New tensors are float64, fresh noise too."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def power(matrix, exponent):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp(min=0) ** exponent) @ vectors.T


class Gaussian(nn.Module):
    """The best possible network for data N(mean, cov): E[target | noisy trajectory], in float64."""

    def __init__(self, mean, cov, prediction):
        super().__init__()
        self.mean, self.cov, self.prediction, self.calls = mean, cov, prediction, 0

    def forward(self, y, level, condition=None):
        self.calls += 1
        assert y.shape[0] == level.shape[0] and (level == level[0]).all()
        theta = angles()[int(level[0])]
        c, s = math.cos(theta), math.sin(theta)
        flat = y.double().flatten(1)
        noisy = c**2 * self.cov + s**2 * torch.eye(len(self.mean))
        x = self.mean + (flat - c * self.mean) @ torch.linalg.solve(noisy, c * self.cov)
        noise = (flat - c * x) / s
        out = {"noise": noise, "clean": x, "velocity": c * noise - s * x}[self.prediction]
        return out.reshape(y.shape).to(y.dtype)

    def flow(self, y, level):
        """Where the exact probability flow takes y from ``level`` to data: it keeps whitened y."""
        theta = angles()[level]
        c, s = math.cos(theta), math.sin(theta)
        noisy = c**2 * self.cov + s**2 * torch.eye(len(self.mean))
        white = (y.double().flatten(1) - c * self.mean) @ power(noisy, -0.5)
        return (self.mean + white @ power(self.cov, 0.5)).reshape(y.shape)

    def draw(self, n, seed):
        return (self.mean + noise(n, seed).flatten(1) @ power(self.cov, 0.5))[..., None]


def gaussian_model(prediction="velocity", sampler_steps=20, sampler="multistep", seed=0):
    """An untrained model whose network is exact, for Gaussian data."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(D, D)) / np.sqrt(D)
    cov = torch.tensor(root @ root.T)
    mean = torch.tensor(0.5 * rng.normal(size=D))
    model = build("unet", prediction=prediction, sampler_steps=sampler_steps, sampler=sampler)
    model.shape, model.mean, model.scale, model.limit = (D, 1), torch.zeros(1), torch.ones(1), 20.0
    model.network = Gaussian(mean.double(), cov.double(), prediction)
    return model


def noise(n, seed=0):
    return torch.randn((n, D, 1), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def denoise(model, y, start=LEVELS, seed=0):
    return model.denoise(y, start, torch.Generator().manual_seed(seed), {})


def assert_distribution(x, mean, cov, slack=0.03):
    """Rows of x have this mean and covariance, within 5 standard errors and ``slack`` for finite steps."""
    x, n = x.reshape(len(x), -1).astype(float), len(x)
    mean, cov = mean.numpy(), cov.numpy()
    variance = np.diag(cov)
    assert (np.abs(x.mean(axis=0) - mean) < 5 * np.sqrt(variance / n) + slack * np.sqrt(variance)).all()
    error = np.sqrt((np.outer(variance, variance) + cov**2) / n)
    assert (np.abs(np.cov(x.T) - cov) < 5 * error + slack * np.sqrt(np.outer(variance, variance))).all()


# the network, against diffusers


def reference_unet(channels, width):
    """The reinforcement-learning U-Net of diffusers, with SiLU in place of Mish."""
    network = UNet1DModel(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(width, 2 * width, 4 * width),
        layers_per_block=0,
        down_block_types=("DownResnetBlock1D",) * 3,
        mid_block_type="MidResTemporalBlock1D",
        up_block_types=("UpResnetBlock1D",) * 2,
        out_block_type="OutConv1DBlock",
        time_embedding_type="positional",
        use_timestep_embedding=True,
        act_fn="silu",
        norm_num_groups=8,
    )
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Mish):
                setattr(module, name, nn.SiLU())
    return network


def pairs(ours, theirs):
    """Layers of the same place in both networks."""

    def block(a, b):
        yield from ((a.enter[0], b.conv_in.conv1d), (a.enter[1], b.conv_in.group_norm))
        yield from ((a.leave[0], b.conv_out.conv1d), (a.leave[1], b.conv_out.group_norm))
        yield from ((a.shift, b.time_emb), (a.skip, b.residual_conv))

    yield from ((ours.embed[0], theirs.time_mlp.linear_1), (ours.embed[2], theirs.time_mlp.linear_2))
    for mine, other in zip(ours.down, theirs.down_blocks, strict=True):
        yield from block(mine, other.resnets[0])
    for mine, other in zip(ours.shrink, theirs.down_blocks[:2], strict=True):
        yield mine, other.downsample.conv
    yield from block(ours.middle, theirs.mid_block.resnets[0])
    for mine, grow, other in zip(ours.up, ours.grow, theirs.up_blocks, strict=True):
        yield from block(mine, other.resnets[0])
        yield grow, other.upsample.conv
    yield ours.leave[0][0], theirs.out_block.final_conv1d_1
    yield ours.leave[0][1], theirs.out_block.final_conv1d_gn
    yield ours.leave[1], theirs.out_block.final_conv1d_2


@pytest.mark.parametrize(("channels", "steps", "width"), [(1, 4, 8), (6, 20, 24), (3, 64, 16)])
def test_unet_equals_that_of_diffusers_with_equal_weights(channels, steps, width):
    torch.manual_seed(channels)
    ours, theirs = UNet(channels, width), reference_unet(channels, width)
    for parameter in theirs.parameters():  # away from the unit scales and zero shifts of new group norms
        nn.init.normal_(parameter, std=0.2)
    copied = []
    with torch.no_grad():
        for mine, other in pairs(ours, theirs):
            for a, b in zip(mine.parameters(), other.parameters(), strict=True):
                a.copy_(b.unsqueeze(2) if b.dim() == 3 else b)
                copied += [a, b]
    assert len(set(map(id, copied))) == len([*ours.parameters(), *theirs.parameters()])  # every one, once
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())

    x, level = torch.randn(5, steps, channels, requires_grad=True), 99 * torch.rand(5)
    found, expected = ours(x, level), theirs(x.transpose(1, 2), level).sample.transpose(1, 2)
    weights = torch.randn_like(found)
    scale = float(expected.detach().abs().max())
    assert scale > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * scale)
    (one,), (two,) = (torch.autograd.grad((out * weights).sum(), x) for out in (found, expected))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5 * float(two.abs().max()))


# noise levels and steps, against diffusers


def test_cosine_schedule_equals_that_of_diffusers():
    kept = DDPMScheduler(**COSINE).alphas_cumprod
    np.testing.assert_allclose(np.cos(angles()) ** 2, kept.numpy(), rtol=1e-4)
    assert angles().shape == (LEVELS,) and (np.diff(angles()) > 0).all()
    assert 0 < angles()[0] < 0.05 and 1.57 < angles()[-1] < np.pi / 2


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 25, 100])
def test_trailing_levels_equal_those_of_diffusers(steps):
    scheduler = DDIMScheduler(**COSINE, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    assert trailing(LEVELS, steps) == scheduler.timesteps.tolist()


# samplers, against diffusers


def reference_samples(scheduler, network, y, steps, draw, **options):
    """The usual loop of diffusers, in float64 throughout."""
    # Its own table is single precision; the schedules themselves are compared above.
    scheduler.alphas_cumprod = torch.tensor(np.cos(angles()) ** 2)
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        out = network(y, t.double().expand(len(y)))
        y = scheduler.step(out, t, y, generator=draw, **options).prev_sample
    return y


def random_model(prediction, sampler, sampler_steps, limit):
    torch.manual_seed(3)
    model = build("unet", width=8, prediction=prediction, sampler=sampler, sampler_steps=sampler_steps)
    model.shape, model.limit = (8, 2), limit
    model.network = UNet(2, 8).double()
    nn.init.normal_(model.network.leave[1].weight, std=0.5)
    return model


def both_ways(model, scheduler, **options):
    y = torch.randn((16, 8, 2), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found = denoise(model, y, seed=2)
        draw, steps = torch.Generator().manual_seed(2), model.sampler_steps
        expected = reference_samples(scheduler, model.network, y, steps, draw, **options)
    assert found.dtype == expected.dtype == torch.float64
    return found, expected


@pytest.mark.parametrize("limit", [1.5, 20.0])
@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 5), ("ddim", 20), ("ancestral", 20)])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_samplers_equal_those_of_diffusers(prediction, sampler, steps, limit, double):
    model = random_model(prediction, sampler, steps, limit)
    reference = DDIMScheduler if sampler == "ddim" else DDPMScheduler
    scheduler = reference(
        **COSINE,
        **({} if sampler == "ddim" else {"variance_type": "fixed_small"}),
        timestep_spacing="trailing",
        prediction_type=THEIRS[prediction],
        clip_sample=True,
        clip_sample_range=limit,
    )
    found, expected = both_ways(
        model, scheduler, **({"use_clipped_model_output": True} if sampler == "ddim" else {})
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)
    assert found.std() > 0.1


# exact networks


@pytest.mark.parametrize(("sampler", "steps"), [("ancestral", 100), ("ddim", 100), ("multistep", 20)])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_exact_network_samples_mean_and_covariance_of_gaussian_data(prediction, sampler, steps):
    model = gaussian_model(prediction, steps, sampler)
    x = model.sample(5000, np.random.default_rng(0))
    assert x.shape == (5000, D, 1) and x.dtype == np.float32
    assert_distribution(x, model.network.mean, model.network.cov)


def flow_errors(sampler, counts, seed=0):
    y, errors = noise(300), {}
    for steps in counts:
        model = gaussian_model(sampler_steps=steps, sampler=sampler, seed=seed)
        exact = model.network.flow(y, LEVELS - 1)
        errors[steps] = float((denoise(model, y) - exact).square().mean().sqrt())
    return errors


@pytest.mark.parametrize("seed", [0, 1])
def test_distance_from_the_exact_flow_falls_with_the_steps_and_is_least_with_multistep(seed):
    multistep, ddim = (flow_errors(sampler, (5, 10, 20, 50), seed) for sampler in ("multistep", "ddim"))
    for errors in (multistep, ddim):
        assert (np.diff(list(errors.values())) < 0).all()
    assert multistep[10] < ddim[10] and multistep[20] < 0.4 * ddim[20]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 20])
def test_sampling_asks_the_network_once_a_step_and_a_round_trip_for_its_share(steps, sampler):
    model = gaussian_model(sampler_steps=steps, sampler=sampler)
    model.sample(10, np.random.default_rng(0))
    assert model.network.calls == steps
    model.network.calls = 0
    model.perturb(noise(10).numpy(), 0.5, np.random.default_rng(0))
    assert model.network.calls == max(1, round(steps / 2))


# values held at some steps


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_other_steps_follow_a_held_one_in_part(sampler):
    """Each level replaces values and knows nothing of it earlier, so less than the conditional mean comes."""
    model = gaussian_model(sampler_steps=50, sampler=sampler)
    lags = torch.arange(D)[:, None] - torch.arange(D)
    model.network.cov = torch.exp(-(lags**2) / 8.0).double()  # smooth trajectories of unit variance
    mean, cov = model.network.mean.numpy(), model.network.cov.numpy()
    value = mean[0] + np.random.default_rng(0).normal(size=(4000, 1))
    x = model.sample(4000, np.random.default_rng(1), {0: value})[..., 0]
    slopes = np.array([np.polyfit(value[:, 0], x[:, j], 1)[0] for j in range(D)])
    assert slopes[0] == pytest.approx(1, abs=1e-5)
    assert (np.diff(slopes) < 0).all() and (slopes[1:] < cov[0, 1:]).all()
    assert slopes[1] > 0.45 * cov[0, 1]
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=0.07)


# the loss


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("level", [20, 60])
def test_error_of_the_exact_network_is_the_posterior_variance(prediction, level):
    model = gaussian_model(prediction)
    cov, n = model.network.cov, 20_000
    c, s = math.cos(angles()[level]), math.sin(angles()[level])
    posterior = cov - c**2 * cov @ torch.linalg.inv(c**2 * cov + s**2 * torch.eye(D)) @ cov
    factor = {"noise": c**2 / s**2, "clean": 1, "velocity": 1 / s**2}[prediction]
    error = float(model.loss(model.network.draw(n, 3), None, torch.full((n,), level), noise(n, 4)))
    assert error == pytest.approx(factor * float(posterior.trace()) / D, rel=0.04)


def test_loss_spreads_its_levels_evenly_and_draws_fresh_noise():
    seen = []

    class Recorder(nn.Module):
        def forward(self, y, level, condition=None):
            seen.append((y, level, condition))
            return torch.zeros_like(y)

    model, draw = build("unet", prediction="noise"), torch.Generator().manual_seed(0)
    model.network, model.shape = Recorder(), (D, 1)
    given = torch.arange(100.0)[:, None]
    x = torch.zeros(100, D, 1)
    losses = [float(model.loss(x, given, *model.training_noise(100, draw))) for _ in range(100)]
    assert np.mean(losses) == pytest.approx(1, abs=5 * np.sqrt(2 / (100 * 100 * D)))  # of standard noise
    for y, level, condition in seen:
        assert level.tolist() == list(range(LEVELS))  # one of each in a batch of as many as there are
        assert condition is given
        noisy = y.flatten(1) / torch.tensor(np.sin(angles()), dtype=torch.float32)[:, None]
        assert float(noisy.std()) == pytest.approx(1, abs=5 / np.sqrt(2 * 100 * D))
    assert not torch.equal(seen[0][0], seen[1][0])

    seen.clear()
    for _ in range(1000):  # the same distribution when levels do not fit the batch
        model.loss(x[:7], None, *model.training_noise(7, draw))
    counts = np.bincount(
        np.concatenate([level.numpy().astype(int) for _, level, _ in seen]), minlength=LEVELS
    )
    assert len(counts) == LEVELS and (np.abs(counts - 70) < 5 * np.sqrt(70)).all()


# round trips


def test_denoising_from_a_lower_level_agrees_with_the_exact_flow():
    model = gaussian_model(sampler_steps=100)
    theta = angles()[39]
    y = math.cos(theta) * noise(200, 5) + math.sin(theta) * noise(200, 6)
    torch.testing.assert_close(denoise(model, y, 40), model.network.flow(y, 39), rtol=0, atol=0.03)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_round_trip_of_the_exact_network_keeps_the_distribution_of_the_data(strength, sampler):
    model = gaussian_model(sampler_steps=100, sampler=sampler)
    x = model.network.draw(4000, 7).numpy()
    found = model.perturb(x, strength, np.random.default_rng(0))
    assert_distribution(found, model.network.mean, model.network.cov)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_round_trip_at_full_strength_forgets_its_start_and_at_less_does_not(sampler):
    model = gaussian_model(sampler_steps=50, sampler=sampler)
    x = model.network.draw(5000, 8).numpy()
    kept = [
        np.corrcoef(x[:, 3, 0], model.perturb(x, strength, np.random.default_rng(0))[:, 3, 0])[0, 1]
        for strength in (0.05, 0.5, 1.0)
    ]
    assert kept[0] > 0.95 and kept[0] > kept[1] > kept[2] + 0.1 and abs(kept[2]) < 0.1
