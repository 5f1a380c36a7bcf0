"""What the data are: priors, generators, measurements and validity checks."""

import dataclasses
from typing import Any

from physmis.tasks.base import Batch, Channel, Quantity, Task, check_steps, uniform_prior

__all__ = ["Batch", "Channel", "Quantity", "Task", "check_steps", "uniform_prior"]


def load(name: str, **parameters: Any) -> Task:
    """The task called ``name``; ``parameters`` override its defaults.

    Raises
    ------
    ValueError : unknown task or parameter, or a value outside its range.
    """
    from physmis.tasks.maze import PointMaze
    from physmis.tasks.pendulum import Pendulum
    from physmis.tasks.synthetic import Cone, Logistic, Sine

    registry = {task.name: task for task in (Sine, Cone, Logistic, PointMaze, Pendulum)}
    if name not in registry:
        raise ValueError(f"unknown task {name!r}; accepted: {', '.join(sorted(registry))}")
    known = [f.name for f in dataclasses.fields(registry[name])]
    for parameter in parameters:
        if parameter not in known:
            raise ValueError(f"task {name!r} has no parameter {parameter!r}; accepted: {', '.join(known)}")
    return registry[name](**parameters)
