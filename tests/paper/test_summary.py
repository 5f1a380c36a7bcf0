"""The table of claims in the README."""

import json

import pytest

from physmis.paper import summary

CONTRACT = """
[figures.fig_01_a]
notebook = "01_test"
sources = ["a.py"]
caption = "c"
claims = ["C1.01.holds", "C1.01.fails"]

[figures.fig_01_b]
notebook = "01_test"
sources = ["a.py"]
caption = "c"

[claims."C1.01.holds"]
notebook = "01_test"
statement = "It is so."
measured = "m"
expected = "> 0"
profiles = []

[claims."C1.01.fails"]
notebook = "01_test"
statement = "It is so, too."
measured = "m"
expected = ">= 0.9"
profiles = []
"""


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """Writes a manifest in which one claim holds and one does not."""
    monkeypatch.setenv("PHYSMIS_FIGURES", str(tmp_path))
    monkeypatch.setenv("PHYSMIS_CONTRACT", str(tmp_path / "contract.toml"))
    (tmp_path / "contract.toml").write_text(CONTRACT)

    def write(**changes):
        rows = {
            id: {
                "statement": said,
                "value": value,
                "low": low,
                "high": high,
                "expected": expected,
                "holds": holds,
            }
            for id, said, value, low, high, expected, holds in (
                ("C1.01.holds", "It is so.", 0.12345, 0.1, 0.2, "> 0", True),
                ("C1.01.fails", "It is so, too.", 0.5, 0.4, 0.95, ">= 0.9", False),
            )
        }
        found = {"claims": rows, "notebooks": {"01_test": {"seconds": 12.4}}} | changes
        (tmp_path / "standard").mkdir(exist_ok=True)
        (tmp_path / "standard" / "manifest.json").write_text(json.dumps(found))

    write()
    return write


def test_one_row_for_each_claim_of_a_figure_with_value_interval_and_verdict(manifest):
    _, rule, first, second = summary.table().splitlines()
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells[0] == "[fig_01_a](figures/standard/fig_01_a.png)"
    assert cells[1:4] == ["`C1.01.holds`: It is so.", "[01](notebooks/01_test.ipynb)",
                          "`python -m physmis.paper.regenerate --only 01`"]  # fmt: skip
    assert cells[4:] == ["12", "0.123 [0.1, 0.2]", "&gt; 0", "yes"]
    assert second.count("|") == first.count("|") == rule.count("|") and second.endswith("| **no** |")


def test_only_what_is_between_the_marks_changes_and_twice_is_as_once(manifest):
    old = f"before\n{summary.BEGIN}\nstale\n{summary.END}\nafter\n"
    once = summary.refreshed(old)
    assert once.startswith("before\n") and once.endswith("\nafter\n") and "stale" not in once
    assert summary.refreshed(once) == once
    manifest(notebooks={"01_test": {"seconds": 99}})
    assert summary.refreshed(once) != once


@pytest.mark.parametrize(
    "text",
    ["", summary.BEGIN, f"{summary.END}{summary.BEGIN}", f"{summary.BEGIN}{summary.END}{summary.BEGIN}"],
)
def test_a_readme_without_its_marks_is_refused(manifest, text):
    with pytest.raises(ValueError, match="once each"):
        summary.refreshed(text)


@pytest.mark.parametrize(("gone", "named"), [("claims", "claims|C1.01"), ("notebooks", "01_test")])
def test_a_manifest_that_lacks_a_row_is_named(manifest, gone, named):
    manifest(**{gone: {}})
    with pytest.raises(ValueError, match=f"{named}.*make figures"):
        summary.table()


def test_refresh_writes_the_file(manifest, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"{summary.BEGIN}\n{summary.END}\n")
    summary.refresh(readme)
    assert "C1.01.holds" in readme.read_text()
