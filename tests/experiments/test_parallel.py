"""Cached calls, one after another, over processes, and over the workers of a real Dask scheduler."""

import dataclasses
import os
import time

import numpy as np
import pytest
from distributed import LocalCluster
from joblib.externals.loky import get_reusable_executor
from support import TINY, contents

from physmis.experiments.experiment import samples
from physmis.experiments.kernel_draws import kernel_draws
from physmis.experiments.parallel import Job, _with_needs, cached, cached_all, job_count, whole
from physmis.experiments.store import Store
from physmis.paper import regenerate

WORK = [
    *(samples(dataclasses.replace(TINY, seed=seed)) for seed in range(3)),
    samples(dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, sampler_steps=8))),  # same model
    kernel_draws(TINY, "round_trip", {"strength": 0.5}, TINY),
    kernel_draws(dataclasses.replace(TINY, seed=1), "tangent", {"reach": 0.2}),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the work gives one after the other: its results, and the contents of the store."""
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    return [cached(job, store) for job in WORK], contents(store.root)


class Calls:
    """Jobs that note the order in which they are computed."""

    def __init__(self):
        self.made = []

    def job(self, name, *needs, cost=0.0):
        def compute(store, device):
            assert [str(whole(need, store, device).arrays["weights"]) for need in needs] == ["dear"] * len(
                needs
            )
            self.made.append(name)
            return {"name": np.array(name), "device": np.array(device), "weights": np.array("dear")}

        config, small = {"kind": "call", "name": name}, ("name", "device")
        return Job(config, compute, needs, lambda entry: str(entry.arrays["name"]), small, cost)


def test_a_job_and_its_needs_are_computed_once(store):
    calls = Calls()
    need = calls.job("need")
    job = calls.job("job", need)
    assert [cached(job, store), cached(job, store), cached(need, store)] == ["job", "job", "need"]
    assert calls.made == ["need", "job"]
    store.path(need.config).unlink()
    cached(job, store)
    assert calls.made == ["need", "job"]  # what a stored result has needed is not asked for
    assert str(whole(job, store).arrays["weights"]) == "dear" and calls.made == ["need", "job"]


@pytest.mark.parametrize("compute", [cached, lambda job, store: cached_all([job], store)[0][0]])
def test_a_result_that_travels_is_not_computed_but_what_needs_all_of_it_makes_it_anew(store, compute):
    travelling, calls = Store(store.root.with_name("results")), Calls()
    need = calls.job("need")
    job, other = calls.job("job", need), calls.job("other", need)
    cached_all([need, job], travelling)
    for path in travelling.root.rglob("*.large.npz"):
        path.unlink()
    calls.made.clear()
    both = Store(store.root, travelling.root)
    assert [compute(one, both) for one in (need, job)] == ["need", "job"]
    assert calls.made == [] and not store.root.exists()
    assert compute(other, both) == "other" and calls.made == ["need", "other"]
    assert both.holds(need.config) and both.holds(other.config) and not both.holds(job.config)
    assert not list(travelling.root.rglob("*.large.npz"))
    assert str(whole(job, both).arrays["weights"]) == "dear" and calls.made == ["need", "other", "job"]


def test_where_only_what_is_stored_may_be_read_a_missing_result_is_named(store, monkeypatch):
    calls = Calls()
    there, missing = calls.job("there"), [calls.job(name, calls.job("need")) for name in ("first", "second")]
    cached(there, store)
    monkeypatch.setenv("PHYSMIS_STORED_ONLY", "1")
    assert cached_all([there, there], store) == (["there", "there"], False)
    told = f"^2 results are neither in {store.root} .*'name': 'first'"
    with pytest.raises(LookupError, match=told):
        cached_all([there, *missing], store)
    assert calls.made == ["there"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_others_need_is_computed_first_and_of_that_the_dearest(store, monkeypatch, device):
    calls = Calls()
    demonstrations = calls.job("demonstrations")
    models = [calls.job(f"model {cost}", demonstrations, cost=cost) for cost in (1.0, 3.0, 2.0)]
    drawn = [calls.job(f"samples {model.cost}", model, cost=model.cost) for model in models]
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a GPU")
    results, computed = cached_all([*drawn, drawn[0], models[1]], store, device)
    assert computed and results == ["samples 1.0", "samples 3.0", "samples 2.0", "samples 1.0", "model 3.0"]
    order = [f"{name} {cost}" for name in ("model", "samples") for cost in (3.0, 2.0, 1.0)]
    assert calls.made == ["demonstrations", *order]
    assert str(store.fetch(models[0].config).arrays["device"]) == device
    assert cached_all(drawn, store, device) == (results[:3], False)
    assert len(calls.made) == 7


def test_what_a_stored_result_has_needed_is_not_computed(store):
    calls = Calls()
    a, b = calls.job("a"), calls.job("b")
    c = calls.job("c", a)
    d = calls.job("d", b, c)

    def names():
        return {job.config["name"] for job in _with_needs([d, c, d], store).values()}

    assert names() == {"a", "b", "c", "d"}
    cached(c, store)
    assert names() == {"b", "d"}
    (store.path(c.config).with_suffix(".large.npz")).unlink()  # d needs all of c
    assert names() == {"b", "c", "d"}  # a is stored


@pytest.mark.end_to_end
def test_a_job_begins_when_what_it_needs_is_there_and_not_after_all_that_others_need(store, monkeypatch):
    monkeypatch.setenv("PHYSMIS_JOBS", "2")

    def job(name, seconds, *needs):
        def work(store, device):
            begun = time.time()
            time.sleep(seconds)
            return {"times": np.array([begun, time.time()])}

        return Job({"kind": "timed", "name": name}, work, needs, lambda entry: entry.arrays["times"])

    slow, quick = job("slow", 3.0), job("quick", 0.1)
    (of_quick, of_slow, slow_times), _ = cached_all([job("1", 0, quick), job("2", 0, slow), slow], store)
    assert of_quick[1] < slow_times[1] < of_slow[0]


def test_one_process_gives_what_single_calls_give(store, undisturbed):
    results, computed = cached_all(WORK[::-1], store)
    assert computed and contents(store.root) == undisturbed[1]
    for result, wanted in zip(results[::-1], undisturbed[0], strict=True):
        assert (type(result), result.experiment, result.key) == (type(wanted), wanted.experiment, wanted.key)
        np.testing.assert_array_equal(result.z, wanted.z)
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}
    assert not cached_all(WORK, store)[1]
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*")} == before
    assert len(list(store.root.glob("model/*.large.npz"))) == 3


@pytest.mark.end_to_end
def test_two_processes_give_the_bytes_of_one_and_raise_what_goes_wrong(store, undisturbed, monkeypatch):
    monkeypatch.setenv("PHYSMIS_JOBS", "2")
    assert cached_all(WORK, store)[1] and contents(store.root) == undisturbed[1]
    other = Store(store.root.with_name("other"))  # living workers follow to it
    cached_all(WORK[:2], other)
    assert contents(store.root) == undisturbed[1] and contents(other.root).items() <= undisturbed[1].items()
    bad = [samples(dataclasses.replace(TINY, data=0, seed=seed)) for seed in range(2)]
    with pytest.raises(ValueError):
        cached_all(bad, store)
    get_reusable_executor().shutdown(wait=True)


def test_a_count_of_processes_that_is_none_is_refused(monkeypatch):
    for given in ("0", "-1", "two"):
        monkeypatch.setenv("PHYSMIS_JOBS", given)
        with pytest.raises(ValueError, match=f"PHYSMIS_JOBS: expected a number of processes.*got '{given}'"):
            job_count()


@pytest.mark.end_to_end
def test_two_workers_of_a_cluster_give_the_bytes_of_one_process(store, undisturbed, tmp_path, monkeypatch):
    """Over TCP, through a scheduler and workers of their own processes."""
    local = tmp_path / "scratch"
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, local_directory=local
    ) as cluster:
        regenerate._check_scheduler(cluster.scheduler_address)
        monkeypatch.setenv("PHYSMIS_SCHEDULER", cluster.scheduler_address)
        results, computed = cached_all(WORK, store)
        assert computed and contents(store.root) == undisturbed[1]
        assert [result.key for result in results] == [result.key for result in undisturbed[0]]

        def at_work(store, device):
            time.sleep(0.5)
            return {"process": np.array(os.getpid())}

        entries, _ = cached_all([Job({"kind": "at_work", "number": i}, at_work) for i in range(4)], store)
        processes = {int(entry.arrays["process"]) for entry in entries}
        assert len(processes) == 2 and os.getpid() not in processes

        monkeypatch.setattr(Store, "fetch", lambda *_: None)  # of this process alone, which looks elsewhere
        with pytest.raises(OSError, match=f"finished elsewhere, but {store.root} does not hold it"):
            cached_all([Job({"kind": "elsewhere"}, lambda store, device: {})], store)


@pytest.mark.end_to_end
def test_a_wrong_address_of_a_cluster_gives_one_clear_error(store, monkeypatch):
    monkeypatch.setenv("PHYSMIS_SCHEDULER", "tcp://127.0.0.1:1")
    with pytest.raises(OSError, match="tcp://127.0.0.1:1"):
        cached_all(WORK[:1], store)
