"""The command line: `physmis audit`."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.stats
from tqdm import tqdm

from physmis.audit.measurements import MEASUREMENTS
from physmis.audit.readers import read

HELD, MOVED, BAD_INPUT = 0, 1, 2
OURS = b'<meta name="generator" content="physmis.audit.audit">'  # near the beginning of each page
PRIORS = {"uniform": lambda low, high: scipy.stats.uniform(low, high - low), "normal": scipy.stats.norm}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    # argparse takes -1e-3 and -inf for options, but nothing that holds a space.
    given = _parser().parse_args([f" {word}" if _negative(word) else word for word in words])
    for name, value in vars(given).items():
        values = [_as_given(part) for part in value] if isinstance(value, list) else _as_given(value)
        setattr(given, name, values)
    try:
        return _audit(given)
    except (ValueError, TypeError, OSError) as error:
        told = f"physmis audit: {error}"
    except SystemExit as stop:  # its code would be taken for a verdict
        told = f"physmis audit: --measure {given.measure} ended the program by sys.exit({stop.code!r})"
    except Exception:  # of the user's measurement, say; left alone, Python would end with 1, which is "moved"
        told = traceback.format_exc().rstrip()
    _tell(told, sys.stderr)
    return BAD_INPUT


def _tell(text, stream):
    """Print, whether anybody reads or not: neither is a reason for another exit code."""
    try:
        print(text, file=stream, flush=True)
    except OSError:  # the flush at exit must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _negative(word):
    try:
        return word.startswith("-") and not float(word) > 0
    except ValueError:
        return False


def _as_given(value):
    """Without the space that `main` puts before what is negative."""
    return value[1:] if isinstance(value, str) and value[:1] == " " and _negative(value[1:]) else value


def _parser():
    parser = argparse.ArgumentParser(prog="physmis", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    audit = commands.add_parser(
        "audit",
        help="will a model keep, or has it kept, the distribution of a quantity?",
        description="Forecast from demonstrations which values of a quantity a model will make too often or "
        "too rarely; with --generated, test whether it has. "
        "Exit code 0: no shift found, or nothing to compare; 1: moved; 2: bad input.",
    )
    audit.add_argument(
        "demonstrations", help=".npz, .npy, .h5 or .hdf5 (D4RL), or the folder of a Minari data set"
    )
    known = ", ".join(MEASUREMENTS)
    audit.add_argument(
        "--measure",
        required=True,
        metavar="NAME",
        help=f"{known}; or FILE.py:FUNCTION or MODULE:FUNCTION, which is run",
    )
    audit.add_argument("--generated", metavar="FILE", help="trajectories of a trained model")
    audit.add_argument("--prior", nargs=3, metavar=("LAW", "A", "B"),
                       help="the curated law: uniform LOW HIGH, or normal MEAN SD")  # fmt: skip
    audit.add_argument("--dt", type=float, default=1.0, help="time between steps (1)")
    audit.add_argument("--array", metavar="NAME", help="which array of the files, if not the usual one")
    audit.add_argument(
        "--channels", type=int, nargs="+", metavar="K", help="which channels, counted from 0 (all)"
    )
    audit.add_argument("--seed", type=int, default=0, help="of the resampling (0)")
    audit.add_argument("--html", metavar="FILE", help="write the report as one page")
    return parser


def _audit(given):
    from physmis.audit.audit import audit, report
    from physmis.experiments.store import write

    measure, prior = _measure(given.measure), _prior(given.prior)
    page = given.html and _page(Path(given.html))
    sides = [
        read(path, given.array, given.channels) for path in (given.demonstrations, given.generated) if path
    ]
    with tqdm(desc="measured", unit=" trajectories", disable=None, leave=False) as bar:

        def progress(done, whole):
            bar.total = whole
            bar.update(done - bar.n)

        found = audit(
            sides[0], measure, generated=sides[1] if given.generated else None, prior=prior, dt=given.dt,
            seed=given.seed, progress=progress,
        )  # fmt: skip
    if page:
        write(page, report.html(found).encode())
    _tell(found, sys.stdout)
    return MOVED if found.moved else HELD


def _page(path):
    """Where the page is written, links followed. Raises ValueError if something else would be lost there."""
    page = Path(os.path.realpath(path))
    if not page.parent.is_dir():
        raise ValueError(f"{path}: there is no such folder to write to")
    if not page.exists():
        return page
    if not page.is_file():
        raise ValueError(f"{path}: a file to write the page to wanted, this is a folder or a device")
    with open(page, "rb") as file:
        if (begins := file.read(1024)) and OURS not in begins:
            raise ValueError(
                f"{path}: there is a file that is no page of an audit; the page would take its place"
            )
    return page


def _prior(words):
    if words is None:
        return None
    name, *numbers = words
    if name not in PRIORS:
        raise ValueError(f"unknown prior {name!r}; accepted: {', '.join(PRIORS)}")
    try:
        a, b = map(float, numbers)
    except ValueError:
        raise ValueError(f"--prior {' '.join(words)}: two numbers wanted") from None
    if not np.isfinite([a, b]).all():
        raise ValueError(f"--prior {name} {a:g} {b:g}: finite numbers wanted")
    if not (b > a if name == "uniform" else b > 0):
        raise ValueError(
            f"--prior {name} {a:g} {b:g}: "
            + ("LOW below HIGH wanted" if name == "uniform" else "a positive SD wanted")
        )
    return PRIORS[name](a, b)


def _measure(name):
    """The name of a built-in measurement, or a function from the user's own file or module."""
    if name in MEASUREMENTS or ":" not in name:
        return name
    place, function = name.rsplit(":", 1)
    if place.endswith(".py") and not Path(place).is_file():
        raise ValueError(f"--measure {name}: no file {place}")
    # What the user's file imports, now or when it is called, may lie beside it, as for any Python program;
    # a module, in the folder that the command is called from.
    sys.path.insert(0, str(Path(place).absolute().parent if place.endswith(".py") else Path.cwd()))
    try:
        module = _from_file(place) if place.endswith(".py") else importlib.import_module(place)
    except (Exception, SystemExit) as error:
        raise ValueError(f"--measure {name}: {type(error).__name__}: {error}") from error
    if not callable(found := getattr(module, function, None)):
        raise ValueError(f"--measure {name}: {place} has no function {function!r}")
    return found


def _from_file(path):
    spec = importlib.util.spec_from_file_location(f"measure_{Path(path).stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
