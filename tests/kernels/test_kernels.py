import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist

from physmis.kernels import HeldEnds, IsotropicKernel, References, RoundTripKernel, TangentKernel

fixed = settings(deadline=None, derandomize=True, max_examples=20)
seeds = st.integers(0, 2**32 - 1)


def rng_of(seed=0):
    return np.random.default_rng(seed)


def trajectories(n, steps=4, seed=0):
    """Independent normal values in two channels, the second of which is 30 times as wide."""
    return (rng_of(seed).standard_normal((n, steps, 2)) * [1, 30]).astype(np.float32)


def in_spreads(x, data):
    """Rows of x as vectors, each channel in units of its standard deviation over the data."""
    return (x / data.astype(float).std(axis=(0, 1))).reshape(len(x), -1)


def squares(x, data):
    """Squared distances of x to the data; infinite where the two are the same trajectory."""
    d = cdist(in_spreads(x, data), in_spreads(data, data), "sqeuclidean")
    same = (x[:, None] == data[None]).all(axis=(2, 3))
    return np.where(same, np.inf, d)


def nearest(x, data):
    """Which of the data is nearest to each of x and is not x itself."""
    return References(data).in_blocks(lambda half: half.argmin(dim=1), x)


def fits(counts, shares):
    """Whether counts are a sample of the shares, cells of few expected counts taken together."""
    expected = shares * counts.sum()
    few = expected < 5
    assert counts[shares == 0].sum() == 0
    counts, expected = ((*v[~few], v[few].sum()) for v in (counts, expected))
    if expected[-1] == 0:
        counts, expected = counts[:-1], expected[:-1]
    return stats.chisquare(counts, expected).pvalue > 1e-3


class Toy:
    """Stands for a trained model: pulls toward 1, by the share that is to be erased, and adds noise."""

    def perturb(self, x, strength, rng):
        return x + strength * (1 - x) + 0.1 * rng.standard_normal(x.shape)


# what all kernels have in common

KERNELS = {
    "isotropic": lambda data: IsotropicKernel(0.1, data.std(axis=(0, 1))),
    "tangent": lambda data: TangentKernel(data, 0.2),
    "round trip": lambda data: RoundTripKernel(Toy(), 0.5),
    "held ends": lambda data: HeldEnds(IsotropicKernel(0.1, [1.0, 30.0])),
}


@pytest.mark.parametrize("name", KERNELS)
def test_one_draw_for_each_trajectory_decided_by_the_rng_alone(name):
    data = trajectories(60)
    x, before = data[:20], data.copy()
    kernel = KERNELS[name](data)
    first, again, other = (kernel.deviate(x, rng_of(seed)) for seed in (1, 1, 2))
    assert first.shape == x.shape and np.isfinite(first).all()
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (first != x).any()
    np.testing.assert_array_equal(data, before)


@pytest.mark.parametrize("wrong", [0, -0.1, np.nan])
def test_parameters_outside_their_range_are_refused_by_name(wrong):
    data = trajectories(9)
    for name, make in {
        "scale": lambda: IsotropicKernel(wrong),
        "spread": lambda: IsotropicKernel(1.0, np.array([1.0, wrong])),
        "reach": lambda: TangentKernel(data, wrong),
    }.items():
        with pytest.raises(ValueError, match=f"{name}.*got .*{wrong}"):
            make()


@pytest.mark.parametrize("spoil", [lambda x: x[:1], lambda x: x * np.nan])
def test_unusable_data_are_refused(spoil):
    with pytest.raises(ValueError, match="expected"):
        References(spoil(trajectories(5)))


def test_trajectories_unlike_the_data_are_refused():
    with pytest.raises(ValueError, match="expected trajectories of shape"):
        TangentKernel(trajectories(9), 1.0).deviate(trajectories(3)[:, :2], rng_of())


# isotropic


def test_isotropic_errors_are_independent_and_have_the_given_size():
    n, spread = 20_000, np.array([1.0, 30.0])
    x = trajectories(n, steps=3)
    errors = (IsotropicKernel(0.2, spread).deviate(x, rng_of(1)) - x) / (0.2 * spread)
    table = np.hstack([errors.reshape(n, 6), in_spreads(x, x)])  # neither with each other nor with x
    assert np.abs(errors.mean(axis=0)).max() < 4.5 / np.sqrt(n)
    np.testing.assert_allclose(np.cov(table.T)[:6], np.eye(12)[:6], atol=4.5 * np.sqrt(2 / n))
    assert stats.kstest(errors[:, 1, 1], "norm").pvalue > 1e-3


