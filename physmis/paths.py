"""Where things lie: the checkout, the store of results, the figures, the notebooks."""

import os
from pathlib import Path

_PARENT = Path(__file__).resolve().parents[1]

# A package installed outside a checkout works in the caller's folder.
IN_CHECKOUT = (_PARENT / "notebooks").is_dir() and (_PARENT / "figures" / "contract.toml").is_file()
ROOT = _PARENT if IN_CHECKOUT else Path.cwd()


def _place(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or ROOT / default).absolute()


def store_root() -> Path:
    """`$PHYSMIS_STORE`, else `store/`: trained models and samples."""
    return _place("PHYSMIS_STORE", "store")


def figures_root() -> Path:
    """`$PHYSMIS_FIGURES`, else `figures/`: one folder per profile."""
    return _place("PHYSMIS_FIGURES", "figures")


def contract_path() -> Path:
    """`$PHYSMIS_CONTRACT`, else `figures/contract.toml`."""
    return _place("PHYSMIS_CONTRACT", "figures/contract.toml")


def notebooks_root() -> Path:
    """`$PHYSMIS_NOTEBOOKS`, else `notebooks/`."""
    return _place("PHYSMIS_NOTEBOOKS", "notebooks")
