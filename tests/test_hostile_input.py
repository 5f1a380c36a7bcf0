"""Public functions given what they should not be given: a refusal that was meant, or a right answer.

Every function that takes arrays is in `hostile_cases.CASES`, or left out here for a reason.
"""

import importlib
import inspect
import re
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hostile import (
    EMPTY,
    FORMS,
    INFINITE,
    MISSING,
    NO_NUMBERS,
    SHAPES,
    VALUES,
    WHOLE,
    answer,
    assert_same,
    numbers,
    whole_numbers,
    with_one,
)
from hostile_cases import CASES, CONE, LOGISTIC, MAZE, PENDULUM, PRIOR, fitted, new
from hypothesis import given, settings
from hypothesis import strategies as st

from physmis import coordinates, drift, kernels, mitigations
from physmis.audit.audit import audit, measurements, preparation
from physmis.coordinates import families
from physmis.drift import intervals
from physmis.drift import shift_test as comparison
from physmis.kernels import expansion
from physmis.tasks import travel

MODULES = (
    *("audit", "comparison", "coordinates", "drift", "expansion", "families", "forecasts", "intervals"),
    *("kernel_coordinates", "kernels"),
    *("measurements", "mitigations", "models", "planning", "preparation", "scaled", "tasks"),
    *("tasks.demonstrations", "tasks.maze", "tasks.pendulum", "tasks.synthetic", "travel"),
)
ARRAYS = re.compile(r"\b(Float|Int|Bool|Trajectories|Sequence|ndarray|Any)\b")
OTHERWISE = {"self", "cls", "rng", "prior", "law", "other", "others", "parameters", "measure", "statistic"}
LEFT_OUT = {
    "records of what checked functions found": [
        *("audit.Report", "drift.Drift", "kernel_coordinates.KernelCoordinates", "preparation.Prepared"),
        *("tasks.Batch", "tasks.maze.Layout"),
    ],
    "take results of experiments, whose arrays were checked when they were made": [
        *("forecasts.assess", "forecasts.excess_of_valid", "forecasts.residual", "forecasts.calibrate"),
        *("forecasts.forecast", "forecasts.by_value"),
    ],
    "hand on what they are given": [
        *("mitigations.Treatment.restore", "mitigations.Conditioned.fitting"),
        *("mitigations.Conditioned.requests", "kernels.Perturbs.perturb"),
    ],
    "torch functions of one trajectory, which `bias_and_blur` checks": [
        f"tasks.{name}.differentiable"
        for name in (
            *("Task", "synthetic.Sine", "synthetic.Cone", "synthetic.Logistic", "maze.PointMaze"),
            "pendulum.Pendulum",
        )
    ],
    "formulas, element by element, for arrays and tensors": [
        f"tasks.pendulum.Pendulum.{name}"
        for name in ("rate", "mass_matrix", "potential", "kinetic", "read", "energies")
    ],
    "steps of a function that checks": [
        *("kernels.References.standardised", "kernels.References.half_squares"),
        *("preparation.Prepared.taken", "tasks.synthetic.in_chunks", "tasks.demonstrations.stratum"),
        *("tasks.demonstrations.pick", "tasks.demonstrations.Driver.drive"),
        *("coordinates.spread", "intervals.check_groups", "intervals.interval"),
    ],
    "rows of anything: what they must be, the statistic says": [
        "intervals.bootstrap",
        "intervals.resample_rows",
    ],
    "checks what a measurement returns": ["kernels.measured"],
    "take a name, or a whole number": [
        *("tasks.maze.PointMaze.generate", "tasks.maze.PointMaze.collect", "tasks.maze.PointMaze.sample"),
    ],
    "the beginning and the end of `fit`": ["models.GenerativeModel.prepare", "models.GenerativeModel.settle"],
}
fixed = settings(deadline=None, derandomize=True, max_examples=25)
seeds = st.integers(0, 2**32 - 1)
every_case = pytest.mark.parametrize("name", CASES)


def public_functions():
    """Name, as in `CASES`, of all that might take arrays."""
    for module_name in MODULES:
        module = importlib.import_module(f"physmis.{module_name}")
        for name, found in vars(module).items():
            if name.startswith("_") or getattr(found, "__module__", None) != module.__name__:
                continue
            members = vars(found) if inspect.isclass(found) else {}
            for key, function in {"": found, **members}.items():
                function = function.__init__ if inspect.isclass(function) else function
                function = getattr(function, "__func__", function)  # of a class or static method
                concrete = not getattr(function, "__isabstractmethod__", False)
                if (
                    inspect.isfunction(function)
                    and concrete
                    and not key.startswith("_")
                    and takes_arrays(function)
                ):
                    yield ".".join(filter(None, (module_name, name, key)))


