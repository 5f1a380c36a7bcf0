import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist

from physmis import kernels
from physmis.drift import histogram, total_variation
from physmis.kernels import (
    ExchangeKernel,
    IsotropicKernel,
    Kernel,
    NeighbourKernel,
    PilotKernel,
    References,
    RoundTripKernel,
    TangentKernel,
    forecast,
    induced_transition,
    transition,
)
from physmis.kernels.expansion import expand
from physmis.tasks import load

fixed = settings(deadline=None, derandomize=True, max_examples=25)
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


def places(found, data):
    """Which of the data each row of found is; fails if one is none of them."""
    same = (found[:, None] == data[None]).all(axis=(2, 3))
    assert same.any(axis=1).all()
    return same.argmax(axis=1)


def fits(counts, law):
    """Whether counts are a sample of the law, cells of few expected counts taken together."""
    expected = law * counts.sum()
    few = expected < 5
    assert counts[law == 0].sum() == 0
    counts, expected = ((*v[~few], v[few].sum()) for v in (counts, expected))
    if expected[-1] == 0:
        counts, expected = counts[:-1], expected[:-1]
    return stats.chisquare(counts, expected).pvalue > 1e-3


class Toy:
    """Stands for a trained model: pulls toward 1, by the share that is to be forgotten, and adds noise."""

    def perturb(self, x, strength, rng):
        return x + strength * (1 - x) + 0.1 * rng.standard_normal(x.shape)


# what all kernels have in common

KERNELS = {
    "isotropic": lambda data: IsotropicKernel(0.1, data.std(axis=(0, 1))),
    "neighbour": lambda data: NeighbourKernel(data, 1.0),
    "neighbour with error": lambda data: NeighbourKernel(data, deviation=0.1),
    "exchange": lambda data: ExchangeKernel(data[::-1], 0.5),
    "tangent": lambda data: TangentKernel(data, 0.2),
    "round trip": lambda data: RoundTripKernel(Toy(), 0.5),
    "pilot": lambda data: PilotKernel(Toy(), 0.5, 0.3),
}


@pytest.mark.parametrize("name", KERNELS)
def test_one_draw_for_each_trajectory_decided_by_the_rng_alone(name):
    data = trajectories(60)
    x, before = data[:20], data.copy()
    kernel = KERNELS[name](data)
    assert isinstance(kernel, Kernel)
    first, again, other = (kernel.deviate(x, rng_of(seed)) for seed in (1, 1, 2))
    assert first.shape == x.shape and np.isfinite(first).all()
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (first != x).any()
    np.testing.assert_array_equal(data, before)


@pytest.mark.parametrize("wrong", [0, -0.1, np.nan, np.inf])
def test_scales_that_are_not_positive_are_refused_by_name(wrong):
    data = trajectories(9)
    for name, make in {
        "scale": lambda: IsotropicKernel(wrong),
        "spread": lambda: IsotropicKernel(1.0, np.array([1.0, wrong])),
        "width": lambda: ExchangeKernel(data, wrong),
        "reach": lambda: TangentKernel(data, wrong),
        "scale ": lambda: PilotKernel(Toy(), 0.5, wrong),
    }.items():
        with pytest.raises(ValueError, match=f"{name.strip()} must be positive and finite, got .*{wrong}"):
            make()


# isotropic


def test_isotropic_errors_are_independent_and_have_the_given_size():
    n, spread = 20_000, np.array([1.0, 30.0])
    x = trajectories(n, steps=3)
    errors = (IsotropicKernel(0.2, spread).deviate(x, rng_of(1)) - x) / (0.2 * spread)
    table = np.hstack([errors.reshape(n, 6), in_spreads(x, x)])  # neither with each other nor with x
    assert np.abs(errors.mean(axis=0)).max() < 4.5 / np.sqrt(n)
    np.testing.assert_allclose(np.cov(table.T)[:6], np.eye(12)[:6], atol=4.5 * np.sqrt(2 / n))
    assert stats.kstest(errors[:, 1, 1], "norm").pvalue > 1e-3


def test_isotropic_errors_grow_with_the_scale():
    x = np.zeros((5, 4, 2))
    small, large = (IsotropicKernel(scale).deviate(x, rng_of()) for scale in (0.25, 1.0))
    np.testing.assert_array_equal(4 * small, large)


