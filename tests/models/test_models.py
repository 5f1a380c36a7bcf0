"""What all models have in common: what they learn, how they are trained, sampled, kept and checked."""

import copy
import dataclasses
import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import nn

from physmis.models import MODELS, build, training

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:posterior collapse"),  # a few steps of training teach little
    pytest.mark.filterwarnings("ignore:.*conditions lie outside"),
]

NAMES = ("unet", "transformer", "vae", "mlp")
WEIGHT = 0.25  # share of the rarer of the two modes
MODE = np.sin(2 * np.pi * np.arange(8) / 8)
TINY = {
    "unet": {"width": 8},
    "transformer": {"width": 8, "layers": 2, "heads": 2, "components": 3},
    "vae": {"width": 16, "depth": 1, "codes": 3},
    "mlp": {"width": 16, "depth": 1},
}
LARGE = {  # the least that learns two modes
    "unet": {"width": 16, "batch": 64, "steps": 300, "rate": 5e-3},
    "transformer": {"width": 16, "layers": 2, "heads": 2, "components": 4}
    | {"batch": 64, "steps": 400, "rate": 1e-2},
    "vae": {"width": 64, "depth": 2, "codes": 4, "batch": 128, "steps": 800, "rate": 5e-3},
    "mlp": {"width": 64, "depth": 2, "batch": 128, "steps": 600, "rate": 5e-3},
}
# How far the share of a mode may be from that in the data beside sampling error: learned from few batches.
SLACK = {"unet": 0.06, "transformer": 0.03, "vae": 0.1, "mlp": 0.03}

every_model = pytest.mark.parametrize("name", NAMES)


def tiny(name, **changes):
    return build(name, **{"batch": 16, "steps": 4, **TINY[name], **changes})


def two_modes(n, rng, weight=WEIGHT):
    sign = np.where(rng.random(n) < weight, 1.0, -1.0)
    return (sign[:, None] * MODE + 0.05 * rng.normal(size=(n, 8)))[..., None].astype(np.float32)


def signs(x):
    """Which mode each trajectory is nearer to."""
    return np.sign(x[..., 0] @ MODE)


@pytest.fixture(scope="module", params=NAMES)
def trained(request):
    """A model trained on two modes, its data, and what its progress callback was given."""
    rng, progress = np.random.default_rng(0), []
    x = two_modes(2000, rng)
    model = build(request.param, **LARGE[request.param])
    model.fit(x, rng, progress=lambda done, total: progress.append((done, total)))
    return SimpleNamespace(model=model, x=x, progress=progress)


