"""What is computed once: a cached call, and many of them over processes or the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import torch
from tqdm.auto import tqdm

from physmis.experiments.store import Entry, Store, key

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Job:
    """A call whose result is stored.

    Attributes
    ----------
    config : what the result depends on; "kind" names the sort of result.
    compute : gives the arrays, from a store that holds what is needed, and a device ("cpu" or "cuda").
    needs : jobs whose results must be stored before.
    read : makes the result out of the stored entry.
    cost : relative cost; the dearest are begun first.
    """

    config: Mapping[str, Any]
    compute: Callable[[Store, str], Arrays]
    needs: tuple[Job, ...] = ()
    read: Callable[[Entry], Any] = lambda entry: entry
    cost: float = 0.0


def cached(job: Job, store: Store, device: str = "cpu") -> Any:
    """The result of a job; it and what it needs are computed where ``store`` does not hold them."""
    entry = store.fetch(job.config)
    if entry is None:
        for need in job.needs:
            cached(need, store, device)
        torch.set_num_threads(1)  # more would change the order of sums, and so the last digits
        begun = time.perf_counter()
        arrays = job.compute(store, device)
        store.put(job.config, arrays, time.perf_counter() - begun, device)
        entry = store.fetch(job.config)
    return job.read(entry)


def cached_all(jobs: Sequence[Job], store: Store, device: str = "cpu") -> tuple[list[Any], bool]:
    """Results in the order of ``jobs``, and whether any had to be computed.

    What is missing is computed in waves (demonstrations, models, and what asks them), each spread over
    $PHYSMIS_JOBS processes, or one a core; or over the workers of the Dask scheduler at $PHYSMIS_SCHEDULER,
    which must share the store. On "cuda" this process computes one after the other. An interruption loses
    only what is being computed.
    """
    entries = [store.fetch(job.config) for job in jobs]
    missing = [job for job, entry in zip(jobs, entries, strict=True) if entry is None]
    for wave in _waves(missing, store):
        if device == "cuda":
            for job in wave:
                _work(job, store, device)
        else:
            _fan_out(wave, store, device)
    results = []
    for job, entry in zip(jobs, entries, strict=True):
        if entry is None and (entry := store.fetch(job.config)) is None:
            raise OSError(f"a worker has finished {job.config['kind']}, but {store.root} does not hold it: "
                          "workers must share this folder")  # fmt: skip
        results.append(job.read(entry))
    return results, bool(missing)


def _waves(jobs: Sequence[Job], store: Store) -> list[list[Job]]:
    """Jobs and all that they need and the store lacks, each once; a wave needs only what came before."""
    depths: dict[str, int] = {}
    found: dict[str, Job] = {}

    def depth(job: Job) -> int:
        """How many waves must come before; -1 if the result is stored."""
        address = key(job.config)
        if address not in depths:
            depths[address] = -1
            if store.fetch(job.config) is None:
                depths[address] = 1 + max((depth(need) for need in job.needs), default=-1)
                found[address] = job
        return depths[address]

    for job in jobs:
        depth(job)
    waves = [[] for _ in range(max(depths.values(), default=-1) + 1)]
    for address, job in found.items():
        waves[depths[address]].append(job)
    return [sorted(wave, key=lambda job: -job.cost) for wave in waves]


def _fan_out(jobs: Sequence[Job], store: Store, device: str) -> None:
    with _workers():
        # Nothing is queued ahead: if this process is killed, its workers fall idle after what they are at.
        parallel = joblib.Parallel(
            n_jobs=min(job_count(), len(jobs)), pre_dispatch="n_jobs", return_as="generator_unordered"
        )
        done = parallel(joblib.delayed(_work)(job, store, device) for job in jobs)
        kind = jobs[0].config["kind"]
        for _ in tqdm(done, kind, len(jobs), unit="job", disable="PHYSMIS_PROGRESS" in os.environ):
            pass


def _work(job: Job, store: Store, device: str) -> None:
    """`cached`, without sending arrays back between processes: the store holds them."""
    cached(job, store, device)


@contextlib.contextmanager
def _workers() -> Iterator[None]:
    """Inside of it, `joblib.Parallel` has the Dask cluster's workers, if $PHYSMIS_SCHEDULER names one."""
    address = os.environ.get("PHYSMIS_SCHEDULER")
    if not address:
        yield
        return
    from distributed import Client  # of the extra `cluster`

    with (
        Client(address, timeout=10, set_as_default=False) as client,
        joblib.parallel_config("dask", client=client),
    ):
        yield


def job_count() -> int:
    """Processes to use: $PHYSMIS_JOBS, or one a core. Raises ValueError where that is no number."""
    given = os.environ.get("PHYSMIS_JOBS") or str(joblib.cpu_count())
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"PHYSMIS_JOBS: expected a number of processes, 1 or more, got {given!r}")
    return int(given)