# references


def test_distances_are_those_of_scipy_but_for_a_constant_of_each_row():
    data = trajectories(40)
    x = np.concatenate([data[[7, 0]], trajectories(5, seed=1)])
    references = References(data)
    np.testing.assert_allclose(references.spread, data.astype(float).std(axis=(0, 1)), rtol=1e-5)
    half, wanted = references.half_squares(x).numpy().astype(float), squares(x, data) / 2
    np.testing.assert_array_equal(np.isinf(half), np.isinf(wanted))
    assert np.isinf(half).sum() == 2
    pivot = 20  # not among x
    np.testing.assert_allclose(half - half[:, [pivot]], wanted - wanted[:, [pivot]], atol=1e-4)


def test_a_datum_is_known_in_any_precision_and_memory_order():
    data = trajectories(30)
    nearest = squares(data, data).argmin(axis=1)
    for x in (data, data[::-1][::-1], np.asfortranarray(data.astype(np.float64))):
        np.testing.assert_array_equal(NeighbourKernel(x).deviate(x, rng_of()), data[nearest])


def test_neighbours_do_not_depend_on_where_the_data_lie():
    data = trajectories(200)
    nearest = squares(data, data).argmin(axis=1)
    far = data + np.float32([1000, 30_000])
    assert (
        places(NeighbourKernel(far).deviate(far, rng_of()), far) == nearest
    ).mean() > 0.99  # 0.06 uncentred
    data[..., 1] = 7
    nearest = squares(data[..., :1], data[..., :1]).argmin(axis=1)
    np.testing.assert_array_equal(places(NeighbourKernel(data).deviate(data, rng_of()), data), nearest)


@pytest.mark.parametrize("level", [0.0, 1 - 2.0**-24])
def test_not_even_the_ends_of_the_unit_interval_draw_a_datum_itself(level):
    data = trajectories(10)
    rng = SimpleNamespace(random=lambda size, dtype: np.full(size, level, dtype=dtype))
    for width in (1e-30, 1e-3, 1.0, 1e3):
        assert (NeighbourKernel(data, width).deviate(data, rng) != data).any(axis=(1, 2)).all()


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (trajectories(3)[:, :2], r"shape \(4, 2\) wanted, got shape \(3, 2, 2\)"),
        (trajectories(3)[:0], r"shape \(4, 2\) wanted, got shape \(0, 4, 2\)"),
        (trajectories(3) * np.nan, "finite trajectories wanted, .* 24 of 24"),
    ],
)
def test_trajectories_unlike_the_data_are_refused(x, told):
    data = trajectories(9)
    for kernel in (NeighbourKernel(data), NeighbourKernel(data, 1.0), TangentKernel(data, 0.1)):
        with pytest.raises(ValueError, match=told):
            kernel.deviate(x, rng_of())


@fixed
@given(seeds, st.integers(2, 30), st.sampled_from([0.0, 1e-3, 0.5, 2.0, 1e3]))
def test_no_datum_ever_draws_itself(seed, n, width):
    data = trajectories(n, seed=seed)
    x = data[rng_of(seed).integers(n, size=100)]
    landed = NeighbourKernel(data, width).deviate(x.astype(np.float64), rng_of(seed))
    assert (landed != x).any(axis=(1, 2)).all()
    places(landed, data)


def test_other_trajectories_draw_whatever_is_near():
    data = trajectories(30)
    x = data * np.float32(1 + 1e-6)
    np.testing.assert_array_equal(NeighbourKernel(data).deviate(x, rng_of()), data)
    drawn = NeighbourKernel(data[:3], 1e3).deviate(np.repeat(data[3:4], 3000, axis=0), rng_of())
    assert fits(np.bincount(places(drawn, data[:3])), np.full(3, 1 / 3))


@fixed
@given(seeds, st.integers(2, 40), st.booleans())
def test_width_0_is_the_nearest_other_and_the_limit_of_small_widths(seed, n, members):
    data = trajectories(n, seed=seed)
    x = data if members else trajectories(50, seed=seed ^ 1)
    nearest = data[squares(x, data).argmin(axis=1)]
    for width in (0.0, 1e-30, 1e-4):
        np.testing.assert_array_equal(NeighbourKernel(data, width).deviate(x, rng_of(seed)), nearest)


