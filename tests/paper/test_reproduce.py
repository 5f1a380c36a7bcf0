"""Comparing new results with stored ones; and a spot check, from results to samples made anew."""

import re

import numpy as np
import pytest
from support import TINY

from physmis.coordinates import Identity
from physmis.experiments.experiment import Experiment, excerpt, samples, training
from physmis.experiments.parallel import cached
from physmis.experiments.store import Entry, Store
from physmis.mitigations import Conditioned, InCoordinates, Reweighted
from physmis.paper import reproduce

CLAIM = {"value": 0.5, "low": 0.4, "high": 0.7, "verdict": "reproduced"}


def manifest(**changes):
    return {"claims": {"C1": CLAIM | changes}}


@pytest.mark.parametrize(
    ("changes", "agrees"),
    [
        ({}, True),
        ({"value": 0.85, "low": 0.7, "high": 0.9}, True),  # 0.35 off, with half widths 0.2 and 0.15
        ({"value": 0.86, "low": 0.75, "high": 0.9}, False),
        ({"verdict": "partly"}, False),
    ],
)
def test_claims_agree_within_both_intervals_and_with_one_verdict(changes, agrees):
    (row,) = reproduce.compare_claims(manifest(), manifest(**changes), ["C1"])
    assert row.agrees == agrees and row.stored == 0.5
    assert ("NO" in reproduce.table([row])) != agrees


def entry(z, seed=0, machine="this one", key="a"):
    config = TINY.config | {"of": TINY.training_config | {"seed": seed}}
    meta = {"config": config, "machine": machine, "versions": {}}
    return Entry(key, {"z": np.asarray(z), "validity": np.zeros(len(z))}, meta)


def test_on_one_kind_of_machine_samples_must_be_equal():
    z = np.random.default_rng(0).normal(size=500)
    for anew, agrees in ((z, True), (z + 1e-9, False)):
        (row,) = reproduce.compare_samples([(entry(z), entry(anew))], [entry(z)])
        assert row.agrees == agrees


def test_elsewhere_samples_may_differ_by_chance_or_as_seeds_do():
    rng = np.random.default_rng(1)
    stored = [entry(rng.normal(size=2000), key=f"{i}") for i in range(40)]
    anew = [entry(rng.normal(size=2000), machine="another", key=f"{i}") for i in range(40)]
    assert all(row.agrees for row in reproduce.compare_samples([*zip(stored, anew, strict=True)], stored))
    shifted = entry(rng.normal(0.2, 1, size=2000), machine="another")
    (row,) = reproduce.compare_samples([(stored[0], shifted)], stored[:1])
    assert not row.agrees
    # Seeds that differ as much among themselves make it a matter of course.
    other = entry(rng.normal(0.4, 1, size=2000), seed=1, key="other")
    (row,) = reproduce.compare_samples([(stored[0], shifted)], [stored[0], other])
    assert row.agrees


def test_false_disagreements_are_as_rare_as_stated():
    rng, alarms = np.random.default_rng(2), 0
    for _ in range(200):
        pairs = [(entry(rng.random(300)), entry(rng.random(300), machine="another")) for _ in range(5)]
        alarms += not all(row.agrees for row in reproduce.compare_samples(pairs, []))
    assert alarms <= 8  # 2 are expected; 9 or more have a chance of 0.0002


@pytest.mark.parametrize(
    "treatment", [None, Reweighted((0.5,) * 50), Conditioned()], ids=["plain", "reweighted", "conditioned"]
)
def test_an_experiment_comes_back_from_the_config_of_its_samples(treatment):
    made = Experiment(TINY.task, TINY.model, 300, 64, 3, treatment)
    found = reproduce.experiment_of(made.config)
    assert found.config == made.config and type(found.treatment) is type(treatment)


def test_coordinates_do_not_come_back_from_a_config():
    made = Experiment(TINY.task, TINY.model, 300, 64, 3, InCoordinates(Identity()))
    assert reproduce.experiment_of(made.config) is None


def test_a_spot_check_trains_anew_and_finds_what_was_changed(
    tmp_path, monkeypatch, capsys, store, one_thread
):
    results = Store(tmp_path / "results")
    cached(samples(TINY), results)
    assert results.holds(training(TINY).config)
    for large in results.root.glob("*/*.large.npz"):  # these do not travel
        large.rename(large.with_suffix(".moved"))
    monkeypatch.setenv("PHYSMIS_RESULTS", str(results.root))
    assert reproduce.main(["--models", "1", "--seed", "5"]) == 0
    told = capsys.readouterr().out
    assert "1 of 1 stored models, drawn with --seed 5" in told and "arrays are equal" in told
    assert f"\n{reproduce.DISTRIBUTIONS}\n" in told
    assert not [*store.root.glob("*/*")]

    arrays = results.fetch(TINY.config).arrays
    results.put(TINY.config, {**arrays, "z": arrays["z"][::-1]}, 1.0, "cpu")
    assert reproduce.main(["--models", "1"]) == 1
    assert re.search(r"NO +on this kind of machine arrays should be equal", capsys.readouterr().out)
    assert reproduce.main(["--models", "2"]) == 1
    assert "--models: expected at most 1, got 2" in capsys.readouterr().err
    # What needs the trajectories trains again.
    assert cached(excerpt(samples(TINY), [0, 5]), Store(tmp_path / "new", results.root)).shape == (2, 8, 1)


def test_without_stored_results_there_is_nothing_to_check(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PHYSMIS_RESULTS", str(tmp_path))
    assert reproduce.main(["--models", "1"]) == 1
    assert "expected stored results of kind samples" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("first", "second", "goes_on"),
    [("abc", "abc", True), ("abc", "def", False), ("abc-dirty", "abc-dirty", False)],
)
def test_an_interrupted_reproduction_goes_on_only_with_the_same_clean_code(
    tmp_path, monkeypatch, first, second, goes_on
):
    root = tmp_path / "store-anew"
    monkeypatch.setattr(reproduce, "code_version", lambda: first)
    reproduce._begin(root)
    (root / "made.npz").write_bytes(b"")
    monkeypatch.setattr(reproduce, "code_version", lambda: second)
    reproduce._begin(root)
    assert (root / "made.npz").exists() == goes_on
