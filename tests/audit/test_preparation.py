"""Trajectories as users have them: ragged, with gaps, of any type."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from physmis.audit import preparation
from physmis.audit.measurements import path_length
from physmis.audit.preparation import prepare, stretch

fixed = settings(deadline=None, derandomize=True, max_examples=60)
seeds = st.integers(0, 2**32 - 1)


def ragged(seed, n=12, channels=2, most=9):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(steps, channels)) for steps in rng.integers(2, most + 1, n)]


def gapped(x, steps):
    x = x.copy()
    x[list(steps), 0] = np.nan
    return x


def test_an_array_without_gaps_is_taken_as_it_is():
    x = np.random.default_rng(0).normal(size=(5, 4, 3))
    ready = prepare(x)
    assert len(ready.blocks) == 1 and np.shares_memory(ready.blocks[0], x)
    assert (ready.count, ready.channels, ready.mended) == (5, 3, 0)


@fixed
@given(seeds)
def test_ragged_trajectories_are_measured_each_at_its_own_length(seed):
    given = ragged(seed)
    ready = prepare(given)
    assert ready.count == len(given)
    assert sorted(ready.lengths) == sorted(map(len, given))
    alone = [path_length(x[None])[0] for x in given]
    order = np.argsort([len(x) for x in given], kind="stable")
    np.testing.assert_allclose(ready.measured(path_length), np.array(alone)[order], rtol=1e-12)


def test_an_array_and_the_list_of_its_trajectories_are_the_same():
    x = np.random.default_rng(0).normal(size=(6, 5, 2))
    x[2, 3] = x[4, 0] = np.nan
    one, other = (prepare(given).measured(path_length) for given in (x, list(x)))
    np.testing.assert_allclose(np.sort(one), np.sort(other), rtol=1e-12)


@fixed
@given(seeds, st.sets(st.integers(0, 9), max_size=8))
def test_the_path_goes_straight_through_the_steps_that_are_there(seed, missing):
    x = np.random.default_rng(seed).normal(size=(10, 2))
    polygon = path_length(np.delete(x, list(missing), axis=0)[None])[0]
    ready = prepare([gapped(x, missing)])
    assert ready.measured(path_length)[0] == pytest.approx(polygon, rel=1e-12)
    assert ready.mended == bool(missing)


@fixed
@given(st.sets(st.integers(0, 9), max_size=8), st.floats(-3, 3))
def test_gaps_keep_the_timing_and_ends_are_cut_off(missing, speed):
    """Uniform motion is filled in exactly, which it would not be if steps were left out."""
    x = speed * np.arange(10.0)[:, None] * [1, 2] + 5
    there = sorted(set(range(10)) - missing)
    (block,) = prepare([gapped(x, missing)]).blocks
    np.testing.assert_allclose(block[0], x[there[0] : there[-1] + 1], atol=1e-12)


def test_one_missing_channel_makes_the_whole_step_missing():
    x = np.array([[0, 0], [np.nan, 100], [2, 2.0]])
    np.testing.assert_array_equal(prepare([x]).blocks[0][0], [[0, 0], [1, 1], [2, 2]])


@pytest.mark.parametrize("missing", [range(10), range(1, 10), range(9)])
def test_trajectories_of_which_nothing_is_left_are_unmeasured_and_never_shown_to_the_measurement(missing):
    x = np.random.default_rng(0).normal(size=(3, 10, 2))
    x[1] = gapped(x[1], missing)
    seen = []

    def measure(part):
        seen.extend(part)
        return np.nansum(part, axis=(1, 2))  # would make 0 of NaN

    z = prepare(x).measured(measure)
    assert np.isnan(z).sum() == 1 and len(seen) == 2 and np.isfinite(seen).all()
    assert np.isnan(prepare(x[1:2]).measured(measure)).all()


def test_what_the_measurement_cannot_tell_is_nan():
    x = np.arange(4.0)[:, None, None] * np.ones((4, 3, 1))
    z = prepare(x).measured(lambda part: np.array([np.inf, -np.inf, np.nan, 7])[part[:, 0, 0].astype(int)])
    np.testing.assert_array_equal(z, [np.nan, np.nan, np.nan, 7])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.uint16, ">f8", np.longdouble])
def test_any_real_numbers_are_measured_in_double_precision(dtype):
    given = np.random.default_rng(0).integers(0, 50, size=(7, 6, 2)).astype(dtype)
    seen = []
    z = prepare(given).measured(lambda x: seen.append(x.dtype) or path_length(x))
    np.testing.assert_allclose(z, path_length(given.astype(float)), rtol=1e-12)
    assert seen == [np.float64]


def test_a_measurement_that_writes_into_its_input_changes_no_data():
    x = np.ones((3, 4, 1))

    def careless(part):
        part[:] = 0
        return np.zeros(len(part))

    prepare(x).measured(careless)
    assert (x == 1).all()


@fixed
@given(seeds, st.integers(1, 40))
def test_measuring_in_parts_gives_what_measuring_at_once_gives(seed, steps):
    given, sizes, told = ragged(seed, n=20), [], []
    ready = prepare(given)
    whole = ready.measured(path_length)

    def measure(x):
        sizes.append(x.shape[0] * x.shape[1])
        return path_length(x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "PART", steps)
        np.testing.assert_array_equal(ready.measured(measure, told.append), whole)
    assert max(sizes) <= max(steps, 9)  # a single trajectory is never cut
    assert told == sorted(told) and told[-1] == len(given)


@fixed
@given(seeds)
def test_rows_that_are_taken_are_those_that_were_measured(seed):
    rng = np.random.default_rng(seed)
    ready = prepare(ragged(seed))
    rows = np.flatnonzero(rng.random(ready.count) < 0.5)
    z = [path_length(block) for block in ready.taken(rows)]
    np.testing.assert_array_equal(np.concatenate([*z, []]), ready.measured(path_length)[rows])


def test_a_measurement_of_another_shape_is_refused():
    ready = prepare(np.zeros((5, 4, 1)))
    for bad in (lambda x: x[:, 0], lambda x: 1.0, lambda x: x[:-1, 0, 0]):
        with pytest.raises(ValueError, match=r"must return shape \(5,\) for 5 trajectories, got"):
            ready.measured(bad)


GOOD = np.zeros((4, 2))


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.zeros(3), ValueError, r"shape \(n, T, C\) wanted, got \(3,\)"),
        (np.zeros((3, 4)), ValueError, r"got \(3, 4\); with one channel, that is x\[..., None\]"),
        (np.zeros((3, 4, 2, 1)), ValueError, r"got \(3, 4, 2, 1\)"),
        ([GOOD, np.zeros(4)], ValueError, r"shape \(T, C\) wanted of each, got \(4,\) in number 1"),
        ([], ValueError, "one or more wanted, got none"),
        (np.zeros((0, 4, 2)), ValueError, "one or more wanted, got none"),
        (np.zeros((3, 1, 2)), ValueError, "2 steps or more wanted in each, got 1"),
        (np.zeros((3, 0, 2)), ValueError, "2 steps or more wanted in each, got 0"),
        (np.zeros((3, 4, 0)), ValueError, "one channel or more wanted"),
        ([GOOD, GOOD[:1]], ValueError, "2 steps or more wanted in each, got 1"),
        ([GOOD, GOOD[:, :1]], ValueError, r"as many channels wanted in each, got \[1, 2\]"),
        ([GOOD, GOOD[:, :0]], ValueError, "one channel or more wanted"),
        ([GOOD, GOOD + np.inf], ValueError, "finite values wanted .* got infinite ones"),
        (np.full((3, 4, 2), -np.inf), ValueError, "finite values wanted"),
        (np.full((3, 4, 2), None), TypeError, "real numbers wanted, got object"),
        (np.full((3, 4, 2), "1.0"), TypeError, "real numbers wanted, got <U3"),
        (np.zeros((3, 4, 2), complex), TypeError, "real numbers wanted, got complex128"),
        (np.zeros((3, 4, 2), bool), TypeError, "real numbers wanted, got bool"),
        (np.zeros((3, 4, 2), "M8[s]"), TypeError, "real numbers wanted, got datetime64"),
        (["forward", "back"], ValueError, "wanted of each, got"),
        ([[[1, 2], [3]]], ValueError, "rows of numbers of equal length wanted in each"),
        (None, TypeError, "a list of them wanted, got NoneType"),
        (iter([GOOD]), TypeError, "a list of them wanted, got list_iterator"),
    ],
)
def test_what_are_no_trajectories_is_refused(bad, error, message):
    with pytest.raises(error, match=f"demonstrations: .*{message}|demonstrations: {message}"):
        prepare(bad, "demonstrations")


# stretching


@fixed
@given(seeds, st.integers(2, 40), st.integers(2, 40))
def test_stretching_is_exact_for_linear_paths(seed, steps, wanted):
    rng = np.random.default_rng(seed)
    start, end = rng.normal(size=(2, 3, 1, 2))

    def line(n):
        return start + np.linspace(0, 1, n)[:, None] * (end - start)

    np.testing.assert_allclose(stretch(line(steps), wanted), line(wanted), atol=1e-12)


@fixed
@given(seeds, st.integers(2, 20), st.integers(2, 20))
def test_stretching_keeps_both_ends_and_is_the_interpolation_of_numpy(seed, steps, wanted):
    x = np.random.default_rng(seed).normal(size=(3, steps, 2))
    y = stretch(x, wanted)
    np.testing.assert_allclose(y[:, [0, -1]], x[:, [0, -1]], atol=1e-12)
    at = np.linspace(0, steps - 1, wanted)
    for i in range(3):
        for c in range(2):
            np.testing.assert_allclose(y[i, :, c], np.interp(at, np.arange(steps), x[i, :, c]), atol=1e-9)


@fixed
@given(seeds, st.integers(2, 9), st.integers(1, 5))
def test_stretching_to_a_finer_grid_and_back_changes_nothing(seed, steps, times):
    x = np.random.default_rng(seed).normal(size=(3, steps, 2))
    finer = stretch(x, (steps - 1) * times + 1)
    np.testing.assert_allclose(stretch(finer, steps), x, atol=1e-12)
    np.testing.assert_allclose(path_length(finer), path_length(x), rtol=1e-9)
    assert stretch(x, steps) is x
