"""What is committed: figures, results, the outputs of notebooks, the tables of claims."""

import json
import os
import subprocess
import sys

import jupytext
import nbformat
import pytest
from support import ROOT, same_cells, without_settings

from physmis import paths
from physmis.experiments import store
from physmis.paper import claims, committed
from physmis.paper.run import check


@pytest.fixture(autouse=True)
def _the_checkout_itself(monkeypatch):
    monkeypatch.delenv("PHYSMIS_ROOT", raising=False)


def test_the_committed_figures_are_complete_and_of_one_clean_commit():
    assert (ROOT / "figures" / "standard" / "manifest.json").is_file(), "run `make figures`"
    assert check(paths.committed()) == []
    manifest = claims.read_manifest(paths.committed())
    codes = {manifest["code"], *(row["code"] for row in manifest["notebooks"].values())}
    assert not any(code == "unknown" or code.endswith("-dirty") for code in codes), codes


def test_the_stored_results_are_those_that_the_notebooks_ask_for():
    manifest, results = claims.read_manifest(paths.committed()), paths.results_root()
    asked = {address for row in manifest["notebooks"].values() for address in row["results"]}
    files = {path.relative_to(results).as_posix(): path for path in results.rglob("*") if path.is_file()}
    assert sorted(asked ^ files.keys()) == []
    assert sum(path.stat().st_size for path in files.values()) <= committed.MOST
    kept = store.Store(results)
    for address, path in files.items():
        entry = kept.read(path)  # compares checksums, and the address with the config
        assert entry is not None and store.address(entry.meta["config"]) == address
        assert entry.meta.keys() >= {"code", "machine", "seconds", "versions"}
        assert not entry.meta["code"].endswith("-dirty") and entry.meta["code"] != "unknown"


@pytest.mark.end_to_end
def test_a_fresh_checkout_draws_every_figure_from_the_stored_results(tmp_path):
    """`make figures` with an empty store; to the last byte on the machine that made the committed ones."""
    environment = without_settings() | {"PHYSMIS_STORE": str(tmp_path / "store"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "physmis.paper.regenerate", "--stored-only", "--output", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    old, new = (claims.read_manifest(folder) for folder in (paths.committed(), tmp_path / "standard"))
    assert not any(row["cold"] for row in new["notebooks"].values())
    for name, row in old["notebooks"].items():
        assert new["notebooks"][name]["results"] == row["results"]
        assert new["notebooks"][name]["peak_mib"] <= 1536
    assert not [*(tmp_path / "store").glob("*/*")]
    if old["machine"] == new["machine"] and old["versions"] == new["versions"]:
        for id, row in old["figures"].items():
            assert new["figures"][id] == row
    assert os.path.samefile(paths.root(), ROOT)


def test_the_tables_of_claims_are_those_of_the_manifest():
    for path, content in claims.documents().items():
        assert path.read_bytes() == content, "run `python -m physmis.paper.claims`"


@pytest.mark.parametrize("source", paths.notebooks(), ids=lambda path: path.stem)
def test_the_notebook_pairs_are_in_step_and_have_the_outputs_of_a_whole_run(source):
    pair = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert same_cells(jupytext.read(source), pair), "run `make notebooks`"
    assert pair.metadata.jupytext.formats == "ipynb,py:percent" and "papermill" not in pair.metadata
    cells = [cell for cell in pair.cells if cell.cell_type == "code"]
    assert [cell.source for cell in cells if cell.execution_count is None] == []
    outputs = [output for cell in cells for output in cell.outputs]
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    assert str(ROOT) not in json.dumps(outputs)
