"""Progress: what workers report, and the runner's lines that tell of it on the terminal or in a log.

Workers append one JSON line per event to the file that `$PHYSMIS_PROGRESS` names, the first with `done` 0:
`{"label": str, "done": int, "total": int, "unit": str, "time": seconds}`, by `time.monotonic`: one clock for
all processes, and never set back. A terminal gets one live line; a log gets a line every ten seconds; both
keep a line for every label that is done.
"""

import contextlib
import json
import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

PERIOD = 10.0  # seconds between two lines in a log


def reporter(label: str, unit: str = "steps") -> Callable[[int, int], None]:
    """A progress callback that appends to the file $PHYSMIS_PROGRESS, about once a second."""
    path = os.environ.get("PHYSMIS_PROGRESS")
    last = -math.inf

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()  # a clock may be set back
        if path and (now - last >= 1 or done in {0, total}):
            last = now
            event = {"label": label, "done": done, "total": total, "unit": unit, "time": now}
            # Progress is worth no failure: the disk may be full, or the run over that a worker began in.
            with contextlib.suppress(OSError), open(path, "a") as file:
                file.write(json.dumps(event) + "\n")

    return report


@dataclass
class _Task:
    begun: float
    from_done: int
    done: int
    total: int
    unit: str
    time: float

    def told(self) -> str:
        text = f"{self.done}/{self.total} {self.unit}"
        if self.done > self.from_done and self.time > self.begun:
            rate = (self.done - self.from_done) / (self.time - self.begun)
            text += f", {_duration((self.total - self.done) / rate)} left"
        return text


class Display(threading.Thread):
    """Tells of one notebook's progress while it is open as a context.

    `events` is the file of events, emptied here; `copy` is the executed notebook, from which the number of
    cells that have run is read while no worker reports.
    """

    def __init__(self, name: str, events: Path, copy: Path):
        super().__init__(daemon=True)
        self._name, self._events, self._copy = name, events, copy
        self._begun = self._last_line = time.monotonic()
        self._offset = 0
        self._tasks: dict[str, _Task] = {}
        self._live = sys.stdout.isatty()
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        self._events.write_bytes(b"")
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._closed.set()
        self.join()

    def run(self) -> None:
        while not self._closed.wait(0.5):
            self._read()
            if self._live:
                self._print(self._state(), lasting=False)
            elif time.monotonic() - self._last_line >= PERIOD:
                self._print(self._state())
        self._read()
        if self._live:
            print("\r\x1b[K", end="", flush=True)

    def _read(self) -> None:
        with open(self._events, "rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]  # A worker may be in the middle of a line.
        self._offset += len(whole)
        for line in whole.splitlines():
            with contextlib.suppress(ValueError, TypeError):  # Progress is worth no failure.
                self._take(**json.loads(line))

    def _take(self, label: str, done: int, total: int, unit: str, time: float) -> None:
        task = self._tasks.get(label)
        if task is None or done < task.done:
            task = self._tasks[label] = _Task(time, done, done, total, unit, time)
        task.done, task.total, task.time = done, total, time
        if done >= total:
            del self._tasks[label]
            self._print(f"{label}: {done}/{total} {unit}, done in {_duration(task.time - task.begun)}")

    def _state(self) -> str:
        if self._tasks:
            return "; ".join(f"{label}: {task.told()}" for label, task in self._tasks.items())
        try:
            cells = [
                cell for cell in json.loads(self._copy.read_bytes())["cells"] if cell["cell_type"] == "code"
            ]
        except (OSError, ValueError):
            return "running"  # papermill is writing it.
        return f"cell {sum(cell['execution_count'] is not None for cell in cells)} of {len(cells)} has run"

    def _print(self, text: str, lasting: bool = True) -> None:
        line = f"[{self._name}  {_duration(time.monotonic() - self._begun)}] {text}"
        if not self._live:
            print(line, flush=True)
        elif lasting:
            print(f"\r\x1b[K{line}", flush=True)
        else:
            print(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
        if lasting:
            self._last_line = time.monotonic()


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
