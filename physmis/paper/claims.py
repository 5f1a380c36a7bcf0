"""The contract of figures and claims, `figures/contract.toml`, and the tables of claims in the documents.

`python -m physmis.paper.claims` writes the tables from contract and manifest.
"""

import argparse
import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from physmis import paths
from physmis.experiments import store
from physmis.paper import profiles

BEGIN, END = "<!-- claims: made by `python -m physmis.paper.claims` -->", "<!-- end of claims -->"
# What the abstract and its authors' thread say, in our words.
PAPER = {
    "C1": "each trajectory looks valid, yet the distribution of a physical quantity over many is wrong",
    "C2": "it happens for diffusion models, Transformers, VAEs and MLPs",
    "C3": "local errors typical of the model class, pushed through the measurement, move probability mass",
    "C4": "a data deviation kernel forecasts which values gain and lose mass",
    "C5": "the forecast can be made before the model is trained",
    "C6": "maze: a planner reaches its goal, but its paths are too long too often",
    "C7": "double pendulum: the same kind of mismatch for mechanical energy",
    "C8": "reweighting the data does not help; conditioning helps in simple cases only",
    "C9": "a kernel-informed change of coordinates reduces the drift",
    "C10": "aggregate physical quantities must be tested, not only single samples",
}
_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)"
ROLES = ("primary", "precondition", "control", "exploratory")
_BOUND = re.compile(rf"(>=|<=|>|<) {_NUMBER}")
_RANGE = re.compile(rf"in \[{_NUMBER}, {_NUMBER}\]")


class ContractError(ValueError):
    """The contract is malformed, or a run deviates from it."""


@dataclass(frozen=True)
class FigurePromise:
    """A figure: the notebook that saves it, the files it comes from, its caption, the claims it shows."""

    notebook: str
    sources: list[str]
    caption: str
    claims: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Claim:
    """A claim: the interval of what is `measured` must be as `expected` in the named `profiles`.

    It is tested only if all preconditions in `needs`, of the same notebook, hold. A primary test was fixed
    before the run and gives the value under its `null`.
    """

    notebook: str
    statement: str
    measured: str
    expected: str
    profiles: list[str]
    role: str
    null: str = ""
    needs: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.holds(0.0, 0.0)
        for name in self.profiles:
            profiles.resolve(name)
        if self.role not in ROLES or (self.role == "primary") != bool(self.null):
            expected = f"one of {', '.join(ROLES)}, and a null for a primary claim only"
            raise ContractError(f"role: expected {expected}; got {self.role!r} and null {self.null!r}")

    def holds(self, low: float, high: float) -> bool:
        """Whether the whole interval from `low` to `high` is as expected."""
        if match := _RANGE.fullmatch(self.expected):
            return float(match[1]) <= low and high <= float(match[2])
        if match := _BOUND.fullmatch(self.expected):
            bound = float(match[2])
            return {">=": low >= bound, "<=": high <= bound, ">": low > bound, "<": high < bound}[match[1]]
        raise ContractError(
            f"expected '>= 0.9', '<= 0.1', '> 0', '< 0' or 'in [0.1, 0.2]', got {self.expected!r}"
        )

    def verdict(self, value: float, low: float, high: float, met: bool) -> str:
        """ "holds" or "does not hold"; "not tested" unless its preconditions are ``met``.

        A primary claim is "reproduced" or "not reproduced"; "partly" if its value is as expected but not its
        whole interval.
        """
        if not met:
            return "not tested"
        if self.role != "primary":
            return "holds" if self.holds(low, high) else "does not hold"
        if self.holds(low, high):
            return "reproduced"
        return "partly" if self.holds(value, value) else "not reproduced"

    def row(self, value: float, low: float, high: float, met: bool, seeds: Sequence[int]) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "notebook": self.notebook,
            "role": self.role,
            "statement": self.statement,
            "value": value,
            "low": low,
            "high": high,
            "expected": self.expected,
            "holds": self.holds(low, high),
            "seeds": seeds,
            **({"null": self.null} if self.role == "primary" else {}),
            "verdict": self.verdict(value, low, high, met),
        }


@dataclass(frozen=True)
class Contract:
    """Figures and claims by id."""

    figures: dict[str, FigurePromise]
    claims: dict[str, Claim]

    @property
    def notebooks(self) -> list[str]:
        """Names of the notebooks with figures or claims."""
        return sorted({promise.notebook for promise in (*self.figures.values(), *self.claims.values())})


def load_contract() -> Contract:
    """The contract in `figures/contract.toml`. Raises ContractError naming the faulty row."""
    path = paths.root() / "figures" / "contract.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, tomllib.TOMLDecodeError) as error:
        raise ContractError(f"{path}: expected a contract in TOML; {error}") from error
    kinds = {"figures": (FigurePromise, r"fig_(\d\d)_\w+"), "claims": (Claim, r"C\d+\.(\d\d)\.\w+")}
    figures, claims = (
        {id: _row(kind, id, row, pattern) for id, row in tables.get(name, {}).items()}
        for name, (kind, pattern) in kinds.items()
    )
    for id, claim in claims.items():
        needed = [claims.get(name) for name in claim.needs]
        if any(row is None or (row.role, row.notebook) != ("precondition", claim.notebook) for row in needed):
            expected = f"expected preconditions of {claim.notebook}"
            raise ContractError(f"contract, {id}: needs: {expected}, got {claim.needs}")
    for id, figure in figures.items():
        for name in figure.claims:
            if name not in claims or claims[name].notebook != figure.notebook:
                raise ContractError(f"contract, {id}: no claim {name!r} in {figure.notebook}")
    return Contract(figures, claims)


