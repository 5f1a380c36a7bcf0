"""Run the notebooks with papermill, each from its `.py` source: `python -m physmis.paper.regenerate`.

Figures and executed copies go to `output/<profile>/`; what is committed stays as it is, unless `--save`.
Notebooks run one after another; what fans out inside them uses `--jobs` processes, or the workers of a Dask
scheduler (`--scheduler tcp://...`). Exit code 0 when every notebook ran and every check of its figures and
claims passed, 1 otherwise, 130 after Ctrl-C.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import papermill
import psutil
from ipykernel.kernelspec import write_kernel_spec

from physmis import paths
from physmis.experiments import progress, store
from physmis.experiments.provenance import code_version
from physmis.paper import claims, committed, profiles, run


class NotebookError(Exception):
    """A notebook did not run to its end; the message says where and why."""


@dataclass
class Outcome:
    """The outcome of one notebook: wall seconds, its row of the manifest, and the error, if any."""

    name: str
    seconds: float = 0.0
    row: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    try:
        options = _parser().parse_args(arguments)
        sources = _plan(options)
        _check_output(options)
    except SystemExit as stop:
        return 1 if stop.code else 0
    except ValueError as error:
        print(f"regenerate: {error}", file=sys.stderr)
        return 1
    try:
        with tempfile.TemporaryDirectory() as scratch, _signals():
            _set_environment(Path(scratch), options)
            outcomes = [_run(source, options, Path(scratch)) for source in sources]
    except KeyboardInterrupt as interrupt:
        print("\nregenerate: stopped; complete results are in the store", file=sys.stderr)
        return 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)
    folder = paths.output(options.profile)
    code = _report(outcomes, folder, whole=options.only is None)
    if code == 0 and options.profile == "standard":
        names = [source.stem for source in sources]
        try:
            text = committed.save(sources) if options.save else committed.compare(folder, names)
            print(text)
        except ValueError as error:
            print(f"regenerate: {error}", file=sys.stderr)
            return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="regenerate", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--profile", default="standard", help="smoke, workshop, standard, full; full@0.01: a hundredth of it")
    add("--only", metavar="NN", nargs="+", action="extend", help="the numbers of some notebooks: 03 04")
    add("--jobs", type=int, metavar="N", help="worker processes (default: one for each core)")
    add("--scheduler", metavar="ADDRESS", help="address of a Dask scheduler, such as tcp://10.0.0.1:8786")
    add("--seed", type=int, default=0, help="the first training seed (default: 0)")
    add("--device", default="auto", help="auto (the default), cpu or cuda")
    add("--output", metavar="FOLDER", help="folder for figures (default: output/)")
    add(
        "--stored-only", action="store_true", help="fail where a result is not stored, rather than compute it"
    )
    add(
        "--save", action="store_true", help="replace figures/standard, results/standard, outputs of notebooks"
    )
    return parser


def _plan(options: argparse.Namespace) -> list[Path]:
    """The sources to run. Raises ValueError for wrong options, before anything is run."""
    profiles.resolve(options.profile)
    device = run.resolve_device(options.device)
    if options.seed < 0:
        raise ValueError(f"--seed: expected 0 or more, got {options.seed}")
    if options.jobs is not None and options.jobs < 1:
        raise ValueError(f"--jobs: expected 1 or more, got {options.jobs}")
    if options.scheduler and (options.jobs is not None or device == "cuda"):
        raise ValueError("--scheduler: expected neither --jobs nor --device cuda, got one of them")
    if options.save and (options.profile != "standard" or options.only or options.seed):
        raise ValueError("--save: expected --profile standard, --seed 0 and no --only, got others")
    if options.save and code_version().endswith("-dirty"):
        raise ValueError("--save: expected committed code, got uncommitted changes: commit them first")
    sources = {path.stem: path for path in paths.notebooks()}
    if unlike := sorted(sources.keys() ^ set(claims.load_contract().notebooks)):
        raise ValueError(f"expected the notebooks of the contract, got others: {', '.join(unlike)}")
    numbers = {name[:2]: path for name, path in sources.items()}
    if unknown := sorted(set(options.only or ()) - numbers.keys()):
        raise ValueError(f"--only: expected some of {', '.join(numbers)}, got {', '.join(unknown)}")
    if options.scheduler:  # last, as it may take a while
        _check_scheduler(options.scheduler)
    return [path for number, path in numbers.items() if options.only is None or number in options.only]


def _check_output(options: argparse.Namespace) -> None:
    folder = Path(options.output) / options.profile if options.output else paths.output(options.profile)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(
            f"make figures OUTPUT=..., or --output: expected a folder to write to; {error}"
        ) from error


def _check_scheduler(address: str) -> None:
    try:
        from distributed import Client  # of the extra `cluster`

        with Client(address, timeout=10, set_as_default=False) as client:
            threads = client.nthreads().values()
    except (ImportError, OSError, ValueError) as error:  # a time-out is an OSError
        raise ValueError(f"--scheduler: expected a Dask scheduler at {address!r}; {error}") from error
    if set(threads) != {1} or len(threads) < 2:
        raise ValueError(f"--scheduler: expected 2 or more workers of --nthreads 1, got {list(threads)}")


def _set_environment(scratch: Path, options: argparse.Namespace) -> None:
    # Kernels inherit this. They use this interpreter, whatever kernels and start-up files the user has.
    write_kernel_spec(scratch / "kernels" / "python3", extra_arguments=["--log-level=ERROR"])
    os.environ["JUPYTER_PATH"] = str(scratch)
    os.environ["JUPYTER_RUNTIME_DIR"] = str(scratch / "runtime")
    os.environ["IPYTHONDIR"] = str(scratch / "ipython")
    os.environ.pop("MPLBACKEND", None)
    # Two processes of one thread do more than one process of two, and the number of threads changes sums.
    for library in ("OMP", "MKL", "OPENBLAS"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    os.environ["PHYSMIS_PROGRESS"] = str(scratch / "progress")
    if options.jobs is not None:
        os.environ["PHYSMIS_JOBS"] = str(options.jobs)
    if options.scheduler:
        os.environ["PHYSMIS_SCHEDULER"] = options.scheduler
    if options.output:
        os.environ["PHYSMIS_OUTPUT"] = str(Path(options.output).absolute())
    if options.stored_only:
        os.environ["PHYSMIS_STORED_ONLY"] = "1"


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Makes Ctrl-C and SIGTERM end kernels and their workers too."""

    def stop(number: int, _: Any) -> None:
        # All are listed before the first dies: the workers of a dead kernel are nobody's children.
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                process.kill()
        raise KeyboardInterrupt(number)

    old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _run(source: Path, options: argparse.Namespace, scratch: Path) -> Outcome:
    outcome = Outcome(source.stem)
    print(f"[{outcome.name}] begins, profile {options.profile}", flush=True)
    copy = paths.output(options.profile) / "notebooks" / f"{outcome.name}.ipynb"
    begun = time.perf_counter()
    try:
        before = _manifest_row(options.profile, outcome.name)
        with progress.follow(outcome.name, scratch / "progress"):
            _execute(source, copy, options, scratch)
        outcome.row = _manifest_row(options.profile, outcome.name)
        if outcome.row.get("run") == before.get("run"):
            raise NotebookError("expected run.finish(), got no row of this run in the manifest")
        if problems := run.check(paths.output(options.profile), outcome.name):
            raise NotebookError("\n  ".join(problems))
    except NotebookError as error:
        outcome.failure = str(error)
    except Exception as error:  # Whatever it is, the other notebooks still run.
        outcome.failure = f"{type(error).__name__}: {error}"
    outcome.seconds = time.perf_counter() - begun
    ended = "FAILED" if outcome.failure else "done"
    print(f"[{outcome.name}] {ended} in {progress.duration(outcome.seconds)}", flush=True)
    return outcome