@pytest.mark.parametrize("width", [0.7, 1.5, 4.0])
@pytest.mark.parametrize("member", [False, True])
def test_neighbours_are_drawn_with_the_weights_of_a_normal_law(width, member):
    data = trajectories(12, steps=2)
    x = data[:1] if member else trajectories(1, steps=2, seed=1)
    weights = np.exp(-squares(x, data)[0] / (2 * width**2))
    drawn = NeighbourKernel(data, width).deviate(np.repeat(x, 20_000, axis=0), rng_of(2))
    counts = np.bincount(places(drawn, data), minlength=12)
    assert fits(counts, weights / weights.sum())
    assert not fits(
        counts + counts.sum() // 40 * (np.arange(12) == 5), weights / weights.sum()
    )  # the test's power


@pytest.mark.parametrize(
    "make",
    [NeighbourKernel, lambda data: NeighbourKernel(data, 0.5), lambda data: TangentKernel(data, 0.5, 0.001)],
)
def test_draws_do_not_depend_on_how_rows_are_cut_into_blocks(make):
    data = trajectories(20_000, steps=1)  # blocks of 500 rows
    x = np.concatenate([data[:700], trajectories(500, steps=1, seed=1)])
    kernel, rng = make(data), rng_of(3)
    whole = kernel.deviate(x, rng_of(3))
    parts = np.concatenate([kernel.deviate(part, rng) for part in np.split(x, [1, 333, 800])])
    # Rounding differs with the shape of a product, which decides a draw in a thousand at most.
    assert np.isclose(whole, parts, rtol=1e-4, atol=1e-5).all(axis=(1, 2)).mean() > 0.995
    assert (whole != x).any(axis=(1, 2)).mean() > 0.95 and len(whole) == 1200


def test_copies_of_a_trajectory_may_meet_each_other():
    three = trajectories(3)
    data = np.concatenate([three, three])
    np.testing.assert_array_equal(NeighbourKernel(data).deviate(data, rng_of()), data)
    drawn = NeighbourKernel(data, 1e3).deviate(np.repeat(three[:1], 5000, axis=0), rng_of())
    assert fits(np.bincount(places(drawn, three)), np.array([1, 2, 2]) / 5)
    same = np.repeat(three[:1], 5, axis=0)
    for kernel in (NeighbourKernel(same), NeighbourKernel(same, 1.0), TangentKernel(same, 0.1)):
        np.testing.assert_array_equal(kernel.deviate(same, rng_of()), same)


def test_the_error_after_the_draw_is_isotropic():
    data = trajectories(200)
    nearest = data[squares(data, data).argmin(axis=1)]
    landed = NeighbourKernel(data, deviation=0.3).deviate(data, rng_of(4))
    np.testing.assert_allclose(
        landed, IsotropicKernel(0.3, data.std(axis=(0, 1))).deviate(nearest, rng_of(4)), rtol=1e-5, atol=1e-5
    )
    spread = ((landed - nearest) / data.std(axis=(0, 1))).std(axis=(0, 1))
    np.testing.assert_allclose(spread, [0.3, 0.3], rtol=4.5 / np.sqrt(2 * 800))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (trajectories(1), r"N of 2 or more wanted, got shape \(1, 4, 2\)"),
        (trajectories(5)[0], r"shape \(n, T, C\).* got shape \(4, 2\)"),
        (np.where(np.arange(5)[:, None, None] == 3, np.nan, trajectories(5)), "finite trajectories"),
        (np.where(np.arange(5)[:, None, None] == 3, np.inf, trajectories(5)), "finite trajectories"),
    ],
)
def test_unusable_data_are_refused(data, told):
    for make in (
        lambda: NeighbourKernel(data),
        lambda: ExchangeKernel(data, 0.1),
        lambda: TangentKernel(data, 0.1),
    ):
        with pytest.raises(ValueError, match=told):
            make()


