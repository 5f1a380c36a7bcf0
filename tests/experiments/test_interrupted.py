"""Runs that are interrupted or killed, and go on."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from jupyter_client.manager import start_new_kernel
from support import CLAIM, FINISH, SAVE, START, TINY, Place, contents, wait_for, without_settings

from physmis.experiments.experiment import samples
from physmis.experiments.parallel import cached
from physmis.experiments.store import Store

WORK = [samples(dataclasses.replace(TINY, seed=seed)) for seed in (0, 1)]
NOTEBOOK = """
# %%
from physmis import paths
from test_interrupted import WORK

first = run.compute({{"0": WORK[0]}})
if not (marker := paths.root() / "begun").exists():
    import time
    marker.touch()
    time.sleep(300)
arrays = {{name: result.z for name, result in (first | run.compute({{"1": WORK[1]}})).items()}}
"""


@pytest.mark.end_to_end
def test_a_killed_run_goes_on_and_gives_the_same_bytes(tmp_path):
    undisturbed = Store(tmp_path / "undisturbed")
    wanted = {str(seed): cached(job, undisturbed).z for seed, job in enumerate(WORK)}

    place = Place(tmp_path, {"01_work": START + NOTEBOOK + SAVE + CLAIM + FINISH})
    place.environment["PYTHONPATH"] += os.pathsep + os.path.dirname(__file__)
    begun = place.root / "begun"
    runner = subprocess.Popen(place.command("--jobs", "2"), env=place.environment, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: begun.exists() or runner.poll() is not None)
    finally:
        for process in [*psutil.Process(runner.pid).children(recursive=True), runner]:
            process.send_signal(signal.SIGKILL)
        assert runner.wait() == -signal.SIGKILL
    assert not (place.output / "manifest.json").exists()
    complete = {path: path.stat().st_mtime_ns for path in place.store.rglob("*.npz")}
    assert len(complete) == 4  # the first model and its samples, small and large

    done = place.run("--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert place.manifest()["notebooks"]["01_work"]["cold"] is True
    assert contents(place.store) == contents(undisturbed.root)
    assert {path: path.stat().st_mtime_ns for path in complete} == complete
    with np.load(place.output / "fig_01_a.npz") as arrays:
        assert arrays.keys() == wanted.keys()
        assert all(np.array_equal(arrays[seed], z) for seed, z in wanted.items())


# Of four jobs two take no time and two very long, unless there is a file "quick".
TOYS = """
import functools
import time
from pathlib import Path

import numpy as np
from physmis.experiments.parallel import Job


def compute(number, folder, store, device):
    if number > 1 and not (folder / "quick").exists():
        (folder / f"begun {number}").touch()
        time.sleep(1000)
    return {"number": np.array(number)}


def toys(folder):
    folder = Path(folder)
    configs = [{"kind": "toy", "number": number} for number in range(4)]
    return [Job(c, functools.partial(compute, c["number"], folder), cost=-c["number"]) for c in configs]
"""
PROGRAM = """
import sys
from physmis.experiments.parallel import cached_all
from physmis.experiments.store import Store

try:
    cached_all(toys(sys.argv[1]), Store(Path(sys.argv[1]) / "store"))
except KeyboardInterrupt:
    sys.exit(130)
"""


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which signals a process ignores")


def stored(folder):
    entries = [np.load(path) for path in Path(folder).glob("toy/*.npz")]
    return sorted(int(entry["number"]) for entry in entries)


def is_at_work(folder):
    return all((folder / f"begun {number}").exists() for number in (2, 3))


def workers_of(process):
    return [child for child in process.children() if "LokyProcess" in " ".join(child.cmdline())]


def has_just_begun_its_workers(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    is_deaf = int(status.split("SigIgn:")[1].split()[0], 16) >> (signal.SIGINT - 1) & 1
    return len(workers_of(process)) == 2 and not is_deaf


@pytest.mark.end_to_end
@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["alone", "its group"])
@pytest.mark.parametrize("early", [False, pytest.param(True, marks=LINUX)], ids=["at work", "workers begin"])
def test_an_interrupted_process_ends_its_workers_without_a_traceback(tmp_path, send, early):
    """Ctrl-C in a terminal and in Jupyter goes to the group, workers included."""
    runner = subprocess.Popen(
        [sys.executable, "-c", TOYS + PROGRAM, tmp_path],
        env=without_settings() | {"PHYSMIS_JOBS": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What is started in the background of a script ignores Ctrl-C, and passes that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    process = psutil.Process(runner.pid)
    try:
        wait_for(lambda: has_just_begun_its_workers(process) if early else is_at_work(tmp_path))
        family = process.children(recursive=True)
        send(runner.pid, signal.SIGINT)
        _, told = runner.communicate(timeout=120)
    except BaseException:
        os.killpg(runner.pid, signal.SIGKILL)
        raise
    assert runner.returncode == 130 and "Traceback" not in told, told
    assert psutil.wait_procs(family, timeout=30)[1] == []
    assert early or stored(tmp_path / "store") == [0, 1]


def run_cell(client, code):
    """The outputs of a cell, which has been sent off when this returns; they are complete when asked for."""
    sent = client.execute(code)

    def outputs():
        found = []
        while True:
            message = client.get_iopub_msg(timeout=300)
            if message["parent_header"].get("msg_id") == sent:
                if message["content"].get("execution_state") == "idle":
                    return found
                found.append((message["msg_type"], message["content"]))

    return outputs


@pytest.mark.end_to_end
def test_an_interrupted_cell_shows_one_line_and_goes_on_when_it_is_run_again(tmp_path):
    place = Place(tmp_path, {"01_toys": START})
    environment = place.environment | {"PHYSMIS_JOBS": "2", "IPYTHONDIR": str(tmp_path / "ipython")}
    manager, client = start_new_kernel(startup_timeout=300, kernel_name="python3", env=environment)
    try:
        begin = f"from physmis.paper.run import start\nrun = start('01_toys', 'smoke', device='cpu')\n{TOYS}"
        cell = f"print(len(run.compute(dict(enumerate(toys({str(tmp_path)!r}))))))"
        assert [kind for kind, _ in run_cell(client, begin)()] == ["status", "execute_input"]
        outputs = run_cell(client, cell)
        wait_for(lambda: is_at_work(tmp_path))
        workers = workers_of(psutil.Process(manager.provisioner.pid))
        manager.interrupt_kernel()
        shown = outputs()
        (error,) = [content for kind, content in shown if kind == "error"]
        assert error["traceback"] == ["Interrupted. Complete results are kept: run again to continue."]
        assert [content for kind, content in shown if kind == "stream"] == []
        assert len(workers) == 2 and psutil.wait_procs(workers, timeout=30)[1] == []
        assert stored(place.store) == [0, 1]

        (tmp_path / "quick").touch()
        streams = [content for kind, content in run_cell(client, cell)() if kind == "stream"]
        assert streams == [{"name": "stdout", "text": "4\n"}] and stored(place.store) == [0, 1, 2, 3]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
