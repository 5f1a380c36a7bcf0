"""What a notebook saves: figures, claims, and the manifest that says where they come from.

A notebook opens a run with `start`, saves through it, and closes it with `finish`, which fails if a figure or
claim of the contract is missing, and writes `manifest.json` beside the figures. Everything goes to
`paths.output`, never to the committed `figures/standard`. `check` compares a folder with the contract.
"""

import ast
import hashlib
import io
import json
import math
import secrets
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

from physmis import paths
from physmis.experiments import store
from physmis.experiments.experiment import Experiment, samples
from physmis.experiments.parallel import Job, cached_all
from physmis.experiments.provenance import code_version, machine, versions
from physmis.experiments.store import Store
from physmis.paper import claims, profiles

# A figure's bytes stay the same from run to run: its files carry no dates and no versions.
_FORMATS = {
    "png": (FigureCanvasAgg, 200, {"Software": None}),
    "pdf": (FigureCanvasPdf, 72, {"CreationDate": None}),
}
PARAMETERS = ("PROFILE", "SEED", "DEVICE")  # of every notebook
ADVICE = (
    "Complete results are kept: interrupt, and run again to continue. "
    "The profiles smoke and workshop take less time."
)


class Interrupted(KeyboardInterrupt):
    """A computation was interrupted. A notebook or script shows one line and no traceback."""

    def __str__(self) -> str:
        return "Interrupted. Complete results are kept: run again to continue."

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def _excepthook(kind: type, error: BaseException, traceback: Any) -> None:
    if isinstance(error, Interrupted):
        print(f"\n{error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


def start(notebook: str, profile: str, seed: int = 0, device: str = "auto") -> "Run":
    """Open the run of a notebook, such as "01_synthetic_tasks".

    Raises ValueError naming the argument, what is expected and what was given.
    """
    _refuse_unknown_parameters()
    if sys.excepthook is sys.__excepthook__:  # a plain script
        sys.excepthook = _excepthook
    contract = claims.load_contract()
    if notebook not in contract.notebooks:
        known = ", ".join(contract.notebooks) or "none"
        raise claims.ContractError(f"notebook: expected one of the contract ({known}), got {notebook!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed: expected a whole number, 0 or more, got {seed!r}")
    return Run(notebook, profiles.resolve(profile), seed, resolve_device(device), contract)


def _refuse_unknown_parameters() -> None:
    # papermill only warns of a parameter that a notebook does not have, and continues with the default.
    cells = getattr(sys.modules.get("__main__"), "In", ())  # what IPython has run so far
    injected = next((cell for cell in reversed(cells) if cell.startswith("# Parameters\n")), "")
    names = [node for node in ast.walk(ast.parse(injected)) if isinstance(node, ast.Name)]
    given = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    if unknown := sorted(given - set(PARAMETERS)):
        raise ValueError(f"expected the parameters {', '.join(PARAMETERS)}, got {', '.join(unknown)}")


def resolve_device(device: str) -> str:
    """ "cpu" or "cuda", from one of these or "auto". Raises ValueError for another name or an absent GPU."""
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device: expected 'auto', 'cpu' or 'cuda', got {device!r}")
    present = torch.cuda.is_available()
    if device == "cuda" and not present:
        raise ValueError("device: expected 'auto' or 'cpu' (torch finds no GPU), got 'cuda'")
    return {"auto": "cuda" if present else "cpu"}.get(device, device)


class Run:
    """One notebook's run: its settings, and what it has saved so far.

    A notebook uses `profile`, `seeds` (a tuple), `device` ("cpu" or "cuda") and `store`. `cold` says whether
    anything was computed because the store did not hold it.
    """

    def __init__(self, notebook: str, profile: Any, seed: int, device: str, contract: claims.Contract):
        self.notebook, self.profile, self.device = notebook, profile, device
        self.seeds = tuple(range(seed, seed + profile.seeds))
        self.store = Store()
        self.cold = False
        self._folder = paths.output(profile.name)
        self._results: set[str] = set()
        self._contract = contract
        self._figures = {id: row for id, row in contract.figures.items() if row.notebook == notebook}
        self._claims = {id: row for id, row in contract.claims.items() if row.notebook == notebook}
        self._saved: dict[str, dict[str, Any]] = {"figures": {}, "claims": {}}
        self._code = code_version()
        self._begun = time.perf_counter()

    def compute(self, jobs: Mapping[Any, Job | Experiment]) -> dict[Any, Any]:
        """Results of jobs, by name: from the store, or computed now. An experiment stands for its samples.

        If that takes more than 20 seconds, it says so first. Raises Interrupted; complete results are kept.
        """
        all_jobs = [samples(job) if isinstance(job, Experiment) else job for job in jobs.values()]
        models = [need for job in all_jobs for need in job.needs if need.config["kind"] == "model"]
        self._results |= {store.address(job.config) for job in all_jobs + models}  # of models, the seconds
        try:
            results, cold = cached_all(all_jobs, self.store, self.device, ADVICE)
        except KeyboardInterrupt:
            raise Interrupted from None
        self.cold |= cold
        return dict(zip(jobs, results, strict=True))

    def save_figure(
        self,
        fig: Figure,
        id: str,
        data: Mapping[str, Any],
        configs: Iterable[str] = (),
        seeds: Iterable[int] | None = None,
    ) -> Path:
        """Write a figure at its own size as `.png` and `.pdf`, and the plotted arrays as `.npz`.

        `configs` are the store keys of the results it shows, `seeds` their seeds (default: all of the run).
        Returns the path of the `.png`. Raises ContractError for an id that is not in the contract.
        """
        self._promised(id, self._figures, "figure")
        if self.profile.stamp:
            _stamp(fig, self.profile.stamp)
        files = {"npz": store.pack(data), **_drawn(fig)}
        for kind, content in files.items():
            store.write(self._folder / f"{id}.{kind}", content)
        self._saved["figures"][id] = {
            "notebook": self.notebook,
            **{f"{kind}_sha256": hashlib.sha256(content).hexdigest() for kind, content in files.items()},
            "seeds": list(self.seeds if seeds is None else seeds),
            "configs": sorted(set(configs)),
        }
        return self._folder / f"{id}.png"

    def record_claim(
        self, id: str, value: float, low: float, high: float, seeds: Iterable[int] | None = None
    ) -> None:
        """Record the measured value of a claim with its 95 % interval, and print it beside what is expected.

        `seeds` are those of the results used (default: all of the run). Raises ValueError unless
        `low <= value <= high`, all finite; ContractError for an id that is not in the contract.
        """
        claim = self._promised(id, self._claims, "claim")
        value, low, high = float(value), float(low), float(high)
        if not (math.isfinite(low) and math.isfinite(high) and low <= value <= high):
            raise ValueError(f"{id}: expected finite low <= value <= high, got {low}, {value}, {high}")
        if missing := [name for name in claim.needs if name not in self._saved["claims"]]:
            raise claims.ContractError(f"{id}: expected its preconditions recorded first, not yet {missing}")
        met = all(self._saved["claims"][name]["holds"] for name in claim.needs)
        row = claim.row(value, low, high, met, list(self.seeds if seeds is None else seeds))
        self._saved["claims"][id] = row
        found = f"{_interval(value, low, high)}, expected {claim.expected}: {row['verdict']}"
        print(f"{id}: {found}. {claim.statement}")

    def finish(self) -> None:
        """Close the run: write its rows to the manifest, and print the verdict on each claim of the paper.

        Raises ContractError naming figures and claims of the contract that were not saved.
        """
        saved = self._saved["figures"].keys() | self._saved["claims"].keys()
        if missing := ", ".join(sorted((self._figures.keys() | self._claims.keys()) - saved)):
            raise claims.ContractError(f"{self.notebook}: expected the whole contract, lacks {missing}")
        row = {
            "seconds": round(time.perf_counter() - self._begun, 1),
            "peak_mib": _peak_memory(),
            "cold": self.cold,
            "code": self._code,
            "run": secrets.token_hex(8),
            "results": sorted(self._results),
        }
        rows = {**self._saved, "notebooks": {self.notebook: row}}
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / ".lock"):
            old = claims.read_manifest(self._folder)
            manifest = {
                "profile": self.profile.name,
                "code": self._code,
                "machine": machine(self.device),
                "versions": versions(),
            }
            others = set(self._contract.notebooks) - {self.notebook}
            for section, new in rows.items():
                before = old.get(section, {}).items()
                kept = {id: row for id, row in before if row.get("notebook", id) in others}
                manifest[section] = dict(sorted({**kept, **new}.items()))
            store.write(self._folder / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())
        print(f"{self.notebook}: {len(self._figures)} figures and {len(self._claims)} claims saved")
        print(claims.further(self._saved["claims"].values()))
        primary = {id: row for id, row in self._saved["claims"].items() if row["role"] == "primary"}
        for name in sorted({id.split(".")[0] for id in primary}):
            of_claim = [row["verdict"] for id, row in primary.items() if id.split(".")[0] == name]
            print(f"{name} in this notebook: {claims.overall(of_claim)}")

    def _promised(self, id: str, promises: Mapping[str, Any], what: str) -> Any:
        if id not in promises:
            expected = f"expected a {what} of the contract ({', '.join(promises) or 'none'})"
            raise claims.ContractError(f"{self.notebook}: {expected}, got {id!r}")
        return promises[id]


