"""The command line: `physmis audit`, and `physmis demo` for files to try it on."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import runpy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from physmis.audit.measurements import MEASUREMENTS

NO_SHIFT, SHIFT, BAD_INPUT = 0, 1, 2  # exit codes
PAGE = b"<!doctype html><!-- page of physmis audit -->"  # beginning of report.html


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    given = _parser().parse_args(arguments)
    try:
        return _audit(given) if given.command == "audit" else _demo(given)
    except (ValueError, TypeError, OSError) as error:
        message = f"physmis {given.command}: {error}"
    except (Exception, SystemExit):  # of the user's measurement; Python's own exit code would say "shift"
        message = traceback.format_exc().rstrip()
    print(message, file=sys.stderr)
    return BAD_INPUT


def _parser():
    parser = argparse.ArgumentParser(prog="physmis", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    demo = commands.add_parser("demo", help="write demos.npz and plans.npz, to try the audit on")
    demo.add_argument("folder", help="where to")
    audit = commands.add_parser(
        "audit",
        help="will a model keep, or has it kept, the distribution of a quantity?",
        description="Forecast which values a model will make too often; with --generated, test if it has. "
        "Exit code 0: no shift detected, or nothing to compare; 1: shift detected; 2: bad input.",
    )
    audit._negative_number_matcher = re.compile(r"-\.?\d")  # argparse takes -1e-3 for an option
    audit.add_argument("demonstrations", help=".npz, .npy, .h5 or .hdf5 (D4RL), or a folder of Minari")
    named = f"{', '.join(MEASUREMENTS)}; or FILE.py:FUNCTION or MODULE:FUNCTION, which is run"
    audit.add_argument("--measure", required=True, metavar="NAME", help=named)
    audit.add_argument("--generated", metavar="FILE", help="trajectories of a trained model")
    audit.add_argument(
        "--prior", nargs=3, metavar=("NAME", "A", "B"), help="uniform LOW HIGH, normal MEAN SD"
    )
    audit.add_argument("--dt", type=float, default=1.0, help="time between steps (1)")
    audit.add_argument("--array", metavar="NAME", help="which array of the files, if not the usual one")
    audit.add_argument("--channels", type=int, nargs="+", metavar="K", help="channels, counted from 0 (all)")
    audit.add_argument("--seed", type=int, default=0, help="of the resampling (0)")
    audit.add_argument("--html", metavar="FILE", help="write the report as one page")
    return parser


def _demo(given):
    from physmis.audit.demo import write_demo

    for path in write_demo(Path(given.folder)):
        print(f"{path}: {path.stat().st_size // 1024} KiB")
    return NO_SHIFT


def _audit(given):
    page = given.html and _page(Path(given.html))
    # Only here, as they take seconds (torch) that --help does not need.
    from physmis.audit import report
    from physmis.audit.audit import audit
    from physmis.audit.readers import read
    from physmis.experiments.store import write

    measure, prior = _measure(given.measure), given.prior and _prior(given.prior)
    demonstrations = read(given.demonstrations, given.array, given.channels).trajectories
    generated = given.generated and read(given.generated, given.array, given.channels).trajectories
    found = audit(demonstrations, measure, generated=generated, prior=prior, dt=given.dt, seed=given.seed)
    try:
        print(found, flush=True)
    except BrokenPipeError:  # the reader has gone; the exit code still tells
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if page:
        write(page, report.html(found).encode())
    return SHIFT if found.shifted else NO_SHIFT


def _page(path):
    """Where the page is written. Raises ValueError where a mistyped name would destroy data."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ValueError(f"--html: expected a file in a folder that exists, got {path}")
    if path.exists() and (begins := path.read_bytes()[: len(PAGE)]) and begins != PAGE:
        raise ValueError(f"--html: expected a new file or a page of an audit, got {path}")
    return path


def _prior(words):
    import scipy.stats

    name, a, b = words[0], *map(float, words[1:])
    if name == "uniform" and a < b:
        return scipy.stats.uniform(a, b - a)
    if name == "normal" and b > 0:
        return scipy.stats.norm(a, b)
    raise ValueError(f"--prior: expected uniform LOW HIGH, or normal MEAN SD, got {' '.join(words)}")


def _measure(name):
    """The name of a built-in measurement, or a function from the user's own file or module."""
    if ":" not in name:
        return name
    place, function = name.rsplit(":", 1)
    path = Path(place).absolute() if place.endswith(".py") else None
    # What the user's file imports may lie beside it, as for any Python program; a module, in this folder.
    sys.path.insert(0, str(path.parent if path else Path.cwd()))
    try:
        return (runpy.run_path(str(path)) if path else vars(importlib.import_module(place)))[function]
    except (Exception, SystemExit) as error:
        raise ValueError(f"--measure {name}: {type(error).__name__}: {error}") from error
