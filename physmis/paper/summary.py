"""The table of claims in the README, from contract and manifest: `python -m physmis.paper.summary`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from physmis import paths
from physmis.experiments import store
from physmis.paper import run as figures
from physmis.paper.claims import load_contract

BEGIN, END = "<!-- claims: made by `python -m physmis.paper.summary` -->", "<!-- end of claims -->"


def table(profile: str = "standard") -> str:
    """The claims that each figure of the contract shows, in Markdown: value, interval, and whether it holds.

    Raises
    ------
    ValueError : the manifest lacks a figure's claim or its notebook; run `make figures`.
    """
    contract, manifest = load_contract(), figures.read_manifest(profile)
    head = "figure", "claim", "notebook", "command", "seconds", "value [95 % interval]", "expected", "holds?"
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for figure, promise in sorted(contract.figures.items(), key=lambda item: item[1].notebook):
        for id in promise.claims:
            try:
                found = manifest["claims"][id]
                seconds = manifest["notebooks"][promise.notebook]["seconds"]
            except KeyError as error:
                raise ValueError(f"the manifest of {profile} has no {error}; run `make figures`") from error
            number = promise.notebook[:2]
            rows.append(
                f"| [{figure}](figures/{profile}/{figure}.png) | `{id}`: {found['statement']} "
                f"| [{number}](notebooks/{promise.notebook}.ipynb) "
                f"| `python -m physmis.paper.regenerate --only {number}` | {seconds:.0f} "
                f"| {found['value']:.3g} [{found['low']:.3g}, {found['high']:.3g}] "
                f"| {found['expected'].replace('<', '&lt;').replace('>', '&gt;')} "
                f"| {'yes' if found['holds'] else '**no**'} |"
            )
    return "\n".join(rows)


def tally(profile: str = "standard") -> str:
    """How many claims of the manifest hold."""
    claims = figures.read_manifest(profile)["claims"].values()
    held = sum(claim["holds"] for claim in claims)
    return f"Of all {len(claims)} claims {held} hold and {len(claims) - held} do not."


def refreshed(text: str, profile: str = "standard") -> str:
    """A README's text with the table and the tally as the manifest has them now.

    Raises
    ------
    ValueError : the text does not hold the two marks once each, in order; or what `table` refuses.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in after:
        raise ValueError(f"the README must hold the lines {BEGIN} and {END}, once each")
    return f"{before}{BEGIN}\n{table(profile)}\n\n{tally(profile)}\n{END}{after}"


def refresh(readme: Path | None = None) -> None:
    """Write the table anew into the README."""
    readme = readme or paths.ROOT / "README.md"
    store.write(readme, refreshed(readme.read_text(encoding="utf-8")).encode())


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m physmis.paper.summary", description=__doc__).parse_args()
    try:
        refresh()
    except ValueError as error:
        sys.exit(f"summary: {error}")