def _row(kind: type, id: str, row: dict[str, Any], pattern: str) -> Any:
    match = re.fullmatch(pattern, id)
    if not match or not isinstance(row, dict) or not str(row.get("notebook")).startswith(f"{match[1]}_"):
        raise ContractError(f"contract: expected an id of the form {pattern} with its notebook, got {id!r}")
    kinds = {one.name: one.type for one in fields(kind)}
    for name, value in row.items():
        texts = value if isinstance(value, list) else [value]
        is_list = name in kinds and kinds[name] == list[str]
        if is_list != isinstance(value, list) or not all(isinstance(text, str) for text in texts):
            raise ContractError(f"contract, {id}: expected {name} as {kinds.get(name)}, got {value!r}")
    try:
        return kind(**row)
    except (TypeError, ValueError) as error:
        raise ContractError(f"contract, {id}: {error}") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder of figures; empty if absent. Raises ContractError if it is damaged."""
    path = folder / "manifest.json"
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ContractError(f"{path} is damaged ({error}): delete it and run the notebooks again") from error


def overall(verdicts: Sequence[str]) -> str:
    """The verdict on a claim of the paper from the verdicts of its primary tests."""
    found = set(verdicts)
    if found <= {"not reproduced", "not tested"} and "not reproduced" in found:
        return "not reproduced"
    return found.pop() if len(found) == 1 else "partly"


def further(rows: Iterable[Mapping[str, Any]]) -> str:
    """How many claims of the manifest that are not primary held, failed, or could not be tested."""
    found = Counter(row["verdict"] for row in rows if row["role"] != "primary")
    held, failed, untested = (found[verdict] for verdict in ("holds", "does not hold", "not tested"))
    return f"Of {found.total()} further tests, {held} held, {failed} did not, {untested} could not be tested."


def _primary(folder: Path | None) -> dict[str, list[dict[str, Any]]]:
    """Rows of the primary tests by claim of the paper, from a folder (default: the committed figures).

    Raises ContractError if the manifest lacks a test or no figure shows it.
    """
    contract, manifest = load_contract(), read_manifest(folder or paths.committed())
    shown = {id: name for name, promise in contract.figures.items() for id in promise.claims}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in PAPER}
    try:
        for id, claim in contract.claims.items():
            if claim.role == "primary":
                row = manifest["claims"][id]
                interval = f"{row['value']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
                more = {"id": id, "measured": claim.measured, "interval": interval, "figure": shown[id]}
                if failed := [f"`{name}`" for name in claim.needs if not manifest["claims"][name]["holds"]]:
                    more["why"] = f" ({', '.join(failed)} {'does' if len(failed) == 1 else 'do'} not hold)"
                rows[id.split(".")[0]].append(row | more)
    except KeyError as error:
        raise ContractError(f"no figure or manifest has {error}: run the notebooks again") from error
    return {name: found for name, found in rows.items() if found}


def summary(folder: Path | None = None) -> str:
    """One row for each claim of the paper, in Markdown: its first primary test, and the verdict of all."""
    rows = ["| | claim | effect [95 % interval] | null | verdict | figure |", "|---|---|---|---|---|---|"]
    for name, tests in _primary(folder).items():
        verdicts, first = [row["verdict"] for row in tests], tests[0]
        share = f"{verdicts.count('reproduced')} of {len(tests)}"
        verdict = f"**{overall(verdicts)}**, {share}{first.get('why', '')}"
        figure = f"[{first['figure'][4:]}](figures/standard/{first['figure']}.png)"
        effect = f"{first['interval']} {first['measured']}"
        rows.append(f"| {name} | {PAPER[name]} | {effect} | {first['null']} | {verdict} | {figure} |")
    return "\n".join(rows)


def table(folder: Path | None = None) -> str:
    """The primary tests of each claim, in Markdown, and a count of the other verdicts."""
    head = ("claim", "primary test", "value [95 % interval]", "expected", "null", "verdict")
    head += ("figure", "command")
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, tests in _primary(folder).items():
        rows += [
            f"| {name} | `{row['id']}`: {row['statement']} | {row['interval']} "
            f"| {row['expected'].replace('<', '&lt;').replace('>', '&gt;')} | {row['null']} "
            f"| {row['verdict']}{row.get('why', '')} "
            f"| [{row['figure']}](../figures/standard/{row['figure']}.png) "
            f"| `python -m physmis.paper.regenerate --only {row['notebook'][:2]}` |"
            for row in tests
        ]
    every = read_manifest(folder or paths.committed())["claims"].values()
    return "\n".join([*rows, "", further(every)])


def refreshed(text: str, made: str) -> str:
    """A document's text with ``made`` between the marks. Raises ValueError unless each mark occurs once."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in after:
        raise ValueError(f"expected the lines {BEGIN} and {END}, once each, in the document")
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


def documents(folder: Path | None = None) -> dict[Path, bytes]:
    """The documents with tables of claims, from a folder's manifest (default: the committed one)."""
    root = paths.root()
    made = {root / "README.md": summary(folder), root / "docs" / "claims.md": table(folder)}
    return {path: refreshed(path.read_text(encoding="utf-8"), text).encode() for path, text in made.items()}


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m physmis.paper.claims", description=__doc__).parse_args()
    try:
        for path, content in documents().items():
            store.write(path, content)
    except ValueError as error:
        sys.exit(f"claims: {error}")
