"""A real Dask scheduler and its workers, on loopback."""

import contextlib
import dataclasses
import functools
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import test_interrupted
from test_interrupted import NOTEBOOK, SAVE_ARRAYS, WORK, contents
from test_regenerate import CLAIM, FINISH, START, Place, wait_for

from physmis.experiments import cluster, experiment
from physmis.experiments.experiment import run_all
from physmis.experiments.store import StoreError
from physmis.paths import ROOT

pytestmark = pytest.mark.end_to_end
LOOPBACK = ("--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0")
WAIT = 300  # seconds, for what takes a few on an idle machine
undisturbed = test_interrupted.undisturbed
# So that workers need not import this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Cluster:
    """A scheduler and workers without the tests' environment; each tells of its progress in its own file."""

    def __init__(self, folder, stack, workers=2, threads=1, failures=3):
        self._folder, self._stack = folder, stack
        told = folder / "scheduler.json"
        self._start("scheduler", "--port", "0", "--scheduler-file", str(told),
                    # How many workers a task may cost before Dask gives it up.
                    DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=str(failures))  # fmt: skip
        wait_for(lambda: told.exists() and told.read_text().endswith("}"), WAIT)
        self.address = json.loads(told.read_text())["address"]
        self.workers = [self.add_worker(threads) for _ in range(workers)]
        wait_for(lambda: len(cluster.workers(self.address)) == workers, WAIT)

    def add_worker(self, threads=1):
        return self._start("worker", self.address, "--no-nanny", "--nthreads", str(threads))

    def _start(self, kind, *arguments, **environment):
        progress = self._folder / f"progress-{secrets.token_hex(4)}"
        progress.touch()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PHYSMIS_")}
        paths = {"PYTHONPATH": str(ROOT), "PHYSMIS_PROGRESS": str(progress)}
        paths["DASK_TEMPORARY_DIRECTORY"] = str(self._folder)
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{kind}", *LOOPBACK, *arguments],
            env=inherited | paths | environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        process.progress = progress
        return process


def trained(process):
    """Which models a worker has begun to train, and which it has trained."""
    events = [json.loads(line) for line in process.progress.read_text().splitlines() if line.endswith("}")]
    begun = {event["label"] for event in events if event["done"] == 0}
    return begun, {event["label"] for event in events if event["done"] == event["total"]}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        yield Cluster(tmp_path_factory.mktemp("two"), stack)


@pytest.fixture
def another(tmp_path_factory):
    """Makes clusters that a test may damage."""
    with contextlib.ExitStack() as stack:
        yield functools.partial(Cluster, tmp_path_factory.mktemp("another"), stack)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty store, of which the workers' environment knows nothing."""
    monkeypatch.setenv("PHYSMIS_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PHYSMIS_PROGRESS", str(tmp_path / "progress"))
    return tmp_path / "store"


def test_two_workers_give_the_bytes_of_one_process(store, two, undisturbed, monkeypatch):
    monkeypatch.setenv("PHYSMIS_SCHEDULER", two.address)
    results, computed = run_all(WORK)
    assert computed and contents(store) == undisturbed[0]
    assert [result.experiment for result in results] == WORK
    done = [trained(worker)[1] for worker in two.workers]
    assert all(done) and len(done[0] | done[1]) == len(WORK) == len(done[0]) + len(done[1])
    # The caller has trained nothing, and counts what is done.
    events = [json.loads(line) for line in Path(os.environ["PHYSMIS_PROGRESS"]).read_text().splitlines()]
    assert {event["label"] for event in events} == {"in all"} and events[-1]["done"] == len(WORK)
    monkeypatch.setenv("PHYSMIS_SCHEDULER", "tcp://127.0.0.1:1")
    assert not run_all(WORK)[1]  # Nobody is asked for what the store holds.


def test_the_runner_hands_the_work_to_the_workers(two, undisturbed, tmp_path, monkeypatch):
    for worker in two.workers:
        worker.progress.write_text("")
    place = Place(tmp_path, {"01_work": START + NOTEBOOK + SAVE_ARRAYS + CLAIM + FINISH})
    place.environment["PHYSMIS_STORE"] = str(tmp_path / "store")
    done = place.run("--profile", "standard", "--backend", "dask", "--scheduler", two.address)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"in all: 4/4 models, done in", done.stdout)
    assert contents(tmp_path / "store") == undisturbed[0]
    with np.load(place.figures / "standard" / "fig_01_a.npz") as arrays:
        assert dict(arrays).keys() == undisturbed[1].keys()
        for seed, x in undisturbed[1].items():
            np.testing.assert_array_equal(arrays[seed], x)
    assert len(trained(two.workers[0])[1] | trained(two.workers[1])[1]) == len(WORK)


