"""Work done by the workers of a Dask cluster: `$PHYSMIS_SCHEDULER` is the address of its scheduler.

The package `distributed` (the extra `cluster`) is imported only where that variable is set.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import joblib
from joblib.parallel import ParallelBackendBase

if TYPE_CHECKING:
    from distributed import Client, Future

PATIENCE = 10  # seconds in which a scheduler must answer


@contextlib.contextmanager
def joined() -> Iterator[str]:
    """Inside of it, `joblib.Parallel` has the cluster's workers, if one is named.

    Gives what joblib may hand out at once, its ``pre_dispatch``. Raises ValueError as `workers` does.
    """
    address = os.environ.get("PHYSMIS_SCHEDULER")
    if not address:
        # Nothing is queued ahead: if this process is killed, its workers fall idle after what they are at.
        yield "n_jobs"
        return
    workers(address)
    from distributed import Client

    with Client(address, set_as_default=False) as client, joblib.parallel_config(backend=_Workers(client)):
        # The scheduler keeps the queue: workers that join later take from it, and it ends with this process.
        yield "all"


def check(address: str) -> None:
    """Raises ValueError unless a scheduler with workers of one thread each answers at ``address``."""
    threads = workers(address)
    if not threads:
        raise ValueError(f"the Dask scheduler at {address} has no workers; start some first")
    most = max(threads.values())
    if most > 1:
        raise ValueError(
            f"a Dask worker at {address} has {most} threads; workers of one thread wanted (--nthreads 1)"
        )


def workers(address: str) -> dict[str, int]:
    """Number of threads of each worker, by the worker's address.

    Raises ValueError if Dask is not installed, or no scheduler answers at ``address``.
    """
    try:
        from distributed import Security, rpc
    except ImportError as error:
        raise ValueError("Dask is not installed: pip install -e '.[cluster]' brings it") from error

    async def ask():
        async with rpc(address, connection_args=Security().get_connection_args("client")) as scheduler:
            return await asyncio.wait_for(scheduler.ncores(), PATIENCE)

    try:
        with ThreadPoolExecutor(1) as thread:  # in a notebook, this thread has an event loop already
            found = thread.submit(asyncio.run, ask()).result()
    except Exception as error:  # of many kinds, down to what another server than Dask's may answer
        told = str(error) or f"none within {PATIENCE} s"
        raise ValueError(f"no answer from a Dask scheduler at {address!r}: {told}") from error
    if found is None:
        raise ValueError(f"what answers at {address} is no Dask scheduler; a worker?")
    return found


class _Workers(ParallelBackendBase):
    """joblib's work, on the workers of a client.

    joblib brings a backend for Dask, which does the work of a lone worker in this process, and waits for ever
    for a task that Dask has given up.
    """

    supports_retrieve_callback = True

    def __init__(self, client: Client):
        super().__init__(nesting_level=0)
        self._client = client

    def effective_n_jobs(self, n_jobs: int) -> int:
        return max(2, len(self._client.nthreads()))  # joblib itself does the work of one

    def submit(self, func: Callable, callback: Callable[[Future], None]) -> Future:
        import cloudpickle  # Dask brings it

        # As bytes: the scheduler unpacks what it is sent, and would import all that the work wants.
        future = self._client.submit(_call, cloudpickle.dumps(func), pure=False)
        future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Future) -> Any:
        return out.result()


def _call(packed: bytes) -> Any:
    return pickle.loads(packed)()
