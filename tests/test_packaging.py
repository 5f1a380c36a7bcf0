import contextlib
import os
import re
import runpy
import subprocess
import sysconfig
import tomllib
import venv
from email import message_from_string
from importlib import metadata

import jupytext
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from physmis.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"torch": "pytorch"}
LICENCES = runpy.run_path(str(ROOT / "docs" / "licences.py"))


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
    assert f".github/workflows/{name}.yml" in WORKFLOWS
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())
    when = workflow[True]  # YAML reads `on` as true
    assert ("schedule" in when) == (name == "newest")
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    pythons = job["strategy"]["matrix"]["python"]
    assert all(python in SpecifierSet(PROJECT["requires-python"]) for python in pythons)
    assert {"3.11", "3.13"} <= set(pythons)
    *actions, step = job["steps"]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action["uses"]) for action in actions)
    assert step == {"run": command}


def listed():
    """Package to version, licence and use, in the list of licences."""
    rows = (ROOT / "docs" / "licences.md").read_text().split("|---|---|---|---|\n")[1].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert len({name for name, *_ in cells}) == len(cells)
    return {name: rest for name, *rest in cells}


def test_the_licence_of_every_locked_package_is_listed():
    locked = pins("requirements.lock") | pins("requirements-torch.lock")
    assert {name: version for name, (version, _, _) in listed().items()} == locked, "run `make licences`"
    licences = {name: licence for name, (_, licence, _) in listed().items()}
    assert licences.items() >= LICENCES["ELSEWHERE"].items()
    allowed = LICENCES["PERMISSIVE"] | {"MPL-2.0"}
    for name, licence in licences.items():
        assert set(re.split(" AND | OR ", licence)) <= allowed, (name, licence)


def test_the_list_of_licences_tells_what_the_packages_tell():
    """Of packages that are installed as they are locked; it says nothing of others."""
    compared = 0
    for name, (version, licence, _) in listed().items():
        with contextlib.suppress(metadata.PackageNotFoundError):
            told = metadata.metadata(name)
            if Version(told["Version"]).public == version:
                assert LICENCES["licence"](name, told) == licence, "run `make licences`"
                compared += 1
    assert compared


def test_the_list_of_licences_tells_who_needs_a_package():
    needed_by = {name: uses for name, (_, _, uses) in listed().items()}
    assert {uses for entry in needed_by.values() for uses in entry.split(", ")} <= {
        "core",
        *PROJECT["optional-dependencies"],
    }
    assert (
        needed_by["torch"] == needed_by["networkx"] == needed_by["mpmath"] == "core"
    )  # torch's, and its sympy's
    assert needed_by["mujoco-core"] == "maze" and needed_by["pluggy"] == "dev"


OSI = "Classifier: License :: OSI Approved :: "


@pytest.mark.parametrize(
    "told, licence",
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: GPL", "MIT OR Apache-2.0"),
        (f"License: MIT License\n{OSI}BSD License", "MIT"),
        ("License: MIT License\n        \n        Permission is hereby granted", "MIT"),
        (f"License: UNKNOWN\n{OSI}ISC License (ISCL)", "ISC"),
        (f"License: Copyright 2020\n        Redistribution\n{OSI}BSD License", "BSD"),
    ],
)
def test_a_licence_is_read_from_metadata(told, licence):
    assert LICENCES["licence"]("it", message_from_string(told)) == licence


@pytest.mark.parametrize(
    "told",
    [
        f"License-Expression: GPL-3.0-only\n{OSI}MIT License",
        "License-Expression: MIT AND AGPL-3.0-or-later",
        f"License: LGPLv3\n{OSI}MIT License",
        f"{OSI}GNU General Public License v3 (GPLv3)",
        f"{OSI}MIT License\nClassifier: License :: Free for non-commercial use",
        "License: UNKNOWN",
        "Name: it",
    ],
)
def test_a_licence_that_is_unknown_or_binding_is_refused(told):
    with pytest.raises(ValueError, match="^it: its metadata say"):
        LICENCES["licence"]("it", message_from_string(told))


@pytest.mark.end_to_end
def test_the_first_cells_install_the_package_where_it_is_absent(tmp_path):
    """As on Colab: from the address of the repository, as a checkout beside the notebook."""
    cells = jupytext.read(ROOT / "notebooks" / "01_synthetic_tasks.py").cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    # An environment of its own, which sees the packages that are installed here, but no editable ones.
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    here = sysconfig.get_path("purelib")
    (site / "here.pth").write_text(f"import sys; sys.path.insert(0, {here!r})\n")  # its setuptools is newer
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
        "PHYSMIS_REPOSITORY": ROOT.as_uri(),
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it the other way round: build with what is installed here
    }
    told = "import physmis.paths\nprint(physmis.__file__, physmis.paths.IN_CHECKOUT)"
    done = subprocess.run([python, "-c", "\n".join([*code[:2], told])], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    file, in_checkout = done.stdout.split()[-2:]
    assert (tmp_path / file).resolve() == tmp_path.resolve() / "src" / "physmis" / "physmis" / "__init__.py"
    assert in_checkout == "True"