def takes_arrays(function):
    return any(
        parameter.annotation is parameter.empty or ARRAYS.search(str(parameter.annotation))
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in OTHERWISE and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    )


def test_every_public_function_that_takes_arrays_is_tried_or_left_out_for_a_reason():
    there = set(public_functions())
    left_out = {name for names in LEFT_OUT.values() for name in names}
    assert there - CASES.keys() - left_out == set()
    assert left_out - there == set() and left_out & CASES.keys() == set()


@every_case
def test_the_same_numbers_in_another_form_give_the_same_answer(name):
    case = CASES[name]
    good = case.good(new())
    wanted = answer(case, good)
    assert wanted is not None
    assert_numbers(case, wanted, "good arguments")
    for argument, x in good.items():
        for form, written in FORMS.items():
            found = answer(case, {**good, argument: written(x)})
            assert found is not None or form == "objects", (argument, form)
            if found is not None:
                assert_same(found, wanted, 1e-4 if form == "single precision" else case.rounding)


@every_case
def test_whole_numbers_of_any_kind_give_the_same_answer(name):
    case = CASES[name]
    good = case.good(new())
    for argument, x in good.items():
        for whole in whole_numbers(x):
            wanted = answer(case, {**good, argument: whole})
            if wanted is None:
                continue
            for kind, written in WHOLE.items():
                with warnings.catch_warnings(action="ignore"):  # of negative numbers that do not fit
                    other = written(whole)
                if np.array_equal(other, whole):
                    found = answer(case, {**good, argument: other})
                    assert found is not None or kind == "bool", (argument, kind)
                    if found is not None:
                        assert_same(found, wanted, case.rounding)
            break


@every_case
def test_what_is_no_array_of_numbers_is_refused(name):
    case = CASES[name]
    good = case.good(new())
    for argument, x in good.items():
        spoilt = {
            **(SHAPES if argument not in case.any_shape else {}),
            **NO_NUMBERS,
            **(MISSING if argument not in case.missing else {}),
            **(INFINITE if argument not in case.infinite else {}),
        }
        for kind, spoil in spoilt.items():
            given_ = {**good, argument: spoil(x, new())}
            assert answer(case, given_) is None, (argument, kind)


@every_case
def test_unusual_numbers_are_refused_or_give_numbers(name):
    """NaN only where the documentation says so; of nothing, nothing."""
    case = CASES[name]
    good = case.good(new())
    for argument, x in good.items():
        unusual = {
            **VALUES,
            **EMPTY,
            **(MISSING if argument in case.missing else {}),
            **(INFINITE if argument in case.infinite else {}),
        }
        for kind, spoil in unusual.items():
            found = answer(case, {**good, argument: spoil(x, new())})
            if kind in EMPTY:
                assert found is None or all(part.size == 0 for part in found), (argument, kind)
            assert_numbers(case, found, (argument, kind))


def assert_numbers(case, found, told):
    for part in found or []:
        assert np.isfinite(part[~np.isnan(part)] if case.nan else part).all(), told


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.costly])
@fixed
@given(seed=seeds, value=st.floats())
def test_any_number_anywhere_is_refused_or_gives_numbers(name, seed, value):
    case, rng = CASES[name], np.random.default_rng(seed)
    good = case.good(rng)
    argument = rng.choice(list(good))
    found = answer(case, {**good, argument: with_one(value)(good[argument], rng)})
    if not np.isfinite(value):
        assert found is None or argument in (case.missing if np.isnan(value) else case.infinite)
    assert_numbers(case, found, argument)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.nan])
def test_the_documentation_says_where_an_answer_is_nan(name):
    """In the function's own words, or in those of its module or of the record that it returns."""
    module, *path = name.split(".")
    found = importlib.import_module(f"physmis.{module}")
    told = [found, *(record for _, record in inspect.getmembers(found, inspect.isclass))]
    for part in path:
        found = getattr(found, part)
        told.append(found)
    assert any(CASES[name].nan in " ".join((one.__doc__ or "").split()) for one in told)


