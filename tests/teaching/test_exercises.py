"""The exercises of all notebooks: right answers pass, typical mistakes do not, and each has a check."""

import re

import jupytext
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from scipy.signal import savgol_filter
from scipy.special import hyp1f1

from physmis import paths
from physmis.audit.measurements import path_length
from physmis.coordinates import Filter, Increments
from physmis.tasks import load
from physmis.teaching import check
from physmis.teaching.exercises import CHECKS, hint, smooth_paths

SOLUTION = re.compile(r"<summary>Solution (\d\d\.\d)</summary>.*?```python\n(.*?)```\s*</details>", re.S)


CELLS = [cell for path in paths.notebooks() for cell in jupytext.read(path).cells]
SOLUTIONS = dict(m for cell in CELLS if cell.cell_type == "markdown" for m in SOLUTION.findall(cell.source))


def test_each_exercise_of_a_notebook_has_a_check_and_a_solution():
    code = "\n".join(cell.source for cell in CELLS if cell.cell_type == "code")
    asked = re.findall(r'^answer = \.\.\.\n.*\bcheck\("(.*)", answer\)$', code, re.MULTILINE)
    assert sorted(asked) == sorted(SOLUTIONS) == sorted(CHECKS)


@pytest.mark.parametrize("exercise", SOLUTIONS)
def test_the_solution_in_the_notebook_is_right(exercise):
    namespace = {}
    exec(compile(SOLUTIONS[exercise], f"solution {exercise}", "exec"), namespace)
    assert hint(exercise, namespace["answer"]) is None


def floor(bins, n, data):
    return np.sqrt((bins - 1) / (2 * np.pi) * (1 / n + 1 / data))


def weighted(x, weight=1.0):
    s, after = x[:, :-1] * (1 - x[:, :-1]), x[:, 1:]
    return np.sum(weight * after * s, axis=1) / np.sum(weight * s * s, axis=1)


def near_the_top(x):
    return weighted(x, np.exp(-(((x[:, :-1] - 0.5) / 0.1) ** 2) / 2) + 1e-12)


def median_of_ratios(x):
    return np.median(x[:, 1:] / (x[:, :-1] * (1 - x[:, :-1])), axis=1)


def prior_by_rank(x):
    return 3.5 + 0.5 * (np.argsort(np.argsort(weighted(x))) + 0.5) / len(x)


def by_trace(T, dt, s):
    difference = np.diff(np.eye(T), axis=0)
    return 0.5 * s**2 * np.trace(difference.T @ difference) / dt**2


def barker(p):
    up, down = p[1:] / (p[:-1] + p[1:]) / 2, p[:-1] / (p[:-1] + p[1:]) / 2
    T = np.diag(up, 1) + np.diag(down, -1)
    return (T + np.diag(1 - T.sum(axis=1))).tolist()


# 03.1 and 03.2: the length of steps with errors.

REST = 63 * 0.01 * np.sqrt(np.pi)


def rice(length, variance):
    """By Kummer's function, for steps that are not too long."""
    return np.sqrt(np.pi * variance / 2) * hyp1f1(-0.5, 1, -(length**2) / (2 * variance))


def step_by_quadrature(length, s, rho):
    """Mean over angle and size of the difference of the two errors."""
    sigma = s * np.sqrt(2 * (1 - rho))
    size, angle = np.meshgrid((np.arange(400) + 0.5) / 50, (np.arange(200) + 0.5) * np.pi / 200)
    weight = size * np.exp(-(size**2) / 2)
    x, y = sigma * size * np.cos(angle), sigma * size * np.sin(angle)
    return [((weight / weight.sum()) * np.hypot(one + x, y)).sum() for one in length]


def wave(size, periods):
    def deviate(x, rng):
        swing = np.sin(np.pi * periods * np.linspace(0, 1, x.shape[1]))[:, None]
        return x + size * swing * rng.standard_normal((len(x), 1, 2))

    return deviate


def lifted(a1, a2):
    return 9.81 * (1.25 * np.cos(a1) + 0.25 * np.cos(a2))


def lift_by_quadrature(a1, a2, s):
    d = np.linspace(-9, 9, 4001)
    density = np.exp(-(d**2) / 2)
    return density @ (lifted(a1, a2) - lifted(a1 + s * d, a2 + s * d)) / density.sum()


