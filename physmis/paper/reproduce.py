"""Train the standard results again and compare with the stored ones: `python -m physmis.paper.reproduce`.

It trains all of them; with `--models N`, N stored models drawn at random. On the same kind of machine with
the same versions, arrays must be equal. Elsewhere rounding differs: a recovered distribution agrees with the
stored one if their difference is within sampling noise (Kolmogorov-Smirnov at a level of 1 % for all of them
together) or within the differences of stored seeds. Exit code 0 if all agree, 1 if not, 130 after Ctrl-C.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import ks_2samp, kstwo

from physmis import paths, tasks
from physmis.experiments.experiment import Experiment, samples
from physmis.experiments.parallel import cached_all
from physmis.experiments.provenance import code_version
from physmis.experiments.store import Entry, Store, key, write
from physmis.mitigations import Conditioned, Reweighted
from physmis.models import build
from physmis.paper import claims, committed, regenerate

LEVEL = 0.01  # chance of any false disagreement among all distributions
DISTRIBUTIONS = "recovered distributions: largest difference of their distribution functions"


class Row(NamedTuple):
    """A row of the table: what was compared, the stored and the new value, and the tolerated difference."""

    name: str
    stored: float
    anew: float
    tolerance: float
    agrees: bool
    note: str = ""


def compare_claims(stored: Mapping[str, Any], anew: Mapping[str, Any], primary: Sequence[str]) -> list[Row]:
    """Primary claims of two manifests, which agree if both verdict and value do.

    Values may differ by the sum of the intervals' half widths; without intervals, by half the stored value.
    """
    rows = []
    for id in primary:
        old, new = stored["claims"][id], anew["claims"][id]
        half = [max(c["high"] - c["value"], c["value"] - c["low"]) for c in (old, new)]
        tolerance = sum(half) or abs(old["value"]) / 2
        close = abs(new["value"] - old["value"]) <= tolerance
        same, note = old["verdict"] == new["verdict"], old["verdict"]
        if not same:
            note += f", new: {new['verdict']}"
        rows.append(Row(id, old["value"], new["value"], tolerance, close and same, note))
    return rows


def compare_samples(pairs: Sequence[tuple[Entry, Entry]], stored: Sequence[Entry]) -> list[Row]:
    """Stored and new samples of the same experiments: largest difference of their distribution functions.

    ``stored`` are all stored samples, from which the other seeds of each experiment are taken.
    """
    arms = defaultdict(list)
    for entry in stored:
        arms[_arm(entry)].append(entry)
    rows = []
    for old, new in pairs:
        same = all(np.array_equal(old.arrays[name], new.arrays[name]) for name in old.arrays)
        alike = all(old.meta[name] == new.meta[name] for name in ("machine", "versions"))
        found = ks_2samp(old.arrays["z"], new.arrays["z"]).statistic
        others = [e.arrays["z"] for e in arms[_arm(old)] if e.key != old.key]
        spread = max((ks_2samp(old.arrays["z"], z).statistic for z in others), default=0.0)
        n = len(old.arrays["z"]) / 2  # of two samples as large
        tolerance = max(kstwo.isf(LEVEL / len(pairs), round(n)), spread)
        note = (
            "arrays are equal" if same else "on this kind of machine arrays should be equal" if alike else ""
        )
        name = str(experiment_of(old.meta["config"]) or old.key)
        rows.append(Row(name, 0.0, found, tolerance, same or (not alike and found <= tolerance), note))
    return rows


def _arm(entry: Entry) -> str:
    """A key that samples share if they differ in their seed alone."""
    config = json.loads(json.dumps(entry.meta["config"]))
    config["of"]["seed"] = 0
    return key(config)


def experiment_of(config: Mapping[str, Any]) -> Experiment | None:
    """The experiment of stored samples; None for coordinates, which cannot be rebuilt from a config."""
    of = config["of"]
    task = {name: value for name, value in of["task"].items() if name != "controller"}
    treatment = of.get("treatment", {"name": None})
    makers = {
        None: lambda: None,
        "reweighted": lambda: Reweighted(tuple(treatment["weights"])),
        "conditioned": Conditioned,
    }
    if treatment["name"] not in makers:
        return None
    model = build(**{**of["model"], **config["sampling"]})
    made = makers[treatment["name"]]()
    experiment = Experiment(tasks.load(**task), model, of["data"], config["samples"], of["seed"], made)
    return experiment if key(experiment.config) == key(config) else None


def table(rows: Sequence[Row]) -> str:
    """The rows as text."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'':{width}}  {'stored':>9} {'new':>9} {'tolerance':>9}  agrees"]
    for row in rows:
        numbers = " ".join(f"{value:9.4g}" for value in row[1:4])
        lines.append(
            f"{row.name:{width}}  {numbers}  {'yes' if row.agrees else 'NO ':3}  {row.note}".rstrip()
        )
    return "\n".join(lines)


