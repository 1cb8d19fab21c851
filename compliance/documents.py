"""Drafts of two assessments, filled from a finished run: a data protection impact assessment and model documentation.

What the run knows is filled in with its figures. Everything else is left to a person, in a form that can be counted
(:data:`OPEN`), and stays so: no option and no language model fills it, and a draft that somebody has worked on is never
written over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compliance.facts import Facts
from compliance.identifiers import Identifiers
from compliance.privacy_page import Screen, privacy_page
from compliance.prompt import figure
from compliance.reading import RunRecords, facts_of, read_run
from compliance.report import replace_file, screen_of
from compliance.templating import environment
from fedsec.errors import ConfigError

FOLDER = "documents"
TEMPLATE_OF = {"dpia.md": "dpia.md.j2", "model-risk.md": "model-risk.md.j2"}
OPEN = re.compile(r"\*\*TO BE COMPLETED BY ([A-Za-z, ]+):\*\* \S")


@dataclass(frozen=True, kw_only=True)
class Draft:
    """One document.

    Attributes:
        path: where it is; open: how many of its fields are left to a person.
    """

    path: Path
    open: int


def write_documents(run: Path, *, identifiers: Identifiers | None) -> tuple[Draft, ...]:
    """Write the drafts into ``run/documents``.

    Args:
        run: directory of a finished run.
        identifiers: what must not stand in a sentence of the run's own; None: not known on this machine.

    Raises:
        ConfigError: ``run`` is not the directory of a finished run; or a draft is there that is not what would be
            written, since somebody may have filled it in.
    """
    texts = _texts(read_run(run), identifiers)
    folder = run / FOLDER
    for name, text in texts.items():
        if (folder / name).exists() and (folder / name).read_text("utf-8") != text:
            raise ConfigError(
                f"{folder / name} is there and differs from the draft of this run: somebody may have worked on it",
                remedy="Move it away, then write the drafts again.",
            )
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        replace_file(folder / name, text)
    return tuple(Draft(path=folder / name, open=len(OPEN.findall(text))) for name, text in texts.items())


def _texts(records: RunRecords, identifiers: Identifiers | None) -> dict[str, str]:
    context = draft_context(records, facts_of(records), screen_of(identifiers))
    templates = environment(markup=False)
    return {name: templates.get_template(template).render(context) for name, template in TEMPLATE_OF.items()}


def draft_context(records: RunRecords, facts: Facts, screen: Screen) -> dict[str, Any]:
    """All that the templates are filled with."""
    return {
        "facts": facts,
        "statement": records.statement,
        "privacy": privacy_page(records.statement, screen=screen),
        "screen": screen,
        "guarantee": _guarantee(facts, facts.epsilon),
        "reserved": _guarantee(facts, facts.planned_epsilon),
        "summary": records.summary,
    }


def _guarantee(facts: Facts, epsilon: float | None) -> str:
    """``epsilon`` with delta, unit and adversary, as it stands everywhere in the drafts."""
    if epsilon is None:
        return "no guarantee at all (NOT PRIVATE: the noise of this run can be repeated and taken off)"
    return (
        f"ε = {figure(epsilon)} at δ = {figure(facts.delta)} for one {facts.unit.value} ({facts.neighbours.value}),"
        f" against {facts.against}"
    )
