import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

from physmis import kernels
from physmis.experiments.experiment import FRESH, KERNEL, Experiment, run, run_all
from physmis.experiments.kernel_draws import Deviation
from physmis.experiments.store import key
from physmis.models import build
from physmis.paper.profiles import PROFILES, resolve
from physmis.tasks import load

BASE = Experiment(
    load("cone", steps=8),
    build("unet", width=8, steps=100, batch=32, sampler_steps=4),
    data=300,
    samples=64,
    seed=0,
)
THREE = [dataclasses.replace(BASE, seed=seed) for seed in (0, 1, 2)]
TINY = dataclasses.replace(BASE, model=dataclasses.replace(BASE.model, steps=5))

# What the killed process runs; it says where it stands in the file $PHYSMIS_PROGRESS.
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from physmis.experiments.experiment import run_all
from test_experiment import THREE

if __name__ == "__main__":
    run_all(THREE)
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Files of the three experiments, run one after the other in a store of their own."""
    root = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHYSMIS_STORE", str(root))
        for experiment in THREE:
            run(experiment)
    return files(root)


@pytest.fixture
def two_workers(monkeypatch):
    """Two processes, fresh ones, and none left afterwards."""
    monkeypatch.setenv("PHYSMIS_JOBS", "2")
    get_reusable_executor().shutdown(wait=True)
    yield
    get_reusable_executor().shutdown(wait=True)


def files(root, names=("arrays.npz", "weights.safetensors")):
    """Contents of all files of these names in the finished entries of a store, by their path in it."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for kind in ("model", "samples")
        for path in sorted((Path(root) / kind).rglob("*"))
        if path.name in names
    }


def entry_files(store, config):
    return {path.name: path.read_bytes() for path in store.path(config).iterdir()}


def other(value):
    """Another legal value of a hyperparameter or a task's parameter."""
    if isinstance(value, str):
        return {"velocity": "noise", "multistep": "ddim"}[value]
    return value + 8 if isinstance(value, int) else value * 0.99


# configs


def test_every_field_of_task_model_and_experiment_changes_the_address():
    changed = [
        dataclasses.replace(BASE, **{name: getattr(BASE, name) + 1}) for name in ("data", "samples", "seed")
    ]
    for part in ("task", "model"):
        owner = getattr(BASE, part)
        for field in dataclasses.fields(owner):
            moved = dataclasses.replace(owner, **{field.name: other(getattr(owner, field.name))})
            changed.append(dataclasses.replace(BASE, **{part: moved}))
    changed.append(dataclasses.replace(BASE, task=load("logistic", steps=8)))
    addresses = {key(experiment.config) for experiment in (BASE, *changed)}
    assert len(addresses) == len(changed) + 1
    again = dataclasses.replace(BASE, task=load("cone", steps=8), model=build(**BASE.model.config()))
    assert key(again.config) == key(BASE.config)


def test_training_does_not_depend_on_how_samples_are_drawn():
    sampling = [
        dataclasses.replace(BASE, model=dataclasses.replace(BASE.model, **{field: other(value)}))
        for field, value in (("sampler_steps", BASE.model.sampler_steps), ("sampler", BASE.model.sampler))
    ]
    for experiment in (*sampling, dataclasses.replace(BASE, samples=7)):
        assert key(experiment.training_config) == key(BASE.training_config)
        assert key(experiment.config) != key(BASE.config)
    for field in ("width", "prediction", "steps", "batch", "rate"):
        moved = dataclasses.replace(BASE.model, **{field: other(getattr(BASE.model, field))})
        assert key(dataclasses.replace(BASE, model=moved).training_config) != key(BASE.training_config)


def test_training_sets_of_different_seeds_differ_and_are_repeated():
    one, again, two = (dataclasses.replace(BASE, seed=seed).training_set() for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.x, again.x)
    assert one.x.shape == (300, 8, 1) and not np.isin(one.z, two.z).any()
    assert dataclasses.replace(BASE, data=7).training_set().x.shape == (7, 8, 1)


# running


