import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile

import jupytext
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from support import ROOT, without_settings

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"torch": "pytorch"}


def ranges(requirements):
    parsed = [Requirement(text) for text in requirements]
    return {canonicalize_name(requirement.name): requirement.specifier for requirement in parsed}


def pins(name):
    """Package to version in a lock file; one version of each, for all Pythons and systems."""
    found = {}
    for line in (ROOT / name).read_text().splitlines():
        if re.match(r"[a-z0-9]", line):
            requirement = Requirement(line.rstrip("\\ "))
            (specifier,) = requirement.specifier
            assert specifier.operator == "==" and requirement.name not in found
            found[canonicalize_name(requirement.name)] = specifier.version
    return found


def test_environment_and_project_agree():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge"]
    packages = [item for item in environment["dependencies"] if isinstance(item, str)]
    assert {"pip": ["-e .[audit,cluster,maze]"]} in environment["dependencies"]
    conda = ranges(packages)
    assert conda.pop("pip") == SpecifierSet()
    assert conda.pop("python") == SpecifierSet(PROJECT["requires-python"])
    assert conda == {
        CONDA_NAMES.get(name, name): range_ for name, range_ in ranges(PROJECT["dependencies"]).items()
    }


def test_every_range_has_both_ends():
    extras = PROJECT["optional-dependencies"].values()
    for range_ in ranges([*PROJECT["dependencies"], *sum(extras, [])]).values():
        assert {specifier.operator for specifier in range_} == {">=", "<"}


def test_the_locks_pin_what_the_project_asks_for():
    locked = pins("requirements.lock") | pins("requirements-torch.lock")
    wanted = ranges([*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])])
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    for name, range_ in (wanted | ranges(build)).items():
        assert locked[name] in range_, f"{name} {locked[name]} is not in {range_}; run `make lock`"


def test_torch_alone_is_pinned_without_a_hash():
    assert pins("requirements-torch.lock") == {"torch": "2.13.0"}
    everything_else = (ROOT / "requirements.lock").read_text()
    assert "torch" not in pins("requirements.lock")
    assert not any(name.startswith(("nvidia", "cuda", "triton")) for name in pins("requirements.lock"))
    for entry in re.split(r"\n(?=[a-z0-9])", everything_else)[1:]:
        assert "--hash=sha256:" in entry, entry


WORKFLOWS = [path.relative_to(ROOT).as_posix() for path in (ROOT / ".github" / "workflows").glob("*.yml")]


@pytest.mark.parametrize(
    "name", ["requirements.lock", "requirements-torch.lock", "environment.yml", *WORKFLOWS]
)
def test_no_host_or_folder_is_named(name):
    text = (ROOT / name).read_text()
    assert not re.search(r"://|--(extra-)?index|--find-links|(^|\s)/\w", text)
    assert not re.search(r"\b[\w-]+\.(com|org|io|net|dev)\b", text)


def test_the_makefile_installs_every_extra():
    recipes = dict(re.findall(r"^(\S+):.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M))
    extras = set(PROJECT["optional-dependencies"])
    assert set(re.findall(r"--extra (\w+)", recipes["lock"])) == extras
    (newest,) = re.findall(r"-e '\.\[(.*)\]'", recipes["newest"])
    assert set(newest.split(",")) == extras
    assert "--require-hashes -r requirements.lock" in recipes["$(READY)"]


@pytest.mark.parametrize("name, command", [("ci", ".ci/run"), ("newest", "make newest KEEP=/dev/null")])
def test_a_workflow_runs_what_runs_here(name, command):
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())
    when = workflow[True]  # YAML reads `on` as true
    assert ("schedule" in when) == (name == "newest")
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    pythons = job["strategy"]["matrix"]["python"]
    assert all(python in SpecifierSet(PROJECT["requires-python"]) for python in pythons)
    assert {"3.11", "3.13"} <= set(pythons)
    actions = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in actions)
    assert [step["run"] for step in job["steps"] if "run" in step][0] == command


@pytest.mark.end_to_end
def test_a_wheel_holds_the_whole_package_and_works_outside_a_checkout(tmp_path):
    tree, site = tmp_path / "tree", tmp_path / "site"
    shutil.copytree(ROOT / "physmis", tree / "physmis", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = ["wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, tree]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if name.startswith("physmis/")}
        file.extractall(site)
    assert held == {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "physmis").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "physmis/paper/physmis.mplstyle" in held and any(name.endswith(".html") for name in held)
    told = "import physmis.paths as p; print(p.__file__, p.IN_CHECKOUT, p.root(), p.store_root())"
    done = subprocess.run([sys.executable, "-c", told], cwd=tmp_path, capture_output=True, text=True,
                          env=without_settings() | {"PYTHONPATH": str(site)}, check=True)  # fmt: skip
    assert done.stdout.split() == [
        str(site / "physmis/paths.py"),
        "False",
        str(tmp_path),
        str(tmp_path / "store"),
    ]


@pytest.mark.end_to_end
def test_the_first_cells_install_the_package_where_it_is_absent(tmp_path):
    """As on Colab, as a checkout beside the notebook; in a wrong kernel, they say what to choose."""
    cells = jupytext.read(ROOT / "notebooks" / "01_synthetic_tasks.py").cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    # An environment of its own, which sees the packages that are installed here, but no editable ones.
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    here = sysconfig.get_path("purelib")
    (site / "here.pth").write_text(f"import sys; sys.path.insert(0, {here!r})\n")  # its setuptools is newer
    environment = {key: value for key, value in without_settings().items() if key != "PYTHONPATH"} | {
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it the other way round: build with what is installed here
    }
    told = "import physmis.paths\nprint(physmis.__file__, physmis.paths.IN_CHECKOUT)"
    command = [python, "-c", "\n".join([*code[:2], told])]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "ModuleNotFoundError: physmis is not installed here; choose .venv, or" in done.stderr
    environment["PHYSMIS_REPOSITORY"] = ROOT.as_uri()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    file, in_checkout = done.stdout.split()[-2:]
    assert (tmp_path / file).resolve() == tmp_path.resolve() / "src" / "physmis" / "physmis" / "__init__.py"
    assert in_checkout == "True"
