"""An audit of two million time steps through the command line: wall time, and the most memory it holds."""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.timing import Row, short

N, STEPS, CHANNELS, MISSING = 10_000, 100, 4, 0.01
REPEATS = 3

# Run in a process of its own, which tells its times and its peak of memory last.
PROGRAM = """
import resource, sys, time
begun = time.perf_counter()
from physmis.audit.cli import main
main(sys.argv[1:])
unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes or KiB
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
print(time.perf_counter() - begun, time.process_time(), peak)
"""


def run() -> tuple[list[Row], list[str]]:
    """Rows of the table, and notes on what one audit takes, the start of Python and its imports included."""
    rows, notes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, write in {"equal lengths": equal, "ragged, with missing steps": ragged}.items():
            files = [write(Path(folder), seed) for seed in (0, 1)]
            found = [measure(*files, "--html", Path(folder) / "report.html") for _ in range(REPEATS)]
            wall, processor, peak = (statistics.median(column) for column in zip(*found, strict=True))
            steps = 2 * N * STEPS  # both sides are measured
            rates = [steps / seconds for _, seconds, _ in found]
            rows.append(
                Row(
                    f"audit: {name}", f"{short(steps / processor)} steps/s", "-", "-",
                    f"{short(min(rates))} to {short(max(rates))}",
                )
            )  # fmt: skip
            notes.append(
                f"Audit, {name}: {N:,} demonstrations and as many generated trajectories of about {STEPS} "
                f"steps and {CHANNELS} channels take {wall:.1f} s, {processor:.1f} s of the processor; "
                f"the process never holds more than {peak:.2f} GiB."
            )
        for n in (5_000, 10_000):
            files = [walks(Path(folder), seed, n) for seed in (0, 1)]
            found = [measure(*files, "--no-forecast") for _ in range(REPEATS)]
            _, processor, peak = (statistics.median(column) for column in zip(*found, strict=True))
            notes.append(
                f"Audit, the test alone: {n:,} trajectories a side of 50 steps take {processor:.1f} s of the "
                f"processor and {peak:.2f} GiB."
            )
    return rows, notes


def walks(folder: Path, seed: int, n: int) -> Path:
    """Random walks in the plane, of 50 steps."""
    path = folder / f"walks_{seed}.npy"
    np.save(path, np.cumsum(np.random.default_rng(seed).normal(size=(n, 50, 2)), axis=1))
    return path


def equal(folder: Path, seed: int) -> Path:
    """Random walks of equal length, in a file."""
    path = folder / f"equal_{seed}.npy"
    np.save(path, np.cumsum(np.random.default_rng(seed).normal(size=(N, STEPS, CHANNELS)), axis=1))
    return path


def ragged(folder: Path, seed: int) -> Path:
    """Random walks of half to one and a half times the length, of which some steps are missing."""
    rng, path = np.random.default_rng(seed), folder / f"ragged_{seed}.npz"
    lengths = rng.integers(STEPS // 2, STEPS * 3 // 2 + 1, size=N)
    x = np.cumsum(rng.normal(size=(lengths.sum(), CHANNELS)), axis=0)
    x[rng.random(len(x)) < MISSING] = np.nan
    np.savez(path, x=x, lengths=lengths)
    return path


def measure(demonstrations: Path, generated: Path, *options: object) -> tuple[float, float, float]:
    """Seconds on the wall and of the processor, and GiB, of one audit."""
    given = ["audit", demonstrations, "--generated", generated, "--measure", "path_length", *options]
    command = [sys.executable, "-c", PROGRAM, *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wall, processor, peak = map(float, done.stdout.splitlines()[-1].split())
    return wall, processor, peak


if __name__ == "__main__":
    for line in sum(run(), []):
        print(line)
