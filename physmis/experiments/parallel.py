"""Calls of a function, spread over processes here or over the workers of a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import joblib
from tqdm.auto import tqdm

from physmis.experiments import cluster
from physmis.experiments.display import reporter


def fan_out(function: Callable[..., Any], calls: Sequence[tuple], unit: str) -> list[Any]:
    """What ``function`` gives for the arguments of each of ``calls``, in their order.

    They are begun in that order, in $PHYSMIS_JOBS processes, or one for each core; or by the workers of the
    Dask scheduler at $PHYSMIS_SCHEDULER. An enclosing `joblib.parallel_config` moves them elsewhere, too.
    Progress counts in ``unit``.

    Raises ValueError where $PHYSMIS_JOBS is no number of processes, and what the function raises.
    """
    if not calls:
        return []
    tell = reporter("in all", f"{unit}s")
    tell(0, len(calls))
    results = [None] * len(calls)
    with cluster.joined() as queue:
        done = joblib.Parallel(n_jobs=_jobs(len(calls)), pre_dispatch=queue, return_as="generator_unordered")(
            joblib.delayed(_numbered)(number, function, call) for number, call in enumerate(calls)
        )
        shown = tqdm(done, f"{unit}s", len(calls), unit=unit, disable="PHYSMIS_PROGRESS" in os.environ)
        for count, (number, result) in enumerate(shown, start=1):
            results[number] = result
            tell(count, len(calls))
    return results


def _numbered(number: int, function: Callable[..., Any], call: tuple) -> tuple[int, Any]:
    return number, function(*call)


def _jobs(work: int) -> int:
    """How many processes: $PHYSMIS_JOBS or one a core, but no more than there is work for."""
    given = os.environ.get("PHYSMIS_JOBS") or str(joblib.cpu_count())
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"PHYSMIS_JOBS is {given!r}; a number of processes, 1 or more, wanted")
    return min(int(given), work)
