import dataclasses
import json
import os
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import uniform
from support import GIVEN, TINY, contents

from physmis import coordinates, drift, mitigations, tasks
from physmis.experiments import experiment as ex
from physmis.experiments.executions import executions
from physmis.experiments.experiment import Experiment, samples, trained, training, training_set
from physmis.experiments.kernel_draws import kernel_draws
from physmis.experiments.parallel import cached, cached_all, whole
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
        return {"uniform": "ramp", "multistep": "ancestral"}[value]
    return value + 8 if isinstance(value, int) else value * 0.99


def standard(task, model, seed=0, treatment=None, **sizes):
    profile = PROFILES["standard"]
    network = build(model, **(sizes or profile.models[model]))
    return Experiment(load(task), network, profile.data, profile.samples, seed, treatment)


def drawn(experiment, store):
    """The trajectories that an experiment's model has generated."""
    return whole(samples(experiment), store).arrays["x"]


def as_stored(z, quantity=TINY.task.quantity):
    return quantity.decode(quantity.encode(z))


CONE, PLANNER = standard("cone", "unet"), standard("maze", "planner", seed=2)
CHAIN = mitigations.InCoordinates(coordinates.Chain(coordinates.Increments(), WARP))
# Beginnings of the keys of stored results of the standard profile. They change only together with results.
STANDING = {
    "47cf34bb9217": samples(standard("sine", "unet")),
    "a5443e092470": samples(standard("cone", "transformer", seed=1)),
    "ff527a336966": samples(standard("logistic", "vae")),
    "c4f6405d19c7": samples(standard("pendulum", "mlp")),
    "10ea10d86939": samples(PLANNER),
    "bbcbcafddc54": training(CONE),
    "ceec6cc5604e": samples(standard("sine", "unet", 0, mitigations.Reweighted((1.0,) * 26))),
    "43b8f732b9f9": samples(standard("cone", "mlp", 0, mitigations.Conditioned())),
    "c829c71a16d0": samples(standard("sine", "unet", 0, CHAIN)),
    "483c4b65e0c2": kernel_draws(CONE, "isotropic", {"scale": 0.1}),
    "c28ac8367264": kernel_draws(CONE, "round_trip", {"strength": 0.5}, CONE),
    "1c33fffdf90d": executions(PLANNER, 64),
    "43395baa3651": ex.demonstrations(PLANNER.task, 3),
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
        *(changed(TINY, treatment=mitigations.Reweighted(w)) for w in ((1.0, 2.0), (2.0, 1.0))),
    ]
    assert len({key(one.config) for one in (TINY, *others)}) == len(others) + 1


def test_training_does_not_depend_on_how_samples_are_drawn():
    for one in (changed(TINY, sampler_steps=5), changed(TINY, sampler="ancestral"), changed(TINY, samples=7)):
        assert key(one.training_config) == key(TINY.training_config) and key(one.config) != key(TINY.config)


def test_training_sets_are_a_stream_of_their_own(store):
    again, other = training_set(changed(TINY, samples=9), store), training_set(changed(TINY, seed=1), store)
    data = training_set(TINY, store)
    np.testing.assert_array_equal(data.x, again.x)
    np.testing.assert_array_equal(data.x, TINY.task.sample(300, np.random.default_rng([0, ex.DATA])).x)
    assert data.x.shape == (300, 8, 1) and not np.isin(data.z, other.z).any()


def test_no_two_random_streams_coincide():
    streams = (ex.DATA, ex.FIT, ex.SAMPLE, ex.KERNEL, ex.ROWS)
    names = [*range(20)] + [[seed, stream] for seed in range(20) for stream in streams]
    first = [int(np.random.default_rng(name).integers(2**63)) for name in names]
    assert len(set(first)) == len(names) == 20 * 6


def test_samples_are_what_the_trained_model_draws_and_the_task_measures(store):
    result, task, x = cached(samples(TINY), store), TINY.task, drawn(TINY, store)
    model = build(**TINY.model.config())
    model.fit(training_set(TINY, store).x, rng=np.random.default_rng([0, ex.FIT]))
    np.testing.assert_array_equal(x, model.sample(64, np.random.default_rng([0, ex.SAMPLE])))
    assert x.shape == (64, 8, 1) and x.dtype == np.float32
    np.testing.assert_array_equal(result.z, as_stored(task.measure(x)))
    np.testing.assert_array_equal(result.validity, task.validity(x).astype(np.float16))
    np.testing.assert_array_equal(result.valid, result.validity < task.tolerance)
    assert result.z.dtype == result.validity.dtype == float
    assert result.key == key(TINY.config) and result.experiment == TINY
    small = {name: array.dtype for name, array in store.fetch(TINY.config).arrays.items()}
    assert small == {"z": np.int16, "validity": np.float16}
    assert store.fetch(TINY.training_config).arrays == {}
    weights = whole(training(TINY), store)
    np.testing.assert_array_equal(weights.arrays["losses"], model.losses)
    assert 0 < cached(training(TINY), store).meta["seconds"] == weights.meta["seconds"]
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
    with pytest.warns(UserWarning, match="computed again"):
        cached_all([samples(TINY)], store)
    assert contents(store.root) == first


