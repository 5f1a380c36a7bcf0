import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from physmis.drift import histogram
from physmis.kernels.expansion import CHUNK, bias_and_blur, expand
from physmis.tasks import load

# At 32 steps each.
TASKS = {
    "cone": load("cone", steps=32),
    "logistic": load("logistic", steps=32),
    "sine": load("sine", steps=32, low=2.0, high=6.0),
}
fixed = settings(deadline=None, derandomize=True, max_examples=25)
seeds = st.integers(0, 2**32 - 1)


def tensor(values):
    return torch.from_numpy(np.asarray(values, dtype=float))


def random_covariance(rng, size, rank=None):
    root = rng.normal(size=(size, rank or size))
    return root @ root.T


def deviated(task, x, d):
    """Halved sum and difference of m(x + d) and m(x - d): what is even in d, less m(x), and what is odd."""
    up, down = task.measure(x + d), task.measure(x - d)
    return (up + down) / 2 - task.measure(x[None])[0], (up - down) / 2


# bias and blur in closed form


@fixed
@given(seeds, st.integers(1, 6))
def test_quadratic_measurement_has_the_bias_and_blur_of_its_matrix(seed, rank):
    rng = np.random.default_rng(seed)
    x, A, S = rng.normal(size=(5, 3, 2)), rng.normal(size=(6, 6)), random_covariance(rng, 6, rank)
    b, D = bias_and_blur(lambda row: row.flatten() @ tensor(A) @ row.flatten(), x, S)
    slope = x.reshape(5, 6) @ (A + A.T)
    np.testing.assert_allclose(b, np.full(5, np.trace(S @ A)), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(D, np.einsum("ni,ij,nj->n", slope, S, slope), rtol=1e-9, atol=1e-9)


def test_cone_has_the_bias_of_a_norm():
    task, z, s = TASKS["cone"], np.array([0.01, 0.1, 0.5, 1.0]), 0.003
    x = task.generate(z, np.random.default_rng(0))
    b, D = bias_and_blur(task.differentiable, x, s)
    np.testing.assert_allclose(b, (32 - 1) * s**2 / (2 * z), rtol=1e-9)
    np.testing.assert_allclose(D, np.full(4, s**2), rtol=1e-9)


def test_a_scale_stands_for_the_isotropic_covariance_and_float32_will_do():
    task = TASKS["logistic"]
    x = task.sample(7, np.random.default_rng(0)).x
    number = bias_and_blur(task.differentiable, x, 0.3)
    np.testing.assert_allclose(bias_and_blur(task.differentiable, x, 0.09 * np.eye(32)), number, rtol=1e-9)
    single = random_covariance(np.random.default_rng(1), 32, rank=20).astype(np.float32)
    single[0, 1] = np.nextafter(single[0, 1], np.float32(np.inf))  # last digits differ, as after a product
    double = (single.astype(float) + single.T) / 2
    one, two = (bias_and_blur(task.differentiable, x, S) for S in (single, double))
    np.testing.assert_allclose(one, two, rtol=1e-9)


@pytest.mark.parametrize("name", TASKS)
def test_each_trajectory_is_expanded_alone(name):
    task, n = TASKS[name], CHUNK // 32**2 + 7  # more than one chunk
    x = task.sample(n, np.random.default_rng(0)).x
    whole = np.stack(bias_and_blur(task.differentiable, x, 0.1))
    rows = [0, n - 8, n - 7, n - 1]
    assert whole.shape == (2, n) and whole.dtype == np.float64
    alone = np.concatenate([bias_and_blur(task.differentiable, x[i : i + 1], 0.1) for i in rows], axis=1)
    np.testing.assert_allclose(whole[:, rows], alone, rtol=1e-6, atol=1e-12)


# the mean-value property

HARMONIC = {
    "product": lambda row: row[0, 0] * row[1, 0],
    "cubic": lambda row: row[0, 0] ** 3 - 3 * row[0, 0] * row[1, 0] ** 2,  # Re (x0 + i x1)^3
}
OTHERS = {
    "square": lambda row: (row**2).sum(),
    "cubic with one sign changed": lambda row: row[0, 0] ** 3 + 3 * row[0, 0] * row[1, 0] ** 2,
}


@pytest.mark.parametrize("name", [*HARMONIC, *OTHERS])
def test_isotropic_deviations_of_any_size_leave_only_harmonic_measurements_unbiased(name):
    rng, n, s = np.random.default_rng(0), 100_000, 1.0
    measure = (HARMONIC | OTHERS)[name]
    x = np.array([[[0.7], [-0.4]]])  # smaller than the deviations
    (b,), _ = bias_and_blur(measure, x, s)
    values = torch.vmap(measure)(tensor(x + s * rng.normal(size=(n, 2, 1)))).numpy()
    found, error = values.mean() - measure(tensor(x[0])).item(), values.std() / n**0.5
    if name in HARMONIC:
        assert abs(b) < 1e-12 and abs(found) < 4 * error
    else:  # cubic or simpler, so the second order is all there is
        assert abs(b) > 20 * error and abs(found - b) < 4 * error


# measurements of the tasks in torch


@pytest.mark.parametrize("sigma", [0.0, 0.2])
@pytest.mark.parametrize(
    "task",
    [*TASKS.values(), load("sine", steps=17, low=1, high=4), load("logistic", steps=9)],
    ids=str,
)
def test_differentiable_is_the_measurement(task, sigma):
    rng = np.random.default_rng(0)
    x = task.sample(500, rng).x.astype(float)
    x += sigma * rng.normal(size=x.shape)
    found = torch.vmap(task.differentiable)(tensor(x)).numpy()
    np.testing.assert_allclose(found, task.measure(x), rtol=0, atol=1e-6)
    assert task.differentiable(tensor(x[3])).item() == pytest.approx(found[3], abs=1e-9)


@pytest.mark.parametrize("sigma", [0.0, 0.2])
@pytest.mark.parametrize("name", TASKS)
def test_derivatives_are_those_of_the_measurement(name, sigma):
    task, rng = TASKS[name], np.random.default_rng(1)
    x = task.sample(20, rng).x.astype(float)
    x += sigma * rng.normal(size=x.shape)
    slopes = torch.vmap(torch.func.grad(task.differentiable))(tensor(x)).numpy()
    b, _ = bias_and_blur(task.differentiable, x, 1.0)
    for row, slope, bias in zip(x, slopes, b, strict=True):
        h = 0.01 * min(1, np.linalg.norm(row))
        one, two = (deviated(task, row, k * h * np.eye(32)[..., None]) for k in (1, 2))
        # Differences of fourth order from two step sizes.
        first = (8 * one[1] - two[1]) / (6 * h)
        second = (16 * one[0] - two[0]) / (6 * h**2)
        np.testing.assert_allclose(slope[:, 0], first, rtol=0, atol=1e-5 * np.abs(slope).max())
        assert 2 * bias == pytest.approx(second.sum(), abs=1e-5 * np.abs(second).sum())


@pytest.mark.parametrize("correlated", [False, True], ids=["isotropic", "correlated"])
@pytest.mark.parametrize(("name", "s"), [("cone", 0.004), ("logistic", 0.002), ("sine", 0.03)])
def test_monte_carlo_agrees(name, s, correlated):
    task, rng, n = TASKS[name], np.random.default_rng(0), 10_000
    t = np.arange(32)
    S = s**2 * (np.exp(-np.abs(t[:, None] - t) / 4) if correlated else np.eye(32))
    batch = task.sample(20, rng)
    x = batch.x[batch.z > 0.3 * batch.z.max()][:3].astype(float)  # away from the cone's apex
    b, D = bias_and_blur(task.differentiable, x, S)
    for row, bias, blur in zip(x, b, D, strict=True):
        # In pairs d and -d the first order cancels, and the bias stands out from the blur.
        even, odd = deviated(task, row, (rng.normal(size=(n, 32)) @ np.linalg.cholesky(S).T)[..., None])
        allowed = (4 / n**0.5 + 0.01) * even.std()  # noise, and orders above the second
        assert even.mean() == pytest.approx(bias, abs=allowed)
        assert odd.var() == pytest.approx(blur, rel=4 * (2 / n) ** 0.5 + 0.01)
        if name == "sine":  # the fitted frequency is all but unbiased
            assert abs(bias) < 0.02 * blur**0.5
        else:  # enough bias to see a fifth of it missing
            assert allowed < 0.2 * abs(bias)
            assert bias > 0 if name == "cone" else bias < 0


# the distribution of the measurement


def test_a_uniform_distribution_blurred_is_the_convolution():
    n, b, D = 4000, 0.03, 0.05**2
    z = (np.arange(n) + 0.5) / n
    edges = np.concatenate([[-np.inf], np.linspace(-0.2, 1.2, 29), [np.inf]])

    def area(a):
        """Integral of the normal cumulative up to ``a`` standard deviations."""
        return a * stats.norm.cdf(a) + stats.norm.pdf(a)

    inner = edges[1:-1] - b
    cumulative = D**0.5 * (area(inner / D**0.5) - area((inner - 1) / D**0.5))
    q = expand(z, np.full(n, b), np.full(n, D), edges)
    np.testing.assert_allclose(q, np.diff(cumulative, prepend=0, append=1), atol=1e-7)


@fixed
@given(seeds, st.integers(1, 50))
def test_points_without_bias_and_blur_fall_into_bins_as_in_the_histogram(seed, n):
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 9, n) / 8  # many lie on edges
    for edges in (np.arange(9) / 8, np.array([-np.inf, 0.25, 0.3, 1.0, np.inf])):
        np.testing.assert_array_equal(expand(z, np.zeros(n), np.zeros(n), edges), histogram(z, edges))
    np.testing.assert_array_equal(
        expand(z - 0.5, np.full(n, 0.5), np.zeros(n), np.arange(9) / 8), histogram(z, np.arange(9) / 8)
    )


