"""What is committed: figures/standard, the outputs in the notebooks, the table in the README."""

import json

import jupytext
import nbformat
import pytest
from support import ROOT, same_cells

from physmis.paper import claims
from physmis.paper.run import check


@pytest.fixture(autouse=True)
def _the_checkout_itself(monkeypatch):
    monkeypatch.delenv("PHYSMIS_ROOT", raising=False)


def test_the_committed_figures_are_complete_and_of_one_clean_commit():
    assert (ROOT / "figures" / "standard" / "manifest.json").is_file(), "run `make figures`"
    assert check("standard") == []
    manifest = claims.read_manifest("standard")
    codes = {manifest["code"], *(row["code"] for row in manifest["notebooks"].values())}
    assert not any(code == "unknown" or code.endswith("-dirty") for code in codes), codes


def test_the_table_of_claims_in_the_readme_is_that_of_the_manifest():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert claims.refreshed(readme) == readme, "run `python -m physmis.paper.claims`"


@pytest.mark.parametrize("source", sorted(ROOT.glob("notebooks/*.py")), ids=lambda path: path.stem)
def test_the_notebook_pairs_are_in_step_and_have_the_outputs_of_a_whole_run(source):
    pair = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert same_cells(jupytext.read(source), pair), "run `make notebooks`"
    assert pair.metadata.jupytext.formats == "ipynb,py:percent" and "papermill" not in pair.metadata
    cells = [cell for cell in pair.cells if cell.cell_type == "code"]
    assert [cell.source for cell in cells if cell.execution_count is None] == []
    outputs = [output for cell in cells for output in cell.outputs]
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    assert str(ROOT) not in json.dumps(outputs)