# Powers of the unit by which the arguments named, and the answer, change. A factor of two changes no digit.
UNITS = {
    "drift.wasserstein_binned": (("edges",), 1),
    "drift.histogram": (("z", "edges"), 0),
    "comparison.compare": (("z", "generated", "edges"), 0),
    "comparison.bin_edges": (("z", "generated"), 1),
    "mitigations.effective_size": (("weights",), 0),
    "measurements.path_length": (("x",), 1),
    "measurements.mean_speed": (("x",), 1),
    "measurements.kinetic_energy": (("x",), 2),
    "measurements.spectral_peak": (("x",), 0),
    "preparation.stretch": (("x",), 1),
    "coordinates.Filter.transform": (("x",), 1),
    "coordinates.Increments.inverse": (("y",), 1),
    "coordinates.NormPower.transform": (("x",), 0.5),
    "scaled.NormWarp.size": (("x",), 1),
    "scaled.LengthWarp.size": (("x",), 1),
    "travel.smooth": (("x",), 1),
    "tasks.maze.PointMaze.distance": (("x",), 1),
    "tasks.synthetic.Sine.measure": (("x",), 0),
    "tasks.synthetic.Cone.measure": (("x",), 1),
}


@pytest.mark.parametrize("name", UNITS)
@fixed
@given(seed=seeds, power=st.integers(-1000, 1000))
def test_another_unit_changes_nothing_else_or_is_refused(name, seed, power):
    case, (arguments, degree) = CASES[name], UNITS[name]
    good = case.good(np.random.default_rng(seed))
    wanted = answer(case, good)
    with np.errstate(over="ignore"):
        found = answer(case, good | {argument: good[argument] * 2.0**power for argument in arguments})
        factor = np.float64(2.0) ** (degree * power)
    for a, b in zip(found or [], wanted, strict=bool(found)):
        known = ~np.isnan(a)
        assert known.all() or case.nan
        np.testing.assert_allclose(a[known], b[known] * factor, rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: kernels.NeighbourKernel(x, 0.3, 0.1),
        lambda x: kernels.ExchangeKernel(x, 0.3),
        lambda x: kernels.TangentKernel(x, 0.1),
        audit.Errors,
    ],
)
@fixed
@given(power=st.integers(-200, 200))
def test_kernels_go_with_the_unit_of_their_data_or_refuse_it(make, power):
    x = new().normal(size=(30, 4, 2)).astype(np.float32).astype(float)
    try:
        found = make(x * 2.0**power).deviate(x * 2.0**power, new())
    except ValueError as error:
        assert "unit" in str(error)
        return
    np.testing.assert_allclose(found / 2.0**power, make(x).deviate(x, new()), rtol=1e-5, atol=1e-6)


