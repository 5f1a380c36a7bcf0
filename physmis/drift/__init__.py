"""How far a recovered distribution is from its prior, and how sure we can be of it."""

from physmis.drift.intervals import REPEATS, Interval, bootstrap, check_groups, interval, resample_rows
from physmis.drift.metrics import (
    Drift,
    Score,
    advantage,
    assess,
    bin_of,
    drift_correlation,
    histogram,
    noise_ceiling,
    prior_mass,
    sampling_floor,
    score,
    skill,
    total_variation,
    wasserstein,
    wasserstein_binned,
)

__all__ = [
    "Drift",
    "Interval",
    "REPEATS",
    "Score",
    "advantage",
    "assess",
    "bin_of",
    "bootstrap",
    "check_groups",
    "drift_correlation",
    "histogram",
    "interval",
    "noise_ceiling",
    "prior_mass",
    "resample_rows",
    "sampling_floor",
    "score",
    "skill",
    "total_variation",
    "wasserstein",
    "wasserstein_binned",
]
