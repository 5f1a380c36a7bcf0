import numpy as np

from physmis.kernels import HeldEnds, IsotropicKernel


def test_held_ends_take_off_a_line():
    x, rng = np.zeros((2, 5, 1)), np.random.default_rng(0)
    raw = IsotropicKernel(1.0).deviate(x, np.random.default_rng(0))
    y = HeldEnds(IsotropicKernel(1.0)).deviate(x, rng)
    np.testing.assert_allclose(y[:, [0, -1]], 0, atol=1e-12)
    line = raw - y
    np.testing.assert_allclose(np.diff(line, n=2, axis=1), 0, atol=1e-12)
