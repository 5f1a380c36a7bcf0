"""How often the test of the audit detects a shift, beside the two-sample tests of scipy on the same samples.

`python -m benchmarks.power` writes `power.md` beside this file; half an hour on one core.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from physmis.drift.shift_test import LEVEL, bin_edges, shift_test

SIZES, REPEATS = (100, 400, 1600), 200
UNCHANGED = 2000  # pairs without a change: a peer counts if it detects a shift in at most the share `HELD`
HELD = LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) / UNCHANGED)
Draw = Callable[[np.random.Generator, int], np.ndarray]


class Case(NamedTuple):
    """A distribution, another one, and whether the first is given in closed form, as a prior."""

    name: str
    before: Any
    after: Draw
    prior: bool = False


def shifted(rng, n):
    return rng.normal(size=n) + 0.2


def wider(rng, n):
    return 1.2 * rng.normal(size=n)


def blurred(rng, n):
    return rng.random(n) + 0.08 * rng.normal(size=n)


def bump(rng, n):
    return np.where(rng.random(n) < 0.08, 0.5 + 0.02 * rng.normal(size=n), rng.random(n))


def top(rng, n):
    z = rng.random(n)
    return np.where((z > 0.9) & (rng.random(n) < 0.5), 0.9 * rng.random(n), z)


def gap(rng, n):
    z = rng.random(n)
    return np.where((np.abs(z - 0.4) < 0.05) & (rng.random(n) < 0.8), rng.random(n), z)


def heavy(rng, n):
    return rng.standard_t(5, size=n)


def counted(rng, n):
    return rng.poisson(3.3, size=n).astype(float)


def failing(rng, n):
    return (rng.random(n) < 0.15).astype(float)


NORMAL, UNIFORM, POISSON, RARELY = stats.norm(), stats.uniform(), stats.poisson(3), stats.bernoulli(0.1)
CASES = [
    Case("none (normal)", NORMAL, lambda rng, n: rng.normal(size=n)),
    Case("none (counts)", POISSON, lambda rng, n: rng.poisson(3, size=n).astype(float)),
    Case("none (failures)", RARELY, lambda rng, n: (rng.random(n) < 0.1).astype(float)),
    Case("none (normal), prior", NORMAL, lambda rng, n: rng.normal(size=n), True),
    Case("none (counts), prior", POISSON, lambda rng, n: rng.poisson(3, size=n).astype(float), True),
    Case("location: normal, by 0.2 sd", NORMAL, shifted),
    Case("spread: normal, 1.2 times", NORMAL, wider),
    Case("ends: uniform, blurred by 8 %", UNIFORM, blurred),
    Case("peak: uniform, 8 % at the middle", UNIFORM, bump),
    Case("top: uniform, half of the last tenth elsewhere", UNIFORM, top),
    Case("gap: uniform, 80 % of a tenth elsewhere", UNIFORM, gap),
    Case("tails: normal, to Student's t of 5", NORMAL, heavy),
    Case("counts: Poisson, mean 3 to 3.3", POISSON, counted),
    Case("failures: 10 to 15 %", RARELY, failing),
    Case("location, prior", NORMAL, shifted, True),
    Case("spread, prior", NORMAL, wider, True),
    Case("ends, prior", UNIFORM, blurred, True),
    Case("peak, prior", UNIFORM, bump, True),
    Case("top, prior", UNIFORM, top, True),
    Case("counts, prior", POISSON, counted, True),
]
PEERS = ("KS", "AD", "ES", "CvM", "MWU")


def samples(case: Case, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """A pair of samples, and the generator that drew them."""
    rng = np.random.default_rng([seed, n])
    return np.asarray(case.before.rvs(size=n, random_state=rng), dtype=float), case.after(rng, n), rng


def ours(case: Case, n: int, seed: int) -> float:
    """The p-value of the audit's test."""
    z, g, rng = samples(case, n, seed)
    prior = case.before if case.prior else None
    return shift_test(z, g, prior, bin_edges(z, g, prior), rng).p_value


def peers(case: Case, n: int, seed: int) -> list[float]:
    """The p-values of `PEERS`; a prior in closed form has two of them, if it is continuous."""
    z, g, _ = samples(case, n, seed)
    if hasattr(case.before, "pmf") and case.prior:
        return [np.nan] * len(PEERS)
    if case.prior:
        one = [test(g, case.before.cdf).pvalue for test in (stats.ks_1samp, stats.cramervonmises)]
        return [one[0], np.nan, np.nan, one[1], np.nan]
    try:
        epps = stats.epps_singleton_2samp(z, g).pvalue
    except ValueError:  # of two kinds of values: a quartile range of 0
        epps = np.nan
    return [stats.ks_2samp(z, g).pvalue, stats.anderson_ksamp([z, g], variant="midrank").pvalue, epps,
            stats.cramervonmises_2samp(z, g).pvalue, stats.mannwhitneyu(z, g).pvalue]  # fmt: skip


def power(test: Callable, case: Case, n: int, repeats: int = REPEATS) -> np.ndarray:
    """Share of the repeats in which each test detects a shift at the level of the audit; NaN for no test."""
    found = np.array([test(case, n, seed) for seed in range(repeats)])
    return np.where(np.isnan(found).all(axis=0), np.nan, (found <= LEVEL).mean(axis=0))


def table(n: int) -> list[str]:
    """Lines on samples of n a side."""
    lines = [f"## {n:,} values a side", "", f"| change | ours | {' | '.join(PEERS)} | ours / best |",
             "|---" * (len(PEERS) + 3) + "|"]  # fmt: skip
    means, held = {"samples": [], "a prior": []}, {}
    for case in CASES:
        unchanged = case.name.startswith("none")
        theirs = power(peers, case, n, UNCHANGED if unchanged else REPEATS)
        share = np.array([power(ours, case, n), *theirs])
        kind = case.prior, case.before if hasattr(case.before, "pmf") else None
        ratio = "-"
        if unchanged:
            held[kind] = theirs <= HELD
        elif not np.isnan(theirs).all():
            best = np.nanmax(np.where(held[kind], theirs, np.nan))
            means["a prior" if case.prior else "samples"].append((share[0], best))
            ratio = f"{share[0] / best:.2f}"
        cells = ["-" if np.isnan(one) else f"{one:.3f}" for one in share]
        lines.append(f"| {case.name} | {' | '.join(cells)} | {ratio} |")
        print(lines[-1], flush=True)
    for against, pairs in means.items():
        mean, best = np.mean(pairs, axis=0)
        lines += [
            "",
            f"Mean against {against}: {mean:.3f}; of the best peers: {best:.3f}; ratio {mean / best:.2f}.",
        ]
    return lines


def main() -> None:
    """Run all, and write the tables."""
    head = ["# Power of the audit's test", "",
            f"Share of {REPEATS} pairs of samples in which a shift is detected at level {LEVEL}; made by "
            "`python -m benchmarks.power`. Peers, of scipy, on the same samples: Kolmogorov-Smirnov, "
            "Anderson-Darling, Epps-Singleton, Cramer-von Mises, Mann-Whitney. Against a prior in closed "
            "form (\"prior\"): the one-sample forms of scipy, which it has of two. A best peer "
            f"keeps its level (at most {HELD:.3f}) in {UNCHANGED:,} pairs without a change."]  # fmt: skip
    lines = [line for n in SIZES for line in ["", *table(n)]]
    Path(__file__).with_name("power.md").write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