# references


def test_distances_are_those_of_scipy_but_for_a_constant_of_each_row():
    data = trajectories(40)
    x = np.concatenate([data[[7, 0]], trajectories(5, seed=1)])
    references = References(data)
    np.testing.assert_allclose(references.spread, data.astype(float).std(axis=(0, 1)), rtol=1e-5)
    half, expected = references.half_squares(x).numpy().astype(float), squares(x, data) / 2
    np.testing.assert_array_equal(np.isinf(half), np.isinf(expected))
    assert np.isinf(half).sum() == 2
    pivot = 20  # not among x
    np.testing.assert_allclose(half - half[:, [pivot]], expected - expected[:, [pivot]], atol=1e-4)


def test_a_datum_is_known_in_any_precision_and_memory_order():
    data = trajectories(30)
    expected = squares(data, data).argmin(axis=1)
    for x in (data, data[::-1][::-1], np.asfortranarray(data.astype(np.float64))):
        np.testing.assert_array_equal(nearest(x, x), expected)


def test_the_nearest_do_not_depend_on_where_the_data_lie():
    data = trajectories(200)
    expected = squares(data, data).argmin(axis=1)
    far = data + np.float32([1000, 30_000])
    assert (nearest(far, far) == expected).mean() > 0.99  # 0.06 uncentred
    data[..., 1] = 7
    expected = squares(data[..., :1], data[..., :1]).argmin(axis=1)
    np.testing.assert_array_equal(nearest(data, data), expected)


def test_draws_do_not_depend_on_how_rows_are_cut_into_blocks():
    data = trajectories(20_000, steps=1)  # blocks of 500 rows
    x = np.concatenate([data[:700], trajectories(500, steps=1, seed=1)])
    kernel, rng = tangent(data, 0.5, 20), rng_of(3)
    whole = kernel.deviate(x, rng_of(3))
    parts = np.concatenate([kernel.deviate(part, rng) for part in np.split(x, [1, 333, 800])])
    # Rounding differs with the shape of a product, which decides a draw in a thousand at most.
    assert np.isclose(whole, parts, rtol=1e-4, atol=1e-5).all(axis=(1, 2)).mean() > 0.995
    assert (whole != x).any(axis=(1, 2)).mean() > 0.95 and len(whole) == 1200


def test_copies_of_a_trajectory_are_each_others_nearest():
    three = trajectories(3)
    data = np.concatenate([three, three])
    np.testing.assert_array_equal(data[nearest(data, data)], data)
    same = np.repeat(three[:1], 5, axis=0)
    np.testing.assert_array_equal(TangentKernel(same, 0.1).deviate(same, rng_of()), same)


# tangent


def tangent(data, reach, count):
    """A tangent kernel that draws from the nearest ``count``."""
    kernel = TangentKernel(data, reach)
    kernel.count = count
    return kernel


def test_a_twentieth_of_the_data_counts_as_neighbours_and_two_at_least():
    assert [TangentKernel(trajectories(n), 0.1).count for n in (2, 3, 20, 200)] == [1, 2, 2, 10]


def tangent_candidates(x, data, near, reach):
    """All x' of x: blurs (i, j) in rows, pulls k in columns."""
    x, near = x.astype(float), data[near].astype(float)

    def square(steps):
        return (in_spreads(steps.reshape(-1, *x.shape), data) ** 2).sum(axis=1)

    l2 = reach**2 * square(x - data.astype(float).mean(axis=(0, 1)))
    blur = (near[:, None] - near[None]).reshape(-1, *x.shape)
    pull = near - x
    blur /= np.sqrt(1 + square(blur) / l2)[:, None, None]
    pull /= (1 + square(pull) / l2)[:, None, None]
    return x + blur[:, None] + pull[None]


@pytest.mark.parametrize(("count", "member"), [(3, True), (2, False), (4, True)])
def test_tangent_draws_every_combination_of_the_nearest_equally_often(count, member):
    data = trajectories(10) + np.float32([0.5, 40])  # the mean is not 0
    x = data[4] if member else trajectories(1, seed=1)[0]
    near = np.argsort(squares(x[None], data)[0])[:count]
    candidates = tangent_candidates(x, data, near, 0.4)
    found = tangent(data, 0.4, count).deviate(np.repeat(x[None], 4000, axis=0), rng_of(5))
    # Blurs of i = j are all the same, so these candidates differ by their pull alone.
    flat = in_spreads(candidates.reshape(-1, *x.shape), data)
    d = cdist(in_spreads(found, data), flat)
    assert d.min(axis=1).max() < 1e-4
    first = cdist(flat, flat).argmin(axis=1)
    shares, counts = (np.zeros(len(flat)) for _ in range(2))
    np.add.at(shares, first, 1 / count**3)
    np.add.at(counts, first[d.argmin(axis=1)], 1)
    assert fits(counts, shares)


