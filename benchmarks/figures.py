"""From an empty store to the last figure, one notebook as a script, and what making the results took."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.timing import Row
from physmis.experiments.store import Store

ROOT = Path(__file__).parents[1]
COLD = "01_synthetic_tasks", "03_maze", "04_pendulum"


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
    manifest = json.loads((ROOT / "figures" / "standard" / "manifest.json").read_text())
    files = {file for name in COLD for file in manifest["notebooks"][name]["results"]}
    made = sum(Store().read(ROOT / "results" / "standard" / file).meta["seconds"] for file in files) / 60
    return [
        Row("figures: notebook 01 as a script, from stored results", f"{script:.0f} s", "-", "-", "-"),
        Row("figures: results of notebooks 01, 03 and 04, stored", f"{made:.0f} core min", "-", "-", "-"),
        Row("figures: all notebooks, from stored results", f"{whole:.0f} s, {peak:.2f} GiB", "-", "-", "-"),
    ]
