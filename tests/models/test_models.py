"""What all models have in common, and the Transformer and the VAE against formulas written down here."""

import copy
import dataclasses
import json
import math
import pickle
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import chisquare, kstest, multivariate_normal, norm
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from physmis.models import GenerativeModel, build, generator
from physmis.models.training import Diverged, optimise, train
from physmis.models.transformer import Mixture
from physmis.models.vae import ACTIVE

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:posterior collapse"),  # a few steps of training teach little
]

NAMES = ("unet", "transformer", "vae", "mlp")
WEIGHT = 0.25  # share of the rarer of the two modes
MODE = np.sin(2 * np.pi * np.arange(8) / 8)
TOLD = {1: 13.0, -1: 10.0}  # the condition that names each mode
TINY = {
    "unet": {"width": 8},
    "transformer": {"width": 8, "layers": 2, "heads": 2, "components": 3},
    "vae": {"width": 16, "depth": 1, "codes": 3},
    "mlp": {"width": 16, "depth": 1},
}
LARGE = {  # the least that learns two modes
    "unet": {"width": 16, "batch": 64, "steps": 300, "rate": 5e-3},
    "transformer": {
        **{"width": 16, "layers": 2, "heads": 2, "components": 4},
        **{"batch": 64, "steps": 400, "rate": 1e-2},
    },
    "vae": {"width": 64, "depth": 2, "codes": 4, "batch": 128, "steps": 800, "rate": 5e-3},
    "mlp": {"width": 64, "depth": 2, "batch": 128, "steps": 600, "rate": 5e-3},
}
# How far the share of a mode may be from that in the data beside sampling error: learned from few batches.
SLACK = {"unet": 0.06, "transformer": 0.03, "vae": 0.1, "mlp": 0.03}

every_model = pytest.mark.parametrize("name", NAMES)


def trained_alone(name):
    return pytest.mark.parametrize("trained", [name], indirect=True)


def tiny(name, **changes):
    return build(name, **{"batch": 16, "steps": 4, **TINY[name], **changes})


def two_modes(n, rng, weight=WEIGHT):
    sign = np.where(rng.random(n) < weight, 1.0, -1.0)
    return (sign[:, None] * MODE + 0.05 * rng.normal(size=(n, 8)))[..., None].astype(np.float32)


def signs(x):
    """Which mode each trajectory is nearer to."""
    return np.sign(x[..., 0] @ MODE)


def told(x):
    return np.where(signs(x) > 0, TOLD[1], TOLD[-1])


def random_generator(seed=0):
    return torch.Generator().manual_seed(seed)


@dataclass
class Trained:
    model: GenerativeModel
    x: np.ndarray
    progress: list
    warned: list
    samples: np.ndarray


@pytest.fixture(scope="module", params=NAMES)
def trained(request):
    """A model trained on two modes, its data, what its progress callback was told, warnings and samples."""
    rng, progress = np.random.default_rng(0), []
    x = two_modes(2000, rng)
    model = build(request.param, **LARGE[request.param])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        model.fit(x, rng, progress=lambda done, total: progress.append((done, total)))
    return Trained(model, x, progress, warned, model.sample(2000, np.random.default_rng(1)))


