import base64
import io
import json
import os
import re
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

from physmis import paths
from physmis.experiments import display
from physmis.experiments.display import Display
from physmis.paper import regenerate

HEADER = """# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A title

# %% tags=["parameters"]
PROFILE = "standard"
SEED = 0
DEVICE = "auto"
"""
START = """
# %%
import matplotlib.pyplot as plt

from physmis.paper import plotting
from physmis.paper.run import start

plotting.use_style()
run = start({name!r}, profile=PROFILE, seed=SEED, device=DEVICE)
"""
SAVE = """
# %%
fig, ax = plt.subplots(figsize=(2, 1))
_ = run.save_figure(fig, "fig_{number}_a", {{"seed": SEED}})
"""
CLAIM = """
# %%
run.record_claim("C1.{number}.so", {value}, {value}, {value})
"""
FINISH = """
# %%
run.finish()
"""


class Place:
    """A folder with notebooks of its own, and the runner at work on it."""

    def __init__(self, folder, bodies, claims=True):
        self.notebooks, self.figures = folder / "notebooks", folder / "figures {braces}"
        self.notebooks.mkdir()
        self.figures.mkdir()
        contract = []
        for name, body in bodies.items():
            number = name[:2]
            text = HEADER + body.format(name=name, number=number, value="1.0")
            (self.notebooks / f"{name}.py").write_text(text)
            contract.append(
                f'[figures.fig_{number}_a]\nnotebook = "{name}"\nsources = []\ncaption = ""\n'
                f'[claims."C1.{number}.so"]\nnotebook = "{name}"\nstatement = "It is so."\nmeasured = "m"\n'
                f'expected = "> 0"\nprofiles = ["standard"]\n'
            )
        (self.figures / "contract.toml").write_text("".join(contract))
        self.environment = os.environ | {
            "PHYSMIS_NOTEBOOKS": str(self.notebooks),
            "PHYSMIS_FIGURES": str(self.figures),
            "PHYSMIS_CONTRACT": str(self.figures / "contract.toml"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }

    def command(self, *arguments):
        return [sys.executable, "-m", "physmis.paper.regenerate", *arguments]

    def run(self, *arguments):
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def refuse(self, monkeypatch, *arguments):
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        return regenerate.main(arguments)

    def manifest(self, profile):
        return json.loads((self.figures / profile / "manifest.json").read_text())


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path, {"01_good": START + SAVE + CLAIM + FINISH})


@pytest.mark.end_to_end
def test_a_good_notebook_passes_and_its_outputs_can_be_saved(place):
    done = place.run("--profile", "standard", "--seed", "3", "--device", "cpu", "--save-outputs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^01_good +\d+ +\d+ +no  1 of 1$", done.stdout, re.MULTILINE)
    # A busy kernel may say that it was interrupted as it is shut down.
    told = [line for line in done.stderr.splitlines() if not line.startswith("[IPKernelApp]")]
    assert "\r" not in done.stdout and told == []
    manifest = place.manifest("standard")
    assert manifest["figures"]["fig_01_a"]["seeds"][0] == 3

    copy = place.figures / "standard" / "notebooks" / "01_good.ipynb"
    metadata = nbformat.read(copy, as_version=4).metadata
    assert metadata.kernelspec.name == "python3" and "jupytext" not in metadata
    assert str(place.figures) not in copy.read_text()

    pair = place.notebooks / "01_good.ipynb"
    first = nbformat.read(pair, as_version=4)
    nbformat.validate(first)
    assert first.metadata.jupytext.formats == "ipynb,py:percent" and "papermill" not in first.metadata
    assert same_cells(jupytext.read(place.notebooks / "01_good.py"), first)
    code = [cell for cell in first.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3, 4, 5]
    shown = matplotlib.image.imread(io.BytesIO(base64.b64decode(code[2].outputs[0].data["image/png"])))
    assert shown.shape[:2] == (100, 200)  # as it was saved, at 100 dots an inch; and not cut to a tight box
    assert "HOLDS. It is so." in code[3].outputs[0].text
    assert all(cell.metadata.keys() <= {"tags"} for cell in first.cells)

    regenerate._save_outputs(pair.with_suffix(".py"), copy)
    again = nbformat.read(pair, as_version=4)
    assert [cell.id for cell in again.cells] == [cell.id for cell in first.cells]
    assert (
        list(place.notebooks.iterdir()) == [pair.with_suffix(".py"), pair]
        or len(list(place.notebooks.iterdir())) == 2
    )


