"""What the data are: priors, generators, measurements and validity checks."""

import dataclasses
from typing import Any

from physmis.tasks.base import Batch, Channel, Quantity, Task, path_length

__all__ = ["Batch", "Channel", "Quantity", "Task", "load", "path_length"]


def load(name: str, **parameters: Any) -> Task:
    """The task called ``name``; ``parameters`` override its defaults. ValueError if either is not usable."""
    from physmis.tasks.maze import PointMaze
    from physmis.tasks.pendulum import Pendulum
    from physmis.tasks.synthetic import Cone, Logistic, Sine

    registry = {task.name: task for task in (Sine, Cone, Logistic, PointMaze, Pendulum)}
    if name not in registry:
        raise ValueError(f"expected a task out of {', '.join(sorted(registry))}, got {name!r}")
    known = [field.name for field in dataclasses.fields(registry[name])]
    if unknown := parameters.keys() - known:
        raise ValueError(f"task {name!r}: expected parameters {', '.join(known)}, got {min(unknown)!r}")
    return registry[name](**parameters)
