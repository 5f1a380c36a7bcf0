"""The command line: `physmis audit`, and `physmis demo` for files to try it on."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import runpy
import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from physmis.audit.measurements import MEASUREMENTS

NO_SHIFT, SHIFT, BAD_INPUT = 0, 1, 2  # exit codes
PAGE = b"<!doctype html><!-- page of physmis audit -->"  # beginning of report.html


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    given = _parser().parse_args(arguments)
    given.line = shlex.join(["physmis", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        return _audit(given) if given.command == "audit" else _demo(given)
    except (ValueError, TypeError, OSError) as error:
        message = f"physmis {given.command}: {error}"
    except (Exception, SystemExit):  # of the user's measurement; Python's own exit code would say "shift"
        message = traceback.format_exc().rstrip()
    print(message, file=sys.stderr)
    if given.command == "audit" and given.json:
        _say(json.dumps({"exit_code": BAD_INPUT, "status": "bad input", "error": message, "audits": []}))
    return BAD_INPUT


def _say(text):
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader has gone; the exit code still tells
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser():
    parser = argparse.ArgumentParser(prog="physmis", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    demo = commands.add_parser("demo", help="write demos.npz and plans.npz, to try the audit on")
    demo.add_argument("folder", help="where to")
    audit = commands.add_parser(
        "audit",
        help="will a model keep, or has it kept, the distribution of a quantity?",
        description="Forecast which values a model will make too often; with --generated, test if it has. "
        "Exit code 0: no shift detected, or nothing compared; 1: shift detected; 2: bad input.",
    )
    audit._negative_number_matcher = re.compile(r"-\.?\d")  # argparse takes -1e-3 for an option
    files = ".npz, .npy, .h5, .hdf5, .csv, .parquet, or a folder of Minari, LeRobot or zarr"
    audit.add_argument("demonstrations", help=files)
    named = f"{', '.join(MEASUREMENTS)}; or FILE.py:FUNCTION or MODULE:FUNCTION, to be run; can be repeated"
    audit.add_argument("--measure", required=True, metavar="NAME", action="append", help=named)
    audit.add_argument("--generated", metavar="FILE", help="trajectories of a trained model")
    distributions = "uniform LOW HIGH, or normal MEAN SD"
    audit.add_argument("--prior", nargs=3, metavar=("NAME", "A", "B"), help=distributions)
    for prefix, which in (("", "all files"), ("generated-", "the generated file")):
        audit.add_argument(f"--{prefix}dt", type=float, metavar="SECONDS", help=f"time step of {which}")
        audit.add_argument(f"--{prefix}array", metavar="NAME", help=f"which array of {which}")
        of = f"of {which}, from 0"
        audit.add_argument(f"--{prefix}channels", type=int, nargs="+", metavar="K", help=of)
    audit.add_argument("--unit", default="", help="of the quantity, for the report")
    audit.add_argument("--no-forecast", action="store_true", help="test only, which takes a second")
    audit.add_argument("--tolerance", type=float, default=0, metavar="TV", help="a shift by less passes (0)")
    audit.add_argument("--looks", type=int, default=1, metavar="K", help="share the level over K audits (1)")
    audit.add_argument("--strict", action="store_true", help="a warning about the data is bad input")
    audit.add_argument("--seed", type=int, default=0, help="of the resampling (0)")
    audit.add_argument("--json", action="store_true", help="print JSON in place of text")
    audit.add_argument("--html", metavar="FILE", help="write the report as one page")
    return parser


def _demo(given):
    from physmis.audit.demo import write_demo

    for path in write_demo(Path(given.folder)):
        print(f"{path}: {path.stat().st_size // 1024} KiB")
    return NO_SHIFT


def _audit(given):
    page = given.html and _page(Path(given.html))
    if given.looks < 1 or not 0 <= given.tolerance < 1:
        got = f"{given.looks}, {given.tolerance}"
        raise ValueError(f"expected --looks of 1 or more and --tolerance from 0 to 1, got {got}")
    # Only here, as they take a second that --help does not need.
    from tqdm import tqdm

    from physmis.audit import report

    with tqdm(disable=None, leave=False, bar_format="{desc} ({elapsed})") as bar:
        reports = _reports(given, lambda stage: (bar.set_description_str(stage), bar.update()))
    found = [one for audited in reports for one in audited.findings]
    if given.strict and found:
        raise ValueError("--strict: " + " ".join(dict.fromkeys(one.message for one in found)))
    code = SHIFT if any(one.shifted for one in reports) else NO_SHIFT
    if given.json:
        said = {"exit_code": code, "audits": [report.data(one) for one in reports]}
        _say(json.dumps(said, indent=1, allow_nan=False))
    else:
        _say("\n\n\n".join(map(str, reports)))
    if page:
        from physmis.experiments.store import write

        write(page, report.html(*reports).encode())
    return code


def _reports(given, tell):
    """The report of each measurement, which share the level with each other and with all looks."""
    from dataclasses import replace

    from physmis.audit.audit import audit, errors
    from physmis.audit.readers import read
    from physmis.drift.shift_test import LEVEL

    measures, prior = [_measure(name) for name in given.measure], given.prior and _prior(given.prior)
    tell(f"reading {given.demonstrations}")
    demonstrations, generated = read(given.demonstrations, given.array, given.channels), None
    if given.generated:
        tell(f"reading {given.generated}")
        array, channels = given.generated_array or given.array, given.generated_channels or given.channels
        generated = read(given.generated, array, channels)
    kernel, parts, found = None if given.no_forecast else errors, len(measures) * given.looks, []
    shared = f"{LEVEL / parts:.2g}" + (f", one of {parts} parts of {LEVEL:g}" if parts > 1 else "")
    for name, measure in zip(given.measure, measures, strict=True):
        one = audit(demonstrations, measure, kernel, generated, prior, given.dt, given.seed,
                    generated_dt=given.generated_dt or given.dt, tolerance=given.tolerance, unit=given.unit,
                    level=LEVEL / parts, tell=lambda stage, name=name: tell(f"{name}: {stage}"))  # fmt: skip
        about = {
            "demonstrations file": given.demonstrations, "generated file": given.generated,
            "time step": ", ".join(dict.fromkeys(f"{side.dt:g}" for side in one.sides)),
            "channels": " ".join(map(str, given.channels or ["all"])), "unit": given.unit, "level": shared,
            "tolerance": given.tolerance and f"{given.tolerance:g}", "seed": str(given.seed),
            "date": time.strftime("%Y-%m-%d %H:%M"), "command": given.line,
        }  # fmt: skip
        found.append(replace(one, about={name: value for name, value in about.items() if value}))
    return found


def _page(path):
    """Where the page is written. Raises ValueError where a mistyped name would destroy data."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ValueError(f"--html: expected a file in a folder that exists, got {path}")
    if path.exists() and (begins := path.read_bytes()[: len(PAGE)]) and begins != PAGE:
        raise ValueError(f"--html: expected a new file or a page of an audit, got {path}")
    return path


def _prior(words):
    import scipy.stats

    name, (a, b) = words[0], map(float, words[1:])
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
        there = runpy.run_path(str(path)) if path else vars(importlib.import_module(place))
    except (Exception, SystemExit) as error:
        raise ValueError(f"--measure {name}: {type(error).__name__}: {error}") from error
    if not callable(there.get(function)):
        names = ", ".join(key for key, one in there.items() if callable(one) and key[0] != "_") or "none"
        raise ValueError(f"--measure: expected a function {function} in {place}, got {names}")
    return there[function]
