"""Copies of the notebooks for a class."""

import nbformat
import pytest

from physmis import paths
from physmis.teaching import classroom


def test_copies_are_unpaired_and_work_in_them_is_kept(tmp_path, capsys):
    folder = tmp_path / "class"
    assert classroom.main(["--folder", str(folder), "--no-lab"]) == 0
    assert f"{len(paths.notebooks())} notebooks copied\n" in capsys.readouterr().out
    for path in paths.notebooks(".ipynb"):
        notebook, original = (nbformat.read(one, as_version=4) for one in (folder / path.name, path))
        assert "jupytext" not in notebook.metadata and notebook.cells == original.cells
    mine = folder / "01_synthetic_tasks.ipynb"
    mine.write_text("my work")
    (folder / "02_kernel_theory.ipynb").unlink()
    assert classroom.main(["--folder", str(folder), "--no-lab"]) == 0
    told = capsys.readouterr().out
    assert f"1 notebooks copied; the {len(paths.notebooks()) - 1} that were there are as they were" in told
    assert mine.read_text() == "my work"
    assert classroom.main(["--folder", str(mine), "--no-lab"]) == 1  # no folder
    assert "name another: python -m" in capsys.readouterr().err


def test_what_is_not_installed_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(classroom, "NEEDED", ("physmis", "no_such_package"))
    assert classroom.main(["--folder", str(tmp_path), "--no-lab"]) == 1
    assert "expected no_such_package to be installed" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


@pytest.mark.end_to_end
def test_a_machine_is_ready_or_it_is_said_what_to_do(monkeypatch, capsys):
    assert classroom.main(["--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(line.startswith("ok ") for line in lines)
    monkeypatch.setenv("PHYSMIS_RESULTS", "none")
    monkeypatch.setattr(classroom, "NEEDED", ("physmis", "no_such_package"))
    assert classroom.main(["--check"]) == 1
    failures = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL ")]
    assert ["no_such_package" in failures[0], "0 of " in failures[1], "does not run" in failures[2]] == [
        True
    ] * 3
