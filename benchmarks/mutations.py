"""Do the tests notice when a central line is wrong? `python -m benchmarks.mutations [NAME ...]`.

Each mutation is a plausible mistake in a line on which the results rest. They were chosen for what they would
spoil, before it was known which of them the tests catch. One at a time is made in a fresh copy of the tree,
and the tests that are meant to catch it run there. The same tests pass first in a copy without any mistake.
The whole table is written to `mutations.md` beside this file; named mutations are only run and printed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
WANTED = 0.9  # share of mutations to be caught


class Mutation(NamedTuple):
    """A mistake to make: in ``file`` the text ``old``, which stands there once, becomes ``new``.

    ``tests`` are arguments of pytest: the file that is meant to catch it and, where that one is slow, which
    of its tests are run. Leaving tests out can only let more mistakes through.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "sign of the forecast drift",
        "physmis/drift.py",
        "(unit(f - p) * unit(q - p))",
        "(unit(p - f) * unit(q - p))",
        ("tests/test_drift.py", "-k", "not covers"),
    ),
    Mutation(
        "floor of all seeds pooled",
        "physmis/drift.py",
        "_tv_floor(tuple(prior.cdf(edges).tolist()), n, data)",
        "_tv_floor(tuple(prior.cdf(edges).tolist()), n * len(groups), data)",
        ("tests/test_drift.py", "-k", "not covers"),
    ),
    Mutation(
        "ceiling of half samples",
        "physmis/drift.py",
        "return 2 * r / (1 + r)",
        "return r",
        ("tests/test_drift.py", "-k", "not covers"),
    ),
    Mutation(
        "few seeds taken for many",
        "physmis/intervals.py",
        "scipy.stats.t.ppf(0.975, seeds - 1) / 1.96 * np.sqrt(seeds / (seeds - 1))",
        "scipy.stats.t.ppf(0.975, seeds - 1) / 1.96",
        ("tests/test_drift.py", "-k", "not covers"),
    ),
    Mutation(
        "bias without its half",
        "physmis/expansion.py",
        "return second.sum() / 2, (first**2).sum()",
        "return second.sum(), (first**2).sum()",
        ("tests/test_expansion.py",),
    ),
    Mutation(
        "sign of the bias",
        "physmis/expansion.py",
        "gap = edges - (z[part] + bias[part])[:, None]",
        "gap = edges - (z[part] - bias[part])[:, None]",
        ("tests/test_expansion.py",),
    ),
    Mutation(
        "blur taken for its root",
        "physmis/expansion.py",
        "u = gap / np.sqrt(blur[part])[:, None]",
        "u = gap / blur[part][:, None]",
        ("tests/test_expansion.py",),
    ),
    Mutation(
        "transition transposed",
        "physmis/kernels.py",
        "return p @ np.linalg.matrix_power(transition, steps)",
        "return np.linalg.matrix_power(transition, steps) @ p",
        ("tests/test_kernels.py",),
    ),
    Mutation(
        "own neighbour",
        "physmis/kernels.py",
        "half[i, j] = torch.inf",
        "half[i, j] = half[i, j]",
        ("tests/test_kernels.py",),
    ),
    Mutation(
        "half squares halved again",
        "physmis/kernels.py",
        ".div_(-max(width**2, 1e-30))",
        ".div_(-max(2 * width**2, 1e-30))",
        ("tests/test_kernels.py",),
    ),
    Mutation(
        "schedule without its square",
        "physmis/models/diffusion.py",
        "/ 1.008 * np.pi / 2) ** 2",
        "/ 1.008 * np.pi / 2)",
        ("tests/test_diffusion.py", "-k", "not held and not mode"),
    ),
    Mutation(
        "sign of the multistep slope",
        "physmis/models/diffusion.py",
        "slope = (x - last[0]) / (theta[t] - last[1])",
        "slope = (last[0] - x) / (theta[t] - last[1])",
        ("tests/test_diffusion.py", "-k", "not held and not mode"),
    ),
    Mutation(
        "sign of the velocity learned",
        "physmis/models/diffusion.py",
        '"velocity": c * noise - s * x}',
        '"velocity": c * noise + s * x}',
        ("tests/test_diffusion.py", "-k", "not held and not mode"),
    ),
    Mutation(
        "guidance counted from the told",
        "physmis/models/guided.py",
        "return free + self.guidance * (told - free)",
        "return told + self.guidance * (told - free)",
        ("tests/test_guided.py",),
    ),
    Mutation(
        "weights not averaged",
        "physmis/models/training.py",
        "average.lerp_(weights, 1 - decay)",
        "average.lerp_(weights, 1.0)",
        ("tests/test_models.py", "-k", "vae or bound"),
    ),
    Mutation(
        "divergence without its half",
        "physmis/models/vae.py",
        "(mean**2 + scale**2 - 1) / 2 - scale.log()",
        "(mean**2 + scale**2 - 1) - scale.log()",
        ("tests/test_models.py", "-k", "vae or bound"),
    ),
    Mutation(
        "code that shrinks on its round trip",
        "physmis/models/vae.py",
        "(1 - strength**2) ** 0.5 * (mean + scale * own)",
        "(1 - strength) * (mean + scale * own)",
        ("tests/test_models.py", "-k", "vae or bound"),
    ),
    Mutation(
        "attention to the future",
        "physmis/models/transformer.py",
        "is_causal=past is None",
        "is_causal=False",
        ("tests/test_models.py", "-k", "transformer"),
    ),
    Mutation(
        "last step held one too early",
        "physmis/models/__init__.py",
        "int(step) % self.shape[0]",
        "int(step) % (self.shape[0] - 1)",
        ("tests/test_models.py", "-k", "transformer"),
    ),
    Mutation(
        "path length along the wrong axis",
        "physmis/measurements.py",
        "(np.diff(x, axis=1) ** 2).sum(axis=-1)).sum(axis=1)",
        "(np.diff(x, axis=1) ** 2).sum(axis=1)).sum(axis=-1)",
        ("tests/test_measurements.py",),
    ),
    Mutation(
        "outer mass not lifted by the inner rod",
        "physmis/tasks/pendulum.py",
        "self.g * ((self.m1 + self.m2) * self.l1 * (1 - cos1)",
        "self.g * (self.m1 * self.l1 * (1 - cos1)",
        ("tests/test_pendulum.py",),
    ),
    Mutation(
        "phase space without its root",
        "physmis/tasks/pendulum.py",
        "density = np.sqrt(self.m1 + self.m2 * np.sin(a1 - a2) ** 2)",
        "density = self.m1 + self.m2 * np.sin(a1 - a2) ** 2",
        ("tests/test_pendulum.py",),
    ),
    Mutation(
        "bins of equal width",
        "physmis/tasks/__init__.py",
        "self.prior.ppf(np.linspace(0, 1, n + 1))",
        "np.linspace(*self.prior.ppf([0, 1]), n + 1)",
        ("tests/test_tasks.py",),
    ),
    Mutation(
        "weights upside down",
        "physmis/mitigations.py",
        "p / np.maximum(q, SMALLEST)",
        "q / np.maximum(p, SMALLEST)",
        ("tests/test_mitigations.py",),
    ),
    Mutation(
        "prediction from what was not yet undone",
        "physmis/coordinates.py",
        "self._features(x[:, t - 1]) @ coefficients",
        "self._features(np.asarray(y)[:, t - 1]) @ coefficients",
        ("tests/test_coordinates.py",),
    ),
    Mutation(
        "p-value that can be 0",
        "physmis/comparison.py",
        "return float((rarer <= rarer[-1]).mean())",
        "return float((rarer[:-1] <= rarer[-1]).mean())",
        ("tests/test_audit.py", "-k", "not covers and not rarely and not noticed"),
    ),
    Mutation(
        "bins of the demonstrations alone",
        "physmis/comparison.py",
        "pooled = np.concatenate(given)",
        "pooled = given[0]",
        ("tests/test_audit.py", "-k", "not covers and not rarely and not noticed"),
    ),
    Mutation(
        "one result for all seeds",
        "physmis/experiment.py",
        '"seed": self.seed,',
        '"seed": 0,',
        ("tests/test_experiment.py", "-k", "address or seeds"),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run mutations, all or those named; 1 if too few are caught, or if the tests fail without any."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutations", description="Break, test, tell.")
    known = {mutation.name: mutation for mutation in MUTATIONS}
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(known)}")
    names = parser.parse_args(arguments).names
    if unknown := [name for name in names if name not in known]:
        parser.error(f"unknown mutation {unknown[0]!r}; accepted: {', '.join(known)}")
    chosen = [known[name] for name in names] or list(MUTATIONS)

    begun = processor_seconds()
    for tests in dict.fromkeys(one.tests for one in chosen):
        if failed := first_failure(ROOT, None, tests):
            print(f"{failed} fails without any mutation: mend it first")
            return 1
    print(f"Without any mutation the tests pass ({processor_seconds() - begun:.0f} s).", flush=True)

    lines = ["| mutation | file | caught | by | seconds |", "|---|---|---|---|---|"]
    caught = 0
    for one in chosen:
        start = processor_seconds()
        by = first_failure(ROOT, one, one.tests)
        caught += bool(by)
        told = ("yes", f"`{by}`") if by else ("**no**", "-")
        lines.append(
            f"| {one.name} | `{one.file}` | {' | '.join(told)} | {processor_seconds() - start:.0f} |"
        )
        print(lines[-1], flush=True)
    summary = (
        f"{caught} of {len(chosen)} mutations are caught. Seconds are of processor time: "
        f"{processor_seconds() - begun:.0f} in all, the tests without any mutation included."
    )
    print(summary)
    if not names:
        path = Path(__file__).with_name("mutations.md")
        path.write_text("\n".join(["# Mutations", "", summary, "", *lines]) + "\n", encoding="utf-8")
        print(f"Written to {path}")
    return int(caught < WANTED * len(chosen))


