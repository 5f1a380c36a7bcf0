"""Faults of the machine: full and read-only disks, two runs at once, clocks that are set back; threads."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from test_experiment import TINY, files
from test_figures import DATA, a_figure, complete, place  # noqa: F401
from test_regenerate import CLAIM, FINISH, SAVE, START, Place, append

from physmis.experiments.display import Display
from physmis.experiments.experiment import run, run_all
from physmis.experiments.store import Store, StoreError
from physmis.paper.run import check, start

PAGE = 4096  # bytes that a tmpfs gives at a time
CONFIG = {"kind": "samples", "seed": 0}
WEEK = 7 * 86_400
FOUR = [dataclasses.replace(TINY, seed=seed) for seed in range(4)]


@pytest.fixture
def mount():
    """Mounts as `mount` is told to; undone afterwards. Skips where this user or container may not."""
    # Not told by permission bits, which do not bind root, nor by limits on a process, which no disk has.
    places = []

    def mounted(*arguments):
        if not shutil.which("mount"):
            pytest.skip("this system has no command `mount`")
        done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        if "remount" not in arguments[1]:
            places.append(arguments[-1])

    yield mounted
    for at in reversed(places):
        subprocess.run(["umount", str(at)], check=True)


@pytest.fixture
def disk(mount, tmp_path):
    """A disk of 256 KiB, and a function that gives it another size."""
    at = tmp_path / "disk"
    at.mkdir()
    mount("-t", "tmpfs", "-o", "size=256k", "tmpfs", at)
    return at, lambda size: mount("-o", f"remount,size={size}", at)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty store that `run` and `run_all` use, with one process; it makes no folder yet."""
    monkeypatch.setenv("PHYSMIS_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PHYSMIS_JOBS", "1")
    return tmp_path / "store"


