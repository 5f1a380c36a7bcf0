import dataclasses
import json
import os
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from support import GIVEN, TINY, contents

from physmis import coordinates, mitigations, tasks
from physmis.experiments import experiment as ex
from physmis.experiments.executions import compatibility, executions
from physmis.experiments.experiment import Experiment, samples, trained, training, training_set
from physmis.experiments.kernel_draws import kernel_draws
from physmis.experiments.parallel import cached, cached_all
from physmis.experiments.store import key
from physmis.models import build
from physmis.paper.profiles import PROFILES
from physmis.tasks import load
from physmis.tasks.synthetic import Cone

WARP = coordinates.Warp((-1.0, 0.0, 2.0), (-1.0, 1.0, 2.0))


def changed(experiment, **fields):
    """The experiment with other fields, of its model or task where it has none of that name."""
    own = {field.name for field in dataclasses.fields(experiment)}
    for name, value in fields.items():
        if name in own:
            experiment = dataclasses.replace(experiment, **{name: value})
        else:
            part = "model" if hasattr(experiment.model, name) else "task"
            other = dataclasses.replace(getattr(experiment, part), **{name: value})
            experiment = dataclasses.replace(experiment, **{part: other})
    return experiment


def another(value):
    """Another legal value of a hyperparameter or a task's parameter."""
    if isinstance(value, str):
        return {"velocity": "noise", "multistep": "ddim"}[value]
    return value + 8 if isinstance(value, int) else value * 0.99


def standard(task, model, seed=0, treatment=None, **sizes):
    profile = PROFILES["standard"]
    network = build(model, **(sizes or profile.models[model]))
    return Experiment(load(task), network, profile.data, profile.samples, seed, treatment)


CONE, PLANNER = standard("cone", "unet"), standard("maze", "planner", seed=2)
ASKED = standard("cone", "continuation", 0, mitigations.Conditioned(), width=16)
CHAIN = mitigations.InCoordinates(coordinates.Chain(coordinates.Increments(), WARP))
GUIDED = standard("sine", "guided", 0, mitigations.Conditioned(), width=16, guidance=2.0)
PILOT = kernel_draws(CONE, "pilot", {"strength": 0.5, "scale": 0.25}, changed(CONE, seed=1))
# Beginnings of the keys of stored results of the standard profile. They change only together with results.
STANDING = {
    "9a4cb9e80357": samples(standard("sine", "unet")),
    "d001da9a7add": samples(standard("cone", "transformer", seed=1)),
    "a997d6dc6dc9": samples(standard("logistic", "vae")),
    "109008d0b72c": samples(standard("pendulum", "mlp")),
    "622b9a2f7315": samples(PLANNER),
    "39eb5e9af479": training(CONE),
    "8f3888a3bb8f": samples(standard("sine", "unet", 0, mitigations.Reweighted((1.0,) * 52))),
    "3ad6b3ee9552": samples(GUIDED),
    "add4e6f6e0c8": samples(standard("sine", "unet", 0, CHAIN)),
    "dfdf4851122e": kernel_draws(CONE, "isotropic", {"scale": 0.1}),
    "4113ed41442d": kernel_draws(PLANNER, "exchange", {"width": 0.5}),
    "642b8f0844da": PILOT,
    "1cf1fbacd84e": kernel_draws(CONE, "round_trip", {"strength": 0.5}, CONE),
    "60ba0fa5bd61": executions(PLANNER, 64),
    "1e0682fd3659": compatibility(ASKED, [5, 0], [0.2, 0.9], 1),
    "993b5bebb83b": ex.demonstrations(PLANNER.task, 3),
}


def test_stored_results_are_found_under_their_standing_keys():
    assert [key(job.config)[:12] for job in STANDING.values()] == list(STANDING)


def test_every_field_of_task_model_and_experiment_changes_the_address():
    others = [changed(TINY, **{name: getattr(TINY, name) + 1}) for name in ("data", "samples", "seed")]
    for part in (TINY.task, TINY.model):
        others += [
            changed(TINY, **{field.name: another(getattr(part, field.name))})
            for field in dataclasses.fields(part)
        ]
    others += [
        changed(TINY, task=load("logistic", steps=8)),
        changed(TINY, treatment=mitigations.Conditioned()),
        changed(TINY, treatment=mitigations.InCoordinates(WARP)),
    ]
    assert len({key(one.config) for one in (TINY, *others)}) == len(others) + 1


def test_training_does_not_depend_on_how_samples_are_drawn():
    for one in (changed(TINY, sampler_steps=5), changed(TINY, sampler="ddim"), changed(TINY, samples=7)):
        assert key(one.training_config) == key(TINY.training_config) and key(one.config) != key(TINY.config)


def test_training_sets_and_fresh_sets_are_streams_of_their_own(store):
    again, other = training_set(changed(TINY, samples=9), store), training_set(changed(TINY, seed=1), store)
    data, fresh = training_set(TINY, store), ex.fresh_set(TINY, store)
    np.testing.assert_array_equal(data.x, again.x)
    for stream, batch in ((ex.DATA, data), (ex.FRESH, fresh)):
        np.testing.assert_array_equal(batch.x, TINY.task.sample(300, np.random.default_rng([0, stream])).x)
    assert data.x.shape == fresh.x.shape == (300, 8, 1)
    assert not np.isin(data.z, other.z).any() and not np.isin(data.z, fresh.z).any()


