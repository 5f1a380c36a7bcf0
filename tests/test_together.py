"""Models that are trained together give what each gives alone; so do samples that pass a network together."""

import _thread
import dataclasses
import json
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from physmis import experiment, fitting, models
from physmis.deviations import Deviation
from physmis.experiment import Experiment, run_all
from physmis.fitting import train_together
from physmis.mitigations import Conditioned, Reweighted
from physmis.models import GenerativeModel, build
from physmis.models import training as loop
from physmis.models.training import Diverged, full_precision, train
from physmis.store import Store
from physmis.tasks import load

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:posterior collapse"),
]

STEPS, CHANNELS, SIZES = 16, 2, (300, 350, 400)
UNET = {"width": 8, "batch": 32, "steps": 30, "sampler_steps": 8}
SMALL = {"width": 16, "batch": 32, "steps": 30}
# Name of the model, its hyperparameters, whether it is told a number, whether data are weighted.
CASES = {
    "unet": ("unet", UNET, False, False),
    "unet, weighted": ("unet", {**UNET, "prediction": "clean"}, False, True),
    "guided": ("guided", UNET, True, False),
    "planner": ("planner", {**UNET, "sampler": "ancestral"}, False, False),
    "continuation": ("continuation", UNET, True, True),
    "transformer": ("transformer", {**SMALL, "layers": 2, "heads": 2, "components": 3}, False, True),
    "transformer, told": ("transformer", {**SMALL, "layers": 1, "heads": 2, "resample": "each"}, True, False),
    "vae": ("vae", {**SMALL, "depth": 1, "codes": 3}, True, False),
    "mlp": ("mlp", {**SMALL, "depth": 1, "sampler": "ancestral"}, False, False),
}
every_case = pytest.mark.parametrize("case", CASES)


def walks(n, seed):
    return np.cumsum(np.random.default_rng(seed).normal(size=(n, STEPS, CHANNELS)), axis=1)


def given(case):
    """The arguments of `fit` for three models, each with data of its own."""
    _, _, told, weighted = CASES[case]
    found = []
    for seed, n in enumerate(SIZES):
        x = walks(n, seed)
        found.append({"x": x, "rng": np.random.default_rng(seed)})
        if told:
            found[-1]["condition"] = x[:, -1, 0]
        if weighted and seed != 1:
            found[-1]["weights"] = np.random.default_rng(seed).random(n)
    return found


def three(case):
    name, sizes, _, _ = CASES[case]
    return [build(name, **sizes) for _ in SIZES]


def samples(model, n=60):
    x = walks(n, 7)
    asked = None if model.told is None else np.linspace(-1, 1, n)
    return model.sample(n, np.random.default_rng(5), {step: x[:, step] for step in model.given}, asked)


@every_case
def test_models_trained_together_are_those_trained_alone(case):
    alone = [model.fit(**each) for model, each in zip(three(case), given(case), strict=True)]
    together, told = three(case), []
    train(together, given(case), lambda *progress: told.append(progress))
    assert told == [(done, 30) for done in range(31)]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.losses, one.losses, rtol=1e-5, atol=1e-5)
        # Biases ahead of a group norm have no effect and may differ: so what the weights make is compared.
        np.testing.assert_allclose(samples(other), samples(one), atol=1e-3 * float(one.scale.max()))
        for part in ("mean", "scale", "limit"):
            assert torch.equal(one.state()[part], other.state()[part])
        assert not other.network.training and one.state().keys() == other.state().keys()
        again = build(**other.config()).from_state(other.state())
        np.testing.assert_array_equal(samples(again, 20), samples(other, 20))
    assert not np.allclose(together[0].losses, together[1].losses, atol=1e-3)


def test_models_that_differ_are_refused_and_left_as_they_were():
    short = build("mlp", **{**SMALL, "steps": 2, "depth": 1})
    x, rng = walks(40, 0), np.random.default_rng(0)
    cases = {
        "number 1 differs in width": (dataclasses.replace(short, width=8), {}),
        "number 1 differs in name, ": (build("unet", **UNET), {}),
        "number 1 differs in shape$": (short, {"x": x[:, :8]}),
        "number 1 differs in told": (short, {"condition": np.arange(40)}),
        "finite trajectories": (short, {"x": np.full_like(x, np.nan)}),
    }
    for said, (other, changed) in cases.items():
        both = [dataclasses.replace(short), dataclasses.replace(other)]
        with pytest.raises(ValueError, match=said):
            train(both, [{"x": x, "rng": rng}, {"x": x, "rng": rng, **changed}])
        assert [model.network for model in both] == [None, None]