@pytest.fixture(scope="module", params=NAMES)
def conditional(request):
    """A model trained on two modes with a condition that names the mode."""
    x, name = two_modes(1000, np.random.default_rng(0)), request.param
    model = build(name, **{**LARGE[name], "steps": LARGE[name]["steps"] // 3})
    return model.fit(x, np.random.default_rng(0), condition=11.5 + 1.5 * signs(x))


# what is learned


def test_modes_come_with_the_weights_of_the_data(trained):
    x, share = trained.model.sample(1000, np.random.default_rng(1)), np.mean(signs(trained.x) > 0)
    allowed = 4 * np.sqrt(share * (1 - share) / len(x)) + SLACK[trained.model.name]
    assert np.mean(signs(x) > 0) == pytest.approx(share, abs=allowed)
    away = np.sqrt(np.mean((x[..., 0] - signs(x)[:, None] * MODE) ** 2, axis=1))
    assert np.mean(away < 0.3) > 0.9  # the modes themselves are 1.4 apart
    assert 0.015 < np.median(away) < 0.15  # that of the data is 0.05
    assert len(np.unique(x, axis=0)) == len(x)


def test_a_condition_chooses_the_mode_and_its_scale_is_kept(conditional):
    requested = np.where(np.random.default_rng(1).random(600) < 0.5, 1, -1)  # more than one chunk
    condition, start = 11.5 + 1.5 * requested, two_modes(600, np.random.default_rng(3), 0.5)
    x = conditional.sample(600, np.random.default_rng(2), condition=condition)
    assert all((signs(x) == requested)[requested == mode].mean() > 0.9 for mode in (1, -1))
    perturbed = conditional.perturb(start, 1.0, np.random.default_rng(4), condition)
    assert (signs(perturbed) == requested).mean() > 0.9
    assert abs((signs(perturbed) == signs(start)).mean() - 0.5) < 0.15
    again = build(**conditional.config()).from_state(conditional.state())
    np.testing.assert_array_equal(again.sample(600, np.random.default_rng(2), condition=condition), x)


def test_loss_is_kept_for_each_step_and_falls(trained):
    steps, losses = trained.model.steps, trained.model.losses
    assert trained.progress == [(done, steps) for done in range(1, steps + 1)]
    assert losses.shape == (steps,) and losses.dtype == np.float32 and np.isfinite(losses).all()
    assert losses[-30:].mean() < losses[:30].mean() - 0.4 * abs(losses[:30].mean())


def test_weak_round_trip_keeps_the_mode_and_a_full_one_draws_it_anew(trained):
    x = two_modes(600, np.random.default_rng(2))  # more than one chunk
    weak, full = (trained.model.perturb(x, s, np.random.default_rng(3)) for s in (0.02, 1.0))
    assert weak.shape == x.shape and not np.array_equal(weak, x)
    assert np.mean(signs(weak) == signs(x)) > 0.97
    anew = WEIGHT**2 + (1 - WEIGHT) ** 2
    assert np.mean(signs(full) == signs(x)) == pytest.approx(anew, abs=0.08 + SLACK[trained.model.name])


def test_seed_decides_the_samples(trained):
    model, again = trained.model, np.random.default_rng(5)
    one, two, other = (model.sample(600, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (600, 8, 1) and not np.isclose(one, other, atol=1e-6).all(axis=(1, 2)).any()
    assert len(np.unique(one, axis=0)) == 600  # no chunk repeats another
    assert not np.array_equal(model.sample(10, again), model.sample(10, again))
    perturbed = (model.perturb(trained.x[:9], 0.3, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(*perturbed)


def test_state_restores_the_same_samples(trained):
    model, state = trained.model, trained.model.state()
    assert all(type(array) is np.ndarray and array.flags.c_contiguous for array in state.values())
    copied = build(**model.config()).from_state(state)
    np.testing.assert_array_equal(*(m.sample(64, np.random.default_rng(5)) for m in (model, copied)))
    assert copied.config() == model.config() and not copied.network.training
    assert copied.limit == pytest.approx(model.limit, rel=1e-6)


# training


@pytest.mark.parametrize("steps", [1, 19, 20])
def test_any_number_of_steps_trains(steps):
    torch.manual_seed(0)
    network, x = nn.Linear(3, 1), torch.randn(64, 3)
    losses = training.optimise(network, lambda: network(x).square().mean(), steps, 1e-3)
    assert losses.shape == (steps,) and np.isfinite(losses).all()
    assert network(x).square().mean() <= losses[0] and not network.training


@pytest.mark.parametrize("weights", [None, [0, 3, 1, 0, 4]])
def test_trajectories_are_met_in_proportion_to_their_weights(weights, monkeypatch):
    x, seen = np.arange(5.0)[:, None, None] * np.ones((5, 8, 1)), []
    model = tiny("mlp", steps=1, batch=5000)
    loss = model.loss
    monkeypatch.setattr(model, "loss", lambda batch, *rest: seen.append(batch) or loss(batch, *rest))
    model.fit(x, np.random.default_rng(0), weights=weights)
    met = (seen[0][:, 0, 0] * model.scale + model.mean).round().int().numpy()
    counts = np.bincount(met, minlength=5)
    share = np.full(5, 0.2) if weights is None else np.array(weights) / np.sum(weights)
    assert (counts[share == 0] == 0).all()
    assert chisquare(counts[share > 0], 5000 * share[share > 0]).pvalue > 1e-4


@every_model
def test_kept_weights_are_the_moving_average_of_those_trained(name, monkeypatch):
    monkeypatch.setattr(training, "AVERAGE", 0.25)  # reached in the third step
    model, seen = tiny(name, steps=5), []
    model.fit(
        two_modes(100, np.random.default_rng(0)),
        np.random.default_rng(0),
        progress=lambda *_: seen.append(copy.deepcopy(dict(model.network.named_parameters()))),
    )
    first, *later = seen
    assert len(later) == model.steps - 1
    for key, found in model.network.named_parameters():
        expected = first[key]
        for updates, weights in enumerate((w[key] for w in later), start=1):
            decay = min(0.25, (1 + updates) / (10 + updates))
            expected = decay * expected + (1 - decay) * weights
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


@every_model
def test_training_depends_on_its_generator_alone(name):
    x, states = two_modes(200, np.random.default_rng(0)), []
    for seed, elsewhere in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(elsewhere)
        before = torch.get_rng_state()
        states.append(tiny(name).fit(x, np.random.default_rng(seed)).state())
        assert torch.equal(torch.get_rng_state(), before)
    assert all(np.array_equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(np.array_equal(states[0][key], states[2][key]) for key in states[0])


@every_model
def test_every_weight_is_trained(name):
    model = tiny(name)
    torch.manual_seed(0)
    model.shape, model.network = (8, 2), model.make_network(8, 2, True)
    noise = model.training_noise(16, torch.Generator().manual_seed(0))
    model.loss(torch.randn(16, 8, 2), torch.randn(16, 1), *noise).backward()
    assert not [key for key, p in model.network.named_parameters() if not p.grad.abs().max() > 0]


def test_training_that_diverges_is_stopped():
    x = two_modes(100, np.random.default_rng(0))
    with pytest.raises(FloatingPointError, match=r"step \d+; try a rate below 1e\+30"):
        tiny("mlp", steps=50, rate=1e30).fit(x, np.random.default_rng(0))


# shapes and units


@every_model
def test_samples_come_back_in_the_scale_of_the_data(name):
    rng = np.random.default_rng(0)
    x = two_modes(300, rng)
    x = np.concatenate([x, 50 * x + 1000, np.full_like(x, 3)], axis=2)  # the last one does not vary
    model = tiny(name).fit(x, rng)
    torch.testing.assert_close(model.mean, torch.tensor(x.mean(axis=(0, 1))), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.scale, torch.tensor(x.std(axis=(0, 1))), rtol=1e-2, atol=1e-4)
    largest = np.abs((x - x.mean(axis=(0, 1))) / np.maximum(x.std(axis=(0, 1)), 1e-6))[..., :2].max()
    assert model.limit == pytest.approx(2 * largest, rel=1e-2)
    for found in (model.sample(50, rng), model.perturb(x[:50], 0.5, rng)):
        assert found.shape == (50, 8, 3) and found.dtype == np.float32
        assert np.abs(found[..., 0]).max() < 20 and np.abs(found[..., 1] - 1000).max() < 1000
        assert found[..., 1].std() > 5 * found[..., 0].std()
        np.testing.assert_allclose(found[..., 2], 3, atol=1e-3)


@every_model
def test_any_horizon_and_number_of_channels(name):
    rng = np.random.default_rng(0)
    for shape in ((8, 1), (12, 3), (7, 2)):
        x, model = rng.normal(size=(20, *shape)), tiny(name, steps=2)
        if name == "unet" and shape[0] % 4:
            with pytest.raises(ValueError, match="multiple of 4 .*got 7 and"):
                model.fit(x, rng)
            continue
        sampled, perturbed = model.fit(x, rng).sample(3, rng), model.perturb(x[:4], 0.5, rng)
        assert sampled.shape == (3, *shape) and perturbed.shape == (4, *shape)
        assert np.isfinite(sampled).all() and np.isfinite(perturbed).all()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "vae"])
def test_held_values_come_back(name):
    rng = np.random.default_rng(0)
    data = np.concatenate([two_modes(100, rng), 5 * two_modes(100, rng) + 2], axis=2)
    model = tiny(name).fit(data, rng)
    free = model.sample(300, np.random.default_rng(1))
    for steps in ([0], [3, -2], [-8, 7]):
        clamp = {step: rng.normal(size=(300, 2)) for step in steps}  # more than one chunk
        x = model.sample(300, np.random.default_rng(1), clamp)
        for step, value in clamp.items():
            np.testing.assert_allclose(x[:, step], value, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(free, model.sample(300, np.random.default_rng(1), {}))
    for step, channels in ((8, 2), (2, 1)):
        with pytest.raises(ValueError, match=rf"-8 to 7 .*\(300, 2\), got .*{channels}\) for step {step}"):
            model.sample(300, rng, {step: np.zeros((300, channels))})


@pytest.mark.parametrize("shift", [0.0, 1e9])
def test_conditions_are_standardised_before_they_lose_precision(shift):
    model, c = tiny("mlp"), shift + np.arange(40.0)
    model.fit(two_modes(40, np.random.default_rng(0)), np.random.default_rng(0), condition=c)
    found = model._standardised_condition(c, 40)[:, 0].numpy()
    np.testing.assert_allclose(found, (np.arange(40) - 19.5) / np.arange(40).std(), atol=1e-5)


# what is refused


def strange(shape, value):
    x = np.random.default_rng(0).random(shape)
    x[1] = value
    return x


ARRAYS = st.one_of(
    st.sampled_from([None, "x", [], [[1], [1, 2]], np.zeros((5, 4, 1)), 1j * np.ones((5, 8, 1))]),
    st.builds(
        strange,
        st.sampled_from([(5, 8, 1), (5,), (5, 1), (5, 8)]),
        st.sampled_from([0.0, -2.0, 1e-300, 1e40, 1e300, np.nan, np.inf]),
    ),
)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.sampled_from(["x", "condition", "weights", "requested", "clamp", "perturbed"]), ARRAYS)
def test_any_array_gives_trajectories_or_an_error_that_says_what_is_expected(where, array):
    rng, x = np.random.default_rng(0), two_modes(5, np.random.default_rng(0))
    given = {"x": x, "condition": np.arange(5.0), "weights": np.ones(5), "requested": np.arange(5.0)}
    given |= {"clamp": x[:, 0], "perturbed": x, where: array}
    fitting = {name: given[name] for name in ("x", "condition", "weights")}
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            model = tiny("mlp", steps=1).fit(**fitting, rng=rng)
            found = model.sample(5, rng, {0: given["clamp"]}, given["requested"])
            found = np.stack([found, model.perturb(given["perturbed"], 0.5, rng, given["requested"])])
    except (TypeError, ValueError) as error:
        assert "expected" in str(error)
    else:
        assert found.shape == (2, 5, 8, 1) and np.isfinite(found).all()


def test_other_arguments_that_do_not_fit_are_refused():
    x, rng = two_modes(6, np.random.default_rng(0)), np.random.default_rng(0)
    model, conditional = tiny("mlp").fit(x, rng), tiny("mlp").fit(x, rng, condition=np.arange(6))
    for use, said in (
        (lambda: tiny("mlp").fit(x, 0), "Generator.*got 0"),
        (lambda: tiny("vae").fit(x, rng).sample(6, rng, {0: x[:, 0]}), "expected no clamp"),
        (lambda: model.sample(1, 7), "Generator.*got 7"),
        (lambda: model.sample(0, rng), "expected n to be .* got 0"),
        (lambda: model.perturb(x, np.nan, rng), r"\(0, 1\], got nan"),
        (lambda: model.perturb(x[:, :4], 0.5, rng), r"\(8, 1\), got \(6, 4, 1\)"),
        (lambda: model.sample(6, rng, condition=np.arange(6)), "expected none, as in training, got one"),
        (lambda: conditional.perturb(x, 0.5, rng), "expected one, as in training, got none"),
        (lambda: build("unett"), "unet, vae; got 'unett'"),
        (lambda: build("unet", widht=16), "unexpected keyword argument 'widht'"),
        (lambda: build("unet", width=12).fit(x, rng), "multiple of 8, got 8 and 12"),
        (lambda: build("transformer", width=10).fit(x, rng), "multiple of heads, got 10 and 4"),
        (lambda: build("unet", sampler="euler"), "sampler in multistep, ancestral; got 'euler'"),
        (lambda: build("vae", output="mode"), "output in draw, mean; got 'mode'"),
        *((lambda v=v: build("mlp", steps=v), "steps.*got") for v in (0, 0.5, True)),
        *((lambda v=v: build("mlp", rate=v), "rate.*got") for v in (0.0, np.nan, np.inf)),
    ):
        with pytest.raises((TypeError, ValueError), match=said):
            use()


def test_an_untrained_model_says_so():
    model, rng = tiny("vae"), np.random.default_rng(0)
    for use in (lambda: model.sample(1, rng), lambda: model.perturb(MODE, 1, rng), model.state):
        with pytest.raises(RuntimeError, match="'vae'.*fit"):
            use()


# hyperparameters


@pytest.mark.parametrize("name", MODELS)
def test_config_rebuilds_the_model(name):
    fields = {field.name: getattr(build(name), field.name) for field in dataclasses.fields(MODELS[name])}
    other = {"sampler": "ancestral", "output": "mean"}
    changed = {field: other.get(field) or 2 * value for field, value in fields.items()}
    model = build(name, **changed)
    config = json.loads(json.dumps(model.config()))
    assert config == {"name": name, **changed} and build(**config) == model != build(name)
    assert set(model.sampling) < set(config)
    for field in ("steps", "batch", "width"):
        assert dataclasses.replace(model, **{field: 2 * changed[field]}).cost > 1.5 * model.cost


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
@pytest.mark.parametrize("name", MODELS)
def test_a_card_trains_and_samples_as_the_processor_does(name):
    x, rng = two_modes(300, np.random.default_rng(0)), np.random.default_rng
    on = {}
    for device in ("cpu", "cuda"):
        model = build(name, width=16, batch=16, steps=20, rate=1e-3).to(device)
        model.fit(x, rng(0))
        clamp = {step: x[:, step] for step in model.given}
        on[device] = model.losses, model.sample(300, rng(1), clamp)
    np.testing.assert_allclose(on["cuda"][0], on["cpu"][0], rtol=0.01, atol=0.01)
    # A draw beside a limit may take another component or bin: most, not all, agree.
    assert (np.abs(on["cuda"][1] - on["cpu"][1]).max(axis=(1, 2)) < 0.05).mean() > 0.95
