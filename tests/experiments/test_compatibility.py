"""Requested values beside given steps."""

import dataclasses
import warnings

import numpy as np
import pytest

from physmis import tasks
from physmis.experiments.compatibility import Compatibility
from physmis.experiments.experiment import Experiment, run, run_all
from physmis.experiments.store import Store, key
from physmis.mitigations import Conditioned
from physmis.models import build

CONE = tasks.load("cone", steps=8)
MODEL = Experiment(
    CONE, build("continuation", width=8, steps=20, batch=32, sampler_steps=4), 64, 8, 0, Conditioned()
)


def test_given_steps_are_held_and_each_row_is_asked_for_each_value(tmp_path):
    asked = Compatibility(MODEL, rows=[5, 0, 63], values=[0.2, 0.9], seed=1)
    x = run(asked, root=tmp_path).arrays["x"]
    assert x.shape == (3, 2, 8, 1)
    data = MODEL.training_set(Store(tmp_path)).x
    np.testing.assert_allclose(x[:, :, 0], data[[5, 0, 63], None, 0].repeat(2, axis=1), atol=1e-5)
    assert not np.array_equal(x[:, 0, 1:], x[:, 1, 1:])
    np.testing.assert_array_equal(run(asked, root=tmp_path).arrays["x"], x)  # stored


def test_what_it_depends_on():
    base = Compatibility(MODEL, [1], [0.5], 0)
    others = [
        dataclasses.replace(base, rows=[2]),
        dataclasses.replace(base, values=[0.6]),
        dataclasses.replace(base, seed=1),
        dataclasses.replace(base, of=dataclasses.replace(MODEL, seed=1)),
        dataclasses.replace(
            base, of=dataclasses.replace(MODEL, model=dataclasses.replace(MODEL.model, sampler_steps=5))
        ),
    ]
    assert len({key(one.config) for one in [base, *others]}) == 6
    # How many trajectories the experiment itself draws does not matter.
    assert dataclasses.replace(base, of=dataclasses.replace(MODEL, samples=9)).config == base.config


def test_it_shares_its_model_and_warns_beyond_the_range(tmp_path, monkeypatch):
    monkeypatch.setenv("PHYSMIS_STORE", str(tmp_path))
    monkeypatch.setenv("PHYSMIS_JOBS", "1")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (result, entry), cold = run_all([MODEL, Compatibility(MODEL, [0, 1], [3.0], 0)])
    assert cold and result.x.shape == (8, 8, 1) and entry.arrays["x"].shape == (2, 1, 8, 1)
    assert any("2 of 2 conditions lie outside" in str(one.message) for one in caught)
    assert len(list((tmp_path / "model").glob("*/*"))) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"of": dataclasses.replace(MODEL, treatment=None)},
        {"of": dataclasses.replace(MODEL, model=build("unet", width=8))},
        {"rows": []},
        {"rows": [64]},
    ],
)
def test_bad_input(change):
    with pytest.raises(ValueError, match="^expected .*, got "):
        dataclasses.replace(Compatibility(MODEL, [0], [0.5], 0), **change)