@pytest.mark.parametrize("before", [True, False])
def test_interrupted_training_leaves_all_models_as_they_were(before):
    both = [build("mlp", **{**SMALL, "depth": 1}) for _ in range(2)]
    rows = [{"x": walks(40, seed), "rng": np.random.default_rng(seed)} for seed in range(2)]
    if before:
        train(both, rows)
    kept = [vars(model).copy() for model in both]

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(both, rows, stop)
    assert [vars(model) for model in both] == kept


@dataclass
class Steep(GenerativeModel):
    """A model whose loss overflows where a trajectory lies far from all others."""

    name: ClassVar[str] = "steep"
    cost: ClassVar[float] = 0.0

    def make_network(self, steps, channels, conditional):
        return nn.Linear(1, 1)

    def draws(self, n, draw):
        return ()

    def loss(self, x, condition):
        return self.network.weight.square().sum() + (10 * x.abs().amax()).exp()

    def noise(self, n, draw, strength=None):
        raise NotImplementedError

    generate = round_trip = noise


@pytest.mark.parametrize("look", [1, 8])
def test_the_model_that_diverges_is_named_with_its_step(look, monkeypatch):
    monkeypatch.setitem(loop.LOOK, "cpu", look)
    rows = [{"x": walks(100, seed), "rng": np.random.default_rng(seed)} for seed in range(3)]
    rows[2]["x"][17] = 1e4
    for places in ((0, 1, 2), (2, 0, 1)):
        three = [Steep(batch=5, steps=300) for _ in places]
        with pytest.raises(Diverged, match=r"step \d+ of 300: the loss is inf.* rate below") as error:
            train(three, [{**rows[i], "rng": np.random.default_rng(i)} for i in places])
        assert places[error.value.model] == 2
        step = int(str(error.value).split("step ")[1].split()[0])
        # The same step as where every loss is looked at.
        draw = models.generator(_skipped(np.random.default_rng(2)))
        met = [bool((torch.randint(100, (5,), generator=draw) == 17).any()) for _ in range(step)]
        assert met == [False] * (step - 1) + [True]


def _skipped(rng):
    rng.integers(2**63)  # the seed of the network
    return rng


def test_losses_are_the_same_however_seldom_they_are_looked_at(monkeypatch):
    found = []
    for look in (1, 7, 100):
        monkeypatch.setitem(loop.LOOK, "cpu", look)
        found.append(build("mlp", **{**SMALL, "depth": 1}).fit(walks(50, 0), np.random.default_rng(0)))
    for other in found[1:]:
        np.testing.assert_array_equal(other.losses, found[0].losses)
    assert found[0].losses.shape == (30,)


# samples


@every_case
def test_samples_do_not_depend_on_how_many_pass_at_once(case, monkeypatch):
    name, sizes, _, _ = CASES[case]
    model, n = build(name, **{**sizes, "steps": 3}), 2 * models.CHUNK + 40
    model.fit(**given(case)[0])
    x, asked = walks(n, 8), None if model.told is None else np.linspace(-1, 1, n)

    def both():
        tripped = [model.perturb(x, s, np.random.default_rng(6), asked) for s in (0.1, 0.8)]
        return [samples(model, n), *tripped]

    expected = both()
    monkeypatch.setitem(models.AT_ONCE, "cpu", 64 * models.CHUNK)
    for found, usual in zip(both(), expected, strict=True):
        np.testing.assert_allclose(found, usual, atol=1e-4 * float(model.scale.max()))


def test_full_precision_is_for_its_block_alone():
    before = torch.backends.cudnn.conv.fp32_precision
    with full_precision():
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert torch.backends.cudnn.conv.fp32_precision == before
    with pytest.raises(ZeroDivisionError), full_precision():
        _ = 1 / 0
    assert torch.backends.cudnn.conv.fp32_precision == before


# experiments

