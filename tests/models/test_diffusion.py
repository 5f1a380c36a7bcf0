"""The diffusion models against `diffusers`, and against exact networks for Gaussian data."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet1DModel
from scipy.stats import kstest
from torch import nn

from physmis.models import build
from physmis.models.diffusion import CLEANEST, NOISIEST, SAMPLERS, cosine_sine
from physmis.models.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")

D = 4  # time steps of the Gaussian data
VARIANCES = torch.tensor([0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 8.0], dtype=torch.float64)


@pytest.fixture
def double():
    """New tensors are float64, fresh noise too."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def power(matrix, exponent):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp(min=0) ** exponent) @ vectors.T


def at(share):
    """c and s, where levels that networks are given run from log(s / c) = log 0.005 at 0 to log 80 at 100."""
    angle = math.atan(0.005 * 16_000 ** (float(share) / 100))
    return math.cos(angle), math.sin(angle)


class Gaussian(nn.Module):
    """The best possible network for data N(mean, cov), in float64: E[velocity | noisy trajectory], of which
    the steps in ``given`` are clean."""

    def __init__(self, mean, cov, given=()):
        super().__init__()
        self.mean, self.cov, self.given, self.levels = mean, cov, list(given), []

    def forward(self, y, level, condition=None):
        self.levels.append(float(level[0]))
        assert y.shape[0] == level.shape[0] and (level == level[0]).all()
        c, s = at(level[0])
        gain, noise = torch.full((len(self.mean),), c), torch.full((len(self.mean),), s**2)
        gain[self.given], noise[self.given] = 1, 0
        gain, flat = gain.double(), y.double().flatten(1)
        noisy = gain * self.cov * gain[:, None] + noise.double().diag()
        x = self.mean + (flat - gain * self.mean) @ torch.linalg.solve(noisy, gain[:, None] * self.cov)
        return ((c * flat - x) / s).reshape(y.shape).to(y.dtype)

    def flow(self, y, start):
        """Where the exact probability flow takes y from level ``start`` to the cleanest, and there the best
        estimate of the data: the flow keeps whitened y."""
        c, s = cosine_sine(start)
        white = (y.flatten(1) - c * self.mean) @ power(self.noisy(c, s), -0.5)
        c, s = cosine_sine(CLEANEST)
        gain = power(self.noisy(c, s), -0.5) @ (c * self.cov)
        return (self.mean + white @ gain).reshape(y.shape)

    def noisy(self, c, s):
        return c**2 * self.cov + s**2 * torch.eye(len(self.mean))

    def draw(self, n, seed):
        return (self.mean + noise(n, seed).flatten(1) @ power(self.cov, 0.5))[..., None]


def exact_model(network, name="unet", **settings):
    """An untrained model of this network."""
    model = build(name, **settings)
    model.shape, model.limit, model.network = (len(network.mean), 1), 100.0, network
    model.mean, model.scale = torch.zeros(1), torch.ones(1)
    return model


