"""For reading with one's hands: sliders that redraw a figure, and exercises that can be checked."""

from __future__ import annotations

import importlib
import inspect
import io
import os
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import Image, display
from matplotlib.figure import Figure

Slider = tuple[float, float, float] | Sequence[Any]
EXERCISES = {
    "01": "synthetic_tasks",
    "02": "kernel_theory",
    "03": "maze",
    "04": "pendulum",
    "05": "mitigations",
    "06": "audit",
}  # the module of physmis.teaching.exercises with the checks of each notebook


def explore(draw: Callable[..., Figure], **sliders: Slider) -> None:
    """Show ``draw(**start values)``; where somebody is there to move them, with sliders that redraw it.

    Without a person (papermill, a plain script) only the static picture is shown.

    Parameters
    ----------
    draw : makes a figure from one value for each slider, in less than a second.
    sliders : for each argument of ``draw`` either (low, high, start), numbers of one type, a whole or a real
        one; or a list of values to choose from, of which the first is the start.

    Raises
    ------
    ValueError : ``draw`` has other arguments, or a range does not hold its start.
    """
    if (wanted := set(inspect.signature(draw).parameters)) != set(sliders):
        raise ValueError(f"one slider for each of {sorted(wanted)} wanted, got {sorted(sliders)}")
    starts = {name: _start(name, slider) for name, slider in sliders.items()}
    picture = _png(draw(**starts))
    if not live():
        if _shell() is not None:
            display(Image(picture))
        return
    import ipywidgets

    image = ipywidgets.Image(value=picture, format="png", layout={"max_width": "100%"})
    handles = {name: _handle(ipywidgets, name, slider) for name, slider in sliders.items()}

    def redraw(_):
        image.value = _png(draw(**{name: handle.value for name, handle in handles.items()}))

    for handle in handles.values():
        handle.observe(redraw, names="value")
    display(ipywidgets.VBox([*handles.values(), image]))


def check(exercise: str, answer: Any) -> None:
    """Print whether the answer to an exercise such as "01.2" is right, without giving it away.

    Raises
    ------
    ValueError : no such exercise.
    """
    if answer is ...:
        _checks(exercise)
        print(f"Exercise {exercise}: no answer yet. Replace the three dots and run the cell again.")
        return
    found = hint(exercise, answer)
    print(f"Exercise {exercise}: right." if found is None else f"Exercise {exercise}: not yet. {found}")


def hint(exercise: str, answer: Any) -> str | None:
    """What is off with an answer, in a sentence; None if it is right.

    Raises
    ------
    ValueError : no such exercise.
    """
    right = _checks(exercise)[exercise]
    try:
        return right(answer)
    except Exception as error:  # whatever a learner's function does
        return f"It raised {type(error).__name__}: {error}"


def live() -> bool:
    """Whether a person runs this: in Jupyter, and not through papermill or the runner."""
    shell = _shell()
    if shell is None or not hasattr(shell, "kernel") or "PHYSMIS_PROGRESS" in os.environ:
        return False
    return not any(cell.startswith("# Parameters\n") for cell in shell.user_ns.get("In", ()))


def _shell():
    from IPython import get_ipython

    return get_ipython()


def _checks(exercise):
    """The checks of the notebook that the exercise is in."""
    number = str(exercise).split(".")[0]
    found = (
        importlib.import_module(f"physmis.teaching.exercises.{EXERCISES[number]}").CHECKS
        if number in EXERCISES
        else {}
    )
    if exercise not in found:
        raise ValueError(f"no exercise {exercise!r}; they are called 01.1, 01.2, 01.3, 02.1 and so on")
    return found


def _start(name, slider):
    if isinstance(slider, list):
        return slider[0]
    low, high, start = slider
    if not low <= start <= high:
        raise ValueError(f"slider {name}: the start {start} is not between {low} and {high}")
    return start


def _handle(ipywidgets, name, slider):
    label = name.replace("_", " ")
    style = {"style": {"description_width": "10em"}, "layout": {"width": "32em"}, "description": label}
    if isinstance(slider, list):
        return ipywidgets.SelectionSlider(options=slider, value=slider[0], continuous_update=False, **style)
    low, high, start = slider
    if isinstance(start, int):
        return ipywidgets.IntSlider(min=low, max=high, value=start, continuous_update=False, **style)
    step = (high - low) / 100
    return ipywidgets.FloatSlider(
        min=low, max=high, value=start, step=step, readout_format=".3g", continuous_update=False, **style
    )


def _png(fig):
    """The figure as bytes of a PNG, and closed."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    plt.close(fig)
    return buffer.getvalue()
