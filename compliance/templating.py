"""The environment in which report and comparison are rendered: our own templates, and filters for figures and words."""

from __future__ import annotations

import re
from functools import cache

import jinja2

from compliance.facts import FEWEST_BANKS
from compliance.marks import marked
from compliance.prompt import TEMPLATES, figure, odds


@cache
def environment(*, markup: bool) -> jinja2.Environment:
    """With ``markup`` for HTML, where every text is escaped; without it for Markdown."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=markup,  # noqa: S701 - off for Markdown, where every free text goes through the filter "plain"
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(figure=figure, odds=odds, plain=_plain, size=_size, banks=_banks, marked=marked)
    return made


def _plain(text: str) -> str:
    """``text`` as one line of Markdown that is shown as it stands: no markup, no link, no table cell."""
    return re.sub(r"([\\`*_\[\]<>#|~!])", r"\\\1", " ".join(text.split()))


def _size(count: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"


def _banks(count: int | None) -> str:
    return f"fewer than {FEWEST_BANKS}" if count is None else str(count)