def test_what_a_worker_raises_is_raised_here(store, two, monkeypatch):
    monkeypatch.setenv("PHYSMIS_SCHEDULER", two.address)
    with pytest.raises(ValueError, match="at least one"):
        run_all([dataclasses.replace(WORK[0], data=0)])


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """An item that workers store where this process does not look for it."""

    trains = None
    cost = 0.0

    @property
    def config(self):
        return {"kind": "elsewhere", "process": os.getpid()}

    training_config = config

    def compute(self, store, device):
        return {}

    def result(self, entry):
        return entry


def test_a_store_that_is_not_shared_is_told(store, two, monkeypatch):
    monkeypatch.setenv("PHYSMIS_SCHEDULER", two.address)
    monkeypatch.setattr(experiment, "PATIENCE", 0.5)
    with pytest.raises(StoreError, match="Elsewhere.* is done, but .*store does not hold it"):
        run_all([Elsewhere()])


class Deadly(Elsewhere):
    """An item that ends its worker, as one that needs too much memory does."""

    def compute(self, store, device):
        os.kill(os.getpid(), 9)


def test_a_task_that_dask_gives_up_is_told(store, another, monkeypatch):
    monkeypatch.setenv("PHYSMIS_SCHEDULER", another(failures=0).address)
    with pytest.raises(Exception, match="workers died while trying to run it|died while running it"):
        run_all([Deadly()])


@dataclasses.dataclass(frozen=True)
class Meeting(Elsewhere):
    """An item that is done when three processes are at items like it."""

    number: int
    folder: Path

    @property
    def config(self):
        return {"kind": "meeting", "number": self.number}

    training_config = config

    def compute(self, store, device):
        (self.folder / str(self.number)).touch()
        until = time.time() + WAIT
        while len(list(self.folder.iterdir())) < 3 and time.time() < until:
            time.sleep(0.1)
        return {"process": os.getpid()}


def test_workers_may_die_and_join(store, another, undisturbed, tmp_path, monkeypatch):
    found = another()
    monkeypatch.setenv("PHYSMIS_SCHEDULER", found.address)
    victim, survivor = found.workers
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run_all, WORK)
        wait_for(lambda: running.done() or trained(victim)[0], WAIT)
        victim.kill()
        begun, finished = trained(victim)
        assert begun - finished, "it was not in training"
        running.result(WAIT)
    assert contents(store) == undisturbed[0]
    assert trained(survivor)[1] >= begun - finished

    more = dataclasses.replace(WORK[0], seed=9)
    run_all([more])
    assert f"train {more}" in trained(survivor)[1]  # It is done by a lone worker, and not by the caller.

    joining = [found.add_worker() for _ in range(2)]
    (tmp_path / "met").mkdir()
    entries, _ = run_all([Meeting(number, tmp_path / "met") for number in range(3)])
    processes = {int(entry.arrays["process"]) for entry in entries}
    assert processes == {worker.pid for worker in [survivor, *joining]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "ray"], "--backend is 'ray'; accepted is dask"),
        (["--backend", "dask"], "--backend dask wants --scheduler"),
        (["--scheduler", "tcp://127.0.0.1:1"], "--scheduler is for --backend dask"),
        (["--backend", "dask", "--scheduler", "tcp://127.0.0.1:1", "--jobs", "2"], "--jobs counts processes"),
        (["--backend", "dask", "--scheduler", "tcp://127.0.0.1:1"], "no answer .*'tcp://127.0.0.1:1': none"),
        (["--backend", "dask", "--scheduler", "nonsense"], "no answer .*'nonsense': missing port"),
        (["--backend", "dask", "--scheduler", "http://127.0.0.1:1"], "no answer .*unknown address scheme"),
    ],
)
def test_wrong_options_are_named_before_anything_runs(tmp_path, monkeypatch, capsys, arguments, message):
    place = Place(tmp_path, {"01_work": START + CLAIM + FINISH})
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    assert place.refuse(monkeypatch, *arguments) == 1
    told = capsys.readouterr().err
    assert re.fullmatch(rf"regenerate: {message}.*\n", told)
    assert [path.name for path in place.figures.iterdir()] == ["contract.toml"]


def test_servers_that_cannot_do_the_work_are_told(another, monkeypatch):
    found = another(workers=1, threads=2)
    with pytest.raises(ValueError, match="has 2 threads; workers of one thread wanted"):
        cluster.check(found.address)
    (worker,) = cluster.workers(found.address)
    with pytest.raises(ValueError, match="is no Dask scheduler"):
        cluster.check(worker)
    found.workers[0].kill()
    wait_for(lambda: not cluster.workers(found.address), WAIT)
    with pytest.raises(ValueError, match="has no workers"):
        cluster.check(found.address)
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(ValueError, match="none within 1 s"):
        cluster.check(f"tcp://127.0.0.1:{mute.getsockname()[1]}")


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[cluster\]'"):
        cluster.check("tcp://127.0.0.1:1")
