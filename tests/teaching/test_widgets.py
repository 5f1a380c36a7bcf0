"""Sliders: in a plain script, through papermill, and under a person's hand in JupyterLab."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request

import matplotlib.pyplot as plt
import nbformat
import papermill
import pytest

from physmis.teaching import explore

SOURCE = """
import matplotlib.pyplot as plt
from physmis.teaching import explore


def draw(height, steps, colour):
    fig, ax = plt.subplots(figsize=(4, 3))
    ax.plot([height] * steps, color=colour)
    return fig


explore(draw, height=(0.0, 1.0, 0.25), steps=(2, 9, 2), colour=["tab:blue", "tab:red"])
"""


def notebook(*sources):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources], metadata=kernel)


def test_in_a_plain_script_one_figure_is_drawn_and_closed(capsys):
    drawn = []

    def draw(height, colour):
        drawn.append((height, colour))
        return plt.figure(figsize=(2, 2))

    explore(draw, height=(0.0, 1.0, 0.25), colour=["blue", "red"])
    assert drawn == [(0.25, "blue")] and plt.get_fignums() == [] and capsys.readouterr().out == ""


@pytest.mark.end_to_end
def test_through_papermill_there_is_a_static_picture_and_no_slider(tmp_path):
    given = notebook("SEED = 0", SOURCE)
    given.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(given, tmp_path / "in.ipynb")
    papermill.execute_notebook(
        tmp_path / "in.ipynb", tmp_path / "out.ipynb", {"SEED": 1}, kernel_name="python3", progress_bar=False
    )
    done = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    kinds = {kind for output in done.cells[-1].outputs for kind in output.get("data", {})}
    assert "image/png" in kinds and "application/vnd.jupyter.widget-view+json" not in kinds


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab without the user's settings, whose notebooks lie in `tmp_path`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"port": port, "token": "t", "ip": "127.0.0.1", "root_dir": tmp_path}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.{name}={value}" for name, value in options.items()]
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    environment = os.environ | {name: str(tmp_path / name) for name in folders}
    log = tmp_path / "log"
    with open(log, "w") as file:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token=t", timeout=5).close()
                break
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/lab"
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.mark.end_to_end
def test_in_jupyterlab_a_control_changes_the_figure_and_a_saved_notebook_keeps_it(tmp_path, lab, browser):
    nbformat.write(notebook(SOURCE), tmp_path / "try.ipynb")
    page = browser.new_page(viewport={"width": 1200, "height": 1400})
    page.goto(f"{lab}/tree/try.ipynb?token=t")
    page.locator(".jp-Notebook .jp-CodeCell").wait_for(timeout=60_000)
    page.get_by_text("| Idle").wait_for(timeout=60_000)  # the kernel is up
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
    page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
    image = page.locator(".jp-OutputArea .jp-RenderedImage img")
    image.wait_for(timeout=90_000)

    def changed(act):
        before = image.get_attribute("src")
        act()
        page.wait_for_function(
            "src => document.querySelector('.jp-RenderedImage img').getAttribute('src') != src",
            arg=before,
            timeout=30_000,
        )
        assert image.evaluate("picture => picture.complete && picture.naturalWidth") > 300

    for k in range(2):
        changed(lambda k=k: page.locator(".widget-slider .noUi-handle").nth(k).press("ArrowRight"))
    changed(lambda: page.locator(".widget-dropdown select").select_option("tab:red"))
    page.locator(".jp-Notebook").press("Control+s")
    page.wait_for_timeout(1000)
    last = image.get_attribute("src")
    page.close()
    controls, picture = nbformat.read(tmp_path / "try.ipynb", as_version=4).cells[0].outputs
    assert controls.data["text/plain"] == "Run this cell to choose height, steps, colour."
    assert last.split(",")[1] == picture.data["image/png"].replace("\n", "")