def fair(energy, n, rng, weigh=True, direction=None):
    """Angles by rejection, velocities by the Cholesky factor of the inverse of M."""
    a = rng.uniform(-np.pi, np.pi, (40 * n, 2))
    c = np.cos(a[:, 0] - a[:, 1])
    left = energy - 9.81 * (3 - 2 * np.cos(a[:, 0]) - np.cos(a[:, 1]))
    kept = np.flatnonzero((left > 0) & ((rng.random(len(a)) < np.sqrt((2 - c**2) / 2)) | (not weigh)))[:n]
    a, c, left = a[kept], c[kept], left[kept]
    M = np.stack([np.stack([2 + 0 * c, c], -1), np.stack([c, 1 + 0 * c], -1)], -2)
    w = np.einsum("nij,nj->ni", np.linalg.cholesky(np.linalg.inv(M)), rng.standard_normal((n, 2)))
    w = w if direction is None else direction(w, c, rng)
    kinetic = w[:, 0] ** 2 + c * w[:, 0] * w[:, 1] + w[:, 1] ** 2 / 2
    return np.column_stack([a, w * np.sqrt(left / kinetic)[:, None]])


def in_plain_momenta(w, c, rng):
    p1, p2 = rng.standard_normal((2, len(w)))
    return np.column_stack([p1 - c * p2, 2 * p2 - c * p1])


def bias(a, power, sigma, d, minus=2):
    return 0.5 * sigma**2 / power * (1 / power + d - minus) * a ** (1 - 2 * power)


def bias_by_moments(a, power, sigma, d):
    """The mean over the distribution of |y'|^2, a shifted chi-squared one, integrated."""
    found = []
    for r in a**power:
        squared = scipy.stats.ncx2(d, (r / sigma) ** 2)
        grid = np.linspace(*squared.ppf([1e-13, 1 - 1e-13]), 4001)
        excess = (sigma * grid**0.5) ** (1 / power) - r ** (1 / power)
        found.append(scipy.integrate.simpson(squared.pdf(grid) * excess, x=grid))
    return found


def pair(coordinates):
    return coordinates.transform, coordinates.inverse


def p_value(as_large, plus):
    def answer(a, b, statistic, rng):
        dealt = [statistic(*np.split(rng.permutation(np.r_[a, b]), [len(a)])) for _ in range(200)]
        return (as_large(np.array(dealt), statistic(a, b)).sum() + plus) / (200 + plus)

    return answer


RIGHT = [
    ("01.1", [0.1004, 0.0497]),
    ("01.2", floor),
    ("01.3", near_the_top),
    ("02.1", by_trace),
    ("02.2", barker),
    ("02.3", median_of_ratios),
    ("03.1", np.float32(1.117)),
    ("03.2", step_by_quadrature),
    ("03.3", wave(0.08, 2)),
    ("04.1", lift_by_quadrature),
    ("04.2", fair),
    ("04.3", lambda noisy: uniform_filter1d(noisy, 5, axis=1, mode="nearest")),
    ("05.1", 2.41),
    ("05.2", bias_by_moments),
    ("05.3", pair(Filter(0.75))),
    ("06.1", lambda x: [np.hypot.reduce(row[-1] - row[0]) for row in x]),
    ("06.2", p_value(np.greater_equal, 1)),
    ("06.3", lambda x: path_length(gaussian_filter1d(x, 5, axis=1))),
]

