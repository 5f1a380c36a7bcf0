"""Runs of the notebooks: claims, figures, profiles, and their regeneration."""
