"""The U-Net against the same network in `diffusers`: one step, training as a whole, and sampling.

And against the one-dimensional U-Net of denoising-diffusion-pytorch, where that is installed.
"""

import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.metadata import version
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet1DModel
from diffusers.training_utils import EMAModel
from torch.optim.lr_scheduler import OneCycleLR

from benchmarks.timing import Row, compare, interleaved
from physmis.models.base import CHUNK
from physmis.models.diffusion import SCALE
from physmis.models.training import AVERAGE
from physmis.models.unet import UNet, UNetDiffusion
from physmis.paper.profiles import resolve

STEPS, CHANNELS, SAMPLES = 32, 1, 1024
WIDTH, BATCH, SAMPLER_STEPS = (
    resolve("standard").models["unet"][k] for k in ("width", "batch", "sampler_steps")
)
REPEATS, TRAINING_STEPS = 11, 10  # TRAINING_STEPS in each repeat, ...
WHOLE = 100  # ... and as many of a whole training
SECOND = "denoising_diffusion_pytorch"
SECOND_WIDTH = 8  # of its U-Net: the multiple of 4 at which its weights are closest in number to ours


def run() -> tuple[list[Row], list[str]]:
    """Rows of the table, and notes on what was compared."""
    ours, peer = UNet(CHANNELS, WIDTH), peer_network(WIDTH)
    size = weights(ours)
    assert weights(peer) == size, f"the networks differ: {size} weights, and {weights(peer)} of the peer"
    level = torch.randint(int(SCALE), (BATCH,))
    calls = (
        training(ours, torch.randn(BATCH, STEPS, CHANNELS), level.float()),
        training(peer, torch.randn(BATCH, CHANNELS, STEPS), level, return_dict=False),
    )
    rows = [compare(f"U-Net: network and Adam, batch {BATCH}", "steps", TRAINING_STEPS, *calls, REPEATS)]
    for shape in ((16, 1), (STEPS, CHANNELS)):  # trajectories of notebook 01, and as above
        calls, label = whole_trainings(*shape), f"U-Net: training, {shape[0]} time steps, batch {BATCH}"
        rows.append(compare(label, "steps", WHOLE, *calls, REPEATS))

    notes = [f"Weights: {size:,} in both networks."]
    if (second := second_network()) is not None:
        inputs = torch.randn(BATCH, CHANNELS, STEPS)
        calls = training(ours, inputs.transpose(1, 2), level.float()), training(second, inputs, level)
        title = f"{SECOND.replace('_', '-')} {version(SECOND)}"
        name = f"U-Net: training step, beside {title}"
        rows.append(compare(name, "steps", TRAINING_STEPS, *calls, REPEATS))
        notes.append(f"{title}: a U-Net of other layers, {weights(second):,} weights.")

    # Weights change nothing in the work, so one step of training will do.
    model = UNetDiffusion(width=WIDTH, steps=1, sampler_steps=SAMPLER_STEPS)
    model.fit(np.random.default_rng(0).normal(size=(BATCH, STEPS, CHANNELS)), np.random.default_rng(0))
    peers = {
        chunk: sampling(peer, SAMPLES, chunk, (CHANNELS, STEPS), SAMPLER_STEPS) for chunk in (CHUNK, SAMPLES)
    }
    seconds = {chunk: min(s) for chunk, s in interleaved(peers, repeats=4).items()}
    chunk = min(seconds, key=seconds.get)
    rows.append(
        compare(
            f"U-Net: {SAMPLES:,} samples, {SAMPLER_STEPS} multistep steps",
            "trajectories",
            SAMPLES,
            lambda: model.sample(SAMPLES, np.random.default_rng(0)),
            peers[chunk],
            REPEATS,
        )
    )
    tried = ", ".join(f"{1000 * s:.0f} ms with {n:,} at once" for n, s in seconds.items())
    return rows, [
        *notes,
        f"Sampling by the peer: {tried}; the faster is shown.",
    ]


