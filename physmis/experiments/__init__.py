"""Experiments, their results, and where these are stored."""