def test_result_holds_what_the_task_measures_and_the_model_samples(store):
    result = run(TINY)
    task = TINY.task
    assert result.x.shape == (64, 8, 1) and result.x.dtype == np.float32
    np.testing.assert_array_equal(result.z, task.measure(result.x))
    np.testing.assert_array_equal(result.validity, task.validity(result.x))
    np.testing.assert_array_equal(result.valid, task.validity(result.x) < task.tolerance)
    assert result.key == key(TINY.config) and store.path(TINY.config).name == result.key
    # The stored model draws on: same law, other stream; its training is on record.
    assert result.model.sample(3, np.random.default_rng(0)).shape == (3, 8, 1)
    losses = store.fetch(TINY.training_config).arrays["losses"]
    assert losses.shape == (5,) and np.isfinite(losses).all()


def test_second_run_comes_from_the_store(store):
    first, computed = run_all([TINY])
    before = {str(path): path.stat().st_mtime_ns for path in store.root.rglob("*")}
    second, computed_again = run_all([TINY])
    assert (computed, computed_again) == (True, False)
    np.testing.assert_array_equal(first[0].x, second[0].x)
    assert first[0].samples.meta == second[0].samples.meta
    assert {str(path): path.stat().st_mtime_ns for path in store.root.rglob("*")} == before


def test_other_samples_of_a_trained_model_need_no_training(store):
    run(TINY)
    trained = entry_files(store, TINY.training_config)
    more = run(dataclasses.replace(TINY, samples=70))
    finer = run(dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, sampler_steps=8)))
    assert len(more.z) == 70 and not np.array_equal(finer.x, run(TINY).x)
    assert entry_files(store, TINY.training_config) == trained
    assert len(list((store.root / "model").glob("*/*"))) == 1


def test_cold_store_is_rebuilt_byte_for_byte_in_any_order(store, undisturbed):
    results, computed = run_all(THREE[::-1])
    assert computed and [result.experiment.seed for result in results] == [2, 1, 0]
    assert files(store.root) == undisturbed and len(undisturbed) == 2 * 2 * 3
    assert len({result.z.tobytes() for result in results}) == 3


@pytest.mark.end_to_end
def test_two_processes_give_the_bytes_of_one(store, undisturbed, two_workers):
    results, computed = run_all(THREE)
    assert computed and [result.experiment for result in results] == THREE
    assert files(store.root) == undisturbed


@pytest.mark.end_to_end
def test_workers_that_outlive_a_call_follow_to_another_store(store, two_workers, monkeypatch):
    run_all([TINY, dataclasses.replace(TINY, seed=1)])
    before = files(store.root)
    monkeypatch.setenv("PHYSMIS_STORE", str(store.root / "other"))
    run_all([dataclasses.replace(TINY, seed=2), dataclasses.replace(TINY, seed=3)])
    assert len(before) == len(files(store.root / "other")) == 2 * 2 * 2
    assert files(store.root) == before


def test_progress_of_training_is_told_from_first_to_last_step(store):
    run(TINY)
    told = [json.loads(line) for line in Path(os.environ["PHYSMIS_PROGRESS"]).read_text().splitlines()]
    training = [event for event in told if "train" in event["label"]]
    assert (training[0]["done"], training[-1]["done"]) == (0, 5)
    assert {event["total"] for event in training} == {5}
    for word in ("unet", "cone", "seed 0"):
        assert all(word in event["label"] for event in training)


def test_damaged_samples_are_drawn_again_with_a_warning_and_told_as_computed(store):
    first = run(TINY)
    before = files(store.root)
    path = store.path(TINY.config) / "arrays.npz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="damaged"):
        results, computed = run_all([TINY])
    np.testing.assert_array_equal(results[0].x, first.x)
    assert files(store.root) == before
    assert computed


def test_damaged_model_is_trained_again_with_a_warning(store):
    run(TINY)
    before = files(store.root)
    path = store.path(TINY.training_config) / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="damaged"):
        model = run(TINY).model
    assert model.sample(2, np.random.default_rng(0)).shape == (2, 8, 1)
    assert files(store.root) == before


def test_the_cost_of_a_damaged_model_is_known_after_it_was_trained_again(store):
    run(TINY)
    before = files(store.root)
    (store.path(TINY.training_config) / "weights.safetensors").unlink()
    (result,), computed = run_all([TINY])  # which needs the samples only
    with pytest.warns(UserWarning, match="damaged"):
        assert result.seconds_of_training > 0
    assert not computed and files(store.root) == before


def test_experiments_that_share_a_model_train_it_once(store):
    finer = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, sampler_steps=8))
    results, _ = run_all([TINY, finer, TINY])
    assert len(list((store.root / "model").glob("*/*"))) == 1 and len(results) == 3
    np.testing.assert_array_equal(results[0].x, results[2].x)
    told = [json.loads(line) for line in Path(os.environ["PHYSMIS_PROGRESS"]).read_text().splitlines()]
    assert sum(event["label"].startswith("train") and event["done"] == 0 for event in told) == 1


