"""What the repository keeps of a run: figures, outputs of notebooks, tables of claims, stored results."""

import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jupytext.cli
import nbformat

from physmis import paths
from physmis.experiments import store
from physmis.paper import claims

MOST = 15 * 2**20  # bytes of stored results
KINDS = ("npz", "png", "pdf")


def compare(folder: Path, notebooks: Sequence[str]) -> str:
    """How ``notebooks`` of a run of the standard profile differ from the committed ones, in words."""
    new, old = (claims.read_manifest(where) for where in (folder, paths.committed()))
    if not old:
        return "nothing is committed to compare with"
    parts = {"figures": [f"{kind}_sha256" for kind in KINDS], "claims": ["value", "low", "high"]}
    lines = []
    for what, names in parts.items():
        rows, known = new[what].items(), old[what]
        mine = {id: row for id, row in rows if row["notebook"] in notebooks}
        unlike = [id for id, r in mine.items() if any(r.get(n) != known.get(id, {}).get(n) for n in names)]
        same = f"{len(mine) - len(unlike)} of {len(mine)} {what}"
        lines += [f"{same} are exactly those of figures/standard", *(f"  differs: {id}" for id in unlike)]
    return "\n".join(lines)


def save(sources: Sequence[Path]) -> str:
    """Replace what is committed by the last run of the standard profile; says what was written.

    Everything is prepared before the first file is written. Raises ValueError where a result is missing or
    all results together are too large.
    """
    folder, kept = paths.output("standard"), store.Store()
    manifest = claims.read_manifest(folder)
    new = {paths.committed() / "manifest.json": (folder / "manifest.json").read_bytes()}
    for id in manifest["figures"]:
        new |= {paths.committed() / f"{id}.{kind}": (folder / f"{id}.{kind}").read_bytes() for kind in KINDS}
    for source in sources:
        pair = source.with_suffix(".ipynb")
        new[pair] = with_outputs(source, folder / "notebooks" / pair.name)
    new |= claims.documents(folder)
    results = {}
    for address in sorted({one for row in manifest["notebooks"].values() for one in row["results"]}):
        found = [root / address for root in (kept.root, kept.results) if root and (root / address).is_file()]
        if not found:
            raise ValueError(f"expected {address} in {kept.root}, got nothing: run the notebooks again")
        results[paths.root() / "results" / "standard" / address] = found[0].read_bytes()
    size = sum(map(len, results.values()))
    if size > MOST:
        raise ValueError(f"expected at most {MOST / 2**20:.0f} MiB of stored results, got {size / 2**20:.1f}")
    new |= results
    old = {*paths.committed().glob("fig_*.*"), *(paths.root() / "results" / "standard").glob("*/*")}
    # From here on it takes a moment, and is not left halfway.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        changed = [path for path, data in new.items() if not path.is_file() or path.read_bytes() != data]
        for path in changed:
            store.write(path, new[path])
        for path in old - new.keys():
            path.unlink()
    finally:
        signal.signal(signal.SIGINT, before)
    gone = f"{len(changed)} files written, {len(old - new.keys())} removed"
    return f"saved: {gone}; {len(results)} stored results, {size / 2**20:.1f} MiB"


def with_outputs(source: Path, copy: Path) -> bytes:
    """The `.ipynb` of a source with the outputs of its executed copy."""
    pair = source.with_suffix(".ipynb")
    with tempfile.TemporaryDirectory() as scratch:
        new = Path(scratch) / pair.name
        if pair.is_file():
            new.write_bytes(pair.read_bytes())  # cells keep their ids
        jupytext.cli.jupytext(["--quiet", "--update", "--to", "ipynb", "--output", str(new), str(source)])
        notebook = nbformat.read(new, as_version=4)
    executed = nbformat.read(copy, as_version=4)
    ran = [cell for cell in executed.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    count = 0
    for cell, run_cell in zip(notebook.cells, ran, strict=True):
        if cell.cell_type == "code":
            count += 1
            cell.execution_count, cell.outputs = count, run_cell.outputs
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = count
    notebook.metadata.pop("widgets", None)
    if "widgets" in executed.metadata:
        notebook.metadata["widgets"] = executed.metadata["widgets"]
    return (nbformat.writes(notebook) + "\n").encode()