SAME = np.full(8, 0.3)
EDGES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
STILL = np.full((3, 12, 2), 0.3)
NONE = [0.0] * 3


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: drift.histogram(SAME, EDGES), [0, 1, 0, 0]),
        (lambda: drift.bin_of(np.ones(3), EDGES), [3, 3, 3]),
        (lambda: drift.wasserstein(np.zeros(10), PRIOR), 0.5),
        (lambda: drift.total_variation([0, 1, 0], [0, 1, 0]), 0),
        (lambda: drift.total_variation([0, 1, 0], [0, 0, 1]), 1),
        (lambda: drift.drift_correlation(*[np.full(4, 0.25)] * 3), 0),
        (lambda: drift.wasserstein_binned([1, 0, 0, 0], [0, 0, 0, 1], EDGES), 0.75),
        (lambda: intervals.bootstrap(np.mean, [SAME, SAME], repeats=20), [0.3] * 3),
        (lambda: drift.assess([SAME, SAME], PRIOR, EDGES, 8).tv, [0.75] * 3),
        (lambda: kernels.transition(SAME, SAME, EDGES).matrix, np.eye(4)),
        (lambda: kernels.transition(SAME, SAME, EDGES).bias, [np.nan, 0, np.nan, np.nan]),
        (lambda: kernels.transition(SAME, SAME, EDGES).spread, [np.nan, 0, np.nan, np.nan]),
        (lambda: kernels.NeighbourKernel(STILL).deviate(STILL, new()), STILL),
        (lambda: kernels.TangentKernel(STILL, 0.1).deviate(STILL, new()), STILL),
        (lambda: expansion.expand(SAME, 0 * SAME, 0 * SAME, EDGES), [0, 1, 0, 0]),
        (lambda: expansion.bias_and_blur(lambda row: (row**2).sum(), STILL, 0.1)[0], [12 * 2 * 0.01] * 3),
        (lambda: mitigations.effective_size(SAME), 1),
        (lambda: mitigations.inverse_drift_weights(np.full(4, 0.25), np.full(4, 0.25)), [1] * 4),
        (lambda: mitigations.closest_source(np.full(4, 0.25), np.full((4, 4), 0.25)).residual, 0),
        (lambda: measurements.path_length(STILL), NONE),
        (lambda: measurements.mean_speed(STILL), NONE),
        (lambda: measurements.kinetic_energy(STILL), NONE),
        (lambda: measurements.spectral_peak(STILL), [np.nan] * 3),
        (lambda: measurements.map_parameter(lambda x: x * (1 - x))(STILL), [1 / 0.7] * 3),
        (lambda: preparation.stretch(STILL, 5), np.full((3, 5, 2), 0.3)),
        (lambda: preparation.prepare(STILL).blocks[0], STILL),
        (lambda: coordinates.check_invertible(coordinates.Increments(), STILL)[:, 1:], np.zeros((3, 11, 2))),
        (lambda: comparison.bin_edges(SAME), [-np.inf, np.inf]),
        (lambda: comparison.law(SAME, EDGES), [0, 1, 0, 0]),
        (lambda: comparison.compare(SAME, SAME, None, EDGES, new())[4], 0),
        (lambda: comparison.compare(SAME, SAME, None, EDGES, new()).chance, 1),
        (lambda: travel.smooth(STILL), STILL),
        (lambda: MAZE.distance(STILL), NONE),
        (lambda: MAZE.overreach(STILL), NONE),
        (lambda: CONE.measure(np.full((3, 24, 1), 0.5)), [0.5 * np.sqrt(24)] * 3),
        (lambda: LOGISTIC.measure(np.full((3, 24, 1), 0.75)), [4.0] * 3),
        (lambda: LOGISTIC.measure(np.zeros((3, 24, 1))), NONE),
    ],
)
def test_what_does_not_vary_has_known_answers(found, expected):
    for part in numbers(found()):
        assert part.shape == np.shape(expected) or part.shape == ()
    np.testing.assert_allclose(found(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: audit.audit(np.full((30, 5, 1), 2.0), "path_length"), "quantity is 0 for all"),
        (lambda: coordinates.Innovations.of(STILL), "constant"),
        (lambda: families.family("increments", STILL), "constant"),
        (lambda: drift.skill([1.0, 0.0], [0.5, 0.5], [0.5, 0.5]), "no drift"),
    ],
)
def test_what_must_vary_is_refused_if_it_does_not(make, told):
    with pytest.raises(ValueError, match=told):
        make()


@pytest.mark.parametrize(
    ("given_", "error", "said"),
    [
        (np.array(["1.5", 2], dtype=object), TypeError, "str"),
        (np.array([None, 2.0], dtype=object), TypeError, "NoneType"),
        ([10**400, 1], ValueError, "64 bits"),
    ],
)
def test_objects_are_taken_only_if_they_are_real_numbers(given_, error, said):
    with pytest.raises(error, match=said):
        drift.histogram(given_, np.linspace(0, 3, 4))
    halves = np.array([Fraction(1, 2), 1, 2.5], dtype=object)
    np.testing.assert_allclose(drift.histogram(halves, np.linspace(0, 3, 4)), 1 / 3)


def test_groups_of_a_bootstrap_may_be_lists():
    assert intervals.bootstrap(lambda z: (z > 1).mean(), [[1, 2], [3]]).value == 0.75
    assert intervals.bootstrap(np.mean, [[1, 2], [3]]) == intervals.bootstrap(
        np.mean, [np.array([1, 2]), np.array([3])]
    )


def test_a_motion_that_would_take_for_ever_is_refused():
    with pytest.raises(ValueError, match="turn by 10000 radians at most"):
        PENDULUM.integrate([[0.0, 0.0, 1e20, 0.0]])


def test_a_model_asked_for_what_it_cannot_make_says_so():
    model = fitted(new().normal(size=(16, 8, 2)))
    with pytest.raises(ValueError, match="too far from what it was trained with|in another unit"):
        model.sample(2, new(), clamp={0: np.full((2, 2), 1e35)})
    x = model.sample(2, new(), clamp={0: np.full((2, 2), 10.0)})
    assert np.isfinite(x).all()