def test_samples_are_what_the_trained_model_draws_and_the_task_measures(store):
    result, task = cached(samples(TINY), store), TINY.task
    model = build(**TINY.model.config())
    model.fit(training_set(TINY, store).x, rng=np.random.default_rng([0, ex.FIT]))
    np.testing.assert_array_equal(result.x, model.sample(64, np.random.default_rng([0, ex.SAMPLE])))
    assert result.x.shape == (64, 8, 1) and result.x.dtype == np.float32
    np.testing.assert_array_equal(result.z, task.measure(result.x))
    np.testing.assert_array_equal(result.validity, task.validity(result.x))
    np.testing.assert_array_equal(result.valid, task.validity(result.x) < task.tolerance)
    assert result.key == key(TINY.config) and result.experiment == TINY
    np.testing.assert_array_equal(store.fetch(TINY.training_config).arrays["losses"], model.losses)
    assert ex.training_seconds(TINY, store) > 0
    with pytest.raises(KeyError, match="holds no model of .*seed 1"):
        ex.training_seconds(changed(TINY, seed=1), store)
    events = [json.loads(line) for line in Path(os.environ["PHYSMIS_PROGRESS"]).read_text().splitlines()]
    assert (events[-1]["done"], events[-1]["total"]) == (5, 5)
    assert events[0]["label"] == f"train {TINY}" and "cone(steps=8), seed 0" in events[0]["label"]


def test_samples_have_the_same_bytes_however_many_threads_there_were(store):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        cached(samples(TINY), store)
    finally:
        torch.set_num_threads(before)
    first = contents(store.root)
    store.path(TINY.config).unlink()
    store.path(TINY.training_config).write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="made anew"):
        cached_all([samples(TINY)], store)
    assert contents(store.root) == first


def test_treatments_reach_training_and_sampling(store):
    base = changed(TINY, samples=16)
    plain = cached(samples(base), store)
    uneven = tuple(np.linspace(0, 2, len(base.task.quantity.bins()) - 1).tolist())
    weighted = cached(samples(changed(base, treatment=mitigations.Reweighted(uneven))), store)
    assert not np.array_equal(weighted.x, plain.x)

    asked = cached(samples(changed(base, treatment=mitigations.Conditioned())), store)
    prior, rng = base.task.quantity.prior, np.random.default_rng([0, ex.SAMPLE])
    np.testing.assert_array_equal(asked.requested, prior.ppf(rng.random(16)))
    model = trained(asked.experiment, store)
    np.testing.assert_array_equal(asked.x, model.sample(16, rng, {}, asked.requested))

    mapped = changed(base, treatment=mitigations.InCoordinates(WARP))
    y = trained(mapped, store).sample(16, np.random.default_rng([0, ex.SAMPLE]))
    np.testing.assert_allclose(cached(samples(mapped), store).x, WARP.inverse(y), rtol=1e-6)
    with pytest.raises(ValueError, match="expected a model that is given no steps"):
        changed(mapped, model=GIVEN.model)


def test_given_steps_are_those_of_the_rows_that_are_told(store):
    result, x = cached(samples(GIVEN), store), training_set(GIVEN, store).x
    rows = np.random.default_rng([0, ex.SAMPLE]).integers(64, size=12)
    np.testing.assert_array_equal(result.row, rows)
    for step in GIVEN.model.given:
        np.testing.assert_allclose(result.x[:, step], x[rows, step], atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_diverging_training_names_itself_and_leaves_no_model(store):
    with pytest.raises(FloatingPointError, match="unet.* on cone.*seed 0: "):
        cached(samples(changed(TINY, rate=1e30)), store)
    assert not (store.root / "model").exists() and not (store.root / "samples").exists()


@dataclasses.dataclass(frozen=True)
class Collected(Cone):
    """A task whose trajectories come in chunks of four, as those of the maze do."""

    name: ClassVar[str] = "collected"
    chunk: ClassVar[int] = 4
    recording: ClassVar[dict] = {"name": "collected"}

    def collect(self, number):
        return {"x": Cone.sample(self, 4, np.random.default_rng(number)).x}

    def batch(self, x):
        return tasks.Batch(x, self.measure(x))


def test_chunks_of_demonstrations_are_shared_by_seeds_and_collected_once(store):
    one = Experiment(Collected(steps=8), dataclasses.replace(TINY.model, batch=4), data=6, samples=3, seed=0)
    chunks = [[j.config["chunk"] for j in ex.needed_demonstrations(one, fresh)] for fresh in (False, True)]
    assert chunks == [[0, 1], [2, 3]] and not ex.needed_demonstrations(TINY)
    two = changed(one, seed=1)
    cached_all([samples(one), samples(two), kernel_draws(one, "exchange", {"width": 0.5})], store)
    assert {path.stem for path in store.root.glob("demonstrations/*")} == {
        key(ex.demonstrations(one.task, number).config) for number in range(4)
    }
    x = np.concatenate([one.task.collect(number)["x"] for number in range(4)])
    np.testing.assert_array_equal(training_set(one, store).x, x[:6])
    np.testing.assert_array_equal(training_set(two, store).x, x[:6])
    np.testing.assert_array_equal(ex.fresh_set(one, store).x, x[8:14])
    with pytest.raises(ValueError, match="expected a task that collects demonstrations, got 'cone'"):
        ex.demonstrations(TINY.task, 0)
