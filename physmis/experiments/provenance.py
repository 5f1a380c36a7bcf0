"""Where results come from: code, versions of packages, and machine."""

import functools
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

import psutil
import torch

from physmis import paths

PACKAGES = ("physmis", "numpy", "scipy", "torch", "matplotlib", "seaborn", "mujoco", "gymnasium-robotics")
_CODE = ("physmis", "notebooks/*.py", "figures/contract.toml", "pyproject.toml", "requirements*.lock")


@functools.lru_cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def code_version() -> str:
    """The checkout's commit, with "-dirty" when code differs from it; "unknown" outside a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(paths.root()), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # A folder inside another project's repository would report that project's commit.
        root = paths.root().resolve()
        if not paths.IN_CHECKOUT or Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return "unknown"
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", *_CODE) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@functools.lru_cache
def machine(device: str) -> str:
    """The machine in words: processor, cores, memory, system, and the GPU where it is used.

    Last digits depend on the processor's family and model, and on the widest vectors that it works on.
    """
    processor = platform.processor() or platform.machine()
    if (cpuinfo := Path("/proc/cpuinfo")).is_file():
        found = dict(
            re.findall(r"^(model name|cpu family|model)\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        )
        processor = found.get("model name", processor)
        processor += "".join(
            f" {name[-6:]} {found[name]}" for name in ("cpu family", "model") if name in found
        )
    vectors = torch.backends.cpu.get_cpu_capability()
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
    system = f"{platform.system()} {platform.machine()}"
    gpu = [torch.cuda.get_device_name()] if device == "cuda" else []
    return ", ".join([processor, vectors, f"{psutil.cpu_count()} cores", memory, system, *gpu])