# With a part of the hint.
WRONG = [
    ("01.1", (0.05, 0.1), "too small"),
    ("01.2", lambda *given: 2 * floor(*given), "too large"),
    ("01.2", lambda bins, n, data: floor(bins, n, 1e12), "too small"),
    ("01.3", lambda x: 4 * x.max(axis=1), "exact"),
    ("01.3", weighted, "1.00 of"),
    ("02.1", lambda T, dt, s: by_trace(T + 1, dt, s), "too large"),
    ("02.2", lambda p: np.eye(len(p)), "a tenth of the mass"),
    ("02.2", lambda p: np.tile(p, (len(p), 1)), "neighbours"),
    ("02.2", lambda p: np.array(barker(p)).T, "Rows"),
    ("02.2", lambda p: barker(1 / p), "drifts"),
    ("02.3", weighted, "100%"),
    ("02.3", lambda x: median_of_ratios(x[:, :2]), "correlation"),
    ("02.3", prior_by_rank, "beside"),
    ("03.1", REST / np.sqrt(2), "too small"),
    ("03.2", lambda length, s, rho: rice(length, 2 * s**2 * (1 - rho**2)), "too small"),
    ("03.3", lambda x, rng: x + 0.05, "Start and goal"),
    ("03.3", wave(0.05, 40), "drift"),
    ("03.3", lambda x, rng: wave(0.05, 1)(x, np.random.default_rng(0)), "draw them from rng"),
    ("03.3", wave(0.01, 1), "cm"),
    ("04.1", lambda a1, a2, s: lifted(a1, a2) * s**2 / 2, "too"),
    ("04.1", lambda a1, a2, s: lift_by_quadrature(a2, a1, s), "too"),
    ("04.2", lambda *given: fair(*given, weigh=False), "distribution"),
    ("04.2", lambda *given: fair(*given, direction=in_plain_momenta), "distribution"),
    ("04.2", lambda energy, n, rng: load("pendulum").start(np.full(n, energy), rng), "this energy"),
    ("04.3", lambda noisy: noisy * [0.98, 0.98, 0.93, 0.93], "spread"),
    ("04.3", lambda noisy: uniform_filter1d(noisy, 11, axis=1, mode="nearest"), "drift of the energies"),
    ("04.3", lambda noisy: savgol_filter(noisy, 31, 4, axis=1)[::-1], "angles"),
    ("05.1", 3, "too large"),
    ("05.2", lambda *given: bias(*given, minus=1), "too large"),
    ("05.2", lambda a, power, sigma, d: bias(a, 1 / power, sigma, d), "too"),
    ("05.3", (lambda x: 100 * x, lambda y: y / 100), "drift is 1.00"),
    ("05.3", pair(Increments()), "distance"),
    ("05.3", (Filter(1.0).transform, Filter(1.0).transform), "undo"),
    ("06.1", lambda x: ((x[:, -1] - x[:, 0]) ** 2).sum(axis=-1), "too"),
    ("06.2", p_value(np.greater_equal, 0), "above 0"),
    ("06.2", lambda a, b, statistic, rng: 0.5 if statistic(a, b) < 1 else 0.001, "evenly"),
    ("06.3", path_length, "jitter"),
    ("06.3", lambda x: x.sum(axis=(1, 2)), "rank"),
]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_other_right_answers(exercise, answer):
    assert hint(exercise, answer) is None


@pytest.mark.parametrize(("exercise", "answer", "part"), WRONG)
def test_mistakes_get_a_hint(exercise, answer, part):
    found = hint(exercise, answer)
    assert part in found and found.endswith(".") and "raised" not in found


@pytest.mark.parametrize("exercise", CHECKS)
def test_what_is_no_answer_is_not_right(exercise):
    def broken(*_):
        raise RuntimeError("not written yet")

    for answer in (np.nan, "?", lambda *_: None, lambda *_: 0.0, lambda *given: given[0], broken):
        assert len(hint(exercise, answer)) > 10


def test_check_prints_the_verdict(capsys):
    for answer in ((0.1, 0.05), (0.05, 0.1), ...):
        check("01.1", answer)
    check("06.1", lambda x: 1 / 0)
    right, wrong, nothing, raised = capsys.readouterr().out.splitlines()
    assert right == "Exercise 01.1: right."
    assert wrong == "Exercise 01.1: not yet. Value 1 of 2 is too small."
    assert nothing == "Exercise 01.1: no answer yet. Replace the three dots and run the cell again."
    assert raised == "Exercise 06.1: not yet. It raised ZeroDivisionError: division by zero"
    with pytest.raises(ValueError, match="expected one of the exercises 01.1, .* got '06.4'"):
        check("06.4", ...)


def test_paths_are_as_long_as_the_exercise_says():
    length = path_length(smooth_paths(4000, np.random.default_rng(0)))
    assert np.quantile(length, [0, 0.25, 0.5, 0.75, 1]) == pytest.approx([5, 6.25, 7.5, 8.75, 10], abs=0.1)
