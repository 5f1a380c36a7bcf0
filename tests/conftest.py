"""What tests share: a real browser."""

import os
import shutil

import pytest


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium; without one the test is skipped, unless continuous integration asks for it."""

    def lacking(reason):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no browser: {reason}")

    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        lacking(error)
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)  # None: playwright's own
    quiet = ("background-networking", "component-update", "sync")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    with sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(
                executable_path=found, args=arguments + [f"--disable-{name}" for name in quiet]
            )
        except Error as error:
            lacking(error)
        yield opened
        opened.close()