def fill(disk, leave):
    """Fill a disk but for so many pages."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(bytes(PAGE)):
                pass
        except OSError:
            pass
    os.truncate(filler, max(filler.stat().st_size - leave * PAGE, 0))
    return filler


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put(root, config=CONFIG, numbers=1000):
    arrays = {"x": np.arange(numbers, dtype=np.float64)}
    return Store(root).put(config, arrays=arrays, seconds=1.0, device="cpu")


def test_wherever_a_disk_is_full_an_entry_is_there_wholly_or_not_at_all(disk):
    at, _ = disk
    put(at)
    before, other, failures = contents(at), {**CONFIG, "seed": 1}, 0
    for pages in range(20):
        filler = fill(at, leave=pages)
        try:
            put(at, other)
        except StoreError as error:
            failures += 1
            told = f"^cannot write the store entry {Store(at).path(other)}: .*No space left on device: '{at}"
            assert re.match(told, str(error))
            filler.unlink()
            assert contents(at) == before and not list((at / "unfinished").iterdir())
            continue
        break
    # 8 kB of arrays take three pages; weights, meta and folders some more: each was once one too many.
    assert 4 <= failures < 19
    filler.unlink()
    assert contents(at).items() > before.items() and Store(at).fetch(other).arrays["x"][-1] == 999


def test_work_that_a_full_disk_stopped_goes_on_once_there_is_space(disk, tmp_path, monkeypatch):
    monkeypatch.setenv("PHYSMIS_JOBS", "1")
    monkeypatch.setenv("PHYSMIS_STORE", str(tmp_path / "undisturbed"))
    run_all(FOUR)
    wanted = files(tmp_path / "undisturbed")
    at, resize = disk
    monkeypatch.setenv("PHYSMIS_STORE", str(at))
    with pytest.raises(StoreError, match=f"cannot write the store entry {at}.*No space left on device"):
        run_all(FOUR)
    complete = files(at)
    assert complete and complete.items() < wanted.items() and not list((at / "unfinished").iterdir())
    resize("2m")
    run_all(FOUR)
    assert files(at) == wanted and not (at / "damaged").exists()


def test_figures_and_manifest_are_not_harmed_by_a_full_disk(disk, place, monkeypatch):  # noqa: F811
    at, _ = disk
    monkeypatch.setenv("PHYSMIS_FIGURES", str(at))
    complete()
    before = contents(at)

    filler = fill(at, leave=0)
    run_of_figures = start("01_test", profile="standard", device="cpu")
    with pytest.raises(OSError, match=f"No space left on device: '{at}/standard/fig_01_a.npz'"):
        run_of_figures.save_figure(a_figure(), "fig_01_a", {"x": np.zeros(9)})
    filler.unlink()
    assert contents(at) == before

    for id in ("fig_01_a", "fig_01_b"):
        run_of_figures.save_figure(a_figure(), id, DATA)
    run_of_figures.record_claim("C1.01.valid", 0.95, 0.91, 0.99)
    filler = fill(at, leave=0)
    with pytest.raises(OSError, match=f"No space left on device: '{at}/standard/manifest.json'"):
        run_of_figures.finish()
    filler.unlink()
    assert contents(at).keys() == before.keys() and json.loads((at / "standard/manifest.json").read_bytes())
    run_of_figures.finish()
    assert check("standard", "01_test") == []


@pytest.mark.end_to_end
def test_the_runner_tells_where_a_disk_is_full_or_read_only(mount, tmp_path):
    runner = Place(tmp_path, {"01_good": START + SAVE + CLAIM + FINISH})
    at = runner.figures / "standard"
    at.mkdir()
    mount("-t", "tmpfs", "-o", "size=8k", "tmpfs", at)

    def failures():
        done = runner.run("--profile", "standard")
        assert done.returncode == 1 and "Traceback" not in done.stderr
        return [line for line in done.stderr.splitlines() if line.startswith("FAILED")]

    (full,) = failures()  # of the executed copy, which is larger
    assert re.match(r"FAILED 01_good: No space left on device: .*notebooks/01_good\.ipynb$", full)
    shutil.rmtree(at / "notebooks")
    mount("-o", "remount,ro", at)
    (read_only,) = failures()
    assert re.search(rf"Read-only file system: '{re.escape(str(at))}/notebooks'", read_only)
    mount("-o", "remount,rw,size=4m", at)
    done = runner.run("--profile", "standard")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_read_only_store_gives_what_it_holds(store, mount):
    first = run(TINY)
    put(store)
    damaged = Store(store).path(CONFIG) / "arrays.npz"
    os.truncate(damaged, 100)
    leftover = store / "unfinished" / "old"
    leftover.mkdir()
    os.utime(leftover, (0, 0))
    before = contents(store)
    mount("-o", "bind", store, store)
    mount("-o", "remount,ro,bind", store)

    (again,), computed = run_all([TINY])
    np.testing.assert_array_equal(again.x, first.x)
    assert not computed
    with pytest.raises(StoreError, match=f"^cannot write the store entry {store}.*Read-only file system"):
        run_all(FOUR)
    with pytest.raises(StoreError, match="is damaged .* cannot be set aside: .*Read-only file system"):
        Store(store).fetch(CONFIG)
    assert contents(store) == before and leftover.exists()


def test_a_full_disk_under_the_progress_fails_no_training(store, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    monkeypatch.setenv("PHYSMIS_PROGRESS", "/dev/full")
    assert len(run(TINY).z) == TINY.samples


TOGETHER = """
import dataclasses, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from physmis.experiments.experiment import run_all
from test_experiment import TINY

if __name__ == "__main__":
    Path(sys.argv[2]).touch()
    while len(list(Path(sys.argv[2]).parent.iterdir())) < 2:
        time.sleep(0.01)
    results, _ = run_all([dataclasses.replace(TINY, seed=seed) for seed in range(4)])
    print([float(result.z.sum()) for result in results])