@pytest.fixture(scope="module", params=NAMES)
def conditional(request):
    """A model trained on two modes with a condition that names the mode."""
    x = two_modes(1000, np.random.default_rng(0))
    changes = {"steps": LARGE[request.param]["steps"] // 3}
    return build(request.param, **{**LARGE[request.param], **changes}).fit(
        x, np.random.default_rng(0), condition=told(x)
    )


# what is learnt


def allowed(name, share, n):
    """How far the share of a mode among ``n`` samples may be from ``share``."""
    return 4 * np.sqrt(share * (1 - share) / n) + SLACK[name]


def test_modes_come_with_the_weights_of_the_data(trained):
    name, x, share = trained.model.name, trained.samples, np.mean(signs(trained.x) > 0)
    assert np.mean(signs(x) > 0) == pytest.approx(share, abs=allowed(name, share, len(x)))
    away = np.sqrt(np.mean((x[..., 0] - signs(x)[:, None] * MODE) ** 2, axis=1))
    assert np.mean(away < 0.3) > 0.9  # the modes themselves are 1.4 apart
    assert 0.015 < np.median(away) < 0.15  # that of the data is 0.05
    assert len(np.unique(x, axis=0)) == len(x)


def test_training_weights_undo_an_imbalance(trained):
    name, share = trained.model.name, np.mean(signs(trained.x) > 0)
    weights = np.where(signs(trained.x) > 0, 1 / share, 1 / (1 - share))
    model = build(name, **LARGE[name]).fit(trained.x, np.random.default_rng(0), weights=weights)
    found = np.mean(signs(model.sample(1500, np.random.default_rng(1))) > 0)
    assert found == pytest.approx(0.5, abs=allowed(name, 0.5, 1500))
    assert found > (share + 0.5) / 2  # rather balanced than like the data


@every_model
def test_a_mode_of_weight_zero_is_not_made(name):
    x = two_modes(1000, np.random.default_rng(0))
    model = build(name, **{**LARGE[name], "steps": 100})
    model.fit(x, np.random.default_rng(0), weights=signs(x) > 0)  # the rarer one alone
    assert np.mean(signs(model.sample(300, np.random.default_rng(1))) < 0) < 0.02


def test_a_condition_chooses_the_mode(conditional):
    n = 600  # more than one chunk
    wanted = np.where(np.random.default_rng(1).random(n) < 0.5, 1, -1)
    condition = np.where(wanted > 0, TOLD[1], TOLD[-1])
    x = conditional.sample(n, np.random.default_rng(2), condition=condition)
    assert (signs(x) == wanted)[wanted > 0].mean() > 0.9
    assert (signs(x) == wanted)[wanted < 0].mean() > 0.9
    start = two_modes(n, np.random.default_rng(3), 0.5)
    x = conditional.perturb(start, 1.0, np.random.default_rng(4), condition)
    assert (signs(x) == wanted).mean() > 0.9 and abs((signs(x) == signs(start)).mean() - 0.5) < 0.15


def test_state_keeps_the_condition(conditional):
    condition = np.repeat([TOLD[1], TOLD[-1]], 10)
    copied = build(**conditional.config()).from_state(conditional.state())
    found = [m.sample(20, np.random.default_rng(5), condition=condition) for m in (conditional, copied)]
    np.testing.assert_array_equal(*found)
    start = found[0]
    np.testing.assert_array_equal(
        *(m.perturb(start, 0.5, np.random.default_rng(6), condition) for m in (conditional, copied))
    )
    with pytest.raises(ValueError, match="with a condition, and none"):
        copied.sample(20, np.random.default_rng(5))


def test_progress_counts_up_to_all_steps(trained):
    steps = trained.model.steps
    assert trained.progress == [(done, steps) for done in range(steps + 1)]


def test_loss_is_kept_for_each_step_and_falls(trained):
    losses = trained.model.losses
    assert losses.shape == (trained.model.steps,) and np.isfinite(losses).all()
    assert losses[-30:].mean() < losses[:30].mean() - 0.4 * abs(losses[:30].mean())


def test_weak_round_trip_keeps_the_mode(trained):
    x = two_modes(600, np.random.default_rng(2))  # more than one chunk
    found = trained.model.perturb(x, 0.02, np.random.default_rng(3))
    assert found.shape == x.shape and not np.array_equal(found, x)
    assert np.mean(signs(found) == signs(x)) > 0.97


def test_seed_names_the_samples(trained):
    model = trained.model
    one, two, other = (model.sample(600, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (600, 8, 1) and not np.isclose(one, other, atol=1e-6).all(axis=(1, 2)).any()
    assert len(np.unique(one, axis=0)) == 600  # no chunk repeats another
    again = np.random.default_rng(5)
    assert not np.array_equal(model.sample(10, again), model.sample(10, again))
    x = trained.x[:300]
    one, two, other = (model.perturb(x, 0.3, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_state_restores_the_same_samples(trained):
    model = trained.model
    copied = build(**model.config()).from_state(model.state())
    np.testing.assert_array_equal(*(m.sample(64, np.random.default_rng(5)) for m in (model, copied)))
    assert copied.config() == model.config() and copied is not model
    assert copied.limit == pytest.approx(model.limit, rel=1e-6) and copied.size == model.size
    assert getattr(copied, "active", None) == getattr(model, "active", None)
    assert not copied.network.training


# training


@pytest.mark.parametrize("steps", range(1, 25))
def test_any_number_of_steps_trains(steps):
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 1)
    x = torch.randn(64, 3)
    average, losses = optimise(list(network.parameters()), lambda: network(x).square().mean(), steps, 1e-3)
    assert losses.shape == (steps,) and np.isfinite(losses).all()
    assert nn.functional.linear(x, *average).square().mean() <= losses[0]


@dataclass
class Recorder(GenerativeModel):
    """A model that learns a single number and keeps the batches it meets."""

    name: ClassVar[str] = "recorder"
    cost: ClassVar[float] = 0.0

    def make_network(self, steps, channels, conditional):
        self.met = []
        return nn.Linear(1, 1)

    def draws(self, n, draw):
        return ()

    def loss(self, x, condition):
        self.met.append((x * self.scale + self.mean, None if condition is None else condition))
        return self.network.weight.square().sum()

    def noise(self, n, draw, strength=None):
        return (torch.zeros(n),)

    def generate(self, n, noise, held, condition):
        return torch.zeros((n, *self.shape))

    def round_trip(self, x, strength, noise, condition):
        return x


@pytest.mark.parametrize("weights", [None, [1, 1, 1, 1, 1], [0, 3, 1, 0, 4], [1e-3, 2e-3, 0, 0, 0]])
def test_trajectories_are_met_in_proportion_to_their_weights(weights):
    x = np.arange(5.0)[:, None, None] * np.ones((5, 3, 2))
    model = Recorder(batch=100, steps=50)
    model.fit(x, np.random.default_rng(0), weights=None if weights is None else np.array(weights))
    met = torch.stack([x for x, _ in model.met]).numpy()
    assert met.shape == (50, 100, 3, 2) and np.allclose(met, met[..., :1, :1], atol=1e-4)
    counts = np.bincount(np.round(met[..., 0, 0]).astype(int).ravel(), minlength=5)
    share = np.array(weights or [1] * 5) / np.sum(weights or [1] * 5)
    assert (counts[share == 0] == 0).all()
    assert chisquare(counts[share > 0], 5000 * share[share > 0]).pvalue > 1e-4


def test_each_trajectory_is_met_with_its_own_condition():
    x = np.arange(5.0)[:, None, None] * np.ones((5, 3, 2))
    condition = np.array([7.0, -2.0, 0.5, 100.0, 3.0])
    model = Recorder(batch=50, steps=5).fit(x, np.random.default_rng(0), condition=condition)
    standard = (condition - condition.mean()) / condition.std()
    for met, told in model.met:
        rows = np.round(met[:, 0, 0].numpy()).astype(int)
        assert told.shape == (50, 1)
        np.testing.assert_allclose(told[:, 0].numpy(), standard[rows], rtol=1e-4, atol=1e-5)


@every_model
def test_scale_of_the_weights_does_not_matter(name):
    x = two_modes(100, np.random.default_rng(0))
    weights = np.random.default_rng(1).random(100)
    one, four = (tiny(name).fit(x, np.random.default_rng(2), weights=c * weights).state() for c in (1, 4))
    assert all(torch.equal(one[key], four[key]) for key in one)
    equal = tiny(name).fit(x, np.random.default_rng(2), weights=np.full(100, 0.37))
    assert np.isfinite(equal.losses).all()
    assert np.isfinite(equal.sample(5, np.random.default_rng(0))).all()


@every_model
def test_kept_weights_are_the_moving_average_of_those_trained(name):
    model, seen = tiny(name), []
    model.fit(
        two_modes(100, np.random.default_rng(0)),
        np.random.default_rng(0),
        progress=lambda *_: seen.append(copy.deepcopy(dict(model.network.named_parameters()))),
    )
    start, first, *later = seen  # before training, then after each step
    assert len(later) == model.steps - 1
    for key, found in model.network.named_parameters():
        expected = first[key]
        for updates, weights in enumerate((w[key] for w in later), start=1):
            decay = (1 + updates) / (10 + updates)
            expected = decay * expected + (1 - decay) * weights
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert any(not torch.equal(later[-1][k], v) for k, v in model.network.named_parameters())
    assert any(not torch.equal(start[k], v) for k, v in first.items())
    assert not model.network.training


@every_model
def test_training_depends_on_its_generator_alone(name):
    x = two_modes(200, np.random.default_rng(0))
    states = []
    for seed, elsewhere in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(elsewhere)
        before = torch.get_rng_state()
        model = tiny(name).fit(x, np.random.default_rng(seed))
        assert torch.equal(torch.get_rng_state(), before)
        states.append(model.state())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(torch.equal(states[0][key], states[2][key]) for key in states[0])


def test_threads_that_train_at_once_do_not_share_initial_weights():
    x = two_modes(20, np.random.default_rng(0))

    def weights(seed):
        return tiny("mlp", steps=1).fit(x, np.random.default_rng(seed)).state()

    alone = [weights(seed) for seed in range(40)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            together = list(threads.map(weights, range(40)))
    finally:
        sys.setswitchinterval(before)
    for one, other in zip(alone, together, strict=True):
        for name in one:
            assert torch.equal(one[name], other[name])


@every_model
def test_every_weight_is_trained(name):
    model = tiny(name)
    torch.manual_seed(0)
    model.shape, model.network = (8, 2), model.make_network(8, 2, True)
    draws = model.draws(16, random_generator())
    model.loss(torch.randn(16, 8, 2), torch.randn(16, 1), *draws).backward()
    idle = [key for key, p in model.network.named_parameters() if not p.grad.abs().max() > 0]
    assert not idle


@every_model
def test_samples_come_back_in_the_scale_of_the_data(name):
    rng = np.random.default_rng(0)
    x = two_modes(300, rng)
    moved = np.concatenate([x, 50 * x + 1000], axis=2)
    model = tiny(name).fit(moved, rng)
    torch.testing.assert_close(model.mean, torch.tensor(moved.mean(axis=(0, 1))), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.scale, torch.tensor(moved.std(axis=(0, 1))), rtol=1e-2, atol=1e-4)
    largest = np.abs((moved - moved.mean(axis=(0, 1))) / moved.std(axis=(0, 1))).max()
    assert model.limit == pytest.approx(2 * largest, rel=1e-2)
    for found in (model.sample(50, rng), model.perturb(moved[:50], 0.5, rng)):
        assert found.shape == (50, 8, 2) and found.dtype == np.float32
        assert np.abs(found[..., 0]).max() < 20 and np.abs(found[..., 1] - 1000).max() < 1000
        assert found[..., 1].std() > 5 * found[..., 0].std()


@every_model
def test_constant_channel_is_learnt_without_division_by_zero(name):
    rng = np.random.default_rng(0)
    x = np.concatenate([two_modes(100, rng), np.full((100, 8, 1), 3.0)], axis=2)
    found = tiny(name).fit(x, rng).sample(20, rng)
    np.testing.assert_allclose(found[..., 1], 3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *((name, shape) for name in NAMES for shape in ((8, 1), (12, 3), (64, 4))),
        *((name, (7, 2)) for name in NAMES if name != "unet"),  # which takes multiples of 4 only
    ],
)
def test_any_horizon_and_number_of_channels(name, shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, *shape))
    model = tiny(name, steps=2).fit(x, rng)
    assert model.shape == shape
    sampled, perturbed = model.sample(3, rng), model.perturb(x[:4], 0.5, rng)
    assert sampled.shape == (3, *shape) and perturbed.shape == (4, *shape)
    assert np.isfinite(sampled).all() and np.isfinite(perturbed).all()


def test_size_counts_every_learned_number():
    steps, channels, width, components = 7, 2, 8, 3
    rng = np.random.default_rng(0)
    model = tiny("transformer", steps=1).fit(rng.normal(size=(9, steps, channels)), rng)
    norms, attention, perceptron = 4 * width, 4 * (width**2 + width), 8 * width**2 + 5 * width
    enter, leave = (channels + 1) * width, (width + 1) * components * (1 + 2 * channels)
    start, place = width, steps * width
    assert model.size == enter + start + place + 2 * (norms + attention + perceptron) + 2 * width + leave
    assert model.size == sum(v.numel() for k, v in model.state().items() if k.startswith("network."))


# what is refused


@every_model
@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.zeros((5, 8)), r"\(5, 8\)"),
        (np.zeros(8), r"\(8,\)"),
        (np.zeros((0, 8, 1)), r"\(0, 8, 1\)"),
        (np.where(np.arange(5)[:, None, None] == 2, np.nan, np.zeros((5, 8, 1))), r"index \(2,"),
        (np.where(np.arange(5)[:, None, None] == 4, np.inf, np.zeros((5, 8, 1))), r"index \(4,"),
    ],
)
def test_fit_refuses_bad_trajectories(name, x, said):
    model = tiny(name)
    with pytest.raises(ValueError, match=said):
        model.fit(x, np.random.default_rng(0))
    with pytest.raises(RuntimeError, match="not trained"):
        model.sample(1, np.random.default_rng(0))


