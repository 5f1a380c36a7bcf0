"""Models of whole trajectories: diffusion (U-Net or MLP, conditional or not), a Transformer, and a VAE."""

import dataclasses
from typing import Any

from physmis.models.base import GenerativeModel
from physmis.models.conditional import Continuation, Guided, Planner
from physmis.models.mlp import MLPDiffusion
from physmis.models.transformer import Transformer
from physmis.models.unet import UNetDiffusion
from physmis.models.vae import VAE

__all__ = ["GenerativeModel", "build"]

MODELS = {
    model.name: model
    for model in (UNetDiffusion, Guided, Planner, Continuation, Transformer, VAE, MLPDiffusion)
}


def build(name: str, **parameters: Any) -> GenerativeModel:
    """The untrained model called ``name``: "unet", "guided", "planner", "continuation", "transformer", "vae"
    or "mlp"; ``parameters`` override the defaults of its class (see there, and `GenerativeModel`).

    Raises ValueError for an unknown name or parameter, or a value that the model does not accept.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; expected one of {', '.join(sorted(MODELS))}")
    known = [field.name for field in dataclasses.fields(MODELS[name])]
    for parameter in parameters:
        if parameter not in known:
            raise ValueError(
                f"model {name!r} has no parameter {parameter!r}; expected some of {', '.join(known)}"
            )
    return MODELS[name](**parameters)