@pytest.mark.parametrize("wrong", [-0.1, np.nan, np.inf])
def test_negative_widths_and_deviations_are_refused(wrong):
    for given_ in ({"width": wrong}, {"deviation": wrong}):
        with pytest.raises(ValueError, match=f"width and deviation of 0 or more wanted, got .*{wrong}"):
            NeighbourKernel(trajectories(5), **given_)


# exchange


def asymmetry(z, landed, cells):
    """P value of Bowker's test that (z, landed) and (landed, z) have the same law."""
    edges = [-np.inf, *np.quantile(np.append(z, landed), np.arange(1, cells) / cells), np.inf]
    counts = np.histogram2d(z, landed, [edges, edges])[0]
    above = np.triu_indices(cells, 1)
    one, other = counts[above], counts.T[above]
    seen = one + other > 0
    return stats.chi2.sf(((one - other)[seen] ** 2 / (one + other)[seen]).sum(), seen.sum())


def test_exchange_is_reversible_and_keeps_the_law_though_it_is_biased_at_every_value():
    # One-dimensional and normal: x' given x is normal with mean x / (1 + w^2), in units of the spread.
    n, width = 2000, 0.5
    references, x = (3 * rng_of(seed).standard_normal((size, 1, 1)) for seed, size in ((1, 20_000), (2, n)))
    landed = ExchangeKernel(references, width).deviate(x, rng_of(3))[:, 0, 0]
    z = x[:, 0, 0]
    assert stats.ks_2samp(landed, references[:, 0, 0]).pvalue > 1e-3
    shrink = 1 / (1 + width**2)
    fit = stats.linregress(z, landed)
    assert fit.slope == pytest.approx(shrink, abs=4.5 * fit.stderr) and fit.slope + 10 * fit.stderr < 1
    noise = np.std(landed - shrink * z) / 3
    assert noise**2 == pytest.approx(width**2 * (shrink + shrink**2), rel=4.5 * np.sqrt(2 / n))
    assert asymmetry(z, landed, 6) > 1e-3
    # The same test sees that an isotropic error or the posterior mean are not reversible.
    blurred = IsotropicKernel(width, 3.0).deviate(x, rng_of(3))[:, 0, 0]
    assert asymmetry(z, blurred, 6) < 1e-4 and asymmetry(z, shrink * z, 6) < 1e-4


def test_exchange_forecasts_no_drift_of_a_quantity_that_is_not_linear():
    n = 2000
    references, x = (rng_of(seed).standard_normal((size, 2, 1)) for seed, size in ((1, 20_000), (2, n)))
    edges = np.array([-np.inf, 0.4, 0.8, 1.2, 1.6, 2.0, np.inf])
    p = np.diff(stats.rayleigh.cdf(np.maximum(edges, 0)))

    def measure(x):
        return np.linalg.norm(x[..., 0], axis=1)

    def drift(kernel):
        found = induced_transition(kernel, measure, x, edges, rng_of(3))
        return total_variation(forecast(p, found.matrix), p), found

    floor = np.quantile(0.5 * np.abs(rng_of(4).multinomial(n, p, 2000) / n - p).sum(axis=1), 0.999)
    null, found = drift(ExchangeKernel(references, 0.6))
    assert null < floor
    shift = found.bias / (found.spread / np.sqrt(found.count))
    assert shift[0] > 5 and shift[-1] < -5  # regression to the mean
    assert drift(IsotropicKernel(0.6))[0] > 2 * floor


# tangent


def tangent_candidates(x, data, near, reach):
    """All places where x may land: blurs (i, j) in rows, pulls k in columns, and what they are made of."""
    x, near = x.astype(float), data[near].astype(float)

    def square(steps):
        return (in_spreads(steps.reshape(-1, *x.shape), data) ** 2).sum(axis=1)

    l2 = reach**2 * square(x - data.astype(float).mean(axis=(0, 1)))
    blur = (near[:, None] - near[None]).reshape(-1, *x.shape)
    pull = near - x
    blur /= np.sqrt(1 + square(blur) / l2)[:, None, None]
    pull /= (1 + square(pull) / l2)[:, None, None]
    return x + blur[:, None] + pull[None]


