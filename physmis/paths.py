"""Where things lie: notebooks, figures and results, in the checkout or where $PHYSMIS_ROOT says."""

import os
from pathlib import Path

_PARENT = Path(__file__).resolve().parents[1]

# A package installed outside a checkout works in the caller's folder.
IN_CHECKOUT = all((_PARENT / part).exists() for part in ("notebooks", "figures/contract.toml"))


def root() -> Path:
    """$PHYSMIS_ROOT, else the checkout: the folder of `notebooks/` and `figures/` (with `contract.toml`)."""
    return Path(os.environ.get("PHYSMIS_ROOT") or (_PARENT if IN_CHECKOUT else Path.cwd())).absolute()


def store_root() -> Path:
    """$PHYSMIS_STORE, else `store/`: trained models, samples and kernel draws."""
    return Path(os.environ.get("PHYSMIS_STORE") or root() / "store").absolute()
