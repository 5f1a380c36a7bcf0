"""How long jobs will take, by what results of their sort took, and what is said of it before."""

import json
import os

import numpy as np
import pytest

from physmis.experiments.estimates import estimate, forewarning
from physmis.experiments.parallel import Job, cached_all
from physmis.experiments.store import Store, key


def model(number, name="unet", cost=1.0):
    config = {"kind": "model", "model": {"name": name}, "number": number}
    return Job(config, lambda store, device: {"number": np.array(number)}, cost=cost)


def draws(kernel, number, cost=1.0):
    config = {"kind": "deviation", "kernel": kernel, "model": {"of": {}}, "number": number}
    return Job(config, lambda store, device: {}, cost=cost)


@pytest.fixture(autouse=True)
def _no_results_of_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setenv("PHYSMIS_ROOT", str(tmp_path))


def put(store, job, seconds):
    store.put(job.config, {}, seconds, "cpu", cost=job.cost)


def seconds_of(jobs, store):
    found = estimate(jobs, store)
    return [found[key(job.config)] for job in jobs]


def test_a_job_takes_its_cost_at_the_median_pace_of_its_sort(tmp_path):
    store = Store(tmp_path / "store", tmp_path / "results")
    for number, (seconds, cost) in enumerate([(10.0, 5.0), (30.0, 10.0), (900.0, 10.0)]):
        put(store if number else Store(store.results), model(number, cost=cost), seconds)
    put(store, model(0, "vae"), 7.0)
    put(store, draws("tangent", 0, cost=1000.0), 4.0)
    put(store, draws("pilot", 0, cost=1000.0), 50.0)
    wanted = [
        (model(9, cost=20.0), 60.0),  # 2, 3 and 90 seconds for each unit of cost
        (model(9, "vae", cost=3.0), 21.0),
        (model(9, "mlp", cost=3.0), 0.0),  # never made before
        (draws("tangent", 9, cost=500.0), 2.0),
        (draws("pilot", 9, cost=2000.0), 100.0),
    ]
    jobs, seconds = zip(*wanted, strict=True)
    assert seconds_of(jobs, store) == pytest.approx(seconds)


def test_a_store_without_stored_results_of_its_own_goes_by_those_of_the_repository(tmp_path):
    put(Store(tmp_path / "results" / "standard"), model(0), 5.0)
    assert seconds_of([model(1)], Store(tmp_path / "store")) == [5.0]
    assert seconds_of([model(1)], Store(tmp_path / "store", tmp_path / "others")) == [0.0]


def test_samples_take_the_time_of_samples_of_such_a_model(tmp_path):
    store = Store(tmp_path)
    jobs = [
        Job({"kind": "samples", "of": {"model": {"name": name}}}, None, cost=2.0) for name in ("unet", "vae")
    ]
    put(store, jobs[0], 6.0)
    assert seconds_of(jobs, store) == [6.0, 0.0]


def test_without_a_cost_jobs_of_a_sort_take_equally_long_and_damaged_files_tell_nothing(tmp_path):
    store = Store(tmp_path)
    for number, seconds in enumerate((1.0, 2.0, 6.0)):
        put(store, model(number, cost=0.0), seconds)
    put(store, model(4, cost=0.0), 1e9)
    store.path(model(4).config).write_bytes(b"damaged")
    np.savez(tmp_path / "model" / "of_an_earlier_form.npz", meta=json.dumps({"config": model(5).config}))
    assert seconds_of([model(9, cost=0.0)], store) == [2.0]
    assert store.path(model(4).config).exists()  # whoever needs it will be told


def test_what_takes_more_than_20_seconds_is_told_with_models_time_and_processes():
    models, rest = [model(number) for number in range(3)], [draws("pilot", number) for number in range(4)]

    def told(seconds, workers=2):
        return forewarning([*models, *rest], {key(job.config): seconds for job in (*models, *rest)}, workers)

    assert told(5.7) is None and told(2.8, workers=1) is None
    assert told(6.0) == "To compute: 3 models, 4 other results; about 21 s on 2 processes."
    assert told(300.0, workers=1).endswith("; about 35 min on 1 process.")


def test_models_of_unknown_time_are_told_and_other_results_are_not():
    known, unknown = model(0), model(1, "vae")
    seconds = {key(known.config): 300.0, key(unknown.config): 0.0}
    text = forewarning([known, unknown], seconds, 1)
    never = "not counting 1 models of a sort never trained before."
    assert f"To compute: 2 models, 0 other results; about 5 min on 1 process, {never}" in text
    assert f" on 2 processes, {never}" in forewarning([unknown], {key(unknown.config): 0.0}, 2)
    assert forewarning([draws("pilot", 0)], {key(draws("pilot", 0).config): 0.0}, 2) is None


def test_it_is_told_before_anything_is_computed(store, capsys, monkeypatch):
    put(store, model(0, cost=1.0), 1.0)
    monkeypatch.delenv("PHYSMIS_PROGRESS")
    need, told = model(1, cost=300.0), []

    def compute(store, device):
        told.append(capsys.readouterr().out)
        return {}

    cached_all([Job({"kind": "figures"}, compute, (need,))], store, advice="Wait.")
    (text,) = told
    assert text == "To compute: 1 models, 1 other results; about 5 min on 1 process. Wait.\n"
    cached_all([model(2, cost=19.0)], store)
    assert capsys.readouterr().out == "" and len(told) == 1 and "PHYSMIS_PROGRESS" not in os.environ
