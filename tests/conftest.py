import os
import shutil

import pytest
import torch

from physmis.experiments.store import Store

# What Chromium would otherwise ask of the network on its own account.
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium: the system's, or else playwright's own."""
    # For a module, not the session: while it is open, asyncio.run does not work in this thread.
    from playwright.sync_api import Error, sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        except Error as error:
            first = str(error).strip().splitlines()[0]
            reason = f"no browser ({', '.join(names)} or `playwright install chromium`): {first}"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def one_thread():
    """Sums in one order, whatever the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty store without stored results, work in this process alone, and a file of progress beside it."""
    monkeypatch.setenv("PHYSMIS_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PHYSMIS_RESULTS", "none")
    monkeypatch.setenv("PHYSMIS_JOBS", "1")
    monkeypatch.setenv("PHYSMIS_PROGRESS", str(tmp_path / "progress"))
    for name in ("PHYSMIS_SCHEDULER", "PHYSMIS_STORED_ONLY"):
        monkeypatch.delenv(name, raising=False)
    return Store(tmp_path / "store")
