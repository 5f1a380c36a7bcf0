"""Progress of long work: workers append events to a file; a bar shows them, or `follow` prints them.

Where $PHYSMIS_PROGRESS names the file, somebody else follows it, as `physmis.paper.regenerate` does; then no
bar is shown here.
"""

import contextlib
import json
import math
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

PERIOD = 10.0  # seconds between two printed lines
FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
LEAST = 0.05  # of the work must be done before the time left is told

# Of this process: the file that events go to, and the address of the job that it is at.
_path: str | None = None
_job: str | None = None


def is_followed() -> bool:
    """Whether another process follows the events."""
    return "PHYSMIS_PROGRESS" in os.environ


def append_to(path: str | None, job: str | None) -> None:
    """Let events of this process go to ``path``, as of a job at this address."""
    global _path, _job
    _path, _job = path, job


def reporter(label: str) -> Callable[[int, int], None]:
    """A callback of steps done and steps in all, which appends to the file about once a second."""
    path, job = _path or os.environ.get("PHYSMIS_PROGRESS"), _job
    begun, last = time.monotonic(), -math.inf

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if path and (now - last >= 1 or done == total):
            last = now
            left = (now - begun) / done * (total - done) if done else None
            _append(path, job=job, label=label, done=done, total=total, left=left, seconds=now - begun)

    return report


def say(text: str) -> None:
    """Print a line; where another process follows the events, let it print that."""
    if is_followed():
        _append(os.environ["PHYSMIS_PROGRESS"], say=text)
    else:
        print(text, flush=True)


def _append(path: str, **event: Any) -> None:
    # Progress is worth no failure: the disk may be full, or the run over that a worker began in.
    with contextlib.suppress(OSError), open(path, "a") as file:
        file.write(json.dumps(event) + "\n")


@contextlib.contextmanager
def bar(sizes: Mapping[str, float]) -> Iterator[tuple[str | None, Callable[[str], None]]]:
    """Progress of jobs, given their addresses and sizes, in seconds or another unit that is alike for all.

    Gives the file that workers should append to, and a function to call with each address that is done.
    """
    begun, total, done = time.monotonic(), sum(sizes.values()), dict.fromkeys(sizes, 0.0)

    def left() -> str:
        ready, passed = sum(done.values()), time.monotonic() - begun
        return f"about {duration(passed / ready * (total - ready))}" if ready >= LEAST * total else "?"

    def count() -> str:
        return f"result {sum(done[a] >= size for a, size in sizes.items())} of {len(sizes)}"

    if is_followed():
        last = begun

        def finish(address: str) -> None:
            nonlocal last
            done[address] = sizes[address]
            now = time.monotonic()
            if now - last >= PERIOD and sum(done.values()) < total:
                last = now
                say(f"{count()}, {left()} left")

        yield os.environ["PHYSMIS_PROGRESS"], finish
        return

    with (
        tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file,
        tqdm(total=total, bar_format=FORMAT, leave=False) as shown,
    ):
        steps = ""

        def draw(events: list[dict[str, Any]]) -> None:
            nonlocal steps
            for event in events:
                if event.get("job") in done:
                    done[event["job"]] = sizes[event["job"]] * event["done"] / event["total"]
                    steps = f", {event['label']}: {event['done']}/{event['total']} steps"
            shown.set_description_str(count(), refresh=False)
            shown.set_postfix_str(f"{left()} left{steps}", refresh=False)
            shown.n = min(sum(done.values()), total)
            shown.refresh()

        def finish(address: str) -> None:
            done[address] = sizes[address]

        with _reading(Path(file.name), draw):
            yield file.name, finish


@contextlib.contextmanager
def follow(name: str, path: Path) -> Iterator[None]:
    """Print what is appended to ``path``: all that ends, and every `PERIOD` what is under way."""
    path.write_bytes(b"")
    begun, printed, under_way = time.monotonic(), time.monotonic(), {}

    def tell(text: str) -> None:
        print(f"[{name}  {duration(time.monotonic() - begun)}] {text}", flush=True)

    def draw(events: list[dict[str, Any]]) -> None:
        nonlocal printed
        for event in events:
            if "say" in event:
                tell(event["say"])
                continue
            steps = f"{event['label']}: {event['done']}/{event['total']} steps"
            under_way[event["label"]] = steps
            if event["done"] == event["total"]:
                del under_way[event["label"]]
                tell(f"{steps} in {duration(event['seconds'])}")
            elif event["left"] is not None:
                under_way[event["label"]] += f", {duration(event['left'])} left"
        if under_way and time.monotonic() - printed >= PERIOD:
            tell("; ".join(under_way.values()))
            printed = time.monotonic()

    with _reading(path, draw):
        yield


@contextlib.contextmanager
def _reading(path: Path, draw: Callable[[list[dict[str, Any]]], None]) -> Iterator[None]:
    """Twice a second, and at the end, ``draw`` gets the events that were appended since."""
    ended = threading.Event()

    def run() -> None:
        rest = ""
        with open(path) as file:
            over = False
            while not over:
                over = ended.wait(0.5)  # and once more, for what came since
                *lines, rest = (rest + file.read()).split("\n")  # a worker may be in the middle of a line
                events = []
                for line in lines:
                    with contextlib.suppress(ValueError):
                        events.append(json.loads(line))
                draw(events)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def duration(seconds: float) -> str:
    """Seconds in words: "90 s", "12 min", "2.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
