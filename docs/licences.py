"""Write docs/licences.md: version, licence and use of every locked package. `make licences` runs it.

The licence is what an installed package's metadata say: `License-Expression`, else `License` (its first line,
if that names a licence), else the classifiers. A licence that is not known or not accepted is an error.
"""

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-torch.lock")

PERMISSIVE = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CNRI-Python",
    "ISC",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "PSF-2.0",
    "Zlib",
}
WEAK_COPYLEFT = {"MPL-2.0"}

# What metadata say instead of an SPDX identifier.
SAID = {
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD 2-Clause License": "BSD-2-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD License": "BSD",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "ISC license": "ISC",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "PSFL": "PSF-2.0",
    "Python Software Foundation License": "PSF-2.0",
}

# Locked for some systems or Pythons only, so not installed on most. Read off their wheels.
ELSEWHERE = {
    "aiohappyeyeballs": "PSF-2.0",
    "aiohttp": "Apache-2.0 AND MIT",
    "aiosignal": "Apache-2.0",
    "appnope": "BSD-2-Clause",
    "colorama": "BSD",
    "frozenlist": "Apache-2.0",
    "httpx2-jsfetch": "BSD-3-Clause",
    "multidict": "Apache-2.0",
    "propcache": "Apache-2.0",
    "pywinpty": "MIT",
    "yarl": "Apache-2.0",
}

HEAD = """\
# Licences

Every package in [requirements.lock](../requirements.lock) and
[requirements-torch.lock](../requirements-torch.lock), with the licence that its metadata tell. Made by
`make licences`; a test compares it with the lock files. physmis itself has the [MIT licence](../LICENSE).

Accepted are permissive licences
({permissive})
and, of weak copyleft, which binds changes to the package's own files only, {weak}. *BSD* stands where the
metadata do not say whether it has two clauses or three. `make licences` refuses any other licence.

Not listed are the libraries that wheels carry inside, such as GCC's runtime (GPL with its runtime exception,
LGPL) in NumPy and SciPy, or GMP and MPFR (LGPL) in heyoka. Nor are NVIDIA's libraries, which GPU builds of
torch install, under NVIDIA's own terms.

*Needed by*: `core`, which is everyone, or the extras that ask for it.

| package | version | licence | needed by |
|---|---|---|---|
"""


def accepted(expression):
    """Whether every licence in an SPDX expression is."""
    return set(re.split(r" AND | OR ", expression)) <= PERMISSIVE | WEAK_COPYLEFT


def licence(name, told):
    """SPDX expression of the licence that a package's metadata tell; ValueError unless it is accepted."""
    said = told.get("License-Expression") or _field(told) or _classifiers(told)
    expression = SAID.get(said, said)
    if not accepted(expression):
        raise ValueError(f"{name}: its metadata say {said!r}; docs/licences.py tells what is accepted")
    return expression


def _field(told):
    first, *more = (told.get("License") or "").strip().split("\n")
    whole_text = more and first not in SAID
    return "" if whole_text or first == "UNKNOWN" else first


def _classifiers(told):
    texts = [text for text in told.get_all("Classifier", []) if text.startswith("License ::")]
    names = [text.split(" :: ")[-1] for text in texts]
    return " AND ".join(SAID.get(name, name) for name in names)


def locked():
    """Package -> (version, the packages that ask for it), from the lock files."""
    found = {}
    for line in "".join((ROOT / lock).read_text() for lock in LOCKS).splitlines():
        if re.match(r"[a-z0-9]", line):
            requirement = Requirement(line.rstrip("\\ "))
            (pin,) = requirement.specifier
            above = set()
            found[canonicalize_name(requirement.name)] = (pin.version, above)
        elif parent := re.match(r"    # (?:  |via )([a-z0-9.-]+)$", line):
            above.add(parent[1])
    return found


def uses(packages):
    """Package -> "core", or the extras that ask for it, directly or through others."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = {name: [] for name in packages}
    for group, wanted in ({"core": project["dependencies"]} | project["optional-dependencies"]).items():
        reached, new = set(), {canonicalize_name(Requirement(text).name) for text in wanted}
        while new:
            reached |= new
            new = {name for name, (_, above) in packages.items() if above & reached} - reached
        for name in reached:
            found[name].append(group)
    return {name: "core" if "core" in groups else ", ".join(sorted(groups)) for name, groups in found.items()}


def main():
    """Write the list; ValueError names a package whose licence is not known or not accepted."""
    packages = locked()
    needed_by = uses(packages)
    rows = []
    for name, (version, _) in sorted(packages.items()):
        try:
            found = licence(name, metadata.metadata(name))
        except metadata.PackageNotFoundError:
            if name not in ELSEWHERE:
                raise ValueError(f"{name}: not installed, and ELSEWHERE does not tell its licence") from None
            found = ELSEWHERE[name]
        rows.append(f"| {name} | {version} | {found} | {needed_by[name]} |\n")
    head = HEAD.format(permissive=", ".join(sorted(PERMISSIVE)), weak=", ".join(sorted(WEAK_COPYLEFT)))
    (ROOT / "docs" / "licences.md").write_text(head + "".join(rows))


if __name__ == "__main__":
    main()