def gaussian_model(seed=0, **settings):
    """One of correlated steps."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(D, D)) / np.sqrt(D)
    return exact_model(
        Gaussian(torch.tensor(0.5 * rng.normal(size=D)), torch.tensor(root @ root.T)), **settings
    )


def independent_model(**settings):
    """One of independent steps with `VARIANCES`."""
    return exact_model(Gaussian(torch.zeros(len(VARIANCES)).double(), VARIANCES.diag()), **settings)


def noise(n, seed=0, steps=D):
    return torch.randn((n, steps, 1), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def denoise(model, y, start=NOISIEST, seed=0):
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


# samplers, against diffusers


def random_model(**settings):
    torch.manual_seed(3)
    model = build("unet", width=8, **settings)
    model.shape, model.limit, model.network = (8, 2), 100.0, UNet(2, 8).double()
    nn.init.normal_(model.network.leave[1].weight, std=0.5)
    return model


def assert_samples_equal(model, scheduler, levels, tolerance, **options):
    """Those of the model and of the usual loop of diffusers, whose network is told of these levels."""
    y = torch.randn((16, 8, 2), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found, draw = denoise(model, y, seed=2), torch.Generator().manual_seed(2)
        for t, level in zip(scheduler.timesteps, levels, strict=True):
            y = scheduler.step(
                model.network(y, level.expand(16)), t, y, generator=draw, **options
            ).prev_sample
    assert found.dtype == torch.float64 and found.std() > 0.1
    torch.testing.assert_close(found, y, rtol=0, atol=tolerance)


@pytest.mark.parametrize("steps", [5, 25])
def test_multistep_sampler_equals_that_of_diffusers(steps, double):
    scheduler = DPMSolverMultistepScheduler(prediction_type="v_prediction", use_lu_lambdas=True)
    sigmas = np.geomspace(0.005, 80, 1000)
    scheduler.alphas_cumprod = 1 / (1 + sigmas**2)  # theirs are single precision
    scheduler.set_timesteps(steps)
    levels = 100 * (scheduler.sigmas[:-1].double() / 0.005).log() / math.log(16_000)
    assert_samples_equal(random_model(sampler_steps=steps), scheduler, levels, 1e-4)


@pytest.mark.parametrize("limit", [1.5, 100.0])
@pytest.mark.parametrize("steps", [5, 25])
def test_ancestral_sampler_equals_that_of_diffusers(steps, limit, double):
    scheduler = DDPMScheduler(
        num_train_timesteps=steps, prediction_type="v_prediction", clip_sample_range=limit
    )
    scheduler.alphas_cumprod = torch.tensor(1 / (1 + np.geomspace(0.005, 80, steps) ** 2))
    scheduler.set_timesteps(steps)
    model = random_model(sampler_steps=steps, sampler="ancestral")
    model.limit = limit
    assert_samples_equal(model, scheduler, torch.linspace(100, 0, steps), 1e-8)


# exact networks


def test_standard_deviations_are_right_to_one_per_cent_at_the_default_steps():
    model = independent_model()
    found = denoise(model, torch.ones(1, len(VARIANCES), 1).double()).flatten()  # each is a factor times y
    np.testing.assert_allclose(found / VARIANCES.sqrt(), 1, atol=0.01)
    assert len(model.network.levels) == 25


def test_multistep_is_of_second_order():
    errors = []
    for steps in (25, 50, 100):
        model, y = independent_model(sampler_steps=steps), torch.ones(1, len(VARIANCES), 1).double()
        exact = model.network.flow(y, NOISIEST)
        errors.append(((denoise(model, y) - exact) / exact).abs().flatten().numpy())
    for coarse, fine in zip(errors, errors[1:], strict=False):
        np.testing.assert_allclose(coarse / fine, 4, rtol=0.05)


def test_ancestral_shrinks_more_and_less_with_more_steps(double):
    lost = []
    for steps in (25, 100, 400):
        model = independent_model(sampler_steps=steps, sampler="ancestral")
        spread = denoise(model, noise(3000, 1, len(VARIANCES))).std(dim=0).flatten() / VARIANCES.sqrt()
        lost.append(1 - float(spread.mean()))  # to 0.005
    assert 0.15 < lost[0] < 0.2 and 0.03 < lost[1] < 0.06 and lost[2] < 0.025


@pytest.mark.parametrize(("sampler", "steps"), [("ancestral", 400), ("multistep", 25)])
def test_exact_network_samples_mean_and_covariance_of_gaussian_data(sampler, steps):
    model = gaussian_model(sampler_steps=steps, sampler=sampler)
    x = model.sample(5000, np.random.default_rng(0))
    assert x.shape == (5000, D, 1) and x.dtype == np.float32
    assert_distribution(x, model.network.mean, model.network.cov)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [2, 25])
def test_levels_are_even_from_the_start_and_as_many_as_fall_to_the_way(steps, sampler):
    model = gaussian_model(sampler_steps=steps, sampler=sampler)
    model.sample(10, np.random.default_rng(0))
    np.testing.assert_allclose(model.network.levels, np.linspace(100, 0, steps), atol=1e-4)
    model.network.levels.clear()
    model.perturb(noise(10).numpy(), 0.5, np.random.default_rng(0))
    start = 100 * math.log(math.tan(math.atan(80) / 2) / 0.005) / math.log(16_000)
    count = max(2, round(steps * start / 100))
    np.testing.assert_allclose(model.network.levels, np.linspace(start, 0, count), atol=1e-4)


# values held at some steps


def smooth():
    lags = torch.arange(D)[:, None] - torch.arange(D)
    return torch.exp(-(lags**2) / 8.0).double()  # smooth trajectories of unit variance


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_other_steps_follow_a_held_one_in_part(sampler):
    """Each level replaces values and knows nothing of it earlier, so less than the conditional mean comes."""
    model = gaussian_model(sampler_steps=50, sampler=sampler)
    model.network.cov = smooth()
    mean, cov = model.network.mean.numpy(), model.network.cov.numpy()
    value = mean[0] + np.random.default_rng(0).normal(size=(4000, 1))
    x = model.sample(4000, np.random.default_rng(1), {0: value})[..., 0]
    slopes = np.array([np.polyfit(value[:, 0], x[:, j], 1)[0] for j in range(D)])
    assert slopes[0] == pytest.approx(1, abs=1e-5)
    assert (np.diff(slopes) < 0).all() and (slopes[1:] < cov[0, 1:]).all()
    assert slopes[1] > 0.45 * cov[0, 1]
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=0.07)


def test_other_steps_follow_given_ones_in_full():
    """A network that sees these without noise knows of them from the first level on."""
    mean, cov, n = torch.zeros(D).double(), smooth(), 4000
    model = exact_model(Gaussian(mean, cov, (0, -1)), "planner")
    ends = np.random.default_rng(0).normal(size=(n, 2))
    x = model.sample(n, np.random.default_rng(1), {0: ends[:, :1], -1: ends[:, 1:]})[..., 0]
    np.testing.assert_allclose(x[:, [0, -1]], ends, atol=1e-6)
    slopes = torch.linalg.solve(cov[[0, -1]][:, [0, -1]], cov[[0, -1], 1:3])
    rest = cov[1:3, 1:3] - cov[1:3, [0, -1]] @ slopes
    assert_distribution(x[:, 1:3] - ends @ slopes.numpy(), torch.zeros(2), rest)


# the loss


@pytest.mark.parametrize("level", [-3.0, 0.0, 2.0])
def test_error_of_the_exact_network_is_the_posterior_variance(level):
    model, n = gaussian_model(), 20_000
    cov, (c, s) = model.network.cov, cosine_sine(level)
    posterior = cov - c**2 * cov @ torch.linalg.inv(model.network.noisy(c, s)) @ cov
    error = float(model.loss(model.network.draw(n, 3), None, torch.full((n,), level), noise(n, 4)))
    assert error == pytest.approx(float(posterior.trace()) / D / s**2, rel=0.04)


@pytest.mark.parametrize("name", ["unet", "planner"])
def test_loss_is_that_of_the_velocity_at_levels_of_their_own(name):
    seen, rng = [], np.random.default_rng(0)

    def network(y, level, condition):
        seen.append((y, level, condition))
        return torch.ones_like(y)

    model = build(name)
    model.network, told = network, torch.ones(5, 1)
    x, fresh, angle = rng.normal(size=(5, 8, 2)), rng.normal(size=(5, 8, 2)), np.arange(0.1, 1.5, 0.3)
    level = torch.tensor(-np.log(np.tan(angle)))
    found = float(model.loss(torch.tensor(x), told, level, torch.tensor(fresh)))
    free = slice(1, -1) if name == "planner" else slice(None)
    c, s = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    assert found == pytest.approx(np.mean((1 - (c * fresh - s * x)[:, free]) ** 2))
    ((noisy, shown, condition),) = seen
    x[:, free] = (c * x + s * fresh)[:, free]  # other steps are given as they are
    np.testing.assert_allclose(noisy, x)
    np.testing.assert_allclose([at(one) for one in shown], np.column_stack([np.cos(angle), np.sin(angle)]))
    assert condition is told


def test_levels_of_a_batch_are_even_in_angle_and_its_noise_is_standard():
    model, draw = build("unet"), torch.Generator().manual_seed(0)
    model.shape = (D, 2)
    low, high = math.atan(0.005), math.atan(80)
    batches = [model.training_noise(100, draw) for _ in range(50)]
    for level, fresh in batches:
        share = (np.arctan(np.exp(-level.numpy())) - low) / (high - low)
        np.testing.assert_array_equal(np.floor(100 * share), np.arange(100))  # one in each hundredth
        assert fresh.shape == (100, D, 2)
    assert kstest(np.concatenate([fresh.flatten() for _, fresh in batches]), "norm").pvalue > 1e-3
    few = np.concatenate([model.training_noise(7, draw)[0] for _ in range(1000)])
    assert kstest((np.arctan(np.exp(-few)) - low) / (high - low), "uniform").pvalue > 1e-3


# round trips


@pytest.mark.parametrize("level", [-1.0, 2.0])
def test_denoising_from_a_lower_level_agrees_with_the_exact_flow(level):
    model, (c, s) = gaussian_model(sampler_steps=100), cosine_sine(level)
    y = c * noise(200, 5) + s * noise(200, 6)
    torch.testing.assert_close(denoise(model, y, level), model.network.flow(y, level), rtol=0, atol=0.005)


@pytest.mark.parametrize(("sampler", "steps"), [("ancestral", 400), ("multistep", 25)])
@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_round_trip_of_the_exact_network_keeps_the_distribution_of_the_data(strength, sampler, steps):
    model = gaussian_model(sampler_steps=steps, sampler=sampler)
    x = model.network.draw(4000, 7).numpy()
    found = model.perturb(x, strength, np.random.default_rng(0))
    assert_distribution(found, model.network.mean, model.network.cov)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_round_trip_forgets_its_start_the_more_the_stronger_it_is(sampler):
    model = gaussian_model(sampler_steps=50, sampler=sampler)
    x = model.network.draw(5000, 8).numpy()
    kept = [
        np.corrcoef(x[:, 3, 0], model.perturb(x, strength, np.random.default_rng(0))[:, 3, 0])[0, 1]
        for strength in (0.05, 0.5, 1.0)
    ]
    assert kept[0] > 0.95 and kept[0] > kept[1] > kept[2] + 0.1 and abs(kept[2]) < 0.1
    away = model.perturb(x, 1e-4, np.random.default_rng(0)) - x  # the least noise is 0.005
    assert 0.001 < away.std() < 0.006
