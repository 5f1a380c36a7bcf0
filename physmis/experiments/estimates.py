"""How long jobs will take, from the seconds of stored results."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from physmis import paths
from physmis.experiments.progress import duration
from physmis.experiments.store import Store, key

PATIENCE = 20.0  # seconds that a computation may take without a word before


def estimate(jobs: Sequence[Any], store: Store) -> dict[str, float]:
    """Seconds of each job on one core, by address: cost times the median pace of stored ones of its sort.

    Of a sort that was never stored, 0.
    """
    paces = defaultdict(list)
    for kind in {job.config["kind"] for job in jobs}:
        for root in (store.results or paths.root() / "results" / "standard", store.root):
            for path in sorted((root / kind).glob("*.npz"))[:2000]:
                if ".large" not in path.name and (found := _pace(path)):
                    paces[found[0]].append(found[1])
    return {
        key(job.config): float(np.median(paces[_sort(job.config)] or [0.0])) * (job.cost or 1) for job in jobs
    }


def _pace(path: Path) -> tuple[tuple[str, str], float] | None:
    """The sort of a stored result, and its seconds for each unit of cost."""
    try:
        with np.load(path, allow_pickle=False) as file:
            meta = json.loads(str(file["meta"]))
        return _sort(meta["config"]), meta["seconds"] / (meta["cost"] or 1)
    except Exception:  # damaged: whoever needs it will be told
        return None


def _sort(config: Mapping[str, Any]) -> tuple[str, str]:
    """What has the same seconds for the same cost."""
    model = config.get("model") or config.get("of", {}).get("model") or {}
    return config["kind"], str(config.get("kernel") or model.get("name"))


def forewarning(jobs: Sequence[Any], seconds: Mapping[str, float], workers: int) -> str | None:
    """What to say before computing jobs; None if they take less than `PATIENCE`."""
    models = [job for job in jobs if job.config["kind"].endswith("model")]
    unknown = sum(not seconds[key(job.config)] for job in models)
    total = sum(seconds.values()) / workers
    if total < PATIENCE and not unknown:
        return None
    processes = f"{workers} process{'es' * (workers > 1)}"
    time = f"about {duration(total)} on {processes}"
    if unknown:
        time += f", not counting {unknown} models of a sort never trained before"
    return f"To compute: {len(models)} models, {len(jobs) - len(models)} other results; {time}."
