"""The contract of figures and claims, and the tables of claims in the documents."""

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
    claim = Claim("n", "s", "m", expected, [], "control")
    assert claim.holds(*held) is True and claim.holds(*failed) is False


def test_a_verdict_asks_for_preconditions_then_the_interval_then_the_value():
    claim = Claim("n", "s", "m", "> 0", [], "primary", "0")
    numbers = {"reproduced": (2, 1, 3), "partly": (2, -1, 3), "not reproduced": (-1, -2, 3)}
    assert [claim.verdict(*three, True) for three in numbers.values()] == list(numbers)
    assert {claim.verdict(*three, False) for three in numbers.values()} == {"not tested"}
    for role in ("precondition", "control", "exploratory"):
        claim = Claim("n", "s", "m", "> 0", [], role)
        assert claim.verdict(2, 1, 3, True) == "holds"
        assert claim.verdict(2, -1, 3, True) == claim.verdict(-1, -2, 3, True) == "does not hold"
        assert claim.verdict(2, 1, 3, False) == claim.verdict(-1, -2, 3, False) == "not tested"
    assert (
        claims.overall(["reproduced"] * 2) == "reproduced" and claims.overall(["not tested"]) == "not tested"
    )
    assert claims.overall(["reproduced", "not reproduced"]) == "partly"
    assert claims.overall(["not tested", "not reproduced"]) == "not reproduced"
    assert claims.overall(["not tested", "reproduced"]) == "partly"


PRIMARY = {**CLAIM, "role": "primary", "null": "0"}
ELSEWHERE = {**CLAIM, "role": "precondition", "notebook": "02_test"}