@pytest.mark.parametrize("member", [False, True])
@pytest.mark.parametrize(("share", "count"), [(0.3, 3), (0.01, 2), (0.44, 4)])
def test_tangent_draws_every_combination_of_the_nearest_equally_often(share, count, member):
    data = trajectories(10) + np.float32([0.5, 40])  # the mean is not 0
    x = data[4] if member else trajectories(1, seed=1)[0]
    near = np.argsort(squares(x[None], data)[0])[:count]
    candidates = tangent_candidates(x, data, near, 0.4)
    landed = TangentKernel(data, 0.4, share).deviate(np.repeat(x[None], 4000, axis=0), rng_of(5))
    # Blurs of i = j are all the same, so these candidates are told apart by their pull alone.
    flat = in_spreads(candidates.reshape(-1, *x.shape), data)
    d = cdist(in_spreads(landed, data), flat)
    assert d.min(axis=1).max() < 1e-4
    counts = np.zeros(len(flat))
    np.add.at(counts, d.argmin(axis=1), 1)
    first = cdist(flat, flat).argmin(axis=1)
    law = np.zeros(len(flat))
    np.add.at(law, first, 1 / count**3)
    merged = np.zeros(len(flat))
    np.add.at(merged, first, counts)
    assert fits(merged, law)


@pytest.mark.parametrize("member", [False, True])
def test_beyond_all_reach_neighbours_are_added_and_taken_away_whole(member):
    data = trajectories(6)
    x = data[2] if member else trajectories(1, seed=1)[0]
    near = data[np.argsort(squares(x[None], data)[0])[:5]]  # all others, or all but the farthest
    landed = TangentKernel(data, 1e4, share=1.0).deviate(np.repeat(x[None], 3000, axis=0), rng_of(6))
    # x' = x_k + x_i - x_j.
    sums = (near[:, None, None] + near[None, :, None] - near[None, None]).reshape(-1, *x.shape)
    sums = in_spreads(sums, data)
    sums = sums[(cdist(sums, sums) < 1e-4).argmax(axis=1) == np.arange(125)]
    assert len(sums) == 5 + 5 * (4 + 6)  # x_j is what is added, or is another than the two that are
    d = cdist(in_spreads(landed, data), sums)
    assert d.min(axis=1).max() < 1e-3 and len(np.unique(d.argmin(axis=1))) == len(sums)


@fixed
@given(seeds, st.floats(0.01, 3), st.floats(0.01, 1))
def test_tangent_steps_are_limited_by_the_reach(seed, reach, share):
    data = trajectories(20, seed=seed)
    landed = TangentKernel(data, reach, share).deviate(data, rng_of(seed))
    steps = np.linalg.norm(in_spreads(landed - data, data), axis=1)
    limit = reach * np.linalg.norm(in_spreads(data - data.mean(axis=(0, 1)), data), axis=1)
    assert (steps < 1.5 * limit * (1 + 1e-4) + 1e-5).all()
    # Of two, each has the other as its only neighbour: nothing is left but the pull.
    two = data[:2]
    step = np.linalg.norm(in_spreads(TangentKernel(two, reach).deviate(two, rng_of()) - two, two), axis=1)
    d = np.sqrt(squares(two, two).min(axis=1))
    limit = reach * np.linalg.norm(in_spreads(two - two.mean(axis=(0, 1)), two), axis=1)
    assert (step < limit / 2 * (1 + 1e-4) + 1e-5).all()
    np.testing.assert_allclose(step, d / (1 + d**2 / limit**2), rtol=1e-3, atol=1e-4)


def test_far_neighbours_blur_by_the_full_reach_and_hardly_pull():
    data = trajectories(30, steps=8)
    reach = 0.01
    landed = TangentKernel(data, reach, share=0.5).deviate(data, rng_of(7))
    steps = np.linalg.norm(in_spreads(landed - data, data), axis=1)
    ratio = steps / (reach * np.linalg.norm(in_spreads(data - data.mean(axis=(0, 1)), data), axis=1))
    assert ((ratio < 0.03) | (np.abs(ratio - 1) < 0.03)).all()  # i = j, or not
    assert 0.7 < (ratio > 0.5).mean() < 1


