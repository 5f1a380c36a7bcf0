"""Trajectories as users have them: ragged, with gaps, of any type."""

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from physmis.audit import preparation
from physmis.audit.measurements import path_length
from physmis.audit.preparation import measured, prepare, resample

fixed = settings(deadline=None, derandomize=True, max_examples=30)
seeds = st.integers(0, 2**32 - 1)


def ragged(seed, n=12, channels=2, most=9):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(steps, channels)) for steps in rng.integers(2, most + 1, n)]


def gapped(x, steps):
    x = x.copy()
    x[list(steps), 0] = np.nan
    return x


@fixed
@given(seeds, st.integers(1, 40))
def test_each_trajectory_is_measured_at_its_own_length_in_parts_of_any_size(seed, steps):
    x, sizes = ragged(seed), []
    ready, imputed = prepare(x)
    assert imputed == 0 and all(one is other for one, other in zip(x, ready, strict=True))

    def measure(part):
        sizes.append(part.shape[0] * part.shape[1])
        return path_length(part)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "STEPS_AT_ONCE", steps)
        found = measured(ready, measure)
    np.testing.assert_allclose(found, [path_length(one[None])[0] for one in x], rtol=1e-12)
    assert max(sizes) <= max(steps, 9)  # a single trajectory is never cut


@fixed
@given(seeds, st.sets(st.integers(0, 9), max_size=8))
def test_the_path_goes_straight_through_the_steps_that_are_there(seed, missing):
    x = np.random.default_rng(seed).normal(size=(10, 2))
    polygon = path_length(np.delete(x, list(missing), axis=0)[None])[0]
    ready, imputed = prepare([gapped(x, missing)])
    assert measured(ready, path_length)[0] == pytest.approx(polygon, rel=1e-12)
    assert imputed == bool(missing)


@fixed
@given(st.sets(st.integers(0, 9), max_size=8), st.floats(-3, 3))
def test_gaps_keep_the_timing_and_ends_are_cut_off(missing, speed):
    """Uniform motion is imputed exactly, which it would not be if steps were left out."""
    x = speed * np.arange(10.0)[:, None] * [1, 2] + 5
    there = sorted(set(range(10)) - missing)
    ((found,), _) = prepare([gapped(x, missing)])
    np.testing.assert_allclose(found, x[there[0] : there[-1] + 1], atol=1e-12)


def test_nothing_is_kept_of_what_diverged_and_of_gaps_in_what_a_model_made():
    x = np.random.default_rng(0).normal(size=(4, 10, 2))
    x[1, 3, 0], x[2, 7:] = np.inf, np.nan
    for gaps, lengths in ((True, [10, 0, 7, 10]), (False, [10, 0, 0, 10])):
        ready, imputed = prepare(x, gaps=gaps)
        assert [len(one) for one in ready] == lengths and imputed == gaps


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64", "int32"])
def test_tensors_of_any_kind_are_taken_in_training_too(kind):
    x = torch.arange(48).reshape(3, 8, 2).to(getattr(torch, kind))
    x = x.requires_grad_() if x.is_floating_point() else x
    for tensors in (x, list(x)):
        ready, _ = prepare(tensors)
        np.testing.assert_array_equal(np.stack(ready), np.arange(48.0).reshape(3, 8, 2))


def test_nullable_columns_of_pandas_are_taken_with_their_gaps():
    frame = pandas.DataFrame({"x": [0.0, None, 2.0, 3.0], "y": [1, 2, None, 4]}).convert_dtypes()
    (found,), imputed = prepare([frame])
    assert imputed == 1
    np.testing.assert_allclose(found, [[0, 1], [1, 2], [2, 3], [3, 4]])


@pytest.mark.parametrize("missing", [range(10), range(1, 10)])
def test_what_is_missing_wholly_is_never_passed_to_the_measurement(missing):
    x = np.random.default_rng(0).normal(size=(3, 10, 2))
    x[1] = gapped(x[1], missing)
    seen = []

    def measure(part):
        seen.extend(part)
        return np.nansum(part, axis=(1, 2))  # would make 0 of NaN

    z = measured(prepare(x)[0], measure)
    np.testing.assert_array_equal(np.isnan(z), [False, True, False])
    assert len(seen) == 2 and np.isfinite(seen).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int8, ">f8"])
def test_any_real_numbers_are_measured_in_double_precision(dtype):
    given = np.random.default_rng(0).integers(0, 50, size=(7, 6, 2)).astype(dtype)
    seen = []
    z = measured(prepare(given)[0], lambda x: seen.append(x.dtype) or path_length(x))
    np.testing.assert_allclose(z, path_length(given.astype(float)), rtol=1e-12)
    assert seen == [np.float64]


GOOD = np.zeros((4, 2))


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.zeros((3, 4)), ValueError, r"expected shape \(T, C\) of each, T of 2 or more, got \(4,\)"),
        ([GOOD, np.zeros(4)], ValueError, r"expected shape \(T, C\) of each, T of 2 or more, got \(4,\)"),
        ([], ValueError, "got none"),
        ([GOOD, GOOD[:, :1]], ValueError, r"equally many channels in all, got \[1, 2\]"),
        (np.zeros((3, 4, 0)), ValueError, r"got \(4, 0\)"),
        (np.full((3, 4, 2), None), TypeError, "expected real numbers .*, got object"),
        (np.zeros((3, 4, 2), complex), TypeError, "expected real numbers .*, got complex128"),
        (np.ma.masked_equal(np.zeros((3, 4, 2)), 0), TypeError, "none masked, got"),
        ([[[1, 2], [3]]], ValueError, "rows that do not fit"),
    ],
)
def test_what_are_no_trajectories_is_refused(bad, error, message):
    with pytest.raises(error, match=message):
        prepare(bad, "demonstrations")


# resampling


@fixed
@given(seeds, st.integers(2, 20), st.integers(2, 20))
def test_resampling_is_the_interpolation_of_numpy(seed, steps, wanted):
    x = np.random.default_rng(seed).normal(size=(steps, 2))
    y, at = resample(x, wanted), np.linspace(0, steps - 1, wanted)
    assert resample(x, steps) is x
    np.testing.assert_allclose(y[[0, -1]], x[[0, -1]], atol=1e-12)
    for c in range(2):
        np.testing.assert_allclose(y[:, c], np.interp(at, np.arange(steps), x[:, c]), atol=1e-9)