def reproduce(options: argparse.Namespace) -> int:
    """Run all notebooks with an empty store, and compare."""
    stored = claims.read_manifest(paths.committed())
    old = {entry.key: entry for entry in _stored("samples")}
    folder, anew = paths.root() / "output" / "reproduced", Store(paths.root() / "store-anew")
    _begin(anew.root)
    os.environ |= {"PHYSMIS_STORE": str(anew.root), "PHYSMIS_RESULTS": "none"}
    given = ["--output", str(folder)] + (["--jobs", str(options.jobs)] if options.jobs else [])
    if code := regenerate.main(given):
        return code
    new = claims.read_manifest(folder / "standard")
    primary = sorted(id for id, claim in claims.load_contract().claims.items() if claim.role == "primary")
    pairs = [(entry, found) for entry in old.values() if (found := anew.fetch(entry.meta["config"]))]
    parts = {
        "primary numbers": compare_claims(stored, new, primary),
        DISTRIBUTIONS: compare_samples(pairs, [*old.values()]),
    }
    text = "\n\n".join(f"{title}\n{table(rows)}" for title, rows in parts.items())
    others = sorted(new["claims"].keys() - set(primary))
    turned = [id for id in others if new["claims"][id]["verdict"] != stored["claims"][id]["verdict"]]
    text += f"\n\nfurther claims with another verdict: {', '.join(turned) or 'none'} (of {len(others)})\n"
    write(folder / "agreement.txt", text.encode())
    print(text)
    (anew.root / "begun.json").unlink()  # the next run begins with an empty store
    code = _verdict([row for rows in parts.values() for row in rows])
    if options.save:
        os.environ |= {"PHYSMIS_OUTPUT": str(folder)}
        print(committed.save(paths.notebooks()))
    return code


def _begin(root: Path) -> None:
    """Empty a store, unless an interrupted run of the same code left it."""
    begun, code = root / "begun.json", code_version()
    if begun.is_file() and json.loads(begun.read_text()) == code and not code.endswith("-dirty"):
        print(f"continuing the interrupted run in {root}")
        return
    if root.exists():
        shutil.rmtree(root)
    write(begun, json.dumps(code).encode())


def spot_check(options: argparse.Namespace) -> int:
    """Train some stored models again, in a temporary store, and compare their samples."""
    stored = _stored("samples")
    seconds = {entry.key: entry.meta["seconds"] for entry in _stored("model")}
    experiments = [(entry, made) for entry in stored if (made := experiment_of(entry.meta["config"]))]
    experiments.sort(key=lambda pair: seconds[key(pair[1].training_config)])
    some = experiments[: max(len(experiments) // 10, 1)] if options.cheap else experiments
    if len(some) < options.models:
        raise ValueError(f"--models: expected at most {len(some)}, got {options.models}")
    seed = options.seed if options.seed is not None else int(np.random.default_rng().integers(2**31))
    picked = [some[i] for i in np.random.default_rng(seed).choice(len(some), options.models, replace=False)]
    print(f"{options.models} of {len(some)} stored models, drawn with --seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as root:
        anew = Store(root)
        cached_all([samples(made) for _, made in picked], anew, advice="These results are not kept.")
        rows = compare_samples([(entry, anew.fetch(made.config)) for entry, made in picked], stored)
    print(f"{DISTRIBUTIONS}\n{table(rows)}")
    return _verdict(rows)


def _stored(kind: str) -> list[Entry]:
    """All stored results of a kind. Raises ValueError if there are none."""
    results = Store(paths.results_root())
    found = [results.read(path) for path in sorted((results.root / kind).glob("*.npz"))]
    if not found:
        raise ValueError(f"expected stored results of kind {kind} in {results.root}, got none")
    return [entry for entry in found if entry]


def _verdict(rows: Sequence[Row]) -> int:
    unlike = [row.name for row in rows if not row.agrees]
    print(f"{len(rows) - len(unlike)} of {len(rows)} agree" + "".join(f"\n  NOT: {name}" for name in unlike))
    return 1 if unlike else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="reproduce", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--models", type=int, metavar="N", help="train only N stored models, drawn at random")
    add("--seed", type=int, help="seed of that draw (default: a random one)")
    add("--cheap", action="store_true", help="draw from the tenth of the models that train fastest")
    add("--jobs", type=int, metavar="N", help="worker processes (default: one for each core)")
    add("--save", action="store_true", help="keep the new results, figures and outputs in the repository")
    options = parser.parse_args(arguments)
    try:
        return spot_check(options) if options.models else reproduce(options)
    except (ValueError, OSError) as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nreproduce: stopped", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
