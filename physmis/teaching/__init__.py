"""Widgets and exercises of the notebooks."""