@every_model
def test_a_refused_or_interrupted_fit_leaves_the_model_as_it_was(name):
    def interrupt(done, total):
        if done:
            raise KeyboardInterrupt

    rng = np.random.default_rng(0)
    x = two_modes(64, rng)
    model = tiny(name).fit(x, rng)
    before = model.sample(5, np.random.default_rng(1))
    with pytest.raises(ValueError, match="weights"):
        model.fit(100 + 50 * x, rng, weights=np.zeros(64), condition=np.arange(64.0))
    with pytest.raises(KeyboardInterrupt):
        model.fit(100 + 50 * x, rng, progress=interrupt)
    np.testing.assert_array_equal(model.sample(5, np.random.default_rng(1)), before)
    fresh = tiny(name)
    with pytest.raises(KeyboardInterrupt):
        fresh.fit(x, rng, progress=interrupt)
    with pytest.raises(RuntimeError, match="not trained"):
        fresh.sample(1, rng)


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0.5), ("steps", True), ("width", 8.5), ("rate", 0.0), ("rate", math.inf), ("rate", math.nan)],
)
def test_hyperparameters_of_the_wrong_kind_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} must be .*{value!r}"):
        build("mlp", **{field: value})


@every_model
def test_a_seed_in_place_of_a_generator_is_refused(name):
    x = two_modes(20, np.random.default_rng(0))
    with pytest.raises(TypeError, match="Generator.*default_rng.*got 0"):
        tiny(name).fit(x, 0)
    model = tiny(name).fit(x, np.random.default_rng(0))
    for use in (lambda: model.sample(1, 7), lambda: model.perturb(x, 0.5, 7)):
        with pytest.raises(TypeError, match="got 7"):
            use()


