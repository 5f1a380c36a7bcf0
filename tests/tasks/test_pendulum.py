"""The double pendulum: equations of motion by sympy, motions by heyoka, distributions by closed forms."""

import dataclasses

import heyoka
import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from physmis.kernels.expansion import bias_and_blur
from physmis.tasks import load

fixed = settings(deadline=None, derandomize=True, max_examples=30)
UNEQUAL = {"m1": 1.3, "m2": 0.7, "l1": 0.8, "l2": 1.1, "g": 9.5}
both = pytest.mark.parametrize("coordinates", ["angles", "bobs"])


@st.composite
def pendulums(draw):
    sizes = {name: draw(st.floats(0.3, 3)) for name in ("m1", "m2", "l1", "l2")}
    g = draw(st.floats(0.1, 30))
    unit = sizes["m2"] * g * sizes["l2"]
    low = unit * draw(st.floats(0.01, 4))
    return load(
        "pendulum", **sizes, g=g, low=low, high=low + unit * draw(st.floats(0.1, 2)), steps=24,
        duration=0.3 * float(np.sqrt(min(sizes["l1"], sizes["l2"]) / g)),
        coordinates=draw(st.sampled_from(["angles", "bobs"])),
    )  # fmt: skip


def states(n, seed=0):
    """Random states, of no particular energy."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(-3, 3, (n, 2)), rng.normal(scale=4, size=(n, 2))])


def cartesian_energy(task, state):
    """Energy of the two point masses, from their positions and velocities written out."""
    a1, a2, w1, w2 = state.T
    p1 = task.l1 * np.stack([np.sin(a1), -np.cos(a1)])
    p2 = p1 + task.l2 * np.stack([np.sin(a2), -np.cos(a2)])
    v1 = task.l1 * w1 * np.stack([np.cos(a1), np.sin(a1)])
    v2 = v1 + task.l2 * w2 * np.stack([np.cos(a2), np.sin(a2)])
    height = task.m1 * (p1[1] + task.l1) + task.m2 * (p2[1] + task.l1 + task.l2)
    return (task.m1 * (v1**2).sum(0) + task.m2 * (v2**2).sum(0)) / 2 + task.g * height


# mechanics


def test_equations_of_motion_are_lagranges():
    t = sp.symbols("t")
    m1, m2, l1, l2, g = sp.symbols("m1 m2 l1 l2 g", positive=True)
    a = [sp.Function(f"a{i}")(t) for i in (1, 2)]
    p1 = sp.Matrix([l1 * sp.sin(a[0]), -l1 * sp.cos(a[0])])
    p2 = p1 + sp.Matrix([l2 * sp.sin(a[1]), -l2 * sp.cos(a[1])])
    v1, v2 = p1.diff(t), p2.diff(t)
    lagrangian = (m1 * v1.dot(v1) + m2 * v2.dot(v2)) / 2 - g * (m1 * p1[1] + m2 * p2[1])
    rates = [angle.diff(t) for angle in a]
    second = sp.symbols("s1 s2")
    equations = [
        (lagrangian.diff(rate).diff(t) - lagrangian.diff(angle)).subs(
            {angle.diff(t, 2): s for angle, s in zip(a, second, strict=True)}
        )
        for angle, rate in zip(a, rates, strict=True)
    ]
    solved = sp.solve(equations, second, dict=True)[0]
    plain = sp.symbols("a1 a2 w1 w2")
    swap = dict(zip([*rates, *a], [*plain[2:], *plain[:2]], strict=True))
    sizes = dict(zip((m1, m2, l1, l2, g), UNEQUAL.values(), strict=True))
    formula = sp.lambdify(plain, [solved[s].subs(swap).subs(sizes) for s in second])
    task = load("pendulum", **UNEQUAL)
    some = states(50)
    got = task.rate(some.T)
    np.testing.assert_allclose(got[2:], formula(*some.T), rtol=1e-9)
    np.testing.assert_array_equal(got[:2], some.T[2:])


def test_energy_is_that_of_two_point_masses():
    task = load("pendulum", **UNEQUAL)
    some = states(100)
    np.testing.assert_allclose(task.energy(some), cartesian_energy(task, some), rtol=1e-12)
    assert task.energy(np.zeros(4)) == 0


@pytest.mark.parametrize("parameters", [{}, {"m2": 1.0, "low": 35.0, "high": 90.0, "duration": 4.0}])
def test_every_motion_keeps_its_energy(parameters):
    task = load("pendulum", **parameters)
    z = task.quantity.prior.ppf(np.linspace(0, 1, 100))
    energies = task.energy(task.integrate(task.start(z, np.random.default_rng(0))))
    assert np.abs(energies / z[:, None] - 1).max() < 1e-8


def test_motions_agree_with_heyoka():
    task = load("pendulum", **UNEQUAL)
    a1, a2, w1, w2 = heyoka.make_vars("a1", "a2", "w1", "w2")
    d = a1 - a2
    m1, m2, l1, l2, g = (UNEQUAL[k] for k in ("m1", "m2", "l1", "l2", "g"))
    # The textbook form, not the one of the package.
    below = 2 * m1 + m2 - m2 * heyoka.cos(2 * d)
    f1 = (
        -g * (2 * m1 + m2) * heyoka.sin(a1)
        - m2 * g * heyoka.sin(a1 - 2 * a2)
        - 2 * heyoka.sin(d) * m2 * (w2**2 * l2 + w1**2 * l1 * heyoka.cos(d))
    ) / (l1 * below)
    f2 = (
        2
        * heyoka.sin(d)
        * (w1**2 * l1 * (m1 + m2) + g * (m1 + m2) * heyoka.cos(a1) + w2**2 * l2 * m2 * heyoka.cos(d))
    ) / (l2 * below)
    start = task.start(np.linspace(5, 35, 8), np.random.default_rng(1))
    ours = task.integrate(start)
    for begin, motion in zip(start, ours, strict=True):
        oracle = heyoka.taylor_adaptive([(a1, w1), (a2, w2), (w1, f1), (w2, f2)], list(begin))
        theirs = oracle.propagate_grid(np.linspace(0, task.duration, task.steps))[-1]
        np.testing.assert_allclose(motion, theirs, atol=1e-6)


def test_small_motions_are_the_normal_modes():
    task = load("pendulum", **UNEQUAL, duration=5.0)
    m1, m2, l1, l2, g = (UNEQUAL[k] for k in ("m1", "m2", "l1", "l2", "g"))
    mass = np.array([[(m1 + m2) * l1**2, m2 * l1 * l2], [m2 * l1 * l2, m2 * l2**2]])
    spring = g * np.diag([(m1 + m2) * l1, m2 * l2])
    squares, modes = scipy.linalg.eigh(spring, mass)
    for square, mode in zip(squares, modes.T, strict=True):
        small = 1e-4 * mode
        motion = task.integrate(np.array([[*small, 0, 0]]))[0]
        expected = small * np.cos(np.sqrt(square) * np.linspace(0, 5, task.steps))[:, None]
        np.testing.assert_allclose(motion[:, :2], expected, atol=1e-9)


def test_motions_hardly_depend_on_those_beside_them():
    """Motions of a chunk share the integrator's steps, so equality is not to the digit."""
    task = load("pendulum", m2=1.0, steps=4, duration=0.5)
    start = task.start(np.full(1500, 20.0), np.random.default_rng(0))
    all_of_them = task.integrate(start)
    assert all_of_them.shape == (1500, 4, 4)
    np.testing.assert_allclose(task.integrate(start[700:1400]), all_of_them[700:1400], atol=1e-7)
    np.testing.assert_array_equal(task.integrate(start), all_of_them)


