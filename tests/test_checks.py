import numpy as np
import pytest

from physmis import checks


def test_usable_numbers_are_kept():
    for kind in (np.float32, np.float64):
        x = np.arange(4, dtype=kind)
        assert checks.real(x, "x") is x and checks.sized(x, "x") is x
    np.testing.assert_array_equal(checks.real([1, 2], "x"), [1.0, 2.0])
    assert checks.real(np.arange(3)[::-1], "x").strides == (8,)  # torch refuses negative ones
    assert checks.trajectories(np.ones((0, 3, 2), np.float32)).dtype == np.float64
    np.testing.assert_array_equal(checks.edges([-np.inf, 0, np.inf]), [-np.inf, 0, np.inf])
    assert checks.check_count("n", np.int64(3)) == 3
    checks.positive(width=[1.0, 2.0])
    checks.enough_spread(np.random.default_rng(0).normal(size=(9, 4, 2)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: checks.real([[1.0], [1.0, 2.0]], "x"), "rows that do not fit"),
        (lambda: checks.real(np.ma.array([1.0, 2.0], mask=[0, 1]), "x"), "masked"),
        (lambda: checks.real([None], "x"), "object"),
        (lambda: checks.sized(np.array([1.0, np.nan]), "x"), r"1 of 2 .* index \(1,\)"),
        (lambda: checks.sized(np.array([1e60]), "x"), "0 or 0 to 1e[+]50, got 1e[+]60"),
        (lambda: checks.trajectories(np.ones((2, 3))), r"\(n, T, C\), got shape \(2, 3\)"),
        (lambda: checks.trajectories(np.ones((2, 3, 4)), channels=2), r"\(n, T, 2\)"),
        (lambda: checks.trajectories(np.full((1, 1, 1), 1e-60)), "1e-50 to"),
        (lambda: checks.values([]), "one at least"),
        (lambda: checks.edges([0, 0, 1]), "ascend"),
        (lambda: checks.positive(width=0.0), "width, got 0.0"),
        (lambda: checks.check_count("n", True), "n to be"),
        (lambda: checks.check_count("n", 1.0), "n to be"),
        (lambda: checks.check_generator(0), "Generator"),
        (lambda: checks.enough_spread(1e9 + np.arange(4.0).reshape(4, 1, 1)), "channel 0"),
    ],
)
def test_others_are_refused(call, words):
    with pytest.raises((TypeError, ValueError), match=f"expected .*{words}"):
        call()
