"""The checks of notebook 04's exercises: what must not pass, and what else than the solution must."""

import numpy as np
import pytest
from scipy.fft import dct, idct
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from scipy.signal import savgol_filter

from physmis.tasks import load
from physmis.teaching import widgets as workshop

INNER, OUTER = 1.25 * 9.81, 0.25 * 9.81  # weights times lengths: what lifting each rod costs, in J


def rejected(exercise, answer):
    """Whether an answer gets one sentence of hint; an exception of the check itself would be a bad one."""
    hint = workshop.hint(exercise, answer)
    return isinstance(hint, str) and hint.endswith(".") and "raised" not in hint


NOT_FUNCTIONS = [0, 1.0, np.nan, None, "V", np.full((3, 4), np.nan), [[0.0]]]


@pytest.mark.parametrize("exercise", ["04.1", "04.2", "04.3"])
@pytest.mark.parametrize("answer", NOT_FUNCTIONS, ids=str)
def test_what_is_no_function_gets_a_hint(exercise, answer):
    assert rejected(exercise, answer)


# 04.1: what noise on angles adds


def lifted(a1, a2):
    return INNER * np.cos(a1) + OUTER * np.cos(a2)


@pytest.mark.parametrize(
    "answer",
    [
        lambda a1, a2, s: lifted(a1, a2) * s**2 / 2,  # small errors only
        lambda a1, a2, s: -lifted(a1, a2) * (1 - np.exp(-(s**2) / 2)),
        lambda a1, a2, s: lifted(a1, a2) * (1 - np.exp(-(s**2))),
        lambda a1, a2, s: 2 * lifted(a1, a2) * (1 - np.exp(-(s**2) / 2)),
        lambda a1, a2, s: (9.81 * np.cos(a1) + OUTER * np.cos(a2)) * (1 - np.exp(-(s**2) / 2)),  # no m2 above
        lambda a1, a2, s: (INNER * np.sin(a1) + OUTER * np.sin(a2)) * (1 - np.exp(-(s**2) / 2)),
        lambda a1, a2, s: lifted(a1, a2) * (1 - np.exp(-s / 2)),
        lambda a1, a2, s: INNER * (1 - np.cos(a1)) + OUTER * (1 - np.cos(a2)),  # the energy, not its change
        lambda a1, a2, s: 0.0,
        lambda a1, a2, s: 0.5,
        lambda a1, a2, s: np.nan,
        lambda a1, a2, s: lifted(a1, a2) * (1 - np.exp(-(s**2) / 2)) if s < 1 else np.nan,
        lambda a1, a2, s: np.full(2, lifted(a1, a2) * (1 - np.exp(-(s**2) / 2))),
        lambda a1, a2, s: lifted(a2, a1) * (1 - np.exp(-(s**2) / 2)),
    ],
)
def test_wrong_changes_of_potential_energy(answer):
    assert rejected("04.1", answer)


def test_hints_tell_what_kind_of_mistake_it_is():
    exact = 1 - np.exp(-0.5)
    assert "small errors" in workshop.hint("04.1", lambda a1, a2, s: lifted(a1, a2) * s**2 / 2)
    assert "factor" in workshop.hint("04.1", lambda a1, a2, s: 3 * lifted(a1, a2) * (1 - (1 - exact) ** s**2))
    assert "same number" in workshop.hint("04.1", lambda a1, a2, s: 1.0)
    assert "positive" in workshop.hint("04.1", lambda a1, a2, s: -lifted(a1, a2) * s**2)


def by_quadrature(a1, a2, s):
    d, density = np.linspace(-9, 9, 4001), np.exp(-(np.linspace(-9, 9, 4001) ** 2) / 2)
    density /= density.sum()
    change = INNER * (np.cos(a1) - np.cos(a1 + s * d)) + OUTER * (np.cos(a2) - np.cos(a2 + s * d))
    return density @ change


def by_characteristic_function(a1, a2, s):
    kept = np.exp(-(s**2) / 2)
    return np.asarray(INNER * np.cos(a1) + OUTER * np.cos(a2) - kept * lifted(a1, a2))


@pytest.mark.parametrize("answer", [by_quadrature, by_characteristic_function])
def test_other_ways_to_the_change_of_potential_energy(answer):
    assert workshop.hint("04.1", answer) is None


