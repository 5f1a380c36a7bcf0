"""Models of whole trajectories: diffusion (U-Net or MLP, conditional or not), a Transformer, and a VAE."""

from typing import Any

from physmis.models.base import GenerativeModel
from physmis.models.mlp import Continuation, MLPDiffusion
from physmis.models.transformer import Transformer
from physmis.models.unet import Planner, UNetDiffusion
from physmis.models.vae import VAE

__all__ = ["GenerativeModel", "build"]

MODELS = {one.name: one for one in (UNetDiffusion, Planner, Continuation, Transformer, VAE, MLPDiffusion)}


def build(name: str, **parameters: Any) -> GenerativeModel:
    """The untrained model called ``name``: "unet", "planner", "continuation", "transformer", "vae" or
    "mlp"; ``parameters`` override the defaults of its class (see there, and `GenerativeModel`)."""
    if name not in MODELS:
        raise ValueError(f"expected a model in {', '.join(sorted(MODELS))}; got {name!r}")
    return MODELS[name](**parameters)
