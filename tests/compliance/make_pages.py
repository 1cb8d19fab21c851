"""Reference pictures of the report's first screen: ``python -m tests.compliance.make_pages`` makes them anew."""

from __future__ import annotations

import base64
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tests.browser import DESKTOP, PAPER, PHONE, opened
from tests.browser import browser as started
from tests.compliance.pages import make_pages

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FOLDER = Path(__file__).parent / "pages"
BLOCKS = 32
REFERENCES: dict[str, tuple[str, dict[str, Any]]] = {
    "desktop": ("normal", {"size": DESKTOP}),
    "dark": ("normal", {"size": DESKTOP, "dark": True}),
    "phone": ("own data, federated", {"size": PHONE}),
    "print": ("normal", {"size": PAPER, "paper": True}),
    "not-private": ("not private", {"size": DESKTOP}),
}


def first_screen(running: Browser, page: Path, look: dict[str, Any]) -> NDArray[np.float64]:
    """Mean luminance of each of 32 × 32 blocks of what the window shows first, 0 to 255."""
    from PIL import Image

    with opened(running, page, **look, bypass_csp=True) as shown:
        shown.add_style_tag(content=_font())
        shown.evaluate("document.fonts.ready")
        picture = Image.open(io.BytesIO(shown.screenshot(animations="disabled"))).convert("L")
    return np.asarray(picture.resize((BLOCKS, BLOCKS), Image.Resampling.BOX), dtype=np.float64)


def reference(name: str) -> NDArray[np.float64]:
    """The stored blocks of ``name``."""
    from PIL import Image

    return np.asarray(Image.open(FOLDER / f"{name}.png"), dtype=np.float64)


def differences(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and largest distance of two pictures, block by block."""
    apart = np.abs(one - other)
    return float(apart.mean()), float(apart.max())


def _font() -> str:
    """Rules that put matplotlib's own font in place of whatever the machine has."""
    import matplotlib as mpl

    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
    faces = [
        f"@font-face {{ font-family: pinned; font-weight: {weight}; src: url(data:font/ttf;base64,"
        f"{base64.b64encode((fonts / file).read_bytes()).decode()}); }}"
        for weight, file in (("400", "DejaVuSans.ttf"), ("700", "DejaVuSans-Bold.ttf"))
    ]
    return "\n".join([*faces, "* { font-family: pinned !important; }"])


def main() -> None:
    """Write the reference pictures."""
    from PIL import Image

    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, started() as running:
        pages = make_pages(Path(folder))
        for name, (variant, look) in REFERENCES.items():
            blocks = first_screen(running, pages[variant], look)
            Image.fromarray(blocks.round().astype(np.uint8)).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
