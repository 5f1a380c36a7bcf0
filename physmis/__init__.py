"""Companion to "Mechanisms of Misgeneralization in Physical Sequence Modeling".

Notebooks argue, this package computes.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["start"]


def start(notebook: str, profile: str, seed: int = 0, device: str = "auto") -> Any:
    """Open the run of a notebook: `physmis.paper.run.start`."""
    from physmis.paper import run  # torch and matplotlib are slow to import, and not everybody needs them

    return run.start(notebook, profile, seed, device)