@fixed
@given(seeds, st.integers(1, 3), st.floats(0.05, 2))
def test_data_on_a_line_or_a_plane_stay_there(seed, dimensions, reach):
    rng = rng_of(seed)
    basis = np.linalg.qr(rng.normal(size=(8, dimensions)))[0]
    origin = rng.normal(size=8)
    data = (origin + rng.normal(size=(40, dimensions)) @ basis.T).reshape(40, 4, 2)
    moved = TangentKernel(data, reach, share=0.3).deviate(data, rng_of(seed)).reshape(40, 8) - origin
    assert np.abs(moved - moved @ basis @ basis.T).max() < 1e-5
    assert np.abs(moved - (data.reshape(40, 8) - origin)).max() > 1e-3


@fixed
@given(seeds, st.integers(-6, 6), st.integers(-6, 6))
def test_tangent_steps_change_with_the_unit_of_each_channel(seed, one, other):
    data, units = trajectories(20, seed=seed), np.float32([2.0**one, 2.0**other])
    plain, scaled = (TangentKernel(d, 0.3, share=0.4).deviate(d, rng_of(seed)) for d in (data, data * units))
    np.testing.assert_allclose(scaled, plain * units, rtol=1e-5, atol=1e-6 * units.max())


@fixed
@given(seeds)
def test_tangent_steps_do_not_depend_on_where_the_data_lie(seed):
    data, offset = trajectories(20, seed=seed), np.float32([3, -60])
    plain, moved = (TangentKernel(d, 0.3, share=0.4).deviate(d, rng_of(seed)) for d in (data, data + offset))
    np.testing.assert_allclose(in_spreads(moved - offset - plain, data), 0, atol=1e-3)


@pytest.mark.parametrize("share", [0, -0.1, 1.1, np.nan])
def test_shares_beyond_all_of_the_data_are_refused(share):
    with pytest.raises(ValueError, match=rf"share in \(0, 1\] wanted, got {share}"):
        TangentKernel(trajectories(5), 0.1, share)


# kernels of a model


def test_kernels_of_a_model_take_its_round_trip_whole_or_in_part():
    x, toy = trajectories(10), Toy()
    round_trip = toy.perturb(x, 0.4, rng_of(8))
    np.testing.assert_array_equal(RoundTripKernel(toy, 0.4).deviate(x, rng_of(8)), round_trip)
    for scale in (0.25, 1.0, 2.0):
        landed = PilotKernel(toy, 0.4, scale).deviate(x, rng_of(8))
        np.testing.assert_allclose(landed, x + scale * (round_trip - x), rtol=1e-12)


# transitions


@st.composite
def moves(draw):
    """Edges, and values before and after within them, some of them on an edge; an edge may be infinite."""
    edges = np.array(draw(st.lists(st.floats(-5, 5), min_size=2, max_size=8, unique=True).map(sorted)))
    rng = rng_of(draw(seeds))
    z, landed = rng.uniform(edges[0], edges[-1], (2, draw(st.integers(1, 60))))
    for values in (z, landed):
        on = rng.random(values.shape) < 0.2
        values[on] = rng.choice(edges, on.sum())
    ends = draw(st.tuples(st.booleans(), st.booleans()))
    return np.concatenate([[-np.inf] * ends[0], edges, [np.inf] * ends[1]]), z, landed


@settings(fixed, max_examples=100)
@given(moves())
def test_transition_agrees_with_the_histogram_of_numpy(given_):
    edges, z, landed = given_
    found, bins = transition(z, landed, edges), len(edges) - 1
    counts = np.histogram2d(z, landed, [edges, edges])[0]
    wanted = np.array([row / row.sum() if row.any() else np.eye(bins)[i] for i, row in enumerate(counts)])
    np.testing.assert_allclose(found.matrix, wanted, atol=1e-15)
    np.testing.assert_allclose(found.matrix.sum(axis=1), 1)
    np.testing.assert_array_equal(found.count, counts.sum(axis=1))
    # What the values are before becomes what they are after.
    np.testing.assert_allclose(
        forecast(histogram(z, edges), found.matrix), histogram(landed, edges), atol=1e-12
    )


