"""From experiments to their trained models, through the store: one by one, or together on a card."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from physmis.experiments.display import reporter
from physmis.experiments.store import Entry, Store, key
from physmis.models import GenerativeModel, build
from physmis.models.training import Diverged, train

if TYPE_CHECKING:
    from physmis.experiments.experiment import Experiment

TOGETHER = 32  # models at once: of those of the `full` profile a few GiB


class Prepared(NamedTuple):
    """An experiment, the arguments of `GenerativeModel.fit` for it, and how long it took to make them."""

    experiment: Experiment
    given: dict[str, Any]
    seconds: float


def trained(experiment: Experiment, store: Store, device: str) -> GenerativeModel:
    """The experiment's model, trained now if the store does not hold it."""
    model = build(**experiment.model.config()).to(device)
    return model.from_state(training(experiment, store, device).weights)


def training(experiment: Experiment, store: Store, device: str) -> Entry:
    """The weights and losses of the experiment's model, trained now if the store does not hold it."""
    entry = store.fetch(experiment.training_config)
    return _train([_prepared(experiment, store)], store, device)[0] if entry is None else entry


def train_together(experiments: Iterable[Experiment], store: Store, device: str) -> None:
    """Train the models that the store lacks, up to `TOGETHER` at once where they are alike.

    They are alike if they have equal hyperparameters, steps and channels, and all or none are told a
    quantity: seeds of one experiment, and often several tasks. An interrupted training leaves nothing in the
    store.
    """
    alike: dict[tuple, list[Prepared]] = {}
    lacking = {key(e.training_config): e for e in experiments if store.fetch(e.training_config) is None}
    for experiment in lacking.values():
        one = _prepared(experiment, store)
        model = key(experiment.training_config["model"])
        group = alike.setdefault((model, one.given["x"].shape[1:], "condition" in one.given), [])
        group.append(one)
        if len(group) == TOGETHER:
            _train(group, store, device)
            group.clear()
    for group in filter(None, alike.values()):
        _train(group, store, device)


def _prepared(experiment: Experiment, store: Store) -> Prepared:
    begun = time.perf_counter()
    given = experiment.fitting(store)
    return Prepared(experiment, given, time.perf_counter() - begun)


def _train(group: list[Prepared], store: Store, device: str) -> list[Entry]:
    """Train models in one loop, and store each with an equal share of the time."""
    torch.set_num_threads(1)  # more would change the order of sums, and so the last digits
    models = [build(**one.experiment.model.config()).to(device) for one in group]
    others = f" and {len(group) - 1} more" if len(group) > 1 else ""
    begun = time.perf_counter()
    try:
        train(models, [one.given for one in group], reporter(f"train {group[0].experiment}{others}"))
    except Diverged as error:
        raise FloatingPointError(f"{group[error.model].experiment}: {error}") from error
    share = (time.perf_counter() - begun) / len(group)
    return [
        store.put(
            one.experiment.training_config,
            arrays={"losses": model.losses},
            weights=model.state(),
            seconds=one.seconds + share,
            device=device,
        )
        for model, one in zip(models, group, strict=True)
    ]