def test_bad_training_data_leave_nothing_in_the_store(store):
    with pytest.raises(ValueError, match="multiple of 4"):
        run(dataclasses.replace(TINY, task=load("cone", steps=10)))
    with pytest.raises(ValueError, match="at least one"):
        run(dataclasses.replace(TINY, data=0))
    assert not any((store.root / kind).exists() for kind in ("model", "samples"))


@pytest.mark.end_to_end
def test_killed_run_starts_again_and_reuses_what_was_complete(store, undisturbed, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(Path(__file__).parent)],
        start_new_session=True,
        env=os.environ.copy(),
    )
    progress = Path(os.environ["PHYSMIS_PROGRESS"])
    try:
        # Killed when the first experiment is complete and the second one is in training.
        deadline = time.monotonic() + 120
        while not (progress.exists() and "seed 1" in progress.read_text()):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    assert code == -signal.SIGKILL
    survivors = {path: path.stat().st_mtime_ns for path in store.root.rglob("*") if path.is_file()}
    complete = files(store.root)
    assert len(list((store.root / "samples").glob("*/*"))) == 1
    assert complete and complete.items() <= undisturbed.items() and complete != undisturbed
    told = len(progress.read_text().splitlines())

    results, computed = run_all(THREE)

    assert computed and files(store.root) == undisturbed
    assert {path: path.stat().st_mtime_ns for path in survivors} == survivors
    again = "".join(progress.read_text().splitlines()[told:])
    assert "seed 0" not in again and "seed 1" in again and "seed 2" in again
    assert not list((store.root / "unfinished").glob("*")) and not (store.root / "damaged").exists()
    assert [len(result.z) for result in results] == [64, 64, 64]


# profiles


def test_unknown_profile_is_refused_naming_the_accepted_ones():
    with pytest.raises(ValueError, match="'fast'.*smoke, workshop, standard, full"):
        resolve("fast")


@pytest.mark.parametrize("name", ["smoke", "workshop", "standard", "full"])
def test_profile_sizes_are_positive_and_build_every_model(name):
    profile = resolve(name)
    assert profile.name == name and set(PROFILES) == {"smoke", "workshop", "standard", "full"}
    assert all(type(size) is int and size > 0 for size in (profile.seeds, profile.data, profile.samples))
    assert set(profile.models) == {"unet", "transformer", "vae", "mlp", "planner"}
    for model, sizes in profile.models.items():
        config = build(model, **sizes).config()
        assert {key: config[key] for key in sizes} == sizes


def test_a_share_of_a_profile_keeps_its_networks_and_falls_below_smoke_in_nothing():
    full, smoke = resolve("full"), resolve("smoke")
    for share in (0.5, 0.01, 0.0001):
        name = f"full@{share:f}"
        part = resolve(name)
        assert part.name == name and part.stamp == f"{100 * share:g} % OF FULL"
        for field in ("seeds", "data", "samples"):
            wanted = max(round(share * getattr(full, field)), getattr(smoke, field))
            assert getattr(part, field) == wanted
        for model, sizes in part.models.items():
            steps = max(round(share * full.models[model]["steps"]), smoke.models[model]["steps"])
            assert sizes == {**full.models[model], "steps": steps}
    assert full == resolve("full") and not full.stamp


@pytest.mark.parametrize(
    "name", ["full@", "full@0", "full@0.0", "full@1.5", "full@1", "full@nan", "full@0.1/x"]
)
def test_a_share_outside_of_0_to_1_is_refused(name):
    with pytest.raises(ValueError, match=f"'{name}': a share between 0 and 1 wanted, such as 'full@0.01'"):
        resolve(name)
    with pytest.raises(ValueError, match="unknown profile 'fulll@0.1'.*accepted"):
        resolve("fulll@0.1")


def test_profiles_grow_in_every_size():
    smoke, workshop, standard, full = (resolve(name) for name in ("smoke", "workshop", "standard", "full"))
    for field in ("seeds", "data", "samples"):
        sizes = [getattr(profile, field) for profile in (smoke, workshop, standard, full)]
        assert sizes == sorted(sizes)
    for model in standard.models:
        configs = [
            build(model, **profile.models[model]).config() for profile in (smoke, workshop, standard, full)
        ]
        for size in ("width", "steps"):
            sizes = [config[size] for config in configs]
            assert sizes == sorted(sizes) and sizes[0] < sizes[2] < sizes[3]
        assert configs[0]["steps"] < configs[1]["steps"] < configs[2]["steps"]


