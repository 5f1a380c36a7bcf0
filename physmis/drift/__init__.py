"""How far a recovered distribution is from its prior, and how sure we can be of it."""
# ruff: noqa: F401

from physmis.drift.intervals import Interval, bootstrap
from physmis.drift.metrics import (
    Drift,
    Score,
    advantage,
    assess,
    bin_of,
    drift_correlation,
    histogram,
    prior_mass,
    sampling_floor,
    score,
    skill,
    total_variation,
    wasserstein,
)
from physmis.drift.shift_test import ShiftTest, bin_edges, shift_test