BASE = Experiment(load("cone", steps=8), build("mlp", **SMALL, depth=1), data=200, samples=40, seed=0)
SEEDS = [dataclasses.replace(BASE, seed=seed) for seed in range(3)]
WEIGHTS = tuple(np.linspace(1, 2, len(BASE.task.quantity.bins()) - 1))
LIKE = [
    dataclasses.replace(BASE, task=load("logistic", steps=8)),
    dataclasses.replace(BASE, treatment=Reweighted(WEIGHTS)),
]
UNLIKE = [
    dataclasses.replace(BASE, treatment=Conditioned()),
    dataclasses.replace(BASE, task=load("cone", steps=12)),
    dataclasses.replace(BASE, model=dataclasses.replace(BASE.model, width=8)),
]


def begun():
    """Labels of the trainings that were begun."""
    told = [json.loads(line) for line in Path(os.environ["PHYSMIS_PROGRESS"]).read_text().splitlines()]
    return [event["label"] for event in told if event["done"] == 0]


def losses(store, work):
    return [store.fetch(e.training_config).arrays["losses"] for e in work]


def test_experiments_that_are_alike_are_trained_together(store):
    work = [SEEDS[0], UNLIKE[0], LIKE[0], SEEDS[1], UNLIKE[1], LIKE[1], UNLIKE[2], SEEDS[2], SEEDS[0]]
    train_together(work, store, "cpu")
    assert len(begun()) == 4 and sum("and 4 more" in label for label in begun()) == 1
    apart = Store(store.root / "apart")
    for one in work:
        fitting.trained(one, apart, "cpu")
    for found, expected in zip(losses(store, work), losses(apart, work), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    seconds = [store.fetch(one.training_config).meta["seconds"] for one in work]
    assert min(seconds) > 0


def test_no_more_are_trained_together_than_a_card_holds(store, monkeypatch):
    monkeypatch.setattr(fitting, "TOGETHER", 2)
    train_together([*SEEDS, *LIKE], store, "cpu")
    assert [label.count("and 1 more") for label in begun()] == [1, 1, 0]
    assert all(len(each) == 30 for each in losses(store, [*SEEDS, *LIKE]))


def test_what_the_store_holds_is_not_trained_again(store):
    train_together(SEEDS[:2], store, "cpu")
    before = losses(store, SEEDS[:2])
    train_together(SEEDS, store, "cpu")
    assert len(begun()) == 2 and "seed 2" in begun()[1] and "more" not in begun()[1]
    np.testing.assert_array_equal(before, losses(store, SEEDS[:2]))


def test_the_seed_that_diverges_is_named_and_nothing_is_stored(store):
    work = [dataclasses.replace(e, model=dataclasses.replace(e.model, rate=1e30)) for e in SEEDS]
    with pytest.raises(
        FloatingPointError, match=r"mlp.* on cone.*, seed \d: training diverged at step \d+ of 30"
    ):
        train_together(work, store, "cpu")
    assert not (store.root / "model").exists()


def test_interrupted_training_leaves_the_store_as_it_was(store):
    train_together(SEEDS[:1], store, "cpu")
    before = sorted(store.root.rglob("*"))
    long = [dataclasses.replace(e, model=dataclasses.replace(e.model, steps=10**6)) for e in SEEDS]
    progress = Path(os.environ["PHYSMIS_PROGRESS"])

    def interrupt():
        while "1000000" not in progress.read_text():
            time.sleep(0.01)
        time.sleep(0.1)
        _thread.interrupt_main()

    threading.Thread(target=interrupt).start()
    before_this = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process behind may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            train_together(long, store, "cpu")
    finally:
        signal.signal(signal.SIGINT, before_this)
    assert sorted(store.root.rglob("*")) == before


def test_what_asks_a_network_is_done_in_this_process_and_found_by_all(store):
    trips = [Deviation(e, "round_trip", {"strength": 0.5}, e) for e in SEEDS]
    experiment._ask_networks([*SEEDS, *trips], store, "cpu")
    assert len(begun()) == 1
    results, computed = run_all([*SEEDS, *trips])
    assert not computed and [r.experiment.seed for r in results[:3]] == [0, 1, 2]
    assert len({r.z.tobytes() for r in results[:3]}) == len({r.landed.tobytes() for r in results[3:]}) == 3
