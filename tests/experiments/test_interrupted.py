"""A run that is killed, and goes on."""

import dataclasses
import os
import signal
import subprocess

import numpy as np
import psutil
import pytest
from support import CLAIM, FINISH, SAVE, START, TINY, Place, contents, wait_for

from physmis.experiments.experiment import samples
from physmis.experiments.parallel import cached
from physmis.experiments.store import Store

WORK = [samples(dataclasses.replace(TINY, seed=seed)) for seed in (0, 1)]
NOTEBOOK = """
# %%
from pathlib import Path
from test_interrupted import WORK

first = run.compute({{"0": WORK[0]}})
if not (marker := Path("begun")).exists():
    import time
    marker.touch()
    time.sleep(300)
arrays = {{name: result.x for name, result in (first | run.compute({{"1": WORK[1]}})).items()}}
"""


@pytest.mark.end_to_end
def test_a_killed_run_goes_on_and_gives_the_same_bytes(tmp_path):
    undisturbed = Store(tmp_path / "undisturbed")
    wanted = {str(seed): cached(job, undisturbed).x for seed, job in enumerate(WORK)}

    place = Place(tmp_path, {"01_work": START + NOTEBOOK + SAVE + CLAIM + FINISH})
    place.environment["PYTHONPATH"] += os.pathsep + os.path.dirname(__file__)
    begun = place.figures / "standard" / "notebooks" / "begun"
    runner = subprocess.Popen(place.command("--jobs", "2"), env=place.environment, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: begun.exists() or runner.poll() is not None)
    finally:
        for process in [*psutil.Process(runner.pid).children(recursive=True), runner]:
            process.send_signal(signal.SIGKILL)
        assert runner.wait() == -signal.SIGKILL
    assert not (place.figures / "standard" / "manifest.json").exists()
    complete = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.npz")}
    assert len(complete) == 2  # the first model and its samples

    done = place.run("--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert place.manifest()["notebooks"]["01_work"]["cold"] is True
    assert contents(tmp_path / "store") == contents(undisturbed.root)
    assert {path: path.stat().st_mtime_ns for path in complete} == complete
    with np.load(place.figures / "standard" / "fig_01_a.npz") as arrays:
        assert arrays.keys() == wanted.keys()
        assert all(np.array_equal(arrays[seed], x) for seed, x in wanted.items())