def _manifest_row(profile: str, name: str) -> dict[str, Any]:
    return claims.read_manifest(paths.output(profile)).get("notebooks", {}).get(name, {})


def _execute(source: Path, copy: Path, options: argparse.Namespace, scratch: Path) -> None:
    notebook = jupytext.read(source)
    # With the pairing metadata of the source, an editor that saves the copy would write a second .py.
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    parameters = dict(zip(run.PARAMETERS, (options.profile, options.seed, options.device), strict=True))
    try:
        # In the scratch folder, as another run may be at work on the same copy; and from there, so that
        # neither the copy's metadata nor a brace in the path gets in the way.
        with contextlib.chdir(scratch):
            nbformat.write(notebook, copy.name)
            try:
                papermill.execute_notebook(
                    copy.name, copy.name, parameters, kernel_name="python3", language="python"
                )
            finally:
                store.write(copy, Path(copy.name).read_bytes())
    except papermill.PapermillExecutionError as error:
        where = f"cell `{(error.source.strip().splitlines() or [''])[0]}`"
        see = os.path.relpath(copy)
        raise NotebookError(f"{where}: {error.ename}: {error.evalue}\n  see {see}") from error
    # An exit with code 0 raises nothing, and papermill's own word on a cell is not to be trusted.
    for cell in nbformat.read(copy, as_version=4).cells:
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            first = cell.source.strip().splitlines()[0]
            raise NotebookError(f"cell `{first}` did not run, and none failed: look for an exit before it")


def _report(outcomes: list[Outcome], folder: Path, whole: bool) -> int:
    rows = claims.read_manifest(folder).get("claims", {}).values()
    print(f"\n{'notebook':<26}{'seconds':>8}{'peak MiB':>10}{'computed':>10}{'primary':>10}{'further':>10}")
    for outcome in outcomes:
        own = [row for row in rows if outcome.row and row["notebook"] == outcome.name]
        primary, further = (_share(own, is_primary) for is_primary in (True, False))
        computed = {True: "yes", False: "no"}.get(outcome.row.get("cold"), "-")
        peak = outcome.row.get("peak_mib", "-")
        print(f"{outcome.name:<26}{outcome.seconds:>8.0f}{peak:>10}{computed:>10}{primary:>10}{further:>10}")
    print("computed: some results were not stored; primary: reproduced tests; further: preconditions,")
    print("controls and exploratory tests that hold. A test that does not hold is a result, too.")
    failures = [f"{outcome.name}: {outcome.failure}" for outcome in outcomes if outcome.failure]
    if whole and not failures:
        failures = run.check(folder)
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    if not failures:
        print(f"figures are in {os.path.relpath(folder)}")
    return 1 if failures else 0


def _share(rows: list[dict[str, Any]], is_primary: bool) -> str:
    some = [row["verdict"] for row in rows if (row["role"] == "primary") == is_primary]
    return f"{sum(verdict in ('holds', 'reproduced') for verdict in some)} of {len(some)}" if some else "-"


if __name__ == "__main__":
    sys.exit(main())
