"""The runner at work on notebooks of its own; and the ways without it."""

import base64
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import matplotlib.image
import nbformat
import psutil
import pytest
from support import CLAIM, FINISH, ROOT, SAVE, START, Place, same_cells, wait_for, without_settings

from physmis.experiments import progress
from physmis.paper import regenerate

COMPUTE = """
# %%
from physmis.experiments.parallel import Job

_ = run.compute({{"toy": Job({{"kind": "toy"}}, lambda store, device: {{"x": [1.0, 2.0]}})}})
"""
GOOD = START + COMPUTE + SAVE + CLAIM + FINISH


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path, {"01_good": GOOD})


@pytest.mark.end_to_end
def test_a_good_notebook_passes_and_its_outputs_can_be_saved(place):
    done = place.run("--seed", "3", "--device", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in place.figures.iterdir()] == ["contract.toml"]  # what is committed stays
    assert re.search(r"^01_good +\d+ +\d+ +yes +1 of 1 +-$", done.stdout, re.MULTILINE)
    assert "\r" not in done.stdout and "Executing: 100%" in done.stderr
    assert place.manifest()["figures"]["fig_01_a"]["seeds"][0] == 3
    assert "nothing is committed to compare with" in done.stdout

    done = place.run("--save")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "`C1.01.so`: It is so." in (place.root / "docs" / "claims.md").read_text()
    assert "**reproduced**, 1 of 1" in (place.root / "README.md").read_text()
    for name in ("fig_01_a.npz", "fig_01_a.pdf", "manifest.json"):
        assert same_bytes(place.output / name, place.figures / "standard" / name)
    (address,) = json.loads((place.output / "manifest.json").read_text())["notebooks"]["01_good"]["results"]
    assert same_bytes(place.store / address, place.root / "results" / "standard" / address)

    copy = place.output / "notebooks" / "01_good.ipynb"
    metadata = nbformat.read(copy, as_version=4).metadata
    assert metadata.kernelspec.name == "python3" and "jupytext" not in metadata
    assert str(place.root) not in copy.read_text()

    pair = place.notebooks / "01_good.ipynb"
    first = nbformat.read(pair, as_version=4)
    nbformat.validate(first)
    assert first.metadata.jupytext.formats == "ipynb,py:percent" and "papermill" not in first.metadata
    assert same_cells(jupytext.read(place.notebooks / "01_good.py"), first)
    code = [cell for cell in first.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3, 4, 5, 6]
    shown = matplotlib.image.imread(io.BytesIO(base64.b64decode(code[3].outputs[0].data["image/png"])))
    assert shown.shape[:2] == (100, 200)  # as it was saved, at 100 dots an inch; and not cut to a tight box
    assert "reproduced. It is so." in code[4].outputs[0].text
    assert all(cell.metadata.keys() <= {"tags"} for cell in first.cells)

    # From the stored results, without the store: the same.
    shutil.rmtree(place.store)
    (place.root / "results" / "standard" / "toy" / "left_over.npz").write_bytes(b"")
    done = place.run("--save", "--stored-only")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 removed; 1 stored results" in done.stdout
    again = nbformat.read(pair, as_version=4)
    assert [cell.id for cell in again.cells] == [cell.id for cell in first.cells]
    assert len(list(place.notebooks.iterdir())) == 2

    # A changed config has no stored result.
    source = place.notebooks / "01_good.py"
    source.write_text(source.read_text().replace('"kind": "toy"', '"kind": "toy", "changed": True'))
    done = place.run("--stored-only", "--output", str(place.root / "elsewhere"))
    assert done.returncode == 1 and "make figures SAVE=1" in done.stderr
    assert (place.root / "elsewhere" / "standard" / "notebooks" / "01_good.ipynb").is_file()


def same_bytes(first, second):
    return first.read_bytes() == second.read_bytes()


