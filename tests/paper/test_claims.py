"""The contract of figures and claims, and the table of claims in the README."""

import json

import pytest
from test_run import CLAIM, FIGURE, write_contract

from physmis import paths
from physmis.paper import claims
from physmis.paper.claims import Claim, ContractError, load_contract


@pytest.mark.parametrize(
    ("expected", "held", "failed"),
    [
        (">= 0.9", (0.9, 0.95), (0.89, 0.95)),
        ("<= 0.1", (0.05, 0.1), (0.05, 0.11)),
        ("> 0", (1e-9, 1.0), (0.0, 1.0)),
        ("< -1.5e-3", (-2.0, -0.0016), (-2.0, -0.0015)),
        ("in [-0.1, 0.1]", (-0.1, 0.1), (-0.11, 0.0)),
        ("in [-0.1, 0.1]", (0.0, 0.0), (0.0, 0.11)),
    ],
)
def test_a_claim_holds_when_its_whole_interval_does(expected, held, failed):
    claim = Claim("n", "s", "m", expected, [])
    assert claim.holds(*held) is True and claim.holds(*failed) is False


@pytest.mark.parametrize(
    ("figure_rows", "claim_rows", "message"),
    [
        ({"overview": FIGURE}, {}, "expected an id of the form fig_.*, got 'overview'"),
        ({"fig_02_a": FIGURE}, {}, "with its notebook, got 'fig_02_a'"),
        ({"fig_01_a": {"notebook": "01_test", "sources": []}}, {}, "fig_01_a: .*caption"),
        ({"fig_01_a": {**FIGURE, "colour": "red"}}, {}, "fig_01_a: .*'colour'"),
        ({"fig_01_a": {**FIGURE, "sources": "a.py"}}, {}, "fig_01_a: expected sources as list.*got 'a.py'"),
        ({"fig_01_a": {**FIGURE, "claims": ["C1.01.a"]}}, {}, "fig_01_a: 01_test makes no claim 'C1.01.a'"),
        ({}, {"C1.01.a": {**CLAIM, "expected": "about 3"}}, "C1.01.a: expected .*, got 'about 3'"),
        ({}, {"C1.01.a": {**CLAIM, "profiles": ["fast"]}}, "C1.01.a: .*fast"),
    ],
)
def test_a_malformed_contract_names_the_row(tmp_path, monkeypatch, figure_rows, claim_rows, message):
    monkeypatch.setenv("PHYSMIS_ROOT", str(tmp_path))
    write_contract(tmp_path, figure_rows, claim_rows)
    with pytest.raises(ContractError, match=message):
        load_contract()


def test_a_contract_of_another_form_or_none_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PHYSMIS_ROOT", str(tmp_path))
    path = tmp_path / "figures" / "contract.toml"
    path.parent.mkdir()
    for text in (None, "[figures", "[figure.fig_01_a]"):
        if text is not None:
            path.write_text(text)
        with pytest.raises(ContractError, match="contract.*expected"):
            load_contract()
    path.write_text("")
    assert load_contract().notebooks == []


def test_the_contract_of_this_project_names_files_that_exist(monkeypatch):
    monkeypatch.delenv("PHYSMIS_ROOT", raising=False)
    contract = load_contract()
    sources = {source for figure in contract.figures.values() for source in figure.sources}
    assert sources and all((paths.root() / source).is_file() for source in sources)
    assert all((paths.root() / "notebooks" / f"{name}.py").is_file() for name in contract.notebooks)


# the table in the README


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """Writes a manifest in which one claim of a figure holds and one does not."""
    monkeypatch.setenv("PHYSMIS_ROOT", str(tmp_path))
    rows = {
        "C1.01.holds": {**CLAIM, "statement": "It is so.", "expected": "> 0"},
        "C1.01.fails": {**CLAIM, "statement": "It is so, too."},
    }
    write_contract(tmp_path, {"fig_01_a": {**FIGURE, "claims": list(rows)}, "fig_01_b": FIGURE}, rows)

    def write(**changes):
        numbers = {
            "C1.01.holds": {"value": 0.12345, "low": 0.1, "high": 0.2, "holds": True},
            "C1.01.fails": {"value": 0.5, "low": 0.4, "high": 0.95, "holds": False},
        }
        found = {id: {**rows[id], **numbers[id]} for id in rows}
        folder = tmp_path / "figures" / "standard"
        folder.mkdir(exist_ok=True)
        saved = {"claims": found, "notebooks": {"01_test": {"seconds": 12.4}}} | changes
        (folder / "manifest.json").write_text(json.dumps(saved))

    write()
    return write


def test_one_row_for_each_claim_of_a_figure_with_value_interval_and_verdict(manifest, tmp_path):
    _, rule, first, second, _, total = claims.table().splitlines()
    assert first == (
        "| [fig_01_a](figures/standard/fig_01_a.png) | `C1.01.holds`: It is so. "
        "| [01](notebooks/01_test.ipynb) | `python -m physmis.paper.regenerate --only 01` | 12 "
        "| 0.123 [0.1, 0.2] | &gt; 0 | yes |"
    )
    assert second.count("|") == first.count("|") == rule.count("|") and second.endswith("| **no** |")
    assert total == "Of all 2 claims 1 hold and 1 do not."
    (tmp_path / "figures" / "standard").rename(tmp_path / "run")
    assert claims.table(tmp_path / "run").splitlines()[2] == first
    with pytest.raises(ContractError, match="the manifest has no"):
        claims.table()


def test_only_what_is_between_the_marks_changes_and_twice_is_as_once(manifest, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{claims.BEGIN}\nstale\n{claims.END}\nafter\n")
    claims.refresh()
    once = readme.read_text()
    assert once.startswith("before\n") and once.endswith("\nafter\n") and "stale" not in once
    assert claims.refreshed(once) == once
    manifest(notebooks={"01_test": {"seconds": 99}})
    assert claims.refreshed(once) != once
    for text in ("", claims.BEGIN, f"{claims.END}{claims.BEGIN}", once + claims.BEGIN):
        with pytest.raises(ValueError, match="once each"):
            claims.refreshed(text)


def test_a_manifest_that_lacks_a_row_is_named(manifest):
    for gone, named in (("claims", "claims|C1.01"), ("notebooks", "01_test")):
        manifest(**{gone: {}})
        with pytest.raises(ValueError, match=f"{named}.*run the notebooks again"):
            claims.table()
