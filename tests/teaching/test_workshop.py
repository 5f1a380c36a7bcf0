"""Sliders: in a plain script, through papermill, and under a person's hand in JupyterLab."""

import json
import os
import subprocess
import sys
import time
import urllib.request

import jupytext
import matplotlib.pyplot as plt
import nbformat
import papermill
import pytest

from physmis import paths
from physmis.teaching import widgets as workshop

PRELUDE = """
import matplotlib.pyplot as plt
import numpy as np
from physmis.paper import plotting
from physmis.teaching import widgets as workshop
from physmis.drift import bin_edges, shift_test
plotting.use_style()
"""


def line(height):
    fig, ax = plt.subplots(figsize=(2, 2))
    ax.plot([0, 1], [height, height])
    return fig


def try_it(name):
    """The cell of a notebook that draws and explores."""
    cells = jupytext.read(paths.ROOT / "notebooks" / f"{name}.py").cells
    (source,) = [c.source for c in cells if c.cell_type == "code" and "workshop.explore(" in c.source]
    return source


def test_in_a_plain_script_one_figure_is_drawn_and_closed(capsys):
    drawn = []
    workshop.explore(lambda height: drawn.append(height) or line(height), height=(0.0, 1.0, 0.25))
    assert drawn == [0.25] and plt.get_fignums() == [] and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("sliders", "message"),
    [
        ({}, "one slider for each of"),
        ({"hight": (0, 1, 0)}, "one slider for each of"),
        ({"height": (0, 1, 2)}, "the start 2 is not between 0 and 1"),
    ],
)
def test_sliders_that_do_not_fit(sliders, message):
    with pytest.raises(ValueError, match=message):
        workshop.explore(line, **sliders)


@pytest.mark.end_to_end
def test_through_papermill_there_is_a_static_picture_and_no_slider(tmp_path):
    cells = [PRELUDE, try_it("06_audit")]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    notebook.cells.insert(0, nbformat.v4.new_code_cell("SEED = 0", metadata={"tags": ["parameters"]}))
    nbformat.write(notebook, tmp_path / "in.ipynb")
    papermill.execute_notebook(
        tmp_path / "in.ipynb", tmp_path / "out.ipynb", {"SEED": 1}, kernel_name="python3", language="python",
        progress_bar=False,
    )  # fmt: skip
    done = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    kinds = {kind for output in done.cells[-1].outputs for kind in output.get("data", {})}
    assert "image/png" in kinds and "application/vnd.jupyter.widget-view+json" not in kinds


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab of its own, and where it answers."""
    folder = tmp_path / "work"
    folder.mkdir()
    runtime = tmp_path / "runtime"
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_DATA_DIR": str(tmp_path / "data"),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("PHYSMIS_PROGRESS", None)
    options = {"port": 0, "token": "t", "ip": "127.0.0.1", "root_dir": folder}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.{name}={value}" for name, value in options.items()]
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                (file,) = runtime.glob("jpserver-*.json")
                url = json.loads(file.read_text())["url"]
                urllib.request.urlopen(f"{url}api?token=t", timeout=5)
                break
            except (OSError, ValueError):  # no file yet, or an empty one, or no answer
                told = (tmp_path / "log").read_text()[-2000:]
                assert server.poll() is None and time.monotonic() < deadline, told
                time.sleep(0.2)
        yield folder, url
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.mark.end_to_end
def test_in_jupyterlab_a_moved_slider_changes_the_figure(lab, browser):
    folder, url = lab
    cells = [nbformat.v4.new_code_cell(source) for source in (PRELUDE, try_it("06_audit"))]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "try.ipynb")
    page = browser.new_page(viewport={"width": 1200, "height": 1400})
    page.goto(f"{url}lab/tree/try.ipynb?token=t")
    page.locator(".jp-Notebook .jp-CodeCell").nth(1).wait_for(timeout=60_000)
    page.get_by_text("| Idle").wait_for(timeout=60_000)  # the kernel is up
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
    page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
    image = page.locator(".jp-OutputArea img.widget-image")
    image.wait_for(timeout=90_000)
    before = image.get_attribute("src")
    assert image.evaluate("picture => picture.naturalWidth") > 300
    slider = page.locator(".widget-slider .noUi-handle").first
    slider.focus()
    for _ in range(15):
        slider.press("ArrowRight")
    page.wait_for_function(
        "src => document.querySelector('.jp-OutputArea img.widget-image').getAttribute('src') != src",
        arg=before,
        timeout=30_000,
    )
    assert image.evaluate("picture => picture.complete && picture.naturalWidth") > 300
    page.close()