@pytest.mark.end_to_end
def test_two_runs_at_once_both_finish_and_differences_from_what_is_committed_are_told(place):
    runs = [
        subprocess.Popen(
            place.command(), env=place.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(2)
    ]
    told = [run.communicate(timeout=300)[0].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], told
    shutil.copytree(place.output, place.figures / "standard")
    (place.figures / "standard" / "notebooks" / "01_good.ipynb").unlink()
    manifest = place.manifest()
    manifest["claims"]["C1.01.so"]["value"] = 0.5
    (place.figures / "standard" / "manifest.json").write_text(json.dumps(manifest))
    done = place.run()
    assert "1 of 1 figures are exactly those of figures/standard" in done.stdout
    assert "0 of 1 claims are exactly those of figures/standard\n  differs: C1.01.so" in done.stdout
    # Of one notebook alone, too; and what is damaged is told beside it.
    next(place.store.glob("toy/*.npz")).write_bytes(b"damaged")
    done = place.run("--only", "01")
    assert "1 of 1 figures are exactly those of figures/standard" in done.stdout
    assert re.search(r"^\[01_good .*npz is damaged: .* will be computed again$", done.stdout, re.MULTILINE)


@pytest.mark.end_to_end
def test_every_failure_is_told_at_the_end_and_stops_no_other_notebook(tmp_path):
    bodies = {
        "01_raises": "\n# %%\nx = 1\nraise RuntimeError('no such luck')\n",
        "02_forgets": START + CLAIM + FINISH,
        "03_exits": "\n# %%\nimport sys\nsys.exit(0)\n\n# %%\nx = 2\n",
        "04_stops_short": "\n# %%\nx = 1\n",
        "05_dies": "\n# %%\nimport os\nos.kill(os.getpid(), 9)\n\n# %%\nx = 2\n",
        "06_refuted": START + SAVE + CLAIM.replace("{value}", "-1.0") + FINISH,
        "07_good": GOOD,
    }
    place = Place(tmp_path, bodies)
    readme = (place.root / "README.md").read_text()
    done = place.run("--save")
    assert done.returncode == 1
    lost = "02_forgets: expected the whole contract, lacks fig_02_a"
    assert [line for line in done.stderr.splitlines() if line.startswith("FAILED")] == [
        "FAILED 01_raises: cell `x = 1`: RuntimeError: no such luck",
        f"FAILED 02_forgets: cell `run.finish()`: ContractError: {lost}",
        "FAILED 03_exits: cell `x = 2` did not run, and none failed: look for an exit before it",
        "FAILED 04_stops_short: expected run.finish(), got no row of this run in the manifest",
        "FAILED 05_dies: DeadKernelError: Kernel died",
        "FAILED 06_refuted: C1.06.so does not hold: -1 [-1, -1], expected > 0",
    ]
    assert place.manifest()["notebooks"].keys() == {"06_refuted", "07_good"}
    assert not [*place.notebooks.glob("*.ipynb")] and not (place.figures / "standard").exists()
    assert re.search(r"^07_good +\d+ +\d+ +yes +1 of 1 +-$", done.stdout, re.MULTILINE)
    assert re.search(r"^01_raises +\d+ +- +- +- +-$", done.stdout, re.MULTILINE)
    assert (place.root / "README.md").read_text() == readme


def test_wrong_options_are_named_before_anything_runs(place, monkeypatch, capsys):
    monkeypatch.setenv("PHYSMIS_ROOT", str(place.root))
    address = ["--scheduler", "tcp://127.0.0.1:1"]
    for arguments, message in (
        (["--profile", "quick"], "smoke.*standard.*full.*quick"),
        (["--only", "07"], "--only: expected some of 01, got 07"),
        (["--device", "tpu"], "expected 'auto', 'cpu' or 'cuda', got 'tpu'"),
        (["--jobs", "0"], "--jobs: expected 1 or more, got 0"),
        (["--jobs", "two"], "invalid int value: 'two'"),
        (["--seed", "-1"], "--seed: expected 0 or more, got -1"),
        (["--save", "--profile", "smoke"], "--save: expected --profile standard, --seed 0"),
        (["--save", "--only", "01"], "--save: expected --profile standard, --seed 0"),
        ([*address, "--jobs", "2"], "--scheduler: expected neither --jobs nor --device cuda"),
        (["--scheduler", "nonsense"], "--scheduler: expected a Dask scheduler at 'nonsense'"),
        (["--what"], "--what"),
        (["--output", __file__], "OUTPUT=.*: expected a folder to write to; .*test_regenerate.py"),
    ):
        assert regenerate.main(arguments) == 1
        assert re.search(message, capsys.readouterr().err)
    (place.notebooks / "02_other.py").write_text((place.notebooks / "01_good.py").read_text())
    assert regenerate.main([]) == 1
    assert re.search("expected the notebooks .*got others: 02_other", capsys.readouterr().err)
    assert [path.name for path in place.figures.iterdir()] == ["contract.toml"]


SLOW = """
# %%
import subprocess, sys, time

worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
run._folder.mkdir(parents=True, exist_ok=True)
(run._folder / "workers").write_text(str(worker.pid))
time.sleep(300)
"""


@pytest.mark.end_to_end
def test_control_c_ends_kernels_and_workers(tmp_path):
    place = Place(tmp_path, {"01_slow": START + SLOW})
    workers = place.output / "workers"
    runner = subprocess.Popen(place.command(), env=place.environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: workers.exists() and workers.read_text())
    family = psutil.Process(runner.pid).children(recursive=True)
    assert int(workers.read_text()) in [process.pid for process in family]
    runner.send_signal(signal.SIGINT)
    _, told = runner.communicate(timeout=60)
    assert runner.returncode == 130 and "regenerate: stopped" in told
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_progress_is_printed_in_plain_lines(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "PERIOD", 0.6)
    clock = iter(range(0, 1000, 20))
    monkeypatch.setenv("PHYSMIS_PROGRESS", str(tmp_path / "events"))
    with progress.follow("01_test", tmp_path / "events"):
        time.sleep(1.3)
        with monkeypatch.context() as patch:
            patch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
            report = progress.reporter("train unet")
            report(0, 3000)
            report(1000, 3000)
        with open(tmp_path / "events", "a") as file:
            file.write("not an event\n")
        time.sleep(1.3)
        progress.reporter("train vae")(5, 5)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("] train unet: 1000/3000 steps, 80 s left") for line in lines)
    assert lines[-1].endswith("] train vae: 5/5 steps in 0 s")
    assert not any("\r" in line for line in lines)
    monkeypatch.setenv("PHYSMIS_PROGRESS", str(tmp_path / "no folder" / "events"))
    progress.reporter("train vae")(5, 5)  # progress is worth no failure
    assert [progress.duration(seconds) for seconds in (90, 720, 9000)] == ["90 s", "12 min", "2.5 h"]


