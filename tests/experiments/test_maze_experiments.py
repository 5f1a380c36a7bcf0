"""Experiments in the maze: demonstrations are collected once and stored; plans are made and executed."""

import dataclasses

import numpy as np
import pytest

from physmis.experiments.experiment import Collection, Experiment, run, run_all
from physmis.experiments.kernel_draws import Deviation
from physmis.experiments.planning import Execution
from physmis.experiments.store import Store, key
from physmis.kernels import HeldEnds
from physmis.models import build
from physmis.tasks import load
from physmis.tasks.maze_demonstrations import SETTINGS, collect

COLLECT = "physmis.tasks.maze_demonstrations.collect"


@pytest.fixture(scope="module")
def task():
    return load("maze", maze="umaze", low=3.0, high=6.0, separations=2)


@pytest.fixture(scope="module")
def chunk(task):
    return collect(task, 0)


@pytest.fixture(scope="module")
def store(task, chunk, tmp_path_factory):
    """A store that holds the first chunk."""
    store = Store(tmp_path_factory.mktemp("store"))
    store.put(Collection(task, 0).config, arrays=chunk, seconds=0.0, device="cpu")
    return store


def experiment(task, name="planner", **changes):
    model = build(name, **{"width": 8, "steps": 30, "batch": 32, "sampler_steps": 4, **changes})
    return Experiment(task, model, data=task.chunk, samples=20, seed=0)


def test_collected_chunks_serve_all_seeds_and_channels(task, store, monkeypatch):
    e = experiment(task)
    data = e.training_set(store)
    assert data.x.shape == (480, 64, 2)
    np.testing.assert_array_equal(data.z, task.measure(data.x))
    monkeypatch.setattr(COLLECT, None)  # nothing is collected again
    np.testing.assert_array_equal(dataclasses.replace(e, seed=5).training_set(store).x, data.x)
    more = dataclasses.replace(e, task=dataclasses.replace(task, velocities=True)).training_set(store)
    np.testing.assert_array_equal(more.x[..., :2], data.x)
    assert more.x.shape == (480, 64, 4)


def test_a_crash_loses_one_chunk_at_most(task, chunk, tmp_path, monkeypatch):
    store, asked = Store(tmp_path / "store"), []

    def collect_or_crash(task, number):
        asked.append(number)
        if len(asked) == 2:
            raise MemoryError("crash")
        return chunk

    monkeypatch.setattr(COLLECT, collect_or_crash)
    e = dataclasses.replace(experiment(task), data=2 * task.chunk)
    with pytest.raises(MemoryError):
        e.training_set(store)
    assert e.training_set(store).x.shape == (960, 64, 2)
    assert asked == [0, 1, 1]


def test_collect_train_plan_execute(task, store):
    e = experiment(task)
    made = run(e, root=store.root)
    assert made.x.shape == (20, 64, 2) and np.isfinite(made.x).all()
    data, rows = e.training_set(store).x, made.samples.arrays["row"]
    for step in (0, -1):
        np.testing.assert_allclose(made.x[:, step], data[rows, step], atol=1e-5)
    done = run(Execution(e, plans=3), root=store.root).arrays
    assert done["x"].shape == (3, 64, 4) and (done["effort"] > 0).all()
    np.testing.assert_allclose(done["x"][:, 0, :2], made.x[:3, 0], atol=1e-5)
    own = run(Execution(e, plans=20, demonstrations=True), root=store.root).arrays
    assert own["success"].all()  # demonstrations can be followed
    assert np.linalg.norm(own["x"][..., :2] - data[rows], axis=-1).mean() < 0.02
    np.testing.assert_allclose(task.distance(own["x"]), task.measure(data[rows]), atol=0.2)


def test_deviations_of_a_planner_keep_the_ends(task, store, monkeypatch):
    e = experiment(task)
    seen = []
    monkeypatch.setattr(
        HeldEnds,
        "deviate",
        lambda self, x, rng, real=HeldEnds.deviate: seen.append((x, real(self, x, rng))) or seen[-1][1],
    )
    run(Deviation(e, "isotropic", {"scale": 0.1}), root=store.root)
    x, moved = seen[0]
    np.testing.assert_allclose(moved[:, [0, -1]], x[:, [0, -1]], atol=1e-6)
    assert np.abs(moved - x).mean() > 0.05
    assert (
        Deviation(e, "isotropic", {"scale": 0.1}).config
        != Deviation(experiment(task, "unet"), "isotropic", {"scale": 0.1}).config
    )


@pytest.mark.end_to_end
def test_items_run_side_by_side(task, chunk, tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    store.put(Collection(task, 0).config, arrays=chunk, seconds=0.0, device="cpu")
    monkeypatch.setenv("PHYSMIS_STORE", str(store.root))
    monkeypatch.setenv("PHYSMIS_JOBS", "2")
    other = dataclasses.replace(experiment(task), seed=1)
    (made, done), cold = run_all([experiment(task), Execution(other, plans=2)])
    assert cold and made.x.shape == (20, 64, 2) and done.arrays["x"].shape == (2, 64, 4)


def test_demonstrations_are_collected_once_before_what_needs_them(task, chunk, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(COLLECT, lambda task, number: asked.append(number) or chunk)
    monkeypatch.setenv("PHYSMIS_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PHYSMIS_JOBS", "1")
    e = experiment(task)
    run_all([Deviation(dataclasses.replace(e, seed=s), "isotropic", {"scale": 0.1}) for s in (0, 1)])
    assert asked == [0]
    run_all([Deviation(e, "exchange", {"width": 0.5})])  # needs as many others
    assert asked == [0, 1]


def test_executions_that_cannot_be_are_refused(task):
    with pytest.raises(ValueError, match="from 1 to the experiment's 20 samples wanted, got 21"):
        Execution(experiment(task), plans=21)
    with pytest.raises(ValueError, match="'unet' is given no start and goal"):
        Execution(experiment(task, "unet"), plans=2, demonstrations=True)


def test_what_a_demonstration_depends_on_is_in_every_key(task, monkeypatch):
    parts = (Collection(task, 0), experiment(task), Execution(experiment(task), 2))
    before = [key(part.config) for part in parts]
    monkeypatch.setitem(SETTINGS, "noise", 0.6)
    assert all(key(part.config) != old for part, old in zip(parts, before, strict=True))
