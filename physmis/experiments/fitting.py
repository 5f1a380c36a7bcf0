"""From experiments to their trained models, through the store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from physmis.experiments.display import reporter
from physmis.experiments.store import Entry, Store
from physmis.models import GenerativeModel, build

if TYPE_CHECKING:
    from physmis.experiments.experiment import Experiment


def trained(experiment: Experiment, store: Store, device: str) -> GenerativeModel:
    """The experiment's model, trained now if the store does not hold it."""
    weights = training(experiment, store, device).weights
    model = build(**experiment.model.config()).to(device)
    return model.from_state({name: tensor.numpy() for name, tensor in weights.items()})


def training(experiment: Experiment, store: Store, device: str) -> Entry:
    """The weights and losses of the experiment's model, trained now if the store does not hold it."""
    entry = store.fetch(experiment.training_config)
    if entry is not None:
        return entry
    torch.set_num_threads(1)  # more would change the order of sums, and so the last digits
    begun = time.perf_counter()
    given = experiment.fitting(store)
    model = build(**experiment.model.config()).to(device)
    try:
        model.fit(**given, progress=reporter(f"train {experiment}"))
    except FloatingPointError as error:
        raise FloatingPointError(f"{experiment}: {error}") from error
    return store.put(
        experiment.training_config,
        arrays={"losses": model.losses},
        weights={name: torch.from_numpy(array) for name, array in model.state().items()},
        seconds=time.perf_counter() - begun,
        device=device,
    )
