"""What a notebook's run saves, and what `check` says of a folder of figures."""

import json
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from support import TINY

from physmis.experiments.experiment import excerpt, samples
from physmis.experiments.store import key
from physmis.paper import run as runs
from physmis.paper.claims import ContractError, read_manifest
from physmis.paper.run import check, start

FIGURE = {"notebook": "01_test", "sources": ["physmis/experiments/store.py"], "caption": "c"}
CLAIM = {
    "notebook": "01_test",
    "statement": "It is so.",
    "measured": "m",
    "expected": ">= 0.9",
    "profiles": ["standard"],
    "role": "control",
}
FIGURES = {"fig_01_a": FIGURE, "fig_01_b": FIGURE, "fig_02_c": {**FIGURE, "notebook": "02_test"}}
DATA = {"x": np.arange(3.0)}


def write_contract(root, figures, claims):
    """The contract of a $PHYSMIS_ROOT, in TOML."""
    lines = []
    for section, rows in (("figures", figures), ("claims", claims)):
        for id, row in rows.items():
            lines.append(f'[{section}."{id}"]')
            lines += [f"{name} = {json.dumps(value)}" for name, value in row.items()]
    (root / "figures").mkdir(exist_ok=True)
    (root / "figures" / "contract.toml").write_text("\n".join(lines))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The output of a contract of two figures and a claim in 01_test, and one figure in 02_test."""
    monkeypatch.setenv("PHYSMIS_ROOT", str(tmp_path))
    monkeypatch.delenv("PHYSMIS_OUTPUT", raising=False)
    write_contract(tmp_path, FIGURES, {"C1.01.valid": CLAIM})
    return tmp_path / "output"


def a_figure():
    fig = Figure(figsize=(1, 0.75))
    fig.add_subplot().plot([0, 1], [1, 2])
    return fig


def complete(
    profile="standard",
    low=0.91,
    notebook="01_test",
    figures=("fig_01_a", "fig_01_b"),
    ready=None,
    **settings,
):
    run = start(notebook, profile=profile, device="cpu")
    for id in figures if notebook == "01_test" else ("fig_02_c",):
        run.save_figure(a_figure(), id, DATA, configs=["k2", "k1", "k2"], **settings)
    if ready is not None:
        run.record_claim("C1.01.ready", ready, ready, ready)
        run.record_claim("C1.01.steady", 1, 1, 1)
    if notebook == "01_test":
        run.record_claim("C1.01.valid", 0.95, low, 0.99, **settings)
    run.finish()
    return run


def test_a_wrong_setting_is_named_with_what_is_expected(place, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for arguments, message in (
        ({"notebook": "09_nothing"}, "contract .01_test, 02_test., got '09_nothing'"),
        ({"profile": "quick"}, "smoke.*standard.*full.*quick"),
        ({"seed": -1}, "seed: expected a whole number, 0 or more, got -1"),
        ({"seed": "0"}, "seed: .*got '0'"),
        ({"device": "tpu"}, "device: expected 'auto', 'cpu' or 'cuda', got 'tpu'"),
        ({"device": "cuda"}, "finds no GPU.*, got 'cuda'"),
    ):
        with pytest.raises(ValueError, match=message):
            start(**{"notebook": "01_test", "profile": "smoke", **arguments})


def test_a_plain_script_that_is_interrupted_ends_in_one_line(place, monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    start("01_test", profile="smoke", device="cpu")
    sys.excepthook(runs.Interrupted, runs.Interrupted(), None)
    assert capsys.readouterr().err == "\nInterrupted. Complete results are kept: run again to continue.\n"
    sys.excepthook(ValueError, ValueError("as ever"), None)
    assert capsys.readouterr().err == "ValueError: as ever\n"


def test_an_unknown_papermill_parameter_is_refused(place, monkeypatch):
    def injected(text):
        cells = ["", 'PROFILE = "standard"\nOTHER = 1', f"# Parameters\n{text}\n", "%matplotlib inline"]
        monkeypatch.setattr(sys.modules["__main__"], "In", cells, raising=False)
        return start("01_test", profile="smoke")

    assert injected('PROFILE = "smoke"\nSEED = 2').profile.name == "smoke"
    with pytest.raises(ValueError, match="expected the parameters PROFILE, SEED, DEVICE, got DEV, SEEDS"):
        injected('PROFILE = "a\\nb = 1"\nSEEDS = [1, 2]\nDEV = float("nan")')


def test_a_run_computes_once_and_knows_whether_it_did(place, store):
    first, again = (start("01_test", profile="smoke", device="cpu") for _ in "ab")
    made = first.compute({"one": samples(TINY), ("two", 2): samples(TINY)})
    assert list(made) == ["one", ("two", 2)] and first.cold and first.store.root == store.root
    np.testing.assert_array_equal(again.compute({3: samples(TINY)})[3].z, made["one"].z)
    assert not again.cold and again._results == first._results


def test_the_manifest_names_the_stored_results_that_a_notebook_asks_for_and_their_models(place, store):
    run = start("02_test", profile="smoke", device="cpu")
    jobs = {"samples": TINY, "rows": excerpt(samples(TINY), [0])}
    run.compute(jobs)
    run.compute({"samples again": samples(TINY)})
    run.save_figure(a_figure(), "fig_02_c", DATA)
    run.finish()
    asked = read_manifest(place / "smoke")["notebooks"]["02_test"]["results"]
    assert asked == sorted(
        f"{kind}/{key(config)}.npz"
        for kind, config in (
            ("samples", TINY.config),
            ("model", TINY.training_config),
            ("excerpt", jobs["rows"].config),
        )
    )
    assert all((store.root / address).is_file() for address in asked)


def test_a_complete_run_fills_the_manifest(place, capsys):
    run = complete()
    complete(notebook="02_test")
    assert check(place / "standard") == []
    manifest = json.loads((place / "standard" / "manifest.json").read_text())
    parts = ("profile", "code", "machine", "versions", "figures", "claims", "notebooks")
    assert tuple(manifest) == parts
    assert manifest["figures"].keys() == FIGURES.keys()
    row = manifest["figures"]["fig_01_a"]
    assert row["configs"] == ["k1", "k2"] and row["seeds"] == list(run.seeds)
    assert manifest["claims"]["C1.01.valid"] == {
        "notebook": "01_test",
        "role": "control",
        "statement": "It is so.",
        "value": 0.95,
        "low": 0.91,
        "high": 0.99,
        "expected": ">= 0.9",
        "holds": True,
        "seeds": list(run.seeds),
        "verdict": "holds",
    }
    row = manifest["notebooks"]["01_test"]
    parts = {"seconds", "peak_mib", "cold", "code", "run", "results"}
    assert row.keys() == parts and row["peak_mib"] > 50 and row["results"] == []
    assert str(place) not in json.dumps(manifest)
    line = "C1.01.valid: 0.95 [0.91, 0.99], expected >= 0.9: holds. It is so."
    told = capsys.readouterr().out.splitlines()
    assert line in told and "Of 1 further tests, 1 held, 0 did not, 0 could not be tested." in told


def test_a_rerun_replaces_only_its_own_rows_and_drops_what_is_promised_no_more(place):
    complete()
    complete(notebook="02_test")
    before = read_manifest(place / "standard")
    write_contract(place.parent, {id: FIGURES[id] for id in ("fig_01_a", "fig_02_c")}, {"C1.01.valid": CLAIM})
    assert "fig_01_b was saved but is not in the contract" in check(place / "standard")
    complete(figures=["fig_01_a"], seeds=[5])
    after = read_manifest(place / "standard")
    assert after["figures"]["fig_01_a"]["seeds"] == after["claims"]["C1.01.valid"]["seeds"] == [5]
    assert after["notebooks"]["02_test"] == before["notebooks"]["02_test"]
    assert after["notebooks"]["01_test"]["run"] != before["notebooks"]["01_test"]["run"]
    assert after["figures"].keys() == {"fig_01_a", "fig_02_c"}
    assert [problem.split()[0] for problem in check(place / "standard")] == [
        f"fig_01_b.{kind}" for kind in ("npz", "pdf", "png")
    ]


def test_files_are_the_same_bytes_every_time_and_the_size_is_the_figure_s_own(place, monkeypatch):
    contents = []
    for stamp in ("1", "2000000000"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", stamp)
        with matplotlib.rc_context({"savefig.bbox": "tight", "savefig.dpi": 50}):
            png = start("01_test", profile="standard").save_figure(a_figure(), "fig_01_a", DATA)
        contents.append([png.with_suffix(suffix).read_bytes() for suffix in (".png", ".pdf", ".npz")])
    assert contents[0] == contents[1]
    assert matplotlib.image.imread(png).shape[:2] == (150, 200)
    with np.load(png.with_suffix(".npz")) as arrays:
        np.testing.assert_array_equal(arrays["x"], DATA["x"])


def test_only_figures_that_show_no_results_are_stamped(place):
    for profile, stamps in (("smoke", ["SMOKE"]), ("standard", [])):
        run, fig = start("01_test", profile=profile), a_figure()
        run.save_figure(fig, "fig_01_a", DATA)
        assert [text.get_text() for text in fig.texts] == stamps


def test_what_cannot_be_saved_is_refused(place):
    run = start("01_test", profile="smoke")
    with pytest.raises(TypeError, match="'labels': expected numbers.*Python objects"):
        run.save_figure(a_figure(), "fig_01_a", {"labels": np.array([None])})
    with pytest.raises(
        ContractError, match=r"expected a figure of the contract \(fig_01_a, fig_01_b\), got 'fig_02_c'"
    ):
        run.save_figure(a_figure(), "fig_02_c", DATA)
    with pytest.raises(ContractError, match=r"claim of the contract \(C1\.01\.valid\), got 'C1\.01\.vaild'"):
        run.record_claim("C1.01.vaild", 1, 1, 1)
    for numbers in ((float("nan"), 0, 1), (0.5, 0, float("inf")), (2, 0, 1), (0.5, 1, 0)):
        with pytest.raises(ValueError, match="expected finite low <= value <= high"):
            run.record_claim("C1.01.valid", *numbers)
    assert not (place / "smoke").exists()
    run.save_figure(a_figure(), "fig_01_a", DATA)
    with pytest.raises(ContractError, match=r"expected the whole contract, lacks C1\.01\.valid, fig_01_b"):
        run.finish()
    assert read_manifest(place / "smoke") == {}


def test_a_failed_claim_stays_and_counts_only_in_its_profiles(place, capsys):
    for profile in ("smoke", "standard"):
        complete(profile, low=0.8)
        assert read_manifest(place / profile)["claims"]["C1.01.valid"]["holds"] is False
    assert "expected >= 0.9: does not hold." in capsys.readouterr().out
    assert check(place / "smoke", "01_test") == []
    assert check(place / "standard", "01_test") == [
        "C1.01.valid does not hold: 0.95 [0.8, 0.99], expected >= 0.9",
    ]


def test_a_primary_test_gets_a_verdict_which_rests_on_its_preconditions(place, capsys):
    needing = {**CLAIM, "role": "primary", "null": "0", "needs": ["C1.01.ready", "C1.01.steady"]}
    before = {**CLAIM, "role": "precondition", "expected": "> 0"}
    rows = {"C1.01.valid": needing, "C1.01.ready": before, "C1.01.steady": before}
    write_contract(place.parent, FIGURES, rows)
    path = place / "standard" / "manifest.json"
    for ready, low, verdict in ((1, 0.91, "reproduced"), (1, 0.8, "partly"), (-1, 0.91, "not tested")):
        with pytest.raises(ContractError, match=r"C1\.01\.valid: .*preconditions .* not yet .*C1\.01\.ready"):
            complete()
        complete(ready=ready, low=low)
        told, manifest = capsys.readouterr().out.splitlines(), json.loads(path.read_text())
        row = manifest["claims"]["C1.01.valid"]
        assert (row["role"], row["null"], row["verdict"]) == ("primary", "0", verdict)
        assert told[-1] == f"C1 in this notebook: {verdict}" and any(
            f"expected >= 0.9: {verdict}." in line for line in told
        )
    row["verdict"] = "reproduced"
    path.write_text(json.dumps(manifest))
    said = "C1.01.valid: verdict: expected 'not tested' of the contract, got 'reproduced'"
    assert said in check(place / "standard", "01_test")


def test_check_tells_every_kind_of_trouble(place):
    complete()
    folder = place / "standard"
    (folder / "fig_01_a.pdf").unlink()
    (folder / "fig_01_b.npz").write_bytes(b"other")
    (folder / "fig_09_old.png").write_bytes(b"")
    write_contract(place.parent, FIGURES, {"C1.01.valid": {**CLAIM, "expected": "> 0.5"}})
    own = [
        "fig_01_a.pdf is missing",
        "fig_01_b.npz is from another run than the manifest",
        "C1.01.valid: expected: expected '> 0.5' of the contract, got '>= 0.9'",
    ]
    assert check(folder, "01_test") == own
    assert check(folder) == [
        "fig_02_c is in the contract but was not saved",
        *own,
        "fig_09_old.png is in the folder but not in the contract",
    ]


def test_a_manifest_that_was_meddled_with_is_noticed(place, monkeypatch):
    complete()
    monkeypatch.setattr(runs, "code_version", lambda: "abc-dirty")
    complete(notebook="02_test")
    path = place / "standard" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["claims"]["C1.01.valid"]["holds"] = False
    manifest["figures"]["fig_01_a"]["pdf_sha256"] = "0"
    path.write_text(json.dumps(manifest))
    figure, claim, code = check(place / "standard")
    assert figure == "fig_01_a.pdf is from another run than the manifest"
    assert claim == "C1.01.valid: holds: expected True of the contract, got False"
    assert "one version" in code and "abc-dirty" in code
    del manifest["claims"]["C1.01.valid"]["role"]
    path.write_text(json.dumps(manifest))
    assert "C1.01.valid: role: expected 'control' of the contract, got None" in check(place / "standard")
    path.write_text("{")
    with pytest.raises(ContractError, match="manifest.json is damaged"):
        complete()