@pytest.mark.parametrize(
    ("figure_rows", "claim_rows", "message"),
    [
        ({"overview": FIGURE}, {}, "expected an id of the form fig_.*, got 'overview'"),
        ({"fig_02_a": FIGURE}, {}, "with its notebook, got 'fig_02_a'"),
        ({"fig_01_a": {"notebook": "01_test", "sources": []}}, {}, "fig_01_a: .*caption"),
        ({"fig_01_a": {**FIGURE, "colour": "red"}}, {}, "fig_01_a: .*'colour'"),
        ({"fig_01_a": {**FIGURE, "sources": "a.py"}}, {}, "fig_01_a: expected sources as list.*got 'a.py'"),
        ({"fig_01_a": {**FIGURE, "claims": ["C1.01.a"]}}, {}, "fig_01_a: no claim 'C1.01.a' in 01_test"),
        ({}, {"C1.01.a": {**CLAIM, "expected": "about 3"}}, "C1.01.a: expected .*, got 'about 3'"),
        ({}, {"C1.01.a": {**CLAIM, "profiles": ["fast"]}}, "C1.01.a: .*fast"),
        ({}, {"C1.01.a": {**CLAIM, "role": "main"}}, "C1.01.a: role: expected .*; got 'main' and null ''"),
        ({}, {"C1.01.a": {**CLAIM, "role": "primary"}}, "null for a primary .*; got 'primary' and null ''"),
        ({}, {"C1.01.a": {**CLAIM, "null": "0"}}, "null for a primary .*; got 'control' and null '0'"),
        (
            {},
            {"C1.01.a": {**PRIMARY, "needs": ["C1.01.b"]}},
            "needs: expected preconditions of 01_test, got",
        ),
        ({}, {"C1.01.a": {**PRIMARY, "needs": ["C1.01.b"]}, "C1.01.b": CLAIM}, "preconditions of 01_test"),
        ({}, {"C1.01.a": {**CLAIM, "needs": ["C1.01.b"]}, "C1.01.b": CLAIM}, "preconditions of 01_test"),
        (
            {},
            {"C1.01.a": {**PRIMARY, "needs": ["C1.02.b"]}, "C1.02.b": ELSEWHERE},
            "preconditions of 01_test",
        ),
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
    for text in (None, "[figures"):
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
    assert contract.notebooks == [path.stem for path in paths.notebooks()]


# the tables in the documents


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """Writes a manifest of three primary tests, of which two are reproduced, and of four others."""
    monkeypatch.setenv("PHYSMIS_ROOT", str(tmp_path))
    rows = {
        "C10.01.so": {**PRIMARY, "expected": "> 0"},
        "C2.01.too": {**PRIMARY, "statement": "It is so, too.", "measured": "share [m]"},
        "C2.01.also": PRIMARY,
        "C2.01.holds": CLAIM,
        "C2.01.fails": CLAIM,
        "C2.01.fails_too": {**CLAIM, "role": "precondition"},
        "C2.01.rests_on_it": {**CLAIM, "role": "exploratory"},
    }
    write_contract(tmp_path, {"fig_01_a": {**FIGURE, "claims": list(rows)}, "fig_01_b": FIGURE}, rows)

    def write(**changes):
        numbers = {
            "C10.01.so": {"value": 0.12345, "low": 0.1, "high": 0.2, "verdict": "reproduced"},
            "C2.01.too": {"value": 0.5, "low": 0.4, "high": 0.95, "verdict": "not reproduced"},
            "C2.01.also": {"value": 0.5, "low": 0.4, "high": 0.6, "verdict": "reproduced"},
            "C2.01.holds": {"value": 0.95, "low": 0.95, "high": 0.95, "verdict": "holds"},
            "C2.01.fails": {"value": 0.5, "low": 0.5, "high": 0.5, "verdict": "does not hold"},
            "C2.01.fails_too": {"value": 0.5, "low": 0.5, "high": 0.5, "verdict": "does not hold"},
            "C2.01.rests_on_it": {"value": 0.95, "low": 0.95, "high": 0.95, "verdict": "not tested"},
        }
        found = {id: {**rows[id], **numbers[id], **changes} for id in rows}
        folder = tmp_path / "figures" / "standard"
        folder.mkdir(exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps({"claims": found}))

    write()
    return write


def test_one_row_for_each_primary_test_in_the_order_of_claims(manifest, tmp_path):
    _, rule, first, other, second, _, total = claims.table().splitlines()
    assert second == (
        "| C10 | `C10.01.so`: It is so. | 0.123 [0.1, 0.2] | &gt; 0 | 0 | reproduced "
        "| [fig_01_a](../figures/standard/fig_01_a.png) | `python -m physmis.paper.regenerate --only 01` |"
    )
    assert second.count("|") == first.count("|") == rule.count("|")
    assert first.startswith("| C2 | `C2.01.too`: It is so, too. |") and "| not reproduced |" in first
    assert other.startswith("| C2 | `C2.01.also`")
    assert total == "Of 4 further tests, 1 held, 2 did not, 1 could not be tested."
    (tmp_path / "figures" / "standard").rename(tmp_path / "run")
    assert claims.table(tmp_path / "run").splitlines()[4] == second
    with pytest.raises(ContractError, match="no figure or manifest has"):
        claims.table()


def test_one_row_for_each_claim_its_first_test_and_the_verdict_of_all(manifest):
    _, rule, first, last = claims.summary().splitlines()
    assert first == (
        f"| C2 | {claims.PAPER['C2']} | 0.5 [0.4, 0.95] share [m] | 0 | **partly**, 1 of 2 "
        "| [01_a](figures/standard/fig_01_a.png) |"
    )
    assert last.startswith("| C10 |") and "**reproduced**, 1 of 1" in last
    assert rule.count("|") == first.count("|")


def test_only_what_is_between_the_marks_changes_and_twice_is_as_once(manifest, tmp_path):
    (tmp_path / "docs").mkdir()
    files = (tmp_path / "README.md", tmp_path / "docs" / "claims.md")
    for path in files:
        path.write_text(f"before\n{claims.BEGIN}\nstale\n{claims.END}\nafter\n")
    once = claims.documents()
    for path, content in once.items():
        text = content.decode()
        assert text.startswith("before\n") and text.endswith("\nafter\n") and "stale" not in text
        path.write_bytes(content)
    assert tuple(once) == files and claims.documents() == once
    manifest(value=0.45)
    assert not set(claims.documents().values()) & set(once.values())
    for marks in ("", claims.BEGIN, f"{claims.END}{claims.BEGIN}", text + claims.BEGIN):
        with pytest.raises(ValueError, match="once each"):
            claims.refreshed(marks, "")


def test_a_test_that_no_figure_or_manifest_has_is_named(manifest, tmp_path):
    path = tmp_path / "figures" / "standard" / "manifest.json"
    found = json.loads(path.read_text())
    del found["claims"]["C10.01.so"]
    path.write_text(json.dumps(found))
    with pytest.raises(ContractError, match="C10.01.so.*run the notebooks again"):
        claims.table()
    manifest()
    write_contract(tmp_path, {"fig_01_a": FIGURE}, {"C2.01.too": PRIMARY})
    with pytest.raises(ContractError, match="no figure or manifest has 'C2.01.too'"):
        claims.table()
