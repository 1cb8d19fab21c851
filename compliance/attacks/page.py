"""The page on a played attack suite: one HTML file with its pictures inside, for people who sign."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import jinja2
from markupsafe import Markup

import fedsec
from compliance.attacks.cohort import SMALLEST, cohort_size
from compliance.attacks.pictures import pictures
from compliance.attacks.results import Outcome, Result
from compliance.attacks.setting import Setting
from compliance.attacks.statistics import CONFIDENCE
from compliance.prompt import TEMPLATES, figure


def write_page(path: Path, setting: Setting, results: Sequence[Result], *, made: datetime) -> None:
    """Write the page on ``results``, played at ``made``, to ``path``: whole, or not at all.

    Raises:
        OSError: ``path`` cannot be written to.
    """
    text = render_page(setting, results, made=made)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, "utf-8")
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def render_page(setting: Setting, results: Sequence[Result], *, made: datetime) -> str:
    """The page as text. It names no bank, file or column: parameters, counts and invented values."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = figure
    drawn = [(picture, Markup(picture.svg)) for picture in pictures(results)]  # noqa: S704 - our own SVG of numbers
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.attack.target, []).append(result)
    return environment.get_template("attack.html.j2").render(
        setting=setting,
        results=results,
        groups=groups,
        common={target: _common(rows) for target, rows in groups.items()},
        made=f"{made:%Y-%m-%d %H:%M} UTC",
        masking_banks=SMALLEST,
        adversary="everyone else together"
        if setting.mode == "local"
        else f"the server with {setting.corrupt} corrupt bank{'' if setting.corrupt == 1 else 's'}",
        ok=all(result.right for result in results),
        outcomes=Counter(result.findings.fedsec.outcome for result in results),
        Outcome=Outcome,
        cohort=cohort_size(setting),
        confidence=f"{100 * CONFIDENCE:g} %",
        pictures=drawn,
        css=Markup((TEMPLATES / "report.css").read_text("utf-8")),  # noqa: S704 - our own file
        version=fedsec.__version__,
    )


def _common(rows: Sequence[Result]) -> tuple[str, str]:
    """Control and shield that several of ``rows`` have, said once above their table; "" where none is shared."""
    controls, shields = (Counter(getattr(row.attack, name) for row in rows) for name in ("control", "shield"))
    (control, controlled), (shield, shielded) = controls.most_common(1)[0], shields.most_common(1)[0]
    return control if controlled > 1 else "", shield if shielded > 1 else ""
