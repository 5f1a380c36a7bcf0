"""The ways without the runner, at smoke size and from another folder: papermill, and a plain script."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from physmis import paths

pytestmark = pytest.mark.end_to_end

PAPERMILL = Path(sys.executable).with_name("papermill")


class Way:
    """One way to run notebook 01, with a cold store and figures of its own."""

    def __init__(self, folder, *command, **variables):
        folder.mkdir()
        self.figures, self.out = folder / "figures", folder / "told"
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PHYSMIS_", "MPL"))} | {
            "PHYSMIS_STORE": str(folder / "store"),
            "PHYSMIS_FIGURES": str(self.figures),
            "PHYSMIS_CONTRACT": str(paths.ROOT / "figures" / "contract.toml"),
            "PHYSMIS_JOBS": "1",
            "OMP_NUM_THREADS": "1",
            # So that `python3` is this interpreter, whatever kernels the user has.
            "JUPYTER_DATA_DIR": str(folder / "jupyter"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "IPYTHONDIR": str(folder / "ipython"),
            **variables,
        }
        with open(self.out, "w") as told:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=told, stderr=told
            )

    def arrays(self):
        """Contents of all saved `.npz`, by file name, once the run has ended well."""
        assert self.process.wait(timeout=400) == 0, self.out.read_text()[-3000:]
        return {path.name: path.read_bytes() for path in self.figures.glob("smoke/*.npz")}


@pytest.fixture
def ways(tmp_path):
    """Papermill on the `.ipynb`, and a copy of the `.py` as a script, at once."""
    notebook = paths.ROOT / "notebooks" / "01_synthetic_tasks"
    source = notebook.with_suffix(".py").read_text()
    assert source.count('\nPROFILE = "standard"\n') == 1
    script = tmp_path / "script.py"
    script.write_text(source.replace('\nPROFILE = "standard"\n', '\nPROFILE = "smoke"\n'))
    begun = []
    try:
        mill = (PAPERMILL, notebook.with_suffix(".ipynb"), "out.ipynb", "-p", "PROFILE", "smoke")
        begun.append(Way(tmp_path / "papermill", *mill))
        begun.append(Way(tmp_path / "script", sys.executable, script, MPLBACKEND="agg"))
        yield begun
    finally:
        for way in begun:
            way.process.terminate()
            way.process.wait(timeout=30)


def test_papermill_and_a_plain_script_give_the_same_arrays(ways):
    milled, plain = (way.arrays() for way in ways)
    assert milled and milled == plain
    assert sorted(path.name for path in ways[0].figures.parent.glob("*.ipynb")) == ["out.ipynb"]