def processor_seconds() -> float:
    """Processor time of all processes that were started here and have ended."""
    times = os.times()
    return times.children_user + times.children_system


def first_failure(root: Path, mutation: Mutation | None, tests: Sequence[str]) -> str | None:
    """The first test to fail in a copy of the tree at ``root`` with the mutation, or None.

    Raises
    ------
    ValueError : the text to replace does not stand in its file exactly once.
    RuntimeError : the tests could not be run, which says nothing about what they catch.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in working_tree(root):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, copy / name)
        if mutation is not None:
            mutate(copy, mutation)
        paths = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-x", "-q", "-rf", "-p", "no:xdist"),
                *("-p", "no:cacheprovider", "-m", "not end_to_end", *tests),
            ],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PHYSMIS_STORE": str(copy / "store")},
            capture_output=True,
            text=True,
        )
    if done.returncode == 0:
        return None
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    if done.returncode != 1 or not failed:
        told = done.stdout[-2000:] + done.stderr[-2000:]
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{told}")
    return failed[0].removeprefix("FAILED ").split(" - ")[0]


def working_tree(root: Path) -> list[str]:
    """Files that git tracks or would track, with the changes not yet committed."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in dict.fromkeys(names) if name and (root / name).is_file()]


def mutate(root: Path, mutation: Mutation) -> None:
    """Make the mistake in the tree at ``root``; raises as `first_failure`."""
    path = root / mutation.file
    text = path.read_text(encoding="utf-8")
    if (count := text.count(mutation.old)) != 1:
        raise ValueError(
            f"mutation '{mutation.name}': {mutation.old!r} must stand once in {mutation.file}, found {count}"
        )
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
