"""What figures show: the numbers drawn are those given, on the scale that the docstrings tell."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from physmis import drift, tasks
from physmis.paper import plotting


@pytest.fixture(autouse=True)
def figures_are_closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def cone():
    """Edges, prior and the distributions of three seeds; a tenth of each lies beyond the bins."""
    quantity, rng = tasks.load("cone").quantity, np.random.default_rng(0)
    edges = quantity.bins()
    z = [np.append(rng.uniform(0, 1, 900) ** 0.8, np.full(100, 9.0)) for _ in range(3)]
    q = np.stack([drift.histogram(values, edges) for values in z])
    return edges, drift.prior_mass(quantity.prior, edges), q


def heights(ax):
    """Values of all stairs of a plot, in the order of drawing."""
    return [patch.get_data().values for patch in ax.patches if hasattr(patch, "get_data")]


def test_recovered_density_is_relative_to_the_prior_and_what_lies_outside_is_written(cone):
    edges, p, q = cone
    _, ax = plt.subplots()
    plotting.plot_recovered(ax, edges, p, q, 1000, "mlp")
    band, prior, *seeds, mean = heights(ax)
    inside = p[1:-1] > 0
    np.testing.assert_allclose(prior[inside], 1)  # uniform bins: each has the mean density
    np.testing.assert_allclose(mean[inside], (q.mean(axis=0) / p.max())[1:-1][inside])
    np.testing.assert_allclose(np.mean(seeds, axis=0), mean)
    assert (band >= prior).all()
    assert [text.get_text() for text in ax.texts] == ["10.0% further right"]


def test_forecasts_are_drawn_on_the_scale_of_the_drift(cone):
    edges, p, q = cone
    _, ax = plt.subplots()
    plotting.plot_forecast(ax, edges, p, q, {"tangent": q, "round trip": p[None]}, 1000, "unet")
    _, seen = heights(ax)
    np.testing.assert_allclose(seen, ((q.mean(axis=0) - p) / p.max())[1:-1])
    same, none = (line.get_ydata() for line in ax.lines[:2])
    np.testing.assert_allclose(same, seen)
    np.testing.assert_array_equal(none, 0)


def test_intervals_and_validity_are_drawn_where_they_are():
    _, (left, right) = plt.subplots(1, 2)
    plotting.plot_intervals(left, [1.0], [drift.Interval(0.5, 0.4, 0.8)], "0.2")
    (bar,) = left.collections[0].get_segments()
    np.testing.assert_allclose(bar, [[1, 0.4], [1, 0.8]])
    plotting.plot_validity(right, [np.array([0.01, 0.1, 1.0])] * 2, 0.05, "vae")
    np.testing.assert_allclose(right.lines[0].get_ydata()[-3:], [1 / 3, 2 / 3, 1])
    assert right.lines[-1].get_xdata() == [0.05, 0.05] and right.get_xscale() == "log"