@fixed
@given(seeds, st.integers(1, 50), st.floats(0, 3))
def test_shares_are_the_mean_of_normal_distributions_and_lose_no_mass(seed, n, scale):
    rng = np.random.default_rng(seed)
    z, bias, blur = rng.normal(size=n), scale * rng.normal(size=n), scale * rng.random(n) + 1e-6
    edges = np.concatenate([[-np.inf], np.sort(rng.normal(size=8)), [np.inf]])
    q = expand(z, bias, blur, edges)
    cumulative = stats.norm.cdf(edges[:, None], z + bias, np.sqrt(blur))
    assert (q >= 0).all() and q.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(q, np.diff(cumulative.mean(axis=1)), atol=1e-12)
    blur[::2] = 0
    assert expand(z, bias, blur, edges).sum() == pytest.approx(1, abs=1e-12)


def test_many_values_give_the_mean_of_their_parts():
    rng, n = np.random.default_rng(0), CHUNK  # several chunks of rows
    z, bias, blur, edges = rng.random(n), rng.normal(size=n), rng.random(n), np.array([-np.inf, 0, 0.7, 2])
    parts = [expand(z[i::2], bias[i::2], blur[i::2], edges) for i in (0, 1)]
    np.testing.assert_allclose(expand(z, bias, blur, edges), np.mean(parts, axis=0), rtol=1e-9)


