"""Copies of the notebooks to work in, so that the committed ones stay as they are: `make class`.

`make check-class` says beforehand whether a machine is ready.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nbclient
import nbformat
import psutil

from physmis import paths
from physmis.experiments.store import write
from physmis.paper.claims import read_manifest

NEEDED = "jupyterlab", "ipywidgets", "gymnasium_robotics", "physmis"  # by notebooks and whoever works in them


def copy_notebooks(folder: Path) -> list[str]:
    """Copy the notebooks that ``folder`` lacks; gives their names. Copies are not paired with `.py` files."""
    new = []
    for source in paths.notebooks(".ipynb"):
        if not (folder / source.name).exists():  # what somebody has worked in stays
            notebook = nbformat.read(source, as_version=4)
            notebook.metadata.pop("jupytext", None)
            write(folder / source.name, (nbformat.writes(notebook) + "\n").encode())
            new.append(source.name)
    return new


def readiness() -> Iterator[tuple[bool, str, str]]:
    """Of each thing that a class needs here: whether it is so, what was found, what to do if it is not."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    found = f"{', '.join(missing)} missing" if missing else "all packages"
    yield not missing, found, "run `make class` where there is a network"
    memory, disk = psutil.virtual_memory().available / 2**30, shutil.disk_usage(paths.root()).free / 2**30
    yield memory >= 1.5, f"{memory:.1f} GiB of memory free", "1.5 are needed: close other programs"
    yield disk >= 0.5, f"{disk:.1f} GiB of disk free", "0.5 are needed: delete something"
    asked = {one for row in read_manifest(paths.committed())["notebooks"].values() for one in row["results"]}
    results = paths.results_root()
    stored = [one for one in asked if results and (results / one).is_file()]
    found = f"{len(stored)} of {len(asked)} stored results"
    yield len(stored) == len(asked), found, "clone the repository again, or notebooks will train first"
    begun, error = time.perf_counter(), _first_figure()
    found = error or f"notebook 01 draws its first figure in {time.perf_counter() - begun:.0f} s"
    yield not error, found, "see docs/install.md, or use another machine"


def _first_figure():
    """What goes wrong when the cells up to the first figure are run in a kernel; nothing if all is well."""
    notebook = nbformat.read(paths.root() / "notebooks" / "01_synthetic_tasks.ipynb", as_version=4)
    last = next(k for k, cell in enumerate(notebook.cells) if "run.save_figure" in cell.source)
    notebook.cells = notebook.cells[: last + 1]
    with tempfile.TemporaryDirectory() as scratch:
        environment = os.environ | {"PHYSMIS_OUTPUT": scratch, "PHYSMIS_STORED_ONLY": "1"}
        try:
            options = {"kernel_name": "python3", "extra_arguments": ["--log-level=ERROR"]}
            nbclient.NotebookClient(notebook, timeout=120, **options).execute(env=environment)
        except Exception as error:  # whatever a laptop comes up with
            return f"notebook 01 does not run: {str(error).strip().splitlines()[-1]}"
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="classroom", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default="class", help="where copies go (default: class/)")
    parser.add_argument("--no-lab", action="store_true", help="copy and check only")
    parser.add_argument("--check", action="store_true", help="say whether this machine is ready for a class")
    options = parser.parse_args(arguments)
    if options.check:
        found = list(readiness())
        for fine, what, remedy in found:
            print(f"ok    {what}" if fine else f"FAIL  {what}: {remedy}")
        return 0 if all(fine for fine, _, _ in found) else 1
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        print(f"classroom: expected {', '.join(missing)} to be installed; run `make class`", file=sys.stderr)
        return 1
    folder, results = Path(options.folder).absolute(), paths.results_root()
    before = len(list(folder.glob("*.ipynb")))
    try:
        new = copy_notebooks(folder)
    except OSError as error:
        way = "name another: python -m physmis.teaching.classroom --folder ..."
        print(f"classroom: {error}; {way}", file=sys.stderr)
        return 1
    stored = len(list(results.glob("*/*.npz"))) if results else 0
    kept = f"; the {before} that were there are as they were" if before else ""
    print(f"{folder}: {len(new)} notebooks copied{kept}")
    what = "draw in seconds" if stored else "will train first"
    print(f"{stored} stored results: notebooks {what}")
    if options.no_lab:
        return 0
    return subprocess.run([sys.executable, "-m", "jupyterlab", "--notebook-dir", str(folder)]).returncode


if __name__ == "__main__":
    sys.exit(main())