@pytest.mark.end_to_end
def test_papermill_and_a_plain_script_give_the_same_arrays(tmp_path):
    """Without the runner, at smoke size, from another folder; the second finds the models of the first."""
    notebook, root = ROOT / "notebooks" / "01_synthetic_tasks", tmp_path / "root"
    source = notebook.with_suffix(".py").read_text()
    assert source.count('\nPROFILE = "standard"\n') == 1
    script = tmp_path / "script.py"
    script.write_text(source.replace('\nPROFILE = "standard"\n', '\nPROFILE = "smoke"\n'))
    (root / "figures").mkdir(parents=True)
    shutil.copy(ROOT / "figures" / "contract.toml", root / "figures")
    environment = without_settings() | {
        "PHYSMIS_ROOT": str(root),
        "PHYSMIS_JOBS": "1",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "PYTHONPATH": str(ROOT),
        # So that `python3` is this interpreter, whatever kernels the user has.
        **{f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("DATA", "RUNTIME", "CONFIG")},
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }

    def arrays(*command):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        found = {path.name: path.read_bytes() for path in root.glob("output/smoke/*.npz")}
        rows = json.loads((root / "output" / "smoke" / "manifest.json").read_text())["notebooks"]
        shutil.rmtree(root / "output" / "smoke")
        return found, rows[notebook.name]["cold"]

    papermill = Path(sys.executable).with_name("papermill")
    milled, cold = arrays(papermill, notebook.with_suffix(".ipynb"), "out.ipynb", "-p", "PROFILE", "smoke")
    plain, second_cold = arrays(sys.executable, script)
    assert milled and milled == plain and (cold, second_cold) == (True, False)