# the distribution of states


def test_start_is_microcanonical():
    """Against rejection from all of phase space: states of random momenta in a thin shell of energy."""
    task = load("pendulum", **UNEQUAL)
    rng = np.random.default_rng(0)
    n, energy = 2_000_000, 25.0
    angles = rng.uniform(-np.pi, np.pi, (n, 2))
    momenta = rng.uniform(-16, 16, (n, 2))
    a = (task.m1 + task.m2) * task.l1**2
    b = task.m2 * task.l1 * task.l2 * np.cos(angles[:, 0] - angles[:, 1])
    d = task.m2 * task.l2**2
    det = a * d - b**2
    velocities = np.column_stack(
        [d * momenta[:, 0] - b * momenta[:, 1], a * momenta[:, 1] - b * momenta[:, 0]]
    )
    everywhere = np.column_stack([angles, velocities / det[:, None]])
    shell = everywhere[np.abs(task.energy(everywhere) - energy) < 0.25]
    assert len(shell) > 3000 and np.abs(momenta[np.abs(task.energy(everywhere) - energy) < 0.25]).max() < 15
    ours = task.start(np.full(len(shell), energy), np.random.default_rng(1))
    for what in (
        lambda s: s[:, 0], lambda s: s[:, 1], lambda s: s[:, 2], lambda s: s[:, 3],
        lambda s: np.cos(s[:, 0] - s[:, 1]), lambda s: s[:, 2] * s[:, 3],
    ):  # fmt: skip
        assert scipy.stats.ks_2samp(what(ours), what(shell)).pvalue > 1e-3


