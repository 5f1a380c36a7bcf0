"""Sliders and menus that redraw a figure, and the printed verdict on an answer to an exercise."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.display import Image, display
from matplotlib.figure import Figure


def explore(draw: Callable[..., Figure], **controls: tuple | list) -> None:
    """Show ``draw(**start values)``; in a live notebook, below controls that redraw it.

    For each argument of ``draw`` there is a tuple (low, high, start) of integers or of floats, or a list of
    values to choose from, of which the first is the start.
    """
    starts = {
        name: control[0] if isinstance(control, list) else control[2] for name, control in controls.items()
    }
    picture = Image(_png(draw(**starts)))
    if not _live():
        if get_ipython() is not None:
            display(picture)
        return
    handles = {name: _handle(name, control) for name, control in controls.items()}
    # A notebook that is opened again, without this kernel, shows the text in place of the controls. The
    # picture is an output of its own, which stays.
    text = {"text/plain": f"Run this cell to choose {', '.join(controls)}."}
    display(ipywidgets.VBox([*handles.values()])._repr_mimebundle_() | text, raw=True)
    shown = display(picture, display_id=True)

    def redraw(_):
        shown.update(Image(_png(draw(**{name: handle.value for name, handle in handles.items()}))))

    for handle in handles.values():
        handle.observe(redraw, names="value")


def _live():
    """Whether this runs in a Jupyter kernel, in a notebook that papermill has not given parameters."""
    shell = get_ipython()
    if not hasattr(shell, "kernel"):
        return False
    return not any(cell.startswith("# Parameters\n") for cell in shell.user_ns.get("In", ()))


def check(exercise: str, answer: Any) -> None:
    """Print whether the answer to an exercise such as "01.2" is right, without giving it away."""
    from physmis.teaching.exercises import CHECKS, hint  # they import torch, which is slow

    if answer is ... and exercise in CHECKS:
        print(f"Exercise {exercise}: no answer yet. Replace the three dots and run the cell again.")
        return
    found = hint(exercise, answer)
    print(f"Exercise {exercise}: right." if found is None else f"Exercise {exercise}: not yet. {found}")


def _handle(name, control):
    style = {"description": name.replace("_", " "), "style": {"description_width": "10em"}}
    style |= {"layout": {"width": "32em"}}
    if isinstance(control, list) and isinstance(control[0], str):
        return ipywidgets.Dropdown(options=control, **style)
    style["continuous_update"] = False
    if isinstance(control, list):
        return ipywidgets.SelectionSlider(options=control, **style)
    low, high, start = control
    if isinstance(start, int):
        return ipywidgets.IntSlider(min=low, max=high, value=start, **style)
    step = (high - low) / 100
    return ipywidgets.FloatSlider(min=low, max=high, value=start, step=step, readout_format=".3g", **style)


def _png(fig):
    """The figure as bytes of a PNG, and closed."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    plt.close(fig)
    return buffer.getvalue()