@every_model
def test_a_state_that_does_not_fit_leaves_the_model_as_it_was(name):
    rng = np.random.default_rng(0)
    x = two_modes(40, rng)
    model = tiny(name).fit(x, rng)
    before = model.sample(5, np.random.default_rng(1))
    other = next(n for n in NAMES if n != name)
    wrong = [{}, {"shape": torch.tensor([4, 1])}, tiny(other).fit(x[:, :4], rng).state()]
    for state in wrong:
        with pytest.raises(ValueError, match=f"does not fit the model.*'{name}'"):
            model.from_state(state)
        with pytest.raises(ValueError, match="does not fit"):
            tiny(name).from_state(state)
    np.testing.assert_array_equal(model.sample(5, np.random.default_rng(1)), before)


def test_training_that_diverges_is_stopped():
    x = two_modes(100, np.random.default_rng(0))
    with pytest.raises(FloatingPointError, match=r"step \d+ of 50.*rate below 1e\+30"):
        tiny("mlp", steps=50, rate=1e30).fit(x, np.random.default_rng(0))


def test_divergence_is_told_across_processes():
    error = pickle.loads(pickle.dumps(Diverged("the loss is nan", model=3)))
    assert str(error) == "the loss is nan" and error.model == 3


def test_training_wants_a_model():
    with pytest.raises(ValueError, match="at least one model"):
        train([], [])


def test_numbers_beyond_single_precision_are_refused():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 8, 2))
    with pytest.raises(ValueError, match="1e.30.*1e.300"):
        tiny("mlp").fit(np.where(np.arange(2) == 1, 1e300, x), rng)
    with pytest.raises(ValueError, match="channel 1 varies by .* about 1e.06"):
        tiny("mlp").fit(x * [1, 1e-3] + [0, 1e6], rng)


@pytest.mark.parametrize("shift", [0.0, 1e9])
def test_conditions_are_standardised_before_they_lose_precision(shift):
    model = tiny("mlp").fit(two_modes(40, np.random.default_rng(0)), np.random.default_rng(0),
                            condition=shift + np.arange(40.0))  # fmt: skip
    found = model._standardised_condition(shift + np.arange(40.0), 40)[:, 0].numpy()
    np.testing.assert_allclose(found, (np.arange(40) - 19.5) / np.arange(40).std(), atol=1e-5)


def test_unknown_devices_are_refused(monkeypatch):
    model = tiny("mlp")
    with pytest.raises(ValueError, match="'gpu'.*cpu, cuda"):
        model.to("gpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="finds none"):
        model.to("cuda")
    assert model.device == "cpu"


def test_a_step_held_twice_is_refused(trained):
    if trained.model.name != "vae":
        value = np.zeros((3, 1))
        with pytest.raises(ValueError, match="step 7 twice"):
            trained.model.sample(3, np.random.default_rng(0), {7: value, -1: value})


def test_codes_are_judged_on_all_data():
    rng = np.random.default_rng(0)
    x = two_modes(10_000, rng, weight=0.5)
    x = x[np.argsort(signs(x))]  # the first rows are all of one mode
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = build("vae", **LARGE["vae"]).fit(x, rng)
    assert model.active >= 1


def test_unet_refuses_a_horizon_that_it_cannot_halve_twice():
    model = tiny("unet")
    with pytest.raises(ValueError, match="multiple of 4.* 10"):
        model.fit(np.zeros((5, 10, 1)), np.random.default_rng(0))
    with pytest.raises(RuntimeError, match="not trained"):
        model.sample(1, np.random.default_rng(0))


@every_model
@pytest.mark.parametrize(
    "use",
    [
        lambda m, r: m.sample(1, r),
        lambda m, r: m.perturb(np.zeros((1, 8, 1)), 1, r),
        lambda m, r: m.state(),
        lambda m, r: m.size,
    ],
)
def test_untrained_model_says_so(name, use):
    with pytest.raises(RuntimeError, match=f"'{name}'.*fit"):
        use(tiny(name), np.random.default_rng(0))


def test_untrained_autoencoder_does_not_tell_its_active_codes():
    with pytest.raises(RuntimeError, match="'vae'.*fit"):
        _ = tiny("vae").active


BAD_NUMBERS = [
    (np.ones((6, 1)), r"\(6,\).*\(6, 1\)"),
    (np.ones(5), r"\(6,\).*\(5,\)"),
    (1.0, r"\(6,\).*\(\)"),
    (np.array([1, 1, np.nan, 1, 1, 1]), r"finite .* index \(2,\)"),
    (np.array([1, 1, 1, -np.inf, 1, 1]), r"finite .* index \(3,\)"),
]


@every_model
@pytest.mark.parametrize(("values", "said"), BAD_NUMBERS)
def test_bad_conditions_are_refused(name, values, said):
    x, rng = two_modes(6, np.random.default_rng(0)), np.random.default_rng(0)
    with pytest.raises(ValueError, match=f"condition.*{said}|{said.replace('finite', 'finite condition')}"):
        tiny(name).fit(x, rng, condition=values)
    model = tiny(name, steps=1).fit(x, rng, condition=np.arange(6))
    for use in (lambda c: model.sample(6, rng, condition=c), lambda c: model.perturb(x, 0.5, rng, c)):
        with pytest.raises(ValueError, match="condition") as error:
            use(values)
        assert error.match(said)


@every_model
def test_a_condition_is_given_if_and_only_if_trained_with_one(name):
    x, rng = two_modes(6, np.random.default_rng(0)), np.random.default_rng(0)
    with_one = tiny(name, steps=1).fit(x, rng, condition=np.arange(6))
    without = tiny(name, steps=1).fit(x, rng)
    for use in (lambda m, c: m.sample(6, rng, condition=c), lambda m, c: m.perturb(x, 0.5, rng, c)):
        with pytest.raises(ValueError, match=f"'{name}' was trained with a condition, and none was given"):
            use(with_one, None)
        with pytest.raises(ValueError, match=f"'{name}' was trained without a condition, and one was given"):
            use(without, np.arange(6))
        assert use(with_one, np.arange(6)).shape == use(without, None).shape == x.shape


@every_model
@pytest.mark.parametrize(
    ("values", "said"),
    [
        *BAD_NUMBERS,
        (np.array([1, 1, -0.5, 1, 1, 1]), "0 or more.* from -0.5 to 1"),
        (np.zeros(6), "not all 0.* from 0 to 0"),
    ],
)
def test_bad_weights_are_refused(name, values, said):
    model, rng = tiny(name), np.random.default_rng(0)
    with pytest.raises(ValueError, match="weights") as error:
        model.fit(two_modes(6, np.random.default_rng(0)), rng, weights=values)
    assert error.match(said)


NUMBERS = [
    (name, field.name)
    for name in NAMES
    for field in dataclasses.fields(build(name))
    if not isinstance(getattr(build(name), field.name), str)
]
WORDS = {  # a value of each other hyperparameter, not the default
    "unet": {"prediction": "clean", "sampler": "ddim"},
    "transformer": {"resample": "each"},
    "vae": {},
    "mlp": {"prediction": "noise", "sampler": "ancestral"},
}


@pytest.mark.parametrize(("name", "field"), NUMBERS)
@pytest.mark.parametrize("value", [0, -5, math.nan])
def test_hyperparameters_below_one_are_refused(name, field, value):
    with pytest.raises(ValueError, match=f"{field}.* {value}"):
        build(name, **{field: value})


@every_model
def test_every_size_can_be_chosen(name):
    sizes = {field for other, field in NUMBERS if other == name}
    assert {*TINY[name], "steps", "batch", "rate"} <= sizes  # so that the test above sees all of them


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="multiple of heads.* 10 and 4"):
        build("transformer", width=10, heads=4)