@settings(fixed, max_examples=100)
@given(moves())
def test_bias_and_spread_are_those_of_each_bin(given_):
    edges, z, landed = given_
    found = transition(z, landed, edges)
    assert found.bias.shape == found.spread.shape == (len(edges) - 1,)
    for i in range(len(edges) - 1):
        last = i == len(edges) - 2
        inside = (z >= edges[i]) & ((z < edges[i + 1]) | (last & (z == edges[-1])))
        if inside.any():
            moved = (landed - z)[inside]
            assert found.bias[i] == pytest.approx(moved.mean(), abs=1e-12)
            assert found.spread[i] == pytest.approx(moved.std(), abs=1e-7)
        else:
            assert np.isnan(found.bias[i]) and np.isnan(found.spread[i])


@dataclasses.dataclass(frozen=True)
class Shift(Kernel):
    """Moves every value by a fixed amount, and draws nothing."""

    by: float

    def deviate(self, x, rng):
        return x + self.by


def mean(x):
    return x.mean(axis=(1, 2))


EDGES = np.array([-np.inf, *np.linspace(-2, 2, 9), np.inf])


def test_nothing_moves_where_the_kernel_moves_nothing():
    x = rng_of().uniform(-1.5, 1.5, (300, 1, 1))
    found = induced_transition(Shift(0.0), mean, x, EDGES, rng_of())
    np.testing.assert_array_equal(found.matrix, np.eye(10))
    held = found.count > 0
    assert held.sum() == 6
    np.testing.assert_array_equal(found.bias[held], 0)
    np.testing.assert_array_equal(found.spread[held], 0)
    shifted = induced_transition(Shift(0.5), mean, x, EDGES, rng_of())
    np.testing.assert_array_equal(shifted.matrix[held], np.eye(10, k=1)[held])
    np.testing.assert_allclose(shifted.bias[held], 0.5)
    np.testing.assert_allclose(shifted.spread[held], 0, atol=1e-7)


@pytest.mark.parametrize("kernel", [Shift(0.3), IsotropicKernel(0.5)])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_trajectories_are_taken_a_few_at_a_time_which_changes_nothing(kernel, size, monkeypatch):
    x, most = rng_of().standard_normal((64, 3, 1)), []

    def measure(part):
        most.append(len(part))
        return mean(part)

    whole = induced_transition(kernel, mean, x, EDGES, rng_of(1))
    monkeypatch.setattr(kernels, "CHUNK", size)
    parts = induced_transition(kernel, measure, x, EDGES, rng_of(1))
    assert max(most) == size and sum(most) == 2 * 64
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"measure": lambda x: x[:, 0, 0][1:]},
            r"must return shape \(20,\) for 20 trajectories, got \(19,\)",
        ),
        ({"measure": lambda x: x[:, 0]}, r"must return shape \(20,\) .* got \(20, 1\)"),
        ({"measure": np.mean}, r"must return shape \(20,\) .* got \(\)"),
        (
            {"measure": lambda x: np.where(mean(x) > 0, mean(x), np.nan)},
            "NaN or infinite values for .* of 20",
        ),
        (
            {"kernel": SimpleNamespace(deviate=lambda x, rng: x[1:])},
            r"given shape \(20, 3, 1\).*\(19, 3, 1\)",
        ),
        ({"kernel": SimpleNamespace(deviate=lambda x, rng: x[..., 0])}, r"returned \(20, 3\)"),
        ({"kernel": Shift(np.nan)}, "NaN or infinite values for 20 of 20"),
        ({"edges": np.array([0.0, 0.1])}, r"values from .* to .* do not fit into bins from 0 to 0.1"),
        ({"kernel": Shift(9.0), "edges": EDGES[1:-1]}, "to 10.* do not fit into bins from -2 to 2"),
        ({"edges": EDGES[::-1]}, "edges must ascend"),
    ],
)
def test_what_makes_no_transition_is_refused(changed, told):
    call = {
        "kernel": IsotropicKernel(0.1),
        "measure": mean,
        "x": rng_of().standard_normal((20, 3, 1)),
        "edges": EDGES,
    }
    with pytest.raises(ValueError, match=told):
        induced_transition(**{**call, **changed}, rng=rng_of())


