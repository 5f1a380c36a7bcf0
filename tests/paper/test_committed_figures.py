"""What is committed: figures/standard, and the outputs in the notebooks."""

import nbformat
import pytest

from physmis import paths
from physmis.paper import run as figures
from physmis.paper import summary


@pytest.fixture(autouse=True)
def _the_checkout_itself(monkeypatch):
    for variable in ("FIGURES", "CONTRACT", "NOTEBOOKS"):
        monkeypatch.delenv(f"PHYSMIS_{variable}", raising=False)


def test_the_committed_figures_are_complete_and_of_one_clean_commit():
    assert (paths.figures_root() / "standard" / "manifest.json").is_file(), "run `make figures`"
    assert figures.check("standard") == []
    manifest = figures.read_manifest("standard")
    codes = {manifest["code"], *(row["code"] for row in manifest["notebooks"].values())}
    assert not any(code == "unknown" or code.endswith("-dirty") for code in codes), codes


def test_every_notebook_is_committed_with_the_outputs_of_a_whole_run():
    notebooks = sorted(paths.notebooks_root().glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        for cell in cells:
            where = f"{path.name}: {cell.source.splitlines()[0]}"
            assert cell.execution_count is not None, f"{where}: not run"
            assert not any(output.output_type == "error" for output in cell.outputs), f"{where}: it failed"


def test_the_table_of_claims_in_the_readme_is_that_of_the_manifest():
    readme = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    assert summary.refreshed(readme) == readme, "run `python -m physmis.paper.summary`"
