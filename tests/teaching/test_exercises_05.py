"""Wrong answers to the exercises of notebook 05 do not pass, other right ones do."""

import numpy as np
import pytest
import scipy.fft
import scipy.integrate
import scipy.stats

from physmis.coordinates import Chain, Filter, Identity, Increments, Polar
from physmis.teaching import widgets as workshop
from physmis.teaching.exercises.mitigations import AMPLITUDES, path_length, paths


@pytest.mark.parametrize(
    "wrong",
    [
        0,
        1,
        -0.4142,  # the other root of the same equation: weights that fall
        1.4142,  # the exponent of a law of density (k + 1) a^k taken for k + 2
        3.4142,
        3,  # the mean of the squares without the square of the mean
        np.nan,
        np.inf,
        [2.4142, 2.4142],
        "2.4142",
        True,
        None,
        lambda: 2.4142,
    ],
)
def test_wrong_powers_of_weights(wrong):
    hint = workshop.hint("05.1", wrong)
    assert hint and "raised" not in hint


@pytest.mark.parametrize("right", [2.41, 2.4142, np.float32(2.414), np.array(1 + 2**0.5)])
def test_right_powers_of_weights(right):
    assert workshop.hint("05.1", right) is None


def bias(a, power, sigma, d, half=0.5, minus=2, sign=1, bend=2, at=None):
    """The bias as the Laplacian of a power of the norm, with places for slips."""
    s = 1 / power
    at = 1 - 2 * power if at is None else at
    return sign * half * sigma**2 * s * (s + d - minus) * np.asarray(a) ** (at * bend / 2)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda a, power, sigma, d: bias(a, power, sigma, d, half=1),
        lambda a, power, sigma, d: bias(a, power, sigma, d, sign=-1),
        lambda a, power, sigma, d: bias(a, power, sigma, d, minus=1),
        lambda a, power, sigma, d: bias(a, 1 / power, sigma, d),  # of the inverse map
        lambda a, power, sigma, d: bias(a, power, sigma, d, at=1 / power - 2),  # at |y| = a
        lambda a, power, sigma, d: bias(a, 1.0, sigma, d),  # without coordinates
        lambda a, power, sigma, d: bias(a, power, sigma**0.5, d),
        lambda a, power, sigma, d: bias(a, power, sigma, 2),
        lambda a, power, sigma, d: bias(a, power, sigma, d)[:, None],
        lambda a, power, sigma, d: bias(a, power, sigma, d).mean(),
        lambda a, power, sigma, d: np.full_like(a, np.nan),
        lambda a, power, sigma, d: np.zeros_like(a),
        lambda a, power, sigma, d: a,
        lambda a, power: a,
        bias(AMPLITUDES, 1.0, 0.01, 32),
        np.nan,
        None,
    ],
)
def test_wrong_biases(wrong):
    assert workshop.hint("05.2", wrong)


def by_differences(a, power, sigma, d):
    """Half the variance times second differences: one along y, d - 1 across it."""
    found = []
    for r in np.asarray(a) ** power:
        h = 1e-3 * r
        along = ((r + h) ** (1 / power) + (r - h) ** (1 / power) - 2 * r ** (1 / power)) / h**2
        across = 2 * (np.hypot(r, h) ** (1 / power) - r ** (1 / power)) / h**2
        found.append(sigma**2 / 2 * (along + (d - 1) * across))
    return found  # a list does


def by_moments(a, power, sigma, d):
    """The mean over the law of |y'|^2, a shifted chi-squared one, integrated."""
    s, found = 1 / power, []
    for r in a**power:
        law = scipy.stats.ncx2(d, (r / sigma) ** 2)
        low, high = law.ppf([1e-13, 1 - 1e-13])
        grid = np.linspace(low, high, 4001)
        density = law.pdf(grid)
        excess = (sigma * grid**0.5) ** s - r**s
        found.append(scipy.integrate.simpson(density * excess, x=grid))
    return np.array(found)


@pytest.mark.parametrize("right", [bias, by_differences, by_moments])
def test_right_biases(right):
    assert workshop.hint("05.2", right) is None


def pair(coordinates):
    return coordinates.transform, coordinates.inverse


def remembering():
    """Errors are undone by looking up the nearest path that was met before."""
    known = {}

    def transform(x):
        known["x"] = x
        return x

    def inverse(y):
        squares = (known["x"] ** 2).sum(axis=(1, 2))
        products = np.tensordot(y, known["x"], ((1, 2), (1, 2)))
        return known["x"][np.argmin(squares - 2 * products, axis=1)]

    return transform, inverse


def stored():
    """The inverse returns what the transform was given."""
    known = []
    return lambda x: known.append(x) or x, lambda y: known[0][: len(y)]


@pytest.mark.parametrize(
    "wrong",
    [
        pair(Identity()),
        (lambda x: 100 * x, lambda y: y / 100),  # units change nothing
        pair(Filter(-0.5)),  # the wrong sign
        pair(Filter(0.25)),
        pair(Increments()),  # little drift, and paths that wander off
        pair(Polar()),
        (Filter(1.0).transform, Filter(1.0).transform),  # not undone
        (lambda x: np.fft.rfft(x, axis=1), lambda y: np.fft.irfft(y, n=64, axis=1)),  # wrong shape, complex
        (lambda x: x.swapaxes(1, 2), lambda y: y.swapaxes(1, 2)),
        (lambda x: x * np.nan, lambda y: y),
        (lambda x: x, lambda y: np.full_like(y, np.nan)),
        (np.zeros_like, np.zeros_like),
        (lambda x: 1j * x, lambda y: np.real(y / 1j)),
        remembering(),
        stored(),
        lambda x: x,
        0.5,
        np.full((2, 2), np.nan),
        None,
    ],
)  # fmt: skip
def test_wrong_coordinates(wrong):
    hint = workshop.hint("05.3", wrong)
    assert hint and "raised" not in hint


def cosines():
    """A filter by the cosine transform, which does not take a path for a closed one."""
    gain = (1.0 + np.arange(64)[:, None]) ** 0.75
    return (
        lambda x: scipy.fft.dct(x, axis=1, norm="ortho") * gain,
        lambda y: scipy.fft.idct(y / gain, axis=1, norm="ortho"),
    )


@pytest.mark.parametrize(
    "right",
    [
        Filter(1.0),
        list(pair(Filter(0.75))),
        pair(Filter(1.25)),
        Chain(Increments(), Filter(-0.5)),  # half way between increments and the path
        cosines(),
    ],
)
def test_right_coordinates(right):
    assert workshop.hint("05.3", right) is None


def test_paths_are_as_long_as_the_exercise_says():
    x = paths(4000, np.random.default_rng(0))
    length = path_length(x)
    assert x.shape == (4000, 64, 2)
    assert np.quantile(length, [0, 0.25, 0.5, 0.75, 1]) == pytest.approx([5, 6.25, 7.5, 8.75, 10], abs=0.1)


@pytest.mark.parametrize("exercise", ["05.1", "05.2", "05.3"])
def test_no_answer_yet(exercise, capsys):
    workshop.check(exercise, ...)
    assert "no answer yet" in capsys.readouterr().out