@every_model
def test_unknown_hyperparameters_are_refused_naming_the_accepted_ones(name):
    with pytest.raises(ValueError) as error:
        build(name, widht=16)
    assert "'widht'" in str(error.value) and f"'{name}'" in str(error.value)
    assert all(field.name in str(error.value) for field in dataclasses.fields(build(name)))


@pytest.mark.parametrize(("name", "field"), [(name, field) for name in NAMES for field in WORDS[name]])
def test_unknown_words_are_refused_naming_the_accepted_ones(name, field):
    with pytest.raises(ValueError, match=f"unknown {field} 'none such'; accepted: .*{WORDS[name][field]}"):
        build(name, **{field: "none such"})


@every_model
def test_config_rebuilds_the_model(name):
    changed = {field: 2 * getattr(build(name), field) for other, field in NUMBERS if other == name}
    changed |= WORDS[name]
    model = build(name, **changed)
    config = json.loads(json.dumps(model.config()))
    assert config == {"name": name, **changed} and build(**config) == model != build(name)
    assert set(model.sampling) < set(config)


@every_model
def test_cost_grows_with_the_work(name):
    model = build(name)
    for field in ("steps", "batch", "width"):
        assert dataclasses.replace(model, **{field: 2 * getattr(model, field)}).cost > 1.5 * model.cost


# values held at some steps


@pytest.mark.parametrize("name", [name for name in NAMES if name != "vae"])
@pytest.mark.parametrize("steps", [[0], [-1], [3, -2], [-8, 7]])
def test_held_values_come_back(name, steps):
    rng = np.random.default_rng(0)
    data = np.concatenate([two_modes(100, rng), 5 * two_modes(100, rng) + 2], axis=2)
    model = tiny(name).fit(data, rng)
    clamp = {step: rng.normal(size=(300, 2)) for step in steps}  # more than one chunk
    x = model.sample(300, np.random.default_rng(1), clamp)
    for step, value in clamp.items():
        np.testing.assert_allclose(x[:, step], value, rtol=0, atol=1e-5)
    free = model.sample(300, np.random.default_rng(1))
    np.testing.assert_array_equal(free, model.sample(300, np.random.default_rng(1), {}))
    others = [step for step in range(8) if step not in steps and step - 8 not in steps]
    assert not np.isclose(x[:, others], data.mean(axis=(0, 1)), atol=1e-6).all()
    with pytest.raises(ValueError, match="from -8 to 7, got 8"):
        model.sample(300, rng, {8: np.zeros((300, 2))})
    with pytest.raises(ValueError, match=r"\(300, 2\).*\(300, 1\) for step 2"):
        model.sample(300, rng, {2: np.zeros((300, 1))})
    with pytest.raises(ValueError, match="finite.*step 2 "):
        model.sample(300, rng, {2: np.full((300, 2), np.nan)})


@trained_alone("transformer")
def test_steps_of_the_transformer_after_a_held_one_follow_it(trained):
    model = trained.model
    wanted = np.where(np.random.default_rng(0).random(400) < 0.5, 1.0, -1.0)
    x = model.sample(400, np.random.default_rng(1), {1: wanted[:, None] * MODE[1]})[..., 0]
    assert np.mean(np.sign(x[:, 2:] @ MODE[2:]) == wanted) > 0.97
    assert np.mean(np.abs(x - wanted[:, None] * MODE) < 0.3) > 0.97
    free = model.sample(400, np.random.default_rng(1))[..., 0]
    np.testing.assert_array_equal(x[:256, 0], free[:256, 0])  # the step before it cannot know