def _drawn(fig: Figure) -> dict[str, bytes]:
    """A figure's files, each drawn once; `savefig` would draw twice, first to find a tight box."""
    fig.draw_without_rendering()
    fig.set_layout_engine("none")  # laid out now: not once more for each format and for the screen
    canvas, dpi, files = fig.canvas, fig.dpi, {}
    for kind, (backend, resolution, metadata) in _FORMATS.items():
        buffer = io.BytesIO()
        fig.dpi = resolution
        getattr(backend(fig), f"print_{kind}")(buffer, metadata=metadata)
        files[kind] = buffer.getvalue()
    fig.dpi = dpi
    fig.set_canvas(canvas)
    return files


def _stamp(fig: Figure, text: str) -> None:
    style = {"size": 20 * min(fig.get_size_inches()), "color": "red", "alpha": 0.2, "rotation": 30}
    artist = fig.text(0.5, 0.5, text, ha="center", va="center", **style)
    artist.set_in_layout(False)


def _peak_memory() -> int:
    """Largest resident memory in MiB: that of this process plus that of its largest child."""
    if sys.platform == "win32":
        return 0
    import resource

    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(sum(usage) / (2**20 if sys.platform == "darwin" else 2**10))


def check(folder: Path, notebook: str | None = None) -> list[str]:
    """Problems of a folder of figures, or of one notebook's figures: one line for each."""
    contract, manifest = claims.load_contract(), claims.read_manifest(folder)
    problems = []
    for section, promises in (("figures", contract.figures), ("claims", contract.claims)):
        rows = manifest.get(section, {})
        promised = {id for id, row in promises.items() if notebook in (None, row.notebook)}
        saved = {id for id, row in rows.items() if notebook in (None, row["notebook"])}
        problems += [f"{id} is in the contract but was not saved" for id in sorted(promised - saved)]
        problems += [f"{id} was saved but is not in the contract" for id in sorted(saved - promised)]
        for id in sorted(promised & saved):
            if section == "figures":
                problems += _check_files(folder, id, rows[id])
            else:
                problems += _check_claim(contract.claims[id], id, rows, manifest["profile"])
    if notebook is None:
        extra = {path.name for path in folder.glob("fig_*.*") if path.stem not in contract.figures}
        problems += [f"{name} is in the folder but not in the contract" for name in sorted(extra)]
        codes = {row["code"] for row in manifest.get("notebooks", {}).values()}
        if len(codes) > 1:
            problems.append(f"expected one version of the code, got {', '.join(sorted(codes))}")
    return problems


def _check_files(folder: Path, id: str, row: Mapping[str, Any]) -> list[str]:
    problems = []
    for kind in ("npz", *_FORMATS):
        path = folder / f"{id}.{kind}"
        if not path.is_file():
            problems.append(f"{path.name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != row.get(f"{kind}_sha256"):
            problems.append(f"{path.name} is from another run than the manifest")
    return problems


def _check_claim(claim: claims.Claim, id: str, rows: Mapping[str, Any], profile: str) -> list[str]:
    row = rows[id]
    met = all(rows.get(name, {}).get("holds") for name in claim.needs)
    contract = claim.row(row["value"], row["low"], row["high"], met, row.get("seeds"))
    for part, expected in contract.items():
        if row.get(part) != expected:
            return [f"{id}: {part}: expected {expected!r} of the contract, got {row.get(part)!r}"]
    if profile in claim.profiles and not row["holds"]:
        interval = _interval(row["value"], row["low"], row["high"])
        return [f"{id} does not hold: {interval}, expected {claim.expected}"]
    return []


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.4g} [{low:.4g}, {high:.4g}]"