def test_transition_takes_lists_and_refuses_what_does_not_pair_up():
    found = transition([0.1, 0.6], [0.6, 0.6], [0, 0.5, 1])
    np.testing.assert_array_equal(found.matrix, [[0, 1], [0, 1]])
    with pytest.raises(ValueError, match=r"got shapes \(1,\) and \(2,\)"):
        transition(np.array([0.1, 0.6]), np.array([0.6]), np.array([0, 0.5, 1]))
    with pytest.raises(ValueError, match=r"one trajectory or more wanted, got shape \(0, 3, 1\)"):
        induced_transition(IsotropicKernel(0.1), mean, np.zeros((0, 3, 1)), EDGES, rng_of())
    assert IsotropicKernel(0.1, [1.0, 2.0]).deviate(np.zeros((5, 4, 2)), rng_of()).shape == (5, 4, 2)


# forecasts


@fixed
@given(seeds, st.integers(1, 9), st.integers(1, 7))
def test_steps_are_applied_one_after_the_other_and_lose_no_mass(seed, bins, steps):
    rng = rng_of(seed)
    p, matrix = rng.dirichlet(np.ones(bins)), rng.dirichlet(np.ones(bins), bins)
    law = p
    for _ in range(steps):
        law = np.array([sum(law[i] * matrix[i, j] for i in range(bins)) for j in range(bins)])
    found = forecast(p, matrix, steps)
    np.testing.assert_allclose(found, law, atol=1e-12)
    assert found.sum() == pytest.approx(1, abs=1e-12) and (found >= 0).all()
    np.testing.assert_array_equal(forecast(p, matrix), forecast(p, matrix, 1))
    np.testing.assert_allclose(forecast(p, np.eye(bins), steps), p)


@pytest.mark.parametrize(
    ("p", "matrix", "steps", "told"),
    [
        (np.full(3, 1 / 3), np.eye(2), 1, r"shape \(3, 3\) wanted, got \(2, 2\)"),
        (np.full(2, 0.5), np.full((2, 3), 1 / 3), 1, r"shape \(2, 2\) wanted, got \(2, 3\)"),
        (np.full(2, 0.5), np.array([[0.5, 0.5], [0.5, 0.6]]), 1, "rows .* must be laws"),
        (np.full(2, 0.5), np.array([[1.5, -0.5], [0.5, 0.5]]), 1, "rows .* must be laws"),
        (np.full(2, 0.5), np.array([[np.nan, 1], [0.5, 0.5]]), 1, "rows .* must be laws"),
        (np.full(2, 0.5), np.array([[0.9, 0.5], [0.1, 0.5]]), 1, "rows .* must be laws"),
        (np.full(2, 0.5), np.eye(2), 0, "at least 1 step wanted, got 0"),
    ],
)
def test_what_cannot_be_applied_is_refused(p, matrix, steps, told):
    with pytest.raises(ValueError, match=told):
        forecast(p, matrix, steps)


# theory


def test_small_isotropic_errors_move_the_amplitude_of_the_cone_as_theory_says():
    # Bias (T - 1) s^2 / 2z and variance s^2, as of any norm of T values, where z is large beside s.
    task, s = load("cone"), 0.01
    batch = task.sample(22_000, rng_of())
    x, z = batch.x[batch.z > 0.1], batch.z[batch.z > 0.1]
    edges = np.array([-np.inf, *np.linspace(0.2, 1, 33), np.inf])
    found = induced_transition(IsotropicKernel(s), task.measure, x, edges, rng_of(1))
    bias, blur = (task.steps - 1) * s**2 / (2 * z), np.full(len(z), s**2)
    still = histogram(z, edges)
    q, told = forecast(still, found.matrix), expand(z, bias, blur, edges)
    # Only trajectories within a few s of an edge may land in another bin: less noise than in a fresh sample.
    error = np.sqrt(told * (1 - told) / len(z))
    assert (np.abs(q - told) < 3 * error).all() and (np.abs(still - told) > 4 * error)[[0, -1]].all()
    count = found.count[1:-1]
    theory = np.bincount(np.digitize(z, edges) - 1, bias, minlength=34)[1:-1] / count
    np.testing.assert_allclose(found.spread[1:-1], s, rtol=4.5 / np.sqrt(2 * count.min()))
    assert (np.abs(found.bias[1:-1] - theory) < 4.5 * s / np.sqrt(count)).all()
    assert (theory > 3 * s / np.sqrt(count)).all()  # the bias is more than its error