def test_a_vae_cannot_hold_steps():
    rng = np.random.default_rng(0)
    model = tiny("vae").fit(two_modes(100, rng), rng)
    with pytest.raises(ValueError, match="VAE.*cannot hold.*clamp"):
        model.sample(5, rng, {0: np.zeros((5, 1))})
    assert model.sample(5, rng, {}).shape == (5, 8, 1)


# mixtures of the Transformer


def mixture_of(logits, mean, scale):
    return Mixture(*(torch.as_tensor(v, dtype=torch.float64) for v in (logits, mean, scale)))


def expected_log_density(x, logits, mean, scale):
    """Of x (n, C) under one mixture with K components: logits (K,), mean and scale (K, C)."""
    each = norm.logpdf(x[:, None], mean, scale).sum(axis=-1)
    return logsumexp(np.asarray(logits) - logsumexp(logits) + each, axis=1)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(1, 6), st.integers(1, 4), st.floats(0.01, 20), st.integers(0, 10**6))
def test_log_density_equals_that_of_scipy(components, channels, spread, seed):
    rng = np.random.default_rng(seed)
    logits = spread * rng.normal(size=components)
    mean = spread * rng.normal(size=(components, channels))
    scale = np.exp(rng.normal(size=(components, channels)))
    x = 2 * spread * rng.normal(size=(9, channels))
    found = mixture_of(logits, mean, scale).log_density(torch.tensor(x))
    np.testing.assert_allclose(found.numpy(), expected_log_density(x, logits, mean, scale), rtol=1e-9)


def test_density_integrates_to_one():
    grid = np.linspace(-15, 15, 20_001)
    mixture = mixture_of([3.0, 1.0, -2.0], [[-4.0], [0.3], [5.0]], [[0.02], [1.0], [1.5]])
    density = mixture.log_density(torch.tensor(grid[:, None])).exp().numpy()
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-4)
    share = np.exp([3.0, 1.0, -2.0]) / np.exp([3.0, 1.0, -2.0]).sum()
    assert np.trapezoid(density[grid < -2], grid[grid < -2]) == pytest.approx(
        share[0] + share[1] * norm.cdf(-2.3) + share[2] * norm.cdf(-7 / 1.5), abs=1e-3
    )


def drawn(mixture, draw):
    """One draw from each mixture of a batch."""
    n, _, channels = mixture.mean.shape
    return mixture.draw(torch.rand((n, 1), generator=draw), torch.randn((n, channels), generator=draw))


def test_draws_follow_the_mixture_and_share_the_component_among_channels():
    n, share = 20_000, np.array([0.3, 0.7])
    mean, scale = np.array([[-4.0, 3.0], [2.0, -3.0]]), np.array([[0.5, 1.0], [1.0, 0.2]])
    one = mixture_of(np.log(share) + 5, mean, scale)
    x = drawn(Mixture(*(v.expand(n, *v.shape) for v in one)), random_generator()).numpy()
    assert x.shape == (n, 2)
    for channel in range(2):
        law = [norm(mean[k, channel], scale[k, channel]) for k in range(2)]
        cdf = lambda v, law=law: share[0] * law[0].cdf(v) + share[1] * law[1].cdf(v)  # noqa: E731
        assert kstest(x[:, channel], cdf).pvalue > 1e-4
    first = x[:, 0] < -1.5  # 5 and 3.5 standard deviations from the two means
    assert np.mean(first == (x[:, 1] > 0)) > 0.995
    assert first.mean() == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / n))
    assert np.corrcoef(x[first].T)[0, 1] == pytest.approx(0, abs=0.07)  # independent within a component


def test_each_row_draws_from_its_own_mixture():
    mean = torch.arange(24.0).reshape(4, 3, 2)
    logits = torch.tensor([[100.0, 0, 0], [0, 100, 0], [0, 0, 100], [0, -200, 200]])
    x = drawn(Mixture(logits, mean, torch.full_like(mean, 1e-3)), random_generator())
    torch.testing.assert_close(
        x, torch.stack([mean[i, k] for i, k in enumerate((0, 1, 2, 2))]), atol=0.01, rtol=0
    )


# the Transformer


def transformer(channels=2, steps=6, conditional=False, seed=0):
    """An untrained model, random in all of its weights, for data of mean 0 and scale 1."""
    torch.manual_seed(seed)
    model = tiny("transformer")
    model.shape, model.mean, model.scale = (steps, channels), torch.zeros(channels), torch.ones(channels)
    model.network = model.make_network(steps, channels, conditional).eval()
    for parameter in (model.network.start, model.network.place):
        nn.init.normal_(parameter)
    for block in model.network.blocks:
        nn.init.normal_(block.qkv.weight)
    model.told = torch.tensor([0.0, 1.0, -9.0, 9.0]) if conditional else None
    return model


LOGITS = np.array([1.0, 0.0, -1.0])
MEANS = np.array([[0.0, -2.0], [1.5, 1.0], [-3.0, 2.0]])
SCALES = np.array([[0.4, 1.0], [0.05, 0.3], [2.0, 0.7]])


def constant_transformer():
    """One whose steps all have the mixture above, whatever came before."""
    model = transformer()
    least = 1e-3
    bias = np.concatenate([LOGITS[:, None], MEANS, np.log(np.expm1(SCALES - least))], axis=1)
    with torch.no_grad():
        model.network.leave.weight.zero_()
        model.network.leave.bias.copy_(torch.tensor(bias.ravel()))
    return model


def mixture_cdf(channel):
    share = np.exp(LOGITS) / np.exp(LOGITS).sum()
    return lambda v: (share * norm.cdf(np.asarray(v)[:, None], MEANS[:, channel], SCALES[:, channel])).sum(1)


def test_likelihood_of_known_mixtures():
    model, x = constant_transformer(), 2 * np.random.default_rng(0).normal(size=(11, 6, 2))
    expected = expected_log_density(x.reshape(-1, 2), LOGITS, MEANS, SCALES).reshape(11, 6)
    given = torch.tensor(x, dtype=torch.float32)
    with torch.inference_mode():
        found = model.network(given).log_density(given)
        loss = model.loss(given, None)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert float(loss) == pytest.approx(-expected.mean(), rel=1e-4)  # nats a step


