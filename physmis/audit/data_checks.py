"""Looks at trajectories for faults of recording and storage, which a test of distributions hides, or takes
for a shift: axes in the wrong order, glued episodes, padding, overlapping windows, units.

Thresholds are chosen on clean motion of 25 kinds, smooth and rough, of which at most 1 pair in 100 may
raise a warning; `tests/audit/test_data_checks.py` holds 15 of the kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from physmis.audit.measurements import Ragged, Values
from physmis.audit.preparation import prepare

MOST = 1000  # trajectories of a side that are looked at, in runs of 100, as neighbours tell of windows
FEW = 0.05  # share of trajectories with a fault that is worth a word, if there are two
ROUGHER = 5.0  # times as rough as along another axis: what is read as time is not time
JUMP = 20.0  # times the trajectory's own 90th percentile of steps, and the second longest of six around
TAIL = 3  # steps at the end that are exactly still, after ...
ABRUPT = 3e-6  # ... one longer than this share of the values: not by a few last digits of single precision
BLOCK = 8  # steps in a row that recur in overlapping windows only
JOINED = 1.5, 0.02  # times as long as most, and share of such trajectories, from which on ends are missing
CHAINED = 0.3, 0.8  # share that begins a step or less from the end of one before, at most and at least
STEADY = 0.02  # relative spread of the durations, or of the rates, of a clock
DERIVED = 0.995  # correlation of a velocity with the increments of its coordinate
ALIKE = 0.5  # rank correlation of the quantity of neighbours; and five standard deviations
MISSING = 0.05  # share of steps
ORDERED = 0.95  # share of pairs in which the one side is longer
TENFOLD = 0.1  # distance of a ratio of units from a power of ten, in powers of ten
APART = 3.0  # distance of the medians of a channel, in widths of its range


class Finding(NamedTuple):
    """A fault that the data seem to have; ``side`` is "demonstrations", "generated" or "both".

    The kind "velocity" matters to measurements that take all channels for coordinates, as those by name do.
    """

    kind: str
    side: str
    message: str


@np.errstate(all="ignore")  # of constant channels, and squares that overflow: no faults that are meant here
def check(given: list[Ragged], values: Sequence[Values] = (), steps: Sequence[float] = ()) -> list[Finding]:
    """What seems wrong with demonstrations and, if given, generated trajectories; NaN are missing steps.

    ``values`` are the quantities of each, in the order of the trajectories; ``steps`` the seconds a step.
    """
    found, sides = [], []
    for side, every, z in zip(("demonstrations", "generated"), given, values or ((), ()), strict=False):
        skip = -(-len(every) // MOST)
        raw = [one for row, one in enumerate(every) if row // 100 % skip == 0 and len(one) > 1]
        texts = {"gaps": _gaps(raw), "dependence": _dependence(z)}
        x = [one.astype(float) for one in prepare(raw, side)[0] if len(one)] if raw else []
        if len(x) > 1:
            sides.append(x)
            texts |= {kind: look(x) for kind, look in LOOKS.items()}
        found += [Finding(kind, side, f"{side}: {text}") for kind, text in texts.items() if text]
    if len(sides) == 2 and sides[0][0].shape[1] == sides[1][0].shape[1]:
        found += [Finding(kind, "both", text) for kind, look in PAIRS.items() if (text := look(*sides))]
    if len(steps) == 2 and abs(np.log(steps[0] / steps[1])) > 0.01:
        rates = f"{1 / steps[0]:.4g} steps a second in demonstrations, {1 / steps[1]:.4g} in generated"
        text = f"{rates}: paths at a low rate cut corners; resample to the lower."
        found.append(Finding("rates", "both", text))
    return found


def _often(faulty, least=FEW):
    """The share of trajectories that is faulty, in words; nothing where it is small."""
    return f"{np.mean(faulty):.0%} " if np.sum(faulty) > 1 and np.mean(faulty) >= least else ""


def _steps(x):
    """Lengths of the steps, in standard deviations of each channel; without channels of few values."""
    every = np.concatenate(x)
    spread = np.array([one.std() if len(np.unique(one)) > 10 else np.inf for one in every.T])
    return [np.linalg.norm(np.diff(one, axis=0) / spread, axis=1) for one in x]


def _rounded(x):
    """Whether a trajectory moves in whole units, or not at all: steps of the same size recur."""
    moved = np.abs(np.diff(x, axis=0))
    moved = moved[moved > 0]
    return len(np.unique(moved)) <= len(moved) / 2


# of one side


def _gaps(raw):
    missing = np.concatenate([~np.isfinite(one).all(axis=1) for one in raw]).mean() if raw else 0
    if missing == 1:
        return "no step has all channels; interpolate each channel first (in pandas, interpolate())."
    text = "give both sides the same gaps, as lines through them are shorter than motion, and give lengths"
    return (
        f"{missing:.0%} of the steps are missing; {text} where NaN is padding." if missing > MISSING else ""
    )


def _dependence(z):
    z = np.asarray(z, float)
    z = z[np.isfinite(z)]
    if len(z) < 20 or np.ptp(z) == 0:
        return ""
    rank = np.argsort(np.argsort(z))
    alike = np.corrcoef(rank[1:], rank[:-1])[0, 1]
    text = f"the quantity of neighbours correlates ({alike:.2f}); take whole episodes as independent ones"
    return (
        f"{text}, or shuffle a file that is only sorted." if alike > max(ALIKE, 5 / np.sqrt(len(z))) else ""
    )


def _axes(x):
    if len({one.shape for one in x}) > 1:
        return ""
    x = np.stack(x) - np.mean(x, axis=0)

    def rough(axis):  # von Neumann's ratio, about 1 in a random order
        spread = x.var(axis=axis).sum() * 2 * x.shape[axis] if x.shape[axis] > 2 else 0
        return (np.diff(x, axis=axis) ** 2).sum() / spread if spread else 1.0

    trajectory, time, channel = map(rough, range(3))
    if time < max(0.3, ROUGHER * min(trajectory, channel)):
        return ""
    axis, order = (0, (1, 0, 2)) if trajectory < channel else (2, (0, 2, 1))
    text = f"shape {x.shape} is smooth along axis {axis}, and not along axis 1, which is read as time"
    return f"{text}; transpose{order} puts the smooth axis there."


def _jumps(x):
    sizes = {}
    for row, step in enumerate(_steps(x)):
        if (step > 0).sum() >= 10:
            at = int(step.argmax())
            around = np.delete(step[max(0, at - 3) : at + 4], min(at, 3))
            if step[at] > JUMP * max(np.percentile(step[step > 0], 90), np.sort(around)[-2]):
                sizes[row] = np.abs(x[row][at + 1] - x[row][at]).max()
    share = _often([row in sizes for row in range(len(x))])
    if share and np.isclose(np.median(list(sizes.values())), [2 * np.pi, 360], rtol=0.05).any():
        return f"{share}hold a jump by a whole turn; unwrap the angle (np.unwrap)."
    remedy = "cut glued episodes there, set fill values to NaN, unwrap angles, keep the sign of quaternions"
    return share and f"{share}hold a step {JUMP:g} times as long as others; {remedy}."


def _tails(x):
    size, still = max(np.abs(one).max() for one in x), np.zeros(len(x), int)
    for row, one in enumerate(x):
        step = np.abs(np.diff(one, axis=0)).max(axis=1)
        moves = np.flatnonzero(step)
        # A slow end comes to rest by last digits or whole units, and what pauses may well pause at the end.
        steady = len(moves) > 4 and len(moves) > 0.9 * moves[-1]
        if steady and step[moves[-1]] > ABRUPT * size and not _rounded(one):
            still[row] = len(step) - 1 - moves[-1]
    share = _often(still >= TAIL)
    return share and f"{share}end in up to {still.max()} exactly still steps; cut padding, or give lengths."


def _windows(x):
    every = np.concatenate(x)
    mean, spread = every.mean(axis=0), np.maximum(every.std(axis=0), np.finfo(float).tiny)
    length, rng = min(BLOCK, min(map(len, x))), np.random.default_rng(0)
    weights, along = rng.normal(size=x[0].shape[1]) / spread, rng.normal(size=length)
    first, blocks = np.full(len(x), np.nan), [[]]
    for row, one in enumerate(x):
        y = ((one - mean) * weights).sum(axis=1)
        if not _rounded(one) and len(np.unique(y)) > 0.9 * len(y):
            blocks.append(sum(y[k : len(y) - length + 1 + k] * along[k] for k in range(length)))
            first[row] = blocks[-1][0]
    known, times = np.unique(np.concatenate(blocks), return_counts=True)
    share = _often(np.isin(first, known[times > 1]))
    text = "begin with steps that others hold, too, as overlapping windows and copies do"
    return share and f"{share}{text}; take whole episodes, which are independent."


def _run(x):
    ends, longest = np.array([[one[0], one[-1]] for one in x]), np.array([step.max() for step in _steps(x)])
    spread = np.concatenate(x).std(axis=0)
    spread[spread == 0] = np.inf

    def follow(by):
        return np.mean(np.linalg.norm((ends[by:, 0] - ends[:-by, 1]) / spread, axis=1) <= longest[:-by])

    if len(x) < 20 or follow(1) < CHAINED[1] or follow(3) > CHAINED[0]:
        return ""
    lengths = [len(one) for one in x]
    text = "trajectories are pieces of one run: each begins where the last ended, so they are not independent"
    if max(lengths) > 2 * np.median(lengths):
        most = f"one has {max(lengths)} steps, half have {np.median(lengths):.0f} at most"
        text += f"; {most}: see if ends are missing"
    return text + "; take whole runs, or pieces far apart."


def _ends(x):
    lengths = np.array([len(one) for one in x])
    most = np.median(lengths)
    share = _often(lengths > JOINED[0] * most, JOINED[1]) if (lengths == most).mean() >= 0.5 else ""
    text = f"are much longer than the {most:.0f} steps of most: ends are missing; give lengths."
    return share and share + text


def _clock(x):
    parts = [one - one[0] for one in x]
    grows = np.flatnonzero([(np.diff(one, axis=0) > 0).all(axis=0) for one in parts][0])
    grows = [k for k in grows if all((np.diff(one[:, k]) > 0).all() for one in parts)]
    durations = np.array([one[-1, grows] for one in parts])
    rates = durations / [[len(one) - 1] for one in parts]
    spread = np.minimum(*(one.std(axis=0) / one.mean(axis=0) for one in (durations, rates)))
    clocks = [k for k, one in zip(grows, spread, strict=True) if one < STEADY]
    rest = " ".join(str(k) for k in range(x[0].shape[1]) if k not in clocks)
    return clocks and f"channel {clocks[0]} only grows, as a clock does; take the others (--channels {rest})."


def _velocity(x):
    x, count = x[:: -(-len(x) // 200)], x[0].shape[1]
    step = np.concatenate([np.diff(one, axis=0) for one in x])
    level = np.concatenate([(one[1:] + one[:-1]) / 2 for one in x])
    follows = np.nan_to_num(np.corrcoef(step.T, level.T)[:count, count:])
    # On a circle, each of two coordinates follows the increments of the other.
    follows = (follows > DERIVED) & (np.abs(follows.T) < DERIVED)
    found = ", ".join(map(str, np.flatnonzero(follows.any(axis=0))))
    return found and f"channel {found} looks like the velocity of another; take the coordinates (--channels)."


# of both


def _lengths(x, y):
    a, b = (np.array([len(one) for one in side]) for side in (x, y))
    longer = (b[:, None] > a).mean() + (b[:, None] == a).mean() / 2
    if abs(longer - 0.5) < ORDERED - 0.5:
        return ""
    lengths = f"{np.median(a):.0f} steps of demonstrations, {np.median(b):.0f} of generated"
    if np.ptp(a) == np.ptp(b) == 0 and abs(a[0] - b[0]) == 1:
        return f"{lengths}: cut the first or last step of the longer."
    return f"{lengths}: resample if rates differ, or cut both to one horizon."


def _units(x, y):
    here, there = (np.median([one.std(axis=0) for one in side], axis=0) for side in (x, y))
    moves = (here > 0) & (there > 0)
    power = np.median(np.log10(there[moves] / here[moves])) if moves.any() else 0
    if abs(power) > 0.5 and abs(power - np.rint(power)) < TENFOLD:
        times = f"{10 ** np.rint(power):g} times"
        return f"generated are about {times} as large as demonstrations: give one unit."
    here, there = (np.percentile(np.abs(np.concatenate(side)), 99.9, axis=0) for side in (x, y))
    for name, one, other in (("generated", there, here), ("demonstrations", here, there)):
        ratio = other / np.maximum(one, np.finfo(float).tiny)
        if ((one > 0.7) & (one < 1.05)).all() and ((ratio > 1.5).all() or (ratio < 0.5).all()):
            return f"{name} lie between -1 and 1, the others not: undo the normalisation."
    return ""


def _ranges(x, y):
    sides = [np.percentile(np.concatenate(side), (5, 50, 95), axis=0) for side in (x, y)]
    (a, b), (middle, other), (c, d) = np.moveaxis(sides, 1, 0)
    far = APART * np.maximum(c - a, d - b), 1e-3 * np.maximum(np.abs(middle), np.abs(other))
    apart = np.flatnonzero(np.abs(other - middle) > np.maximum(*far))
    if len(apart) == 0:
        return ""
    k = apart[0]
    ranges = f"{a[k]:.3g} to {c[k]:.3g} in demonstrations, {b[k]:.3g} to {d[k]:.3g} in generated"
    return f"channel {k} has {ranges}: give the same channels in the same order and frame."


LOOKS = {one.__name__[1:]: one for one in (_axes, _jumps, _tails, _windows, _run, _ends, _clock, _velocity)}
PAIRS = {one.__name__[1:]: one for one in (_lengths, _units, _ranges)}