@pytest.mark.parametrize("m2", [0.25, 9.0])
def test_above_all_saddles_the_angle_between_the_rods_follows_an_elliptic_integral(m2):
    """No angle is shut out there: what is left is the root of m1 + m2 sin(angle)^2, whatever the energy."""
    task = load("pendulum", m2=m2)
    a1, a2 = task.start(np.full(20_000, 1.5 * task.saddles[-1]), np.random.default_rng(0))[:, :2].T
    apart = np.mod(a1 - a2, 2 * np.pi)

    def share(angle):
        return scipy.special.ellipeinc(angle, -m2) / scipy.special.ellipeinc(2 * np.pi, -m2)

    assert scipy.stats.kstest(apart, share).pvalue > 1e-3


def test_distribution_of_states_stays_the_same_in_time():
    task = load("pendulum", m2=1.0)
    motion = task.integrate(task.start(np.full(3000, 30.0), np.random.default_rng(0)))
    other = task.start(np.full(3000, 30.0), np.random.default_rng(1))
    for k in range(2):
        for f in (np.cos, np.sin):
            assert scipy.stats.ks_2samp(f(motion[:, -1, k]), f(other[:, k])).pvalue > 1e-3
        assert scipy.stats.ks_2samp(motion[:, -1, 2 + k], other[:, 2 + k]).pvalue > 1e-3


# channels and measurement


@fixed
@given(pendulums(), st.integers(0, 2**32 - 1))
def test_recovers_energy_and_states(task, seed):
    rng = np.random.default_rng(seed)
    z = task.quantity.prior.ppf(rng.random(20))
    motions = task.integrate(task.start(z, rng))
    x = task.encode(motions).astype(np.float32)
    np.testing.assert_allclose(task.measure(x), z, rtol=0, atol=1e-5 * task.high)
    back = task.decode(x)
    np.testing.assert_allclose(back[..., 2:], motions[..., 2:], atol=1e-4 * np.abs(motions[..., 2:]).max())
    np.testing.assert_allclose(np.exp(1j * back[..., :2]), np.exp(1j * motions[..., :2]), atol=1e-4)
    residuals = task.residuals(x)  # the other two are as good as a trapezoid, which here may be too wide
    assert residuals["energy"].max() < 1e-4 and residuals["rods"].max() < 1e-4


@both
def test_measurement_in_torch_is_the_same(coordinates):
    task = load("pendulum", coordinates=coordinates)
    x = task.sample(5, np.random.default_rng(0)).x.astype(float)
    x = x + np.random.default_rng(1).normal(scale=0.1, size=x.shape)
    for row, energy in zip(torch.from_numpy(x), task.measure(x), strict=True):
        assert float(task.differentiable(row)) == pytest.approx(energy, rel=1e-12)


def test_noise_on_velocities_adds_kinetic_energy():
    """(M11 + M22) s^2 / 2, exactly and at any size, whatever the motion."""
    task = load("pendulum", **UNEQUAL, steps=16)
    x = task.sample(10, np.random.default_rng(0)).x.astype(float)
    s = 0.8
    spread = np.zeros((task.steps, 6))
    spread[:, 4:] = s**2
    bias, _ = bias_and_blur(task.differentiable, x, np.diag(spread.ravel()))
    expected = ((task.m1 + task.m2) * task.l1**2 + task.m2 * task.l2**2) * s**2 / 2
    np.testing.assert_allclose(bias, expected, rtol=1e-9)
    noise = np.random.default_rng(1).normal(scale=s, size=(500, *x[:1, :, 4:].shape[1:]))
    noisy = np.concatenate([x[:1].repeat(500, axis=0)[..., :4], x[:1, :, 4:] + noise], axis=-1)
    change = task.measure(np.concatenate([noisy, np.concatenate([noisy[..., :4], x[:1, :, 4:] - noise], -1)]))
    change = change.reshape(2, 500).mean(axis=0) - task.measure(x[:1])
    assert abs(change.mean() - expected) < 4 * change.std() / np.sqrt(500)


# validity