def test_samples_of_known_mixtures():
    x = constant_transformer().sample(1500, np.random.default_rng(0))
    for channel in range(2):
        assert kstest(x[..., channel].ravel(), mixture_cdf(channel)).pvalue > 1e-4
    assert np.abs(np.corrcoef(x[..., 0].T) - np.eye(6)).max() < 5 / np.sqrt(1500)  # steps are independent


@pytest.mark.parametrize("conditional", [False, True])
def test_a_step_sees_those_before_it_alone(conditional):
    model, rng = transformer(conditional=conditional), random_generator(1)
    x, c = torch.randn(3, 6, 2, generator=rng), torch.randn(3, 1, generator=rng) if conditional else None
    with torch.inference_mode():
        before = model.network(x, c)
        for t in range(6):
            moved = x.clone()
            moved[:, t] += 1
            for one, two in zip(before, model.network(moved, c), strict=True):
                change = (one - two).abs().flatten(2).amax(dim=(0, 2))
                assert (change[: t + 1] < 1e-6).all() and (change[t + 1 :] > 1e-3).all()
        if conditional:
            for one, two in zip(before, model.network(x, c + 1), strict=True):
                assert ((one - two).abs().flatten(2).amax(dim=(0, 2)) > 1e-3).all()


@pytest.mark.parametrize("conditional", [False, True])
def test_step_by_step_gives_the_mixtures_of_all_steps_at_once(conditional):
    model, rng = transformer(conditional=conditional), random_generator(1)
    x, c = torch.randn(5, 6, 2, generator=rng), torch.randn(5, 1, generator=rng) if conditional else None
    past = [[torch.empty(5, 2, 0, 4)] * 2 for _ in range(2)]
    with torch.inference_mode():
        whole = model.network(x, c)
        for t in range(6):
            one = model.network.next(t, x[:, t - 1] if t else None, past, 5, c)
            for found, expected in zip(one, whole, strict=True):
                torch.testing.assert_close(found, expected[:, t], rtol=0, atol=1e-5)


