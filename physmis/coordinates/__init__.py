"""Coordinates in which a model may see trajectories."""
# ruff: noqa: F401

from physmis.coordinates.maps import (
    Chain,
    Coordinates,
    Filter,
    Identity,
    Increments,
    Innovations,
    NormPower,
    PreEmphasis,
    Ratios,
    Warp,
)
