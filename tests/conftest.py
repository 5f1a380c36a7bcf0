"""What several test files share: a real browser."""

import os
import shutil

import pytest

QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium: the system's, or playwright's own. In CI it must be there."""
    from playwright.sync_api import Error, sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    with sync_playwright() as driver:
        try:
            opened = driver.chromium.launch(executable_path=found, args=QUIET)
        except Error as error:
            if "CI" in os.environ:
                pytest.fail(f"no browser could be started: {error}")
            pytest.skip("no Chromium: install it, or run `playwright install chromium`")
        yield opened
        opened.close()