@pytest.mark.parametrize("conditional", [False, True])
def test_samples_are_drawn_from_the_mixtures_that_the_past_gives(conditional):
    model, n = transformer(conditional=conditional), 40
    condition = np.random.default_rng(1).normal(size=n) if conditional else None
    found = model.sample(n, np.random.default_rng(2), condition=condition)
    draw, x = generator(np.random.default_rng(2)), torch.full((n, 6, 2), torch.nan)
    c = None if condition is None else torch.tensor(condition, dtype=torch.float32)[:, None]
    with torch.inference_mode():
        for t in range(6):
            mixture = model.network(x.nan_to_num(), c)
            x[:, t] = drawn(Mixture(*(part[:, t] for part in mixture)), draw)
    np.testing.assert_allclose(found, x.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("resample", ["each", "rest"])
def test_full_round_trip_of_the_transformer_draws_every_step_anew(resample):
    model, x = constant_transformer(), np.random.default_rng(0).normal(size=(1000, 6, 2))
    model.resample = resample
    anew = model.perturb(x, 1.0, np.random.default_rng(1))
    for channel in range(2):
        assert kstest(anew[..., channel].ravel(), mixture_cdf(channel)).pvalue > 1e-4
    assert np.abs(np.corrcoef(anew[..., 0].ravel(), x[..., 0].ravel())[0, 1]) < 5 / np.sqrt(6000)


def test_round_trip_draws_each_step_anew_with_the_probability_asked_for():
    model, x = constant_transformer(), np.random.default_rng(0).normal(size=(1000, 6, 2))
    model.resample = "each"
    found = model.perturb(x, 0.2, np.random.default_rng(1))
    changed = np.abs(found - x) > 1e-6
    assert (changed[..., 0] == changed[..., 1]).mean() > 0.999  # whole steps
    assert (np.abs(changed[..., 0].mean(axis=0) - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 1000)).all()
    assert np.abs(np.corrcoef(changed[..., 0].T) - np.eye(6)).max() < 5 / np.sqrt(1000)


@pytest.mark.parametrize(("strength", "kept"), [(0.01, 5), (0.3, 4), (0.5, 3), (0.95, 0), (1.0, 0)])
def test_round_trip_draws_the_rest_of_a_trajectory_anew(strength, kept):
    model, x = transformer(), np.random.default_rng(0).normal(size=(200, 6, 2))
    found = model.perturb(x, strength, np.random.default_rng(1))
    np.testing.assert_allclose(found[:, :kept], x[:, :kept], rtol=0, atol=1e-6)
    assert (np.abs(found[:, kept:] - x[:, kept:]) > 1e-6).mean() > 0.99
    held = model.sample(200, np.random.default_rng(1), {t: x[:, t] for t in range(kept)})
    np.testing.assert_array_equal(found, held)


@trained_alone("transformer")
def test_steps_drawn_anew_follow_their_past(trained):
    model = trained.model
    x = two_modes(400, np.random.default_rng(2), 0.5)
    half = model.perturb(x, 0.5, np.random.default_rng(3))
    each = dataclasses.replace(model, resample="each").from_state(model.state())
    for found in (half, each.perturb(x, 1.0, np.random.default_rng(3))):
        assert np.mean(np.sign(found[:, 5:, 0] @ MODE[5:]) == signs(x)) > 0.97


# the VAE

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
    """A VAE with x = u W + b + spread noise, and the exact posterior unless another one is asked for.

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
    model = tiny("vae", codes=CODES)
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


def test_bound_of_constant_encoder_and_decoder():
    model, rng = tiny("vae", codes=CODES), np.random.default_rng(0)
    torch.manual_seed(0)
    model.network = model.make_network(T, C, False).double()
    code = Normal(torch.tensor(rng.normal(size=CODES)), torch.tensor(np.exp(rng.normal(size=CODES))))
    scale = np.exp(rng.normal(size=(T, C)))
    law = Normal(torch.tensor(rng.normal(size=(T, C))), torch.tensor(scale + 1e-3))
    with torch.no_grad():
        for part, bias in (
            (model.network.encoder, torch.cat([code.loc, code.scale.log()])),
            (model.network.decoder, law.loc.flatten()),
        ):
            part.leave.weight.zero_()
            part.leave.bias.copy_(bias)
        model.network.log_scale.copy_(torch.tensor(np.log(scale)))
    x = torch.tensor(3 * rng.normal(size=(7, T, C)))
    prior = Normal(torch.zeros(CODES).double(), torch.ones(CODES).double())
    expected = (-law.log_prob(x).sum(dim=(1, 2)) + kl_divergence(code, prior).sum()) / (T * C)
    for seed in range(3):  # whatever the code is
        found = model.bound(x, None, torch.randn(7, CODES, generator=random_generator(seed)).double())
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    with torch.inference_mode():
        loss = float(model.loss(x, None, *model.draws(len(x), random_generator())))
    assert loss == pytest.approx(float(expected.mean()), rel=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bound_is_reached_by_the_exact_posterior(seed):
    model, w, b = affine_vae(seed)
    x = 2 * np.random.default_rng(seed).normal(size=(9, T, C))
    exact = multivariate_normal(b, w.T @ w + 0.6**2 * np.eye(T * C)).logpdf(x.reshape(9, -1))
    found = expected_bound(model, torch.tensor(x)).numpy()
    np.testing.assert_allclose(found, -exact / (T * C), rtol=1e-9)


@pytest.mark.parametrize(("posterior_scale", "shifted"), [(None, 0.5), (1.0, 0.0), (0.05, -1.0)])
def test_bound_exceeds_by_the_divergence_of_any_other_posterior(posterior_scale, shifted):
    model, w, b = affine_vae(0, posterior_scale=posterior_scale, shifted=shifted)
    exact, _, _ = affine_vae(0)
    x = torch.tensor(2 * np.random.default_rng(1).normal(size=(9, T, C)))
    marginal = MultivariateNormal(torch.tensor(b), torch.tensor(w.T @ w + 0.6**2 * np.eye(T * C)))
    mine, theirs = (Independent(Normal(*m.network.encode(x)), 1) for m in (model, exact))
    gap = kl_divergence(mine, theirs)
    expected = (gap - marginal.log_prob(x.flatten(1))) / (T * C)
    torch.testing.assert_close(expected_bound(model, x), expected, rtol=1e-9, atol=1e-9)
    assert (gap > 0.1).all()


def test_loss_draws_its_own_codes_from_the_generator():
    model, _, _ = affine_vae()
    x = torch.tensor(np.random.default_rng(0).normal(size=(500, T, C)))
    with torch.inference_mode():
        draw = random_generator()
        losses = np.array([float(model.loss(x, None, *model.draws(len(x), draw))) for _ in range(200)])
    assert len(set(losses)) == 200
    error = losses.std() / np.sqrt(200)
    assert losses.mean() == pytest.approx(float(expected_bound(model, x).mean()), abs=5 * error)
    assert error < 0.01


def assert_covariance(found, expected, n):
    """Within 5 standard errors, for Gaussian data of these (cross-)covariances."""
    size = 2.5  # above the largest variance of any entry
    assert np.abs(found - expected).max() < 5 * size * np.sqrt(2 / n)


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.9, 1.0])
def test_round_trip_of_the_exact_vae_keeps_the_law_and_a_known_share_of_its_start(strength):
    model, w, b = affine_vae()
    model.network.float()  # as `sample` is
    n = 20_000
    x = model.sample(n, np.random.default_rng(0)).reshape(n, -1)
    moved = model.perturb(x.reshape(n, T, C), strength, np.random.default_rng(1)).reshape(n, -1)
    law = w.T @ w + 0.6**2 * np.eye(T * C)
    assert np.diag(law).max() < 2.5
    for found in (x, moved):
        assert np.abs(found.mean(axis=0) - b).max() < 5 * np.sqrt(2.5 / n)
        assert_covariance(np.cov(found.T), law, n)
    shared = np.cov(x.T, moved.T)[: T * C, T * C :]
    assert_covariance(shared, math.sqrt(1 - strength**2) * w.T @ w, n)


@trained_alone("vae")
def test_round_trip_of_the_vae_at_full_strength_forgets_its_start(trained):
    model = trained.model
    x = two_modes(300, np.random.default_rng(2))
    one, two = (model.perturb(start, 1.0, np.random.default_rng(3)) for start in (x, -x[::-1] + 0.3))
    np.testing.assert_array_equal(one, two)
    share = np.mean(signs(trained.x) > 0)
    assert np.mean(signs(one) > 0) == pytest.approx(share, abs=allowed("vae", share, 300))


@trained_alone("vae")
def test_codes_carry_the_mode_and_next_to_nothing_of_noise(trained):
    model = trained.model
    assert 1 <= model.active <= model.codes and not trained.warned
    assert model.network.activity.max() > 0.8
    noise = np.random.default_rng(0).normal(size=(20_000, 8, 1))
    other = build("vae", **{**LARGE["vae"], "steps": 300}).fit(noise, np.random.default_rng(0))
    assert other.active == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_posterior_collapse_is_said_where_nothing_is_left_to_encode(seed):
    x = two_modes(1000, np.random.default_rng(seed))
    model = build("vae", **{**LARGE["vae"], "steps": 300})
    with pytest.warns(UserWarning, match="posterior collapse: none of the 4 codes"):
        model.fit(x, np.random.default_rng(seed), condition=told(x))
    assert model.active == 0
    assert build(**model.config()).from_state(model.state()).active == 0


@pytest.mark.parametrize("told", [False, True])
def test_activity_is_the_variance_of_the_mean_codes(told):
    x = two_modes(200, np.random.default_rng(0))
    condition = np.arange(200.0) if told else None
    model = tiny("vae", steps=20).fit(x, np.random.default_rng(0), condition=condition)
    standard = torch.tensor((x - x.mean()) / x.std(ddof=1))
    c = torch.tensor((np.arange(200.0) - 99.5) / np.arange(200.0).std(), dtype=torch.float32)[:, None]
    with torch.inference_mode():
        mean, _ = model.network.encode(standard, c if told else None)
    np.testing.assert_allclose(model.network.activity.numpy(), mean.numpy().var(axis=0), rtol=1e-3)
    assert model.active == (mean.numpy().var(axis=0) > ACTIVE).sum()
