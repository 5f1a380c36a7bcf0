"""Two small files to try the audit on: `physmis demo FOLDER`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from jaxtyping import Float

from physmis.audit.measurements import path_length


def smooth_paths(n: int, rng: np.random.Generator) -> Float[np.ndarray, "n 64 2"]:
    """Paths in the plane, sums of four random sines, in metres; their lengths are uniform from 5 to 10 m."""
    k = np.arange(1, 5)
    x = (np.sin(np.pi * k * np.linspace(0, 1, 64)[:, None]) / k) @ rng.standard_normal((n, 4, 2))
    x -= x.mean(axis=1, keepdims=True)
    return x * (rng.uniform(5, 10, n) / path_length(x))[:, None, None]


def write_demo(folder: Path) -> list[Path]:
    """Write `demos.npz`, 1,000 paths, and `plans.npz`, 500 such paths of which each position is 3 cm off.

    Each plan looks like a demonstration, and is too long. The bytes are the same each time. Raises ValueError
    where a file is there already.
    """
    rng = np.random.default_rng(0)
    demos, plans = smooth_paths(1000, rng), smooth_paths(500, rng)
    plans += 0.03 * rng.standard_normal(plans.shape)
    files = {folder / "demos.npz": demos, folder / "plans.npz": plans}
    if there := [str(path) for path in files if path.exists()]:
        raise ValueError(f"expected a folder without {', '.join(there)}: name another, or delete them")
    folder.mkdir(parents=True, exist_ok=True)
    for path, x in files.items():
        content = io.BytesIO()
        np.savez_compressed(content, trajectories=x.astype(np.float32))
        path.write_bytes(content.getvalue())
    return list(files)
