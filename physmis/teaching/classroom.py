"""Copies of the notebooks to work in, so that the committed ones stay as they are: `make class`."""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

import nbformat

from physmis import paths
from physmis.experiments.store import write

NEEDED = (
    "jupyterlab",
    "ipywidgets",
    "gymnasium_robotics",
    "physmis",
)  # by the notebooks and whoever works in them


def copy_notebooks(folder: Path) -> list[str]:
    """Copy the notebooks that ``folder`` lacks; gives their names. Copies are not paired with `.py` files."""
    new = []
    for source in sorted((paths.root() / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        if not (folder / source.name).exists():  # what somebody has worked in stays
            notebook = nbformat.read(source, as_version=4)
            notebook.metadata.pop("jupytext", None)
            write(folder / source.name, (nbformat.writes(notebook) + "\n").encode())
            new.append(source.name)
    return new


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="classroom", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default="class", help="where copies go (default: class/)")
    parser.add_argument("--no-lab", action="store_true", help="copy and check only")
    options = parser.parse_args(arguments)
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        print(f"classroom: expected {', '.join(missing)} to be installed; run `make class`", file=sys.stderr)
        return 1
    folder, results = Path(options.folder).absolute(), paths.results_root()
    new = copy_notebooks(folder)
    stored = len(list(results.glob("*/*.npz"))) if results else 0
    print(f"{folder}: {len(new)} notebooks copied, those that were there are as they were")
    print(
        f"{stored} stored results: "
        + ("notebooks draw in seconds" if stored else "notebooks will train first")
    )
    if options.no_lab:
        return 0
    return subprocess.run([sys.executable, "-m", "jupyterlab", "--notebook-dir", str(folder)]).returncode


if __name__ == "__main__":
    sys.exit(main())