# deviations

TANGENT = Deviation(TINY, "tangent", {"reach": 0.2})
TRIP = Deviation(TINY, "round_trip", {"strength": 0.5}, TINY)
PILOT = Deviation(dataclasses.replace(TINY, seed=1), "pilot", {"strength": 0.5, "scale": 0.1}, TINY)


def trainings():
    """How many models were trained, as the progress file tells."""
    path = Path(os.environ["PHYSMIS_PROGRESS"])
    told = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return sum(event["label"].startswith("train") and event["done"] == 0 for event in told)


def landing_files(root):
    return {path.parent.name: path.read_bytes() for path in Path(root).glob("deviation/*/*/arrays.npz")}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("name", "parameters", "make"),
    [
        ("isotropic", {"scale": 0.1}, lambda x, fresh: kernels.IsotropicKernel(0.1, x.std(axis=(0, 1)))),
        ("neighbour", {"width": 0.0, "deviation": 0.0}, lambda x, fresh: kernels.NeighbourKernel(x)),
        (
            "neighbour",
            {"width": 0.3, "deviation": 0.1},
            lambda x, fresh: kernels.NeighbourKernel(x, 0.3, 0.1),
        ),
        ("exchange", {"width": 0.5}, lambda x, fresh: kernels.ExchangeKernel(fresh, 0.5)),
        ("tangent", {"reach": 0.2}, lambda x, fresh: kernels.TangentKernel(x, 0.2)),
    ],
)
def test_landing_is_where_the_kernel_takes_the_first_of_the_training_set(store, seed, name, parameters, make):
    of = dataclasses.replace(TINY, seed=seed)
    landing = run(Deviation(of, name, parameters))
    data, task = of.training_set(), of.task
    fresh = task.sample(300, np.random.default_rng([seed, FRESH])).x
    assert not np.isin(fresh, data.x).any()
    moved = make(data.x, fresh).deviate(data.x[:64], np.random.default_rng([seed, KERNEL]))
    np.testing.assert_allclose(landing.z, data.z[:64], atol=1e-6)
    np.testing.assert_array_equal(landing.landed, task.measure(moved))
    np.testing.assert_array_equal(landing.validity, task.validity(moved))
    assert (landing.landed != landing.z).all()
    assert trainings() == 0 and not (store.root / "model").exists()


def test_transition_of_a_landing_is_over_the_bins_of_the_quantity(store):
    landing = run(TANGENT)
    edges, found = TINY.task.quantity.bins(), landing.transition
    counts = np.histogram2d(landing.z, landing.landed, [edges, edges])[0]
    held = counts.any(axis=1)
    np.testing.assert_allclose(found.matrix[held], counts[held] / counts[held].sum(axis=1, keepdims=True))
    assert counts.sum() == 64 and held.sum() > 20


def test_second_deviation_comes_from_the_store(store):
    first, computed = run_all([TANGENT, TRIP])
    before = {str(path): path.stat().st_mtime_ns for path in store.root.rglob("*")}
    second, computed_again = run_all([TANGENT, TRIP])
    assert (computed, computed_again) == (True, False)
    for one, other, item in zip(first, second, (TANGENT, TRIP), strict=True):
        np.testing.assert_array_equal(one.landed, other.landed)
        assert one.deviation == other.deviation == item
        assert one.key == key(item.config) == store.path(item.config).name
    assert {str(path): path.stat().st_mtime_ns for path in store.root.rglob("*")} == before
    assert trainings() == 1


