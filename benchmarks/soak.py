"""Does a seed name the same bytes, whatever happens? `python -m benchmarks.soak`, about half an hour.

The notebooks run in the smoke profile, each time in a store and a figure folder of their own: undisturbed,
with other numbers of processes, in another order, and killed again and again. What they leave is compared
byte for byte.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from physmis import figures, paths

SOONEST = 3.0  # seconds after which a run may be killed
TRIES = 20  # runs that end before they are killed
PERIOD = 30.0  # seconds between two lines of progress
# All but meta.json and the manifest, which tell of wall times.
COMPARED = ("store/*/??/*/arrays.npz", "store/*/??/*/weights.safetensors", "figures/smoke/*.npz")


class Failed(Exception):
    """A run that nobody disturbed ended badly."""


class Place:
    """A folder with a store and figures of its own, and the runner at work on it."""

    def __init__(self, folder: Path):
        self.folder, self.seconds = folder, 0.0
        scratch = folder / "scratch"  # what a killed run leaves behind goes with the rest
        scratch.mkdir(parents=True)
        self._environment = os.environ | {
            "PHYSMIS_STORE": str(folder / "store"),
            "PHYSMIS_FIGURES": str(folder / "figures"),
            "TMPDIR": str(scratch),
            "JOBLIB_TEMP_FOLDER": str(scratch),
        }

    def run(self, *arguments: str, limit: float = float("inf")) -> bool:
        """Run notebooks, and kill all processes after ``limit`` seconds.

        Returns whether they had ended before. Raises Failed when they ended badly.
        """
        command = [sys.executable, "-m", "physmis.regenerate", "--profile", "smoke", *arguments]
        begun = told = time.monotonic()
        with open(self.folder / "log", "ab") as log:
            process = subprocess.Popen(
                command,
                env=self._environment,
                cwd=paths.ROOT,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        try:
            while process.poll() is None and time.monotonic() - begun < limit:
                time.sleep(0.02)
                if time.monotonic() - told > PERIOD:
                    told = time.monotonic()
                    print(f"    {told - begun:.0f} s, {len(self.contents())} files", flush=True)
            ended = process.poll() is not None
        finally:
            _kill(process)
        self.seconds += time.monotonic() - begun
        if ended and process.returncode:
            told = (self.folder / "log").read_text().splitlines()[-10:]
            raise Failed("\n".join([f"{' '.join(command)}: exit code {process.returncode}", *told]))
        return ended

    def contents(self) -> dict[str, bytes | None]:
        """What is compared, by path; entries that were set aside are None, as there should be none."""
        kept = {path: path.read_bytes() for pattern in COMPARED for path in self.folder.glob(pattern)}
        found = kept | dict.fromkeys(self.folder.glob("store/damaged/*"))
        return {str(path.relative_to(self.folder)): data for path, data in found.items()}


def _kill(process: subprocess.Popen) -> None:
    # One by one: kernels and their workers are in process groups of their own.
    family = []
    if process.poll() is None:
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    psutil.wait_procs(family)


def killed(
    place: Place, numbers: list[str], kills: int, latest: float, rng: np.random.Generator
) -> list[str]:
    """Kill each notebook's run in turn, ``kills`` times in all, and then let everything come to its end.

    Each kill comes within ``latest`` seconds. A run that ends before is repeated, to be killed sooner.
    Returns when they came.
    """
    moments = []
    for i in range(kills):
        number, longest = numbers[i * len(numbers) // kills], max(SOONEST, latest)
        for _ in range(TRIES):
            moment, before = rng.uniform(SOONEST, longest), place.seconds
            if not place.run("--jobs", "2", "--only", number, limit=moment):
                break
            longest = max(SOONEST, min(longest, place.seconds - before))
        else:
            raise Failed(f"notebook {number} ended {TRIES} times before it was killed")
        moments.append(f"{number} after {moment:.1f} s")
        print(f"  kill {i + 1} of {kills}: notebook {moments[-1]}, {len(place.contents())} files", flush=True)
    for number in numbers:
        place.run("--jobs", "2", "--only", number)
    return moments


def main() -> int:
    """Run the command line. Returns 0 if nothing differs, else 1."""
    known = sorted(path.stem[:2] for path in paths.notebooks_root().glob("[0-9][0-9]_*.py"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="how many times to kill (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which to kill (default: 0)")
    parser.add_argument("--only", choices=known, help="one notebook; soak.md is then left as it is")
    options = parser.parse_args()
    if options.kills < 1 or options.seed < 0:
        parser.error(f"--kills is {options.kills} and --seed {options.seed}; 1 and 0 or more wanted")
    numbers = [options.only] if options.only else known
    whole = ["--only", options.only] if options.only else []
    moments: list[str] = []
    ways = {
        "undisturbed, `--jobs 2`": lambda place: place.run("--jobs", "2", *whole),
        "`--jobs 1`": lambda place: place.run("--jobs", "1", *whole),
        "`--jobs 4`": lambda place: place.run("--jobs", "4", *whole),
        "one by one, the last first": lambda place: [place.run("--only", n) for n in reversed(numbers)],
        f"killed {options.kills} times, each time resumed": lambda place: moments.extend(
            killed(place, numbers, options.kills, first.seconds / len(numbers), rng)
        ),
    }
    root, rng = Path(tempfile.mkdtemp(prefix="soak-")), np.random.default_rng(options.seed)
    rows, different, first = [], [], None
    for i, (name, work) in enumerate(ways.items()):
        print(f"[{i + 1} of {len(ways)}] {name}", flush=True)
        place = Place(root / str(i))
        try:
            work(place)
        except Failed as error:
            print(f"FAILED {error}\nits files are in {place.folder}", file=sys.stderr)
            return 1
        first = first or place
        found, wanted = place.contents(), first.contents()
        unlike = [path for path in sorted(found | wanted) if found.get(path, 0) != wanted.get(path, 0)]
        different += [f"{name}: {path}" for path in unlike]
        count = "-" if place is first else len(unlike)
        rows.append(f"| {name} | {len(found | wanted)} | {count} | {place.seconds:.0f} |")
    text = "\n".join(
        [
            "# Latest soak",
            "",
            "| notebooks of the smoke profile | files compared | differing | seconds |",
            "|---|---|---|---|",
            *rows,
            "",
            f"- Kills (seed {options.seed}): {'; '.join(moments)}.",
            f"- Machine: {figures.machine('cpu')}; code {figures.code_version()[:12]}.",
            *[f"- Differs: {line}" for line in different],
        ]
    )
    print(f"\n{text}")
    if not options.only:
        Path(__file__).with_name("soak.md").write_text(text + "\n", encoding="utf-8")
    if different:
        print(f"what differs is kept in {root}", file=sys.stderr)
        return 1
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