def test_the_tangent_kernel_looks_among_a_part_of_many_data():
    data = trajectories(4001, steps=1)
    kernel = TangentKernel(data, 0.1)
    np.testing.assert_array_equal(kernel.references.data, data[::3])
    assert kernel.count == 67


@pytest.mark.parametrize(
    "make", [lambda x: IsotropicKernel(0.3, [1.0, 30.0]), lambda x: TangentKernel(x, 0.3)]
)
def test_draws_of_one_chance_grow_with_their_size(make):
    x = trajectories(50).astype(float)
    kernel = make(x)
    draw = kernel.draws(x, rng_of(1))
    np.testing.assert_array_equal(draw(0.3), kernel.deviate(x, rng_of(1)))
    errors = [np.linalg.norm(in_spreads(draw(size) - x, x), axis=1) for size in (1e-6, 0.1, 0.3)]
    assert errors[0].max() < 1e-4 and errors[1].mean() < errors[2].mean()


@fixed
@given(seeds, st.floats(0.01, 3), st.integers(2, 19))
def test_tangent_steps_are_limited_by_the_reach(seed, reach, count):
    data = trajectories(20, seed=seed)
    found = tangent(data, reach, count).deviate(data, rng_of(seed))
    steps = np.linalg.norm(in_spreads(found - data, data), axis=1)
    limit = reach * np.linalg.norm(in_spreads(data - data.mean(axis=(0, 1)), data), axis=1)
    assert (steps < 1.5 * limit * (1 + 1e-4) + 1e-5).all()


@fixed
@given(seeds, st.integers(-6, 6), st.integers(-6, 6))
def test_tangent_steps_change_with_the_unit_of_each_channel_and_not_with_its_origin(seed, one, other):
    data, units = trajectories(20, seed=seed), np.float32([2.0**one, 2.0**other])
    offset = np.float32([3, -60])
    plain, scaled, shifted = (
        tangent(d, 0.3, 8).deviate(d, rng_of(seed)) for d in (data, data * units, data + offset)
    )
    np.testing.assert_allclose(scaled, plain * units, rtol=1e-5, atol=1e-6 * units.max())
    np.testing.assert_allclose(in_spreads(shifted - offset - plain, data), 0, atol=1e-3)


# kernels of a model, and held ends


def test_the_kernel_of_a_model_is_its_round_trip():
    x, toy = trajectories(10), Toy()
    found = RoundTripKernel(toy, 0.4).deviate(x, rng_of(8))
    np.testing.assert_array_equal(found, toy.perturb(x, 0.4, rng_of(8)))


def test_a_round_trip_that_remembers_has_the_strength_of_its_correlation():
    x = rng_of(5).standard_normal((4000, 1, 1))

    class Forgetful:
        """Keeps a share 1 - strength of the variance: the correlation is its root."""

        def perturb(self, x, strength, rng):
            return np.sqrt(1 - strength) * x + np.sqrt(strength) * rng.standard_normal(x.shape)

    def measure(x):
        return x[:, 0, 0]

    for correlation in (0.9, 0.5):
        found = RoundTripKernel.remembering(Forgetful(), x, measure, correlation)
        assert found.strength == pytest.approx(1 - correlation**2, abs=0.03)
    assert RoundTripKernel.remembering(Forgetful(), x, measure, -1).strength > 0.98
    assert RoundTripKernel.remembering(Forgetful(), x, measure, 1).strength < 0.02


def test_held_ends_take_off_a_line_between_the_errors_at_both_ends():
    x, free = trajectories(10, steps=5), IsotropicKernel(0.3)
    held = HeldEnds(free).deviate(x, rng_of(1))
    np.testing.assert_allclose(held[:, [0, -1]], x[:, [0, -1]], atol=1e-6)
    taken = free.deviate(x, rng_of(1)) - held
    np.testing.assert_allclose(np.diff(taken, n=2, axis=1), 0, atol=1e-5)
    assert np.abs(held - x)[:, 1:-1].min() > 0
