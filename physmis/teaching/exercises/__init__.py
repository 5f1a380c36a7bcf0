"""Checks of the exercises, one module a notebook. What a check asks, the notebook says.

Each module has ``CHECKS``: by exercise, a function of the learner's answer that returns None if it is right,
else a hint in one sentence that does not give it away.
"""