# what is refused

X = np.ones((3, 4, 1))


@pytest.mark.parametrize(
    ("measure", "says"),
    [
        (lambda row: float(row.detach().norm()), "'float'"),
        (lambda row: row.detach().norm(), "with gradient: False"),
        (lambda row: row.sum() if row.sum() > 0 else -row.sum(), "data-dependent"),
        (load("cone").measure, "numpy"),
    ],
)
def test_measure_without_derivatives_is_refused_naming_the_other_route(measure, says):
    with pytest.raises(TypeError, match=rf"(?s)expected a .*{says}.*physmis\.kernels\.induced_transition"):
        bias_and_blur(measure, X, 0.1)


@pytest.mark.parametrize("name", ["cone", "sine"])
def test_a_point_without_derivatives_is_refused_naming_the_trajectory(name):
    task = load(name)
    x = task.sample(9, np.random.default_rng(0)).x
    x[4] = x[7] = 0
    with pytest.raises(ValueError, match="expected .* 2 of 9 .*number 4.*induced_transition"):
        bias_and_blur(task.differentiable, x, 0.1)


def test_unusable_covariance_and_no_trajectories_are_refused():
    for covariance, says in (
        (0.0, "positive"),
        (np.full((4, 4), np.inf), "finite"),
        (np.eye(4) + np.eye(4, k=1), "symmetric"),
        (np.diag([1, 1, 1, -0.5]), "eigenvalue -0.5"),
    ):
        with pytest.raises(ValueError, match=says):
            bias_and_blur(lambda row: row.sum(), X, covariance)
    with pytest.raises(ValueError, match="expected number of trajectories"):
        bias_and_blur(lambda row: row.sum(), X[:0], 0.1)


@pytest.mark.parametrize("changed", [{"z": np.zeros(3)}, {"blur": np.array([0, -1e-9])}])
def test_values_that_do_not_fit_are_refused(changed):
    usable = {"z": np.zeros(2), "bias": np.zeros(2), "blur": np.ones(2), "edges": np.arange(3)}
    with pytest.raises(ValueError, match="expected z, bias and blur >= 0 of one size"):
        expand(**usable | changed)


def test_directions_without_deviations_change_nothing():
    x = np.random.default_rng(0).normal(size=(3, 4, 2))
    assert all((part == 0).all() for part in bias_and_blur(lambda row: (row**2).sum(), x, np.zeros((8, 8))))
