"""Where things lie: notebooks, figures and results, in the checkout or where variables say."""

import os
from pathlib import Path

_PARENT = Path(__file__).resolve().parents[1]

# A package installed outside a checkout works in the caller's folder.
IN_CHECKOUT = all((_PARENT / part).exists() for part in ("notebooks", "figures/contract.toml"))


def root() -> Path:
    """$PHYSMIS_ROOT, else the checkout: the folder of `notebooks/` and `figures/` (with `contract.toml`)."""
    return Path(os.environ.get("PHYSMIS_ROOT") or (_PARENT if IN_CHECKOUT else Path.cwd())).absolute()


def notebooks(suffix: str = ".py") -> list[Path]:
    """The notebooks by number, those of the appendix last: their sources, or with ".ipynb" their pairs."""
    folder = root() / "notebooks"
    return sorted(folder.glob(f"[0-9]*{suffix}")) + sorted(folder.glob(f"appendix/[0-9]*{suffix}"))


def store_root() -> Path:
    """$PHYSMIS_STORE, else `store/`: trained models, samples and kernel draws."""
    return Path(os.environ.get("PHYSMIS_STORE") or root() / "store").absolute()


def results_root() -> Path | None:
    """$PHYSMIS_RESULTS, else `results/standard/`: the small results that travel; None where it is "none"."""
    given = os.environ.get("PHYSMIS_RESULTS")
    return None if given == "none" else Path(given or root() / "results" / "standard").absolute()


def output(profile: str) -> Path:
    """Where a run of a profile puts figures, manifest and notebooks: in $PHYSMIS_OUTPUT, or `output/`."""
    return Path(os.environ.get("PHYSMIS_OUTPUT") or root() / "output").absolute() / profile


def committed() -> Path:
    """The committed figures and their manifest."""
    return root() / "figures" / "standard"
