"""Companion to "Mechanisms of Misgeneralization in Physical Sequence Modeling".

Notebooks argue, this package computes.
"""

from physmis.figures import start

__all__ = ["start"]
__version__ = "0.1.0"
