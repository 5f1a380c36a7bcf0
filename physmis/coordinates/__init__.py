"""Coordinates in which a model may see trajectories."""

from physmis.coordinates.maps import (
    Chain,
    Coordinates,
    Filter,
    FirstAndRest,
    Identity,
    Increments,
    Innovations,
    NormPower,
    Polar,
    Ratios,
    Warp,
    check_invertible,
)

__all__ = [
    "Chain",
    "Coordinates",
    "Filter",
    "FirstAndRest",
    "Identity",
    "Increments",
    "Innovations",
    "NormPower",
    "Polar",
    "Ratios",
    "Warp",
    "check_invertible",
]