def peer_network(width: int, channels: int = CHANNELS) -> UNet1DModel:
    """The network of diffusers' reinforcement-learning pipeline, at three resolutions and with SiLU."""
    return UNet1DModel(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(width, 2 * width, 4 * width),
        layers_per_block=0,  # residual blocks beyond the first one
        down_block_types=("DownResnetBlock1D",) * 3,
        mid_block_type="MidResTemporalBlock1D",
        up_block_types=("UpResnetBlock1D",) * 2,
        out_block_type="OutConv1DBlock",
        time_embedding_type="positional",
        use_timestep_embedding=True,
        act_fn="silu",
    )


def second_network() -> torch.nn.Module | None:
    """The one-dimensional U-Net of denoising-diffusion-pytorch, at three resolutions, if there is one."""
    spec = PathFinder.find_spec(SECOND)
    if spec is None:
        return None
    # Without what the package imports beside this network: torchvision, which not every build of torch loads.
    package = sys.modules[SECOND] = ModuleType(SECOND)
    package.__path__ = list(spec.submodule_search_locations)
    from denoising_diffusion_pytorch.denoising_diffusion_pytorch_1d import Unet1D

    return Unet1D(SECOND_WIDTH, dim_mults=(1, 2, 4), channels=CHANNELS)


def weights(network: torch.nn.Module) -> int:
    """Number of trainable weights."""
    return sum(p.numel() for p in network.parameters())


def training(network: torch.nn.Module, x: torch.Tensor, level: torch.Tensor, **options) -> Callable:
    """A call that does `TRAINING_STEPS` training steps; loss and optimiser are the same for both networks."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    target = torch.randn_like(x)

    def call():
        for _ in range(TRAINING_STEPS):
            out = network(x, level, **options)
            loss = F.mse_loss(out[0] if options else out, target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return call


def whole_trainings(steps: int, channels: int) -> tuple[Callable, Callable]:
    """`UNetDiffusion.fit`, and the same with diffusers: noise, loss, optimiser, schedule and average."""
    x = np.random.default_rng(0).normal(size=(2000, steps, channels))
    data = torch.as_tensor(x, dtype=torch.float32).transpose(1, 2).contiguous()
    noises, rate = DDPMScheduler(prediction_type="v_prediction"), UNetDiffusion.rate

    def ours():
        model = UNetDiffusion(width=WIDTH, steps=WHOLE, batch=BATCH)
        model.fit(x, np.random.default_rng(0))

    def peer():
        network = peer_network(WIDTH, channels)
        optimiser = torch.optim.Adam(network.parameters(), lr=rate, fused=True)
        schedule = OneCycleLR(optimiser, rate, total_steps=WHOLE + 1)
        average = EMAModel(network.parameters(), decay=AVERAGE)
        for _ in range(WHOLE):
            clean = data[torch.randint(len(data), (BATCH,))]
            noise, level = torch.randn_like(clean), torch.randint(len(noises), (BATCH,))
            out = network(noises.add_noise(clean, noise, level), level, return_dict=False)[0]
            loss = F.mse_loss(out, noises.get_velocity(clean, noise, level))
            loss.item()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            average.step(network.parameters())

    return ours, peer


def sampling(
    network: UNet1DModel,
    n: int,
    chunk: int,
    shape: tuple[int, int],
    sampler_steps: int,
    held: dict[int, torch.Tensor] | None = None,
) -> Callable:
    """A call that draws ``n`` trajectories (channels, steps), ``chunk`` at once, with the same solver of
    diffusers; values ``held`` (n, channels) are put in at each step."""
    scheduler = DPMSolverMultistepScheduler(prediction_type="v_prediction", use_lu_lambdas=True)

    @torch.inference_mode()
    def call():
        parts = []
        for i in range(0, n, chunk):
            y = torch.randn(chunk, *shape)
            scheduler.set_timesteps(sampler_steps)  # it keeps the last estimate
            for t in scheduler.timesteps:
                for step, value in (held or {}).items():
                    y[..., step] = value[i : i + chunk]
                y = scheduler.step(network(y, t, return_dict=False)[0], t, y, return_dict=False)[0]
            parts.append(y)
        return torch.cat(parts)

    return call
