"""How small local errors move the distribution of a measured quantity, to second order.

A local error x' = x + d, with d of mean 0 and covariance S, moves z = m(x) by b on average, with variance D:

    bias  b(x) = E[m(x') - m(x)] = tr(S Hess m(x)) / 2
    blur  D(x) = Var[m(x')] = grad m(x)' S grad m(x)

With means b(z), D(z) at each z, p becomes q = p - (b p)' + (D p)'' / 2, a Fokker-Planck step; as p may jump,
q is read in integrated form, Q(a) = E[Phi((a - z - b) / sqrt(D))].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import ndtr
from torch import Tensor
from torch.func import grad, vjp, vmap

from physmis import checks
from physmis.drift.metrics import Edges, Shares, Values

CHUNK = 2**18  # numbers in flight: keeps memory flat however many trajectories are given
ELSE = "the Monte Carlo route, physmis.kernels.induced_transition, needs no derivatives"


def bias_and_blur(
    measure: Callable[[Float[Tensor, "T C"]], Float[Tensor, ""]],
    x: Float[np.ndarray, "n T C"],
    covariance: float | Float[np.ndarray, "TC TC"],
) -> tuple[Values, Values]:
    """Bias b, in the unit of the quantity, and blur D, in its square, at each trajectory (see the module).

    ``measure`` must not branch on values; a number s > 0 as ``covariance`` stands for S = s^2 times identity.
    """
    x = checks.trajectories(x)
    checks.check_count("number of trajectories", len(x))
    rows = torch.from_numpy(x)
    root = torch.from_numpy(_root(covariance, x[0].size)).reshape(-1, *x.shape[1:])

    def both(row):
        slope, bend = vjp(grad(measure), row)  # the Hessian is symmetric: reverse mode serves, and is faster
        second = vmap(lambda direction: (direction * bend(direction)[0]).sum())(root)
        return second.sum() / 2, ((root * slope).sum(dim=(1, 2)) ** 2).sum()

    try:
        value = measure(rows[0].clone().requires_grad_())
        if value.shape != () or not value.requires_grad:  # a detached one would pass for a constant
            raise TypeError(f"shape {tuple(value.shape)}, with gradient: {value.requires_grad}")
        b, D = vmap(both, chunk_size=max(1, CHUNK // root.numel()))(rows)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise TypeError(f"expected a differentiable scalar measure, got: {error}; {ELSE}") from error
    bad = np.flatnonzero(~torch.isfinite(b + D).numpy())
    if len(bad):
        got = f"others at {len(bad)} of {len(x)} trajectories (the first is number {bad[0]}); {ELSE}"
        raise ValueError(f"expected finite derivatives of the measure, got {got}")
    return b.numpy(), D.numpy()


def _root(covariance, size):
    """Rows r_k, one for each eigenvalue of S above 0, for which S is the sum of r_k r_k'."""
    S = np.asarray(checks.real(covariance, "covariance"), dtype=np.float64)
    if S.ndim == 0:
        checks.positive(covariance=S)
        return S * np.eye(size)
    slack = 1e-6 * np.abs(S).max()  # what a covariance computed in float32 may lack in symmetry or sign
    if S.shape != (size, size) or not np.isfinite(S).all() or np.abs(S - S.T).max() > slack:
        raise ValueError(f"expected a finite, symmetric covariance of shape ({size}, {size}), got {S}")
    values, vectors = np.linalg.eigh((S + S.T) / 2)
    if values[0] < -slack:
        raise ValueError(f"expected a positive semidefinite covariance, got eigenvalue {values[0]:.3g}")
    kept = slice(min(np.sum(values <= 0), len(values) - 1), None)  # they ascend; one stays, even if it is 0
    return (vectors[:, kept] * np.sqrt(np.maximum(values[kept], 0))).T


def expand(z: Values, bias: Values, blur: Values, edges: Edges) -> Shares:
    """Share of q in each bin: the mean over data of masses of N(z + bias, blur), a point where blur is 0."""
    z, bias, blur = (checks.values(given) for given in (z, bias, blur))
    edges = checks.edges(edges)
    if not z.shape == bias.shape == blur.shape or blur.min() < 0:
        raise ValueError(f"expected z, bias and blur >= 0 of one size, got {z}, {bias} and {blur}")
    edges = np.append(edges[:-1], np.nextafter(edges[-1], np.inf))  # the last bin includes its upper edge
    total, step = np.zeros(edges.size), max(1, CHUNK // edges.size)
    for i in range(0, z.size, step):
        part = slice(i, i + step)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = (edges - (z[part] + bias[part])[:, None]) / np.sqrt(blur[part])[:, None]
        total += ndtr(np.where(np.isnan(u), -np.inf, u)).sum(axis=0)  # 0 / 0: a point on an edge is above it
    return np.diff(total) / z.size
