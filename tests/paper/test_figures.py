import json
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from physmis import paths
from physmis.paper import claims as contract
from physmis.paper import profiles
from physmis.paper import run as figures
from physmis.paper.claims import Claim, ContractError, load_contract
from physmis.paper.run import check, read_manifest, start

FIGURE = {"notebook": "01_test", "sources": ["physmis/experiments/store.py"], "caption": "c"}
CLAIM = {
    "notebook": "01_test",
    "statement": "It is so.",
    "measured": "m",
    "expected": ">= 0.9",
    "profiles": ["standard"],
}


def write_contract(path, figures, claims):
    lines = []
    for section, rows in (("figures", figures), ("claims", claims)):
        for id, row in rows.items():
            lines.append(f'[{section}."{id}"]')
            lines += [f"{name} = {json.dumps(value)}" for name, value in row.items()]
    path.write_text("\n".join(lines))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a contract of two figures and a claim in 01_test, and one figure in 02_test."""
    monkeypatch.setenv("PHYSMIS_FIGURES", str(tmp_path))
    monkeypatch.setenv("PHYSMIS_CONTRACT", str(tmp_path / "contract.toml"))
    rows = {"fig_01_a": FIGURE, "fig_01_b": FIGURE, "fig_02_c": {**FIGURE, "notebook": "02_test"}}
    write_contract(tmp_path / "contract.toml", rows, {"C1.01.valid": CLAIM})
    return tmp_path


def a_figure():
    fig = Figure(figsize=(4, 3))
    fig.add_subplot().plot([0, 1], [1, 2], label="text $x_0$")
    return fig


DATA = {"x": np.arange(3.0)}


def complete(profile="standard", low=0.91, notebook="01_test"):
    run = start(notebook, profile=profile, device="cpu")
    for id in ("fig_01_a", "fig_01_b") if notebook == "01_test" else ("fig_02_c",):
        run.save_figure(a_figure(), id, DATA, configs=["k2", "k1", "k2"])
    if notebook == "01_test":
        run.record_claim("C1.01.valid", 0.95, low, 0.99)
    run.finish()
    return run


def test_a_run_resolves_its_settings(place):
    run = start("01_test", profile="standard", seed=5, device="auto")
    assert run.profile == profiles.resolve("standard")
    assert run.seeds == tuple(range(5, 5 + run.profile.seeds))
    assert run.device in ("cpu", "cuda") and run.cold is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"notebook": "09_nothing"}, "'09_nothing'; it names 01_test, 02_test"),
        ({"profile": "quick"}, "quick.*smoke.*standard.*full"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": "0"}, "seed is '0'"),
        ({"device": "tpu"}, "'tpu'; accepted are 'auto', 'cpu' and 'cuda'"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_accepted(place, arguments, message):
    with pytest.raises(ValueError, match=message):
        start(**{"notebook": "01_test", "profile": "smoke", **arguments})


def test_an_absent_gpu_is_told(place, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no GPU"):
        start("01_test", profile="smoke", device="cuda")


def test_a_complete_run_fills_the_manifest(place, capsys):
    run = complete()
    complete(notebook="02_test")
    assert check("standard") == []
    manifest = json.loads((place / "standard" / "manifest.json").read_text())
    assert manifest.keys() == {
        *("profile", "code", "machine", "versions"),
        *("figures", "claims", "notebooks"),
    }
    assert manifest["figures"].keys() == {"fig_01_a", "fig_01_b", "fig_02_c"}
    row = manifest["figures"]["fig_01_a"]
    assert row["configs"] == ["k1", "k2"] and row["seeds"] == list(run.seeds)
    assert manifest["claims"]["C1.01.valid"] == {
        "notebook": "01_test",
        "statement": "It is so.",
        "value": 0.95,
        "low": 0.91,
        "high": 0.99,
        "expected": ">= 0.9",
        "holds": True,
        "seeds": list(run.seeds),
    }
    assert manifest["notebooks"]["01_test"]["peak_mib"] > 50
    assert str(place) not in json.dumps(manifest)
    line = "C1.01.valid: 0.95 [0.91, 0.99], expected >= 0.9: HOLDS. It is so."
    assert line in capsys.readouterr().out.splitlines()


def test_a_rerun_replaces_only_its_own_rows(place):
    complete()
    complete(notebook="02_test")
    before = read_manifest("standard")
    # The contract drops a figure: its row goes with the next run, its files are told of.
    write_contract(
        place / "contract.toml",
        {"fig_01_a": FIGURE, "fig_02_c": {**FIGURE, "notebook": "02_test"}},
        {"C1.01.valid": CLAIM},
    )
    assert "fig_01_b was saved and is not in the contract" in check("standard")
    run = start("01_test", profile="standard")
    run.save_figure(a_figure(), "fig_01_a", DATA)
    run.record_claim("C1.01.valid", 0.95, 0.92, 0.99)
    run.finish()
    after = read_manifest("standard")
    assert after["notebooks"]["02_test"] == before["notebooks"]["02_test"]
    assert after["notebooks"]["01_test"]["run"] != before["notebooks"]["01_test"]["run"]
    assert after["figures"].keys() == {"fig_01_a", "fig_02_c"}
    assert [problem.split()[0] for problem in check("standard")] == [
        f"fig_01_b.{k}" for k in ("npz", "pdf", "png")
    ]


def test_files_are_the_same_bytes_every_time(place, monkeypatch):
    contents = []
    for stamp in ("1", "2000000000"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", stamp)
        png = start("01_test", profile="standard").save_figure(a_figure(), "fig_01_a", DATA)
        contents.append([png.with_suffix(suffix).read_bytes() for suffix in (".png", ".pdf", ".npz")])
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("section", "id", "part", "value", "said"),
    [
        ("claims", "C1.01.valid", "holds", False, "the manifest says holds: False"),
        ("claims", "C1.01.valid", "statement", "It is so, always.", "was recorded as 'It is so, always.'"),
        ("figures", "fig_01_a", "pdf_sha256", "0", "fig_01_a.pdf comes from another run"),
    ],
)
def test_a_manifest_that_was_meddled_with_is_noticed(place, section, id, part, value, said):
    complete()
    complete(notebook="02_test")
    path = place / "standard" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest[section][id][part] = value
    path.write_text(json.dumps(manifest))
    assert [said in problem for problem in check("standard")] == [True]


def test_the_seeds_are_those_of_the_run_unless_it_is_said_otherwise(place):
    run = start("01_test", profile="standard", seed=4)
    run.save_figure(a_figure(), "fig_01_a", DATA, seeds=[5])
    run.save_figure(a_figure(), "fig_01_b", DATA)
    run.record_claim("C1.01.valid", 0.95, 0.92, 0.99, seeds=[5])
    run.finish()
    manifest = read_manifest("standard")
    assert manifest["figures"]["fig_01_a"]["seeds"] == manifest["claims"]["C1.01.valid"]["seeds"] == [5]
    assert manifest["figures"]["fig_01_b"]["seeds"] == list(run.seeds)


def test_the_size_is_the_figure_s_own(place):
    with matplotlib.rc_context({"savefig.bbox": "tight", "savefig.dpi": 50}):
        png = start("01_test", profile="standard").save_figure(a_figure(), "fig_01_a", DATA)
    assert matplotlib.image.imread(png).shape[:2] == (600, 800)


def test_smoke_figures_are_stamped_once(place):
    run, fig = start("01_test", profile="smoke"), a_figure()
    run.save_figure(fig, "fig_01_a", DATA)
    run.save_figure(fig, "fig_01_a", DATA)
    assert [text.get_text() for text in fig.texts] == ["SMOKE"]
    plain = a_figure()
    start("01_test", profile="standard").save_figure(plain, "fig_01_a", DATA)
    assert not plain.texts


def test_objects_among_the_plotted_arrays_are_refused(place):
    with pytest.raises(TypeError, match="'labels' holds Python objects"):
        start("01_test", profile="smoke").save_figure(a_figure(), "fig_01_a", {"labels": np.array([None])})
    assert not (place / "smoke").exists()


def test_what_the_contract_does_not_promise_is_refused(place):
    run = start("01_test", profile="smoke")
    with pytest.raises(ContractError, match="'fig_02_c'; the contract accepts fig_01_a, fig_01_b"):
        run.save_figure(a_figure(), "fig_02_c", DATA)
    with pytest.raises(ContractError, match=r"'C1\.01\.vaild'; the contract accepts C1\.01\.valid"):
        run.record_claim("C1.01.vaild", 1, 1, 1)


def test_finishing_without_what_was_promised_fails(place):
    run = start("01_test", profile="smoke")
    run.save_figure(a_figure(), "fig_01_a", DATA)
    with pytest.raises(ContractError, match=r"has not saved what it promises: C1\.01\.valid, fig_01_b"):
        run.finish()
    assert read_manifest("smoke") == {}


@pytest.mark.parametrize("numbers", [(float("nan"), 0, 1), (0.5, 0, float("inf")), (2, 0, 1), (0.5, 1, 0)])
def test_a_value_outside_its_interval_is_refused(place, numbers):
    with pytest.raises(ValueError, match="low <= value <= high"):
        start("01_test", profile="smoke").record_claim("C1.01.valid", *numbers)


def test_a_failed_claim_stays_and_counts_only_in_its_profiles(place, capsys):
    for profile in ("smoke", "standard"):
        complete(profile, low=0.8)
        assert read_manifest(profile)["claims"]["C1.01.valid"]["holds"] is False
    assert "DOES NOT HOLD" in capsys.readouterr().out
    assert check("smoke", "01_test") == []
    assert check("standard", "01_test") == [
        "C1.01.valid does not hold: 0.95 [0.8, 0.99], expected >= 0.9",
    ]


def test_check_tells_every_kind_of_trouble(place):
    complete()
    folder = place / "standard"
    (folder / "fig_01_a.pdf").unlink()
    (folder / "fig_01_b.npz").write_bytes(b"other")
    (folder / "fig_09_old.png").write_bytes(b"")
    write_contract(
        place / "contract.toml",
        {"fig_01_a": FIGURE, "fig_01_b": FIGURE, "fig_02_c": {**FIGURE, "notebook": "02_test"}},
        {"C1.01.valid": {**CLAIM, "expected": "> 0.5"}},
    )
    own = [
        "fig_01_a.pdf is missing",
        "fig_01_b.npz comes from another run than the manifest",
        "C1.01.valid was judged by '>= 0.9'; the contract now says '> 0.5'",
    ]
    assert check("standard", "01_test") == own
    assert check("standard") == [
        "fig_02_c is in the contract and was not saved",
        *own,
        "fig_09_old.png lies in the folder and is not in the contract",
    ]


def test_notebooks_of_different_code_do_not_pass_together(place, monkeypatch):
    complete()
    monkeypatch.setattr(figures, "code_version", lambda: "abc-dirty")
    complete(notebook="02_test")
    (problem,) = check("standard")
    assert "02_test by abc-dirty" in problem and "different code" in problem


def test_a_damaged_manifest_is_named(place):
    complete()
    (place / "standard" / "manifest.json").write_text("{")
    with pytest.raises(ContractError, match="manifest.json is damaged"):
        complete()


def test_the_code_version_is_the_commit_and_tells_dirty_code(tmp_path, monkeypatch):
    def git(*arguments):
        who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setattr(paths, "ROOT", tmp_path.resolve())
    monkeypatch.setattr(paths, "IN_CHECKOUT", True)
    (tmp_path / "physmis").mkdir()
    (tmp_path / "physmis" / "a.py").write_text("")
    assert figures.code_version() == "unknown"
    git("init")
    assert figures.code_version() == "unknown"
    git("add", ".")
    git("commit", "-m", "m")
    commit = git("rev-parse", "HEAD")
    assert figures.code_version() == commit
    (tmp_path / "README.md").write_text("words are not code")
    assert figures.code_version() == commit
    (tmp_path / "physmis" / "b.py").write_text("")
    assert figures.code_version() == commit + "-dirty"
    monkeypatch.setattr(paths, "ROOT", tmp_path.resolve() / "physmis")
    assert figures.code_version() == "unknown"


@pytest.mark.parametrize(
    ("expected", "low", "high", "holds"),
    [
        (">= 0.9", 0.9, 0.95, True),
        (">= 0.9", 0.89, 0.95, False),
        ("<= 0.1", 0.05, 0.1, True),
        ("<= 0.1", 0.05, 0.11, False),
        ("> 0", 0.0, 1.0, False),
        ("> 0", 1e-9, 1.0, True),
        ("< -1.5e-3", -2.0, -0.0016, True),
        ("< 0", -1.0, 0.0, False),
        ("in [-0.1, 0.1]", -0.1, 0.1, True),
        ("in [-0.1, 0.1]", -0.11, 0.0, False),
        ("in [-0.1, 0.1]", 0.0, 0.11, False),
    ],
)
def test_a_claim_holds_when_its_whole_interval_does(expected, low, high, holds):
    assert Claim("n", "s", "m", expected, []).holds(low, high) is holds


@pytest.mark.parametrize(
    ("figure_rows", "claim_rows", "message"),
    [
        ({"overview": FIGURE}, {}, "id 'overview' is not of the form fig_01_name"),
        ({"fig_02_a": FIGURE}, {}, r"fig_02_a: its notebook is '01_test'; wanted is 02_"),
        ({"fig_01_a": {"notebook": "01_test"}}, {}, "fig_01_a: the keys are .*'sources'"),
        ({"fig_01_a": {**FIGURE, "colour": "red"}}, {}, "'colour'"),
        ({"fig_01_a": {**FIGURE, "sources": "a.py"}}, {}, "sources is 'a.py'; wanted is a list of strings"),
        ({"fig_01_a": {**FIGURE, "caption": 3}}, {}, "caption is 3; wanted is a string"),
        ({"fig_01_a": {**FIGURE, "claims": ["C1.01.a"]}}, {}, "fig_01_a: 01_test makes no claim 'C1.01.a'"),
        (
            {"fig_02_a": {**FIGURE, "notebook": "02_test", "claims": ["C1.01.a"]}},
            {"C1.01.a": CLAIM},
            "fig_02_a: 02_test makes no claim 'C1.01.a'",
        ),
        ({}, {"C11.01.a": CLAIM}, "id 'C11.01.a' is not of the form"),
        ({}, {"C1.01.a": {**CLAIM, "expected": "about 3"}}, "C1.01.a: expected is 'about 3'; write"),
        ({}, {"C1.01.a": {**CLAIM, "profiles": ["fast"]}}, "C1.01.a: .*fast"),
    ],
)
def test_a_malformed_contract_names_the_row(place, figure_rows, claim_rows, message):
    write_contract(place / "contract.toml", figure_rows, claim_rows)
    with pytest.raises(ContractError, match=message):
        load_contract()


@pytest.mark.parametrize("text", ["[figures", "[figure.fig_01_a]", "[claims.C1.01.a]\nnotebook = ''"])
def test_a_contract_of_another_form_is_refused(place, text):
    (place / "contract.toml").write_text(text)
    with pytest.raises(ContractError):
        load_contract()


def test_a_missing_contract_is_named(place):
    (place / "contract.toml").unlink()
    with pytest.raises(ContractError, match=r"there is no contract at .*contract\.toml"):
        load_contract()


def test_the_contract_of_this_project_names_files_that_exist():
    promises = contract.load_contract()
    sources = {source for figure in promises.figures.values() for source in figure.sources}
    assert sources and all((paths.ROOT / source).is_file() for source in sources)
    assert all((paths.ROOT / "notebooks" / f"{name}.py").is_file() for name in promises.notebooks)


@pytest.mark.parametrize(
    ("injected", "unknown"),
    [
        ('PROFILE = "smoke"\nSEED = 2', None),
        ('PROFIL = "smoke"', "PROFIL"),
        ('PROFILE = "a\\nb = 1"\nSEEDS = [1, 2]\nDEV = float("nan")', "DEV, SEEDS"),
    ],
)
def test_an_unknown_papermill_parameter_is_named(place, monkeypatch, injected, unknown):
    cells = ["", 'PROFILE = "standard"\nOTHER = 1', f"# Parameters\n{injected}\n", "%matplotlib inline"]
    monkeypatch.setattr(sys.modules["__main__"], "In", cells, raising=False)
    if unknown is None:
        assert start("01_test", profile="smoke").profile.name == "smoke"
    else:
        message = f"unknown parameter {unknown}; accepted are PROFILE, SEED, DEVICE"
        with pytest.raises(ValueError, match=message):
            start("01_test", profile="smoke")
