"""kill -9 on one process alone: what it leaves behind falls idle, and the next run completes the work."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from joblib.externals.loky import get_reusable_executor
from test_regenerate import CLAIM, FINISH, SAVE, START, Place, wait_for

from physmis.experiments.experiment import Experiment, run_all
from physmis.models import build
from physmis.tasks import load

pytestmark = pytest.mark.end_to_end
MODEL = build("unet", width=8, steps=100, batch=32, sampler_steps=4)
WORK = [Experiment(load("cone", steps=8), MODEL, data=300, samples=64, seed=seed) for seed in range(4)]
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from physmis.experiments.experiment import run_all
from test_interrupted import WORK

if __name__ == "__main__":
    run_all(WORK)
"""
NOTEBOOK = f"""
# %%
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from physmis.experiments.experiment import run_all
from test_interrupted import WORK

results, run.cold = run_all(WORK)
"""
SAVE_ARRAYS = SAVE.replace('{{"seed": SEED}}', "{{str(r.experiment.seed): r.x for r in results}}")


def contents(root):
    """All arrays and weights in the finished entries of a store, by their path in it."""
    paths = [path for kind in ("model", "samples") for path in (root / kind).rglob("*")]
    wanted = ("arrays.npz", "weights.safetensors")
    return {str(path.relative_to(root)): path.read_bytes() for path in paths if path.name in wanted}


def kill_in_the_middle(command, environment, store):
    """Run a command until one experiment is complete, kill it alone, and give what it leaves running."""
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    family = []
    try:
        wait_for(lambda: process.poll() is not None or list(store.glob("samples/*/*")))
        family = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()
    complete = list(store.glob("samples/*/*"))
    # How far the orphans get from here is up to them.
    assert 0 < len(complete) < len(WORK) and len(family) >= 2
    return family, {path: path.stat().st_mtime_ns for path in complete}


def assert_idle(family):
    """All of these end or stop working, without being asked; joblib's workers wait for work for a while."""

    def working(process):
        try:
            before = process.cpu_times()
            time.sleep(0.5)
            return process.status() != psutil.STATUS_ZOMBIE and process.cpu_times() != before
        except psutil.NoSuchProcess:
            return False

    try:
        wait_for(lambda: not any(working(process) for process in family))
    finally:
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the work gives when nothing gets in its way."""
    root = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHYSMIS_STORE", str(root))
        patch.setenv("PHYSMIS_JOBS", "1")
        results, _ = run_all(WORK)
    return contents(root), {str(result.experiment.seed): result.x for result in results}


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty store and two processes, fresh ones."""
    monkeypatch.setenv("PHYSMIS_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PHYSMIS_JOBS", "2")
    get_reusable_executor().shutdown(wait=True)
    yield tmp_path / "store"
    get_reusable_executor().shutdown(wait=True)


def test_work_goes_on_after_its_parent_alone_was_killed(store, undisturbed, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(Path(__file__).parent)]
    family, complete = kill_in_the_middle(command, os.environ.copy(), store)
    # At once, with the orphans still at their models.
    run_all(WORK)
    assert contents(store) == undisturbed[0]
    assert {path: path.stat().st_mtime_ns for path in complete} == complete
    assert_idle(family)
    assert not list((store / "unfinished").glob("*")) and not (store / "damaged").exists()


def test_figures_come_out_the_same_after_the_runner_alone_was_killed(store, undisturbed, tmp_path):
    place = Place(tmp_path, {"01_work": START + NOTEBOOK + SAVE_ARRAYS + CLAIM + FINISH})
    family, complete = kill_in_the_middle(place.command("--profile", "standard"), place.environment, store)
    assert not (place.figures / "standard" / "manifest.json").exists()
    done = place.run("--profile", "standard")
    assert done.returncode == 0, done.stdout + done.stderr
    assert contents(store) == undisturbed[0]
    assert {path: path.stat().st_mtime_ns for path in complete} == complete
    assert_idle(family)
