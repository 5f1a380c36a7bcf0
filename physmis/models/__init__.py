"""What is trained, and how."""

import dataclasses
from typing import Any

from physmis.models.base import AT_ONCE, BEYOND, CHUNK, GenerativeModel, Held, embed_condition, generator

__all__ = ["AT_ONCE", "BEYOND", "CHUNK", "GenerativeModel", "Held", "embed_condition", "generator"]


def build(name: str, **parameters: Any) -> GenerativeModel:
    """The model called ``name``; ``parameters`` override its defaults.

    ``name`` is "unet" (`physmis.models.unet.UNetDiffusion`), "guided" (`physmis.models.guided.Guided`),
    "planner" or "continuation" (`physmis.models.planner`), "mlp" (`physmis.models.mlp.MLPDiffusion`),
    "transformer" (`physmis.models.transformer.Transformer`) or "vae" (`physmis.models.vae.VAE`). Parameters
    are described there, and in `GenerativeModel` and `physmis.models.diffusion.Diffusion` those in common.

    Raises
    ------
    ValueError : unknown model or hyperparameter, or a value that it does not accept.
    """
    from physmis.models.guided import Guided
    from physmis.models.mlp import MLPDiffusion
    from physmis.models.planner import Continuation, Planner
    from physmis.models.transformer import Transformer
    from physmis.models.unet import UNetDiffusion
    from physmis.models.vae import VAE

    registry = {
        model.name: model
        for model in (UNetDiffusion, Guided, Planner, Continuation, Transformer, VAE, MLPDiffusion)
    }
    if name not in registry:
        raise ValueError(f"unknown model {name!r}; accepted: {', '.join(sorted(registry))}")
    known = [f.name for f in dataclasses.fields(registry[name])]
    for parameter in parameters:
        if parameter not in known:
            raise ValueError(f"model {name!r} has no parameter {parameter!r}; accepted: {', '.join(known)}")
    return registry[name](**parameters)