@both
def test_each_residual_sees_its_own_fault(coordinates):
    task = load("pendulum", coordinates=coordinates, m2=1.0, steps=64)
    motion = task.integrate(task.start(np.full(20, 20.0), np.random.default_rng(0)))
    fine = task.residuals(task.encode(motion))
    assert all(r.max() < 0.01 for r in fine.values())
    assert fine["energy"].max() < 1e-8 and fine["rods"].max() < 1e-8
    slower = motion * np.array([1, 1, 0.8, 0.8])
    assert task.residuals(task.encode(slower))["kinematics"].mean() > task.tolerance
    stepped = motion.copy()
    stepped[:, 32:, 2:] *= 1.2
    assert (task.residuals(task.encode(stepped))["energy"] > task.tolerance).mean() > 0.5
    wrong = dataclasses.replace(task, m1=3.0)  # keeps energy, but that of other masses
    strange = wrong.encode(wrong.integrate(wrong.start(np.full(20, 40.0), np.random.default_rng(0))))
    assert (task.residuals(strange)["dynamics"] > task.tolerance).mean() > 0.5
    assert task.residuals(strange)["kinematics"].max() < task.tolerance
    stretched = task.encode(motion)
    stretched[..., :2] *= 1.1
    rods = task.residuals(stretched)["rods"]
    assert rods.min() == pytest.approx(0.1, rel=1e-6) if coordinates == "angles" else rods.min() > 0.05
    assert (task.validity(stretched) >= rods).all()


def test_coordinates_share_all_residuals_but_that_of_the_rods():
    angles, bobs = (load("pendulum", coordinates=c, m2=1.0) for c in ("angles", "bobs"))
    motion = angles.integrate(angles.start(np.full(20, 20.0), np.random.default_rng(0)))
    motion[..., 2:] += np.random.default_rng(1).normal(scale=0.3, size=motion[..., 2:].shape)
    one, other = angles.residuals(angles.encode(motion)), bobs.residuals(bobs.encode(motion))
    for kind in ("energy", "kinematics", "dynamics"):
        np.testing.assert_allclose(one[kind], other[kind], rtol=1e-9)
        assert one[kind].min() > 1e-3


def test_over_the_top_is_seen_in_hand_made_motions():
    task = load("pendulum", steps=9)
    angles = np.zeros((4, 9, 4))
    angles[1, :, 0] = np.linspace(0, 4, 9)  # the inner rod over the top
    angles[2, :, 1] = np.linspace(-1, -8, 9)  # the outer one, more than once
    angles[3, :, 1] = np.linspace(2, 3.1, 9)  # not quite
    np.testing.assert_array_equal(task.over_the_top(task.encode(angles)), [False, True, True, False])


def test_below_the_lowest_saddle_nothing_goes_over_the_top():
    task = load("pendulum", m2=1.0, l1=0.5, l2=3.0, low=15.0, high=2 * 9.81 - 0.01, duration=5.0)
    assert min(task.saddles) == pytest.approx(2 * 9.81)
    x = task.sample(200, np.random.default_rng(0)).x
    assert not task.over_the_top(x).any()
    above = dataclasses.replace(task, low=25.0, high=30.0)
    assert above.over_the_top(above.sample(100, np.random.default_rng(0)).x).mean() > 0.2


@pytest.mark.parametrize("sizes", [UNEQUAL, {"m2": 1.0, "l1": 0.5, "l2": 3.0}])
def test_saddles_are_the_energies_of_rest_upright(sizes):
    task = load("pendulum", **sizes)
    rest = np.array([[0, np.pi, 0, 0], [np.pi, 0, 0, 0], [np.pi, np.pi, 0, 0]])
    np.testing.assert_allclose(task.energy(rest), task.saddles, rtol=1e-12)
    np.testing.assert_allclose(np.array(task.rate(rest.T)), 0, atol=1e-12)


# bad input


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"low": -1.0}, r"low < high in \[0.0, .*got \[-1.0, 6.0\]"),
        ({"high": np.inf}, "low < high"),
        ({"m1": 0.0}, "positive and finite m1, got 0.0"),
        ({"steps": 1}, "at least 2"),
        ({"coordinates": "polar"}, "'angles' or 'bobs', got 'polar'"),
    ],
)
def test_bad_parameters_are_refused(parameters, words):
    with pytest.raises(ValueError, match=f"expected .*{words}"):
        load("pendulum", **parameters)


def test_energies_below_the_least_are_refused():
    with pytest.raises(ValueError, match="expected mechanical energy of 0 to .*, got -0.5"):
        load("pendulum").generate(np.array([3.0, -0.5]), np.random.default_rng(0))
