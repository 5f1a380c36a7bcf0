"""From an empty store to the last figure, and one notebook as a script: seconds, and the largest memory."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.timing import Row

ROOT = Path(__file__).parents[1]


def run() -> list[Row]:
    """Rows of the table. Figures are drawn from the stored results, into a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"PHYSMIS_STORE": f"{folder}/store", "PHYSMIS_OUTPUT": folder, "PHYSMIS_STORED_ONLY": "1"}
        environment = os.environ | settings | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}

        def seconds(*command: str) -> float:
            begun = time.perf_counter()
            subprocess.run([sys.executable, *command], env=environment, check=True, stdout=subprocess.DEVNULL)
            return time.perf_counter() - begun

        script = seconds(str(ROOT / "notebooks" / "01_synthetic_tasks.py"))
        whole = seconds("-m", "physmis.paper.regenerate")
        rows = json.loads((Path(folder) / "standard" / "manifest.json").read_text())["notebooks"].values()
    peak = max(row["peak_mib"] for row in rows) / 1024
    return [
        Row("figures: notebook 01 as a script, from stored results", f"{script:.0f} s", "-", "-", "-"),
        Row("figures: all notebooks, from stored results", f"{whole:.0f} s, {peak:.2f} GiB", "-", "-", "-"),
    ]
