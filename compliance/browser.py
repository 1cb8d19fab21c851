"""A page as a document: PDF through a browser that is on this machine, driven by Playwright (the extra ``pdf``).

The browser gets one file of our own, which has no script and names nothing to load; it is started without an account,
without background traffic, and its network is cut off.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fedsec.errors import ConfigError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = (
    "--no-sandbox",  # it cannot be had in most containers and as root, and nothing foreign is opened
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_browser() -> str | None:
    """Path of a Chromium or Chrome of this machine, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def write_pdf(page: Path, pdf: Path) -> None:
    """Print the HTML file ``page`` to ``pdf``: A4, tagged, with an outline; whole, or not at all.

    Raises:
        ConfigError: there is no browser, no Playwright, or the browser failed.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise ConfigError(
            "a PDF needs the package playwright, which is not installed",
            remedy="Install fedsec[pdf], or print report.html from any browser.",
        ) from None
    browser = find_browser()
    if browser is None:
        raise ConfigError(
            f"a PDF needs a browser, and none of {', '.join(NAMES)} is on the PATH",
            remedy="Install Chromium or Chrome, or print report.html from any browser.",
        )
    partial = pdf.with_name(f".{pdf.name}.{os.getpid()}")
    try:
        with sync_playwright() as playwright:
            running = playwright.chromium.launch(executable_path=browser, args=list(ARGUMENTS))
            try:
                context = running.new_context(java_script_enabled=False, offline=True)
                opened = context.new_page()
                opened.goto(page.absolute().as_uri())
                opened.pdf(path=partial, prefer_css_page_size=True, print_background=True, tagged=True, outline=True)
            finally:
                running.close()
        partial.replace(pdf)
    except Error as error:
        raise ConfigError(
            f"the browser {browser} did not print the page: {str(error).splitlines()[0]}",
            remedy="Print report.html from any browser.",
        ) from None
    finally:
        partial.unlink(missing_ok=True)