"""


@pytest.mark.end_to_end
def test_two_runs_at_once_on_one_store_both_end_well(tmp_path):
    (tmp_path / "script.py").write_text(TOGETHER)
    (tmp_path / "ready").mkdir()
    environment = os.environ | {"PHYSMIS_STORE": str(tmp_path / "store"), "PHYSMIS_JOBS": "1"}
    command = [sys.executable, "-W", "error::UserWarning", tmp_path / "script.py", Path(__file__).parent]
    both = [
        subprocess.Popen(
            [*command, tmp_path / "ready" / name], env=environment, stdout=subprocess.PIPE, text=True
        )
        for name in "ab"
    ]
    told = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert told[0] == told[1] != ""
    root = tmp_path / "store"
    assert not list((root / "unfinished").iterdir()) and not (root / "damaged").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHYSMIS_STORE", str(tmp_path / "alone"))
        patch.setenv("PHYSMIS_JOBS", "1")
        run_all(FOUR)
    assert files(root) == files(tmp_path / "alone") and len(files(root)) == 2 * 2 * 4


# clocks


@pytest.mark.parametrize("shift", [-WEEK, WEEK], ids=["set forward since", "set back since"])
def test_no_entry_is_lost_when_the_clock_is_set(tmp_path, shift):
    put(tmp_path)
    entry = Store(tmp_path).path(CONFIG)
    unfinished = tmp_path / "unfinished" / "of a living process"
    unfinished.mkdir()
    for path in (*entry.iterdir(), entry, unfinished):
        os.utime(path, (time.time() + shift,) * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Store(tmp_path).fetch(CONFIG).arrays["x"][-1] == 999
        put(tmp_path, {**CONFIG, "seed": 1})
    assert unfinished.exists() == (shift > 0)  # a week old, it has no owner; from the future, it may have one


def test_progress_is_told_while_the_clock_is_set_back(store, tmp_path, capsys, monkeypatch):
    events = tmp_path / "events"
    monkeypatch.setenv("PHYSMIS_PROGRESS", str(events))
    clock = iter(range(2**31, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    with Display("01_test", events, tmp_path / "copy.ipynb"):
        run(TINY)
        append(events, "another", 0, 9, time.monotonic() + WEEK)  # by a worker on another machine
        append(events, "another", 9, 9, time.monotonic())
    told = capsys.readouterr().out.splitlines()
    assert any(
        re.fullmatch(r"\[01_test +\d+ s\] train unet.*: 5/5 steps, done in \d+ s", line) for line in told
    )
    assert any("another: 9/9 steps" in line for line in told)


# threads

THREADS = """
import sys
import numpy as np, torch
from physmis.models import build
from physmis.tasks import load

x = load("cone", steps=16).sample(400, np.random.default_rng(0)).x
found = {}
for threads in (1, 2):
    torch.set_num_threads(threads)
    assert torch.get_num_threads() == threads
    for name in ("unet", "mlp", "transformer", "vae"):
        model = build(name, steps=20).fit(x, np.random.default_rng(1))
        found[f"{name} losses {threads}"] = model.losses
        found[f"{name} samples {threads}"] = model.sample(64, np.random.default_rng(2))
np.savez(sys.argv[1], **found)
"""


@pytest.mark.end_to_end
def test_two_threads_agree_with_one_within_tolerance(tmp_path):
    """Twenty steps: losses within 1e-5 of themselves, and samples within 1e-5; the Transformer's within 1e-2.

    Adam makes much of its smallest gradients. Longer training drifts further apart: `run` uses one thread.
    """
    # Threads that wait actively would stand in each other's way on a busy machine.
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-c", THREADS, tmp_path / "found.npz"]
    subprocess.run(command, env=environment, check=True, timeout=300)
    with np.load(tmp_path / "found.npz") as found:
        for name, tolerance in {"unet": 1e-5, "mlp": 1e-5, "vae": 1e-5, "transformer": 1e-2}.items():
            np.testing.assert_allclose(found[f"{name} losses 2"], found[f"{name} losses 1"], rtol=tolerance)
            np.testing.assert_allclose(found[f"{name} samples 2"], found[f"{name} samples 1"], atol=tolerance)


def test_an_experiment_has_the_same_bytes_however_many_threads_were_asked_for(tmp_path):
    import torch

    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            run(TINY, root=tmp_path / str(threads))
    finally:
        torch.set_num_threads(before)
    assert files(tmp_path / "1") == files(tmp_path / "2") and len(files(tmp_path / "1")) == 4