def test_address_of_a_deviation_depends_on_all_that_it_is_made_of():
    def of(**changes):
        return dataclasses.replace(TRIP, of=dataclasses.replace(TINY, **changes))

    def asked(**changes):
        return dataclasses.replace(TRIP, model=dataclasses.replace(TINY, **changes))

    def network(**changes):
        return asked(model=dataclasses.replace(TINY.model, **changes))

    changed = [
        Deviation(TINY, "pilot", {"strength": 0.5, "scale": 0.1}, TINY),
        Deviation(TINY, "pilot", {"strength": 0.5, "scale": 0.2}, TINY),
        dataclasses.replace(TRIP, parameters={"strength": 0.4}),
        *(of(samples=63), of(data=301), of(seed=1), of(task=load("cone", steps=12))),
        *(asked(seed=1), asked(data=301), network(steps=6), network(sampler_steps=5), network(width=16)),
        Deviation(TINY, "neighbour", {"width": 0.5, "deviation": 0.0}),
        Deviation(TINY, "exchange", {"width": 0.5}),
    ]
    assert len({key(item.config) for item in (TRIP, *changed)}) == len(changed) + 1
    # Neither how many samples the asked model draws elsewhere, nor what is trained on the data, plays a part.
    same = [
        asked(samples=7),
        of(model=dataclasses.replace(TINY.model, width=16)),
        dataclasses.replace(TRIP, parameters={"strength": 0.5}),
    ]
    assert {key(item.config) for item in same} == {key(TRIP.config)}


def test_a_model_is_trained_once_for_its_samples_and_all_deviations_that_ask_it(store):
    # What shares these goes to one worker.
    assert TRIP.training_config == PILOT.training_config == TINY.training_config != TANGENT.training_config
    weaker = dataclasses.replace(TRIP, parameters={"strength": 0.2})
    results, _ = run_all([TRIP, PILOT, TINY, weaker])
    assert trainings() == 1 and len(list((store.root / "model").glob("*/*"))) == 1
    trip, pilot, drawn, less = results
    np.testing.assert_array_equal(drawn.x, run(TINY).x)
    # The round trip is that of the stored model; the pilot is asked about the other training set.
    x, task, rng = TINY.training_set().x[:64], TINY.task, np.random.default_rng([0, KERNEL])
    np.testing.assert_allclose(trip.landed, task.measure(drawn.model.perturb(x, 0.5, rng)), rtol=1e-6)
    x, rng = PILOT.of.training_set().x[:64], np.random.default_rng([1, KERNEL])
    moved = x + 0.1 * (drawn.model.perturb(x, 0.5, rng) - x)
    np.testing.assert_allclose(pilot.landed, task.measure(moved), rtol=1e-6)
    assert np.abs(less.landed - less.z).mean() < np.abs(trip.landed - trip.z).mean()


@pytest.mark.end_to_end
def test_deviations_in_two_processes_have_the_bytes_of_one(store, two_workers, monkeypatch):
    work = [TANGENT, TRIP, PILOT, Deviation(TINY, "exchange", {"width": 0.5})]
    run_all(work)
    both = landing_files(store.root)
    monkeypatch.setenv("PHYSMIS_STORE", str(store.root / "other"))
    monkeypatch.setenv("PHYSMIS_JOBS", "1")
    landings, computed = run_all(work[::-1])
    assert computed and [landing.deviation for landing in landings] == work[::-1]
    assert landing_files(store.root / "other") == both and len(both) == 4


@pytest.mark.parametrize(
    ("name", "parameters", "model", "told"),
    [
        (
            "nearest",
            {},
            None,
            "'nearest'; accepted: isotropic, neighbour, exchange, tangent, pilot, round_trip",
        ),
        ("tangent", {"reahc": 0.1}, None, "'tangent': .*; accepted: reach"),
        ("tangent", {}, None, "'tangent': missing .*'reach'; accepted: reach"),
        ("isotropic", {"scale": 0.1, "spread": 1.0}, None, "'isotropic': .*'spread'; accepted: scale"),
        ("neighbour", {"data": 1.0}, None, "'neighbour': .*'data'; accepted: width, deviation"),
        ("pilot", {"strength": 0.5}, TINY, "'pilot': missing .*'scale'; accepted: strength, scale"),
        ("round_trip", {"strength": 0.5}, None, "'round_trip' asks a trained model, and none was given"),
        (
            "exchange",
            {"width": 0.5},
            TINY,
            "'exchange' asks no model, but one was given; pilot and round_trip",
        ),
    ],
)
def test_deviation_that_cannot_be_made_is_refused_before_any_training(name, parameters, model, told):
    with pytest.raises(ValueError, match=told):
        Deviation(TINY, name, parameters, model)


def test_value_that_a_kernel_refuses_leaves_nothing_in_the_store(store):
    with pytest.raises(ValueError, match="reach must be positive"):
        run(Deviation(TINY, "tangent", {"reach": 0.0}))
    assert not (store.root / "deviation").exists()