@pytest.mark.end_to_end
def test_every_failure_is_told_at_the_end_and_stops_no_other_notebook(tmp_path):
    bodies = {
        "01_raises": "\n# %%\nx = 1\nraise RuntimeError('no such luck')\n",
        "02_forgets": START + CLAIM + FINISH,
        "03_exits": "\n# %%\nimport sys\nsys.exit(0)\n\n# %%\nx = 2\n",
        "04_stops_short": "\n# %%\nx = 1\n",
        "05_dies": "\n# %%\nimport os\nos.kill(os.getpid(), 9)\n\n# %%\nx = 2\n",
        "06_refuted": START + SAVE + CLAIM.replace("{value}", "-1.0") + FINISH,
        "07_good": START + SAVE + CLAIM + FINISH,
    }
    place = Place(tmp_path, bodies)
    done = place.run("--profile", "standard", "--save-outputs")
    assert done.returncode == 1
    told = "".join(line + "\n" for line in done.stderr.splitlines() if line.startswith("FAILED"))
    lost = "02_forgets has not saved what it promises: fig_02_a"
    assert told == (
        "FAILED 01_raises: cell 3 `x = 1`: RuntimeError: no such luck\n"
        f"FAILED 02_forgets: cell 5 `run.finish()`: ContractError: {lost}\n"
        "FAILED 03_exits: cell 4 `x = 2` never ran, and no cell raised an error: an exit before it?\n"
        "FAILED 04_stops_short: it ended without finish(): nothing of this run is in the manifest\n"
        "FAILED 05_dies: DeadKernelError at cell 3 `import os`: Kernel died\n"
        "FAILED 06_refuted: C1.06.so does not hold: -1 [-1, -1], expected > 0\n"
    )
    assert place.manifest("standard")["notebooks"].keys() == {"06_refuted", "07_good"}
    assert [path.stem for path in place.notebooks.glob("*.ipynb")] == ["07_good"]
    assert re.search(r"^07_good +\d+ +\d+ +no  1 of 1$", done.stdout, re.MULTILINE)
    assert re.search(r"^01_raises +\d+ +- +-  -$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "quick"], "quick.*smoke.*standard.*full"),
        (["--only", "07"], "--only is '07'; accepted are 01"),
        (["--device", "tpu"], "'tpu'; accepted are 'auto', 'cpu' and 'cuda'"),
        (["--jobs", "0"], "--jobs is 0"),
        (["--jobs", "two"], "invalid int value: 'two'"),
        (["--seed", "-1"], "--seed is -1"),
        (["--save-outputs", "--profile", "smoke"], "refused for the smoke profile"),
        (["--save-outputs", "--profile", "workshop"], "refused for the workshop profile"),
        (["--save-outputs", "--profile", "full"], "refused for the full profile"),
        (["--what"], "--what"),
    ],
)
def test_wrong_options_are_named_before_anything_runs(place, monkeypatch, capsys, arguments, message):
    assert place.refuse(monkeypatch, *arguments) == 1
    assert re.search(message, capsys.readouterr().err)
    assert [path.name for path in place.figures.iterdir()] == ["contract.toml"]


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("01_good", "SEED = 0", "SEEDS = 0", r"parameters \['DEVICE', 'PROFILE', 'SEEDS'\]; wanted are"),
        ("01_good", ' tags=["parameters"]', "", "0 cells tagged parameters"),
        ("02_other", "", "", "do not name the same notebooks: 02_other"),
    ],
)
def test_wrong_notebooks_are_named_before_anything_runs(place, monkeypatch, capsys, name, old, new, message):
    text = (place.notebooks / "01_good.py").read_text()
    (place.notebooks / f"{name}.py").write_text(text.replace(old, new))
    assert place.refuse(monkeypatch, "--profile", "smoke") == 1
    assert re.search(message, capsys.readouterr().err)


SLOW = """
# %%
import subprocess, sys, time

worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
(run._folder / "workers").write_text(str(worker.pid))
time.sleep(300)
"""


def wait_for(condition, seconds=60):
    until = time.time() + seconds
    while not condition():
        assert time.time() < until, "it never came"
        time.sleep(0.1)


@pytest.mark.end_to_end
def test_control_c_ends_kernels_and_workers(tmp_path):
    place = Place(tmp_path, {"01_slow": START + SLOW})
    workers = place.figures / "smoke" / "workers"
    workers.parent.mkdir()
    runner = subprocess.Popen(
        place.command("--profile", "smoke"), env=place.environment, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: workers.exists() and workers.read_text())
    family = psutil.Process(runner.pid).children(recursive=True)
    assert int(workers.read_text()) in [process.pid for process in family]
    runner.send_signal(signal.SIGINT)
    _, told = runner.communicate(timeout=30)
    assert runner.returncode == 130 and "regenerate: stopped" in told
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def append(path, label, done, total, at):
    with open(path, "a") as file:
        file.write(
            json.dumps({"label": label, "done": done, "total": total, "unit": "steps", "time": at}) + "\n"
        )


def test_a_log_gets_plain_lines(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(display, "PERIOD", 0.3)
    events, copy = tmp_path / "events", tmp_path / "copy.ipynb"
    copy.write_text(
        json.dumps({"cells": [{"cell_type": "code", "execution_count": n} for n in (1, None)]}),
    )
    with Display("01_test", events, copy):
        time.sleep(1.2)
        append(events, "train unet", 0, 3000, 100.0)
        append(events, "train unet", 1000, 3000, 120.0)
        events.open("a").write("not an event\n{")
        time.sleep(1.2)
        events.open("a").write("}\n")
        append(events, "train unet", 3000, 3000, 160.0)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\[01_test  \d s\] cell 1 of 2 has run", lines[0])
    assert any(line.endswith("] train unet: 1000/3000 steps, 40 s left") for line in lines)
    assert lines[-1].endswith("] train unet: 3000/3000 steps, done in 60 s")
    assert not any("\r" in line for line in lines)


def test_a_terminal_gets_one_live_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    with Display("01_test", tmp_path / "events", tmp_path / "copy.ipynb"):
        append(tmp_path / "events", "train", 0, 9, 1.0)
        time.sleep(1.2)
    told = capsys.readouterr().out
    assert "\n" not in told
    assert "\r\x1b[K[01_test  1 s] train: 0/9 ste\r" in told and told.endswith("\r\x1b[K")


def same_cells(source, pair):
    def told(notebook):
        return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]

    return told(source) == told(pair)


@pytest.mark.parametrize("source", sorted(paths.notebooks_root().glob("*.py")), ids=lambda path: path.stem)
def test_the_notebook_pairs_are_in_step(source):
    pair = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert same_cells(jupytext.read(source), pair), "run `make notebooks`"
    assert pair.metadata.jupytext.formats == "ipynb,py:percent" and "papermill" not in pair.metadata
    outputs = [output for cell in pair.cells for output in cell.get("outputs", [])]
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    assert str(paths.ROOT) not in json.dumps(outputs)
