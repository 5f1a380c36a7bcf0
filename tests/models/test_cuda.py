"""A card gives what the CPU gives, within stated tolerances. The benchmark of a card runs on any machine."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_together import SEEDS, every_case, given, samples, three, walks

from benchmarks import gpu
from physmis import models
from physmis.experiments.experiment import run_all
from physmis.experiments.kernel_draws import Deviation
from physmis.experiments.store import Store
from physmis.models import build
from physmis.models.training import train
from physmis.paper import run as figures

on_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
pytestmark = pytest.mark.filterwarnings("ignore:posterior collapse")


@on_card
def test_auto_is_the_card():
    assert figures.resolve_device("auto") == figures.resolve_device("cuda") == "cuda"


@on_card
@every_case
def test_card_and_cpu_give_the_same(case):
    here, there = three(case)[:2]
    there.to("cuda")
    for model in (here, there):
        model.fit(**given(case)[0])
    np.testing.assert_allclose(there.losses[:10], here.losses[:10], rtol=1e-4, atol=1e-4)
    again = build(**here.config()).to("cuda").from_state(here.state())
    scale, n = float(here.scale.max()), 2 * models.CHUNK + 40
    np.testing.assert_allclose(samples(again, n), samples(here, n), atol=1e-3 * scale)
    x, asked = walks(n, 8), None if here.told is None else np.linspace(-1, 1, n)
    tripped = [model.perturb(x, 0.5, np.random.default_rng(6), asked) for model in (again, here)]
    np.testing.assert_allclose(*tripped, atol=1e-3 * scale)
    back = build(**here.config()).from_state(there.state())
    np.testing.assert_allclose(samples(back, n), samples(there, n), atol=1e-3 * scale)


@on_card
@every_case
def test_models_trained_together_on_a_card_are_those_trained_alone_on_the_cpu(case):
    alone = [model.fit(**each) for model, each in zip(three(case), given(case), strict=True)]
    together = [model.to("cuda") for model in three(case)]
    train(together, given(case))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.losses[:10], one.losses[:10], rtol=1e-4, atol=1e-4)
        assert other.losses.shape == one.losses.shape and np.isfinite(other.losses).all()


@on_card
def test_run_all_trains_on_the_card_in_one_process(tmp_path, monkeypatch):
    monkeypatch.setenv("PHYSMIS_STORE", str(tmp_path))
    work = [*SEEDS, *(Deviation(e, "round_trip", {"strength": 0.5}, e) for e in SEEDS)]
    work.append(Deviation(SEEDS[0], "tangent", {"reach": 0.2}))
    results, computed = run_all(work, "cuda")
    assert computed and len(results) == 7 and not run_all(work, "cuda")[1]
    assert all(Store().fetch(e.training_config).meta["device"] == "cuda" for e in SEEDS)
    assert results[0].model.sample(3, np.random.default_rng(0)).shape == results[0].x[:3].shape


@on_card
def test_the_law_of_the_quantity_agrees():
    for what, found in gpu.agreement("cuda").items():
        assert found <= gpu.TOLERANCES[what], what


def test_agreement_of_the_cpu_with_itself_is_exact():
    assert gpu.agreement("cpu", steps=3, n=20) == {"losses": 0.0, "samples": 0.0, "law": 0.0}


def test_benchmark_runs_on_the_cpu_at_toy_sizes(capsys, monkeypatch):
    written = Path(gpu.__file__).with_name("gpu.md")
    before = written.read_bytes() if written.exists() else None
    agreement = gpu.agreement
    monkeypatch.setattr(gpu, "agreement", lambda device: agreement(device, steps=3, n=20))
    monkeypatch.setattr(gpu, "REPEATS", 1)
    assert gpu.main(["--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "| models together |" in said and "| 2 | " in said and "the aim is 8" in said
    assert all(f"| {name}, 16 at once |" in said for name in ("unet", "transformer", "vae", "mlp"))
    assert (written.read_bytes() if written.exists() else None) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_benchmark_without_a_card_says_so(capsys):
    assert gpu.main([]) == 0
    assert capsys.readouterr().out.startswith("no CUDA device here")
