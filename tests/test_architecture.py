"""The package's shape: which way imports run, how long files are, what no file does, what importing costs."""

import ast
import json
import re
import subprocess
import sys

import jupytext
import pytest
from support import ROOT, without_settings

from physmis import paths
from physmis.paper.claims import load_contract

# A folder or module may import from those before it.
ORDER = [
    *("checks", "paths", "tasks", "models", "drift", "kernels", "coordinates", "mitigations"),
    *("experiments", "paper", "audit", "teaching"),
]
LAZY = {"physmis", "physmis.__main__", "physmis.tasks", "physmis.models"}  # doors, which look further inside
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "physmis").rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}


def imports(name):
    """The package's modules that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= submodules & FILES.keys() or {node.module}
    return found & FILES.keys()


def place(name):
    return ORDER.index(name.split(".")[1])


def test_folders_import_from_those_before_them():
    upward = [
        f"{name} imports {other}"
        for name in FILES.keys() - LAZY
        for other in imports(name) - {"physmis"}
        if place(other) > place(name)
    ]
    assert not sorted(upward)


def test_no_modules_import_each_other_in_a_circle():
    left = {name: imports(name) - LAZY for name in FILES.keys() - LAZY}
    while free := {name for name, needs in left.items() if not needs & left.keys()}:
        left = {name: needs for name, needs in left.items() if name not in free}
    assert not sorted(left)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_short_and_runs_no_data(name):
    text = FILES[name].read_text()
    assert len(text.splitlines()) <= 400
    assert name == "physmis" or "TYPE_CHECKING" not in text
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import | ast.ImportFrom):
            roots = {(getattr(node, "module", None) or alias.name).split(".")[0] for alias in node.names}
            assert not roots & {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
        if isinstance(node, ast.Call):
            assert getattr(node.func, "id", None) not in {"eval", "exec", "compile", "__import__"}
            given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            assert given.get("allow_pickle", False) is False and given.get("shell", False) is False


NOTEBOOKS = paths.notebooks()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short(path):
    cells = jupytext.read(path).cells
    longest = max(len(c.source.splitlines()) for c in cells if c.cell_type == "code")
    assert longest <= 40
    lines = [line.strip() for c in cells if c.cell_type == "code" for line in c.source.splitlines()]
    words = " ".join(c.source for c in cells if c.cell_type == "markdown").split()
    figures = [id for id, figure in load_contract().figures.items() if figure.notebook == path.stem]
    assert len([line for line in lines if line and not line.startswith("#")]) <= 400
    assert len(words) <= 2500 and 1 <= len(figures) <= (6 if path.stem[:2] in ("02", "05") else 5)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_opens_with_its_contents_and_headings_are_in_order(path):
    """Links as JupyterLab, GitHub and the site name headings: with hyphens for spaces."""
    prose = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "markdown"]
    headings = re.findall(
        r"^(#+) (.+)$", re.sub(r"```.*?```", "", "\n\n".join(prose), flags=re.DOTALL), re.MULTILINE
    )
    levels = [len(marks) for marks, _ in headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    links = re.findall(r"\]\(#([^)\s]+)\)", prose[0])
    names = [text.replace(" ", "-") for _, text in headings]
    assert [name for name in names if name in links] == links
    assert set(links) >= {name for name, level in zip(names, levels, strict=True) if level == 2}


SEEN = "import json, sys; print(json.dumps([m for m in ('torch', 'matplotlib') if m in sys.modules]))"
START = "import time; begun = time.process_time(); import physmis; spent = time.process_time() - begun"
DOORS = {
    "import physmis": f"{START}; assert spent <= 0.3, spent",
    "import physmis.checks, physmis.drift": "import physmis.checks, physmis.drift",
}


@pytest.mark.parametrize("code", DOORS.values(), ids=DOORS)
def test_doors_open_fast_and_without_torch_or_matplotlib(code, tmp_path):
    environment = without_settings() | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", f"{code}\n{SEEN}"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
