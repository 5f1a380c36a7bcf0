"""Where results come from: the commit of the code, and the machine."""

import subprocess

import psutil
import torch

from physmis import paths
from physmis.experiments.provenance import code_version, machine


def test_the_code_version_is_the_commit_and_tells_dirty_code(tmp_path, monkeypatch):
    def git(*arguments):
        who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setenv("PHYSMIS_ROOT", str(tmp_path))
    monkeypatch.setattr(paths, "IN_CHECKOUT", True)
    (tmp_path / "physmis").mkdir()
    (tmp_path / "physmis" / "a.py").write_text("")
    git("init")
    assert code_version() == "unknown"
    git("add", ".")
    git("commit", "-m", "m")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "README.md").write_text("words are not code")
    assert code_version() == commit
    (tmp_path / "physmis" / "b.py").write_text("")
    assert code_version() == commit + "-dirty"
    monkeypatch.setenv("PHYSMIS_ROOT", str(tmp_path / "physmis"))  # of another project's repository
    assert code_version() == "unknown"


def test_the_machine_is_named_by_what_last_digits_depend_on():
    told = machine("cpu")
    assert torch.backends.cpu.get_cpu_capability() in told and f"{psutil.cpu_count()} cores" in told
    assert "model name" not in told and "GiB" in told
