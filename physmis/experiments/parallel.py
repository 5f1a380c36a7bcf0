"""What is computed once: a cached call, and many of them over processes or the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import torch
from joblib.externals.loky import get_reusable_executor

from physmis.experiments import progress
from physmis.experiments.estimates import estimate, forewarning
from physmis.experiments.store import Entry, Store, key

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Job:
    """A call whose result is stored.

    Attributes
    ----------
    config : what the result depends on; "kind" names the sort of result.
    compute : gives the arrays, from a store that holds what is needed, and a device ("cpu" or "cuda").
    needs : jobs whose results, with their large arrays, must be in the store before.
    read : makes the result out of the stored entry, which has the small arrays.
    small : names of the small arrays, which travel with the repository; None if all are small.
    cost : relative cost; the dearest are begun first.
    """

    config: Mapping[str, Any]
    compute: Callable[[Store, str], Arrays]
    needs: tuple[Job, ...] = ()
    read: Callable[[Entry], Any] = lambda entry: entry
    small: tuple[str, ...] | None = None
    cost: float = 0.0


def cached(job: Job, store: Store, device: str = "cpu") -> Any:
    """The result of a job, computed now where neither ``store`` nor the stored results have it."""
    entry = store.fetch(job.config)
    if entry is None:
        _make(job, store, device)
        entry = store.fetch(job.config)
    return job.read(entry)


def whole(job: Job, store: Store, device: str = "cpu") -> Entry:
    """A job's entry with its large arrays, computed now where ``store`` itself lacks them."""
    entry = store.fetch_whole(job.config)
    if entry is None:
        _make(job, store, device)
        entry = store.fetch_whole(job.config)
    return entry


def _make(job: Job, store: Store, device: str) -> None:
    torch.set_num_threads(1)  # more would change the order of sums, and so the last digits
    begun = time.perf_counter()
    arrays = job.compute(store, device)
    store.put(job.config, arrays, time.perf_counter() - begun, device, job.small, job.cost)


def cached_all(
    jobs: Sequence[Job], store: Store, device: str = "cpu", advice: str = ""
) -> tuple[list[Any], bool]:
    """Results in the order of ``jobs``, and whether any had to be computed.

    What is missing is computed, each as soon as what it needs is stored, by $PHYSMIS_JOBS processes, or one a
    core; or by the workers of the Dask scheduler at $PHYSMIS_SCHEDULER, which must share the store. On "cuda"
    this process computes one after the other. If it will take more than 20 seconds, that is said first, with
    ``advice``; an interruption loses only what is being computed.
    Raises LookupError where something is missing and $PHYSMIS_STORED_ONLY is set.
    """
    entries = [store.fetch(job.config) for job in jobs]
    missing = [job for job, entry in zip(jobs, entries, strict=True) if entry is None]
    todo = _with_needs(missing, store)
    if todo:
        if os.environ.get("PHYSMIS_STORED_ONLY"):
            raise LookupError(
                f"{len(missing)} results are neither in {store.root} nor in {store.results}, the first "
                f"{missing[0].config}; `make figures SAVE=1` makes and keeps them"
            )
        seconds = estimate([*todo.values()], store)
        if text := forewarning([*todo.values()], seconds, 1 if device == "cuda" else job_count()):
            progress.say(f"{text} {advice}".rstrip())
        typical = float(np.median([took for took in seconds.values() if took] or [1.0]))
        sizes = {address: took or typical for address, took in seconds.items()}
        try:
            with progress.bar(sizes) as (path, finish):
                _compute(todo, store, device, path, finish)
        except KeyboardInterrupt:
            get_reusable_executor(reuse=True).shutdown(kill_workers=True)
            raise
    results = []
    for job, entry in zip(jobs, entries, strict=True):
        if entry is None and (entry := store.fetch(job.config)) is None:
            raise OSError(f"a worker has finished {job.config['kind']}, but {store.root} does not hold it: "
                          "workers must share this folder")  # fmt: skip
        results.append(job.read(entry))
    return results, bool(missing)


def _with_needs(jobs: Sequence[Job], store: Store) -> dict[str, Job]:
    """Jobs, and all that they need and the store lacks, each once, by address."""
    found: dict[str, Job] = {}

    def add(job: Job) -> None:
        if (address := key(job.config)) not in found and not store.holds(job.config):
            found[address] = job
            for need in job.needs:
                add(need)

    for job in jobs:
        add(job)
    return found


def _compute(
    todo: Mapping[str, Job], store: Store, device: str, path: str | None, finish: Callable[[str], None]
) -> None:
    """Of the jobs that can begin, those begin first that others need, and of these the dearest."""
    needs = {address: {key(need.config) for need in job.needs} & todo.keys() for address, job in todo.items()}
    needed = set().union(*needs.values())
    waiting = sorted(todo, key=lambda address: (address not in needed, -todo[address].cost))
    unfinished, running = set(todo), set()
    with _executor(device, len(todo)) as (executor, workers):
        while unfinished:
            # Nothing is queued ahead: if this process is killed, workers fall idle after what they are at.
            ready = [address for address in waiting if not needs[address] & unfinished]
            for address in ready[: workers - len(running)]:
                waiting.remove(address)
                with _uninterrupted():
                    running.add(executor.submit(_work, todo[address], store, device, path, os.getpid()))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                unfinished.remove(address := future.result())
                finish(address)


def _work(job: Job, store: Store, device: str, path: str | None, owner: int) -> str:
    """Put a job's result into the store, without sending arrays back between processes; gives its address."""
    address = key(job.config)
    # Whoever interrupts means the owner, which ends its workers.
    if os.getpid() != owner and os.name == "posix":
        with contextlib.suppress(ValueError):  # not in the main thread, as on a cluster
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    progress.append_to(path, address)
    try:
        if not store.holds(job.config):
            _make(job, store, device)
    finally:
        progress.append_to(None, None)
    return address


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that begin inside of it ignore Ctrl-C: it means this one, which ends them."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Here(Executor):
    """Computes in this process what is submitted, at once."""

    def submit(self, call: Callable, /, *arguments: Any) -> Future:
        future = Future()
        future.set_result(call(*arguments))
        return future


@contextlib.contextmanager
def _executor(device: str, jobs: int) -> Iterator[tuple[Executor, int]]:
    """Who computes, and how many at once: the Dask cluster that $PHYSMIS_SCHEDULER names, or processes."""
    processes = 1 if device == "cuda" else min(job_count(), jobs)
    if (address := os.environ.get("PHYSMIS_SCHEDULER")) and device != "cuda":
        from distributed import Client  # of the extra `cluster`

        with Client(address, timeout=10, set_as_default=False) as client:
            yield client.get_executor(), sum(client.nthreads().values())
    elif processes == 1:
        yield _Here(), 1
    else:
        one = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
        yield get_reusable_executor(processes, timeout=300, env=one), processes


def job_count() -> int:
    """Processes to use: $PHYSMIS_JOBS, or one a core. Raises ValueError where that is no number."""
    given = os.environ.get("PHYSMIS_JOBS") or str(joblib.cpu_count())
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"PHYSMIS_JOBS: expected a number of processes, 1 or more, got {given!r}")
    return int(given)