def test_treatments_reach_training_and_sampling(store):
    base = changed(TINY, samples=16)
    uneven = tuple(np.linspace(0, 2, len(base.task.quantity.bins()) - 1).tolist())
    weighted = changed(base, treatment=mitigations.Reweighted(uneven))
    assert not np.array_equal(drawn(weighted, store), drawn(base, store))

    asked = cached(samples(changed(base, treatment=mitigations.Conditioned())), store)
    prior, rng = base.task.quantity.prior, np.random.default_rng([0, ex.SAMPLE])
    requested = prior.ppf(rng.random(16))
    np.testing.assert_array_equal(asked.requested, as_stored(requested))
    wanted = trained(asked.experiment, store).sample(16, rng, {}, requested)
    np.testing.assert_array_equal(drawn(asked.experiment, store), wanted)

    mapped = changed(base, treatment=mitigations.InCoordinates(WARP))
    y = trained(mapped, store).sample(16, np.random.default_rng([0, ex.SAMPLE]))
    np.testing.assert_allclose(drawn(mapped, store), WARP.inverse(y), rtol=1e-6)
    with pytest.raises(ValueError, match="expected coordinates that keep them, got 'warp', which keeps"):
        changed(mapped, model=GIVEN.model)


def test_given_steps_are_those_of_the_rows_that_are_told(store):
    result, x = cached(samples(GIVEN), store), training_set(GIVEN, store).x
    rows = np.random.default_rng([0, ex.SAMPLE]).integers(64, size=12)
    np.testing.assert_array_equal(result.row, rows)
    for step in GIVEN.model.given:
        np.testing.assert_allclose(drawn(GIVEN, store)[:, step], x[rows, step], atol=1e-5)


def test_an_excerpt_has_rows_of_the_large_array_and_nothing_else(store):
    job = ex.excerpt(samples(TINY), np.array([5, 0, 63]))
    np.testing.assert_array_equal(cached(job, store), drawn(TINY, store)[[5, 0, 63]])
    assert store.fetch_whole(job.config).arrays.keys() == {"x"}
    assert not store.path(job.config).with_suffix(".large.npz").exists()
    losses = ex.excerpt(training(TINY), [4], "losses")
    assert cached(losses, store) == whole(training(TINY), store).arrays["losses"][4]
    others = (job, losses, ex.excerpt(samples(TINY), [0, 5, 63]), ex.excerpt(samples(GIVEN), [5, 0, 63]))
    assert len({key(other.config) for other in others}) == 4


QUANTITY = tasks.Quantity("q", "q", "m", uniform(-1.25, 3.5))


@settings(deadline=None, derandomize=True)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=50))
def test_a_quantity_is_stored_to_half_a_level_and_never_in_another_bin(ranges):
    """Of three ranges to both sides of the lower end."""
    low, high = QUANTITY.prior.support()
    z, level = low + (high - low) * np.array(ranges), (high - low) / tasks.base.LEVELS
    found = as_stored(z, QUANTITY)
    assert QUANTITY.encode(z).dtype == np.int16
    np.testing.assert_allclose(found, z, rtol=0, atol=level / 2 * (1 + 1e-9))
    np.testing.assert_array_equal(as_stored(found, QUANTITY), found)
    for n in (40, 20):
        edges = QUANTITY.bins(n)
        inside = np.abs(z[:, None] - edges).min(axis=1) > 1e-12  # on an edge the last digit decides
        np.testing.assert_array_equal(
            drift.bin_of(found, edges)[inside], drift.bin_of(z, edges)[inside], str(n)
        )


def test_quantities_and_residuals_beyond_what_can_be_stored_are_clipped():
    low, high = QUANTITY.prior.support()
    limits = np.array([-1e9, low - 4 * (high - low), low + 4 * (high - low), 1e9])
    assert QUANTITY.encode(limits).tolist() == [-32768] * 2 + [32767] * 2
    np.testing.assert_allclose(
        as_stored(limits, QUANTITY)[[0, -1]], low + np.array([-3.2, 3.2]) * 3.5, atol=2e-4
    )
    bins = drift.bin_of(as_stored(limits, QUANTITY), QUANTITY.bins())
    np.testing.assert_array_equal(bins, drift.bin_of(limits, QUANTITY.bins()))
    np.testing.assert_array_equal(ex.half(np.array([0.0, 0.25, 1e9, np.inf])), [0.0, 0.25, 6e4, 6e4])


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

    def collect(self, number):
        x = Cone.sample(self, 4, np.random.default_rng(number)).x
        return {"x": x, "cells": np.full((4, 2), number, dtype=np.uint8)}

    def batch(self, x):
        return tasks.Batch(x, self.measure(x))


def test_chunks_of_demonstrations_are_shared_by_seeds_and_collected_once(store):
    one = Experiment(Collected(steps=8), dataclasses.replace(TINY.model, batch=4), data=6, samples=3, seed=0)
    assert [job.config["chunk"] for job in ex.needed_demonstrations(one)] == [0, 1]
    assert not ex.needed_demonstrations(TINY)
    two = changed(one, seed=1)
    cached_all([samples(one), samples(two), kernel_draws(one, "tangent", {"reach": 0.2})], store)
    addresses = [key(ex.demonstrations(one.task, number).config) for number in range(2)]
    names = {f"{address}{size}.npz" for address in addresses for size in ("", ".large")}
    assert {path.name for path in store.root.glob("demonstrations/*")} == names
    x = np.concatenate([one.task.collect(number)["x"] for number in range(2)])
    np.testing.assert_array_equal(training_set(one, store).x, x[:6])
    np.testing.assert_array_equal(training_set(two, store).x, x[:6])
    chunk = cached(ex.demonstrations(one.task, 1), store)
    assert chunk.keys() == {"z", "cells"}
    np.testing.assert_array_equal(chunk["z"], as_stored(one.task.measure(x[4:8]), one.task.quantity))
    np.testing.assert_array_equal(chunk["cells"], np.ones((4, 2)))
    with pytest.raises(ValueError, match="expected a task that collects demonstrations, got 'cone'"):
        ex.demonstrations(TINY.task, 0)
