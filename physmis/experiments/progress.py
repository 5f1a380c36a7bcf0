"""Progress of long work: workers append it to the file $PHYSMIS_PROGRESS, and `follow` prints it."""

import contextlib
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PERIOD = 10.0  # seconds between two printed lines


def reporter(label: str) -> Callable[[int, int], None]:
    """A callback of steps done and steps in all, which appends to the file about once a second."""
    path = os.environ.get("PHYSMIS_PROGRESS")
    begun, last = time.monotonic(), -math.inf

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if path and (now - last >= 1 or done == total):
            last = now
            left = (now - begun) / done * (total - done) if done else None
            event = {"label": label, "done": done, "total": total, "left": left, "seconds": now - begun}
            # Progress is worth no failure: the disk may be full, or the run over that a worker began in.
            with contextlib.suppress(OSError), open(path, "a") as file:
                file.write(json.dumps(event) + "\n")

    return report


@contextlib.contextmanager
def follow(name: str, path: Path) -> Iterator[None]:
    """Print what is appended to ``path``: all that ends, and every `PERIOD` what is under way."""
    path.write_bytes(b"")
    begun, ended = time.monotonic(), threading.Event()

    def tell(text: str) -> None:
        print(f"[{name}  {duration(time.monotonic() - begun)}] {text}", flush=True)

    def run() -> None:
        under_way: dict[str, str] = {}
        rest, printed = "", time.monotonic()
        with open(path) as file:
            over = False
            while not over:
                over = ended.wait(0.5)  # and once more, for what came since
                *lines, rest = (rest + file.read()).split("\n")  # a worker may be in the middle of a line
                for line in lines:
                    with contextlib.suppress(ValueError, KeyError):
                        event = json.loads(line)
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
