"""A real headless browser for tests: the machine's own Chromium, driven by Playwright."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compliance.browser import ARGUMENTS, NAMES, find_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESKTOP, PHONE, PAPER = (1280, 900), (390, 844), (794, 1123)  # CSS pixels; paper is A4


def missing() -> str | None:
    """Why there can be no browser here, or ``None`` where there can."""
    if find_spec("playwright") is None:
        return "playwright is not installed"
    if find_browser() is None:
        return f"no browser is installed ({', '.join(NAMES)})"
    return None


@contextmanager
def browser() -> Iterator[Browser]:
    """The browser, started. In its thread no other Playwright can run meanwhile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=find_browser(), args=list(ARGUMENTS))
        try:
            yield running
        finally:
            running.close()


@contextmanager
def opened(
    running: Browser,
    file: Path,
    size: tuple[int, int] = DESKTOP,
    *,
    dark: bool = False,
    paper: bool = False,
    **more: Any,
) -> Iterator[Page]:
    """The HTML ``file`` in a window of ``size``; ``paper``: laid out as for print."""
    width, height = size
    context = running.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", **more
    )
    try:
        page = context.new_page()
        page.emulate_media(media="print" if paper else "screen", color_scheme="dark" if dark else "light")
        page.goto(file.absolute().as_uri())
        yield page
    finally:
        context.close()
