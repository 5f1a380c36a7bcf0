"""The contract: every figure and claim that the notebooks promise, as `figures/contract.toml` lists them."""

import re
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from physmis import paths
from physmis.paper import profiles

_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)"
_BOUND = re.compile(rf"(>=|<=|>|<) {_NUMBER}")
_RANGE = re.compile(rf"in \[{_NUMBER}, {_NUMBER}\]")


class ContractError(ValueError):
    """The contract is malformed, or a run does not keep it."""


@dataclass(frozen=True)
class FigurePromise:
    """A figure: the notebook that saves it, the files it comes from, its caption, the claims it shows."""

    notebook: str
    sources: list[str]
    caption: str
    claims: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Claim:
    """A claim: what is `measured` must be as `expected` in the profiles named."""

    notebook: str
    statement: str
    measured: str
    expected: str
    profiles: list[str]

    def holds(self, low: float, high: float) -> bool:
        """Whether the whole interval from `low` to `high` is as expected."""
        if match := _RANGE.fullmatch(self.expected):
            return float(match[1]) <= low and high <= float(match[2])
        if match := _BOUND.fullmatch(self.expected):
            bound = float(match[2])
            return {">=": low >= bound, "<=": high <= bound, ">": low > bound, "<": high < bound}[match[1]]
        raise ValueError(
            f"expected is {self.expected!r}; write '>= 0.9', '<= 0.1', '> 0', '< 0' or 'in [0.1, 0.2]'"
        )


@dataclass(frozen=True)
class Contract:
    """Figures and claims by id."""

    figures: dict[str, FigurePromise]
    claims: dict[str, Claim]

    @property
    def notebooks(self) -> list[str]:
        """Names of the notebooks that promise anything."""
        return sorted({promise.notebook for promise in (*self.figures.values(), *self.claims.values())})


def load_contract(path: Path | None = None) -> Contract:
    """The contract in a TOML file (default: `paths.contract_path()`).

    Raises ContractError naming the row that is at fault.
    """
    path = path or paths.contract_path()
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ContractError(f"there is no contract at {path}") from None
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"{path} is not TOML: {error}") from error
    if extra := sorted(tables.keys() - {"figures", "claims"}):
        raise ContractError(f"the contract has the tables {extra}; wanted are figures and claims")
    figures = {
        id: _row(FigurePromise, id, row, r"fig_(\d\d)_[a-z0-9_]+", "fig_01_name")
        for id, row in tables.get("figures", {}).items()
    }
    claims = {
        id: _row(Claim, id, row, r"C(?:[1-9]|10)\.(\d\d)\.[a-z0-9_]+", '"C1.01.name", in quotes')
        for id, row in tables.get("claims", {}).items()
    }
    for id, claim in claims.items():
        try:
            claim.holds(0.0, 0.0)
            for name in claim.profiles:
                profiles.resolve(name)
        except ValueError as error:
            raise ContractError(f"contract, {id}: {error}") from error
    for id, figure in figures.items():
        if strange := [
            name for name in figure.claims if name not in claims or claims[name].notebook != figure.notebook
        ]:
            raise ContractError(f"contract, {id}: {figure.notebook} makes no claim {strange[0]!r}")
    return Contract(figures, claims)


def _row(kind: type, id: str, row: Any, pattern: str, example: str) -> Any:
    match = re.fullmatch(pattern, id)
    if not match:
        raise ContractError(f"contract: the id {id!r} is not of the form {example}")
    wanted = kind.__annotations__
    optional = {one.name for one in fields(kind) if one.default_factory is not MISSING}
    if not isinstance(row, dict) or not wanted.keys() - optional <= row.keys() <= wanted.keys():
        raise ContractError(f"contract, {id}: the keys are {sorted(row)}; wanted are {sorted(wanted)}")
    for name, value in row.items():
        texts, many = (value, True) if isinstance(value, list) else ([value], False)
        if many != (wanted[name] == list[str]) or not all(isinstance(text, str) for text in texts):
            form = "a list of strings" if wanted[name] == list[str] else "a string"
            raise ContractError(f"contract, {id}: {name} is {value!r}; wanted is {form}")
    if not row["notebook"].startswith(f"{match[1]}_"):
        raise ContractError(f"contract, {id}: its notebook is {row['notebook']!r}; wanted is {match[1]}_...")
    return kind(**row)