# 04.2: states of one energy, both masses 1 kg


def potential(a1, a2):
    return 9.81 * (3 - 2 * np.cos(a1) - np.cos(a2))


def angles_of(energy, n, rng, weigh=True, ceiling=None):
    found = np.empty((0, 2))
    while len(found) < n:
        a = rng.uniform(-np.pi, np.pi, (8 * n, 2))
        keep = potential(*a.T) <= (energy if ceiling is None else ceiling)
        if weigh:
            keep &= rng.random(len(a)) < np.sqrt((2 - np.cos(a[:, 0] - a[:, 1]) ** 2) / 2)
        found = np.concatenate([found, a[keep]])
    return found[:n]


def states_of(angles, energy, way):
    """States whose velocities go along ``way`` (n, 2), scaled to the energy."""
    c = np.cos(angles[:, 0] - angles[:, 1])
    kinetic = way[:, 0] ** 2 + c * way[:, 0] * way[:, 1] + way[:, 1] ** 2 / 2
    left = energy - potential(*angles.T)
    return np.column_stack([angles, way * np.sqrt(left / kinetic)[:, None]])


def free_momenta(angles, rng):
    """Velocities of normal momenta: by Cholesky of the inverse of M, not of M."""
    c = np.cos(angles[:, 0] - angles[:, 1])
    M = np.stack([np.stack([2 + 0 * c, c], -1), np.stack([c, 1 + 0 * c], -1)], -2)
    root = np.linalg.cholesky(np.linalg.inv(M))
    return np.einsum("nij,nj->ni", root, rng.standard_normal((len(angles), 2)))


def fair(energy, n, rng):
    angles = angles_of(energy, n, rng)
    return states_of(angles, energy, free_momenta(angles, rng))


def without_the_determinant(energy, n, rng):
    angles = angles_of(energy, n, rng, weigh=False)
    return states_of(angles, energy, free_momenta(angles, rng))


def directions_in_plain_velocities(energy, n, rng):
    angles = angles_of(energy, n, rng)
    return states_of(angles, energy, rng.standard_normal((n, 2)))


def directions_in_plain_momenta(energy, n, rng):
    angles = angles_of(energy, n, rng)
    c = np.cos(angles[:, 0] - angles[:, 1])
    p1, p2 = rng.standard_normal((2, n))
    return states_of(angles, energy, np.column_stack([p1 - c * p2, 2 * p2 - c * p1]))


def one_sign_only(energy, n, rng):
    states = fair(energy, n, rng)
    states[:, 2:] *= np.sign(states[:, 2:3])
    return states


def at_the_wrong_mass(energy, n, rng):
    return load("pendulum").start(np.full(n, energy), rng)


def at_rest(energy, n, rng):
    return np.repeat([[np.arccos(1 - energy / 19.62), 0.0, 0.0, 0.0]], n, axis=0)


def only_from_the_bottom(energy, n, rng):
    angles = np.zeros((n, 2))
    return states_of(angles, energy, free_momenta(angles, rng))


def anywhere(energy, n, rng):
    with np.errstate(invalid="ignore"):
        angles = rng.uniform(-np.pi, np.pi, (n, 2))
        return states_of(angles, energy, free_momenta(angles, rng))


@pytest.mark.parametrize(
    "answer",
    [
        without_the_determinant,
        directions_in_plain_velocities,
        directions_in_plain_momenta,
        one_sign_only,
        at_the_wrong_mass,
        at_rest,
        only_from_the_bottom,
        anywhere,
        lambda energy, n, rng: fair(energy, n, rng).T,
        lambda energy, n, rng: fair(energy, n - 1, rng),
        lambda energy, n, rng: fair(energy, n, rng)[:, [1, 0, 2, 3]],
        lambda energy, n, rng: fair(energy, n, rng)[:, [2, 3, 0, 1]],
        lambda energy, n, rng: fair(energy, n, rng) * [1, 1, np.sqrt(2), np.sqrt(2)],
        lambda energy, n, rng: np.repeat(fair(energy, 1, rng), n, axis=0),
        lambda energy, n, rng: fair(10.0, n, rng),
        lambda energy, n, rng: np.full((n, 4), np.nan),
        lambda energy, n, rng: np.zeros((n, 4)),
        lambda energy, n, rng: 0.0,
    ],
)
def test_wrong_draws_of_one_energy(answer):
    assert rejected("04.2", answer)


def by_the_task(energy, n, rng):
    return load("pendulum", m2=1.0).start(np.full(n, energy), rng)


def in_another_order(energy, n, rng):
    """Sorted, with angles from 0 to a whole turn: the law is that of the states together."""
    states = fair(energy, n, rng)
    states[:, :2] %= 2 * np.pi
    return states[np.argsort(states[:, 0])]


def all_from_weights(energy, n, rng):
    """Angles without the determinant, then drawn again by it."""
    angles = angles_of(energy, 20 * n, rng, weigh=False)
    weights = np.sqrt(2 - np.cos(angles[:, 0] - angles[:, 1]) ** 2)
    angles = angles[rng.choice(len(angles), n, p=weights / weights.sum())]
    return states_of(angles, energy, free_momenta(angles, rng))


@pytest.mark.parametrize(
    "answer",
    [fair, by_the_task, in_another_order, all_from_weights, lambda *given: fair(*given).tolist()],
)
def test_other_fair_draws(answer):
    assert workshop.hint("04.2", answer) is None


@pytest.mark.parametrize("seed", range(5))
def test_fair_draws_pass_whatever_their_seed(seed):
    assert workshop.hint("04.2", lambda energy, n, _: fair(energy, n, np.random.default_rng(seed))) is None


# 04.3: noisy motions, repaired


def polynomial(noisy, degree=8):
    V = np.polynomial.legendre.legvander(np.linspace(-1, 1, 64), degree)
    return np.einsum("ts,nsk->ntk", V @ np.linalg.pinv(V), noisy)


def low_frequencies(noisy):
    kept = dct(noisy, axis=1, norm="ortho")
    kept[:, 12:] = 0
    return idct(kept, axis=1, norm="ortho")


@pytest.mark.parametrize(
    "answer",
    [
        lambda noisy: savgol_filter(noisy, 31, 4, axis=1),
        lambda noisy: savgol_filter(noisy, 31, 4, axis=1).tolist(),
        lambda noisy: uniform_filter1d(noisy, 5, axis=1, mode="nearest"),
        lambda noisy: gaussian_filter1d(noisy, 1.5, axis=1, mode="nearest"),
        polynomial,
        low_frequencies,
    ],
)
def test_many_repairs_pass(answer):
    assert workshop.hint("04.3", answer) is None


def scaled_alone(noisy):
    """Velocities less by what noise adds on average: the law comes right, single motions do not."""
    return noisy * [0.98, 0.98, 0.93, 0.93]


def shuffled(noisy):
    return np.random.default_rng(0).permutation(savgol_filter(noisy, 31, 4, axis=1))


@pytest.mark.parametrize(
    "answer",
    [
        lambda noisy: noisy,
        lambda noisy: np.zeros_like(noisy),
        lambda noisy: np.full_like(noisy, 0.3),
        lambda noisy: np.full_like(noisy, np.nan),
        lambda noisy: 0 * noisy + noisy.mean(axis=1, keepdims=True),
        lambda noisy: savgol_filter(noisy, 31, 4, axis=0),
        lambda noisy: savgol_filter(noisy, 31, 4, axis=1)[:, ::-1],
        lambda noisy: savgol_filter(noisy, 31, 4, axis=1)[..., [1, 0, 3, 2]],
        lambda noisy: savgol_filter(noisy, 31, 4, axis=1)[0],
        lambda noisy: savgol_filter(noisy, 31, 4, axis=1).mean(axis=0, keepdims=True),
        lambda noisy: load("pendulum").energy(savgol_filter(noisy, 31, 4, axis=1)),
        scaled_alone,
        shuffled,
        lambda noisy: 0.0,
    ],
)
def test_what_is_no_repair(answer):
    assert rejected("04.3", answer)


def test_too_much_smoothing_makes_motions_too_slow_and_too_little_leaves_noise():
    much, little = (
        workshop.hint("04.3", lambda noisy, w=w: uniform_filter1d(noisy, w, axis=1, mode="nearest"))
        for w in (11, 2)
    )
    assert "too low" in much
    assert "strays" in little
